/* SPDX-License-Identifier: Apache-2.0 */
/* An experiment's `configuration` and `secrets`: written in the file, or taken from the environment. */
#include <stdlib.h>
#include <string.h>

#include "spec/tables.h"

struct variable {
	char *type, *key, *fallback;
};
static const char *const variable_types[] = {"env", NULL};
static const struct node_field variable_fields[] = {
    {.key = "type",
	.type = NODE_TEXT,
	.required = true,
	.choices = variable_types,
	.offset = offsetof(struct variable, type),
	.help = "From the environment."},
    {.key = "key",
	.type = NODE_TEXT,
	.required = true,
	.offset = offsetof(struct variable, key),
	.help = "The environment variable."},
    {.key = "default",
	.type = NODE_TEXT,
	.offset = offsetof(struct variable, fallback),
	.help = "When it is not set; without a default that is an error."},
    {.key = NULL},
};
const struct node_table spec_variable_table = {.fields = variable_fields};

static int read_variable(struct node_file *file, yaml_node_t *node, struct spec_pair *pair)
{
	struct variable variable = {0};
	const char *value;

	pair->line = node_line(node);
	pair->column = node_column(node);
	if (node_is_scalar(node))
		return node_text(file, node, "a text, a number, or {type: env, key: NAME}", &pair->value);
	if (node_map(file, node, &spec_variable_table, &variable) != 0)
		return -1;
	value = getenv(variable.key);
	if (!value)
		value = variable.fallback;
	if (!value)
		return node_fail(file, node, "the environment variable %.60s is not set, and '%.40s' has no default",
		    variable.key, pair->name);
	pair->value = arena_text(file->arena, value, strlen(value));
	return pair->value ? 0 : node_no_memory(file);
}

int spec_read_variables(struct node_file *file, yaml_node_t *node, void *out)
{
	struct spec_pairs *pairs = out;
	yaml_node_t *key, *value;
	size_t i, count;

	if (node_check_map(file, node) != 0)
		return -1;
	count = node_count(node);
	pairs->items = arena_alloc(file->arena, (count + 1) * sizeof *pairs->items);
	if (!pairs->items)
		return node_no_memory(file);
	for (i = 0; i < count; i++) {
		const char *name = node_key(file, node, i, &key, &value);

		pairs->items[i].name = arena_text(file->arena, name, strlen(name));
		if (!pairs->items[i].name)
			return node_no_memory(file);
		if (read_variable(file, value, &pairs->items[i]) != 0)
			return -1;
	}
	pairs->count = count;
	return 0;
}
