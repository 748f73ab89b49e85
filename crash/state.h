/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state: makes a directory hold a crash state. What differs from what it holds is written, nothing else: one state is
 * mostly like the one before.
 */
#ifndef TRITONE_CRASH_STATE_H
#define TRITONE_CRASH_STATE_H

#include "crash/model.h"
#include "wal/error.h"

struct state_dir;

/* `path` is there, empty, and nobody else's. Fast where it is in memory. */
int state_open(struct state_dir **ret_dir, const char *path, struct error *err);
void state_close(struct state_dir *dir); /* leaves what is there */
const char *state_path(const struct state_dir *dir);

/* Whatever was done to the directory since, it holds `state` then. Files are mapped here: nothing else may shorten one
 * while this runs. */
int state_make(struct state_dir *dir, const struct model_state *state, struct error *err);

/* Of what is there now, whoever made it: equal names and contents give equal digests. Without the files that are volatile
 * (patterns, ends with NULL, or NULL). 0, or -1: it cannot be read. */
int state_digest(
    const struct state_dir *dir, const char *const *volatiles, struct digest *ret_digest, struct error *err);

/* Removes all that is in the directory `path`, and it. Missing is fine. */
int state_remove_tree(const char *path, struct error *err);

#endif
