/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the members "task" and "class" of a record's map; see peek.h. */
#include "sim/peek.h"

#include <string.h>

/* Only "task" is needed of most records, and it comes first. */
static uint32_t task_of(const uint8_t *p, size_t size)
{
	size_t at = size > 0 && p[0] == 0xde ? 3 : 1;
	char id[WORLD_NAME_MAX];
	size_t length;

	if (at + 6 > size || memcmp(p + at, "\xa4task", 5) != 0 || (p[at + 5] & 0xe0) != 0xa0)
		return NOBODY;
	length = p[at + 5] & 0x1f;
	if (at + 6 + length > size || length >= sizeof id)
		return NOBODY;
	memcpy(id, p + at + 6, length);
	id[length] = '\0';
	return world_task(id);
}

static enum core_class class_of(const uint8_t *p, size_t size)
{
	char name[32];
	const uint8_t *at = memmem(p, size,
	    "\xa5"
	    "class",
	    6);
	size_t length;

	if (!at || at + 7 > p + size || (at[6] & 0xe0) != 0xa0)
		return CORE_CLASS_NONE;
	length = at[6] & 0x1f;
	if (at + 7 + length > p + size)
		return CORE_CLASS_NONE;
	memcpy(name, at + 7, length);
	name[length] = '\0';
	return core_class_parse(name);
}

static enum seen_state after(enum seen_state before, uint32_t kind)
{
	switch (kind) {
	case CORE_RECORD_ACCEPT:
	case CORE_RECORD_FAIL:
		return SEEN_OPEN;
	case CORE_RECORD_CLAIM:
		return SEEN_CLAIMED;
	case CORE_RECORD_SPAWN:
		return SEEN_SPAWNED;
	case CORE_RECORD_RESULT:
		return SEEN_RESULT;
	case CORE_RECORD_COMMIT_INTENT:
		return SEEN_INTENT;
	case CORE_RECORD_COMMIT_DONE:
		return SEEN_COMMITTED;
	case CORE_RECORD_NOTIFY_INTENT:
		return SEEN_NOTIFYING;
	case CORE_RECORD_NOTIFY_DONE:
		return SEEN_DONE;
	case CORE_RECORD_GIVE_UP:
		return SEEN_FAILED;
	default:
		return before;
	}
}

void peek_forget(struct world *w)
{
	memset(w->task_states, 0, sizeof w->task_states);
	for (uint64_t lsn = 1; lsn <= w->durable; lsn++) {
		const struct log_entry *entry = &w->log[lsn - 1];
		uint32_t task = task_of(w->log_bytes + entry->offset, entry->size);

		if (task < SIM_TASKS_MAX)
			w->task_states[task] = (uint8_t)after((enum seen_state)w->task_states[task], entry->kind);
	}
}

void peek_cover(struct world *w, uint32_t kind, const uint8_t *payload, size_t size)
{
	uint32_t task = task_of(payload, size);
	enum seen_state before = task < SIM_TASKS_MAX ? (enum seen_state)w->task_states[task] : SEEN_NONE;
	bool classed = kind == CORE_RECORD_FAIL || kind == CORE_RECORD_GIVE_UP;

	w->coverage->transitions[before][kind][classed ? class_of(payload, size) : CORE_CLASS_NONE]++;
	if (task < SIM_TASKS_MAX)
		w->task_states[task] = (uint8_t)after(before, kind);
}
