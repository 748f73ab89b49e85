/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LMDB with its default flags, and with the two that trade durability: both are canaries. MDB_NOSYNC may corrupt the
 * database, MDB_NOMETASYNC may undo the last transaction; LMDB's manual says so, and an explorer that does not find
 * it is broken. One table; no hashes of our own, as most users have none.
 */
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crash/subjects/rows.h"

#define MAP_SIZE ((size_t)8 << 20)
#define COUNTER  0u /* the key that holds the number of transactions */

static int mdb_failed(struct error *err, int rc, const char *doing)
{
	return error_set(err, rc > 0 ? rc : EILSEQ, "%s: %s", doing, mdb_strerror(rc));
}

/* It would print first. */
static void on_assertion(MDB_env *env, const char *text)
{
	(void)env;
	(void)text;
	abort();
}

static int open_env(const char *dir, unsigned int flags, MDB_env **ret_env, struct error *err)
{
	MDB_env *env = NULL;
	int rc = mdb_env_create(&env);

	if (rc == 0)
		rc = mdb_env_set_mapsize(env, MAP_SIZE);
	if (rc == 0)
		rc = mdb_env_set_assert(env, on_assertion);
	if (rc == 0)
		rc = mdb_env_open(env, dir, flags, 0666);
	if (rc) {
		mdb_env_close(env);
		mdb_failed(err, rc, "opening");
		return -1;
	}
	*ret_env = env;
	return 0;
}

static int put(MDB_txn *txn, MDB_dbi dbi, uint32_t key, void *value, size_t size)
{
	MDB_val k = {sizeof key, &key}, v = {size, value};

	return mdb_put(txn, dbi, &k, &v, 0);
}

static int one_transaction(MDB_env *env, uint32_t transaction)
{
	struct rows_step steps[ROWS_STEPS_MAX];
	size_t count = rows_steps(transaction, steps), i;
	MDB_txn *txn;
	MDB_dbi dbi;
	int rc = mdb_txn_begin(env, NULL, 0, &txn);

	if (rc)
		return rc;
	rc = mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &dbi);
	for (i = 0; rc == 0 && i < count; i++) {
		MDB_val key = {sizeof steps[i].key, &steps[i].key};

		rc = steps[i].remove ? mdb_del(txn, dbi, &key, NULL)
				     : put(txn, dbi, steps[i].key, steps[i].value, steps[i].size);
	}
	if (rc == 0)
		rc = put(txn, dbi, COUNTER, &transaction, sizeof transaction);
	if (rc) {
		mdb_txn_abort(txn);
		return rc;
	}
	return mdb_txn_commit(txn);
}

/* LMDB leaves the directory entry of a new environment to its user, as our log does not. */
static int sync_dir(const char *dir, struct error *err)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

	if (fd < 0)
		return error_set(err, errno, "%s: %s", dir, strerror(errno));
	r = fsync(fd);
	if (r < 0)
		error_set(err, errno, "%s: %s", dir, strerror(errno));
	close(fd);
	return r;
}

static int write_with(
    const char *dir, unsigned int flags, uint32_t count, subject_acked_fn acked, void *arg, struct error *err)
{
	MDB_env *env;
	uint32_t i;
	int rc, r = -1;

	if (open_env(dir, flags, &env, err) < 0)
		return -1;
	/* The canaries are to be found by what their flags give away, not by how they began. */
	if ((rc = mdb_env_sync(env, 1)) != 0) {
		mdb_failed(err, rc, "syncing");
		goto out;
	}
	if (sync_dir(dir, err) < 0)
		goto out;
	for (i = 1; i <= count; i++) {
		rc = one_transaction(env, i);
		if (rc) {
			mdb_failed(err, rc, "writing");
			goto out;
		}
		if (acked(arg, i) < 0) {
			error_set(err, errno, "acknowledging transaction %u: %s", i, strerror(errno));
			goto out;
		}
	}
	r = 0;
out:
	mdb_env_close(env);
	return r;
}

static int write_synced(const char *dir, uint32_t count, subject_acked_fn acked, void *arg, struct error *err)
{
	return write_with(dir, 0, count, acked, arg, err);
}

static int write_nosync(const char *dir, uint32_t count, subject_acked_fn acked, void *arg, struct error *err)
{
	return write_with(dir, MDB_NOSYNC, count, acked, arg, err);
}

static int write_nometasync(const char *dir, uint32_t count, subject_acked_fn acked, void *arg, struct error *err)
{
	return write_with(dir, MDB_NOMETASYNC, count, acked, arg, err);
}

