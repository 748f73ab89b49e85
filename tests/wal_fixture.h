/* SPDX-License-Identifier: Apache-2.0 */
/* What test_wal.c and test_wal_faults.c share: a directory for each test, records that can be told apart, a look at the
 * log with bare LMDB. Included once by each, after cmocka. */
#ifndef TRITONE_TESTS_WAL_FIXTURE_H
#define TRITONE_TESTS_WAL_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wal/wal.h"

struct fixture {
	char dir[64], log[80], data[96];
	struct wal *wal;
	struct error err;
};

static inline int fixture_setup_in(void **state, const char *base)
{
	struct fixture *fixture = calloc(1, sizeof *fixture);

	if (!fixture)
		return -1;
	snprintf(fixture->dir, sizeof fixture->dir, "%s/test_wal_XXXXXX", base);
	if (!mkdtemp(fixture->dir)) {
		free(fixture);
		return -1;
	}
	snprintf(fixture->log, sizeof fixture->log, "%s/log", fixture->dir);
	snprintf(fixture->data, sizeof fixture->data, "%s/data.mdb", fixture->log);
	*state = fixture;
	return 0;
}

static inline int fixture_setup(void **state)
{
	return fixture_setup_in(state, "/tmp");
}

/* For what needs no disk, thousands of times. */
static inline int fixture_setup_in_memory(void **state)
{
	return fixture_setup_in(state, access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
}

static inline int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
	(void)status;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline int fixture_teardown(void **state)
{
	struct fixture *fixture = *state;

	wal_close(fixture->wal);
	nftw(fixture->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	free(fixture);
	return 0;
}

/* Record i has kind i % 7, and a payload whose size and bytes follow from i. */
static inline size_t payload_make(uint64_t i, uint8_t *bytes, size_t max)
{
	size_t size = (size_t)(i * 37 % 300) + (i % 50 == 0 ? 6000 : 0), k;

	size = size < max ? size : max;
	for (k = 0; k < size; k++)
		bytes[k] = (uint8_t)(i * 31 + k);
	return size;
}

static inline int append_some(struct wal *wal, uint64_t first, uint64_t count, struct error *err)
{
	uint8_t bytes[8192];
	uint64_t i, lsn;

	for (i = first; i < first + count; i++) {
		size_t size = payload_make(i, bytes, sizeof bytes);

		if (wal_append(wal, (uint32_t)(i % 7), bytes, size, &lsn, err) < 0)
			return -1;
		if (lsn != i)
			return error_set(
			    err, EPROTO, "LSN %llu, expected %llu", (unsigned long long)lsn, (unsigned long long)i);
	}
	return 0;
}

struct seen {
	uint64_t count, first, last, wrong, epoch_last, stop_at;
};

static inline int see(void *arg, const struct wal_record *record)
{
	struct seen *seen = arg;
	uint8_t bytes[8192];
	size_t size = payload_make(record->lsn, bytes, sizeof bytes);

	if (!seen->count)
		seen->first = record->lsn;
	seen->last = record->lsn;
	seen->count++;
	seen->epoch_last = record->epoch;
	if (record->kind != record->lsn % 7 || record->size != size ||
	    (size && memcmp(record->payload, bytes, size) != 0))
		seen->wrong++;
	return seen->stop_at && record->lsn == seen->stop_at ? 42 : 0;
}

/* A log with `count` records, closed again. */
static inline void log_make(struct fixture *fixture, uint64_t count)
{
	assert_int_equal(wal_open(&fixture->wal, fixture->log, NULL, &fixture->err), 0);
	assert_int_equal(append_some(fixture->wal, 1, count, &fixture->err), 0);
	assert_int_equal(wal_sync(fixture->wal, 0, NULL, &fixture->err), 0);
	wal_close(fixture->wal);
	fixture->wal = NULL;
}

/* Changes a closed log with bare LMDB, as no writer of ours would. */
typedef int (*vandal_fn)(MDB_txn *txn, MDB_dbi log, MDB_dbi meta, uint64_t lsn);

static inline void vandalise(struct fixture *fixture, vandal_fn vandal, uint64_t lsn)
{
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi log, meta;

	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 4), 0);
	assert_int_equal(mdb_env_open(env, fixture->log, 0, 0666), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "log", MDB_INTEGERKEY, &log), 0);
	assert_int_equal(mdb_dbi_open(txn, "meta", 0, &meta), 0);
	assert_int_equal(vandal(txn, log, meta, lsn), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

/* The exit status of a child that this test has forked, 128 + signal if it was killed. */
static inline int child_status(pid_t pid)
{
	int status;
	pid_t got;

	do
		got = waitpid(pid, &status, 0);
	while (got < 0 && errno == EINTR);
	return got != pid ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#endif
