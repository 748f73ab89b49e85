/* SPDX-License-Identifier: Apache-2.0 */
/* Makes a plan smaller as long as the same invariant is violated: delta debugging (Zeller and Hildebrandt, 2002)
 * over the faults, then over the tasks, until nothing more can be left out. */
#ifndef SIM_SHRINK_H
#define SIM_SHRINK_H

#include "sim/plan.h"
#include "sim/sim.h"

struct shrink_figures {
	uint32_t runs, faults_before, faults_after, tasks_before, tasks_after;
	uint64_t events_before, events_after;
};

/* Does the plan violate the check with that number? */
typedef bool (*shrink_test_fn)(void *arg, const struct sim_plan *plan, uint64_t *ret_events);
void shrink(struct sim_plan *plan, shrink_test_fn violates, void *arg, struct shrink_figures *figures);

#endif
