/* SPDX-License-Identifier: Apache-2.0 */
/* The SLOs as they were observed: the delivery through time, and the success at the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/check_fixture.h"

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
	view = (struct history_view){.ops = f->story.ops, .count = f->story.count};
	facts_gather(&facts, &view);
	f->config.slo_tasks = 0;
	all = delivery_create(&view, &facts, &f->config, 100000, false);
	f->config.slo_tasks = 2;
	two = delivery_create(&view, &facts, &f->config, 100000, false);
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

/* Neither what names no task nor what was notified without a commit is somebody's delivery. */
static void test_whose_notification_it_is(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct history_view view;
	struct delivery *d;
	struct facts facts;

	SAY(s, 0, COMMIT, OK, .task = "a", .key = "c1");
	SAY(s, 10, COMMIT, OK, .task = "b", .key = "c2");
	SAY(s, 20, NOTIFY, OK, .key = "?");
	SAY(s, 200, NOTIFY, OK, .task = "nobody");
	SAY(s, 300, NOTIFY, OK, .task = "b");
	view = (struct history_view){.ops = s->ops, .count = s->count};
	facts_gather(&facts, &view);
	d = delivery_create(&view, &facts, &f->config, 100000, false);
	assert_int_equal((int)(delivery_at(d, 150000) * 100), 0);
	assert_int_equal((int)(delivery_at(d, 200000) * 100), 0);
	assert_int_equal((int)(delivery_at(d, 300000) * 100), 50);
	delivery_free(d);
	delivery_free(NULL);
	facts_finish(&facts);
}

/* What is sent again is not delivered to its sender's knowledge, whatever the sink knows. */
static void test_as_the_sender_knows_it(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct delivery *sender, *sink;
	struct history_view view;
	struct facts facts;

	SAY(s, 0, NOTIFY, INVOKE, .task = "b");
	SAY(s, 5, NOTIFY, OK, .task = "b");
	SAY(s, 8, NOTIFY, INVOKE, .task = "b");
	SAY(s, 10, COMMIT, OK, .task = "a", .key = "c1");
	SAY(s, 10, COMMIT, OK, .task = "b", .key = "c2"); /* seen later than it was told */
	SAY(s, 20, NOTIFY, INVOKE, .task = "a");
	SAY(s, 30, NOTIFY, OK, .task = "a");
	SAY(s, 30, NOTIFY, OK, .task = "b");
	SAY(s, 50, NOTIFY, INVOKE, .task = "a");
	SAY(s, 60, NOTIFY, INFO, .task = "a");
	SAY(s, 70, NOTIFY, INVOKE, .task = "a");
	SAY(s, 80, NOTIFY, OK, .task = "a");
	SAY(s, 90, NOTIFY, INVOKE, .task = "a");
	SAY(s, 100, COMMIT, OK, .task = "c", .key = "c3");
	SAY(s, 100, COMMIT, OK, .task = "d", .key = "c4");
	SAY(s, 110, NOTIFY, INVOKE, .task = "a"); /* it has left the window */
	SAY(s, 120, NOTIFY, OK, .task = "c");
	SAY(s, 120, NOTIFY, OK, .task = "d");
	view = (struct history_view){.ops = s->ops, .count = s->count};
	facts_gather(&facts, &view);
	f->config.slo_tasks = 2;
	sender = delivery_create(&view, &facts, &f->config, 0, true);
	sink = delivery_create(&view, &facts, &f->config, 0, false);
	assert_int_equal((int)(delivery_at(sender, 10000) * 100), 0);
	assert_int_equal((int)(delivery_at(sink, 10000) * 100), 50);
	assert_int_equal((int)(delivery_at(sender, 49000) * 100), 100);
	assert_int_equal((int)(delivery_at(sender, 50000) * 100), 50);
	assert_int_equal((int)(delivery_at(sender, 79000) * 100), 50);
	assert_int_equal((int)(delivery_at(sender, 80000) * 100), 100);
	assert_int_equal((int)(delivery_at(sender, 95000) * 100), 50);
	assert_int_equal((int)(delivery_at(sink, 95000) * 100), 100);
	assert_int_equal((int)(delivery_at(sender, 110000) * 100), 0);
	assert_int_equal((int)(delivery_at(sender, 120000) * 100), 100);
	delivery_free(sender);
	delivery_free(sink);
	facts_finish(&facts);
}

static int success_of(const struct fixture *f, uint64_t *ended, uint64_t *failed)
{
	const struct history_view view = {.ops = f->story.ops, .count = f->story.count};
	struct facts facts;
	double share;

	facts_gather(&facts, &view);
	share = observed_success(&view, &facts, &f->config, ended, failed);
	facts_finish(&facts);
	return (int)(share * 1000);
}

/* The share of those that did not fail, of the last so many that came to an end. */
static void test_success(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	uint64_t ended, failed;

	assert_int_equal(success_of(f, &ended, &failed), 1000);
	assert_int_equal(ended, 0);
	assert_int_equal(failed, 0);
	SAY(s, 0, COMMIT, OK, .task = "a", .key = "c1"); /* the very first operation, acknowledged later */
	SAY(s, 1, SUBMIT, OK, .task = "a");
	SAY(s, 1, SUBMIT, OK, .task = "b");
	SAY(s, 1, SUBMIT, OK, .task = "c");
	SAY(s, 1, SUBMIT, OK, .task = "open");
	SAY(s, 2, COMMIT, OK, .key = "c2");              /* of no task */
	SAY(s, 2, COMMIT, OK, .task = "x", .key = "c3"); /* of one that was never accepted */
	SAY(s, 2, OUTCOME, FAIL, .task = "y");
	SAY(s, 3, OUTCOME, FAIL, .task = "b");
	SAY(s, 3, OUTCOME, FAIL, .task = "b");
	SAY(s, 4, OUTCOME, FAIL, .task = "c"); /* given up, and committed all the same */
	SAY(s, 5, COMMIT, OK, .task = "c", .key = "c4");
	SAY(s, 5, COMMIT, OK, .task = "c", .key = "c4");
	assert_int_equal(success_of(f, &ended, &failed), 666);
	assert_int_equal(ended, 3);
	assert_int_equal(failed, 1);
	f->config.slo_tasks = 2;
	assert_int_equal(success_of(f, &ended, &failed), 500);
	assert_int_equal(ended, 2);
	f->config.slo_tasks = 1;
	assert_int_equal(success_of(f, &ended, &failed), 1000);
	assert_int_equal(ended, 1);
	f->config.slo_tasks = 0; /* all of them */
	assert_int_equal(success_of(f, &ended, &failed), 666);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_delivery_through_time),
	    CASE(test_whose_notification_it_is),
	    CASE(test_as_the_sender_knows_it),
	    CASE(test_success),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
