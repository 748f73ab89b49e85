/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a run whose plan is that of an experiment: the stages are those of host/engine (watch.c, settle.c), and what they
 * wait for is what an observer outside sees. What the orchestrator says of itself does not end them.
 */
#include "sim/world.h"

#define LOOK_US (20 * SIM_MS)

static bool again(struct world *w)
{
	world_later(w, LOOK_US, HAPPENS_LOOK);
	return false;
}

/* As tracker_settled has it: accepted and at its end, and what is committed is notified. */
static bool tasks_settled(const struct world *w, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		const struct client_task *c = &w->client[i];

		if (!w->plan->tasks[i].left_out && (!c->accepted || !((c->committed && c->notified) || c->given_up)))
			return false;
	}
	return true;
}

static bool quiet(const struct world *w, uint64_t from_us)
{
	uint64_t since_us = w->active_us > from_us ? w->active_us : from_us;

	return w->now_us > since_us + w->plan->limits.progress_limit_us;
}

static bool watched(struct world *w)
{
	bool all_done = client_done(w) && tasks_settled(w, w->plan->task_count), busy = false;

	if (w->now_us <= w->plan->settle_limit_us && !all_done && !(client_done(w) && quiet(w, 0)))
		return false;
	for (uint32_t i = 0; i < w->plan->fault_count; i++) {
		const struct sim_fault *f = &w->plan->faults[i];

		if (w->faults[i].state == FAULT_ACTIVE && !f->duration_us)
			inject_end(w, i);
		busy = busy || w->faults[i].state == FAULT_ACTIVE || w->faults[i].state == FAULT_DUE;
	}
	return !busy;
}

/* The first `count` tasks are at their end and no claim is red; or the limit is over, or nothing happens any more. */
static bool settled(const struct world *w, uint32_t count)
{
	if (client_done(w) && tasks_settled(w, count) && !ops_any_red(w))
		return true;
	return w->now_us > w->stage_us + w->plan->settle_limit_us || quiet(w, w->stage_us);
}

bool stages_look(struct world *w)
{
	const struct sim_plan *plan = w->plan;

	ops_outcomes(w, false);
	if (!w->healed_us) {
		if (!watched(w))
			return again(w);
		inject_end_all(w);
		w->stage_us = w->now_us;
	}
	if (!w->tail) {
		if (!settled(w, plan->task_count))
			return again(w);
		w->tail = true;
		w->stage_us = w->now_us;
		client_begin(w, plan->task_count, plan->tail_count);
		return again(w);
	}
	if (!w->settled_us) {
		if (!settled(w, plan->task_count + plan->tail_count))
			return again(w);
		w->settled_us = w->now_us;
	}
	return w->now_us > w->settled_us + plan->limits.slo_window_us || again(w);
}
