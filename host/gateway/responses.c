/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenAI's responses: POST /v1/responses. Facts from OpenAI's API reference, pages "Create a model response", "The
 * response object" and "Streaming events":
 *  - the input is a text or a list of items; an item without a type is a message; function_call and
 *    function_call_output are the model's calls and their results;
 *  - a stream is of named events, each with a sequence_number from 0, and ends with response.completed (or
 *    response.incomplete); there is no [DONE];
 *  - usage counts input_tokens and output_tokens.
 * Nothing is stored here: the id of a response carries its turn, so that previous_response_id continues from it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/reply.h"
#include "gateway/sse.h"

#define ID_SIZE  48
#define TURN_MAX 0xffff

/* Whether an item is the assistant's: a message of its role, or a call. */
static bool by_assistant(const json_t *item)
{
	const char *type = json_string_value(json_object_get(item, "type"));

	return (type && (!strcmp(type, "function_call") || !strcmp(type, "reasoning"))) ||
	       message_by(item, "assistant");
}

/* The turn that is in an id of ours: "resp_", 16 digits, 4 of the turn. 0: it is somebody else's. */
static int64_t turn_of(const char *id)
{
	char *end;
	long turn;

	if (!id || strncmp(id, "resp_", 5) != 0 || strlen(id) != 5 + 16 + 4)
		return 0;
	turn = strtol(id + 5 + 16, &end, 16);
	return *end || turn < 0 ? 0 : turn;
}

static int read_responses(struct asked *asked, struct error *err)
{
	const json_t *input = json_object_get(asked->body, "input"), *item;
	bool assistant = false;
	size_t i;

	if (asked_read(asked, "Missing required parameter: 'model'.", err) < 0)
		return -1;
	if (!json_is_string(input) && !json_array_size(input))
		return error_set(err, EINVAL, "Missing required parameter: 'input'.");
	asked->turn += turn_of(json_string_value(json_object_get(asked->body, "previous_response_id")));
	/* Several items of the assistant's in a row are one turn. */
	json_array_foreach (input, i, item) {
		if (by_assistant(item) && !assistant)
			asked->turn++;
		assistant = by_assistant(item);
	}
	asked->stream = json_is_true(json_object_get(asked->body, "stream"));
	return 0;
}

static void texts(const struct asked *asked, struct texts *ret_texts)
{
	const json_t *input = json_object_get(asked->body, "input"), *item;
	size_t i;

	texts_add(&ret_texts->system, json_object_get(asked->body, "instructions"));
	texts_set(&ret_texts->user, json_is_string(input) ? input : NULL);
	texts_set(&ret_texts->last, json_is_string(input) ? input : NULL);
	json_array_foreach (input, i, item) {
		const json_t *content = json_object_get(item, "content");

		texts_hear(ret_texts, item, content ? content : json_object_get(item, "output"));
	}
}

/* ---- the items ---- */

static json_t *message_item(const char *id, const char *status, json_t *content)
{
	return json_pack("{s:s, s:s+, s:s, s:s, s:o}", "type", "message", "id", "msg_", id, "status", status, "role",
	    "assistant", "content", content);
}

static json_t *text_part(const char *text)
{
	return json_pack("{s:s, s:s, s:[], s:[]}", "type", "output_text", "text", text, "annotations", "logprobs");
}

static json_t *call_item(const char *id, size_t i, const char *status, const char *name, const char *arguments)
{
	char item_id[ID_SIZE], call_id[ID_SIZE];

	snprintf(item_id, sizeof item_id, "fc_%s_%zu", id, i);
	snprintf(call_id, sizeof call_id, "call_%s_%zu", id, i);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "type", "function_call", "id", item_id, "status", status,
	    "call_id", call_id, "name", name, "arguments", arguments);
}

static json_t *output_of(const struct completion *completion, const char *id)
{
	json_t *output = json_array();
	const char *name, *arguments;
	size_t i;

	if (completion->text)
		json_array_append_new(
		    output, message_item(id, "completed", json_pack("[o]", text_part(completion->text))));
	for (i = 0; (name = completion_name(completion, i, &arguments)); i++)
		json_array_append_new(output, call_item(id, i, "completed", name, arguments));
	return output;
}

static const char *incomplete(const struct completion *completion)
{
	return completion->finish == FINISH_LENGTH   ? "max_output_tokens"
	       : completion->finish == FINISH_FILTER ? "content_filter"
						     : NULL;
}

