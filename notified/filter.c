/* SPDX-License-Identifier: Apache-2.0 */
/* Installing a filter, receiving and answering; knows no particular system call. */
#include "notified/filter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int read_back(int fd, struct sock_fprog *ret_program, struct error *err)
{
	off_t size = lseek(fd, 0, SEEK_END);
	struct sock_filter *code;
	size_t got = 0;

	if (size <= 0 || (size_t)size % sizeof *code || (size_t)size / sizeof *code > BPF_MAXINSNS)
		return error_set(err, EINVAL, "libseccomp made a filter of %jd bytes", (intmax_t)size);
	code = malloc((size_t)size);
	if (!code)
		return error_set(err, ENOMEM, "no memory for the system-call filter");
	while (got < (size_t)size) {
		ssize_t n = pread(fd, (char *)code + got, (size_t)size - got, (off_t)got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			free(code);
			return error_set(err, EIO, "reading the system-call filter: %s", strerror(errno));
		}
		got += (size_t)n;
	}
	ret_program->len = (unsigned short)((size_t)size / sizeof *code);
	ret_program->filter = code;
	return 0;
}

int notified_export(scmp_filter_ctx ctx, struct sock_fprog *ret_program, struct error *err)
{
	int fd = memfd_create("filter", MFD_CLOEXEC), r;

	r = fd < 0 ? -errno : seccomp_export_bpf(ctx, fd);
	if (r < 0)
		error_set(err, -r, "making the system-call filter: %s", strerror(-r));
	else
		r = read_back(fd, ret_program, err);
	if (fd >= 0)
		close(fd);
	return r < 0 ? -1 : 0;
}

void notified_free(struct sock_fprog *program)
{
	free(program->filter);
	memset(program, 0, sizeof *program);
}

static int install(const struct sock_fprog *program, unsigned long flags)
{
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program);
}

int notified_install(const struct sock_fprog *program)
{
	int listener;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	/* Once we look at a call, only a fatal signal may interrupt it: a call that was performed for
	 * the task and then restarted because of some SIGURG would happen twice. (Linux 5.19) */
	listener = install(program, SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
	if (listener < 0 && errno == EINVAL)
		listener = install(program, SECCOMP_FILTER_FLAG_NEW_LISTENER);
	return listener;
}

bool notified_sync_wake_up(int listener)
{
	return ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP) == 0;
}

bool notified_valid(int listener, uint64_t id)
{
	return ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

/* The structs may be larger in a newer kernel, which then writes more than we know of. */
int notified_init(struct notified *notified, struct error *err)
{
	struct seccomp_notif_sizes sizes;

	memset(notified, 0, sizeof *notified);
	if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0)
		return error_set(err, ENOTSUP, "this kernel has no seccomp user notification: %s", strerror(errno));
	notified->request_size = sizes.seccomp_notif;
	notified->response_size = sizes.seccomp_notif_resp;
	if (notified->request_size < sizeof *notified->request)
		notified->request_size = sizeof *notified->request;
	if (notified->response_size < sizeof *notified->response)
		notified->response_size = sizeof *notified->response;
	notified->request = malloc(notified->request_size);
	notified->response = malloc(notified->response_size);
	if (notified->request && notified->response)
		return 0;
	notified_finish(notified);
	return error_set(err, ENOMEM, "no memory for notifications");
}

void notified_finish(struct notified *notified)
{
	free(notified->request);
	free(notified->response);
	memset(notified, 0, sizeof *notified);
}

int notified_receive(struct notified *notified, int listener)
{
	memset(notified->request, 0, notified->request_size);
	return ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, notified->request);
}

void notified_answer(struct notified *notified, int listener, uint64_t id, uint32_t flags, int64_t value, int error)
{
	memset(notified->response, 0, notified->response_size);
	notified->response->id = id;
	notified->response->flags = flags;
	notified->response->val = error ? 0 : value;
	notified->response->error = -error;
	while (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, notified->response) < 0 && errno == EINTR)
		;
}
