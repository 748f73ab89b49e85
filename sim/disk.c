/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk. The log keeps the promises of wal/ and no more: what was staged is lost when the process dies, a
 * batch whose sync had begun then, or has failed, is there as a whole or not at all, opening bumps the epoch.
 * State files are replaced atomically, unless a seeded bug writes them in place.
 */
#include "sim/world.h"

#include <string.h>

#include "sim/peek.h"

#define BATCH_RECORDS 4u /* of a seeded bug, as in io/log.c */
#define BATCH_US      (2 * SIM_SECOND)
#define RETRY_US      (50 * SIM_MS)

enum { PLACE_SYNC = 200, PLACE_BATCH, PLACE_FILE };

/* Does a write below `path` fail now? *ret_performed: it is done all the same. */
bool disk_fails(struct world *w, enum sim_path path, bool *ret_performed)
{
	for (uint32_t i = 0; i < w->plan->fault_count; i++) {
		const struct sim_fault *f = &w->plan->faults[i];

		if (w->faults[i].state != FAULT_ACTIVE || f->plugin != SIM_DISK_FULL ||
		    (f->target != PATH_ALL && f->target != path))
			continue;
		*ret_performed = f->kind == DISK_PERFORM;
		inject_felt(w, i, sim_path_name(path));
		return true;
	}
	return false;
}

/* ---- the log ---- */

static uint32_t point_of(uint32_t record, bool after)
{
	return SIM_POINT_RECORDS + 2 * (record - 1) + after;
}

int disk_append(struct world *w, const struct core_effect *e)
{
	struct log_entry *entry;

	if (w->lost && bugs_on(&w->options.bugs, BUG_ENOSPC_SWALLOWED))
		return 0;
	if (!w->log_open)
		return -1;
	if (process_pass(w, point_of(e->record, false)))
		return 0;
	if (e->lsn != w->staged + 1) {
		world_broken(w, "the log gave LSN %llu where the core counted %llu", (unsigned long long)w->staged + 1,
		    (unsigned long long)e->lsn);
		return -1;
	}
	if (w->staged + 1 >= WORLD_RECORDS || w->bytes_used + e->size > WORLD_LOG_BYTES) {
		w->cut = true;
		return 0;
	}
	entry = &w->log[w->staged++];
	*entry = (struct log_entry){
	    .kind = e->record, .size = (uint32_t)e->size, .offset = w->bytes_used, .epoch = w->epoch};
	memcpy(w->log_bytes + w->bytes_used, e->payload, e->size);
	w->bytes_used += e->size;
	peek_cover(w, e->record, e->payload, e->size);
	promises_record(w, e->record, e->payload, e->size);
	return 0;
}

/* A seeded bug: acknowledged tasks wait for company before they are made durable. */
static bool waits_for_batch(const struct world *w)
{
	uint64_t count = w->staged - w->durable;

	if (!bugs_on(&w->options.bugs, BUG_ACK_BEFORE_SYNC) || count >= BATCH_RECORDS)
		return false;
	for (uint64_t lsn = w->durable + 1; lsn <= w->staged; lsn++)
		if (w->log[lsn - 1].kind != CORE_RECORD_ACCEPT)
			return false;
	return true;
}

static void begin_sync(struct world *w)
{
	struct happening *h;

	w->syncing = true;
	w->batch = w->staged;
	h = world_later(w, world_span(w, &w->plan->sync, PLACE_SYNC, w->staged, w->life), HAPPENS_SYNCED);
	h->epoch = w->epoch;
}

void disk_flush(struct world *w)
{
	if (!w->log_open || w->syncing || w->staged == w->durable)
		return;
	if (waits_for_batch(w)) {
		if (!w->sync_waits)
			world_later(w, BATCH_US, HAPPENS_SYNCED)->what = 1;
		w->sync_waits = true;
		return;
	}
	begin_sync(w);
}

static void forget_staged(struct world *w, bool whole_batch)
{
	if (whole_batch && w->batch > w->durable)
		w->durable = w->batch;
	if (w->staged > w->durable) {
		peek_forget(w);
		promises_forget(w);
	}
	w->staged = w->durable;
	w->bytes_used = w->durable ? w->log[w->durable - 1].offset + w->log[w->durable - 1].size : 0;
	w->syncing = w->sync_waits = false;
	w->batch = 0;
	if (w->next_lsn > w->durable)
		w->next_lsn = 0;
}

/* A checkpoint counts once all that it stands for is durable. */
static void store_checkpoint(struct world *w)
{
	if (w->next_lsn && w->next_lsn <= w->durable) {
		uint8_t *old = w->snapshots[0];

		w->snapshots[0] = w->snapshots[1];
		w->snapshots[1] = old;
		w->checkpoint_lsn = w->next_lsn;
		w->checkpoint_size = w->next_size;
		w->next_lsn = 0;
	}
	if (!w->plan->checkpoint_records || w->next_lsn || !w->live ||
	    core_snapshot_lsn(w->core) < w->checkpoint_lsn + w->plan->checkpoint_records)
		return;
	w->next_size = core_snapshot(w->core, w->snapshots[1], WORLD_SNAPSHOT);
	w->next_lsn = w->next_size ? core_snapshot_lsn(w->core) : 0;
}

