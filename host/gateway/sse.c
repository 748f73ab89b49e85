/* SPDX-License-Identifier: Apache-2.0 */
/* Server-sent events; see sse.h. */
#include "gateway/sse.h"

#include <stdlib.h>
#include <string.h>

#define PIECE 24 /* bytes */

static void put(struct sse *sse, const char *bytes, size_t size)
{
	char *grown;
	size_t room = sse->room ? sse->room : 2048;

	while (room - sse->size <= size)
		room *= 2;
	if (!sse->failed && room != sse->room) {
		grown = realloc(sse->bytes, room);
		sse->failed = !grown;
		if (grown) {
			sse->bytes = grown;
			sse->room = room;
		}
	}
	if (sse->failed)
		return;
	memcpy(sse->bytes + sse->size, bytes, size);
	sse->size += size;
	sse->bytes[sse->size] = '\0';
}

static void put_text(struct sse *sse, const char *text)
{
	put(sse, text, strlen(text));
}

static void end(struct sse *sse)
{
	put(sse, "\n\n", 2);
	if (sse->count == sse->end_room) {
		size_t room = sse->end_room ? sse->end_room * 2 : 32;
		size_t *grown = reallocarray(sse->ends, room, sizeof *grown);

		if (!grown) {
			sse->failed = true;
			return;
		}
		sse->ends = grown;
		sse->end_room = room;
	}
	sse->ends[sse->count++] = sse->size;
}

void sse_text(struct sse *sse, const char *data)
{
	put_text(sse, "data: ");
	put_text(sse, data);
	end(sse);
}

void sse_event(struct sse *sse, const char *name, json_t *data)
{
	char *text = data ? json_dumps(data, JSON_COMPACT) : NULL;

	json_decref(data);
	if (!text) {
		sse->failed = true;
		return;
	}
	if (name) {
		put_text(sse, "event: ");
		put_text(sse, name);
		put(sse, "\n", 1);
	}
	sse_text(sse, text);
	free(text);
}

struct reply sse_reply(struct sse *sse, int64_t tokens)
{
	struct reply reply = {.status = 200, .tokens = tokens};

	if (sse->failed || !sse->count) {
		free(sse->bytes);
		free(sse->ends);
	} else {
		reply.body = sse->bytes;
		reply.size = sse->size;
		reply.ends = sse->ends;
		reply.end_count = sse->count;
	}
	*sse = (struct sse){0};
	return reply;
}

size_t sse_piece(const char *text)
{
	size_t size = strnlen(text, PIECE);

	while (text[size] && ((unsigned char)text[size] & 0xc0) == 0x80)
		size++;
	return size;
}
