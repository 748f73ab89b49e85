/* SPDX-License-Identifier: Apache-2.0 */
/* What the checkers share: one pass over the history, each fact of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "tests/check_fixture.h"

/* Gathered from the story; the caller finishes. */
static struct facts gather(const struct story *s)
{
	const struct history_view view = {.ops = s->ops, .count = s->count};
	struct facts facts;

	memset(&facts, 0xa5, sizeof facts);
	facts_gather(&facts, &view);
	return facts;
}

static void test_of_a_task(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	const struct task_facts *a;
	struct facts facts;

	SAY(s, 0, SUBMIT, INVOKE, .task = "a");
	SAY(s, 0, SUBMIT, INVOKE, .task = "a");
	SAY(s, 1, SUBMIT, OK, .task = "a");
	SAY(s, 1, SUBMIT, OK, .task = "a");
	SAY(s, 2, CALL, INVOKE, .task = "a", .attempt = 2);
	SAY(s, 2, CALL, INVOKE, .task = "a", .attempt = 2);
	SAY(s, 3, CALL, OK, .task = "a", .attempt = 9, .value = 10);
	SAY(s, 3, CALL, OK, .task = "a", .value = 20);
	SAY(s, 3, CALL, FAIL, .task = "a", .value = 1000);
	SAY(s, 3, AGENT, OK, .task = "a", .value = 4711);
	SAY(s, 4, COMMIT, OK, .task = "a", .key = "c1", .attempt = 3);
	SAY(s, 4, COMMIT, OK, .task = "a", .key = "c1", .attempt = 3);
	SAY(s, 5, COMMIT, OK, .task = "a", .key = "c2");
	SAY(s, 5, COMMIT, OK, .task = "a", .key = "c1");
	SAY(s, 5, COMMIT, OK, .task = "a", .key = "c3");
	SAY(s, 6, NOTIFY, INVOKE, .task = "a");
	SAY(s, 6, NOTIFY, OK, .task = "a");
	SAY(s, 6, NOTIFY, OK, .task = "a");
	SAY(s, 7, OUTCOME, INFO, .task = "a");
	SAY(s, 7, OUTCOME, OK, .task = "a");
	SAY(s, 7, OUTCOME, OK, .task = "a");
	SAY(s, 8, OUTCOME, FAIL, .task = "a");
	SAY(s, 8, OUTCOME, FAIL, .task = "a");
	SAY(s, 9, PROBE, OK, .task = "a");
	SAY(s, 9, SUBMIT, FAIL, .task = "b");
	facts = gather(s);
	assert_int_equal(facts.count, 2);
	a = facts_task(&facts, "a");
	assert_ptr_equal(a, &facts.tasks[0]);
	assert_int_equal(a->submitted, 0);
	assert_int_equal(a->accepted, 2);
	assert_int_equal(a->calls, 2);
	assert_int_equal(a->tokens, 30);
	assert_int_equal(a->attempt_max, 3);
	assert_int_equal(a->attempt_max_at, 10);
	assert_int_equal(a->first_commit, 10);
	assert_int_equal(a->other_commit, 12);
	assert_int_equal(a->last_commit, 14);
	assert_int_equal(a->commits, 4);
	assert_int_equal(a->notified, 16);
	assert_int_equal(a->done, 19);
	assert_int_equal(a->given_up, 21);
	assert_int_equal(a->last_seen, 23);
	assert_int_equal(facts_task(&facts, "b")->submitted, OP_NONE);
	assert_int_equal(facts_task(&facts, "b")->attempt_max_at, OP_NONE);
	assert_null(facts_task(&facts, "c"));
	assert_int_equal(op_time(&(struct history_view){.ops = s->ops, .count = s->count}, 4, 7), 2000);
	assert_int_equal(op_time(&(struct history_view){.ops = s->ops, .count = s->count}, OP_NONE, 7), 7);
	facts_finish(&facts);
	assert_null(facts.tasks);
	assert_int_equal(facts.count, 0);
	facts_finish(&facts); /* once more is harmless */
}

static void test_of_the_run(void **state)
{
	struct fixture *f = *state;
	struct story *s = &f->story;
	struct facts facts = gather(s);

	assert_int_equal(facts.settled, OP_NONE);
	assert_int_equal(facts.end_us, 0);
	facts_finish(&facts);
	SAY(s, 1, FAULT, INVOKE, .actor = "f");
	SAY(s, 2, FAULT, INFO, .actor = "f");
	SAY(s, 3, REVERT, INVOKE, .actor = "f");
	SAY(s, 3, REVERT, FAIL, .actor = "f");
	SAY(s, 4, STAGE, OK, .actor = "watch");
	facts = gather(s);
	assert_int_equal(facts.first_felt, OP_NONE);
	assert_int_equal(facts.last_revert, OP_NONE);
	assert_int_equal(facts.settled, 4); /* it never settled: its end */
	assert_int_equal(facts.end_us, 4000);
	facts_finish(&facts);
	SAY(s, 5, FAULT, OK, .actor = "f");
	SAY(s, 5, FAULT, OK, .actor = "g");
	SAY(s, 6, REVERT, OK, .actor = "f");
	SAY(s, 6, REVERT, OK, .actor = "g");
	SAY(s, 7, STAGE, INVOKE, .actor = "settle");
	SAY(s, 8, STAGE, OK, .actor = "settle");
	SAY(s, 8, STAGE, FAIL, .actor = "settle");
	SAY(s, 9, STAGE, OK, .actor = "stop");
	SAY(s, 9, CLAIM, OK, .actor = "settle");
	facts = gather(s);
	assert_int_equal(facts.count, 0);
	assert_int_equal(facts.first_felt, 5);
	assert_int_equal(facts.last_revert, 8);
	assert_int_equal(facts.settled, 10);
	assert_int_equal(facts.end_us, 9000);
	facts_finish(&facts);
}

/* More tasks than there is room for at first, each found again. */
static void test_of_many_tasks(void **state)
{
	static char names[500][8];
	struct fixture *f = *state;
	struct facts facts;
	size_t i;

	for (i = 0; i < 500; i++) {
		snprintf(names[i], sizeof names[i], "t%zu", i);
		SAY(&f->story, 0, SUBMIT, OK, .task = names[i]);
	}
	facts = gather(&f->story);
	assert_int_equal(facts.count, 500);
	for (i = 0; i < 500; i++) {
		assert_ptr_equal(facts_task(&facts, names[i]), &facts.tasks[i]);
		assert_int_equal(facts.tasks[i].accepted, i);
	}
	assert_null(facts_task(&facts, "t500"));
	facts_finish(&facts);
}

/* A verdict over half of a history is worse than none: without memory there is no verdict. */
static void test_without_memory(void **state)
{
	int status = 0, fds[2];
	char said[128] = "";
	pid_t pid;

	(void)state;
	assert_ptr_equal(facts_need(said), said);
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		signal(SIGABRT, SIG_DFL);
		dup2(fds[1], STDERR_FILENO);
		facts_need(NULL);
		_exit(0);
	}
	close(fds[1]);
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(read(fds[0], said, sizeof said - 1) > 0);
	close(fds[0]);
	assert_string_equal(said, "tritone: no memory to judge the history\n");
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_of_a_task),
	    CASE(test_of_the_run),
	    CASE(test_of_many_tasks),
	    CASE(test_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
