/* SPDX-License-Identifier: Apache-2.0 */
/* host/history: order, pairing, waiting, interruption, the line for people. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <signal.h>
#include <errno.h>
#include <ftw.h>

#include "history/history.h"
#include "wal/wal.h"

#define THREADS    4
#define PER_THREAD 3000

static int setup(void **state)
{
	struct history *history;
	struct error err;

	if (history_create(&history, NULL, &err) < 0)
		return -1;
	*state = history;
	return 0;
}

static int teardown(void **state)
{
	history_destroy(*state);
	return 0;
}

static void test_append_copies_and_orders(void **state)
{
	struct history *history = *state;
	char name[16] = "task-1";
	struct history_view view;
	uint64_t i;

	for (i = 0; i < 5000; i++) {
		snprintf(name, sizeof name, "task-%u", (unsigned)i);
		assert_int_equal(
		    history_append(history,
			&(struct op){
			    .type = OP_INVOKE, .kind = OP_SUBMIT, .pair = OP_NONE, .task = name, .value = (int64_t)i}),
		    i);
	}
	assert_int_equal(history_count(history), 5000);
	view = history_view(history);
	assert_int_equal(view.count, 5000);
	for (i = 0; i < view.count; i++) {
		snprintf(name, sizeof name, "task-%u", (unsigned)i);
		assert_int_equal(view.ops[i].index, i);
		assert_string_equal(view.ops[i].task, name);
		assert_string_equal(view.ops[i].actor, "");
		assert_string_equal(view.ops[i].key, "");
		assert_string_equal(view.ops[i].detail, "");
		assert_int_equal(view.ops[i].pair, OP_NONE);
		if (i)
			assert_true(view.ops[i].time_us >= view.ops[i - 1].time_us);
	}
	assert_true(history_now_us(history) >= view.ops[view.count - 1].time_us);
}

static void test_long_string_is_kept_whole(void **state)
{
	static char text[200000];
	uint64_t index;

	memset(text, 'x', sizeof text - 1);
	index = history_append(*state, &(struct op){.type = OP_OK, .kind = OP_WAL, .pair = OP_NONE, .detail = text});
	assert_string_equal(history_view(*state).ops[index].detail, text);
}

static void test_complete_inherits(void **state)
{
	struct history *history = *state;
	struct op call = {.type = OP_INVOKE,
	    .kind = OP_CALL,
	    .pair = OP_NONE,
	    .task = "t",
	    .actor = "codex",
	    .key = "gpt",
	    .detail = "of the invoke",
	    .attempt = 3};
	uint64_t invoke = history_append(history, &call);
	uint64_t same =
	    history_complete(history, invoke, &(struct op){.type = OP_FAIL, .kind = OP_CALL, .status = 429});
	uint64_t other = history_complete(
	    history, invoke, &(struct op){.type = OP_OK, .kind = OP_CALL, .task = "u", .key = "k", .attempt = 4});
	uint64_t none = history_complete(history, 999, &(struct op){.type = OP_OK, .kind = OP_CALL});
	const struct op *ops = history_view(history).ops;

	assert_int_equal(ops[same].pair, invoke);
	assert_string_equal(ops[same].task, "t");
	assert_string_equal(ops[same].actor, "codex");
	assert_string_equal(ops[same].key, "gpt");
	assert_string_equal(ops[same].detail, "");
	assert_int_equal(ops[same].attempt, 3);
	assert_int_equal(ops[same].status, 429);
	assert_int_equal(ops[other].pair, invoke);
	assert_string_equal(ops[other].task, "u");
	assert_string_equal(ops[other].actor, "codex");
	assert_string_equal(ops[other].key, "k");
	assert_int_equal(ops[other].attempt, 4);
	assert_int_equal(ops[none].pair, OP_NONE);
	assert_string_equal(ops[none].task, "");
}

struct wanted {
	int64_t value;
	uint64_t seen; /* how often the visitor was called */
	uint64_t next; /* each is shown once, in order */
};

static bool is_wanted(void *arg, const struct op *op)
{
	struct wanted *wanted = arg;

	wanted->seen++;
	if (op->index != wanted->next++)
		return true; /* a wrong index is found by the caller, too */
	return op->value == wanted->value;
}

