/* SPDX-License-Identifier: Apache-2.0 */
/* The simulator: the same seed is the same story; a schedule survives its file; what is not broken holds, and mistakes that were mended
 * stay so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check/check.h"
#include "fixtures/conductor/policy/bugs.h"
#include "history/history.h"
#include "sim/campaign.h"
#include "sim/heap.h"
#include "sim/schedule.h"
#include "sim/sim.h"

#define SEEDS 300u

/* Schedules that once deviated, each for a mistake that was mended: argv gives them. */
static char **schedules;
static int schedule_count;

struct fixture {
	struct sim *sim;
	struct sim_plan plan;
	struct coverage coverage;
	struct sim_result result;
};

static struct sim *create(const char *bug)
{
	struct sim *sim;
	struct error err;

	if (sim_create(&sim, bug, &err) != 0)
		fail_msg("%s", err.text);
	return sim;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	f->sim = create(NULL);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	sim_destroy(f->sim);
	free(f);
	return 0;
}

static uint64_t run_seed(struct fixture *f, uint64_t seed)
{
	plan_draw(&f->plan, seed);
	sim_run(f->sim, &f->plan, &f->result, &f->coverage);
	return f->result.trace;
}

static void heap_keeps_order(void **state)
{
	const uint64_t times[] = {5, 3, 9, 3, 1, 5, 7, 3, 0, 5};
	struct heap_entry last = {0}, entry;
	struct heap heap;

	(void)state;
	assert_true(heap_create(&heap, 16));
	for (uint32_t i = 0; i < 10; i++)
		heap_push(&heap, times[i], i);
	for (uint32_t i = 0; i < 10; i++) {
		entry = heap_pop(&heap);
		assert_true(
		    i == 0 || entry.at_us > last.at_us || (entry.at_us == last.at_us && entry.order > last.order));
		last = entry;
	}
	heap_destroy(&heap);
}

/* Also when other seeds were run before in the same memory. */
static void same_seed_same_story(void **state)
{
	struct fixture *f = *state;
	uint64_t alone[20];
	struct sim *other;

	for (uint64_t s = 0; s < 20; s++)
		alone[s] = run_seed(f, s);
	for (uint64_t s = 20; s-- > 0;)
		assert_true(run_seed(f, s) == alone[s]);
	other = create(NULL);
	for (uint64_t s = 5; s < 8; s++) {
		plan_draw(&f->plan, s);
		sim_run(other, &f->plan, &f->result, &f->coverage);
		assert_true(f->result.trace == alone[s]);
	}
	sim_destroy(other);
	assert_true(alone[1] != alone[2]);
}

static void what_is_not_broken_holds(void **state)
{
	struct fixture *f = *state;
	uint32_t felt = 0, crashes = 0;

	for (uint64_t s = 1; s <= SEEDS; s++) {
		run_seed(f, s);
		for (unsigned i = 0; i < SIM_CHECKS; i++)
			if (f->result.verdicts[i].violations)
				fail_msg("seed %llu: %s: %s", (unsigned long long)s, f->result.verdicts[i].name,
				    f->result.verdicts[i].text);
		assert_false(f->result.cut);
		felt += f->result.faults_felt;
		crashes += f->result.crashes;
	}
	/* It was tried, too. */
	assert_true(felt > SEEDS && crashes > SEEDS / 10);
	for (unsigned i = 0; i + 1 < SIM_CHECKS; i++)
		assert_true(f->coverage.opportunities[i] > 0);
}

static const char *dir_make(char *dir)
{
	assert_non_null(mkdtemp(dir));
	return dir;
}

/* What is written is what is read: the same plan, told by the trace. */
static void schedules_survive_their_file(void **state)
{
	struct fixture *f = *state;
	char dir[] = "/tmp/test_sim.XXXXXX", path[64];
	struct error err;

	snprintf(path, sizeof path, "%s/schedule.json", dir_make(dir));
	for (uint64_t s = 1; s <= 60; s++) {
		static struct sim_plan read;
		uint64_t trace;

		plan_draw(&f->plan, s);
		f->plan.tasks[s % f->plan.task_count].left_out = s % 2;
		sim_run(f->sim, &f->plan, &f->result, &f->coverage);
		trace = f->result.trace;
		if (schedule_write(&f->plan, NULL, NULL, path, &err) != 0 ||
		    schedule_read(&read, NULL, path, &err) != 0)
			fail_msg("%s", err.text);
		assert_int_equal(read.fault_count, f->plan.fault_count);
		sim_run(f->sim, &read, &f->result, &f->coverage);
		if (f->result.trace != trace)
			fail_msg("seed %llu is another one after its schedule was read", (unsigned long long)s);
	}
	unlink(path);
	rmdir(dir);
}

