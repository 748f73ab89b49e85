/* SPDX-License-Identifier: Apache-2.0 */
/* Recoveries, explored: each is done a second time where that may differ, and is crashed itself. */
#include "explore_room.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* --- a second recovery --- */

static void put_value(const char *dir, const char *name, char value)
{
	char path[128];
	int fd;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd >= 0 && write(fd, &value, 1) == 1)
		close(fd);
}

/* The first recovery leaves the value and one file more, or nothing but one file, or all as it was; the second, where there
 * is one, ends badly at the value 2. */
enum left { LEFT_VALUE, LEFT_ONE, LEFT_ALL };

static int judge_second(
    const struct crash_case *state, enum left left, bool bad, struct crash_verdict *verdict, struct error *err)
{
	const int value = read_value(state->dir);
	char path[128];

	judge_value(NULL, state, verdict, err);
	if (left == LEFT_ONE) {
		snprintf(path, sizeof path, "%s/value", state->dir);
		unlink(path);
		snprintf(path, sizeof path, "%s/value.new", state->dir);
		unlink(path);
	}
	if (left != LEFT_ALL)
		put_value(state->dir, "recovered", 'x');
	if (crash_case_again(state) && bad && value == 2)
		*verdict = (struct crash_verdict){.outcome = CRASH_FAILED, .reason = "the second time"};
	return 0;
}

static int judge_left_value(
    void *context, const struct crash_case *state, struct crash_verdict *verdict, struct error *err)
{
	(void)context;
	return judge_second(state, LEFT_VALUE, false, verdict, err);
}

static int judge_left_one(
    void *context, const struct crash_case *state, struct crash_verdict *verdict, struct error *err)
{
	(void)context;
	return judge_second(state, LEFT_ONE, false, verdict, err);
}

static int judge_left_all(
    void *context, const struct crash_case *state, struct crash_verdict *verdict, struct error *err)
{
	(void)context;
	return judge_second(state, LEFT_ALL, false, verdict, err);
}

static int judge_bad_again(
    void *context, const struct crash_case *state, struct crash_verdict *verdict, struct error *err)
{
	(void)context;
	return judge_second(state, LEFT_VALUE, true, verdict, err);
}

/* A second recovery for each content that a first one leaves behind, and none where it has changed nothing. */
static void test_recovered_again(void **state)
{
	static const struct crash_judge left_value = {.name = "value", .compares = true, .judge = judge_left_value},
					left_one = {.name = "one", .compares = true, .judge = judge_left_one},
					left_all = {.name = "all", .judge = judge_left_all},
					bad = {.name = "bad", .judge = judge_bad_again};
	struct room *room = *state;

	record_writer(room, NO_MISTAKE);
	explore_it(room, &left_value);
	assert_int_equal(room->result.outcomes[CRASH_RECOVERED], judged(&room->result));
	assert_int_equal(room->result.again, room->result.contents);
	explore_it(room, &left_one);
	assert_true(room->result.again >= 1 && room->result.again <= 2); /* at most once in each job */
	explore_it(room, &left_all);
	assert_int_equal(room->result.again, 0);
	explore_it(room, &bad);
	assert_true(room->result.outcomes[CRASH_FAILED] > 0);
	assert_string_equal(room->result.first[CRASH_FAILED].reason, "the second time");
}

/* The second recovery takes back the last value, whatever the first one was given. */
static int judge_forgetful(
    void *context, const struct crash_case *state, struct crash_verdict *verdict, struct error *err)
{
	const int value = read_value(state->dir);
	char path[128];

	judge_value(context, state, verdict, err);
	snprintf(path, sizeof path, "%s/value.new", state->dir);
	unlink(path);
	put_value(state->dir, "recovered", 'x');
	if (crash_case_again(state) && value > 0 && value - 1 < (int)state->acked)
		*verdict = (struct crash_verdict){.outcome = CRASH_FAILED, .reason = "the second time"};
	return 0;
}

/* A content is seen before the value in it is acknowledged, and after: only then is it missed. */
static void test_forgotten_again(void **state)
{
	static const struct crash_judge forgetful = {.name = "forgetful", .judge = judge_forgetful};
	struct room *room = *state;

	room->options.jobs = 1;
	record_writer(room, NO_MISTAKE);
	explore_it(room, &forgetful);
	assert_true(room->result.outcomes[CRASH_FAILED] >= VALUES);
}

/* --- a recovery that is not safe against a crash itself --- */

static int recover_badly(void *context, const struct crash_case *state, struct error *err)
{
	char path[128], text[1024];
	int fd, value = read_value(state->dir);

	(void)context;
	(void)err;
	if (value <= 0)
		return 0;
	/* writes the same again, after cutting it: no harm unless the power fails now */
	snprintf(path, sizeof path, "%s/value", state->dir);
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	memset(text, 'a' + value, sizeof text);
	if (fd < 0 || write(fd, text, sizeof text) < 0 || fsync(fd) < 0)
		return -1;
	close(fd);
	return 0;
}

static void test_recovery_is_crashed(void **state)
{
	static const struct crash_judge bad = {.name = "bad", .recover = recover_badly, .judge = judge_value};
	struct room *room = *state;

	record_writer(room, NO_MISTAKE);
	explore_it(room, &bad);
	assert_int_equal(room->result.outcomes[CRASH_RECOVERED], judged(&room->result));
	room->options.recovery_max = 100;
	explore_it(room, &bad);
	assert_true(room->result.recoveries > 0);
	assert_true(room->result.outcomes[CRASH_CORRUPT] > 0);
	assert_true(room->result.first[CRASH_CORRUPT].in_recovery);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_recovered_again, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_forgotten_again, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_recovery_is_crashed, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
