/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The invariants: history in, verdict and evidence out. Pure functions: no I/O, no clock, no
 * globals. One file each, check/NAME.c with '-' written '_'. Each counts its opportunities; none
 * means vacuous, which is not a pass.
 */
#ifndef TRITONE_CHECK_H
#define TRITONE_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "history/history.h"

enum check_verdict {
	CHECK_VACUOUS = 0,
	CHECK_HELD,
	CHECK_DEVIATED,
};

#define CHECK_FINDINGS_MAX 8
#define CHECK_EVIDENCE_MAX 8

/* One violation: a sentence, and the operations that convince, in order. */
struct check_finding {
	char text[320];
	uint64_t evidence[CHECK_EVIDENCE_MAX]; /* indices into the history */
	uint32_t evidence_count;
};

struct check_result {
	enum check_verdict verdict;
	uint64_t opportunities;
	uint64_t violations; /* all of them; the first CHECK_FINDINGS_MAX are in findings */
	uint64_t permitted;  /* of them, those that the system's contract permits */
	uint32_t finding_count;
	char summary[160]; /* "24 tasks, 24 commits, 0 duplicates"; why it is vacuous */
	struct check_finding findings[CHECK_FINDINGS_MAX];
};

enum check_promise { CHECK_PROMISE_NONE = 0, CHECK_EXACTLY_ONCE, CHECK_AT_LEAST_ONCE, CHECK_AT_MOST_ONCE };

#define CHECK_PROVIDERS_MAX 16
#define CHECK_CASCADE_MAX   32
#define CHECK_TRIALS_MAX    16

/* What the checkers must know of the system and the experiment, from the manifest and the
 * experiment file. Times in microseconds. */
struct check_config {
	const char *providers[CHECK_PROVIDERS_MAX];
	size_t provider_count;
	/* the order of fallback, "PROVIDER" (whichever model) or "PROVIDER/MODEL"; none: that of the providers */
	const char *cascade[CHECK_CASCADE_MAX];
	size_t cascade_count;
	uint64_t throttle_grace_us;   /* a call that arrives so soon after a 429 was already on its way */
	uint64_t throttle_default_us; /* the least window after a 429 without Retry-After; 0: not
					 judged */
	uint64_t throttle_max_us;     /* a Retry-After above it is bounded to it; 0: unbounded */

	/* limits */
	bool notifies;              /* commits are told to a sink: without one nothing is known of that */
	uint64_t notify_limit_us;   /* a commit must be notified within it */
	bool notify_keys;           /* and each time with the same key, so that the sink can know it again */
	uint64_t progress_limit_us; /* at most so long without anything happening while tasks are open */
	uint64_t
	    graph_slack_us; /* what a task comes after may be seen in the ledger so much later than its first call */
	uint64_t progress_excuse_us; /* how long a fault without a duration may be waited out */
	uint64_t slo_window_us;      /* how long the SLOs must stay green at the end */
	double slo_blast_radius;     /* how far below its target an SLO may fall during the fault, as a
				    fraction of the target */
	double slo_budget_cost;      /* how much of the error budget the fault may cost, 0..1 */
	uint64_t claim_slack_us;     /* a claim may lag behind what was observed by so much */

	/* targets, as in the SLO file; 0: not judged */
	double slo_task_success; /* 0.90 */
	double slo_notification; /* 0.99 */
	double slo_latency_p95_us;
	uint64_t slo_tasks; /* window in tasks, 50 */

	/* policies */
	uint64_t unasked_commits_max; /* commits of no task that was handed in, once the workload has begun */
	uint64_t attempts_max;        /* attempts of one task */
	uint64_t agents_max;          /* alive at one time */
	uint64_t calls_per_task_max;
	uint64_t tokens_per_task_max; /* 0: not judged, for this and those above */
	uint64_t breaker_threshold;   /* consecutive failures that must open it; 0: none is promised */
	uint64_t breaker_reset_us;
	uint64_t
	    breaker_slack_us; /* the system hears of failures in another order than we, and may have opened it so much earlier */
	uint64_t breaker_trials; /* calls at a time while it is half open; 0 or above CHECK_TRIALS_MAX: not judged */
	uint64_t restarts_max;

	/* what the system promises: a deviation that was never promised is reported as such */
	enum check_promise commits, notifications; /* as declared */
	bool calls_throttled;                      /* it says itself that it calls again inside a throttle window */
	bool any_order;                            /* and that it falls back in no order */
};

struct check {
	const char *name;    /* "no-duplicate-commit" */
	const char *summary; /* when it holds, one line */
	void (*run)(const struct history_view *view, const struct check_config *config, struct check_result *result);
};

extern const struct check *const check_table[]; /* NULL-terminated, in the design's order, twelve of them */
const struct check *check_find(const char *name);
const char *check_verdict_name(enum check_verdict verdict);

/* The design's defaults; the manifest and the experiment overwrite them. */
void check_config_init(struct check_config *config);

/* For the checkers themselves: begin (zero), report a violation with its evidence (of which OP_NONE and repetitions are
 * left out), and settle verdict from the counts. */
void check_begin(struct check_result *result);
void check_violation(struct check_result *result, const uint64_t *evidence, size_t count, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The violation just reported is one that the contract permits, if it does. */
void check_permit(struct check_result *result, bool permitted);
void check_end(struct check_result *result, const char *summary_format, ...) __attribute__((format(printf, 2, 3)));

#endif
