/* SPDX-License-Identifier: Apache-2.0 */
/* Git: one lane, one job after the other; a landing is atomic and fenced by the epoch's reference. It may be
 * slow, fail, or succeed and say that it failed. */
#include "sim/world.h"

#include <stdio.h>
#include <string.h>

enum { PLACE_GIT = 500, PLACE_LOOKUP };
enum { JOB_LAND = 0, JOB_LOOKUP };

uint64_t git_lane(struct world *w, uint64_t takes_us)
{
	const struct sim_fault *f;
	uint32_t index;
	uint64_t from = w->git_free_us > w->now_us ? w->git_free_us : w->now_us;

	f = inject_active(w, SIM_GIT_TROUBLE, SIM_ANY, &index);
	if (f && f->kind == GIT_SLOW && from < w->now_us + SIM_SECOND) { /* what is queued is not slowed without end */
		takes_us += (uint64_t)f->number * SIM_MS;
		inject_felt(w, index, "slow");
	}
	w->git_free_us = from + takes_us;
	return w->git_free_us - w->now_us;
}

static struct happening *job(struct world *w, const struct core_effect *e, const struct sim_span *span, uint64_t place)
{
	struct happening *h = world_later(w, git_lane(w, world_span(w, span, place, e->op, w->life)), HAPPENS_GIT);

	h->task = world_task(e->task);
	h->attempt = e->attempt;
	h->epoch = e->epoch;
	h->op = e->op;
	return h;
}

void git_land(struct world *w, const struct core_effect *e)
{
	struct happening *h = job(w, e, &w->plan->git, PLACE_GIT);

	h->what = JOB_LAND;
	h->tree = world_tree_parse(e->digest);
}

void git_lookup(struct world *w, const struct core_effect *e)
{
	job(w, e, &w->plan->lookup, PLACE_LOOKUP)->what = JOB_LOOKUP;
}

static void commit(struct world *w, const struct happening *h)
{
	struct sim_commit *c = &w->commits[w->commit_count];

	if (w->commit_count + 1 >= WORLD_COMMITS) {
		w->cut = true;
		return;
	}
	*c = (struct sim_commit){.task = h->task, .attempt = h->attempt, .epoch = h->epoch};
	snprintf(c->id, sizeof c->id, "c%u", w->commit_count);
	snprintf(c->key, sizeof c->key, "%s:%s", w->names[h->task], c->id);
	ops_add(w, (struct op){.kind = OP_COMMIT,
		       .type = OP_OK,
		       .task = w->names[h->task],
		       .attempt = h->attempt,
		       .epoch = (int64_t)h->epoch,
		       .key = c->id,
		       .value = w->commit_count});
	w->commit_count++;
	w->client[h->task].committed = true;
	if (h->tree & 2)
		ops_add(w, (struct op){.kind = OP_DELETION,
			       .type = OP_OK,
			       .task = w->names[h->task],
			       .actor = "shared/plan.md",
			       .key = c->id});
	if (h->tree >> 48 != h->task)
		world_broken(w, "the tree of task %llu was landed as that of task %u",
		    (unsigned long long)(h->tree >> 48), h->task);
	inject_happens(w, SIM_ON_COMMIT, SIM_ANY, NOBODY);
}

static void land(struct world *w, const struct happening *h)
{
	struct core_event event = {.kind = CORE_LANDED, .task = w->names[h->task], .op = h->op};
	const struct sim_fault *f;
	bool performed = true, fails;
	uint32_t index;

	if (process_pass(w, SIM_POINT_GIT_BEFORE))
		return;
	fails = disk_fails(w, PATH_REPO, &performed);
	f = inject_active(w, SIM_GIT_TROUBLE, SIM_ANY, &index);
	if (h->epoch != w->ref_epoch) {
		event.kind = CORE_FENCED;
		performed = false;
	} else if (f && f->kind == GIT_CONFLICT) {
		event.kind = CORE_CONFLICT;
		performed = false;
		inject_felt(w, index, "conflict");
	} else if (f && (f->kind == GIT_FAIL || f->kind == GIT_LANDS_AND_FAILS)) {
		fails = true;
		performed = f->kind == GIT_LANDS_AND_FAILS;
		inject_felt(w, index, "said that it failed");
	}
	if (performed) {
		uint32_t life = w->life;

		commit(w, h);
		event.digest = w->commits[w->commit_count - 1].id;
		if (!w->alive || w->life != life)
			return;
	}
	if (fails && event.kind == CORE_LANDED)
		event.kind = CORE_LAND_UNKNOWN;
	if (process_pass(w, SIM_POINT_GIT_AFTER))
		return;
	process_feed(w, event);
}

static void lookup(struct world *w, const struct happening *h)
{
	struct core_event event = {.kind = CORE_LOOKED_UP, .task = w->names[h->task], .op = h->op};
	const struct sim_fault *f;
	uint32_t index;

	f = inject_active(w, SIM_GIT_TROUBLE, SIM_ANY, &index);
	if (f && f->kind == GIT_UNREADABLE) {
		event.kind = CORE_LOOKUP_FAILED;
		inject_felt(w, index, "unreadable");
	}
	for (uint32_t i = 0; event.kind == CORE_LOOKED_UP && i < w->commit_count && !event.found; i++) {
		if (w->commits[i].task != h->task)
			continue;
		event.found = true;
		event.digest = w->commits[i].id;
		event.attempt = w->commits[i].attempt;
	}
	process_feed(w, event);
}

void git_done(struct world *w, const struct happening *h)
{
	if (h->what == JOB_LAND)
		land(w, h);
	else
		lookup(w, h);
}
