/* SPDX-License-Identifier: Apache-2.0 */
/* host/runner with plugins that crash, hang, lie and refuse, in each of their hooks. */
#include "runner_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- hooks that misbehave, one by one ---- */

/* Runs hook after hook until one fails; returns its index, or -1. */
static int run_until_failure(struct fixture *f)
{
	struct tritone_proof proof;

	if (runner_check(f->runner, &f->err) < 0)
		return 0;
	if (runner_plan(f->runner, NULL, &f->err) < 0)
		return 1;
	if (runner_inject(f->runner, &f->err) < 0)
		return 2;
	if (runner_verify(f->runner, &proof, &f->err) < 0)
		return 3;
	return -1;
}

static void misbehave_in_each(
    struct fixture *f, const char *how, enum runner_failure failure, int code, const char *says)
{
	size_t i;

	for (i = 0; i < 4; i++) {
		with(f, hooks[i], how, NULL);
		start(f);
		assert_int_equal(run_until_failure(f), (int)i);
		if (f->err.code != code)
			fail_msg("%s in %s: code %d: %s", how, hooks[i], f->err.code, f->err.text);
		assert_says(f, says);
		assert_int_equal(runner_failure(f->runner), failure);
		if (failure != RUNNER_FAILURE_REFUSED)
			assert_says(f, hooks[i]);
		if (runner_revert(f->runner, &f->err) < 0)
			fail_msg("%s in %s: %s", how, hooks[i], f->err.text);
		assert_clean(f);
		runner_destroy(f->runner);
		f->runner = NULL;
	}
}

static void test_crash_in_each_hook(void **state)
{
	misbehave_in_each(*state, "crash", RUNNER_FAILURE_CRASHED, EPROTO, "killed by SIGABRT");
}

static void test_exit_in_each_hook(void **state)
{
	misbehave_in_each(*state, "exit", RUNNER_FAILURE_CRASHED, EPROTO, "exit status 3");
}

static void test_hang_in_each_hook(void **state)
{
	struct fixture *f = *state;

	f->options.hook_timeout_ms = 500;
	misbehave_in_each(f, "hang", RUNNER_FAILURE_HUNG, ETIMEDOUT, "no answer within 500 ms; its process was killed");
}

static void test_babble_in_each_hook(void **state)
{
	struct fixture *f = *state;

	f->options.hook_timeout_ms = 500; /* however fast it talks, it is not waited for any longer */
	misbehave_in_each(
	    f, "babble", RUNNER_FAILURE_HUNG, ETIMEDOUT, "no answer within 500 ms; its process was killed");
}

static void test_late_but_cancelled_in_each_hook(void **state)
{
	struct fixture *f = *state;

	f->options.hook_timeout_ms = 400; /* the hook returns when told to, well within the grace */
	misbehave_in_each(f, "wait", RUNNER_FAILURE_HUNG, ETIMEDOUT, "no answer within 400 ms");
}

/* Onto one processor, and behind whoever else is there. */
static void starve(pid_t pid, const cpu_set_t *one)
{
	const struct sched_param none = {0};
	char pattern[64];
	size_t i;
	glob_t found;

	snprintf(pattern, sizeof pattern, "/proc/%d/task/[0-9]*", (int)pid);
	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	for (i = 0; i < found.gl_pathc; i++) {
		pid_t thread = (pid_t)atoi(strrchr(found.gl_pathv[i], '/') + 1);

		assert_int_equal(sched_setaffinity(thread, sizeof *one, one), 0);
		assert_int_equal(sched_setscheduler(thread, SCHED_IDLE, &none), 0);
	}
	globfree(&found);
}

/* One who takes all of a processor. */
static pid_t start_glutton(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			;
	}
	assert_true(pid > 0);
	return pid;
}

/* Its processor is another's for all but some hundredths of the time, far longer than a hook may take: it did not hang. */
static void test_starved_and_no_hang(void **state)
{
	struct fixture *f = *state;
	struct tritone_proof proof;
	pid_t glutton;
	cpu_set_t before, one;
	size_t i = 0;

	assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
	while (!CPU_ISSET(i, &before))
		i++;
	CPU_ZERO(&one);
	CPU_SET(i, &one);
	f->options.hook_timeout_ms = 20;
	with(f, "never", "crash", NULL);
	start(f);
	starve(only_child(), &one);
	assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
	glutton = start_glutton();
	assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
	if (run_until_failure(f) != -1 || runner_verify(f->runner, &proof, &f->err) < 0)
		fail_msg("%s", f->err.text);
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	assert_clean(f);
	kill(glutton, SIGKILL);
	assert_int_equal(waitpid(glutton, NULL, 0), glutton);
}

