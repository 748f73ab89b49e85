/* SPDX-License-Identifier: Apache-2.0 */
/* wal/: every kind of damage is named, and nothing is changed; what older versions wrote is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "wal/internal.h"
#include "wal_fixture.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

static int flip_byte(MDB_txn *txn, MDB_dbi log, MDB_dbi meta, uint64_t lsn)
{
	size_t at = lsn;
	MDB_val key = {sizeof at, &at}, value, copy;
	int rc = mdb_get(txn, log, &key, &value);

	(void)meta;
	if (rc)
		return rc;
	copy = (MDB_val){value.mv_size, malloc(value.mv_size)};
	memcpy(copy.mv_data, value.mv_data, value.mv_size);
	((uint8_t *)copy.mv_data)[value.mv_size / 2] ^= 1;
	rc = mdb_put(txn, log, &key, &copy, 0);
	free(copy.mv_data);
	return rc;
}

static int drop(MDB_txn *txn, MDB_dbi log, MDB_dbi meta, uint64_t lsn)
{
	size_t at = lsn;
	MDB_val key = {sizeof at, &at};

	(void)meta;
	return mdb_del(txn, log, &key, NULL);
}

static int swap_with_next(MDB_txn *txn, MDB_dbi log, MDB_dbi meta, uint64_t lsn)
{
	size_t at[2] = {lsn, lsn + 1};
	MDB_val keys[2] = {{sizeof *at, &at[0]}, {sizeof *at, &at[1]}}, values[2], copies[2];
	int rc = 0, i;

	(void)meta;
	for (i = 0; i < 2; i++) {
		rc = rc ? rc : mdb_get(txn, log, &keys[i], &values[i]);
		copies[i] = (MDB_val){values[i].mv_size, malloc(values[i].mv_size)};
		memcpy(copies[i].mv_data, values[i].mv_data, values[i].mv_size);
	}
	rc = rc ? rc : mdb_put(txn, log, &keys[0], &copies[1], 0);
	rc = rc ? rc : mdb_put(txn, log, &keys[1], &copies[0], 0);
	free(copies[0].mv_data);
	free(copies[1].mv_data);
	return rc;
}

static int append_forged(MDB_txn *txn, MDB_dbi log, MDB_dbi meta, uint64_t lsn)
{
	size_t at = lsn;
	char text[] = "not of this chain, but long enough";
	MDB_val key = {sizeof at, &at}, value = {sizeof text, text};

	(void)meta;
	return mdb_put(txn, log, &key, &value, 0);
}

/* --- the state, and where it lies --- */

static char state_name[] = WAL_STATE_NAME;
static MDB_val state_key = {sizeof state_name - 1, state_name};

static int state_take(MDB_txn *txn, MDB_dbi *ret_root, uint8_t copy[WAL_STATE_SIZE])
{
	MDB_val value;
	int rc = mdb_dbi_open(txn, NULL, 0, ret_root);

	rc = rc ? rc : mdb_get(txn, *ret_root, &state_key, &value);
	if (rc || value.mv_size != WAL_STATE_SIZE)
		return rc ? rc : EINVAL;
	memcpy(copy, value.mv_data, WAL_STATE_SIZE);
	return 0;
}

static int flip_state(MDB_txn *txn, MDB_dbi log, MDB_dbi meta, uint64_t offset)
{
	uint8_t copy[WAL_STATE_SIZE];
	MDB_val value = {sizeof copy, copy};
	MDB_dbi root;
	int rc = state_take(txn, &root, copy);

	(void)log;
	(void)meta;
	copy[offset] ^= 4;
	return rc ? rc : mdb_put(txn, root, &state_key, &value, 0);
}

/* As a version wrote it that had this format: of this transaction, with its checksum. */
static MDB_val state_age(MDB_txn *txn, uint8_t bytes[WAL_STATE_SIZE], uint64_t format)
{
	const struct wal_hash none = {{0}};
	const size_t size = format == 1 ? WAL_STATE_SIZE - sizeof(uint64_t) : WAL_STATE_SIZE,
		     sum_at = size - WAL_HASH_SIZE;
	const uint64_t id = mdb_txn_id(txn);
	struct wal_hash sum;

	memcpy(bytes + 8, &format, sizeof format);
	if (format > 1)
		memcpy(bytes + sum_at - sizeof id, &id, sizeof id);
	sum = record_hash(&none, bytes, sum_at);
	memcpy(bytes + sum_at, sum.bytes, sizeof sum.bytes);
	return (MDB_val){size, bytes};
}

