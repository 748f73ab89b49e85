/* SPDX-License-Identifier: Apache-2.0 */
/* Notified calls, done on the task's behalf. Decides nothing: the rules have. */
#include "keeper/perform.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "notified/target.h"

#define CHUNK_SIZE  ((size_t)1 << 20) /* bytes held of one call's data */
#define WRITE_MAX   0x7ffff000u       /* as the kernel bounds one write */
#define VECTORS_MAX 1024

struct performer {
	uint8_t chunk[CHUNK_SIZE];
	struct iovec vectors[VECTORS_MAX];
	char path[PATH_MAX], from[PATH_MAX];
};

/* One call in hand. */
struct job {
	struct performer *performer;
	const struct call *call;
	int listener;
	pid_t tid;
	uint64_t id;
	const __u64 *args;
	int64_t *value; /* what the call returns */
};

int performer_create(struct performer **ret_performer, struct error *err)
{
	struct performer *performer = malloc(sizeof *performer);

	if (!performer)
		return error_set(err, ENOMEM, "no memory to perform calls");
	*ret_performer = performer;
	return 0;
}

void performer_destroy(struct performer *performer)
{
	free(performer);
}

bool perform_still_valid(int listener, uint64_t id)
{
	return ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

static bool valid(const struct job *job)
{
	return perform_still_valid(job->listener, job->id);
}

static enum performed outcome(int64_t r, int *ret_errno)
{
	if (r >= 0)
		return PERFORM_DONE;
	*ret_errno = errno;
	return PERFORM_FAILED;
}

/* ---- writes ---- */

/* The call's data as vectors of the task. Returns how many or a negative errno. */
static int load_vectors(const struct job *job)
{
	struct iovec *v = job->performer->vectors;
	int n, i, r;

	if (job->call->nr == SYS_write || job->call->nr == SYS_pwrite64) {
		v[0].iov_base = (void *)(uintptr_t)job->args[1]; // NOLINT(performance-no-int-to-ptr)
		v[0].iov_len = job->args[2];
		n = 1;
	} else {
		if (job->args[2] > VECTORS_MAX)
			return -EINVAL;
		n = (int)job->args[2];
		r = target_read(job->tid, job->args[1], v, (size_t)n * sizeof *v);
		if (r < 0)
			return r;
	}
	for (i = 0; i < n; i++)
		if (v[i].iov_len > WRITE_MAX)
			v[i].iov_len = WRITE_MAX;
	return n;
}

/* -1: at the file's own position, which the task's descriptor and ours share. */
static int offset_of(const struct job *job, off_t *ret_offset, int *ret_flags)
{
	*ret_flags = 0;
	*ret_offset = -1;
	if (job->call->nr == SYS_write || job->call->nr == SYS_writev)
		return 0;
	*ret_offset = (off_t)job->args[3];
	if (job->call->nr == SYS_pwritev2) {
		*ret_flags = (int)job->args[5];
		return *ret_offset < -1 ? -EINVAL : 0;
	}
	return *ret_offset < 0 ? -EINVAL : 0;
}

struct output {
	int fd, flags;
	off_t offset;
	uint64_t done;
};

/* Writes the chunk out whole. 0, or -1 with errno. */
static int put(struct output *out, const uint8_t *bytes, size_t size)
{
	while (size) {
		struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
		ssize_t n = pwritev2(out->fd, &iov, 1, out->offset, out->flags);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (out->offset >= 0)
			out->offset += n;
		out->done += (uint64_t)n;
		bytes += n;
		size -= (size_t)n;
	}
	return 0;
}

/* Many small vectors are gathered into one write, as the kernel would: another appender's line must
 * not come between. */
static enum performed copy_out(const struct job *job, struct output *out, int n, int *ret_errno)
{
	struct performer *p = job->performer;
	size_t used = 0, at = 0;
	int i = 0, r = 0;

	while (i < n || used) {
		if (i < n && used < CHUNK_SIZE) {
			size_t take = p->vectors[i].iov_len - at;

			if (take > CHUNK_SIZE - used)
				take = CHUNK_SIZE - used;
			r = target_read(
			    job->tid, (uint64_t)(uintptr_t)p->vectors[i].iov_base + at, p->chunk + used, take);
			if (r < 0)
				break;
			used += take;
			at += take;
			if (at == p->vectors[i].iov_len) {
				i++;
				at = 0;
			}
			continue;
		}
		if (!valid(job))
			return PERFORM_GONE;
		r = put(out, p->chunk, used) < 0 ? -errno : 0;
		if (r < 0)
			break;
		used = 0;
	}
	/* What the kernel calls a short write is performed enough. */
	if (r == 0 || out->done) {
		*job->value = (int64_t)out->done;
		return PERFORM_DONE;
	}
	*ret_errno = -r;
	return PERFORM_FAILED;
}

static enum performed do_write(const struct job *job, int fd, int *ret_errno)
{
	struct output out = {.fd = fd};
	int n = load_vectors(job), r;

	if (n < 0) {
		*ret_errno = -n;
		return PERFORM_FAILED;
	}
	r = offset_of(job, &out.offset, &out.flags);
	if (r < 0) {
		*ret_errno = -r;
		return PERFORM_FAILED;
	}
	return copy_out(job, &out, n, ret_errno);
}

/* An offset argument that may be NULL. */
static int load_offset(const struct job *job, uint64_t address, off_t *value, off_t **ret_value)
{
	*ret_value = address ? value : NULL;
	return address ? target_read(job->tid, address, value, sizeof *value) : 0;
}

static enum performed do_copy(const struct job *job, int fd, int *ret_errno)
{
	const bool send = job->call->nr == SYS_sendfile;
	off_t in_value = 0, out_value = 0, *in_offset = NULL, *out_offset = NULL;
	uint64_t left = send ? job->args[3] : job->args[4], done = 0;
	int in = target_take_fd(job->tid, (int)job->args[send ? 1 : 0]), r;
	ssize_t n = 0;

	if (in < 0)
		return PERFORM_CANNOT;
	r = load_offset(job, send ? job->args[2] : job->args[1], &in_value, &in_offset);
	if (r == 0 && !send)
		r = load_offset(job, job->args[3], &out_value, &out_offset);
	if (r == 0 && !valid(job)) {
		close(in);
		return PERFORM_GONE;
	}
	while (r == 0 && left) {
		size_t step = left > WRITE_MAX ? WRITE_MAX : left;

		n = send ? sendfile(fd, in, in_offset, step)
			 : copy_file_range(in, in_offset, fd, out_offset, step, (unsigned int)job->args[5]);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		done += (uint64_t)n;
		left -= (uint64_t)n;
	}
	*ret_errno = r < 0 ? -r : errno;
	close(in);
	return r == 0 && (n >= 0 || done) ? PERFORM_DONE : PERFORM_FAILED;
}

/* ---- calls on a descriptor ---- */

static enum performed by_fd(const struct job *job, int *ret_errno)
{
	enum performed performed;
	struct stat st;
	int fd = target_take_fd(job->tid, (int)job->args[job->call->fd]);

	if (fd < 0)
		return PERFORM_CANNOT;
	if (job->call->nr == SYS_splice || fstat(fd, &st) < 0 || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))) {
		close(fd); /* a pipe or a device could hold us up for ever */
		return PERFORM_CANNOT;
	}
	if (!valid(job)) {
		close(fd);
		return PERFORM_GONE;
	}
	switch (job->call->nr) {
	case SYS_fsync:
		performed = outcome(fsync(fd), ret_errno);
		break;
	case SYS_fdatasync:
		performed = outcome(fdatasync(fd), ret_errno);
		break;
	case SYS_ftruncate:
		performed = outcome(ftruncate(fd, (off_t)job->args[1]), ret_errno);
		break;
	case SYS_fallocate:
		performed =
		    outcome(fallocate(fd, (int)job->args[1], (off_t)job->args[2], (off_t)job->args[3]), ret_errno);
		break;
	case SYS_sendfile:
	case SYS_copy_file_range:
		performed = do_copy(job, fd, ret_errno);
		break;
	default:
		performed = do_write(job, fd, ret_errno);
	}
	close(fd);
	return performed;
}

