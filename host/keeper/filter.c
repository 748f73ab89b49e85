/* SPDX-License-Identifier: Apache-2.0 */
/* The seccomp program, and the proof that it works on this machine. Answers nothing by itself: notify.c does. */
#include "keeper/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/calls.h"

/* O_TMPFILE without O_DIRECTORY, which is part of it and is used alone too. */
#define TMPFILE_BIT ((uint64_t)(O_TMPFILE & ~O_DIRECTORY))

static int add_rules(scmp_filter_ctx ctx)
{
	size_t i;
	int r;

	for (i = 0; i < call_count; i++) {
		const struct call *c = &call_table[i];
		unsigned int flags = (unsigned int)c->flags;

		if (c->flags == CALL_NONE) {
			r = seccomp_rule_add(ctx, SCMP_ACT_NOTIFY, c->nr, 0);
		} else {
			r = seccomp_rule_add(
			    ctx, SCMP_ACT_NOTIFY, c->nr, 1, SCMP_CMP(flags, SCMP_CMP_MASKED_EQ, O_CREAT, O_CREAT));
			if (r == 0)
				r = seccomp_rule_add(ctx, SCMP_ACT_NOTIFY, c->nr, 1,
				    SCMP_CMP(flags, SCMP_CMP_MASKED_EQ, TMPFILE_BIT, TMPFILE_BIT));
		}
		if (r < 0)
			return r;
	}
	/* Writes through a ring are not system calls, and those through a queue do not name their files: there must be neither.
	 * Who uses them falls back. */
	r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(io_uring_setup), 0);
	return r < 0 ? r : seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(io_setup), 0);
}

int filter_build(struct sock_fprog *ret_program, struct error *err)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int r;

	if (!ctx)
		return error_set(err, ENOMEM, "no memory for the system-call filter");
	r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW);
	if (r == 0)
		r = add_rules(ctx);
	if (r < 0)
		error_set(err, -r, "making the system-call filter: %s", strerror(-r));
	else
		r = notified_export(ctx, ret_program, err);
	seccomp_release(ctx);
	return r < 0 ? -1 : 0;
}

/* ---- does it work here? ---- */

#define TRY_TEXT  "felt?"
#define TRY_ERROR EDQUOT /* nothing but our answer would give that for /dev/null */

static void __attribute__((noreturn)) try_child(int say, int null, const struct sock_fprog *program, const char *text)
{
	int numbers[2] = {notified_install(program), errno};
	ssize_t n;

	if (send(say, numbers, sizeof numbers, MSG_NOSIGNAL) != (ssize_t)sizeof numbers || numbers[0] < 0)
		_exit(1);
	if (recv(say, numbers, 1, 0) != 1) /* the parent has the listener */
		_exit(1);
	n = write(null, text, sizeof TRY_TEXT);
	_exit(n < 0 && errno == TRY_ERROR ? 0 : 2);
}

static int try_answer(int listener, pid_t pid, int pidfd, struct error *err)
{
	struct pollfd p = {.fd = listener, .events = POLLIN};
	struct seccomp_notif *req = NULL;
	struct seccomp_notif_resp *resp = NULL;
	char text[sizeof TRY_TEXT] = "";
	struct iovec local = {.iov_base = text, .iov_len = sizeof text}, remote = {.iov_len = sizeof text};
	int r = -1, fd;

	if (seccomp_notify_alloc(&req, &resp) < 0)
		return error_set(err, ENOMEM, "no memory for notifications");
	if (poll(&p, 1, 10000) != 1 || ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, req) < 0) {
		error_set(err, ENOTSUP, "the filter was installed but a call was not notified: %s", strerror(errno));
		goto out;
	}
	remote.iov_base = (void *)(uintptr_t)req->data.args[1]; // NOLINT(performance-no-int-to-ptr)
	if (process_vm_readv(pid, &local, 1, &remote, 1, 0) != (ssize_t)sizeof text || strcmp(text, TRY_TEXT) != 0) {
		error_set(err, ENOTSUP, "the memory of a child cannot be read (process_vm_readv): %s", strerror(errno));
		goto out;
	}
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, (int)req->data.args[0], 0);
	if (fd < 0) {
		error_set(err, ENOTSUP, "a child's descriptor cannot be taken (pidfd_getfd): %s", strerror(errno));
		goto out;
	}
	close(fd);
	resp->id = req->id;
	resp->error = -TRY_ERROR;
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, resp) < 0) {
		error_set(err, ENOTSUP, "a notified call could not be answered: %s", strerror(errno));
		goto out;
	}
	r = 0;
out:
	seccomp_notify_free(req, resp);
	return r;
}

/* The parent's half: takes the listener out of the child, lets it write, answers. */
static int try_parent(int hear, pid_t pid, bool *ret_sync, struct error *err)
{
	int numbers[2] = {-1, 0}, pidfd, listener = -1, r = -1;

	if (recv(hear, numbers, sizeof numbers, 0) != (ssize_t)sizeof numbers)
		return error_set(err, ENOTSUP, "the child that tries the filter died");
	if (numbers[0] < 0)
		return error_set(
		    err, ENOTSUP, "no filter with user notification can be installed: %s", strerror(numbers[1]));
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		return error_set(err, ENOTSUP, "pidfd_open: %s", strerror(errno));
	listener = (int)syscall(SYS_pidfd_getfd, pidfd, numbers[0], 0);
	if (listener < 0) {
		error_set(err, ENOTSUP, "a child's descriptor cannot be taken (pidfd_getfd): %s", strerror(errno));
		goto out;
	}
	if (ret_sync)
		*ret_sync = notified_sync_wake_up(listener);
	if (send(hear, "", 1, MSG_NOSIGNAL) != 1) {
		error_set(err, ENOTSUP, "the child that tries the filter died");
		goto out;
	}
	r = try_answer(listener, pid, pidfd, err);
out:
	if (listener >= 0)
		close(listener);
	close(pidfd);
	return r;
}

int filter_try(bool *ret_sync_wake_up, struct error *err)
{
	static const char text[] = TRY_TEXT;
	struct sock_fprog program = {0};
	int pair[2] = {-1, -1}, null = -1, status = 0, r = -1;
	pid_t pid = -1;

	if (filter_build(&program, err) < 0)
		return -1;
	null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (null < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		error_set(err, errno, "trying the filter: %s", strerror(errno));
		goto out;
	}
	pid = fork();
	if (pid == 0) {
		close(pair[0]);
		try_child(pair[1], null, &program, text);
	}
	if (pid < 0) {
		error_set(err, errno, "fork: %s", strerror(errno));
		goto out;
	}
	close(pair[1]);
	pair[1] = -1;
	r = try_parent(pair[0], pid, ret_sync_wake_up, err);
	if (r < 0)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			break;
	if (r == 0 && status != 0)
		r = error_set(err, ENOTSUP, "a notified call did not get the error that it was answered");
out:
	if (null >= 0)
		close(null);
	if (pair[0] >= 0)
		close(pair[0]);
	if (pair[1] >= 0)
		close(pair[1]);
	notified_free(&program);
	return r;
}

int filter_available(struct error *err)
{
	return filter_try(NULL, err);
}
