/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQLite in WAL mode and with a rollback journal. With journal_mode=DELETE a commit is the removal of the journal, and
 * synchronous=FULL does not sync the directory after it (EXTRA does): after power loss the journal may be back, and
 * take the last transaction with it. SQLite's manual says so, hence two subjects.
 */
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "crash/subjects/rows.h"

#define FILE_NAME "data.sqlite"

static int sql_failed(struct error *err, sqlite3 *db, const char *doing)
{
	return error_set(err, EIO, "%s: %s", doing, db ? sqlite3_errmsg(db) : "no memory");
}

static int open_db(const char *dir, sqlite3 **ret_db, struct error *err)
{
	char path[4096];
	sqlite3 *db = NULL;

	if (snprintf(path, sizeof path, "%s/" FILE_NAME, dir) >= (int)sizeof path)
		return error_set(err, ENAMETOOLONG, "%s: the path is too long", dir);
	if (sqlite3_open(path, &db) != SQLITE_OK) {
		sql_failed(err, db, "opening");
		sqlite3_close(db);
		return -1;
	}
	*ret_db = db;
	return 0;
}

static int run(sqlite3 *db, const char *sql, struct error *err)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : sql_failed(err, db, sql);
}

/* ---- write ---- */

static int run_step(sqlite3 *db, const struct rows_step *step)
{
	sqlite3_stmt *statement = NULL;
	int rc;

	rc = sqlite3_prepare_v2(db,
	    step->remove ? "DELETE FROM rows WHERE key = ?1" : "INSERT OR REPLACE INTO rows VALUES (?1, ?2)", -1,
	    &statement, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int64(statement, 1, step->key);
	if (rc == SQLITE_OK && !step->remove)
		rc = sqlite3_bind_blob(statement, 2, step->value, (int)step->size, SQLITE_STATIC);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(statement);
	sqlite3_finalize(statement);
	return rc == SQLITE_DONE ? 0 : -1;
}

static int one_transaction(sqlite3 *db, uint32_t transaction, struct error *err)
{
	struct rows_step steps[ROWS_STEPS_MAX];
	size_t count = rows_steps(transaction, steps), i;
	char sql[64];

	if (run(db, "BEGIN IMMEDIATE", err) < 0)
		return -1;
	for (i = 0; i < count; i++)
		if (run_step(db, &steps[i]) < 0)
			return sql_failed(err, db, "writing");
	snprintf(sql, sizeof sql, "UPDATE counter SET number = %u", transaction);
	return run(db, sql, err) < 0 || run(db, "COMMIT", err) < 0 ? -1 : 0;
}

static int write_with(
    const char *dir, const char *pragmas, uint32_t count, subject_acked_fn acked, void *arg, struct error *err)
{
	sqlite3 *db = NULL;
	uint32_t i;
	int r = -1;

	if (open_db(dir, &db, err) < 0)
		return -1;
	if (run(db, pragmas, err) < 0 ||
	    run(db,
		"BEGIN; CREATE TABLE rows (key INTEGER PRIMARY KEY, value BLOB);"
		"CREATE TABLE counter (number INTEGER); INSERT INTO counter VALUES (0); COMMIT",
		err) < 0)
		goto out;
	for (i = 1; i <= count; i++) {
		if (one_transaction(db, i, err) < 0)
			goto out;
		if (acked(arg, i) < 0) {
			error_set(err, errno, "acknowledging transaction %u: %s", i, strerror(errno));
			goto out;
		}
	}
	r = 0;
out:
	sqlite3_close(db);
	return r;
}

/* Checkpoints are to fall into the recorded time, so they come early. */
static int write_wal(const char *dir, uint32_t count, subject_acked_fn acked, void *arg, struct error *err)
{
	return write_with(dir, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 12",
	    count, acked, arg, err);
}

static int write_rollback(const char *dir, uint32_t count, subject_acked_fn acked, void *arg, struct error *err)
{
	return write_with(dir, "PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL", count, acked, arg, err);
}

static int write_extra(const char *dir, uint32_t count, subject_acked_fn acked, void *arg, struct error *err)
{
	return write_with(dir, "PRAGMA journal_mode = DELETE; PRAGMA synchronous = EXTRA", count, acked, arg, err);
}

/* Reading is what makes SQLite look for a hot journal or a write-ahead log. */
static int recover(const char *dir, struct error *err)
{
	sqlite3 *db = NULL;
	int r;

	if (open_db(dir, &db, err) < 0)
		return -1;
	r = run(db, "SELECT count(*) FROM sqlite_schema", err);
	if (sqlite3_close(db) != SQLITE_OK && r == 0)
		r = error_set(err, EIO, "closing");
	return r;
}

/* ---- check ---- */

static int on_integrity(void *arg, int columns, char **values, char **names)
{
	char *text = arg;

	(void)names;
	if (columns > 0 && values[0] && !text[0])
		snprintf(text, 128, "%s", values[0]);
	return 0;
}

/* The value of the first column of the first row; -1 when there is no table yet. */
static int read_number(sqlite3 *db, const char *sql, int64_t *ret_number)
{
	sqlite3_stmt *statement = NULL;
	int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);

	*ret_number = -1;
	if (rc == SQLITE_OK) {
		rc = sqlite3_step(statement);
		if (rc == SQLITE_ROW)
			*ret_number = sqlite3_column_int64(statement, 0);
	}
	sqlite3_finalize(statement);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : -1;
}

