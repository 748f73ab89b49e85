/* SPDX-License-Identifier: Apache-2.0 */
/* The explorer at writers with the mistakes that are really made, and at one without; the smallest state; and judges that die, hang
 * or give up. */
#include "explore_room.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "crash/minimal.h"

static void test_right(void **state)
{
	struct room *room = *state;

	record_writer(room, NO_MISTAKE);
	explore_it(room, &by_value);
	assert_true(room->result.exhaustive);
	assert_true(judged(&room->result) > 10);
	assert_int_equal(room->result.outcomes[CRASH_RECOVERED], judged(&room->result));
	/* as many processes as one likes: the same states */
	{
		const uint64_t before = judged(&room->result), contents = room->result.contents;

		room->options.jobs = 5;
		explore_it(room, &by_value);
		assert_int_equal(judged(&room->result), before);
		assert_int_equal(room->result.contents, contents);
	}
}

static void expect_mistake(struct room *room, enum mistake mistake, enum crash_outcome outcome)
{
	record_writer(room, mistake);
	explore_it(room, &by_value);
	assert_true(room->result.outcomes[outcome] > 0);
	assert_true(room->result.first[outcome].found);
	assert_true(explore_deviates(&room->result.first[outcome]));
	assert_int_equal(all_outcomes(&room->result), judged(&room->result));
}

static void test_no_sync(void **state)
{
	expect_mistake(*state, NO_SYNC, CRASH_CORRUPT);
}

static void test_no_dir_sync(void **state)
{
	expect_mistake(*state, NO_DIR_SYNC, CRASH_LOST);
}

static void test_ack_first(void **state)
{
	expect_mistake(*state, ACK_FIRST, CRASH_LOST);
}

static void test_in_place(void **state)
{
	struct room *room = *state;

	/* one sector after the other: whole writes would do, but disks do not promise them */
	room->options.kinds = 1u << MODEL_PREFIX;
	record_writer(room, IN_PLACE);
	explore_it(room, &by_value);
	assert_int_equal(room->result.outcomes[CRASH_CORRUPT], 1); /* created, and still empty */
	room->options.kinds = MODEL_DEFAULT;
	explore_it(room, &by_value);
	assert_true(room->result.outcomes[CRASH_CORRUPT] > 1);
}

/* What deviates is written out, can be opened, and the judge says the same of it again. */
static void test_smallest(void **state)
{
	struct room *room = *state;
	const struct explore_finding *finding = &room->result.first[CRASH_LOST];
	char keep[96], path[128], text[4096];
	struct error err = {0};
	FILE *file;
	size_t n;

	record_writer(room, NO_DIR_SYNC);
	explore_it(room, &by_value);
	assert_true(finding->found);
	snprintf(keep, sizeof keep, "%s/a/b", room->work);
	if (minimal_write(room->trace, &room->options, finding, keep, &err) < 0)
		fail_msg("%s", err.text);
	snprintf(path, sizeof path, "%s/state", keep);
	assert_true(read_value(path) < (int)finding->acked);
	snprintf(path, sizeof path, "%s/operations", keep);
	file = fopen(path, "re");
	assert_non_null(file);
	n = fread(text, 1, sizeof text - 1, file);
	fclose(file);
	text[n] = '\0';
	assert_non_null(strstr(text, "MISSING  rename"));
	room->options.only = true;
	room->options.ordinal = finding->ordinal;
	explore_it(room, &by_value);
	assert_int_equal(judged(&room->result), 1);
	assert_int_equal(room->result.outcomes[CRASH_LOST], 1);
}

/* --- judges that do not come back --- */

static int judge_or_die(void *context, const struct crash_case *state, struct crash_verdict *verdict, struct error *err)
{
	if (read_value(state->dir) == 2)
		raise(SIGSEGV);
	return judge_value(context, state, verdict, err);
}

static int judge_or_hang(
    void *context, const struct crash_case *state, struct crash_verdict *verdict, struct error *err)
{
	if (read_value(state->dir) == 2 && state->acked == 2)
		for (;;)
			pause();
	return judge_value(context, state, verdict, err);
}

/* Hangs, and its walker is never left alone: a signal is no reason to wait without an end. */
static int judge_or_disturb(
    void *context, const struct crash_case *state, struct crash_verdict *verdict, struct error *err)
{
	if (read_value(state->dir) == 2 && state->acked == 2)
		for (;;) {
			kill(getppid(), SIGUSR1);
			poll(NULL, 0, 10);
		}
	return judge_value(context, state, verdict, err);
}

static int judge_with_error(
    void *context, const struct crash_case *state, struct crash_verdict *verdict, struct error *err)
{
	(void)context;
	(void)verdict;
	return read_value(state->dir) == 3 ? error_set(err, EDOM, "cannot go on") : 0;
}

static void test_judge_dies(void **state)
{
	static const struct crash_judge dies = {.name = "dies", .judge = judge_or_die};
	struct room *room = *state;
	uint64_t total;

	record_writer(room, NO_MISTAKE);
	explore_it(room, &by_value);
	total = judged(&room->result);
	explore_it(room, &dies);
	assert_true(room->result.outcomes[CRASH_FAILED] > 1);
	assert_int_equal(judged(&room->result), total); /* the others are judged all the same */
	assert_int_equal(all_outcomes(&room->result), total);
	assert_non_null(strstr(room->result.first[CRASH_FAILED].reason, "signal 11"));
}

static void test_judge_hangs(void **state)
{
	static const struct crash_judge hangs = {.name = "hangs", .judge = judge_or_hang};
	struct room *room = *state;
	uint64_t total;

	record_writer(room, NO_MISTAKE);
	explore_it(room, &by_value);
	total = judged(&room->result);
	room->options.kinds = MODEL_DEFAULT;
	room->options.timeout_ms = 100;
	explore_it(room, &hangs);
	assert_true(room->result.outcomes[CRASH_FAILED] > 0);
	assert_int_equal(judged(&room->result), total);
	assert_non_null(strstr(room->result.first[CRASH_FAILED].reason, "did not end"));
}

static void nothing(int number)
{
	(void)number;
}

static void test_judge_hangs_and_disturbs(void **state)
{
	static const struct crash_judge disturbs = {.name = "disturbs", .judge = judge_or_disturb};
	const struct sigaction action = {.sa_handler = nothing};
	struct room *room = *state;
	struct sigaction before;

	record_writer(room, NO_MISTAKE);
	room->options.timeout_ms = 100;
	assert_int_equal(sigaction(SIGUSR1, &action, &before), 0); /* the walkers have it from us */
	explore_it(room, &disturbs);
	assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
	assert_true(room->result.outcomes[CRASH_FAILED] > 0);
	assert_non_null(strstr(room->result.first[CRASH_FAILED].reason, "did not end"));
}

static void test_judge_gives_up(void **state)
{
	static const struct crash_judge gives_up = {.name = "gives up", .judge = judge_with_error};
	struct room *room = *state;
	struct error err = {0};

	record_writer(room, NO_MISTAKE);
	assert_int_equal(explore(room->trace, &gives_up, &room->options, &room->result, &err), -1);
	assert_int_equal(err.code, EDOM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_right, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_no_sync, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_no_dir_sync, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_ack_first, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_in_place, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_smallest, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_judge_dies, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_judge_hangs, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_judge_hangs_and_disturbs, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_judge_gives_up, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
