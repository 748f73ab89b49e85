/* SPDX-License-Identifier: Apache-2.0 */
/* Calls on paths: what makes, removes and moves names, and what opens a file that may be new. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "crash/notifier/internal.h"
#include "notified/target.h"

/* One name in one directory, as the trace wants it. */
struct place {
	const char *path, *name;
	uint64_t dir, file; /* inode numbers; file 0: nothing is there, or what holds nothing, such as a pipe */
	mode_t mode;        /* 0: nothing is there */
	off_t size;
};

static int find_place(const char *path, struct place *ret_place)
{
	const char *slash = strrchr(path, '/');
	char parent[PATH_MAX];
	struct stat st;

	*ret_place = (struct place){.path = path, .name = slash + 1};
	snprintf(parent, sizeof parent, "%.*s", (int)(slash - path), path);
	if (stat(parent[0] ? parent : "/", &st) < 0)
		return -errno;
	ret_place->dir = st.st_ino;
	if (lstat(path, &st) == 0) {
		if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISLNK(st.st_mode))
			ret_place->file = st.st_ino;
		ret_place->mode = st.st_mode;
		ret_place->size = st.st_size;
	}
	return 0;
}

/* Argument `index`, relative to the directory in `dir` (-1: the working directory), without links. */
static int load_path(
    struct recording *recording, const struct asked *asked, int dir, int index, bool follow, char ret_path[PATH_MAX])
{
	int r = target_string(asked->tid, asked->args[index], recording->text);

	if (r < 0)
		return r;
	return target_resolve(
	    asked->tid, dir < 0 ? AT_FDCWD : (int)asked->args[dir], recording->text, follow, ret_path);
}

/* Runs with the task's umask. */
static mode_t take_umask(const struct asked *asked)
{
	mode_t mask = 022;
	pid_t pid;

	(void)target_status(asked->tid, &pid, &mask);
	return umask(mask);
}

static struct result add(struct recording *recording, const struct asked *asked, struct trace_op op)
{
	recording_add(recording, asked, &op);
	return RESULT_VALUE(0);
}

/* ---- open ---- */

/* Puts a copy of `fd` into the task, as the result of its call. */
static struct result give(struct recording *recording, const struct asked *asked, int fd, int flags)
{
	struct seccomp_notif_addfd give = {.id = asked->id,
	    .flags = SECCOMP_ADDFD_FLAG_SEND,
	    .srcfd = (uint32_t)fd,
	    .newfd_flags = flags & O_CLOEXEC ? O_CLOEXEC : 0};
	int r;

	do
		r = ioctl(recording->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &give);
	while (r < 0 && errno == EINTR);
	if (r < 0 && errno != ENOENT)
		return RESULT_FAILED(errno);
	return (struct result){.done = ANSWERED};
}

static struct result open_file(
    struct recording *recording, const struct asked *asked, int dir, int index, int flags, mode_t mode)
{
	const bool follow = !(flags & O_NOFOLLOW) && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL);
	struct result result;
	struct place place;
	struct stat st;
	mode_t before;
	int fd, code;

	if (load_path(recording, asked, dir, index, follow, recording->path) < 0 ||
	    !recording_below(recording, recording->path))
		return RESULT_CONTINUE;
	if ((flags & O_TMPFILE) == O_TMPFILE)
		return RESULT_FAILED(EOPNOTSUPP);
	if (find_place(recording->path, &place) < 0 || (place.mode && !S_ISREG(place.mode)))
		return RESULT_CONTINUE; /* an error, or a pipe, which might hold us up */
	if (!recording_valid(recording, asked))
		return (struct result){.done = ANSWERED};
	before = take_umask(asked);
	fd = open(recording->path, flags | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, mode);
	code = errno;
	umask(before);
	if (fd < 0)
		return RESULT_FAILED(code);
	if (fstat(fd, &st) < 0) {
		result = RESULT_FAILED(errno);
		goto out;
	}
	if (!place.file)
		add(recording, asked,
		    (struct trace_op){.kind = TRACE_CREATE, .dir = place.dir, .name = place.name, .file = st.st_ino});
	else if (flags & O_TRUNC && place.size) /* also one that is opened to be read only */
		add(recording, asked, (struct trace_op){.kind = TRACE_TRUNCATE, .file = st.st_ino});
	result = give(recording, asked, fd, flags);
out:
	close(fd);
	return result;
}

/* ---- names ---- */

static struct result make_node(
    struct recording *recording, const struct asked *asked, int dir, int index, mode_t mode, bool directory)
{
	struct place place;
	mode_t before;
	int r, code;

