/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that run to their end: what the manifest calls prepare, replay and recover. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "system/private.h"

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int command_run(struct keeper *keeper, const struct command *command, int *ret_status, struct error *err)
{
	int64_t deadline = now_ms() + command->timeout_ms;
	struct keeper_event event;
	bool killed = false, interrupted = false;
	pid_t pid;

	if (keeper_spawn(keeper,
		&(struct keeper_process){.name = command->name,
		    .argv = (const char *const *)command->argv,
		    .env = (const char *const *)command->environment,
		    .cwd = command->directory,
		    .output = command->output},
		&pid, err) != 0)
		return error_context(err, "%s", command->name);
	for (;;) {
		int64_t left = deadline - now_ms();
		struct pollfd fds[2] = {
		    {.fd = command->interrupt_fd > 0 ? command->interrupt_fd : -1, .events = POLLIN},
		    {.fd = keeper_event_fd(keeper), .events = POLLIN}};
		int got;

		if (!killed && command->interrupt_fd > 0) {
			poll(fds, 2, left > 0 ? (int)left : 0);
			interrupted = fds[0].revents != 0;
			if (interrupted || !fds[1].revents)
				left = 0;
		}
		got = keeper_next_event(keeper, killed ? -1 : left > 0 ? (int)left : 0, &event, err);
		if (got < 0)
			return error_context(err, "%s", command->name);
		if (got == 1 && event.pid == pid)
			break;
		if (got == 0 && !killed) {
			struct error error;

			killed = true;
			if (keeper_signal(keeper, pid, SIGKILL, &error) != 0 && error.code != ESRCH)
				return error_set(err, error.code, "%s: %s", command->name, error.text);
		}
	}
	if (interrupted)
		return error_set(err, ECANCELED, "%s was interrupted", command->name);
	if (killed)
		return error_set(err, ETIMEDOUT, "%s: %s did not end within %" PRId64 " ms", command->name,
		    command->argv[0], command->timeout_ms);
	*ret_status = event.status;
	return 0;
}

void command_status(int status, char *ret, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(ret, size, "was killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(ret, size, "exited with %d", WEXITSTATUS(status));
}
