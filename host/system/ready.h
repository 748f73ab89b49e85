/* SPDX-License-Identifier: Apache-2.0 */
/* When a process is ready: each condition that its manifest gives. Used by the thread that brings the process up. */
#ifndef TRITONE_SYSTEM_READY_H
#define TRITONE_SYSTEM_READY_H

#include <stdbool.h>
#include <stdint.h>

#include "spec/spec.h"
#include "system/exits.h"
#include "system/http.h"
#include "keeper/keeper.h"
#include "wal/error.h"

struct ready;

struct ready_options {
	const struct spec_process *process;
	spec_lookup_fn lookup;
	void *lookup_arg;
	struct http *http;
	struct keeper *keeper;
	struct exits *exits;
	const char *log; /* what it writes: the file; copied */
	int interrupt_fd;
	/* of a command that is asked: borrowed */
	char *const *environment;
	const char *directory;
};

int ready_create(struct ready **ret_ready, const struct ready_options *options, struct error *err);
void ready_destroy(struct ready *ready); /* NULL is fine */
/* Before each start: what it has written up to here does not count. */
void ready_begin(struct ready *ready);
/* Until all conditions have held since ready_begin: 1. 0: `alive` says no, which is asked whenever something comes at `wake`. -1: not within
 * its time, with what is lacking; or interrupted. */
int ready_await(struct ready *ready, int wake, bool (*alive)(void *arg), void *arg, struct error *err);

/* Does anybody take connections at 127.0.0.1? BUSY: somebody listens, and does not take any now. */
enum ready_port { READY_PORT_FREE = 1, READY_PORT_BUSY, READY_PORT_OPEN };
enum ready_port ready_port(uint16_t port);

#endif
