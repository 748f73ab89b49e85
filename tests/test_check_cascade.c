/* SPDX-License-Identifier: Apache-2.0 */
/* cascade-order: each way to hold it, to break it, and to be no opportunity. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/check_fixture.h"

static void test_call_inside_throttle_window(void **state)
{
	struct fixture *f = *state;

	SAY(&f->story, 0, CALL, INVOKE, .task = "a", .actor = "claude");
	expect(JUDGE("cascade-order"), VACUOUS);
	SAY(&f->story, 1, CALL, FAIL, .task = "a", .actor = "claude", .status = 429, .number = 1.0);
	SAY(&f->story, 50, CALL, INVOKE, .task = "b", .actor = "claude"); /* was on its way */
	SAY(&f->story, 60, CALL, INVOKE, .task = "a", .actor = "codex");
	SAY(&f->story, 1002, CALL, INVOKE, .task = "a", .actor = "claude"); /* the window is over */
	expect(JUDGE("cascade-order"), HELD);
	f->story.count = 4;
	SAY(&f->story, 500, CALL, INVOKE, .task = "a", .actor = "claude");
	expect(JUDGE("cascade-order"), DEVIATED);
}

/* What begins a window, what moves its end, and who was on his way. */
static void test_throttle_windows(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct op *last;

	f->config.throttle_max_us = 2000000;
	SAY(s, 0, CALL, FAIL, .actor = "elsewhere", .status = 429, .number = 60);
	SAY(s, 100, CALL, FAIL, .actor = "claude", .status = 429, .number = -1);
	SAY(s, 201, CALL, INVOKE, .task = "a", .actor = "claude");
	expect(JUDGE("cascade-order"), HELD); /* no Retry-After, and no default: no window */
	assert_int_equal(JUDGE("cascade-order").opportunities, 1);
	f->config.throttle_default_us = 500000;
	expect(JUDGE("cascade-order"), DEVIATED);
	last = &s->ops[2];
	last->time_us = 200000;
	expect(JUDGE("cascade-order"), HELD); /* on its way */
	last->time_us = 600000;
	expect(JUDGE("cascade-order"), HELD); /* over */
	last->time_us--;
	expect(JUDGE("cascade-order"), DEVIATED);
	s->ops[1].value = 1; /* it was sent that much before it was recorded */
	expect(JUDGE("cascade-order"), HELD);
	s->ops[1].value = 0;
	s->ops[1].number = 0; /* at once, it said */
	expect(JUDGE("cascade-order"), HELD);
	s->ops[1].number = 60; /* bounded to 2 s */
	last->time_us = 2099999;
	expect(JUDGE("cascade-order"), DEVIATED);
	last->time_us++;
	expect(JUDGE("cascade-order"), HELD);
	s->count--;
	SAY(s, 150, CALL, FAIL, .actor = "claude", .status = 429,
	    .number = 0.1); /* shortens nothing, nor begins anew */
	SAY(s, 201, CALL, INVOKE, .task = "a", .actor = "claude");
	expect(JUDGE("cascade-order"), DEVIATED);
	s->count--;
	SAY(s, 2099, CALL, FAIL, .actor = "claude", .status = 429, .number = 1); /* but lengthens it: until 3099 */
	SAY(s, 3098, CALL, INVOKE, .task = "a", .actor = "claude");
	expect(JUDGE("cascade-order"), DEVIATED);
	s->count--;
	SAY(s, 3200, CALL, FAIL, .actor = "claude", .status = 429,
	    .number = 1); /* a new one, with a grace of its own */
	SAY(s, 3300, CALL, INVOKE, .task = "a", .actor = "claude");
	expect(JUDGE("cascade-order"), HELD);
	SAY(s, 3301, CALL, INVOKE, .task = "a", .actor = "claude");
	expect(JUDGE("cascade-order"), DEVIATED);
}

/* A failure excuses a fallback for as long as the breaker, the backoff and a margin may take, and a throttle for its window besides. */
static void test_how_long_a_fallback_is_excused(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	const uint64_t excuse_us = 800000 + 4 * 100000 + 1000000;

	SAY(s, 100, CALL, INFO, .actor = "claude", .detail = "reset");
	SAY(s, 100, CALL, INVOKE, .task = "a", .actor = "codex");
	s->ops[1].time_us = 100000 + excuse_us - 1;
	expect(JUDGE("cascade-order"), HELD);
	s->ops[1].time_us++;
	expect(JUDGE("cascade-order"), DEVIATED);
	f->config.throttle_default_us = 1;
	expect(JUDGE("cascade-order"), HELD);
	f->config.throttle_default_us = 0;
	s->ops[0].type = OP_FAIL;
	s->ops[0].status = 429;
	s->ops[0].number = 1;
	s->ops[1].time_us += 999999;
	expect(JUDGE("cascade-order"), HELD);
	s->ops[1].time_us++;
	expect(JUDGE("cascade-order"), DEVIATED);
	SAY(s, 9000, CALL, OK, .actor = "codex", .status = 200); /* an answer is no call */
	assert_int_equal(JUDGE("cascade-order").violations, 1);
	assert_int_equal(JUDGE("cascade-order").opportunities, 2);
}

static void test_fallback_needs_a_reason_and_the_order(void **state)
{
	struct fixture *f = *state;

	SAY(&f->story, 0, CALL, INVOKE, .task = "a", .actor = "codex");
	expect(JUDGE("cascade-order"), DEVIATED); /* claude had done nothing */
	f->story.count = 0;
	SAY(&f->story, 0, CALL, FAIL, .task = "a", .actor = "claude", .status = 500);
	SAY(&f->story, 10, CALL, INVOKE, .task = "a", .actor = "codex");
	expect(JUDGE("cascade-order"), HELD);
	SAY(&f->story, 20, CALL, INVOKE, .task = "b", .actor = "gemini"); /* over codex's head */
	expect(JUDGE("cascade-order"), DEVIATED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_call_inside_throttle_window),
	    CASE(test_throttle_windows),
	    CASE(test_how_long_a_fallback_is_excused),
	    CASE(test_fallback_needs_a_reason_and_the_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
