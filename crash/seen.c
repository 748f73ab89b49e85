/* SPDX-License-Identifier: Apache-2.0 */
/* Open addressing: the digests are as good as random. */
#include "crash/seen.h"

#include <stdlib.h>

static struct seen_entry *place_of(struct seen_entry *entries, size_t capacity, struct digest digest)
{
	size_t at = (size_t)digest.high & (capacity - 1);

	while (entries[at].acked && !digest_equal(entries[at].digest, digest))
		at = (at + 1) & (capacity - 1);
	return &entries[at];
}

static int grow(struct seen *seen)
{
	const size_t capacity = seen->capacity ? 2 * seen->capacity : 1u << 12;
	struct seen_entry *entries = calloc(capacity, sizeof *entries);
	size_t i;

	if (!entries)
		return -1;
	for (i = 0; i < seen->capacity; i++)
		if (seen->entries[i].acked)
			*place_of(entries, capacity, seen->entries[i].digest) = seen->entries[i];
	free(seen->entries);
	seen->entries = entries;
	seen->capacity = capacity;
	return 0;
}

enum seen_answer seen_add(struct seen *seen, struct digest digest, uint64_t acked)
{
	struct seen_entry *entry;

	if (2 * (seen->count + 1) > seen->capacity && grow(seen) < 0)
		return SEEN_NO_MEMORY;
	entry = place_of(seen->entries, seen->capacity, digest);
	if (!entry->acked) {
		*entry = (struct seen_entry){digest, acked + 1};
		seen->count++;
		return SEEN_NEW;
	}
	if (entry->acked >= acked + 1)
		return SEEN_BEFORE;
	entry->acked = acked + 1;
	return SEEN_WITH_LESS;
}

void seen_finish(struct seen *seen)
{
	free(seen->entries);
	*seen = (struct seen){0};
}
