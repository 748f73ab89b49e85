/* SPDX-License-Identifier: Apache-2.0 */
/* The kept copy of a removed file; see kept.h. */
#include "plugins/file-remove/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plugins/plugin.h"

static int kept_path(const struct tritone_call *call, const char *suffix, char *buf, size_t size)
{
	int n = snprintf(buf, size, "%s/%s.file%s", call->keep_dir, call->fault_id, suffix);

	return n > 0 && (size_t)n < size ? 0 : -1;
}

bool kept_exists(const struct tritone_call *call)
{
	char path[PATH_MAX];

	return kept_path(call, "", path, sizeof path) == 0 && access(path, F_OK) == 0;
}

static int copy(int from, int to, uint64_t *ret_bytes)
{
	char chunk[65536];
	uint64_t total = 0;

	for (;;) {
		ssize_t n = read(from, chunk, sizeof chunk), done = 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		while (done < n) {
			ssize_t w = write(to, chunk + done, (size_t)(n - done));

			if (w < 0 && errno == EINTR)
				continue;
			if (w < 0)
				return -1;
			done += w;
		}
		total += (uint64_t)n;
	}
	*ret_bytes = total;
	return 0;
}

static int sync_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

	if (fd < 0)
		return -1;
	r = fsync(fd);
	close(fd);
	return r;
}

/* Owner (as far as we may), mode and times of `st`, for an open file. */
static int dress(int fd, const struct stat *st)
{
	const struct timespec times[2] = {st->st_atim, st->st_mtim};

	if (fchown(fd, st->st_uid, st->st_gid) && errno != EPERM)
		return -1;
	return fchmod(fd, st->st_mode & 07777) || futimens(fd, times) ? -1 : 0;
}

/* Writes the open file to its place in keep_dir; *ret_st is how it was when the copying began. */
static int store(const struct tritone_call *call, int from, const char *path, struct stat *ret_st, uint64_t *ret_bytes,
    struct tritone_error *error)
{
	char kept[PATH_MAX], part[PATH_MAX];
	int to, r;

	if (kept_path(call, "", kept, sizeof kept) || kept_path(call, ".part", part, sizeof part))
		return fail(error, ENAMETOOLONG, "%s: the path is too long", call->keep_dir);
	to = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (to < 0)
		return fail(error, errno, "%s: %s", part, strerror(errno));
	r = fstat(from, ret_st) || lseek(from, 0, SEEK_SET) < 0 || copy(from, to, ret_bytes) || dress(to, ret_st) ||
	    fsync(to) || rename(part, kept) || sync_dir(call->keep_dir);
	if (r) {
		r = fail(error, errno, "keeping a copy of %s: %s", path, strerror(errno));
		unlink(part);
	}
	close(to);
	return r;
}

static int check_identity(const struct file_identity *now, const struct file_identity *identity, const char *path,
    struct tritone_error *error)
{
	if (file_same(now, identity))
		return 0;
	return fail(error, ESTALE, "%s is not the file any more that was chosen", path);
}

static int unlink_that(int root, const char *path, const struct file_identity *identity, struct tritone_error *error)
{
	struct file_identity now;
	const char *name;
	int dir, r;

	if (worktree_identify(root, path, &now, error) || check_identity(&now, identity, path, error))
		return -1;
	dir = worktree_open_parent(root, path, &name, error);
	if (dir < 0)
		return -1;
	r = unlinkat(dir, name, 0);
	if (r)
		fail(error, errno, "%s: %s", path, strerror(errno));
	close(dir);
	return r;
}

int kept_remove(const struct tritone_call *call, int root, const char *path, const struct file_identity *identity,
    uint64_t *ret_bytes, struct tritone_error *error)
{
	struct file_identity now;
	struct stat before = {0}, after;
	int from, r;

	from = worktree_open_beneath(root, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, error);
	if (from < 0)
		return -1;
	r = worktree_identify_open(from, &now, error) || check_identity(&now, identity, path, error) ||
	    store(call, from, path, &before, ret_bytes, error) || unlink_that(root, path, identity, error);
	/* It may have been written to while it was copied; the copy is of what was removed. */
	if (r == 0 && fstat(from, &after) == 0 &&
	    (after.st_size != before.st_size || after.st_mtim.tv_sec != before.st_mtim.tv_sec ||
		after.st_mtim.tv_nsec != before.st_mtim.tv_nsec))
		r = store(call, from, path, &before, ret_bytes, error);
	close(from);
	return r ? -1 : 0;
}

/* An unnamed file, linked in when it is whole: nobody ever sees half of it, and nothing is left when we die here. */
static int open_unnamed(int dir)
{
	return openat(dir, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
}

int kept_possible(int root, const char *path, struct tritone_error *error)
{
	const char *name;
	int dir = worktree_open_parent(root, path, &name, error), fd;

	if (dir < 0)
		return -1;
	fd = open_unnamed(dir);
	if (fd < 0)
		fail(error, errno == EOPNOTSUPP || errno == EISDIR ? ENOTSUP : errno,
		    "%s could not be put back: no unnamed file can be made beside it: %s", path, strerror(errno));
	else
		close(fd);
	close(dir);
	return fd < 0 ? -1 : 0;
}

int kept_restore(const struct tritone_call *call, int root, const char *path, struct tritone_error *error)
{
	char kept[PATH_MAX], link[64];
	struct stat st;
	const char *name;
	uint64_t bytes;
	int dir, from = -1, to = -1, r = -1;

	dir = worktree_open_parent(root, path, &name, error);
	if (dir < 0)
		return worktree_gone(error->code) ? 0 : -1;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		close(dir); /* restored by the system itself, or put back before: never replaced */
		return 0;
	}
	if (kept_path(call, "", kept, sizeof kept) || (from = open(kept, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)) < 0 ||
	    fstat(from, &st)) {
		fail(error, errno, "the kept copy of %s: %s", path, strerror(errno));
		goto out;
	}
	to = open_unnamed(dir);
	if (to < 0) {
		fail(error, errno, "restoring %s: %s", path, strerror(errno));
		goto out;
	}
	snprintf(link, sizeof link, "/proc/self/fd/%d", to);
	if (copy(from, to, &bytes) || dress(to, &st) || fsync(to) ||
	    (linkat(AT_FDCWD, link, dir, name, AT_SYMLINK_FOLLOW) && errno != EEXIST) || fsync(dir)) {
		fail(error, errno, "restoring %s: %s", path, strerror(errno));
		goto out;
	}
	r = 0;
out:
	if (to >= 0)
		close(to);
	if (from >= 0)
		close(from);
	close(dir);
	return r;
}
