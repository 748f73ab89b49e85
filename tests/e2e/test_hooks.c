/* SPDX-License-Identifier: Apache-2.0 */
/* Plugins that crash, hang, refuse and lie in each of their hooks, in a real experiment: it costs that experiment, and never the host. */
#include "e2e.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One task, one fault that misbehaves, and a deadline of a fifth of a second for its hooks. */
static const char *experiment(struct world *world, const char *name, const char *arguments)
{
	return world_write(world, name,
	    "system: unhurried.yaml\n"
	    "workload: {tasks: 1, tail: 0, limit: 10m}\n"
	    "faults:\n"
	    "  - plugin: %s\n"
	    "    arguments: {%s}\n"
	    "    hook-timeout: 200ms\n"
	    "    proof: 300ms\n"
	    "    when: {event: provider-request, hold: true}\n"
	    "invariants: [no-lost-task]\n",
	    world_plugin(world, "evil"), arguments);
}

static json_t *line_of(const struct ran *ran, const char *name)
{
	const char *line = ran->text[0];

	for (; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		char *one = strndup(line, strcspn(line, "\n"));
		json_t *object;

		assert_non_null(one);
		object = json_loads(one, 0, NULL);
		free(one);
		assert_non_null(object);
		if (!strcmp(json_string_value(json_object_get(object, "name")), name))
			return object;
		json_decref(object);
	}
	fail_msg("there is no line for %s", name);
	return NULL;
}

struct row {
	const char *name, *arguments, *verdict, *reason;
};

/* All in one suite: one after the other, none the worse for the one before. */
static void judge_all(struct world *world, const struct row *rows, size_t count, int status)
{
	char list[4096] = "";
	struct ran *ran;
	size_t i;

	for (i = 0; i < count; i++) {
		char file[64];

		snprintf(file, sizeof file, "%s.yaml", rows[i].name);
		experiment(world, file, rows[i].arguments);
		snprintf(list + strlen(list), sizeof list - strlen(list), "  - %s\n", file);
	}
	ran = tritone(world, "test", "--jsonl", world_write(world, "suite.yaml", "experiments:\n%s", list), NULL);
	for (i = 0; i < count; i++) {
		json_t *line = line_of(ran, rows[i].name);
		const char *verdict = json_string_value(json_object_get(line, "verdict"));
		const char *reason = json_string_value(json_object_get(line, "reason"));

		if (strcmp(verdict, rows[i].verdict) != 0 || (rows[i].reason && !strstr(reason, rows[i].reason)))
			fail_msg("%s: %s (%s), expected %s (%s)", rows[i].name, verdict, reason, rows[i].verdict,
			    rows[i].reason);
		json_decref(line);
	}
	ran_status(ran, status);
	world_quiet(world);
	world_clean(world);
}

static void test_before_and_at_injection(void **state)
{
	static const struct row rows[] = {
	    {"check-crash", "when: check, how: crash", "not-injected", "crashed in check: killed by SIGABRT"},
	    {"check-exit", "when: check, how: exit", "not-injected", "in check"},
	    {"check-hang", "when: check, how: hang", "not-injected", "hung in check: no answer within 200 ms"},
	    {"plan-crash", "when: plan, how: crash", "not-injected", "crashed in plan: killed by SIGABRT"},
	    {"plan-hang", "when: plan, how: hang", "not-injected", "hung in plan: no answer within 200 ms"},
	    {"plan-big", "when: plan, how: big-undo", "not-injected", "undo"},
	    {"inject-crash", "when: inject, how: crash", "not-injected", "crashed in inject: killed by SIGABRT"},
	    {"inject-exit", "when: inject, how: exit", "not-injected", "in inject"},
	    {"inject-hang", "when: inject, how: hang", "not-injected", "hung in inject: no answer within 200 ms"},
	    {"inject-wait", "when: inject, how: wait", "not-injected", "inject"},
	    {"inject-mute", "when: inject, how: mute", "not-injected", NULL},
	    {"inject-garbage", "when: inject, how: garbage", "not-injected", "inject"},
	    {"inject-close", "when: inject, how: close", "not-injected", "inject"},
	    {"inject-lie", "when: inject, how: lie", "not-injected", "not felt in time"},
	    {"verify-crash", "when: verify, how: crash", "not-injected", "crashed in verify: killed by SIGABRT"},
	    {"verify-hang", "when: verify, how: hang", "not-injected", "hung in verify: no answer within 200 ms"},
	    {"verify-refuse", "when: verify, how: refuse", "not-injected", "not on a Sunday"},
	    {"verify-nonsense", "when: verify, how: nonsense", "not-injected", "verify"},
	    {"none", "when: never", "held", NULL},
	};

	judge_all(*state, rows, sizeof rows / sizeof *rows, 4);
}

static void test_refusals_are_a_missing_capability(void **state)
{
	static const struct row rows[] = {
	    {"check-refuse", "when: check, how: refuse", "unavailable", "not on a Sunday"},
	    {"plan-refuse", "when: plan, how: refuse", "unavailable", "not on a Sunday"},
	    {"inject-refuse", "when: inject, how: refuse", "unavailable", "not on a Sunday"},
	};

	judge_all(*state, rows, sizeof rows / sizeof *rows, 7);
}

