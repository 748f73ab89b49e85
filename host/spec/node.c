/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at YAML nodes: places, texts, members, and the errors that name them. */
#include "spec/node.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

unsigned node_line(const yaml_node_t *node)
{
	return (unsigned)node->start_mark.line + 1;
}

unsigned node_column(const yaml_node_t *node)
{
	return (unsigned)node->start_mark.column + 1;
}

int node_fail(struct node_file *file, const yaml_node_t *node, const char *format, ...)
{
	char text[sizeof file->err->text];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	return node_fail_at(file, node_line(node), node_column(node), "%s", text);
}

int node_no_memory(struct node_file *file)
{
	return error_set(file->err, ENOMEM, "%s: no memory for what it holds", file->path);
}

int node_unknown(
    struct node_file *file, const yaml_node_t *node, const char *kind, const char *word, const char *const *known)
{
	const char *nearest = spec_nearest(word, known);
	char list[160] = "";
	size_t used = 0;

	if (nearest)
		return node_fail(file, node, "unknown %s '%.40s'; did you mean '%s'?", kind, word, nearest);
	for (; *known && used < sizeof list; known++)
		used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", *known);
	return node_fail(file, node, "unknown %s '%.40s'; known: %s", kind, word, list);
}

bool node_is_scalar(const yaml_node_t *node)
{
	return node->type == YAML_SCALAR_NODE;
}

static const char *scalar(const yaml_node_t *node)
{
	return (const char *)node->data.scalar.value;
}

