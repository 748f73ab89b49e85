/* SPDX-License-Identifier: Apache-2.0 */
/* What people get wrong: each mistake ends with status 2, names its place, leaves nothing behind, and spoils nothing else. */
#include "e2e.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void nothing_is_left(struct world *world)
{
	assert_int_equal(world_runs(world), 0);
	world_quiet(world);
	world_clean(world);
}

/* ---- files ---- */

#define SYSTEM "system: " SOURCES "/fixtures/systems/conductor.yaml\n"

static void test_mistakes_in_a_file(void **state)
{
	static const struct {
		const char *text, *error;
	} rows[] = {
	    {"title: x\nfalts: []\n", "x.yaml:2:1: unknown key 'falts'; did you mean 'faults'?"},
	    {"title: x\nworkload: [1]\n", "x.yaml:2:11: "},
	    {"title: x\nworkload: {tasks: many}\n", "x.yaml:2:19: "},
	    {"title: x\nworkload: {tasks: -1}\n", "x.yaml:2:19: "},
	    {"title: x\nfaults: [{plugin: agent-kill, duration: 3 parsecs}]\n", "x.yaml:2:41: "},
	    {"title: x\nfaults: [{plugin: agent-kill, hook-timeout: 1ms}]\n", "x.yaml:2:45: "},
	    {"title: x\nfaults: [{plugin: agent-pause, duration: 0s}]\n",
		"x.yaml:2:42: a fault that lasts no time is none; without 'duration' and 'until' it lasts until"},
	    {"title: x\ninvariants: [no-lost-tsk]\n", "x.yaml:2:14: unknown invariant 'no-lost-tsk'"},
	    {"title: x\ntitle: y\n", "x.yaml:2:1: "},
	    {"title: [x\n", "x.yaml:2:1: "},
	    {"title: x\nsystem: nonesuch\n", "x.yaml:2:9: "},
	    {"- x\n", "x.yaml:1:1: "},
	    {"", "x.yaml"},
	    {"\x89PNG\r\n\x1a\n", "x.yaml"},
	    {"a: &a [*a, *a]\n", "x.yaml:1:"},
	};
	struct world *world = *state;
	size_t i;

	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct ran *ran = tritone(world, "test", world_write(world, "x.yaml", "%s", rows[i].text), NULL);

		ran_status(ran, 2);
		ran_has(ran, rows[i].error);
		assert_int_equal(ran->used[0], 0); /* nothing was run */
	}
	nothing_is_left(world);
}

static void test_no_such_file(void **state)
{
	struct world *world = *state;
	struct ran *ran = tritone(world, "test", world_path(world, "nonesuch.yaml"), NULL);

	ran_status(ran, 2);
	ran_has(ran, "nonesuch.yaml: No such file");
	ran = tritone(world, "test", world->dir, NULL);
	ran_status(ran, 2);
	ran_has(ran, "directory");
	ran = tritone(world, "test", "/dev/null", NULL);
	ran_status(ran, 2);
	ran = tritone(world, "test", "/dev/zero", NULL);
	ran_status(ran, 2);
	nothing_is_left(world);
}

/* ---- plugins and their parameters ---- */

/* A shared object of the system that is no plugin: one that is in every process. */
static const char *system_library(struct world *world)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[4400], found[4400] = "";

	assert_non_null(maps);
	while (fgets(line, sizeof line, maps)) {
		char *path = strchr(line, '/');

		if (path && (strstr(path, "/libz.so") || (!found[0] && strstr(path, "/libcmocka.so"))))
			snprintf(found, sizeof found, "%.*s", (int)strcspn(path, "\n"), path);
	}
	fclose(maps);
	assert_true(found[0]);
	return world_write(world, "library", "%s", found) ? strdup(found) : NULL;
}

