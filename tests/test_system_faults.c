/* SPDX-License-Identifier: Apache-2.0 */
/* Faults that host/system makes in fake_system: at points of its code, and of its system calls. */
#include "system_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "skip.h"
#include "keeper/filter.h"

static void test_fault_points_act_when_they_are_to(void **state)
{
	struct fixture *fixture = *state;
	struct tritone_point_rule rule = {.struct_size = sizeof rule,
	    .action = TRITONE_POINT_ERROR,
	    .key = "twice",
	    .name = "work.twice",
	    .error = EIO,
	    .nth = 2,
	    .count = 1};
	struct want commit = {.kind = OP_COMMIT, .type = OP_OK};
	struct want recover = {.kind = OP_WAL, .type = OP_FAIL, .actor = "recover-twice", .detail = "two commits"};
	uint64_t hits = 0, seen = 0;
	struct error err;

	start(fixture, NULL);
	assert_int_equal(submit(fixture, "zero", ""), 0); /* before it is armed: does not count */
	assert_int_equal(system_faultpoint(fixture->system, &rule, &err), 0);
	rule.key = "other";
	assert_int_equal(system_faultpoint(fixture->system, &rule, &err), -1);
	assert_int_equal(err.code, EBUSY);
	rule.name = "work.twize";
	assert_int_equal(system_faultpoint(fixture->system, &rule, &err), -1);
	assert_int_equal(err.code, ENOTSUP);
	assert_non_null(strstr(err.text, "work.twice"));
	for (int i = 1; i <= 3; i++) {
		char task[16];

		snprintf(task, sizeof task, "task-%d", i);
		assert_int_equal(submit(fixture, task, ""), 0);
		assert_int_equal(system_rule_hits(fixture->system, "twice", &hits, &seen, &err), 0);
		assert_int_equal(seen, i);
		assert_int_equal(hits, i >= 2 ? 1 : 0);
	}
	observe(fixture);
	commit.task = "task-2";
	assert_int_equal(count(fixture, &commit), 2);
	assert_int_equal(system_rule_clear(fixture->system, "twice", &err), 0);
	assert_int_equal(system_rule_hits(fixture->system, "twice", &hits, NULL, &err), -1);
	assert_int_equal(err.code, ENOENT);
	assert_int_equal(system_rule_clear(fixture->system, "twice", &err), 0);
	stop(fixture);
	audit(fixture); /* and its ledger has a task twice */
	assert_int_equal(count(fixture, &recover), 1);
}

static void test_kill_at_a_point_counts_and_restarts(void **state)
{
	struct fixture *fixture = *state;
	struct tritone_point_rule rule = {
	    .struct_size = sizeof rule, .action = TRITONE_POINT_KILL, .key = "kill", .name = "work.twice", .count = 1};
	struct want back = {.kind = OP_SYSTEM, .type = OP_OK, .detail = "restart"};
	uint64_t hits = 0;
	struct error err;

	start(fixture, NULL);
	assert_int_equal(system_faultpoint(fixture->system, &rule, &err), 0);
	assert_int_equal(submit(fixture, "one", ""), 2);
	await(fixture, &back, 0);
	assert_int_equal(submit(fixture, "one", ""), 0);
	assert_int_equal(system_rule_hits(fixture->system, "kill", &hits, NULL, &err), 0);
	assert_int_equal(hits, 1);
}

static void test_system_calls_fail_when_they_are_to(void **state)
{
	struct fixture *fixture = *state;
	struct tritone_errno_rule rule = {.struct_size = sizeof rule,
	    .mode = TRITONE_ERRNO_REFUSE,
	    .key = "full",
	    .calls = TRITONE_CALL_WRITE | TRITONE_CALL_SYNC | TRITONE_CALL_CREATE,
	    .error = ENOSPC,
	    .count = 1};
	struct want back = {.kind = OP_SYSTEM, .type = OP_OK, .detail = "restart"};
	struct error err;
	uint64_t hits = 0;

	fixture->filter = filter_available(&err) == 0;
	start(fixture, NULL);
	rule.path = system_state_dir(fixture->system);
	if (!fixture->filter) {
		assert_int_equal(system_errno_rule(fixture->system, &rule, &err), -1);
		assert_int_equal(err.code, ENOTSUP);
		SKIP("nothing on this machine can make a system call fail");
	}
	assert_int_equal(system_errno_rule(fixture->system, &rule, &err), 0);
	assert_int_equal(system_rule_hits(fixture->system, "full", &hits, NULL, &err), 0);
	assert_int_equal(hits, 0);
	assert_int_equal(submit(fixture, "one", "red"), 2); /* it gives up when it cannot write */
	await(fixture, &back, 0);
	assert_int_equal(system_rule_hits(fixture->system, "full", &hits, NULL, &err), 0);
	assert_int_equal(hits, 1);
	assert_int_equal(system_rule_clear(fixture->system, "full", &err), 0);
	assert_int_equal(system_rule_hits(fixture->system, "full", &hits, NULL, &err), -1);
	assert_int_equal(err.code, ENOENT);
	assert_int_equal(submit(fixture, "one", "red"), 0);
}

static void test_no_filter_no_rule(void **state)
{
	struct fixture *fixture = *state;
	struct tritone_errno_rule rule = {.struct_size = sizeof rule,
	    .mode = TRITONE_ERRNO_REFUSE,
	    .key = "full",
	    .path = "/tmp",
	    .calls = TRITONE_CALL_WRITE,
	    .error = ENOSPC};
	struct error err;

	start(fixture, NULL);
	assert_int_equal(system_errno_rule(fixture->system, &rule, &err), -1);
	assert_int_equal(err.code, ENOTSUP);
	assert_int_equal(system_rule_hits(fixture->system, "full", NULL, NULL, &err), -1);
	assert_int_equal(err.code, ENOENT);
	assert_int_equal(system_rule_clear(fixture->system, "full", &err), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    SYSTEM_TEST(test_fault_points_act_when_they_are_to),
	    SYSTEM_TEST(test_kill_at_a_point_counts_and_restarts),
	    SYSTEM_TEST(test_system_calls_fail_when_they_are_to),
	    SYSTEM_TEST(test_no_filter_no_rule),
	};

	return system_fixture_main(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
