/* SPDX-License-Identifier: Apache-2.0 */
/* Files are kept open and mapped; each is compared page by page with what it is to hold, and only then written. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "crash/state_internal.h"

#define BLOCK_BYTES 512u /* of st_blocks */

static int fail(struct error *err, const struct state_dir *dir, const char *path, const char *doing)
{
	return error_set(err, errno ? errno : EIO, "%s/%s: %s: %s", dir->path, path, doing, strerror(errno));
}

int state_open(struct state_dir **ret_dir, const char *path, struct error *err)
{
	struct state_dir *dir = calloc(1, sizeof *dir);
	struct statfs where;

	if (!dir || !(dir->path = strdup(path))) {
		free(dir);
		return error_set(err, ENOMEM, "%s: no memory", path);
	}
	dir->stream = opendir(path);
	if (!dir->stream) {
		error_set(err, errno, "%s: %s", path, strerror(errno));
		free(dir->path);
		free(dir);
		return -1;
	}
	dir->fd = dirfd(dir->stream);
	dir->blocks_exact = fstatfs(dir->fd, &where) == 0 && where.f_type == TMPFS_MAGIC;
	*ret_dir = dir;
	return 0;
}

static void forget(struct slot *slot)
{
	if (slot->map)
		munmap(slot->map, slot->map_size);
	if (slot->fd >= 0)
		close(slot->fd);
	slot->map = NULL;
	slot->map_size = 0;
	slot->fd = -1;
}

void state_close(struct state_dir *dir)
{
	size_t i;

	if (!dir)
		return;
	for (i = 0; i < dir->slots_count; i++) {
		forget(&dir->slots[i]);
		free(dir->slots[i].path);
	}
	closedir(dir->stream);
	free(dir->wanted);
	free(dir->path);
	free(dir);
}

const char *state_path(const struct state_dir *dir)
{
	return dir->path;
}

/* --- what does not belong --- */

