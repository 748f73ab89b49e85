/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The watch: the workload runs, each fault is injected at its moment, proven and taken back, and the kill switch is looked at. It waits on the
 * history alone: whatever happens is an operation there.
 */
#include <poll.h>
#include <stdio.h>

#include "engine/run.h"

#define SWITCH_GAP_MS 100    /* how often halt files are looked for */
#define QUIET_US      500000 /* after so much silence it is asked what became of the tasks */

/* ---- waiting ---- */

static bool see(void *arg, const struct op *op)
{
	struct run *run = arg;
	bool attention = false;
	size_t i;

	run->next = op->index + 1;
	tracker_follow(&run->tracker, op);
	for (i = 0; i < run->fault_count; i++)
		attention = fault_see(&run->faults[i], op) || attention;
	/* A task that came to its end may have been the last one; the system may be gone for good. */
	return attention || op->kind == OP_COMMIT || (op->kind == OP_NOTIFY && op->type == OP_OK) ||
	       op->kind == OP_CLAIM || (op->kind == OP_SUBMIT && op->type == OP_OK) ||
	       (op->kind == OP_SYSTEM && op->type == OP_FAIL) || op->kind == OP_OUTCOME;
}

int run_wait(struct run *run, int64_t timeout_ms)
{
	uint64_t index;

	if (interrupt_signal(run->options->interrupt))
		return -1;
	return history_wait(run->history, run->next, see, run, timeout_ms, &index) < 0 ? -1 : 0;
}

void run_ask_when_quiet(struct run *run)
{
	uint64_t now_us = history_now_us(run->history), quiet_us = run->tracker.last_activity_us;
	struct error err;

	if (quiet_us < run->asked_us)
		quiet_us = run->asked_us;
	/* Its last answer is taken in first: one that takes long would else be asked for faster than it can be read. */
	if (!workload_done(run->workload) || run->next < history_count(run->history) || now_us < quiet_us + QUIET_US)
		return;
	(void)system_outcomes(run->system, &err); /* a system that does not answer has said nothing */
	run->asked_us = history_now_us(run->history);
}

static void progress(const struct run *run, const char *stage)
{
	char text[96];

	snprintf(text, sizeof text, "%zu of %llu committed", run->tracker.committed,
	    (unsigned long long)run->x->workload.tasks + run->x->workload.tail);
	progress_stage(run->options->progress, run->options->lane, stage, text);
}

/* ---- the kill switch ---- */

int run_stopped(struct run *run)
{
	int sig = interrupt_signal(run->options->interrupt);
	char why[256];

	if (sig)
		return run_fail(run, VERDICT_ABORTED, "interrupted by signal %d", sig);
	if (rundir_halted(run, why, sizeof why))
		return run_fail(run, VERDICT_ABORTED, "%s", why);
	return 0;
}

bool run_all_done(const struct run *run)
{
	return workload_done(run->workload) && tracker_settled(&run->tracker, run->x->workload.tasks);
}

static uint64_t quiet_since(const struct run *run)
{
	return run->tracker.last_activity_us > run->began_us ? run->tracker.last_activity_us : run->began_us;
}

static int look_at_switch(struct run *run, uint64_t now_us)
{
	const struct tracker *t = &run->tracker;
	uint64_t quiet_us = quiet_since(run);
	double rate;

	if (run_stopped(run))
		return -1;
	rate = t->submissions ? (double)t->refused / (double)t->submissions : 0;
	if (run->x->stop.error_rate > 0 && t->submissions >= 10 && rate > run->x->stop.error_rate)
		return run_fail(run, VERDICT_ABORTED,
		    "kill switch: %.0f %% of the submissions failed, the limit is %.0f %%", 100 * rate,
		    100 * run->x->stop.error_rate);
	/* A system that has nothing left to do is silent, not unresponsive. */
	if (run->x->stop.unresponsive_ms > 0 && now_us > quiet_us &&
	    now_us - quiet_us > (uint64_t)run->x->stop.unresponsive_ms * 1000 && !run_all_done(run))
		return run_fail(run, VERDICT_ABORTED, "kill switch: nothing was observed for %.1f s",
		    (double)(now_us - quiet_us) / 1e6);
	return 0;
}

/* ---- the loop ---- */

struct pulse {
	uint64_t wake_us; /* when something of a fault is due */
	bool busy;        /* a fault is in force, or its moment has come */
};

static struct pulse advance(struct run *run)
{
	struct pulse p = {.wake_us = UINT64_MAX};
	size_t i;

	for (i = 0; i < run->fault_count; i++) {
		struct run_fault *f = &run->faults[i];
		uint64_t wake = fault_advance(f, history_now_us(run->history));

		if (wake < p.wake_us)
			p.wake_us = wake;
		p.busy = p.busy || f->state == FAULT_ACTIVE || f->state == FAULT_DUE;
	}
	return p;
}

/* ---- letting time pass ---- */

