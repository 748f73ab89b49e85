/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/ beside somebody who was stopped (SIGSTOP), at each of his file calls: a second writer is told who it is and never
 * waits, a reader is never kept waiting, a stopped reader keeps no writer. All of these would hang here if they did.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "nth_call.h"
#include "wal_fixture.h"

#define BASE      30u
#define EXIT_BUSY 10 /* of a writer that was told that another has the log */

struct stopped {
	struct nth_call call;
	_Atomic bool holds; /* the log is open */
	_Atomic bool committing;
	_Atomic bool done; /* it is being closed */
};

static const struct wal_options small = {.map_size = 1u << 16};

static struct stopped *share(void)
{
	struct stopped *stopped =
	    mmap(NULL, sizeof *stopped, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(stopped, MAP_FAILED);
	return stopped;
}

/* Forks a child that stops itself at its n-th file call. True: it has; false: it ended before. */
static bool start(struct stopped *stopped, uint64_t n, int (*life)(struct fixture *, struct stopped *),
    struct fixture *f, pid_t *ret_pid, int *ret_status)
{
	memset(stopped, 0, sizeof *stopped);
	stopped->call = (struct nth_call){.mode = NTH_STOP, .n = n, .until = n};
	*ret_pid = fork();
	assert_true(*ret_pid >= 0);
	if (*ret_pid == 0)
		_exit(nth_install(&stopped->call) < 0 ? 2 : life(f, stopped));
	assert_int_equal(waitpid(*ret_pid, ret_status, WUNTRACED), *ret_pid);
	return WIFSTOPPED(*ret_status);
}

static int writes(struct fixture *f, struct stopped *stopped)
{
	struct error err = {0};
	struct wal *wal;
	uint64_t first;

	if (wal_open(&wal, f->log, &small, &err) < 0)
		return err.code == EBUSY ? EXIT_BUSY : 3;
	stopped->holds = true;
	first = wal_durable(wal) + 1;
	if (append_some(wal, first, 40, &err) < 0)
		return 4;
	stopped->committing = true;
	if (wal_sync(wal, 0, NULL, &err) < 0)
		return 5;
	stopped->committing = false;
	stopped->holds = false;
	stopped->done = true;
	wal_close(wal);
	return 0;
}

static int reads(struct fixture *f, struct stopped *stopped)
{
	const struct wal_options reading = {.read_only = true};
	struct seen seen = {0};
	struct wal *wal;

	(void)stopped;
	if (wal_open(&wal, f->log, &reading, &f->err) < 0) {
		fprintf(stderr, "# reader: %s\n", f->err.text);
		return 3;
	}
	if (wal_replay(wal, 0, see, &seen, &f->err) < 0) {
		fprintf(stderr, "# reader: %s\n", f->err.text);
		return 4;
	}
	wal_close(wal);
	return seen.wrong || seen.count < BASE ? 5 : 0;
}

/* The writer stands still at its n-th call, for each n: in opening, in a commit with LMDB's lock in its hand, in closing. */
static void test_stopped_writer(void **state)
{
	struct fixture *f = *state;
	struct stopped *stopped = share();
	uint64_t n, busy = 0, in_commit = 0, overtaken = 0, told = 0;
	char pid_text[32];
	bool done;
	int status;
	pid_t pid;

	log_make(f, BASE);
	for (n = 1; start(stopped, n, writes, f, &pid, &status); n++) {
		struct wal_report report;
		struct wal *wal = NULL;
		struct error err = {0};

		snprintf(pid_text, sizeof pid_text, "process %ld ", (long)pid);
		in_commit += stopped->committing;
		if (wal_open(&wal, f->log, &small, &err) < 0) {
			assert_int_equal(err.code, EBUSY);
			busy++;
			/* before its pid is in the lock, and after it was taken out again, none can be named */
			if (!strstr(err.text, pid_text) && (stopped->holds || !strstr(err.text, "another process")))
				fail_msg("stopped at call %llu: %s", (unsigned long long)n, err.text);
		} else if (stopped->committing) {
			fail_msg("two writers at call %llu", (unsigned long long)n);
		}
		/* a reader beside it, unless this process is the writer now */
		if (!wal) {
			/* where it holds LMDB's lock file alone, a reader too is told who it is */
			if (wal_verify(f->log, &report, &err) == 0)
				assert_true(report.last_lsn >= BASE);
			else if (err.code == EBUSY && strstr(err.text, pid_text) && !stopped->holds)
				told++;
			else
				fail_msg("verify beside call %llu: %s", (unsigned long long)n, err.text);
		}
		/* it goes on: as the writer, or being told that it is not */
		done = stopped->done;
		kill(pid, SIGCONT);
		status = child_status(pid);
		if (wal && status == EXIT_BUSY)
			overtaken++;
		else
			assert_int_equal(status, 0);
		if (wal) {
			assert_int_equal(append_some(wal, wal_durable(wal) + 1, 1, &err), 0);
			/* of two, one is the writer, unless the first has let go of the lock already */
			if (status == 0 && (wal_sync(wal, 0, NULL, &err) == 0) != done)
				fail_msg("two wrote, or only the first, at call %llu", (unsigned long long)n);
			wal_close(wal);
		}
		assert_int_equal(wal_verify(f->log, &report, &err), 0);
	}
	assert_int_equal(child_status(pid), -1); /* reaped above: it ended by itself */
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	fprintf(stderr,
	    "# stopped at each of %llu calls: %llu times the second was told, %llu times in a commit, %llu "
	    "times the second was first, %llu times a reader was told\n",
	    (unsigned long long)n - 1, (unsigned long long)busy, (unsigned long long)in_commit,
	    (unsigned long long)overtaken, (unsigned long long)told);
	assert_true(busy > 20 && in_commit > 2 && overtaken > 0);
	munmap(stopped, sizeof *stopped);
}

/* Killed where it stood, with LMDB's lock in its hand: the next one takes over at once. */
static void test_stopped_writer_is_killed(void **state)
{
	struct fixture *f = *state;
	struct stopped *stopped = share();
	uint64_t n, in_commit = 0, epoch = 1;
	int status;
	pid_t pid;

	log_make(f, BASE);
	for (n = 1; start(stopped, n, writes, f, &pid, &status); n++) {
		struct error err = {0};

		in_commit += stopped->committing;
		kill(pid, SIGKILL);
		assert_int_equal(child_status(pid), 128 + SIGKILL);
		if (wal_open(&f->wal, f->log, &small, &err) < 0)
			fail_msg("after call %llu: %s", (unsigned long long)n, err.text);
		assert_true(wal_epoch(f->wal) > epoch);
		epoch = wal_epoch(f->wal);
		assert_int_equal(append_some(f->wal, wal_durable(f->wal) + 1, 1, &err), 0);
		assert_int_equal(wal_sync(f->wal, 0, NULL, &err), 0);
		wal_close(f->wal);
		f->wal = NULL;
	}
	assert_true(in_commit > 2);
	munmap(stopped, sizeof *stopped);
}

/* A reader stands still at each of its calls; the writer commits, grows its map, and is not kept. Then the reader goes on, and
 * sees a log, whole, of then or of now. */
static void test_stopped_reader(void **state)
{
	struct fixture *f = *state;
	struct stopped *stopped = share();
	struct error err = {0};
	int status;
	uint64_t n;
	pid_t pid;

	log_make(f, BASE);
	assert_int_equal(wal_open(&f->wal, f->log, &small, &err), 0);
	for (n = 1; start(stopped, n, reads, f, &pid, &status); n++) {
		int i;

		for (i = 0; i < 3; i++) {
			assert_int_equal(append_some(f->wal, wal_durable(f->wal) + 1, 20, &err), 0);
			if (wal_sync(f->wal, 0, NULL, &err) < 0)
				fail_msg("beside call %llu: %s", (unsigned long long)n, err.text);
		}
		kill(pid, SIGCONT);
		status = child_status(pid);
		if (status)
			fail_msg("reader stopped at call %llu: %d", (unsigned long long)n, status);
	}
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_true(n > 15);
	fprintf(stderr, "# a reader stopped at each of %llu calls\n", (unsigned long long)n - 1);
	munmap(stopped, sizeof *stopped);
}

/* In the middle of a replay, with a snapshot in its hand: nothing that it reads is written over, and nobody waits. */
struct visit {
	struct seen seen;
	uint64_t stop_at;
};

static int see_and_stop(void *arg, const struct wal_record *record)
{
	struct visit *visit = arg;

	if (record->lsn == visit->stop_at)
		raise(SIGSTOP);
	return see(&visit->seen, record);
}

static void test_reader_stopped_in_a_replay(void **state)
{
	struct fixture *f = *state;
	int status, round;
	pid_t pid;

	log_make(f, 200);
	pid = fork();
	if (pid == 0) {
		const struct wal_options reading = {.read_only = true};
		struct visit visit = {.stop_at = 100};
		struct wal *wal;

		_exit(wal_open(&wal, f->log, &reading, NULL) < 0                                        ? 1
		      : wal_replay(wal, 0, see_and_stop, &visit, NULL) < 0                              ? 2
		      : visit.seen.wrong || visit.seen.count != 200                                     ? 3
		      : (visit.seen = (struct seen){0}, wal_replay(wal, 0, see_and_stop, &visit, NULL)) ? 4
		      : visit.seen.wrong || visit.seen.count != 200 + 500 * 10                          ? 5
													: 0);
	}
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	assert_int_equal(wal_open(&f->wal, f->log, &small, &f->err), 0);
	for (round = 0; round < 500; round++) {
		assert_int_equal(append_some(f->wal, wal_durable(f->wal) + 1, 10, &f->err), 0);
		assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0);
	}
	kill(pid, SIGCONT);
	/* the second replay stops at the same record */
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	kill(pid, SIGCONT);
	assert_int_equal(child_status(pid), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_stopped_writer, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(test_stopped_writer_is_killed, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(test_stopped_reader, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(test_reader_stopped_in_a_replay, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