static void test_mistakes_about_plugins(void **state)
{
	struct world *world = *state;
	const char *evil = world_plugin(world, "evil");
	const struct {
		const char *plugin, *arguments, *error;
	} rows[] = {
	    {"nonesuch", "{}", "nonesuch"},
	    {"./evil.so", "{}", "evil.so"},
	    {system_library(world), "{}", "tritone_fault_v1"},
	    {"/dev/null", "{}", "/dev/null"},
	    {world->dir, "{}", world->dir},
	    {world_plugin(world, "evil-abi"), "{}", "ABI"},
	    {world_plugin(world, "evil-magic"), "{}", "evil-magic.so"},
	    {world_plugin(world, "evil-no-hook"), "{}", "revert"},
	    {world_plugin(world, "evil-crash-on-load"), "{}", "SIGABRT"},
	    {world_plugin(world, "evil-pathological"), "{}", "--pathological"},
	    {evil, "{count: many}", "count"},
	    {evil, "{count: 10}", "count"},
	    {evil, "{when: sometimes}", "sometimes"},
	    {evil, "{grace: 3 parsecs}", "3 parsecs"},
	    {evil, "{cuont: 1}", "cuont"},
	    {evil, "{text: \"${nonesuch}\"}", "nonesuch"},
	};
	size_t i;

	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *file = world_write(world, "x.yaml",
		    SYSTEM "faults:\n"
			   "  - name: one\n"
			   "    plugin: %s\n"
			   "    arguments: %s\n",
		    rows[i].plugin, rows[i].arguments);
		struct ran *ran = tritone(world, "test", file, NULL);

		ran_status(ran, 2);
		ran_has(ran, "ERROR");
		ran_has(ran, strcmp(rows[i].arguments, "{}") ? "x.yaml:5:" : "x.yaml:3:5: ");
		ran_has(ran, rows[i].error);
	}
	world_quiet(world);
	world_clean(world);
}

/* A path to a plugin counts from the file that names it, wherever tritone was called. */
static void test_plugin_beside_the_file(void **state)
{
	struct world *world = *state;
	const char *file = world_write(world, "x.yaml",
	    SYSTEM "faults: [{plugin: ./own.so}]\n"
		   "workload: {tasks: 1, tail: 0}\ninvariants: [no-lost-task]\n");
	struct ran *ran;

	ran = tritone(world, "test", "--dry-run", file, NULL);
	ran_status(ran, 2);
	ran_has(ran, world_path(world, "./own.so: No such file"));
	assert_int_equal(symlink(world_plugin(world, "evil"), world_path(world, "own.so")), 0);
	file = world_write(world, "x.yaml",
	    SYSTEM "faults: [{plugin: ./own.so}]\nworkload: {tasks: 1, tail: 0}\ninvariants: [no-lost-task]\n");
	ran = tritone(world, "test", file, NULL);
	ran_status(ran, 0);
	world_quiet(world);
	world_clean(world);
}

/* A parameter is judged by what its variables hold: refused with its place, in a dry run too, and before the system is started. */
static void test_variables_in_parameters(void **state)
{
	static const struct {
		const char *arguments, *error; /* NULL: nothing is wrong */
		bool at_start;                 /* only then is it known */
	} rows[] = {
	    {"{count: \"${n}\", grace: \"${time}\", when: \"${hook}\", text: \"${state}/x\"}", NULL, false},
	    {"{count: \"${seed}\"}", NULL, false},
	    {"{count: \"1${n}\"}", "x.yaml:5:24: evil: parameter 'count': '13' is not an integer from ", false},
	    {"{grace: \"${n} parsecs\"}", "x.yaml:5:24: evil: parameter 'grace': '3 parsecs'", false},
	    {"{when: \"${time}\"}", "x.yaml:5:23: evil: parameter 'when': '2s' is not one of ", false},
	    {"{cuont: \"${seed}\"}", "x.yaml:5:24: evil: no parameter is named 'cuont'; did you mean 'count'?", false},
	    {"{text: \"${port.}\"}", "x.yaml:5:23: there is no variable 'port.'", false},
	    {"{count: \"${port.api}\"}", "x.yaml:5:24: evil: parameter 'count': '", true},
	};
	struct world *world = *state;
	size_t i;

	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *file = world_write(world, "x.yaml",
		    SYSTEM "configuration: {n: 3, time: 2s, hook: never}\n"
			   "faults:\n"
			   "  - plugin: %s\n"
			   "    arguments: %s\n"
			   "workload: {tasks: 1, tail: 0}\n"
			   "invariants: [no-lost-task]\n",
		    world_plugin(world, "evil"), rows[i].arguments);
		struct ran *ran = tritone(world, "test", "--dry-run", file, NULL);

		ran_status(ran, rows[i].error && !rows[i].at_start ? 2 : 0);
		if (rows[i].error && !rows[i].at_start)
			ran_has(ran, rows[i].error);
		ran = tritone(world, "test", "--seed", "4", file, NULL);
		ran_status(ran, rows[i].error ? 2 : 0);
		if (rows[i].error)
			ran_has(ran, rows[i].error);
		/* Of one that was refused nothing has been started: it has written nothing. */
		assert_int_equal(world_matches(world_path(world, "state/runs/*/state/wal"), NULL, 0), 0);
	}
	world_quiet(world);
	world_clean(world);
}

/* ---- systems ---- */

