/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/ when the kernel says no: each case forks a child that fails real system calls by a seccomp filter (no root, no
 * interposed library) and says on a pipe what was acknowledged; the parent then looks at what is on disk.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/resource.h>

#include "wal_fixture.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

/* What a child found, one after the other; the parent compares. */
struct told {
	uint64_t durable;                      /* acknowledged */
	int sync_code;                         /* of the sync that met the fault */
	int append_code, retry_code, old_code; /* afterwards: append, sync of all, sync of what was durable before */
};

static int refuse_call(int number, int code)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int rc = filter ? seccomp_rule_add(filter, SCMP_ACT_ERRNO((uint32_t)code), number, 0) : -1;

	if (rc == 0)
		rc = seccomp_load(filter);
	seccomp_release(filter);
	return rc;
}

/* In the child: 100 records durable, then the fault, then 50 more that cannot be. */
static int meet(struct fixture *f, int call, int code, struct told *told)
{
	struct error err = {0};
	struct wal *wal;

	if (wal_open(&wal, f->log, NULL, &err) < 0 || append_some(wal, 1, 100, &err) < 0 ||
	    wal_sync(wal, 0, &told->durable, &err) < 0)
		return 1;
	if (refuse_call(call, code) < 0)
		return 2;
	if (append_some(wal, 101, 50, &err) < 0)
		return 3;
	told->sync_code = wal_sync(wal, 0, NULL, &err) < 0 ? err.code : 0;
	told->append_code = wal_append(wal, 1, NULL, 0, NULL, &err) < 0 ? err.code : 0;
	told->retry_code = wal_sync(wal, 0, NULL, &err) < 0 ? err.code : 0;
	told->old_code = wal_sync(wal, told->durable, NULL, &err) < 0 ? err.code : 0;
	wal_close(wal);
	return 0;
}

static void fault_case(struct fixture *f, int call, int code, int expected)
{
	struct told told = {0};
	struct wal_report report;
	struct seen seen = {0};
	int ends[2];
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int rc = meet(f, call, code, &told);

		_exit(rc == 0 && write(ends[1], &told, sizeof told) == sizeof told ? 0 : rc ? rc : 9);
	}
	close(ends[1]);
	assert_int_equal(child_status(pid), 0);
	assert_int_equal(read(ends[0], &told, sizeof told), sizeof told);
	close(ends[0]);
	assert_int_equal(told.durable, 100);
	assert_int_equal(told.sync_code, expected);
	assert_int_equal(told.append_code, EROFS);
	assert_int_equal(told.retry_code, EROFS);
	assert_int_equal(told.old_code, 0);
	assert_int_equal(wal_verify(f->log, &report, &f->err), 0);
	assert_true(report.last_lsn == 100 || report.last_lsn == 150); /* never a part of a commit */
	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), 0);
	assert_int_equal(append_some(f->wal, report.last_lsn + 1, 20, &f->err), 0);
	assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0);
	assert_int_equal(wal_replay(f->wal, 0, see, &seen, &f->err), 0);
	assert_int_equal(seen.count, report.last_lsn + 20);
	assert_int_equal(seen.wrong, 0);
}

static void test_fdatasync_eio(void **state)
{
	fault_case(*state, SCMP_SYS(fdatasync), EIO, EIO);
}

static void test_fdatasync_enospc(void **state)
{
	fault_case(*state, SCMP_SYS(fdatasync), ENOSPC, ENOSPC);
}

/* An interruption is no failure, but one that never ends is. */
static void test_fdatasync_eintr_for_ever(void **state)
{
	fault_case(*state, SCMP_SYS(fdatasync), EINTR, EINTR);
}

static void test_pwrite_enospc(void **state)
{
	fault_case(*state, SCMP_SYS(pwrite64), ENOSPC, ENOSPC);
}

static void test_pwrite_eio(void **state)
{
	fault_case(*state, SCMP_SYS(pwrite64), EIO, EIO);
}