/* msync: what is mapped shared is in the page cache, and is written by a sync of the file. */
static enum performed by_mapping(const struct job *job, int *ret_errno)
{
	enum performed performed;
	int fd;

	if (target_mapped_path(job->tid, job->args[job->call->address], job->performer->path) < 0)
		return PERFORM_CANNOT;
	fd = open(job->performer->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return PERFORM_CANNOT;
	performed = valid(job) ? outcome(fdatasync(fd), ret_errno) : PERFORM_GONE;
	close(fd);
	return performed;
}

/* ---- calls on paths ---- */

static int open_as(const struct job *job, int dir, int *ret_errno)
{
	struct open_how how = {0};
	const __u64 *a = job->args;
	int fd;

	if (job->call->nr == SYS_openat2) {
		size_t size = a[3] < sizeof how ? (size_t)a[3] : sizeof how;
		int r = target_read(job->tid, a[2], &how, size);

		if (r < 0) {
			*ret_errno = -r;
			return -1;
		}
#ifdef SYS_open
	} else if (job->call->nr == SYS_creat) {
		how.flags = O_CREAT | O_WRONLY | O_TRUNC;
		how.mode = a[1] & 07777;
	} else if (job->call->nr == SYS_open) {
		how.flags = (uint32_t)a[1];
		how.mode = a[2] & 07777;
#endif
	} else {
		how.flags = (uint32_t)a[2];
		how.mode = a[3] & 07777;
	}
	if (job->call->nr == SYS_openat2) {
		fd = (int)syscall(SYS_openat2, dir, job->performer->path, &how, sizeof how);
	} else {
		fd = openat(
		    dir, job->performer->path, (int)how.flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, (mode_t)how.mode);
	}
	if (fd < 0)
		*ret_errno = errno;
	return fd;
}

/* There is no such call with a directory. */
static enum performed shorten(int dir, const char *path, off_t size, int *ret_errno)
{
	int fd = openat(dir, path, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	enum performed performed = outcome(fd < 0 ? -1 : ftruncate(fd, size), ret_errno);

	if (fd >= 0)
		close(fd);
	return performed;
}

static enum performed at_path(const struct job *job, int dir, int from_dir, int *ret_errno)
{
	const char *path = job->performer->path, *from = job->performer->from;
	const __u64 *a = job->args;
	int fd;

