/* SPDX-License-Identifier: Apache-2.0 */
/* The sink of the notifications: it takes them, refuses, is silent, or takes one and its answer is lost. */
#include "sim/world.h"

#include <stdio.h>
#include <string.h>

#define TIMEOUT_US (5 * SIM_SECOND)

enum { PLACE_SINK = 600 };

void sink_notify(struct world *w, const struct core_effect *e)
{
	uint64_t place = e->op;
	struct happening *h = world_later(w, world_span(w, &w->plan->sink, PLACE_SINK, place, w->life), HAPPENS_SINK);

	h->task = world_task(e->task);
	h->op = e->op;
	h->life = w->life;
	h->what = h->agent = NOBODY;
	for (uint32_t i = 0; i < w->commit_count; i++)
		if (strcmp(w->commits[i].id, e->digest) == 0)
			h->what = i;
	if (h->what != NOBODY && strcmp(e->text, w->commits[h->what].key) != 0) {
		h->agent = w->other_keys++ % 64;
		snprintf(w->keys[h->agent], sizeof w->keys[0], "%.40s", e->text);
	}
}

void sink_arrived(struct world *w, const struct happening *h)
{
	const char *key = h->what == NOBODY ? "" : h->agent != NOBODY ? w->keys[h->agent] : w->commits[h->what].key;
	const struct sim_fault *f;
	struct happening *later;
	int32_t status = 200;
	uint64_t after = w->plan->sink.low, invoke;
	bool lost = false, hangs = false, swallowed = false;
	uint32_t index;

	invoke = ops_add(
	    w, (struct op){
		   .kind = OP_NOTIFY, .type = OP_INVOKE, .task = w->names[h->task], .key = key, .actor = "notify"});
	inject_happens(w, SIM_ON_NOTIFY, SIM_ANY, NOBODY);
	f = inject_active(w, SIM_SINK_ERROR, SIM_ANY, &index);
	if (f) {
		inject_felt(w, index, sim_kind_name(f->plugin, f->kind));
		if (f->kind == SINK_STATUS)
			status = (int32_t)f->number;
		hangs = f->kind == SINK_HANG;
		lost = f->kind == SINK_LOST_REPLY;
		if (f->kind == SINK_SLOW)
			after += (uint64_t)f->number * SIM_MS;
	}
	f = !f || f->kind == SINK_SLOW ? inject_active(w, SIM_SWALLOWED_EXCEPTION, SIM_ANY, &index) : NULL;
	if (f) { /* an answer that nothing else decides */
		status = (int32_t)f->number;
		swallowed = f->kind == EXCEPTION_SWALLOWED;
		inject_felt(w, index, "refused");
	}
	if (h->life != w->life || !w->alive) /* it took it, but nobody is there any more to be told */
		ops_complete(w, invoke, (struct op){.kind = OP_NOTIFY, .type = OP_INFO, .detail = OP_CLIENT_GONE});
	else if (lost)
		ops_complete(
		    w, invoke, (struct op){.kind = OP_NOTIFY, .type = OP_INFO, .detail = "the answer was lost"});
	else if (!hangs) {
		w->client[h->task].notified = w->client[h->task].notified || status / 100 == 2;
		ops_complete(w, invoke,
		    (struct op){.kind = OP_NOTIFY, .type = status / 100 == 2 ? OP_OK : OP_FAIL, .status = status});
	}
	if (lost || hangs) {
		status = 0;
		after = TIMEOUT_US;
	}
	later = world_later(w, after, HAPPENS_NOTIFIED);
	later->life = h->life;
	later->task = h->task;
	later->op = h->op;
	later->status = swallowed ? 200 : status; /* as io/notifier.c tells at its fault point */
}
