/* SPDX-License-Identifier: Apache-2.0 */
/* A recording's life: the command under its filter, each notified call to who knows it, the end. */
#include "crash/notifier/notifier.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crash/notifier/internal.h"

#define EXIT_NOT_STARTED 127
#define LOOK_MS          500 /* a signal that comes just before we wait is seen after that */

struct command {
	pid_t pid;
	int pidfd, status;
	bool reaped;
};

bool recording_below(const struct recording *recording, const char *path)
{
	const size_t length = strlen(recording->root);

	return strncmp(path, recording->root, length) == 0 && (path[length] == '/' || !path[length]);
}

void recording_refuse(struct recording *recording, const char *format, ...)
{
	va_list args;

	if (recording->failure.code)
		return;
	va_start(args, format);
	error_vset(&recording->failure, ENOTSUP, format, args);
	va_end(args);
}

void recording_add(struct recording *recording, const struct asked *asked, const struct trace_op *op)
{
	struct trace_op with_pid = *op;

	if (recording->failure.code)
		return;
	with_pid.pid = (uint32_t)asked->tid;
	(void)trace_add(recording->trace, &with_pid, &recording->failure);
}

bool recording_valid(const struct recording *recording, const struct asked *asked)
{
	return notified_valid(recording->listener, asked->id);
}

/* ---- one call ---- */

static struct result dispatch(struct recording *recording, const struct asked *asked)
{
	switch (asked->nr) {
	case SYS_write:
	case SYS_pwrite64:
	case SYS_writev:
	case SYS_pwritev:
	case SYS_pwritev2:
	case SYS_sendfile:
	case SYS_copy_file_range:
	case SYS_splice:
	case SYS_fsync:
	case SYS_fdatasync:
	case SYS_syncfs:
	case SYS_ftruncate:
	case SYS_fallocate:
		return data_call(recording, asked);
	case SYS_mmap:
	case SYS_mprotect:
	case SYS_msync:
		return maps_call(recording, asked);
	case SYS_sync: {
		const struct trace_op op = {.kind = TRACE_SYNC_ALL};

		sync();
		recording_add(recording, asked, &op);
		return RESULT_VALUE(0);
	}
	default:
		return names_call(recording, asked);
	}
}

static void serve(struct recording *recording)
{
	struct notified *notified = &recording->notified;
	uint64_t args[6];
	struct asked asked = {.args = args};
	struct result result;
	size_t i;

	if (notified_receive(notified, recording->listener) < 0)
		return; /* it died meanwhile */
	for (i = 0; i < 6; i++)
		args[i] = notified->request->data.args[i];
	asked.id = notified->request->id;
	asked.tid = (pid_t)notified->request->pid;
	asked.nr = notified->request->data.nr;
	result = dispatch(recording, &asked);
	switch (result.done) {
	case DONE:
		notified_answer(notified, recording->listener, asked.id, 0, result.value, 0);
		break;
	case FAILED:
		notified_answer(notified, recording->listener, asked.id, 0, 0, result.error);
		break;
	case CONTINUE:
		notified_answer(notified, recording->listener, asked.id, SECCOMP_USER_NOTIF_FLAG_CONTINUE, 0, 0);
		break;
	case ANSWERED:
		break;
	}
}

/* ---- the command ---- */

static void __attribute__((noreturn)) child(char *const *argv, const struct sock_fprog *program, int output, int say)
{
	int numbers[2];
	char go;

	setpgid(0, 0);
	if (dup2(output, STDOUT_FILENO) < 0)
		_exit(EXIT_NOT_STARTED);
	numbers[0] = notified_install(program);
	numbers[1] = errno;
	if (send(say, numbers, sizeof numbers, MSG_NOSIGNAL) != (ssize_t)sizeof numbers || numbers[0] < 0)
		_exit(EXIT_NOT_STARTED);
	if (recv(say, &go, 1, 0) != 1) /* the parent has the listener */
		_exit(EXIT_NOT_STARTED);
	close(numbers[0]);
	execvp(argv[0], argv);
	numbers[1] = errno;
	(void)!send(say, &numbers[1], sizeof numbers[1], MSG_NOSIGNAL);
	_exit(EXIT_NOT_STARTED);
}

/* Takes the listener out of the child. */
static int take_listener(const struct command *command, int hear, struct error *err)
{
	int numbers[2], listener;

	if (recv(hear, numbers, sizeof numbers, 0) != (ssize_t)sizeof numbers)
		return error_set(err, ENOTSUP, "the command's process ended before it began");
	if (numbers[0] < 0)
		return error_set(
		    err, ENOTSUP, "no filter with user notification can be installed here: %s", strerror(numbers[1]));
	listener = (int)syscall(SYS_pidfd_getfd, command->pidfd, numbers[0], 0);
	if (listener < 0)
		return error_set(
		    err, ENOTSUP, "a child's descriptor cannot be taken (pidfd_getfd): %s", strerror(errno));
	if (send(hear, "", 1, MSG_NOSIGNAL) != 1) {
		close(listener);
		return error_set(err, ENOTSUP, "the command's process ended before it began");
	}
	return listener;
}

