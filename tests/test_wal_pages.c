/* SPDX-License-Identifier: Apache-2.0 */
/* wal/ and the pages under it: LMDB trusts its file, so what it must not see is found before. Its first pages torn at every
 * byte, a bit flipped anywhere before a writer goes on, a map that could not be made anew: a named error or the truth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <malloc.h>
#include <sys/resource.h>

#include "skip.h"
#include "wal_fixture.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup_in_memory, fixture_teardown)

#define PAGE      4096u
#define META_AT   16u /* in its page, behind the page's header */
#define META_SIZE 136u

struct pages {
	uint8_t *bytes;
	size_t used, size; /* behind `used` the file is a hole */
};

static struct pages pages_read(struct fixture *f)
{
	struct pages pages;
	struct stat status;
	int fd = open(f->data, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &status), 0);
	pages.size = (size_t)status.st_size;
	pages.bytes = malloc(pages.size);
	assert_non_null(pages.bytes);
	assert_int_equal(pread(fd, pages.bytes, pages.size, 0), pages.size);
	close(fd);
	for (pages.used = pages.size; pages.used && !pages.bytes[pages.used - 1]; pages.used--)
		;
	pages.used = (pages.used + PAGE - 1) / PAGE * PAGE;
	return pages;
}

static int pages_write(const char *path, const struct pages *pages)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	int rc = fd < 0 || pwrite(fd, pages->bytes, pages->used, 0) != (ssize_t)pages->used ||
			 ftruncate(fd, (off_t)pages->size) < 0
		     ? -1
		     : 0;

	if (fd >= 0)
		close(fd);
	return rc;
}

/* The log as it is on disk, opened by a reader: all of it, or a named error. 0: refused. */
static uint64_t look(struct fixture *f, uint64_t acknowledged, uint64_t attempted, const char *what, size_t at)
{
	struct wal_report report;
	struct seen seen = {0};
	struct wal *wal;

	if (wal_verify(f->log, &report, &f->err) < 0) {
		if (f->err.code != EILSEQ)
			fail_msg("%s at %zu: %s", what, at, f->err.text);
		return 0;
	}
	if (report.last_lsn < acknowledged || report.last_lsn > attempted)
		fail_msg("%s at %zu: LSN %llu is the last; %llu were acknowledged", what, at,
		    (unsigned long long)report.last_lsn, (unsigned long long)acknowledged);
	if (wal_open(&wal, f->log, &(struct wal_options){.read_only = true}, &f->err) < 0)
		fail_msg("%s at %zu: verified, but not opened: %s", what, at, f->err.text);
	assert_int_equal(wal_replay(wal, 0, see, &seen, &f->err), 0);
	wal_close(wal);
	assert_int_equal(seen.count, report.last_lsn);
	assert_int_equal(seen.wrong, 0);
	return report.last_lsn;
}

/*
 * A commit ends with the writing of one of the two first pages. Wherever that is torn, either way round, what is
 * acknowledged is there or the log is refused. Transaction numbers from 250 to 262: they carry over into the second byte.
 */
static void test_torn_first_page(void **state)
{
	struct fixture *f = *state;
	size_t whole = 0, refused = 0;
	uint64_t lsn;

	log_make(f, 1); /* transactions 1 and 2 */
	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), 0);
	for (lsn = 2; lsn <= 247; lsn++) {
		assert_int_equal(append_some(f->wal, lsn, 1, &f->err), 0);
		assert_int_equal(wal_sync(f->wal, lsn, NULL, &f->err), 0);
	}
	for (; lsn <= 258; lsn++) {
		struct pages before = pages_read(f), after, torn;
		size_t meta, k, direction;

		assert_int_equal(append_some(f->wal, lsn, 1, &f->err), 0);
		assert_int_equal(wal_sync(f->wal, lsn, NULL, &f->err), 0);
		wal_close(f->wal);
		f->wal = NULL;
		after = pages_read(f);
		assert_true(after.size == before.size);
		torn = after;
		torn.bytes = malloc(after.size);
		memcpy(torn.bytes, after.bytes, after.size);
		for (meta = META_AT; meta < PAGE + META_AT + META_SIZE; meta += PAGE) {
			if (!memcmp(before.bytes + meta, after.bytes + meta, META_SIZE))
				continue; /* that one was not written */
			for (k = 0; k <= META_SIZE; k++) {
				for (direction = 0; direction < 2; direction++) {
					const uint8_t *first = direction ? before.bytes : after.bytes;
					const uint8_t *second = direction ? after.bytes : before.bytes;

					memcpy(torn.bytes + meta, first + meta, k);
					memcpy(torn.bytes + meta + k, second + meta + k, META_SIZE - k);
					assert_int_equal(pages_write(f->data, &torn), 0);
					if (look(f, lsn - 1, lsn, direction ? "new after" : "new before", k))
						whole++;
					else
						refused++;
				}
			}
		}
		assert_int_equal(pages_write(f->data, &after), 0);
		free(torn.bytes);
		free(before.bytes);
		free(after.bytes);
		assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), 0); /* which is a transaction, too */
	}
	assert_true(whole > 11 * META_SIZE && refused > 0);
}

