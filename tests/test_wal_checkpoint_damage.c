/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints of wal/ that are damaged, missing, or another log's: each is named. And what a good one leaves: itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "wal/internal.h"
#include "wal_checkpoint_fixture.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup_in_memory, fixture_teardown)

static int change_value(MDB_txn *txn, MDB_dbi dbi, const void *name, size_t name_size, size_t at)
{
	uint8_t copy[8192], name_copy[16];
	MDB_val key = {name_size, name_copy}, value;
	int rc;

	memcpy(name_copy, name, name_size);
	rc = mdb_get(txn, dbi, &key, &value);
	if (rc || value.mv_size > sizeof copy || at >= value.mv_size)
		return rc ? rc : EINVAL;
	memcpy(copy, value.mv_data, value.mv_size);
	copy[at] ^= 1;
	value.mv_data = copy;
	return mdb_put(txn, dbi, &key, &value, 0);
}

static int flip_header(MDB_txn *txn, MDB_dbi log, MDB_dbi meta, uint64_t at)
{
	(void)log;
	return change_value(txn, meta, "checkpoint", 10, at);
}

/* The first checkpoint lies in slot 0. */
static int flip_chunk(MDB_txn *txn, MDB_dbi log, MDB_dbi meta, uint64_t at)
{
	(void)log;
	return change_value(txn, meta, "c0\0\0\0\1", 6, at);
}

static int drop_value(MDB_txn *txn, MDB_dbi dbi, const char *name, size_t size)
{
	MDB_val key = {size, (void *)(uintptr_t)name};

	return mdb_del(txn, dbi, &key, NULL);
}

static int drop_chunk(MDB_txn *txn, MDB_dbi log, MDB_dbi meta, uint64_t at)
{
	(void)log;
	(void)at;
	return drop_value(txn, meta, "c0\0\0\0\1", 6);
}

static int drop_header(MDB_txn *txn, MDB_dbi log, MDB_dbi meta, uint64_t at)
{
	(void)log;
	(void)at;
	return drop_value(txn, meta, "checkpoint", 10);
}

/* The header with a word of it changed, and whole all the same. */
static int forge_header(MDB_txn *txn, MDB_dbi meta, int64_t lsn_more, uint64_t epoch_more)
{
	char name[] = "checkpoint";
	uint8_t bytes[WAL_CHECKPOINT_SIZE];
	MDB_val key = {10, name}, value;
	struct wal_checkpoint checkpoint;
	int rc = mdb_get(txn, meta, &key, &value);

	if (rc || checkpoint_decode(value.mv_data, value.mv_size, &checkpoint))
		return rc ? rc : EINVAL;
	checkpoint.lsn += (uint64_t)lsn_more;
	checkpoint.epoch += epoch_more;
	checkpoint_encode(bytes, &checkpoint);
	value = (MDB_val){sizeof bytes, bytes};
	return mdb_put(txn, meta, &key, &value, 0);
}

static int older_header(MDB_txn *txn, MDB_dbi log, MDB_dbi meta, uint64_t by)
{
	(void)log;
	return forge_header(txn, meta, -(int64_t)by, 0);
}

static int header_of_the_future(MDB_txn *txn, MDB_dbi log, MDB_dbi meta, uint64_t by)
{
	(void)log;
	return forge_header(txn, meta, 0, by);
}

static int drop_record(MDB_txn *txn, MDB_dbi log, MDB_dbi meta, uint64_t lsn)
{
	size_t at = lsn;
	MDB_val key = {sizeof at, &at};

	(void)meta;
	return mdb_del(txn, log, &key, NULL);
}

static void expect_named(struct fixture *f, vandal_fn vandal, uint64_t where, uint64_t bad_lsn, const char *reason)
{
	struct wal_report report;
	uint64_t visited = 0;

	reopen(f, NULL);
	append_upto(f, 200);
	assert_int_equal(take_checkpoint(f->wal, 150, 10000, &f->err), 0);
	assert_int_equal(wal_trim(f->wal, 120, &f->err), 0);
	wal_close(f->wal);
	f->wal = NULL;
	vandalise(f, vandal, where);
	assert_int_equal(wal_verify(f->log, &report, &f->err), -1);
	assert_int_equal(f->err.code, EILSEQ);
	if (!strstr(f->err.text, reason))
		fail_msg("'%s' does not say '%s'", f->err.text, reason);
	assert_int_equal(report.bad_lsn, bad_lsn);
	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), -1);
	assert_int_equal(f->err.code, EILSEQ);
	assert_int_equal(wal_open(&f->wal, f->log, &(struct wal_options){.read_only = true}, &f->err), 0);
	assert_int_equal(wal_replay(f->wal, 0, ignore, &visited, &f->err), -1);
	assert_int_equal(f->err.code, EILSEQ);
}

static void test_flipped_header(void **state)
{
	expect_named(*state, flip_header, 40, 150, "checksum");
}

static void test_flipped_payload(void **state)
{
	expect_named(*state, flip_chunk, 1234, 150, "its hash does not match");
}