static unsigned check_named(const struct sim_result *r, const char *name)
{
	for (unsigned i = 0; i < SIM_CHECKS; i++)
		if (strcmp(r->verdicts[i].name, name) == 0)
			return i;
	fail_msg("no invariant is called %s", name);
	return 0;
}

/* What only the simulation can do is refused by its name, with what there is for real. */
static void what_is_not_real_is_refused(void **state)
{
	static const struct sim_fault faults[] = {{.plugin = SIM_AGENT_KILL, .when = {.nth = 1, .of = SIM_ANY}},
	    {.plugin = SIM_POWER_LOSS, .name = 1, .when = {.nth = 1, .of = SIM_ANY}},
	    {.plugin = SIM_ORCHESTRATOR_KILL,
		.name = 1,
		.target = SIM_POINT_ANY_EFFECT,
		.nth = 1,
		.when = {.nth = 1, .of = SIM_ANY}}};
	struct fixture *f = *state;
	char path[] = "/tmp/test-sim-XXXXXX";
	int fd = mkstemp(path);
	struct error err;
	bool system;

	assert_true(fd >= 0);
	close(fd);
	plan_draw(&f->plan, 1);
	for (unsigned i = 0; i < 3; i++) {
		f->plan.faults[0] = faults[0];
		f->plan.faults[1] = faults[i];
		f->plan.fault_count = i ? 2 : 1;
		assert_int_equal(schedule_write(&f->plan, NULL, NULL, path, &err), 0);
		assert_int_equal(schedule_is_real(path, &system, &err), i ? -1 : 0);
		assert_false(system);
		if (i) {
			assert_int_equal(err.code, ENOTSUP);
			assert_non_null(strstr(err.text, i == 1 ? "power-loss" : "'effect'"));
			assert_non_null(strstr(err.text, i == 1 ? "orchestrator-kill" : "faultpoints"));
		}
	}
	unlink(path);
}

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

/* With the place, as the real system would refuse it. */
static void nonsense_is_refused(void **state)
{
	static const struct {
		const char *text, *said;
	} cases[] = {
	    {"simulation: {seed: deadbeef}\n", "must be a number, found 'deadbeef'"},
	    {"simulation: {seed: '-1'}\n", "must be a number, found '-1'"},
	    {"simulation: {seed: 1}\nfaults: [{plugin: agent-kil}]\n",
		":3:10: the simulation has no fault 'agent-kil'"},
	    {"simulation: {seed: 1}\nfaults: [{plugin: agent-kill, arguments: {status: 500}}]\n",
		":3:51: the simulation has no 'status' of agent-kill"},
	    {"simulation: {seed: 1}\nfaults: [{plugin: swallowed-exception, arguments: {point: effect}}]\n",
		":3:59: the simulation has no 'point' of swallowed-exception"},
	    {"simulation: {seed: 1}\nfaults: [{plugin: provider-error, arguments: {status: 5oo}}]\n",
		":3:55: status must be a number from 100 to 599, found '5oo'"},
	    {"simulation: {seed: 1}\nfaults: [{plugin: orchestrator-kill, arguments: {point: effect, nth: 0}}]\n",
		":3:70: nth must be a number from 1 "},
	    {"simulation: {seed: 1}\nfaults: [{plugin: rate-limit, arguments: {retry-after: soon}}]\n", ":3:56: "},
	};
	struct fixture *f = *state;
	char path[] = "/tmp/test-sim-XXXXXX", text[256];
	int fd = mkstemp(path);
	struct error err;

	assert_true(fd >= 0);
	close(fd);
	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		snprintf(text, sizeof text, "title: nonsense\n%s", cases[i].text);
		write_file(path, text);
		if (schedule_read(&f->plan, NULL, path, &err) == 0)
			fail_msg("taken: %s", cases[i].text);
		if (!strstr(err.text, cases[i].said))
			fail_msg("%s: not: %s", err.text, cases[i].said);
	}
	unlink(path);
}

static int replay_quietly(const char *path)
{
	const struct sim_replay options = {.schedule = path, .quiet = true};
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC), before, r;
	struct error err;

	fflush(stdout);
	before = dup(STDOUT_FILENO);
	assert_true(null >= 0 && before >= 0 && dup2(null, STDOUT_FILENO) >= 0);
	r = sim_replay(&options, &err);
	fflush(stdout);
	assert_true(dup2(before, STDOUT_FILENO) >= 0);
	close(before);
	close(null);
	return r;
}