static void kill_all(const struct command *command)
{
	kill(-command->pid, SIGKILL); /* its process group */
	kill(command->pid, SIGKILL);
}

static void reap(struct command *command)
{
	while (!command->reaped && waitpid(command->pid, &command->status, 0) < 0)
		if (errno != EINTR)
			break;
	command->reaped = true;
}

static int start(struct recording *recording, struct command *command, const struct sock_fprog *program, int output,
    int *ret_hear, struct error *err)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(err, errno, "socketpair: %s", strerror(errno));
	command->pid = fork();
	if (command->pid == 0)
		child(recording->options->argv, program, output, pair[1]);
	close(pair[1]);
	if (command->pid < 0) {
		close(pair[0]);
		return error_set(err, errno, "fork: %s", strerror(errno));
	}
	command->pidfd = (int)syscall(SYS_pidfd_open, command->pid, 0);
	if (command->pidfd < 0)
		error_set(err, errno, "pidfd_open: %s", strerror(errno));
	else
		recording->listener = take_listener(command, pair[0], err);
	if (recording->listener < 0) {
		kill_all(command);
		reap(command);
		close(pair[0]);
		return -1;
	}
	*ret_hear = pair[0];
	return 0;
}

/* Until nobody is left under the filter, or the recording is worth nothing any more. */
static void follow(struct recording *recording, struct command *command)
{
	struct pollfd polls[2] = {
	    {.fd = recording->listener, .events = POLLIN}, {.fd = command->pidfd, .events = POLLIN}};
	const volatile sig_atomic_t *interrupted = recording->options->interrupted;
	bool ended = false;

	for (;;) {
		const int ready = poll(polls, 2, interrupted ? LOOK_MS : -1);

		if (ready < 0 && errno != EINTR)
			break;
		if (interrupted && *interrupted) {
			if (ended)
				break; /* nobody waits for who left the group */
			if (!recording->failure.code)
				error_set(&recording->failure, EINTR, "interrupted");
		}
		if (ready <= 0)
			polls[0].revents = polls[1].revents = 0;
		if (polls[0].revents & POLLIN)
			serve(recording);
		else if (polls[0].revents & (POLLHUP | POLLERR))
			break;
		if ((polls[1].revents & POLLIN || recording->failure.code) && !ended) {
			kill_all(command); /* what it left running */
			reap(command);
			polls[1].fd = -1;
			polls[1].revents = 0;
			ended = true;
		}
	}
	reap(command);
}

/* ---- all of it ---- */

static int find_root(struct recording *recording, struct error *err)
{
	const char *dir = recording->options->dir;
	struct stat st;

	if (!realpath(dir, recording->root) || stat(dir, &st) < 0)
		return error_set(err, errno, "%s: %s", dir, strerror(errno));
	if (!S_ISDIR(st.st_mode) || !recording->root[1])
		return error_set(err, ENOTDIR, "%s: not a directory that could be recorded", dir);
	recording->root_dev = st.st_dev;
	return 0;
}

static int run(
    struct recording *recording, const struct sock_fprog *program, int output, int *ret_status, struct error *err)
{
	struct command command = {.pid = -1, .pidfd = -1};
	int hear = -1, code = 0, r = -1;

	if (start(recording, &command, program, output, &hear, err) == 0) {
		(void)notified_sync_wake_up(recording->listener);
		follow(recording, &command);
		if (recording->failure.code)
			error_set(err, recording->failure.code, "%s", recording->failure.text);
		else if (recv(hear, &code, sizeof code, MSG_DONTWAIT) == (ssize_t)sizeof code)
			error_set(err, code, "%s: %s", recording->options->argv[0], strerror(code));
		else
			r = 0;
		*ret_status = command.status;
		close(hear);
		close(recording->listener);
	}
	if (command.pidfd >= 0)
		close(command.pidfd);
	return r;
}

int notifier_record(
    struct trace **ret_trace, const struct notifier_options *options, int *ret_status, struct error *err)
{
	struct recording *recording = calloc(1, sizeof *recording);
	struct sock_fprog program = {0};
	int pipes[2] = {-1, -1}, r = -1;

	if (!recording)
		return error_set(err, ENOMEM, "no memory for a recording");
	recording->options = options;
	recording->listener = -1;
	if (find_root(recording, err) < 0 || notified_init(&recording->notified, err) < 0 ||
	    notifier_filter(&program, err) < 0)
		goto out;
	if (pipe2(pipes, O_CLOEXEC) < 0 || fstat(pipes[1], &recording->output) < 0) {
		error_set(err, errno, "a pipe for the output: %s", strerror(errno));
		goto out;
	}
	if (trace_create(&recording->trace, recording->root, err) < 0 ||
	    trace_add_tree(recording->trace, recording->root, err) < 0)
		goto out;
	r = run(recording, &program, pipes[1], ret_status, err);
	if (r == 0) {
		*ret_trace = recording->trace;
		recording->trace = NULL;
	}
out:
	if (pipes[0] >= 0) {
		close(pipes[0]);
		close(pipes[1]);
	}
	notified_free(&program);
	notified_finish(&recording->notified);
	trace_destroy(recording->trace);
	free(recording->data);
	free(recording);
	return r;
}
