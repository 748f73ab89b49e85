/* SPDX-License-Identifier: Apache-2.0 */
/* slo-returns: each way to hold it, to break it, and to be no opportunity. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "tests/check_fixture.h"

static void test_slo_returns(void **state)
{
	struct fixture *f = *state;

	story_task(&f->story, 0, "a", "c1");
	expect(JUDGE("slo-returns"), VACUOUS);
	fault_and_revert(&f->story, 100, 200);
	expect(JUDGE("slo-returns"), VACUOUS); /* nothing was done afterwards: nobody knows */
	story_task(&f->story, 300, "b", "c2");
	SAY(&f->story, 3000, STAGE, INVOKE, .actor = "end");
	expect(JUDGE("slo-returns"), HELD);
	SAY(&f->story, 3100, CLAIM, OK, .actor = "task_success", .value = 0, .detail = "red");
	expect(JUDGE("slo-returns"), DEVIATED); /* the system itself says that it is not well */
	f->story.count--;
	SAY(&f->story, 3100, COMMIT, OK, .task = "c", .key = "c3");
	SAY(&f->story, 9000, STAGE, INVOKE, .actor = "end");
	expect(JUDGE("slo-returns"), DEVIATED); /* never notified */
	f->config.notifies = false;             /* nor is anybody to be */
	expect(JUDGE("slo-returns"), HELD);
}

/* A fault that was felt at 100 ms and undone at 200 ms, and a task that went well before it and after it. */
static void well_again(struct story *s)
{
	s->count = 0;
	story_task(s, 0, "a", "c1");
	fault_and_revert(s, 100, 200);
	story_task(s, 300, "b", "c2");
}

/* The claims at the end and in the window before it, which ends when the settling does. */
static void test_claims_stay_green_for_the_window(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct check_result r;
	uint64_t red, green;

	f->config.slo_window_us = 500000;
	well_again(s);
	SAY(s, 400, CLAIM, OK, .actor = "x", .number = 1, .value = 1, .detail = "green");
	SAY(s, 450, CLAIM, OK, .actor = "other", .value = 1);
	red = SAY(s, 500, CLAIM, OK, .actor = "x", .number = 0.5, .value = 0, .detail = "red");
	SAY(s, 501, CLAIM, OK, .actor = "other", .value = 1);
	green = SAY(s, 600, CLAIM, OK, .actor = "x", .number = 1, .value = 1, .detail = "yellow");
	SAY(s, 700, CLAIM, OK, .actor = "x", .number = 1, .value = 1, .detail = "green");
	SAY(s, 1100, STAGE, OK, .actor = "settle");
	SAY(s, 9000, WAL, OK, .actor = "verify"); /* long after the stop */
	r = JUDGE("slo-returns");
	expect(r, HELD);
	assert_int_equal(r.opportunities, 1);
	assert_string_equal(r.summary, "1 tasks committed after the last fault, 0 SLOs not back");
	s->ops[green].time_us++; /* it stood as red when the window began */
	r = JUDGE("slo-returns");
	expect(r, DEVIATED);
	assert_int_equal(r.violations, 1);
	TELLS(&r, 0, "x was not green until 500 ms before the end", red, green);
	s->ops[red].value = 1; /* met, and red all the same */
	assert_int_equal(JUDGE("slo-returns").violations, 1);
	s->ops[red].detail = "yellow";
	expect(JUDGE("slo-returns"), HELD);
	s->ops[red].value = 0;
	s->ops[red].detail = "";
	assert_int_equal(JUDGE("slo-returns").violations, 1);
	s->ops[green + 1].value = 0;
	s->ops[green + 1].detail = "";
	r = JUDGE("slo-returns");
	assert_int_equal(r.violations, 1);
	TELLS(&r, 0, "at the end x still says not met (1.000)", green + 1);
	s->ops[green + 1].detail = "amber";
	r = JUDGE("slo-returns");
	TELLS(&r, 0, "at the end x still says amber (1.000)", green + 1);
	assert_string_equal(r.summary, "1 tasks committed after the last fault, 1 SLOs not back");
	s->ops[green + 1].value = s->ops[red].value = 1;
	s->ops[red - 1].value = 0; /* the other one is judged for itself */
	s->ops[red + 1].time_us = 600001;
	r = JUDGE("slo-returns");
	assert_int_equal(r.violations, 1);
	TELLS(&r, 0, "other was not green until 500 ms before the end", red - 1, red + 1);
	SAY(s, 9001, CLAIM, OK, .actor = "other", .value = 1);
	s->ops[red + 1].value = 0;
	r = JUDGE("slo-returns");
	TELLS(&r, 0, "other was not green until 0 ms before the end", red + 1, s->count - 1);
}

