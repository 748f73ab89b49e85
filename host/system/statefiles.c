/* SPDX-License-Identifier: Apache-2.0 */
/* State files that must always be whole. A reader gets what it gets: there is no second try. */
#include "system/statefiles.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "system/pathglob.h"
#include "system/textfile.h"

#define DEPTH_MAX 64

struct globs {
	char **items; /* absolute */
	size_t count;
};

struct statefiles {
	struct history *history;
	char *directory;
	struct globs json, temporary;
	char in_place[PATH_MAX]; /* the file that is being written where it lies, "" if none */
	char fresh[PATH_MAX];    /* the file that was just made: it had no readers yet */
};

static int globs_copy(struct globs *globs, const char *directory, const char *const *items)
{
	size_t count = 0;

	while (items && items[count])
		count++;
	globs->items = calloc(count + 1, sizeof *globs->items);
	if (!globs->items)
		return -1;
	for (; globs->count < count; globs->count++) {
		const char *item = items[globs->count];

		if (asprintf(&globs->items[globs->count], "%s%s%s", item[0] == '/' ? "" : directory,
			item[0] == '/' ? "" : "/", item) < 0)
			return -1;
	}
	return 0;
}

static void globs_free(struct globs *globs)
{
	for (size_t i = 0; i < globs->count; i++)
		free(globs->items[i]);
	free(globs->items);
}

static bool globs_match(const struct globs *globs, const char *path)
{
	for (size_t i = 0; i < globs->count; i++)
		if (pathglob_match(globs->items[i], path))
			return true;
	return false;
}

static bool globs_may_hold(const struct globs *globs, const char *dir)
{
	for (size_t i = 0; i < globs->count; i++)
		if (pathglob_may_hold(globs->items[i], dir))
			return true;
	return false;
}

int statefiles_create(struct statefiles **ret_statefiles, const struct statefiles_options *options, struct error *err)
{
	struct statefiles *files = calloc(1, sizeof *files);

	if (!files)
		return error_set(err, ENOMEM, "no memory for the state files");
	files->history = options->history;
	files->directory = strdup(options->directory);
	if (!files->directory || globs_copy(&files->json, options->directory, options->json) != 0 ||
	    globs_copy(&files->temporary, options->directory, options->temporary) != 0) {
		statefiles_destroy(files);
		return error_set(err, ENOMEM, "no memory for the state files");
	}
	*ret_statefiles = files;
	return 0;
}

void statefiles_destroy(struct statefiles *files)
{
	if (!files)
		return;
	globs_free(&files->json);
	globs_free(&files->temporary);
	free(files->directory);
	free(files);
}

static void record(struct statefiles *files, const char *path, bool ok, const char *detail)
{
	size_t size = strlen(files->directory);
	const char *name = !strncmp(path, files->directory, size) && path[size] == '/' ? path + size + 1 : path;

	history_append(files->history,
	    &(struct op){
		.kind = OP_STATEFILE, .type = ok ? OP_OK : OP_FAIL, .pair = OP_NONE, .actor = name, .detail = detail});
}

/* `only_bad`: nothing is said when it is whole, because more is to come. */
static void look(struct statefiles *files, const char *path, bool only_bad, const char *detail)
{
	json_error_t wrong;
	struct error error;
	char text[192], *bytes;
	json_t *root;
	size_t size;

	if (textfile_read(&bytes, &size, path, &error) != 0) {
		if (error.code != ENOENT) /* gone again: nobody could have read it half-written */
			record(files, path, false, error.text);
		return;
	}
	root = json_loadb(bytes, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &wrong);
	free(bytes);
	if (!root) {
		snprintf(text, sizeof text, "%zu bytes, no whole JSON value: %.100s", size, wrong.text);
		record(files, path, false, text);
		return;
	}
	json_decref(root);
	if (!only_bad)
		record(files, path, true, detail);
}

static void on_event(void *arg, const char *path, uint32_t mask)
{
	struct statefiles *files = arg;
	bool in_place;

	/* What is temporary may be half-written: it is no state file yet, whatever else it matches. */
	if (!globs_match(&files->json, path) || globs_match(&files->temporary, path))
		return;
	if (mask & IN_CREATE) {
		snprintf(files->fresh, sizeof files->fresh, "%s", path);
		return;
	}
	if (mask & IN_MODIFY) {
		if (strcmp(files->fresh, path) != 0)
			snprintf(files->in_place, sizeof files->in_place, "%s", path);
		look(files, path, true, NULL);
		return;
	}
	if (mask && !(mask & (IN_CLOSE_WRITE | IN_MOVED_TO)))
		return;
	in_place = (mask & IN_CLOSE_WRITE) && !strcmp(files->in_place, path);
	if (mask & IN_CLOSE_WRITE) {
		if (in_place)
			files->in_place[0] = '\0';
		if (!strcmp(files->fresh, path))
			files->fresh[0] = '\0';
	}
	look(files, path, false, in_place ? "rewritten in place" : NULL);
}

static bool descend(void *arg, const char *dir)
{
	struct statefiles *files = arg;

	return globs_may_hold(&files->json, dir);
}

int statefiles_watch(struct statefiles *files, struct watch *watch, struct error *err)
{
	for (size_t i = 0; i < files->json.count; i++) {
		char root[PATH_MAX];
		bool covered = false;

		if (!pathglob_root(files->json.items[i], root, sizeof root))
			return error_set(err, ENAMETOOLONG, "%.64s...: too long", files->json.items[i]);
		for (size_t k = 0; k < i && !covered; k++) { /* one root for all globs that share it */
			char other[PATH_MAX];

			covered = pathglob_root(files->json.items[k], other, sizeof other) && !strcmp(other, root);
		}
		if (!covered && watch_add(watch, root, descend, on_event, files, err) != 0)
			return -1;
	}
	return 0;
}

static int audit_directory(struct statefiles *files, const char *path, int depth, struct error *err)
{
	DIR *handle = opendir(path);
	struct dirent *entry;
	int result = 0;

	if (!handle && errno == ENOENT)
		return 0;
	if (!handle) {
		int code = errno;

		return error_set(err, code, "%s: %s", path, strerror(code));
	}
	while (result == 0 && (entry = readdir(handle)) != NULL) {
		char child[PATH_MAX];
		struct stat st;

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") ||
		    snprintf(child, sizeof child, "%s/%s", path, entry->d_name) >= (int)sizeof child ||
		    lstat(child, &st) != 0)
			continue;
		if (S_ISDIR(st.st_mode)) {
			if (depth < DEPTH_MAX &&
			    (globs_may_hold(&files->json, child) || globs_may_hold(&files->temporary, child)))
				result = audit_directory(files, child, depth + 1, err);
		} else if (globs_match(&files->temporary, child)) {
			record(files, child, false, "temporary file left over");
		} else if (globs_match(&files->json, child)) {
			look(files, child, false, "after the stop");
		}
	}
	closedir(handle);
	return result;
}

int statefiles_audit(struct statefiles *files, struct error *err)
{
	return audit_directory(files, files->directory, 0, err);
}
