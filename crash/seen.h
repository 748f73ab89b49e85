/* SPDX-License-Identifier: Apache-2.0 */
/* seen: the set of contents that have been judged, each with the number of acknowledgements it was judged for. */
#ifndef TRITONE_CRASH_SEEN_H
#define TRITONE_CRASH_SEEN_H

#include "crash/content.h"

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

#endif
