/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processes of the system under test: started by the keeper, ready as the manifest says,
 * started again when they die. Each has a thread that restarts it; deaths are told by the observer.
 */
#ifndef TRITONE_SYSTEM_PROCESSES_H
#define TRITONE_SYSTEM_PROCESSES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "history/history.h"
#include "spec/spec.h"
#include "system/exits.h"
#include "system/http.h"
#include "keeper/keeper.h"
#include "wal/error.h"

struct processes;

struct processes_options {
	const struct spec_manifest *manifest; /* processes, restart */
	const struct spec_strings *arguments; /* added to the first one's command; may be NULL */
	struct keeper *keeper;
	struct http *http;
	struct exits *exits; /* for commands that are asked whether it is ready */
	struct history *history;
	spec_lookup_fn lookup;
	void *lookup_arg;
	const char *state_dir, *log_dir, *faultpoints;
	bool filter;
	int interrupt_fd;           /* readable: processes_start gives up; 0 or -1: none */
	void (*crashed)(void *arg); /* the first one is dead and not started again yet; may be NULL */
	void *crashed_arg;
};

/* Expands the commands; starts nothing. */
int processes_create(struct processes **ret_processes, const struct processes_options *options, struct error *err);
void processes_destroy(struct processes *processes); /* NULL is fine; after processes_no_more */

/* Starts them in order and waits for each to be ready. Somebody has to call processes_died meanwhile. */
int processes_start(struct processes *processes, struct error *err);
/* From the observer: a process that the keeper had spawned has ended. */
void processes_died(struct processes *processes, const struct keeper_event *event);
/* From the observer: the process of that number in the manifest has written too much. It is killed, and not started again. */
void processes_overflow(struct processes *processes, size_t index);
/* No restarts from here on: deaths are expected. Returns once the restarting threads have ended. Idempotent. */
void processes_no_more(struct processes *processes);

/* Is the process of that number in the manifest dead, and nobody starts it again? How it ended, for people, and why it was the last time. */
bool processes_lost(struct processes *processes, size_t index, char *ret_how, size_t size);
/* Is one of them down, to be started again? */
bool processes_restarting(struct processes *processes);

/* The process of that name: its pid and start time, false while there is none. */
bool processes_find(struct processes *processes, const char *name, pid_t *ret_pid, uint64_t *ret_start_time);
/* The first process: its pid and start time, false while there is none. */
bool processes_main(struct processes *processes, pid_t *ret_pid, uint64_t *ret_start_time);

#endif
