/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was exercised, of behaviour and not of lines: which transitions of a task were taken, which fault
 * came in which state of its target, at which points the orchestrator died, which invariants had something
 * to judge. The table says what could be, so that what never was can be named.
 */
#ifndef SIM_COVERAGE_H
#define SIM_COVERAGE_H

#include <stdint.h>
#include <stdio.h>

#include "fixtures/conductor/core/core.h"
#include "sim/plan.h"
#include "sim/sim.h"

/* As the log has it: the states of a task, from not accepted on. */
enum seen_state {
	SEEN_NONE = 0,
	SEEN_OPEN,
	SEEN_CLAIMED,
	SEEN_SPAWNED,
	SEEN_RESULT,
	SEEN_INTENT,
	SEEN_COMMITTED,
	SEEN_NOTIFYING,
	SEEN_DONE,
	SEEN_FAILED,
	SEEN_STATES,
};

/* The orchestrator's. */
enum seen_mode { MODE_UP = 0, MODE_RECOVERING, MODE_OFFLINE, MODE_DOWN, MODES };

struct coverage {
	uint64_t transitions[SEEN_STATES][CORE_RECORD_END][CORE_CLASS_END];
	uint64_t faults[SIM_PLUGINS][8][SEEN_STATES]; /* plugin, kind, state of the task it hit (NONE: of no task) */
	uint64_t modes[SIM_PLUGINS][MODES];
	uint64_t points[SIM_POINTS + 1];
	uint64_t events[CORE_SHUTDOWN + 1], effects[CORE_EXIT + 1];
	uint64_t opportunities[SIM_CHECKS], violations[SIM_CHECKS];
};

void coverage_add(struct coverage *to, const struct coverage *from);
/* The line "exercised: ..." and the list of what was not, of any length with `never`. */
void coverage_print(const struct coverage *coverage, bool never, FILE *out);
bool coverage_any(const struct coverage *coverage);

#endif
