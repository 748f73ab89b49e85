/* SPDX-License-Identifier: Apache-2.0 */
/* SIGINT, SIGTERM and SIGKILL of `tritone test` in every stage: no process is left, what was in force is undone, and it is said. */
#include "e2e.h"

#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct stage {
	const char *name;
	const char *(*write)(struct world *world); /* the experiment's file */
	const char *line;                          /* once that is said ... */
	const char *file; /* ... and that is there (below the run; NULL: nothing), it is in that stage */
	void (*before)(struct world *world), (*after)(struct world *world);
};

/* ---- systems that stay where they are ---- */

#define NOWHERE "submit: {url: \"http://127.0.0.1:1/\", body: \"{}\"}\n"

static const char *in_prepare(struct world *world)
{
	world_write(world, "system.yaml",
	    "name: slow\n"
	    "prepare: [[sh, -c, 'touch ${state}/there; sleep 1000']]\n"
	    "processes: [{name: p, command: [sleep, '1000']}]\n" NOWHERE);
	return world_write(world, "x.yaml", "system: system.yaml\n");
}

static const char *in_gate(struct world *world)
{
	/* A child of its own, in a session of its own, that ignores SIGTERM: none of that helps it. */
	world_write(world, "system.yaml",
	    "name: slow\n"
	    "processes:\n"
	    "  - name: p\n"
	    "    command: [sh, -c, \"setsid sh -c 'trap \\\"\\\" TERM; touch ${state}/there; sleep 1000' & sleep "
	    "1000\"]\n"
	    "    ready: {file: '${state}/never', timeout: 100s}\n" NOWHERE);
	return world_write(world, "x.yaml", "system: system.yaml\n");
}

static const char *in_probe(struct world *world)
{
	world_write(world, "system.yaml",
	    "name: slow\n"
	    "processes: [{name: p, command: [sleep, '1000']}]\n" NOWHERE);
	return world_write(world, "x.yaml",
	    "system: system.yaml\n"
	    "steady-state-hypothesis:\n"
	    "  title: patience\n"
	    "  probes:\n"
	    "    - type: probe\n"
	    "      name: patience\n"
	    "      tolerance: 0\n"
	    "      provider: {type: process, path: sh, arguments: [-c, 'touch ${state}/there; exec sleep 1000'], "
	    "timeout: 100s}\n");
}

static const char *in_stop(struct world *world)
{
	world_write(world, "system.yaml",
	    "name: stubborn\n"
	    "processes:\n"
	    "  - name: p\n"
	    "    command: [sh, -c, \"trap '' TERM; touch ${state}/up; while :; do sleep 1000; done\"]\n"
	    "    ready: {file: '${state}/up'}\n" NOWHERE);
	return world_write(world, "x.yaml",
	    "system: system.yaml\n"
	    "steady-state-hypothesis:\n"
	    "  title: no\n"
	    "  probes:\n"
	    "    - {type: probe, name: 'no', tolerance: 0, provider: {type: process, path: 'false'}}\n");
}

/* ---- the reference system, with a model that takes its time ---- */

static const char *slow_models(struct world *world)
{
	return world_unhurried(world, "slow.yaml", "latency: 20ms", "latency: 1h");
}

static const char *in_watch(struct world *world)
{
	slow_models(world);
	return world_write(world, "x.yaml",
	    "system: slow.yaml\n"
	    "workload: {tasks: 3, tail: 0, limit: 10m}\n"
	    "faults: [{plugin: agent-kill, when: {event: commit, nth: 100}}]\n");
}

static const char *while_an_agent_is_stopped(struct world *world)
{
	slow_models(world);
	return world_write(world, "x.yaml",
	    "system: slow.yaml\n"
	    "workload: {tasks: 3, tail: 0, limit: 10m}\n"
	    "faults: [{plugin: agent-pause, duration: 100s, when: {event: provider-request, hold: true}}]\n");
}

static const char *while_a_file_is_gone(struct world *world)
{
	slow_models(world);
	return world_write(world, "x.yaml",
	    "system: slow.yaml\n"
	    "workload: {tasks: 3, tail: 0, limit: 10m}\n"
	    "faults: [{plugin: file-remove, arguments: {pattern: README.md}, duration: 100s,\n"
	    "  when: {event: provider-request, hold: true}}]\n");
}

/* Who was held at its model writes when it has the answer. */
static const char *while_the_disk_is_full(struct world *world)
{
	return world_write(world, "x.yaml",
	    "system: unhurried.yaml\n"
	    "workload: {tasks: 3, tail: 0, limit: 10m}\n"
	    "faults: [{plugin: disk-full, duration: 100s, proof: 10m, when: {event: provider-request, hold: true}}]\n");
}

static const char *in_settle(struct world *world)
{
	return world_write(world, "x.yaml",
	    "system: unhurried.yaml\n"
	    "workload: {tasks: 1, tail: 0, limit: 10m}\n"
	    "invariants: [{slo-returns: {window: 100s}}]\n");
}