static void test_missing_payload(void **state)
{
	expect_named(*state, drop_chunk, 0, 150, "a part is missing");
}

static void test_missing_header(void **state)
{
	expect_named(*state, drop_header, 0, 150, "it is missing");
}

static void test_header_of_another(void **state)
{
	expect_named(*state, older_header, 1, 150, "it is that of another LSN");
}

static void test_header_of_a_later_epoch(void **state)
{
	expect_named(*state, header_of_the_future, 1, 150, "its epoch is out of order");
}

/* Gone, though it was never trimmed. */
static void test_missing_before_the_checkpoint(void **state)
{
	struct fixture *f = *state;
	struct wal_report report;

	reopen(f, NULL);
	append_upto(f, 200);
	assert_int_equal(take_checkpoint(f->wal, 150, 10000, &f->err), 0);
	assert_int_equal(wal_trim(f->wal, 120, &f->err), 0);
	wal_close(f->wal);
	f->wal = NULL;
	vandalise(f, drop_record, 121);
	assert_int_equal(wal_verify(f->log, &report, &f->err), -1);
	assert_int_equal(report.bad_lsn, 121);
}

struct copy {
	uint8_t header[96], chunk[4080];
	size_t chunk_size;
};

/* The header and the only chunk of another log's checkpoint. */
static struct copy stolen;

static int steal(MDB_txn *txn, MDB_dbi log, MDB_dbi meta, uint64_t size)
{
	char header[] = "checkpoint", chunk[] = "c0\0\0\0\0";
	MDB_val key = {10, header}, value;
	int rc = mdb_get(txn, meta, &key, &value);

	(void)log;
	if (rc || value.mv_size != sizeof stolen.header)
		return rc ? rc : EINVAL;
	memcpy(stolen.header, value.mv_data, value.mv_size);
	key = (MDB_val){6, chunk};
	rc = mdb_get(txn, meta, &key, &value);
	if (rc || value.mv_size != size)
		return rc ? rc : EINVAL;
	memcpy(stolen.chunk, value.mv_data, value.mv_size);
	return 0;
}

static int plant(MDB_txn *txn, MDB_dbi log, MDB_dbi meta, uint64_t size)
{
	char header[] = "checkpoint", chunk[] = "c0\0\0\0\0";
	MDB_val key = {10, header}, value = {sizeof stolen.header, stolen.header};
	int rc = mdb_put(txn, meta, &key, &value, 0);

	(void)log;
	if (rc)
		return rc;
	key = (MDB_val){6, chunk};
	value = (MDB_val){size, stolen.chunk};
	return mdb_put(txn, meta, &key, &value, 0);
}

/* Whole in itself, of the right LSN and size, but of another log: the chain knows. */
static void test_checkpoint_of_another_log(void **state)
{
	struct fixture *f = *state;
	struct wal_report report;

	reopen(f, NULL);
	assert_int_equal(wal_append(f->wal, 9, "other", 5, NULL, &f->err), 0);
	assert_int_equal(append_some(f->wal, 2, 199, &f->err), 0);
	assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0);
	assert_int_equal(take_checkpoint(f->wal, 150, 1000, &f->err), 0);
	wal_close(f->wal);
	f->wal = NULL;
	vandalise(f, steal, 1000);
	nftw(f->log, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	reopen(f, NULL);
	append_upto(f, 200);
	assert_int_equal(take_checkpoint(f->wal, 150, 1000, &f->err), 0);
	wal_close(f->wal);
	f->wal = NULL;
	vandalise(f, plant, 1000);
	assert_int_equal(wal_verify(f->log, &report, &f->err), -1);
	assert_int_equal(report.bad_lsn, 150);
	assert_non_null(strstr(f->err.text, "not of this chain"));
}

/* --- what is no damage: nothing of the checkpoint before is left --- */

static int count_entries(MDB_txn *txn, MDB_dbi log, MDB_dbi meta, uint64_t expected)
{
	MDB_stat stat;
	int rc = mdb_stat(txn, meta, &stat);

	(void)log;
	return rc ? rc : stat.ms_entries == expected ? 0 : EUCLEAN;
}

/* Larger and smaller ones in turn, in both places: there are the header and the parts of the last. */
static void test_nothing_is_left(void **state)
{
	static const size_t sizes[] = {50000, 4081, 100000, 0, 1, 3000000, 12000, 4080};
	struct fixture *f = *state;
	size_t i;

	reopen(f, NULL);
	append_upto(f, 100);
	for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		assert_int_equal(take_checkpoint(f->wal, 10 + i, sizes[i], &f->err), 0);
		wal_close(f->wal);
		f->wal = NULL;
		vandalise(f, count_entries, 1 + (sizes[i] + 4079) / 4080);
		reopen(f, NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_flipped_header),
	    TEST(test_flipped_payload),
	    TEST(test_missing_payload),
	    TEST(test_missing_header),
	    TEST(test_header_of_another),
	    TEST(test_header_of_a_later_epoch),
	    TEST(test_missing_before_the_checkpoint),
	    TEST(test_checkpoint_of_another_log),
	    TEST(test_nothing_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
