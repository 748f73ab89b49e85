/* SPDX-License-Identifier: Apache-2.0 */
/* dashboard-honest: each way to hold it, to break it, and to be no opportunity. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/check_fixture.h"

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

/* One that has lost its log before the first answer was in it does not know of that answer, and sends again. */
static void test_what_is_sent_again_is_not_known_to_be_delivered(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;

	story_task(s, 0, "a", "c1");
	SAY(s, 100, NOTIFY, INVOKE, .task = "a");
	SAY(s, 110, CLAIM, OK, .actor = "delivery", .number = 0, .value = 0, .detail = "red");
	SAY(s, 2000, STAGE, INVOKE, .actor = "x");
	SAY(s, 5000, NOTIFY, OK, .task = "a");
	expect(JUDGE("dashboard-honest"), HELD);
	SAY(s, 5499, NOTIFY, FAIL, .task = "x");
	expect(JUDGE("dashboard-honest"), HELD);
	s->ops[s->count - 1].time_us = 5500000;  /* but then it does */
	expect(JUDGE("dashboard-honest"), HELD); /* of a claim that was true when it was made */
	SAY(s, 5600, CLAIM, OK, .actor = "delivery", .number = 0, .value = 0, .detail = "red");
	SAY(s, 6599, NOTIFY, FAIL, .task = "x");
	expect(JUDGE("dashboard-honest"), HELD);
	s->ops[s->count - 1].time_us = 6600000;
	expect(JUDGE("dashboard-honest"), DEVIATED);
	s->ops[7].kind = OP_STAGE; /* nor was the first one true, had it not sent again */
	s->count = 11;
	expect(JUDGE("dashboard-honest"), DEVIATED);
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

/* A claim is judged when another one replaces it, and each false word is told once, however often it is repeated. */
static void test_one_claim_replaces_another(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct check_result r;
	uint64_t red, again;

	SAY(s, 0, CLAIM, OK, .actor = "delivery", .number = 1, .value = 1);
	SAY(s, 10, COMMIT, OK, .task = "a", .key = "c1");
	SAY(s, 1100, CLAIM, OK, .actor = "latency", .value = 0); /* of which nothing is known */
	red = SAY(s, 1200, CLAIM, OK, .actor = "delivery", .number = 0, .value = 0);
	SAY(s, 1201, STAGE, INVOKE, .actor = "end");
	r = JUDGE("dashboard-honest");
	assert_int_equal(r.violations, 1);
	assert_int_equal(r.opportunities, 2);
	TELLS(&r, 0, "it claimed delivery met (1.000) at 1.200 s; observed: 0.000 of the commits notified, target 0.99",
	    0);
	assert_string_equal(r.summary, "2 claims, 1 false");
	s->ops[red].time_us = 1009999; /* it was taken back in time */
	expect(JUDGE("dashboard-honest"), HELD);
	s->ops[red].time_us = 1010000;
	expect(JUDGE("dashboard-honest"), DEVIATED);
	again = SAY(s, 1300, CLAIM, OK, .actor = "delivery", .number = 1, .value = 1); /* false again */
	SAY(s, 1301, CLAIM, OK, .actor = "delivery", .number = 1, .value = 1);
	SAY(s, 1400, NOTIFY, FAIL, .task = "a");
	SAY(s, 1401, NOTIFY, FAIL, .task = "a");
	r = JUDGE("dashboard-honest");
	assert_int_equal(r.violations, 2);
	assert_int_equal(r.opportunities, 4);
	TELLS(&r, 1, "it claimed delivery met (1.000) at 1.400 s; observed: 0.000 of the commits notified, target 0.99",
	    again + 1);
	SAY(s, 1402, CLAIM, OK, .actor = "delivery", .number = 1, .value = 1); /* said once more */
	SAY(s, 1403, NOTIFY, FAIL, .task = "a");
	assert_int_equal(JUDGE("dashboard-honest").violations, 2);
	s->ops[red].actor = "latency"; /* never taken back: the same word all the time */
	assert_int_equal(JUDGE("dashboard-honest").violations, 1);
	f->config.slo_notification = 0; /* not judged */
	expect(JUDGE("dashboard-honest"), VACUOUS);
}

/* "Not met" that is replaced: judged as it was until then, by what was observed when it was made. */
static void test_a_claim_of_red_is_replaced(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct check_result r;

	SAY(s, 0, COMMIT, OK, .task = "a", .key = "c1");
	SAY(s, 5, NOTIFY, OK, .task = "a");
	SAY(s, 100, CLAIM, OK, .actor = "notifications", .number = 0.25, .value = 0);
	SAY(s, 1100, CLAIM, OK, .actor = "notifications", .number = 1, .value = 1);
	r = JUDGE("dashboard-honest");
	assert_int_equal(r.violations, 1);
	TELLS(&r, 0, "it claimed notifications not met (0.250) up to 1.100 s; observed: all commits notified", 2);
	f->config.slo_notification = 1; /* which is just met */
	expect(JUDGE("dashboard-honest"), DEVIATED);
	s->ops[2].value = 1;
	expect(JUDGE("dashboard-honest"), HELD);
	s->ops[2].value = 0;
	f->config.slo_notification = 0; /* not judged */
	expect(JUDGE("dashboard-honest"), VACUOUS);
	f->config.slo_notification = 0.99;
	s->ops[1].time_us = 100001; /* it was true when it was said */
	expect(JUDGE("dashboard-honest"), HELD);
	s->ops[1].time_us = 5000;
	s->ops[3].value = 0; /* the same word again begins anew */
	SAY(s, 1200, NOTIFY, FAIL, .task = "x");
	expect(JUDGE("dashboard-honest"), HELD);
	SAY(s, 2100, STAGE, INVOKE, .actor = "end");
	r = JUDGE("dashboard-honest");
	assert_int_equal(r.violations, 1);
	assert_int_equal(r.findings[0].evidence[0], 3);
}

/* Which operations make somebody look: what touches the delivery, the system's life, and the end. */
static void test_when_a_claim_is_looked_at(void **state)
{
	static const struct {
		enum op_kind kind;
		bool looked;
	} rows[] = {
	    {OP_NOTIFY, true},
	    {OP_COMMIT, true},
	    {OP_SYSTEM, true},
	    {OP_CALL, false},
	    {OP_STAGE, false},
	};
	struct fixture *f = *state;
	struct story *s = &f->story;
	size_t i;

	SAY(s, 0, COMMIT, OK, .task = "a", .key = "c1");
	SAY(s, 1, CLAIM, OK, .actor = "delivery", .value = 1);
	SAY(s, 1500, STAGE, FAIL, .actor = "x");
	SAY(s, 1501, NOTIFY, OK, .task = "a");
	for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		s->ops[2].kind = rows[i].kind;
		assert_int_equal(JUDGE("dashboard-honest").violations, rows[i].looked);
	}
	s->count--; /* the end itself */
	assert_int_equal(JUDGE("dashboard-honest").violations, 1);
}

