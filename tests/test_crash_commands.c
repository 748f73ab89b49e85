/* SPDX-License-Identifier: Apache-2.0 */
/* Judges that are commands: their verdicts, what they leave running, and those that cannot be found. */
#include "explore_room.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void test_commands(void **state)
{
	static const struct crash_commands commands = {
	    .recover = "test -d", .check = "f() { test \"$(wc -l <\"$2\")\" -le 1 || exit $(wc -l <\"$2\"); }; f"};
	const struct crash_judge judge = crash_judge_commands(&commands);
	struct room *room = *state;

	record_writer(room, NO_MISTAKE);
	room->options.kinds = 1u << MODEL_PREFIX;
	explore_it(room, &judge);
	/* by the number of lines: up to one 0, two: corrupt, three: refused */
	assert_true(room->result.outcomes[CRASH_RECOVERED] > 0);
	assert_true(room->result.outcomes[CRASH_CORRUPT] > 0);
	assert_true(room->result.outcomes[CRASH_REFUSED] > 0);
	assert_int_equal(room->result.outcomes[CRASH_LOST] + room->result.outcomes[CRASH_FAILED], 0);
}

/* Of the processes whose numbers are listed there: how many live still. They are ended. */
static unsigned count_left(const char *list, unsigned *ret_started)
{
	FILE *pids = fopen(list, "re");
	unsigned left = 0;
	char line[32];

	*ret_started = 0;
	assert_non_null(pids);
	while (fgets(line, sizeof line, pids)) {
		(*ret_started)++;
		left += kill((pid_t)strtol(line, NULL, 10), SIGKILL) == 0;
	}
	fclose(pids);
	return left;
}

/* A recovery starts a process in the background, and another in a session of its own. */
static void test_commands_leave_nothing(void **state)
{
	struct room *room = *state;
	char recover[512], list[96];
	const struct crash_commands commands = {.recover = recover, .check = "true"};
	const struct crash_judge judge = crash_judge_commands(&commands);
	unsigned started;

	snprintf(list, sizeof list, "%s/pids", room->work);
	snprintf(recover, sizeof recover,
	    "f() { sleep 1000 & echo $! >>%s; setsid sh -c 'echo $$ >>%s; exec sleep 1000' & }; f", list, list);
	record_writer(room, NO_MISTAKE);
	room->options.kinds = 1u << MODEL_PREFIX;
	explore_it(room, &judge);
	assert_int_equal(room->result.outcomes[CRASH_RECOVERED], judged(&room->result));
	assert_int_equal(count_left(list, &started), 0);
	assert_true(started >= judged(&room->result));
}

/* A check that is ended by its time leaves nothing either. */
static void test_hanging_command_leaves_nothing(void **state)
{
	struct room *room = *state;
	char check[512], list[96];
	const struct crash_commands commands = {.check = check};
	const struct crash_judge judge = crash_judge_commands(&commands);
	unsigned started;

	snprintf(list, sizeof list, "%s/pids", room->work);
	snprintf(check, sizeof check, "f() { setsid sh -c 'echo $$ >>%s; exec sleep 1000' & wait; }; f", list);
	record_writer(room, NO_MISTAKE);
	room->options.kinds = 1u << MODEL_PREFIX;
	room->options.timeout_ms = 200;
	room->options.stop_at_first = true;
	explore_it(room, &judge);
	assert_true(room->result.outcomes[CRASH_FAILED] > 0);
	assert_int_equal(count_left(list, &started), 0);
}

static void test_commands_not_found(void **state)
{
	static const struct crash_commands none[] = {{.check = "no-such-check --here"},
	    {.recover = "no-such-recovery", .check = "true"}, {.check = "/dev/null"}};
	static const char *const named[] = {
	    "--check 'no-such-check", "--recover 'no-such-recovery'", "--check '/dev/null'"};
	struct room *room = *state;
	size_t i;

	record_writer(room, NO_MISTAKE);
	for (i = 0; i < sizeof none / sizeof *none; i++) {
		const struct crash_judge judge = crash_judge_commands(&none[i]);
		struct error err = {0};

		assert_int_equal(explore(room->trace, &judge, &room->options, &room->result, &err), -1);
		if (!strstr(err.text, named[i]))
			fail_msg("%s", err.text);
	}
}

/* What is recovered the second time is told to the check by the file that the first recovery has left. */
static void test_commands_again(void **state)
{
	static const struct crash_commands commands = {
	    .recover = "f() { test -e \"$1\"/second && exit 1; test -e \"$1\"/first && touch \"$1\"/second; touch "
		       "\"$1\"/first; }; f",
	    .check = "f() { test ! -e \"$1\"/second; }; f"};
	const struct crash_judge judge = crash_judge_commands(&commands);
	struct room *room = *state;

	record_writer(room, NO_MISTAKE);
	room->options.kinds = 1u << MODEL_PREFIX;
	explore_it(room, &judge);
	assert_int_equal(room->result.outcomes[CRASH_FAILED], judged(&room->result));
	assert_non_null(
	    strstr(room->result.first[CRASH_FAILED].reason, "a second time: the check ended with status 1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_commands, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_commands_again, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_commands_leave_nothing, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_hanging_command_leaves_nothing, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_commands_not_found, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
