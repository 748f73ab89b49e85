/* SPDX-License-Identifier: Apache-2.0 */
/* What a record says of its task, read out of its bytes: for the coverage, so that nothing of the core's own
 * state is looked at. */
#ifndef SIM_PEEK_H
#define SIM_PEEK_H

#include "sim/world.h"

/* Notes the transition that the record makes. */
void peek_cover(struct world *w, uint32_t kind, const uint8_t *payload, size_t size);
/* What was staged is lost: the states are those of what is durable. */
void peek_forget(struct world *w);

#endif