/* What inject had done before it crashed is taken back, and only a fresh process can have done it. */
static void test_crashed_injection_is_undone(void **state)
{
	struct world *world = *state;
	struct ran *ran = tritone(world, "test", experiment(world, "x.yaml", "when: inject, how: crash"), NULL);
	char pattern[160];

	ran_status(ran, 4);
	ran_has(ran, "NOT-INJECTED  evil: the plugin's process crashed in inject: killed by SIGABRT");
	ran_has(ran, "reverted: ");
	ran_has(ran, "1 not injected, 0 left behind");
	snprintf(pattern, sizeof pattern, "%s/runs/*/state/evil-*", world->state);
	assert_int_equal(world_matches(pattern, NULL, 0), 0);
	world_quiet(world);
	world_clean(world);
}

/* A revert that fails once is done by another process; the experiment is none the worse. */
static void test_revert_that_fails_once(void **state)
{
	static const struct row rows[] = {
	    {"revert-crash-once", "when: revert, how: crash, once: true", "held", NULL},
	    {"revert-hang-once", "when: revert, how: hang, once: true", "held", NULL},
	};

	judge_all(*state, rows, sizeof rows / sizeof *rows, 0);
}

/* What cannot be undone: 5, said by status and recover, and nothing starts on top of it. */
static void cannot_be_undone(struct world *world, const char *how, const char *why)
{
	char arguments[64], pattern[160];
	const char *file;
	struct ran *ran;

	snprintf(arguments, sizeof arguments, "when: revert, how: %s", how);
	file = experiment(world, "x.yaml", arguments);
	ran = tritone(world, "test", file, NULL);
	ran_status(ran, 5);
	ran_has(ran, "UNDO-INCOMPLETE  fault evil could not be undone: ");
	ran_has(ran, why);
	ran_has(ran, "NOT UNDONE");
	ran_has(ran, "1 undo incomplete, 1 left behind");
	world_quiet(world);
	snprintf(pattern, sizeof pattern, "%s/runs/*/state/evil-*", world->state);
	assert_int_equal(world_matches(pattern, NULL, 0), 1);

	ran = tritone(world, "status", NULL);
	ran_status(ran, 5);
	ran_has(ran, "LEFT BEHIND: evil");
	ran = tritone(world, "recover", NULL);
	ran_status(ran, 5);
	ran_has(ran, "evil: NOT undone: ");
	ran_has(ran, strcmp(how, "hang") ? why : "hung in revert");
	ran = tritone(world, "test", file, NULL);
	ran_status(ran, 2);
	ran_has(ran, "has 1 fault(s) that were not undone; run `tritone recover` first");
	ran = tritone(world, "up", world_path(world, "unhurried.yaml"), NULL);
	ran_status(ran, 2);
	ran_has(ran, "run `tritone recover` first");
	world_quiet(world);
}

static void test_revert_crashes(void **state)
{
	cannot_be_undone(*state, "crash", "crashed in revert: killed by SIGABRT");
}

static void test_revert_refuses(void **state)
{
	cannot_be_undone(*state, "refuse", "not on a Sunday");
}

static void test_revert_hangs(void **state)
{
	cannot_be_undone(*state, "hang", "hung in revert: no answer within 200 ms");
}

/* What nothing lasts of is proven in its own time: that the work is done meanwhile takes nothing from it. */
static void test_a_proof_that_outlasts_the_work(void **state)
{
	struct world *world = *state;
	struct ran *ran = tritone(world, "test", "-v",
	    world_write(world, "x.yaml",
		"system: unhurried.yaml\n"
		"workload: {tasks: 1, tail: 0, limit: 10m}\n"
		"faults:\n"
		"  - plugin: %s\n"
		"    arguments: {how: late, grace: 1500ms}\n"
		"    proof: 60s\n"
		"    when: {event: accept}\n"
		"invariants: [no-lost-task]\n",
		world_plugin(world, "evil-instant")),
	    NULL);

	ran_status(ran, 0);
	ran_has(ran, "fault evil-instant: felt: ");
	world_quiet(world);
	world_clean(world);
}

/* A process that a plugin leaves behind goes with it, even when the plugin has crashed. */
static void test_children_of_a_plugin_go_with_it(void **state)
{
	struct world *world = *state;
	struct ran *ran = tritone(world, "test", experiment(world, "x.yaml", "when: inject, how: child"), NULL);

	ran_status(ran, 0);
	world_quiet(world);
	world_clean(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_before_and_at_injection, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_refusals_are_a_missing_capability, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_crashed_injection_is_undone, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_revert_that_fails_once, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_revert_crashes, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_revert_refuses, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_revert_hangs, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_a_proof_that_outlasts_the_work, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_children_of_a_plugin_go_with_it, world_create, world_destroy),
	};

	return cmocka_run_group_tests_name("hooks", tests, NULL, NULL);
}
