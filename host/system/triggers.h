/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What else an experiment's faults may wait for, beside what is always observed: a line of output, a file that is written. Each becomes an
 * OUTPUT or a FILE operation with the trigger's id as its key. One thread, once it is watched.
 */
#ifndef TRITONE_SYSTEM_TRIGGERS_H
#define TRITONE_SYSTEM_TRIGGERS_H

#include "history/history.h"
#include "system/watch.h"
#include "wal/error.h"

struct triggers;

int triggers_create(struct triggers **ret_triggers, struct history *history, const char *state_dir, const char *log_dir,
    struct error *err);
void triggers_destroy(struct triggers *triggers); /* NULL is fine */
/* Before triggers_watch. An id again is the same trigger, and is not added twice. */
int triggers_output(struct triggers *triggers, const char *id, const char *process, const char *pattern,
    struct error *err); /* NULL: any */
int triggers_file(
    struct triggers *triggers, const char *id, const char *glob, struct error *err); /* below the state directory */
int triggers_watch(struct triggers *triggers, struct watch *watch, struct error *err);

#endif