static void test_refusal_in_each_hook(void **state)
{
	misbehave_in_each(*state, "refuse", RUNNER_FAILURE_REFUSED, ENOTSUP, "not on a Sunday");
}

static void test_refusal_without_a_reason(void **state)
{
	misbehave_in_each(*state, "mute", RUNNER_FAILURE_REFUSED, EIO, "gave no reason");
}

static void test_garbage_on_the_socket(void **state)
{
	misbehave_in_each(*state, "garbage", RUNNER_FAILURE_CRASHED, EPROTO, "written over the runner's socket");
}

static void test_socket_closed_by_the_plugin(void **state)
{
	struct fixture *f = *state;

	f->options.hook_timeout_ms = 500; /* its own listener still holds it until then */
	with(f, "inject", "close", NULL);
	start(f);
	assert_int_equal(run_until_failure(f), 2);
	assert_int_equal(runner_failure(f->runner), RUNNER_FAILURE_CRASHED);
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	assert_clean(f);
}

static void test_undo_record_too_large(void **state)
{
	struct fixture *f = *state;

	with(f, "plan", "big-undo", NULL);
	start(f);
	assert_int_equal(runner_plan(f->runner, NULL, &f->err), -1);
	assert_int_equal(f->err.code, EMSGSIZE);
	assert_says(f, "4097 bytes, the limit is 4096");
	assert_int_equal(runner_inject(f->runner, &f->err), -1);
	assert_clean(f);
}

static void test_proof_of_unknown_kind(void **state)
{
	struct fixture *f = *state;

	with(f, "verify", "nonsense", NULL);
	start(f);
	assert_int_equal(run_until_failure(f), 3);
	assert_says(f, "unknown proof 0x77");
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
}

static void test_revert_that_fails_the_first_time(void **state)
{
	static const char *const hows[] = {"crash", "exit", "hang"};
	struct fixture *f = *state;
	char once[PATH_MAX + 64];
	size_t i;

	for (i = 0; i < 3; i++) {
		f->options.hook_timeout_ms = i == 2 ? 500 : 20000;
		with(f, "revert", hows[i], "once=true");
		inject(f);
		if (runner_revert(f->runner, &f->err) < 0)
			fail_msg("%s: %s", hows[i], f->err.text);
		assert_clean(f);
		runner_destroy(f->runner);
		f->runner = NULL;
		snprintf(once, sizeof once, "%s/keep/" FAULT "/once-" FAULT, f->run);
		assert_int_equal(unlink(once), 0);
	}
}

static void test_revert_that_always_fails(void **state)
{
	static const struct {
		const char *how;
		int code;
		enum runner_failure failure;
	} rows[] = {{"crash", EPROTO, RUNNER_FAILURE_CRASHED}, {"hang", ETIMEDOUT, RUNNER_FAILURE_HUNG},
	    {"refuse", ENOTSUP, RUNNER_FAILURE_REFUSED}};
	struct fixture *f = *state;
	size_t i;

	f->options.hook_timeout_ms = 500;
	for (i = 0; i < 3; i++) {
		with(f, "revert", rows[i].how, NULL);
		inject(f);
		assert_int_equal(runner_revert(f->runner, &f->err), -1);
		assert_int_equal(f->err.code, rows[i].code);
		assert_int_equal(runner_failure(f->runner), rows[i].failure);
		assert_int_equal(outstanding(f), (int)i + 1);
		assert_int_equal(runner_revert(f->runner, &f->err), -1);
		runner_destroy(f->runner);
		f->runner = NULL;
	}
}

