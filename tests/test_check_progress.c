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
	f->story.ops[1].number = 60; /* declared for longer than it then was */
	SAY(&f->story, 6000, COMMIT, OK, .task = "a", .key = "c1");
	expect(JUDGE("progress"), HELD);
	f->story.ops[f->story.count - 1].time_us++;
	expect(JUDGE("progress"), DEVIATED);
}

/* A fault excuses what was declared of it, not its presence. */
static void test_what_a_fault_excuses(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct op *begin, *end;

	f->config.progress_limit_us = 1000000;
	SAY(s, 0, SUBMIT, OK, .task = "a");
	fault_and_revert(s, 500, 9000); /* in force nearly until the end, and without a duration */
	SAY(s, 9001, COMMIT, OK, .task = "a", .key = "c1");
	begin = &s->ops[1];
	end = &s->ops[s->count - 1];
	expect(JUDGE("progress"), DEVIATED);
	end->time_us = 1000000; /* nor does it begin the silence anew */
	expect(JUDGE("progress"), HELD);
	end->time_us++;
	expect(JUDGE("progress"), DEVIATED);
	f->config.progress_excuse_us = 200000; /* from 500 to 700, and a limit from there */
	end->time_us = 1700000;
	expect(JUDGE("progress"), HELD);
	end->time_us++;
	expect(JUDGE("progress"), DEVIATED);
	begin->number = 2;
	expect(JUDGE("progress"), HELD);
	end->time_us = 3500000;
	expect(JUDGE("progress"), HELD);
	end->time_us++;
	expect(JUDGE("progress"), DEVIATED);
	end->time_us = 3000000;
	s->ops[2].type = OP_FAIL; /* what was never felt is no reason to wait */
	expect(JUDGE("progress"), DEVIATED);
	s->ops[2].type = OP_OK;
	s->ops[2].actor = "another";
	expect(JUDGE("progress"), DEVIATED);
}

/* Two at a time: the one that lasts longer, whichever began or was undone first. */
static void test_two_faults_excuse_together(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct op *end;

	f->config.progress_limit_us = 1000000;
	SAY(s, 0, SUBMIT, OK, .task = "a");
	SAY(s, 100, FAULT, INVOKE, .actor = "f", .number = 3);
	SAY(s, 101, FAULT, OK, .actor = "f");
	SAY(s, 200, FAULT, INVOKE, .actor = "g", .number = 1);
	SAY(s, 201, FAULT, OK, .actor = "g");
	SAY(s, 300, REVERT, INVOKE, .actor = "g");
	SAY(s, 1200, REVERT, OK, .actor = "g");
	SAY(s, 4100, COMMIT, OK, .task = "a", .key = "c1");
	end = &s->ops[s->count - 1];
	expect(JUDGE("progress"), HELD);
	end->time_us++;
	expect(JUDGE("progress"), DEVIATED);
	s->ops[3].number = 3.5;
	expect(JUDGE("progress"), DEVIATED); /* undone before */
	s->ops[6].kind = OP_STAGE;
	expect(JUDGE("progress"), HELD);
	s->ops[1].number = 0.05; /* a silence of the system's own between them */
	s->ops[3].time_us = s->ops[4].time_us = s->ops[5].time_us = s->ops[6].time_us = 1150000;
	expect(JUDGE("progress"), HELD);
	s->ops[3].time_us++;
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
	SAY(&f->story, 1001, FAULT, INVOKE, .actor = "f", .number = 1);
	SAY(&f->story, 1001, FAULT, OK, .actor = "f");
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
	    CASE(test_what_a_fault_excuses),
	    CASE(test_two_faults_excuse_together),
	    CASE(test_a_client_that_tries_again_is_no_progress),
	    CASE(test_a_silence_before_a_fault_is_not_the_faults),
	    CASE(test_the_silence_of_an_idle_system_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