static void test_successes_are_told(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct check_result r;

	f->config.slo_task_success = 0.5;
	story_task(s, 0, "a", "c1");
	SAY(s, 10, SUBMIT, OK, .task = "b");
	SAY(s, 11, CLAIM, OK, .actor = "task_success", .number = 0.2, .value = 0);
	SAY(s, 12, CLAIM, OK, .actor = "task_success", .number = 0.9, .value = 1); /* the last one counts */
	SAY(s, 13, OUTCOME, FAIL, .task = "b");
	r = JUDGE("dashboard-honest");
	expect(r, HELD); /* just met */
	assert_int_equal(r.opportunities, 2);
	f->config.slo_task_success = 0.51;
	r = JUDGE("dashboard-honest");
	TELLS(&r, 0, "it claimed task_success met (0.900); observed: 1 of 2 tasks failed", 9);
	s->ops[9].value = 0;
	expect(JUDGE("dashboard-honest"), HELD);
	f->config.slo_task_success = 0.5;
	r = JUDGE("dashboard-honest");
	TELLS(&r, 0, "it claimed task_success not met (0.900); observed: 1 of 2 tasks failed", 9);
	assert_string_equal(r.summary, "2 claims, 1 false");
	SAY(s, 14, CLAIM, OK, .actor = "latency", .value = 1); /* nothing of it */
	SAY(s, 14, CLAIM, OK, .actor = "latency", .value = 0);
	assert_int_equal(JUDGE("dashboard-honest").findings[0].evidence[0], 9);
	f->config.slo_task_success = 0;
	SAY(s, 20, COMMIT, OK, .task = "b", .key = "c2");
	r = JUDGE("dashboard-honest");
	assert_int_equal(r.opportunities, 1);
	TELLS(&r, 0, "it said that task b was given up, but the ledger has commit c2 of it", 13, 10);
	s->count = 0;
	SAY(s, 0, CLAIM, OK, .actor = "task_success", .value = 0);
	r = JUDGE("dashboard-honest");
	expect(r, VACUOUS);
	assert_string_equal(r.summary, "the system published no claim that could be checked");
	story_task(s, 10, "a", "c1"); /* it was said first of all */
	f->config.slo_task_success = 0.5;
	expect(JUDGE("dashboard-honest"), DEVIATED);
}

/* While it is down, and until twice the slack after it is ready again, it cannot have taken anything back. */
static void test_a_system_that_comes_back(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;

	SAY(s, 0, COMMIT, OK, .task = "a", .key = "c1");
	SAY(s, 1, CLAIM, OK, .actor = "delivery", .value = 1);
	SAY(s, 500, SYSTEM, INFO, .actor = "main");
	SAY(s, 1500, SYSTEM, INVOKE, .actor = "main");
	SAY(s, 3000, NOTIFY, FAIL, .task = "a"); /* down */
	SAY(s, 4000, SYSTEM, OK, .actor = "main");
	SAY(s, 4999, NOTIFY, FAIL, .task = "a");
	SAY(s, 5001, NOTIFY, OK, .task = "a");
	SAY(s, 9000, STAGE, INVOKE, .actor = "end");
	expect(JUDGE("dashboard-honest"), HELD);
	s->ops[6].time_us = 5000000;
	expect(JUDGE("dashboard-honest"), DEVIATED);
	s->ops[5].type = OP_FAIL; /* it did not come back */
	expect(JUDGE("dashboard-honest"), HELD);
	s->ops[5].type = OP_OK;
	s->ops[2].type = OP_FAIL; /* it had not died */
	expect(JUDGE("dashboard-honest"), DEVIATED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_dashboard),
	    CASE(test_dashboard_cries_wolf),
	    CASE(test_dashboard_success),
	    CASE(test_a_commit_of_a_task_that_was_given_up),
	    CASE(test_a_dashboard_over_an_empty_ledger_says_nothing),
	    CASE(test_a_claim_of_red_that_was_true_once),
	    CASE(test_when_a_claim_of_red_is_false),
	    CASE(test_what_is_sent_again_is_not_known_to_be_delivered),
	    CASE(test_the_claim_of_a_dead_system_is_not_its_word),
	    CASE(test_each_false_claim_is_told_once),
	    CASE(test_the_success_claimed_is_judged_both_ways),
	    CASE(test_one_claim_replaces_another),
	    CASE(test_a_claim_of_red_is_replaced),
	    CASE(test_when_a_claim_is_looked_at),
	    CASE(test_successes_are_told),
	    CASE(test_a_system_that_comes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