static void *append_many(void *arg)
{
	int64_t i;

	for (i = 1; i <= PER_THREAD; i++)
		history_append(
		    arg, &(struct op){.type = OP_OK, .kind = OP_COMMIT, .pair = OP_NONE, .task = "t", .value = i});
	return NULL;
}

static bool count_seen(void *arg, const struct op *op)
{
	uint64_t *first_and_count = arg;

	if (!first_and_count[1]++)
		first_and_count[0] = op->index;
	assert_int_equal(op->value, op->index); /* as it was appended */
	assert_int_equal(atoi(op->task), op->pair == OP_NONE ? (int)op->index : (int)op->pair);
	return false;
}

/* Forgotten from time to time, as who writes down all that happens does: the numbers go on, and what is left is whole. */
static void test_forget(void **state)
{
	enum { OPS = 50000 };
	struct history *history = *state;
	struct op op = {.type = OP_INVOKE, .kind = OP_CALL, .pair = OP_NONE, .actor = "p", .key = "k"};
	struct op end = {.type = OP_OK};
	uint64_t seen[2] = {0}, i;
	char task[96];

	for (i = 0; i < OPS; i++) {
		if (i % 2) {
			end.value = (int64_t)i;
			/* one comes late, and shares what the very first has */
			assert_int_equal(history_complete(history, i == 5501 ? 0 : i - 1, &end), i);
		} else {
			snprintf(task, sizeof task, "%d and what makes the strings fill more than one chunk", (int)i);
			op.task = task;
			op.value = (int64_t)i;
			assert_int_equal(history_append(history, &op), i);
		}
		if (i > 5000 && i % 1000 == 999) {
			history_forget(history, i - 1000);
			seen[1] = 0;
			history_scan(history, 0, count_seen, seen);
		}
	}
	assert_int_equal(history_count(history), OPS);
	assert_in_range(seen[0], OPS - 2100, OPS - 1001);
	assert_int_equal(seen[0] + seen[1], OPS);
	end.task = "late";
	i = history_complete(history, 7, &end);
	assert_int_equal(i, OPS);
	history_forget(history, UINT64_MAX);
	seen[1] = 0;
	history_scan(history, 0, count_seen, seen);
	assert_int_equal(seen[1], 0);
}

static void test_scan_stops(void **state)
{
	struct wanted wanted = {.value = 7, .next = 2};

	append_many(*state);
	assert_true(history_scan(*state, 2, is_wanted, &wanted));
	assert_int_equal(wanted.seen, 5);
	wanted = (struct wanted){.value = -1};
	assert_false(history_scan(*state, 0, is_wanted, &wanted));
	assert_int_equal(wanted.seen, PER_THREAD);
	assert_false(history_scan(*state, 1u << 30, is_wanted, &wanted));
}

struct last {
	uint64_t count;
};

static bool is_last(void *arg, const struct op *op)
{
	(void)op;
	return ++((struct last *)arg)->count == THREADS * PER_THREAD;
}

static void test_wait_sees_each_once_from_all_threads(void **state)
{
	pthread_t threads[THREADS];
	struct last last = {0};
	uint64_t index = 0;
	size_t i;

	for (i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, append_many, *state), 0);
	assert_int_equal(history_wait(*state, 0, is_last, &last, -1, &index), 1);
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(index, THREADS * PER_THREAD - 1);
	assert_int_equal(last.count, THREADS * PER_THREAD);
	assert_int_equal(history_count(*state), THREADS * PER_THREAD);
}

static void test_wait_old_ones_first_and_deadline(void **state)
{
	struct wanted wanted = {.value = 2};
	uint64_t index = 0, before;

	append_many(*state);
	assert_int_equal(history_wait(*state, 0, is_wanted, &wanted, 0, &index), 1);
	assert_int_equal(index, 1);
	wanted = (struct wanted){.value = -1, .next = PER_THREAD};
	before = history_now_us(*state);
	assert_int_equal(history_wait(*state, PER_THREAD, is_wanted, &wanted, 30, NULL), 0);
	assert_true(history_now_us(*state) - before >= 30000);
	assert_int_equal(wanted.seen, 0);
}

