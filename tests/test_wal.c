/* SPDX-License-Identifier: Apache-2.0 */
/* wal/: append, sync, reopen, replay, group commit, growth, one writer, fencing. Damage: test_wal_damage.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include "wal/internal.h"
#include "wal_fixture.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

static void test_reopen_and_replay(void **state)
{
	struct fixture *f = *state;
	struct seen seen = {0};
	struct wal_report report;

	log_make(f, 1000);
	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), 0);
	assert_int_equal(wal_epoch(f->wal), 2);
	assert_int_equal(wal_durable(f->wal), 1000);
	assert_int_equal(append_some(f->wal, 1001, 100, &f->err), 0);
	assert_int_equal(wal_durable(f->wal), 1000); /* staged only */
	assert_int_equal(wal_replay(f->wal, 0, see, &seen, &f->err), 0);
	assert_int_equal(seen.count, 1000);
	assert_int_equal(wal_sync(f->wal, 1050, NULL, &f->err), 0);
	assert_int_equal(wal_durable(f->wal), 1100);
	seen = (struct seen){0};
	assert_int_equal(wal_replay(f->wal, 1, see, &seen, &f->err), 0);
	assert_int_equal(seen.count, 1100);
	assert_int_equal(seen.first, 1);
	assert_int_equal(seen.wrong, 0);
	assert_int_equal(seen.epoch_last, 2);
	seen = (struct seen){.stop_at = 700};
	assert_int_equal(wal_replay(f->wal, 501, see, &seen, &f->err), 42);
	assert_int_equal(seen.first, 501);
	assert_int_equal(seen.count, 200);
	seen = (struct seen){0};
	assert_int_equal(wal_replay(f->wal, 1101, see, &seen, &f->err), 0);
	assert_int_equal(wal_replay(f->wal, 9999, see, &seen, &f->err), 0);
	assert_int_equal(seen.count, 0);
	wal_close(f->wal);
	f->wal = NULL;
	assert_int_equal(wal_verify(f->log, &report, &f->err), 0);
	assert_int_equal(report.records, 1100);
	assert_int_equal(report.first_lsn, 1);
	assert_int_equal(report.last_lsn, 1100);
	assert_int_equal(report.epoch, 2);
	assert_int_equal(report.bad_lsn, 0);
}

static void test_empty_log_and_staged_is_dropped(void **state)
{
	struct fixture *f = *state;
	struct wal_report report;
	struct seen seen = {0};
	uint64_t durable = 9;

	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), 0);
	assert_int_equal(wal_sync(f->wal, 0, &durable, &f->err), 0);
	assert_int_equal(durable, 0);
	assert_int_equal(wal_replay(f->wal, 0, see, &seen, &f->err), 0);
	assert_int_equal(seen.count, 0);
	assert_int_equal(append_some(f->wal, 1, 5, &f->err), 0);
	wal_close(f->wal);
	f->wal = NULL;
	assert_int_equal(wal_verify(f->log, &report, &f->err), 0);
	assert_int_equal(report.records, 0);
	assert_int_equal(report.last_lsn, 0);
}

static void test_arguments(void **state)
{
	struct fixture *f = *state;
	static uint8_t big[WAL_PAYLOAD_MAX + 1];
	uint64_t lsn = 77;

	assert_int_equal(wal_open(&f->wal, f->log, &(struct wal_options){.must_exist = true}, &f->err), -1);
	assert_int_equal(f->err.code, ENOENT);
	assert_int_equal(wal_open(&f->wal, f->log, &(struct wal_options){.read_only = true}, &f->err), -1);
	assert_int_equal(f->err.code, ENOENT);
	assert_int_equal(access(f->log, F_OK), -1);
	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), 0);
	assert_int_equal(wal_append(f->wal, 1, big, sizeof big, &lsn, &f->err), -1);
	assert_int_equal(f->err.code, EMSGSIZE);
	assert_int_equal(lsn, 77);
	assert_int_equal(wal_sync(f->wal, 1, NULL, &f->err), -1);
	assert_int_equal(f->err.code, EINVAL);
	assert_int_equal(wal_append(f->wal, UINT32_MAX, big, WAL_PAYLOAD_MAX, &lsn, &f->err), 0);
	assert_int_equal(wal_append(f->wal, 0, NULL, 0, NULL, &f->err), 0);
	assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0);
	wal_close(f->wal);
	assert_int_equal(wal_open(&f->wal, f->log, &(struct wal_options){.read_only = true}, &f->err), 0);
	assert_int_equal(wal_durable(f->wal), 2);
	assert_int_equal(wal_append(f->wal, 0, NULL, 0, NULL, &f->err), -1);
	assert_int_equal(f->err.code, EBADF);
	assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), -1);
	assert_int_equal(f->err.code, EBADF);
}

