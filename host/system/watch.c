/* SPDX-License-Identifier: Apache-2.0 */
/* Directories watched with inotify. The kernel has one watch for each directory however many
 * parties want it: `dirs`, indexed by watch descriptor, says which. */
#include "system/watch.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define PARTIES_MAX 32
#define DEPTH_MAX   64
#define WATCH_MASK                                                                                                     \
	(IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF | IN_ONLYDIR)

struct party {
	char *root;
	watch_descend_fn descend;
	watch_event_fn event;
	void *arg;
	bool found; /* the root exists and is watched */
};

struct dir {
	char *path;       /* NULL: no such watch */
	uint32_t parties; /* one bit each; 0: only waits for a root to appear below it */
};

struct watch {
	int fd;
	struct party party[PARTIES_MAX];
	uint32_t party_count;
	struct dir *dirs;
	size_t dir_count;
};

static int enter(struct watch *watch, const char *path, uint32_t parties, int depth, struct error *err);
static int find_root(struct watch *watch, uint32_t index, struct error *err);

int watch_create(struct watch **ret_watch, struct error *err)
{
	struct watch *watch = calloc(1, sizeof *watch);

	if (!watch)
		return error_set(err, ENOMEM, "no memory for the watch");
	watch->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (watch->fd < 0) {
		int code = errno;

		free(watch);
		return error_set(err, code, "inotify: %s (see fs.inotify.max_user_instances)", strerror(code));
	}
	*ret_watch = watch;
	return 0;
}

void watch_destroy(struct watch *watch)
{
	if (!watch)
		return;
	close(watch->fd);
	for (uint32_t i = 0; i < watch->party_count; i++)
		free(watch->party[i].root);
	for (size_t i = 0; i < watch->dir_count; i++)
		free(watch->dirs[i].path);
	free(watch->dirs);
	free(watch);
}

int watch_fd(const struct watch *watch)
{
	return watch->fd;
}

/* The entry of a watch descriptor, made if need be. */
static struct dir *dir_at(struct watch *watch, int wd)
{
	size_t index = (size_t)wd;

	if (index >= watch->dir_count) {
		size_t count = index + 64;
		struct dir *more = realloc(watch->dirs, count * sizeof *more);

		if (!more)
			return NULL;
		memset(more + watch->dir_count, 0, (count - watch->dir_count) * sizeof *more);
		watch->dirs = more;
		watch->dir_count = count;
	}
	return &watch->dirs[index];
}

static void tell(struct watch *watch, uint32_t parties, const char *path, uint32_t mask)
{
	for (uint32_t i = 0; i < watch->party_count; i++)
		if (parties & (1u << i))
			watch->party[i].event(watch->party[i].arg, path, mask);
}

/* Which of `parties` want the directory `path`, a child of one that they have? */
static uint32_t who_descends(struct watch *watch, uint32_t parties, const char *path)
{
	uint32_t wanted = 0;

	for (uint32_t i = 0; i < watch->party_count; i++) {
		struct party *party = &watch->party[i];

		if ((parties & (1u << i)) && party->descend && party->descend(party->arg, path))
			wanted |= 1u << i;
	}
	return wanted;
}

static int list(struct watch *watch, const char *path, uint32_t parties, int depth, struct error *err)
{
	DIR *handle = opendir(path);
	struct dirent *entry;
	int result = 0;

	if (!handle)
		return 0; /* gone again: its parent's events say so */
	while (result == 0 && (entry = readdir(handle)) != NULL) {
		char child[PATH_MAX];
		struct stat st;

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (snprintf(child, sizeof child, "%s/%s", path, entry->d_name) >= (int)sizeof child ||
		    lstat(child, &st) != 0)
			continue;
		if (S_ISDIR(st.st_mode)) {
			uint32_t wanted = who_descends(watch, parties, child);

			if (wanted)
				result = enter(watch, child, wanted, depth + 1, err);
		} else {
			tell(watch, parties, child, 0);
		}
	}
	closedir(handle);
	return result;
}

