/* SPDX-License-Identifier: Apache-2.0 */
/* The work, and its recording. Contents are a function of the LSN. */
#include "crash/workload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crash/judge.h"
#include "crash/record/record.h"
#include "crash/state.h"
#include "wal/wal.h"

#define RECORD_MAX 24000u
#define LOCK_FILE  "writer.lock"

struct work {
	const char *dir;
	struct wal *wal;
	uint64_t lsn;  /* of the last record */
	uint64_t fold; /* of all records: what a checkpoint stands for */
};

static int append(struct work *work, size_t size, struct error *err)
{
	uint8_t payload[RECORD_MAX];
	struct wal_record record = {.kind = 1, .payload = payload, .size = size};
	uint64_t lsn;
	size_t i;

	for (i = 0; i < size; i++)
		payload[i] = (uint8_t)((work->lsn + 1) * 31 + i * 7 + i / 256);
	if (wal_append(work->wal, record.kind, payload, size, &lsn, err) < 0)
		return -1;
	work->lsn = lsn;
	work->fold = judge_wal_fold(work->fold, judge_wal_hash(&record));
	return 0;
}

static int append_many(struct work *work, unsigned count, size_t size, struct error *err)
{
	int rc = 0;

	while (rc == 0 && count--)
		rc = append(work, size, err);
	return rc;
}

static int open_log(struct work *work, struct error *err)
{
	const struct wal_options options = {.map_size = WORKLOAD_MAP_BYTES};

	wal_close(work->wal);
	work->wal = NULL;
	return wal_open(&work->wal, work->dir, &options, err);
}

static int checkpoint(struct work *work, bool trim, struct error *err)
{
	if (!work->lsn)
		return 0; /* nothing that it could stand for */
	if (wal_checkpoint(work->wal, work->lsn, &work->fold, sizeof work->fold, err) < 0)
		return -1;
	return trim ? wal_trim(work->wal, 0, err) : 0;
}

static int one_transaction(struct work *work, char shape, struct error *err)
{
	switch (shape) {
	case 's':
		return append(work, 20, err);
	case 'S':
		return append_many(work, 3, 30, err);
	case 'm':
		return append(work, 1900, err);
	case 'l':
		return append(work, 9000, err);
	case 'L':
		return append(work, RECORD_MAX, err);
	case 'M':
		return append_many(work, 100, 60, err);
	case 'b':
		return append_many(work, 9, 1300, err);
	case 'g':
		return append_many(work, 8, RECORD_MAX, err);
	case 'r':
		return open_log(work, err) < 0 ? -1 : append(work, 20, err);
	case 'c':
	case 't':
		return checkpoint(work, shape == 't', err) < 0 ? -1 : append(work, 20, err);
	default:
		return error_set(err, EINVAL, "no work '%c'", shape);
	}
}

int workload_write(const char *dir, const char *shapes)
{
	struct work work = {.dir = dir};
	struct error err;
	char line[32];
	int rc = open_log(&work, &err);

	for (; rc == 0 && *shapes; shapes++) {
		rc = one_transaction(&work, *shapes, &err);
		if (rc == 0)
			rc = wal_sync(work.wal, 0, &work.lsn, &err);
		snprintf(line, sizeof line, "%llu\n", (unsigned long long)work.lsn);
		if (rc == 0 && write(STDOUT_FILENO, line, strlen(line)) < 0)
			rc = error_set(&err, errno, "standard output: %s", strerror(errno));
	}
	wal_close(work.wal);
	if (rc < 0)
		fprintf(stderr, "%s\n", err.text);
	return rc;
}

struct call {
	const char *dir, *shapes;
};

static int call(void *arg)
{
	const struct call *call = arg;

	return workload_write(call->dir, call->shapes) < 0;
}

int workload_record_call(const char *path, const char *name, int (*call_fn)(void *arg), void *arg,
    struct trace **ret_trace, struct error *err)
{
	const struct record_options options = {.dir = path};
	struct trace *trace = NULL;
	int status, rc;

	if (state_remove_tree(path, err) < 0)
		return -1;
	if (mkdir(path, 0777) < 0)
		return error_set(err, errno, "%s: %s", path, strerror(errno));
	rc = record_function(&options, call_fn, arg, &trace, &status, err);
	if (rc == 0 && (!WIFEXITED(status) || WEXITSTATUS(status)))
		rc = error_set(err, EIO, "%s ended with status 0x%x", name, (unsigned)status);
	if (state_remove_tree(path, rc < 0 ? NULL : err) < 0)
		rc = -1;
	if (rc < 0)
		trace_destroy(trace);
	else
		*ret_trace = trace;
	return rc;
}

/* The writer's pid, which is in its lock file for messages only, is another one in each recording: without it the same
 * work leaves the same states. */
static void forget_pid(struct trace *trace)
{
	static const uint8_t text[] = {'1', '\n'};
	size_t i;

	for (i = 0; i < trace->count; i++) {
		struct trace_op *op = &trace->ops[i];

		if (op->kind != TRACE_WRITE || strcmp(trace_name(trace, op->file), LOCK_FILE) != 0)
			continue;
		op->data = text;
		op->size = op->data_size = sizeof text;
	}
}

int workload_record(const char *work, const char *shapes, struct trace **ret_trace, struct error *err)
{
	char path[96], name[64];
	struct call what = {.dir = path, .shapes = shapes};

	snprintf(path, sizeof path, "%s/workload", work);
	snprintf(name, sizeof name, "the workload '%s'", shapes);
	if (workload_record_call(path, name, call, &what, ret_trace, err) < 0)
		return -1;
	forget_pid(*ret_trace);
	return 0;
}
