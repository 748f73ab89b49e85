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

/* Three failures at 100 ms open claude's breaker until 900 ms; the index of a trial at 1000 ms. */
static uint64_t open_and_try(struct fixture *f)
{
	int i;

	f->story.count = 0;
	for (i = 0; i < 3; i++)
		SAY(&f->story, 100, CALL, FAIL, .actor = "claude", .status = 500);
	return SAY(&f->story, 1000, CALL, INVOKE, .task = "a", .actor = "claude");
}

#define ENDS(f, ms, how, invoke, ...)                                                                                  \
	((f)->story.ops[SAY(&(f)->story, ms, CALL, how, .actor = "claude", __VA_ARGS__)].pair = (invoke))

/* While it is half open, one call at a time. */
static void test_one_trial_at_a_time(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct check_result r;
	uint64_t trial = open_and_try(f);

	expect(JUDGE("bounded-effort"), HELD);
	SAY(s, 1500, CALL, INVOKE, .task = "b", .actor = "claude"); /* the first has never ended */
	r = JUDGE("bounded-effort");
	expect(r, DEVIATED);
	assert_string_equal(
	    r.findings[0].text, "claude was called while its breaker was half open and 1 trial call was under way");
	assert_int_equal(r.findings[0].evidence_count, 3);
	assert_int_equal(r.findings[0].evidence[0], 2);
	assert_int_equal(r.findings[0].evidence[1], trial);
	assert_int_equal(r.findings[0].evidence[2], trial + 1);
	f->config.breaker_trials = 2;
	expect(JUDGE("bounded-effort"), HELD);
	SAY(s, 1501, CALL, INVOKE, .task = "c", .actor = "claude");
	r = JUDGE("bounded-effort");
	assert_int_equal(r.violations, 1);
	assert_string_equal(
	    r.findings[0].text, "claude was called while its breaker was half open and 2 trial calls were under way");
	f->config.breaker_trials = 0;
	expect(JUDGE("bounded-effort"), HELD);
	f->config.breaker_trials = CHECK_TRIALS_MAX + 1;
	expect(JUDGE("bounded-effort"), HELD);
}

/* A trial is over when its client knows, which its record may say only afterwards. */
static void test_when_a_trial_is_over(void **state)
{
	static const struct {
		enum op_type type;
		int64_t status, value;
		double number;
		uint64_t late_us; /* it was recorded so long after 1500 */
		bool over;        /* at 1500 */
	} rows[] = {
	    {OP_OK, 200, 99, 0.04, 40000, true}, {OP_OK, 200, 99, 0.039, 40000, false},
	    {OP_OK, 200, 99, -1, 40000, false}, {OP_OK, 200, 99, 0, 1, false}, {OP_OK, 200, 99, 0, 0, true},
	    {OP_FAIL, 429, 40000, 2, 40000, true}, {OP_FAIL, 429, 39999, 2, 40000, false},
	    {OP_FAIL, 429, -1, 2, 40000, false}, {OP_FAIL, 429, 0, 2, 1, false}, {OP_FAIL, 429, 1, 2, 1, true},
	    {OP_FAIL, 429, 9999999, 2, 1, true}, /* before the history began */
	};
	struct fixture *f = *state;
	uint64_t trial;
	size_t i;

	for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		trial = open_and_try(f);
		SAY(&f->story, 1500, CALL, INVOKE, .task = "b", .actor = "claude");
		ENDS(f, 1540, OK, trial, .status = rows[i].status, .value = rows[i].value, .number = rows[i].number);
		f->story.ops[f->story.count - 1].type = rows[i].type;
		f->story.ops[f->story.count - 1].time_us = 1500000 + rows[i].late_us;
		assert_int_equal(JUDGE("bounded-effort").verdict, rows[i].over ? CHECK_HELD : CHECK_DEVIATED);
	}
	trial = open_and_try(f); /* its agent was killed: whoever came next came within the grace of 100 ms */
	SAY(&f->story, 1500, CALL, INVOKE, .task = "b", .actor = "claude");
	ENDS(f, 1600, INFO, trial, .detail = OP_CLIENT_GONE);
	expect(JUDGE("bounded-effort"), HELD);
	f->story.ops[f->story.count - 1].time_us++;
	expect(JUDGE("bounded-effort"), DEVIATED);
}

