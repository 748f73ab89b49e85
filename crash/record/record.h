/* SPDX-License-Identifier: Apache-2.0 */
/* record: runs a command, or a function in a process of its own, and hands back the trace of it. */
#ifndef TRITONE_CRASH_RECORD_RECORD_H
#define TRITONE_CRASH_RECORD_RECORD_H

#include <signal.h>

#include "crash/trace.h"
#include "wal/error.h"

/* What is volatile by design, whoever uses it: LMDB's and SQLite's shared memory. */
extern const char *const record_volatiles[];

struct record_options {
	const char *dir;                          /* there already; what is in it is where the trace begins */
	const char *const *volatiles;             /* further patterns of file names, ends with NULL; or NULL */
	const volatile sig_atomic_t *interrupted; /* not 0: the command is killed, EINTR; or NULL */
};

/* Would a preloaded library not be loaded by this command? `command` is looked for as execvp does. */
int record_is_static(const char *command, bool *ret_static, struct error *err);

/*
 * Runs argv until it ends; its standard output goes into the trace, its standard error to ours. *ret_status is what
 * waitpid gave. Nothing is left behind but what the command left in `dir`.
 * ENOTSUP: this command cannot be recorded, or did what cannot be followed; the text says what and what to do.
 */
int record_command(const struct record_options *options, char *const *argv, struct trace **ret_trace, int *ret_status,
    struct error *err);

/* Calls function(arg) in a forked child, which exits with what it returned. Lines go to standard output there. */
int record_function(const struct record_options *options, int (*function)(void *arg), void *arg,
    struct trace **ret_trace, int *ret_status, struct error *err);

/* A recorder for the calling process itself, for as long as it lives (see trap.h): switched on and off, and never destroyed. */
struct record_self;
int record_self_create(struct record_self **ret_self, const char *dir, struct error *err);
int record_self_begin(struct record_self *self, struct error *err); /* what is in the directory now, and from now on */
int record_self_end(struct record_self *self, struct trace **ret_trace, struct error *err);

#endif