/* More than is staged at most: the appender commits by itself. */
static void test_staging_is_bounded(void **state)
{
	struct fixture *f = *state;
	static uint8_t big[WAL_PAYLOAD_MAX];
	int i;

	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), 0);
	for (i = 0; i < 40; i++)
		assert_int_equal(wal_append(f->wal, 1, big, sizeof big, NULL, &f->err), 0);
	assert_true(wal_durable(f->wal) >= 24);
	assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0);
	assert_int_equal(wal_durable(f->wal), 40);
}

static void test_map_grows(void **state)
{
	struct fixture *f = *state;
	const struct wal_options options = {.map_size = 1u << 20};
	struct seen seen = {0};
	struct stat status;
	uint64_t i;

	assert_int_equal(wal_open(&f->wal, f->log, &options, &f->err), 0);
	for (i = 1; i <= 20000; i += 500) {
		assert_int_equal(append_some(f->wal, i, 500, &f->err), 0);
		assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0);
	}
	assert_int_equal(stat(f->data, &status), 0);
	assert_true(status.st_size > 1 << 20);
	wal_close(f->wal);
	assert_int_equal(wal_open(&f->wal, f->log, &options, &f->err), 0);
	assert_int_equal(wal_replay(f->wal, 0, see, &seen, &f->err), 0);
	assert_int_equal(seen.count, 20000);
	assert_int_equal(seen.wrong, 0);
}

static void test_map_limit_fails_closed(void **state)
{
	struct fixture *f = *state;
	const struct wal_options options = {.map_size = 1u << 20, .map_size_max = 2u << 20};
	struct seen seen = {0};
	uint64_t acknowledged, lsn = 0;
	int rc = 0;

	assert_int_equal(wal_open(&f->wal, f->log, &options, &f->err), 0);
	while (rc == 0 && lsn < 100000) {
		assert_int_equal(append_some(f->wal, lsn + 1, 100, &f->err), 0);
		lsn += 100;
		rc = wal_sync(f->wal, lsn, NULL, &f->err);
	}
	acknowledged = lsn - 100;
	assert_int_equal(rc, -1);
	assert_int_equal(f->err.code, ENOSPC);
	assert_int_equal(wal_append(f->wal, 0, NULL, 0, NULL, &f->err), -1);
	assert_int_equal(f->err.code, EROFS);
	assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), -1);
	assert_int_equal(f->err.code, EROFS);
	assert_int_equal(wal_sync(f->wal, acknowledged, NULL, &f->err), 0); /* that one is safe */
	wal_close(f->wal);
	f->wal = NULL;
	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), 0); /* with room again */
	assert_int_equal(wal_durable(f->wal), acknowledged);
	assert_int_equal(append_some(f->wal, acknowledged + 1, 1000, &f->err), 0);
	assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0);
	assert_int_equal(wal_replay(f->wal, 0, see, &seen, &f->err), 0);
	assert_int_equal(seen.count, acknowledged + 1000);
	assert_int_equal(seen.wrong, 0);
}

#define APPENDERS  64
#define PER_THREAD 50

struct appender {
	struct wal *wal;
	uint64_t last;
	int count, wrong;
};

static void *append_and_sync(void *arg)
{
	struct appender *appender = arg;
	int i;

	for (i = 0; i < appender->count; i++) {
		uint64_t lsn, durable, value = (uint64_t)(uintptr_t)appender;

		if (wal_append(appender->wal, 5, &value, sizeof value, &lsn, NULL) < 0 || lsn <= appender->last ||
		    wal_sync(appender->wal, lsn, &durable, NULL) < 0 || durable < lsn ||
		    wal_durable(appender->wal) < lsn)
			appender->wrong++;
		appender->last = lsn;
	}
	return NULL;
}

struct tally {
	uint64_t records, txns;
};

static int count_records(void *arg, const struct wal_record *record)
{
	(void)record;
	((struct tally *)arg)->records++;
	return 0;
}

