/* SPDX-License-Identifier: Apache-2.0 */
/* What checkpoint and trim of wal/ write, looked at with bare LMDB: transactions of a bounded size, between which appenders go on, are
 * counted by the number that LMDB gives each; and what is left in `meta`. */
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

/* A checkpoint of the last LSN that was trimmed stands after no record that is still there. */
static void test_again_after_a_trim(void **state)
{
	struct fixture *f = *state;
	struct wal_report report;

	reopen(f, NULL);
	append_upto(f, 30);
	assert_int_equal(take_checkpoint(f->wal, 20, 10, &f->err), 0);
	assert_int_equal(wal_trim(f->wal, 0, &f->err), 0);
	assert_int_equal(take_checkpoint(f->wal, 20, 3 * CHUNK, &f->err), 0);
	reopen(f, NULL);
	assert_int_equal(wal_checkpoint_lsn(f->wal), 20);
	wal_close(f->wal);
	f->wal = NULL;
	assert_int_equal(wal_verify(f->log, &report, &f->err), 0);
	assert_int_equal(report.checkpoint_size, 3 * CHUNK);
	assert_int_equal(report.first_lsn, 21);
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

/* In `meta`, by bare LMDB. The header of the checkpoint is copied to `header`, if that is not NULL. */
static int values(struct fixture *f, uint8_t header[96])
{
	char name[] = "checkpoint";
	MDB_val key = {sizeof name - 1, name}, value;
	MDB_env *env;
	MDB_txn *txn;
	MDB_stat stat;
	MDB_dbi meta;

	wal_close(f->wal);
	f->wal = NULL;
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 2), 0);
	assert_int_equal(mdb_env_open(env, f->log, MDB_RDONLY, 0), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "meta", 0, &meta), 0);
	assert_int_equal(mdb_stat(txn, meta, &stat), 0);
	if (header) {
		assert_int_equal(mdb_get(txn, meta, &key, &value), 0);
		assert_int_equal(value.mv_size, 96);
		memcpy(header, value.mv_data, 96);
	}
	mdb_txn_abort(txn);
	mdb_env_close(env);
	return (int)stat.ms_entries;
}

/* The parts of one that found no room are taken away by the next, however small that is. */
static void test_after_one_that_failed(void **state)
{
	const struct wal_options small = {.map_size = 4u << 20, .map_size_max = 4u << 20};
	struct fixture *f = *state;
	uint64_t before;
	int left;

	reopen(f, &small);
	append_upto(f, 20);
	assert_int_equal(take_checkpoint(f->wal, 10, 1200 * CHUNK, &f->err), -1);
	assert_int_equal(f->err.code, ENOSPC);
	left = values(f, NULL);
	assert_true(left > 512 && left % 256 == 0); /* whole transactions, and more than two of them */
	before = last_transaction(f);
	reopen(f, &small);
	assert_int_equal(take_checkpoint(f->wal, 20, 2 * CHUNK, &f->err), 0);
	assert_int_equal(taken(f, before), (uint64_t)left / 256 + 1);
	assert_int_equal(values(f, NULL), 3);
}

/* What an older version wrote must be read by a newer one: the header, with its hashes, is what it has always been. */
static void test_header_as_ever(void **state)
{
	static const uint8_t ever[96] = {0x54, 0x52, 0x49, 0x54, 0x43, 0x4b, 0x50, 0x0a, 0x01, 0x00, 0x00, 0x00, 0x00,
	    0x00, 0x00, 0x00, 0x0f, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	    0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x88, 0x13, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x94,
	    0xf5, 0x58, 0x99, 0xf1, 0x75, 0x6e, 0x13, 0x21, 0x67, 0x17, 0xaa, 0x2f, 0x18, 0xc8, 0xe9, 0xf2, 0x81, 0x03,
	    0xb1, 0xb4, 0x54, 0x4a, 0x5a, 0x85, 0x92, 0x93, 0x39, 0x2a, 0xc7, 0x15, 0xab, 0x37, 0x5d, 0x8f, 0x54, 0x34,
	    0xb1, 0xbe, 0x16, 0x3d, 0xb4, 0xb7, 0x7d, 0xfd, 0x4a, 0x85, 0x94};
	struct fixture *f = *state;
	uint8_t header[96];

	reopen(f, NULL);
	append_upto(f, 20);
	assert_int_equal(take_checkpoint(f->wal, 10, 5000, &f->err), 0);
	reopen(f, NULL);
	assert_int_equal(take_checkpoint(f->wal, 15, 5000, &f->err), 0); /* in the other slot */
	assert_int_equal(values(f, header), 3);
	assert_memory_equal(header, ever, sizeof ever);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_checkpoints),
	    TEST(test_trims),
	    TEST(test_again_after_a_trim),
	    TEST(test_trims_of_large_records),
	    TEST(test_after_one_that_failed),
	    TEST(test_header_as_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
