/* SPDX-License-Identifier: Apache-2.0 */
/* Copies and removes directories, by descriptors, so that no link is followed. */
#include "system/copytree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 128

static int failed(struct error *err, const char *name)
{
	int code = errno;

	return error_set(err, code, "%s: %s", name, strerror(code));
}

/* `size` bytes from `at` on. */
static int copy_stretch(int from, int to, off_t at, off_t size, const char *name, struct error *err)
{
	char buf[65536];
	off_t in = at, out = at;
	ssize_t got, put;

	while (size > 0) {
		got = copy_file_range(from, &in, to, &out, (size_t)size, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		size -= got;
	}
	if (size > 0 && errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
		return failed(err, name);
	while (size > 0) { /* between file systems that cannot do it */
		got = pread(from, buf, size < (off_t)sizeof buf ? (size_t)size : sizeof buf, in);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got == 0 ? 0 : failed(err, name); /* it was cut meanwhile */
		for (ssize_t done = 0; done < got; done += put) {
			put = pwrite(to, buf + done, (size_t)(got - done), in + done);
			if (put < 0 && errno == EINTR)
				put = 0;
			else if (put < 0)
				return failed(err, name);
		}
		in += got;
		size -= got;
	}
	return 0;
}

/* Only what is not a hole: the map of a log is mostly holes. */
static int copy_bytes(int from, int to, off_t size, const char *name, struct error *err)
{
	off_t data = 0, hole;

	if (size == 0 || ioctl(to, FICLONE, from) == 0)
		return 0;
	while (data < size) {
		data = lseek(from, data, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break; /* holes to the end */
		if (data < 0)
			return failed(err, name);
		hole = lseek(from, data, SEEK_HOLE);
		if (hole < 0)
			return failed(err, name);
		if (copy_stretch(from, to, data, hole - data, name, err) != 0)
			return -1;
		data = hole;
	}
	return ftruncate(to, size) == 0 ? 0 : failed(err, name);
}

static int copy_file(int from_dir, int to_dir, const char *name, const struct stat *st, struct error *err)
{
	int from, to, result;

	/* Nobody may write to it, as to a git object: the same file will do, and costs less. */
	if (!(st->st_mode & 0222) && linkat(from_dir, name, to_dir, name, 0) == 0)
		return 0;
	from = openat(from_dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (from < 0)
		return errno == ENOENT ? 0 : failed(err, name);
	to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, st->st_mode & 0777);
	if (to < 0) {
		result = failed(err, name);
		close(from);
		return result;
	}
	result = copy_bytes(from, to, st->st_size, name, err);
	close(from);
	if (close(to) != 0 && result == 0)
		result = failed(err, name);
	return result;
}

static int copy_link(int from_dir, int to_dir, const char *name, struct error *err)
{
	char target[PATH_MAX];
	ssize_t size = readlinkat(from_dir, name, target, sizeof target - 1);

	if (size < 0)
		return errno == ENOENT ? 0 : failed(err, name);
	target[size] = '\0';
	return symlinkat(target, to_dir, name) == 0 ? 0 : failed(err, name);
}

static int copy_directory(int from_dir, const char *from, int to_dir, const char *to, int depth, struct error *err);

static int copy_entry(int from_dir, int to_dir, const char *name, int depth, struct error *err)
{
	struct stat st;

	if (fstatat(from_dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? 0 : failed(err, name);
	if (S_ISDIR(st.st_mode))
		return copy_directory(from_dir, name, to_dir, name, depth + 1, err);
	if (S_ISREG(st.st_mode))
		return copy_file(from_dir, to_dir, name, &st, err);
	if (S_ISLNK(st.st_mode))
		return copy_link(from_dir, to_dir, name, err);
	return 0;
}

static int copy_directory(int from_dir, const char *from, int to_dir, const char *to, int depth, struct error *err)
{
	int in = -1, out = -1, result = -1;
	struct dirent *entry;
	DIR *handle = NULL;

	if (depth > DEPTH_MAX)
		return error_set(err, ELOOP, "%s: more than %d directories deep", from, DEPTH_MAX);
	in = openat(from_dir, from, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (in < 0)
		return depth > 0 && errno == ENOENT ? 0 : failed(err, from);
	if (mkdirat(to_dir, to, 0700) != 0) {
		failed(err, to);
		goto out;
	}
	out = openat(to_dir, to, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	handle = out < 0 ? NULL : fdopendir(in);
	if (!handle) {
		failed(err, to);
		goto out;
	}
	result = 0;
	while (result == 0 && (entry = readdir(handle)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			result = copy_entry(in, out, entry->d_name, depth, err);
out:
	if (out >= 0)
		close(out);
	if (handle)
		closedir(handle); /* closes `in` */
	else
		close(in);
	return result == 0 ? 0 : error_context(err, "%s", from);
}

int copytree(const char *from, const char *to, struct error *err)
{
	return copy_directory(AT_FDCWD, from, AT_FDCWD, to, 0, err);
}

static int remove_at(int dir, const char *name, int depth, struct error *err)
{
	struct dirent *entry;
	int fd, result = 0;
	DIR *handle;

	if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
		return 0;
	if ((errno != EISDIR && errno != EPERM) || depth > DEPTH_MAX)
		return failed(err, name);
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return failed(err, name);
	handle = fdopendir(fd);
	if (!handle) {
		result = failed(err, name);
		close(fd);
		return result;
	}
	while (result == 0 && (entry = readdir(handle)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			result = remove_at(fd, entry->d_name, depth + 1, err);
	closedir(handle);
	if (result == 0 && unlinkat(dir, name, AT_REMOVEDIR) != 0)
		result = failed(err, name);
	return result;
}

int removetree(const char *path, struct error *err)
{
	return remove_at(AT_FDCWD, path, 0, err);
}