static uint64_t last_txn(const struct wal *wal)
{
	MDB_envinfo info;

	assert_int_equal(mdb_env_info(wal->env, &info), 0);
	return info.me_last_txnid;
}

static void test_group_commit(void **state)
{
	struct fixture *f = *state;
	struct appender appenders[APPENDERS] = {0};
	pthread_t threads[APPENDERS];
	struct tally tally = {0};
	size_t i;

	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), 0);
	for (i = 0; i < APPENDERS; i++) {
		appenders[i] = (struct appender){.wal = f->wal, .count = PER_THREAD};
		assert_int_equal(pthread_create(&threads[i], NULL, append_and_sync, &appenders[i]), 0);
	}
	for (i = 0; i < APPENDERS; i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < APPENDERS; i++)
		assert_int_equal(appenders[i].wrong, 0);
	assert_int_equal(wal_durable(f->wal), APPENDERS * PER_THREAD);
	assert_int_equal(wal_replay(f->wal, 0, count_records, &tally, &f->err), 0);
	assert_int_equal(tally.records, APPENDERS * PER_THREAD);
}

struct crowd {
	struct wal *wal;
	struct appender appenders[APPENDERS];
	pthread_t threads[APPENDERS];
	bool begun;
};

/* A change to the log, which holds all commits up until everybody waits for one. */
static int gather(void *arg, struct wal *wal, MDB_txn *txn, struct wal_state *wal_state, struct error *err)
{
	struct crowd *crowd = arg;
	uint64_t waiting = 0;
	size_t i;

	(void)txn;
	(void)wal_state;
	(void)err;
	for (i = 0; i < APPENDERS && !crowd->begun; i++) {
		crowd->appenders[i] = (struct appender){.wal = wal, .count = 1};
		assert_int_equal(pthread_create(&crowd->threads[i], NULL, append_and_sync, &crowd->appenders[i]), 0);
	}
	crowd->begun = true;
	while (waiting < APPENDERS) {
		pthread_mutex_lock(&wal->lock);
		waiting = wal->syncers;
		pthread_mutex_unlock(&wal->lock);
		sched_yield();
	}
	return 0;
}

/* Whoever waits while another one commits shares the next commit, all of them: how busy the machine is has no part in it. */
static void test_all_who_wait_share_one_commit(void **state)
{
	struct fixture *f = *state;
	struct crowd crowd = {0};
	uint64_t before;
	size_t i;

	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), 0);
	before = last_txn(f->wal);
	assert_int_equal(wal_upkeep(f->wal, gather, &crowd, &f->err), 0);
	for (i = 0; i < APPENDERS; i++) {
		pthread_join(crowd.threads[i], NULL);
		assert_int_equal(crowd.appenders[i].wrong, 0);
	}
	assert_int_equal(last_txn(f->wal), before + 2); /* the change, and all of them */
}

/* A batch waits for those whom the last one served: who does not come again keeps nobody for ever, up to the last one. */
static void test_who_stays_away(void **state)
{
	struct fixture *f = *state;
	struct appender appenders[8] = {0};
	pthread_t threads[8];
	uint64_t records = 0;
	size_t i;

	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), 0);
	for (i = 0; i < 8; i++) {
		appenders[i] = (struct appender){.wal = f->wal, .count = 1 << i};
		records += 1u << i;
		assert_int_equal(pthread_create(&threads[i], NULL, append_and_sync, &appenders[i]), 0);
	}
	for (i = 0; i < 8; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(appenders[i].wrong, 0);
	}
	assert_int_equal(wal_durable(f->wal), records);
}

static void test_second_writer_is_told_who(void **state)
{
	struct fixture *f = *state;
	struct wal_report report;
	struct wal *other;
	char pid_text[32];
	pid_t pid;

	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), 0);
	snprintf(pid_text, sizeof pid_text, "process %ld ", (long)getpid());
	assert_int_equal(wal_open(&other, f->log, NULL, &f->err), -1);
	assert_int_equal(f->err.code, EBUSY);
	assert_non_null(strstr(f->err.text, pid_text));
	/* LMDB's rule: not twice in a process, not even to read */
	assert_int_equal(wal_verify(f->log, &report, &f->err), -1);
	assert_int_equal(f->err.code, EBUSY);
	assert_int_equal(append_some(f->wal, 1, 10, &f->err), 0);
	assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) { /* another process may read */
		int rc = wal_verify(f->log, &report, NULL);

		_exit(rc == 0 && report.records == 10 ? 0 : 1);
	}
	assert_int_equal(child_status(pid), 0);
	assert_int_equal(append_some(f->wal, 11, 10, &f->err), 0);
	assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0);
}

