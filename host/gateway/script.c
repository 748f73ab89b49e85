/* SPDX-License-Identifier: Apache-2.0 */
/* Scripted replies; see script.h. */
#include "gateway/script.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct script {
	json_t *rules; /* checked by script_load */
};

struct member {
	const char *name;
	json_type type;
};

static const struct member rule_members[] = {{"match", JSON_OBJECT}, {"reply", JSON_OBJECT}, {NULL, JSON_NULL}};
static const struct member match_members[] = {{"provider", JSON_STRING}, {"model", JSON_STRING}, {"role", JSON_STRING},
    {"task", JSON_STRING}, {"step", JSON_INTEGER}, {"contains", JSON_STRING}, {NULL, JSON_NULL}};
static const struct member reply_members[] = {{"content", JSON_STRING}, {"tool_calls", JSON_ARRAY},
    {"finish_reason", JSON_STRING}, {"status", JSON_INTEGER}, {"error", JSON_STRING}, {NULL, JSON_NULL}};
static const struct member call_members[] = {{"name", JSON_STRING}, {"arguments", JSON_OBJECT}, {NULL, JSON_NULL}};

static const char *type_name(json_type type)
{
	return type == JSON_OBJECT   ? "an object"
	       : type == JSON_ARRAY  ? "a list"
	       : type == JSON_STRING ? "a string"
				     : "a whole number";
}

/* Only known members, each of its type. `where` is for people. */
static int check_members(json_t *object, const struct member *members, const char *where, struct error *err)
{
	const struct member *member;
	const char *key;
	json_t *value;

	if (!json_is_object(object))
		return error_set(err, EINVAL, "%s is not an object", where);
	json_object_foreach(object, key, value)
	{
		for (member = members; member->name && strcmp(member->name, key) != 0; member++)
			;
		if (!member->name)
			return error_set(err, EINVAL, "%s has an unknown member '%.60s'", where, key);
		if (json_typeof(value) != member->type)
			return error_set(err, EINVAL, "%s: '%s' is not %s", where, key, type_name(member->type));
	}
	return 0;
}

static int check_reply(json_t *reply, size_t n, struct error *err)
{
	json_t *status, *call;
	char where[64];
	size_t i;

	snprintf(where, sizeof where, "rule %zu's reply", n);
	if (check_members(reply, reply_members, where, err) < 0)
		return -1;
	status = json_object_get(reply, "status");
	if (status && (json_integer_value(status) < 400 || json_integer_value(status) > 599))
		return error_set(err, EINVAL, "%s: status is %lld, expected 400 to 599 (leave it out for 200)", where,
		    (long long)json_integer_value(status));
	json_array_foreach(json_object_get(reply, "tool_calls"), i, call)
	{
		snprintf(where, sizeof where, "rule %zu's tool call %zu", n, i + 1);
		if (check_members(call, call_members, where, err) < 0)
			return -1;
		if (!json_object_get(call, "name"))
			return error_set(err, EINVAL, "%s has no name", where);
	}
	return 0;
}

static int check(json_t *rules, struct error *err)
{
	char where[64];
	json_t *rule;
	size_t i;

	if (!json_is_array(rules))
		return error_set(err, EINVAL, "expected a list of rules");
	json_array_foreach(rules, i, rule)
	{
		json_t *match = json_object_get(rule, "match"), *reply = json_object_get(rule, "reply");

		snprintf(where, sizeof where, "rule %zu", i + 1);
		if (check_members(rule, rule_members, where, err) < 0)
			return -1;
		if (!reply)
			return error_set(err, EINVAL, "%s has no reply", where);
		snprintf(where, sizeof where, "rule %zu's match", i + 1);
		if (match && check_members(match, match_members, where, err) < 0)
			return -1;
		if (check_reply(reply, i + 1, err) < 0)
			return -1;
	}
	return 0;
}

int script_load(struct script **ret_script, const char *path, struct error *err)
{
	struct script *script = calloc(1, sizeof *script);
	json_error_t why;

	if (!script)
		return error_set(err, ENOMEM, "no memory for the script %s", path);
	script->rules = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
	if (!script->rules) {
		error_set(err, EINVAL, "%s:%d:%d: %.120s", path, why.line, why.column, why.text);
		script_free(script);
		return -1;
	}
	if (check(script->rules, err) < 0) {
		error_context(err, "%s", path);
		script_free(script);
		return -1;
	}
	*ret_script = script;
	return 0;
}

void script_free(struct script *script)
{
	if (!script)
		return;
	json_decref(script->rules);
	free(script);
}

/* ---- matching ---- */

static bool says(const json_t *match, const char *name, const char *found)
{
	const char *wanted = json_string_value(json_object_get(match, name));

	return !wanted || !strcmp(wanted, found);
}

/* Whether the last message's content has the text in it. */
static bool contains(const json_t *match, const struct asked *asked)
{
	const char *wanted = json_string_value(json_object_get(match, "contains"));
	struct texts texts = {0};
	bool found;

	if (!wanted)
		return true;
	asked->wire->texts(asked, &texts);
	found = texts.last && strstr(texts.last, wanted);
	texts_free(&texts);
	return found;
}

static bool matches(const json_t *match, const struct asked *asked)
{
	const json_t *step = json_object_get(match, "step");

	return says(match, "provider", asked->provider) && says(match, "model", asked->model) &&
	       says(match, "role", asked->role) && says(match, "task", asked->task) &&
	       (!step || json_integer_value(step) == asked_step(asked)) && contains(match, asked);
}

/* ---- answering ---- */

static void add_calls(struct completion *completion, const json_t *calls)
{
	const json_t *call;
	size_t i;

	json_array_foreach(calls, i, call)
	{
		json_t *arguments = json_object_get(call, "arguments");
		char *text = arguments ? json_dumps(arguments, JSON_COMPACT) : NULL;

		completion_call(completion, json_string_value(json_object_get(call, "name")), text ? text : "{}");
		free(text);
	}
}

static enum finish finish_of(const char *name)
{
	return !name                             ? 0
	       : !strcmp(name, "tool_calls")     ? FINISH_TOOLS
	       : !strcmp(name, "length")         ? FINISH_LENGTH
	       : !strcmp(name, "content_filter") ? FINISH_FILTER
						 : FINISH_STOP;
}

struct reply script_reply(
    const struct script *script, uint64_t seed, const struct asked *asked, struct completion *ret_completion)
{
	const json_t *rule, *reply = NULL;
	const char *content;
	size_t i;

	json_array_foreach(script->rules, i, rule)
	{
		if (!matches(json_object_get(rule, "match"), asked))
			continue;
		reply = json_object_get(rule, "reply");
		break;
	}
	if (!reply) {
		plan_complete(seed, asked, ret_completion);
		return (struct reply){0};
	}
	if (json_object_get(reply, "status")) {
		const char *text = json_string_value(json_object_get(reply, "error"));
		int status = (int)json_integer_value(json_object_get(reply, "status"));

		return text ? error_refuse(asked->wire->family, status, NULL, "req_script", "%s", text)
			    : error_reply(asked->wire->family, status, -1, asked->model, "req_script");
	}
	content = json_string_value(json_object_get(reply, "content"));
	ret_completion->text = content ? strdup(content) : NULL;
	add_calls(ret_completion, json_object_get(reply, "tool_calls"));
	ret_completion->finish = finish_of(json_string_value(json_object_get(reply, "finish_reason")));
	completion_count(ret_completion, asked);
	return (struct reply){0};
}
