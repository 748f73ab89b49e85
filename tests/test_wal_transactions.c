/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoint and trim of wal/ come in transactions of a bounded size, between which appenders go on: they are counted, by the number
 * that LMDB gives each. And what is done already takes none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "wal_checkpoint_fixture.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup_in_memory, fixture_teardown)

#define CHUNK   4080u /* bytes of a checkpoint in one page */
#define CHUNKS  600u  /* written and cleared 256 at a time */
#define LARGE   100000u
#define OPENING 1u /* the epoch */

/* Of the last transaction; the log is closed for it, which takes none. */
static uint64_t last_transaction(struct fixture *f)
{
	MDB_envinfo info;
	MDB_env *env;

	wal_close(f->wal);
	f->wal = NULL;
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 2), 0);
	assert_int_equal(mdb_env_open(env, f->log, MDB_RDONLY, 0), 0);
	assert_int_equal(mdb_env_info(env, &info), 0);
	mdb_env_close(env);
	return info.me_last_txnid;
}

/* So many it took since `before`, without that of the opening. */
static uint64_t taken(struct fixture *f, uint64_t before)
{
	return last_transaction(f) - before - OPENING;
}

static void test_checkpoints(void **state)
{
	struct fixture *f = *state;
	uint64_t before;

	reopen(f, NULL);
	append_upto(f, 50);
	before = last_transaction(f);
	reopen(f, NULL);
	assert_int_equal(take_checkpoint(f->wal, 10, CHUNKS * CHUNK, &f->err), 0);
	assert_int_equal(taken(f, before), 3); /* 256, 256, 88 and the header */
	before = last_transaction(f);
	reopen(f, NULL);
	assert_int_equal(take_checkpoint(f->wal, 20, CHUNKS * CHUNK, &f->err), 0);
	/* and what is left of the third clears the one before: 168, then 256, then 176 */
	assert_int_equal(taken(f, before), 5);
	before = last_transaction(f);
	reopen(f, NULL);
	assert_int_equal(take_checkpoint(f->wal, 30, CHUNK + 1, &f->err), 0);
	assert_int_equal(taken(f, before), 3); /* 2 and the header, with 254, then 256, then 90 */
	before = last_transaction(f);
	reopen(f, NULL);
	assert_int_equal(take_checkpoint(f->wal, 40, CHUNK, &f->err), 0);
	assert_int_equal(taken(f, before), 1);
	before = last_transaction(f);
	reopen(f, NULL);
	/* one that fills its transaction to the last chunk leaves the header to the next */
	assert_int_equal(take_checkpoint(f->wal, 40, 256 * CHUNK, &f->err), 0);
	assert_int_equal(taken(f, before), 2);
	before = last_transaction(f);
	reopen(f, NULL);
	assert_int_equal(take_checkpoint(f->wal, 50, 0, &f->err), 0);
	assert_int_equal(taken(f, before), 1); /* 256 cleared, and no more there */
}

static void test_trims(void **state)
{
	struct fixture *f = *state;
	uint64_t before;

	reopen(f, NULL);
	append_upto(f, 10000);
	assert_int_equal(take_checkpoint(f->wal, 9000, 10, &f->err), 0);
	before = last_transaction(f);
	reopen(f, NULL);
	assert_int_equal(wal_trim(f->wal, 0, &f->err), 0);
	assert_int_equal(wal_first(f->wal), 9001);
	assert_int_equal(taken(f, before), 3); /* 4096 at a time */
	before = last_transaction(f);
	reopen(f, NULL);
	assert_int_equal(wal_trim(f->wal, 0, &f->err), 0);
	assert_int_equal(wal_trim(f->wal, 9000, &f->err), 0);
	assert_int_equal(wal_trim(f->wal, 1, &f->err), 0);
	assert_int_equal(wal_first(f->wal), 9001);
	assert_int_equal(taken(f, before), 0);
}

/* Large records weigh more than small ones. */
static void test_trims_of_large_records(void **state)
{
	struct fixture *f = *state;
	uint8_t *bytes = calloc(1, LARGE);
	uint64_t before;

	assert_non_null(bytes);
	reopen(f, NULL);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(wal_append(f->wal, 1, bytes, LARGE, NULL, &f->err), 0);
	free(bytes);
	assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0);
	assert_int_equal(take_checkpoint(f->wal, 100, 10, &f->err), 0);
	before = last_transaction(f);
	reopen(f, NULL);
	assert_int_equal(wal_trim(f->wal, 0, &f->err), 0);
	assert_int_equal(wal_first(f->wal), 101);
	assert_int_equal(taken(f, before), 3); /* 4 MiB at a time: 42 of them */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_checkpoints),
	    TEST(test_trims),
	    TEST(test_trims_of_large_records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