static int read_rows(sqlite3 *db, struct rows_check *rows, bool *ret_right)
{
	sqlite3_stmt *statement = NULL;
	int rc = sqlite3_prepare_v2(db, "SELECT key, value FROM rows", -1, &statement, NULL);

	*ret_right = true;
	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		rc = sqlite3_step(statement);
		if (rc == SQLITE_ROW) {
			const void *value = sqlite3_column_blob(statement, 1);

			*ret_right = rows_check_one(rows, (uint64_t)sqlite3_column_int64(statement, 0),
			    value ? value : "", (size_t)sqlite3_column_bytes(statement, 1));
			if (!*ret_right)
				rc = SQLITE_DONE;
		}
	}
	sqlite3_finalize(statement);
	if (rc == SQLITE_DONE && *ret_right)
		*ret_right = rows_check_end(rows);
	return rc == SQLITE_DONE ? 0 : -1;
}

/* 0 with a verdict, or -1: the library says what is wrong. */
static int read_all(sqlite3 *db, uint32_t acked, uint32_t attempted, enum subject_verdict *ret_verdict, char *message,
    size_t message_size)
{
	struct rows_check rows;
	char integrity[128] = "";
	int64_t tables, counter = 0;
	bool right;

	if (sqlite3_exec(db, "PRAGMA integrity_check(1)", on_integrity, integrity, NULL) != SQLITE_OK)
		return -1;
	if (strcmp(integrity, "ok") != 0) {
		snprintf(message, message_size, "integrity_check: %s", integrity);
		*ret_verdict = SUBJECT_CORRUPT;
		return 0;
	}
	if (read_number(db, "SELECT count(*) FROM sqlite_schema", &tables) < 0)
		return -1;
	if (tables == 0) { /* of a time before the first transaction */
		*ret_verdict = rows_judge(0, acked, attempted, message, message_size);
		return 0;
	}
	if (read_number(db, "SELECT number FROM counter", &counter) < 0)
		return -1;
	*ret_verdict = SUBJECT_CORRUPT;
	if (counter < 0 || counter > ROWS_COUNT_MAX) {
		snprintf(message, message_size, "the counter is %lld", (long long)counter);
		return 0;
	}
	rows_check_begin(&rows, (uint32_t)counter, message, message_size);
	if (read_rows(db, &rows, &right) < 0)
		return -1;
	if (right)
		*ret_verdict = rows_judge((uint32_t)counter, acked, attempted, message, message_size);
	return 0;
}

static enum subject_verdict check(
    const char *dir, uint32_t acked, uint32_t attempted, char *message, size_t message_size)
{
	enum subject_verdict verdict = SUBJECT_REFUSED;
	struct error err;
	sqlite3 *db = NULL;

	message[0] = '\0';
	if (open_db(dir, &db, &err) < 0) {
		snprintf(message, message_size, "%s", err.text);
		return SUBJECT_REFUSED;
	}
	if (read_all(db, acked, attempted, &verdict, message, message_size) < 0) {
		snprintf(message, message_size, "%s", sqlite3_errmsg(db));
		verdict = SUBJECT_REFUSED;
	}
	sqlite3_close(db);
	return verdict;
}

const struct subject subject_sqlite_wal = {.name = "sqlite-wal",
    .summary = "SQLite, journal_mode=WAL, synchronous=FULL",
    .write = write_wal,
    .recover = recover,
    .check = check};
const struct subject subject_sqlite_rollback = {.name = "sqlite-rollback",
    .summary = "SQLite, journal_mode=DELETE, synchronous=FULL",
    .write = write_rollback,
    .recover = recover,
    .check = check};
const struct subject subject_sqlite_rollback_extra = {.name = "sqlite-rollback-extra",
    .summary = "SQLite, journal_mode=DELETE, synchronous=EXTRA",
    .write = write_extra,
    .recover = recover,
    .check = check};
