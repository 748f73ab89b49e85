/* SPDX-License-Identifier: Apache-2.0 */
/* progress: each way to hold it, to break it, and to be no opportunity. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

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
	SAY(s, 500, FAULT, INVOKE, .actor = "f"); /* in force until the end, and without a duration */
	SAY(s, 501, FAULT, OK, .actor = "f");
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

/* Each kind of activity breaks the silence, and no other operation does. */
static void test_what_is_activity(void **state)
{
	static const struct {
		enum op_kind kind;
		bool is;
	} rows[] = {
	    {OP_SUBMIT, false},
	    {OP_OUTCOME, false},
	    {OP_COMMIT, true},
	    {OP_DELETION, false},
	    {OP_CALL, true},
	    {OP_NOTIFY, true},
	    {OP_AGENT, true},
	    {OP_SYSTEM, true},
	    {OP_EVIDENCE, false},
	    {OP_CLAIM, false},
	    {OP_STATEFILE, false},
	    {OP_WAL, false},
	    {OP_PROBE, false},
	    {OP_STAGE, false},
	};
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct check_result r;
	size_t i;

	f->config.progress_limit_us = 1000000;
	SAY(s, 0, SUBMIT, OK, .task = "a");
	SAY(s, 700, STAGE, INVOKE, .actor = "x");
	SAY(s, 1600, COMMIT, OK, .task = "a", .key = "c1");
	SAY(s, 9000, STAGE, INVOKE, .actor = "end");
	for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		s->ops[1].kind = rows[i].kind;
		r = JUDGE("progress");
		assert_int_equal(r.violations, !rows[i].is);
		assert_string_equal(r.summary, rows[i].is
						   ? "1 tasks, longest silence 900 ms with work open, 0 left open"
						   : "1 tasks, longest silence 1600 ms with work open, 0 left open");
	}
}

static void test_a_silence_is_told(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct check_result r;

	f->config.progress_limit_us = 1000000;
	SAY(s, 100, SUBMIT, OK, .task = "a");
	SAY(s, 200, SUBMIT, OK, .task = "b");
	SAY(s, 300, CALL, INVOKE, .task = "a");
	SAY(s, 2000, COMMIT, OK, .task = "a", .key = "c1");
	SAY(s, 2000, COMMIT, OK, .task = "a", .key = "c2"); /* it was closed already */
	SAY(s, 4500, STAGE, INVOKE, .actor = "end");
	r = JUDGE("progress");
	assert_int_equal(r.opportunities, 2);
	assert_int_equal(r.violations, 2);
	TELLS(&r, 0, "2 tasks were open and nothing happened for 1.7 s (limit 1.0 s)", 2, 3);
	TELLS(&r, 1, "1 tasks were open and nothing happened for 2.5 s (limit 1.0 s)", 4, 5);
	assert_string_equal(r.summary, "2 tasks, longest silence 2500 ms with work open, 1 left open");
}

/* What was given up is open no more, unless it was committed after all; before it was accepted nothing is. */
static void test_when_a_task_is_open(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;

	f->config.progress_limit_us = 1000000;
	SAY(s, 0, SUBMIT, OK, .task = "a");
	SAY(s, 900, OUTCOME, FAIL, .task = "a");
	SAY(s, 3000, SUBMIT, INVOKE, .task = "b"); /* never accepted */
	SAY(s, 9000, STAGE, INVOKE, .actor = "end");
	expect(JUDGE("progress"), HELD);
	s->ops[2].kind = OP_COMMIT;
	s->ops[2].task = "a";
	expect(JUDGE("progress"), DEVIATED);
	assert_int_equal(JUDGE("progress").violations, 1);
	s->count = 0;
	SAY(s, 0, SUBMIT, INFO, .task = "a"); /* was it accepted? It was given up before anybody knew */
	SAY(s, 10, OUTCOME, FAIL, .task = "a");
	SAY(s, 5000, CALL, INVOKE, .task = "b");
	SAY(s, 5001, SUBMIT, OK, .task = "a");
	SAY(s, 9000, STAGE, INVOKE, .actor = "end");
	expect(JUDGE("progress"), HELD);
	s->ops[1].kind = OP_COMMIT;
	expect(JUDGE("progress"), HELD);
	s->ops[1].kind = OP_STAGE;
	expect(JUDGE("progress"), DEVIATED);
}

