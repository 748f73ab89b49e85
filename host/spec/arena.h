/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of one loaded file: everything is given back at once, so that no struct of spec.h needs a free for each of its
 * members. */
#ifndef TRITONE_SPEC_ARENA_H
#define TRITONE_SPEC_ARENA_H

#include <stddef.h>

struct arena_block;
struct arena {
	struct arena_block *blocks; /* zero-initialized: empty */
};

/* Zeroed memory that lives until arena_finish; NULL when there is none left. */
void *arena_alloc(struct arena *arena, size_t size);
char *arena_text(struct arena *arena, const char *text, size_t length);
char *arena_format(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
void arena_finish(struct arena *arena);

#endif
