/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each trapped call does to the files below the directory; those on names and mappings are in files of their own.
 * Nothing is remembered from call to call: what a descriptor is, the kernel is asked each time, so that dup, fork, exec
 * and passing descriptors need no care.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>

#include "crash/record/calls.h"

#ifndef RWF_DSYNC
#define RWF_DSYNC 2
#endif
#ifndef RWF_SYNC
#define RWF_SYNC 4
#endif
#ifndef RWF_APPEND
#define RWF_APPEND 16
#endif

#define PIECES_MAX 1024

int call_path_of(int fd, char path[RECORD_PATH_MAX + 32])
{
	static const char proc[] = "/proc/self/fd/";
	char link[sizeof proc + 12], digits[12];
	size_t i = 0, k = sizeof proc - 1;
	unsigned number = (unsigned)fd;
	long n;

	memcpy(link, proc, sizeof proc);
	do {
		digits[i++] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	while (i)
		link[k++] = digits[--i];
	link[k] = '\0';
	n = trap_call(SYS_readlinkat, AT_FDCWD, (long)link, (long)path, RECORD_PATH_MAX + 31, 0, 0);
	if (n <= 0)
		return -1;
	path[n] = '\0';
	return 0;
}

bool call_is_below(const struct record_control *control, const char *path)
{
	const size_t size = strlen(control->root);

	return !strncmp(path, control->root, size) && (path[size] == '/' || path[size] == '\0');
}

bool call_is_ours(struct record_control *control, int fd, struct stat *ret_status)
{
	char path[RECORD_PATH_MAX + 32];

	if (fd < 0 || call_stat_fd(fd, ret_status) < 0 || ret_status->st_dev != control->root_dev ||
	    (!S_ISREG(ret_status->st_mode) && !S_ISDIR(ret_status->st_mode)))
		return false;
	return call_path_of(fd, path) == 0 && call_is_below(control, path);
}

/* --- writing --- */

static long do_output(
    struct record_control *control, const struct trap_args *args, const struct iovec *pieces, int count)
{
	struct trace_op op = {.kind = TRACE_OUTPUT};
	long rc;

	emit_lock(control);
	rc = call_as_is(args);
	if (rc > 0) {
		op.data_size = (size_t)rc;
		emit(control, &op, pieces, count);
	}
	emit_unlock(control);
	return rc;
}

/* `offset` < 0: where the descriptor stands. */
static long do_write(struct record_control *control, const struct trap_args *args, const struct iovec *pieces,
    int count, long offset, long flags)
{
	struct trace_op op = {.kind = TRACE_WRITE};
	const int fd = (int)args->a[0];
	struct stat status;
	long rc, how;

	if (fd == TRACE_MARK_FD || fd == TRACE_ACK_FD) {
		emit_lock(control);
		op = (struct trace_op){
		    .kind = fd == TRACE_ACK_FD ? TRACE_ACK : TRACE_MARK, .data_size = count ? pieces[0].iov_len : 0};
		emit(control, &op, pieces, count ? 1 : 0);
		emit_unlock(control);
		return -EBADF;
	}
	if (call_stat_fd(fd, &status) < 0)
		return call_as_is(args);
	if (control->output_inode && status.st_dev == control->output_dev && status.st_ino == control->output_inode)
		return do_output(control, args, pieces, count);
	if (!S_ISREG(status.st_mode) || !call_is_ours(control, fd, &status))
		return call_as_is(args);
	emit_lock(control);
	how = TRAP_CALL3(SYS_fcntl, fd, F_GETFL, 0);
	if (how >= 0 && ((how & O_APPEND) || (flags & RWF_APPEND)))
		offset = call_stat_fd(fd, &status) < 0 ? offset : status.st_size;
	else if (offset < 0)
		offset = TRAP_CALL3(SYS_lseek, fd, 0, SEEK_CUR);
	rc = call_as_is(args);
	if (rc > 0) {
		op.file = status.st_ino;
		op.offset = (uint64_t)offset;
		op.size = op.data_size = (size_t)rc;
		if ((how & O_DSYNC) || (flags & (RWF_DSYNC | RWF_SYNC)))
			op.flags |= TRACE_DURABLE;
		emit(control, &op, pieces, count);
	}
	emit_unlock(control);
	return rc;
}

static long do_write_one(struct record_control *control, const struct trap_args *args, long offset)
{
	const struct iovec piece = {(void *)args->a[1], (size_t)args->a[2]};

	return do_write(control, args, &piece, 1, offset, 0);
}

static long do_write_many(struct record_control *control, const struct trap_args *args, long offset, long flags)
{
	const long count = args->a[2] > PIECES_MAX ? PIECES_MAX : args->a[2];

	return do_write(control, args, (const struct iovec *)args->a[1], (int)count, offset, flags);
}

/* --- one file --- */

/* What changes or syncs one file, through a descriptor. */
static long do_change(struct record_control *control, const struct trap_args *args, struct trace_op op)
{
	struct stat status;
	long rc;

	if (!call_is_ours(control, (int)args->a[0], &status))
		return call_as_is(args);
	emit_lock(control);
	rc = call_as_is(args);
	if (rc == 0) {
		op.file = status.st_ino;
		emit(control, &op, NULL, 0);
	}
	emit_unlock(control);
	return rc;
}

static long do_ftruncate(struct record_control *control, const struct trap_args *args)
{
	return do_change(control, args, (struct trace_op){.kind = TRACE_TRUNCATE, .size = (uint64_t)args->a[1]});
}

/* By name: through a descriptor, which is all that is known how to judge. */
static long do_truncate(struct record_control *control, const struct trap_args *args)
{
	const long fd = trap_call(SYS_openat, AT_FDCWD, args->a[0], O_WRONLY | O_CLOEXEC | O_NONBLOCK, 0, 0, 0);
	struct trap_args other = {.number = SYS_ftruncate, .a = {fd, args->a[1]}};
	long rc;

	if (fd < 0)
		return fd;
	rc = do_ftruncate(control, &other);
	trap_call(SYS_close, fd, 0, 0, 0, 0, 0);
	return rc;
}

static long do_fallocate(struct record_control *control, const struct trap_args *args)
{
	const struct trace_op op = {.kind = TRACE_ALLOCATE,
	    .mode = (uint32_t)args->a[1],
	    .offset = (uint64_t)args->a[2],
	    .size = (uint64_t)args->a[3]};
	struct stat status;

	if ((args->a[1] & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) &&
	    call_is_ours(control, (int)args->a[0], &status))
		return -EOPNOTSUPP;
	return do_change(control, args, op);
}

static long do_sync_all(struct record_control *control, const struct trap_args *args)
{
	const struct trace_op op = {.kind = TRACE_SYNC_ALL};
	struct stat status;
	long rc;

	if (args->number == SYS_syncfs &&
	    (call_stat_fd((int)args->a[0], &status) < 0 || status.st_dev != control->root_dev))
		return call_as_is(args); /* of another file system */
	emit_lock(control);
	rc = call_as_is(args);
	if (rc == 0)
		emit(control, &op, NULL, 0);
	emit_unlock(control);
	return rc;
}

/* sendfile, splice, copy_file_range: whoever uses them can also read and write. */
static long do_copy(struct record_control *control, const struct trap_args *args)
{
	const int to = (int)(args->number == SYS_sendfile ? args->a[0] : args->a[2]);
	struct stat status;

	if (!call_is_ours(control, to, &status))
		return call_as_is(args);
	return args->number == SYS_copy_file_range ? -EXDEV : -EINVAL;
}

/* --- which is which --- */

long trap_dispatch(struct record_control *control, const struct trap_args *args)
{
	const long *a = args->a;

	if (!__atomic_load_n(&control->enabled, __ATOMIC_ACQUIRE))
		return call_as_is(args);
	switch (args->number) {
	case SYS_write:
		return do_write_one(control, args, -1);
	case SYS_pwrite64:
		return do_write_one(control, args, a[3]);
	case SYS_writev:
		return do_write_many(control, args, -1, 0);
	case SYS_pwritev:
		return do_write_many(control, args, a[3], 0);
	case SYS_pwritev2:
		return do_write_many(control, args, a[3], a[5]);
	case SYS_fsync:
		return do_change(control, args, (struct trace_op){.kind = TRACE_FSYNC});
	case SYS_fdatasync:
		return do_change(control, args, (struct trace_op){.kind = TRACE_FDATASYNC});
	case SYS_sync:
	case SYS_syncfs:
		return do_sync_all(control, args);
	case SYS_ftruncate:
		return do_ftruncate(control, args);
	case SYS_truncate:
		return do_truncate(control, args);
	case SYS_fallocate:
		return do_fallocate(control, args);
	case SYS_sendfile:
	case SYS_copy_file_range:
	case SYS_splice:
		return do_copy(control, args);
	case SYS_mmap:
		return call_mmap(control, args);
	case SYS_msync:
		return call_msync(control, args);
	default:
		return call_names(control, args);
	}
}