int run_pause(struct run *run, int64_t ms, bool must_finish)
{
	uint64_t until_us = history_now_us(run->history) + (ms > 0 ? (uint64_t)ms * 1000 : 0);

	while (history_now_us(run->history) < until_us) {
		/* The method's pauses are part of the watch: the faults have their moments in them, too. */
		struct pulse p = run->watching ? advance(run) : (struct pulse){.wake_us = UINT64_MAX};
		uint64_t wake_us = p.wake_us < until_us ? p.wake_us : until_us;
		uint64_t now_us = history_now_us(run->history);
		int64_t left_ms = wake_us > now_us ? (int64_t)((wake_us - now_us + 999) / 1000) : 0;

		if (!must_finish && (run->watching ? look_at_switch(run, now_us) : run_stopped(run)))
			return -1;
		/* What happens meanwhile is taken in, and does not shorten it. */
		if (run_wait(run, left_ms < SWITCH_GAP_MS ? left_ms : SWITCH_GAP_MS) < 0 && must_finish)
			poll(NULL, 0, (int)(left_ms < SWITCH_GAP_MS ? left_ms : SWITCH_GAP_MS));
	}
	return 0;
}

/* The workload is at its end: it has settled, nothing happens any more, or it has taken too long. */
static bool ended(const struct run *run, uint64_t now_us)
{
	uint64_t quiet_us = quiet_since(run);

	if (now_us - run->began_us > (uint64_t)run->x->workload.limit_ms * 1000)
		return true;
	if (!workload_done(run->workload))
		return false;
	return run_all_done(run) || (now_us > quiet_us && now_us - quiet_us > run->config.progress_limit_us);
}

/* Done, and not yet seen to be: a process that was killed takes its time to die. */
static bool awaits_proof(const struct run_fault *f)
{
	return (f->info->capabilities & TRITONE_CAP_INSTANT) && !f->unexercised;
}

/* A fault in force without an end of its own ends with the workload. */
static void end_open_faults(struct run *run)
{
	size_t i;

	for (i = 0; i < run->fault_count; i++)
		if (run->faults[i].state == FAULT_ACTIVE && run->faults[i].end_us == UINT64_MAX &&
		    !awaits_proof(&run->faults[i]))
			fault_end(&run->faults[i]);
}

static int watch(struct run *run)
{
	for (;;) {
		struct pulse p = advance(run);
		uint64_t now_us = history_now_us(run->history);
		int64_t timeout_ms = SWITCH_GAP_MS;

		if (look_at_switch(run, now_us))
			return -1;
		if (ended(run, now_us)) {
			end_open_faults(run);
			/* What has just happened may be what another fault waits for: only once all has been seen it is over. */
			if (!p.busy && run->next == history_count(run->history))
				return 0;
		}
		if (p.wake_us <= now_us)
			timeout_ms = 0;
		else if (p.wake_us != UINT64_MAX && (int64_t)((p.wake_us - now_us) / 1000) < timeout_ms)
			timeout_ms = (int64_t)((p.wake_us - now_us + 999) / 1000);
		progress(run, "watch");
		run_ask_when_quiet(run);
		run_wait(run, timeout_ms); /* an interruption is seen by the switch */
	}
}

static int begin_workload(struct run *run, struct error *err)
{
	const struct spec_experiment *x = run->x;

	if (x->workload.graph)
		return workload_start_graph(
		    &run->workload, run->system, x->workload.graph, x->workload.graph_count, err);
	return workload_start(
	    &run->workload, run->system, &x->workload.roles, x->workload.rate, 0, x->workload.tasks, err);
}

int stage_watch(struct run *run)
{
	uint64_t stage = run_stage_begin(run, "watch");
	struct error err;
	size_t i;
	int r = 0;

	/* What the system has committed before anything was asked of it is recorded as being before. */
	if (system_observe(run->system, &err))
		r = run_fail(run, VERDICT_ERROR, "the system could not be observed: %s", err.text);
	run->next = history_count(run->history);
	run->began_us = history_now_us(run->history);
	for (i = 0; r == 0 && i < run->fault_count; i++)
		r = fault_arm(&run->faults[i]);
	/* What has no moment of its own is in force before the first task is handed in: else some would slip past it. */
	for (i = 0; r == 0 && i < run->fault_count; i++)
		if (run->x->faults[i].when.event == SPEC_EVENT_NONE && run->x->faults[i].when.after_ms == 0 &&
		    run->x->faults[i].when.within_ms == 0)
			(void)fault_advance(&run->faults[i], history_now_us(run->history));
	if (r == 0 && begin_workload(run, &err))
		r = run_fail(run, VERDICT_ERROR, "%s", err.text);
	run->watching = true;
	if (r == 0 && activities_run(run, &run->x->method, false, &err))
		r = run_fail(run, VERDICT_ABORTED, "the method could not be carried out: %s", err.text);
	if (r == 0)
		r = watch(run);
	run->watching = false;
	for (i = 0; i < run->fault_count; i++) /* whatever happened */
		fault_end(&run->faults[i]);
	run_stage_end(run, stage, r == 0);
	return r;
}