/* A child that opens the log, appends without end and says on the pipe what is durable. */
static pid_t start_writer(struct fixture *f, int *ret_fd)
{
	int ends[2];
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct wal *wal;
		uint64_t lsn;

		close(ends[0]);
		if (wal_open(&wal, f->log, NULL, NULL) < 0)
			_exit(1);
		for (lsn = 1;; lsn++)
			if (append_some(wal, lsn, 1, NULL) < 0 || wal_sync(wal, lsn, NULL, NULL) < 0 ||
			    write(ends[1], &lsn, sizeof lsn) != sizeof lsn)
				_exit(2);
	}
	close(ends[1]);
	*ret_fd = ends[0];
	return pid;
}

static void test_stopped_writer_does_not_hang_the_second(void **state)
{
	struct fixture *f = *state;
	char pid_text[32];
	uint64_t lsn;
	int fd, status, rc, i;
	pid_t pid = start_writer(f, &fd);

	/* stopped at many places, with a good chance inside of a transaction: the pipe fills, it always runs */
	for (i = 0; i < 20; i++) {
		if (read(fd, &lsn, sizeof lsn) != sizeof lsn)
			break;
		kill(pid, SIGSTOP);
		waitpid(pid, &status, WUNTRACED);
		rc = wal_open(&f->wal, f->log, NULL, &f->err);
		if (rc == 0 || f->err.code != EBUSY)
			break;
		kill(pid, SIGCONT);
	}
	kill(pid, SIGKILL);
	child_status(pid);
	close(fd);
	assert_int_equal(i, 20);
	snprintf(pid_text, sizeof pid_text, "process %ld ", (long)pid);
	assert_non_null(strstr(f->err.text, pid_text));
	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), 0); /* the dead one holds nothing */
	assert_int_equal(wal_epoch(f->wal), 2);
}

static void test_killed_writer_loses_nothing_acknowledged(void **state)
{
	struct fixture *f = *state;
	uint64_t lsn = 0, got;
	struct wal_report report;
	struct seen seen = {0};
	int fd, i;
	pid_t pid = start_writer(f, &fd);

	for (i = 0; i < 300; i++)
		assert_int_equal(read(fd, &lsn, sizeof lsn), sizeof lsn);
	kill(pid, SIGKILL);
	child_status(pid);
	while (read(fd, &got, sizeof got) == sizeof got)
		lsn = got;
	close(fd);
	assert_int_equal(wal_verify(f->log, &report, &f->err), 0);
	assert_true(report.last_lsn >= lsn && lsn >= 300);
	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), 0);
	assert_int_equal(append_some(f->wal, report.last_lsn + 1, 10, &f->err), 0);
	assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0);
	assert_int_equal(wal_replay(f->wal, 0, see, &seen, &f->err), 0);
	assert_int_equal(seen.count, report.last_lsn + 10);
	assert_int_equal(seen.wrong, 0);
}

static void test_newer_epoch_fences(void **state)
{
	struct fixture *f = *state;
	struct wal_report report;
	char path[128];
	pid_t pid;

	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), 0);
	assert_int_equal(append_some(f->wal, 1, 10, &f->err), 0);
	assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0);
	assert_int_equal(append_some(f->wal, 11, 5, &f->err), 0);
	/* the lock is lost, as on a file system that forgets locks: the epoch still stands */
	snprintf(path, sizeof path, "%s/writer.lock", f->log);
	assert_int_equal(unlink(path), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct wal *wal;

		_exit(wal_open(&wal, f->log, NULL, NULL) == 0 && wal_epoch(wal) == 2 &&
			      append_some(wal, 11, 3, NULL) == 0 && wal_sync(wal, 0, NULL, NULL) == 0
			  ? 0
			  : 1);
	}
	assert_int_equal(child_status(pid), 0);
	assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), -1);
	assert_int_equal(f->err.code, ESTALE);
	assert_int_equal(wal_append(f->wal, 1, NULL, 0, NULL, &f->err), -1);
	assert_int_equal(f->err.code, ESTALE);
	wal_close(f->wal);
	f->wal = NULL;
	assert_int_equal(wal_verify(f->log, &report, &f->err), 0);
	assert_int_equal(report.last_lsn, 13);
	assert_int_equal(report.epoch, 2);
}

