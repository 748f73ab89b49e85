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

/* Where it is promised, a sink can tell a notification that comes again from another one. */
static void test_notified_by_one_key(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct check_result r;

	story_task(s, 0, "a", "c1");
	s->ops[5].key = "a:c1";
	SAY(s, 10, NOTIFY, INVOKE, .task = "a", .key = "a:c1");
	f->config.notify_keys = true;
	expect(JUDGE("every-confirmed-notified"), HELD);
	s->ops[s->count - 1].key = "a:2";
	r = JUDGE("every-confirmed-notified");
	TELLS(&r, 0, "task a was notified as a:c1, then as a:2: the sink cannot know it again", 4, 5, 7);
	f->config.notify_keys = false;
	expect(JUDGE("every-confirmed-notified"), HELD);
	f->config.notify_keys = true;
	SAY(s, 20, COMMIT, OK, .task = "a", .key = "c2"); /* which is another's finding */
	expect(JUDGE("every-confirmed-notified"), HELD);
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

/* ---- word by word: what is counted, what is told, and by which operations ---- */

static void test_duplicates_are_told(void **state)
{
	struct fixture *f = *state;
	struct check_result r;

	story_task(&f->story, 0, "a", "c1");
	story_task(&f->story, 10, "b", "c2");
	assert_string_equal(
	    JUDGE("no-duplicate-commit").summary, "2 commits, 0 tasks committed twice, 0 commits of no known task");
	SAY(&f->story, 30, COMMIT, OK, .task = "a", .key = "c9", .attempt = 2);
	SAY(&f->story, 31, COMMIT, OK, .key = "c8");
	r = JUDGE("no-duplicate-commit");
	assert_int_equal(r.opportunities, 4);
	TELLS(&r, 0, "task a was committed 2 times: c1 (attempt 1) and c9 (attempt 2)", 1, 4, 14);
	TELLS(&r, 1, "commit c8 names no task", 15);
	assert_string_equal(r.summary, "4 commits, 1 tasks committed twice, 1 commits of no known task");
	f->config.commits = CHECK_PROMISE_NONE;
	r = JUDGE("no-duplicate-commit");
	TELLS(&r, 0,
	    "task a was committed 2 times: c1 (attempt 1) and c9 (attempt 2); the system does not promise exactly-once",
	    1, 4, 14);
	/* At least once: the second commit of a task may be; that of no task may not. */
	assert_int_equal(r.permitted, 0);
	f->config.commits = CHECK_AT_LEAST_ONCE;
	r = JUDGE("no-duplicate-commit");
	assert_int_equal(r.violations, 2);
	assert_int_equal(r.permitted, 1);
	f->config.commits = CHECK_AT_MOST_ONCE;
	r = JUDGE("no-duplicate-commit");
	assert_int_equal(r.permitted, 0);
	f->config.commits = CHECK_EXACTLY_ONCE;
	f->story.ops[14].attempt = 0; /* the ledger does not say */
	r = JUDGE("no-duplicate-commit");
	TELLS(&r, 0, "task a was committed 2 times: c1 (attempt 1) and c9", 1, 4, 14);
}

static void test_lost_tasks_are_told(void **state)
{
	struct fixture *f = *state;
	struct check_result r;

	SAY(&f->story, 0, SUBMIT, INVOKE, .task = "a");
	SAY(&f->story, 1500, SUBMIT, OK, .task = "a");
	SAY(&f->story, 1501, CALL, INVOKE, .task = "a");
	SAY(&f->story, 1502, SUBMIT, OK, .task = "b");
	SAY(&f->story, 1503, OUTCOME, OK, .task = "b");
	SAY(&f->story, 1504, SUBMIT, OK, .task = "c");
	SAY(&f->story, 1505, OUTCOME, FAIL, .task = "c");
	SAY(&f->story, 1506, SUBMIT, OK, .task = "d");
	SAY(&f->story, 1507, COMMIT, OK, .task = "d", .key = "c1");
	r = JUDGE("no-lost-task");
	assert_int_equal(r.opportunities, 4);
	assert_int_equal(r.violations, 2);
	TELLS(&r, 0, "task a was accepted at 1.500 s and never finished, nor was it given up", 0, 1, 2);
	TELLS(&r, 1, "task b was accepted and called done, but the ledger has no commit of it", 3, 4);
	assert_string_equal(r.summary, "4 accepted, 1 committed, 1 given up, 2 lost");
}

static void test_zombies_are_told(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct check_result r;

	SAY(s, 4, CALL, INVOKE, .task = "b", .attempt = 3);
	SAY(s, 5, CALL, INVOKE, .task = "b", .attempt = 3); /* the same attempt again: the first call of it is told */
	SAY(s, 6, CALL, INVOKE, .task = "b", .attempt = 2);
	SAY(s, 7, CALL, OK, .task = "b", .attempt = 9); /* an answer is no work */
	SAY(s, 8, CALL, INVOKE, .attempt = 9);
	SAY(s, 9, COMMIT, OK, .task = "b", .key = "c1", .attempt = 3);
	SAY(s, 10, COMMIT, OK, .task = "b", .key = "c2"); /* of an attempt that it does not say */
	SAY(s, 10, COMMIT, OK, .key = "c3", .attempt = 1);
	r = JUDGE("no-zombie-commit");
	expect(r, HELD);
	assert_int_equal(r.opportunities, 2); /* two attempts before the third */
	assert_string_equal(r.summary, "2 attempts superseded, 0 zombie commits");
	SAY(s, 20, COMMIT, OK, .task = "b", .key = "c4", .attempt = 2);
	r = JUDGE("no-zombie-commit");
	assert_int_equal(r.violations, 1);
	TELLS(&r, 0, "commit c4 of task b is from attempt 2, landed 16 ms after attempt 3 was at work", 0, 8);
	assert_string_equal(r.summary, "2 attempts superseded, 1 zombie commits");
}

static void test_zombie_epochs_are_told(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct check_result r;

	SAY(s, 0, COMMIT, OK, .task = "a", .key = "c1", .epoch = 2);
	SAY(s, 1, COMMIT, OK, .task = "b", .key = "c2", .epoch = 2);
	expect(JUDGE("no-zombie-commit"), VACUOUS);
	SAY(s, 2, COMMIT, OK, .task = "c", .key = "c3"); /* says nothing of an epoch */
	SAY(s, 3, NOTIFY, OK, .task = "c", .epoch = 1);
	SAY(s, 4, COMMIT, OK, .task = "d", .key = "c4", .epoch = 4);
	r = JUDGE("no-zombie-commit");
	expect(r, HELD);
	assert_int_equal(r.opportunities, 1);
	SAY(s, 5, COMMIT, OK, .task = "e", .key = "c5", .epoch = 3);
	r = JUDGE("no-zombie-commit");
	assert_int_equal(r.violations, 1);
	TELLS(&r, 0, "commit c5 of task e landed with epoch 3 after epoch 4 had taken over", 4, 5);
}

/* A system without a sink has nobody to tell. */
static void test_nobody_to_notify(void **state)
{
	struct fixture *f = *state;
	struct check_result r;

	SAY(&f->story, 0, COMMIT, OK, .task = "a", .key = "c1");
	SAY(&f->story, 60000, STAGE, OK, .actor = "settle");
	expect(JUDGE("every-confirmed-notified"), DEVIATED);
	f->config.notifies = false;
	r = JUDGE("every-confirmed-notified");
	expect(r, VACUOUS);
	assert_string_equal(r.summary, "the system has no sink to be told of its commits");
}

static void test_notifications_are_told(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct check_result r;

	f->config.notify_limit_us = 1000000;
	SAY(s, 0, COMMIT, OK, .task = "a", .key = "c1");
	SAY(s, 1000, NOTIFY, OK, .task = "a");
	SAY(s, 1000, SUBMIT, OK, .task = "open"); /* nothing to notify of */
	r = JUDGE("every-confirmed-notified");
	expect(r, HELD);
	assert_int_equal(r.opportunities, 1);
	assert_string_equal(r.summary, "1 committed, 1 notified in time");
	s->ops[1].time_us++;
	expect(JUDGE("every-confirmed-notified"), DEVIATED);
	s->ops[0].time_us = 250000;
	s->ops[1].time_us = 1500000;
	SAY(s, 1900, NOTIFY, OK, .task = "a"); /* a repeat proves nothing */
	SAY(s, 2000, COMMIT, OK, .task = "b", .key = "c2");
	SAY(s, 2001, NOTIFY, FAIL, .task = "b");
	r = JUDGE("every-confirmed-notified");
	assert_int_equal(r.violations, 2);
	TELLS(&r, 0, "task a was notified 1.2 s after its commit, past the limit of 1.0 s", 0, 1);
	TELLS(&r, 1, "task b was committed (c2) and never notified", 4, 5);
	assert_string_equal(r.summary, "2 committed, 0 notified in time");
}

static void test_observations_are_told(void **state)
{
	struct fixture *f = *state;
	struct check_result r;

	SAY(&f->story, 0, STATEFILE, OK, .actor = "slos.json");
	expect(JUDGE("no-half-written"), HELD);
	f->story.count = 0;
	SAY(&f->story, 0, WAL, INVOKE, .actor = "verify");
	SAY(&f->story, 0, WAL, INFO, .actor = "verify");
	expect(JUDGE("wal-intact"), VACUOUS);
	expect(JUDGE("no-half-written"), VACUOUS);
	SAY(&f->story, 1, WAL, FAIL, .actor = "replay", .detail = "LSN 7");
	SAY(&f->story, 1, STATEFILE, FAIL, .actor = "slos.json", .detail = "ends at byte 4096");
	SAY(&f->story, 1, WAL, OK, .actor = "verify");
	SAY(&f->story, 1, STATEFILE, OK, .actor = "slos.json");
	r = JUDGE("wal-intact");
	assert_int_equal(r.opportunities, 2);
	TELLS(&r, 0, "replay: LSN 7", 2);
	assert_string_equal(r.summary, "2 checks of the log, 1 failed");
	r = JUDGE("no-half-written");
	assert_int_equal(r.opportunities, 2);
	TELLS(&r, 0, "slos.json: ends at byte 4096", 3);
	assert_string_equal(r.summary, "2 looks at state files, 1 found half-written");
}

static void test_removed_files_are_told(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct check_result r = JUDGE("worktree-integrity");

	assert_string_equal(r.summary, "no file was removed from a worktree");
	SAY(s, 0, DELETION, OK, .task = "b", .key = "c0", .actor = "a.md"); /* before: not the fault's */
	SAY(s, 1, PROBE, OK, .actor = "f", .key = "removed-path", .detail = "x.md");
	SAY(s, 1, EVIDENCE, OK, .actor = "f", .key = "removed-path", .detail = "a.md");
	SAY(s, 1, EVIDENCE, OK, .actor = "g", .key = "removed-task", .detail = "nobody");
	SAY(s, 1, EVIDENCE, OK, .actor = "f", .key = "other", .detail = "nobody");
	SAY(s, 1, EVIDENCE, OK, .actor = "f", .key = "removed-task", .detail = "b");
	SAY(s, 2, SUBMIT, OK, .task = "b");
	r = JUDGE("worktree-integrity");
	assert_int_equal(r.opportunities, 1);
	assert_int_equal(r.violations, 1);
	TELLS(&r, 0, "task b lost a.md and neither went on nor failed loudly", 2, 6);
	SAY(s, 3, OUTCOME, FAIL, .task = "b"); /* loudly */
	expect(JUDGE("worktree-integrity"), HELD);
	SAY(s, 4, DELETION, OK, .task = "b", .key = "c1", .actor = "a.md");
	SAY(s, 5, DELETION, OK, .task = "c", .key = "c2", .actor = "a.md"); /* another task may */
	SAY(s, 5, COMMIT, OK, .task = "b", .key = "c1", .actor = "a.md");
	r = JUDGE("worktree-integrity");
	assert_int_equal(r.violations, 1);
	TELLS(&r, 0, "task b was committed (c1) without a.md, which a fault had removed", 2, 8);
	assert_string_equal(r.summary, "1 files removed, 1 commits without them");
	s->ops[5].key = "-"; /* a fault that does not know whose it was: whoever commits without it */
	assert_int_equal(JUDGE("worktree-integrity").violations, 2);
	s->ops[8].kind = s->ops[9].kind = OP_STAGE;
	expect(JUDGE("worktree-integrity"), HELD);
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
	    CASE(test_notified_by_one_key),
	    CASE(test_observations_of_files_and_log),
	    CASE(test_worktree),
	    CASE(test_duplicates_are_told),
	    CASE(test_lost_tasks_are_told),
	    CASE(test_zombies_are_told),
	    CASE(test_zombie_epochs_are_told),
	    CASE(test_nobody_to_notify),
	    CASE(test_notifications_are_told),
	    CASE(test_observations_are_told),
	    CASE(test_removed_files_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
