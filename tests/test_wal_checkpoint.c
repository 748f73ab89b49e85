/* SPDX-License-Identifier: Apache-2.0 */
/* wal/: checkpoint and trim. Recovery from a checkpoint sees what recovery from the beginning would, the file stays
 * bounded, a reader keeps its snapshot and no writer, and no damage goes unnamed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "wal_checkpoint_fixture.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup_in_memory, fixture_teardown)

/* A checkpoint's payload follows from its LSN: so many bytes, each of them known. */
static size_t checkpoint_size(uint64_t lsn)
{
	static const size_t sizes[] = {0, 1, 96, 4079, 4080, 4081, 8160, 50000, 1048576, 3000000};

	return sizes[lsn / 100 % (sizeof sizes / sizeof *sizes)];
}

struct recovered {
	struct seen seen; /* the records */
	uint64_t checkpoint_lsn, checkpoint_size, checkpoints, wrong, epoch;
};

static int recover_one(void *arg, const struct wal_record *record)
{
	struct recovered *recovered = arg;
	uint8_t *expected;

	if (!record->checkpoint)
		return see(&recovered->seen, record);
	if (recovered->seen.count)
		recovered->wrong++; /* it comes first */
	recovered->checkpoints++;
	recovered->checkpoint_lsn = record->lsn;
	recovered->checkpoint_size = record->size;
	recovered->epoch = record->epoch;
	expected = checkpoint_make(record->lsn, record->size);
	if (record->kind || memcmp(expected, record->payload, record->size) != 0)
		recovered->wrong++;
	free(expected);
	return 0;
}

static struct recovered recover_all(struct fixture *f)
{
	struct recovered recovered = {0};

	if (wal_replay(f->wal, 0, recover_one, &recovered, &f->err) != 0)
		fail_msg("recovery: %s", f->err.text);
	assert_int_equal(recovered.wrong, 0);
	assert_int_equal(recovered.seen.wrong, 0);
	return recovered;
}

static void test_recovery_from_each_checkpoint(void **state)
{
	struct fixture *f = *state;
	struct wal_report report;
	uint64_t lsn;

	reopen(f, NULL);
	for (lsn = 100; lsn <= 2000; lsn += 100) {
		struct recovered recovered;

		append_upto(f, lsn + 50);
		assert_int_equal(take_checkpoint(f->wal, lsn, checkpoint_size(lsn), &f->err), 0);
		assert_int_equal(wal_checkpoint_lsn(f->wal), lsn);
		if (lsn % 300 == 0) {
			assert_int_equal(wal_trim(f->wal, 0, &f->err), 0);
			assert_int_equal(wal_first(f->wal), lsn + 1);
		}
		if (lsn % 700 == 0)
			reopen(f, NULL);
		recovered = recover_all(f);
		assert_int_equal(recovered.checkpoints, 1);
		assert_int_equal(recovered.checkpoint_lsn, lsn);
		assert_int_equal(recovered.checkpoint_size, checkpoint_size(lsn));
		assert_int_equal(recovered.seen.first, lsn + 1);
		assert_int_equal(recovered.seen.count, 50);
	}
	wal_close(f->wal);
	f->wal = NULL;
	assert_int_equal(wal_verify(f->log, &report, &f->err), 0);
	assert_int_equal(report.first_lsn, 1801);
	assert_int_equal(report.last_lsn, 2050);
	assert_int_equal(report.records, 250);
	assert_int_equal(report.checkpoint_lsn, 2000);
	assert_int_equal(report.checkpoint_size, checkpoint_size(2000));
}

