/* SPDX-License-Identifier: Apache-2.0 */
/* host/history: order, pairing, waiting, interruption, the line for people. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "history/history.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_append_copies_and_orders, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_long_string_is_kept_whole, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_complete_inherits, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_scan_stops, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_wait_sees_each_once_from_all_threads, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_wait_old_ones_first_and_deadline, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_interrupt_and_resume, setup, teardown),
	    cmocka_unit_test(test_line_for_people),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
