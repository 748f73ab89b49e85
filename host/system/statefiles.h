/* SPDX-License-Identifier: Apache-2.0 */
/*
 * State files that must always be whole: whenever one changes it is read once, as any outside
 * reader could at that moment, and a STATEFILE operation says whether it parses. For one thread.
 */
#ifndef TRITONE_SYSTEM_STATEFILES_H
#define TRITONE_SYSTEM_STATEFILES_H

#include "history/history.h"
#include "system/watch.h"
#include "wal/error.h"

struct statefiles;

struct statefiles_options {
	struct history *history;
	const char *directory;        /* absolute */
	const char *const *json;      /* globs below it, NULL-terminated; may be NULL */
	const char *const *temporary; /* the same */
};

int statefiles_create(struct statefiles **ret_statefiles, const struct statefiles_options *options, struct error *err);
void statefiles_destroy(struct statefiles *statefiles); /* NULL is fine */
int statefiles_watch(struct statefiles *statefiles, struct watch *watch, struct error *err);
/* Once nothing runs any more: every state file is looked at, and every temporary file that is left is a finding. */
int statefiles_audit(struct statefiles *statefiles, struct error *err);

#endif