/* And has made it larger than this one's map is. */
static void test_newer_epoch_that_has_grown_the_log_fences(void **state)
{
	const struct wal_options options = {.map_size = 1u << 20};
	struct fixture *f = *state;
	struct wal_report report;
	char path[128];
	pid_t pid;

	assert_int_equal(wal_open(&f->wal, f->log, &options, &f->err), 0);
	assert_int_equal(append_some(f->wal, 1, 10, &f->err), 0);
	assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0);
	snprintf(path, sizeof path, "%s/writer.lock", f->log);
	assert_int_equal(unlink(path), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct wal *wal;

		_exit(wal_open(&wal, f->log, NULL, NULL) == 0 && append_some(wal, 11, 8000, NULL) == 0 &&
			      wal_sync(wal, 0, NULL, NULL) == 0
			  ? 0
			  : 1);
	}
	assert_int_equal(child_status(pid), 0);
	assert_int_equal(append_some(f->wal, 11, 1, &f->err), 0);
	assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), -1);
	assert_int_equal(f->err.code, ESTALE);
	assert_int_equal(wal_append(f->wal, 1, NULL, 0, NULL, &f->err), -1);
	assert_int_equal(f->err.code, ESTALE);
	wal_close(f->wal);
	f->wal = NULL;
	assert_int_equal(wal_verify(f->log, &report, &f->err), 0);
	assert_int_equal(report.last_lsn, 8010);
}

/* Who starts a program has a child for a moment that has all its files, and the log is closed nevertheless. */
static void test_closed_although_a_child_has_its_files(void **state)
{
	struct fixture *f = *state;
	int ends[2];
	char byte;
	pid_t pid;

	assert_int_equal(wal_open(&f->wal, f->log, NULL, &f->err), 0);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) { /* until the other end is closed */
		close(ends[1]);
		_exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);
	}
	close(ends[0]);
	wal_close(f->wal);
	f->wal = NULL;
	if (wal_open(&f->wal, f->log, NULL, &f->err) < 0)
		print_error("%s\n", f->err.text);
	close(ends[1]);
	assert_int_equal(child_status(pid), 0);
	assert_non_null(f->wal);
}

static void test_killed_reader_is_cleared(void **state)
{
	struct fixture *f = *state;
	const struct wal_options options = {.map_size = 1u << 20, .map_size_max = 8u << 20};
	int ends[2], status, i;
	char byte;
	pid_t pid;

	log_make(f, 10);
	assert_int_equal(wal_open(&f->wal, f->log, &options, &f->err), 0);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) { /* a reader that dies inside of a transaction */
		MDB_env *env;
		MDB_txn *txn;

		if (mdb_env_create(&env) || mdb_env_open(env, f->log, MDB_RDONLY, 0666) ||
		    mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) || write(ends[1], "r", 1) != 1)
			_exit(1);
		pause();
		_exit(1);
	}
	assert_int_equal(read(ends[0], &byte, 1), 1);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	close(ends[0]);
	close(ends[1]);
	/* 2000 small commits rewrite far more pages than the map holds: they fit only if pages are used again */
	for (i = 0; i < 2000; i++) {
		assert_int_equal(wal_append(f->wal, 1, "x", 1, NULL, &f->err), 0);
		if (wal_sync(f->wal, 0, NULL, &f->err) < 0)
			fail_msg("commit %d: %s", i, f->err.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_reopen_and_replay),
	    TEST(test_empty_log_and_staged_is_dropped),
	    TEST(test_arguments),
	    TEST(test_staging_is_bounded),
	    TEST(test_map_grows),
	    TEST(test_map_limit_fails_closed),
	    TEST(test_group_commit),
	    TEST(test_all_who_wait_share_one_commit),
	    TEST(test_who_stays_away),
	    TEST(test_second_writer_is_told_who),
	    TEST(test_stopped_writer_does_not_hang_the_second),
	    TEST(test_killed_writer_loses_nothing_acknowledged),
	    TEST(test_newer_epoch_fences),
	    TEST(test_newer_epoch_that_has_grown_the_log_fences),
	    TEST(test_closed_although_a_child_has_its_files),
	    TEST(test_killed_reader_is_cleared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
