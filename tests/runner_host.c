/* SPDX-License-Identifier: Apache-2.0 */
/* Hosts to be killed; see runner_host.h. */
#include "runner_host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int inject(const struct runner_options *base, struct undo_log *undo, const char *id, struct error *err)
{
	struct runner_options options = *base;
	struct runner *runner;

	options.undo = undo;
	options.fault_id = id;
	if (runner_start(&runner, &options, err) < 0 || runner_plan(runner, NULL, err) < 0)
		return -1;
	return runner_inject(runner, err);
}

static void __attribute__((noreturn))
host(const struct runner_options *options, const char *first, const char *second, int ready)
{
	struct undo_log *undo;
	struct error err = {0};

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* it does not outlive a test that was given up */
	if (undo_open(&undo, options->run_dir, &err) < 0 || inject(options, undo, first, &err) < 0 ||
	    inject(options, undo, second, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		_exit(1);
	}
	if (write(ready, "x", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

pid_t fork_host_of_two(const struct runner_options *options, const char *first, const char *second)
{
	int fds[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		host(options, first, second, fds[1]);
	close(fds[1]);
	assert_int_equal(read(fds[0], &byte, 1), 1);
	close(fds[0]);
	return pid;
}

void wait_for_all(void)
{
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	assert_int_equal(errno, ECHILD);
}