/* More names than it can follow do it no harm. */
static void test_many_claims(void **state)
{
	static char names[40][8];
	struct fixture *f = *state;
	struct story *s = &f->story;
	int i;

	well_again(s);
	for (i = 0; i < 40; i++) {
		snprintf(names[i], sizeof names[i], "x%d", i);
		SAY(s, 400, CLAIM, OK, .actor = names[i], .value = 0);
	}
	assert_int_equal(JUDGE("slo-returns").violations, 16);
	SAY(s, 401, CLAIM, OK, .actor = names[15], .value = 1); /* the last that it follows */
	SAY(s, 902, STAGE, INVOKE, .actor = "end");
	assert_int_equal(JUDGE("slo-returns").violations, 15);
}

/* The delivery as it was observed: in the window, and how low it fell. */
static void test_delivery_returns(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct check_result r;
	uint64_t late;

	f->config.slo_window_us = 500000;
	f->config.claim_slack_us = 100000;
	f->config.slo_blast_radius = 0.5; /* down to 0.495 */
	well_again(s);
	SAY(s, 400, COMMIT, OK, .task = "c", .key = "c3");
	late = SAY(s, 500, NOTIFY, FAIL, .task = "c");
	SAY(s, 501, STAGE, INVOKE, .actor = "x");
	SAY(s, 550, NOTIFY, OK, .task = "c");
	SAY(s, 1000, STAGE, OK, .actor = "settle");
	SAY(s, 9000, WAL, OK, .actor = "verify");
	expect(JUDGE("slo-returns"), HELD); /* two of three, just before the window */
	s->ops[late].time_us++;
	r = JUDGE("slo-returns");
	assert_int_equal(r.violations, 1);
	TELLS(&r, 0, "notification delivery was 0.667 only 500 ms before the end, target 0.99", late);
	s->ops[late].time_us--;
	f->config.slo_blast_radius = 0.3; /* to 0.693 */
	r = JUDGE("slo-returns");
	assert_int_equal(r.violations, 1);
	TELLS(&r, 0, "notification delivery fell to 0.667, the declared blast radius ends at 0.693", late);
	s->ops[late].kind = OP_STAGE; /* nobody looked just then, and it was notified when somebody did */
	expect(JUDGE("slo-returns"), HELD);
	s->ops[late + 2].kind = OP_STAGE;
	r = JUDGE("slo-returns"); /* never: seen at the end of the settling */
	assert_int_equal(r.violations, 2);
	TELLS(&r, 0, "notification delivery was 0.667 only 0 ms before the end, target 0.99", late + 3);
	TELLS(&r, 1, "notification delivery fell to 0.667, the declared blast radius ends at 0.693", late + 3);
	f->config.slo_notification = 0.5; /* there is no lower target than what is seen */
	expect(JUDGE("slo-returns"), HELD);
}

/* What was lost before the fault was felt is not its doing. */
static void test_delivery_before_the_fault(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;

	f->config.claim_slack_us = 10000;
	f->config.slo_blast_radius = 0;
	SAY(s, 0, COMMIT, OK, .task = "z", .key = "c0");
	SAY(s, 40, NOTIFY, FAIL, .task = "z");
	SAY(s, 50, NOTIFY, OK, .task = "z");
	fault_and_revert(s, 100, 200);
	story_task(s, 300, "b", "c2");
	SAY(s, 5000, STAGE, INVOKE, .actor = "end");
	expect(JUDGE("slo-returns"), HELD); /* the task of 300 ms was notified within the slack */
	SAY(s, 5000, COMMIT, OK, .task = "y", .key = "c3");
	SAY(s, 5011, NOTIFY, FAIL, .task = "y");
	SAY(s, 5012, NOTIFY, OK, .task = "y");
	SAY(s, 9000, STAGE, INVOKE, .actor = "end");
	expect(JUDGE("slo-returns"), DEVIATED); /* and this one, afterwards, was not */
}

