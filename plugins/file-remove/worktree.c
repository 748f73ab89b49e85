/* SPDX-License-Identifier: Apache-2.0 */
/* Finding a worktree and a file in it; see worktree.h. */
#include "plugins/file-remove/worktree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "plugins/plugin.h"

#define FILES_MAX 65536
#define DEPTH_MAX 64

int worktree_locate(
    const char *worktree, const char *state_dir, char *ret_path, size_t size, struct tritone_error *error)
{
	char real[PATH_MAX], root[PATH_MAX];
	size_t n;

	if (!realpath(state_dir, root) || !realpath(worktree, real))
		return fail(error, errno, "%s: %s", worktree, strerror(errno));
	n = strlen(root);
	if (strncmp(real, root, n) != 0 || real[n] != '/')
		return fail(error, EPERM, "the worktree %s is outside the system's directory %s", worktree, state_dir);
	if (strlen(real + n + 1) >= size)
		return fail(error, ENAMETOOLONG, "the path of the worktree is too long: %.80s", worktree);
	memcpy(ret_path, real + n + 1, strlen(real + n + 1) + 1);
	return 0;
}

bool worktree_gone(int code)
{
	return code == ENOENT || code == ENOTDIR || code == ELOOP || code == EXDEV;
}

/* ---- descriptors ---- */

int worktree_open(const char *state_dir, const char *worktree, struct tritone_error *error)
{
	int system = open(state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC), fd;

	/* Not a worktree that has served its time, but one that is out of sight: not mounted, or moved away. */
	if (system < 0)
		return fail(error, worktree_gone(errno) ? ENOMEDIUM : errno,
		    "%s: the system's directory cannot be opened: %s", state_dir, strerror(errno));
	fd = worktree_open_beneath(system, worktree, O_PATH | O_DIRECTORY, error);
	close(system);
	return fd;
}

int worktree_open_beneath(int root, const char *path, int flags, struct tritone_error *error)
{
	struct open_how how = {
	    .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
	    .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	int fd;

	do
		fd = (int)syscall(SYS_openat2, root, path, &how, sizeof how);
	while (fd < 0 && (errno == EINTR || errno == EAGAIN));
	return fd >= 0 ? fd : fail(error, errno, "%s: %s", path, strerror(errno));
}

int worktree_open_parent(int root, const char *path, const char **ret_name, struct tritone_error *error)
{
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX];

	*ret_name = slash ? slash + 1 : path;
	if (!slash)
		return worktree_open_beneath(root, ".", O_RDONLY | O_DIRECTORY, error);
	snprintf(dir, sizeof dir, "%.*s", (int)(slash - path), path);
	return worktree_open_beneath(root, dir, O_RDONLY | O_DIRECTORY, error);
}

static int identify(int dir, const char *name, int flags, struct file_identity *ret)
{
	struct statx sx;
	const struct statx_timestamp *when;

	if (statx(dir, name, AT_SYMLINK_NOFOLLOW | flags, STATX_BASIC_STATS | STATX_BTIME, &sx))
		return -1;
	when = sx.stx_mask & STATX_BTIME ? &sx.stx_btime : &sx.stx_ctime;
	*ret = (struct file_identity){
	    .inode = sx.stx_ino,
	    .device = makedev(sx.stx_dev_major, sx.stx_dev_minor),
	    .seconds = when->tv_sec,
	    .nanoseconds = when->tv_nsec,
	    .mode = sx.stx_mode,
	};
	return 0;
}

int worktree_identify_open(int fd, struct file_identity *ret_identity, struct tritone_error *error)
{
	return identify(fd, "", AT_EMPTY_PATH, ret_identity) ? fail(error, errno, "statx: %s", strerror(errno)) : 0;
}

int worktree_identify(int root, const char *path, struct file_identity *ret_identity, struct tritone_error *error)
{
	const char *name;
	int dir = worktree_open_parent(root, path, &name, error), r;

	if (dir < 0)
		return -1;
	r = identify(dir, name, 0, ret_identity);
	if (r)
		fail(error, errno, "%s: %s", path, strerror(errno));
	close(dir);
	return r;
}

int worktree_identify_path(const char *path, struct file_identity *ret_identity, struct tritone_error *error)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC), r;
	struct statx sx = {0};

	if (fd < 0)
		return fail(error, worktree_gone(errno) ? ENOMEDIUM : errno,
		    "%s: the system's directory cannot be opened: %s", path, strerror(errno));
	r = statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &sx);
	if (r)
		fail(error, errno, "%s: %s", path, strerror(errno));
	close(fd);
	*ret_identity = (struct file_identity){.inode = sx.stx_ino};
	if (r == 0 && (sx.stx_mask & STATX_BTIME)) {
		ret_identity->seconds = sx.stx_btime.tv_sec;
		ret_identity->nanoseconds = sx.stx_btime.tv_nsec;
	}
	return r;
}

/* ---- choosing a file ---- */

struct files {
	char **paths;
	size_t count, room;
};

static int add(struct files *files, const char *path)
{
	if (files->count == files->room) {
		size_t room = files->room ? 2 * files->room : 64;
		char **grown = room <= FILES_MAX ? realloc(files->paths, room * sizeof *grown) : NULL;

		if (!grown)
			return -1;
		files->paths = grown;
		files->room = room;
	}
	files->paths[files->count] = strdup(path);
	return files->paths[files->count] ? (files->count++, 0) : -1;
}

/* All regular files below, by path from the worktree. Links are not followed: neither to directories nor to files. */
static int walk(
    int root, const char *below, const char *pattern, int depth, struct files *files, struct tritone_error *error)
{
	int fd = worktree_open_beneath(root, below[0] ? below : ".", O_RDONLY | O_DIRECTORY, error), r = 0;
	struct dirent *e;
	DIR *dir;

	if (fd < 0)
		return error->code == ENOENT ? 0 : -1; /* the agent may have removed it meanwhile */
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return fail(error, errno, "%s: %s", below, strerror(errno));
	}
	while (r == 0 && (e = readdir(dir))) {
		char path[PATH_MAX];
		struct stat st;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || !strcmp(e->d_name, ".git"))
			continue;
		if (snprintf(path, sizeof path, "%s%s%s", below, below[0] ? "/" : "", e->d_name) >= (int)sizeof path ||
		    fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			continue;
		if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX)
			r = walk(root, path, pattern, depth + 1, files, error);
		else if (S_ISREG(st.st_mode) && fnmatch(pattern, path, 0) == 0 && add(files, path))
			r = fail(error, ENOMEM, "more than %d files match '%s'", FILES_MAX, pattern);
	}
	closedir(dir);
	return r;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int worktree_pick(const struct tritone_call *call, int root, const char *pattern, char *ret_path, size_t size,
    struct file_identity *ret_identity, struct tritone_error *error)
{
	struct files files = {0};
	const char *path;
	size_t i;
	int r;

	r = walk(root, "", pattern, 0, &files, error);
	if (r == 0 && (!files.paths || !files.count)) {
		fail(error, ENOENT, "no file of the worktree matches '%s'", pattern);
		r = -1;
	}
	if (r == 0) {
		qsort(files.paths, files.count, sizeof *files.paths, by_name);
		path = files.paths[call->services->random(call->host, files.count)];
		if (strlen(path) >= size)
			r = fail(error, ENAMETOOLONG, "the path %.80s... is too long", path);
		else
			r = worktree_identify(root, path, ret_identity, error);
		if (r == 0)
			snprintf(ret_path, size, "%s", path);
	}
	for (i = 0; files.paths && i < files.count; i++)
		free(files.paths[i]);
	free(files.paths);
	return r;
}
