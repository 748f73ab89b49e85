/* SPDX-License-Identifier: Apache-2.0 */
/* slab: memory that is given back all at once. */
#ifndef TRITONE_CRASH_SLAB_H
#define TRITONE_CRASH_SLAB_H

#include <stddef.h>

struct slab {
	struct slab_block *first, *current;
};

/* All zero: an empty one. */
void *slab_take(struct slab *slab, size_t size); /* 16-aligned; NULL: no memory */
void slab_reset(struct slab *slab);              /* keeps the blocks for the next use */
void slab_finish(struct slab *slab);

#endif
