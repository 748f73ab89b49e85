/* SPDX-License-Identifier: Apache-2.0 */
/* What the loaders of all kinds of files share: a file as a struct with its memory, and the names and paths of files. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spec/tables.h"

/* What callers hold is `spec`. */
struct loaded {
	struct arena arena;
	max_align_t spec[];
};

int spec_file_load(void **ret_spec, size_t size, const char *path, spec_read_fn reader, struct error *err)
{
	struct loaded *loaded = calloc(1, sizeof *loaded + size);
	struct node_file file;
	int rc;

	if (!loaded)
		return error_set(err, ENOMEM, "%s: no memory for it", path);
	rc = node_open(&file, path, &loaded->arena, err);
	if (rc == 0) {
		rc = reader(&file, loaded->spec);
		node_close(&file);
	}
	if (rc != 0) {
		spec_file_free(loaded->spec);
		return -1;
	}
	*ret_spec = loaded->spec;
	return 0;
}

void spec_file_free(void *spec)
{
	struct loaded *loaded;

	if (!spec)
		return;
	loaded = (struct loaded *)(void *)((char *)spec - offsetof(struct loaded, spec));
	arena_finish(&loaded->arena);
	free(loaded);
}

static const char *const extensions[] = {".yaml", ".yml", ".json", ".so", NULL};

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), tail = strlen(end);

	return length > tail && !strcmp(text + length - tail, end);
}

char *spec_stem(struct arena *arena, const char *path)
{
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	size_t length = strlen(base), i;

	for (i = 0; extensions[i]; i++)
		if (ends_with(base, extensions[i]))
			return arena_text(arena, base, length - strlen(extensions[i]));
	return arena_text(arena, base, length);
}

char *spec_beside(struct arena *arena, const char *file, const char *path)
{
	const char *slash = strrchr(file, '/');

	if (*path == '/' || !slash)
		return arena_text(arena, path, strlen(path));
	return arena_format(arena, "%.*s/%s", (int)(slash - file), file, path);
}

static int no_system(
    struct node_file *file, yaml_node_t *node, char **ret_problem, const char *what, const char *name, const char *why)
{
	*ret_problem = arena_format(file->arena, "%.90s:%u:%u: %s%.80s%s; --system FILE names another", file->path,
	    node_line(node), node_column(node), what, name, why);
	return *ret_problem ? 0 : node_no_memory(file);
}

int spec_find_system(struct node_file *file, yaml_node_t *node, char **system, char **ret_problem)
{
	static const char *const places[] = {
	    "systems", "../systems", "../../systems", "./systems", "./fixtures/systems", NULL};
	const char *slash = strrchr(file->path, '/');
	int length = slash ? (int)(slash - file->path) + 1 : 0;
	bool is_path = strchr(*system, '/') || ends_with(*system, ".yaml") || ends_with(*system, ".yml") ||
		       ends_with(*system, ".json");
	char *path;
	size_t i;

	if (is_path) {
		path = spec_beside(file->arena, file->path, *system);
		if (!path)
			return node_no_memory(file);
		if (access(path, R_OK) != 0)
			return no_system(file, node, ret_problem, "the manifest ", path,
			    errno == ENOENT ? ": not there" : ": cannot be read");
		*system = path;
		return 0;
	}
	for (i = 0; places[i]; i++) {
		bool here =
		    strncmp(places[i], "./", 2) == 0; /* where tritone was called, as `tritone up` looks for it */

		path = arena_format(file->arena, "%.*s%s/%s.yaml", here ? 0 : length, file->path, places[i], *system);
		if (!path)
			return node_no_memory(file);
		if (access(path, R_OK) == 0) {
			*system = path;
			return 0;
		}
	}
	return no_system(file, node, ret_problem, "there is no manifest '", *system,
	    "' in systems/ beside or above this file, nor here");
}
