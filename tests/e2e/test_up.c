/* SPDX-License-Identifier: Apache-2.0 */
/* `tritone up`: how it begins and ends; and the verbs that only look. */
#include "e2e_up.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* ---- up ---- */

static void test_up_works_for_a_person(void **state)
{
	struct world *world = *state;
	struct up up = start_up(world, unhurried(world), NULL);
	static struct body body;
	char url[256];

	assert_int_equal(strncmp(up.submit, "POST http://127.0.0.1:", 22), 0);
	hand_in(&up, "one", "write");
	do
		assert_int_equal(http(up.outcome, NULL, &body), 200);
	while (!strstr(body.text, "\"done\""));
	snprintf(url, sizeof url, "POST %s/claude/v1/chat/completions", up.gateway);
	assert_int_equal(
	    http(url, "{\"model\": \"opus\", \"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}", NULL), 200);
	ran_has(tritone(world, "status", NULL), "none");
	end_up(world, &up);
}

static void test_up_is_halted(void **state)
{
	struct world *world = *state;
	struct up up = start_up(world, unhurried(world), NULL);

	ran_status(tritone(world, "halt", strrchr(up.run, '/') + 1, NULL), 0);
	ran_status(up.ran, 6); /* not as it would have ended by itself */
	ran_has(up.ran, "this run was halted by hand");
	world_quiet(world);
	world_clean(world);
}

static void test_up_is_killed(void **state)
{
	struct world *world = *state;
	struct up up = start_up(world, unhurried(world), NULL);

	hand_in(&up, "one", "write");
	ran_signal(up.ran, SIGKILL);
	ran_status(up.ran, 137);
	world_quiet(world);
	world_clean(world);
}

/* Who has died and is started no more: which, how and its last words, and a status of its own. */
static void test_up_whose_system_dies(void **state)
{
	struct world *world = *state;
	struct up up = start_up(world, world_manifest(world, "mortal.yaml", "max: 20", "max: 1"), NULL);

	ran_status(tritone(world, "inject", "process-kill", "--state", up.run, NULL), 0);
	hand_in_again(&up, "one"); /* it is back */
	ran_status(tritone(world, "inject", "process-kill", "--state", up.run, NULL), 0);
	ran_status(up.ran, 1);
	ran_has(up.ran, "process conductor is gone for good: it was killed by signal 9 (Killed), after 1 restarts\n");
	ran_has(up.ran, "  conductor: ");
	ran_has(up.ran, "the system has ended by itself: conductor: ");
	assert_int_equal(world_runs(world), 1); /* for the post-mortem */
	world_quiet(world);
	world_clean(world);
}

/* Another process than the orchestrator: that is said, and the system stays up. */
static void test_up_whose_worker_dies(void **state)
{
	struct world *world = *state;
	struct up up = start_up(world,
	    world_manifest(world, "mortal.yaml", "processes:\n",
		"processes:\n  - {name: beside, helper: true, restart: false, command: [sh, -c, 'echo last words; exec "
		"sleep "
		"1000']}\n"),
	    NULL);

	ran_status(tritone(world, "inject", "process-kill", "process=beside", "--state", up.run, NULL), 0);
	ran_says(up.ran, "process beside is gone for good: it was killed by signal 9 (Killed)\n");
	ran_says(up.ran, "  beside: last words\n");
	hand_in(&up, "one", "write");
	end_up(world, &up);
}

/* ---- the other verbs ---- */

static void test_verbs_that_look(void **state)
{
	struct world *world = *state;
	const char *file = world_write(world, "x.yaml",
	    "system: %s\nworkload: {tasks: 1, tail: 0}\ninvariants: [no-lost-task]\n", unhurried(world));
	char run[256], pattern[160], path[300];
	struct ran *ran;
	json_t *json;

	ran_status(tritone(world, "test", "--keep", file, NULL), 0);
	snprintf(pattern, sizeof pattern, "%s/runs/*[a-z]", world->state);
	assert_int_equal(world_matches(pattern, run, sizeof run), 1);
	ran = tritone(world, "show", run, NULL);
	ran_status(ran, 0);
	ran_has(ran, "commit");
	ran_status(tritone(world, "show", "--kind", "commit", strrchr(run, '/') + 1, NULL), 0);
	snprintf(path, sizeof path, "%s/history", run);
	ran_status(tritone(world, "wal", "verify", path, NULL), 0);
	ran = tritone(world, "wal", "dump", path, NULL);
	ran_status(ran, 0);
	assert_true(ran->used[0] > 0);
	snprintf(path, sizeof path, "%s/state/wal", run);
	ran_status(tritone(world, "wal", "verify", path, NULL), 0);
	ran = tritone(world, "plugin", "list", NULL);
	ran_status(ran, 0);
	ran_has(ran, "orchestrator-kill");
	ran = tritone(world, "plugin", "show", "rate-limit", NULL);
	ran_status(ran, 0);
	ran_has(ran, "retry-after");
	ran = tritone(world, "doctor", "--json", NULL);
	json = json_loads(ran->text[0], 0, NULL);
	assert_non_null(json);
	json_decref(json);
	ran = tritone(world, "status", "--json", NULL);
	ran_status(ran, 0);
	json = json_loads(ran->text[0], 0, NULL);
	assert_int_equal(json_array_size(json), 1);
	json_decref(json);
	world_quiet(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    UP_TEST(test_up_works_for_a_person),
	    UP_TEST(test_up_is_halted),
	    UP_TEST(test_up_is_killed),
	    UP_TEST(test_up_whose_system_dies),
	    UP_TEST(test_up_whose_worker_dies),
	    UP_TEST(test_verbs_that_look),
	};

	return up_main("up", tests, sizeof tests / sizeof tests[0]);
}
