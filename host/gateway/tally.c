/* SPDX-License-Identifier: Apache-2.0 */
/* Counts by task; see tally.h. Open addressing, doubled when half full. */
#include "gateway/tally.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define ROOM_FIRST 256
#define TASKS_MAX  1000000

struct slot {
	uint64_t hash, count; /* count 0: free */
};

struct tally {
	struct slot *slots;
	size_t room, used;
};

struct tally *tally_create(void)
{
	struct tally *tally = calloc(1, sizeof *tally);

	if (!tally)
		return NULL;
	tally->room = ROOM_FIRST;
	tally->slots = calloc(tally->room, sizeof *tally->slots);
	if (!tally->slots) {
		free(tally);
		return NULL;
	}
	return tally;
}

void tally_destroy(struct tally *tally)
{
	if (!tally)
		return;
	free(tally->slots);
	free(tally);
}

static struct slot *find(struct slot *slots, size_t room, uint64_t hash)
{
	size_t i = (size_t)hash & (room - 1);

	while (slots[i].count && slots[i].hash != hash)
		i = (i + 1) & (room - 1);
	return &slots[i];
}

static void grow(struct tally *tally)
{
	size_t room = tally->room * 2, i;
	struct slot *slots = calloc(room, sizeof *slots);

	if (!slots)
		return; /* fuller and slower */
	for (i = 0; i < tally->room; i++)
		if (tally->slots[i].count)
			*find(slots, room, tally->slots[i].hash) = tally->slots[i];
	free(tally->slots);
	tally->slots = slots;
	tally->room = room;
}

uint64_t tally_of(const struct tally *tally, const char *task)
{
	return find(tally->slots, tally->room, XXH3_64bits(task, strlen(task)))->count;
}

void tally_add(struct tally *tally, const char *task)
{
	const uint64_t hash = XXH3_64bits(task, strlen(task));
	struct slot *slot;

	if (tally->used * 2 >= tally->room)
		grow(tally);
	slot = find(tally->slots, tally->room, hash);
	if (!slot->count && (tally->used >= TASKS_MAX || tally->used + 1 >= tally->room))
		return;
	if (!slot->count)
		tally->used++;
	slot->hash = hash;
	slot->count++;
}
