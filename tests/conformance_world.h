/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small system for test_conformance, of real parts: an orchestrator and two agents with worktrees under a keeper, with the system-call
 * filter where the machine has it; fault points; the gateway; and the services of all of them on a socket. Failures fail the test.
 */
#ifndef CONFORMANCE_WORLD_H
#define CONFORMANCE_WORLD_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "runner/runner.h"

#define WORLD_PROCESSES 3 /* the orchestrator first */

struct world {
	char dir[64], run[128], state[128], socket[160];
	bool filtered; /* errors of system calls are real */
	struct {
		const char *id;
		pid_t pid;
		uint64_t start_time;
		char worktree[256];
	} process[WORLD_PROCESSES];
	struct world_parts *parts;
	/* the fault at hand */
	const char *plugin;
	struct plugin_info *info;
	struct undo_log *undo;
	struct runner *runner;
	struct error err;
};

struct world *world_create(const char *plugin);
void world_destroy(struct world *world);

/* What there is below the state directory, as text; exact: inodes and times too. Free it. */
char *world_tree(const struct world *world, bool exact);
/* Each process: alive, stopped or gone. */
const char *world_processes(const struct world *world, char buf[256]);
/* How many rules are in force, and the capabilities that were ever asked for (enum tritone_capability). */
size_t world_rules(struct world *world, uint32_t *ret_used);
/* Everything that a fault can be about happens once: each provider and sink is called, the orchestrator writes and passes its point. */
void world_exercise(struct world *world);

#endif
