/* SPDX-License-Identifier: Apache-2.0 */
/* Scripts: what models say, as a list of rules. Read here, followed by the gateway (gateway/script.h). */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <jansson.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "spec/tables.h"

#define NAME_SIZE 33 /* bytes of a group's name, with the final NUL: PCRE2 allows 32 */

#define MATCH(member_) .offset = offsetof(struct spec_script_rule, match.member_)
#define REPLY(member_) .offset = offsetof(struct spec_script_rule, reply.member_)
#define CALL(member_)  .offset = offsetof(struct spec_script_call, member_)

/* ---- the keys ---- */

static const char *const paths[] = {"/v1/chat/completions", "/v1/responses", "/v1/messages", NULL};
static const char *const finishes[] = {"stop", "tool_calls", "length", "content_filter", NULL};

static const struct node_field match_fields[] = {
    {.key = "provider", .type = NODE_TEXT, MATCH(provider), .help = "The provider's name."},
    {.key = "model", .type = NODE_TEXT, MATCH(model), .help = "The model that is asked for."},
    {.key = "path", .type = NODE_TEXT, MATCH(path), .choices = paths, .help = "The API that is spoken."},
    {.key = "task", .type = NODE_TEXT, MATCH(task), .help = "The task that the request is for."},
    {.key = "role", .type = NODE_TEXT, MATCH(role), .help = "What its header X-Role says."},
    {.key = "user", .type = NODE_TEXT, MATCH(user), .help = "Perl-compatible pattern of the user's last message."},
    {.key = "system",
	.type = NODE_TEXT,
	MATCH(system),
	.help = "The same for the system prompt (of several messages, all)."},
    {.key = "last",
	.type = NODE_TEXT,
	MATCH(last),
	.help = "The same for the last message whoever's it is, such as a tool's result."},
    {.key = "contains", .type = NODE_TEXT, MATCH(contains), .help = "A text, no pattern, in the last message."},
    {.key = "step",
	.type = NODE_UINT,
	MATCH(step),
	.min = 1,
	.max = 1e9,
	.help = "The conversation's turn: one more than the assistant's so far; or what the header X-Step says."},
    {.key = "nth",
	.type = NODE_UINT,
	MATCH(nth),
	.min = 1,
	.max = 1e9,
	.help = "The task's n-th request; those that a fault has kept from an answer are not counted."},
    {.key = NULL},
};
static const struct node_table match_table = {.fields = match_fields};

static int read_arguments(struct node_file *file, yaml_node_t *node, void *out);

static const struct node_field call_fields[] = {
    {.key = "name", .type = NODE_TEXT, .required = true, CALL(name), .help = "The tool's name."},
    {.key = "arguments",
	.type = NODE_CUSTOM,
	.read = read_arguments,
	.form = "map of anything",
	.help = "Its arguments; in texts, variables are filled in."},
    {.key = NULL},
};
static const struct node_table call_table = {.fields = call_fields, .size = sizeof(struct spec_script_call)};

static const struct node_field usage_fields[] = {
    {.key = "input",
	.type = NODE_UINT,
	REPLY(input),
	.max = 1e12,
	.help = "Tokens of the request. Counted when not given."},
    {.key = "output", .type = NODE_UINT, REPLY(output), .max = 1e12, .help = "The same for the answer."},
    {.key = NULL},
};
static const struct node_table usage_table = {.fields = usage_fields};

static const struct node_field reply_fields[] = {
    {.key = "content", .type = NODE_TEXT, REPLY(content), .help = "What the model says; variables are filled in."},
    {.key = "tool_calls",
	.type = NODE_LIST,
	REPLY(calls),
	.count_offset = offsetof(struct spec_script_rule, reply.call_count),
	.table = &call_table,
	.help = "The tools that it calls."},
    {.key = "finish_reason",
	.type = NODE_TEXT,
	REPLY(finish),
	.choices = finishes,
	.help = "Why it stopped, in OpenAI's words; each protocol gets its own. By default tool_calls when it calls "
		"tools, else stop."},
    {.key = "usage", .type = NODE_MAP, .table = &usage_table, .help = "The tokens that it says it took."},
    {.key = "status",
	.type = NODE_UINT,
	REPLY(status),
	.min = 400,
	.max = 599,
	.help = "An error instead, with the provider's own words."},
    {.key = "error", .type = NODE_TEXT, REPLY(error), .help = "The error's message, with *status*."},
    {.key = NULL},
};
static const struct node_table reply_table = {.fields = reply_fields};