static void *interrupt(void *arg)
{
	history_interrupt(arg);
	return NULL;
}

static void test_interrupt_and_resume(void **state)
{
	struct wanted wanted = {.value = -1};
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, interrupt, *state), 0);
	assert_int_equal(history_wait(*state, 0, is_wanted, &wanted, -1, NULL), -1);
	pthread_join(thread, NULL);
	assert_int_equal(history_wait(*state, 0, is_wanted, &wanted, -1, NULL), -1); /* later ones, too */
	history_resume(*state);
	assert_int_equal(history_wait(*state, 0, is_wanted, &wanted, 1, NULL), 0);
}

static void test_line_for_people(void **state)
{
	char line[128], small[10];
	struct op op = {.time_us = 1204567,
	    .type = OP_OK,
	    .kind = OP_COMMIT,
	    .task = "task-17",
	    .actor = "",
	    .key = "3f2a",
	    .detail = "a\nb\033[31m",
	    .attempt = 2,
	    .value = 0};

	(void)state;
	op_format(&op, line, sizeof line);
	assert_string_equal(line, "1.204 s  commit ok  task-17 attempt 2 3f2a place 0 (a b [31m)");
	op_format(&op, small, sizeof small);
	assert_string_equal(small, "1.204 s  ");
	op_format(&op, small, 1);
	assert_string_equal(small, "");
	op = (struct op){.type = OP_FAIL, .kind = OP_CALL, .actor = "codex", .status = 429, .number = 2};
	op_format(&op, line, sizeof line);
	assert_string_equal(line, "0.000 s  call fail  codex status 429 retry-after 2");
	op = (struct op){.type = (enum op_type)9, .kind = (enum op_kind)99};
	op_format(&op, line, sizeof line);
	assert_string_equal(line, "0.000 s  ? ? ");
	assert_string_equal(op_kind_name(OP_STAGE), "stage");
	assert_string_equal(op_type_name(OP_INFO), "info");
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
	(void)status;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int setup_dir(void **state)
{
	char *dir = strdup("/tmp/test_history_XXXXXX");

	*state = dir;
	return dir && mkdtemp(dir) ? 0 : -1;
}

static int teardown_dir(void **state)
{
	nftw(*state, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	free(*state);
	return 0;
}

static void assert_same(const struct op *a, const struct op *b)
{
	assert_int_equal(a->index, b->index);
	assert_int_equal(a->time_us, b->time_us);
	assert_int_equal(a->pair, b->pair);
	assert_int_equal(a->type, b->type);
	assert_int_equal(a->kind, b->kind);
	assert_string_equal(a->task, b->task);
	assert_string_equal(a->actor, b->actor);
	assert_string_equal(a->key, b->key);
	assert_string_equal(a->detail, b->detail);
	assert_int_equal(a->attempt, b->attempt);
	assert_int_equal(a->epoch, b->epoch);
	assert_int_equal(a->status, b->status);
	assert_int_equal(a->value, b->value);
	assert_memory_equal(&a->number, &b->number, sizeof a->number);
}

static void test_stored_is_loaded(void **state)
{
	struct history *stored = NULL, *loaded = NULL, *again = NULL;
	struct history_view before, after;
	struct error err;
	char name[32];
	size_t i;

	assert_int_equal(history_create(&stored, *state, &err), 0);
	for (i = 0; i < 2000; i++) {
		uint64_t invoke;

		snprintf(name, sizeof name, "task-%zu \xff", i); /* any bytes */
		invoke = history_append(stored, &(struct op){.type = OP_INVOKE,
						    .kind = OP_CALL,
						    .pair = OP_NONE,
						    .task = name,
						    .actor = "qwen",
						    .key = "k"});
		history_complete(stored, invoke,
		    &(struct op){.type = OP_FAIL,
			.kind = OP_CALL,
			.detail = "why",
			.attempt = -3,
			.epoch = 4,
			.status = 429,
			.value = INT64_MIN,
			.number = -0.1});
		if (i == 1000)
			assert_int_equal(history_sync(stored, &err), 0);
	}
	assert_int_equal(history_sync(stored, &err), 0);
	assert_int_equal(history_store_error(stored, &err), 0);
	history_append(stored, &(struct op){.type = OP_OK, .kind = OP_WAL, .pair = OP_NONE}); /* by destroy */
	before = history_view(stored);
	assert_int_equal(before.count, 4001);
	assert_int_equal(history_load(&loaded, *state, &err), -1); /* open in this process */
	assert_int_equal(err.code, EBUSY);
	history_destroy(stored);
	assert_int_equal(history_load(&loaded, *state, &err), 0);
	after = history_view(loaded);
	assert_int_equal(after.count, 4001);
	for (i = 0; i + 1 < after.count; i++) {
		const struct op *op = &after.ops[i];
		struct op want = {.index = i,
		    .time_us = op->time_us,
		    .pair = i % 2 ? i - 1 : OP_NONE,
		    .type = i % 2 ? OP_FAIL : OP_INVOKE,
		    .kind = OP_CALL,
		    .task = name,
		    .actor = "qwen",
		    .key = "k",
		    .detail = i % 2 ? "why" : "",
		    .attempt = i % 2 ? -3 : 0,
		    .epoch = i % 2 ? 4 : 0,
		    .status = i % 2 ? 429 : 0,
		    .value = i % 2 ? INT64_MIN : 0,
		    .number = i % 2 ? -0.1 : 0};

		snprintf(name, sizeof name, "task-%zu \xff", i / 2);
		assert_same(op, &want);
		assert_true(i == 0 || op->time_us >= after.ops[i - 1].time_us);
	}
	assert_true(after.ops[4000].kind == OP_WAL);
	history_destroy(loaded);
	assert_int_equal(history_create(&again, *state, &err), -1); /* no second run in it */
	assert_int_equal(err.code, EEXIST);
}

static void test_load_refuses_other_logs(void **state)
{
	struct history *loaded = NULL;
	struct error err;
	struct wal *wal;

	assert_int_equal(history_load(&loaded, "/nonexistent/history", &err), -1);
	assert_int_equal(err.code, ENOENT);
	assert_int_equal(wal_open(&wal, *state, NULL, &err), 0);
	assert_int_equal(wal_append(wal, 1, "\x93\x01\x02\x03", 4, NULL, &err), 0);
	assert_int_equal(wal_sync(wal, 0, NULL, &err), 0);
	wal_close(wal);
	assert_int_equal(history_load(&loaded, *state, &err), -1);
	assert_int_equal(err.code, EILSEQ);
	assert_non_null(strstr(err.text, "LSN 1 "));
	assert_null(loaded);
}

/* The disk is full: the memory goes on, and the store says so. */
static void test_full_disk_does_not_stop_the_memory(void **state)
{
	struct history *history = NULL;
	struct rlimit old, small;
	struct error err = {0};
	static char text[100000];
	size_t i;

	memset(text, 'x', sizeof text - 1);
	assert_int_equal(history_create(&history, *state, &err), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = (struct rlimit){1u << 20, old.rlim_max};
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	for (i = 0; i < 100; i++)
		history_append(
		    history, &(struct op){.type = OP_OK, .kind = OP_EVIDENCE, .pair = OP_NONE, .detail = text});
	assert_int_equal(history_sync(history, &err), -1);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_true(err.code == EFBIG || err.code == EIO); /* LMDB says EIO for a short write */
	assert_int_equal(history_store_error(history, &err), -1);
	assert_int_equal(history_append(history, &(struct op){.type = OP_OK, .kind = OP_WAL, .pair = OP_NONE}), 100);
	assert_int_equal(history_sync(history, &err), -1);
	assert_int_equal(history_count(history), 101);
	history_destroy(history);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_append_copies_and_orders, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_long_string_is_kept_whole, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_complete_inherits, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_forget, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_scan_stops, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_wait_sees_each_once_from_all_threads, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_wait_old_ones_first_and_deadline, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_interrupt_and_resume, setup, teardown),
	    cmocka_unit_test(test_line_for_people),
	    cmocka_unit_test_setup_teardown(test_stored_is_loaded, setup_dir, teardown_dir),
	    cmocka_unit_test_setup_teardown(test_load_refuses_other_logs, setup_dir, teardown_dir),
	    cmocka_unit_test_setup_teardown(test_full_disk_does_not_stop_the_memory, setup_dir, teardown_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
