/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's side of the keeper (`tritone __keeper`): the process under which the whole system
 * under test lives, a subreaper that ends the tree when the host goes away and that answers the
 * system-call filter.
 *
 * Every function may be called from any thread; requests are served one after the other, and
 * keeper_stop holds the others up for as long as its grace lasts. Only keeper_next_event belongs to
 * one thread at a time. When the keeper itself has died, each call fails with ECONNRESET. One that was
 * stopped (by what runs below it, for one) is let go on; one that does not answer in its time fails
 * this call and all after it with ETIMEDOUT.
 *
 * Caveats
 *  - keeper_spawn returns after exec, so its exit event may be in the queue before the caller knows
 *    the pid: take the event's pid and name, not the order of things.
 *  - Calls made through another ABI than the machine's own (32-bit programs) pass the filter unseen.
 *  - A 'create' is a call that would make a new file: O_CREAT on a file that is there already is not
 *    one, as a full disk would not fail it either.
 */
#ifndef TRITONE_KEEPER_KEEPER_H
#define TRITONE_KEEPER_KEEPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tritone/fault.h"
#include "wal/error.h"

struct keeper;

struct keeper_options {
	const char *program; /* what is run with the argument __keeper; NULL: this program itself */
	const char *log_dir; /* absolute, exists: keeper.log, and NAME.log of each process; NULL: /dev/null */
	uint64_t seed;       /* of the rules' probabilities */
	int64_t request_ms;  /* how long it may take to answer, a stop's grace not counted; 0: 60 s */
};

int keeper_start(struct keeper **ret_keeper, const struct keeper_options *options, struct error *err);
/* Ends the keeper and, by that, every process below it at once; waits for it. NULL is fine. */
void keeper_destroy(struct keeper *keeper);
pid_t keeper_pid(const struct keeper *keeper);

struct keeper_process {
	const char *name;         /* <= 63 bytes, for events and the log file's name */
	const char *const *argv;  /* NULL-terminated; argv[0] is looked up in PATH (that of env) when it has no '/' */
	const char *const *env;   /* NULL-terminated, the whole environment; NULL: the host's */
	const char *cwd;          /* absolute; NULL: / */
	const char *output;       /* standard output and error are appended there; NULL: log_dir/NAME.log */
	const char *error_output; /* standard error, if elsewhere; NULL: with the output */
	bool filter;              /* under the system-call filter, with all that it starts */
};

/*
 * Starts one process: own process group, every signal default and unblocked, standard input
 * /dev/null, no other descriptor, killed with the keeper. Returns once exec has succeeded; -1 with
 * the errno of what failed (ENOENT: no such program; ENOTSUP: no filter here, and why).
 */
int keeper_spawn(struct keeper *keeper, const struct keeper_process *process, pid_t *ret_pid, struct error *err);
/* By pidfd, and only below the keeper: ESRCH when there is no such process, or it is not the system's. */
int keeper_signal(struct keeper *keeper, pid_t pid, int signal, struct error *err);

/* SIGKILL to a spawned process and to all that are still in its group. ESRCH: it has ended, or was not spawned. */
int keeper_kill(struct keeper *keeper, pid_t pid, struct error *err);

struct keeper_event {
	pid_t pid;
	int status;               /* as from waitpid */
	bool spawned;             /* by keeper_spawn; false: an orphan that had ended up at the keeper */
	char name[64];            /* as spawned; an orphan's comm */
	int64_t start_ns, end_ns; /* CLOCK_MONOTONIC; start 0 for orphans */
};

/* Readable when there may be an event. */
int keeper_event_fd(const struct keeper *keeper);
/* 1 with *ret_event, 0 when none came in time (timeout_ms 0: do not wait; < 0: no limit). */
int keeper_next_event(struct keeper *keeper, int timeout_ms, struct keeper_event *ret_event, struct error *err);

struct keeper_node {
	pid_t pid, ppid;
	uint64_t start_time; /* clock ticks since boot: with pid, one process for ever */
	char state;          /* as in /proc/PID/stat */
	char comm[32];
};

/* Every living descendant (no zombies), parents before children, children by pid. `visit` returns 0
 * to go on, 1 to stop. Reads /proc here: costs no request. */
int keeper_tree(
    const struct keeper *keeper, int (*visit)(void *arg, const struct keeper_node *node), void *arg, struct error *err);

/*
 * SIGTERM (and SIGCONT, where it is stopped) to every spawned process and to every orphan that has ended up at the keeper by then (its
 * parent may have been killed on purpose; it could hear of the end from nobody else), waits until nothing is left or
 * grace_ms are over, then SIGKILLs everything below the keeper until nothing is left. *ret_killed (may be NULL): how
 * many had to be. The keeper lives on and may spawn again. Their exits are events as usual. EPERM:
 * all is done that can be, and who may not be killed (a set-user-ID program) is left behind; the
 * text says who.
 */
int keeper_stop(struct keeper *keeper, int64_t grace_ms, unsigned *ret_killed, struct error *err);

/* --- errors of system calls: see struct tritone_errno_rule. In force for every call that begins
 * after keeper_rule_set returns, for no call that begins after keeper_rule_clear returned. --- */

struct keeper_rule_stats {
	uint64_t hits, seen;
	char call[24];   /* the last one that the rule acted on, "" if none: pwrite64, ... */
	char path[4096]; /* the file it was for */
	pid_t pid;       /* the process */
};

int keeper_rule_set(struct keeper *keeper, const struct tritone_errno_rule *rule, struct error *err);
int keeper_rule_clear(struct keeper *keeper, const char *key, struct error *err); /* no such key: 0 */
/* ENOENT: no such rule. The counts of one whose lifetime is over stay until it is cleared. */
int keeper_rule_stats(struct keeper *keeper, const char *key, struct keeper_rule_stats *ret_stats, struct error *err);

/* The child: what `tritone __keeper` calls. */
int keeper_main(int argc, char **argv);

#endif
