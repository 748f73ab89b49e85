/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of tasks, their commits, notifications and files: no-duplicate-commit, no-lost-task, no-zombie-commit,
 * every-confirmed-notified, wal-intact, no-half-written and worktree-integrity.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "tests/check_fixture.h"

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

/* A commit that no task accounts for: of no task, of one that nobody handed in; each once, and not before the work began. */
static void test_commits_of_no_known_task(void **state)
{
	struct fixture *f = *state;
	struct check_result r;

	SAY(&f->story, 0, COMMIT, OK, .key = "c0"); /* a repository begins somehow */
	SAY(&f->story, 0, COMMIT, OK, .task = "old", .key = "c00");
	expect(JUDGE("no-duplicate-commit"), HELD);
	story_task(&f->story, 0, "a", "c1");
	expect(JUDGE("no-duplicate-commit"), HELD);
	assert_int_equal(JUDGE("no-duplicate-commit").opportunities, 2);
	SAY(&f->story, 20, COMMIT, OK, .key = "c9");
	r = JUDGE("no-duplicate-commit");
	expect(r, DEVIATED);
	assert_int_equal(r.opportunities, 3);
	assert_string_equal(r.findings[0].text, "commit c9 names no task");
	assert_int_equal(r.findings[0].evidence[0], f->story.count - 1);
	SAY(&f->story, 30, COMMIT, OK, .task = "z", .key = "c5"); /* an identifier before it, a place behind it */
	SAY(&f->story, 40, COMMIT, OK, .key = "c9", .detail = "rewritten");
	r = JUDGE("no-duplicate-commit");
	assert_int_equal(r.violations, 2);
	assert_string_equal(r.findings[0].text, "commit c9 names no task");
	assert_string_equal(r.findings[1].text, "commit c5 is of task z, which nobody handed in");
	f->config.unasked_commits_max = 1;
	r = JUDGE("no-duplicate-commit");
	assert_int_equal(r.violations, 1);
	assert_string_equal(r.findings[0].text, "commit c5 is of task z, which nobody handed in");
	f->config.unasked_commits_max = 2;
	expect(JUDGE("no-duplicate-commit"), HELD);
	f->config.unasked_commits_max = 0;
	SAY(&f->story, 50, SUBMIT, INVOKE, .task = "z"); /* handed in after all, if not yet accepted */
	assert_int_equal(JUDGE("no-duplicate-commit").violations, 1);
}

/* More of them than are told: they are counted all the same. */
static void test_many_commits_of_no_known_task(void **state)
{
	struct fixture *f = *state;
	static char names[100][8];
	struct check_result r;
	int i;

	SAY(&f->story, 0, SUBMIT, OK, .task = "a");
	for (i = 0; i < 100; i++) {
		snprintf(names[i], sizeof names[i], "c%d", (i * 37) % 100);
		SAY(&f->story, 1, COMMIT, OK, .key = names[i]);
	}
	r = JUDGE("no-duplicate-commit");
	assert_int_equal(r.violations, 100);
	assert_int_equal(r.opportunities, 100);
	for (i = 0; i < CHECK_FINDINGS_MAX; i++)
		assert_int_equal(r.findings[i].evidence[0], i + 1);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_duplicate_commit),
	    CASE(test_commits_of_no_known_task),
	    CASE(test_many_commits_of_no_known_task),
	    CASE(test_lost_task),
	    CASE(test_zombie_commit),
	    CASE(test_zombie_epoch),
	    CASE(test_notified),
	    CASE(test_observations_of_files_and_log),
	    CASE(test_worktree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
