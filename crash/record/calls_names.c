/* SPDX-License-Identifier: Apache-2.0 */
/* Trapped calls on names: what is opened, made, removed, linked, moved. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>

#include "crash/record/calls.h"

/* A place in the name space: the directory that holds it, and the last component. */
struct place {
	bool ours;
	uint64_t dir;
	char name[TRACE_NAME_MAX + 1];
	uint64_t inode; /* what is there now; 0: nothing, or what holds nothing, such as a pipe */
	bool is_dir;
};

static bool holds_something(const struct stat *status)
{
	return S_ISREG(status->st_mode) || S_ISDIR(status->st_mode) || S_ISLNK(status->st_mode);
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
	if (call_stat_fd((int)fd, &status) == 0 && status.st_dev == control->root_dev &&
	    call_path_of((int)fd, parent) == 0 && call_is_below(control, parent)) {
		ret_place->ours = true;
		ret_place->dir = status.st_ino;
		if (trap_call(SYS_newfstatat, fd, (long)ret_place->name, (long)&status, AT_SYMLINK_NOFOLLOW, 0, 0) ==
			0 &&
		    holds_something(&status)) {
			ret_place->inode = status.st_ino;
			ret_place->is_dir = S_ISDIR(status.st_mode);
		}
	}
	trap_call(SYS_close, fd, 0, 0, 0, 0, 0);
}

/* After an open that may have created, or cut what `existed`. */
static void note_opened(struct record_control *control, int fd, bool existed, bool truncated, mode_t mode)
{
	struct trace_op op = {.kind = TRACE_TRUNCATE};
	char path[RECORD_PATH_MAX + 32];
	struct place place;
	struct stat status;

	if (!call_is_ours(control, fd, &status) || !S_ISREG(status.st_mode))
		return;
	op.file = status.st_ino;
	if (existed) {
		if (truncated)
			emit(control, &op, NULL, 0);
		return;
	}
	if (call_path_of(fd, path) < 0)
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
	if (rc == 0 && place.inode) {
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
	    trap_call(SYS_newfstatat, old_fd, (long)old, (long)&status, follow ? 0 : AT_SYMLINK_NOFOLLOW, 0, 0) == 0 &&
	    holds_something(&status)) {
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

static void note_removed(struct record_control *control, const struct place *place)
{
	const struct trace_op op = {.kind = place->is_dir ? TRACE_RMDIR : TRACE_UNLINK,
	    .file = place->inode,
	    .dir = place->dir,
	    .name = place->name};

	if (place->inode)
		emit(control, &op, NULL, 0);
}

/* Both are below the directory. */
static void note_renamed(
    struct record_control *control, const struct place *from, const struct place *to, bool exchange)
{
	struct trace_op op = {.kind = TRACE_RENAME, .flags = exchange && to->inode ? TRACE_EXCHANGE : 0};

	if (from->inode == to->inode)
		return; /* two names of one file: nothing happens; or nothing that is followed */
	if (!from->inode) {
		if (exchange)
			note_renamed(control, to, from, false);
		else
			note_removed(control, to);
		return;
	}
	op.file = from->inode;
	op.other = to->inode;
	op.dir = from->dir;
	op.name = from->name;
	op.dir2 = to->dir;
	op.name2 = to->name;
	emit(control, &op, NULL, 0);
}

static long do_rename(struct record_control *control, const struct trap_args *args, int old_fd, const char *old,
    int new_fd, const char *new, unsigned flags)
{
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
	if (rc == 0 && from.ours && to.ours)
		note_renamed(control, &from, &to, flags & RENAME_EXCHANGE);
	else if (rc == 0 && !to.ours)
		note_removed(control, &from);
	else if (rc == 0)
		emit_refusal(control, "it moves", to.name, " here from elsewhere");
	emit_unlock(control);
	return rc;
}

long call_names(struct record_control *control, const struct trap_args *args)
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
