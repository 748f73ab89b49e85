/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the keeper's process share; the host knows nothing of it. One thread. */
#ifndef TRITONE_KEEPER_KEEP_H
#define TRITONE_KEEPER_KEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "keeper/filter.h"
#include "keeper/notify.h"
#include "keeper/rules.h"
#include "wal/error.h"

#define KEEP_LEFT_SIZE 160u

struct spawned {
	pid_t pid;
	int64_t start_ns;
	char name[64];
};

struct keep {
	int control, events, signals;
	const char *log_dir;
	struct spawned *spawned; /* alive or not yet reaped */
	size_t spawned_count, spawned_room;
	uint8_t *queue; /* of events */
	size_t queue_used, queue_room;
	struct sock_fprog filter; /* made at its first use */
	struct rules *rules;
	struct notify *notify; /* started at its first use */
	bool unreaped;         /* the dead are more than are reaped in one go */
	bool stopping;
	int64_t stop_ns;
};

int64_t keep_now_ns(void); /* CLOCK_MONOTONIC */

/* --- keep_children.c --- */

/* NULL: an orphan, or not our child at all. */
struct spawned *keep_spawned(struct keep *keep, pid_t pid);
/* Reaps whoever has exited and queues the event. False: no child at all is left, and as all orphans
 * end up here, no descendant either. */
bool keep_reap(struct keep *keep);
/* SIGKILLs all descendants, and returns when none is left: how many were alive. Those that may not be killed (another user's: a
 * set-user-ID program) are given up when nothing else is left and nothing changes any more: *ret_left names them, "" when there are
 * none. */
unsigned keep_kill_all(struct keep *keep, char ret_left[KEEP_LEFT_SIZE]);
void keep_drain_signals(struct keep *keep);
/* Sends what the host's socket takes of the queued events. */
void keep_flush(struct keep *keep);

/* --- keep_requests.c: -1 when the host cannot be answered --- */

int keep_reply(struct keep *keep, int code, const char *text, const char *key, int64_t value);
int keep_reply_error(struct keep *keep, const struct error *err);
/* Takes one request. False: the host is gone, or talks nonsense. */
bool keep_serve(struct keep *keep);

#endif
