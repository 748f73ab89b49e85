/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gateway's barriers: which request is the n-th to a target, and by which barriers it is held.
 * Knows no sockets; not thread-safe, the gateway holds its lock.
 */
#ifndef TRITONE_GATEWAY_HOLD_H
#define TRITONE_GATEWAY_HOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wal/error.h"

struct holds;

int holds_create(struct holds **ret_holds, struct error *err);
void holds_destroy(struct holds *holds);

/* A barrier for the `nth` (>= 1) request to `target` ("*": any provider) from now. `tag` becomes its id. */
int holds_add(struct holds *holds, const char *target, uint64_t nth, uint64_t tag, struct error *err);
void holds_remove(struct holds *holds, uint64_t tag);

/* Shows the request `id` (> 0) to the barriers; true when at least one holds it now. `text` becomes "held 3" or
 * "held 3 5", else "". */
bool holds_arrive(struct holds *holds, const char *target, bool provider, uint64_t id, char *text, size_t size);
/* The id of a barrier that still holds the request, or 0. */
uint64_t holds_of(const struct holds *holds, uint64_t id);

#endif
