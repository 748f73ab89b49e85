/* SPDX-License-Identifier: Apache-2.0 */
/* The table of what is explored, and what is expected of it. */
#include "crash/self.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crash/record/record.h"
#include "crash/state.h"
#include "crash/subjects/subject.h"
#include "crash/workload.h"

#define TRANSACTIONS 3u

struct self_entry {
	const char *name, *summary;
	const char *workload; /* of wal/; NULL: a library of crash/subjects by its name */
	enum self_expectation expected;
	uint64_t states_max;
};

static const struct self_entry table[] = {
    {"wal", "wal/, each kind of work", "sSmlMrct", SELF_HOLDS, 60000},
    {"wal", "wal/, crash in the midst of checkpoints", "Mcltst", SELF_HOLDS, 60000},
    {"sqlite-wal", NULL, NULL, SELF_HOLDS, 4000},
    {"sqlite-rollback-extra", NULL, NULL, SELF_HOLDS, 4000},
    {"sqlite-rollback", NULL, NULL, SELF_EITHER, 4000},
    {"lmdb", NULL, NULL, SELF_LOSES_NOTHING, 8000},
    {"lmdb-nosync", NULL, NULL, SELF_LOSES, 4000},
    {"lmdb-nometasync", NULL, NULL, SELF_LOSES, 4000},
};

static int print_number(void *arg, uint32_t transaction)
{
	char line[16];
	const int size = snprintf(line, sizeof line, "%u\n", transaction);

	(void)arg;
	return write(STDOUT_FILENO, line, (size_t)size) == size ? 0 : -1;
}

struct call {
	const struct subject *subject;
	const char *dir;
};

static int call(void *arg)
{
	const struct call *call = arg;
	struct error err;

	if (call->subject->write(call->dir, TRANSACTIONS, print_number, NULL, &err) == 0)
		return 0;
	fprintf(stderr, "%s: %s\n", call->subject->name, err.text);
	return 1;
}

static int record_subject(const struct subject *subject, const char *work, struct trace **ret_trace, struct error *err)
{
	struct record_options options = {0};
	struct call what = {.subject = subject};
	struct trace *trace = NULL;
	char path[96];
	int status, rc;

	snprintf(path, sizeof path, "%s/subject", work);
	if (state_remove_tree(path, err) < 0)
		return -1;
	if (mkdir(path, 0777) < 0)
		return error_set(err, errno, "%s: %s", path, strerror(errno));
	options.dir = what.dir = path;
	rc = record_function(&options, call, &what, &trace, &status, err);
	if (rc == 0 && (!WIFEXITED(status) || WEXITSTATUS(status)))
		rc = error_set(err, EIO, "the writer of %s ended with status 0x%x", subject->name, (unsigned)status);
	state_remove_tree(path, NULL);
	if (rc < 0)
		trace_destroy(trace);
	else
		*ret_trace = trace;
	return rc;
}

static bool is_as_expected(enum self_expectation expected, const struct explore_result *result)
{
	bool deviates = false;
	unsigned i;

	for (i = 0; i < CRASH_OUTCOMES; i++)
		if (expected != SELF_LOSES_NOTHING || i != CRASH_REFUSED)
			deviates = deviates || explore_deviates(&result->first[i]);
	return expected == SELF_EITHER || deviates == (expected == SELF_LOSES);
}

static int run_entry(
    const struct self_entry *entry, const struct explore_options *base, struct self_row *row, struct error *err)
{
	const struct subject *subject = entry->workload ? NULL : subject_find(entry->name);
	struct explore_options options = *base;
	struct crash_judge judge = crash_judge_workload;
	struct trace *trace = NULL;
	int rc;

	if (!entry->workload && !subject)
		return error_set(err, ENOENT, "no subject %s", entry->name);
	rc = subject ? record_subject(subject, base->work, &trace, err)
		     : workload_record(base->work, entry->workload, &trace, err);
	if (rc < 0)
		return error_context(err, "%s", entry->name);
	if (subject)
		judge = crash_judge_subject(subject);
	options.states_max = entry->states_max;
	options.volatiles = record_volatiles;
	*row = (struct self_row){
	    .name = entry->name, .summary = subject ? subject->summary : entry->summary, .expected = entry->expected};
	rc = explore(trace, &judge, &options, &row->result, err);
	trace_destroy(trace);
	if (rc < 0)
		return error_context(err, "%s", entry->name);
	row->as_expected = is_as_expected(entry->expected, &row->result);
	return 0;
}

int self_run(const struct explore_options *base, self_row_fn row_fn, void *arg, bool *ret_ok, struct error *err)
{
	struct self_row row;
	size_t i;

	*ret_ok = true;
	for (i = 0; i < sizeof table / sizeof *table; i++) {
		if (run_entry(&table[i], base, &row, err) < 0)
			return -1;
		*ret_ok = *ret_ok && row.as_expected;
		row_fn(arg, &row);
	}
	return 0;
}
