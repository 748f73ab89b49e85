/* SPDX-License-Identifier: Apache-2.0 */
/* Where plugins are: TRITONE_PLUGIN_PATH, beside the program (build tree), the installed directory. Never the working
 * directory, so that no file that happens to lie there is loaded. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runner/protocol.h"
#include "spec/spec.h"

#define DIRS_MAX 34

struct dirs {
	char *items[DIRS_MAX];
	size_t count;
	bool relative; /* TRITONE_PLUGIN_PATH had a relative entry, which was left out */
};

static void dirs_free(struct dirs *dirs)
{
	while (dirs->count)
		free(dirs->items[--dirs->count]);
}

static int add(struct dirs *dirs, const char *path, size_t size, struct error *err)
{
	if (!size)
		return 0;
	if (path[0] != '/') {
		dirs->relative = true;
		return 0;
	}
	if (dirs->count == DIRS_MAX)
		return error_set(err, E2BIG, "TRITONE_PLUGIN_PATH has more than %d directories", DIRS_MAX - 2);
	dirs->items[dirs->count] = strndup(path, size);
	if (!dirs->items[dirs->count])
		return error_set(err, ENOMEM, "no memory for plugin directories");
	dirs->count++;
	return 0;
}

static int dirs_find(struct dirs *ret_dirs, struct error *err)
{
	const char *env = getenv("TRITONE_PLUGIN_PATH");
	struct dirs dirs = {0};
	char self[PATH_MAX], *slash;
	ssize_t n;

	while (env && *env) {
		size_t size = strcspn(env, ":");

		if (add(&dirs, env, size, err) < 0)
			goto fail;
		env += size + (env[size] == ':');
	}
	n = readlink("/proc/self/exe", self, sizeof self - sizeof "/plugins");
	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
		if (slash) {
			memcpy(slash, "/plugins", sizeof "/plugins");
			if (add(&dirs, self, strlen(self), err) < 0)
				goto fail;
		}
	}
	if (add(&dirs, TRITONE_PLUGIN_DIR, strlen(TRITONE_PLUGIN_DIR), err) < 0)
		goto fail;
	*ret_dirs = dirs;
	return 0;
fail:
	dirs_free(&dirs);
	return -1;
}

/* DIR/NAME.so as installed, DIR/NAME/NAME.so as built. */
static bool find_in(const char *dir, const char *name, char *ret_path, size_t size)
{
	struct stat st;

	if ((size_t)snprintf(ret_path, size, "%s/%s.so", dir, name) < size && stat(ret_path, &st) == 0 &&
	    S_ISREG(st.st_mode))
		return true;
	return (size_t)snprintf(ret_path, size, "%s/%s/%s.so", dir, name, name) < size && stat(ret_path, &st) == 0 &&
	       S_ISREG(st.st_mode);
}

static int locate_path(const char *name, char *ret_path, size_t size, struct error *err)
{
	char *real = realpath(name, NULL);
	int r = 0;

	if (!real)
		return error_set(err, errno, "%s: %s", name, strerror(errno));
	if (strlen(real) >= size)
		r = error_set(err, ENAMETOOLONG, "%s: the path is too long", real);
	else
		memcpy(ret_path, real, strlen(real) + 1);
	free(real);
	return r;
}

/* ---- all of them ---- */

struct names {
	char **items;
	size_t count;
};

static void names_free(struct names *names)
{
	while (names->count)
		free(names->items[--names->count]);
	free(names->items);
}

static int push(struct names *names, const char *name, size_t size, struct error *err)
{
	char **grown;
	size_t i;

	for (i = 0; i < names->count; i++)
		if (!strncmp(names->items[i], name, size) && !names->items[i][size])
			return 0; /* found in an earlier directory */
	grown = realloc(names->items, (names->count + 2) * sizeof *grown);
	if (!grown)
		return error_set(err, ENOMEM, "no memory for plugin names");
	names->items = grown;
	names->items[names->count] = strndup(name, size);
	if (!names->items[names->count])
		return error_set(err, ENOMEM, "no memory for plugin names");
	names->count++;
	return 0;
}

static int scan(const char *dir, struct names *names, struct error *err)
{
	const struct dirent *entry;
	char path[PATH_MAX];
	DIR *d = opendir(dir);
	int r = 0;

	if (!d)
		return errno == ENOENT || errno == ENOTDIR || errno == EACCES
			   ? 0
			   : error_set(err, errno, "%s: %s", dir, strerror(errno));
	while (r == 0 && (entry = readdir(d))) {
		size_t size = strspn(entry->d_name, "abcdefghijklmnopqrstuvwxyz0123456789-");
		char name[NAME_MAX + 1];

		if (!size || (entry->d_name[size] && strcmp(entry->d_name + size, ".so") != 0))
			continue;
		snprintf(name, sizeof name, "%.*s", (int)size, entry->d_name);
		if (find_in(dir, name, path, sizeof path))
			r = push(names, name, size, err);
	}
	closedir(d);
	return r;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int plugin_list(char ***ret_names, struct error *err)
{
	struct names names = {0};
	struct dirs dirs;
	size_t i;

	if (dirs_find(&dirs, err) < 0)
		return -1;
	for (i = 0; i < dirs.count; i++)
		if (scan(dirs.items[i], &names, err) < 0)
			goto fail;
	if (!names.items && !(names.items = malloc(sizeof *names.items))) {
		error_set(err, ENOMEM, "no memory for plugin names");
		goto fail;
	}
	dirs_free(&dirs);
	qsort(names.items, names.count, sizeof *names.items, compare);
	names.items[names.count] = NULL;
	*ret_names = names.items;
	return 0;
fail:
	dirs_free(&dirs);
	names_free(&names);
	return -1;
}

/* ---- one of them ---- */

static void not_found(const char *name, bool relative, struct error *err)
{
	const char *more = relative ? " (a relative directory in TRITONE_PLUGIN_PATH was not searched)" : "";
	const char *nearest = NULL;
	char **names = NULL;
	size_t i;

	if (plugin_list(&names, NULL) == 0)
		nearest = spec_nearest(name, (const char *const *)names);
	if (nearest)
		error_set(err, ENOENT, "no plugin is named '%.60s'; did you mean '%s'?%s", name, nearest, more);
	else
		error_set(err, ENOENT, "no plugin is named '%.60s'; see tritone plugin list%s", name, more);
	for (i = 0; names && names[i]; i++)
		free(names[i]);
	free(names);
}

int plugin_locate(const char *name, char *ret_path, size_t size, struct error *err)
{
	char path[PATH_MAX];
	struct dirs dirs;
	size_t i;
	int r = -1;

	if (strchr(name, '/'))
		return locate_path(name, ret_path, size, err);
	if (!*name || name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-")])
		return error_set(err, EINVAL,
		    "'%.60s' cannot be a plugin's name (a-z, 0-9, '-'); a file is given by a path with a '/'", name);
	if (dirs_find(&dirs, err) < 0)
		return -1;
	for (i = 0; i < dirs.count && r < 0; i++)
		if (find_in(dirs.items[i], name, path, sizeof path))
			r = locate_path(path, ret_path, size, err);
	if (r < 0 && i == dirs.count)
		not_found(name, dirs.relative, err);
	dirs_free(&dirs);
	return r;
}
