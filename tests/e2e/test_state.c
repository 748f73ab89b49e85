/* SPDX-License-Identifier: Apache-2.0 */
/* The state directory as it may be found: not writable, full, in use, halted, far down. Refused with the reason, or it works. */
#include "e2e.h"
#include "tests/skip.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOBODY 65534

static const char *quick(struct world *world)
{
	return world_write(world, "quick.yaml",
	    "system: unhurried.yaml\n"
	    "workload: {tasks: 1, tail: 0, limit: 10m}\n"
	    "invariants: [no-lost-task]\n");
}

/* It is watching, and will be for a while: nothing happens before models answer. */
static struct ran *start_slow(struct world *world)
{
	struct ran *ran;

	world_unhurried(world, "slow.yaml", "latency: 20ms", "latency: 1h");
	ran = tritone_start(world, "test",
	    world_write(world, "x.yaml",
		"system: slow.yaml\n"
		"workload: {tasks: 2, tail: 0, limit: 10m}\n"
		"faults: [{plugin: agent-pause, duration: 100s, when: {event: provider-request, hold: true}}]\n"),
	    NULL);
	ran_says(ran, "agent-pause felt");
	return ran;
}

static const char *only_run(struct world *world, char *path, size_t size)
{
	char pattern[160];

	snprintf(pattern, sizeof pattern, "%s/runs/*[a-z]", world->state);
	assert_int_equal(world_matches(pattern, path, size), 1);
	return strrchr(path, '/') + 1;
}

static void be_nobody(struct world *world)
{
	char program[4096];

	if (geteuid() != 0)
		return;
	snprintf(program, sizeof program, "%s/tritone", world->build);
	assert_int_equal(chmod(world->dir, 0755), 0);
	world->uid = NOBODY;
}

static void test_not_writable(void **state)
{
	struct world *world = *state;
	const char *file = quick(world);
	struct ran *ran;

	be_nobody(world);
	assert_int_equal(mkdir(world->state, 0555), 0);
	ran = tritone(world, "test", file, NULL);
	if (ran->status == 126)
		SKIP("the program cannot be run by nobody from where it was built");
	ran_status(ran, 2);
	ran_has(ran, "Permission denied");
	ran_has(ran, world->state);
	ran = tritone(world, "up", world_path(world, "unhurried.yaml"), NULL);
	ran_status(ran, 2);
	ran_has(ran, "Permission denied");
	ran = tritone(world, "halt", "--all", NULL);
	ran_status(ran, 2);
	ran_has(ran, "Permission denied");
	ran_status(tritone(world, "status", NULL), 0);
	world_quiet(world);
}

/* Everything without root, from beginning to end. */
static void test_as_nobody(void **state)
{
	struct world *world = *state;
	const char *file = world_write(world, "x.yaml",
	    "system: unhurried.yaml\n"
	    "workload: {tasks: 3, tail: 1, limit: 10m}\n"
	    "faults: [{plugin: disk-full, duration: 300ms, when: {event: provider-request, nth: 2, hold: true}}]\n"
	    "invariants: [no-lost-task, no-duplicate-commit]\n");
	struct ran *ran;

	be_nobody(world);
	assert_int_equal(mkdir(world->state, 0755), 0);
	if (world->uid)
		assert_int_equal(chown(world->state, NOBODY, NOBODY), 0);
	ran = tritone(world, "test", "-v", file, NULL);
	if (ran->status == 126)
		SKIP("the program cannot be run by nobody from where it was built");
	ran_status(ran, 0);
	world_quiet(world);
	world_clean(world);
}

static void test_a_file_in_its_place(void **state)
{
	struct world *world = *state;
	const char *file = quick(world);
	struct ran *ran;

	world_write(world, "state", "a file");
	ran = tritone(world, "test", file, NULL);
	ran_status(ran, 2);
	ran_has(ran, world->state);
	world_quiet(world);
}

/*
 * A disk of its own, of every size from too small for a directory to almost enough: never silence, a signal or a hang. Below 4 pages LMDB
 * says EIO of a short write.
 */
static void test_disk_of_the_harness_is_full(void **state)
{
	static const char *const sizes[] = {
	    "size=4k", "size=8k", "size=12k", "size=16k", "size=24k", "size=32k", "size=64k", "size=128k"};
	struct world *world = *state;
	/* With its limits: they end the work of one that cannot write, which would never be done. */
	const char *file = world_write(world, "full.yaml",
	    "system: " SOURCES "/fixtures/systems/conductor.yaml\n"
	    "workload: {tasks: 1, tail: 0}\n"
	    "invariants: [no-lost-task]\n");
	size_t i;

	if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		SKIP("no mounts can be made here: %s", strerror(errno));
	assert_int_equal(mkdir(world->state, 0755), 0);
	for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct ran *ran;

		if (mount("tmpfs", world->state, "tmpfs", 0, sizes[i]) != 0)
			SKIP("no tmpfs here: %s", strerror(errno));
		print_message("# %s\n", sizes[i]);
		ran = tritone(world, "test", "--reruns", "0", file, NULL);
		ran_status(ran, 2);
		if (!ran_said(ran, "Input/output error"))
			ran_has(ran, "No space left on device");
		world_quiet(world);
		assert_int_equal(umount(world->state), 0);
	}
}

