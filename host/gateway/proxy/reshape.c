/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wrong answers where the model is a real one: what the actions of fault.h make of what it said. What it is said in
 * (ids, headers) stays its own where only numbers change, and is the gateway's where it is made to say something else.
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/internal.h"
#include "gateway/sse.h"

/* ---- what it said ---- */

static void add_text(struct completion *completion, const json_t *more)
{
	const char *words = json_string_value(more);
	size_t had = completion->text ? strlen(completion->text) : 0;
	char *grown = words ? realloc(completion->text, had + strlen(words) + 1) : NULL;

	if (!grown)
		return;
	memcpy(grown + had, words, strlen(words) + 1);
	completion->text = grown;
}

/* To the i-th call, or the last; one that is not there begins. */
static void add_call(struct completion *completion, size_t i, const json_t *name, const json_t *arguments)
{
	const char *more = json_string_value(arguments);
	json_t *call;

	if (i >= json_array_size(completion->calls)) {
		completion_call(completion, "", "");
		i = json_array_size(completion->calls) - 1;
	}
	call = json_array_get(completion->calls, i);
	if (json_string_length(name))
		json_object_set_new(call, "name", json_string(json_string_value(name)));
	if (more)
		json_object_set_new(call, "arguments",
		    json_sprintf("%s%s", json_string_value(json_object_get(call, "arguments")), more));
}

static void add_input(struct completion *completion, const json_t *name, const json_t *input)
{
	char *text = json_dumps(input, JSON_COMPACT);
	json_t *arguments = json_string(text ? text : "{}");

	add_call(completion, SIZE_MAX, name, arguments);
	json_decref(arguments);
	free(text);
}

/* A message of a chat, or a piece of one. */
static void hear_chat(struct completion *completion, const json_t *answer)
{
	const json_t *choice = json_array_get(json_object_get(answer, "choices"), 0), *call;
	const json_t *message = json_object_get(choice, "message");
	size_t i;

	if (!message)
		message = json_object_get(choice, "delta");
	add_text(completion, json_object_get(message, "content"));
	json_array_foreach (json_object_get(message, "tool_calls"), i, call) {
		const json_t *index = json_object_get(call, "index"), *function = json_object_get(call, "function");

		add_call(completion, index ? (size_t)json_integer_value(index) : i, json_object_get(function, "name"),
		    json_object_get(function, "arguments"));
	}
}

static bool is(const json_t *object, const char *type)
{
	const char *text = json_string_value(json_object_get(object, "type"));

	return text && !strcmp(text, type);
}

/* A message of Anthropic's, or an event of one; blocks come one after the other. */
static void hear_message(struct completion *completion, const json_t *answer)
{
	const json_t *block = json_object_get(answer, "content_block"), *delta = json_object_get(answer, "delta");
	size_t i;

	if (is(block, "tool_use"))
		add_call(completion, SIZE_MAX, json_object_get(block, "name"), NULL);
	if (is(delta, "text_delta"))
		add_text(completion, json_object_get(delta, "text"));
	if (is(delta, "input_json_delta") && json_array_size(completion->calls))
		add_call(
		    completion, json_array_size(completion->calls) - 1, NULL, json_object_get(delta, "partial_json"));
	json_array_foreach (json_object_get(answer, "content"), i, block) {
		if (is(block, "text"))
			add_text(completion, json_object_get(block, "text"));
		else if (is(block, "tool_use"))
			add_input(completion, json_object_get(block, "name"), json_object_get(block, "input"));
	}
}

/* A response, or the event that has all of it at the end. */
static void hear_response(struct completion *completion, const json_t *answer)
{
	const json_t *response = json_object_get(answer, "response"), *item, *part;
	size_t i, j;

	json_array_foreach (json_object_get(response ? response : answer, "output"), i, item) {
		json_array_foreach (json_object_get(item, "content"), j, part)
			add_text(completion, json_object_get(part, "text"));
		if (is(item, "function_call"))
			add_call(
			    completion, SIZE_MAX, json_object_get(item, "name"), json_object_get(item, "arguments"));
	}
}

/* ---- its events ---- */

