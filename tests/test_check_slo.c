/* SPDX-License-Identifier: Apache-2.0 */
/* slo-returns, dashboard-honest, and the delivery as it was observed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

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

static void test_dashboard(void **state)
{
	struct fixture *f = *state;

	SAY(&f->story, 0, CLAIM, OK, .actor = "notification_delivery", .number = 1, .value = 1, .detail = "green");
	SAY(&f->story, 10, COMMIT, OK, .task = "a", .key = "c1");
	SAY(&f->story, 500, NOTIFY, FAIL, .task = "a");
	expect(JUDGE("dashboard-honest"), HELD); /* a claim may lag */
	SAY(&f->story, 2000, NOTIFY, FAIL, .task = "a");
	expect(JUDGE("dashboard-honest"), DEVIATED); /* green over a silent notifier */
}

static void test_dashboard_cries_wolf(void **state)
{
	struct fixture *f = *state;

	story_task(&f->story, 0, "a", "c1");
	SAY(&f->story, 100, CLAIM, OK, .actor = "notification_delivery", .number = 0.5, .value = 0, .detail = "red");
	SAY(&f->story, 200, STAGE, INVOKE, .actor = "x");
	expect(JUDGE("dashboard-honest"), HELD);
	SAY(&f->story, 5000, STAGE, INVOKE, .actor = "end");
	expect(JUDGE("dashboard-honest"), DEVIATED);
}

static void test_dashboard_success(void **state)
{
	struct fixture *f = *state;

	story_task(&f->story, 0, "a", "c1");
	SAY(&f->story, 10, SUBMIT, OK, .task = "b");
	SAY(&f->story, 20, CLAIM, OK, .actor = "task_success", .number = 1, .value = 1, .detail = "green");
	expect(JUDGE("dashboard-honest"), HELD);
	SAY(&f->story, 30, OUTCOME, FAIL, .task = "b");
	expect(JUDGE("dashboard-honest"), DEVIATED); /* half of the tasks failed under a green claim */
}

static void test_a_commit_of_a_task_that_was_given_up(void **state)
{
	struct fixture *f = *state;

	SAY(&f->story, 0, SUBMIT, OK, .task = "a");
	SAY(&f->story, 1, OUTCOME, FAIL, .task = "a", .detail = "git said no");
	expect(JUDGE("dashboard-honest"), HELD);
	SAY(&f->story, 2, COMMIT, OK, .task = "a", .key = "c1");
	expect(JUDGE("dashboard-honest"), DEVIATED);
}

static void test_a_dashboard_over_an_empty_ledger_says_nothing(void **state)
{
	struct fixture *f = *state;

	SAY(&f->story, 0, CLAIM, OK, .actor = "notification_delivery", .number = 1, .value = 1, .detail = "green");
	SAY(&f->story, 0, CLAIM, OK, .actor = "task_success", .number = 1, .value = 1, .detail = "green");
	SAY(&f->story, 900, STAGE, INVOKE, .actor = "end");
	expect(JUDGE("dashboard-honest"), VACUOUS);
	SAY(&f->story, 901, COMMIT, OK, .task = "a", .key = "c1"); /* but of this it has */
	expect(JUDGE("dashboard-honest"), HELD);
	assert_int_equal(JUDGE("dashboard-honest").opportunities, 1);
}

static void test_a_claim_of_red_that_was_true_once(void **state)
{
	struct fixture *f = *state;

	SAY(&f->story, 0, COMMIT, OK, .task = "a", .key = "c1");
	SAY(&f->story, 10, CLAIM, OK, .actor = "notification_delivery", .number = 0, .value = 0, .detail = "red");
	SAY(&f->story, 20, NOTIFY, OK, .task = "a");
	SAY(&f->story, 5000, STAGE, INVOKE, .actor = "end");
	expect(JUDGE("dashboard-honest"), HELD);
	f->story.ops[2].kind = OP_STAGE; /* still undelivered: red is the truth, however long it stands */
	expect(JUDGE("dashboard-honest"), HELD);
}

/* "Not met" is false only once it was met at the claim, a slack ago and now, and the claim has had twice the slack. */
static void test_when_a_claim_of_red_is_false(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;

	story_task(s, 0, "a", "c1");
	SAY(s, 100, CLAIM, OK, .actor = "delivery", .number = 0, .value = 0, .detail = "red");
	SAY(s, 1099, NOTIFY, FAIL, .task = "x");
	expect(JUDGE("dashboard-honest"), HELD);
	s->ops[s->count - 1].time_us = 1100000;
	expect(JUDGE("dashboard-honest"), DEVIATED);
	s->count--;
	SAY(s, 550, COMMIT, OK, .task = "b", .key = "c2"); /* undelivered a slack before the end */
	SAY(s, 700, NOTIFY, OK, .task = "b");
	SAY(s, 1100, NOTIFY, FAIL, .task = "x");
	expect(JUDGE("dashboard-honest"), HELD);
	SAY(s, 1200, NOTIFY, FAIL, .task = "x");
	expect(JUDGE("dashboard-honest"), DEVIATED);
	s->count--;
	SAY(s, 1250, COMMIT, OK, .task = "c", .key = "c3"); /* and at the end itself */
	expect(JUDGE("dashboard-honest"), HELD);
}

