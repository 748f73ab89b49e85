/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agents of the system under test, seen through their pid files, and their deaths through
 * pidfds. An AGENT operation begins when the pid file and the task are there, and ends when the
 * process does.
 *
 * One thread watches and dispatches; agents_each may be called from any.
 */
#ifndef TRITONE_SYSTEM_AGENTS_H
#define TRITONE_SYSTEM_AGENTS_H

#include <stdint.h>
#include <sys/types.h>

#include "history/history.h"
#include "keeper/keeper.h"
#include "system/watch.h"
#include "wal/error.h"

struct agents;

struct agents_options {
	struct history *history;
	const char *state_dir;                               /* what relative globs are below */
	const char *pid_files, *task_files, *worktree_files; /* the last two may be NULL */
	const char *
	    pattern; /* instead of pid_files: PCRE2 over command lines, with the groups id and task if there are such */
	const char *task_environment; /* the variable that names the task; may be NULL */
	struct keeper *keeper;        /* with a pattern: whose descendants are looked at */
};

int agents_create(struct agents **ret_agents, const struct agents_options *options, struct error *err);
void agents_destroy(struct agents *agents); /* NULL is fine */
int agents_watch(struct agents *agents, struct watch *watch, struct error *err);
/* With a pattern: who is there now? How often that has to be asked in milliseconds; -1: never. */
void agents_scan(struct agents *agents);
int agents_scan_ms(const struct agents *agents);
int agents_fd(const struct agents *agents); /* readable when an agent has died */
void agents_dispatch(struct agents *agents);

struct agent_view {
	const char *id, *task, *worktree; /* never NULL */
	pid_t pid;
	uint64_t start_time;
};
/* The living agents, oldest first; visit returns 1 to stop. Never under a lock. */
int agents_each(
    struct agents *agents, int (*visit)(void *arg, const struct agent_view *agent), void *arg, struct error *err);

#endif