/* All is trimmed; what comes next goes on with the LSNs and the chain. */
static void test_trimmed_to_the_head(void **state)
{
	struct fixture *f = *state;
	struct recovered recovered;
	struct wal_report report;
	struct seen seen = {0};

	reopen(f, NULL);
	append_upto(f, 500);
	assert_int_equal(take_checkpoint(f->wal, 500, 777, &f->err), 0);
	assert_int_equal(wal_trim(f->wal, 0, &f->err), 0);
	reopen(f, NULL);
	assert_int_equal(wal_durable(f->wal), 500);
	assert_int_equal(wal_first(f->wal), 501);
	assert_int_equal(wal_checkpoint_lsn(f->wal), 500);
	recovered = recover_all(f);
	assert_int_equal(recovered.checkpoint_lsn, 500);
	assert_int_equal(recovered.epoch, 1);
	assert_int_equal(recovered.seen.count, 0);
	wal_close(f->wal);
	f->wal = NULL;
	assert_int_equal(wal_verify(f->log, &report, &f->err), 0);
	assert_int_equal(report.records, 0);
	assert_int_equal(report.first_lsn, 0);
	assert_int_equal(report.last_lsn, 500);
	reopen(f, NULL);
	append_upto(f, 600);
	assert_int_equal(wal_replay(f->wal, 1, see, &seen, &f->err), -1);
	assert_int_equal(f->err.code, ERANGE);
	assert_int_equal(wal_replay(f->wal, 500, see, &seen, &f->err), -1);
	assert_int_equal(f->err.code, ERANGE);
	assert_int_equal(seen.count, 0);
	assert_int_equal(wal_replay(f->wal, 501, see, &seen, &f->err), 0);
	assert_int_equal(seen.count, 100);
	assert_int_equal(seen.wrong, 0);
	reopen(f, &(struct wal_options){.read_only = true});
	assert_int_equal(wal_first(f->wal), 501);
	recovered = recover_all(f);
	assert_int_equal(recovered.seen.count, 100);
}

static void test_arguments(void **state)
{
	struct fixture *f = *state;

	reopen(f, NULL);
	assert_int_equal(wal_trim(f->wal, 0, &f->err), 0); /* nothing stands for anything yet */
	append_upto(f, 100);
	assert_int_equal(append_some(f->wal, 101, 10, &f->err), 0); /* staged only */
	assert_int_equal(wal_trim(f->wal, 1, &f->err), -1);
	assert_int_equal(f->err.code, EINVAL);
	assert_int_equal(wal_checkpoint(f->wal, 0, "x", 1, &f->err), -1);
	assert_int_equal(f->err.code, EINVAL);
	assert_int_equal(wal_checkpoint(f->wal, 105, "x", 1, &f->err), -1);
	assert_int_equal(f->err.code, EINVAL);
	assert_int_equal(wal_checkpoint(f->wal, 50, "x", WAL_CHECKPOINT_MAX + 1, &f->err), -1);
	assert_int_equal(f->err.code, EMSGSIZE);
	assert_int_equal(take_checkpoint(f->wal, 50, 10, &f->err), 0);
	assert_int_equal(take_checkpoint(f->wal, 50, 20, &f->err), 0); /* again, with other content */
	assert_int_equal(take_checkpoint(f->wal, 49, 10, &f->err), -1);
	assert_int_equal(f->err.code, EINVAL);
	assert_int_equal(wal_trim(f->wal, 51, &f->err), -1);
	assert_int_equal(f->err.code, EINVAL);
	assert_int_equal(wal_trim(f->wal, 30, &f->err), 0);
	assert_int_equal(wal_first(f->wal), 31);
	assert_int_equal(wal_trim(f->wal, 20, &f->err), 0); /* long gone */
	assert_int_equal(wal_first(f->wal), 31);
	assert_int_equal(take_checkpoint(f->wal, 60, 10, &f->err), 0);
	assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0); /* none of these refusals has failed the log */
	assert_int_equal(wal_durable(f->wal), 110);
	reopen(f, &(struct wal_options){.read_only = true});
	assert_int_equal(wal_checkpoint(f->wal, 60, "x", 1, &f->err), -1);
	assert_int_equal(f->err.code, EBADF);
	assert_int_equal(wal_trim(f->wal, 0, &f->err), -1);
	assert_int_equal(f->err.code, EBADF);
	assert_int_equal(recover_all(f).checkpoint_size, 10);
}

/* A million records through a log of a few megabytes. */
static void test_file_stays_bounded(void **state)
{
	struct fixture *f = *state;
	const struct wal_options options = {.map_size = 4u << 20};
	uint8_t bytes[100] = {0};
	uint64_t lsn = 0, left = 0;
	struct stat status;

	reopen(f, &options);
	while (lsn < 1000000) {
		assert_int_equal(wal_append(f->wal, 1, bytes, sizeof bytes, &lsn, &f->err), 0);
		if (lsn % 1000 == 0)
			assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0);
		if (lsn % 10000 == 0) {
			assert_int_equal(take_checkpoint(f->wal, lsn, 100000, &f->err), 0);
			assert_int_equal(wal_trim(f->wal, 0, &f->err), 0);
		}
	}
	assert_int_equal(stat(f->data, &status), 0);
	assert_true(status.st_size <= 8 << 20); /* 10,000 records are 1.4 MB, all of them 140 MB */
	reopen(f, &options);
	assert_int_equal(wal_durable(f->wal), 1000000);
	assert_int_equal(wal_replay(f->wal, 0, ignore, &left, &f->err), 0);
	assert_int_equal(left, 1);
}