	if (load_path(recording, asked, dir, index, false, recording->path) < 0 ||
	    !recording_below(recording, recording->path) || find_place(recording->path, &place) < 0)
		return RESULT_CONTINUE;
	if (!directory && (mode & S_IFMT) && !S_ISREG(mode))
		return RESULT_CONTINUE; /* pipes and the like hold nothing */
	if (!recording_valid(recording, asked))
		return (struct result){.done = ANSWERED};
	before = take_umask(asked);
	r = directory ? mkdir(recording->path, mode) : mknod(recording->path, mode, 0);
	code = errno;
	umask(before);
	if (r < 0)
		return RESULT_FAILED(code);
	r = find_place(recording->path, &place);
	if (r < 0)
		return RESULT_FAILED(-r);
	return add(recording, asked,
	    (struct trace_op){.kind = directory ? TRACE_MKDIR : TRACE_CREATE,
		.dir = place.dir,
		.name = place.name,
		.file = place.file});
}

static struct result remove_name(
    struct recording *recording, const struct asked *asked, int dir, int index, bool directory)
{
	struct place place;

	if (load_path(recording, asked, dir, index, false, recording->path) < 0 ||
	    !recording_below(recording, recording->path) || find_place(recording->path, &place) < 0)
		return RESULT_CONTINUE;
	if (!recording_valid(recording, asked))
		return (struct result){.done = ANSWERED};
	if ((directory ? rmdir(recording->path) : unlink(recording->path)) < 0)
		return RESULT_FAILED(errno);
	if (!place.file)
		return RESULT_VALUE(0);
	return add(recording, asked,
	    (struct trace_op){.kind = directory ? TRACE_RMDIR : TRACE_UNLINK,
		.dir = place.dir,
		.name = place.name,
		.file = place.file});
}

static struct result make_symlink(struct recording *recording, const struct asked *asked, int dir, int index)
{
	struct place place;
	int r;

	if (load_path(recording, asked, dir, index, false, recording->path) < 0 ||
	    !recording_below(recording, recording->path))
		return RESULT_CONTINUE;
	r = target_string(asked->tid, asked->args[0], recording->from);
	if (r < 0)
		return RESULT_FAILED(-r);
	if (!recording_valid(recording, asked))
		return (struct result){.done = ANSWERED};
	if (symlink(recording->from, recording->path) < 0)
		return RESULT_FAILED(errno);
	r = find_place(recording->path, &place);
	if (r < 0)
		return RESULT_FAILED(-r);
	return add(recording, asked,
	    (struct trace_op){.kind = TRACE_SYMLINK,
		.dir = place.dir,
		.name = place.name,
		.file = place.file,
		.data = (const uint8_t *)recording->from,
		.data_size = strlen(recording->from)});
}

/* 1: both below the directory; 0: neither is; -1: refused. */
static int both_below(struct recording *recording, const char *verb)
{
	const bool to = recording_below(recording, recording->path), from = recording_below(recording, recording->from);

	if (to && !from)
		recording_refuse(recording, "%s was %s into %s from outside; what it holds was not recorded",
		    recording->from, verb, recording->root);
	return to && from ? 1 : (to ? -1 : 0);
}

static struct result make_link(
    struct recording *recording, const struct asked *asked, int from_dir, int from, int dir, int index, int flags)
{
	struct place place;
	int r;

	if (load_path(recording, asked, dir, index, false, recording->path) < 0 ||
	    load_path(recording, asked, from_dir, from, flags & AT_SYMLINK_FOLLOW, recording->from) < 0)
		return RESULT_CONTINUE;
	switch (both_below(recording, "linked")) {
	case 0:
		return RESULT_CONTINUE;
	case 1:
		break;
	default:
		return RESULT_FAILED(EXDEV);
	}
	if (!recording_valid(recording, asked))
		return (struct result){.done = ANSWERED};
	if (link(recording->from, recording->path) < 0)
		return RESULT_FAILED(errno);
	r = find_place(recording->path, &place);
	if (r < 0)
		return RESULT_FAILED(-r);
	if (!place.file)
		return RESULT_VALUE(0);
	return add(recording, asked,
	    (struct trace_op){.kind = TRACE_LINK, .dir = place.dir, .name = place.name, .file = place.file});
}

/* A file's name is gone. */
static struct result moved_away(struct recording *recording, const struct asked *asked, const struct place *place)
{
	if (!place->file)
		return RESULT_VALUE(0);
	return add(recording, asked,
	    (struct trace_op){.kind = TRACE_UNLINK, .dir = place->dir, .name = place->name, .file = place->file});
}

static struct result move_out(
    struct recording *recording, const struct asked *asked, const struct place *from, unsigned int flags)
{
	if (flags & RENAME_EXCHANGE) { /* what comes in for it was never seen */
		recording_refuse(
		    recording, "%s was exchanged for what is not below %s", recording->from, recording->root);
		return RESULT_FAILED(EXDEV);
	}
	if (S_ISDIR(from->mode)) {
		recording_refuse(recording, "the directory %s was moved out of %s", recording->from, recording->root);
		return RESULT_FAILED(EXDEV);
	}
	if (renameat2(AT_FDCWD, recording->from, AT_FDCWD, recording->path, flags) < 0)
		return RESULT_FAILED(errno);
	return moved_away(recording, asked, from);
}

