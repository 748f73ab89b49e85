/* SPDX-License-Identifier: Apache-2.0 */
/* After the faults: recovery finishes on its own, a tail of tasks shows that it is back to normal, then everything is stopped and looked over. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/run.h"

#define LOOK_GAP_MS 100
#define LAST_LINES  5 /* of each process */

/* Until the first `count` tasks are at their end and no claim is red; gives up at the limit, or when nothing happens any more. */
static int until_settled(struct run *run, size_t count)
{
	uint64_t from_us = history_now_us(run->history);

	for (;;) {
		uint64_t now_us = history_now_us(run->history), quiet_us = run->tracker.last_activity_us;

		if (quiet_us < from_us)
			quiet_us = from_us;
		if (run_stopped(run))
			return -1;
		if (workload_done(run->workload) && tracker_settled(&run->tracker, count) &&
		    run->tracker.red_count == 0)
			return 0;
		if (now_us - from_us > (uint64_t)run->x->workload.limit_ms * 1000 ||
		    now_us - quiet_us > run->config.progress_limit_us)
			return 0; /* what is missing now is for the checkers to say */
		run_ask_when_quiet(run);
		run_wait(run, LOOK_GAP_MS);
	}
}

/* The SLOs must stay green for a window: time has to pass. */
static int stay(struct run *run)
{
	return run_pause(run, (int64_t)((run->config.slo_window_us + 999) / 1000), false);
}

static int settle(struct run *run)
{
	size_t all = run->x->workload.tasks + run->x->workload.tail;
	struct error err;

	progress_stage(run->options->progress, run->options->lane, "settle", "");
	if (until_settled(run, run->x->workload.tasks))
		return -1;
	workload_stop(run->workload);
	run->workload = NULL;
	if (run->x->workload.tail) {
		if (workload_start(&run->workload, run->system, &run->x->workload.roles, run->x->workload.rate,
			run->x->workload.tasks, run->x->workload.tail, &err))
			return run_fail(run, VERDICT_ERROR, "%s", err.text);
		if (until_settled(run, all))
			return -1;
	}
	if (stay(run))
		return -1;
	(void)system_outcomes(run->system, &err); /* a system that does not answer has made no claims */
	if (system_observe(run->system, &err))
		return run_fail(run, VERDICT_ERROR, "the system could not be observed: %s", err.text);
	return 0;
}

int stage_settle(struct run *run)
{
	uint64_t stage = run_stage_begin(run, "settle");
	int r = settle(run);

	run_stage_end(run, stage, r == 0);
	return r;
}

/* It explains what else was found. */
static void note_gone(struct run *run)
{
	const char *name = run->manifest->processes[run->manifest->main_process].name;
	char how[160];

	if (run->started && system_lost(run->system, name, how, sizeof how))
		snprintf(run->result->gone, sizeof run->result->gone, "%.40s is gone for good: %s", name, how);
}

static void say(void *arg, const char *name, const char *line)
{
	fprintf(arg, "%s: %s\n", name, line);
}

/* What it said itself, when it never came up, went away, or could not be looked at. */
static void note_output(struct run *run)
{
	struct result *result = run->result;
	size_t size;
	FILE *out;

	if (!run->started ||
	    (!*result->gone && result->verdict != VERDICT_GATE_FAILED && result->verdict != VERDICT_ERROR))
		return;
	out = open_memstream(&result->output, &size);
	if (!out)
		return;
	system_last_words(run->system, LAST_LINES, say, out);
	if (fclose(out) != 0) {
		free(result->output);
		result->output = NULL;
	}
}

int stage_close(struct run *run)
{
	struct error err;
	int r = 0, killed = 0;

	workload_stop(run->workload);
	run->workload = NULL;
	/* The faults are undone and all that is judged was seen; the system is still there for them, unless it has died of it all. */
	if (run->started && run->x->rollbacks.count) {
		progress_stage(run->options->progress, run->options->lane, "rollbacks", "");
		if (activities_run(run, &run->x->rollbacks, true, &err))
			r = run_fail(run, VERDICT_UNDO_INCOMPLETE, "a rollback failed: %s", err.text);
	}
	note_gone(run);
	progress_stage(run->options->progress, run->options->lane, "stop", "");
	if (run->started && (killed = system_stop(run->system, run->manifest->stop_grace_ms, &err)) < 0)
		r = run_fail(run, err.code == EPERM ? VERDICT_UNDO_INCOMPLETE : VERDICT_ERROR,
		    "the system could not be stopped: %s", err.text);
	note_output(run);
	/* A system that was cut off in the middle, or whose disk is full with ours, owes nobody an orderly end. */
	if (killed > 0 && run->result->verdict == VERDICT_HELD) {
		run->result->left_behind += (uint64_t)killed;
		run->result->killed = (uint64_t)killed;
	}
	if (run->started && r == 0 && run->result->verdict == VERDICT_HELD && system_audit(run->system, &err))
		r = run_fail(run, VERDICT_ERROR, "the system's state could not be looked over: %s", err.text);
	return r;
}
