/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system under test: started, watched, restarted and ended as its manifest says, in a run
 * directory of its own.
 *
 * Every process of it lives below a *keeper* (`tritone __keeper`): a subreaper that ends the whole
 * tree when the host goes away, however that happens, and that answers the system-call filter. The
 * observers run on a thread of their own and append to the history what they see: processes,
 * agents, ledger, claims, state files.
 */
#ifndef TRITONE_SYSTEM_H
#define TRITONE_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/gateway.h"
#include "history/history.h"
#include "spec/spec.h"
#include "tritone/fault.h"
#include "wal/error.h"

struct system;

struct system_options {
	const struct spec_manifest *manifest;
	const struct spec_strings *arguments; /* added to the first process's command; may be NULL */
	struct history *history;
	struct gateway *gateway; /* ${gateway} */
	const char *run_dir;     /* absolute, exists: ${run}; ${state} is run_dir/state */
	uint64_t seed;
	bool syscall_filter;
	const char *cache_dir; /* absolute: where installations are kept; NULL: run_dir/install */
	void (*progress)(void *arg, const char *stage, const char *text); /* of an installation; may be NULL */
	void *progress_arg;
	int interrupt_fd; /* readable: a start that goes on gives up with ECANCELED; 0 or -1: none */
};

/* Variables: ${run} ${state} ${bin} (the program's directory) ${manifest} (the manifest's) ${install} ${gateway} ${seed}
 * ${port.NAME} (a free port, the same in every use). */
int system_create(struct system **ret_system, const struct system_options *options, struct error *err);
/*
 * What faults wait for beside what is always seen; before system_start. An id again is the same. OUTPUT operations: lines of a process (NULL:
 * any) that match a pattern (NULL: any). FILE operations: a file below ${state} that a glob matches is written.
 */
int system_watch_output(
    struct system *system, const char *id, const char *process, const char *pattern, struct error *err);
int system_watch_file(struct system *system, const char *id, const char *glob, struct error *err);
/* Installs what is not yet, runs `prepare`, starts the processes in order, waits for each to be ready, starts the observers.
 */
int system_start(struct system *system, struct error *err);
const char *system_lookup(void *system, const char *name); /* a spec_lookup_fn for the variables above */
bool system_variable(const char *name);                    /* is it one of them, whatever the system? */
const char *system_state_dir(const struct system *system);

struct system_task {
	const char *task, *key, *role, *prompt;
	const char *after; /* a JSON array of task names */
};
/* Hands one task in and appends SUBMIT invoke and its completion. 0 accepted, 1 refused, 2 unknown;
 * never an error of ours. */
int system_submit(struct system *system, const struct system_task *task);
/* Asks for the outcomes and appends OUTCOME for each task that it knows. -1 when the system does
 * not answer. */
int system_outcomes(struct system *system, struct error *err);

/* Services for plugins, see fault.h. */
int system_targets(struct system *system, uint32_t kind, tritone_target_fn visit, void *arg, struct error *err);
int system_errno_rule(struct system *system, const struct tritone_errno_rule *rule, struct error *err);
int system_faultpoint(struct system *system, const struct tritone_point_rule *rule, struct error *err);
int system_rule_hits(struct system *system, const char *key, uint64_t *ret_hits, uint64_t *ret_seen, struct error *err);
int system_rule_clear(struct system *system, const char *key, struct error *err);
/* The task of the event that triggers a fault: its agent is flagged TRITONE_TARGET_OF_EVENT. "" or
 * NULL: none. */
void system_event_task(struct system *system, const char *task);

/* Sends a signal to the process of that name in the manifest (NULL: the first one). ESRCH: it does not run now. */
int system_signal(struct system *system, const char *process, int signal, struct error *err);
/* Whoever daemonizes ends well, at once, and leaves somebody behind. */
#define SYSTEM_DAEMON_HINT "; does it go into the background? It must stay"
/* Is the process of that name (NULL: the first one) dead, and nobody starts it again? How it ended, for people: "it exited with 3". */
bool system_lost(struct system *system, const char *process, char *ret_how, size_t size);
/* Is a process of the manifest down, to be started again? */
bool system_restarting(struct system *system);
/* The last lines of what the processes and the commands before them have said: visit gets the name and the line. */
void system_last_words(
    struct system *system, size_t lines, void (*visit)(void *arg, const char *name, const char *line), void *arg);

/* Lets the ledger, the claims and the state files be looked at once more now: what has happened
 * before this call is in the history after. */
int system_observe(struct system *system, struct error *err);
/*
 * Ends everything (SIGTERM, then SIGKILL after grace_ms), stops the observers, and returns how many
 * processes had to be killed that should have gone by themselves, or -1. None is left after it; but
 * -1 with EPERM: all that may be killed is gone, and the text names the others. Idempotent.
 */
int system_stop(struct system *system, int64_t grace_ms, struct error *err);
/* After system_stop: left-over temporary files, state files, and the system's own log (verify,
 * replay, recover twice on a copy). */
int system_audit(struct system *system, struct error *err);
void system_destroy(struct system *system); /* NULL is fine; stops first */

#endif