/* In a child: it goes on writing in a log that has one bit wrong. 0: refused, or all is right. */
static int go_on(struct fixture *f, uint64_t had)
{
	struct seen seen = {0};
	struct wal_report report;
	struct wal *wal;
	uint64_t i, lsn;

	if (wal_open(&wal, f->log, NULL, NULL) < 0)
		return 0;
	if (wal_durable(wal) != had)
		return 2;
	for (i = 0; i < 12; i++) {
		if (append_some(wal, had + 1 + i * 10, 10, NULL) < 0 || wal_sync(wal, 0, &lsn, NULL) < 0)
			return 3;
		if (i % 4 == 1 && (wal_checkpoint(wal, lsn - 5, "state", 5, NULL) < 0 || wal_trim(wal, 0, NULL) < 0))
			return 4;
	}
	if (wal_replay(wal, wal_first(wal), see, &seen, NULL) < 0 || seen.wrong || seen.last != had + 120)
		return 5;
	wal_close(wal);
	return wal_verify(f->log, &report, NULL) < 0 ? 6 : 1;
}

/* What a writer meets is worse than what a reader does: it gives pages out again, and changes what it takes for its own. */
static void test_bit_rot_before_a_writer(void **state)
{
	struct fixture *f = *state;
	uint64_t random = 88172645463325252u, had;
	size_t i, refused = 0, harmless = 0;
	struct pages good;

	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), 0);
	for (i = 1; i <= 400; i += 20) { /* some are freed, some are used again */
		assert_int_equal(append_some(f->wal, i, 20, &f->err), 0);
		assert_int_equal(wal_sync(f->wal, 0, &had, &f->err), 0);
		if (i % 100 == 1 && i > 1) {
			assert_int_equal(wal_checkpoint(f->wal, had - 30, "state", 5, &f->err), 0);
			assert_int_equal(wal_trim(f->wal, 0, &f->err), 0);
		}
	}
	wal_close(f->wal);
	f->wal = NULL;
	good = pages_read(f);
	for (i = 0; i < 500; i++) {
		size_t at;
		int fd, rc, bit;
		uint8_t rotten;
		pid_t pid;

		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		at = (size_t)(random % good.used);
		if (i % 2) /* headers and pointers are where it hurts most */
			at = at / PAGE * PAGE + at % 64;
		if (i % 8 == 7)
			at = (at / 64 % 2) * PAGE + at % (META_AT + META_SIZE);
		bit = 1 << (random >> 40) % 8;
		assert_int_equal(pages_write(f->data, &good), 0);
		fd = open(f->data, O_WRONLY | O_CLOEXEC);
		rotten = (uint8_t)(good.bytes[at] ^ bit);
		assert_int_equal(pwrite(fd, &rotten, 1, (off_t)at), 1);
		close(fd);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			_exit(go_on(f, had));
		rc = child_status(pid);
		if (rc > 1)
			fail_msg("bit %#x of byte %zu: %d", (unsigned)bit, at, rc);
		refused += rc == 0;
		harmless += rc == 1;
	}
	free(good.bytes);
	assert_true(refused > 100 && harmless > 10);
}

/* A log with freed pages; closed. */
static struct pages make_freed(struct fixture *f)
{
	uint64_t i;

	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), 0);
	for (i = 1; i <= 400; i += 20) {
		assert_int_equal(append_some(f->wal, i, 20, &f->err), 0);
		assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0);
	}
	assert_int_equal(wal_checkpoint(f->wal, 300, "state", 5, &f->err), 0);
	assert_int_equal(wal_trim(f->wal, 0, &f->err), 0);
	wal_close(f->wal);
	f->wal = NULL;
	return pages_read(f);
}

static void expect_refusal(struct fixture *f, const struct pages *pages, const char *reason)
{
	struct wal_report report;

	assert_int_equal(pages_write(f->data, pages), 0);
	assert_int_equal(wal_verify(f->log, &report, &f->err), -1);
	assert_int_equal(f->err.code, EILSEQ);
	if (!strstr(f->err.text, reason))
		fail_msg("'%s' does not say '%s'", f->err.text, reason);
}

