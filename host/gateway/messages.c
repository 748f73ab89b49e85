/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Anthropic's messages: POST /v1/messages, and /v1/messages/count_tokens. Facts from Anthropic's documentation, pages
 * "Messages", "Streaming Messages", "Tool use" and "Token counting":
 *  - a stream is of named events: message_start, for each block content_block_start, content_block_delta ...,
 *    content_block_stop, then message_delta (stop_reason, and the usage of the output), message_stop; ping anywhere;
 *  - message_start has the message with no content, and the usage of the input;
 *  - a tool_use block starts with an empty input; its deltas are of type input_json_delta, pieces of JSON;
 *  - model, max_tokens and messages are required.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "gateway/reply.h"
#include "gateway/sse.h"

static int read_count(struct asked *asked, struct error *err)
{
	const json_t *messages = json_object_get(asked->body, "messages"), *message;
	size_t i;

	if (asked_read(asked, "model: Field required", err) < 0)
		return -1;
	if (!json_is_array(messages))
		return error_set(err, EINVAL, "messages: Field required");
	if (!json_array_size(messages))
		return error_set(err, EINVAL, "messages: at least one message is required");
	json_array_foreach (messages, i, message) {
		if (!message_by(message, "user") && !message_by(message, "assistant"))
			return error_set(err, EINVAL, "messages.%zu.role: Input should be 'user' or 'assistant'", i);
		asked->turn += message_by(message, "assistant");
	}
	return 0;
}

static int read_messages(struct asked *asked, struct error *err)
{
	const json_t *max = json_object_get(asked->body, "max_tokens");

	if (read_count(asked, err) < 0)
		return -1;
	if (!max)
		return error_set(err, EINVAL, "max_tokens: Field required");
	if (!json_is_integer(max) || json_integer_value(max) < 1)
		return error_set(err, EINVAL, "max_tokens: Input should be greater than or equal to 1");
	asked->stream = json_is_true(json_object_get(asked->body, "stream"));
	return 0;
}

static void texts(const struct asked *asked, struct texts *ret_texts)
{
	const json_t *messages = json_object_get(asked->body, "messages"), *message;
	size_t i;

	texts_add(&ret_texts->system, json_object_get(asked->body, "system"));
	json_array_foreach (messages, i, message) {
		const json_t *content = json_object_get(message, "content"), *part;
		bool spoken = !json_is_array(content);
		size_t j;

		/* a message that has nothing but results of tools is not the user's words */
		json_array_foreach (content, j, part)
			spoken = spoken || json_object_get(part, "text");
		if (message_by(message, "user") && spoken)
			texts_set(&ret_texts->user, content);
		texts_set(&ret_texts->last, content);
	}
}

static const char *stop_reason(enum finish finish)
{
	return finish == FINISH_TOOLS    ? "tool_use"
	       : finish == FINISH_LENGTH ? "max_tokens"
	       : finish == FINISH_FILTER ? "refusal"
					 : "end_turn";
}

static json_t *usage_of(const struct completion *completion, int64_t output)
{
	return json_pack("{s:I, s:i, s:i, s:I, s:s}", "input_tokens", (json_int_t)completion->input,
	    "cache_creation_input_tokens", 0, "cache_read_input_tokens", 0, "output_tokens", (json_int_t)output,
	    "service_tier", "standard");
}

/* Takes `content` and `usage`. */
static json_t *message_of(const struct asked *asked, const char *id, json_t *content, const char *reason, json_t *usage)
{
	return json_pack("{s:s+, s:s, s:s, s:s, s:o, s:s?, s:n, s:o}", "id", "msg_", id, "type", "message", "role",
	    "assistant", "model", asked->model, "content", content, "stop_reason", reason, "stop_sequence", "usage",
	    usage);
}

static json_t *tool_use(const char *id, size_t i, const char *name, json_t *input)
{
	char call_id[ASKED_ID_SIZE + 32];

	snprintf(call_id, sizeof call_id, "toolu_%s_%zu", id, i);
	return json_pack("{s:s, s:s, s:s, s:o}", "type", "tool_use", "id", call_id, "name", name, "input", input);
}

