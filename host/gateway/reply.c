/* SPDX-License-Identifier: Apache-2.0 */
/* What the protocols share; see reply.h. */
#include "gateway/reply.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

void reply_free(struct reply *reply)
{
	free(reply->body);
	free(reply->ends);
	*reply = (struct reply){0};
}

struct reply reply_json(int status, json_t *object, int64_t tokens)
{
	struct reply reply = {.status = status, .tokens = tokens};

	if (object)
		reply.body = json_dumps(object, JSON_COMPACT);
	if (reply.body)
		reply.size = strlen(reply.body);
	json_decref(object);
	return reply;
}

const struct wire *wire_of(const char *path)
{
	static const struct wire *const wires[] = {
	    &wire_chat, &wire_responses, &wire_messages, &wire_count_tokens, &wire_embeddings};
	size_t i;

	for (i = 0; i < sizeof wires / sizeof wires[0]; i++)
		if (!strcmp(wires[i]->path, path))
			return wires[i];
	return NULL;
}

/* ---- what was asked ---- */

int64_t asked_step(const struct asked *asked)
{
	return asked->step > 0 ? asked->step : asked->turn;
}

const char *asked_tool(const struct asked *asked, size_t i)
{
	const json_t *tool = json_array_get(json_object_get(asked->body, "tools"), i);
	/* OpenAI's chat completions wrap it, the other APIs do not. */
	const json_t *function = json_object_get(tool, "function");

	return json_string_value(json_object_get(function ? function : tool, "name"));
}

bool asked_offers(const struct asked *asked, const char *tool)
{
	size_t count = json_array_size(json_object_get(asked->body, "tools")), i;

	for (i = 0; i < count; i++) {
		const char *name = asked_tool(asked, i);

		if (name && !strcmp(name, tool))
			return true;
	}
	return false;
}

int asked_read(struct asked *asked, const char *missing, struct error *err)
{
	const char *model = json_string_value(json_object_get(asked->body, "model"));

	if (!model)
		return error_set(err, EINVAL, "%s", missing);
	asked->model = model;
	asked->turn = 1;
	return 0;
}

bool message_by(const json_t *message, const char *role)
{
	const char *name = json_string_value(json_object_get(message, "role"));

	return name && !strcmp(name, role);
}

void asked_id(uint64_t seed, const struct asked *asked, char id[ASKED_ID_SIZE])
{
	uint64_t body = asked->bytes ? XXH3_64bits_withSeed(asked->bytes, asked->size, seed) : 0;
	char text[640];

	snprintf(text, sizeof text, "%.200s/%.200s/%.200s/%" PRId64, asked->provider, asked->model, asked->task,
	    asked_step(asked));
	snprintf(id, ASKED_ID_SIZE, "%016" PRIx64, (uint64_t)XXH3_64bits_withSeed(text, strlen(text), body ^ seed));
}

/* ---- what is said ---- */

void completion_free(struct completion *completion)
{
	free(completion->text);
	json_decref(completion->calls);
	*completion = (struct completion){0};
}

void completion_call(struct completion *completion, const char *name, const char *arguments)
{
	json_t *call = json_pack("{s:s, s:s}", "name", name, "arguments", arguments);

	if (!completion->calls)
		completion->calls = json_array();
	json_array_append_new(completion->calls, call);
}

const char *completion_name(const struct completion *completion, size_t i, const char **ret_arguments)
{
	const json_t *call = json_array_get(completion->calls, i);

	*ret_arguments = json_string_value(json_object_get(call, "arguments"));
	return json_string_value(json_object_get(call, "name"));
}

void completion_count(struct completion *completion, const struct asked *asked)
{
	size_t size = completion->text ? strlen(completion->text) : 0, i;
	const char *name, *arguments;

	for (i = 0; (name = completion_name(completion, i, &arguments)); i++)
		size += strlen(name) + strlen(arguments);
	if (!completion->finish)
		completion->finish = i ? FINISH_TOOLS : FINISH_STOP;
	completion->input = (int64_t)(asked->size + 3) / 4;
	completion->output = (int64_t)(size + 3) / 4;
	completion->total = completion->tokens = completion->input + completion->output;
}

/* ---- the conversation's texts ---- */

void texts_free(struct texts *texts)
{
	free(texts->system);
	free(texts->user);
	free(texts->last);
	*texts = (struct texts){0};
}

static void append(char **text, const char *more)
{
	size_t had = *text ? strlen(*text) : 0, size = strlen(more);
	char *grown = realloc(*text, had + size + 2);

	if (!grown)
		return; /* a pattern will not match then */
	if (had)
		grown[had++] = '\n';
	memcpy(grown + had, more, size + 1);
	*text = grown;
}

void texts_add(char **text, const json_t *content)
{
	const json_t *part;
	size_t i;

	if (json_is_string(content)) {
		append(text, json_string_value(content));
		return;
	}
	json_array_foreach (content, i, part) {
		const char *words = json_string_value(json_object_get(part, "text"));

		/* the content of a tool's result, in a message of Anthropic's */
		if (!words && json_object_get(part, "content"))
			texts_add(text, json_object_get(part, "content"));
		else if (words || json_is_string(part))
			append(text, words ? words : json_string_value(part));
	}
}

void texts_set(char **text, const json_t *content)
{
	char *fresh = NULL;

	texts_add(&fresh, content);
	if (!fresh)
		return;
	free(*text);
	*text = fresh;
}

void texts_hear(struct texts *texts, const json_t *message, const json_t *content)
{
	if (message_by(message, "system") || message_by(message, "developer"))
		texts_add(&texts->system, content);
	else if (message_by(message, "user"))
		texts_set(&texts->user, content);
	texts_set(&texts->last, content);
}

/* ---- numbers ---- */

void seconds_text(int64_t ms, char text[SECONDS_SIZE])
{
	size_t n = (size_t)snprintf(text, SECONDS_SIZE, "%" PRId64 ".%03d", ms / 1000, (int)(ms % 1000));

	while (n && text[n - 1] == '0')
		text[--n] = '\0';
	if (n && text[n - 1] == '.')
		text[--n] = '\0';
}