static void test_mistakes_about_systems(void **state)
{
	struct world *world = *state;
	const struct {
		const char *from, *to, *error;
	} rows[] = {
	    {"\nprepare:", "\nperpare:", "bad.yaml:18:1: unknown key 'perpare'; did you mean 'prepare'?"},
	    {"name: conductor\ndesc", "desc", "bad.yaml"},
	    {"\"127.0.0.1:${port.api}\"", "\"127.0.0.1:${prot.api}\"",
		"bad.yaml:34:9: there is no variable 'prot.api'"},
	    {"[\"${bin}/fixtures/conductor/conductor\", init", "[\"/nowhere/conductor\", init", "/nowhere/conductor"},
	};
	size_t i;

	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *manifest = world_manifest(world, "bad.yaml", rows[i].from, rows[i].to);
		const char *file = world_write(world, "x.yaml", "title: x\nsystem: %s\n", manifest);
		struct ran *ran = tritone(world, "test", file, NULL);

		/* What is wrong with the file is a bad file; what only its start can show is a gate that failed. */
		ran_status(ran, i == 3 ? 3 : 2);
		ran_has(ran, rows[i].error);
		ran = tritone(world, "up", manifest, NULL);
		ran_status(ran, i == 3 ? 3 : 2);
		ran_has(ran, rows[i].error);
	}
	world_quiet(world);
	world_clean(world);
}

/* A fault on an agent at a system whose manifest does not say where its agents are: not possible here, before anything is started. */
/* A shipped experiment, copied: its system is a name that means nothing there. */
static void test_system_of_a_copy(void **state)
{
	struct world *world = *state;
	const char *file = world_write(world, "copy.yaml",
	    "title: x\nsystem: nowhere\nworkload: {tasks: 1, tail: 0}\ninvariants: [no-lost-task]\n");
	const char *suite = world_write(world, "suite.yaml", "system: away.yaml\nexperiments: [copy.yaml]\n");
	const char *system = SOURCES "/fixtures/systems/conductor.yaml";
	struct ran *ran;

	ran = tritone(world, "test", "--dry-run", file, NULL);
	ran_status(ran, 2);
	ran_has(ran, "copy.yaml:2:9: there is no manifest 'nowhere'");
	ran_has(ran, "--system FILE");
	ran = tritone(world, "up", "nosuch", NULL);
	ran_status(ran, 2);
	ran_has(ran, "there is no systems/nosuch.yaml in the working directory, nor in its fixtures/");
	ran = tritone(world, "test", "--dry-run", suite, NULL);
	ran_status(ran, 2);
	ran_has(ran, "away.yaml");
	ran_has(ran, "--system FILE");
	ran_status(tritone(world, "test", "--dry-run", "--system", system, file, NULL), 0);
	ran_status(tritone(world, "test", "--dry-run", "--system", system, suite, NULL), 0);
	nothing_is_left(world);
}

static void test_no_agents(void **state)
{
	struct world *world = *state;
	const char *manifest = world_manifest(world, "none.yaml",
	    "\nagents:\n  pid-files: .sdd/runtime/agents/*/pid\n  task-files: .sdd/runtime/agents/*/task\n"
	    "  worktree-files: .sdd/runtime/agents/*/worktree\n",
	    "\n");
	const char *file = world_write(world, "x.yaml", "system: %s\nfaults: [{plugin: agent-kill}]\n", manifest);
	struct ran *ran = tritone(world, "test", file, NULL);

	ran_status(ran, 7);
	ran_has(ran, "x.yaml:2:10: fault agent-kill is about an agent, and ");
	ran_has(ran, "none.yaml does not say where those are: it has no 'agents' with 'pid-files'");
	nothing_is_left(world);
}

/* ---- one bad experiment among good ones ---- */

static void test_bad_experiment_spoils_no_other(void **state)
{
	struct world *world = *state;
	const char *good = SYSTEM "workload: {tasks: 1, tail: 0}\ninvariants: [no-lost-task]\n";
	const char *suite;
	struct ran *ran;

	world_write(world, "good.yaml", "%s", good);
	world_write(world, "better.yaml", "%s", good);
	world_write(world, "typo.yaml", "%sfalts: []\n", good);
	world_write(world, "plugin.yaml", "%sfaults:\n  - plugin: nonesuch\n", good);
	suite = world_write(world, "suite.yaml",
	    "title: mixed\n"
	    "experiments:\n"
	    "  - good.yaml\n"
	    "  - typo.yaml\n"
	    "  - missing.yaml\n"
	    "  - plugin.yaml\n"
	    "  - better.yaml\n");
	ran = tritone(world, "test", suite, NULL);
	ran_status(ran, 2);
	ran_has(ran, "ok    good ");
	ran_has(ran, "typo.yaml:4:1: unknown key 'falts'");
	ran_has(ran, "suite.yaml:5:5: the experiment ");
	ran_has(ran, "missing.yaml: No such file");
	ran_has(ran, "plugin.yaml:5:5: ");
	ran_has(tritone(world, "test", "--dry-run", suite, NULL), "2 planned, 3 cannot be, nothing was touched\n");
	ran_has(ran, "ok    better ");
	ran_has(ran, "2 held, 0 deviated, 3 with errors, 0 left behind");
	world_quiet(world);
	world_clean(world);
}

