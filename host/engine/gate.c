/* SPDX-License-Identifier: Apache-2.0 */
/* The gate: the system starts, and the steady state holds before anything is broken. */
#include "engine/run.h"

int stage_gate(struct run *run)
{
	uint64_t stage = run_stage_begin(run, "gate");
	struct error err;

	run->started = true;
	if (system_start(run->system, &err)) {
		run_stopped(run); /* if that was why, it is the reason */
		run_stage_end(run, stage, false);
		return run_fail(run, VERDICT_GATE_FAILED, "the system did not start: %s", err.text);
	}
	if (activities_run(run, &run->x->hypothesis, false, &err)) {
		run_stopped(run);
		run_stage_end(run, stage, false);
		return run_fail(
		    run, VERDICT_GATE_FAILED, "the steady state does not hold before the fault: %s", err.text);
	}
	run_stage_end(run, stage, true);
	return 0;
}