/* What the end of a trial, and of other calls, makes of the breaker. */
static void test_what_a_trial_decides(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	uint64_t before, trial = open_and_try(f);

	ENDS(f, 1100, FAIL, trial, .status = 429, .number = 0); /* an answer: closed */
	SAY(s, 1200, CALL, INVOKE, .task = "b", .actor = "claude");
	SAY(s, 1200, CALL, INVOKE, .task = "c", .actor = "claude");
	expect(JUDGE("bounded-effort"), HELD);
	s->ops[trial + 1].pair = 0; /* of a call that began before: it says nothing of now */
	s->ops[trial + 1].value = 0;
	expect(JUDGE("bounded-effort"), DEVIATED);
	trial = open_and_try(f);
	ENDS(f, 1100, FAIL, trial, .status = 500); /* open again, until 1900 */
	SAY(s, 1899, CALL, INVOKE, .task = "b", .actor = "claude");
	expect(JUDGE("bounded-effort"), DEVIATED);
	assert_int_equal(JUDGE("bounded-effort").findings[0].evidence[0], trial + 1);
	s->ops[trial + 2].time_us += 1000;
	expect(JUDGE("bounded-effort"), HELD);
	assert_int_equal(JUDGE("bounded-effort").opportunities, 4); /* two tasks, and twice the breaker */
	s->ops[trial + 1].pair = 0;                                 /* but not by one that began before */
	assert_int_equal(JUDGE("bounded-effort").opportunities, 3);
	trial = open_and_try(f);
	ENDS(f, 1100, FAIL, trial, .status = 500);
	before = SAY(s, 1950, CALL, INVOKE, .task = "b", .actor = "claude"); /* the second trial */
	ENDS(f, 2000, OK, before, .status = 200);
	for (int i = 0; i < 3; i++)
		SAY(s, 2050, CALL, INVOKE, .task = "c", .actor = "claude");
	expect(JUDGE("bounded-effort"), HELD);
}

/* A success of a call that was no trial may close a breaker, or not: what fails while it may be open need not count. */
static void test_a_success_that_was_no_trial(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	uint64_t before[4], again;

	for (int i = 0; i < 4; i++)
		before[i] = SAY(s, 0, CALL, INVOKE, .task = "a", .actor = "claude");
	for (int i = 0; i < 3; i++)
		SAY(s, 100, CALL, FAIL, .task = "a", .actor = "claude", .status = 500); /* until 900 */
	ENDS(f, 110, OK, before[0], .status = 200);
	for (int i = 1; i < 4; i++)
		ENDS(f, 600, FAIL, before[i], .status = 500);
	SAY(s, 950, CALL, INVOKE, .task = "b", .actor = "claude"); /* would be open until 1400 if they counted */
	expect(JUDGE("bounded-effort"), HELD);
	assert_int_equal(JUDGE("bounded-effort").opportunities, 3);
	again = s->count;
	for (int i = 0; i < 3; i++) /* what was begun when it could not be open any more counts */
		ENDS(f, 1000, FAIL, again - 1, .status = 500);
	SAY(s, 1500, CALL, INVOKE, .task = "b", .actor = "claude");
	expect(JUDGE("bounded-effort"), DEVIATED);
	s->ops[again - 1].time_us = 899999; /* a little before it, it might */
	expect(JUDGE("bounded-effort"), HELD);
}

