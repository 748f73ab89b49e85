/* SPDX-License-Identifier: Apache-2.0 */
/* cascade-order: each way to hold it, to break it, and to be no opportunity. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

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
	f->story.ops[0].kind = OP_NOTIFY; /* which is no call, whoever it names */
	assert_int_equal(
	    JUDGE("cascade-order").violations, 2); /* each is told once, for the first that was passed over */
	f->story.ops[1].type = OP_OK;
	assert_int_equal(JUDGE("cascade-order").violations, 1);
}

static void test_calls_are_told(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct check_result r;

	SAY(s, 0, CALL, INVOKE, .task = "a", .actor = "claude");
	r = JUDGE("cascade-order");
	assert_string_equal(r.summary, "nobody was throttled and nobody fell back in 1 calls");
	SAY(s, 1, CALL, FAIL, .actor = "claude", .status = 429, .number = 1);
	SAY(s, 2, CALL, FAIL, .actor = "claude", .status = 500);
	SAY(s, 501, CALL, INVOKE, .task = "a", .actor = "claude");
	SAY(s, 502, CALL, INVOKE, .task = "a", .actor = "gemini");
	r = JUDGE("cascade-order");
	assert_int_equal(r.violations, 2);
	TELLS(&r, 0, "task a called claude 500 ms before its throttle window ended", 1, 3);
	TELLS(&r, 1, "task a called gemini although codex comes before it and was neither throttled nor failing", 4);
	assert_string_equal(r.summary, "3 calls, 1 throttled, 2 out of order or too early");
	assert_int_equal(r.opportunities, 2);
}

/* As many providers and places as there is room for, the last of them like the first. */
static void test_a_full_cascade(void **state)
{
	static char providers[CHECK_PROVIDERS_MAX][8], places[CHECK_CASCADE_MAX][16];
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct check_result r;
	size_t i;

	for (i = 0; i < CHECK_PROVIDERS_MAX; i++) {
		snprintf(providers[i], sizeof providers[i], "p%zu", i);
		f->config.providers[i] = providers[i];
	}
	for (i = 0; i < CHECK_CASCADE_MAX; i++) {
		snprintf(places[i], sizeof places[i], "p%zu/m%zu", i / 2, i % 2);
		f->config.cascade[i] = places[i];
	}
	f->config.provider_count = CHECK_PROVIDERS_MAX;
	f->config.cascade_count = CHECK_CASCADE_MAX;
	for (i = 0; i < CHECK_CASCADE_MAX - 1; i++)
		SAY(s, 0, CALL, FAIL, .actor = providers[i / 2], .key = i % 2 ? "m1" : "m0", .status = 500);
	SAY(s, 1, CALL, INVOKE, .task = "a", .actor = "p15", .key = "m1");
	expect(JUDGE("cascade-order"), HELD);
	SAY(s, 2, CALL, FAIL, .actor = "p15", .key = "m7", .status = 429, .number = 9);
	SAY(s, 3, SYSTEM, INFO, .actor = "main"); /* which forgets what the last one said as well */
	SAY(s, 4, SYSTEM, OK, .actor = "main");
	SAY(s, 500, CALL, INVOKE, .task = "a", .actor = "p15", .key = "m1");
	expect(JUDGE("cascade-order"), HELD);
	SAY(s, 501, CALL, INVOKE, .task = "a", .actor = "p15", .key = "m7");
	r = JUDGE("cascade-order");
	assert_int_equal(r.violations, 1);
	TELLS(&r, 0, "task a called p15 with the model m7, which the cascade does not name", s->count - 1);
	s->ops[s->count - 3].type = OP_INVOKE; /* started is not yet ready: nobody hears this one either */
	SAY(s, 600, CALL, FAIL, .actor = "p15", .key = "m1", .status = 429, .number = 9);
	SAY(s, 601, SYSTEM, OK, .actor = "main");
	SAY(s, 900, CALL, INVOKE, .task = "a", .actor = "p15", .key = "m1");
	assert_int_equal(JUDGE("cascade-order").violations, 1);
}

