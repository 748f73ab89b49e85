/* SPDX-License-Identifier: Apache-2.0 */
/* The tokens that a provider's answer tells of: in its body, or in the events of its stream as they go by. */
#ifndef TRITONE_GATEWAY_USAGE_H
#define TRITONE_GATEWAY_USAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All zero: nothing was said so far. */
struct usage {
	int64_t input, output, total;
	char *line; /* of a stream, as far as it has come */
	size_t size, room;
	bool skip; /* the rest of the line: it is too long to be a message about usage */
};

void usage_finish(struct usage *usage);
/* Some bytes of a stream, cut anywhere. */
void usage_feed(struct usage *usage, const char *bytes, size_t size);
/* A whole body that is no stream. */
void usage_body(struct usage *usage, const char *bytes, size_t size);
/* What it costs; 0: nothing was said. */
int64_t usage_tokens(const struct usage *usage);

#endif
