/* SPDX-License-Identifier: Apache-2.0 */
/* What the files behind system.h share: the parts of one system, and who may touch them. */
#ifndef TRITONE_SYSTEM_PRIVATE_H
#define TRITONE_SYSTEM_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>

#include "system/agents.h"
#include "system/asker.h"
#include "system/claims.h"
#include "system/commands.h"
#include "system/exits.h"
#include "system/faultpoints.h"
#include "system/http.h"
#include "keeper/keeper.h"
#include "system/ledger.h"
#include "system/observe.h"
#include "system/output.h"
#include "system/processes.h"
#include "system/statefiles.h"
#include "system/system.h"
#include "system/triggers.h"
#include "system/variables.h"
#include "system/watch.h"

struct system {
	/* set by system_create, then constant */
	const struct spec_manifest *manifest;
	const struct spec_strings *arguments;
	struct history *history;
	struct gateway *gateway;
	char *run_dir, *state_dir, *log_dir;
	bool syscall_filter;
	int interrupt_fd;
	char *cache_dir;
	void (*progress)(void *arg, const char *stage, const char *text);
	void *progress_arg;
	struct variables *variables;
	struct faultpoints *faultpoints;
	struct keeper *keeper;
	struct http *http;
	struct exits *exits;
	struct triggers *triggers;

	/* set by system_start: the observer's, and nobody else's while it runs */
	struct watch *watch;
	struct ledger *ledger; /* NULL: the manifest declares none; so for the next ones */
	struct lines *lines;
	struct claims *claims;
	struct statefiles *statefiles;
	struct agents *agents; /* agents_each from any thread */
	struct processes *processes;
	struct output *output;
	struct asker *asker;
	bool started, stopped;
	bool crash_kept; /* by the thread that restarts the first process; read after the stop */

	pthread_mutex_t looking;   /* of `observer`; held while somebody waits for it to look. Taken before `lock` */
	struct observer *observer; /* NULL: not there yet, or no more */

	pthread_mutex_t lock; /* of what follows */
	char event_task[256];
	char **tasks; /* each that was handed in */
	size_t task_count;
};

/* services.c: waits until all that has happened by now was seen. 1: there is no observer; from any thread. */
int system_look(struct system *system, struct error *err);

/* ports.c: EADDRINUSE when a fixed port of the manifest is taken. */
int system_check_ports(struct system *system, struct error *err);

/* outcome.c: a command of the manifest while the observer runs; its output goes to `output`, or (NULL) to logs/NAME.log. */
int system_command(struct system *system, const char *name, const struct spec_strings *words, spec_lookup_fn lookup,
    void *arg, const char *output, int *ret_status, struct error *err);
/* The same, and what it has printed, malloc'ed; -1 also when it did not exit with 0. */
int system_command_says(struct system *system, const char *name, const struct spec_strings *words, char **ret_text,
    size_t *ret_size, struct error *err);

/* audit.c: the orchestrator is dead and not started again yet: keeps its state for the audit. */
void audit_crashed(struct system *system);

#endif
