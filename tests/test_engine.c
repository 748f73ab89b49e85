/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's parts that follow the history, operation by operation: a fault's moments, and what the system claims. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "engine/run.h"

/* What ends a fault has happened since it was injected, however late it is looked at. */
static void test_what_ends_a_fault_comes_after_it(void **state)
{
	const struct spec_fault spec = {
	    .until = {.event = SPEC_EVENT_COMMIT, .nth = 2, .after_ms = 3},
	};
	struct run_fault fault = {.spec = &spec, .state = FAULT_ACTIVE, .invoke = 7, .end_us = UINT64_MAX};
	struct op op = {.kind = OP_COMMIT, .type = OP_OK, .task = "a", .actor = "", .detail = ""};

	(void)state;
	for (op.index = 5; op.index <= 8; op.index++) { /* of which one came after it */
		op.time_us = op.index * 1000;
		assert_false(fault_see(&fault, &op));
	}
	assert_int_equal(fault.end_us, UINT64_MAX);
	op.time_us = 9000;
	assert_true(fault_see(&fault, &op));
	assert_int_equal(fault.end_us, 12000);
	op.index++;
	assert_false(fault_see(&fault, &op));
}

/* A random part of `within`: the same for the same seed, another one for each fault. */
static void test_a_random_moment(void **state)
{
	char first[] = "kill-1", second[] = "kill-2";
	struct spec_fault spec = {.when = {.event = SPEC_EVENT_COMMIT, .nth = 1, .after_ms = 10, .within_ms = 1000}};
	struct op op = {.kind = OP_COMMIT, .type = OP_OK, .task = "", .actor = "", .time_us = 5000};
	struct engine_options options = {.seed = 7};
	struct run run = {.options = &options};
	uint64_t due[4];
	size_t i;

	(void)state;
	for (i = 0; i < 4; i++) {
		struct run_fault fault = {.spec = &spec, .run = &run};

		spec.name = i == 2 ? second : first;
		options.seed = i == 3 ? 8 : 7;
		assert_true(fault_see(&fault, &op));
		assert_in_range(fault.due_us, 15000, 1014999);
		due[i] = fault.due_us;
	}
	assert_int_equal(due[0], due[1]);
	assert_int_not_equal(due[0], due[2]);
	assert_int_not_equal(due[0], due[3]);
}

/* Which events count is drawn from the seed: alike for the repetitions of one fault, of which each takes the next. */
static void test_events_are_drawn(void **state)
{
	char name[] = "kill";
	struct spec_fault first = {.base = name, .when = {.event = SPEC_EVENT_COMMIT, .nth = 1, .probability = 0.25}};
	struct spec_fault second = first;
	struct op op = {.kind = OP_COMMIT, .type = OP_OK, .task = "", .actor = "", .detail = ""};
	uint64_t seed, at[2], came = 0, all = 0;
	struct engine_options options = {.seed = 0};
	struct run run = {.options = &options};

	(void)state;
	second.when.nth = 2;
	for (seed = 0; seed < 200; seed++) {
		struct run_fault faults[] = {{.spec = &first, .run = &run}, {.spec = &second, .run = &run}},
				 again = faults[0];

		options.seed = seed;
		at[0] = at[1] = 0;
		for (op.index = 1; op.index <= 100 && !at[1]; op.index++) {
			for (size_t i = 0; i < 2; i++)
				if (!at[i] && fault_see(&faults[i], &op))
					at[i] = op.index;
			if (again.state == FAULT_WAITING && fault_see(&again, &op))
				assert_int_equal(op.index, at[0]);
		}
		assert_true(at[0] > 0 && at[1] > at[0]);
		came += 2;
		all += at[1];
	}
	/* 400 that came among all that there were: a quarter, to a few standard deviations. */
	assert_in_range(came * 1000 / all, 210, 290);
}

/* What is red is known by its name, of which only so much is looked at. */
static void test_claims_with_long_names(void **state)
{
	char names[9][64];
	struct op op = {.kind = OP_CLAIM, .type = OP_OK, .task = "", .actor = "", .detail = "red"};
	const struct spec_manifest manifest = {.name = NULL};
	struct tracker tracker;
	size_t i;

	(void)state;
	assert_int_equal(tracker_init(&tracker, 0, &manifest, NULL), 0);
	for (i = 0; i < 9; i++) {
		memset(names[i], 'a' + (int)i, sizeof names[i]);
		names[i][sizeof names[i] - 1] = '\0';
	}
	op.actor = names[0];
	for (i = 0; i < 3; i++)
		tracker_follow(&tracker, &op);
	assert_int_equal(tracker.red_count, 1);
	op.actor = names[1];
	tracker_follow(&tracker, &op);
	assert_int_equal(tracker.red_count, 2);
	op.actor = names[0];
	op.value = 1;
	op.detail = "green";
	tracker_follow(&tracker, &op);
	tracker_follow(&tracker, &op);
	assert_int_equal(tracker.red_count, 1);
	op.actor = names[1];
	tracker_follow(&tracker, &op);
	assert_int_equal(tracker.red_count, 0);
	op.value = 0;
	for (i = 0; i < 9; i++) { /* one more than there is room for */
		op.actor = names[i];
		tracker_follow(&tracker, &op);
	}
	assert_int_equal(tracker.red_count, 8);
	tracker_finish(&tracker);
}

/* What is the last thing that a system shows of a task is its end, whatever was seen of it before. */
static void test_the_end_of_a_task(void **state)
{
	char url[] = "u", git[] = "g", word[] = "w";
	char *words[] = {word, NULL};
	const struct spec_strings one = {words, 1};
	const struct {
		struct spec_manifest manifest;
		size_t settled_by; /* so many of the operations */
	} rows[] = {
	    {{.commits.git = git}, 2},
	    {{.commits.git = git, .outcome = {.url = url, .done = one}}, 3},
	    {{.outcome = {.url = url, .done = one}}, 3},
	    {{.commits.git = git, .outcome = {.url = url, .done = one}, .gateway.sinks = one}, 4},
	};
	const struct op ops[] = {
	    {.kind = OP_SUBMIT, .type = OP_OK, .task = "t000-a"},
	    {.kind = OP_COMMIT, .type = OP_OK, .task = "t000-a"},
	    {.kind = OP_OUTCOME, .type = OP_OK, .task = "t000-a"},
	    {.kind = OP_NOTIFY, .type = OP_OK, .task = "t000-a"},
	};
	struct tracker tracker;
	size_t row, i;

	(void)state;
	for (row = 0; row < sizeof rows / sizeof rows[0]; row++) {
		assert_int_equal(tracker_init(&tracker, 1, &rows[row].manifest, NULL), 0);
		for (i = 0; i < 4; i++) {
			assert_int_equal(tracker_settled(&tracker, 1), i >= rows[row].settled_by);
			tracker_follow(&tracker, &ops[i]);
		}
		assert_true(tracker_settled(&tracker, 1));
		tracker_finish(&tracker);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_what_ends_a_fault_comes_after_it),
	    cmocka_unit_test(test_a_random_moment),
	    cmocka_unit_test(test_events_are_drawn),
	    cmocka_unit_test(test_claims_with_long_names),
	    cmocka_unit_test(test_the_end_of_a_task),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
