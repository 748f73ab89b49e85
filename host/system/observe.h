/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The observer: one thread that waits for inotify, for the keeper's events and for the deaths of
 * agents, and lets the part concerned look. It polls only for agents that are found by their command lines.
 */
#ifndef TRITONE_SYSTEM_OBSERVE_H
#define TRITONE_SYSTEM_OBSERVE_H

#include "system/agents.h"
#include "system/exits.h"
#include "keeper/keeper.h"
#include "system/ledger.h"
#include "system/lines.h"
#include "system/processes.h"
#include "system/watch.h"
#include "wal/error.h"

struct observer;

struct observer_parts { /* borrowed; any but keeper and watch may be NULL */
	struct keeper *keeper;
	struct watch *watch;
	struct processes *processes;
	struct agents *agents;
	struct ledger *ledger;
	struct lines *lines;
	struct exits *exits;
};

int observer_start(struct observer **ret_observer, const struct observer_parts *parts, struct error *err);
/* Returns once everything that happened before the call has been looked at. -1: the observer cannot see any more, and why. */
int observer_look(struct observer *observer, struct error *err);
void observer_stop(struct observer *observer); /* looks a last time; joins; frees. NULL is fine */

#endif
