/* SPDX-License-Identifier: Apache-2.0 */
/* The explorer at wal/: all states of small work, crashed recoveries, torn bytes; and what its judge makes of acknowledgements. */
#include "explore_room.h"

#include <stdio.h>
#include <string.h>

#include "crash/record/record.h"
#include "crash/workload.h"
#include "wal/wal.h"

/* The writer's last line is not the largest: threads print when they come to it. */
static int acknowledge_out_of_order(void *arg)
{
	const char *dir = arg;
	struct wal *wal = NULL;
	struct error err;

	if (wal_open(&wal, dir, NULL, &err) < 0 || wal_append(wal, 1, "x", 1, NULL, &err) < 0 ||
	    wal_sync(wal, 0, NULL, &err) < 0)
		return 1;
	printf("7\n1\n"); /* 7 is not there, and never was */
	fflush(stdout);
	wal_close(wal);
	return 0;
}

static void test_wal_acknowledged_out_of_order(void **state)
{
	struct room *room = *state;
	struct error err = {0};

	room->options.volatiles = record_volatiles;
	room->options.kinds = 1u << MODEL_PREFIX;
	if (workload_record_call(room->dir, "it", acknowledge_out_of_order, room->dir, &room->trace, &err) < 0)
		fail_msg("%s", err.text);
	explore_it(room, &crash_judge_wal);
	assert_true(room->result.outcomes[CRASH_LOST] > 1); /* after the second line, too */
	assert_non_null(strstr(room->result.first[CRASH_LOST].reason, "LSN 7 was acknowledged"));
}

/* The recovery of each state, crashed: of as many states as were asked for, and it is said whether that is all. */
static void test_wal_recoveries(void **state)
{
	struct room *room = *state;
	struct explore_result some;
	struct error err = {0};

	room->options.volatiles = record_volatiles;
	room->options.recovery_max = 10;
	if (workload_record(room->work, "st", &room->trace, &err) < 0)
		fail_msg("%s", err.text);
	explore_it(room, &crash_judge_workload);
	some = room->result;
	assert_false(some.crashed_all);
	assert_true(some.crashed >= some.judged[MODEL_PREFIX] && some.crashed < some.contents);
	room->options.recovery_max = UINT64_MAX;
	explore_it(room, &crash_judge_workload);
	assert_true(room->result.crashed_all);
	assert_true(room->result.crashed >= room->result.contents);
	assert_true(room->result.recoveries > some.recoveries);
	assert_int_equal(room->result.outcomes[CRASH_RECOVERED], judged(&room->result) + room->result.recoveries);
}

/* A bounded part of what bench_crash does: work of each kind, each state. Refused is a deviation here. */
static void test_wal(void **state)
{
	static const char *const shapes[] = {"sSm", "lrs", "Mcs", "slt"};
	struct room *room = *state;
	struct error err = {0};
	size_t i;

	room->options.volatiles = record_volatiles;
	room->options.recovery_max = 20;
	for (i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		if (workload_record(room->work, shapes[i], &room->trace, &err) < 0)
			fail_msg("%s", err.text);
		explore_it(room, &crash_judge_workload);
		if (room->result.outcomes[CRASH_RECOVERED] != judged(&room->result) + room->result.recoveries)
			fail_msg("'%s': %s%s%s%s", shapes[i], room->result.first[CRASH_REFUSED].reason,
			    room->result.first[CRASH_LOST].reason, room->result.first[CRASH_CORRUPT].reason,
			    room->result.first[CRASH_FAILED].reason);
		assert_true(room->result.exhaustive);
		assert_true(judged(&room->result) > 200);
		assert_true(room->result.again > 3); /* most states recover to the same contents */
		assert_true(room->result.recoveries > 100);
		trace_destroy(room->trace);
		room->trace = NULL;
	}
}

/* Blocks are written ahead when the log is large: that is a write like others, of which each part may be missing. */
static void test_wal_ahead(void **state)
{
	struct room *room = *state;
	struct error err = {0};
	size_t i, ahead = 0, k;

	room->options.volatiles = record_volatiles;
	room->options.recovery_max = 20;
	room->options.states_max = 2000;
	if (workload_record(room->work, "gsM", &room->trace, &err) < 0)
		fail_msg("%s", err.text);
	for (i = 0; i < room->trace->count; i++) {
		const struct trace_op *op = &room->trace->ops[i];

		for (k = 0; op->kind == TRACE_WRITE && k < op->size && !op->data[k]; k++)
			;
		ahead += op->kind == TRACE_WRITE && k == op->size && k >= 32u << 10;
	}
	assert_int_equal(ahead, 1);
	explore_it(room, &crash_judge_workload);
	assert_int_equal(room->result.outcomes[CRASH_RECOVERED], judged(&room->result) + room->result.recoveries);
	assert_true(judged(&room->result) > 1000);
}

/* And torn between any two bytes: refused by name at worst, never wrong. */
static void test_wal_bytes(void **state)
{
	struct room *room = *state;
	struct error err = {0};

	room->options.volatiles = record_volatiles;
	room->options.kinds = 1u << MODEL_BYTE;
	room->options.states_max = 3000;
	if (workload_record(room->work, "sl", &room->trace, &err) < 0)
		fail_msg("%s", err.text);
	explore_it(room, &crash_judge_workload);
	assert_true(judged(&room->result) > 300);
	assert_int_equal(room->result.outcomes[CRASH_LOST] + room->result.outcomes[CRASH_CORRUPT] +
			     room->result.outcomes[CRASH_FAILED],
	    0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_wal_acknowledged_out_of_order, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_wal_recoveries, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_wal, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_wal_ahead, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_wal_bytes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