/* Nobody has heard of a failure whose caller died so soon that it could not tell. */
static void test_a_failure_that_nobody_heard_of(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	uint64_t death, trial;

	for (int i = 0; i < 3; i++)
		SAY(s, 0, CALL, FAIL, .task = i == 1 ? "b" : "a", .actor = "claude", .status = 500);
	death = SAY(s, 100, AGENT, OK, .task = "b", .actor = "b");
	SAY(s, 300, CALL, INVOKE, .task = "a", .actor = "claude");
	expect(JUDGE("bounded-effort"), HELD);
	s->ops[death].time_us++;
	expect(JUDGE("bounded-effort"), DEVIATED);
	s->ops[death].time_us--;
	s->ops[death].task = "c";
	expect(JUDGE("bounded-effort"), DEVIATED);
	s->ops[death].task = "b";
	s->ops[death].kind = OP_CALL; /* it goes on: it has told of it */
	s->ops[death].type = OP_INVOKE;
	s->ops[death].actor = "codex";
	expect(JUDGE("bounded-effort"), DEVIATED);
	s->count = death + 1;
	SAY(s, 100, AGENT, OK, .task = "b", .actor = "b"); /* and dies all the same */
	SAY(s, 300, CALL, INVOKE, .task = "a", .actor = "claude");
	expect(JUDGE("bounded-effort"), DEVIATED);
	s->ops[1].attempt = 1; /* another attempt at the task tells nothing of it */
	s->ops[death].attempt = 2;
	expect(JUDGE("bounded-effort"), HELD);
	s->ops[1].attempt = 2;
	expect(JUDGE("bounded-effort"), DEVIATED);
	s->ops[1].attempt = 0;
	s->count = 3;
	SAY(s, 100, AGENT, OK, .task = "b", .actor = "b");
	SAY(s, 300, CALL, INVOKE, .task = "a", .actor = "claude");
	SAY(s, 310, CALL, FAIL, .task = "a", .actor = "claude",
	    .status = 500); /* but it may have been heard, and be open */
	SAY(s, 850, CALL, INVOKE, .task = "a", .actor = "claude");
	expect(JUDGE("bounded-effort"), HELD);
	s->count--;
	SAY(s, 850, CALL, FAIL, .task = "a", .actor = "claude", .status = 500); /* now there are three */
	SAY(s, 1300, CALL, INVOKE, .task = "a", .actor = "claude");
	expect(JUDGE("bounded-effort"), DEVIATED);
	s->count = 3; /* a throttle between changes nothing of that */
	SAY(s, 50, CALL, FAIL, .task = "a", .actor = "claude", .status = 429, .number = 0);
	SAY(s, 100, AGENT, OK, .task = "b", .actor = "b");
	SAY(s, 300, CALL, INVOKE, .task = "a", .actor = "claude");
	expect(JUDGE("bounded-effort"), HELD);
	s->ops[4].task = "c"; /* it lives, and may tell of it after that answer */
	expect(JUDGE("bounded-effort"), HELD);
	s->count = 3;
	SAY(s, 40, CALL, INVOKE, .task = "b", .actor = "codex"); /* it has */
	SAY(s, 40, CALL, INVOKE, .task = "a", .actor = "claude");
	SAY(s, 50, CALL, FAIL, .task = "a", .actor = "claude", .status = 429, .number = 0);
	SAY(s, 300, CALL, INVOKE, .task = "a", .actor = "claude");
	expect(JUDGE("bounded-effort"), DEVIATED);
	trial = open_and_try(f);
	ENDS(f, 1100, FAIL, trial, .status = 500, .task = "b"); /* open again, if that was told */
	SAY(s, 1300, CALL, INVOKE, .task = "a", .actor = "claude");
	expect(JUDGE("bounded-effort"), DEVIATED);
	s->count--;
	SAY(s, 1110, AGENT, OK, .task = "b", .actor = "b");
	SAY(s, 1300, CALL, INVOKE, .task = "a", .actor = "claude");
	expect(JUDGE("bounded-effort"), HELD);
}

/* A failure that may have been heard, or not, may have opened the breaker with those that came after it. */
static void test_a_count_that_nobody_knows(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	uint64_t early, third;

	early = SAY(s, 0, CALL, INVOKE, .task = "c", .actor = "claude");
	for (int i = 0; i < 2; i++)
		SAY(s, 10, CALL, FAIL, .task = i ? "b" : "a", .actor = "claude", .status = 500);
	SAY(s, 20, AGENT, OK, .task = "b", .actor = "b");
	third =
	    SAY(s, 30, CALL, FAIL, .task = "a", .actor = "claude", .status = 500); /* open until 830, or not at all */
	ENDS(f, 600, FAIL, early, .status = 500);
	SAY(s, 835, CALL, INVOKE, .task = "a", .actor = "claude");
	expect(JUDGE("bounded-effort"), HELD);
	s->ops[third].kind =
	    OP_STAGE; /* then it can only have been two, and the last one makes three for some: until 1400 */
	SAY(s, 1399, CALL, FAIL, .task = "a", .actor = "claude", .status = 500);
	SAY(s, 1500, CALL, INVOKE, .task = "a", .actor = "claude");
	expect(JUDGE("bounded-effort"), HELD);
	s->ops[s->count - 2].time_us = 1400000; /* three for certain, and open */
	SAY(s, 1600, CALL, INVOKE, .task = "a", .actor = "claude");
	expect(JUDGE("bounded-effort"), DEVIATED);
}

