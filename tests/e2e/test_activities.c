/* SPDX-License-Identifier: Apache-2.0 */
/* What an experiment asks of the system besides its faults, and when: rollbacks at a live system, events that it cannot show. */
#include "e2e.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const char *experiment(struct world *world, const char *name, const char *more)
{
	return world_write(world, name,
	    "system: unhurried.yaml\n"
	    "workload: {tasks: 1, tail: 0, limit: 10m}\n"
	    "invariants: [no-lost-task]\n"
	    "%s",
	    more);
}

/* The API answers while they are carried out: the system is stopped only afterwards. */
static void test_rollbacks_meet_a_live_system(void **state)
{
	struct world *world = *state;
	struct ran *ran = tritone(world, "test", "--jsonl",
	    experiment(world, "alive.yaml",
		"rollbacks:\n"
		"  - {type: probe, name: alive, tolerance: 200, provider: {type: http, url: "
		"\"http://127.0.0.1:${port.api}/ready\"}}\n"),
	    NULL);

	ran_status(ran, 0);
	ran_has(ran, "\"verdict\":\"held\"");
	world_quiet(world);
}

/* One that fails is left behind work; what was expected is one number. The system is stopped all the same. */
static void test_a_rollback_that_fails(void **state)
{
	struct world *world = *state;
	struct ran *ran = tritone(world, "test",
	    experiment(world, "fails.yaml",
		"rollbacks:\n"
		"  - {type: probe, name: odd, tolerance: 201, provider: {type: http, url: "
		"\"http://127.0.0.1:${port.api}/ready\"}}\n"),
	    NULL);

	ran_status(ran, 5);
	ran_has(ran, "a rollback failed: odd: expected 201, found 200");
	world_quiet(world);
}

static void test_an_event_that_never_comes(void **state)
{
	struct world *world = *state;
	struct ran *ran = tritone(world, "test",
	    experiment(
		world, "never.yaml", "faults: [{plugin: agent-kill, when: {event: provider-request, of: claud}}]\n"),
	    NULL);

	ran_status(ran, 2);
	ran_has(ran, "never.yaml:4:67: there is no provider named 'claud'; did you mean 'claude'?");
	world_quiet(world);
}

/* The method's pauses are part of the watch: a fault has its moment, its proof and its end in the middle of one, which none outlasts. */
static void test_faults_come_while_the_method_pauses(void **state)
{
	struct world *world = *state;
	struct ran *ran = tritone_start(world, "test",
	    world_write(world, "method.yaml",
		"system: unhurried.yaml\n"
		"workload: {tasks: 6, tail: 0, rate: 20, limit: 10m}\n"
		"invariants: [no-lost-task]\n"
		"faults: [{plugin: rate-limit, arguments: {provider: claude}, proof: 10m,\n"
		"  when: {event: provider-request, of: claude, hold: true}, until: {event: provider-reply, of: "
		"claude}}]\n"
		"method:\n"
		"  - {type: action, name: wait, pauses: {before: 1h}, provider: {type: process, path: \"true\"}}\n"),
	    NULL);

	ran_says(ran, "rate-limit felt");
	ran_says(ran, "rate-limit undone");
	ran_signal(ran, SIGINT);
	ran_status(ran, 130);
	ran_has(ran, "interrupted by signal 2");
	ran_has(ran, ", 0 left behind");
	world_quiet(world);
	world_clean(world);
}

/* An answer to HEAD announces a body that never comes: nobody waits for it. */
static void test_a_probe_by_head(void **state)
{
	struct world *world = *state;
	struct ran *ran = tritone(world, "test", "--jsonl",
	    experiment(world, "head.yaml",
		"rollbacks:\n"
		"  - {type: probe, name: head, tolerance: [200, 499], provider: {type: http, method: HEAD, url: "
		"\"http://127.0.0.1:${port.api}/ready\"}}\n"),
	    NULL);

	ran_status(ran, 0);
	ran_has(ran, "\"verdict\":\"held\"");
	world_quiet(world);
}

/* A program that is not there is found before anything is started, in a dry run too; one below a directory of the run may come to be. */
static void test_a_program_that_is_not_there(void **state)
{
	static const struct {
		const char *path, *error;
	} rows[] = {
	    {"nonesuch-program", "none.yaml:5:5: odd: there is no program 'nonesuch-program' in PATH"},
	    {"/nowhere/program", "none.yaml:5:5: odd: /nowhere/program: No such file"},
	    {"/tmp", "none.yaml:5:5: odd: /tmp: Permission denied"},
	    {"${nonesuch}/program", "none.yaml:5:5: odd: there is no variable 'nonesuch'"},
	    {"${state}/program", NULL},
	    {"true", NULL},
	};
	static const char *const places[] = {"method", "rollbacks", "steady-state-hypothesis"};
	struct world *world = *state;
	size_t i, k;

	for (i = 0; i < sizeof rows / sizeof *rows; i++)
		for (k = 0; k < 3; k++) {
			char more[256];
			const char *file;
			struct ran *ran;

			snprintf(more, sizeof more,
			    k == 2 ? "%s: {title: t, probes: [\n    {name: odd, tolerance: 0, provider: {type: "
				     "process, path: "
				     "\"%s\"}}]}\n"
				   : "%s:\n  - {name: odd, provider: {type: process, path: \"%s\"}}\n",
			    places[k], rows[i].path);
			file = experiment(world, "none.yaml", more);
			ran = tritone(world, "test", "--dry-run", file, NULL);
			ran_status(ran, rows[i].error ? 2 : 0);
			if (!rows[i].error)
				continue;
			ran_has(ran, rows[i].error);
			ran = tritone(world, "test", file, NULL);
			ran_status(ran, 2);
			ran_has(ran, rows[i].error);
		}
	assert_int_equal(world_runs(world), 0);
	world_quiet(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_rollbacks_meet_a_live_system, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_a_rollback_that_fails, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_an_event_that_never_comes, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_faults_come_while_the_method_pauses, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_a_probe_by_head, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_a_program_that_is_not_there, world_create, world_destroy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
