/* SPDX-License-Identifier: Apache-2.0 */
/* What `tritone simulate` does: a campaign, its figures, and the shrunk schedule of what deviated. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "check/check.h"
#include "clock.h"
#include "fixtures/conductor/policy/bugs.h"
#include "sim/campaign.h"
#include "sim/schedule.h"
#include "sim/shrink.h"

#define SHRINK_MAX 3u    /* deviations that are shrunk */
#define APART_MS   60000 /* for so long, when each try costs a process, and maybe seconds until it hangs */

/* ---- shrinking ---- */

struct aim {
	const char *bug;
	struct sim *sim;
	unsigned check;
	bool apart; /* in a process of its own each time: it brings its process down */
	int64_t until_ms;
};

static bool violates(void *arg, const struct sim_plan *plan, uint64_t *ret_events)
{
	static struct coverage ignored;
	struct aim *aim = arg;
	struct campaign_found found;
	struct sim_result result;

	if (aim->apart && clock_ms() > aim->until_ms)
		return false;
	if (aim->apart)
		return campaign_try(aim->bug, plan, &found, ret_events, NULL) == 0 && found.signal != 0;
	sim_run(aim->sim, plan, &result, &ignored);
	*ret_events = result.events;
	return result.verdicts[aim->check].violations > 0;
}

static const char *check_name(unsigned check)
{
	return check + 1 < SIM_CHECKS ? check_table[check]->name : "contract";
}

/* The check that must find the bug, by its row; -1: no bug. */
static int aim_of(const char *bug)
{
	for (unsigned i = 0; bug && *bug && i < BUG_COUNT; i++)
		for (unsigned k = 0; strcmp(bug_table[i].name, bug) == 0 && k < SIM_CHECKS; k++)
			if (strcmp(check_name(k), bug_table[i].invariant) == 0)
				return (int)k;
	return -1;
}

static unsigned check_of(uint32_t checks, const char *bug)
{
	int aim = aim_of(bug);
	unsigned first = 0;

	if (aim >= 0 && (checks >> aim & 1))
		return (unsigned)aim;
	while (!(checks >> first & 1))
		first++;
	return first;
}

/* What an observer outside saw of it. */
static void tell(struct aim *aim, const struct sim_plan *plan, const char *text)
{
	static struct coverage ignored;
	const struct sim_verdict *v;
	struct sim_result result;
	char line[512];

	for (uint32_t i = 0; i < plan->fault_count; i++) {
		sim_fault_format(&plan->faults[i], line, sizeof line);
		printf("  fault: %s\n", line);
	}
	if (aim->apart) {
		printf("  %s: %s\n", check_name(aim->check), text);
		return;
	}
	sim_run(aim->sim, plan, &result, &ignored);
	v = &result.verdicts[aim->check];
	printf("  %s: %s\n", check_name(aim->check), v->text);
	for (uint32_t i = 0; i < v->evidence_count; i++) {
		sim_operation(aim->sim, v->evidence[i], line, sizeof line);
		printf("    %s\n", line);
	}
}

static int shrink_found(const struct sim_simulate *s, const struct campaign_found *found, struct error *err)
{
	struct aim aim = {.bug = s->bug,
	    .check = check_of(found->checks, s->bug),
	    .apart = found->signal != 0,
	    .until_ms = clock_ms() + APART_MS};
	const char *with = s->bug ? " --bug " : "", *bug = s->bug ? s->bug : "";
	struct shrink_figures figures;
	struct sim_plan plan;
	struct error why;
	int64_t from_ms = clock_ms();
	char path[4096];
	bool system;

	if (sim_create(&aim.sim, s->bug, err) != 0)
		return -1;
	plan_draw(&plan, found->seed);
	shrink(&plan, violates, &aim, &figures);
	printf("seed %" PRIu64 " deviated %s; shrunk from %" PRIu64 " events, %u faults and %u tasks to %" PRIu64
	       " events, %u faults and %u tasks in %u runs, %.1f s\n",
	    found->seed, check_name(aim.check), figures.events_before, figures.faults_before, figures.tasks_before,
	    figures.events_after, figures.faults_after, figures.tasks_after, figures.runs,
	    (double)(clock_ms() - from_ms) / 1e3);
	tell(&aim, &plan, found->text);
	snprintf(path, sizeof path, "%s%s%" PRIu64 ".min.json", s->output, *s->output ? "/" : "", found->seed);
	if (schedule_write(&plan, s->bug, check_name(aim.check), path, &why) == 0)
		printf(
		    "reproduce: tritone replay --seed %" PRIu64 "%s%s --schedule %s\n", found->seed, with, bug, path);
	else
		printf("the schedule could not be kept: %s\n", why.text);
	if (schedule_is_real(path, &system, &why) == 0)
		printf("on the real system: tritone run %s\n", path);
	printf("reproduce all of it: tritone replay --seed %" PRIu64 "%s%s\n", found->seed, with, bug);
	fflush(stdout);
	sim_destroy(aim.sim);
	return 0;
}

