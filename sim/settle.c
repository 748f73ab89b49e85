/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two phases of a run. Faults at will; then all heal, but for what is declared dead, and everything that was
 * accepted must come to its end, new work must go through as if nothing had been, and the SLOs return to green
 * and stay there. No stall is excused: what is missing when nothing happens any more is for the checkers to say.
 */
#include "sim/world.h"

#define LOOK_US 100 * SIM_MS

static bool again(struct world *w)
{
	world_later(w, LOOK_US, HAPPENS_LOOK);
	return false;
}

static uint64_t open_tasks(const struct world *w)
{
	struct core_status status;

	if (!w->live)
		return 1;
	core_status(w->core, world_core_now(w), &status);
	return status.remaining;
}

/* It has said what became of each task that it accepted; a log that fails makes it keep an end to itself, with nothing left to do. */
static bool all_told(const struct world *w)
{
	for (uint32_t i = 0; i < w->handed_in; i++)
		if (w->client[i].accepted && !w->client[i].told)
			return false;
	return true;
}

static bool faults_over(const struct world *w)
{
	for (uint32_t i = 0; i < w->plan->fault_count; i++)
		if (w->faults[i].state != FAULT_OVER)
			return false;
	return true;
}

/* So many that what failed, or took long, leaves the window of the SLOs. */
static uint32_t tail_count(const struct world *w)
{
	uint32_t room = SIM_TASKS_MAX - w->plan->task_count;
	uint32_t wanted = w->plan->tail_count;

	if (w->result->failed > 0 || ops_any_red(w))
		wanted = (uint32_t)w->plan->policy.slo_window + 4;
	return wanted < room ? wanted : room;
}

static bool stalled(const struct world *w, uint64_t limit_us)
{
	return w->now_us > w->active_us + limit_us && w->now_us > w->healed_us + limit_us;
}

/*
 * The end of a run that does not settle. What is open then, or red, the checkers see; of what was never taken they see only what was first
 * handed in when every fault was over (progress).
 */
static bool give_up(struct world *w)
{
	uint32_t refused = 0;

	for (uint32_t i = 0; i < w->handed_in; i++)
		refused += !w->plan->tasks[i].left_out && !w->client[i].accepted;
	if (refused || !w->live || !core_ready(w->core))
		world_broken(w,
		    "%u tasks were never accepted, %.1f s after all faults were undone; the orchestrator is %s",
		    refused, (double)(w->now_us - w->healed_us) / 1e6,
		    !w->live                 ? "not there"
		    : !core_ready(w->core)   ? "not ready"
		    : core_writable(w->core) ? "up"
					     : "not writing");
	return true;
}

bool settle_look(struct world *w)
{
	const struct policy *p = &w->plan->policy;
	uint64_t limit_us = (p->slo_window_ms + 30000) * SIM_MS;
	bool finished;

	if (w->plan->as_real)
		return stages_look(w);
	ops_outcomes(w, false);
	finished = client_done(w) && open_tasks(w) == 0 && all_told(w);
	if (!w->healed_us) {
		if (w->now_us >= w->plan->faults_end_us || (finished && faults_over(w)) ||
		    (finished && stalled(w, 2 * SIM_SECOND)))
			inject_end_all(w);
		return again(w);
	}
	if (w->now_us > w->healed_us + limit_us ||
	    (!finished && stalled(w, judge_progress_limit(w->plan) + SIM_SECOND)))
		return give_up(w);
	if (!finished) {
		w->settled_us = 0;
		return again(w);
	}
	if (!w->tail) {
		w->tail = true;
		client_begin(w, w->plan->task_count, tail_count(w));
		return again(w);
	}
	if (ops_any_red(w)) {
		w->settled_us = 0;
		return again(w);
	}
	if (!w->settled_us || w->settled_us < w->red_us) /* one may have been red between two looks */
		w->settled_us = w->now_us;
	return w->now_us >= w->settled_us + 700 * SIM_MS || again(w);
}
