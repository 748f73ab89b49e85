/* SPDX-License-Identifier: Apache-2.0 */
/* An experiment from beginning to end: the stages in their order, the clean-up in the reverse, and the re-runs of a deviation. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/run.h"

int run_fail(struct run *run, enum verdict verdict, const char *format, ...)
{
	struct result *result = run->result;
	va_list args;

	/* The graver one stays, and of two like ones the first. */
	if (verdict <= result->verdict)
		return -1;
	result->verdict = verdict;
	result->ok = false;
	va_start(args, format);
	vsnprintf(result->reason, sizeof result->reason, format, args);
	va_end(args);
	return -1;
}

uint64_t run_stage_begin(struct run *run, const char *stage)
{
	progress_stage(run->options->progress, run->options->lane, stage, "");
	return history_append(
	    run->history, &(struct op){.kind = OP_STAGE, .type = OP_INVOKE, .pair = OP_NONE, .actor = stage});
}

void run_stage_end(struct run *run, uint64_t invoke, bool ok)
{
	history_complete(run->history, invoke,
	    &(struct op){.kind = OP_STAGE, .type = ok ? OP_OK : OP_FAIL, .detail = ok ? "" : run->result->reason});
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void finish(struct run *run)
{
	size_t i;

	for (i = 0; i < run->fault_count; i++)
		fault_finish(&run->faults[i]);
	free(run->faults);
	run_shut(run);
	tracker_finish(&run->tracker);
	spec_experiment_free(run->x);
	spec_manifest_free(run->manifest);
	for (i = 0; i < run->arguments.count; i++)
		free(run->arguments.items[i]);
	free(run->arguments.items);
}

/* What came out, beside what was observed, for whoever opens a kept run. */
static void store_result(struct run *run)
{
	const struct report_options options = {.verbosity = 2};
	char path[PATH_MAX];
	struct error err;
	bool stored;
	FILE *out;

	if (!run->dir[0] || snprintf(path, sizeof path, "%s/result.json", run->dir) >= (int)sizeof path)
		return;
	out = fopen(path, "we");
	stored = out && report_json(out, &options, run->result, 1, &err) == 0;
	if ((out && fclose(out) != 0) || !stored)
		run_fail(run, VERDICT_ERROR, "%s could not be written", path);
}

static void run_once(const struct engine_options *options, const struct engine_case *c, struct result *result)
{
	struct run run = {.options = options, .c = c, .result = result};
	uint64_t began = now_us();

	memset(result, 0, sizeof *result);
	snprintf(result->name, sizeof result->name, "%s", c->name);
	snprintf(result->file, sizeof result->file, "%s", c->experiment);
	snprintf(result->bug, sizeof result->bug, "%s", c->bug ? c->bug : "");
	result->seed = options->seed;
	result->recovered_us = -1;
	if (stage_prepare(&run) == 0 && !options->dry_run) {
		if (stage_gate(&run) == 0 && stage_watch(&run) == 0)
			(void)stage_settle(&run);
		(void)stage_close(&run);
		stage_judge(&run);
		if (options->timeline && run.history) {
			const struct history_view view = history_view(run.history);

			result->timeline = report_timeline(&view);
		}
	} else if (options->dry_run && result->verdict == VERDICT_HELD) {
		result->ok = true;
	}
	finish(&run);
	result->duration_us = now_us() - began;
	store_result(&run);
	if (run.dir[0] && result->ok && !options->keep && rundir_remove(run.dir) == 0)
		result->run_dir[0] = '\0';
}

void engine_run(const struct engine_options *options, const struct engine_case *c, struct result *result)
{
	uint32_t reruns, i;

	progress_begin(options->progress, options->lane, c->name);
	run_once(options, c, result);
	if (result->verdict == VERDICT_DEVIATED) {
		reruns = result->ok && options->reruns > 1 ? 1 : options->reruns;
		result->reproduced = result->reruns = reruns > 0;
		for (i = 0; i < reruns && !interrupt_signal(options->interrupt); i++) {
			struct result again;

			progress_stage(options->progress, options->lane, "again", "the same seed once more");
			run_once(options, c, &again);
			/* One that was broken off says nothing of it. */
			result->reruns += again.verdict != VERDICT_ABORTED;
			result->reproduced += again.verdict == VERDICT_DEVIATED && again.ok == result->ok;
			/* What a repetition has left behind is left behind. */
			result->left_behind += again.left_behind;
			result->killed += again.killed;
			if (again.verdict == VERDICT_UNDO_INCOMPLETE) {
				result->verdict = again.verdict;
				result->ok = false;
				snprintf(result->reason, sizeof result->reason, "when it was run again: %.280s",
				    again.reason);
				i = reruns;
			}
			result_finish(&again);
		}
	}
	progress_end(options->progress, options->lane);
}