/* Who saw a failure is held up, and tells of it after another one's answer: two in a row only for who watches from outside. */
static void test_a_failure_that_is_told_after_an_answer(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	uint64_t answered, went_on;

	f->config.breaker_threshold = 2;
	SAY(s, 100, CALL, INFO, .task = "a", .actor = "claude", .detail = "reset");
	SAY(s, 100, CALL, INFO, .task = "b", .actor = "claude", .detail = "reset");
	went_on = SAY(s, 130, CALL, INVOKE, .task = "b", .actor = "claude");
	answered = SAY(s, 150, CALL, FAIL, .task = "b", .actor = "claude", .status = 429, .number = 0);
	s->ops[answered].pair = went_on;
	SAY(s, 2000, CALL, INVOKE, .task = "a", .actor = "claude");
	SAY(s, 2000, CALL, INVOKE, .task = "b", .actor = "claude");
	expect(JUDGE("bounded-effort"), HELD);
	s->ops[0].task = "b"; /* both told, by who went on before that answer */
	expect(JUDGE("bounded-effort"), DEVIATED);
}

/* A throttle or a refused key is no failure, and what went on before it was not in a row with what comes after. */
static void test_a_4xx_between_failures(void **state)
{
	static const int32_t answers[] = {400, 401, 429, 499}, failures[] = {0, 500, 503};
	struct fixture *f = *state;
	struct story *s = &f->story;
	size_t i;

	SAY(s, 0, CALL, FAIL, .actor = "claude", .status = 500);
	SAY(s, 0, CALL, FAIL, .actor = "claude", .status = 500);
	SAY(s, 0, CALL, FAIL, .actor = "claude", .status = 429, .number = 0);
	SAY(s, 0, CALL, FAIL, .actor = "claude", .status = 500);
	for (i = 0; i < sizeof answers / sizeof answers[0]; i++) {
		s->ops[2].status = answers[i];
		expect(JUDGE("bounded-effort"), VACUOUS);
	}
	for (i = 0; i < sizeof failures / sizeof failures[0]; i++) {
		s->ops[2].status = failures[i];
		assert_int_equal(JUDGE("bounded-effort").opportunities, 1);
	}
}

/* In words, with what convinces: the attempt as it was first seen, the agent and the death that were one too many. */
static void test_effort_is_told(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct check_result r;

	f->config.calls_per_task_max = 3;
	f->config.tokens_per_task_max = 30;
	f->config.restarts_max = 1;
	SAY(s, 0, SUBMIT, OK, .task = "a");
	SAY(s, 1, AGENT, INVOKE, .actor = "1");
	SAY(s, 1, AGENT, OK, .actor = "nobody's");
	SAY(s, 1, AGENT, OK, .actor = "1");
	SAY(s, 1, AGENT, OK, .actor = "1"); /* gone twice is gone */
	SAY(s, 2, AGENT, INVOKE, .actor = "2");
	r = JUDGE("bounded-effort");
	expect(r, VACUOUS);
	assert_string_equal(r.summary, "0 tasks and breakers within policy, at most 1 agents at once");
	SAY(s, 3, CALL, INVOKE, .task = "a", .actor = "codex", .attempt = 4);
	SAY(s, 4, CALL, INVOKE, .task = "a", .actor = "codex",
	    .attempt = 4); /* beside each other: no breaker was ever open */
	SAY(s, 5, CALL, OK, .task = "a", .actor = "codex", .value = 31);
	SAY(s, 6, CALL, INVOKE, .task = "a", .actor = "codex", .attempt = 3);
	SAY(s, 7, CALL, INVOKE, .task = "a", .actor = "codex", .attempt = 3);
	SAY(s, 8, AGENT, INVOKE, .actor = "3");
	SAY(s, 8, PROBE, OK, .actor = "3");
	SAY(s, 9, AGENT, INVOKE, .actor = "4");
	SAY(s, 9, AGENT, INVOKE, .actor = "5"); /* it is told once */
	SAY(s, 10, SYSTEM, INFO, .actor = "main");
	SAY(s, 11, SYSTEM, INFO, .actor = "main");
	SAY(s, 12, SYSTEM, INFO, .actor = "main");
	SAY(s, 13, CALL, INVOKE, .task = "b", .actor = "codex", .attempt = 1);
	r = JUDGE("bounded-effort");
	assert_int_equal(r.violations, 5);
	assert_int_equal(r.opportunities, 2);
	TELLS(&r, 0, "task a reached attempt 4, the policy allows 3", 0, 6, 10);
	TELLS(&r, 1, "task a made 4 model calls, the policy allows 3", 0, 6, 10);
	TELLS(&r, 2, "task a spent 31 tokens, its budget is 30", 0, 6, 10);
	TELLS(&r, 3, "3 agents were alive at once, the policy allows 2", 13);
	TELLS(&r, 4, "the system died 2 times, the policy allows 1", 16);
	assert_string_equal(r.summary, "0 tasks and breakers within policy, at most 4 agents at once");
	f->config.agents_max = f->config.restarts_max = f->config.calls_per_task_max = f->config.tokens_per_task_max =
	    0;
	assert_string_equal(
	    JUDGE("bounded-effort").summary, "1 tasks and breakers within policy, at most 4 agents at once");
}

