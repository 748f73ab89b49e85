/* SPDX-License-Identifier: Apache-2.0 */
/* The audit of fake_system after its stop: what it left in its files, its log, a second recovery. */
#include "system_fixture.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_half_written_and_left_over_files_are_found(void **state)
{
	struct fixture *fixture = *state;
	struct want half = {.kind = OP_STATEFILE, .type = OP_FAIL, .actor = ".sdd/half.json"};
	struct want left = {.kind = OP_STATEFILE, .type = OP_FAIL, .actor = ".sdd/left.json.tmp"};
	struct want good = {.kind = OP_STATEFILE, .type = OP_OK, .actor = ".sdd/metrics/slos.json"};

	start(fixture, NULL);
	observe(fixture);
	assert_true(count(fixture, &good) >= 1);
	assert_int_equal(submit(fixture, "one", "half"), 0);
	await(fixture, &half, 0);
	assert_int_equal(submit(fixture, "two", "leave"), 0);
	stop(fixture);
	assert_int_equal(count(fixture, &left), 0);
	audit(fixture);
	assert_int_equal(count(fixture, &left), 1);
	assert_non_null(strstr(left.said, "left over"));
	half.detail = NULL;
	assert_true(count(fixture, &half) >= 2); /* seen then, and there still */
}

static void test_audit_of_a_good_log(void **state)
{
	struct fixture *fixture = *state;
	struct want verify = {.kind = OP_WAL, .type = OP_OK, .actor = "verify"};
	struct want replay = {.kind = OP_WAL, .type = OP_OK, .actor = "replay"};
	struct want recover = {.kind = OP_WAL, .type = OP_OK, .actor = "recover-twice"};
	struct error err;
	char path[128];

	start(fixture, NULL);
	assert_int_equal(submit(fixture, "one", ""), 0);
	assert_int_equal(submit(fixture, "two", ""), 0);
	assert_int_equal(system_outcomes(fixture->system, &err), 0);
	assert_int_equal(system_audit(fixture->system, &err), -1); /* not while it runs */
	stop(fixture);
	audit(fixture);
	assert_int_equal(count(fixture, &verify), 1);
	assert_int_equal(verify.found.value, 2);
	assert_int_equal(count(fixture, &replay), 1);
	assert_int_equal(replay.found.value, 2);
	assert_int_equal(count(fixture, &recover), 1);
	assert_int_equal(recover.found.value, 2);
	assert_non_null(strstr(recover.said, "killed"));
	snprintf(path, sizeof path, "%s/audit", fixture->dir);
	assert_int_equal(access(path, F_OK), -1); /* nothing was found: the copy is not kept */
}

static void test_audit_recovers_from_where_it_crashed(void **state)
{
	struct fixture *fixture = *state;
	struct want back = {.kind = OP_SYSTEM, .type = OP_OK, .detail = "restart"};
	struct want replay = {.kind = OP_WAL, .type = OP_OK, .actor = "replay"};
	struct want recover = {.kind = OP_WAL, .type = OP_OK, .actor = "recover-twice"};
	struct error err;

	start(fixture, NULL);
	assert_int_equal(submit(fixture, "one", ""), 0);
	assert_int_equal(submit(fixture, "two", "crash"), 2);
	await(fixture, &back, 0);
	assert_int_equal(submit(fixture, "two", ""), 0);
	assert_int_equal(system_outcomes(fixture->system, &err), 0);
	stop(fixture);
	audit(fixture);
	assert_int_equal(count(fixture, &replay), 1);
	assert_int_equal(replay.found.value, 2); /* at the end */
	assert_int_equal(count(fixture, &recover), 1);
	assert_int_equal(recover.found.value, 1); /* then */
	assert_non_null(strstr(recover.said, "first crash"));
}

static void test_audit_finds_a_recovery_that_drifts(void **state)
{
	struct fixture *fixture = *state;
	char *drift[] = {(char[]){"--drift"}, NULL};
	struct spec_strings arguments = {.items = drift, .count = 1};
	struct want recover = {.kind = OP_WAL, .type = OP_FAIL, .actor = "recover-twice"};

	start(fixture, &arguments);
	assert_int_equal(submit(fixture, "one", ""), 0);
	stop(fixture);
	audit(fixture);
	assert_int_equal(count(fixture, &recover), 1);
	assert_non_null(strstr(recover.said, "recovered twice"));
}

static void test_audit_finds_a_task_that_the_log_does_not_know(void **state)
{
	struct fixture *fixture = *state;
	struct want replay = {.kind = OP_WAL, .type = OP_FAIL, .actor = "replay"};

	start(fixture, NULL);
	assert_int_equal(submit(fixture, "one", ""), 0);
	history_append(
	    fixture->history, &(struct op){.kind = OP_OUTCOME, .type = OP_OK, .pair = OP_NONE, .task = "ghost"});
	stop(fixture);
	audit(fixture);
	assert_int_equal(count(fixture, &replay), 1);
	assert_non_null(strstr(replay.said, "ghost"));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    SYSTEM_TEST(test_half_written_and_left_over_files_are_found),
	    SYSTEM_TEST(test_audit_of_a_good_log),
	    SYSTEM_TEST(test_audit_recovers_from_where_it_crashed),
	    SYSTEM_TEST(test_audit_finds_a_recovery_that_drifts),
	    SYSTEM_TEST(test_audit_finds_a_task_that_the_log_does_not_know),
	};

	return system_fixture_main(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
