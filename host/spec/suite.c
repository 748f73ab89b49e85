/* SPDX-License-Identifier: Apache-2.0 */
/* Suites: lists of experiments. Also what the loaders share: names and paths of files. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check/check.h"
#include "spec/policy.h"
#include "spec/tables.h"

struct loaded_suite {
	struct spec_suite suite; /* first: what callers hold */
	struct arena arena;
};

#define IN(member_)      .offset = offsetof(struct spec_suite, member_)
#define CASE_IN(member_) .offset = offsetof(struct spec_case, member_)

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
	static const char *const places[] = {"systems", "../systems", "../../systems", NULL};
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
		path = arena_format(file->arena, "%.*s%s/%s.yaml", length, file->path, places[i], *system);
		if (!path)
			return node_no_memory(file);
		if (access(path, R_OK) == 0) {
			*system = path;
			return 0;
		}
	}
	return no_system(
	    file, node, ret_problem, "there is no manifest '", *system, "' in systems/ beside or above this file");
}

int spec_check_invariants(struct node_file *file, yaml_node_t *node, const struct spec_strings *names)
{
	const char *known[POLICY_INVARIANTS_MAX + 1];
	size_t i;

	policy_invariant_names(known);
	for (i = 0; i < names->count; i++)
		if (!check_find(names->items[i]))
			return node_unknown(file, node_at(file, node, i), "invariant", names->items[i], known);
	return 0;
}

static const struct node_field case_fields[] = {
    {.key = "experiment",
	.type = NODE_TEXT,
	.required = true,
	CASE_IN(experiment),
	.help = "Path of the experiment file, relative to this one."},
    {.key = "name",
	.type = NODE_TEXT,
	CASE_IN(name),
	.help = "Shown in reports, unique in the suite; the bug's or the experiment's name when not given."},
    {.key = "bug", .type = NODE_TEXT, CASE_IN(bug), .help = "The same as arguments [--bug, NAME]."},
    {.key = "arguments",
	.type = NODE_STRINGS,
	CASE_IN(arguments),
	.help = "Added to the command of the first process."},
    {.key = "expect",
	.type = NODE_MAP,
	CASE_IN(expect_deviated),
	.table = &spec_expect_table,
	.elsewhere = true,
	.form = "map, as in an experiment",
	.help = "Replaces what the experiment expects."},
    {.key = NULL},
};
static const struct node_table case_map = {.fields = case_fields};

static int read_case(struct node_file *file, yaml_node_t *node, void *out)
{
	struct spec_case *item = out;
	yaml_node_t *at = node;
	char *path, *stem;

	if (node_is_scalar(node)) {
		if (node_text(file, node, "the path of an experiment", &item->experiment) != 0)
			return -1;
	} else {
		if (node_map(file, node, &case_map, item) != 0)
			return -1;
		at = node_get(file, node, "experiment");
		item->has_expect = node_get(file, node, "expect") != NULL;
	}
	item->line = node_line(node);
	item->column = node_column(node);
	path = spec_beside(file->arena, file->path, item->experiment);
	stem = spec_stem(file->arena, item->experiment);
	if (!path || !stem)
		return node_no_memory(file);
	if (access(path, R_OK) != 0) {
		node_fail(file, at, "the experiment %s: %s", path, strerror(errno));
		item->problem = arena_text(file->arena, file->err->text, strlen(file->err->text));
		if (!item->problem)
			return node_no_memory(file);
	}
	item->experiment = path;
	if (!item->name)
		item->name = item->bug ? item->bug : stem;
	return 0;
}
static const struct node_table case_table = {
    .fields = case_fields, .read = read_case, .size = sizeof(struct spec_case)};

static int suite_finish(struct node_file *file, yaml_node_t *node, void *out)
{
	yaml_node_t *system = node_get(file, node, "system");
	struct spec_suite *suite = out;
	size_t i, j;

	if (system && spec_find_system(file, system, &suite->system, &suite->system_problem) != 0)
		return -1;
	for (i = 0; i < suite->case_count; i++)
		for (j = 0; j < i; j++)
			if (!strcmp(suite->cases[i].name, suite->cases[j].name))
				return node_fail_at(file, suite->cases[i].line, suite->cases[i].column,
				    "a second case named '%.60s', as at line %u; give it a 'name' of its own",
				    suite->cases[i].name, suite->cases[j].line);
	return 0;
}

