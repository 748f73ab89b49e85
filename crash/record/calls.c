/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each trapped call does to the files below the directory. Nothing is remembered from call to call: what a
 * descriptor is, the kernel is asked each time, so that dup, fork, exec and passing descriptors need no care.
 */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <linux/falloc.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "crash/record/emit.h"
#include "crash/record/trap.h"

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

/* A place in the name space: the directory that holds it, and the last component. */
struct place {
	bool ours;
	uint64_t dir;
	char name[TRACE_NAME_MAX + 1];
	uint64_t inode; /* what is there now; 0: nothing */
	bool is_dir;
};

static long call_as_is(const struct trap_args *args)
{
	return trap_call(args->number, args->a[0], args->a[1], args->a[2], args->a[3], args->a[4], args->a[5]);
}

static int stat_fd(int fd, struct stat *ret_status)
{
	return (int)TRAP_CALL3(SYS_fstat, fd, ret_status, 0);
}

/* The path of a descriptor, as /proc says; -1 if it has none. */
static int path_of(int fd, char path[RECORD_PATH_MAX + 32])
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

static bool is_below(const struct record_control *control, const char *path)
{
	const size_t size = strlen(control->root);

	return !strncmp(path, control->root, size) && (path[size] == '/' || path[size] == '\0');
}

/* Is `fd` a file (or directory) below the directory, or the directory itself? */
static bool is_ours(struct record_control *control, int fd, struct stat *ret_status)
{
	char path[RECORD_PATH_MAX + 32];

	if (fd < 0 || stat_fd(fd, ret_status) < 0 || ret_status->st_dev != control->root_dev ||
	    (!S_ISREG(ret_status->st_mode) && !S_ISDIR(ret_status->st_mode)))
		return false;
	return path_of(fd, path) == 0 && is_below(control, path);
}

