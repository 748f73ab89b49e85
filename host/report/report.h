/* SPDX-License-Identifier: Apache-2.0 */
/* The outcome of an experiment, and its formats: one file each, report/NAME.c. */
#ifndef TRITONE_REPORT_H
#define TRITONE_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "check/check.h"
#include "history/history.h"
#include "wal/error.h"

/* In rising order of what outranks what when several apply. */
enum verdict {
	VERDICT_HELD = 0,
	VERDICT_VACUOUS,
	VERDICT_NOT_INJECTED,
	VERDICT_DEVIATED,
	VERDICT_GATE_FAILED,
	VERDICT_ABORTED,
	VERDICT_UNAVAILABLE, /* a capability is missing here */
	VERDICT_ERROR,       /* bad file, or the harness itself could not go on */
	VERDICT_UNDO_INCOMPLETE,
};
const char *verdict_name(enum verdict verdict); /* "held", "not-injected", "undo-incomplete", ... */
/* 0 when all results are ok; else that of the highest-ranking one which is not (a defect that was to be found and was not
 * counts as deviated; whatever is left behind as undo-incomplete). No results: 2. */
struct result;
int verdict_exit_status_of(const struct result *results, size_t count);
int verdict_exit_status(enum verdict verdict); /* 0 held, 1 deviated, 2 error, 3 gate-failed, 4
						   not-injected or vacuous, 5, 6, 7 */

#define RESULT_EVIDENCE_MAX 16

struct result_fault {
	char id[64], name[64], plugin[64];
	bool injected, felt, reverted;
	char proof[256]; /* the evidence, or why not */
	struct {
		char name[32], value[224];
	} evidence[RESULT_EVIDENCE_MAX];
	uint32_t evidence_count;
};

struct result_check {
	const struct check *check;
	struct check_result result;
	bool named;     /* it is named as one that must deviate: it comes first in the line */
	bool permitted; /* it deviated as the system's own contract lets it */
	bool expected;  /* it held, deviated, or was vacuous, as it should or may */
};

struct result {
	char name[128]; /* as shown: the case's name, with the sweep's value */
	char title[256], file[1024], run_dir[1024], bug[64];
	uint64_t seed;
	enum verdict verdict; /* what happened */
	bool halted;          /* aborted together with every other run: what was still to come is not begun */
	bool ok;              /* what happened is what was expected: the line says ok, and counts as held */
	char reason[320];     /* one sentence for anything but held */
	char contract
	    [512]; /* what was promised of what deviated: "commits at-least-once (declared) -> expected; ..."; or "" */
	char gone[256]; /* how the orchestrator ended for good before it was stopped; or "" */
	char *output;   /* the last lines of its output where that is gone or never came up, malloc'ed; NULL: none */
	struct result_fault *faults; /* fault_count of them, malloc'ed */
	uint32_t fault_count;
	struct result_check checks[12];
	uint32_t check_count;
	int64_t recovered_us; /* from the fault felt to normal operation; -1: not measured */
	uint64_t tasks, commits, duplicates, notifications;
	/* of the accepted tasks: called done, called failed, in no ledger and not called failed, called neither at the end */
	uint64_t completed, given_up, lost, open;
	uint64_t calls;              /* of models */
	uint64_t left_behind;        /* processes and undo records */
	uint64_t killed;             /* of them, processes that had to be killed when the system was stopped */
	uint32_t reproduced, reruns; /* reproduced k/n; reruns 0: not run again */
	uint64_t duration_us;
	struct history_view history; /* for evidence and timeline; count 0 when not kept */
	char *
	    timeline; /* report_timeline's, malloc'ed, for when the history is gone by the time of the report; NULL: see `history` */
	/* The lines of the deviated checks' findings, in order, malloc'ed; those behind the last are NULL: the history
	 * may be gone by the time of the report. */
	char *evidence_lines[CHECK_FINDINGS_MAX * CHECK_EVIDENCE_MAX];
};
/* The k-th line of evidence of a check's finding, in `buf` where it must be; NULL behind the last. */
const char *result_evidence(
    const struct result *result, uint32_t check, uint32_t finding, uint32_t k, char *buf, size_t size);
/* It came out otherwise than it should. */
bool result_check_failed(const struct result_check *check);
void result_finish(struct result *result); /* frees what it owns */

struct report_options {
	int verbosity;     /* 0: one line each and the findings of what failed; 1: all checks; 2:
			      evidence and the timeline */
	const char *suite; /* title */
	const char
	    *file; /* as given to `tritone test`, so that a failure can say how to see it again; NULL: the result's */
	const char *system; /* as given to it; NULL: none was */
	int name_width;     /* of the longest name, so that lines written as they come are aligned; 0: 22 */
	bool planned;       /* nothing was run: `reason` of a result that is ok is its plan (JSON only) */
};

/* What report_human shows of a history when it is to tell all, as text, malloc'ed; NULL: no memory. */
char *report_timeline(const struct history_view *view);
/* One call for each result as it comes, then the summary over all. */
void report_human(FILE *out, const struct report_options *options, const struct result *result);
void report_human_summary(FILE *out, const struct report_options *options, const struct result *results, size_t count);
void report_jsonl(FILE *out, const struct report_options *options,
    const struct result *result); /* one object on one line; see ferror(out) */
int report_json(
    FILE *out, const struct report_options *options, const struct result *results, size_t count, struct error *err);
int report_junit(const char *path, const struct report_options *options, const struct result *results, size_t count,
    struct error *err);

/*
 * Progress on standard error: a line that rewrites itself on a terminal, plain lines otherwise. Experiments that run beside each other
 * have a lane each, 0 to PROGRESS_LANES - 1. Thread-safe. A NULL progress is fine everywhere.
 */
#define PROGRESS_LANES 16
struct progress;
struct progress *progress_create(FILE *err, bool quiet, size_t experiments);
void progress_begin(struct progress *progress, unsigned lane, const char *name);
/* stage, detail: e.g. "watch", "17 of 24 committed" */
void progress_stage(struct progress *progress, unsigned lane, const char *stage, const char *detail);
/* Something that happened within a stage: a line of its own in a log; on a terminal it stands in the line until the next stage. */
void progress_note(struct progress *progress, unsigned lane, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void progress_end(struct progress *progress, unsigned lane);
void progress_erase(
    struct progress *progress); /* before something else is printed on the terminal; the next stage draws it again */
void progress_destroy(struct progress *progress);

#endif
