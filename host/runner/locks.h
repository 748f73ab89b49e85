/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is at a run: its host (RUN/host, with the pid), the runner of each fault (RUN/keep/ID), and whoever closes undo
 * records after the host's end (RUN/keep). All are kernel locks: they end with their holder, however it ends.
 *
 * Order: a fault's lock, then the turn, then wal/'s own writer lock.
 */
#ifndef TRITONE_RUNNER_LOCKS_H
#define TRITONE_RUNNER_LOCKS_H

#include "wal/error.h"

/* Each gives a descriptor whose closing releases the lock, or -1. */
int lock_host(const char *run_dir, struct error *err); /* EBUSY with the pid: never waits */
void lock_host_done(int fd); /* closes it, and leaves a word that the host has ended in order */
int lock_no_host(const char *run_dir, struct error *err); /* 0 or EBUSY: takes nothing */
int lock_turn(const char *run_dir, struct error *err);    /* waits */
int lock_fault(const char *keep_dir, struct error *err);  /* waits: until no other runner of this fault is left */

#endif
