/* SPDX-License-Identifier: Apache-2.0 */
/* Many seeds in several processes. A seed that brings the core down (an assertion, an endless loop) costs its
 * process, and is a finding like any other. */
#ifndef SIM_CAMPAIGN_H
#define SIM_CAMPAIGN_H

#include "sim/coverage.h"
#include "sim/sim.h"

#define CAMPAIGN_JOBS_MAX  64u
#define CAMPAIGN_FOUND_MAX 16u
#define CAMPAIGN_CRASHED   (SIM_CHECKS - 1) /* the check that stands for what brought the process down */

struct campaign_options {
	const char *bug;
	uint64_t first, count; /* seeds first, first + 1, ... */
	uint64_t budget_ms;    /* 0: until all seeds were run */
	uint64_t cpu_ms;       /* the same, of processor time, all processes together */
	unsigned jobs;
	/* A check's number, or -1. With one the campaign ends at the lowest seed that violates it, and what other checks find
	 * is only counted. */
	int aim;
};

struct campaign_found {
	uint64_t seed;
	uint32_t checks; /* bit: number of the check */
	char text[320];  /* of the first one */
	int signal;      /* 0, or what ended the process */
};

struct campaign {
	uint64_t seeds, events, steps, ops, simulated_us, deviated, others, tasks, done, failed, crashes, faults;
	uint64_t trace;                /* of all seeds, whichever order they were run in */
	uint64_t by_check[SIM_CHECKS]; /* seeds */
	double wall_s, cpu_s;
	int interrupted; /* 0, or the signal (SIGINT, SIGTERM) at which it ended early */
	size_t memory;   /* of one process */
	struct coverage coverage;
	uint32_t found_count; /* in the order of the seeds; the lowest are kept */
	struct campaign_found found[CAMPAIGN_FOUND_MAX];
};

/* SIGINT and SIGTERM end it after the seeds that are being run; a second one at once (EINTR). */
int campaign_run(struct campaign *campaign, const struct campaign_options *options, struct error *err);

/* One plan in a process of its own: which checks it violates, and how many events it took. One that takes seconds hangs. */
int campaign_try(const char *bug, const struct sim_plan *plan, struct campaign_found *found, uint64_t *ret_events,
    struct error *err);

#endif
