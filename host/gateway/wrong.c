/* SPDX-License-Identifier: Apache-2.0 */
/* Answers that are well-formed and wrong: what the actions of fault.h make of them. */
#include <stdlib.h>
#include <string.h>

#include "gateway/internal.h"
#include "gateway/sse.h"

static void content(const char *text, const struct asked *asked, struct completion *completion)
{
	completion_free(completion);
	completion->text = strdup(*text ? text : "I'm sorry, but I can't help with that.");
	completion_count(completion, asked);
}

/* A model that wants to call a tool: what it has said so far, or one call of the first that it was offered. */
static void want_call(const struct asked *asked, struct completion *completion)
{
	const char *offered = asked_tool(asked, 0);

	if (!json_array_size(completion->calls))
		completion_call(completion, offered ? offered : "read_file", "{\"path\":\"README.md\"}");
	completion->finish = FINISH_TOOLS;
}

static void rename_calls(const char *name, json_t *calls)
{
	json_t *call;
	size_t i;

	json_array_foreach (calls, i, call)
		json_object_set_new(call, "name", json_string(name));
}

/* Each breaks off in the middle, between two characters, and so is no JSON any more. */
static void cut_arguments(json_t *calls)
{
	json_t *call;
	size_t i;

	json_array_foreach (calls, i, call) {
		const char *text = json_string_value(json_object_get(call, "arguments"));
		size_t size = text ? strlen(text) / 2 : 0;

		while (size > 1 && ((unsigned char)text[size] & 0xc0) == 0x80)
			size--;
		json_object_set_new(call, "arguments", json_stringn(text ? text : "", size));
	}
}

void wrong_completion(uint32_t action, const char *text, const struct asked *asked, struct completion *completion)
{
	switch (action) {
	case TRITONE_GATEWAY_WRONG_CONTENT:
		content(text, asked, completion);
		break;
	case TRITONE_GATEWAY_WRONG_USAGE: /* what was taken is still counted in `tokens` */
		completion->input = 0;
		completion->output = 1000000000;
		completion->total = 1;
		break;
	case TRITONE_GATEWAY_WRONG_TOOL:
		want_call(asked, completion);
		rename_calls(*text ? text : "no_such_tool", completion->calls);
		break;
	case TRITONE_GATEWAY_WRONG_ARGUMENTS:
		want_call(asked, completion);
		cut_arguments(completion->calls);
		break;
	default:
		break;
	}
}

void wrong_stream(uint32_t action, const struct wire *wire, struct reply *reply)
{
	struct sse last = {0};
	const char *name;
	json_t *data;
	size_t half = reply->ends[reply->end_count / 2];
	char *grown;

	if (action == TRITONE_GATEWAY_BROKEN_STREAM) {
		data = error_event(wire, &name);
		sse_event(&last, name, data);
	} else if (action == TRITONE_GATEWAY_MALFORMED) {
		sse_text(&last, "{\"id\":\"");
	} else {
		return;
	}
	grown = last.failed ? NULL : realloc(reply->body, half + last.size + 1);
	if (grown) {
		memcpy(grown + half, last.bytes, last.size + 1);
		reply->body = grown;
		reply->size = half + last.size;
		reply->tokens = 0;
		reply->end_count = reply->end_count / 2 + 1;
		reply->ends[reply->end_count++] = reply->size; /* every stream has at least four events */
	} else {
		reply_free(reply);
	}
	free(last.bytes);
	free(last.ends);
}