/* Within the directory. */
static struct result moved(struct recording *recording, const struct asked *asked, const struct place *from,
    const struct place *to, bool exchange)
{
	if (from->file == to->file) /* two names of one file: nothing happens; or nothing that is followed */
		return RESULT_VALUE(0);
	if (!from->file)
		return exchange ? moved(recording, asked, to, from, false) : moved_away(recording, asked, to);
	return add(recording, asked,
	    (struct trace_op){.kind = TRACE_RENAME,
		.flags = exchange && to->file ? TRACE_EXCHANGE : 0,
		.dir = from->dir,
		.name = from->name,
		.file = from->file,
		.dir2 = to->dir,
		.name2 = to->name,
		.other = to->file});
}

static struct result move_name(struct recording *recording, const struct asked *asked, int from_dir, int from_index,
    int dir, int index, unsigned int flags)
{
	struct place from, to;
	int below;

	if (load_path(recording, asked, dir, index, false, recording->path) < 0 ||
	    load_path(recording, asked, from_dir, from_index, false, recording->from) < 0)
		return RESULT_CONTINUE;
	below = both_below(recording, "moved");
	if (below < 0)
		return RESULT_FAILED(EXDEV);
	if ((!below && !recording_below(recording, recording->from)) || find_place(recording->from, &from) < 0 ||
	    find_place(recording->path, &to) < 0)
		return RESULT_CONTINUE;
	if (!recording_valid(recording, asked))
		return (struct result){.done = ANSWERED};
	if (!below)
		return move_out(recording, asked, &from, flags);
	if (renameat2(AT_FDCWD, recording->from, AT_FDCWD, recording->path, flags) < 0)
		return RESULT_FAILED(errno);
	return moved(recording, asked, &from, &to, flags & RENAME_EXCHANGE);
}

static struct result cut(struct recording *recording, const struct asked *asked)
{
	struct stat st;

	if (load_path(recording, asked, -1, 0, true, recording->path) < 0 ||
	    !recording_below(recording, recording->path) || stat(recording->path, &st) < 0)
		return RESULT_CONTINUE;
	if (!recording_valid(recording, asked))
		return (struct result){.done = ANSWERED};
	if (truncate(recording->path, (off_t)asked->args[1]) < 0)
		return RESULT_FAILED(errno);
	return add(
	    recording, asked, (struct trace_op){.kind = TRACE_TRUNCATE, .file = st.st_ino, .size = asked->args[1]});
}

/* Nobody needs openat2 so much that it could not fall back on openat. */
static struct result open2(struct recording *recording, const struct asked *asked)
{
	if (load_path(recording, asked, 0, 1, true, recording->path) < 0 ||
	    !recording_below(recording, recording->path))
		return RESULT_CONTINUE;
	return RESULT_FAILED(ENOSYS);
}

struct result names_call(struct recording *recording, const struct asked *asked)
{
	const uint64_t *a = asked->args;

	switch (asked->nr) {
	case SYS_openat:
		return open_file(recording, asked, 0, 1, (int)a[2], (mode_t)a[3] & 07777);
	case SYS_openat2:
		return open2(recording, asked);
	case SYS_mkdirat:
		return make_node(recording, asked, 0, 1, (mode_t)a[2] & 07777, true);
	case SYS_mknodat:
		return make_node(recording, asked, 0, 1, (mode_t)a[2], false);
	case SYS_unlinkat:
		return remove_name(recording, asked, 0, 1, a[2] & AT_REMOVEDIR);
	case SYS_linkat:
		return make_link(recording, asked, 0, 1, 2, 3, (int)a[4]);
	case SYS_symlinkat:
		return make_symlink(recording, asked, 1, 2);
	case SYS_renameat2:
		return move_name(recording, asked, 0, 1, 2, 3, (unsigned int)a[4]);
#ifdef SYS_renameat
	case SYS_renameat:
		return move_name(recording, asked, 0, 1, 2, 3, 0);
#endif
#ifdef SYS_open
	case SYS_open:
		return open_file(recording, asked, -1, 0, (int)a[1], (mode_t)a[2] & 07777);
	case SYS_creat:
		return open_file(recording, asked, -1, 0, O_CREAT | O_WRONLY | O_TRUNC, (mode_t)a[1] & 07777);
	case SYS_mkdir:
		return make_node(recording, asked, -1, 0, (mode_t)a[1] & 07777, true);
	case SYS_mknod:
		return make_node(recording, asked, -1, 0, (mode_t)a[1], false);
	case SYS_unlink:
		return remove_name(recording, asked, -1, 0, false);
	case SYS_rmdir:
		return remove_name(recording, asked, -1, 0, true);
	case SYS_link:
		return make_link(recording, asked, -1, 0, -1, 1, 0);
	case SYS_symlink:
		return make_symlink(recording, asked, -1, 1);
	case SYS_rename:
		return move_name(recording, asked, -1, 0, -1, 1, 0);
#endif
	case SYS_truncate:
		return cut(recording, asked);
	default:
		return RESULT_CONTINUE;
	}
}
