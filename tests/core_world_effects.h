/* SPDX-License-Identifier: Apache-2.0 */
/* Between the two halves of the little world: what is performed, and what its agents do of themselves. */
#ifndef CORE_WORLD_EFFECTS_H
#define CORE_WORLD_EFFECTS_H

#include "core_world.h"

/* Performs what the core has asked for at its last step. */
void world_perform(struct world *world);
/* An event from an agent, with its task and attempt, later. */
void world_agent_says(struct world *world, int index, uint64_t after_us, struct core_event event);
/* What an agent does once its call is answered. */
void world_agent_goes_on(struct world *world, int index, const struct core_event *called);

#endif
