/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Schedules: experiments (tritone-experiment(5)) that both worlds can run, see tritone-schedule(5). What the simulation writes has the
 * tasks as a graph, the policy as arguments, and the seed from which all else is drawn. What people write names a system, whose
 * manifest says the policy.
 */
#ifndef SIM_SCHEDULE_H
#define SIM_SCHEDULE_H

#include "sim/plan.h"
#include "wal/error.h"

/* `deviated`: the invariant that the schedule is to violate, or NULL. */
int schedule_write(
    const struct sim_plan *plan, const char *bug, const char *deviated, const char *path, struct error *err);
/* Draws the plan of the seed, then takes what the file says in place of what was drawn. With seed NULL that of the file. EINVAL
 * names what the simulation does not know. */
int schedule_read(struct sim_plan *plan, const uint64_t *seed, const char *path, struct error *err);

#endif