/* Puts a watch on a directory. Returns 1 when it is there, 0 when there is no such directory. */
static int put(struct watch *watch, const char *path, uint32_t parties, uint32_t *ret_new, struct error *err)
{
	int wd = inotify_add_watch(watch->fd, path, WATCH_MASK);
	struct dir *dir;
	char *name;

	if (wd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
		return 0;
	if (wd < 0) {
		int code = errno;

		return error_set(err, code, "%s: cannot be watched: %s%s", path, strerror(code),
		    code == ENOSPC ? " (see fs.inotify.max_user_watches)" : "");
	}
	dir = dir_at(watch, wd);
	name = dir ? strdup(path) : NULL;
	if (!name)
		return error_set(err, ENOMEM, "%s: no memory to watch it", path);
	*ret_new = dir->path && !strcmp(dir->path, path) ? parties & ~dir->parties : parties;
	free(dir->path); /* known under another name: it was moved */
	dir->path = name;
	dir->parties |= parties;
	return 1;
}

static int enter(struct watch *watch, const char *path, uint32_t parties, int depth, struct error *err)
{
	uint32_t fresh = 0;
	int there;

	if (depth > DEPTH_MAX)
		return 0;
	there = put(watch, path, parties, &fresh, err);
	if (there < 0)
		return -1;
	for (uint32_t i = 0; there && i < watch->party_count; i++)
		if ((parties & (1u << i)) && !strcmp(watch->party[i].root, path))
			watch->party[i].found = true;
	return there && fresh ? list(watch, path, fresh, depth, err) : 0;
}

/*
 * Enters a party's root, or watches the nearest directory above it that exists. Looked at again
 * after each watch: the next directory may have come in between.
 */
static int find_root(struct watch *watch, uint32_t index, struct error *err)
{
	struct party *party = &watch->party[index];
	char above[PATH_MAX];
	uint32_t none;
	int there;

	for (;;) {
		struct stat st;
		size_t end;

		if (enter(watch, party->root, 1u << index, 0, err) != 0)
			return -1;
		if (party->found)
			return 0;
		snprintf(above, sizeof above, "%s", party->root);
		do {
			char *slash = strrchr(above, '/');

			if (!slash)
				return error_set(err, EINVAL, "%s: not an absolute path", party->root);
			slash[slash == above ? 1 : 0] = '\0';
		} while (above[1] != '\0' && stat(above, &st) != 0);
		there = put(watch, above, 0, &none, err);
		if (there < 0)
			return -1;
		if (!there)
			continue;
		end = strlen(above) > 1 ? strlen(above) + 1 : 1;
		end += strcspn(party->root + end, "/");
		memcpy(above, party->root, end);
		above[end] = '\0';
		if (stat(above, &st) != 0 || !S_ISDIR(st.st_mode))
			return 0;
	}
}

int watch_add(
    struct watch *watch, const char *root, watch_descend_fn descend, watch_event_fn event, void *arg, struct error *err)
{
	uint32_t index = watch->party_count;
	size_t size = strlen(root);
	char *name;

	if (index == PARTIES_MAX)
		return error_set(err, ENOSPC, "%s: more than %d places to watch", root, PARTIES_MAX);
	if (size >= PATH_MAX)
		return error_set(err, ENAMETOOLONG, "%.64s...: too long to be watched", root);
	name = strdup(root);
	if (!name)
		return error_set(err, ENOMEM, "%s: no memory to watch it", root);
	while (size > 1 && name[size - 1] == '/')
		name[--size] = '\0';
	watch->party[index] = (struct party){.root = name, .descend = descend, .event = event, .arg = arg};
	watch->party_count++;
	return find_root(watch, index, err);
}

/* Forgets a directory that has gone, and what was below it. */
static void leave(struct watch *watch, const char *path)
{
	size_t size = strlen(path);

	for (size_t i = 0; i < watch->dir_count; i++) {
		struct dir *dir = &watch->dirs[i];

		if (!dir->path || strncmp(dir->path, path, size) != 0 || (dir->path[size] && dir->path[size] != '/'))
			continue;
		for (uint32_t p = 0; p < watch->party_count; p++)
			if ((dir->parties & (1u << p)) && !strcmp(watch->party[p].root, dir->path))
				watch->party[p].found = false;
		inotify_rm_watch(watch->fd, (int)i); /* fails when it was deleted: the kernel did it */
		free(dir->path);
		*dir = (struct dir){NULL, 0};
	}
}

static int find_missing(struct watch *watch, struct error *err)
{
	for (uint32_t i = 0; i < watch->party_count; i++)
		if (!watch->party[i].found && find_root(watch, i, err) != 0)
			return -1;
	return 0;
}

static int relist(struct watch *watch, struct error *err)
{
	for (size_t i = 0; i < watch->dir_count; i++) {
		char path[PATH_MAX];

		if (!watch->dirs[i].path || !watch->dirs[i].parties)
			continue;
		snprintf(path, sizeof path, "%s", watch->dirs[i].path);
		if (list(watch, path, watch->dirs[i].parties, 0, err) != 0)
			return -1;
	}
	return find_missing(watch, err);
}

static int handle(struct watch *watch, const struct inotify_event *event, struct error *err)
{
	struct dir *dir;
	char path[PATH_MAX];
	uint32_t parties;

	if (event->mask & IN_Q_OVERFLOW)
		return relist(watch, err);
	if (event->wd < 0 || (size_t)event->wd >= watch->dir_count)
		return 0;
	dir = &watch->dirs[event->wd];
	if (!dir->path)
		return 0;
	parties = dir->parties;
	if (event->mask & (IN_DELETE_SELF | IN_IGNORED)) {
		snprintf(path, sizeof path, "%s", dir->path);
		leave(watch, path);
		return find_missing(watch, err);
	}
	if (!event->len || snprintf(path, sizeof path, "%s/%s", dir->path, event->name) >= (int)sizeof path)
		return 0;
	if (!(event->mask & IN_ISDIR)) {
		tell(watch, parties, path, event->mask);
		return 0;
	}
	if (event->mask & IN_MOVED_FROM) {
		leave(watch, path);
	} else if (event->mask & (IN_CREATE | IN_MOVED_TO)) {
		uint32_t wanted = who_descends(watch, parties, path);

		if (wanted && enter(watch, path, wanted, 0, err) != 0)
			return -1;
		return find_missing(watch, err);
	}
	return 0;
}

static void woken(void *arg, const char *path, uint32_t mask)
{
	(void)arg;
	(void)path;
	(void)mask;
}

int watch_beside(struct watch *watch, const char *file, watch_event_fn event, void *arg, struct error *err)
{
	char dir[PATH_MAX], *slash;

	if (snprintf(dir, sizeof dir, "%s", file) >= (int)sizeof dir || !(slash = strrchr(dir, '/')))
		return error_set(err, EINVAL, "%s: not an absolute path", file);
	slash[slash == dir ? 1 : 0] = '\0';
	return watch_add(watch, dir, NULL, event ? event : woken, arg, err);
}

int watch_dispatch(struct watch *watch, struct error *err)
{
	char buf[16384] __attribute__((aligned(__alignof__(struct inotify_event))));

	for (;;) {
		ssize_t got = read(watch->fd, buf, sizeof buf), at = 0;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EAGAIN)
			return 0;
		if (got <= 0) {
			int code = errno;

			return error_set(err, code, "inotify: %s", strerror(code));
		}
		while (at < got) {
			const struct inotify_event *event = (const void *)(buf + at);

			at += (ssize_t)(sizeof *event + event->len);
			if (handle(watch, event, err) != 0)
				return -1;
		}
	}
}