void disk_synced(struct world *w, const struct happening *h)
{
	bool performed = false;
	uint64_t lsn;

	if (h->what == 1) { /* the bug's patience is over */
		w->sync_waits = false;
		if (w->log_open && !w->syncing && w->staged > w->durable)
			begin_sync(w);
		return;
	}
	if (!w->syncing || h->epoch != w->epoch || !w->log_open)
		return;
	if (disk_fails(w, PATH_WAL, &performed)) {
		forget_staged(w, performed);
		process_lose_log(w);
		return;
	}
	lsn = w->durable;
	w->durable = w->batch;
	w->booted = w->booted && !(w->timed && w->durable >= w->doubt_lsn);
	w->syncing = false;
	while (lsn < w->durable)
		if (process_pass(w, point_of(w->log[lsn++].kind, true)))
			return;
	process_feed(w, (struct core_event){.kind = CORE_DURABLE, .lsn = w->durable});
	if (!w->alive)
		return;
	store_checkpoint(w);
	disk_flush(w);
}

void disk_crash(struct world *w)
{
	if (w->log_open || w->syncing)
		forget_staged(w, w->syncing && world_draw(w, 500, PLACE_BATCH, w->life, w->batch));
	w->log_open = false;
	if (w->first_death_lsn == UINT64_MAX) {
		w->first_death_lsn = w->durable;
		w->first_death_commits = w->commit_count;
	}
	if (w->file_writing && bugs_on(&w->options.bugs, BUG_STATE_FILE_IN_PLACE)) {
		ops_add(w, (struct op){.kind = OP_STATEFILE,
			       .type = OP_FAIL,
			       .actor = ".sdd/metrics/slos.json",
			       .detail = "cut off in the middle"});
	} else if (w->file_writing) {
		w->temporary_left = true;
	}
	w->file_writing = w->file_waits = false;
}

void disk_close_log(struct world *w)
{
	if (w->log_open)
		forget_staged(w, w->syncing && world_draw(w, 500, PLACE_BATCH, w->life, w->batch));
	w->log_open = false;
}

bool disk_open_log(struct world *w)
{
	bool performed = false;

	if (disk_fails(w, PATH_WAL, &performed)) {
		w->epoch += performed;
		return false;
	}
	w->epoch++;
	w->log_open = true;
	w->staged = w->durable;
	return true;
}

static int replay_from(struct world *w, struct core *core, uint64_t first, uint64_t upto)
{
	struct error err;

	for (uint64_t lsn = first; lsn <= upto; lsn++) {
		const struct log_entry *entry = &w->log[lsn - 1];

		if (core_replay(
			core, lsn, entry->epoch, entry->kind, w->log_bytes + entry->offset, entry->size, &err) != 0) {
			world_broken(w, "its own log cannot be replayed: %s", err.text);
			return -1;
		}
	}
	return 0;
}

int disk_replay(struct world *w, struct core *core, uint64_t upto)
{
	return replay_from(w, core, 1, upto);
}

int disk_recover(struct world *w, struct core *core)
{
	uint64_t upto = w->durable;
	struct error err;

	if (bugs_on(&w->options.bugs, BUG_LAST_RECORD_SKIPPED) && upto > 0)
		upto--;
	if (!w->checkpoint_lsn)
		return replay_from(w, core, 1, upto);
	if (core_restore(core, w->snapshots[0], w->checkpoint_size, &err) != 0) {
		world_broken(w, "its own checkpoint cannot be restored: %s", err.text);
		return -1;
	}
	return replay_from(w, core, w->checkpoint_lsn + 1, upto);
}

/* ---- the SLO file ---- */

static void start_write(struct world *w)
{
	w->file_now = w->file_next;
	w->file_writing = true;
	w->file_waits = false;
	world_later(w, world_span(w, &w->plan->file, PLACE_FILE, ++w->files, 0), HAPPENS_FILE);
}

void disk_put_claims(struct world *w)
{
	struct core_slo_report report;
	struct core_status status;

	core_slo_published(w->core, &report);
	contract_report(w, &report);
	core_status(w->core, world_core_now(w), &status);
	w->file_next.agents = status.agents_max;
	for (unsigned i = 0; i < CORE_SLOS; i++) {
		w->file_next.current[i] = report.slos[i].current;
		w->file_next.status[i] = report.slos[i].status;
		w->file_next.met[i] = report.slos[i].met;
	}
	w->file_next.budget = report.budget_fraction;
	w->file_next.budget_status = report.status;
	w->file_next.depleted = report.is_depleted;
	if (w->file_writing)
		w->file_waits = true;
	else
		start_write(w);
}

void disk_file_written(struct world *w)
{
	bool performed = true;
	bool failed = disk_fails(w, PATH_METRICS, &performed);

	if (performed)
		ops_claims(w, &w->file_now);
	else if (bugs_on(&w->options.bugs, BUG_STATE_FILE_IN_PLACE))
		ops_add(w, (struct op){.kind = OP_STATEFILE,
			       .type = OP_FAIL,
			       .actor = ".sdd/metrics/slos.json",
			       .detail = "not JSON: cut off"});
	if (failed && bugs_on(&w->options.bugs, BUG_STATE_WRITER_DIES))
		return; /* and is never heard of again */
	if (failed) {
		if (!w->file_waits)
			w->file_next = w->file_now;
		w->file_now = w->file_next;
		w->file_waits = false;
		world_later(w, RETRY_US, HAPPENS_FILE);
		return;
	}
	w->file_writing = false;
	if (w->file_waits)
		start_write(w);
}