/* What would be judged is the reference orchestrator, and called theirs. */
static void other_systems_are_refused(void **state)
{
	struct fixture *f = *state;
	const char *slash = strrchr(schedules[0], '/');
	char path[] = "/tmp/test-sim-XXXXXX", text[4200];
	int fd = mkstemp(path);
	struct error err;

	assert_true(fd >= 0 && slash != NULL);
	close(fd);
	snprintf(text, sizeof text, "title: other\nsystem: %.*s/../../fixtures/systems/langgraph.yaml\n",
	    (int)(slash - schedules[0]), schedules[0]);
	write_file(path, text);
	assert_int_equal(schedule_read(&f->plan, NULL, path, &err), -1);
	assert_non_null(strstr(err.text, "its system is langgraph"));
	unlink(path);
}

/* A fault that another one keeps from having any effect was not felt. */
static void felt_is_what_had_an_effect(void **state)
{
	const struct sim_when request = {.event = SIM_ON_REQUEST, .nth = 2, .of = SIM_ANY};
	const struct sim_fault deaf[] = {{.plugin = SIM_AGENT_BABBLE, .kind = BABBLE_DEAF, .when = request},
	    {.plugin = SIM_AGENT_KILL, .kind = KILL_TERM, .name = 1, .when = request},
	    {.plugin = SIM_AGENT_BABBLE, .kind = BABBLE_LOOP, .name = 2, .duration_us = 1, .when = request}};
	const struct sim_fault refused[] = {
	    {.plugin = SIM_RATE_LIMIT, .target = SIM_ANY, .number = 50, .duration_us = SIM_SECOND, .when = request},
	    {.plugin = SIM_PROVIDER_ERROR,
		.target = SIM_ANY,
		.number = 500,
		.name = 1,
		.duration_us = SIM_SECOND,
		.when = request},
	    {.plugin = SIM_PROVIDER_LIE,
		.target = SIM_ANY,
		.kind = LIE_TOKENS,
		.name = 2,
		.duration_us = SIM_SECOND,
		.when = request}};
	struct fixture *f = *state;

	for (uint64_t s = 1; s <= 20; s++) {
		for (unsigned i = 0; i < 2; i++) {
			plan_draw(&f->plan, s);
			memcpy(f->plan.faults, i ? refused : deaf, sizeof deaf);
			f->plan.fault_count = 3;
			sim_run(f->sim, &f->plan, &f->result, &f->coverage);
			assert_true(sim_felt(f->sim, 0));
			assert_false(sim_felt(f->sim, 1));
			assert_false(sim_felt(f->sim, 2));
			assert_int_equal(f->result.faults_felt, 1);
		}
	}
}

/* As on the real system: not-injected is no pass. */
static void what_is_not_felt_is_no_pass(void **state)
{
	char path[] = "/tmp/test-sim-XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	write_file(
	    path, "title: felt\nsimulation: {seed: 1}\nfaults: [{plugin: orchestrator-kill, when: {at: 10ms}}]\n");
	assert_int_equal(replay_quietly(path), SIM_HELD);
	write_file(
	    path, "title: not felt\nsimulation: {seed: 1}\nfaults: [{plugin: orchestrator-kill, when: {at: 1h}}]\n");
	assert_int_equal(replay_quietly(path), SIM_VACUOUS);
	unlink(path);
}

static void mended_mistakes_stay_mended(void **state)
{
	struct fixture *f = *state;
	struct error err;

	assert_true(schedule_count > 0);
	for (int i = 0; i < schedule_count; i++) {
		if (schedule_read(&f->plan, NULL, schedules[i], &err) != 0)
			fail_msg("%s", err.text);
		sim_run(f->sim, &f->plan, &f->result, &f->coverage);
		for (unsigned k = 0; k < SIM_CHECKS; k++)
			if (f->result.verdicts[k].violations)
				fail_msg(
				    "%s: %s: %s", schedules[i], f->result.verdicts[k].name, f->result.verdicts[k].text);
	}
}

/* Nothing is lost where nothing is taken, and nobody waits: that new work goes through is looked at all the same. And what was cut off at a
 * bound of the simulation was not looked at. */
static void nothing_is_green_unseen(void **state)
{
	struct fixture *f = *state;
	const struct sim_verdict *contract = &f->result.verdicts[SIM_CHECKS - 1];

	for (uint64_t s = 1; s <= 20; s++) {
		plan_draw(&f->plan, s);
		f->plan.policy.queue_max = 0;
		sim_run(f->sim, &f->plan, &f->result, &f->coverage);
		assert_true(f->result.deviated && contract->violations == 1);
		assert_non_null(strstr(contract->text, "never accepted"));
		plan_draw(&f->plan, s);
		f->plan.policy.beat_ms = 0;
		sim_run(f->sim, &f->plan, &f->result, &f->coverage);
		assert_true(f->result.cut && f->result.deviated && contract->violations > 0);
		assert_non_null(strstr(contract->text, "cut off"));
	}
}