/* What is answered while a system comes up may be heard, and need not: its window excuses a fallback, and binds nobody. */
static void test_a_window_that_somebody_may_have_heard_of(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	const uint64_t window_us = 5000000, excuse_us = 800000 + 4 * 100000 + 1000000;

	SAY(s, 900, SYSTEM, INFO, .actor = "main");
	SAY(s, 950, SYSTEM, INVOKE, .actor = "main");
	SAY(s, 1000, CALL, FAIL, .actor = "claude", .status = 429, .number = 5);
	SAY(s, 1001, SYSTEM, OK, .actor = "main");
	SAY(s, 0, CALL, INVOKE, .task = "a", .actor = "codex");
	s->ops[4].time_us = 1001000 + window_us + excuse_us - 1; /* who has come up may count anew from there */
	expect(JUDGE("cascade-order"), HELD);
	s->ops[4].time_us++;
	expect(JUDGE("cascade-order"), DEVIATED);
	s->ops[4].time_us = 2000000;
	s->ops[4].actor = "claude";
	expect(JUDGE("cascade-order"), HELD);
}

/* A 429 that reached an agent of a system that was dying, or dead, was told to nobody. */
static void test_a_window_that_nobody_heard_of(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;

	SAY(s, 1000, CALL, FAIL, .actor = "claude", .status = 429, .number = 5);
	SAY(s, 1100, SYSTEM, INFO, .actor = "main");
	SAY(s, 1200, SYSTEM, OK, .actor = "main");
	SAY(s, 1500, CALL, INVOKE, .task = "a", .actor = "claude");
	expect(JUDGE("cascade-order"), HELD);
	s->ops[1].time_us++; /* it had its time to write it down */
	expect(JUDGE("cascade-order"), DEVIATED);
	s->ops[1].time_us = 900000;
	s->ops[1].kind = OP_CALL;
	s->ops[1].actor = "codex";
	expect(JUDGE("cascade-order"), DEVIATED);
	s->count = 0;
	SAY(s, 900, SYSTEM, INFO, .actor = "main");
	SAY(s, 1000, CALL, FAIL, .actor = "claude", .status = 429, .number = 5);
	SAY(s, 1200, SYSTEM, OK, .actor = "main");
	SAY(s, 1500, CALL, INVOKE, .task = "a", .actor = "claude");
	expect(JUDGE("cascade-order"), HELD);
	SAY(s, 1600, CALL, FAIL, .actor = "claude", .status = 429, .number = 5); /* this one it heard */
	SAY(s, 1800, CALL, INVOKE, .task = "a", .actor = "claude");
	expect(JUDGE("cascade-order"), DEVIATED);
}

/* On a busy machine a death is seen late: it is as old as the fault that it followed. */
static void test_a_death_that_was_seen_late(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	uint64_t felt, death;

	SAY(s, 0, CALL, FAIL, .task = "a", .actor = "claude", .status = 429, .number = 5);
	felt = SAY(s, 100, FAULT, OK, .actor = "kill");
	SAY(s, 120, AGENT, OK, .task = "b", .actor = "b");
	death = SAY(s, 400, SYSTEM, INFO, .actor = "main");
	SAY(s, 500, SYSTEM, OK, .actor = "main");
	SAY(s, 2000, CALL, INVOKE, .task = "c", .actor = "claude");
	expect(JUDGE("cascade-order"), HELD);
	s->ops[felt].time_us += 1; /* it was proven after the system had heard */
	expect(JUDGE("cascade-order"), DEVIATED);
	s->ops[felt].time_us -= 1;
	s->ops[felt].type = OP_INFO; /* it was never felt */
	expect(JUDGE("cascade-order"), DEVIATED);
	s->ops[felt].type = OP_OK;
	s->ops[death].time_us = 1100001; /* it lived on for long */
	s->ops[death + 1].time_us = 1100002;
	expect(JUDGE("cascade-order"), DEVIATED);
	s->ops[death].time_us = 1100000;
	expect(JUDGE("cascade-order"), HELD);
}

