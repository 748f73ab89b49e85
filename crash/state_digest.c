/* SPDX-License-Identifier: Apache-2.0 */
/* What a directory holds, as a digest. A page of zeros counts as a hole. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crash/state_internal.h"

struct walk {
	const struct state_dir *dir;
	const char *const *volatiles;
	struct digest sum;
	struct error *err;
};

static int fail(const struct walk *walk, const char *path)
{
	return error_set(
	    walk->err, errno ? errno : EIO, "%s/%s: cannot be read: %s", walk->dir->path, path, strerror(errno));
}

static void add_pages(struct digest *sum, const uint8_t *bytes, uint64_t from, uint64_t end)
{
	for (from -= from % PAGE_BYTES; from < end; from += PAGE_BYTES) {
		const uint8_t *page = bytes + from;
		const size_t size = end - from < PAGE_BYTES ? (size_t)(end - from) : PAGE_BYTES;

		if (page[0] || memcmp(page, page + 1, size - 1) != 0)
			digest_add(sum, digest_of(page, size, from));
	}
}

static int add_ranges(
    const struct walk *walk, const char *path, int fd, const uint8_t *bytes, off_t size, struct digest *sum)
{
	off_t data = 0, hole = 0;

	if (size <= (off_t)PAGE_BYTES) {
		add_pages(sum, bytes, 0, (uint64_t)size);
		return 0;
	}
	while (hole < size && (data = lseek(fd, hole, SEEK_DATA)) >= 0 && data < size) {
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			return fail(walk, path);
		add_pages(sum, bytes, (uint64_t)data, (uint64_t)(hole < size ? hole : size));
	}
	return data < 0 && errno != ENXIO ? fail(walk, path) : 0;
}

static const struct slot *slot_of(const struct state_dir *dir, const char *path, const struct stat *status)
{
	size_t i;

	for (i = 0; i < dir->slots_count; i++)
		if (!strcmp(dir->slots[i].path, path))
			break;
	return i < dir->slots_count && dir->slots[i].fd >= 0 && dir->slots[i].inode == status->st_ino ? &dir->slots[i]
												      : NULL;
}

static int add_small(const struct walk *walk, const char *path, int fd, size_t size, struct digest *sum)
{
	uint8_t bytes[SMALL_BYTES];

	if (pread(fd, bytes, size, 0) != (ssize_t)size)
		return fail(walk, path);
	add_pages(sum, bytes, 0, size);
	return 0;
}

static int add_file(const struct walk *walk, const char *path, const struct stat *status, struct digest *sum)
{
	const size_t size = (size_t)status->st_size;
	const struct slot *slot = size ? slot_of(walk->dir, path, status) : NULL;
	uint8_t *map = MAP_FAILED;
	int fd, rc;

	if (!size)
		return 0;
	if (slot && size <= SMALL_BYTES)
		return add_small(walk, path, slot->fd, size, sum);
	if (slot && size <= slot->map_size)
		return add_ranges(walk, path, slot->fd, slot->map, status->st_size, sum);
	fd = openat(walk->dir->fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return fail(walk, path);
	if (size <= SMALL_BYTES) {
		rc = add_small(walk, path, fd, size, sum);
	} else {
		map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
		rc = map == MAP_FAILED ? fail(walk, path) : add_ranges(walk, path, fd, map, status->st_size, sum);
	}
	if (map != MAP_FAILED)
		munmap(map, size);
	close(fd);
	return rc;
}

static int add_dir(struct walk *walk, const char *path, int depth);

static int add_entry(struct walk *walk, const char *path, int depth)
{
	const struct digest name = digest_of(path, strlen(path), 0);
	struct digest content = {0};
	char target[PATH_MAX];
	struct stat status;
	ssize_t size;
	int rc = 0;

	if (fstatat(walk->dir->fd, path, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(walk, path);
	if (S_ISREG(status.st_mode)) {
		rc = add_file(walk, path, &status, &content);
	} else if (S_ISLNK(status.st_mode)) {
		size = readlinkat(walk->dir->fd, path, target, sizeof target);
		if (size < 0)
			return fail(walk, path);
		content = digest_of(target, (size_t)size, 0);
	} else if (S_ISDIR(status.st_mode)) {
		rc = add_dir(walk, path, depth + 1);
		status.st_size = 0;
	}
	if (rc == 0) {
		const uint64_t words[] = {
		    name.low, name.high, content.low, content.high, (uint64_t)status.st_size, status.st_mode & S_IFMT};

		digest_add(&walk->sum, digest_of(words, sizeof words, 3));
	}
	return rc;
}

static int add_stream(struct walk *walk, DIR *stream, const char *path, int depth)
{
	const struct dirent *entry;
	char below[PATH_MAX];
	int rc = 0;

	while (rc == 0 && (entry = readdir(stream))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") ||
		    trace_matches(walk->volatiles, entry->d_name))
			continue;
		snprintf(below, sizeof below, "%s%s%s", path, *path ? "/" : "", entry->d_name);
		rc = add_entry(walk, below, depth);
	}
	return rc;
}

static int add_dir(struct walk *walk, const char *path, int depth)
{
	int fd = depth > STATE_DEPTH_MAX ? -1 : openat(walk->dir->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;
	DIR *stream = fd < 0 ? NULL : fdopendir(fd);

	if (!stream) {
		fail(walk, path);
		if (fd >= 0)
			close(fd);
		return -1;
	}
	rc = add_stream(walk, stream, path, depth);
	closedir(stream);
	return rc;
}

int state_digest(
    const struct state_dir *dir, const char *const *volatiles, struct digest *ret_digest, struct error *err)
{
	struct walk walk = {.dir = dir, .volatiles = volatiles, .err = err};

	rewinddir(dir->stream);
	if (add_stream(&walk, dir->stream, "", 0) < 0)
		return -1;
	*ret_digest = walk.sum;
	return 0;
}
