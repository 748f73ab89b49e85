/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands that run to their end beside the observer: it is told of every end by the keeper, and passes it on here. The last ends are kept,
 * so that one which comes before it is asked for is not lost. Thread-safe.
 */
#ifndef TRITONE_SYSTEM_EXITS_H
#define TRITONE_SYSTEM_EXITS_H

#include <sys/types.h>

#include "system/commands.h"
#include "keeper/keeper.h"
#include "wal/error.h"

struct exits;

int exits_create(struct exits **ret_exits, struct error *err);
void exits_destroy(struct exits *exits); /* NULL is fine; nobody may wait */
/* From the observer: a process that the keeper had spawned has ended. */
void exits_put(struct exits *exits, pid_t pid, int status);
/* Nothing is put any more: who waits gets ECANCELED. */
void exits_close(struct exits *exits);

/* As command_run, while an observer runs. */
int exits_run(
    struct exits *exits, struct keeper *keeper, const struct command *command, int *ret_status, struct error *err);

#endif