static int move_to_meta(MDB_txn *txn, MDB_dbi log, MDB_dbi meta, uint64_t format)
{
	uint8_t copy[WAL_STATE_SIZE];
	MDB_val value;
	MDB_dbi root;
	int rc = state_take(txn, &root, copy);

	(void)log;
	value = state_age(txn, copy, format);
	rc = rc ? rc : mdb_put(txn, meta, &state_key, &value, 0);
	return rc ? rc : mdb_del(txn, root, &state_key, NULL);
}

static int age_in_place(MDB_txn *txn, MDB_dbi log, MDB_dbi meta, uint64_t format)
{
	uint8_t copy[WAL_STATE_SIZE];
	MDB_val value;
	MDB_dbi root;
	int rc = state_take(txn, &root, copy);

	(void)log;
	(void)meta;
	value = state_age(txn, copy, format);
	return rc ? rc : mdb_put(txn, root, &state_key, &value, 0);
}

static int drop_state(MDB_txn *txn, MDB_dbi log, MDB_dbi meta, uint64_t unused)
{
	MDB_dbi root;
	int rc = mdb_dbi_open(txn, NULL, 0, &root);

	(void)log;
	(void)meta;
	(void)unused;
	return rc ? rc : mdb_del(txn, root, &state_key, NULL);
}

static int drop_databases(MDB_txn *txn, MDB_dbi log, MDB_dbi meta, uint64_t unused)
{
	int rc = mdb_drop(txn, log, 1);

	(void)unused;
	return rc ? rc : mdb_drop(txn, meta, 1);
}

static int add_value(MDB_txn *txn, MDB_dbi log, MDB_dbi meta, uint64_t size)
{
	char name[] = "other";
	uint8_t bytes[WAL_STATE_SIZE] = {0};
	MDB_val key = {sizeof name - 1, name}, value = {size, bytes};
	MDB_dbi root;
	int rc = mdb_dbi_open(txn, NULL, 0, &root);

	(void)log;
	(void)meta;
	return rc ? rc : mdb_put(txn, root, &key, &value, 0);
}

static int state_is_new(MDB_txn *txn, MDB_dbi log, MDB_dbi meta, uint64_t unused)
{
	uint8_t copy[WAL_STATE_SIZE];
	MDB_val value;
	MDB_dbi root;
	int rc = state_take(txn, &root, copy);

	(void)log;
	(void)unused;
	if (!rc && copy[8] != WAL_STATE_FORMAT)
		return EINVAL;
	return rc ? rc : mdb_get(txn, meta, &state_key, &value) == MDB_NOTFOUND ? 0 : EEXIST;
}

static uint8_t *read_all(const char *path, size_t *ret_size)
{
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t *bytes;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &status), 0);
	bytes = malloc((size_t)status.st_size + 1);
	assert_int_equal(read(fd, bytes, (size_t)status.st_size), status.st_size);
	close(fd);
	*ret_size = (size_t)status.st_size;
	return bytes;
}

/* Both ways to meet it: verify names the LSN, and a writer refuses and leaves every byte as it was. */
static void expect_damage(struct fixture *f, uint64_t bad_lsn, const char *reason)
{
	struct wal_report report;
	size_t size_before, size_after;
	uint8_t *before, *after;
	char lsn_text[32];

	before = read_all(f->data, &size_before);
	assert_int_equal(wal_verify(f->log, &report, &f->err), -1);
	assert_int_equal(f->err.code, EILSEQ);
	assert_int_equal(report.bad_lsn, bad_lsn);
	memset(&f->err, 0, sizeof f->err);
	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), -1);
	assert_int_equal(f->err.code, EILSEQ);
	assert_non_null(strstr(f->err.text, f->data));
	assert_non_null(strstr(f->err.text, reason));
	if (bad_lsn) {
		snprintf(lsn_text, sizeof lsn_text, "LSN %llu", (unsigned long long)bad_lsn);
		assert_non_null(strstr(f->err.text, lsn_text));
	}
	after = read_all(f->data, &size_after);
	assert_int_equal(size_after, size_before);
	assert_memory_equal(after, before, size_before);
	free(before);
	free(after);
}

