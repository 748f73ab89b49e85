/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger: the branch of a git repository where finished work lands. Each commit above the one
 * that was there in the beginning becomes a COMMIT operation, oldest first, and each file that it
 * deletes a DELETION. For one thread.
 */
#ifndef TRITONE_SYSTEM_LEDGER_H
#define TRITONE_SYSTEM_LEDGER_H

#include <stddef.h>

#include "history/history.h"
#include "system/watch.h"
#include "wal/error.h"

struct ledger;

struct ledger_options {
	struct history *history; /* NULL: only counted */
	const char *repository;  /* need not exist yet */
	const char *branch;
	const char *task_trailer, *attempt_trailer, *epoch_trailer; /* any may be NULL */
};

/* What is on the branch now is the beginning, and is not reported. */
int ledger_create(struct ledger **ret_ledger, const struct ledger_options *options, struct error *err);
void ledger_destroy(struct ledger *ledger); /* NULL is fine */
/* Looks whenever a reference changes, be the repository bare, beside a work tree, or come later. Both of one thread. */
int ledger_watch(struct ledger *ledger, struct watch *watch, struct error *err);
/*
 * To be called after each watch_dispatch: a repository that has come may keep its references elsewhere. Costs nothing once it is found; one that
 * cannot be opened is no error here, but one of ledger_look.
 */
int ledger_follow(struct ledger *ledger, struct error *err);
/* Looks now. No repository or no branch is no error: there are no commits then. */
int ledger_look(struct ledger *ledger, struct error *err);
/* As ledger_look, but all from the first commit on, calling visit for each (commit id, task). */
int ledger_each(
    struct ledger *ledger, void (*visit)(void *arg, const char *id, const char *task), void *arg, struct error *err);

#endif
