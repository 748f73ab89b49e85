/* SPDX-License-Identifier: Apache-2.0 */
/* The explorer at writers with the mistakes that are really made, and at one without; judges that die and hang; the
 * smallest state; recoveries that cannot stand a crash; and wal/. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crash/explore.h"
#include "crash/minimal.h"
#include "crash/record/record.h"
#include "crash/state.h"
#include "crash/workload.h"
#include "wal/wal.h"

#define VALUES 3

/* A writer keeps a number in the file "value", replaced whole each time, and prints it. Its mistakes: */
enum mistake { NO_MISTAKE, NO_SYNC, NO_DIR_SYNC, ACK_FIRST, IN_PLACE };

struct writer {
	const char *dir;
	enum mistake mistake;
};

struct room {
	char work[64], dir[96];
	struct trace *trace;
	struct explore_options options;
	struct explore_result result;
};

static int setup(void **state)
{
	struct room *room = calloc(1, sizeof *room);

	if (!room || explore_work_create(room->work, NULL) < 0)
		return -1;
	snprintf(room->dir, sizeof room->dir, "%s/writer", room->work);
	room->options = (struct explore_options){.work = room->work, .seed = 1, .kinds = MODEL_DEFAULT};
	*state = room;
	return mkdir(room->dir, 0700);
}

static int teardown(void **state)
{
	struct room *room = *state;

	trace_destroy(room->trace);
	explore_work_remove(room->work);
	free(room);
	return 0;
}

static int put(enum mistake mistake, int dir, int value)
{
	const char *name = mistake == IN_PLACE ? "value" : "value.new";
	const int fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC | (mistake == IN_PLACE ? 0 : O_TRUNC), 0600);
	char text[1024];
	int rc;

	memset(text, 'a' + value, sizeof text);
	rc = fd < 0 || write(fd, text, sizeof text) != (ssize_t)sizeof text ? -1 : 0;
	if (rc == 0 && mistake == ACK_FIRST)
		printf("%d\n", value), fflush(stdout);
	if (rc == 0 && mistake != NO_SYNC)
		rc = fsync(fd);
	close(fd);
	if (rc == 0 && mistake != IN_PLACE)
		rc = renameat(dir, "value.new", dir, "value");
	if (rc == 0 && mistake != NO_DIR_SYNC)
		rc = fsync(dir);
	if (rc == 0 && mistake != ACK_FIRST)
		printf("%d\n", value), fflush(stdout);
	return rc;
}

static int write_values(void *arg)
{
	const struct writer *writer = arg;
	const int dir = open(writer->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int value, rc = dir < 0 ? -1 : 0;

	for (value = 1; rc == 0 && value <= VALUES; value++)
		rc = put(writer->mistake, dir, value);
	return rc < 0;
}

static void record_writer(struct room *room, enum mistake mistake)
{
	const struct record_options options = {.dir = room->dir};
	struct writer writer = {room->dir, mistake};
	struct error err = {0};
	int status;

	if (record_function(&options, write_values, &writer, &room->trace, &status, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(status, 0);
	assert_int_equal(room->trace->acks_count, VALUES);
}

/* 0: no value; -1: not one that was ever written. */
static int read_value(const char *dir)
{
	char path[128], text[1025];
	ssize_t n, i;
	int fd;

	snprintf(path, sizeof path, "%s/value", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof text);
	close(fd);
	for (i = 0; i < n; i++)
		if (text[i] != text[0])
			return -1;
	return n == 1024 && text[0] > 'a' && text[0] <= 'a' + VALUES ? text[0] - 'a' : -1;
}

static int judge_value(void *context, const struct crash_case *state, struct crash_verdict *verdict, struct error *err)
{
	const int value = read_value(state->dir);

	(void)context;
	(void)err;
	verdict->outcome = value < 0 ? CRASH_CORRUPT : value < (int)state->acked ? CRASH_LOST : CRASH_RECOVERED;
	snprintf(verdict->reason, sizeof verdict->reason, "value %d of %zu", value, state->acked);
	return 0;
}

static const struct crash_judge by_value = {.name = "value", .judge = judge_value};

static void explore_it(struct room *room, const struct crash_judge *judge)
{
	struct error err = {0};

	if (explore(room->trace, judge, &room->options, &room->result, &err) < 0)
		fail_msg("%s", err.text);
}

static uint64_t judged(const struct explore_result *result)
{
	return result->judged[MODEL_PREFIX] + result->judged[MODEL_SUBSET] + result->judged[MODEL_SECTOR] +
	       result->judged[MODEL_BYTE];
}

static uint64_t all_outcomes(const struct explore_result *result)
{
	uint64_t sum = 0;
	unsigned i;

	for (i = 0; i < CRASH_OUTCOMES; i++)
		sum += result->outcomes[i];
	return sum;
}

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

static void test_judge_gives_up(void **state)
{
	static const struct crash_judge gives_up = {.name = "gives up", .judge = judge_with_error};
	struct room *room = *state;
	struct error err = {0};

	record_writer(room, NO_MISTAKE);
	assert_int_equal(explore(room->trace, &gives_up, &room->options, &room->result, &err), -1);
	assert_int_equal(err.code, EDOM);
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

/* --- commands --- */

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

/* --- wal/ --- */

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
	    cmocka_unit_test_setup_teardown(test_right, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_no_sync, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_no_dir_sync, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_ack_first, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_in_place, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_smallest, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_recovered_again, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_forgotten_again, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_judge_dies, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_judge_hangs, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_judge_gives_up, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_recovery_is_crashed, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_commands, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_commands_again, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_commands_leave_nothing, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_hanging_command_leaves_nothing, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_commands_not_found, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_wal_acknowledged_out_of_order, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_wal_recoveries, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_wal, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_wal_bytes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
