/* SPDX-License-Identifier: Apache-2.0 */
/* fork and exec inside the keeper. Between the two only async-signal-safe calls: the keeper has a
 * second thread. */
#include "keeper/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/filter.h"

/* What the child says on the socket before exec closes it: how far it got when it failed. */
enum stage { STAGE_OUTPUT = 1, STAGE_CWD, STAGE_FILTER, STAGE_EXEC, STAGE_LISTENER };

struct said {
	int stage, code;
};

/* ---- the child ---- */

/* Not write(2): after the filter is in, that would wait for an answer that nobody gives yet. */
static void __attribute__((noreturn)) fail(int fd, int stage, int code)
{
	struct said said = {.stage = stage, .code = code};
	ssize_t n;

	do
		n = send(fd, &said, sizeof said, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	_exit(127);
}

static int send_listener(int fd, int listener)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct said said = {.stage = STAGE_LISTENER};
	struct iovec iov = {.iov_base = &said, .iov_len = sizeof said};
	struct msghdr msg = {
	    .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
	ssize_t n;

	memset(&control, 0, sizeof control);
	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_RIGHTS;
	control.head.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.head), &listener, sizeof listener);
	do
		n = sendmsg(fd, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -1 : 0;
}

static void reset_signals(void)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	sigset_t none;
	int i;

	for (i = 1; i < NSIG; i++)
		sigaction(i, &action, NULL); /* fails for SIGKILL and SIGSTOP, as it should */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static int append_to(const char *path)
{
	return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644);
}

static void redirect(int say, const struct spawn_options *o)
{
	int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int out = append_to(o->output);
	int error = o->error_output ? append_to(o->error_output) : out;

	if (in < 0 || out < 0 || error < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(error, 2) < 0)
		fail(say, STAGE_OUTPUT, errno);
}

static void __attribute__((noreturn)) child(int say, pid_t keeper, const char *program, const struct spawn_options *o)
{
	/* The descriptors 0 to 2 are open in the keeper, so `say` is above them. */
	redirect(say, o);
	setpgid(0, 0);
	umask(022);
	if (close_range(3, UINT_MAX, CLOSE_RANGE_CLOEXEC) < 0)
		fail(say, STAGE_EXEC, errno);
	if (chdir(o->cwd) < 0)
		fail(say, STAGE_CWD, errno);
	/* If the keeper itself is killed, at least the processes that it started itself go along. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != keeper)
		_exit(127);
	reset_signals();
	if (o->filter) {
		int listener = notified_install(o->filter);

		if (listener < 0)
			fail(say, STAGE_FILTER, errno);
		if (send_listener(say, listener) < 0)
			fail(say, STAGE_FILTER, errno);
		close(listener);
	}
	execve(program, o->argv, o->env);
	fail(say, STAGE_EXEC, errno);
}

/* ---- the keeper ---- */

/* Like execvp, with the PATH that the process will have: a bare name is looked up, first match that
 * may be executed. */
static int look_up(const struct spawn_options *o, char *ret_path, size_t size, struct error *err)
{
	const char *path = "/usr/local/bin:/usr/bin:/bin", *name = o->argv[0];
	size_t i;

	if (strchr(name, '/')) {
		if ((size_t)snprintf(ret_path, size, "%s", name) >= size)
			return error_set(err, ENAMETOOLONG, "%s: the path is too long", name);
		return 0;
	}
	for (i = 0; o->env[i]; i++)
		if (!strncmp(o->env[i], "PATH=", 5))
			path = o->env[i] + 5;
	while (*path) {
		size_t length = strcspn(path, ":");
		int n = snprintf(ret_path, size, "%.*s/%s", (int)length, path, name);

		if (length && n > 0 && (size_t)n < size && access(ret_path, X_OK) == 0)
			return 0;
		path += length + (path[length] == ':');
	}
	return error_set(err, ENOENT, "%s: no such program in PATH", name);
}

/* 1: *said filled (and *listener, if one came), 0: end of file, -1: error. */
static int hear(int fd, struct said *said, int *listener)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = said, .iov_len = sizeof *said};
	struct msghdr msg = {
	    .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
	struct cmsghdr *c;
	ssize_t n;

	do
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return (int)n;
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(listener, CMSG_DATA(c), sizeof *listener);
	return 1;
}

static int explain(const struct spawn_options *o, const struct said *said, struct error *err)
{
	const char *why = strerror(said->code);

	switch (said->stage) {
	case STAGE_OUTPUT:
		return error_set(err, said->code, "%s%s%s: %s", o->output, o->error_output ? " or " : "",
		    o->error_output ? o->error_output : "", why);
	case STAGE_CWD:
		return error_set(err, said->code, "working directory %s: %s", o->cwd, why);
	case STAGE_FILTER:
		return error_set(err, ENOTSUP, "the system-call filter cannot be installed: %s", why);
	default:
		return error_set(err, said->code, "%s: %s", o->argv[0], why);
	}
}

int spawn_process(const struct spawn_options *options, pid_t *ret_pid, int *ret_listener, struct error *err)
{
	char program[PATH_MAX];
	struct said said;
	int pair[2], listener = -1, r;
	pid_t keeper = getpid(), pid;

	if (look_up(options, program, sizeof program, err) < 0)
		return -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(err, errno, "a socket for a new process: %s", strerror(errno));
	pid = fork();
	if (pid == 0)
		child(pair[1], keeper, program, options);
	r = errno;
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return error_set(err, r, "fork: %s", strerror(r));
	}
	while ((r = hear(pair[0], &said, &listener)) == 1)
		if (said.stage != STAGE_LISTENER)
			break;
	close(pair[0]);
	if (r == 0) {
		*ret_pid = pid;
		if (options->filter)
			*ret_listener = listener;
		return 0;
	}
	if (r < 0)
		error_set(err, errno, "listening to a new process: %s", strerror(errno));
	else
		explain(options, &said, err);
	if (listener >= 0)
		close(listener);
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return -1;
}
