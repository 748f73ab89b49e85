/* SPDX-License-Identifier: Apache-2.0 */
/* Suites: lists of experiments. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "check/check.h"
#include "spec/policy.h"
#include "spec/tables.h"

#define IN(member_)      .offset = offsetof(struct spec_suite, member_)
#define CASE_IN(member_) .offset = offsetof(struct spec_case, member_)

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

static int read_suite(struct node_file *file, void *out)
{
	struct spec_suite *suite = out;

	suite->file = arena_text(file->arena, file->path, strlen(file->path));
	suite->name = spec_stem(file->arena, file->path);
	if (!suite->file || !suite->name)
		return node_no_memory(file);
	if (node_get(file, node_root(file), "processes") && node_get(file, node_root(file), "submit"))
		return node_fail(
		    file, node_root(file), "this is the manifest of a system; expected a suite or an experiment");
	return looks_like_suite(file) ? node_top(file, &spec_suite_table, suite) : suite_of_one(file, suite);
}

int spec_suite_load(struct spec_suite **ret_suite, const char *path, struct error *err)
{
	void *suite;

	if (spec_file_load(&suite, sizeof **ret_suite, path, read_suite, err) != 0)
		return -1;
	*ret_suite = suite;
	return 0;
}

void spec_suite_free(struct spec_suite *suite)
{
	spec_file_free(suite);
}
