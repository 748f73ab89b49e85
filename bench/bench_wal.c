/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/ against its limits: group commit against one appender, batched appends against raw mdb_put, replay against a
 * raw cursor. Peer and subject take turns in the same run on the same disk; medians; ratios are what counts.
 */
#include <errno.h>
#include <ftw.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "wal/wal.h"

#define APPENDERS    64
#define PAYLOAD_SIZE 64u /* bytes, about what a conductor's record has */
#define BATCH        1000u
#define ROUNDS_MAX   9

struct scale {
	int rounds;
	double group_s;    /* how long appenders append */
	unsigned batches;  /* of BATCH */
	uint64_t replayed; /* records */
};

static char root[] = "/tmp/bench_wal_XXXXXX";
static const uint8_t payload[PAYLOAD_SIZE] = "a record of the usual size";

static void die(const char *what, const char *why)
{
	fprintf(stderr, "bench_wal: %s: %s\n", what, why);
	exit(1);
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double median(double *values, int count)
{
	qsort(values, (size_t)count, sizeof *values, compare);
	return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
	(void)status;
	(void)type;
	(void)ftw;
	return remove(path);
}

static const char *fresh_dir(char path[64], const char *name)
{
	snprintf(path, 64, "%s/%s", root, name);
	nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	return path;
}

static struct wal *open_log(const char *dir, bool read_only)
{
	const struct wal_options options = {.map_size = (size_t)512 << 20, .read_only = read_only};
	struct error err;
	struct wal *wal = NULL;

	if (wal_open(&wal, dir, &options, &err) < 0)
		die("wal_open", err.text);
	return wal;
}

/* --- durable appends --- */

struct appender {
	struct wal *wal;
	double until;
	uint64_t count;
};

static void *append_and_sync(void *arg)
{
	struct appender *appender = arg;
	struct error err;
	uint64_t lsn;

	while (now_s() < appender->until) {
		if (wal_append(appender->wal, 1, payload, sizeof payload, &lsn, &err) < 0 ||
		    wal_sync(appender->wal, lsn, NULL, &err) < 0)
			die("append", err.text);
		appender->count++;
	}
	return NULL;
}

static double durable_rate(int threads_count, double seconds)
{
	struct appender appenders[APPENDERS] = {0};
	pthread_t threads[APPENDERS];
	char dir[64];
	struct wal *wal = open_log(fresh_dir(dir, "group"), false);
	double begin = now_s(), elapsed;
	uint64_t count = 0;
	int i;

	for (i = 0; i < threads_count; i++) {
		appenders[i].wal = wal;
		appenders[i].until = begin + seconds;
		if (pthread_create(&threads[i], NULL, append_and_sync, &appenders[i]))
			die("pthread_create", strerror(errno));
	}
	for (i = 0; i < threads_count; i++) {
		pthread_join(threads[i], NULL);
		count += appenders[i].count;
	}
	elapsed = now_s() - begin;
	wal_close(wal);
	return (double)count / elapsed;
}

static void bench_group(const struct scale *scale)
{
	double one[ROUNDS_MAX] = {0}, many[ROUNDS_MAX] = {0}, ratio[ROUNDS_MAX] = {0};
	int i;

	for (i = 0; i < scale->rounds; i++) {
		one[i] = durable_rate(1, scale->group_s);
		many[i] = durable_rate(APPENDERS, scale->group_s);
		ratio[i] = many[i] / one[i];
	}
	printf("durable appends, %d appenders against 1:  %5.1f x   (%.0f/s against %.0f/s; wanted: 20)\n", APPENDERS,
	    median(ratio, scale->rounds), median(many, scale->rounds), median(one, scale->rounds));
}

/* --- batches --- */

static void check(const char *what, int rc)
{
	if (rc)
		die(what, mdb_strerror(rc));
}

static MDB_env *raw_open(const char *dir, MDB_dbi *ret_dbi)
{
	MDB_env *env;
	MDB_txn *txn;

	if (mkdir(dir, 0777) < 0 && errno != EEXIST)
		die(dir, strerror(errno));
	check("env_create", mdb_env_create(&env));
	check("set_maxdbs", mdb_env_set_maxdbs(env, 2));
	check("set_mapsize", mdb_env_set_mapsize(env, (size_t)512 << 20));
	check("env_open", mdb_env_open(env, dir, 0, 0666));
	check("txn_begin", mdb_txn_begin(env, NULL, 0, &txn));
	check("dbi_open", mdb_dbi_open(txn, "log", MDB_CREATE | MDB_INTEGERKEY, ret_dbi));
	check("commit", mdb_txn_commit(txn));
	return env;
}

/* What the peer stores is as large as a record of ours: array head and hash make 30 bytes. */
static double raw_batches(unsigned batches)
{
	uint8_t bytes[PAYLOAD_SIZE + 30] = {0};
	char dir[64];
	MDB_dbi dbi;
	MDB_env *env = raw_open(fresh_dir(dir, "raw"), &dbi);
	double begin = now_s();
	size_t lsn = 0;
	unsigned b, i;

	memcpy(bytes, payload, sizeof payload);
	for (b = 0; b < batches; b++) {
		MDB_txn *txn;

		check("txn_begin", mdb_txn_begin(env, NULL, 0, &txn));
		for (i = 0; i < BATCH; i++) {
			size_t at = ++lsn;
			MDB_val key = {sizeof at, &at}, value = {sizeof bytes, bytes};

			check("put", mdb_put(txn, dbi, &key, &value, MDB_APPEND));
		}
		check("commit", mdb_txn_commit(txn));
	}
	begin = now_s() - begin;
	mdb_env_close(env);
	return batches * (double)BATCH / begin;
}

static void write_batches(const char *dir, unsigned batches)
{
	struct wal *wal = open_log(dir, false);
	struct error err;
	unsigned b, i;

	for (b = 0; b < batches; b++) {
		for (i = 0; i < BATCH; i++)
			if (wal_append(wal, 1, payload, sizeof payload, NULL, &err) < 0)
				die("append", err.text);
		if (wal_sync(wal, 0, NULL, &err) < 0)
			die("sync", err.text);
	}
	wal_close(wal);
}

static double wal_batches(unsigned batches)
{
	char dir[64];
	double begin;

	wal_close(open_log(fresh_dir(dir, "batched"), false)); /* creation is not what is measured */
	begin = now_s();
	write_batches(dir, batches);
	return batches * (double)BATCH / (now_s() - begin);
}

static void bench_batches(const struct scale *scale)
{
	double raw[ROUNDS_MAX] = {0}, ours[ROUNDS_MAX] = {0}, ratio[ROUNDS_MAX] = {0};
	int i;

	for (i = 0; i < scale->rounds; i++) {
		raw[i] = raw_batches(scale->batches);
		ours[i] = wal_batches(scale->batches);
		ratio[i] = ours[i] / raw[i];
	}
	printf("batches of %u against raw mdb_put:       %5.2f x   (%.0f/s against %.0f/s; wanted: 0.80)\n", BATCH,
	    median(ratio, scale->rounds), median(ours, scale->rounds), median(raw, scale->rounds));
}

/* --- replay --- */

static int sum(void *arg, const struct wal_record *record)
{
	*(uint64_t *)arg += record->lsn + record->payload[0];
	return 0;
}

static double wal_scan(const char *dir, uint64_t *ret_sum)
{
	struct wal *wal = open_log(dir, true);
	struct error err;
	double begin = now_s();

	if (wal_replay(wal, 0, sum, ret_sum, &err) < 0)
		die("replay", err.text);
	begin = now_s() - begin;
	wal_close(wal);
	return begin;
}

static double raw_scan(const char *dir, uint64_t *ret_sum)
{
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	MDB_cursor *cursor;
	MDB_val key, value;
	double begin;

	check("env_create", mdb_env_create(&env));
	check("set_maxdbs", mdb_env_set_maxdbs(env, 2));
	check("env_open", mdb_env_open(env, dir, MDB_RDONLY, 0666));
	check("txn_begin", mdb_txn_begin(env, NULL, MDB_RDONLY, &txn));
	check("dbi_open", mdb_dbi_open(txn, "log", 0, &dbi));
	check("cursor_open", mdb_cursor_open(txn, dbi, &cursor));
	begin = now_s();
	while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0)
		*ret_sum += ((const uint8_t *)value.mv_data)[value.mv_size - 1];
	begin = now_s() - begin;
	mdb_cursor_close(cursor);
	mdb_txn_abort(txn);
	mdb_env_close(env);
	return begin;
}