/* Between inject and proof there is evidence, and whatever else happens; a fault that comes to nothing does not begin the silence anew. */
static void test_when_a_fault_excuses_at_all(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct op *felt, *end;

	f->config.progress_limit_us = 1000000;
	SAY(s, 0, SUBMIT, OK, .task = "a");
	SAY(s, 900, FAULT, INVOKE, .actor = "f", .number = 5);
	SAY(s, 901, EVIDENCE, OK, .actor = "f");
	SAY(s, 901, STAGE, INVOKE, .actor = "f");
	SAY(s, 902, FAULT, OK, .actor = "f");
	SAY(s, 903, STAGE, INVOKE, .actor = "f");
	SAY(s, 1400, COMMIT, OK, .task = "a", .key = "c1");
	felt = &s->ops[4];
	end = &s->ops[6];
	expect(JUDGE("progress"), HELD);
	felt->type = OP_FAIL;
	expect(JUDGE("progress"), DEVIATED);
	felt->kind = OP_REVERT; /* undone before it was felt */
	felt->type = OP_OK;
	expect(JUDGE("progress"), DEVIATED);
	felt->kind = OP_STAGE; /* nobody knows what became of it */
	expect(JUDGE("progress"), DEVIATED);
	felt->kind = OP_FAULT;
	s->ops[1].kind = OP_STAGE; /* felt, but nobody has said when it began */
	expect(JUDGE("progress"), DEVIATED);
	s->ops[1].kind = OP_FAULT;
	s->ops[5].kind = OP_REVERT; /* being undone is not undone */
	expect(JUDGE("progress"), HELD);
	end->time_us = 2000000;
	expect(JUDGE("progress"), HELD);
	s->ops[5].type = OP_FAIL; /* it could not be: no excuse either way */
	expect(JUDGE("progress"), DEVIATED);
}

/* Undone are all that bear its name, and none beside them. */
static void test_undone_are_all_of_a_name(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	size_t i;

	f->config.progress_limit_us = 1000000;
	SAY(s, 0, SUBMIT, OK, .task = "a");
	for (i = 0; i < 4; i++) {
		SAY(s, 0, FAULT, INVOKE, .actor = i == 2 ? "g" : "f", .number = 5);
		SAY(s, 0, FAULT, OK, .actor = i == 2 ? "g" : "f");
	}
	SAY(s, 10, REVERT, OK, .actor = "f");
	SAY(s, 6000, COMMIT, OK, .task = "a", .key = "c1");
	expect(JUDGE("progress"), HELD);
	s->ops[s->count - 2].actor = "g";
	expect(JUDGE("progress"), HELD);
	s->ops[5].actor = s->ops[6].actor = "f";
	s->ops[s->count - 2].actor = "f";
	expect(JUDGE("progress"), DEVIATED);
}

/* More at a time than it can follow excuse nothing, and do it no harm. */
static void test_many_faults_at_a_time(void **state)
{
	static char names[80][8];
	struct fixture *f = *state;
	struct story *s = &f->story;
	int i;

	f->config.progress_limit_us = 1000000;
	SAY(s, 0, SUBMIT, OK, .task = "a");
	for (i = 0; i < 80; i++) {
		snprintf(names[i], sizeof names[i], "f%d", i);
		SAY(s, 0, FAULT, INVOKE, .actor = names[i], .number = i == 63 ? 2 : i == 64 ? 9 : 1);
		SAY(s, 0, FAULT, OK, .actor = names[i]);
	}
	SAY(s, 3000, COMMIT, OK, .task = "a", .key = "c1");
	expect(JUDGE("progress"), HELD);
	s->ops[s->count - 1].time_us++;
	expect(JUDGE("progress"), DEVIATED);
}

