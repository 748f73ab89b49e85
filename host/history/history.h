/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happened, in order, as the harness saw it from outside. Operations are recorded Jepsen's
 * way: *invoke*, then *ok* (it happened), *fail* (it definitely did not) or *info* (unknown: it may
 * still take effect). Every observer appends here; the engine waits here; the checkers read from
 * here. Thread-safe. Kept in memory, and stored in a wal/ log as it grows.
 */
#ifndef TRITONE_HISTORY_H
#define TRITONE_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wal/error.h"

enum op_type {
	OP_INVOKE = 1,
	OP_OK,
	OP_FAIL,
	OP_INFO,
};

/*
 * Which fields an operation carries (strings are never NULL, "" when there is nothing; numbers are 0):
 *
 *  SUBMIT     a task handed to the system. task, key (idempotency key). invoke; ok = accepted; fail = refused (status); info = unknown
 *  OUTCOME    what the system *says* became of a task, when it was asked. task; ok = done, fail = given up (detail: reason),
 *             info = still open
 *  COMMIT     a commit seen in the ledger, always ok. task, attempt, epoch, key = commit id, value = 0-based place in the ledger
 *  DELETION   a file that a commit deleted against its parent, always ok. task, key = commit id, actor = path
 *  CALL       a request to a model provider. actor = provider, key = model, task, attempt (0: unknown); invoke on arrival; ok
 *             (status 2xx, value = tokens, number = seconds before this operation at which the answer left), fail (status; number =
 *             Retry-After in seconds, < 0: none; value = microseconds before this operation at which the answer left: the client may
 *             count from there), info (never answered, reset, or
 *             OP_CLIENT_GONE; detail says which)
 *  NOTIFY     a request to the notification sink. task, key = the deduplication key; invoke; ok (2xx sent), fail (status), info
 *  AGENT      an agent process. actor = agent id, task, value = pid; invoke = seen alive, ok = gone
 *  SYSTEM     the orchestrator's main process. value = pid; invoke = started, ok = ready, info = died (status: exit status, or
 *             128 + signal), fail = did not become ready. actor = process name. detail = why (start, restart, stop)
 *  FAULT      actor = fault id, key = plugin; invoke = inject called (number = seconds for which it was declared, 0: not), ok = felt (detail: proof), fail = not injected (detail:
 *             why), info = in force but nobody came across it
 *  EVIDENCE   one fact of a fault, always ok. actor = fault id, key = name, detail = value
 *  REVERT     actor = fault id; invoke, ok = undone, fail = could not be (detail)
 *  CLAIM      the system's own words, always ok. actor = name of the SLO or status, number = current value, value = 1 met / 0 not,
 *             detail = status word; one operation each time the claim was published anew
 *  STATEFILE  a state file looked at. actor = path relative to the state directory; ok = parses; fail = half-written, not parsable, or
 *             a temporary file left over (detail)
 *  WAL        a check of the system's own log. actor = "verify" | "replay" | "recover-twice"; ok (value = records) or fail (detail)
 *  PROBE      a steady-state probe. actor = name; ok = within tolerance, fail (detail)
 *  OUTPUT     a line of output that a fault waits for, always ok. actor = process, key = whose trigger it is, detail = the line
 *  FILE       a file below the state directory was written that a fault waits for, always ok. actor = path, key = whose trigger it is
 *  STAGE      the experiment's life. actor = stage name; invoke = begins, ok = ends, fail (detail)
 */
enum op_kind {
	OP_SUBMIT = 1,
	OP_OUTCOME,
	OP_COMMIT,
	OP_DELETION,
	OP_CALL,
	OP_NOTIFY,
	OP_AGENT,
	OP_SYSTEM,
	OP_FAULT,
	OP_EVIDENCE,
	OP_REVERT,
	OP_CLAIM,
	OP_STATEFILE,
	OP_WAL,
	OP_PROBE,
	OP_STAGE,
	OP_OUTPUT,
	OP_FILE,
};