static void test_flipped_byte(void **state)
{
	log_make(*state, 200);
	vandalise(*state, flip_byte, 123);
	expect_damage(*state, 123, "hash");
}

static void test_flipped_byte_in_a_large_record(void **state)
{
	log_make(*state, 200);
	vandalise(*state, flip_byte, 150);
	expect_damage(*state, 150, "hash");
}

static void test_dropped_last(void **state)
{
	log_make(*state, 200);
	vandalise(*state, drop, 200);
	expect_damage(*state, 200, "missing at the end");
}

static void test_dropped_first_and_middle(void **state)
{
	log_make(*state, 200);
	vandalise(*state, drop, 77);
	expect_damage(*state, 77, "missing");
	vandalise(*state, drop, 1);
	expect_damage(*state, 1, "missing");
}

static void test_swapped(void **state)
{
	log_make(*state, 200);
	vandalise(*state, swap_with_next, 60);
	expect_damage(*state, 60, "hash");
}

static void test_forged_after_the_head(void **state)
{
	log_make(*state, 200);
	vandalise(*state, append_forged, 201);
	expect_damage(*state, 201, "after the head");
}

static void test_flipped_state(void **state)
{
	log_make(*state, 20);
	vandalise(*state, flip_state, 16); /* the epoch */
	expect_damage(*state, 0, "checksum");
}

static void test_state_out_of_place(void **state)
{
	log_make(*state, 20);
	vandalise(*state, move_to_meta, WAL_STATE_FORMAT);
	expect_damage(*state, 0, "another version");
}

static void test_old_state_in_the_new_place(void **state)
{
	log_make(*state, 20);
	vandalise(*state, age_in_place, 2);
	expect_damage(*state, 0, "another version");
}

static void test_no_state(void **state)
{
	log_make(*state, 20);
	vandalise(*state, drop_state, 0);
	expect_damage(*state, 0, "its meta is empty");
}

/* Not the empty environment that a creator may leave before the mark: there is a state, and so there was a log. */
static void test_no_databases(void **state)
{
	struct fixture *f = *state;
	char mark[128];

	log_make(f, 20);
	vandalise(f, drop_databases, 0);
	snprintf(mark, sizeof mark, "%s/format", f->log);
	assert_int_equal(unlink(mark), 0);
	expect_damage(f, 1, "no database 'log'");
}

static void test_foreign_value(void **state)
{
	log_make(*state, 20);
	vandalise(*state, add_value, WAL_STATE_SIZE);
	expect_damage(*state, 1, "values of its own");
}

/* What an older version left can be read as it is, and is moved by the first who writes. */
static void test_older_formats(void **state)
{
	struct fixture *f = *state;
	uint64_t format;

	log_make(f, 20);
	for (format = 1; format < WAL_STATE_FORMAT; format++) {
		const uint64_t had = 20 + 5 * (format - 1);
		struct wal_report report;
		struct seen seen = {0};

		vandalise(f, move_to_meta, format);
		assert_int_equal(wal_verify(f->log, &report, &f->err), 0);
		assert_int_equal(report.records, had);
		assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), 0);
		assert_int_equal(wal_epoch(f->wal), format + 1);
		assert_int_equal(append_some(f->wal, had + 1, 5, &f->err), 0);
		assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0);
		assert_int_equal(wal_replay(f->wal, 0, see, &seen, &f->err), 0);
		assert_int_equal(seen.count, had + 5);
		assert_int_equal(seen.wrong, 0);
		wal_close(f->wal);
		f->wal = NULL;
		assert_int_equal(wal_verify(f->log, &report, &f->err), 0);
		vandalise(f, state_is_new, 0); /* a transaction that changes nothing, and so is none */
	}
}