static const struct node_field suite_fields[] = {
    {.key = "title", .type = NODE_TEXT, IN(title), .help = "One sentence."},
    {.key = "system", .type = NODE_TEXT, IN(system), .help = "The manifest, for experiments that name none; as there."},
    {.key = "control",
	.type = NODE_BOOL,
	IN(control),
	.fallback = "false",
	.help = "Each experiment of a case with a _bug_ is also run without it, and must hold then."},
    {.key = "experiments",
	.type = NODE_LIST,
	.required = true,
	.filled = true,
	IN(cases),
	.count_offset = offsetof(struct spec_suite, case_count),
	.table = &case_table,
	.form = "list of paths, or of maps",
	.help = "What is run, in this order."},
    {.key = NULL},
};
const struct node_table spec_suite_table = {.fields = suite_fields, .finish = suite_finish};

/* Which kind of file is it? Decided by the keys, so that a misspelt `experiments` is still named as such. */
static bool looks_like_suite(struct node_file *file)
{
	static const char *const suite_only[] = {"experiments", "control", NULL};
	yaml_node_t *root = node_root(file), *key, *value;
	const struct node_field *field;
	size_t i;

	for (i = 0; root->type == YAML_MAPPING_NODE && i < node_count(root) && i < NODE_ITEMS_MAX; i++) {
		const char *name = node_key(file, root, i, &key, &value);

		for (field = spec_experiment_table.fields; field->key && strcmp(field->key, name) != 0; field++)
			;
		if (!field->key && spec_nearest(name, suite_only))
			return true;
	}
	return false;
}

static int suite_of_one(struct node_file *file, struct spec_suite *suite)
{
	struct spec_experiment *experiment = arena_alloc(file->arena, sizeof *experiment);

	suite->cases = arena_alloc(file->arena, 2 * sizeof *suite->cases);
	if (!experiment || !suite->cases)
		return node_no_memory(file);
	if (spec_experiment_read(file, experiment) != 0)
		return -1;
	suite->title = experiment->title;
	suite->system_problem = experiment->system_problem;
	suite->cases[0].experiment = suite->file;
	suite->cases[0].name = suite->name;
	suite->cases[0].line = suite->cases[0].column = 1;
	suite->case_count = 1;
	return 0;
}

int spec_suite_load(struct spec_suite **ret_suite, const char *path, struct error *err)
{
	struct loaded_suite *loaded = calloc(1, sizeof *loaded);
	struct node_file file;
	int rc;

	if (!loaded)
		return error_set(err, ENOMEM, "%s: no memory for it", path);
	rc = node_open(&file, path, &loaded->arena, err);
	if (rc == 0) {
		loaded->suite.file = arena_text(&loaded->arena, path, strlen(path));
		loaded->suite.name = spec_stem(&loaded->arena, path);
		if (!loaded->suite.file || !loaded->suite.name)
			rc = node_no_memory(&file);
		else if (node_get(&file, node_root(&file), "processes") && node_get(&file, node_root(&file), "submit"))
			rc = node_fail(&file, node_root(&file),
			    "this is the manifest of a system; expected a suite or an experiment");
		else if (looks_like_suite(&file))
			rc = node_top(&file, &spec_suite_table, &loaded->suite);
		else
			rc = suite_of_one(&file, &loaded->suite);
		node_close(&file);
	}
	if (rc != 0) {
		spec_suite_free(&loaded->suite);
		return -1;
	}
	*ret_suite = &loaded->suite;
	return 0;
}

void spec_suite_free(struct spec_suite *suite)
{
	struct loaded_suite *loaded = (struct loaded_suite *)suite;

	if (!loaded)
		return;
	arena_finish(&loaded->arena);
	free(loaded);
}