static void bench_replay(const struct scale *scale)
{
	double raw[ROUNDS_MAX] = {0}, ours[ROUNDS_MAX] = {0}, ratio[ROUNDS_MAX] = {0};
	uint64_t sums = 0;
	char dir[64];
	int i;

	write_batches(fresh_dir(dir, "replay"), (unsigned)(scale->replayed / BATCH));
	for (i = 0; i < scale->rounds; i++) {
		raw[i] = (double)scale->replayed / raw_scan(dir, &sums);
		ours[i] = (double)scale->replayed / wal_scan(dir, &sums);
		ratio[i] = ours[i] / raw[i];
	}
	printf("replay of %llu records, chain checked: %5.2f million/s   (%.2f x a raw cursor that checks nothing; "
	       "wanted: 3 million/s)   [%llx]\n",
	    (unsigned long long)scale->replayed, median(ours, scale->rounds) / 1e6, median(ratio, scale->rounds),
	    (unsigned long long)sums);
}

int main(int argc, char **argv)
{
	struct scale scale = {.rounds = 5, .group_s = 1, .batches = 200, .replayed = 1000000};

	if (argc == 2 && !strcmp(argv[1], "--quick")) {
		scale = (struct scale){.rounds = 3, .group_s = 0.2, .batches = 30, .replayed = 200000};
	} else if (argc > 1) {
		fputs("usage: bench_wal [--quick]\n", stderr);
		return 2;
	}
	if (!mkdtemp(root))
		die(root, strerror(errno));
	bench_group(&scale);
	bench_batches(&scale);
	bench_replay(&scale);
	nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}
