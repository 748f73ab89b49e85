/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the simulation does in a second, with all invariants judged, beside what it simulates in that time; what the invariants alone
 * take, for many short histories and for one of a million operations; how long each seeded bug lives, and how long it takes to shrink it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check/check.h"
#include "check/facts.h"
#include "fixtures/conductor/policy/bugs.h"
#include "sim/campaign.h"
#include "sim/shrink.h"

#define TARGET_EVENTS_S 4e6
#define TARGET_SEEDS_S  1500.0
#define TARGET_OPS_S    5e6
#define TARGET_SPEED_UP 20000.0
#define LONG_OPS        1000000u

static double now_s(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void campaign(uint64_t seeds)
{
	struct campaign_options options = {.first = 1, .count = seeds, .jobs = 2, .aim = -1};
	static struct campaign c;
	struct error err;
	double events_s, per_cpu_s, speed_up;

	if (campaign_run(&c, &options, &err) != 0) {
		fprintf(stderr, "bench: %s\n", err.text);
		exit(1);
	}
	events_s = (double)c.events / c.wall_s;
	per_cpu_s = (double)c.events / c.cpu_s;
	speed_up = (double)c.simulated_us / 1e6 / c.wall_s;
	printf("%" PRIu64 " seeds in 2 processes, all invariants judged: %.2f M events/s (%.2f of the target of 4 M), "
	       "%.0f events a seed\n",
	    c.seeds, events_s / 1e6, events_s / TARGET_EVENTS_S, (double)c.events / (double)c.seeds);
	printf("  by processor time (what two cores of their own would do): %.2f M events/s (%.2f)\n",
	    2 * per_cpu_s / 1e6, 2 * per_cpu_s / TARGET_EVENTS_S);
	printf("  %.0f seeds/s; at 2,500 events a seed %.0f (%.2f of the target of 1,500), by processor time %.0f\n",
	    (double)c.seeds / c.wall_s, events_s / 2500, events_s / 2500 / TARGET_SEEDS_S, 2 * per_cpu_s / 2500);
	printf("  %.0f s simulated in %.1f s: %.0f times real time (%.2f of the target of 20,000), by processor time "
	       "%.0f\n",
	    (double)c.simulated_us / 1e6, c.wall_s, speed_up, speed_up / TARGET_SPEED_UP,
	    (double)c.simulated_us / 1e6 / (c.cpu_s / 2));
	printf("  %.1f MiB a process, %" PRIu64 " deviated\n", (double)c.memory / 1048576, c.deviated);
}

/* ---- the invariants alone ---- */

static double judge(const struct history_view *view, const struct check_config *config)
{
	double from_s = now_s(CLOCK_PROCESS_CPUTIME_ID);
	struct history_view shared = *view;
	struct check_result result;
	struct facts facts;

	facts_gather(&facts, view);
	shared.facts = &facts;
	for (const struct check *const *c = check_table; *c; c++)
		(*c)->run(&shared, config, &result);
	facts_finish(&facts);
	return now_s(CLOCK_PROCESS_CPUTIME_ID) - from_s;
}

/* Seed after seed in one history, each with tasks of its own. */
static size_t append(struct op *ops, size_t count, const struct history_view *one, unsigned round)
{
	uint64_t from_us = count ? ops[count - 1].time_us + 1000 : 0;
	size_t first = count;

	for (size_t i = 0; i < one->count && count < LONG_OPS; i++, count++) {
		char name[48];

		ops[count] = one->ops[i];
		ops[count].index = count;
		ops[count].time_us += from_us;
		if (ops[count].pair != OP_NONE)
			ops[count].pair += first;
		if (!ops[count].task[0])
			continue;
		snprintf(name, sizeof name, "%s-%u", ops[count].task, round);
		ops[count].task = strdup(name);
	}
	return count;
}

static void invariants(uint64_t seeds)
{
	struct op *ops = calloc(LONG_OPS, sizeof *ops);
	static struct coverage coverage;
	static struct sim_plan plan;
	struct history_view view;
	struct check_config config;
	struct sim_result result;
	double short_s = 0, long_s;
	uint64_t judged = 0;
	size_t count = 0;
	struct sim *sim;
	struct error err;

	check_config_init(&config);
	if (!ops || sim_create(&sim, NULL, &err) != 0)
		exit(1);
	for (uint64_t s = 1; s <= seeds || count < LONG_OPS; s++) {
		plan_draw(&plan, s);
		sim_run(sim, &plan, &result, &coverage);
		sim_history(sim, &view);
		if (s <= seeds) {
			short_s += judge(&view, &config);
			judged += view.count;
		}
		if (count < LONG_OPS)
			count = append(ops, count, &view, (unsigned)s);
	}
	printf("invariants alone, histories of %.0f operations: %.2f M operations/s on one core (%.2f of the target of "
	       "5 M)\n",
	    (double)judged / (double)seeds, (double)judged / short_s / 1e6, (double)judged / short_s / TARGET_OPS_S);
	view = (struct history_view){.ops = ops, .count = count};
	long_s = judge(&view, &config);
	printf("  one history of %zu operations: %.2f s (target: under 1 s)\n", count, long_s);
	sim_destroy(sim);
	for (size_t i = 0; i < count; i++)
		if (ops[i].task[0])
			free((char *)(uintptr_t)ops[i].task);
	free(ops);
}

/* ---- the bugs ---- */

struct aim {
	struct sim *sim;
	unsigned check;
};

static bool violates(void *arg, const struct sim_plan *plan, uint64_t *ret_events)
{
	static struct coverage coverage;
	struct aim *aim = arg;
	struct sim_result r;

	sim_run(aim->sim, plan, &r, &coverage);
	*ret_events = r.events;
	return r.verdicts[aim->check].violations > 0;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void bugs(void)
{
	double found_s[BUG_COUNT], shrunk_s[BUG_COUNT];
	static struct sim_plan plan;
	uint32_t most = 0;

	for (unsigned b = 0; b < BUG_COUNT; b++) {
		double from_s = now_s(CLOCK_PROCESS_CPUTIME_ID);
		struct shrink_figures figures;
		struct aim aim = {.check = 0};
		struct error err;
		uint64_t events;

		if (sim_create(&aim.sim, bug_table[b].name, &err) != 0)
			exit(1);
		while (strcmp(check_table[aim.check]->name, bug_table[b].invariant) != 0)
			aim.check++;
		for (uint64_t s = 1;; s++) {
			plan_draw(&plan, s);
			if (violates(&aim, &plan, &events))
				break;
		}
		found_s[b] = now_s(CLOCK_PROCESS_CPUTIME_ID) - from_s;
		shrink(&plan, violates, &aim, &figures);
		shrunk_s[b] = now_s(CLOCK_PROCESS_CPUTIME_ID) - from_s - found_s[b];
		most = figures.faults_after > most ? figures.faults_after : most;
		sim_destroy(aim.sim);
	}
	qsort(found_s, BUG_COUNT, sizeof found_s[0], by_size);
	qsort(shrunk_s, BUG_COUNT, sizeof shrunk_s[0], by_size);
	printf("%u seeded bugs, each found by the invariant of its row: median %.3f s of processor time, at most %.3f "
	       "s (limit 60 s)\n",
	    (unsigned)BUG_COUNT, found_s[BUG_COUNT / 2], found_s[BUG_COUNT - 1]);
	printf("  shrunk to at most %u faults (limit 5): median %.3f s, at most %.3f s (limit of the median 10 s)\n",
	    most, shrunk_s[BUG_COUNT / 2], shrunk_s[BUG_COUNT - 1]);
}

int main(int argc, char **argv)
{
	bool quick = argc > 1 && strcmp(argv[1], "--quick") == 0;

	campaign(quick ? 2000 : 40000);
	invariants(quick ? 500 : 4000);
	bugs();
	return 0;
}
