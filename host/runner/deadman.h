/* SPDX-License-Identifier: Apache-2.0 */
/* In the runner: what happens when the host has gone. */
#ifndef TRITONE_RUNNER_DEADMAN_H
#define TRITONE_RUNNER_DEADMAN_H

#include "runner/hooks.h"

/*
 * Waits until the host is really gone (`host_pidfd`, -1: it is), takes over its undo log and closes the fault's record;
 * reverts from the record first, unless `reverted`. 0 when the record is closed or there is none.
 */
int deadman_settle(const char *run_dir, const char *fault_id, struct hooks *hooks, bool reverted, int host_pidfd,
    int64_t timeout_ms, struct error *err);

/* Replaces this process, and with it a hook that hangs, by one that reverts from the undo record. Returns only when it
 * cannot. */
void deadman_exec(const char *run_dir, const char *fault_id, int64_t timeout_ms);

/* That process: `tritone __runner --revert RUN FAULT_ID TIMEOUT_MS`; returns the exit status. */
int deadman_main(const char *run_dir, const char *fault_id, int64_t timeout_ms);

#endif
