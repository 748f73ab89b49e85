/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the explorer share: a job, which is a process with its share of the states. */
#ifndef TRITONE_CRASH_EXPLORE_INTERNAL_H
#define TRITONE_CRASH_EXPLORE_INTERNAL_H

#include <time.h>

#include "crash/explore.h"
#include "crash/seen.h"
#include "crash/state.h"

#define NONE    UINT64_MAX
#define LOOK_MS 500

/* One job's, in memory that its processes share. */
struct share {
	_Atomic uint64_t current;  /* the ordinal being judged; NONE: between two */
	_Atomic uint64_t progress; /* states judged, for whoever watches */
	_Atomic uint64_t deviations;
	struct explore_result result;
	struct crash_verdict of_death;
	struct error failed; /* code 0: not */
};

struct shared {
	_Atomic uint32_t stop;
	struct share jobs[EXPLORE_JOBS_MAX];
};

/* A recovery that is to be done a second time, if it went well. */
struct again {
	struct job *job;
	const struct state_dir *dir;
	uint64_t acked;
	struct digest before; /* what it is given, if it may leave it as it is */
	struct digest digest; /* what it has left behind */
	bool asked;           /* and the second is done */
};

struct job {
	const struct trace *trace;
	const struct crash_judge *judge;
	const struct explore_options *options;
	void *context;
	struct shared *shared;
	struct share *share;
	unsigned index, jobs;
	struct state_dir *dir;
	struct seen seen;
	/* What was judged, for crashed recoveries that leave the same; and what was recovered a second time, and stayed what
	 * it was. */
	struct seen_common *common;
	struct again again;
	bool judging;    /* the child */
	bool recoveries; /* second pass: it is the recovery of a state that is crashed */
	uint64_t one_in; /* states are taken for that */
	struct record_self *self;
	struct state_dir *dir_second;
	uint64_t skip_to; /* what was judged by children that are gone, inclusive; NONE: nothing */
	struct error *err;
};

/* explore_job.c */
/* The process of a job: all of its states. 0 or -1. */
int explore_job_run(struct job *job, struct model *model);
/* How the judge is shown a state that was made in `dir`. */
struct crash_case explore_case(struct job *job, const struct model_state *state, const struct state_dir *dir);

/* explore_result.c */
void explore_note(
    struct job *job, const struct model_state *state, const struct crash_verdict *verdict, bool in_recovery);
void explore_add_result(struct explore_result *to, const struct explore_result *from);

static inline double explore_now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

#endif
