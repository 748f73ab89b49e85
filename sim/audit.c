/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is looked at once nothing runs, as host/system/audit.c does: the state is what the log says; a recovery
 * from where the orchestrator first died, repeated, changes nothing and commits nothing twice.
 */
#include "sim/world.h"

#include <stdio.h>

#define AUDIT_RECORDS 2048u
#define AUDIT_STEPS   20000u
#define AUDIT_QUEUE   256u

/* A little world of its own, in which everything works at once, and no time passes but the core's. */
struct audit {
	struct world *w;
	uint64_t base, count; /* records of the real log, and new ones */
	struct log_entry entries[AUDIT_RECORDS];
	uint64_t bytes, now_us, timer_us, epoch;
	uint32_t commits; /* of w->commits so many are there; those landed here follow the real ones */
	uint32_t landed;
	struct core_event queue[AUDIT_QUEUE];
	uint32_t first, queued;
	bool broken;
};

static void record(struct world *w, const char *actor, bool ok, uint64_t value, const char *detail)
{
	ops_add(w, (struct op){.kind = OP_WAL,
		       .type = ok ? OP_OK : OP_FAIL,
		       .actor = actor,
		       .value = (int64_t)value,
		       .detail = detail});
}

static void enqueue(struct audit *a, struct core_event event)
{
	if (a->queued == AUDIT_QUEUE) {
		a->broken = true;
		return;
	}
	a->queue[(a->first + a->queued++) % AUDIT_QUEUE] = event;
}

static void append(struct audit *a, const struct core_effect *e)
{
	struct world *w = a->w;

	if (a->count == AUDIT_RECORDS || w->bytes_used + a->bytes + e->size > WORLD_LOG_BYTES ||
	    e->lsn != a->base + a->count + 1) {
		a->broken = true;
		return;
	}
	a->entries[a->count++] = (struct log_entry){
	    .kind = e->record, .size = (uint32_t)e->size, .offset = w->bytes_used + a->bytes, .epoch = a->epoch};
	for (size_t i = 0; i < e->size; i++)
		w->log_bytes[w->bytes_used + a->bytes + i] = e->payload[i];
	a->bytes += e->size;
}

static const struct sim_commit *find_commit(const struct audit *a, uint32_t task)
{
	const struct world *w = a->w;

	for (uint32_t i = 0; i < a->commits; i++)
		if (w->commits[i].task == task)
			return &w->commits[i];
	for (uint32_t i = 0; i < a->landed; i++)
		if (w->commits[w->commit_count + i].task == task)
			return &w->commits[w->commit_count + i];
	return NULL;
}

static void land(struct audit *a, const struct core_effect *e)
{
	struct world *w = a->w;
	uint32_t task = world_task(e->task);
	struct sim_commit *c = &w->commits[w->commit_count + a->landed];

	if (w->commit_count + a->landed + 1 >= WORLD_COMMITS || find_commit(a, task)) {
		a->broken = true;
		return;
	}
	*c = (struct sim_commit){.task = task, .attempt = e->attempt, .epoch = e->epoch};
	snprintf(c->id, sizeof c->id, "r%u", a->landed++);
	enqueue(a, (struct core_event){.kind = CORE_LANDED, .task = w->names[task], .op = e->op, .digest = c->id});
}

static void lookup(struct audit *a, const struct core_effect *e)
{
	uint32_t task = world_task(e->task);
	const struct sim_commit *c = find_commit(a, task);

	enqueue(a, (struct core_event){.kind = CORE_LOOKED_UP,
		       .task = a->w->names[task],
		       .op = e->op,
		       .found = c != NULL,
		       .digest = c ? c->id : "",
		       .attempt = c ? c->attempt : 0});
}

static void perform(struct audit *a)
{
	const struct core_effects *effects = a->w->auditor_effects;

	for (size_t i = 0; i < effects->count; i++) {
		const struct core_effect *e = &effects->items[i];

		if (e->kind == CORE_APPEND)
			append(a, e);
		else if (e->kind == CORE_LAND)
			land(a, e);
		else if (e->kind == CORE_LOOKUP)
			lookup(a, e);
		else if (e->kind == CORE_END)
			enqueue(a, (struct core_event){.kind = CORE_GONE,
				       .task = a->w->names[world_task(e->task)],
				       .attempt = e->attempt,
				       .status = 137});
		else if (e->kind == CORE_TIMER)
			a->timer_us = e->deadline_us;
	}
}

