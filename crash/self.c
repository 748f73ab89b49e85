/* SPDX-License-Identifier: Apache-2.0 */
/* The table of what is explored, and what is expected of it. */
#include "crash/self.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "crash/record/record.h"
#include "crash/subjects/subject.h"
#include "crash/workload.h"

#define BYTE         (1u << MODEL_BYTE)
#define RECOVERY_MAX 200u

struct self_entry {
	const char *name;
	const char *workload; /* of wal/; NULL: a library */
	const char *library;  /* of crash/subjects; NULL: as the name */
	const char *expected;
	unsigned kinds, must, may;
	uint32_t transactions; /* of a library */
	uint64_t states_max;
	bool all_recoveries; /* each is crashed; else RECOVERY_MAX of them */
};

static const struct self_entry table[] = {
    {.name = "wal",
	.workload = "sSmlMrct",
	.expected = "holds",
	.kinds = MODEL_DEFAULT,
	.states_max = 60000,
	.all_recoveries = true},
    {.name = "wal, checkpoints",
	.workload = "Mcltst",
	.expected = "holds",
	.kinds = MODEL_DEFAULT,
	.states_max = 60000,
	.all_recoveries = true},
    {.name = "wal, blocks ahead",
	.workload = "gsMsts",
	.expected = "holds",
	.kinds = MODEL_DEFAULT,
	.states_max = 10000},
    {.name = "sqlite-wal", .expected = "holds", .kinds = MODEL_DEFAULT, .transactions = 6, .states_max = 6000},
    {.name = "sqlite-rollback-extra",
	.expected = "holds",
	.kinds = MODEL_DEFAULT,
	.transactions = 4,
	.states_max = 6000},
    {.name = "sqlite-rollback", /* the journal is removed, the directory not synced: EXTRA does that, FULL does not */
	.expected = "loses the last",
	.kinds = MODEL_DEFAULT,
	.must = SELF_BIT(CRASH_LOST),
	.transactions = 4,
	.states_max = 6000},
    {.name = "lmdb", .expected = "holds", .kinds = MODEL_DEFAULT, .transactions = 6, .states_max = 20000},
    {.name = "lmdb-nometasync",
	.expected = "loses the last",
	.kinds = MODEL_DEFAULT,
	.must = SELF_BIT(CRASH_LOST),
	.transactions = 6,
	.states_max = 20000},
    {.name = "lmdb-nosync",
	.expected = "corrupts",
	.kinds = MODEL_DEFAULT,
	.must = SELF_BIT(CRASH_LOST) | SELF_BIT(CRASH_CORRUPT),
	.may = SELF_BIT(CRASH_REFUSED) | SELF_BIT(CRASH_FAILED),
	.transactions = 6,
	.states_max = 4000},
    /* Side by side: a meta page of LMDB is 120 bytes without a checksum. Torn within, it shows an earlier state as if it
     * were the last; our chain says so. */
    {.name = "lmdb, byte-torn",
	.library = "lmdb",
	.expected = "silently wrong",
	.kinds = BYTE,
	.must = SELF_BIT(CRASH_LOST),
	.may = SELF_BIT(CRASH_REFUSED) | SELF_BIT(CRASH_FAILED) | SELF_BIT(CRASH_CORRUPT),
	.transactions = 12,
	.states_max = 20000},
    {.name = "wal, byte-torn",
	.library = "wal",
	.expected = "holds or says so",
	.kinds = BYTE,
	.may = SELF_BIT(CRASH_REFUSED),
	.transactions = 12,
	.states_max = 20000},
};

struct call {
	const struct subject *subject;
	const char *dir;
	uint32_t transactions;
};

static int call(void *arg)
{
	const struct call *call = arg;
	struct error err;

	if (call->subject->write(call->dir, call->transactions, subject_print, NULL, &err) == 0)
		return 0;
	fprintf(stderr, "%s: %s\n", call->subject->name, err.text);
	return 1;
}

static int record_subject(
    const struct subject *subject, uint32_t transactions, const char *work, struct trace **ret_trace, struct error *err)
{
	char path[96], name[64];
	struct call what = {.subject = subject, .dir = path, .transactions = transactions};

	snprintf(path, sizeof path, "%s/subject", work);
	snprintf(name, sizeof name, "the writer of %s", subject->name);
	return workload_record_call(path, name, call, &what, ret_trace, err);
}

static void compare(struct self_row *row)
{
	unsigned outcome;

	row->as_expected = true;
	row->reason[0] = '\0';
	for (outcome = CRASH_REFUSED; outcome < CRASH_OUTCOMES; outcome++) {
		const bool found = row->result.outcomes[outcome] > 0;

		if (found && !((row->must | row->may) & SELF_BIT(outcome))) {
			row->as_expected = false;
			row->against = &row->result.first[outcome];
			snprintf(row->reason, sizeof row->reason, "%s: %s", crash_outcome_name(outcome),
			    row->result.first[outcome].reason);
			return;
		}
		if (!found && row->must & SELF_BIT(outcome)) {
			row->as_expected = false;
			snprintf(row->reason, sizeof row->reason, "not found: %s; the explorer is blind",
			    crash_outcome_name(outcome));
		}
	}
}

static int run_entry(const struct self_entry *entry, const struct explore_options *base, self_row_fn row_fn, void *arg,
    bool *ok, struct error *err)
{
	const struct subject *subject =
	    entry->workload ? NULL : subject_find(entry->library ? entry->library : entry->name);
	struct explore_options options = *base;
	struct crash_judge judge = crash_judge_workload;
	struct trace *trace = NULL;
	struct self_row row;
	int rc;

	if (!entry->workload && !subject)
		return error_set(err, ENOENT, "no subject %s", entry->name);
	rc = subject ? record_subject(subject, entry->transactions, base->work, &trace, err)
		     : workload_record(base->work, entry->workload, &trace, err);
	if (rc < 0)
		return error_context(err, "%s", entry->name);
	if (subject)
		judge = crash_judge_subject(subject);
	options.kinds = entry->kinds;
	options.states_max = base->states_max > entry->states_max ? base->states_max : entry->states_max;
	options.volatiles = record_volatiles;
	if (base->recovery_max == UINT64_MAX && !entry->all_recoveries)
		options.recovery_max = RECOVERY_MAX;
	row = (struct self_row){.name = entry->name,
	    .expected = entry->expected,
	    .kinds = entry->kinds,
	    .must = entry->must,
	    .may = entry->may,
	    .options = &options,
	    .trace = trace};
	rc = explore(trace, &judge, &options, &row.result, err);
	if (rc < 0)
		error_context(err, "%s", entry->name);
	else {
		compare(&row);
		*ok = *ok && row.as_expected;
		row_fn(arg, &row);
	}
	trace_destroy(trace);
	return rc;
}

int self_run(const struct explore_options *base, self_row_fn row_fn, void *arg, bool *ret_ok, struct error *err)
{
	size_t i;

	*ret_ok = true;
	for (i = 0; i < sizeof table / sizeof *table; i++) {
		if (run_entry(&table[i], base, row_fn, arg, ret_ok, err) < 0)
			return -1;
	}
	return 0;
}
