/* SPDX-License-Identifier: Apache-2.0 */
/* What all invariants have in common: vacuous over nothing, silent over a plain run, linear, bounded in what they tell. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "tests/check_fixture.h"

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
		const struct history_view view = {.ops = ops, .count = OPS};
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

static void test_evidence_is_bounded_and_told_once(void **state)
{
	static const uint64_t evidence[] = {7, OP_NONE, 7, 1, 2, 3, 1, 4, 5, 6, 8, 9, 10};
	struct check_result r;

	(void)state;
	memset(&r, 0xa5, sizeof r);
	check_begin(&r);
	check_violation(&r, evidence, sizeof evidence / sizeof evidence[0], "%s", "one");
	check_violation(&r, evidence, 1, "%s", "another");
	check_end(&r, "%d", 2);
	expect(r, DEVIATED);
	assert_string_equal(r.summary, "2");
	TELLS(&r, 0, "one", 7, 1, 2, 3, 4, 5, 6, 8);
	TELLS(&r, 1, "another", 7);
}

static void test_names(void **state)
{
	const struct check *const *c;

	(void)state;
	for (c = check_table; *c; c++)
		assert_ptr_equal(check_find((*c)->name), *c);
	assert_null(check_find("no-such-invariant"));
	assert_string_equal(check_verdict_name(CHECK_VACUOUS), "vacuous");
	assert_string_equal(check_verdict_name(CHECK_HELD), "held");
	assert_string_equal(check_verdict_name(CHECK_DEVIATED), "deviated");
	assert_string_equal(check_verdict_name((enum check_verdict)99), "unknown");
}

/* What holds where neither the manifest nor the experiment says anything: changed on purpose, or not at all. */
static void test_defaults(void **state)
{
	static const struct check_config expected = {
	    .throttle_grace_us = 250000,
	    .notify_limit_us = 5000000,
	    .progress_limit_us = 5000000,
	    .graph_slack_us = 1000000,
	    .slo_window_us = 500000,
	    .slo_blast_radius = 1,
	    .slo_budget_cost = 1,
	    .claim_slack_us = 1000000,
	    .slo_task_success = 0.90,
	    .slo_notification = 0.99,
	    .slo_tasks = 50,
	    .breaker_trials = 1,
	    .commits = CHECK_EXACTLY_ONCE,
	    .notifies = true,
	};
	struct check_config config;

	(void)state;
	memset(&config, 0, sizeof config);
	config.restarts_max = 7;
	check_config_init(&config);
	assert_memory_equal(&config, &expected, sizeof config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_every_checker_is_vacuous_over_nothing),
	    CASE(test_a_plain_run_deviates_nowhere),
	    CASE(test_a_million_operations),
	    CASE(test_findings_are_bounded_and_counted),
	    CASE(test_evidence_is_bounded_and_told_once),
	    CASE(test_names),
	    CASE(test_defaults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