/* The invariants of safety need no look after each event: what a beginning of the history violates, all of it does. */
static void a_violation_stays_one(void **state)
{
	static const char *const safety[] = {"no-duplicate-commit", "no-zombie-commit", "no-half-written"};
	static const char *const bugs[] = {"double-commit-on-retry", "missing-fence-check", "state-file-in-place"};
	struct fixture *f = *state;
	struct check_config config;

	check_config_init(&config);
	for (unsigned b = 0; b < 3; b++) {
		const struct check *check = check_find(safety[b]);
		struct sim *sim = create(bugs[b]);
		unsigned seen = 0;

		for (uint64_t seed = 1; seed <= 4000 && seen < 3; seed++) {
			struct history_view all;
			struct check_result r;
			bool violated = false;

			plan_draw(&f->plan, seed);
			sim_run(sim, &f->plan, &f->result, &f->coverage);
			if (!f->result.verdicts[check_named(&f->result, safety[b])].violations)
				continue;
			seen++;
			sim_history(sim, &all);
			for (size_t n = 0; n <= all.count; n++) {
				struct history_view some = {.ops = all.ops, .count = n};

				check->run(&some, &config, &r);
				assert_false(violated && r.verdict != CHECK_DEVIATED);
				violated = r.verdict == CHECK_DEVIATED;
			}
			assert_true(violated);
		}
		assert_true(seen > 0);
		sim_destroy(sim);
	}
}

static void campaigns_do_not_depend_on_their_processes(void **state)
{
	struct campaign_options options = {.first = 1, .count = 60, .jobs = 1, .aim = -1};
	static struct campaign one, two;
	struct error err;

	(void)state;
	if (campaign_run(&one, &options, &err) != 0)
		fail_msg("%s", err.text);
	options.jobs = 2;
	if (campaign_run(&two, &options, &err) != 0)
		fail_msg("%s", err.text);
	assert_int_equal(one.seeds, 60);
	assert_int_equal(two.seeds, 60);
	assert_true(one.trace == two.trace && one.events == two.events);
	assert_memory_equal(&one.coverage, &two.coverage, sizeof one.coverage);
}

/* A budget ends it without a word; a signal ends it with what was run until then. */
static void campaigns_end_early(void **state)
{
	struct campaign_options options = {.first = 1, .count = UINT64_C(1) << 40, .jobs = 2, .aim = -1, .cpu_ms = 20};
	static struct campaign c;
	sigset_t interrupt, before;
	struct error err;

	(void)state;
	if (campaign_run(&c, &options, &err) != 0)
		fail_msg("%s", err.text);
	assert_true(c.seeds > 0 && c.events > 0 && c.interrupted == 0);
	options.cpu_ms = 0;
	sigemptyset(&interrupt);
	sigaddset(&interrupt, SIGINT);
	sigprocmask(SIG_BLOCK, &interrupt, &before);
	raise(SIGINT); /* taken by the campaign */
	if (campaign_run(&c, &options, &err) != 0)
		fail_msg("%s", err.text);
	sigprocmask(SIG_SETMASK, &before, NULL);
	assert_int_equal(c.interrupted, SIGINT);
	assert_int_equal(c.deviated, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(heap_keeps_order),
	    cmocka_unit_test_setup_teardown(same_seed_same_story, setup, teardown),
	    cmocka_unit_test_setup_teardown(what_is_not_broken_holds, setup, teardown),
	    cmocka_unit_test_setup_teardown(schedules_survive_their_file, setup, teardown),
	    cmocka_unit_test_setup_teardown(what_is_not_real_is_refused, setup, teardown),
	    cmocka_unit_test_setup_teardown(nonsense_is_refused, setup, teardown),
	    cmocka_unit_test_setup_teardown(other_systems_are_refused, setup, teardown),
	    cmocka_unit_test_setup_teardown(felt_is_what_had_an_effect, setup, teardown),
	    cmocka_unit_test(what_is_not_felt_is_no_pass),
	    cmocka_unit_test_setup_teardown(mended_mistakes_stay_mended, setup, teardown),
	    cmocka_unit_test_setup_teardown(nothing_is_green_unseen, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_violation_stays_one, setup, teardown),
	    cmocka_unit_test(campaigns_do_not_depend_on_their_processes),
	    cmocka_unit_test(campaigns_end_early),
	};

	schedules = argv + 1;
	schedule_count = argc - 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