/* ---- as a stream ---- */

static void block_start(struct sse *sse, size_t index, json_t *block)
{
	sse_event(sse, "content_block_start",
	    json_pack("{s:s, s:i, s:o}", "type", "content_block_start", "index", (int)index, "content_block", block));
	if (!index)
		sse_event(sse, "ping", json_pack("{s:s}", "type", "ping"));
}

static void block_pieces(struct sse *sse, size_t index, const char *type, const char *member, const char *text)
{
	size_t size;

	for (; (size = sse_piece(text)); text += size)
		sse_event(sse, "content_block_delta",
		    json_pack("{s:s, s:i, s:{s:s, s:s%}}", "type", "content_block_delta", "index", (int)index, "delta",
			"type", type, member, text, size));
	sse_event(
	    sse, "content_block_stop", json_pack("{s:s, s:i}", "type", "content_block_stop", "index", (int)index));
}

static struct reply stream(const struct asked *asked, const struct completion *completion, const char *id)
{
	struct sse sse = {0};
	const char *name, *arguments;
	size_t index = 0, i;

	sse_event(&sse, "message_start",
	    json_pack("{s:s, s:o}", "type", "message_start", "message",
		message_of(asked, id, json_array(), NULL, usage_of(completion, 1))));
	if (completion->text) {
		block_start(&sse, index, json_pack("{s:s, s:s}", "type", "text", "text", ""));
		block_pieces(&sse, index++, "text_delta", "text", completion->text);
	}
	for (i = 0; (name = completion_name(completion, i, &arguments)); i++) {
		block_start(&sse, index, tool_use(id, i, name, json_object()));
		block_pieces(&sse, index++, "input_json_delta", "partial_json", arguments);
	}
	sse_event(&sse, "message_delta",
	    json_pack("{s:s, s:{s:s, s:n}, s:{s:I}}", "type", "message_delta", "delta", "stop_reason",
		stop_reason(completion->finish), "stop_sequence", "usage", "output_tokens",
		(json_int_t)completion->output));
	sse_event(&sse, "message_stop", json_pack("{s:s}", "type", "message_stop"));
	return sse_reply(&sse, completion->tokens);
}

/* ---- in one piece ---- */

/* Anthropic's input is an object, whatever the model has said: what is no JSON becomes a text in it. */
static json_t *input_of(const char *arguments)
{
	json_t *input = json_loads(arguments, 0, NULL);

	if (json_is_object(input))
		return input;
	json_decref(input);
	return json_pack("{s:s}", "INVALID_JSON", arguments);
}

static struct reply encode(uint64_t seed, const struct asked *asked, const struct completion *completion)
{
	const char *name, *arguments;
	char id[ASKED_ID_SIZE];
	json_t *content;
	size_t i;

	asked_id(seed, asked, id);
	if (asked->stream)
		return stream(asked, completion, id);
	content = json_array();
	if (completion->text)
		json_array_append_new(content, json_pack("{s:s, s:s}", "type", "text", "text", completion->text));
	for (i = 0; (name = completion_name(completion, i, &arguments)); i++)
		json_array_append_new(content, tool_use(id, i, name, input_of(arguments)));
	return reply_json(200,
	    message_of(asked, id, content, stop_reason(completion->finish), usage_of(completion, completion->output)),
	    completion->tokens);
}

static struct reply encode_count(uint64_t seed, const struct asked *asked, const struct completion *completion)
{
	(void)seed;
	(void)completion;
	return reply_json(200, json_pack("{s:I}", "input_tokens", (json_int_t)(asked->size + 3) / 4), 0);
}

const struct wire wire_messages = {.path = "/v1/messages",
    .family = FAMILY_ANTHROPIC,
    .talks = true,
    .read = read_messages,
    .texts = texts,
    .encode = encode};

const struct wire wire_count_tokens = {
    .path = "/v1/messages/count_tokens", .family = FAMILY_ANTHROPIC, .read = read_count, .encode = encode_count};
