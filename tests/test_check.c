/* SPDX-License-Identifier: Apache-2.0 */
/* Each invariant: a history that holds it, one that breaks it, one that gives it no opportunity. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "check/observed.h"
#include "tests/story.h"

struct fixture {
	struct story story;
	struct check_config config;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	assert_non_null(f);
	check_config_init(&f->config);
	f->config.providers[0] = "claude";
	f->config.providers[1] = "codex";
	f->config.providers[2] = "gemini";
	f->config.provider_count = 3;
	f->config.throttle_grace_us = 100000;
	f->config.breaker_threshold = 3;
	f->config.breaker_reset_us = 800000;
	f->config.attempts_max = 3;
	f->config.agents_max = 2;
	f->config.claim_slack_us = 500000;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

#define JUDGE(name)    story_judge(&f->story, name, &f->config)
#define expect(r, how) assert_int_equal((r).verdict, CHECK_##how)

static void test_every_checker_is_vacuous_over_nothing(void **state)
{
	struct fixture *f = *state;
	const struct check *const *c;
	size_t n = 0;

	for (c = check_table; *c; c++, n++) {
		struct check_result r = JUDGE((*c)->name);

		expect(r, VACUOUS);
		assert_int_equal(r.opportunities, 0);
	}
	assert_int_equal(n, 12);
}

static void test_a_plain_run_deviates_nowhere(void **state)
{
	struct fixture *f = *state;
	const struct check *const *c;

	story_task(&f->story, 0, "a", "c1");
	story_task(&f->story, 10, "b", "c2");
	for (c = check_table; *c; c++)
		assert_int_not_equal(JUDGE((*c)->name).verdict, CHECK_DEVIATED);
}

static void test_duplicate_commit(void **state)
{
	struct fixture *f = *state;
	struct check_result r;

	story_task(&f->story, 0, "a", "c1");
	r = JUDGE("no-duplicate-commit");
	expect(r, HELD);
	SAY(&f->story, 20, COMMIT, OK, .task = "a", .key = "c1"); /* the same commit seen again is no second one */
	expect(JUDGE("no-duplicate-commit"), HELD);
	SAY(&f->story, 30, COMMIT, OK, .task = "a", .key = "c9", .attempt = 2);
	r = JUDGE("no-duplicate-commit");
	expect(r, DEVIATED);
	assert_int_equal(r.violations, 1);
	assert_int_equal(r.findings[0].evidence_count, 3);
	assert_int_equal(r.findings[0].evidence[2], f->story.count - 1);
}

static void test_lost_task(void **state)
{
	struct fixture *f = *state;

	SAY(&f->story, 0, SUBMIT, INVOKE, .task = "a");
	SAY(&f->story, 1, SUBMIT, INFO, .task = "a");
	expect(JUDGE("no-lost-task"), VACUOUS); /* nobody was promised anything */
	SAY(&f->story, 2, SUBMIT, OK, .task = "a");
	expect(JUDGE("no-lost-task"), DEVIATED);
	SAY(&f->story, 3, OUTCOME, FAIL, .task = "a", .detail = "network"); /* a loud failure is an end */
	expect(JUDGE("no-lost-task"), HELD);
	SAY(&f->story, 4, SUBMIT, OK, .task = "b");
	SAY(&f->story, 5, OUTCOME, OK, .task = "b"); /* called done, never committed */
	expect(JUDGE("no-lost-task"), DEVIATED);
	SAY(&f->story, 6, COMMIT, OK, .task = "b", .key = "c2");
	expect(JUDGE("no-lost-task"), HELD);
}

static void test_zombie_commit(void **state)
{
	struct fixture *f = *state;

	story_task(&f->story, 0, "a", "c1");
	expect(JUDGE("no-zombie-commit"), VACUOUS);
	SAY(&f->story, 10, CALL, INVOKE, .task = "b", .actor = "claude", .attempt = 1);
	SAY(&f->story, 20, CALL, INVOKE, .task = "b", .actor = "claude", .attempt = 2);
	SAY(&f->story, 30, COMMIT, OK, .task = "b", .key = "c2", .attempt = 2, .epoch = 1);
	expect(JUDGE("no-zombie-commit"), HELD);
	SAY(&f->story, 40, COMMIT, OK, .task = "b", .key = "c3", .attempt = 1, .epoch = 1);
	expect(JUDGE("no-zombie-commit"), DEVIATED);
}

static void test_zombie_epoch(void **state)
{
	struct fixture *f = *state;

	SAY(&f->story, 0, COMMIT, OK, .task = "a", .key = "c1", .attempt = 1, .epoch = 1);
	SAY(&f->story, 10, COMMIT, OK, .task = "b", .key = "c2", .attempt = 1, .epoch = 2);
	expect(JUDGE("no-zombie-commit"), HELD);
	SAY(&f->story, 20, COMMIT, OK, .task = "c", .key = "c3", .attempt = 1, .epoch = 1);
	expect(JUDGE("no-zombie-commit"), DEVIATED);
}

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

