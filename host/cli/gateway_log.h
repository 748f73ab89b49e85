/* SPDX-License-Identifier: Apache-2.0 */
/* The lines that `tritone gateway` prints. */
#ifndef TRITONE_CLI_GATEWAY_LOG_H
#define TRITONE_CLI_GATEWAY_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "history/history.h"

#define GATEWAY_LINES_SIZE (64u << 10) /* bytes that are written at once */

struct gateway_lines {
	char bytes[GATEWAY_LINES_SIZE];
	size_t used;
	uint64_t next; /* index of the first operation that is not in it */
};

/* A visitor of a history: adds the line of one operation; true when it has no room for it. A line that is longer than all the room there
 * is is left out. Nothing is written: a slow reader of ours must not stop the gateway. */
bool gateway_lines_add(void *lines, const struct op *op);

/*
 * Writes each operation's line to `fd` until SIGINT or SIGTERM, which the caller has blocked in all threads; then what is left, as far as
 * its reader takes it. `history` NULL: waits for the signal. -1: no thread or descriptor for that.
 */
int gateway_log(struct history *history, int fd);

#endif