/* ---- the command line ---- */

static void test_mistakes_on_the_command_line(void **state)
{
	static const char *const rows[][6] = {
	    {"tset", NULL},
	    {"test", NULL},
	    {"test", "a.yaml", "b.yaml", NULL},
	    {"test", "--nonesuch", "a.yaml", NULL},
	    {"test", "--jobs", "0", "a.yaml", NULL},
	    {"test", "--reruns", "x", "a.yaml", NULL},
	    {"test", "--reruns", "-18446744073709551615", SOURCES "/fixtures/experiments/agent-kill.yaml", NULL},
	    {"test", "--json", "--jsonl", SOURCES "/fixtures/experiments/agent-kill.yaml", NULL},
	    {"test", "--quiet", "--only", NULL},
	    {"up", NULL},
	    {"up", "nonesuch", NULL},
	    {"inject", NULL},
	    {"inject", "nonesuch", "--pid", "2", NULL},
	    {"inject", "agent-kill", NULL},
	    {"inject", "agent-kill", "--pid", "x", NULL},
	    {"inject", "agent-kill", "--pid", "1", NULL},
	    {"inject", "agent-kill", "--state", "/nowhere", NULL},
	    {"inject", "agent-kill", "--control", "/nowhere", NULL},
	    {"inject", "agent-kill", "--pid", "2", "signal=BOO", NULL},
	    {"inject", "agent-kill", "--pid", "2", "signal", NULL},
	    {"halt", NULL},
	    {"halt", "--all", "--clear", NULL},
	    {"halt", "nonesuch", NULL},
	    {"halt", "../runs", NULL},
	    {"recover", "/nowhere", NULL},
	    {"status", "extra", NULL},
	    {"show", "nonesuch", NULL},
	    {"show", NULL},
	    {"show", "--kind", "comit", "x", NULL},
	    {"plugin", NULL},
	    {"plugin", "show", "nonesuch", NULL},
	    {"plugin", "shwo", "agent-kill", NULL},
	    {"wal", "dmup", "/nowhere", NULL},
	    {"wal", "verify", NULL},
	    {"gateway", "--nonesuch", NULL},
	    {"doctor", "--nonesuch", NULL},
	};
	struct world *world = *state;
	size_t i;

	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *const *r = rows[i];
		struct ran *ran = tritone(world, r[0], r[1], r[1] ? r[2] : NULL, r[1] && r[2] ? r[3] : NULL,
		    r[1] && r[2] && r[3] ? r[4] : NULL, NULL);
		const char *last = r[0];
		size_t k;

		for (k = 0; r[k]; k++)
			last = r[k];
		ran_end(ran);
		if (ran->status != 2)
			print_error("# row %zu, that ends with %s\n", i, last);
		ran_status(ran, 2);
		if (!ran->used[1])
			fail_msg("row %zu, that ends with %s, was refused without a word", i, last);
	}
	nothing_is_left(world);
}

static void test_help_and_no_arguments(void **state)
{
	static const char *const verbs[] = {
	    "test", "up", "inject", "status", "recover", "halt", "plugin", "show", "wal", "gateway", "doctor"};
	struct world *world = *state;
	size_t i;

	for (i = 0; i < sizeof verbs / sizeof *verbs; i++) {
		struct ran *ran = tritone(world, verbs[i], "--help", NULL);

		ran_status(ran, 0);
		ran_has(ran, "usage: tritone ");
		assert_int_equal(ran->used[1], 0);
	}
	ran_has(tritone(world, "show", "--help", NULL), "Kinds: submit, outcome, commit, ");
	ran_has(
	    tritone(world, "show", "--kind", "comit", "x", NULL), "there is no kind 'comit'; did you mean 'commit'?");
	ran_status(tritone(world, NULL), 2);
	nothing_is_left(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_mistakes_in_a_file, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_no_such_file, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_mistakes_about_plugins, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_plugin_beside_the_file, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_variables_in_parameters, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_mistakes_about_systems, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_system_of_a_copy, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_no_agents, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_bad_experiment_spoils_no_other, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_mistakes_on_the_command_line, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_help_and_no_arguments, world_create, world_destroy),
	};

	return cmocka_run_group_tests_name("bad_input", tests, NULL, NULL);
}