static void test_notified(void **state)
{
	struct fixture *f = *state;

	f->config.notify_limit_us = 1000000;
	SAY(&f->story, 0, COMMIT, OK, .task = "a", .key = "c1");
	expect(JUDGE("every-confirmed-notified"), DEVIATED);
	SAY(&f->story, 500, NOTIFY, FAIL, .task = "a", .status = 503);
	expect(JUDGE("every-confirmed-notified"), DEVIATED);
	SAY(&f->story, 900, NOTIFY, OK, .task = "a", .status = 200);
	expect(JUDGE("every-confirmed-notified"), HELD);
	f->story.ops[2].time_us = 1100000;
	expect(JUDGE("every-confirmed-notified"), DEVIATED); /* too late */
	f->story.ops[2].kind = OP_REVERT; /* the fault ended only then: the limit counts from there */
	f->story.ops[2].type = OP_OK;
	SAY(&f->story, 1900, NOTIFY, OK, .task = "a", .status = 200);
	expect(JUDGE("every-confirmed-notified"), HELD);
}

static void fault_and_revert(struct story *s, uint64_t from, uint64_t to)
{
	SAY(s, from, FAULT, INVOKE, .actor = "f");
	SAY(s, from + 1, FAULT, OK, .actor = "f");
	SAY(s, to, REVERT, INVOKE, .actor = "f");
	SAY(s, to, REVERT, OK, .actor = "f");
}

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

static void test_observations_of_files_and_log(void **state)
{
	struct fixture *f = *state;

	SAY(&f->story, 0, WAL, OK, .actor = "verify");
	SAY(&f->story, 0, STATEFILE, OK, .actor = "slos.json");
	expect(JUDGE("wal-intact"), HELD);
	expect(JUDGE("no-half-written"), HELD);
	SAY(&f->story, 1, WAL, FAIL, .actor = "replay", .detail = "LSN 7");
	SAY(&f->story, 1, STATEFILE, FAIL, .actor = "slos.json", .detail = "ends at byte 4096");
	expect(JUDGE("wal-intact"), DEVIATED);
	expect(JUDGE("no-half-written"), DEVIATED);
}

static void test_worktree(void **state)
{
	struct fixture *f = *state;

	SAY(&f->story, 0, EVIDENCE, OK, .actor = "f", .key = "removed-path", .detail = "work/a.md");
	SAY(&f->story, 0, EVIDENCE, OK, .actor = "f", .key = "removed-task", .detail = "b");
	SAY(&f->story, 5, SUBMIT, OK, .task = "b");
	expect(JUDGE("worktree-integrity"), DEVIATED); /* it has neither gone on nor failed */
	SAY(&f->story, 10, COMMIT, OK, .task = "b", .key = "c1");
	expect(JUDGE("worktree-integrity"), HELD);
	SAY(&f->story, 11, DELETION, OK, .task = "b", .key = "c1", .actor = "other.md");
	expect(JUDGE("worktree-integrity"), HELD);
	SAY(&f->story, 12, DELETION, OK, .task = "b", .key = "c1", .actor = "work/a.md");
	expect(JUDGE("worktree-integrity"), DEVIATED);
}

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
	SAY(&f->story, 5900, COMMIT, OK, .task = "a", .key = "c1");
	expect(JUDGE("progress"), HELD);
	f->story.ops[f->story.count - 1].time_us = 6100000;
	expect(JUDGE("progress"), DEVIATED);
}

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

/* ---- how each could be fooled ---- */

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
	SAY(&f->story, 1001, FAULT, INVOKE, .actor = "f");
	SAY(&f->story, 1002, REVERT, OK, .actor = "f");
	SAY(&f->story, 1003, COMMIT, OK, .task = "a", .key = "c1");
	expect(JUDGE("progress"), DEVIATED);
	f->story.ops[1].time_us = 1000000;
	expect(JUDGE("progress"), HELD);
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