/* LMDB takes a page that says that it is dirty for one of its own copies, and writes into the map, which is read-only. */
static void test_dirty_page(void **state)
{
	struct fixture *f = *state;
	struct pages pages = make_freed(f);
	size_t at, tried = 0;

	for (at = 2 * PAGE; at < pages.used; at += PAGE) {
		uint16_t flags;
		uint64_t number;
		struct wal_report report;

		memcpy(&number, pages.bytes + at, sizeof number);
		memcpy(&flags, pages.bytes + at + 10, sizeof flags);
		if (number != at / PAGE || flags > 2)
			continue;
		pages.bytes[at + 10] |= 0x10;
		assert_int_equal(pages_write(f->data, &pages), 0);
		if (wal_verify(f->log, &report, &f->err) < 0) { /* else it is a free one */
			assert_non_null(strstr(f->err.text, "flags"));
			tried++;
		}
		pages.bytes[at + 10] &= (uint8_t)~0x10;
	}
	free(pages.bytes);
	assert_true(tried >= 5);
}

/* A list of free pages as LMDB would misread it: it would hand out what is in use. */
static void test_free_pages_out_of_order(void **state)
{
	struct fixture *f = *state;
	struct pages pages = make_freed(f);
	uint64_t *list = NULL, *swapped, first;
	uint8_t *found;
	size_t size = 0;
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_env *env;
	MDB_txn *txn;

	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_open(env, f->log, MDB_RDONLY, 0666), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), 0);
	assert_int_equal(mdb_cursor_open(txn, 0, &cursor), 0); /* 0: LMDB's own, of free pages */
	while (!size && mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
		memcpy(&first, value.mv_data, sizeof first);
		if (first < 2)
			continue;
		size = value.mv_size;
		list = malloc(size);
		memcpy(list, value.mv_data, size);
	}
	mdb_cursor_close(cursor);
	mdb_txn_abort(txn);
	mdb_env_close(env);
	assert_true(size > 0);
	swapped = malloc(size);
	memcpy(swapped, list, size);
	swapped[1] = list[2];
	swapped[2] = list[1];
	found = memmem(pages.bytes, pages.used, list, size);
	assert_non_null(found);
	for (; found; found = memmem(pages.bytes, pages.used, list, size)) /* also in pages of the past */
		memcpy(found, swapped, size);
	expect_refusal(f, &pages, "not in order");
	free(swapped);
	free(list);
	free(pages.bytes);
}

/* The address space is used up when the map should grow: LMDB has let go of the old one by then. */
static int outgrow(struct fixture *f, uint64_t *ret_durable)
{
	const struct wal_options options = {.map_size = 1u << 20};
	const struct rlimit none = {0, 0};
	struct error err = {0};
	struct seen seen = {0};
	struct wal *wal;
	uint64_t lsn;

	if (wal_open(&wal, f->log, &options, NULL) < 0 || append_some(wal, 1, 3000, NULL) < 0)
		return 1;
	/* only the map is to find none: LMDB's own memory lies in the heap already */
	mallopt(M_MMAP_THRESHOLD, 128 << 20);
	mallopt(M_TRIM_THRESHOLD, 128 << 20);
	mallopt(M_TOP_PAD, 64 << 20);
	free(malloc(32 << 20));
	if (setrlimit(RLIMIT_AS, &none) < 0)
		return 1;
	if (wal_sync(wal, 0, NULL, &err) == 0 || err.code != ENOMEM)
		return 2;
	if (wal_append(wal, 1, NULL, 0, &lsn, &err) == 0 || err.code != EROFS)
		return 3;
	if (wal_replay(wal, 0, see, &seen, &err) != -1 || err.code != ENOMEM)
		return 4;
	if (wal_checkpoint(wal, 1, "x", 1, &err) == 0 || wal_sync(wal, 0, NULL, &err) == 0)
		return 5;
	*ret_durable = wal_durable(wal);
	wal_close(wal);
	return 0;
}

static void test_lost_map(void **state)
{
	struct fixture *f = *state;
	struct wal_report report;
	uint64_t durable = 99;
	pid_t pid;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	SKIP("the sanitizers need address space all the time");
#endif
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int rc = outgrow(f, &durable);

		_exit(rc ? rc : durable == 0 ? 0 : 9);
	}
	assert_int_equal(child_status(pid), 0);
	assert_int_equal(wal_verify(f->log, &report, &f->err), 0);
	assert_int_equal(report.records, 0);
}

static void test_no_file(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(mkdir(f->log, 0777), 0);
	assert_int_equal(mkfifo(f->data, 0666), 0); /* whose opening would wait for a writer */
	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), -1);
	assert_int_equal(f->err.code, EILSEQ);
	assert_int_equal(unlink(f->data), 0);
	assert_int_equal(mkdir(f->data, 0777), 0);
	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), -1);
	assert_int_equal(f->err.code, EILSEQ);
	assert_int_equal(rmdir(f->data), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_torn_first_page),
	    TEST(test_bit_rot_before_a_writer),
	    TEST(test_dirty_page),
	    TEST(test_free_pages_out_of_order),
	    TEST(test_lost_map),
	    TEST(test_no_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