static int compare_paths(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int want_paths(struct state_dir *dir, const struct model_state *state)
{
	const size_t count = model_files(state);
	const char **wanted = dir->wanted;
	size_t i;

	if (count > dir->wanted_capacity) {
		wanted = reallocarray(wanted, count, sizeof *wanted);
		if (!wanted)
			return -1;
		dir->wanted = wanted;
		dir->wanted_capacity = count;
	}
	for (i = 0; i < count; i++)
		wanted[i] = model_file(state, i).entry->path;
	dir->wanted_count = count;
	if (count)
		qsort(wanted, count, sizeof *wanted, compare_paths);
	return 0;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
	(void)status;
	(void)type;
	(void)ftw;
	return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

static int remove_at(const struct state_dir *dir, const char *path)
{
	char whole[2 * PATH_MAX];

	if (unlinkat(dir->fd, path, 0) == 0 || errno == ENOENT)
		return 0;
	snprintf(whole, sizeof whole, "%s/%s", dir->path, path);
	return nftw(whole, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

int state_remove_tree(const char *path, struct error *err)
{
	if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) < 0 && errno != ENOENT)
		return error_set(err, errno, "%s: cannot be removed: %s", path, strerror(errno));
	return 0;
}

static int clear_dir(struct state_dir *dir, const char *path, int depth, struct error *err);

/* `stream` is of the directory `path` below the state's. */
static int clear_stream(struct state_dir *dir, DIR *stream, const char *path, int depth, struct error *err)
{
	const struct dirent *entry;
	char below[PATH_MAX];
	const char *key = below;
	int rc = 0;

	while (rc == 0 && (entry = readdir(stream))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		snprintf(below, sizeof below, "%s%s%s", path, *path ? "/" : "", entry->d_name);
		if (!dir->wanted_count ||
		    !bsearch(&key, dir->wanted, dir->wanted_count, sizeof *dir->wanted, compare_paths)) {
			if (remove_at(dir, below) < 0)
				rc = fail(err, dir, below, "cannot be removed");
		} else if (entry->d_type == DT_DIR) {
			rc = clear_dir(dir, below, depth + 1, err);
		}
	}
	return rc;
}

static int clear_dir(struct state_dir *dir, const char *path, int depth, struct error *err)
{
	int fd = openat(dir->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;
	DIR *stream = fd < 0 || depth > STATE_DEPTH_MAX ? NULL : fdopendir(fd);

	if (!stream) {
		fail(err, dir, path, "cannot be read");
		if (fd >= 0)
			close(fd);
		return -1;
	}
	rc = clear_stream(dir, stream, path, depth, err);
	closedir(stream);
	return rc;
}

/* --- what does --- */

static struct slot *slot_for(struct state_dir *dir, const char *path)
{
	struct slot *slot;
	size_t i;

	for (i = 0; i < dir->slots_count; i++)
		if (!strcmp(dir->slots[i].path, path))
			return &dir->slots[i];
	/* full: the last one serves all the others in turn */
	slot = &dir->slots[dir->slots_count < STATE_SLOTS ? dir->slots_count : STATE_SLOTS - 1];
	if (dir->slots_count == STATE_SLOTS) {
		forget(slot);
		free(slot->path);
	} else {
		dir->slots_count++;
	}
	*slot = (struct slot){.path = strdup(path), .fd = -1};
	if (!slot->path)
		dir->slots_count--;
	return slot->path ? slot : NULL;
}

/* *ret_size: what it has now. */
static int open_slot(struct state_dir *dir, struct slot *slot, size_t *ret_size, struct error *err)
{
	struct stat status;

	if (fstatat(dir->fd, slot->path, &status, AT_SYMLINK_NOFOLLOW) == 0) {
		*ret_size = (size_t)status.st_size;
		if (slot->fd >= 0 && status.st_ino == slot->inode && S_ISREG(status.st_mode))
			return 0;
		if (remove_at(dir, slot->path) < 0)
			return fail(err, dir, slot->path, "cannot be removed");
	} else if (errno != ENOENT) {
		return fail(err, dir, slot->path, "cannot be looked at");
	}
	forget(slot);
	slot->fd = openat(dir->fd, slot->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (slot->fd < 0 || fstat(slot->fd, &status) < 0)
		return fail(err, dir, slot->path, "cannot be created");
	slot->inode = status.st_ino;
	*ret_size = 0;
	return 0;
}

static int map_slot(struct state_dir *dir, struct slot *slot, size_t size, struct error *err)
{
	if (size <= slot->map_size)
		return 0;
	if (slot->map)
		munmap(slot->map, slot->map_size);
	size = (size + (1u << 20) - 1) & ~(((size_t)1 << 20) - 1);
	slot->map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, slot->fd, 0);
	slot->map_size = size;
	if (slot->map == MAP_FAILED) {
		slot->map = NULL;
		slot->map_size = 0;
		return fail(err, dir, slot->path, "cannot be mapped");
	}
	return 0;
}

/* Pages that are there and should be holes. Only where the file has data at all. */
static void clear_pages(const struct slot *slot, const struct variant *variant)
{
	const off_t size = (off_t)variant->over.size;
	off_t data = 0, hole = 0;

	while (hole < size && (data = lseek(slot->fd, hole, SEEK_DATA)) >= 0 && data < size) {
		hole = lseek(slot->fd, data, SEEK_HOLE);
		for (data -= data % (off_t)PAGE_BYTES; data < hole && data < size; data += PAGE_BYTES)
			if (!variant_page(variant, (uint64_t)data / PAGE_BYTES)) {
				const size_t left = (size_t)(size - data);

				memset(slot->map + data, 0, left < PAGE_BYTES ? left : PAGE_BYTES);
			}
	}
}

/* One that is shorter than a page, and is often cut: to have it mapped costs more than to read it. */
static int make_small(
    struct state_dir *dir, const struct slot *slot, const struct variant *variant, size_t before, struct error *err)
{
	static const uint8_t zeros[SMALL_BYTES];
	const size_t size = (size_t)variant->over.size;
	const uint8_t *page = variant_page(variant, 0), *wanted = page ? page : zeros;
	uint8_t there[SMALL_BYTES];

	if (before > size && ftruncate(slot->fd, (off_t)size) < 0)
		return fail(err, dir, slot->path, "cannot be given its size");
	if (before >= size && pread(slot->fd, there, size, 0) == (ssize_t)size && !memcmp(there, wanted, size))
		return 0;
	errno = 0;
	if (pwrite(slot->fd, wanted, size, 0) != (ssize_t)size)
		return fail(err, dir, slot->path, "cannot be written");
	return 0;
}

static int make_file(struct state_dir *dir, const struct model_file *file, struct error *err)
{
	const struct variant *variant = file->variant;
	const size_t size = (size_t)variant->over.size;
	struct slot *slot = slot_for(dir, file->entry->path);
	struct variant_walk walk = {0};
	const struct page *page;
	size_t before = 0, pages = 0;
	struct stat status;

	if (!slot)
		return error_set(err, ENOMEM, "%s: no memory", dir->path);
	if (open_slot(dir, slot, &before, err) < 0)
		return -1;
	if (size && size <= SMALL_BYTES)
		return make_small(dir, slot, variant, before, err);
	if (before != size && ftruncate(slot->fd, (off_t)size) < 0)
		return fail(err, dir, slot->path, "cannot be given its size");
	if (!size)
		return 0;
	if (map_slot(dir, slot, size, err) < 0)
		return -1;
	assert(slot->map);
	while ((page = variant_next(variant, &walk))) {
		const size_t at = page->index * PAGE_BYTES;
		const size_t bytes = size - at < PAGE_BYTES ? size - at : PAGE_BYTES;

		pages += at < size;
		if (at < size && memcmp(slot->map + at, page->bytes, bytes) != 0)
			memcpy(slot->map + at, page->bytes, bytes);
	}
	if (fstat(slot->fd, &status) < 0)
		return fail(err, dir, slot->path, "cannot be looked at");
	/* all that it is to have is there: if it takes no more room than that, there is nothing else */
	if (!dir->blocks_exact || (uint64_t)status.st_blocks * BLOCK_BYTES > pages * PAGE_BYTES)
		clear_pages(slot, variant);
	return 0;
}

static int make_symlink(struct state_dir *dir, const struct space_entry *entry, struct error *err)
{
	char target[PATH_MAX];

	if (remove_at(dir, entry->path) < 0)
		return fail(err, dir, entry->path, "cannot be removed");
	snprintf(target, sizeof target, "%.*s", (int)entry->target_size, (const char *)entry->target);
	if (symlinkat(target, dir->fd, entry->path) < 0)
		return fail(err, dir, entry->path, "cannot be made");
	return 0;
}

/* A second name of a file that is there: the same file, not a copy of it. */
static int make_link(struct state_dir *dir, const char *old, const char *new, struct error *err)
{
	struct stat a, b;

	if (fstatat(dir->fd, old, &a, AT_SYMLINK_NOFOLLOW) == 0 &&
	    fstatat(dir->fd, new, &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_ino == b.st_ino)
		return 0;
	if (remove_at(dir, new) < 0 || linkat(dir->fd, old, dir->fd, new, 0) < 0)
		return fail(err, dir, new, "cannot be linked");
	return 0;
}

static const char *earlier_name(const struct model_state *state, size_t index, uint64_t file)
{
	size_t i;

	for (i = 0; i < index; i++)
		if (model_file(state, i).entry->file == file)
			return model_file(state, i).entry->path;
	return NULL;
}

int state_make(struct state_dir *dir, const struct model_state *state, struct error *err)
{
	const size_t count = model_files(state);
	int rc = 0;
	size_t i;

	errno = 0;
	if (want_paths(dir, state) < 0)
		return error_set(err, ENOMEM, "%s: no memory", dir->path);
	rewinddir(dir->stream);
	if (clear_stream(dir, dir->stream, "", 0, err) < 0)
		return -1;
	for (i = 0; rc == 0 && i < count; i++) {
		const struct model_file file = model_file(state, i);
		const char *earlier;

		if (file.entry->kind == TRACE_MKDIR) {
			struct stat status;

			if (fstatat(dir->fd, file.entry->path, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
			    S_ISDIR(status.st_mode))
				continue;
			if (remove_at(dir, file.entry->path) < 0 || mkdirat(dir->fd, file.entry->path, 0777) < 0)
				rc = fail(err, dir, file.entry->path, "cannot be made");
		} else if (file.entry->kind == TRACE_SYMLINK) {
			rc = make_symlink(dir, file.entry, err);
		} else if ((earlier = earlier_name(state, i, file.entry->file))) {
			rc = make_link(dir, earlier, file.entry->path, err);
		} else {
			rc = make_file(dir, &file, err);
		}
	}
	return rc;
}
