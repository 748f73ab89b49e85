/* SPDX-License-Identifier: Apache-2.0 */
/* Open addressing: the digests are as good as random. */
#include "crash/seen.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

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

/* A set that is half full has no such long row of places that are taken. */
#define TRIES_MAX 256u

struct seen_common {
	size_t capacity; /* a power of two */
	_Atomic uint64_t entries[];
};

struct seen_common *seen_common_create(size_t count_max)
{
	struct seen_common *common;
	size_t capacity = 1;

	while (capacity < 2 * count_max)
		capacity *= 2;
	common = mmap(NULL, sizeof *common + capacity * sizeof *common->entries, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (common == MAP_FAILED)
		return NULL;
	common->capacity = capacity;
	return common;
}

void seen_common_destroy(struct seen_common *common)
{
	if (common)
		munmap(common, sizeof *common + common->capacity * sizeof *common->entries);
}

static uint64_t key_of(struct digest digest, uint64_t acked)
{
	const uint64_t words[] = {digest.low, digest.high, acked};

	return digest_of(words, sizeof words, 2).low | 1;
}

bool seen_common_add(struct seen_common *common, struct digest digest, uint64_t acked)
{
	const uint64_t key = key_of(digest, acked);
	size_t at = (size_t)(key >> 1) & (common->capacity - 1), tries;

	for (tries = 0; tries < TRIES_MAX; tries++) {
		uint64_t there = 0;

		if (atomic_compare_exchange_strong(&common->entries[at], &there, key))
			return true;
		if (there == key)
			return false;
		at = (at + 1) & (common->capacity - 1);
	}
	return true;
}

bool seen_common_has(const struct seen_common *common, struct digest digest, uint64_t acked)
{
	const uint64_t key = key_of(digest, acked);
	size_t at = (size_t)(key >> 1) & (common->capacity - 1), tries;

	for (tries = 0; tries < TRIES_MAX; tries++) {
		const uint64_t there = atomic_load(&common->entries[at]);

		if (!there || there == key)
			return there == key;
		at = (at + 1) & (common->capacity - 1);
	}
	return false;
}
