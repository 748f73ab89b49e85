/* SPDX-License-Identifier: Apache-2.0 */
/* What is going to happen, earliest first; at the same moment in the order in which it was put there. Of
 * bounded size, in memory taken once. */
#ifndef SIM_HEAP_H
#define SIM_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_entry {
	uint64_t at_us, order;
	uint32_t slot; /* of what is to happen, in the owner's memory */
};

struct heap {
	struct heap_entry *entries;
	uint32_t count, capacity;
	uint64_t order;
};

/* false: no memory. */
bool heap_create(struct heap *heap, uint32_t capacity);
void heap_destroy(struct heap *heap);
static inline void heap_clear(struct heap *heap)
{
	heap->count = 0;
	heap->order = 0;
}
/* There must be room. */
void heap_push(struct heap *heap, uint64_t at_us, uint32_t slot);
/* After moments were set earlier. */
void heap_order(struct heap *heap);
/* There must be an entry. */
struct heap_entry heap_pop(struct heap *heap);

#endif
