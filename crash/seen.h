/* SPDX-License-Identifier: Apache-2.0 */
/* seen: the set of contents that have been judged, each with the number of acknowledgements it was judged for. */
#ifndef TRITONE_CRASH_SEEN_H
#define TRITONE_CRASH_SEEN_H

#include "crash/digest.h"

struct seen_entry {
	struct digest digest;
	uint64_t acked; /* plus one; 0: a free place */
};

struct seen {
	struct seen_entry *entries;
	size_t count, capacity; /* a power of two */
};

enum seen_answer { SEEN_NEW, SEEN_WITH_LESS, SEEN_BEFORE, SEEN_NO_MEMORY };

/* SEEN_WITH_LESS: the same content, but more had been acknowledged: it is to be judged again. */
enum seen_answer seen_add(struct seen *seen, struct digest digest, uint64_t acked);
void seen_finish(struct seen *seen);

/* A set that processes share, for what several explorations have in common. It does not grow. */
struct seen_common;
struct seen_common *seen_common_create(size_t count_max); /* NULL: no memory */
void seen_common_destroy(struct seen_common *common);
/* Was it new? Also when the set is full: then states are judged again rather than not. */
bool seen_common_add(struct seen_common *common, struct digest digest, uint64_t acked);
bool seen_common_has(const struct seen_common *common, struct digest digest, uint64_t acked);

#endif