/* The worktree from which the file was removed: what the plugin does is seen in the files, not believed. */
static void note_the_worktree(struct world *world)
{
	char pattern[256];
	glob_t found;
	size_t i;

	snprintf(pattern, sizeof pattern, "%s/runs/*/state/worktrees/*", world->state);
	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	world->noted[0] = '\0';
	for (i = 0; i < found.gl_pathc; i++) {
		snprintf(pattern, sizeof pattern, "%s/README.md", found.gl_pathv[i]);
		if (access(pattern, F_OK) != 0)
			snprintf(world->noted, sizeof world->noted, "%s", found.gl_pathv[i]);
	}
	globfree(&found);
	assert_true(world->noted[0]);
}

static bool file_is_missing(struct world *world)
{
	char path[sizeof world->noted + 16];

	snprintf(path, sizeof path, "%s/README.md", world->noted);
	return access(world->noted, F_OK) == 0 && access(path, F_OK) != 0;
}

static void file_is_back(struct world *world)
{
	assert_false(file_is_missing(world));
}

static const struct stage stages[] = {
    {"prepare", in_prepare, ": gate", "state/there", NULL, NULL},
    {"gate", in_gate, ": gate", "state/there", NULL, NULL},
    {"probe", in_probe, ": gate", "state/there", NULL, NULL},
    {"watch", in_watch, ": watch", "state/.sdd/runtime/agents/*/pid", NULL, NULL},
    {"agent stopped", while_an_agent_is_stopped, "agent-pause felt", NULL, NULL, NULL},
    {"file gone", while_a_file_is_gone, "file-remove felt", NULL, note_the_worktree, file_is_back},
    {"disk full", while_the_disk_is_full, "disk-full felt", NULL, NULL, NULL},
    {"settle", in_settle, ": settle", NULL, NULL, NULL},
    {"stop", in_stop, ": stop", NULL, NULL, NULL},
};

/* ---- the signals ---- */

static void end_in(struct world *world, const struct stage *stage, int signal, bool group)
{
	struct ran *ran = tritone_start(world, "test", stage->write(world), NULL);
	char pattern[256];

	ran_says(ran, stage->line);
	if (stage->file) {
		snprintf(pattern, sizeof pattern, "%s/runs/*/%s", world->state, stage->file);
		world_file(pattern);
	}
	if (stage->before)
		stage->before(world);
	print_message("# %s, signal %d\n", stage->name, signal);
	if (group) /* what a terminal's ^C does */
		assert_int_equal(kill(-ran->pid, signal), 0);
	else
		ran_signal(ran, signal);
	ran_status(ran, 128 + signal);
	if (signal != SIGKILL) {
		snprintf(pattern, sizeof pattern, "interrupted by signal %d", signal);
		if (strcmp(stage->name, "stop") != 0) /* its verdict was there already */
			ran_has(ran, pattern);
		ran_has(ran, ", 0 left behind");
		/* Undone and gone by the time it says so: nothing needs recovering. */
		ran_status(tritone(world, "status", NULL), 0);
	}
	world_quiet(world);
	world_clean(world);
	if (stage->after)
		stage->after(world);
}

static void in_every_stage(void **state, int signal, bool group)
{
	struct world *world;
	void *one;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof stages / sizeof *stages; i++) {
		assert_int_equal(world_create(&one), 0);
		world = one;
		*state = world; /* so that the teardown finds it when this fails */
		end_in(world, &stages[i], signal, group);
		*state = NULL;
		world_destroy(&one);
	}
}

static int destroy(void **state)
{
	return *state ? world_destroy(state) : 0;
}

static int nothing(void **state)
{
	*state = NULL;
	return 0;
}

static void test_interrupted(void **state)
{
	in_every_stage(state, SIGINT, true);
}

static void test_terminated(void **state)
{
	in_every_stage(state, SIGTERM, false);
}

static void test_killed(void **state)
{
	in_every_stage(state, SIGKILL, false);
}

/* The fault's own process is killed with its host: now only the record knows, and recover undoes it from there. */
static void test_host_and_runner_killed(void **state)
{
	struct world *world = *state;
	struct ran *ran = tritone_start(world, "test", while_a_file_is_gone(world), NULL), *status;
	pid_t pids[64];
	size_t n, i;

	ran_says(ran, "file-remove felt");
	note_the_worktree(world);
	n = world_processes(world, pids, 64);
	/* Stopped first, so that none sees another's death. */
	for (i = 0; i < n; i++)
		kill(pids[i], SIGSTOP);
	for (i = 0; i < n; i++)
		kill(pids[i], SIGKILL);
	ran_status(ran, 137);
	world_quiet(world);

	assert_true(file_is_missing(world));
	status = tritone(world, "status", NULL);
	ran_status(status, 5);
	ran_has(status, "gone LEFT BEHIND: file-remove");
	status = tritone(world, "test", world_path(world, "x.yaml"), NULL);
	ran_status(status, 2);
	ran_has(status, "run `tritone recover` first");
	status = tritone(world, "recover", NULL);
	ran_status(status, 0);
	ran_has(status, "file-remove: undone");
	file_is_back(world);
	world_clean(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_interrupted, nothing, destroy),
	    cmocka_unit_test_setup_teardown(test_terminated, nothing, destroy),
	    cmocka_unit_test_setup_teardown(test_killed, nothing, destroy),
	    cmocka_unit_test_setup_teardown(test_host_and_runner_killed, world_create, world_destroy),
	};

	return cmocka_run_group_tests_name("signals", tests, NULL, NULL);
}