static int replay(struct audit *a)
{
	struct world *w = a->w;
	struct error err;

	if (disk_replay(w, w->auditor, a->base) != 0)
		return -1;
	for (uint64_t i = 0; i < a->count; i++) {
		const struct log_entry *entry = &a->entries[i];

		if (core_replay(w->auditor, a->base + i + 1, entry->epoch, entry->kind, w->log_bytes + entry->offset,
			entry->size, &err) != 0)
			return -1;
	}
	return 0;
}

/* One recovery to its end; *ret_digest is of the state then. */
static int recover(struct audit *a, struct core_options *options, uint64_t *ret_before, uint64_t *ret_after)
{
	struct world *w = a->w;
	struct error err;

	if (core_renew(w->auditor, options, &err) != 0 || replay(a) != 0)
		return -1;
	*ret_before = core_digest(w->auditor);
	a->epoch++;
	a->now_us = core_now_us(w->auditor) > a->now_us ? core_now_us(w->auditor) : a->now_us;
	a->timer_us = CORE_NEVER;
	a->first = a->queued = 0;
	core_recovered(w->auditor, a->epoch, a->base + a->count, a->now_us, w->auditor_effects);
	perform(a);
	for (uint32_t steps = 0; !core_quiet(w->auditor) && !a->broken; steps++) {
		struct core_event event = {.kind = CORE_DURABLE, .lsn = a->base + a->count};

		if (steps == AUDIT_STEPS)
			return -1;
		if (steps % 2 == 1 && a->queued > 0) {
			event = a->queue[a->first];
			a->first = (a->first + 1) % AUDIT_QUEUE;
			a->queued--;
		} else if (steps % 2 == 1) {
			event = event_of(CORE_TICK);
			a->now_us = a->timer_us != CORE_NEVER && a->timer_us > a->now_us ? a->timer_us : a->now_us + 1;
		}
		event.now_us = a->now_us;
		core_step(w->auditor, &event, w->auditor_effects);
		perform(a);
	}
	*ret_after = core_digest(w->auditor);
	return a->broken ? -1 : 0;
}

/* Returns the digest of the state from which it began. */
static uint64_t recover_twice(struct world *w)
{
	struct audit a = {.w = w, .epoch = w->epoch, .now_us = world_core_now(w), .commits = w->commit_count};
	struct core_options options = w->options;
	uint64_t before[2] = {0, 0}, after[2] = {0, 0};

	a.base = w->durable;
	if (w->first_death_lsn != UINT64_MAX) {
		a.base = w->first_death_lsn;
		a.commits = w->first_death_commits;
	}
	options.reconcile_only = true;
	if (recover(&a, &options, &before[0], &after[0]) != 0 || recover(&a, &options, &before[1], &after[1]) != 0)
		record(w, "recover-twice", false, a.base, "a recovery did not come to its end, or committed twice");
	else if (before[1] != after[0])
		record(w, "recover-twice", false, a.base, "the state is not what the log says, after a recovery");
	else if (after[1] != after[0])
		record(
		    w, "recover-twice", false, a.base, "recovered twice the state is another one than recovered once");
	else
		record(w, "recover-twice", true, a.base, "");
	return before[0];
}

static void compare(struct world *w, uint64_t replayed)
{
	if (replayed == core_digest(w->core))
		record(w, "replay", true, w->durable, "");
	else
		record(w, "replay", false, w->durable, "the state is not what the log says");
}

void audit_run(struct world *w)
{
	bool at_rest = w->live && w->log_open && core_writable(w->core) && w->staged == w->durable;
	struct error err;
	uint64_t replayed;

	if (w->cut)
		return;
	if (w->first_death_lsn != UINT64_MAX && at_rest) {
		if (core_renew(w->auditor, &w->options, &err) != 0 || disk_replay(w, w->auditor, w->durable) != 0)
			record(w, "replay", false, w->durable, "the log cannot be replayed");
		else
			compare(w, core_digest(w->auditor));
	}
	replayed = recover_twice(w);
	if (w->first_death_lsn == UINT64_MAX && at_rest) /* the first recovery began with all of it */
		compare(w, replayed);
}