static void test_writev_enospc(void **state)
{
	fault_case(*state, SCMP_SYS(writev), ENOSPC, ENOSPC);
}

/* All 16 wait for the same failing commit: each is told, none hangs, none is acknowledged. */
struct appender {
	struct wal *wal;
	int acknowledged;
};

static void *append_one(void *arg)
{
	struct appender *appender = arg;
	uint64_t lsn;

	if (wal_append(appender->wal, 1, "x", 1, &lsn, NULL) == 0 && wal_sync(appender->wal, lsn, NULL, NULL) == 0)
		appender->acknowledged = 1;
	return NULL;
}

static int fail_many(struct fixture *f)
{
	struct appender appenders[16] = {0};
	pthread_t threads[16];
	struct wal *wal;
	int i, acknowledged = 0;

	if (wal_open(&wal, f->log, NULL, NULL) < 0 || refuse_call(SCMP_SYS(fdatasync), EIO) < 0)
		return 1;
	for (i = 0; i < 16; i++) {
		appenders[i].wal = wal;
		if (pthread_create(&threads[i], NULL, append_one, &appenders[i]))
			return 2;
	}
	for (i = 0; i < 16; i++) {
		pthread_join(threads[i], NULL);
		acknowledged += appenders[i].acknowledged;
	}
	return acknowledged ? 3 : 0;
}

static void test_all_waiters_are_told(void **state)
{
	struct fixture *f = *state;
	struct wal_report report;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(fail_many(f));
	assert_int_equal(child_status(pid), 0);
	assert_int_equal(wal_verify(f->log, &report, &f->err), 0);
	assert_int_equal(report.records, 0);
}

/* The file may not become larger: the growth fails, with its own words. */
static int outgrow(struct fixture *f, uint64_t *ret_durable)
{
	const struct wal_options options = {.map_size = 1u << 20};
	const struct rlimit limit = {3u << 19, 3u << 19};
	struct error err = {0};
	struct wal *wal;
	uint64_t lsn;

	signal(SIGXFSZ, SIG_IGN);
	if (wal_open(&wal, f->log, &options, NULL) < 0 || setrlimit(RLIMIT_FSIZE, &limit) < 0)
		return 1;
	for (lsn = 1; lsn < 100000; lsn++) {
		if (append_some(wal, lsn, 1, NULL) < 0)
			return 2;
		if (lsn % 100 == 0 && wal_sync(wal, lsn, ret_durable, &err) < 0)
			break;
	}
	return err.code == EFBIG && strstr(err.text, "cannot grow") ? 0 : 3;
}

static void test_growth_refused(void **state)
{
	struct fixture *f = *state;
	uint64_t durable = 0;
	struct wal_report report;
	int ends[2];
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int rc = outgrow(f, &durable);

		_exit(rc == 0 && write(ends[1], &durable, sizeof durable) == sizeof durable ? 0 : rc ? rc : 9);
	}
	close(ends[1]);
	assert_int_equal(child_status(pid), 0);
	assert_int_equal(read(ends[0], &durable, sizeof durable), sizeof durable);
	close(ends[0]);
	assert_true(durable > 0);
	assert_int_equal(wal_verify(f->log, &report, &f->err), 0);
	assert_int_equal(report.last_lsn, durable);
}

/* Creation that fails leaves nothing that would be refused later. */
static void creation_case(struct fixture *f, int call, int code)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		struct error err = {0};
		struct wal *wal;

		_exit(
		    refuse_call(call, code) == 0 && wal_open(&wal, f->log, NULL, &err) < 0 && err.code == code ? 0 : 1);
	}
	assert_int_equal(child_status(pid), 0);
	assert_int_equal(access(f->data, F_OK), -1);
	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), 0);
	assert_int_equal(append_some(f->wal, 1, 10, &f->err), 0);
	assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0);
}

static void test_creation_pwrite_enospc(void **state)
{
	creation_case(*state, SCMP_SYS(pwrite64), ENOSPC);
}

