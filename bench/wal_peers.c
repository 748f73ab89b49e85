/* SPDX-License-Identifier: Apache-2.0 */
/* Bare LMDB and SQLite; see wal_peers.h. */
#include "wal_peers.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "median.h"

#define MAP_SIZE ((size_t)1 << 30)

void peer_die(const char *what, const char *why)
{
	fprintf(stderr, "bench_wal: %s: %s\n", what, why);
	exit(1);
}

struct cost cost_now(void)
{
	struct timespec cpu;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	return (struct cost){now_s(), (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9};
}

struct cost cost_since(struct cost begin)
{
	const struct cost now = cost_now();

	return (struct cost){now.seconds - begin.seconds, now.cpu_seconds - begin.cpu_seconds};
}

/* --- LMDB --- */

static void check(const char *what, int rc)
{
	if (rc)
		peer_die(what, mdb_strerror(rc));
}

static MDB_env *lmdb_open(const char *dir, MDB_dbi *ret_dbi)
{
	MDB_env *env;
	MDB_txn *txn;

	if (mkdir(dir, 0777) < 0 && errno != EEXIST)
		peer_die(dir, strerror(errno));
	check("env_create", mdb_env_create(&env));
	check("set_maxdbs", mdb_env_set_maxdbs(env, 2));
	check("set_mapsize", mdb_env_set_mapsize(env, MAP_SIZE));
	check("env_open", mdb_env_open(env, dir, 0, 0666));
	check("txn_begin", mdb_txn_begin(env, NULL, 0, &txn));
	check("dbi_open", mdb_dbi_open(txn, "log", MDB_CREATE | MDB_INTEGERKEY, ret_dbi));
	check("commit", mdb_txn_commit(txn));
	return env;
}

struct cost peer_lmdb(const char *dir, unsigned batches, unsigned batch, const void *record, size_t size)
{
	MDB_dbi dbi;
	MDB_env *env = lmdb_open(dir, &dbi);
	struct cost cost = cost_now();
	size_t lsn = 0;
	unsigned b, i;

	for (b = 0; b < batches; b++) {
		MDB_txn *txn;

		check("txn_begin", mdb_txn_begin(env, NULL, 0, &txn));
		for (i = 0; i < batch; i++) {
			size_t at = ++lsn;
			MDB_val key = {sizeof at, &at}, value = {size, (void *)(uintptr_t)record};

			check("put", mdb_put(txn, dbi, &key, &value, MDB_APPEND));
		}
		check("commit", mdb_txn_commit(txn));
	}
	cost = cost_since(cost);
	mdb_env_close(env);
	return cost;
}

double peer_scan(const char *dir, uint64_t *ret_sum)
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

/* --- SQLite --- */

static void run(sqlite3 *db, const char *sql)
{
	char *why = NULL;

	if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
		peer_die(sql, why ? why : "?");
}

static void step(sqlite3 *db, sqlite3_stmt *statement)
{
	if (sqlite3_step(statement) != SQLITE_DONE || sqlite3_reset(statement) != SQLITE_OK)
		peer_die("sqlite3_step", sqlite3_errmsg(db));
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *statement = NULL;

	if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
		peer_die(sql, sqlite3_errmsg(db));
	return statement;
}

struct cost peer_sqlite(const char *dir, unsigned batches, unsigned batch, const void *record, size_t size)
{
	sqlite3_stmt *begin, *insert, *commit;
	char path[128];
	sqlite3 *db;
	struct cost cost;
	int64_t lsn = 0;
	unsigned b, i;

	if (mkdir(dir, 0777) < 0 && errno != EEXIST)
		peer_die(dir, strerror(errno));
	snprintf(path, sizeof path, "%s/log.db", dir);
	if (sqlite3_open(path, &db) != SQLITE_OK)
		peer_die(path, sqlite3_errmsg(db));
	run(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
		"CREATE TABLE log (lsn INTEGER PRIMARY KEY, kind INTEGER, payload BLOB)");
	begin = prepare(db, "BEGIN IMMEDIATE");
	insert = prepare(db, "INSERT INTO log VALUES (?, 1, ?)");
	commit = prepare(db, "COMMIT");
	cost = cost_now();
	for (b = 0; b < batches; b++) {
		step(db, begin);
		for (i = 0; i < batch; i++) {
			if (sqlite3_bind_int64(insert, 1, ++lsn) != SQLITE_OK ||
			    sqlite3_bind_blob(insert, 2, record, (int)size, SQLITE_STATIC) != SQLITE_OK)
				peer_die("sqlite3_bind", sqlite3_errmsg(db));
			step(db, insert);
		}
		step(db, commit);
	}
	cost = cost_since(cost);
	sqlite3_finalize(begin);
	sqlite3_finalize(insert);
	sqlite3_finalize(commit);
	sqlite3_close(db);
	return cost;
}

/* --- the disk --- */

#define FLUSH_SIZE 8192u

double peer_flush_us(const char *path, enum flush_place place, size_t rounds)
{
	static const uint8_t bytes[FLUSH_SIZE] = {1};
	double us[PEER_FLUSHES_MAX];
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	size_t i;

	if (fd < 0 || ftruncate(fd, (off_t)(PEER_FLUSHES_MAX * FLUSH_SIZE)) < 0)
		peer_die(path, strerror(errno));
	if (place == FLUSH_RESERVED && fallocate(fd, 0, 0, (off_t)(PEER_FLUSHES_MAX * FLUSH_SIZE)) < 0)
		peer_die(path, strerror(errno));
	for (i = 0; place == FLUSH_OVERWRITES && i < PEER_FLUSHES_MAX; i++)
		if (pwrite(fd, bytes, sizeof bytes, (off_t)(i * FLUSH_SIZE)) != (ssize_t)sizeof bytes)
			peer_die(path, strerror(errno));
	if (fsync(fd) < 0)
		peer_die(path, strerror(errno));
	for (i = 0; i < rounds; i++) {
		const double begin = now_s();

		if (pwrite(fd, bytes, sizeof bytes, (off_t)(i * FLUSH_SIZE)) != (ssize_t)sizeof bytes ||
		    fdatasync(fd) < 0)
			peer_die(path, strerror(errno));
		us[i] = (now_s() - begin) * 1e6;
	}
	close(fd);
	unlink(path);
	return median(us, rounds);
}