/* What is handed in when the faults are over is accepted in the end, however often it was refused. */
static void test_new_work_is_taken(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	size_t handed_in, settled;

	SAY(s, 0, SUBMIT, OK, .task = "a");
	SAY(s, 5, COMMIT, OK, .task = "a", .key = "c1");
	SAY(s, 8, SUBMIT, INVOKE, .task = "early"); /* while the fault is there: that is its business */
	SAY(s, 9, SUBMIT, FAIL, .task = "early", .status = 503);
	SAY(s, 10, REVERT, OK, .actor = "f");
	handed_in = s->count;
	SAY(s, 20, SUBMIT, INVOKE, .task = "b");
	expect(JUDGE("progress"), HELD); /* nobody has waited for its answer */
	SAY(s, 21, SUBMIT, FAIL, .task = "b", .status = 503, .detail = "full");
	expect(JUDGE("progress"), DEVIATED);
	assert_non_null(strstr(JUDGE("progress").findings[0].text, "task b was handed in after every fault was over"));
	s->ops[s->count - 1].type = OP_INFO; /* no answer */
	expect(JUDGE("progress"), DEVIATED);
	settled = s->count;
	SAY(s, 30, SUBMIT, OK, .task = "b");
	SAY(s, 31, COMMIT, OK, .task = "b", .key = "c2");
	expect(JUDGE("progress"), HELD);
	/* Handed in before the fault was undone, or refused by a system that was being stopped: not held against it. */
	s->count = settled;
	s->ops[handed_in].time_us = s->ops[handed_in - 1].time_us;
	s->ops[handed_in].kind = OP_REVERT;
	s->ops[handed_in].type = OP_OK;
	s->ops[handed_in - 1].kind = OP_SUBMIT;
	s->ops[handed_in - 1].type = OP_INVOKE;
	s->ops[handed_in - 1].task = "b";
	expect(JUDGE("progress"), HELD);
}

/* Nobody works on a task before what it comes after is in the ledger; it may be seen there a little later. */
static void test_the_graph_is_followed(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct check_result r;

	f->config.graph_slack_us = 50000;
	story_task(s, 0, "a", "c1");
	SAY(s, 10, SUBMIT, INVOKE, .task = "b", .detail = "[\"a\", \"nobody\"]");
	SAY(s, 10, SUBMIT, OK, .task = "b");
	SAY(s, 20, COMMIT, OK, .task = "b", .key = "c2");
	expect(JUDGE("progress"), HELD); /* whoever made that: nobody was seen at work */
	SAY(s, 30, CALL, INVOKE, .task = "b", .actor = "claude");
	r = JUDGE("progress");
	assert_int_equal(r.violations, 1);
	TELLS(&r, 0, "task b was at work before nobody, which it comes after, was in the ledger", 7, 10);
	s->ops[7].detail = "[\"a\"]";
	expect(JUDGE("progress"), HELD);
	SAY(s, 40, SUBMIT, INVOKE, .task = "c", .detail = "[\"a\",\"d\"]");
	SAY(s, 40, SUBMIT, OK, .task = "c");
	SAY(s, 50, CALL, INVOKE, .task = "c", .actor = "claude");
	SAY(s, 100, COMMIT, OK, .task = "d", .key = "c3");
	expect(JUDGE("progress"), HELD);
	s->ops[s->count - 1].time_us++;
	r = JUDGE("progress");
	TELLS(&r, 0, "task c was at work before d, which it comes after, was in the ledger", 11, 13, 14);
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
	    CASE(test_what_is_activity),
	    CASE(test_a_silence_is_told),
	    CASE(test_when_a_task_is_open),
	    CASE(test_when_a_fault_excuses_at_all),
	    CASE(test_undone_are_all_of_a_name),
	    CASE(test_many_faults_at_a_time),
	    CASE(test_new_work_is_taken),
	    CASE(test_the_graph_is_followed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