static void test_truncated_file(void **state)
{
	struct fixture *f = *state;
	const off_t sizes[] = {300000, 100000, 8192, 4096, 5000, 100, 0};
	struct wal_report report;
	size_t i;

	log_make(f, 1500);
	for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		assert_int_equal(truncate(f->data, sizes[i]), 0);
		assert_int_equal(wal_verify(f->log, &report, &f->err), -1);
		/* an LSN, unless not even LMDB's two first pages are there */
		assert_true(report.bad_lsn > 0 || (sizes[i] > 0 && sizes[i] < 8192));
		expect_damage(f, report.bad_lsn, sizes[i] >= 8192 ? "cut short" : "");
	}
	assert_int_equal(report.bad_lsn, 1); /* empty: all is lost */
	assert_int_equal(unlink(f->data), 0);
	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), -1);
	assert_int_equal(f->err.code, EILSEQ);
	assert_int_equal(access(f->data, F_OK), -1); /* none was made in its place */
}

static void test_garbage_and_foreign(void **state)
{
	struct fixture *f = *state;
	char path[128];
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	int fd;

	assert_int_equal(mkdir(f->log, 0777), 0);
	fd = open(f->data, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	assert_int_equal(write(fd, "this is somebody's diary\n", 25), 25);
	expect_damage(f, 0, "LMDB file");
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	close(fd);
	expect_damage(f, 0, "LMDB file");
	assert_int_equal(unlink(f->data), 0);

	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 4), 0);
	assert_int_equal(mdb_env_open(env, f->log, 0, 0666), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "mail", MDB_CREATE, &dbi), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), -1);
	assert_int_equal(f->err.code, EILSEQ);
	assert_non_null(strstr(f->err.text, "'mail'"));

	snprintf(path, sizeof path, "%s/format", f->log);
	assert_int_equal(unlink(f->data), 0);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	assert_int_equal(write(fd, "tritone wal 2\n", 14), 14);
	close(fd);
	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), -1);
	assert_int_equal(f->err.code, EILSEQ);
	assert_non_null(strstr(f->err.text, "tritone wal 2"));
}

/* Bit rot anywhere in the file: refused or harmless, never a crash, never a wrong record. */
static void test_bit_rot_anywhere(void **state)
{
	struct fixture *f = *state;
	uint64_t random = 88172645463325252u, refused = 0;
	size_t size, used, i;
	uint8_t *good;
	pid_t pid;

	log_make(f, 400);
	good = read_all(f->data, &size);
	for (used = size; used && !good[used - 1]; used--)
		;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) { /* a crash is then a failed test, not a lost one */
		for (i = 0; i < 1500; i++) {
			struct wal_report report;
			struct seen seen = {0};
			size_t at;
			int fd, bit;

			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			at = (size_t)(random % used);
			if (i % 2) /* headers and pointers are where it hurts most */
				at = at / 4096 * 4096 + at % 64;
			bit = 1 << (random >> 40) % 8;
			fd = open(f->data, O_WRONLY | O_CLOEXEC);
			if (fd < 0 || pwrite(fd, &(uint8_t){(uint8_t)(good[at] ^ bit)}, 1, (off_t)at) != 1)
				_exit(3);
			if (wal_verify(f->log, &report, NULL) < 0) {
				refused++;
			} else {
				struct wal *wal;
				int rc;

				if (wal_open(&wal, f->log, &(struct wal_options){.read_only = true}, NULL) < 0)
					_exit(4);
				rc = wal_replay(wal, 0, see, &seen, NULL);
				wal_close(wal);
				if (rc < 0 || seen.wrong || seen.count != 400)
					_exit(5);
			}
			if (pwrite(fd, &good[at], 1, (off_t)at) != 1)
				_exit(3);
			close(fd);
		}
		_exit(refused > 100 ? 0 : 6);
	}
	free(good);
	assert_int_equal(child_status(pid), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_flipped_byte),
	    TEST(test_flipped_byte_in_a_large_record),
	    TEST(test_dropped_last),
	    TEST(test_dropped_first_and_middle),
	    TEST(test_swapped),
	    TEST(test_forged_after_the_head),
	    TEST(test_flipped_state),
	    TEST(test_state_out_of_place),
	    TEST(test_old_state_in_the_new_place),
	    TEST(test_no_state),
	    TEST(test_no_databases),
	    TEST(test_foreign_value),
	    TEST(test_older_formats),
	    TEST(test_truncated_file),
	    TEST(test_garbage_and_foreign),
	    TEST(test_bit_rot_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
