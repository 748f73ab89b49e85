/* SPDX-License-Identifier: Apache-2.0 */
/* The subjects' own checks: they hold for what was written, and fail for less, for other values, and for damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <lmdb.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crash/subjects/rows.h"
#include "crash/subjects/subject.h"

#define COUNT 24u

static int setup(void **state)
{
	char dir[] = "/tmp/subject-XXXXXX";

	*state = mkdtemp(dir) ? strdup(dir) : NULL;
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	char command[64];

	snprintf(command, sizeof command, "rm -rf %s", (char *)*state);
	free(*state);
	return system(command);
}

static int count_acked(void *arg, uint32_t transaction)
{
	uint32_t *last = arg;

	assert_int_equal(transaction, *last + 1);
	*last = transaction;
	return 0;
}

/* A directory of its own for each, below the test's. */
static const char *written(void **state, const struct subject *subject)
{
	static char dir[64];
	uint32_t last = 0;
	struct error err = {0};
	char command[96];

	snprintf(dir, sizeof dir, "%s/%s", (char *)*state, subject->name);
	snprintf(command, sizeof command, "mkdir %s", dir);
	assert_int_equal(system(command), 0);
	if (subject->write(dir, COUNT, count_acked, &last, &err) < 0)
		fail_msg("%s: %s", subject->name, err.text);
	assert_int_equal(last, COUNT);
	return dir;
}

static void test_holds_and_loses(void **state)
{
	const struct subject *subject;
	char message[256];
	size_t i;

	for (i = 0; (subject = subject_at(i)); i++) {
		const char *dir = written(state, subject);

		assert_ptr_equal(subject_find(subject->name), subject);
		assert_int_equal(subject->recover(dir, NULL), 0);
		assert_int_equal(subject->check(dir, COUNT, COUNT, message, sizeof message), SUBJECT_RECOVERED);
		assert_string_equal(message, "");
		assert_int_equal(subject->check(dir, COUNT - 1, COUNT, message, sizeof message), SUBJECT_RECOVERED);
		assert_int_equal(subject->check(dir, COUNT + 1, COUNT + 2, message, sizeof message), SUBJECT_LOST);
		assert_non_null(strstr(message, "transaction 25"));
		assert_int_equal(subject->check(dir, COUNT - 2, COUNT - 1, message, sizeof message), SUBJECT_CORRUPT);
	}
}

/* Nothing at all is right as long as nothing was acknowledged. */
static void test_begins_empty(void **state)
{
	const struct subject *subject;
	char dir[64], message[256], command[96];
	size_t i;

	for (i = 0; (subject = subject_at(i)); i++) {
		snprintf(dir, sizeof dir, "%s/%s", (char *)*state, subject->name);
		snprintf(command, sizeof command, "mkdir %s", dir);
		assert_int_equal(system(command), 0);
		assert_int_equal(subject->check(dir, 0, 1, message, sizeof message), SUBJECT_RECOVERED);
		assert_int_equal(subject->check(dir, 1, 2, message, sizeof message), SUBJECT_LOST);
	}
}

static void test_other_value_in_sqlite(void **state)
{
	static const char *const changes[] = {"UPDATE rows SET value = zeroblob(20) WHERE key = 24",
	    "DELETE FROM rows WHERE key = 23", "INSERT INTO rows VALUES (99, 'x')"};
	const char *dir = written(state, &subject_sqlite_wal);
	char path[80], message[256];
	size_t i;

	snprintf(path, sizeof path, "%s/data.sqlite", dir);
	for (i = 0; i < sizeof changes / sizeof *changes; i++) {
		sqlite3 *db;

		assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
		assert_int_equal(sqlite3_exec(db, changes[i], NULL, NULL, NULL), SQLITE_OK);
		assert_int_equal(sqlite3_close(db), SQLITE_OK);
		assert_int_equal(subject_sqlite_wal.check(dir, COUNT, COUNT, message, sizeof message), SUBJECT_CORRUPT);
	}
	assert_int_equal(truncate(path, 5000), 0);
	assert_int_not_equal(subject_sqlite_wal.check(dir, COUNT, COUNT, message, sizeof message), SUBJECT_RECOVERED);
}

static void test_other_value_in_lmdb(void **state)
{
	const char *dir = written(state, &subject_lmdb);
	uint32_t number = COUNT;
	MDB_val key = {sizeof number, &number}, value = {1, &number};
	char message[256];
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_open(env, dir, 0, 0666), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &dbi), 0);
	assert_int_equal(mdb_put(txn, dbi, &key, &value, 0), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
	assert_int_equal(subject_lmdb.check(dir, COUNT, COUNT, message, sizeof message), SUBJECT_CORRUPT);
	assert_non_null(strstr(message, "another value"));
}

/* A data file of zeros where a page should be. */
static void test_damage(void **state)
{
	static const char zeros[4096];
	const char *dir = written(state, &subject_wal);
	char path[80], message[256];
	int fd;

	snprintf(path, sizeof path, "%s/data.mdb", dir);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, zeros, sizeof zeros, 0), sizeof zeros);
	close(fd);
	assert_int_equal(subject_wal.check(dir, COUNT, COUNT, message, sizeof message), SUBJECT_REFUSED);
	assert_non_null(strstr(message, "data.mdb"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_holds_and_loses, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_begins_empty, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_other_value_in_sqlite, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_other_value_in_lmdb, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
