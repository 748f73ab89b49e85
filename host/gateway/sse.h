/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream of server-sent events as it is built: "event: NAME", "data: JSON", an empty line (the HTML standard's
 * section "Server-sent events"). Knows no protocol.
 */
#ifndef TRITONE_GATEWAY_SSE_H
#define TRITONE_GATEWAY_SSE_H

#include "gateway/reply.h"

struct sse {
	char *bytes;
	size_t size, room;
	size_t *ends;
	size_t count, end_room;
	bool failed; /* out of memory; what is added then is dropped */
};

/* `name` NULL: an event without one. Takes `data`. */
void sse_event(struct sse *sse, const char *name, json_t *data);
void sse_text(struct sse *sse, const char *data); /* such as "[DONE]" */
/* The reply, with status 200; the builder is empty afterwards. */
struct reply sse_reply(struct sse *sse, int64_t tokens);

/* How long the piece of `text` is that goes into the next event: some 24 bytes, whole characters. 0: the end. */
size_t sse_piece(const char *text);

#endif
