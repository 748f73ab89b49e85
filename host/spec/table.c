/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a map as a table of fields says. Knows no key by name. */
#include "spec/node.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FIELDS_MAX 40

static void *member(void *out, size_t offset)
{
	return (char *)out + offset;
}

static int uint_from(const char *text, uint64_t *ret)
{
	uint64_t value = 0;
	const char *p;

	for (p = text; *p >= '0' && *p <= '9'; p++) {
		if (p - text >= 18)
			return -1;
		value = value * 10 + (uint64_t)(*p - '0');
	}
	if (*p || p == text)
		return -1;
	*ret = value;
	return 0;
}

static int check_range(struct node_file *file, const yaml_node_t *node, const struct node_field *field, double value)
{
	const char *unit = field->type == NODE_DURATION ? " ms" : "";

	if ((field->min == 0 && field->max == 0) || (value >= field->min && value <= field->max))
		return 0;
	return node_fail(file, node, "'%s' must be between %g%s and %g%s, found %g%s", field->key, field->min, unit,
	    field->max, unit, value, unit);
}

/* A plain (not quoted) scalar's text, or NULL. */
static const char *plain(const yaml_node_t *node)
{
	if (!node_is_scalar(node) || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return NULL;
	return (const char *)node->data.scalar.value;
}

static int read_choice(struct node_file *file, yaml_node_t *node, const struct node_field *field, char **ret)
{
	char *text;
	size_t i;

	if (node_text(file, node, "a text", &text) != 0)
		return -1;
	for (i = 0; field->choices && field->choices[i]; i++)
		if (!strcmp(field->choices[i], text))
			break;
	if (field->choices && !field->choices[i])
		return node_unknown(file, node, field->key, text, field->choices);
	*ret = text;
	return 0;
}

static int read_simple(struct node_file *file, yaml_node_t *node, const struct node_field *field, void *to)
{
	const char *text = plain(node);
	char found[64], *copy;
	struct error why;
	double number;
	uint64_t whole;
	int64_t ms;

	switch ((unsigned)field->type) {
	case NODE_BOOL:
		if (!text || (strcmp(text, "true") != 0 && strcmp(text, "false") != 0))
			return node_fail(
			    file, node, "expected true or false, found %s", node_found(node, found, sizeof found));
		*(bool *)to = !strcmp(text, "true");
		return 0;
	case NODE_UINT:
		if (!text || uint_from(text, &whole) != 0)
			return node_fail(
			    file, node, "expected a whole number, found %s", node_found(node, found, sizeof found));
		*(uint64_t *)to = whole;
		return check_range(file, node, field, (double)whole);
	case NODE_DOUBLE:
		if (node_number(file, node, &number) != 0)
			return -1;
		*(double *)to = number;
		return check_range(file, node, field, number);
	default: /* NODE_DURATION */
		if (node_text(file, node, "a duration such as 250ms", &copy) != 0)
			return -1;
		if (spec_duration(copy, &ms, &why) != 0)
			return node_fail(file, node, "%s", why.text);
		*(int64_t *)to = ms;
		return check_range(file, node, field, (double)ms);
	}
}

static int read_list(struct node_file *file, yaml_node_t *node, const struct node_field *field, void *out)
{
	const struct node_table *table = field->table;
	char *items, found[64];
	size_t count, i;

	if (node->type != YAML_SEQUENCE_NODE)
		return node_fail(file, node, "expected a list for '%s', found %s", field->key,
		    node_found(node, found, sizeof found));
	count = node_count(node);
	if (count > NODE_ITEMS_MAX)
		return node_fail(file, node, "a list with more than %d items", NODE_ITEMS_MAX);
	items = arena_alloc(file->arena, (count + 1) * table->size);
	if (!items)
		return node_no_memory(file);
	for (i = 0; i < count; i++) {
		void *item = items + i * table->size;
		yaml_node_t *at = node_at(file, node, i);

		if ((table->read ? table->read(file, at, item) : node_map(file, at, table, item)) != 0)
			return -1;
	}
	memcpy(member(out, field->offset), &items, sizeof items);
	memcpy(member(out, field->count_offset), &count, sizeof count);
	return 0;
}

static int read_field(struct node_file *file, yaml_node_t *node, const struct node_field *field, void *out)
{
	void *to = member(out, field->offset);
	size_t count = 1;
	int rc;

	switch (field->type) {
	case NODE_TEXT:
		return read_choice(file, node, field, to);
	case NODE_BOOL:
	case NODE_UINT:
	case NODE_DOUBLE:
	case NODE_DURATION:
		return read_simple(file, node, field, to);
	case NODE_STRINGS:
		rc = node_strings(file, node, to);
		count = node_count(node);
		break;
	case NODE_LIST:
		rc = read_list(file, node, field, out);
		count = node_count(node);
		break;
	case NODE_PAIRS:
		return node_pairs(file, node, to);
	case NODE_MAP:
		return node_map(file, node, field->table, to);
	case NODE_CUSTOM:
	default:
		return field->read(file, node, to);
	}
	if (rc == 0 && field->filled && count == 0)
		return node_fail(file, node, "'%s' is empty; expected at least one item", field->key);
	return rc;
}

static int default_strings(struct node_file *file, const char *words, struct spec_strings *ret)
{
	size_t count = 0, length;
	const char *p;
	char **items;

	for (p = words; *p; p += length + (p[length] == ' '), count++)
		length = strcspn(p, " ");
	items = arena_alloc(file->arena, (count + 1) * sizeof *items);
	if (!items)
		return node_no_memory(file);
	for (p = words, count = 0; *p; p += length + (p[length] == ' '), count++) {
		length = strcspn(p, " ");
		items[count] = arena_text(file->arena, p, length);
		if (!items[count])
			return node_no_memory(file);
	}
	ret->items = items;
	ret->count = count;
	return 0;
}

/* A default is text in the table, so that the manual page can print what the program uses. */
static int default_field(struct node_file *file, const struct node_field *field, void *to)
{
	yaml_char_t text[64];
	yaml_node_t node = {.type = YAML_SCALAR_NODE};

	if (field->type == NODE_STRINGS)
		return default_strings(file, field->fallback, to);
	if (strlen(field->fallback) >= sizeof text)
		return error_set(file->err, EOVERFLOW, "the default of '%s' is too long", field->key);
	memcpy(text, field->fallback, strlen(field->fallback) + 1);
	node.data.scalar.value = text;
	node.data.scalar.length = strlen(field->fallback);
	node.data.scalar.style = YAML_PLAIN_SCALAR_STYLE;
	return field->type == NODE_TEXT ? read_choice(file, &node, field, to) : read_simple(file, &node, field, to);
}

int node_defaults(struct node_file *file, const struct node_field *fields, void *out)
{
	int rc = 0;

	for (; fields->key && rc == 0; fields++) {
		if (fields->type == NODE_MAP)
			rc = node_defaults(file, fields->table->fields, member(out, fields->offset));
		else if (fields->fallback)
			rc = default_field(file, fields, member(out, fields->offset));
	}
	return rc;
}

static int find_field(struct node_file *file, yaml_node_t *key, const char *name, const struct node_field *fields)
{
	const char *known[FIELDS_MAX + 1];
	size_t i;

	for (i = 0; i < FIELDS_MAX && fields[i].key; i++) {
		if (!strcmp(fields[i].key, name))
			return (int)i;
		known[i] = fields[i].key;
	}
	known[i] = NULL;
	return node_unknown(file, key, "key", name, known);
}

int node_map(struct node_file *file, yaml_node_t *node, const struct node_table *table, void *out)
{
	const struct node_field *fields = table->fields;
	yaml_node_t *key, *value;
	size_t i;

	if (node_check_map(file, node) != 0)
		return -1;
	if (node_defaults(file, fields, out) != 0)
		return -1;
	for (i = 0; i < node_count(node); i++) {
		const char *name = node_key(file, node, i, &key, &value);
		int found = find_field(file, key, name, fields);

		if (found < 0)
			return -1;
		if (read_field(file, value, &fields[found], out) != 0)
			return -1;
	}
	for (; fields->key; fields++)
		if (fields->required && !node_get(file, node, fields->key))
			return node_fail(file, node, "the key '%s' is missing", fields->key);
	return table->finish ? table->finish(file, node, out) : 0;
}

int node_top(struct node_file *file, const struct node_table *table, void *out)
{
	return node_map(file, node_root(file), table, out);
}
