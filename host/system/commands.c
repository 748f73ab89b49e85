/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that run to their end: what the manifest calls prepare, replay and recover. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "system/private.h"

bool command_interrupted(int fd, int wait_ms)
{
	struct pollfd p = {.fd = fd > 0 ? fd : -1, .events = POLLIN};

	return poll(&p, 1, wait_ms) > 0;
}

int command_spawn(struct keeper *keeper, const struct command *command, pid_t *ret_pid, struct error *err)
{
	if (keeper_spawn(keeper,
		&(struct keeper_process){.name = command->name,
		    .argv = (const char *const *)command->argv,
		    .env = (const char *const *)command->environment,
		    .cwd = command->directory,
		    .output = command->output},
		ret_pid, err) != 0)
		return error_context(err, "%s", command->name);
	return 0;
}

int command_kill(struct keeper *keeper, const struct command *command, pid_t pid, struct error *err)
{
	struct error error;

	if (keeper_kill(keeper, pid, &error) != 0 && error.code != ESRCH)
		return error_set(err, error.code, "%s: %s", command->name, error.text);
	return 0;
}

int command_ended(const struct command *command, bool interrupted, bool killed, struct error *err)
{
	if (interrupted)
		return error_set(err, ECANCELED, "%s was interrupted", command->name);
	if (killed)
		return error_set(err, ETIMEDOUT, "%s: %s did not end within %" PRId64 " ms", command->name,
		    command->argv[0], command->timeout_ms);
	return 0;
}

int command_run(struct keeper *keeper, const struct command *command, int *ret_status, struct error *err)
{
	int64_t deadline = clock_ms() + command->timeout_ms;
	struct keeper_event event;
	bool killed = false, interrupted = false;
	pid_t pid;

	if (command_spawn(keeper, command, &pid, err) != 0)
		return -1;
	for (;;) {
		int64_t left = deadline - clock_ms();
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
			killed = true;
			if (command_kill(keeper, command, pid, err) != 0)
				return -1;
		}
	}
	*ret_status = event.status;
	return command_ended(command, interrupted, killed, err);
}

static bool is_program(const char *path)
{
	struct stat st;

	if (access(path, X_OK) != 0 || stat(path, &st) != 0)
		return false;
	if (S_ISREG(st.st_mode))
		return true;
	errno = EACCES;
	return false;
}

int command_find(const char *name, char *ret_path, size_t size, struct error *err)
{
	const char *path = getenv("PATH"), *end;

	if (strchr(name, '/')) {
		snprintf(ret_path, size, "%s", name);
		return is_program(name) ? 0 : error_set(err, errno, "%s: %s", name, strerror(errno));
	}
	for (path = path ? path : "/bin:/usr/bin";; path = end + 1) {
		end = strchrnul(path, ':');
		/* An empty place is the working directory. */
		if (snprintf(ret_path, size, "%.*s%s%s", (int)(end - path), path, end > path ? "/" : "./", name) <
			(int)size &&
		    is_program(ret_path))
			return 0;
		if (!*end)
			return error_set(err, ENOENT, "there is no program '%s' in PATH", name);
	}
}

void command_status(int status, char *ret, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(ret, size, "was killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(ret, size, "exited with %d", WEXITSTATUS(status));
}
