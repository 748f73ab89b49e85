/* SPDX-License-Identifier: Apache-2.0 */
/* Scripted replies; see script.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "gateway/script.h"

#include <errno.h>
#include <inttypes.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/tally.h"
#include "spec/spec.h"

#define STEPS_MAX 200000 /* of the matcher in one text: a pattern that goes astray matches nothing */

enum pattern { USER, LAST, SYSTEM, PATTERNS }; /* in the order in which their groups have numbers */

struct rule {
	const struct spec_script_rule *spec;
	pcre2_code *codes[PATTERNS];
	pcre2_match_data *groups[PATTERNS]; /* of the last match */
	json_t **arguments;                 /* of each call; NULL: none */
};

struct script {
	struct spec_script *spec;
	struct rule *rules;
	pcre2_match_context *limits;
	struct tally *tally;
};

/* ---- loading ---- */

static int prepare(struct rule *rule)
{
	const char *patterns[PATTERNS] = {
	    [USER] = rule->spec->match.user, [LAST] = rule->spec->match.last, [SYSTEM] = rule->spec->match.system};
	PCRE2_SIZE at;
	size_t i;
	int code;

	for (i = 0; i < PATTERNS; i++) {
		if (!patterns[i])
			continue;
		rule->codes[i] =
		    pcre2_compile((PCRE2_SPTR)patterns[i], PCRE2_ZERO_TERMINATED, PCRE2_UTF, &code, &at, NULL);
		rule->groups[i] = rule->codes[i] ? pcre2_match_data_create_from_pattern(rule->codes[i], NULL) : NULL;
		if (!rule->groups[i])
			return -1;
	}
	rule->arguments = calloc(rule->spec->reply.call_count + 1, sizeof(json_t *));
	if (!rule->arguments)
		return -1;
	for (i = 0; i < rule->spec->reply.call_count; i++) {
		const char *text = rule->spec->reply.calls[i].arguments;

		rule->arguments[i] = text ? json_loads(text, 0, NULL) : json_object();
		if (!rule->arguments[i])
			return -1;
	}
	return 0;
}

int script_load(struct script **ret_script, const char *path, struct error *err)
{
	struct script *script = calloc(1, sizeof *script);
	size_t i;

	if (!script)
		return error_set(err, ENOMEM, "no memory for the script %s", path);
	if (spec_script_load(&script->spec, path, err) < 0) {
		script_free(script);
		return -1;
	}
	script->rules = calloc(script->spec->count + 1, sizeof *script->rules);
	script->limits = pcre2_match_context_create(NULL);
	script->tally = tally_create();
	for (i = 0; script->rules && i < script->spec->count; i++)
		script->rules[i].spec = &script->spec->rules[i];
	for (i = 0; script->rules && i < script->spec->count && prepare(&script->rules[i]) == 0; i++)
		;
	if (!script->rules || !script->limits || !script->tally || i < script->spec->count) {
		script_free(script);
		return error_set(err, ENOMEM, "no memory for the script %s", path);
	}
	pcre2_set_match_limit(script->limits, STEPS_MAX);
	*ret_script = script;
	return 0;
}

static void finish(struct rule *rule)
{
	size_t i;

	for (i = 0; i < PATTERNS; i++) {
		pcre2_code_free(rule->codes[i]);
		pcre2_match_data_free(rule->groups[i]);
	}
	for (i = 0; rule->arguments && rule->arguments[i]; i++)
		json_decref(rule->arguments[i]);
	free(rule->arguments);
}

void script_free(struct script *script)
{
	size_t i;

	if (!script)
		return;
	for (i = 0; script->rules && i < script->spec->count; i++)
		finish(&script->rules[i]);
	free(script->rules);
	pcre2_match_context_free(script->limits);
	tally_destroy(script->tally);
	spec_script_free(script->spec);
	free(script);
}

/* ---- matching ---- */

/* One request as it is held against the rules. */
struct asking {
	const struct asked *asked;
	struct texts texts;
	uint64_t nth;
	char step[24], nth_text[24];
	const struct rule *rule; /* the one that matched */
	char group[PATTERNS][4096];
};

static const char *text_of(const struct asking *asking, size_t pattern)
{
	return pattern == USER ? asking->texts.user : pattern == LAST ? asking->texts.last : asking->texts.system;
}

static bool says(const char *wanted, const char *found)
{
	return !wanted || !strcmp(wanted, found);
}

static bool patterns_match(const struct script *script, const struct rule *rule, const struct asking *asking)
{
	size_t i;

	for (i = 0; i < PATTERNS; i++) {
		const char *text = text_of(asking, i);

		if (!rule->codes[i])
			continue;
		if (!text || pcre2_match(rule->codes[i], (PCRE2_SPTR)text, strlen(text), 0, PCRE2_NO_UTF_CHECK,
				 rule->groups[i], script->limits) < 0)
			return false;
	}
	return true;
}

static bool matches(const struct script *script, const struct rule *rule, const struct asking *asking)
{
	const struct asked *asked = asking->asked;
	const struct spec_script_rule *spec = rule->spec;

	return says(spec->match.provider, asked->provider) && says(spec->match.model, asked->model) &&
	       says(spec->match.path, asked->wire->path) && says(spec->match.role, asked->role) &&
	       says(spec->match.task, asked->task) &&
	       (!spec->match.step || (int64_t)spec->match.step == asked_step(asked)) &&
	       (!spec->match.nth || spec->match.nth == asking->nth) &&
	       (!spec->match.contains || (asking->texts.last && strstr(asking->texts.last, spec->match.contains))) &&
	       patterns_match(script, rule, asking);
}