static const char *last_component(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Where `path` is; the last component is not followed if it is a link. */
static void find_place(struct record_control *control, int dir_fd, const char *path, struct place *ret_place)
{
	char parent[RECORD_PATH_MAX + 32];
	size_t size = strnlen(path, RECORD_PATH_MAX), begin;
	struct stat status;
	long fd;

	*ret_place = (struct place){0};
	while (size > 1 && path[size - 1] == '/')
		size--;
	for (begin = size; begin && path[begin - 1] != '/'; begin--)
		;
	if (size >= RECORD_PATH_MAX || size - begin > TRACE_NAME_MAX || size == begin)
		return;
	memcpy(ret_place->name, path + begin, size - begin);
	ret_place->name[size - begin] = '\0';
	memcpy(parent, path, begin);
	memcpy(parent + begin, begin ? "" : ".", begin ? 1 : 2);
	fd = trap_call(SYS_openat, dir_fd, (long)parent, O_PATH | O_DIRECTORY | O_CLOEXEC, 0, 0, 0);
	if (fd < 0)
		return;
	if (stat_fd((int)fd, &status) == 0 && status.st_dev == control->root_dev && path_of((int)fd, parent) == 0 &&
	    is_below(control, parent)) {
		ret_place->ours = true;
		ret_place->dir = status.st_ino;
		if (trap_call(SYS_newfstatat, fd, (long)ret_place->name, (long)&status, AT_SYMLINK_NOFOLLOW, 0, 0) ==
		    0) {
			ret_place->inode = status.st_ino;
			ret_place->is_dir = S_ISDIR(status.st_mode);
		}
	}
	trap_call(SYS_close, fd, 0, 0, 0, 0, 0);
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

	if (fd == RECORD_MARK_FD) {
		emit_lock(control);
		op = (struct trace_op){.kind = TRACE_MARK, .data_size = count ? pieces[0].iov_len : 0};
		emit(control, &op, pieces, count ? 1 : 0);
		emit_unlock(control);
		return -EBADF;
	}
	if (stat_fd(fd, &status) < 0)
		return call_as_is(args);
	if (control->output_inode && status.st_dev == control->output_dev && status.st_ino == control->output_inode)
		return do_output(control, args, pieces, count);
	if (!S_ISREG(status.st_mode) || !is_ours(control, fd, &status))
		return call_as_is(args);
	emit_lock(control);
	how = TRAP_CALL3(SYS_fcntl, fd, F_GETFL, 0);
	if (how >= 0 && ((how & O_APPEND) || (flags & RWF_APPEND)))
		offset = stat_fd(fd, &status) < 0 ? offset : status.st_size;
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

static long do_sync(struct record_control *control, const struct trap_args *args)
{
	struct trace_op op = {.kind = args->number == SYS_fsync ? TRACE_FSYNC : TRACE_FDATASYNC};
	struct stat status;
	long rc;

	if (!is_ours(control, (int)args->a[0], &status))
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

static long do_sync_all(struct record_control *control, const struct trap_args *args)
{
	const struct trace_op op = {.kind = TRACE_SYNC_ALL};
	long rc;

	emit_lock(control);
	rc = call_as_is(args);
	if (rc == 0)
		emit(control, &op, NULL, 0);
	emit_unlock(control);
	return rc;
}

static long do_ftruncate(struct record_control *control, const struct trap_args *args)
{
	struct trace_op op = {.kind = TRACE_TRUNCATE, .size = (uint64_t)args->a[1]};
	struct stat status;
	long rc;

	if (!is_ours(control, (int)args->a[0], &status))
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
	struct trace_op op = {.kind = TRACE_ALLOCATE,
	    .mode = (uint32_t)args->a[1],
	    .offset = (uint64_t)args->a[2],
	    .size = (uint64_t)args->a[3]};
	struct stat status;
	long rc;

	if (!is_ours(control, (int)args->a[0], &status))
		return call_as_is(args);
	if (args->a[1] & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		return -EOPNOTSUPP;
	emit_lock(control);
	rc = call_as_is(args);
	if (rc == 0) {
		op.file = status.st_ino;
		emit(control, &op, NULL, 0);
	}
	emit_unlock(control);
	return rc;
}

/* sendfile, splice, copy_file_range: whoever uses them can also read and write. */
static long do_copy(struct record_control *control, const struct trap_args *args)
{
	const int to = (int)(args->number == SYS_sendfile ? args->a[0] : args->a[2]);
	struct stat status;

	if (!is_ours(control, to, &status))
		return call_as_is(args);
	return args->number == SYS_copy_file_range ? -EXDEV : -EINVAL;
}

static long do_mmap(struct record_control *control, const struct trap_args *args)
{
	const int fd = (int)args->a[4];
	struct trace_op op = {.kind = TRACE_VOLATILE};
	char path[RECORD_PATH_MAX + 32];
	const char *pattern, *name;
	struct stat status;
	long rc;

	if ((args->a[3] & MAP_ANONYMOUS) || !is_ours(control, fd, &status) || path_of(fd, path) < 0)
		return call_as_is(args);
	if (!(args->a[2] & PROT_WRITE)) {
		__atomic_add_fetch(&control->shared_maps, 1, __ATOMIC_RELAXED);
		return call_as_is(args);
	}
	name = last_component(path);
	for (pattern = control->volatiles; *pattern && fnmatch(pattern, name, 0); pattern += strlen(pattern) + 1)
		;
	emit_lock(control);
	rc = call_as_is(args);
	op.file = status.st_ino;
	if (*pattern)
		emit(control, &op, NULL, 0);
	else
		emit_refusal(control, "it maps", name, " shared and writable");
	emit_unlock(control);
	return rc;
}

/* --- the name space --- */

/* After an open that may have created: `existed` and `old_size` are from before. */
static void note_opened(struct record_control *control, int fd, bool existed, bool truncated, mode_t mode)
{
	struct trace_op op = {.kind = TRACE_TRUNCATE};
	char path[RECORD_PATH_MAX + 32];
	struct place place;
	struct stat status;

	if (!is_ours(control, fd, &status) || !S_ISREG(status.st_mode))
		return;
	op.file = status.st_ino;
	if (existed) {
		if (truncated)
			emit(control, &op, NULL, 0);
		return;
	}
	if (path_of(fd, path) < 0)
		return;
	find_place(control, AT_FDCWD, path, &place);
	op.kind = TRACE_CREATE;
	op.mode = mode & 07777;
	op.dir = place.dir;
	op.name = place.name;
	emit(control, &op, NULL, 0);
}

static long do_open(
    struct record_control *control, const struct trap_args *args, int dir_fd, const char *path, long flags, mode_t mode)
{
	struct place place;
	struct stat status;
	bool existed;
	long rc;

	if ((flags & O_TMPFILE) == O_TMPFILE)
		return -EOPNOTSUPP;
	if (!(flags & (O_CREAT | O_TRUNC)))
		return call_as_is(args);
	find_place(control, dir_fd, path, &place);
	if (!place.ours && trap_call(SYS_newfstatat, dir_fd, (long)path, (long)&status, 0, 0, 0) == 0 &&
	    status.st_dev != control->root_dev)
		return call_as_is(args);
	emit_lock(control);
	existed = trap_call(SYS_newfstatat, dir_fd, (long)path, (long)&status, 0, 0, 0) == 0;
	rc = call_as_is(args);
	if (rc >= 0)
		note_opened(control, (int)rc, existed, (flags & O_TRUNC) && existed && status.st_size > 0, mode);
	emit_unlock(control);
	return rc;
}

static long do_openat2(struct record_control *control, const struct trap_args *args)
{
	const struct open_how *how = (const struct open_how *)args->a[2];

	if (args->a[3] < (long)sizeof *how)
		return call_as_is(args);
	return do_open(control, args, (int)args->a[0], (const char *)args->a[1], (long)how->flags, (mode_t)how->mode);
}

static long do_make(struct record_control *control, const struct trap_args *args, uint32_t kind, int dir_fd,
    const char *path, mode_t mode)
{
	struct trace_op op = {.kind = kind, .mode = mode};
	struct iovec target = {0};
	struct place place;
	long rc;

	find_place(control, dir_fd, path, &place);
	if (!place.ours)
		return call_as_is(args);
	if (kind == TRACE_SYMLINK) {
		target.iov_base = (void *)args->a[0];
		target.iov_len = op.data_size = strnlen((const char *)args->a[0], RECORD_PATH_MAX);
	}
	emit_lock(control);
	rc = call_as_is(args);
	if (rc == 0) {
		find_place(control, dir_fd, path, &place);
		op.file = place.inode;
		op.dir = place.dir;
		op.name = place.name;
		emit(control, &op, &target, 1);
	}
	emit_unlock(control);
	return rc;
}

static long do_unlink(
    struct record_control *control, const struct trap_args *args, int dir_fd, const char *path, bool dir)
{
	struct trace_op op = {.kind = dir ? TRACE_RMDIR : TRACE_UNLINK};
	struct place place;
	long rc;

	find_place(control, dir_fd, path, &place);
	if (!place.ours)
		return call_as_is(args);
	emit_lock(control);
	find_place(control, dir_fd, path, &place);
	rc = call_as_is(args);
	if (rc == 0) {
		op.file = place.inode;
		op.dir = place.dir;
		op.name = place.name;
		emit(control, &op, NULL, 0);
	}
	emit_unlock(control);
	return rc;
}

static long do_link(struct record_control *control, const struct trap_args *args, int old_fd, const char *old,
    int new_fd, const char *new, bool follow)
{
	struct trace_op op = {.kind = TRACE_LINK};
	struct place from, to;
	struct stat status;
	long rc;

	find_place(control, old_fd, old, &from);
	find_place(control, new_fd, new, &to);
	if (!to.ours)
		return call_as_is(args);
	emit_lock(control);
	rc = call_as_is(args);
	if (rc == 0 &&
	    trap_call(SYS_newfstatat, old_fd, (long)old, (long)&status, follow ? 0 : AT_SYMLINK_NOFOLLOW, 0, 0) == 0) {
		op.file = status.st_ino;
		op.dir = to.dir;
		op.name = to.name;
		if (from.ours)
			emit(control, &op, NULL, 0);
		else
			emit_refusal(control, "it links", to.name, " to a file that is not below the directory");
	}
	emit_unlock(control);
	return rc;
}

static long do_rename(struct record_control *control, const struct trap_args *args, int old_fd, const char *old,
    int new_fd, const char *new, unsigned flags)
{
	struct trace_op op = {.kind = TRACE_RENAME, .flags = flags & RENAME_EXCHANGE ? TRACE_EXCHANGE : 0};
	struct place from, to;
	long rc;

	find_place(control, old_fd, old, &from);
	find_place(control, new_fd, new, &to);
	if (!from.ours && !to.ours)
		return call_as_is(args);
	emit_lock(control);
	find_place(control, old_fd, old, &from);
	find_place(control, new_fd, new, &to);
	rc = call_as_is(args);
	if (rc == 0 && from.ours && to.ours && from.inode != to.inode) {
		op.file = from.inode;
		op.other = to.inode;
		op.dir = from.dir;
		op.name = from.name;
		op.dir2 = to.dir;
		op.name2 = to.name;
		emit(control, &op, NULL, 0);
	} else if (rc == 0 && !to.ours) {
		op = (struct trace_op){.kind = from.is_dir ? TRACE_RMDIR : TRACE_UNLINK, .file = from.inode};
		op.dir = from.dir;
		op.name = from.name;
		emit(control, &op, NULL, 0);
	} else if (rc == 0 && !from.ours) {
		emit_refusal(control, "it moves", to.name, " here from elsewhere");
	}
	emit_unlock(control);
	return rc;
}

/* --- mprotect --- */

/* One line of /proc/self/maps: "from-to rw-s offset dev inode path". */
static void look_at_line(struct record_control *control, const char *line, uint64_t from, uint64_t to)
{
	const char *flags = strchr(line, ' '), *path = strchr(line, '/'), *pattern;
	const uint64_t begin = strtoull(line, NULL, 16);
	uint64_t end;
	char *dash;

	(void)strtoull(line, &dash, 16);
	end = *dash == '-' ? strtoull(dash + 1, NULL, 16) : 0;
	if (!flags || flags[4] != 's' || !path || end <= from || begin >= to || !is_below(control, path))
		return;
	for (pattern = control->volatiles; *pattern && fnmatch(pattern, last_component(path), 0);
	     pattern += strlen(pattern) + 1)
		;
	if (!*pattern)
		emit_refusal(control, "it maps", last_component(path), " shared and makes the mapping writable");
}

void trap_look_at_mprotect(struct record_control *control, const void *address, size_t size)
{
	const long fd = trap_call(SYS_openat, AT_FDCWD, (long)"/proc/self/maps", O_RDONLY | O_CLOEXEC, 0, 0, 0);
	char buffer[2 * RECORD_PATH_MAX];
	size_t used = 0;
	uint64_t from;
	char *end;
	long n;

	memcpy(&from, &address, sizeof from);
	while (fd >= 0 && (n = TRAP_CALL3(SYS_read, fd, buffer + used, sizeof buffer - 1 - used)) > 0) {
		used += (size_t)n;
		buffer[used] = '\0';
		while ((end = strchr(buffer, '\n'))) {
			*end = '\0';
			look_at_line(control, buffer, from, from + size);
			used -= (size_t)(end + 1 - buffer);
			memmove(buffer, end + 1, used + 1);
		}
	}
	if (fd >= 0)
		trap_call(SYS_close, fd, 0, 0, 0, 0, 0);
}

/* --- which is which --- */

static long dispatch_names(struct record_control *control, const struct trap_args *args)
{
	const long *a = args->a;
	const char *const *path = (const char *const *)(const void *)a; /* the same words, as paths */

	switch (args->number) {
	case SYS_open:
		return do_open(control, args, AT_FDCWD, path[0], a[1], (mode_t)a[2]);
	case SYS_creat:
		return do_open(control, args, AT_FDCWD, path[0], O_CREAT | O_WRONLY | O_TRUNC, (mode_t)a[1]);
	case SYS_openat:
		return do_open(control, args, (int)a[0], path[1], a[2], (mode_t)a[3]);
	case SYS_openat2:
		return do_openat2(control, args);
	case SYS_mkdir:
		return do_make(control, args, TRACE_MKDIR, AT_FDCWD, path[0], (mode_t)a[1]);
	case SYS_mkdirat:
		return do_make(control, args, TRACE_MKDIR, (int)a[0], path[1], (mode_t)a[2]);
	case SYS_symlink:
		return do_make(control, args, TRACE_SYMLINK, AT_FDCWD, path[1], 0777);
	case SYS_symlinkat:
		return do_make(control, args, TRACE_SYMLINK, (int)a[1], path[2], 0777);
	case SYS_unlink:
		return do_unlink(control, args, AT_FDCWD, path[0], false);
	case SYS_rmdir:
		return do_unlink(control, args, AT_FDCWD, path[0], true);
	case SYS_unlinkat:
		return do_unlink(control, args, (int)a[0], path[1], a[2] & AT_REMOVEDIR);
	case SYS_link:
		return do_link(control, args, AT_FDCWD, path[0], AT_FDCWD, path[1], false);
	case SYS_linkat:
		return do_link(control, args, (int)a[0], path[1], (int)a[2], path[3], a[4] & AT_SYMLINK_FOLLOW);
	case SYS_rename:
		return do_rename(control, args, AT_FDCWD, path[0], AT_FDCWD, path[1], 0);
	case SYS_renameat:
		return do_rename(control, args, (int)a[0], path[1], (int)a[2], path[3], 0);
	case SYS_renameat2:
		return do_rename(control, args, (int)a[0], path[1], (int)a[2], path[3], (unsigned)a[4]);
	default:
		return call_as_is(args);
	}
}

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
	case SYS_fdatasync:
		return do_sync(control, args);
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
		return do_mmap(control, args);
	default:
		return dispatch_names(control, args);
	}
}
