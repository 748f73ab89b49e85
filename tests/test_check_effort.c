/* SPDX-License-Identifier: Apache-2.0 */
/* bounded-effort: each way to hold it, to break it, and to be no opportunity. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/check_fixture.h"

static void test_effort(void **state)
{
	struct fixture *f = *state;

	SAY(&f->story, 0, SUBMIT, OK, .task = "a");
	SAY(&f->story, 1, CALL, INVOKE, .task = "a", .actor = "claude", .attempt = 3);
	expect(JUDGE("bounded-effort"), HELD);
	SAY(&f->story, 2, CALL, INVOKE, .task = "a", .actor = "claude", .attempt = 4);
	expect(JUDGE("bounded-effort"), DEVIATED);
}

static void test_agents_and_breaker(void **state)
{
	struct fixture *f = *state;
	int i;

	SAY(&f->story, 0, AGENT, INVOKE, .actor = "1");
	SAY(&f->story, 0, AGENT, INVOKE, .actor = "2");
	SAY(&f->story, 1, CALL, INVOKE, .task = "a", .actor = "claude");
	for (i = 0; i < 3; i++)
		SAY(&f->story, 10, CALL, FAIL, .task = "a", .actor = "claude", .status = 500);
	SAY(&f->story, 50, CALL, INVOKE, .task = "b", .actor = "claude"); /* was on its way */
	SAY(&f->story, 60, CALL, INVOKE, .task = "b", .actor = "codex");
	SAY(&f->story, 820, CALL, INVOKE, .task = "b", .actor = "claude"); /* the trial */
	expect(JUDGE("bounded-effort"), HELD);
	SAY(&f->story, 821, CALL, FAIL, .task = "b", .actor = "claude", .status = 500);
	SAY(&f->story, 1200, CALL, INVOKE, .task = "b", .actor = "claude");
	expect(JUDGE("bounded-effort"), DEVIATED);
	f->story.count -= 2;
	SAY(&f->story, 900, AGENT, INVOKE, .actor = "3");
	expect(JUDGE("bounded-effort"), DEVIATED);
}

static void test_a_client_that_hangs_up_is_no_failure_of_the_provider(void **state)
{
	struct fixture *f = *state;
	int i;

	for (i = 0; i < 3; i++)
		SAY(&f->story, 10, CALL, INFO, .task = "a", .actor = "claude", .detail = "the client went away");
	SAY(&f->story, 400, CALL, INVOKE, .task = "b", .actor = "claude", .attempt = 1);
	expect(JUDGE("bounded-effort"), HELD);
	for (i = 0; i < 3; i++)
		f->story.ops[i].detail = "reset";
	expect(JUDGE("bounded-effort"), DEVIATED);
}

/* Each limit of the effort: at it is inside, one past it is not. */
static void test_the_limits_of_effort(void **state)
{
	static const struct {
		size_t member;
		uint64_t just;
	} rows[] = {
	    {offsetof(struct check_config, calls_per_task_max), 2},
	    {offsetof(struct check_config, tokens_per_task_max), 30},
	    {offsetof(struct check_config, restarts_max), 2},
	    {offsetof(struct check_config, attempts_max), 2},
	    {offsetof(struct check_config, agents_max), 2},
	};
	struct fixture *f = *state;
	size_t i;

	f->config.attempts_max = f->config.agents_max = 0;
	SAY(&f->story, 0, AGENT, INVOKE, .actor = "1");
	SAY(&f->story, 0, CALL, INVOKE, .task = "a", .actor = "claude", .attempt = 1);
	SAY(&f->story, 1, CALL, OK, .task = "a", .actor = "claude", .attempt = 1, .status = 200, .value = 10);
	SAY(&f->story, 2, SYSTEM, INFO, .actor = "main");
	SAY(&f->story, 3, AGENT, INVOKE, .actor = "2");
	SAY(&f->story, 4, AGENT, OK, .actor = "1");
	SAY(&f->story, 5, AGENT, INVOKE, .actor = "3");
	SAY(&f->story, 6, CALL, INVOKE, .task = "a", .actor = "claude", .attempt = 2);
	SAY(&f->story, 7, CALL, OK, .task = "a", .actor = "claude", .attempt = 2, .status = 200, .value = 20);
	SAY(&f->story, 8, SYSTEM, OK, .actor = "main");
	SAY(&f->story, 9, SYSTEM, INFO, .actor = "main");
	SAY(&f->story, 10, SUBMIT, OK, .task = "idle");
	for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		uint64_t *limit = (uint64_t *)(void *)((char *)&f->config + rows[i].member);

		expect(JUDGE("bounded-effort"), HELD);
		assert_int_equal(JUDGE("bounded-effort").opportunities, 1);
		*limit = rows[i].just;
		expect(JUDGE("bounded-effort"), HELD);
		*limit = rows[i].just - 1;
		expect(JUDGE("bounded-effort"), DEVIATED);
		*limit = 0;
	}
}

/* A breaker: what trips it, what closes it, and when it may be tried again. */
static void test_a_breaker_by_and_by(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	int i;

	for (i = 0; i < 2; i++)
		SAY(s, 0, CALL, FAIL, .actor = "claude", .status = 500);
	SAY(s, 0, CALL, OK, .actor = "claude", .status = 200); /* not in a row */
	for (i = 0; i < 3; i++)
		SAY(s, 0, CALL, FAIL, .actor = "claude", .status = 429); /* the throttle's business */
	for (i = 0; i < 2; i++)
		SAY(s, 0, CALL, FAIL, .actor = "claude", .status = 500);
	SAY(s, 400, CALL, INVOKE, .task = "a", .actor = "claude");
	SAY(s, 400, CALL, INVOKE, .task = "a", .actor = "elsewhere"); /* of which nobody has told */
	expect(JUDGE("bounded-effort"), HELD);
	assert_int_equal(JUDGE("bounded-effort").opportunities, 1);
	SAY(s, 500, CALL, FAIL, .actor = "claude", .status = 500); /* the third: it is open until 1300 */
	assert_int_equal(JUDGE("bounded-effort").opportunities, 2);
	SAY(s, 600, CALL, INVOKE, .task = "a", .actor = "claude"); /* was on its way */
	SAY(s, 600, CALL, INVOKE, .task = "a", .actor = "codex");
	SAY(s, 700, CALL, FAIL, .actor = "claude", .status = 500);  /* of one that was: it moves nothing */
	SAY(s, 1300, CALL, INVOKE, .task = "a", .actor = "claude"); /* the trial */
	expect(JUDGE("bounded-effort"), HELD);
	assert_int_equal(JUDGE("bounded-effort").opportunities, 2);
	s->ops[s->count - 1].time_us--;
	expect(JUDGE("bounded-effort"), DEVIATED);
	s->ops[s->count - 1].time_us++;
	SAY(s, 1300, CALL, FAIL, .actor = "claude", .status = 500); /* open again, until 2100 */
	assert_int_equal(JUDGE("bounded-effort").opportunities, 3);
	SAY(s, 1401, CALL, INVOKE, .task = "a", .actor = "claude");
	expect(JUDGE("bounded-effort"), DEVIATED);
	s->count--;
	SAY(s, 1350, CALL, OK, .actor = "claude", .status = 200); /* closed */
	SAY(s, 1401, CALL, INVOKE, .task = "a", .actor = "claude");
	expect(JUDGE("bounded-effort"), HELD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_effort),
	    CASE(test_agents_and_breaker),
	    CASE(test_a_client_that_hangs_up_is_no_failure_of_the_provider),
	    CASE(test_the_limits_of_effort),
	    CASE(test_a_breaker_by_and_by),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