static void test_creation_fdatasync_eio(void **state)
{
	creation_case(*state, SCMP_SYS(fdatasync), EIO);
}

static void test_creation_fsync_eio(void **state)
{
	creation_case(*state, SCMP_SYS(fsync), EIO);
}

/* A writer that cannot bump the epoch is no writer, and what was there stays. */
static void test_reopen_on_full_disk(void **state)
{
	struct fixture *f = *state;
	struct wal_report report;
	pid_t pid;

	log_make(f, 30);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct error err = {0};
		struct wal *wal;

		_exit(refuse_call(SCMP_SYS(pwrite64), ENOSPC) == 0 && wal_open(&wal, f->log, NULL, &err) < 0 &&
			      err.code == ENOSPC
			  ? 0
			  : 1);
	}
	assert_int_equal(child_status(pid), 0);
	assert_int_equal(wal_verify(f->log, &report, &f->err), 0);
	assert_int_equal(report.records, 30);
	assert_int_equal(report.epoch, 1);
}

/* Killed at any moment of its life, also while it is being created, a log can be opened again. */
static void test_killed_at_any_moment(void **state)
{
	struct fixture *f = *state;
	uint64_t acknowledged = 0;
	int i;

	for (i = 0; i < 60; i++) {
		struct wal_report report = {0};
		uint64_t got;
		int ends[2];
		pid_t pid;

		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			struct wal *wal;
			uint64_t lsn;

			if (wal_open(&wal, f->log, NULL, NULL) < 0)
				_exit(1);
			for (;;)
				if (wal_append(wal, 1, "x", 1, &lsn, NULL) < 0 || wal_sync(wal, 0, NULL, NULL) < 0 ||
				    write(ends[1], &lsn, sizeof lsn) != sizeof lsn)
					_exit(2);
		}
		close(ends[1]);
		/* a different number of records each round, then at once; every third round somewhere in the opening */
		if (i % 3)
			for (int n = 0; n < i % 7 && read(ends[0], &got, sizeof got) == sizeof got; n++)
				acknowledged = got;
		else
			sched_yield();
		kill(pid, SIGKILL);
		assert_int_equal(child_status(pid), 128 + SIGKILL);
		while (read(ends[0], &got, sizeof got) == sizeof got)
			acknowledged = got;
		close(ends[0]);
		if (wal_verify(f->log, &report, &f->err) < 0)
			assert_true(f->err.code == ENOENT && acknowledged == 0);
		assert_true(report.last_lsn >= acknowledged);
	}
	assert_true(acknowledged > 0);
}

/* Dead within LMDB's very first write: cut at a page or a sector, or only a part of one of its two pages there. Nothing was ever in
 * such a log, and the next writer begins again. A reader says that there is none, and changes nothing. */
static void test_first_write_is_torn(void **state)
{
	struct fixture *f = *state;
	uint8_t whole[2 * 4096], torn[2 * 4096];
	char path[128];
	MDB_env *env;
	size_t i;
	int fd;

	assert_int_equal(mkdir(f->log, 0777), 0);
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_mapsize(env, (size_t)16 << 20), 0);
	assert_int_equal(mdb_env_open(env, f->log, 0, 0666), 0);
	mdb_env_close(env);
	fd = open(f->data, O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, whole, sizeof whole), sizeof whole);
	close(fd);
	for (i = 1; i <= 20 + 2 * 160; i++) {
		size_t size = i < 16 ? i * 512 : sizeof whole, kept = (i - 21) / 2;
		struct wal_report report;
		struct stat status;

		memcpy(torn, whole, sizeof torn);
		if (i > 20)
			memset(torn + (i % 2 ? 4096 : 0) + kept, 0, 4096 - kept);
		else if (i >= 16)
			memset(torn + (i % 2 ? 4096 : 0), 0, i < 18 ? 4096 : 60);
		snprintf(path, sizeof path, "%s/format", f->log);
		unlink(path);
		fd = open(f->data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
		assert_int_equal(write(fd, torn, size), size);
		close(fd);
		assert_int_equal(wal_verify(f->log, &report, &f->err), -1);
		assert_int_equal(f->err.code, ENOENT);
		assert_int_equal(stat(f->data, &status), 0);
		assert_int_equal(status.st_size, size);
		if (wal_open(&f->wal, f->log, NULL, &f->err) < 0)
			fail_msg("torn in way %zu: %s", i, f->err.text);
		assert_int_equal(append_some(f->wal, 1, 5, &f->err), 0);
		assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0);
		wal_close(f->wal);
		f->wal = NULL;
		assert_int_equal(wal_verify(f->log, &report, &f->err), 0);
		/* with the mark, the same bytes are a loss */
		assert_int_equal(truncate(f->data, 0), 0);
		assert_int_equal(truncate(f->data, 4096), 0);
		assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), -1);
		assert_int_equal(f->err.code, EILSEQ);
	}
	/* one byte that LMDB would not have written: somebody's file */
	unlink(path);
	whole[3000] = 'x';
	fd = open(f->data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	assert_int_equal(write(fd, whole, 4096), 4096);
	close(fd);
	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), -1);
	assert_int_equal(f->err.code, EILSEQ);
}