/* That a provider is well again is only known from an agent that lived to tell. */
static void test_a_recovery_that_nobody_heard_of(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	uint64_t trial, death;

	f->config.breaker_reset_us = f->config.throttle_default_us = 0;
	SAY(s, 0, CALL, FAIL, .actor = "claude", .status = 500);
	trial = SAY(s, 5000, CALL, INVOKE, .task = "a", .actor = "claude");
	s->ops[SAY(s, 5010, CALL, OK, .task = "a", .actor = "claude", .status = 200)].pair = trial;
	death = SAY(s, 5110, AGENT, OK, .task = "a", .actor = "a");
	trial = SAY(s, 7000, CALL, INVOKE, .task = "b", .actor = "claude");
	SAY(s, 7000, CALL, INVOKE, .task = "c", .actor = "codex");
	expect(JUDGE("cascade-order"), HELD); /* b's is a trial */
	s->ops[death].task = "d";             /* that was another's death */
	expect(JUDGE("cascade-order"), DEVIATED);
	s->ops[death].task = "a";
	s->ops[death].time_us++; /* it has told of it */
	expect(JUDGE("cascade-order"), DEVIATED);
	s->ops[death].kind = OP_SYSTEM; /* so long after it the system has written it down */
	s->ops[death].type = OP_INFO;
	expect(JUDGE("cascade-order"), DEVIATED);
	s->ops[death].time_us--;
	expect(JUDGE("cascade-order"), HELD);
	s->ops[death].kind = OP_CALL; /* whoever goes on has told */
	s->ops[death].type = OP_INVOKE;
	s->ops[death].actor = "gemini";
	expect(JUDGE("cascade-order"), DEVIATED);
	s->ops[death].kind = OP_SYSTEM;
	s->ops[death].type = OP_INFO;
	s->ops[trial].actor = "gemini"; /* but without a trial there is no reason */
	expect(JUDGE("cascade-order"), DEVIATED);
}

/* What was let go before the breaker opened succeeds: the breaker waits for its trial all the same. */
static void test_a_success_that_was_no_trial(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	uint64_t late;

	f->config.throttle_default_us = 0;
	SAY(s, 0, CALL, FAIL, .actor = "claude", .status = 500);
	late = SAY(s, 799, CALL, INVOKE, .task = "a", .actor = "claude");
	s->ops[SAY(s, 810, CALL, OK, .task = "a", .actor = "claude", .status = 200)].pair = late;
	SAY(s, 7000, CALL, INVOKE, .task = "b", .actor = "claude");
	SAY(s, 7000, CALL, INVOKE, .task = "c", .actor = "codex");
	expect(JUDGE("cascade-order"), HELD);
	s->ops[late].time_us = 800000;
	expect(JUDGE("cascade-order"), DEVIATED);
}

/* Work in flight that was throttled may wait for its own provider, though an earlier one is well again. */
static void test_waiting_is_no_fallback(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	uint64_t again;

	SAY(s, 0, CALL, FAIL, .actor = "codex", .task = "a", .attempt = 1, .status = 429, .number = 20);
	again = SAY(s, 20000, CALL, INVOKE, .actor = "codex", .task = "a", .attempt = 1);
	expect(JUDGE("cascade-order"), HELD);
	s->ops[again].attempt = 2; /* a new attempt begins at the first place again */
	expect(JUDGE("cascade-order"), DEVIATED);
	s->ops[again].attempt = 1;
	s->ops[again].task = "b";
	expect(JUDGE("cascade-order"), DEVIATED);
	s->ops[again].task = "a";
	s->ops[again].actor = "gemini";
	expect(JUDGE("cascade-order"), DEVIATED);
	s->ops[again].actor = "codex";
	s->ops[0].status = 500;
	expect(JUDGE("cascade-order"), DEVIATED);
	s->ops[0].status = 429;
	SAY(s, 40000, CALL, INVOKE, .actor = "codex", .task = "a", .attempt = 1); /* it has waited once */
	assert_int_equal(JUDGE("cascade-order").violations, 1);
}

/* Who comes back may wait out again what it waited for: it need not know how long it was away. */
static void test_who_comes_back_waits_again(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	uint64_t death, call;

	SAY(s, 0, CALL, FAIL, .actor = "claude", .status = 500);
	death = SAY(s, 60000, SYSTEM, INFO, .actor = "main");
	SAY(s, 90000, SYSTEM, OK, .actor = "main");
	call = SAY(s, 90000 + 800 + 400 + 1000 - 1, CALL, INVOKE, .task = "a", .actor = "codex");
	expect(JUDGE("cascade-order"), HELD);
	s->ops[call].time_us += 1000;
	expect(JUDGE("cascade-order"), DEVIATED);
	s->ops[call].time_us -= 1000;
	s->ops[death].kind = OP_STAGE; /* it was never away */
	expect(JUDGE("cascade-order"), DEVIATED);
	s->count = 0;
	SAY(s, 0, CALL, FAIL, .actor = "claude", .status = 500);
	SAY(s, 60000, CALL, OK, .actor = "claude");
	SAY(s, 70000, SYSTEM, INFO, .actor = "main");
	SAY(s, 90000, SYSTEM, OK, .actor = "main");
	SAY(s, 90000 + 800 + 400 + 1000 - 1, CALL, INVOKE, .task = "a", .actor = "codex");
	expect(JUDGE("cascade-order"), DEVIATED); /* it had been seen to be well before */
}