/* ---- filling in ---- */

/* A group's text, in a buffer of the request's: one variable is looked up after the other is used. */
static const char *group_text(struct asking *asking, size_t pattern, uint32_t number)
{
	PCRE2_SIZE size = sizeof asking->group[pattern];

	if (pcre2_substring_copy_bynumber(
		asking->rule->groups[pattern], number, (PCRE2_UCHAR *)asking->group[pattern], &size) != 0)
		return ""; /* it took no part in the match, or is longer than any variable should be */
	return asking->group[pattern];
}

static const char *lookup(void *arg, const char *name)
{
	struct asking *asking = arg;
	const struct asked *asked = asking->asked;
	const struct {
		const char *name, *value;
	} always[] = {{"provider", asked->provider}, {"model", asked->model}, {"task", asked->task},
	    {"role", asked->role}, {"step", asking->step}, {"nth", asking->nth_text}};
	size_t i;

	for (i = 0; i < sizeof always / sizeof always[0]; i++)
		if (!strcmp(always[i].name, name))
			return always[i].value;
	for (i = 0; i < PATTERNS; i++) {
		const pcre2_code *code = asking->rule->codes[i];
		int number = code && (*name < '0' || *name > '9')
				 ? pcre2_substring_number_from_name(code, (PCRE2_SPTR)name)
				 : -1;

		if (number > 0)
			return group_text(asking, i, (uint32_t)number);
		if (code && *name >= '0' && *name <= '9')
			return group_text(asking, i, (uint32_t)strtoul(name, NULL, 10));
	}
	return ""; /* ${0} of a rule without patterns */
}

/* Free the result; NULL: no memory, or longer than an answer may be. */
static char *fill(const char *text, struct asking *asking)
{
	struct error err;
	char *filled = NULL;

	return text && spec_expand(&filled, text, lookup, asking, &err) == 0 ? filled : NULL;
}

/* A copy of arguments with their texts filled in. */
static json_t *fill_json(json_t *value, struct asking *asking)
{
	const char *key;
	json_t *item, *out;
	char *text;
	size_t i;

	if (json_is_string(value)) {
		text = fill(json_string_value(value), asking);
		out = json_string(text ? text : "");
		free(text);
		return out;
	}
	if (json_is_array(value)) {
		out = json_array();
		json_array_foreach (value, i, item)
			json_array_append_new(out, fill_json(item, asking));
		return out;
	}
	if (!json_is_object(value))
		return json_incref(value);
	out = json_object();
	json_object_foreach (value, key, item)
		json_object_set_new(out, key, fill_json(item, asking));
	return out;
}

/* ---- answering ---- */

static enum finish finish_of(const char *name)
{
	return !name                             ? 0
	       : !strcmp(name, "tool_calls")     ? FINISH_TOOLS
	       : !strcmp(name, "length")         ? FINISH_LENGTH
	       : !strcmp(name, "content_filter") ? FINISH_FILTER
						 : FINISH_STOP;
}

static void complete(struct asking *asking, struct completion *completion)
{
	const struct spec_script_rule *spec = asking->rule->spec;
	size_t i;

	completion->text = fill(spec->reply.content, asking);
	for (i = 0; i < spec->reply.call_count; i++) {
		json_t *arguments = fill_json(asking->rule->arguments[i], asking);
		char *text = arguments ? json_dumps(arguments, JSON_COMPACT) : NULL;

		completion_call(completion, spec->reply.calls[i].name, text ? text : "{}");
		free(text);
		json_decref(arguments);
	}
	completion->finish = finish_of(spec->reply.finish);
	completion_count(completion, asking->asked);
	if (spec->reply.counted)
		return;
	completion->input = (int64_t)spec->reply.input;
	completion->output = (int64_t)spec->reply.output;
	completion->total = completion->tokens = completion->input + completion->output;
}

static struct reply refuse(struct asking *asking, const char *id)
{
	const struct spec_script_rule *spec = asking->rule->spec;
	const enum family family = asking->asked->wire->family;
	char *text = fill(spec->reply.error, asking);
	struct reply reply = text ? error_refuse(family, (int)spec->reply.status, NULL, id, "%s", text)
				  : error_reply(family, (int)spec->reply.status, -1, asking->asked->model, id);

	free(text);
	return reply;
}

static struct reply answer(
    struct script *script, uint64_t seed, struct asking *asking, const char *id, struct completion *ret_completion)
{
	size_t i;

	for (i = 0; i < script->spec->count; i++) {
		if (!matches(script, &script->rules[i], asking))
			continue;
		asking->rule = &script->rules[i];
		if (asking->rule->spec->reply.status)
			return refuse(asking, id);
		complete(asking, ret_completion);
		return (struct reply){0};
	}
	plan_complete(seed, asking->asked, ret_completion);
	return (struct reply){0};
}

struct reply script_reply(struct script *script, uint64_t seed, const struct asked *asked, const char *id, bool counts,
    struct completion *ret_completion)
{
	struct asking asking = {.asked = asked, .nth = 1 + tally_of(script->tally, asked->task)};
	struct reply reply;

	snprintf(asking.step, sizeof asking.step, "%" PRId64, asked_step(asked));
	snprintf(asking.nth_text, sizeof asking.nth_text, "%" PRIu64, asking.nth);
	asked->wire->texts(asked, &asking.texts);
	reply = answer(script, seed, &asking, id, ret_completion);
	texts_free(&asking.texts);
	if (counts)
		tally_add(script->tally, asked->task);
	return reply;
}
