/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator: the reference orchestrator's core and policy, the very same code that runs for real,
 * driven in virtual time through faults that follow from a seed, and judged by the very same checkers.
 * What happened in a seed depends on nothing but the seed, the bug and the schedule.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "wal/error.h"

#define SIM_CHECKS 13u /* the twelve invariants, and the contract between core/ and io/ */

/* Exit statuses: as for `run`. */
enum { SIM_HELD = 0, SIM_DEVIATED = 1, SIM_VACUOUS = 4 };

struct sim_simulate {
	const char *bug;       /* NULL: none. With one it ends at the first seed that deviates */
	uint64_t first, count; /* seeds first, first + 1, ... */
	uint64_t budget_ms;    /* 0: until all of them were run */
	uint64_t cpu_ms;       /* the same, of processor time, all processes together */
	unsigned jobs;
	const char *output; /* directory for shrunk schedules; "": here */
	bool no_shrink, verbose;
};
/* Prints its figures and findings on standard output; returns the exit status, 128 + the signal when it was interrupted, or -1 when
 * it could not be run (EINVAL: there is no such bug). */
int sim_simulate(const struct sim_simulate *options, struct error *err);

struct sim_replay {
	const uint64_t *seed; /* NULL: that of the schedule */
	const char *bug, *schedule;
	bool quiet;
};
int sim_replay(const struct sim_replay *options, struct error *err);

/* --- real.c: schedules on the real system --- */
/* The plugins that both worlds have, one after the other, then NULL. */
const char *schedule_real_plugin(unsigned i);
/* Is each of its faults one that there is for real? ENOTSUP names the first that only the simulation has. *ret_system: it names a
 * system. */
int schedule_is_real(const char *path, bool *ret_system, struct error *err);

struct sim;
struct sim_plan;
struct coverage;

struct sim_verdict {
	const char *name;
	uint64_t opportunities, violations;
	char text[320]; /* of the first violation, and the operations that convince */
	uint64_t evidence[8];
	uint32_t evidence_count;
};

struct sim_result {
	uint64_t seed, events, steps, ops, trace;
	uint64_t simulated_us;
	uint32_t tasks, done, failed, commits, crashes, faults_felt;
	bool deviated, cut; /* cut: a bound of the simulation was reached */
	struct sim_verdict verdicts[SIM_CHECKS];
};

/* `bug`: NULL or "" for none. */
int sim_create(struct sim **ret_sim, const char *bug, struct error *err);
void sim_destroy(struct sim *sim);
/* Bytes that a seed may use, all taken at the beginning. */
size_t sim_memory(const struct sim *sim);

/* Runs a seed by its plan. What happens in it allocates nothing; the checkers take a few blocks to judge it. */
void sim_run(struct sim *sim, const struct sim_plan *plan, struct sim_result *result, struct coverage *coverage);
/* Was that fault of its plan felt in the last run? */
bool sim_felt(const struct sim *sim, uint32_t fault);
/* One operation of the last run, as a line. */
void sim_operation(const struct sim *sim, uint64_t index, char *buf, size_t size);
/* Prints the story of the last run: each operation that an observer outside saw. */
void sim_story(const struct sim *sim, FILE *out);
/* The history of the last run, for the tests of the checkers. */
struct history_view;
void sim_history(const struct sim *sim, struct history_view *ret_view);

#endif