/* A control socket's path holds 107 bytes; a state directory may be further down than that. */
static void test_far_down(void **state)
{
	struct world *world = *state;
	const char *file = quick(world);
	char deep[96] = "";

	memset(deep, 'd', 90);
	assert_int_equal(chdir(world->dir), 0);
	assert_int_equal(mkdir(deep, 0755), 0);
	assert_int_equal(symlink(deep, "state"), 0);
	ran_status(tritone(world, "test", file, NULL), 0);
	world_quiet(world);
	world_clean(world);
}

/* ---- in use ---- */

static void test_run_that_is_at_work(void **state)
{
	struct world *world = *state;
	struct ran *busy = start_slow(world), *ran;
	char path[256], pid[32];

	only_run(world, path, sizeof path);
	snprintf(pid, sizeof pid, "pid %d", (int)busy->pid);
	ran = tritone(world, "status", NULL);
	ran_status(ran, 0);
	ran_has(ran, pid);
	ran_has(ran, "active: agent-pause");
	ran = tritone(world, "recover", path, NULL);
	ran_status(ran, 5);
	ran_has(ran, "in use");
	ran_has(ran, pid);
	ran_status(tritone(world, "recover", NULL), 0);
	/* Another run beside it is none of its business. */
	ran_status(tritone(world, "test", quick(world), NULL), 0);
	ran_has(tritone(world, "status", NULL), "active: agent-pause");
	assert_false(busy->ended);
	ran_signal(busy, SIGTERM);
	ran_status(busy, 143);
	world_quiet(world);
	world_clean(world);
}

/* ---- halted ---- */

static void test_halt_file_blocks_every_start(void **state)
{
	struct world *world = *state;
	const char *file = quick(world);
	struct ran *ran;

	ran_status(tritone(world, "halt", "--all", NULL), 0);
	ran = tritone(world, "test", file, NULL);
	ran_status(ran, 6);
	ran_has(ran, "tritone halt --clear");
	ran = tritone(world, "up", world_path(world, "unhurried.yaml"), NULL);
	ran_status(ran, 6);
	ran_has(ran, "tritone halt --clear");
	ran = tritone(world, "inject", "agent-kill", "--pid", "2", NULL);
	ran_status(ran, 6);
	ran_has(ran, "tritone halt --clear");
	assert_int_equal(world_runs(world), 0);
	ran_status(tritone(world, "halt", "--clear", NULL), 0);
	ran_status(tritone(world, "test", file, NULL), 0);
	world_quiet(world);
}

static void test_halt_ends_one_run(void **state)
{
	struct world *world = *state;
	struct ran *busy = start_slow(world);
	char path[256];

	ran_status(tritone(world, "halt", only_run(world, path, sizeof path), NULL), 0);
	ran_status(busy, 6);
	ran_has(busy, "ABORTED   this run was halted by hand");
	ran_has(busy, "agent-pause undone");
	ran_has(busy, ", 0 left behind");
	world_quiet(world);
	world_clean(world);
	ran_status(tritone(world, "test", quick(world), NULL), 0); /* the others may go on */
}

static void test_halt_all_ends_a_run_that_settles(void **state)
{
	struct world *world = *state;
	struct ran *busy = tritone_start(world, "test",
	    world_write(world, "x.yaml",
		"system: unhurried.yaml\n"
		"workload: {tasks: 1, tail: 0, limit: 10m}\n"
		"invariants: [{slo-returns: {window: 100s}}]\n"),
	    NULL);

	ran_says(busy, ": settle");
	ran_status(tritone(world, "halt", "--all", NULL), 0);
	ran_status(busy, 6);
	ran_has(busy, "the halt file ");
	world_quiet(world);
	world_clean(world);
}