/* The response as it is before (`output` NULL) or after the model has spoken. */
static json_t *response_of(
    const struct asked *asked, const char *id, const struct completion *completion, json_t *output)
{
	json_t *tools = json_object_get(asked->body, "tools"), *given;
	static const char *const echoed[] = {
	    "instructions", "previous_response_id", "metadata", "temperature", "top_p", "max_output_tokens"};
	const char *why = output ? incomplete(completion) : NULL;
	int64_t turn = asked_step(asked);
	char response_id[ID_SIZE];
	json_t *object;
	size_t i;

	snprintf(response_id, sizeof response_id, "resp_%.16s%04x", id, (unsigned)(turn > TURN_MAX ? TURN_MAX : turn));
	object = json_pack("{s:s, s:s, s:I, s:s, s:n, s:o, s:s, s:o, s:b, s:o, s:b}", "id", response_id, "object",
	    "response", "created_at", (json_int_t)(CREATED + turn), "status",
	    why      ? "incomplete"
	    : output ? "completed"
		     : "in_progress",
	    "error", "incomplete_details", why ? json_pack("{s:s}", "reason", why) : json_null(), "model", asked->model,
	    "output", output ? output : json_array(), "parallel_tool_calls", 1, "tools",
	    json_is_array(tools) ? json_incref(tools) : json_array(), "store", 0);
	for (i = 0; i < sizeof echoed / sizeof echoed[0]; i++) {
		given = json_object_get(asked->body, echoed[i]);
		json_object_set_new(object, echoed[i], given ? json_incref(given) : json_null());
	}
	given = json_object_get(asked->body, "tool_choice");
	json_object_set_new(object, "tool_choice", given ? json_incref(given) : json_string("auto"));
	json_object_set_new(object, "usage",
	    output ? json_pack("{s:I, s:{s:i}, s:I, s:{s:i}, s:I}", "input_tokens", (json_int_t)completion->input,
			 "input_tokens_details", "cached_tokens", 0, "output_tokens", (json_int_t)completion->output,
			 "output_tokens_details", "reasoning_tokens", 0, "total_tokens", (json_int_t)completion->total)
		   : json_null());
	return object;
}

/* ---- as a stream ---- */

struct events {
	struct sse sse;
	int number;
};

/* Takes `data`, and adds type and number to it. */
static void event(struct events *events, const char *type, json_t *data)
{
	json_object_set_new(data, "type", json_string(type));
	json_object_set_new(data, "sequence_number", json_integer(events->number++));
	sse_event(&events->sse, type, data);
}

static void stream_text(struct events *events, const char *id, const char *text)
{
	json_t *place = json_pack("{s:s+, s:i, s:i}", "item_id", "msg_", id, "output_index", 0, "content_index", 0);
	const char *rest = text;
	json_t *data;
	size_t size;

	event(events, "response.output_item.added",
	    json_pack("{s:i, s:o}", "output_index", 0, "item", message_item(id, "in_progress", json_array())));
	data = json_copy(place);
	json_object_set_new(data, "part", text_part(""));
	event(events, "response.content_part.added", data);
	for (; (size = sse_piece(rest)); rest += size) {
		data = json_copy(place);
		json_object_set_new(data, "delta", json_stringn(rest, size));
		json_object_set_new(data, "logprobs", json_array());
		event(events, "response.output_text.delta", data);
	}
	data = json_copy(place);
	json_object_set_new(data, "text", json_string(text));
	json_object_set_new(data, "logprobs", json_array());
	event(events, "response.output_text.done", data);
	data = json_copy(place);
	json_object_set_new(data, "part", text_part(text));
	event(events, "response.content_part.done", data);
	event(events, "response.output_item.done",
	    json_pack("{s:i, s:o}", "output_index", 0, "item",
		message_item(id, "completed", json_pack("[o]", text_part(text)))));
	json_decref(place);
}

static void stream_call(
    struct events *events, const char *id, size_t i, int index, const char *name, const char *arguments)
{
	const char *rest = arguments;
	char item_id[ID_SIZE];
	size_t size;

	snprintf(item_id, sizeof item_id, "fc_%s_%zu", id, i);
	event(events, "response.output_item.added",
	    json_pack("{s:i, s:o}", "output_index", index, "item", call_item(id, i, "in_progress", name, "")));
	for (; (size = sse_piece(rest)); rest += size)
		event(events, "response.function_call_arguments.delta",
		    json_pack("{s:s, s:i, s:s%}", "item_id", item_id, "output_index", index, "delta", rest, size));
	event(events, "response.function_call_arguments.done",
	    json_pack("{s:s, s:i, s:s, s:s}", "item_id", item_id, "output_index", index, "name", name, "arguments",
		arguments));
	event(events, "response.output_item.done",
	    json_pack("{s:i, s:o}", "output_index", index, "item", call_item(id, i, "completed", name, arguments)));
}

static struct reply stream(const struct asked *asked, const struct completion *completion, const char *id)
{
	struct events events = {0};
	const char *name, *arguments;
	int index = 0;
	size_t i;

	event(&events, "response.created", json_pack("{s:o}", "response", response_of(asked, id, completion, NULL)));
	event(
	    &events, "response.in_progress", json_pack("{s:o}", "response", response_of(asked, id, completion, NULL)));
	if (completion->text) {
		stream_text(&events, id, completion->text);
		index++;
	}
	for (i = 0; (name = completion_name(completion, i, &arguments)); i++)
		stream_call(&events, id, i, index++, name, arguments);
	event(&events, incomplete(completion) ? "response.incomplete" : "response.completed",
	    json_pack("{s:o}", "response", response_of(asked, id, completion, output_of(completion, id))));
	return sse_reply(&events.sse, completion->tokens);
}

static struct reply encode(uint64_t seed, const struct asked *asked, const struct completion *completion)
{
	char id[ASKED_ID_SIZE];

	asked_id(seed, asked, id);
	if (asked->stream)
		return stream(asked, completion, id);
	return reply_json(200, response_of(asked, id, completion, output_of(completion, id)), completion->tokens);
}

const struct wire wire_responses = {.path = "/v1/responses",
    .family = FAMILY_OPENAI,
    .talks = true,
    .read = read_responses,
    .texts = texts,
    .encode = encode};