/* With anything quadratic in it this takes hours, and runs into the test's timeout. */
static void test_a_million_operations(void **state)
{
	enum { OPS = 1000000, TASKS = OPS / 10 };
	struct fixture *f = *state;
	struct op *ops = calloc(OPS, sizeof *ops);
	char(*names)[12] = calloc(TASKS, sizeof *names);
	const struct check *const *c;
	size_t n, k;

	assert_non_null(ops);
	assert_non_null(names);
	for (n = 0; n < TASKS; n++) {
		/* Each task is committed twice, by two attempts of which the first is a zombie, and never notified. */
		const struct op life[] = {
		    {.kind = OP_SUBMIT, .type = OP_OK},
		    {.kind = OP_CALL, .type = OP_INVOKE, .actor = "claude", .attempt = 1},
		    {.kind = OP_CALL, .type = OP_FAIL, .actor = "claude", .attempt = 1, .status = 500},
		    {.kind = OP_CALL, .type = OP_INVOKE, .actor = "claude", .attempt = 2},
		    {.kind = OP_COMMIT, .type = OP_OK, .key = names[n], .attempt = 2},
		    {.kind = OP_COMMIT, .type = OP_OK, .key = "again", .attempt = 1},
		    {.kind = OP_NOTIFY, .type = OP_FAIL},
		    {.kind = OP_CLAIM, .type = OP_OK, .actor = "delivery", .value = 1},
		    {.kind = OP_FAULT, .type = OP_OK, .actor = "f"},
		    {.kind = OP_REVERT, .type = OP_OK, .actor = "f"},
		};

		snprintf(names[n], sizeof names[n], "t%zu", n);
		for (k = 0; k < 10; k++) {
			struct op *op = &ops[10 * n + k];

			*op = life[k];
			op->index = 10 * n + k;
			op->time_us = op->index * 100;
			op->pair = OP_NONE;
			op->task =
			    op->kind == OP_CLAIM || op->kind == OP_FAULT || op->kind == OP_REVERT ? "" : names[n];
			op->actor = op->actor ? op->actor : "";
			op->key = op->key ? op->key : "";
			op->detail = "";
		}
	}
	f->config.slo_tasks = 0;
	for (c = check_table; *c; c++) {
		const struct history_view view = {ops, OPS};
		struct check_result r;

		(*c)->run(&view, &f->config, &r);
		if (!strcmp((*c)->name, "no-duplicate-commit") || !strcmp((*c)->name, "no-zombie-commit") ||
		    !strcmp((*c)->name, "every-confirmed-notified"))
			assert_int_equal(r.violations, TASKS);
		if (!strcmp((*c)->name, "dashboard-honest") || !strcmp((*c)->name, "bounded-effort"))
			expect(r, DEVIATED);
	}
	free(names);
	free(ops);
}

static void test_findings_are_bounded_and_counted(void **state)
{
	struct fixture *f = *state;
	struct check_result r;
	int i;

	for (i = 0; i < 20; i++)
		SAY(&f->story, 0, WAL, FAIL, .actor = "verify", .detail = "bad");
	r = JUDGE("wal-intact");
	assert_int_equal(r.violations, 20);
	assert_int_equal(r.finding_count, CHECK_FINDINGS_MAX);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_every_checker_is_vacuous_over_nothing),
	    CASE(test_a_plain_run_deviates_nowhere),
	    CASE(test_duplicate_commit),
	    CASE(test_lost_task),
	    CASE(test_zombie_commit),
	    CASE(test_zombie_epoch),
	    CASE(test_call_inside_throttle_window),
	    CASE(test_throttle_windows),
	    CASE(test_how_long_a_fallback_is_excused),
	    CASE(test_fallback_needs_a_reason_and_the_order),
	    CASE(test_notified),
	    CASE(test_slo_returns),
	    CASE(test_blast_radius),
	    CASE(test_dashboard),
	    CASE(test_dashboard_cries_wolf),
	    CASE(test_dashboard_success),
	    CASE(test_observations_of_files_and_log),
	    CASE(test_worktree),
	    CASE(test_progress),
	    CASE(test_progress_waits_a_fault_out),
	    CASE(test_effort),
	    CASE(test_agents_and_breaker),
	    CASE(test_a_client_that_hangs_up_is_no_failure_of_the_provider),
	    CASE(test_a_commit_of_a_task_that_was_given_up),
	    CASE(test_a_dashboard_over_an_empty_ledger_says_nothing),
	    CASE(test_a_claim_of_red_that_was_true_once),
	    CASE(test_when_a_claim_of_red_is_false),
	    CASE(test_the_claim_of_a_dead_system_is_not_its_word),
	    CASE(test_each_false_claim_is_told_once),
	    CASE(test_the_success_claimed_is_judged_both_ways),
	    CASE(test_a_client_that_tries_again_is_no_progress),
	    CASE(test_a_silence_before_a_fault_is_not_the_faults),
	    CASE(test_the_limits_of_effort),
	    CASE(test_a_breaker_by_and_by),
	    CASE(test_the_silence_of_an_idle_system_is_none),
	    CASE(test_delivery_through_time),
	    CASE(test_a_million_operations),
	    CASE(test_findings_are_bounded_and_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