/* The share of tasks that failed, and what that cost of the budget (three failures, where a tenth of the tasks is less). */
static void test_success_returns(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct check_result r;

	f->config.slo_budget_cost = 0.4;
	f->config.slo_task_success = 0.5;
	well_again(s);
	SAY(s, 400, SUBMIT, OK, .task = "c");
	SAY(s, 500, OUTCOME, FAIL, .task = "c");
	SAY(s, 9000, STAGE, INVOKE, .actor = "end");
	expect(JUDGE("slo-returns"), HELD); /* one in three failed: a third of the budget */
	f->config.slo_budget_cost = 0.33;
	r = JUDGE("slo-returns");
	assert_int_equal(r.violations, 1);
	TELLS(&r, 0, "the fault cost 33 % of the error budget, declared were at most 33 %", s->count - 2);
	f->config.slo_budget_cost = 1;
	f->config.slo_task_success = 0.7;
	r = JUDGE("slo-returns");
	assert_int_equal(r.violations, 1);
	TELLS(&r, 0, "task success is 0.667 at the end, target 0.70: 1 of 3 failed", s->count - 2);
	f->config.slo_task_success = 2.0 / 3;
	expect(JUDGE("slo-returns"), HELD);
	f->config.slo_task_success = 0; /* not judged */
	f->config.slo_budget_cost = 0;
	expect(JUDGE("slo-returns"), HELD);
	f->config.slo_task_success = 1;
	s->ops[s->count - 2].type = OP_INFO; /* nothing has failed */
	expect(JUDGE("slo-returns"), HELD);
}

/* No task that was handed in has ended: there is no share. And what counts as afterwards. */
static void test_what_was_done_after_the_fault(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct check_result r;

	f->config.slo_task_success = 1;
	f->config.slo_budget_cost = 0;
	SAY(s, 0, COMMIT, OK, .task = "y", .key = "c0");
	SAY(s, 0, NOTIFY, OK, .task = "y");
	r = JUDGE("slo-returns");
	expect(r, VACUOUS);
	assert_string_equal(r.summary, "no fault was felt");
	fault_and_revert(s, 100, 200);
	SAY(s, 200, COMMIT, OK, .task = "z", .key = "c1");
	SAY(s, 200, NOTIFY, OK, .task = "z");
	r = JUDGE("slo-returns");
	expect(r, VACUOUS);
	assert_string_equal(r.summary, "no task was committed after the last fault was undone");
	s->ops[s->count - 2].time_us++;
	s->ops[s->count - 1].time_us++;
	r = JUDGE("slo-returns");
	expect(r, HELD);
	assert_int_equal(r.opportunities, 1);
	s->ops[5].type = OP_FAIL; /* it could not be undone: nothing came after it */
	expect(JUDGE("slo-returns"), VACUOUS);
	s->count = 0; /* the first task of all is as good as any, and counts once */
	SAY(s, 0, COMMIT, OK, .task = "early", .key = "c0");
	SAY(s, 0, NOTIFY, OK, .task = "early");
	SAY(s, 1, FAULT, OK, .actor = "f");
	SAY(s, 1, REVERT, OK, .actor = "f");
	s->ops[0].time_us = 2000;
	s->ops[1].time_us = 2000;
	assert_int_equal(JUDGE("slo-returns").opportunities, 1);
}

/* Claims that nothing came before: the very first operation, and the only one of its name. */
static void test_first_claims(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct check_result r;

	f->config.slo_window_us = 500000;
	SAY(s, 0, CLAIM, OK, .actor = "x", .value = 0);
	fault_and_revert(s, 100, 200);
	story_task(s, 300, "b", "c2");
	SAY(s, 1000, STAGE, INVOKE, .actor = "end");
	r = JUDGE("slo-returns");
	assert_int_equal(r.violations, 1);
	TELLS(&r, 0, "at the end x still says not met (0.000)", 0);
	SAY(s, 1000, CLAIM, OK, .actor = "y", .value = 1); /* in the window, and none before it */
	assert_int_equal(JUDGE("slo-returns").violations, 1);
	SAY(s, 1000, CLAIM, OK, .actor = "x", .value = 1);
	r = JUDGE("slo-returns");
	assert_int_equal(r.violations, 1);
	TELLS(&r, 0, "x was not green until 0 ms before the end", 0, s->count - 1);
	s->ops[1].kind = OP_CLAIM; /* red before it was red: told once */
	s->ops[1].actor = "x";
	assert_int_equal(JUDGE("slo-returns").violations, 1);
}

