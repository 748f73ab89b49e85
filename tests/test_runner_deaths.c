/* SPDX-License-Identifier: Apache-2.0 */
/* host/runner with hosts and runners that are killed. Waits on events only. */
#include "runner_fixture.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <unistd.h>

/* ---- the runner dies ---- */

static void test_runner_killed(void **state)
{
	struct fixture *f = *state;
	struct tritone_proof proof;
	struct pollfd p;

	inject(f);
	assert_int_equal(kill(only_child(), SIGKILL), 0);
	p = (struct pollfd){.fd = runner_fd(f->runner), .events = POLLIN};
	assert_int_equal(poll(&p, 1, -1), 1);
	assert_int_equal(runner_expired(f->runner, &f->err), -1);
	assert_int_equal(runner_failure(f->runner), RUNNER_FAILURE_CRASHED);
	assert_int_equal(runner_verify(f->runner, &proof, &f->err), -1);
	assert_says(f, "SIGKILL");
	assert_int_equal(access(f->effect, F_OK), 0);
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	assert_clean(f);
}

static void test_destroyed_without_revert_stays_outstanding(void **state)
{
	struct fixture *f = *state;

	inject(f);
	runner_destroy(f->runner);
	f->runner = NULL;
	wait_for_all();
	assert_int_equal(access(f->effect, F_OK), 0);
	assert_int_equal(outstanding(f), 1);
}

/* ---- recovery ---- */

struct recovery {
	struct fixture *f;
	int result;
};

static void recover_one(void *arg, const struct undo_entry *entry)
{
	struct recovery *r = arg;

	assert_string_equal(entry->fault_id, FAULT);
	assert_string_equal(entry->plugin, r->f->plugin);
	assert_int_equal(entry->seed, 7);
	r->result = runner_recover(r->f->run, r->f->undo, entry, &r->f->err);
}

static void test_recover(void **state)
{
	struct fixture *f = *state;
	struct recovery r = {.f = f, .result = -1};

	inject(f);
	runner_destroy(f->runner);
	f->runner = NULL;
	undo_close(f->undo);
	f->undo = NULL;
	assert_int_equal(outstanding(f), 1);
	assert_int_equal(undo_open(&f->undo, f->run, &f->err), 0);
	assert_int_equal(undo_log_outstanding(f->undo, recover_one, &r, &f->err), 1);
	if (r.result < 0)
		fail_msg("%s", f->err.text);
	assert_clean(f);
}

/* ---- the host dies ---- */

enum stage { STAGE_STARTED, STAGE_PLANNED, STAGE_INJECTED, STAGE_IN_HOOK };

/* A host of its own: gets as far as `stage`, says so, and waits to be killed. */
static pid_t fork_host(struct fixture *f, enum stage stage, int *ret_ready)
{
	struct tritone_proof proof;
	int fds[2];
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid) {
		close(fds[1]);
		*ret_ready = fds[0];
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* it does not outlive a test that was given up */
	f->tell = stage == STAGE_IN_HOOK ? fds[1] : -1;
	if (undo_open(&f->undo, f->run, &f->err) < 0)
		_exit(1);
	f->options.undo = f->undo;
	if (runner_start(&f->runner, &f->options, &f->err) < 0)
		_exit(1);
	if (stage >= STAGE_PLANNED && runner_plan(f->runner, NULL, &f->err) < 0)
		_exit(1);
	if (stage >= STAGE_INJECTED)
		runner_inject(f->runner, &f->err);
	if (stage == STAGE_IN_HOOK) {
		runner_verify(f->runner, &proof, &f->err);
		runner_revert(f->runner, &f->err);
	}
	if (write(fds[1], "x", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* Kills such a host, waits for all that comes of it, and looks at what is left. */
static void kill_host_at(struct fixture *f, enum stage stage)
{
	char byte;
	int ready;
	pid_t host = fork_host(f, stage, &ready);

	assert_int_equal(read(ready, &byte, 1), 1);
	assert_int_equal(kill(host, SIGKILL), 0);
	close(ready);
	wait_for_all();
}

static void test_host_killed_in_each_stage(void **state)
{
	struct fixture *f = *state;
	int stage;

	for (stage = STAGE_STARTED; stage <= STAGE_INJECTED; stage++) {
		kill_host_at(f, (enum stage)stage);
		assert_clean(f);
	}
}

static void test_host_killed_while_a_hook_runs(void **state)
{
	struct fixture *f = *state;
	size_t i;

	for (i = 2; i < 4; i++) {
		with(f, hooks[i], "wait", NULL);
		kill_host_at(f, STAGE_IN_HOOK);
		assert_clean(f);
	}
}

static void test_host_killed_while_a_hook_hangs(void **state)
{
	struct fixture *f = *state;
	char once[PATH_MAX + 64];
	size_t i;

	f->options.hook_timeout_ms = 1000;
	for (i = 2; i < 5; i++) {
		with(f, hooks[i], "hang", "once=true");
		kill_host_at(f, STAGE_IN_HOOK);
		assert_clean(f);
		snprintf(once, sizeof once, "%s/keep/" FAULT "/once-" FAULT, f->run);
		assert_int_equal(unlink(once), 0);
	}
}

static void test_host_killed_and_revert_never_works(void **state)
{
	static const char *const hows[] = {"hang", "crash", "refuse"};
	struct fixture *f = *state;
	size_t i;

	f->options.hook_timeout_ms = 500;
	for (i = 0; i < 3; i++) {
		with(f, "revert", hows[i], NULL);
		kill_host_at(f, STAGE_INJECTED);
		assert_int_equal(access(f->effect, F_OK), 0);
		assert_int_equal(outstanding(f), (int)i + 1);
	}
}

/* Two faults of one host: both runners must close their records, one after the other. */
static void test_host_of_two_faults_killed(void **state)
{
	struct fixture *f = *state;
	const pid_t host = fork_host_of_two(&f->options, FAULT, "f-2");

	assert_int_equal(outstanding(f), 2);
	assert_int_equal(kill(host, SIGKILL), 0);
	wait_for_all();
	assert_clean(f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    RUNNER_TEST(test_runner_killed),
	    RUNNER_TEST(test_destroyed_without_revert_stays_outstanding),
	    RUNNER_TEST(test_recover),
	    RUNNER_TEST(test_host_killed_in_each_stage),
	    RUNNER_TEST(test_host_killed_while_a_hook_runs),
	    RUNNER_TEST(test_host_killed_while_a_hook_hangs),
	    RUNNER_TEST(test_host_killed_and_revert_never_works),
	    RUNNER_TEST(test_host_of_two_faults_killed),
	};

	return runner_fixture_main(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