static void test_an_open_breaker_is_told(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct check_result r;
	int i;

	for (i = 0; i < 4; i++)
		SAY(s, 100, CALL, FAIL, .actor = "codex", .status = 500);
	SAY(s, 500, CALL, INVOKE, .task = "a", .actor = "gemini"); /* another's */
	expect(JUDGE("bounded-effort"), HELD);
	SAY(s, 500, CALL, INVOKE, .task = "a", .actor = "codex");
	r = JUDGE("bounded-effort");
	assert_int_equal(r.violations, 1);
	TELLS(&r, 0, "codex was called 400 ms before its breaker may close: 4 failures in a row", 2, 5);
	f->config.breaker_threshold = 0; /* none is promised */
	expect(JUDGE("bounded-effort"), HELD);
	assert_int_equal(JUDGE("bounded-effort").opportunities, 1);
}

/* As many trials at a time as there is room for, and any number of them one after the other. */
static void test_many_trials(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	uint64_t trial = open_and_try(f), i;

	for (i = 0; i < 3 * CHECK_TRIALS_MAX; i++) {
		ENDS(f, 1200 + 300 * i, INFO, trial, .detail = OP_CLIENT_GONE); /* which decides nothing */
		trial = SAY(s, 1300 + 300 * i, CALL, INVOKE, .task = "b", .actor = "claude");
	}
	expect(JUDGE("bounded-effort"), HELD);
	f->config.breaker_trials = CHECK_TRIALS_MAX;
	trial = open_and_try(f);
	for (i = 1; i < CHECK_TRIALS_MAX; i++)
		SAY(s, 1000, CALL, INVOKE, .task = "b", .actor = "claude");
	expect(JUDGE("bounded-effort"), HELD);
	SAY(s, 1000, CALL, INVOKE, .task = "b", .actor = "claude");
	assert_int_equal(JUDGE("bounded-effort").violations, 1);
	s->count--;
	ENDS(f, 1001, OK, trial + 100, .status = 200); /* of a call that nobody has seen: it closes all the same */
	SAY(s, 1002, CALL, INVOKE, .task = "b", .actor = "claude");
	expect(JUDGE("bounded-effort"), HELD);
}

/* The second of two trials decides as the first does, and those of before do not count once it is open again. */
static void test_two_trials(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	uint64_t second;

	f->config.breaker_trials = 2;
	open_and_try(f);
	second = SAY(s, 1000, CALL, INVOKE, .task = "b", .actor = "claude");
	ENDS(f, 1100, FAIL, second, .status = 500); /* open until 1900 */
	SAY(s, 1950, CALL, INVOKE, .task = "c", .actor = "claude");
	SAY(s, 1950, CALL, INVOKE, .task = "d", .actor = "claude");
	expect(JUDGE("bounded-effort"), HELD);
	SAY(s, 1950, CALL, INVOKE, .task = "e", .actor = "claude");
	assert_int_equal(JUDGE("bounded-effort").violations, 1);
	s->ops[s->count - 1].time_us = s->ops[s->count - 2].time_us = s->ops[s->count - 3].time_us = 1850000;
	assert_int_equal(JUDGE("bounded-effort").violations, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_effort),
	    CASE(test_agents_and_breaker),
	    CASE(test_a_client_that_hangs_up_is_no_failure_of_the_provider),
	    CASE(test_the_limits_of_effort),
	    CASE(test_a_breaker_by_and_by),
	    CASE(test_one_trial_at_a_time),
	    CASE(test_when_a_trial_is_over),
	    CASE(test_what_a_trial_decides),
	    CASE(test_a_success_that_was_no_trial),
	    CASE(test_a_failure_that_nobody_heard_of),
	    CASE(test_a_count_that_nobody_knows),
	    CASE(test_a_failure_that_is_told_after_an_answer),
	    CASE(test_a_4xx_between_failures),
	    CASE(test_effort_is_told),
	    CASE(test_an_open_breaker_is_told),
	    CASE(test_many_trials),
	    CASE(test_two_trials),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