/* LMDB has no recovery: it is opened and used. */
static int recover(const char *dir, struct error *err)
{
	MDB_env *env;

	if (open_env(dir, 0, &env, err) < 0)
		return -1;
	mdb_env_close(env);
	return 0;
}

/* ---- check ---- */

/* The counter; 0 when the database is empty. */
static int read_counter(MDB_txn *txn, MDB_dbi dbi, uint32_t *ret_counter, const char **ret_why)
{
	uint32_t zero = COUNTER;
	MDB_val key = {sizeof zero, &zero}, value;
	int rc = mdb_get(txn, dbi, &key, &value);

	*ret_counter = 0;
	*ret_why = NULL;
	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc)
		return rc;
	if (value.mv_size != sizeof *ret_counter)
		*ret_why = "the counter is no number";
	else
		memcpy(ret_counter, value.mv_data, sizeof *ret_counter);
	return 0;
}

static int read_rows(MDB_txn *txn, MDB_dbi dbi, struct rows_check *rows, bool *ret_right)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	int rc = mdb_cursor_open(txn, dbi, &cursor);

	*ret_right = true;
	if (rc)
		return rc;
	while (*ret_right && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
		uint32_t number = UINT32_MAX;

		if (key.mv_size == sizeof number)
			memcpy(&number, key.mv_data, sizeof number);
		if (number != COUNTER)
			*ret_right = rows_check_one(rows, number, value.mv_data, value.mv_size);
	}
	mdb_cursor_close(cursor);
	if (rc && rc != MDB_NOTFOUND)
		return rc;
	if (*ret_right)
		*ret_right = rows_check_end(rows);
	return 0;
}

static int read_all(MDB_txn *txn, uint32_t acked, uint32_t attempted, enum subject_verdict *ret_verdict, char *message,
    size_t message_size)
{
	struct rows_check rows;
	const char *why = NULL;
	uint32_t counter;
	MDB_dbi dbi;
	bool right;
	int rc = mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &dbi);

	if (rc == 0)
		rc = read_counter(txn, dbi, &counter, &why);
	if (rc)
		return rc;
	*ret_verdict = SUBJECT_CORRUPT;
	if (why) {
		snprintf(message, message_size, "%s", why);
		return 0;
	}
	rows_check_begin(&rows, counter, message, message_size);
	rc = read_rows(txn, dbi, &rows, &right);
	if (rc == 0 && right)
		*ret_verdict = rows_judge(counter, acked, attempted, message, message_size);
	return rc;
}

/* What is there may be written on: a tree that reads well and whose list of free pages does not. */
static int write_more(MDB_env *env)
{
	static uint8_t filler[ROWS_VALUE_MAX];
	MDB_txn *txn;
	MDB_dbi dbi;
	uint32_t key;
	int rc = mdb_txn_begin(env, NULL, 0, &txn);

	if (rc)
		return rc;
	rc = mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &dbi);
	for (key = UINT32_MAX - 4; rc == 0 && key < UINT32_MAX; key++)
		rc = put(txn, dbi, key, filler, sizeof filler);
	mdb_txn_abort(txn);
	return rc;
}

static enum subject_verdict check(
    const char *dir, uint32_t acked, uint32_t attempted, char *message, size_t message_size)
{
	enum subject_verdict verdict = SUBJECT_REFUSED;
	struct error err;
	MDB_env *env;
	MDB_txn *txn;
	int rc;

	message[0] = '\0';
	if (open_env(dir, 0, &env, &err) < 0) {
		snprintf(message, message_size, "%s", err.text);
		/* LMDB does not make a new environment at once; with nothing acknowledged, it is begun again. */
		return acked ? SUBJECT_REFUSED : SUBJECT_RECOVERED;
	}
	rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
	if (rc == 0) {
		rc = read_all(txn, acked, attempted, &verdict, message, message_size);
		mdb_txn_abort(txn);
	}
	if (rc == 0 && verdict == SUBJECT_RECOVERED)
		rc = write_more(env);
	if (rc) {
		snprintf(message, message_size, "%s", mdb_strerror(rc));
		verdict = SUBJECT_REFUSED;
	}
	mdb_env_close(env);
	return verdict;
}

const struct subject subject_lmdb = {
    .name = "lmdb", .summary = "LMDB, default flags", .write = write_synced, .recover = recover, .check = check};
const struct subject subject_lmdb_nosync = {
    .name = "lmdb-nosync", .summary = "LMDB, MDB_NOSYNC", .write = write_nosync, .recover = recover, .check = check};
const struct subject subject_lmdb_nometasync = {.name = "lmdb-nometasync",
    .summary = "LMDB, MDB_NOMETASYNC",
    .write = write_nometasync,
    .recover = recover,
    .check = check};
