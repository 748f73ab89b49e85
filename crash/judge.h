/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judge: is shown each state that a disk could hold after the power failed, lets the program's own recovery loose on
 * it, and says what became of what was acknowledged.
 */
#ifndef TRITONE_CRASH_JUDGE_H
#define TRITONE_CRASH_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crash/trace.h"
#include "wal/error.h"

enum crash_outcome {
	CRASH_RECOVERED = 0, /* everything acknowledged is there, nothing that was never attempted */
	CRASH_REFUSED, /* an error with a name instead of data: nothing wrong was returned, nothing was destroyed */
	CRASH_LOST,    /* it recovered, without something that was acknowledged, and did not say so */
	CRASH_CORRUPT, /* it returned what was never written, or its own check fails */
	CRASH_FAILED,  /* the recovery ended by a signal, hung, or could not be run */
};
#define CRASH_OUTCOMES 5

const char *crash_outcome_name(enum crash_outcome outcome);

struct crash_verdict {
	enum crash_outcome outcome;
	char reason[200]; /* one sentence; "" when recovered */
};

/* One state, as the judge sees it. Valid during the call only. */
struct crash_case {
	const char *dir; /* holds the state; the judge may change it as it likes. In memory (tmpfs) */
	const struct trace *trace;
	size_t acked;  /* trace->acks[0 ... acked-1] were printed before the power failed: all must be there */
	size_t marked; /* the same of trace->marks */
	/* Asked after a recovery that went well, if at all: is it to be recovered a second time, which must change nothing?
	 * Not if this one has changed nothing, or one before has left the same behind, after as many acknowledgements: then
	 * it is known what the second does. */
	bool (*again)(void *arg); /* NULL: no */
	void *again_arg;
};

static inline bool crash_case_again(const struct crash_case *state)
{
	return state->again && state->again(state->again_arg);
}

/*
 * `prepare` and `learn` are called once, in the exploring process; the others by one thread in worker processes (a copy
 * of the context in each) that may die of a signal or hang in them: that is then the verdict (CRASH_FAILED), and
 * another worker goes on. -1 from any of them: it could not do its work (no memory ...), which ends the exploration.
 */
struct crash_judge {
	const char *name;
	bool always_writes; /* no recovery leaves all as it is: need not be asked */
	bool compares;      /* a second recovery with the first, and not with what was acknowledged */
	const void *config; /* handed to prepare */
	int (*prepare)(const void *config, const struct trace *trace, void **ret_context, struct error *err);
	void (*finish)(void *context);
	/* Is shown what each prefix of the trace leaves behind: what may be found later. May be NULL. */
	int (*learn)(void *context, const struct crash_case *state, struct error *err);
	/* The recovery alone: what is recorded, to crash it too. May be NULL: then that is not done. */
	int (*recover)(void *context, const struct crash_case *state, struct error *err);
	/* The same for one that runs elsewhere: it records what its recovery writes, to files that are not `volatiles`. */
	int (*record)(void *context, const struct crash_case *state, const char *const *volatiles,
	    struct trace **ret_trace, struct error *err);
	/* Recovers, looks, says. */
	int (*judge)(
	    void *context, const struct crash_case *state, struct crash_verdict *ret_verdict, struct error *err);
};

/* A log of wal/: each line that the writer prints ends with the LSN up to which all is durable. `config`: the path of the
 * log below the directory, "" if it is the directory itself. */
extern const struct crash_judge crash_judge_wal;
/* The same for work of crash/workload.h, whose checkpoints say what they stand for: the fold of the hashes of all records
 * before. So recovery from a checkpoint is compared with recovery from the beginning. */
extern const struct crash_judge crash_judge_workload;
struct wal_record;
uint64_t judge_wal_hash(const struct wal_record *record);
uint64_t judge_wal_fold(uint64_t before, uint64_t hash);

/*
 * Any program, by two commands, run by the shell with further arguments. `recover` (may be NULL) gets the directory;
 * it is to end with 0. `check` gets the directory and a file with the lines that were acknowledged; its exit status
 * says what became of them: 0 all there, 1 something is lost, 2 corrupt, 3 refused with an error that says so;
 * anything else, and a signal, is a recovery that failed. The first line that it prints is the reason.
 */
struct crash_commands {
	const char *recover, *check;
};
struct crash_judge crash_judge_commands(const struct crash_commands *commands);

/* One of the libraries of crash/subjects. */
struct subject;
struct crash_judge crash_judge_subject(const struct subject *subject);

#endif
