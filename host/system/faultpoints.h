/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The harness's side of tritone/faultpoint.h: the table of fault points in a file that the system's
 * processes map. Rules are named by keys; hits and passes are counted by the system's own processes
 * and survive their death. Thread-safe.
 */
#ifndef TRITONE_SYSTEM_FAULTPOINTS_H
#define TRITONE_SYSTEM_FAULTPOINTS_H

#include <stdint.h>

#include "tritone/fault.h"
#include "wal/error.h"

struct faultpoints;

/* Creates (or empties) the table at `path`. */
int faultpoints_create(struct faultpoints **ret_points, const char *path, struct error *err);
void faultpoints_destroy(struct faultpoints *points); /* disarms all; NULL is fine */
const char *faultpoints_path(const struct faultpoints *points);

/* Arms a point; a key again replaces its rule. EBUSY: another key has that point. `nth` counts from here. */
int faultpoints_set(struct faultpoints *points, const struct tritone_point_rule *rule, struct error *err);
/* ENOENT: no such key. */
int faultpoints_hits(
    struct faultpoints *points, const char *key, uint64_t *ret_hits, uint64_t *ret_seen, struct error *err);
/* 1 when it was there. */
int faultpoints_clear(struct faultpoints *points, const char *key);

#endif
