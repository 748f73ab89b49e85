/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenAI's chat completions: POST /v1/chat/completions. Facts from OpenAI's API reference, pages "Create chat
 * completion", "The chat completion object" and "The chat completion chunk object":
 *  - a stream is of events without a name, each a chat.completion.chunk, and ends with "data: [DONE]";
 *  - the first delta has the role, the last chunk with a choice an empty delta and the finish_reason;
 *  - with stream_options.include_usage one more chunk has the usage and no choices, and all others a usage of null;
 *  - a tool call begins with a delta of index, id, type and name; its arguments follow in pieces.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "gateway/reply.h"
#include "gateway/sse.h"

static int read_chat(struct asked *asked, struct error *err)
{
	const json_t *messages = json_object_get(asked->body, "messages"), *message;
	size_t i;

	if (asked_read(asked, "you must provide a model parameter", err) < 0)
		return -1;
	if (!json_array_size(messages))
		return error_set(err, EINVAL, "'messages' is a required property: a list of at least one message");
	json_array_foreach (messages, i, message)
		asked->turn += message_by(message, "assistant");
	asked->stream = json_is_true(json_object_get(asked->body, "stream"));
	asked->stream_usage =
	    json_is_true(json_object_get(json_object_get(asked->body, "stream_options"), "include_usage"));
	return 0;
}

static void texts(const struct asked *asked, struct texts *ret_texts)
{
	const json_t *messages = json_object_get(asked->body, "messages"), *message;
	size_t i;

	json_array_foreach (messages, i, message)
		texts_hear(ret_texts, message, json_object_get(message, "content"));
}

static const char *finish_name(enum finish finish)
{
	return finish == FINISH_TOOLS    ? "tool_calls"
	       : finish == FINISH_LENGTH ? "length"
	       : finish == FINISH_FILTER ? "content_filter"
					 : "stop";
}

static json_t *usage_of(const struct completion *completion)
{
	return json_pack("{s:I, s:I, s:I, s:{s:i, s:i}, s:{s:i, s:i}}", "prompt_tokens", (json_int_t)completion->input,
	    "completion_tokens", (json_int_t)completion->output, "total_tokens", (json_int_t)completion->total,
	    "prompt_tokens_details", "cached_tokens", 0, "audio_tokens", 0, "completion_tokens_details",
	    "reasoning_tokens", 0, "audio_tokens", 0);
}

/* ---- in one piece ---- */

static json_t *message_of(const struct completion *completion, const char *id)
{
	json_t *message = json_pack("{s:s, s:s?, s:n}", "role", "assistant", "content", completion->text, "refusal");
	json_t *calls = json_array();
	const char *name, *arguments;
	char call_id[ASKED_ID_SIZE + 32];
	size_t i;

	for (i = 0; (name = completion_name(completion, i, &arguments)); i++) {
		snprintf(call_id, sizeof call_id, "call_%s_%zu", id, i);
		json_array_append_new(calls, json_pack("{s:s, s:s, s:{s:s, s:s}}", "id", call_id, "type", "function",
						 "function", "name", name, "arguments", arguments));
	}
	if (i)
		json_object_set(message, "tool_calls", calls);
	json_decref(calls);
	return message;
}

static json_t *envelope(uint64_t seed, const struct asked *asked, const char *id, const char *object)
{
	char fingerprint[24];

	snprintf(fingerprint, sizeof fingerprint, "fp_%010" PRIx64, seed & UINT64_C(0xffffffffff));
	return json_pack("{s:s+, s:s, s:I, s:s, s:s}", "id", "chatcmpl-", id, "object", object, "created",
	    (json_int_t)(CREATED + asked_step(asked)), "model", asked->model, "system_fingerprint", fingerprint);
}

/* ---- as a stream ---- */

struct chunks {
	struct sse sse;
	json_t *envelope;
	bool usage;
};

/* Takes `choices` and `usage` (NULL: null, where it is asked for). */
static void chunk(struct chunks *chunks, json_t *choices, json_t *usage)
{
	json_t *object = json_copy(chunks->envelope);

	json_object_set_new(object, "choices", choices);
	if (chunks->usage)
		json_object_set_new(object, "usage", usage ? usage : json_null());
	sse_event(&chunks->sse, NULL, object);
}

static void delta(struct chunks *chunks, json_t *what, const char *finish)
{
	chunk(chunks,
	    json_pack("[{s:i, s:o, s:n, s:s?}]", "index", 0, "delta", what, "logprobs", "finish_reason", finish), NULL);
}

static void stream_calls(struct chunks *chunks, const struct completion *completion, const char *id)
{
	const char *name, *arguments;
	char call_id[ASKED_ID_SIZE + 32];
	size_t i, size;

	for (i = 0; (name = completion_name(completion, i, &arguments)); i++) {
		snprintf(call_id, sizeof call_id, "call_%s_%zu", id, i);
		delta(chunks,
		    json_pack("{s:[{s:i, s:s, s:s, s:{s:s, s:s}}]}", "tool_calls", "index", (int)i, "id", call_id,
			"type", "function", "function", "name", name, "arguments", ""),
		    NULL);
		for (; (size = sse_piece(arguments)); arguments += size)
			delta(chunks,
			    json_pack("{s:[{s:i, s:{s:s%}}]}", "tool_calls", "index", (int)i, "function", "arguments",
				arguments, size),
			    NULL);
	}
}

static struct reply stream(
    uint64_t seed, const struct asked *asked, const struct completion *completion, const char *id)
{
	struct chunks chunks = {
	    .envelope = envelope(seed, asked, id, "chat.completion.chunk"), .usage = asked->stream_usage};
	const char *text = completion->text;
	size_t size;

	delta(
	    &chunks, json_pack("{s:s, s:s?, s:n}", "role", "assistant", "content", text ? "" : NULL, "refusal"), NULL);
	for (; text && (size = sse_piece(text)); text += size)
		delta(&chunks, json_pack("{s:s%}", "content", text, size), NULL);
	stream_calls(&chunks, completion, id);
	delta(&chunks, json_object(), finish_name(completion->finish));
	if (chunks.usage)
		chunk(&chunks, json_array(), usage_of(completion));
	sse_text(&chunks.sse, "[DONE]");
	json_decref(chunks.envelope);
	return sse_reply(&chunks.sse, completion->tokens);
}

static struct reply encode(uint64_t seed, const struct asked *asked, const struct completion *completion)
{
	char id[ASKED_ID_SIZE];
	json_t *object;

	asked_id(seed, asked, id);
	if (asked->stream)
		return stream(seed, asked, completion, id);
	object = envelope(seed, asked, id, "chat.completion");
	json_object_set_new(object, "choices",
	    json_pack("[{s:i, s:o, s:n, s:s}]", "index", 0, "message", message_of(completion, id), "logprobs",
		"finish_reason", finish_name(completion->finish)));
	json_object_set_new(object, "usage", usage_of(completion));
	return reply_json(200, object, completion->tokens);
}

const struct wire wire_chat = {.path = "/v1/chat/completions",
    .family = FAMILY_OPENAI,
    .talks = true,
    .read = read_chat,
    .texts = texts,
    .encode = encode};
