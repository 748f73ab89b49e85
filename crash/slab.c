/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks, in a list that only grows. */
#include "crash/slab.h"

#include <stdint.h>
#include <stdlib.h>

#define BLOCK_BYTES (1u << 20)

struct slab_block {
	struct slab_block *next;
	size_t used, size;
	_Alignas(16) uint8_t bytes[];
};

static struct slab_block *block_with(struct slab *slab, size_t size)
{
	struct slab_block *block = slab->current;

	while (block && block->size - block->used < size && block->next) {
		block = block->next;
		block->used = 0;
	}
	if (block && block->size - block->used >= size)
		return block;
	block = malloc(sizeof *block + (size > BLOCK_BYTES ? size : BLOCK_BYTES));
	if (!block)
		return NULL;
	*block = (struct slab_block){.size = size > BLOCK_BYTES ? size : BLOCK_BYTES};
	if (!slab->current) {
		slab->first = block;
		return block;
	}
	block->next = slab->current->next;
	slab->current->next = block;
	return block;
}

void *slab_take(struct slab *slab, size_t size)
{
	struct slab_block *block;
	void *at;

	size = (size + 15) & ~(size_t)15;
	block = block_with(slab, size);
	if (!block)
		return NULL;
	slab->current = block;
	at = block->bytes + block->used;
	block->used += size;
	return at;
}

void slab_reset(struct slab *slab)
{
	slab->current = slab->first;
	if (slab->first)
		slab->first->used = 0;
}

void slab_finish(struct slab *slab)
{
	struct slab_block *block = slab->first, *next;

	for (; block; block = next) {
		next = block->next;
		free(block);
	}
	*slab = (struct slab){0};
}