#define OP_NONE UINT64_MAX

/* The detail of a CALL or NOTIFY info whose client hung up before it was answered: no failure of the other side. */
#define OP_CLIENT_GONE "the client went away"

struct op {
	uint64_t index;   /* 0-based place in the history */
	uint64_t time_us; /* since the history was created, monotonic, never decreasing */
	uint64_t pair;    /* ok, fail, info: index of the invoke it completes, or OP_NONE */
	enum op_type type;
	enum op_kind kind;
	const char *task;
	const char *actor;
	const char *key;
	const char *detail;
	int64_t attempt;
	int64_t epoch;
	int64_t status;
	int64_t value;
	double number;
};

/* A read-only view of a history: what a checker gets. ops[i].index == i. */
struct facts;
struct history_view {
	const struct op *ops;
	size_t count;
	const struct facts
	    *facts; /* what the checkers share, gathered of it already (check/facts.h); NULL: each does that itself */
};

const char *op_type_name(enum op_type type); /* "invoke" ... */
const char *op_kind_name(enum op_kind kind); /* "submit" ... */
/* One line for people: "1.204 s  commit ok  task-17 attempt 2 3f2a..". Always NUL-terminated. */
void op_format(const struct op *op, char *buf, size_t size);

struct history;

/* `dir`: where the log goes (created); NULL: memory only. */
int history_create(struct history **ret_history, const char *dir, struct error *err);
void history_destroy(struct history *history);

/*
 * Appends; fills index and time_us itself, copies the strings (NULL counts as ""). For completions
 * set `pair` (OP_NONE if there is none). Returns the index. Never fails: a full disk makes
 * history_store_error say so, the memory goes on.
 */
uint64_t history_append(struct history *history, const struct op *op);
/* history_append for a completion: takes task, actor, key and attempt from the invoke where `op`
 * leaves them NULL or 0. */
uint64_t history_complete(struct history *history, uint64_t invoke, const struct op *op);

uint64_t history_now_us(const struct history *history);
size_t history_count(struct history *history);

/* Calls `visit` under the lock for each operation from `first` on; it may not call back into the
 * history. Stops when it returns true. */
typedef bool (*history_visit_fn)(void *arg, const struct op *op);
bool history_scan(struct history *history, uint64_t first, history_visit_fn visit, void *arg);

/*
 * Waits until `visit` has returned true for an operation at or after `first`: each is shown once,
 * old ones first, then new ones as they come. Returns 1 then (and its index), 0 at the deadline
 * (timeout_ms < 0: none), -1 once history_interrupt was called.
 */
int history_wait(struct history *history, uint64_t first, history_visit_fn visit, void *arg, int64_t timeout_ms,
    uint64_t *ret_index);
/* Wakes every waiter, now and later, with -1 (a signal has come). Async-signal-unsafe: call it from
 * a thread. */
void history_interrupt(struct history *history);
/* Takes the interruption back, so that the clean-up may wait again. */
void history_resume(struct history *history);

/*
 * Lets go of operations before `before`, some of them or all: for who writes them down as they come and runs for ever. What is
 * forgotten is neither scanned nor viewed any more; a completion of a forgotten invoke keeps its pair, and inherits nothing. A
 * history in a log forgets nothing.
 */
void history_forget(struct history *history, uint64_t before);

/* Nothing may be appended while the view is in use: the observers have been stopped. */
struct history_view history_view(struct history *history);

/* Returns once all that was appended before the call is durable. 0 at once for a history in memory only. */
int history_sync(struct history *history, struct error *err);
/* Whether storing has failed: -1 with the first cause in *err (a full disk). 0 while all is well. */
int history_store_error(struct history *history, struct error *err);
/* Loads a stored history, for `tritone show` and for judging again. */
int history_load(struct history **ret_history, const char *dir, struct error *err);

#endif