/* Two models of one provider are two places. */
static void test_models_of_one_provider(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct check_result r;

	SAY(s, 0, CALL, INVOKE, .task = "a", .actor = "claude", .key = "sonnet");
	expect(JUDGE("cascade-order"), VACUOUS); /* by the providers alone, nobody can tell */
	f->config.cascade[0] = "claude/opus";
	f->config.cascade[1] = "claude/sonnet";
	f->config.cascade[2] = "codex";
	f->config.cascade_count = 3;
	r = JUDGE("cascade-order");
	expect(r, DEVIATED);
	assert_string_equal(r.findings[0].text,
	    "task a called claude/sonnet although claude/opus comes before it and was neither throttled nor failing");
	s->ops[0].key = "opus";
	expect(JUDGE("cascade-order"), VACUOUS);
	s->ops[0].key = ""; /* a model that nobody could read: the first that it may have been */
	expect(JUDGE("cascade-order"), VACUOUS);
	s->ops[0].key = "haiku";
	r = JUDGE("cascade-order");
	expect(r, DEVIATED);
	assert_int_equal(r.opportunities, 1);
	assert_int_equal(r.violations, 1);
	assert_string_equal(
	    r.findings[0].text, "task a called claude with the model haiku, which the cascade does not name");
	s->ops[0].actor = "gemini"; /* no place at all: not judged */
	expect(JUDGE("cascade-order"), VACUOUS);
	s->count = 0;
	SAY(s, 0, CALL, FAIL, .actor = "claude", .key = "sonnet", .status = 500);
	SAY(s, 10, CALL, INVOKE, .task = "a", .actor = "claude", .key = "sonnet");
	expect(JUDGE("cascade-order"), DEVIATED); /* opus is none the worse for it */
	s->ops[0].key = "opus";
	expect(JUDGE("cascade-order"), HELD);
	assert_int_equal(JUDGE("cascade-order").opportunities, 1);
	s->ops[1].actor = "codex"; /* whatever failed of a provider is a reason to go to another, with any model */
	s->ops[1].key = "codex-mini";
	expect(JUDGE("cascade-order"), HELD);
	s->ops[0].key = "sonnet";
	expect(JUDGE("cascade-order"), HELD);
	s->ops[0].key = "";
	s->ops[1].actor = "claude";
	s->ops[1].key = "sonnet";
	expect(JUDGE("cascade-order"), HELD);
}

/* A place for the provider's other models, before or behind those that are named. */
static void test_a_place_for_any_model(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;

	f->config.cascade[0] = "codex";
	f->config.cascade[1] = "claud/opus"; /* nobody */
	f->config.cascade[2] = "claude/opus";
	f->config.cascade[3] = "claude";
	f->config.cascade_count = 4;
	SAY(s, 0, CALL, FAIL, .actor = "codex", .status = 500);
	SAY(s, 1, CALL, INVOKE, .task = "a", .actor = "claude", .key = "opus");
	expect(JUDGE("cascade-order"), HELD);
	s->ops[1].key = "haiku";
	assert_string_equal(JUDGE("cascade-order").findings[0].text,
	    "task a called claude although claude/opus comes before it and was neither throttled nor failing");
	s->ops[0].actor = "claude";
	s->ops[0].key = "opus";
	assert_string_equal(JUDGE("cascade-order").findings[0].text,
	    "task a called claude although codex comes before it and was neither throttled nor failing");
	s->ops[1].actor = "codex";
	s->ops[0].status = 429;
	expect(JUDGE("cascade-order"), HELD);
	assert_int_equal(JUDGE("cascade-order").opportunities, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_call_inside_throttle_window),
	    CASE(test_throttle_windows),
	    CASE(test_how_long_a_fallback_is_excused),
	    CASE(test_fallback_needs_a_reason_and_the_order),
	    CASE(test_calls_are_told),
	    CASE(test_a_full_cascade),
	    CASE(test_a_window_that_somebody_may_have_heard_of),
	    CASE(test_a_window_that_nobody_heard_of),
	    CASE(test_a_recovery_that_nobody_heard_of),
	    CASE(test_a_death_that_was_seen_late),
	    CASE(test_a_success_that_was_no_trial),
	    CASE(test_waiting_is_no_fallback),
	    CASE(test_who_comes_back_waits_again),
	    CASE(test_models_of_one_provider),
	    CASE(test_a_place_for_any_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
