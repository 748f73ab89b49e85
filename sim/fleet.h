/* SPDX-License-Identifier: Apache-2.0 */
/* An experiment's system and workload as those of a plan. */
#ifndef SIM_FLEET_H
#define SIM_FLEET_H

#include "sim/plan.h"
#include "spec/spec.h"
#include "wal/error.h"

/* The policy, the tasks, the times and the checkers' limits of an experiment that names a system. EINVAL, E2BIG: what the
 * simulation has not. */
int fleet_read(struct sim_plan *plan, const struct spec_experiment *x, struct error *err);
/* The tasks of a workload that is a graph, in place of those that the plan has. */
int fleet_graph(struct sim_plan *plan, const struct spec_experiment *x, struct error *err);
/* What the experiment adds to the orchestrator's command: --set and --bug. */
int fleet_arguments(struct sim_plan *plan, const struct spec_experiment *x, struct error *err);

#endif
