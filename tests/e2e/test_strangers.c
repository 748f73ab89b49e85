/* SPDX-License-Identifier: Apache-2.0 */
/* Faults by hand at processes that tritone did not start: by pid, and by pid files. */
#include "e2e_up.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- by pid ---- */

static void test_kill_a_foreign_process(void **state)
{
	struct world *world = *state;
	struct ran *victim, *ran;
	const char *pid = text_of(sleeper(world, &victim));

	ran = tritone(world, "inject", "agent-kill", "--pid", pid, "--dry-run", NULL);
	ran_status(ran, 0);
	ran_has(ran, pid);
	assert_int_equal(process_state(victim->pid), 'S');
	ran = tritone(world, "inject", "agent-kill", "--pid", pid, NULL);
	ran_status(ran, 0);
	ran_has(ran, "is gone after SIGTERM");
	ran_status(victim, 128 + SIGTERM);
	ran = tritone(world, "inject", "agent-kill", "--pid", pid, NULL);
	ran_status(ran, 4);
	world_quiet(world);
	world_clean(world);
}

static void test_ignored_signal_is_not_felt(void **state)
{
	struct world *world = *state;
	char *argv[] = {(char[]){"/bin/sh"}, (char[]){"-c"},
	    (char[]){"trap '' TERM; echo ready; while :; do sleep 1000; done"}, NULL};
	struct ran *victim = program_start(world, argv), *ran;

	ran_says(victim, "ready");
	ran = tritone(world, "inject", "agent-kill", "--pid", text_of(victim->pid), "--proof", "300ms", NULL);
	ran_status(ran, 4);
	ran_has(ran, "ignores SIGTERM");
	kill(-victim->pid, SIGKILL);
	ran_end(victim);
	world_quiet(world);
}

static void test_pause_for_a_while(void **state)
{
	struct world *world = *state;
	struct ran *victim, *ran;
	pid_t pid = sleeper(world, &victim);

	ran = tritone_start(world, "inject", "agent-pause", "--pid", text_of(pid), "--for", "300ms", NULL);
	ran_says(ran, "is stopped");
	ran_status(ran, 0);
	ran_has(ran, "undone        agent-pause");
	assert_int_equal(process_state(pid), 'S');

	ran = tritone_start(world, "inject", "agent-pause", "--pid", text_of(pid), "--for", "100s", NULL);
	ran_says(ran, "is stopped");
	assert_int_equal(process_state(pid), 'T');
	ran_signal(ran, SIGINT);
	ran_status(ran, 130);
	assert_int_equal(process_state(pid), 'S');

	/* The host is killed: the fault's own process lets go. */
	ran = tritone_start(world, "inject", "agent-pause", "--pid", text_of(pid), "--for", "100s", NULL);
	ran_says(ran, "is stopped");
	ran_signal(ran, SIGKILL);
	ran_status(ran, 137);
	process_await(pid, "S");
	kill(pid, SIGKILL);
	ran_end(victim);
	world_quiet(world);
	world_clean(world);
}

/* Host and runner are killed at once: it stays stopped, that is said, and recover lets it go. */
static void test_pause_whose_host_and_runner_are_killed(void **state)
{
	struct world *world = *state;
	struct ran *victim, *ran;
	pid_t pid = sleeper(world, &victim), pids[64];
	size_t n, i;

	ran = tritone_start(world, "inject", "agent-pause", "--pid", text_of(pid), "--for", "100s", NULL);
	ran_says(ran, "is stopped");
	n = world_processes(world, pids, 64);
	for (i = 0; i < n; i++)
		if (pids[i] != pid)
			kill(pids[i], SIGSTOP);
	for (i = 0; i < n; i++)
		if (pids[i] != pid)
			kill(pids[i], SIGKILL);
	ran_status(ran, 137);
	assert_int_equal(process_state(pid), 'T');
	ran = tritone(world, "status", NULL);
	ran_status(ran, 5);
	ran_has(ran, "LEFT BEHIND: agent-pause-1");
	ran = tritone(world, "inject", "agent-pause", "--pid", text_of(pid), NULL);
	ran_status(ran, 2);
	ran_has(ran, "run `tritone recover` first");
	ran = tritone(world, "recover", NULL);
	ran_status(ran, 0);
	ran_has(ran, ": agent-pause-1-");
	ran_has(ran, ": undone\n");
	process_await(pid, "S");
	kill(pid, SIGKILL);
	ran_end(victim);
	world_quiet(world);
	world_clean(world);
}