static bool is_plain(const yaml_node_t *node)
{
	return node_is_scalar(node) && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static bool is_nothing(const yaml_node_t *node)
{
	const char *text = is_plain(node) ? scalar(node) : NULL;

	return text && (!*text || !strcmp(text, "~") || !strcmp(text, "null"));
}

const char *node_found(const yaml_node_t *node, char *buf, size_t size)
{
	char *p;

	if (node->type == YAML_SEQUENCE_NODE)
		return "a list";
	if (node->type == YAML_MAPPING_NODE)
		return "a map";
	if (node->type != YAML_SCALAR_NODE || is_nothing(node))
		return "nothing";
	snprintf(buf, size, "%s'%.40s'", is_plain(node) ? "" : "the text ", scalar(node));
	for (p = buf; *p; p++) /* of what people paste, nothing may move the terminal's cursor */
		if ((unsigned char)*p < 0x20 || (unsigned char)*p == 0x7f)
			*p = '?';
	return buf;
}

static int refuse(struct node_file *file, const yaml_node_t *node, const char *expected)
{
	char found[64];

	return node_fail(file, node, "expected %s, found %s", expected, node_found(node, found, sizeof found));
}

int node_text(struct node_file *file, yaml_node_t *node, const char *expected, char **ret)
{
	char *text;

	if (!node_is_scalar(node) || is_nothing(node))
		return refuse(file, node, expected);
	if (strlen(scalar(node)) != node->data.scalar.length)
		return node_fail(file, node, "a NUL character in a text");
	text = arena_text(file->arena, scalar(node), node->data.scalar.length);
	if (!text)
		return node_no_memory(file);
	*ret = text;
	return 0;
}

int node_number(struct node_file *file, yaml_node_t *node, double *ret)
{
	const char *text = is_plain(node) ? scalar(node) : "";
	char *end = NULL;
	double value;

	/* strtod knows more ("inf", "0x1p3", leading blanks) than a file may say */
	if (!*text || text[strspn(text, "0123456789+-.eE")] || strlen(text) > 40)
		return refuse(file, node, "a number");
	errno = 0;
	value = strtod(text, &end);
	if (*end || errno == ERANGE)
		return refuse(file, node, "a number");
	*ret = value;
	return 0;
}

size_t node_count(const yaml_node_t *node)
{
	if (node->type == YAML_SEQUENCE_NODE)
		return (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
	if (node->type == YAML_MAPPING_NODE)
		return (size_t)(node->data.mapping.pairs.top - node->data.mapping.pairs.start);
	return 0;
}

yaml_node_t *node_at(struct node_file *file, yaml_node_t *list, size_t i)
{
	if (list->type != YAML_SEQUENCE_NODE || i >= node_count(list))
		return NULL;
	return yaml_document_get_node(&file->document, list->data.sequence.items.start[i]);
}

const char *node_key(struct node_file *file, yaml_node_t *map, size_t i, yaml_node_t **ret_key, yaml_node_t **ret_value)
{
	const yaml_node_pair_t *pair = &map->data.mapping.pairs.start[i];
	yaml_node_t *key = yaml_document_get_node(&file->document, pair->key);

	*ret_key = key;
	*ret_value = yaml_document_get_node(&file->document, pair->value);
	return node_is_scalar(key) ? scalar(key) : "";
}

yaml_node_t *node_get(struct node_file *file, yaml_node_t *map, const char *key)
{
	yaml_node_t *key_node, *value;
	size_t i;

	if (map->type != YAML_MAPPING_NODE)
		return NULL;
	for (i = 0; i < node_count(map); i++)
		if (!strcmp(node_key(file, map, i, &key_node, &value), key))
			return value;
	return NULL;
}

int node_check_map(struct node_file *file, yaml_node_t *node)
{
	yaml_node_t *key, *value, *earlier;
	size_t i, j;

	if (node->type != YAML_MAPPING_NODE)
		return refuse(file, node, "a map");
	if (node_count(node) > NODE_ITEMS_MAX)
		return node_fail(file, node, "a map with more than %d keys", NODE_ITEMS_MAX);
	for (i = 0; i < node_count(node); i++) {
		const char *name = node_key(file, node, i, &key, &value);

		if (!node_is_scalar(key) || !*name || strlen(name) != key->data.scalar.length)
			return refuse(file, key, "a key");
		for (j = 0; j < i; j++)
			if (!strcmp(node_key(file, node, j, &earlier, &value), name))
				return node_fail(file, key, "the key '%.40s' is here twice; first at line %u", name,
				    node_line(earlier));
	}
	return 0;
}

int node_check_list(struct node_file *file, yaml_node_t *node, const char *expected)
{
	if (node->type != YAML_SEQUENCE_NODE)
		return refuse(file, node, expected);
	if (node_count(node) > NODE_ITEMS_MAX)
		return node_fail(file, node, "a list with more than %d items", NODE_ITEMS_MAX);
	return 0;
}

int node_strings(struct node_file *file, yaml_node_t *node, struct spec_strings *ret)
{
	size_t count, i;
	char **items;

	if (node_is_scalar(node) && !is_nothing(node) && strlen(scalar(node)) < 30)
		return node_fail(
		    file, node, "expected a list of texts, found '%s'; write [%s]", scalar(node), scalar(node));
	if (node_check_list(file, node, "a list of texts") != 0)
		return -1;
	count = node_count(node);
	items = arena_alloc(file->arena, (count + 1) * sizeof *items);
	if (!items)
		return node_no_memory(file);
	for (i = 0; i < count; i++)
		if (node_text(file, node_at(file, node, i), "a text", &items[i]) != 0)
			return -1;
	ret->items = items;
	ret->count = count;
	return 0;
}

int node_pairs(struct node_file *file, yaml_node_t *node, struct spec_pairs *ret)
{
	yaml_node_t *key, *value;
	struct spec_pair *items;
	size_t count, i;

	if (node_check_map(file, node) != 0)
		return -1;
	count = node_count(node);
	items = arena_alloc(file->arena, (count + 1) * sizeof *items);
	if (!items)
		return node_no_memory(file);
	for (i = 0; i < count; i++) {
		const char *name = node_key(file, node, i, &key, &value);

		items[i].name = arena_text(file->arena, name, strlen(name));
		if (!items[i].name)
			return node_no_memory(file);
		if (node_text(file, value, "a text or a number", &items[i].value) != 0)
			return -1;
		items[i].line = node_line(value);
		items[i].column = node_column(value);
	}
	ret->items = items;
	ret->count = count;
	return 0;
}
