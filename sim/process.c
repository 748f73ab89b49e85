/* SPDX-License-Identifier: Apache-2.0 */
/* The orchestrator's process, as io/loop.c has it: start, replay, take over, recover; lose the log and come
 * back; die at any point, also during the recovery. */
#include "sim/world.h"

#include <string.h>

#define REOPEN_MS     100u
#define REOPEN_MS_MAX 800u

enum { PLACE_RESTART = 100, PLACE_TAKE_OVER };

bool process_pass(struct world *w, uint32_t point)
{
	for (uint32_t i = 0; i < w->plan->fault_count; i++) {
		const struct sim_fault *f = &w->plan->faults[i];
		struct active_fault *a = &w->faults[i];

		if (a->state != FAULT_ACTIVE || f->plugin != SIM_ORCHESTRATOR_KILL || f->target != point ||
		    ++a->passes < f->nth)
			continue;
		inject_felt(w, i, "died at the point");
		inject_end(w, i);
		w->coverage->points[point]++;
		process_crash(w, false);
		return true;
	}
	return false;
}

static void announce(struct world *w)
{
	if (w->announced || !w->live || !core_ready(w->core))
		return;
	w->announced = true;
	ops_complete(w, w->system_op, (struct op){.kind = OP_SYSTEM, .type = OP_OK, .actor = "conductor"});
	inject_happens(w, SIM_ON_RESTART, SIM_ANY, NOBODY);
}

void process_feed(struct world *w, struct core_event event)
{
	bool writable;

	if (!w->live)
		return;
	event.now_us = world_core_now(w);
	writable = core_writable(w->core);
	w->coverage->events[event.kind]++;
	w->result->steps++;
	core_step(w->core, &event, w->effects);
	trace_event(w, &event);
	trace_effects(w);
	if (event.kind == CORE_CALLED)
		promises_called(w, &event, writable);
	if (event.kind == CORE_NOTIFIED)
		promises_notified(w, &event);
	if (event.kind == CORE_GONE)
		promises_gone(w, &event);
	perform_all(w);
	if (w->alive)
		announce(w);
}

/* ---- the log is lost and found ---- */

static void try_later(struct world *w)
{
	world_later(w, w->reopen_ms * SIM_MS, HAPPENS_OPEN_LOG);
	if (w->reopen_ms < REOPEN_MS_MAX)
		w->reopen_ms *= 2;
}

void process_lose_log(struct world *w)
{
	if (w->lost)
		return;
	w->lost = true;
	disk_close_log(w);
	process_feed(w, (struct core_event){.kind = CORE_WRITE_FAILED, .status = 28});
	w->reopen_ms = REOPEN_MS;
	if (w->alive)
		try_later(w);
}

void process_open_log(struct world *w)
{
	if (!disk_open_log(w)) {
		try_later(w);
		return;
	}
	if (w->live && core_writable(w->core)) { /* a seeded bug: as if nothing had happened */
		w->lost = false;
		process_feed(w, (struct core_event){.kind = CORE_WRITES_WORK, .epoch = w->epoch, .lsn = w->durable});
		return;
	}
	w->live = false;
	agents_kill_all(w);
	core_reset(w->core);
	if (disk_recover(w, w->core) != 0)
		return;
	if (w->booted && !w->timed)
		core_doubt_time(w->core);
	/* The clock may have been set back since the last record: see io/loop.c. */
	if (core_now_us(w->core) > world_core_now(w))
		w->clock_us += (int64_t)(core_now_us(w->core) - world_core_now(w));
	world_later(
	    w, git_lane(w, world_span(w, &w->plan->take_over, PLACE_TAKE_OVER, w->life, w->epoch)), HAPPENS_TAKEN_OVER);
}

void process_taken_over(struct world *w)
{
	bool performed = false;

	if (w->live)
		return;
	if (disk_fails(w, PATH_REPO, &performed)) {
		if (performed)
			w->ref_epoch = w->epoch;
		disk_close_log(w);
		try_later(w);
		return;
	}
	agents_kill_all(w);
	w->temporary_left = w->temporary_left && bugs_on(&w->options.bugs, BUG_TEMPORARY_LEFT);
	w->ref_epoch = w->epoch;
	w->lost = false;
	w->live = true;
	w->recovering = true;
	w->performed = 0;
	core_recovered(w->core, w->epoch, w->durable, world_core_now(w), w->effects);
	w->doubt_lsn = core_staged(w->core);
	w->timed = true;
	trace_effects(w);
	perform_all(w);
	w->recovering = w->recovering && !core_ready(w->core);
	if (w->alive)
		announce(w);
}

/* ---- stopped ---- */

void process_stop(struct world *w, uint64_t until_us)
{
	w->stops++;
	if (until_us > w->stopped_until_us)
		w->stopped_until_us = until_us;
}

void process_go_on(struct world *w)
{
	if (w->stopped_until_us <= w->now_us)
		return;
	world_sooner(w, w->stopped_until_us);
	w->stopped_until_us = w->now_us;
}

/* ---- birth and death ---- */

/* What the machine's clock says is only asked after a boot: until the next one the time is counted, across the deaths of the
 * process, too (io/clock.c). */
static void set_clock(struct world *w)
{
	if (!w->booted)
		return;
	w->clock_us += w->jump_us;
	if (w->clock_us < -(int64_t)(WORLD_WALL_US / 2))
		w->clock_us = 0;
	w->jump_us = 0;
}

void process_start(struct world *w)
{
	struct error err;

	w->alive = true;
	w->life++;
	w->announced = w->live = w->lost = w->recovering = false;
	w->timed = false;
	set_clock(w);
	w->timer_us = CORE_NEVER;
	w->reopen_ms = REOPEN_MS;
	w->exit_status = -1;
	w->system_op = ops_add(w, (struct op){.kind = OP_SYSTEM,
				      .type = OP_INVOKE,
				      .value = (int64_t)w->life,
				      .actor = "conductor",
				      .detail = w->life > 1 ? "restart" : "start"});
	if (w->life > 1 && core_renew(w->core, &w->options, &err) != 0)
		world_broken(w, "%s", err.text);
	process_open_log(w);
}

static void down(struct world *w, int32_t status, bool power)
{
	w->alive = w->live = false;
	w->timer_us = CORE_NEVER;
	w->stopped_until_us = 0;
	w->deaths++;
	w->booted = w->booted || power;
	ops_add(w, (struct op){.kind = OP_SYSTEM, .type = OP_INFO, .status = status, .actor = "conductor"});
	disk_crash(w);
	agents_orphan(w, power);
	client_disconnected(w);
	world_later(
	    w, world_span(w, &w->plan->restart, PLACE_RESTART, w->life, 0) + (power ? 200 * SIM_MS : 0), HAPPENS_START);
}

void process_crash(struct world *w, bool power)
{
	if (!w->alive)
		return;
	down(w, 137, power);
}

void process_exit(struct world *w, int32_t status)
{
	w->exited = true;
	w->exit_status = status;
	world_broken(w, "the core asked for its process's end with status %d", status);
	down(w, status, false);
}