static const struct node_field rule_fields[] = {
    {.key = "match",
	.type = NODE_MAP,
	.table = &match_table,
	.help = "When it is for a request: all that is named must be so. Nothing: always."},
    {.key = "reply", .type = NODE_MAP, .required = true, .table = &reply_table, .help = "What is answered."},
    {.key = NULL},
};
const struct node_table spec_script_table = {.fields = rule_fields};

/* ---- arguments ---- */

static json_t *json_of(struct node_file *file, yaml_node_t *node);

static json_t *scalar_of(const yaml_node_t *node)
{
	const char *text = (const char *)node->data.scalar.value;
	size_t size = node->data.scalar.length;
	json_t *value = NULL;

	if (node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
		value = json_loadb(text, size, JSON_DECODE_ANY, NULL); /* a number, true, false, null */
	return value && !json_is_object(value) && !json_is_array(value) ? value : json_stringn(text, size);
}

static json_t *json_of(struct node_file *file, yaml_node_t *node)
{
	yaml_node_t *key, *value;
	json_t *out;
	size_t i;

	if (node_is_scalar(node))
		return scalar_of(node);
	out = node->type == YAML_SEQUENCE_NODE ? json_array() : json_object();
	for (i = 0; out && i < node_count(node); i++) {
		const char *name = "";

		if (node->type == YAML_SEQUENCE_NODE)
			value = node_at(file, node, i);
		else
			name = node_key(file, node, i, &key, &value);
		if (node->type == YAML_SEQUENCE_NODE ? json_array_append_new(out, json_of(file, value))
						     : json_object_set_new(out, name, json_of(file, value))) {
			json_decref(out);
			return NULL;
		}
	}
	return out;
}

static int check_maps(struct node_file *file, yaml_node_t *node)
{
	yaml_node_t *key, *value;
	size_t i;

	if (node->type == YAML_MAPPING_NODE && node_check_map(file, node) != 0)
		return -1;
	for (i = 0; !node_is_scalar(node) && i < node_count(node); i++) {
		if (node->type == YAML_SEQUENCE_NODE)
			value = node_at(file, node, i);
		else
			node_key(file, node, i, &key, &value);
		if (check_maps(file, value) != 0)
			return -1;
	}
	return 0;
}

static int read_arguments(struct node_file *file, yaml_node_t *node, void *out)
{
	struct spec_script_call *call = out;
	char found[80], *text;
	json_t *value;

	if (node->type != YAML_MAPPING_NODE)
		return node_fail(file, node, "expected a map, found %s", node_found(node, found, sizeof found));
	if (check_maps(file, node) != 0)
		return -1;
	value = json_of(file, node);
	text = value ? json_dumps(value, JSON_COMPACT) : NULL;
	json_decref(value);
	if (text)
		call->arguments = arena_text(file->arena, text, strlen(text));
	free(text);
	return call->arguments ? 0 : node_fail(file, node, "these arguments cannot be written as JSON");
}

/* ---- patterns and variables ---- */

/* What may be named in ${}: see gateway/script.h. */
struct names {
	char groups[SPEC_SCRIPT_GROUPS_MAX][NAME_SIZE];
	size_t count;
	uint32_t numbers; /* of the pattern whose groups have numbers */
};

static int check_pattern(
    struct node_file *file, yaml_node_t *match, const char *key, const char *pattern, struct names *names)
{
	yaml_node_t *node = node_get(file, match, key);
	PCRE2_SIZE at = 0;
	PCRE2_UCHAR why[120];
	uint32_t count = 0, entry = 0, numbers = 0, i;
	PCRE2_SPTR table = NULL;
	pcre2_code *code;
	int number = 0;

	if (!pattern)
		return 0;
	code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &number, &at, NULL);
	if (!code) {
		pcre2_get_error_message(number, why, sizeof why);
		return node_fail(file, node, "'%s' is no pattern: %s, at its character %zu", key, (char *)why, at + 1);
	}
	pcre2_pattern_info(code, PCRE2_INFO_CAPTURECOUNT, &numbers);
	pcre2_pattern_info(code, PCRE2_INFO_NAMECOUNT, &count);
	pcre2_pattern_info(code, PCRE2_INFO_NAMEENTRYSIZE, &entry);
	pcre2_pattern_info(code, PCRE2_INFO_NAMETABLE, &table);
	if (!names->numbers)
		names->numbers = numbers;
	/* an entry is the group's number in two bytes, and its name */
	for (i = 0; i < count && names->count < SPEC_SCRIPT_GROUPS_MAX; i++)
		snprintf(names->groups[names->count++], NAME_SIZE, "%s", (const char *)table + (size_t)i * entry + 2);
	pcre2_code_free(code);
	return numbers <= SPEC_SCRIPT_GROUPS_MAX
		   ? 0
		   : node_fail(file, node, "'%s' has %u groups, at most %d", key, numbers, SPEC_SCRIPT_GROUPS_MAX);
}

