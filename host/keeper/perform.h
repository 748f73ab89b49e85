/* SPDX-License-Identifier: Apache-2.0 */
/* Does a notified call on a task's behalf, with its files, its directories, its offsets and its
 * umask, so that the call can be reported as failed although it happened. One thread, of its own
 * CLONE_FS (the umask is set). */
#ifndef TRITONE_KEEPER_PERFORM_H
#define TRITONE_KEEPER_PERFORM_H

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>

#include "keeper/calls.h"
#include "wal/error.h"

struct performer;

int performer_create(struct performer **ret_performer, struct error *err);
void performer_destroy(struct performer *performer);

enum performed {
	PERFORM_DONE = 0,
	PERFORM_FAILED, /* by itself: *ret_errno is what the task is to see */
	PERFORM_CANNOT, /* not a regular file, or out of our reach: let the kernel do it */
	PERFORM_GONE,   /* the task died or left the call: nothing to answer */
};

/* May block for as long as the call does. `listener`: to see whether the notification still holds,
 * after each look into the task's memory and before each effect. *ret_value, set with PERFORM_DONE, is what the call would have returned;
 * -1: that cannot be given to the task (a new descriptor, an offset of its own that moves). */
enum performed perform_call(struct performer *performer, const struct call *call, int listener,
    const struct seccomp_notif *notification, int64_t *ret_value, int *ret_errno);
/* Would that be so, without performing it? */
bool perform_returns(const struct call *call);

bool perform_still_valid(int listener, uint64_t id);

#endif