/* --- a reader that stays --- */

struct held {
	int ready, go; /* pipes */
	uint64_t count;
	bool waited;
	struct recovered recovered;
};

/* Stops at its first record until it is told to go on. */
static int hold(void *arg, const struct wal_record *record)
{
	struct held *held = arg;
	char byte = 'r';

	if (!held->waited) {
		held->waited = true;
		if (write(held->ready, &byte, 1) != 1 || read(held->go, &byte, 1) != 1)
			return 99;
	}
	return recover_one(&held->recovered, record);
}

/* In a child. 0: it has seen the snapshot of its beginning, whole: records 31 to 300 after the checkpoint of 30. */
static int read_slowly(struct fixture *f, int ready, int go)
{
	struct held held = {.ready = ready, .go = go};
	struct wal *wal;
	int rc;

	if (wal_open(&wal, f->log, &(struct wal_options){.read_only = true}, NULL) < 0)
		return 2;
	rc = wal_replay(wal, 0, hold, &held, NULL);
	if (rc || held.recovered.wrong || held.recovered.seen.wrong)
		return 3;
	if (held.recovered.checkpoint_lsn != 30 || held.recovered.seen.first != 31 || held.recovered.seen.count != 270)
		return 4;
	/* and the next look is at what is there now */
	held.recovered = (struct recovered){0};
	rc = wal_replay(wal, 0, hold, &held, NULL);
	wal_close(wal);
	return rc || held.recovered.wrong || held.recovered.checkpoint_lsn != 20000 ? 5 : 0;
}

static void test_reader_keeps_its_snapshot_and_no_writer(void **state)
{
	struct fixture *f = *state;
	int ready[2], go[2];
	uint64_t lsn;
	char byte;
	pid_t pid;

	reopen(f, NULL);
	append_upto(f, 300);
	assert_int_equal(take_checkpoint(f->wal, 30, 5000, &f->err), 0);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(read_slowly(f, ready[1], go[0]));
	assert_int_equal(read(ready[0], &byte, 1), 1);
	for (lsn = 1000; lsn <= 20000; lsn += 1000) { /* all that it looks at is trimmed and written over */
		append_upto(f, lsn);
		assert_int_equal(take_checkpoint(f->wal, lsn, 50000, &f->err), 0);
		assert_int_equal(wal_trim(f->wal, 0, &f->err), 0);
	}
	assert_int_equal(write(go[1], "g", 1), 1);
	assert_int_equal(child_status(pid), 0);
	close(ready[0]);
	close(ready[1]);
	close(go[0]);
	close(go[1]);
}

/* --- beside appenders --- */

#define APPENDERS 8

struct appender {
	struct wal *wal;
	const _Atomic bool *stop;
	int wrong;
	uint64_t count;
};

static void *append_until_stopped(void *arg)
{
	struct appender *appender = arg;
	uint64_t lsn, durable;

	while (!atomic_load(appender->stop)) {
		if (wal_append(appender->wal, 1, "x", 1, &lsn, NULL) < 0 ||
		    wal_sync(appender->wal, lsn, &durable, NULL) < 0 || durable < lsn)
			appender->wrong++;
		appender->count++;
	}
	return NULL;
}

