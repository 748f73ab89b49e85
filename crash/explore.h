/* SPDX-License-Identifier: Apache-2.0 */
/*
 * explore: every state that the model of a trace has, made and judged, in several processes. A judge that dies of a
 * state, or hangs in it, costs that state's verdict and nothing else.
 */
#ifndef TRITONE_CRASH_EXPLORE_H
#define TRITONE_CRASH_EXPLORE_H

#include <signal.h>

#include "crash/judge.h"
#include "crash/model.h"
#include "crash/trace.h"
#include "wal/error.h"

#define EXPLORE_JOBS_MAX 16u

struct seen_common;

struct explore_options {
	unsigned kinds; /* of the model; 0: MODEL_DEFAULT */
	uint64_t seed;
	uint64_t states_max;   /* visits; beyond it the model samples. 0: no limit */
	uint64_t recovery_max; /* how many states, about, have their recovery crashed too; 0: none. Prefixes always */
	unsigned jobs;         /* 0: 2 */
	unsigned timeout_ms;   /* for one state; 0: 10,000 */
	const char *const *volatiles; /* further patterns, ends with NULL, or NULL */
	size_t from;                  /* states of what comes before this operation were explored already */
	bool stop_at_first;           /* deviation */
	bool only;                    /* judge the state `ordinal` and no other */
	uint64_t ordinal;
	const volatile sig_atomic_t *interrupted; /* not 0: stop; or NULL */
	const char *work; /* a directory in memory in which each job gets one of its own; created by explore_work */
	struct seen_common *common; /* what other explorations have judged is not judged again; or NULL */
	void (*progress)(void *arg, uint64_t judged, uint64_t deviations); /* every half second, or NULL */
	void *progress_arg;
};

/* A state again: what model_walk needs to come by it. */
struct explore_finding {
	bool found;
	uint64_t ordinal;
	enum model_kind kind;
	enum crash_outcome outcome;
	size_t at, acked;
	uint64_t missing; /* uncovered pieces that are not there: what is smallest has the fewest */
	char reason[200];
	bool in_recovery; /* it is the recovery of this state, crashed, that shows it */
};

struct explore_result {
	uint64_t judged[MODEL_KINDS]; /* states, different in content or in what was acknowledged */
	uint64_t recoveries;          /* states of crashed recoveries that are none of these */
	uint64_t crashed;             /* states whose recovery was crashed */
	bool crashed_all;             /* of each that was judged */
	uint64_t contents;            /* different in content */
	uint64_t again;               /* recovered a second time: the others that recovered had come to the same */
	uint64_t visits;
	uint64_t outcomes[CRASH_OUTCOMES];
	uint64_t outcomes_byte[CRASH_OUTCOMES]; /* of these, in the byte model, which is stronger than disks promise */
	bool exhaustive;
	double seconds;
	struct explore_finding first[CRASH_OUTCOMES]; /* the simplest of each outcome */
};

/* 0, or -1: it could not be done. Deviations are in the result. EINTR: interrupted. */
int explore(const struct trace *trace, const struct crash_judge *judge, const struct explore_options *options,
    struct explore_result *ret_result, struct error *err);

struct model_options explore_model_options(const struct explore_options *options);

/* States judged, those of crashed recoveries among them. */
uint64_t explore_total(const struct explore_result *result);

/* Is it a deviation? A named error is none where a disk is assumed that no disk is (byte). */
bool explore_deviates(const struct explore_finding *finding);

/* A directory of our own in memory, removed with all that is in it. What dead ones have left is removed first. */
int explore_work_create(char path[64], struct error *err);
void explore_work_remove(const char *path);

#endif