	switch (job->call->nr) {
	case SYS_renameat2:
		return outcome(renameat2(from_dir, from, dir, path, (unsigned int)a[4]), ret_errno);
	case SYS_linkat:
		return outcome(linkat(from_dir, from, dir, path, (int)a[4]), ret_errno);
	case SYS_symlinkat:
		return outcome(symlinkat(from, dir, path), ret_errno);
	case SYS_mkdirat:
		return outcome(mkdirat(dir, path, (mode_t)a[2]), ret_errno);
	case SYS_truncate:
		return shorten(dir, path, (off_t)a[1], ret_errno);
#ifdef SYS_renameat
	case SYS_renameat:
		return outcome(renameat(from_dir, from, dir, path), ret_errno);
#endif
#ifdef SYS_open
	case SYS_rename:
		return outcome(renameat(from_dir, from, dir, path), ret_errno);
	case SYS_link:
		return outcome(linkat(from_dir, from, dir, path, 0), ret_errno);
	case SYS_symlink:
		return outcome(symlinkat(from, dir, path), ret_errno);
	case SYS_mkdir:
		return outcome(mkdirat(dir, path, (mode_t)a[1]), ret_errno);
#endif
	default:
		fd = open_as(job, dir, ret_errno);
		if (fd < 0)
			return PERFORM_FAILED;
		close(fd);
		return PERFORM_DONE;
	}
}

static int dir_argument(const struct job *job, int8_t index)
{
	return target_open_dir(job->tid, index == CALL_NONE ? AT_FDCWD : (int)job->args[index]);
}

static enum performed by_path(const struct job *job, int *ret_errno)
{
	const struct call *call = job->call;
	enum performed performed = PERFORM_CANNOT;
	bool symlinks = call->set && (call->nr == SYS_symlinkat);
	int dir = -1, from_dir = -1, r;
	mode_t mask = 022, before;
	pid_t pid;

#ifdef SYS_open
	symlinks = symlinks || call->nr == SYS_symlink;
#endif
	r = target_string(job->tid, job->args[call->path], job->performer->path);
	if (r == 0 && symlinks)
		r = target_string(job->tid, job->args[0], job->performer->from);
	else if (r == 0 && call->from_path != CALL_NONE)
		r = target_string(job->tid, job->args[call->from_path], job->performer->from);
	if (r == 0)
		r = target_status(job->tid, &pid, &mask);
	if (r == 0)
		r = dir = dir_argument(job, call->dir);
	if (r >= 0 && call->from_path != CALL_NONE)
		r = from_dir = dir_argument(job, call->from_dir);
	if (r >= 0) {
		before = umask(mask);
		performed = valid(job) ? at_path(job, dir, from_dir, ret_errno) : PERFORM_GONE;
		umask(before);
	}
	if (dir >= 0)
		close(dir);
	if (from_dir >= 0)
		close(from_dir);
	return performed;
}

bool perform_returns(const struct call *call)
{
	switch (call->nr) {
	case SYS_openat:
	case SYS_openat2:
#ifdef SYS_open
	case SYS_open:
	case SYS_creat:
#endif
	case SYS_sendfile:
	case SYS_copy_file_range:
	case SYS_splice:
		return false;
	default:
		return true;
	}
}

enum performed perform_call(struct performer *performer, const struct call *call, int listener,
    const struct seccomp_notif *notification, int64_t *ret_value, int *ret_errno)
{
	const struct job job = {.performer = performer,
	    .call = call,
	    .listener = listener,
	    .tid = (pid_t)notification->pid,
	    .id = notification->id,
	    .args = notification->data.args,
	    .value = ret_value};

	*ret_value = perform_returns(call) ? 0 : -1;
	if (call->fd != CALL_NONE)
		return by_fd(&job, ret_errno);
	if (call->address != CALL_NONE)
		return by_mapping(&job, ret_errno);
	return by_path(&job, ret_errno);
}
