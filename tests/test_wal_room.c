/* SPDX-License-Identifier: Apache-2.0 */
/* The blocks of a log's file before they are needed: where they are written, by whom, when not, and what becomes of a log for
 * which that fails. pwritev stands in front of the real one (--wrap). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include "wal_fixture.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup_in_memory, fixture_teardown)

#define PAGE 4096u
#define KIB  1024u
#define MAX  40000u /* records: more than any of these needs */

/* What wal/ has asked for, and what it is to get. */
static struct ahead {
	uint64_t calls;
	size_t from, to; /* of the last one, bytes */
	int error;       /* 0: performed */
	size_t at_most;  /* so many bytes; 0: all */
	bool wrong;      /* one was not of zeros, or not behind the one before */
} ahead;

ssize_t __real_pwritev64(int fd, const struct iovec *parts, int count, off_t at);
ssize_t __wrap_pwritev64(int fd, const struct iovec *parts, int count, off_t at);

ssize_t __wrap_pwritev64(int fd, const struct iovec *parts, int count, off_t at)
{
	size_t size = 0, k;
	int i;

	for (i = 0; i < count; i++) {
		for (k = 0; k < parts[i].iov_len; k++)
			ahead.wrong = ahead.wrong || ((const uint8_t *)parts[i].iov_base)[k];
		size += parts[i].iov_len;
	}
	ahead.wrong = ahead.wrong || (size_t)at < ahead.to;
	ahead.calls++;
	ahead.from = (size_t)at;
	ahead.to = (size_t)at + size;
	if (ahead.error) {
		errno = ahead.error;
		return -1;
	}
	return __real_pwritev64(fd, parts, ahead.at_most ? (int)(ahead.at_most / PAGE) : count, at);
}

/* Bytes up to the end of the last page that the log has. */
static size_t used(struct fixture *f)
{
	MDB_envinfo info;
	MDB_env *env;

	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_open(env, f->log, MDB_RDONLY, 0), 0);
	assert_int_equal(mdb_env_info(env, &info), 0);
	mdb_env_close(env);
	return (info.me_last_pgno + 1) * PAGE;
}

static int setup_log(struct fixture *f, const struct wal_options *options)
{
	ahead = (struct ahead){0};
	return wal_open(&f->wal, f->log, options, &f->err);
}

/* `count` records, each its own commit, from `*next` on. */
static void commit_each(struct fixture *f, uint64_t *next, uint64_t count)
{
	for (; count--; ++*next) {
		assert_true(*next < MAX);
		if (append_some(f->wal, *next, 1, &f->err) < 0 || wal_sync(f->wal, 0, NULL, &f->err) < 0)
			fail_msg("%s", f->err.text);
	}
}

/* Until it writes ahead: where the log was then. */
static size_t commit_until_ahead(struct fixture *f, uint64_t *next)
{
	const uint64_t before = ahead.calls;

	while (ahead.calls == before)
		commit_each(f, next, 1);
	wal_close(f->wal);
	f->wal = NULL;
	return used(f);
}

static void reopen_log(struct fixture *f, const struct wal_options *options)
{
	wal_close(f->wal);
	ahead.to = 0; /* who opens it does not know what has been tried */
	assert_int_equal(wal_open(&f->wal, f->log, options, &f->err), 0);
}

static void assert_whole(struct fixture *f, uint64_t records)
{
	struct wal_report report;
	struct seen seen = {0};

	wal_close(f->wal);
	assert_int_equal(wal_verify(f->log, &report, &f->err), 0);
	assert_int_equal(wal_open(&f->wal, f->log, &(struct wal_options){.read_only = true}, &f->err), 0);
	assert_int_equal(wal_replay(f->wal, 0, see, &seen, &f->err), 0);
	assert_int_equal(seen.count, records);
	assert_int_equal(seen.wrong, 0);
}

static void test_blocks_are_there_before_they_are_needed(void **state)
{
	struct fixture *f = *state;
	uint64_t next = 1;
	size_t size;

	assert_int_equal(setup_log(f, NULL), 0);
	size = commit_until_ahead(f, &next);
	assert_in_range(size, 128 * KIB, 136 * KIB);  /* no log of less is worth it */
	assert_in_range(ahead.from, 128 * KIB, size); /* as it was before that commit */
	assert_int_equal(ahead.to, 2 * ahead.from);   /* as much again */
	assert_int_equal(ahead.from % PAGE, 0);
	reopen_log(f, NULL);
	while (ahead.calls == 1)
		commit_each(f, &next, 1);
	assert_int_equal(ahead.calls, 2);
	size = ahead.to;
	while (ahead.calls == 2) /* no more until that is used up, but for what the next commit may need */
		commit_each(f, &next, 1);
	assert_int_equal(ahead.from, size);
	wal_close(f->wal);
	f->wal = NULL;
	assert_in_range(used(f), size - 48 * KIB, size);
	assert_false(ahead.wrong);
	assert_whole(f, next - 1);
}

static void test_not_more_than_a_mebibyte_at_a_time(void **state)
{
	struct fixture *f = *state;
	uint64_t next = 1;

	assert_int_equal(setup_log(f, NULL), 0);
	while (ahead.to < 4 * KIB * KIB) {
		commit_each(f, &next, 20);
		assert_true(ahead.to - ahead.from <= KIB * KIB);
	}
	assert_in_range(ahead.to - ahead.from, KIB * KIB - 64 * KIB, KIB * KIB);
	assert_true(ahead.calls < 12);
	assert_false(ahead.wrong);
	assert_whole(f, next - 1);
}