/* ---- the report ---- */

static void duration(double seconds, char *buf, size_t size)
{
	if (seconds >= 2 * 86400)
		snprintf(buf, size, "%.0f days", seconds / 86400);
	else if (seconds >= 2 * 3600)
		snprintf(buf, size, "%.1f hours", seconds / 3600);
	else
		snprintf(buf, size, "%.0f s", seconds);
}

static void report(const struct sim_simulate *s, const struct campaign *c)
{
	double simulated_s = (double)c->simulated_us / 1e6;
	char text[32];

	duration(simulated_s, text, sizeof text);
	printf("%" PRIu64
	       " seeds  %.1f M events  %.2f M events/s  %.0f seeds/s  simulated %s (%.0f x real time)  %" PRIu64
	       " deviated\n",
	    c->seeds, (double)c->events / 1e6, (double)c->events / c->wall_s / 1e6, (double)c->seeds / c->wall_s, text,
	    simulated_s / c->wall_s, c->deviated);
	printf("%" PRIu64 " tasks: %" PRIu64 " done, %" PRIu64 " failed; %" PRIu64
	       " faults felt, the orchestrator died %" PRIu64 " times; %.1f MiB a process, %.1f s of CPU\n",
	    c->tasks, c->done, c->failed, c->faults, c->crashes, (double)c->memory / 1048576, c->cpu_s);
	printf("trace %016" PRIx64 "\n", c->trace);
	coverage_print(&c->coverage, s->verbose, stdout);
	for (unsigned i = 0; i < SIM_CHECKS; i++)
		if (c->by_check[i])
			printf("  %s deviated in %" PRIu64 " seeds\n", check_name(i), c->by_check[i]);
	if (c->others)
		printf("%" PRIu64 " seeds deviated by other invariants only\n", c->others);
	fflush(stdout); /* shrinking may take long, and may be interrupted */
}

int sim_simulate(const struct sim_simulate *s, struct error *err)
{
	static struct campaign c;
	const struct campaign_options options = {.bug = s->bug,
	    .first = s->first,
	    .count = s->count,
	    .budget_ms = s->budget_ms,
	    .cpu_ms = s->cpu_ms,
	    .jobs = s->jobs,
	    .aim = aim_of(s->bug)};
	struct sim *sim;

	if (sim_create(&sim, s->bug, err) != 0) /* is there such a bug? */
		return -1;
	sim_destroy(sim);
	printf("seeds from %" PRIu64 "\n", s->first);
	if (campaign_run(&c, &options, err) != 0)
		return -1;
	if (c.interrupted)
		printf("interrupted: what was run until then\n");
	report(s, &c);
	for (uint32_t i = 0; i < c.found_count; i++) {
		const struct campaign_found *found = &c.found[i];

		if (!s->no_shrink && !c.interrupted && i < SHRINK_MAX) {
			if (shrink_found(s, found, err) != 0)
				return -1;
		} else {
			printf("seed %" PRIu64 " deviated %s: %s\nreproduce: tritone replay --seed %" PRIu64 "%s%s\n",
			    found->seed, check_name(check_of(found->checks, s->bug)), found->text, found->seed,
			    s->bug ? " --bug " : "", s->bug ? s->bug : "");
		}
	}
	if (c.interrupted)
		return 128 + c.interrupted;
	if (c.deviated)
		return SIM_DEVIATED;
	return c.seeds && coverage_any(&c.coverage) ? SIM_HELD : SIM_VACUOUS;
}
