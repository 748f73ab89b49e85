/* SPDX-License-Identifier: Apache-2.0 */
/* The hash of all that went into the core and came out of it: equal exactly when two runs were the same.
 * Folded over numbers and texts only, never over memory as it lies there. */
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "sim/world.h"

/* A short text as a number: its end tells one from another (claude/opus, claude/sonnet, gemini, ...). */
static uint64_t short_text(const char *text)
{
	uint64_t number = 0;

	while (text && *text)
		number = number << 8 | (uint8_t)*text++;
	return number;
}

static void fold(struct world *w, const uint64_t *numbers, size_t count, const char *text)
{
	w->trace = XXH3_64bits_withSeed(numbers, count * sizeof *numbers, w->trace);
	if (text && *text)
		w->trace = XXH3_64bits_withSeed(text, strlen(text), w->trace);
}

void trace_event(struct world *w, const struct core_event *event)
{
	const uint64_t numbers[] = {(uint64_t)event->kind, event->now_us, event->attempt, event->step, event->epoch,
	    event->op, event->token, event->lsn, (uint64_t)(uint32_t)event->pid, (uint64_t)(uint32_t)event->status,
	    (uint64_t)event->retry_after_ms, event->tokens, event->action, (uint64_t)event->fault_class, event->found,
	    short_text(event->provider)};

	fold(w, numbers, sizeof numbers / sizeof numbers[0], event->task);
	if (event->digest)
		fold(w, numbers, 1, event->digest);
}

void trace_effects(struct world *w)
{
	for (size_t i = 0; i < w->effects->count; i++) {
		const struct core_effect *e = &w->effects->items[i];
		const uint64_t numbers[] = {(uint64_t)e->kind, e->record, e->attempt, e->step, e->lsn, e->epoch, e->op,
		    e->token, e->deadline_us, e->tokens_left, (uint64_t)(uint32_t)e->pid, (uint64_t)(uint32_t)e->status,
		    e->go, e->restore, (uint64_t)e->retry_after_ms, short_text(e->provider), short_text(e->model)};

		fold(w, numbers, sizeof numbers / sizeof numbers[0], e->task);
		if (e->digest[0])
			fold(w, numbers, 1, e->digest);
		if (e->text[0])
			fold(w, numbers, 1, e->text);
		if (e->size > 0)
			w->trace = XXH3_64bits_withSeed(e->payload, e->size, w->trace);
	}
}
