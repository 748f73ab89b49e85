/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The services of a system that Tritone has not started: its agents by pids and pid files, its gateway through that gateway's own control
 * socket. What needs more (the system-call filter, fault points) is refused with the reason.
 */
#ifndef TRITONE_ENGINE_BYSTANDER_H
#define TRITONE_ENGINE_BYSTANDER_H

#include <stddef.h>

#include "wal/error.h"

struct bystander;

/* Serves at `path`. pid_files: glob below state_dir whose first '*' is the agent's id; gateway: control socket of one, or NULL. */
int bystander_create(struct bystander **ret_bystander, const char *path, const char *state_dir, const char *pid_files,
    const int *pids, size_t pid_count, const char *gateway, struct error *err);
/* Why a pid file was passed over, "" when none was: its process is another one's by now. Ask when nobody is being served. NULL is fine. */
const char *bystander_refused(const struct bystander *bystander);
void bystander_destroy(struct bystander *bystander); /* NULL is fine */

#endif