static void test_beside_appenders(void **state)
{
	struct fixture *f = *state;
	struct appender appenders[APPENDERS] = {0};
	pthread_t threads[APPENDERS];
	_Atomic bool stop = false;
	uint64_t total = 0, left = 0;
	int i;

	reopen(f, NULL);
	for (i = 0; i < APPENDERS; i++) {
		appenders[i] = (struct appender){.wal = f->wal, .stop = &stop};
		assert_int_equal(pthread_create(&threads[i], NULL, append_until_stopped, &appenders[i]), 0);
	}
	for (i = 0; i < 30; i++) {
		uint64_t lsn;

		while ((lsn = wal_durable(f->wal)) == wal_checkpoint_lsn(f->wal)) /* until there is something new */
			sched_yield();
		assert_int_equal(take_checkpoint(f->wal, lsn, 300000, &f->err), 0);
		assert_int_equal(wal_trim(f->wal, 0, &f->err), 0);
		assert_int_equal(wal_first(f->wal), lsn + 1);
	}
	atomic_store(&stop, true);
	for (i = 0; i < APPENDERS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(appenders[i].wrong, 0);
		total += appenders[i].count;
	}
	assert_int_equal(wal_durable(f->wal), total);
	reopen(f, NULL);
	assert_int_equal(wal_replay(f->wal, wal_first(f->wal), ignore, &left, &f->err), 0);
	assert_int_equal(left, total - wal_first(f->wal) + 1);
}

/* --- crashes --- */

static int work_for_ever(struct fixture *f, int told)
{
	struct wal *wal;
	uint64_t lsn;

	if (wal_open(&wal, f->log, NULL, NULL) < 0)
		return 1;
	for (;;) {
		lsn = wal_durable(wal);
		if (append_some(wal, lsn + 1, 50, NULL) < 0 || wal_sync(wal, 0, &lsn, NULL) < 0 ||
		    write(told, &lsn, sizeof lsn) != sizeof lsn)
			return 2;
		if (take_checkpoint(wal, lsn - 20, 1200000, NULL) < 0 || wal_trim(wal, 0, NULL) < 0)
			return 3;
	}
}

/* Killed wherever it is, in a checkpoint of two transactions or in a trim: all that was acknowledged is recovered. */
static void test_killed_at_any_moment(void **state)
{
	struct fixture *f = *state;
	uint64_t acknowledged = 0;
	int i, n;

	for (i = 0; i < 40; i++) {
		struct recovered recovered;
		uint64_t got;
		int told[2];
		pid_t pid;

		assert_int_equal(pipe2(told, O_CLOEXEC), 0);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			_exit(work_for_ever(f, told[1]));
		close(told[1]);
		for (n = 0; n <= i % 4; n++)
			assert_int_equal(read(told[0], &acknowledged, sizeof acknowledged), sizeof acknowledged);
		for (n = 0; n < i % 10; n++)
			sched_yield();
		kill(pid, SIGKILL);
		assert_int_equal(child_status(pid), 128 + SIGKILL);
		while (read(told[0], &got, sizeof got) == sizeof got)
			acknowledged = got;
		close(told[0]);
		reopen(f, NULL);
		assert_true(wal_durable(f->wal) >= acknowledged);
		recovered = recover_all(f);
		assert_true(i % 4 == 0 || recovered.checkpoints == 1);
		assert_int_equal(recovered.checkpoint_lsn + recovered.seen.count, wal_durable(f->wal));
		wal_close(f->wal);
		f->wal = NULL;
	}
}

/* A checkpoint that finds no room leaves everything as it was, and the log goes on. */
static void test_no_room_for_a_checkpoint(void **state)
{
	struct fixture *f = *state;
	const struct wal_options options = {.map_size = 1u << 20, .map_size_max = 1u << 20};

	reopen(f, &options);
	append_upto(f, 100);
	assert_int_equal(take_checkpoint(f->wal, 90, 5000, &f->err), 0);
	assert_int_equal(take_checkpoint(f->wal, 100, 4u << 20, &f->err), -1);
	assert_int_equal(f->err.code, ENOSPC);
	append_upto(f, 110);
	assert_int_equal(take_checkpoint(f->wal, 105, 10000, &f->err), 0);
	assert_int_equal(wal_trim(f->wal, 0, &f->err), 0);
	append_upto(f, 120);
	reopen(f, &options);
	assert_int_equal(recover_all(f).checkpoint_size, 10000);
	assert_int_equal(wal_first(f->wal), 106);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_recovery_from_each_checkpoint),
	    TEST(test_trimmed_to_the_head),
	    TEST(test_arguments),
	    TEST(test_file_stays_bounded),
	    TEST(test_reader_keeps_its_snapshot_and_no_writer),
	    TEST(test_beside_appenders),
	    TEST(test_killed_at_any_moment),
	    TEST(test_no_room_for_a_checkpoint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