/* Targets and limits at their edge, the first of what is equally bad, and each once. */
static void test_delivery_at_the_edge(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct check_result r;
	uint64_t low;

	f->config.slo_notification = 1;
	f->config.slo_blast_radius = 0.5;
	f->config.claim_slack_us = 10000;
	f->config.slo_window_us = 500000;
	f->config.slo_tasks = 0;
	well_again(s);
	SAY(s, 400, COMMIT, OK, .task = "c", .key = "c3");
	SAY(s, 400, COMMIT, OK, .task = "d", .key = "c4");
	low = SAY(s, 410, NOTIFY, FAIL, .task = "c"); /* two of four: as far as it was declared */
	SAY(s, 411, NOTIFY, FAIL, .task = "d");
	SAY(s, 420, NOTIFY, OK, .task = "c");
	SAY(s, 420, NOTIFY, OK, .task = "d");
	SAY(s, 2000, STAGE, OK, .actor = "settle");
	expect(JUDGE("slo-returns"), HELD);
	f->config.slo_blast_radius = 0.49;
	r = JUDGE("slo-returns");
	assert_int_equal(r.violations, 1);
	TELLS(&r, 0, "notification delivery fell to 0.500, the declared blast radius ends at 0.510", low);
	f->config.slo_blast_radius = 1;
	f->config.slo_window_us = 1600000; /* all of it is in the window now: told once */
	r = JUDGE("slo-returns");
	assert_int_equal(r.violations, 1);
	TELLS(&r, 0, "notification delivery was 0.500 only 1590 ms before the end, target 1.00", low);
}

/* The failure that is shown is the last that stayed one, whichever task came first. */
static void test_failures_are_told(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct check_result r;
	uint64_t last;

	f->config.slo_budget_cost = 0.6;
	f->config.slo_task_success = 0.6;
	SAY(s, 0, SUBMIT, OK, .task = "late");
	SAY(s, 0, SUBMIT, OK, .task = "early");
	SAY(s, 0, SUBMIT, OK, .task = "mended");
	SAY(s, 10, OUTCOME, FAIL, .task = "early");
	last = SAY(s, 20, OUTCOME, FAIL, .task = "late");
	SAY(s, 30, OUTCOME, FAIL, .task = "mended");
	SAY(s, 40, COMMIT, OK, .task = "mended", .key = "c1");
	SAY(s, 40, NOTIFY, OK, .task = "mended");
	fault_and_revert(s, 100, 200);
	story_task(s, 300, "b", "c2");
	SAY(s, 9000, STAGE, INVOKE, .actor = "end");
	r = JUDGE("slo-returns");
	assert_int_equal(r.violations, 2);
	TELLS(&r, 0, "task success is 0.500 at the end, target 0.60: 2 of 4 failed", last);
	TELLS(&r, 1, "the fault cost 67 % of the error budget, declared were at most 60 %", last);
}

static void test_blast_radius(void **state)
{
	struct fixture *f = *state;

	f->config.slo_blast_radius = 0.3;
	f->config.claim_slack_us = 10000;
	story_task(&f->story, 0, "a", "c1");
	SAY(&f->story, 100, FAULT, OK, .actor = "f");
	SAY(&f->story, 110, COMMIT, OK, .task = "b", .key = "c2");
	SAY(&f->story, 400, NOTIFY, OK, .task = "a"); /* half of the commits are undelivered here: below 0.99 * 0.7 */
	SAY(&f->story, 500, NOTIFY, OK, .task = "b");
	SAY(&f->story, 510, REVERT, OK, .actor = "f");
	story_task(&f->story, 600, "c", "c3");
	SAY(&f->story, 3000, STAGE, INVOKE, .actor = "end");
	expect(JUDGE("slo-returns"), DEVIATED);
	f->config.slo_blast_radius = 0.6;
	expect(JUDGE("slo-returns"), HELD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_slo_returns),
	    CASE(test_claims_stay_green_for_the_window),
	    CASE(test_many_claims),
	    CASE(test_delivery_returns),
	    CASE(test_delivery_before_the_fault),
	    CASE(test_success_returns),
	    CASE(test_what_was_done_after_the_fault),
	    CASE(test_first_claims),
	    CASE(test_delivery_at_the_edge),
	    CASE(test_failures_are_told),
	    CASE(test_blast_radius),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
