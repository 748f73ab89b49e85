/* SPDX-License-Identifier: Apache-2.0 */
/* A heap of four children a node; see heap.h. */
#include "heap.h"

#include <assert.h>
#include <stdlib.h>

#define CHILDREN 4u

bool heap_create(struct heap *heap, uint32_t capacity)
{
	*heap = (struct heap){.entries = calloc(capacity, sizeof *heap->entries), .capacity = capacity};
	return heap->entries != NULL;
}

void heap_destroy(struct heap *heap)
{
	free(heap->entries);
	*heap = (struct heap){.entries = NULL};
}

static inline bool before(const struct heap_entry *a, const struct heap_entry *b)
{
	return a->at_us < b->at_us || (a->at_us == b->at_us && a->order < b->order);
}

void heap_push(struct heap *heap, uint64_t at_us, uint32_t slot)
{
	struct heap_entry entry = {.at_us = at_us, .order = heap->order++, .slot = slot};
	uint32_t place = heap->count++;

	assert(place < heap->capacity);
	while (place > 0) {
		uint32_t parent = (place - 1) / CHILDREN;

		if (!before(&entry, &heap->entries[parent]))
			break;
		heap->entries[place] = heap->entries[parent];
		place = parent;
	}
	heap->entries[place] = entry;
}

/* Puts the entry where it belongs at or below `place`. */
static void sink(struct heap *heap, uint32_t place, struct heap_entry entry)
{
	for (;;) {
		uint32_t first = CHILDREN * place + 1, best = first;

		if (first >= heap->count)
			break;
		for (uint32_t c = first + 1; c < heap->count && c < first + CHILDREN; c++)
			if (before(&heap->entries[c], &heap->entries[best]))
				best = c;
		if (!before(&heap->entries[best], &entry))
			break;
		heap->entries[place] = heap->entries[best];
		place = best;
	}
	heap->entries[place] = entry;
}

void heap_order(struct heap *heap)
{
	for (uint32_t place = heap->count; place-- > 0;)
		sink(heap, place, heap->entries[place]);
}

struct heap_entry heap_pop(struct heap *heap)
{
	struct heap_entry top = heap->entries[0];

	heap->count--;
	sink(heap, 0, heap->entries[heap->count]);
	return top;
}