/* Pid files below a directory that knows nothing of tritone. */
static void test_pid_files_of_a_stranger(void **state)
{
	struct world *world = *state;
	struct ran *victim, *ran;
	pid_t pid = sleeper(world, &victim);
	char command[512];

	snprintf(command, sizeof command, "mkdir -p %s/other/workers/w1 && echo %d > %s/other/workers/w1/pid",
	    world->dir, (int)pid, world->dir);
	assert_int_equal(system(command), 0);
	ran = tritone(world, "inject", "agent-kill", "agent=w1", "--state", world_path(world, "other"), "--pid-files",
	    "workers/*/pid", NULL);
	ran_status(ran, 0);
	ran_has(ran, "agent-kill at w1");
	ran_status(victim, 128 + SIGTERM);
	world_quiet(world);
	world_clean(world);
}

/* The agent is gone, its pid file is not, and another process has the number. */
static void test_a_stale_pid_file_hits_nobody(void **state)
{
	struct world *world = *state;
	struct ran *victim, *ran;
	pid_t pid = sleeper(world, &victim);
	char command[512];

	snprintf(command, sizeof command,
	    "mkdir -p %s/other/w1 && echo %d > %s/other/w1/pid && touch -d '1 minute ago' %s/other/w1/pid", world->dir,
	    (int)pid, world->dir, world->dir);
	assert_int_equal(system(command), 0);
	ran =
	    tritone(world, "inject", "agent-kill", "--state", world_path(world, "other"), "--pid-files", "*/pid", NULL);
	ran_status(ran, 4);
	ran_has(ran, "after its pid file was written");
	ran_has(ran, "w1/pid");
	assert_int_not_equal(process_state(pid), 'Z');
	ran =
	    tritone(world, "inject", "agent-kill", "--state", world_path(world, "other"), "--pid", text_of(pid), NULL);
	ran_status(ran, 0);
	ran_status(victim, 128 + SIGTERM);
	world_quiet(world);
	world_clean(world);
}

/* The directory may be called what it likes, and a pattern may say more than a star. */
static void test_pid_files_below_a_strange_name(void **state)
{
	struct world *world = *state;
	struct ran *victim, *ran;
	pid_t pid = sleeper(world, &victim);
	char command[512], where[128];

	snprintf(where, sizeof where, "%s/o[t]h*er?", world->dir);
	snprintf(command, sizeof command, "mkdir -p '%s/w1' && echo %d > '%s/w1/agent-7.pid'", where, (int)pid, where);
	assert_int_equal(system(command), 0);
	ran =
	    tritone(world, "inject", "agent-kill", "agent=7", "--state", where, "--pid-files", "w?/agent-*.pid", NULL);
	ran_status(ran, 0);
	ran_has(ran, "agent-kill at 7");
	ran_status(victim, 128 + SIGTERM);
	victim = NULL;
	pid = sleeper(world, &victim);
	snprintf(command, sizeof command, "echo %d > '%s/w1/agent-7.pid'", (int)pid, where);
	assert_int_equal(system(command), 0);
	/* A pattern longer than what it matches: who has no id of his own has his pid. */
	ran = tritone(world, "inject", "agent-kill", "--state", where, "--pid-files",
	    "w[abcdefghijklmnopqrstuvwxyz0123456789]/[a][g][e][n][t]-*[6789].[p][i][d]", NULL);
	ran_status(ran, 0);
	snprintf(command, sizeof command, "agent-kill at %d", (int)pid);
	ran_has(ran, command);
	ran_status(victim, 128 + SIGTERM);
	world_quiet(world);
	world_clean(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    UP_TEST(test_kill_a_foreign_process),
	    UP_TEST(test_ignored_signal_is_not_felt),
	    UP_TEST(test_pause_for_a_while),
	    UP_TEST(test_pause_whose_host_and_runner_are_killed),
	    UP_TEST(test_pid_files_of_a_stranger),
	    UP_TEST(test_a_stale_pid_file_hits_nobody),
	    UP_TEST(test_pid_files_below_a_strange_name),
	};

	return up_main("strangers", tests, sizeof tests / sizeof tests[0]);
}