/* The mark is written last: a part of it, or zeros, says no more than none. */
static void test_mark_is_torn(void **state)
{
	static const char *const torn[] = {"", "tritone", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "tritone wal 1"};
	static const size_t sizes[] = {0, 7, 14, 13};
	struct fixture *f = *state;
	char path[128], text[16] = "";
	size_t i;
	int fd;

	log_make(f, 10);
	snprintf(path, sizeof path, "%s/format", f->log);
	for (i = 0; i < sizeof torn / sizeof torn[0]; i++) {
		fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
		assert_int_equal(write(fd, torn[i], sizes[i]), sizes[i]);
		close(fd);
		if (wal_open(&f->wal, f->log, NULL, &f->err) < 0)
			fail_msg("mark %zu: %s", i, f->err.text);
		assert_int_equal(wal_durable(f->wal), 10);
		wal_close(f->wal);
		f->wal = NULL;
		fd = open(path, O_RDONLY | O_CLOEXEC);
		assert_int_equal(read(fd, text, sizeof text), 14);
		close(fd);
		assert_memory_equal(text, "tritone wal 1\n", 14);
	}
}

/* However full its map was left, a log can be opened: bumping the epoch needs pages of its own. */
static void test_reopen_with_a_full_map(void **state)
{
	const struct wal_options options = {.map_size = 1u << 16};
	struct fixture *f = *state;
	uint64_t count;

	for (count = 10; count <= 90; count++) {
		nftw(f->log, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
		assert_int_equal(wal_open(&f->wal, f->log, &options, &f->err), 0);
		assert_int_equal(append_some(f->wal, 1, count, &f->err), 0);
		assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0);
		wal_close(f->wal);
		f->wal = NULL;
		if (wal_open(&f->wal, f->log, &options, &f->err) < 0)
			fail_msg("%llu records: %s", (unsigned long long)count, f->err.text);
		assert_int_equal(append_some(f->wal, count + 1, 1, &f->err), 0);
		assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0);
		wal_close(f->wal);
		f->wal = NULL;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_fdatasync_eio),
	    TEST(test_fdatasync_enospc),
	    TEST(test_fdatasync_eintr_for_ever),
	    TEST(test_pwrite_enospc),
	    TEST(test_pwrite_eio),
	    TEST(test_writev_enospc),
	    TEST(test_all_waiters_are_told),
	    TEST(test_growth_refused),
	    TEST(test_creation_pwrite_enospc),
	    TEST(test_creation_fdatasync_eio),
	    TEST(test_creation_fsync_eio),
	    TEST(test_reopen_on_full_disk),
	    TEST(test_killed_at_any_moment),
	    TEST(test_first_write_is_torn),
	    TEST(test_mark_is_torn),
	    TEST(test_reopen_with_a_full_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