static void test_a_process_left_by_the_plugin_ends(void **state)
{
	struct fixture *f = *state;
	const char *text;

	with(f, "inject", "child", NULL);
	inject(f);
	text = strstr(f->seen, "child=");
	assert_non_null(text);
	assert_int_equal(kill((pid_t)atoi(text + 6), 0), 0);
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	runner_destroy(f->runner);
	f->runner = NULL;
	wait_for_all(); /* comes back only when that one has gone too */
	assert_clean(f);
}

static void test_a_process_left_by_a_plugin_that_died_ends(void **state)
{
	struct fixture *f = *state;
	struct tritone_proof proof;

	with(f, "inject", "child", NULL);
	inject(f);
	assert_int_equal(kill(only_child(), SIGKILL), 0);
	assert_int_equal(runner_verify(f->runner, &proof, &f->err), -1);
	assert_int_equal(runner_failure(f->runner), RUNNER_FAILURE_CRASHED);
	wait_for_all(); /* the other one too, though it held our socket open */
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	assert_clean(f);
}

static void test_chatter_does_not_block(void **state)
{
	struct fixture *f = *state;
	char event[sizeof(struct inotify_event) + NAME_MAX + 1] __attribute__((aligned(8)));
	struct pollfd p;
	int watch = inotify_init1(IN_CLOEXEC);

	/* Nobody reads while the fault's time runs out: 20000 lines do not fit, and it must be reverted all the same. */
	with(f, "revert", "chatter", NULL);
	f->options.duration_ms = 20;
	assert_true(inotify_add_watch(watch, f->state, IN_DELETE) >= 0);
	inject(f);
	assert_true(read(watch, event, sizeof event) > 0);
	close(watch);
	assert_int_equal(access(f->effect, F_OK), -1);
	p = (struct pollfd){.fd = runner_fd(f->runner), .events = POLLIN};
	while (runner_expired(f->runner, &f->err) == 0)
		assert_int_equal(poll(&p, 1, -1), 1);
	assert_int_equal(runner_expired(f->runner, &f->err), 1);
	assert_true(f->log_lines < 20000);
	assert_clean(f);
}

/* ---- interrupts ---- */

static void test_interrupt(void **state)
{
	static const char *const hows[] = {"wait", "hang"};
	struct fixture *f = *state;
	int pipe_fds[2];
	size_t i;

	for (i = 0; i < 2; i++) {
		assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
		f->options.interrupt_fd = pipe_fds[0];
		f->tell = pipe_fds[1]; /* the hook's own evidence is what interrupts it */
		with(f, "inject", hows[i], NULL);
		plan(f);
		assert_int_equal(runner_inject(f->runner, &f->err), -1);
		assert_int_equal(f->err.code, ECANCELED);
		assert_int_equal(runner_failure(f->runner), RUNNER_FAILURE_NONE);
		assert_int_equal(access(f->effect, F_OK), 0);
		assert_int_equal(runner_revert(f->runner, &f->err), 0); /* still readable, and not heeded */
		assert_clean(f);
		runner_destroy(f->runner);
		f->runner = NULL;
		close(pipe_fds[0]);
		close(pipe_fds[1]);
	}
	f->tell = -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    RUNNER_TEST(test_crash_in_each_hook),
	    RUNNER_TEST(test_exit_in_each_hook),
	    RUNNER_TEST(test_hang_in_each_hook),
	    RUNNER_TEST(test_babble_in_each_hook),
	    RUNNER_TEST(test_late_but_cancelled_in_each_hook),
	    RUNNER_TEST(test_starved_and_no_hang),
	    RUNNER_TEST(test_refusal_in_each_hook),
	    RUNNER_TEST(test_refusal_without_a_reason),
	    RUNNER_TEST(test_garbage_on_the_socket),
	    RUNNER_TEST(test_socket_closed_by_the_plugin),
	    RUNNER_TEST(test_undo_record_too_large),
	    RUNNER_TEST(test_proof_of_unknown_kind),
	    RUNNER_TEST(test_revert_that_fails_the_first_time),
	    RUNNER_TEST(test_revert_that_always_fails),
	    RUNNER_TEST(test_a_process_left_by_the_plugin_ends),
	    RUNNER_TEST(test_a_process_left_by_a_plugin_that_died_ends),
	    RUNNER_TEST(test_chatter_does_not_block),
	    RUNNER_TEST(test_interrupt),
	};

	return runner_fixture_main(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
