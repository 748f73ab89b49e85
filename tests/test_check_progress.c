/* SPDX-License-Identifier: Apache-2.0 */
/* progress: each way to hold it, to break it, and to be no opportunity. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/check_fixture.h"

static void test_progress(void **state)
{
	struct fixture *f = *state;

	f->config.progress_limit_us = 1000000;
	SAY(&f->story, 0, SUBMIT, OK, .task = "a");
	SAY(&f->story, 900, CALL, INVOKE, .task = "a", .actor = "claude");
	expect(JUDGE("progress"), HELD);
	SAY(&f->story, 2000, STAGE, INVOKE, .actor = "end");
	expect(JUDGE("progress"), DEVIATED); /* a zombie graph */
	f->story.count--;
	SAY(&f->story, 1000, COMMIT, OK, .task = "a", .key = "c1");
	SAY(&f->story, 9000, STAGE, INVOKE, .actor = "end");
	expect(JUDGE("progress"), HELD); /* nothing is open any more */
}

static void test_progress_waits_a_fault_out(void **state)
{
	struct fixture *f = *state;

	f->config.progress_limit_us = 1000000;
	SAY(&f->story, 0, SUBMIT, OK, .task = "a");
	fault_and_revert(&f->story, 10, 5000);
	SAY(&f->story, 5900, COMMIT, OK, .task = "a", .key = "c1");
	expect(JUDGE("progress"), HELD);
	f->story.ops[f->story.count - 1].time_us = 6100000;
	expect(JUDGE("progress"), DEVIATED);
}

static void test_a_client_that_tries_again_is_no_progress(void **state)
{
	struct fixture *f = *state;
	uint64_t ms;

	f->config.progress_limit_us = 1000000;
	SAY(&f->story, 0, SUBMIT, OK, .task = "a");
	for (ms = 100; ms <= 2000; ms += 100) {
		SAY(&f->story, ms, SUBMIT, INVOKE, .task = "b");
		SAY(&f->story, ms, SUBMIT, FAIL, .task = "b", .status = 503);
	}
	expect(JUDGE("progress"), DEVIATED);
}

static void test_a_silence_before_a_fault_is_not_the_faults(void **state)
{
	struct fixture *f = *state;

	f->config.progress_limit_us = 1000000;
	SAY(&f->story, 0, SUBMIT, OK, .task = "a");
	SAY(&f->story, 1001, FAULT, INVOKE, .actor = "f");
	SAY(&f->story, 1002, REVERT, OK, .actor = "f");
	SAY(&f->story, 1003, COMMIT, OK, .task = "a", .key = "c1");
	expect(JUDGE("progress"), DEVIATED);
	f->story.ops[1].time_us = 1000000;
	expect(JUDGE("progress"), HELD);
}

static void test_the_silence_of_an_idle_system_is_none(void **state)
{
	struct fixture *f = *state;

	f->config.progress_limit_us = 1000000;
	story_task(&f->story, 0, "a", "c1");
	SAY(&f->story, 9000, SUBMIT, OK, .task = "b"); /* nothing was open before it */
	SAY(&f->story, 9500, COMMIT, OK, .task = "b", .key = "c2");
	SAY(&f->story, 20000, STAGE, INVOKE, .actor = "end");
	expect(JUDGE("progress"), HELD);
	assert_int_equal(JUDGE("progress").opportunities, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_progress),
	    CASE(test_progress_waits_a_fault_out),
	    CASE(test_a_client_that_tries_again_is_no_progress),
	    CASE(test_a_silence_before_a_fault_is_not_the_faults),
	    CASE(test_the_silence_of_an_idle_system_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