static void test_the_claim_of_a_dead_system_is_not_its_word(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;

	SAY(s, 0, CLAIM, OK, .actor = "delivery", .number = 1, .value = 1, .detail = "green");
	SAY(s, 100, COMMIT, OK, .task = "a", .key = "c1");
	SAY(s, 200, SYSTEM, INFO, .actor = "main", .status = 137);
	SAY(s, 5000, COMMIT, OK, .task = "b", .key = "c2");
	SAY(s, 6000, SYSTEM, OK, .actor = "main");
	SAY(s, 6999, NOTIFY, FAIL, .task = "a");
	expect(JUDGE("dashboard-honest"), HELD);
	SAY(s, 7000, NOTIFY, FAIL, .task = "a"); /* it has been up for twice the slack, and still says so */
	expect(JUDGE("dashboard-honest"), DEVIATED);
	f->story.ops[2].time_us = 5000000 - 1; /* nor does its death excuse what it said before */
	f->story.ops[2].kind = OP_STAGE;
	expect(JUDGE("dashboard-honest"), DEVIATED);
	f->story.ops[2].kind = OP_SYSTEM;
	f->story.count = 3;
	expect(JUDGE("dashboard-honest"), DEVIATED);
}

static void test_each_false_claim_is_told_once(void **state)
{
	struct fixture *f = *state;
	int i;

	SAY(&f->story, 0, COMMIT, OK, .task = "a", .key = "c1");
	for (i = 0; i < 4; i++)
		SAY(&f->story, 3000 + 10 * (uint64_t)i, CLAIM, OK, .actor = "delivery", .number = 1, .value = 1);
	SAY(&f->story, 4000, NOTIFY, FAIL, .task = "a");
	SAY(&f->story, 4001, NOTIFY, FAIL, .task = "a");
	assert_int_equal(JUDGE("dashboard-honest").violations, 1);
}

static void test_the_success_claimed_is_judged_both_ways(void **state)
{
	struct fixture *f = *state;

	story_task(&f->story, 0, "a", "c1");
	SAY(&f->story, 20, CLAIM, OK, .actor = "task_success", .number = 0, .value = 0, .detail = "red");
	expect(JUDGE("dashboard-honest"), DEVIATED); /* nothing has failed */
	f->config.slo_task_success = 0;
	expect(JUDGE("dashboard-honest"), VACUOUS);
}

/* What the window, the patience and the late notification make of the delivery, step by step. */
static void test_delivery_through_time(void **state)
{
	struct fixture *f = *state;
	struct history_view view;
	struct delivery *all, *two;
	struct facts facts;

	SAY(&f->story, 0, COMMIT, OK, .task = "a", .key = "c1");
	SAY(&f->story, 10, COMMIT, OK, .task = "b", .key = "c2");
	SAY(&f->story, 10, COMMIT, OK, .task = "b", .key = "c2"); /* the same again */
	SAY(&f->story, 20, COMMIT, OK, .task = "c", .key = "c3");
	SAY(&f->story, 30, COMMIT, OK, .key = "c4"); /* of no task */
	SAY(&f->story, 150, NOTIFY, FAIL, .task = "a");
	SAY(&f->story, 200, NOTIFY, OK, .task = "a");
	SAY(&f->story, 300, NOTIFY, OK, .task = "c");
	SAY(&f->story, 310, NOTIFY, OK, .task = "c");
	view = (struct history_view){f->story.ops, f->story.count};
	facts_gather(&facts, &view);
	f->config.slo_tasks = 0;
	all = delivery_create(&view, &facts, &f->config, 100000);
	f->config.slo_tasks = 2;
	two = delivery_create(&view, &facts, &f->config, 100000);
	assert_true(delivery_at(all, 0) >= 1);
	assert_int_equal(delivery_commits(all), 1);
	assert_true(delivery_at(all, 99999) >= 1); /* one is as old as the patience only then: */
	assert_int_equal((int)(delivery_at(all, 100000) * 300), 200);
	assert_int_equal((int)(delivery_at(two, 100000) * 300), 300); /* it has left the window */
	assert_int_equal(delivery_commits(two), 2);
	assert_int_equal((int)(delivery_at(all, 130000) * 300), 0);
	assert_int_equal((int)(delivery_at(two, 130000) * 300), 0);
	assert_int_equal((int)(delivery_at(all, 200000) * 300), 100);
	assert_int_equal((int)(delivery_at(two, 200000) * 300), 0);
	assert_int_equal((int)(delivery_at(all, 400000) * 300), 200);
	assert_int_equal((int)(delivery_at(two, 400000) * 300), 150);
	assert_int_equal(delivery_commits(all), 3);
	delivery_free(all);
	delivery_free(two);
	facts_finish(&facts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_slo_returns),
	    CASE(test_blast_radius),
	    CASE(test_dashboard),
	    CASE(test_dashboard_cries_wolf),
	    CASE(test_dashboard_success),
	    CASE(test_a_commit_of_a_task_that_was_given_up),
	    CASE(test_a_dashboard_over_an_empty_ledger_says_nothing),
	    CASE(test_a_claim_of_red_that_was_true_once),
	    CASE(test_when_a_claim_of_red_is_false),
	    CASE(test_the_claim_of_a_dead_system_is_not_its_word),
	    CASE(test_each_false_claim_is_told_once),
	    CASE(test_the_success_claimed_is_judged_both_ways),
	    CASE(test_delivery_through_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
