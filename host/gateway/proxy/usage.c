/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tokens that an answer tells of; see usage.h. Where they are: OpenAI's chat completions and embeddings have
 * `usage` {prompt_tokens, completion_tokens, total_tokens}, in a stream in the last chunk that is asked for with
 * include_usage; its responses {input_tokens, output_tokens, total_tokens}, in a stream below `response`; Anthropic's
 * messages {input_tokens, cache_creation_input_tokens, cache_read_input_tokens, output_tokens}, in a stream below
 * `message` at first, then at the top of message_delta, whose numbers are those of the whole message so far.
 */
#include "gateway/proxy/usage.h"

#include <stdlib.h>
#include <string.h>

#define LINE_MAX_ (1u << 20) /* bytes */

void usage_finish(struct usage *usage)
{
	free(usage->line);
	usage->line = NULL;
	usage->size = usage->room = 0;
}

static bool number(const json_t *object, const char *name, int64_t *ret)
{
	const json_t *value = json_object_get(object, name);

	if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > INT64_MAX / 8)
		return false;
	*ret = json_integer_value(value);
	return true;
}

static void take(struct usage *usage, const json_t *answer)
{
	static const char *const cached[] = {"cache_creation_input_tokens", "cache_read_input_tokens"};
	const json_t *said = json_object_get(answer, "usage");
	int64_t n;
	size_t i;

	if (!said)
		said = json_object_get(json_object_get(answer, "message"), "usage");
	if (!said)
		said = json_object_get(json_object_get(answer, "response"), "usage");
	if (number(said, "prompt_tokens", &n) || number(said, "input_tokens", &n)) {
		usage->input = n;
		for (i = 0; i < sizeof cached / sizeof cached[0]; i++)
			if (number(said, cached[i], &n))
				usage->input += n;
	}
	if (number(said, "completion_tokens", &n) || number(said, "output_tokens", &n))
		usage->output = n;
	if (number(said, "total_tokens", &n))
		usage->total = n;
}

static void take_line(struct usage *usage)
{
	static const char data[] = "data:", word[] = "\"usage\"";
	json_t *event;

	if (usage->size < sizeof data || memcmp(usage->line, data, sizeof data - 1) != 0 ||
	    !memmem(usage->line, usage->size, word, sizeof word - 1))
		return;
	event = json_loadb(usage->line + sizeof data - 1, usage->size - (sizeof data - 1), 0, NULL);
	take(usage, event);
	json_decref(event);
}

static void add(struct usage *usage, const char *bytes, size_t size)
{
	size_t room = usage->room ? usage->room : 1024;
	char *grown;

	while (room < usage->size + size)
		room *= 2;
	if (room != usage->room) {
		grown = room <= LINE_MAX_ ? realloc(usage->line, room) : NULL;
		usage->skip = !grown;
		if (!grown)
			return;
		usage->line = grown;
		usage->room = room;
	}
	memcpy(usage->line + usage->size, bytes, size);
	usage->size += size;
}

void usage_feed(struct usage *usage, const char *bytes, size_t size)
{
	while (size) {
		const char *end = memchr(bytes, '\n', size);
		const size_t part = end ? (size_t)(end - bytes) : size;

		if (!usage->skip && part)
			add(usage, bytes, part);
		if (!end)
			return;
		if (!usage->skip)
			take_line(usage);
		usage->size = 0;
		usage->skip = false;
		bytes += part + 1;
		size -= part + 1;
	}
}

void usage_body(struct usage *usage, const char *bytes, size_t size)
{
	json_t *answer = size ? json_loadb(bytes, size, 0, NULL) : NULL;

	take(usage, answer);
	json_decref(answer);
}

int64_t usage_tokens(const struct usage *usage)
{
	return usage->total ? usage->total : usage->input + usage->output;
}
