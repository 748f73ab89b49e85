/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plan's faults and tasks as a file: an experiment in JSON (tritone-experiment(5)), so that what the simulation
 * found can be run on the real system as far as its faults are plugins there. Fleet, times and graph follow
 * from the seed, which the file names too.
 */
#ifndef SIM_SCHEDULE_H
#define SIM_SCHEDULE_H

#include "sim/plan.h"
#include "wal/error.h"

/* `deviated`: the invariant that the schedule is to violate, or NULL. */
int schedule_write(
    const struct sim_plan *plan, const char *bug, const char *deviated, const char *path, struct error *err);
/* Draws the plan of the seed, then takes the faults of the file in place of its own, and leaves out the tasks that
 * the file leaves out. With seed NULL that of the file. EINVAL names what the simulation does not know. */
int schedule_read(struct sim_plan *plan, const uint64_t *seed, const char *path, struct error *err);

#endif