static const char *known_name(void *arg, const char *name)
{
	static const char *const always[] = {"provider", "model", "task", "role", "step", "nth", NULL};
	const struct names *names = arg;
	char *end;
	unsigned long number = strtoul(name, &end, 10);
	size_t i;

	if (*name >= '0' && *name <= '9' && !*end)
		return number <= names->numbers ? "" : NULL;
	for (i = 0; always[i]; i++)
		if (!strcmp(always[i], name))
			return "";
	for (i = 0; i < names->count; i++)
		if (!strcmp(names->groups[i], name))
			return "";
	return NULL;
}

static int check_text(struct node_file *file, yaml_node_t *node, const char *text, struct names *names)
{
	struct error err = {0};
	char *expanded = NULL;

	if (text && spec_expand(&expanded, text, known_name, names, &err) != 0)
		return node_fail(file, node, "%s", err.text);
	free(expanded);
	return 0;
}

static int check_arguments(struct node_file *file, yaml_node_t *node, struct names *names)
{
	yaml_node_t *key, *value;
	size_t i;

	if (node_is_scalar(node))
		return check_text(file, node, (const char *)node->data.scalar.value, names);
	for (i = 0; i < node_count(node); i++) {
		if (node->type == YAML_SEQUENCE_NODE)
			value = node_at(file, node, i);
		else
			node_key(file, node, i, &key, &value);
		if (check_arguments(file, value, names) != 0)
			return -1;
	}
	return 0;
}

static int check_reply(
    struct node_file *file, yaml_node_t *node, const struct spec_script_rule *rule, struct names *names)
{
	yaml_node_t *calls = node_get(file, node, "tool_calls"), *arguments;
	size_t i;

	if (rule->reply.error && !rule->reply.status)
		return node_fail(file, node_get(file, node, "error"), "'error' is for a reply with 'status'");
	if (rule->reply.status && (rule->reply.content || rule->reply.call_count))
		return node_fail(
		    file, node_get(file, node, "status"), "a reply with 'status' is an error: it says nothing else");
	if (check_text(file, node_get(file, node, "content"), rule->reply.content, names) != 0 ||
	    check_text(file, node_get(file, node, "error"), rule->reply.error, names) != 0)
		return -1;
	for (i = 0; i < rule->reply.call_count; i++) {
		arguments = node_get(file, node_at(file, calls, i), "arguments");
		if (arguments && check_arguments(file, arguments, names) != 0)
			return -1;
	}
	return 0;
}

static int read_rule(struct node_file *file, yaml_node_t *node, struct spec_script_rule *rule)
{
	yaml_node_t *match = node_get(file, node, "match"), *reply;
	struct names names = {0};

	if (node_map(file, node, &spec_script_table, rule) != 0)
		return -1;
	rule->line = node_line(node);
	reply = node_get(file, node, "reply");
	rule->reply.counted = !node_get(file, reply, "usage");
	if (match && (check_pattern(file, match, "user", rule->match.user, &names) != 0 ||
			 check_pattern(file, match, "last", rule->match.last, &names) != 0 ||
			 check_pattern(file, match, "system", rule->match.system, &names) != 0))
		return -1;
	return check_reply(file, reply, rule, &names);
}

/* ---- the file ---- */

static int read_rules(struct node_file *file, void *out)
{
	struct spec_script *script = out;
	yaml_node_t *root = node_root(file);
	size_t i;

	if (node_check_list(file, root, "a list of rules") != 0)
		return -1;
	script->count = node_count(root);
	script->rules = arena_alloc(file->arena, (script->count + 1) * sizeof *script->rules);
	if (!script->rules)
		return node_no_memory(file);
	for (i = 0; i < script->count; i++)
		if (read_rule(file, node_at(file, root, i), &script->rules[i]) != 0)
			return -1;
	return 0;
}

int spec_script_load(struct spec_script **ret_script, const char *path, struct error *err)
{
	void *script;

	if (spec_file_load(&script, sizeof **ret_script, path, read_rules, err) != 0)
		return -1;
	*ret_script = script;
	return 0;
}

void spec_script_free(struct spec_script *script)
{
	spec_file_free(script);
}