/* The JSON of an event, or of a body that is none; NULL: it has none. *ret_at: where it is, up to *ret_end. */
static json_t *json_in(const char *bytes, size_t size, bool event, size_t *ret_at, size_t *ret_end)
{
	static const char data[] = "\ndata:";
	const size_t length = sizeof data - 1;
	const char *at = bytes, *end;

	if (event && (size < length - 1 || memcmp(bytes, data + 1, length - 1) != 0)) {
		at = memmem(bytes, size, data, length);
		if (!at)
			return NULL;
		at++;
	}
	if (event)
		at += length - 1;
	end = event ? memchr(at, '\n', size - (size_t)(at - bytes)) : NULL;
	while (end && at < end && *at == ' ') /* what is around it stays */
		at++;
	while (end && end > at && end[-1] == '\r')
		end--;
	*ret_at = (size_t)(at - bytes);
	*ret_end = end ? (size_t)(end - bytes) : size;
	return json_loadb(at, *ret_end - *ret_at, JSON_ALLOW_NUL, NULL);
}

static void hear(const struct wire *wire, const struct reply *reply, struct completion *completion)
{
	size_t i, from = 0, at, end;
	json_t *said;

	for (i = 0; i < (reply->ends ? reply->end_count : 1); i++) {
		const size_t to = reply->ends ? reply->ends[i] : reply->size;

		said = json_in(reply->body + from, to - from, reply->ends != NULL, &at, &end);
		if (wire == &wire_chat)
			hear_chat(completion, said);
		else if (wire == &wire_messages)
			hear_message(completion, said);
		else
			hear_response(completion, said);
		json_decref(said);
		from = to;
	}
}

/* ---- wrong numbers ---- */

static void set(json_t *usage, const char *name, json_int_t value)
{
	if (json_object_get(usage, name))
		json_object_set_new(usage, name, json_integer(value));
}

static bool cannot_be(json_t *answer)
{
	static const char *const within[] = {"", "message", "response"};
	bool any = false;
	size_t i;

	for (i = 0; i < sizeof within / sizeof within[0]; i++) {
		json_t *usage = json_object_get(*within[i] ? json_object_get(answer, within[i]) : answer, "usage");

		set(usage, "prompt_tokens", 0);
		set(usage, "input_tokens", 0);
		set(usage, "completion_tokens", 1000000000);
		set(usage, "output_tokens", 1000000000);
		set(usage, "total_tokens", 1);
		any = any || json_is_object(usage);
	}
	return any;
}

/* Puts `text` where the bytes from `at` to `end` are; events behind them move. */
static void replace(struct reply *reply, size_t at, size_t end, const char *text)
{
	const size_t size = strlen(text), rest = reply->size - end;
	char *grown = realloc(reply->body, at + size + rest + 1);
	size_t i;

	if (!grown)
		return;
	reply->body = grown;
	memmove(grown + at + size, grown + end, rest);
	memcpy(grown + at, text, size);
	reply->size = at + size + rest;
	grown[reply->size] = '\0';
	for (i = 0; reply->ends && i < reply->end_count; i++)
		if (reply->ends[i] >= end)
			reply->ends[i] = reply->ends[i] - end + at + size;
}

static void wrong_numbers(struct reply *reply)
{
	size_t i, from = 0, at, end;

	for (i = 0; i < (reply->ends ? reply->end_count : 1); i++) {
		const size_t to = reply->ends ? reply->ends[i] : reply->size;
		json_t *said = json_in(reply->body + from, to - from, reply->ends != NULL, &at, &end);
		char *text = cannot_be(said) ? json_dumps(said, JSON_COMPACT) : NULL;

		if (text)
			replace(reply, from + at, from + end, text);
		free(text);
		json_decref(said);
		from = reply->ends ? reply->ends[i] : reply->size;
	}
}

/* ---- */

void reshape(uint32_t action, const char *text, uint64_t seed, const struct asked *asked, struct reply *reply)
{
	struct completion completion = {0};
	struct reply fresh;

	switch (action) {
	case TRITONE_GATEWAY_WRONG_USAGE:
		wrong_numbers(reply);
		return;
	case TRITONE_GATEWAY_WRONG_CONTENT:
	case TRITONE_GATEWAY_WRONG_TOOL:
	case TRITONE_GATEWAY_WRONG_ARGUMENTS:
		hear(asked->wire, reply, &completion);
		completion_count(&completion, asked);
		wrong_completion(action, text, asked, &completion);
		fresh = asked->wire->encode(seed, asked, &completion);
		completion_free(&completion);
		fresh.tokens = reply->tokens;
		reply_free(reply);
		*reply = fresh;
		return;
	default:
		if (reply->ends)
			wrong_stream(action, asked->wire, reply);
		return;
	}
}
