/* SPDX-License-Identifier: Apache-2.0 */
/* The shared trace, written by whoever holds the lock. Safe in a signal handler: no allocation, no descriptor. */
#ifndef TRITONE_CRASH_RECORD_EMIT_H
#define TRITONE_CRASH_RECORD_EMIT_H

#include <sys/uio.h>

#include "crash/record/control.h"

void emit_lock(struct record_control *control);
void emit_unlock(struct record_control *control);
void emit_stop(struct record_control *control); /* nothing is recorded from here on */

/* op->data is not looked at: the data are the first op->data_size bytes of `pieces`. With the lock held. */
void emit(struct record_control *control, const struct trace_op *op, const struct iovec *pieces, int count);
void emit_refusal(struct record_control *control, const char *what, const char *name, const char *why);

#endif