/* It would be written twice for nothing: a large batch finds its blocks with one flush in any case. */
static void test_large_batches_need_none(void **state)
{
	struct fixture *f = *state;
	uint64_t next = 1;

	assert_int_equal(setup_log(f, NULL), 0);
	for (; next <= 3000; next += 100) { /* of 28,000 bytes or so */
		assert_int_equal(append_some(f->wal, next, 100, &f->err), 0);
		assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0);
	}
	assert_int_equal(ahead.calls, 0);
	commit_each(f, &next, 1);
	assert_int_equal(ahead.calls, 1);
	assert_whole(f, next - 1);
}

static void test_nothing_behind_the_end(void **state)
{
	const struct wal_options options = {.map_size = 256 * KIB, .map_size_max = 512 * KIB};
	struct fixture *f = *state;
	struct stat status;
	uint64_t next = 1;
	int rc;

	assert_int_equal(setup_log(f, &options), 0);
	do {
		rc = append_some(f->wal, next, 1, &f->err);
		rc = rc < 0 ? rc : wal_sync(f->wal, 0, NULL, &f->err);
		next += rc == 0;
		assert_true(next < MAX);
		assert_true(ahead.to <= 512 * KIB);
		assert_int_equal(stat(f->data, &status), 0);
		assert_true(ahead.to <= (size_t)status.st_size);
	} while (rc == 0);
	assert_int_equal(f->err.code, ENOSPC);
	assert_true(ahead.calls > 0);
	assert_false(ahead.wrong);
	assert_whole(f, next - 1);
}

/* One that has room within it, or is only opened, needs no more of a disk, which may have none. */
static void test_a_log_that_does_not_grow_needs_none(void **state)
{
	struct fixture *f = *state;
	uint64_t next = 1;
	int i;

	assert_int_equal(setup_log(f, NULL), 0);
	commit_until_ahead(f, &next);
	for (i = 0; i < 3; i++) {
		reopen_log(f, NULL);
		assert_int_equal(wal_checkpoint(f->wal, next - 1, "", 0, &f->err), 0);
		assert_int_equal(wal_trim(f->wal, 0, &f->err), 0);
		commit_each(f, &next, 50);
	}
	assert_int_equal(ahead.calls, 1);
}

/* The commits find their blocks themselves then, and it is not tried anew at each of them. */
static void test_it_may_fail(void **state)
{
	struct fixture *f = *state;
	uint64_t next = 1;

	assert_int_equal(setup_log(f, NULL), 0);
	ahead.error = ENOSPC;
	commit_each(f, &next, 1500);
	assert_in_range(ahead.calls, 2, 6);
	reopen_log(f, NULL);
	ahead.error = 0;
	ahead.at_most = 2 * PAGE;
	commit_each(f, &next, 1500);
	assert_in_range(ahead.calls, 3, 10);
	assert_whole(f, next - 1);
}

/* What a process may not write would kill it: for a hint it is not tried. */
static void test_no_more_than_the_process_may_write(void **state)
{
	struct fixture *f = *state;
	struct rlimit before, less;
	uint64_t next = 1;

	assert_int_equal(setup_log(f, NULL), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	less = (struct rlimit){200 * KIB, before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &less), 0);
	while (ahead.calls == 0)
		commit_each(f, &next, 1);
	commit_each(f, &next, 150); /* almost up to there: more would be written behind it by now */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(ahead.calls, 1);
	assert_int_equal(ahead.to, less.rlim_cur);
	assert_whole(f, next - 1);
}

/* A writer that has been overtaken would write zeros over what the newer one has there. */
static void test_who_is_fenced_writes_none(void **state)
{
	struct fixture *f = *state;
	struct wal *newer = NULL;
	uint64_t next = 1;
	char path[128];
	pid_t pid;

	assert_int_equal(setup_log(f, NULL), 0);
	while (ahead.calls == 0)
		commit_each(f, &next, 1);
	reopen_log(f, NULL);
	assert_int_equal(append_some(f->wal, next, 100, &f->err), 0);
	assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0);
	next += 100; /* it would again with its next commit; but the lock is lost */
	snprintf(path, sizeof path, "%s/writer.lock", f->log);
	assert_int_equal(unlink(path), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(wal_open(&newer, f->log, NULL, NULL) == 0 && append_some(newer, next, 300, NULL) == 0 &&
			      wal_sync(newer, 0, NULL, NULL) == 0
			  ? 0
			  : 1);
	assert_int_equal(child_status(pid), 0);
	ahead = (struct ahead){0};
	assert_int_equal(append_some(f->wal, next, 1, &f->err), 0);
	assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), -1);
	assert_int_equal(f->err.code, ESTALE);
	assert_int_equal(ahead.calls, 0);
	assert_whole(f, next - 1 + 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_blocks_are_there_before_they_are_needed),
	    TEST(test_not_more_than_a_mebibyte_at_a_time),
	    TEST(test_large_batches_need_none),
	    TEST(test_nothing_behind_the_end),
	    TEST(test_a_log_that_does_not_grow_needs_none),
	    TEST(test_it_may_fail),
	    TEST(test_no_more_than_the_process_may_write),
	    TEST(test_who_is_fenced_writes_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