/* The request stays with each run that it was made to, and with what its suite had still to do. */
static void test_halt_all_that_is_cleared_at_once(void **state)
{
	struct world *world = *state;
	struct ran *up, *busy, *halt;

	up = tritone_start(world, "up", world_path(world, "unhurried.yaml"), NULL);
	ran_says(up, "ready; ");
	world_unhurried(world, "slow.yaml", "latency: 20ms", "latency: 1h");
	world_write(world, "x.yaml",
	    "system: slow.yaml\n"
	    "workload: {tasks: 2, tail: 0, limit: 10m}\n"
	    "faults: [{plugin: agent-pause, duration: 100s, when: {event: provider-request, hold: true}}]\n");
	quick(world);
	busy = tritone_start(
	    world, "test", "-j", "1", world_write(world, "suite.yaml", "experiments: [x.yaml, quick.yaml]\n"), NULL);
	ran_says(busy, "agent-pause felt");
	/* Stopped, they cannot look for the file before it is cleared. */
	ran_signal(up, SIGSTOP);
	ran_signal(busy, SIGSTOP);
	halt = tritone(world, "halt", "--all", "--no-wait", NULL);
	ran_status(tritone(world, "halt", "--clear", NULL), 0);
	ran_status(halt, 0);
	ran_has(halt, "2 runs asked to end; not waiting for it");
	ran_signal(up, SIGCONT);
	ran_signal(busy, SIGCONT);
	ran_status(up, 6);
	ran_status(busy, 6);
	ran_has(busy, "every run was halted by hand");
	ran_has(busy, "agent-pause undone");
	ran_has(busy, "halted: 1 of 2 were run");
	world_quiet(world);
	world_clean(world);
	ran_status(tritone(world, "test", world_path(world, "quick.yaml"), NULL), 0);
}

static void test_halt_waits_for_the_end(void **state)
{
	struct world *world = *state;
	struct ran *up = tritone_start(world, "up", world_path(world, "unhurried.yaml"), NULL), *halt;

	ran_says(up, "ready; ");
	halt = tritone(world, "halt", "--all", NULL);
	ran_status(halt, 0);
	ran_has(halt, "1 run asked to end\nended\n");
	assert_int_equal(world_runs(world), 0); /* before anybody has looked at `up` */
	ran_status(up, 6);
	ran_has(tritone(world, "halt", "--all", NULL), "0 runs asked to end");
	world_quiet(world);
}

/* The experiment's own kill switch. */
static void test_halt_file_of_the_experiment(void **state)
{
	struct world *world = *state;
	struct ran *busy;

	busy = tritone_start(world, "test",
	    world_write(world, "x.yaml",
		"system: unhurried.yaml\n"
		"workload: {tasks: 1, tail: 0, limit: 10m}\n"
		"stop: {halt-file: %s/enough}\n"
		"invariants: [{slo-returns: {window: 100s}}]\n",
		world->dir),
	    NULL);
	ran_says(busy, ": settle");
	world_write(world, "enough", "enough");
	ran_status(busy, 6);
	ran_has(busy, "the experiment's halt file ");
	world_quiet(world);
}

/* What the user has in his configuration of git is his own affair, and cannot be read here besides. */
static void test_configuration_of_git(void **state)
{
	struct world *world = *state;
	const char *file = world_write(world, "x.yaml",
	    "system: unhurried.yaml\nworkload: {tasks: 1, tail: 0, limit: 10m}\ninvariants: [no-lost-task]\n");

	world_write(world, ".gitconfig", "[nonsense\n"); /* HOME is this directory */
	ran_status(tritone(world, "test", file, NULL), 0);
	world_quiet(world);
	world_clean(world);
}

/* ---- as it may be started ---- */

static void started_by(
    struct world *world, const char *first, const char *second, const char *third, const char *fourth)
{
	char *file = strdup(quick(world)), tritone_path[4096], verb[] = "test", json[] = "--json";
	char *argv[9] = {strdup(first), strdup(second)};
	size_t n = 2, i;
	struct ran *ran;

	snprintf(tritone_path, sizeof tritone_path, "%s/tritone", world->build);
	if (third)
		argv[n++] = strdup(third);
	if (fourth)
		argv[n++] = strdup(fourth);
	argv[n] = tritone_path;
	argv[n + 1] = verb;
	argv[n + 2] = json;
	argv[n + 3] = file;
	ran = program_start(world, argv);
	ran_end(ran);
	for (i = 0; i < n; i++)
		free(argv[i]);
	free(file);
	ran_status(ran, 0);
	world_quiet(world);
	world_clean(world);
}

/* As some supervisors do: a process that inherits that is never told of its children's ends. */
static void test_started_with_sigchld_ignored(void **state)
{
	started_by(*state, "/usr/bin/env", "--ignore-signal=CHLD", NULL, NULL);
}

/* Else what is said would be written into the first files and sockets that are opened. */
static void test_started_without_standard_streams(void **state)
{
	started_by(*state, "/bin/sh", "-c", "exec \"$@\" <&- >&- 2>&-", "sh");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_not_writable, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_configuration_of_git, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_as_nobody, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_a_file_in_its_place, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_far_down, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_run_that_is_at_work, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_halt_file_blocks_every_start, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_halt_ends_one_run, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_halt_all_ends_a_run_that_settles, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_halt_all_that_is_cleared_at_once, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_halt_waits_for_the_end, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_halt_file_of_the_experiment, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_started_with_sigchld_ignored, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_started_without_standard_streams, world_create, world_destroy),
	    /* The last one: the process has mounts of its own afterwards. */
	    cmocka_unit_test_setup_teardown(test_disk_of_the_harness_is_full, world_create, world_destroy),
	};

	return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
