/* SPDX-License-Identifier: Apache-2.0 */
/* The verb, as a person calls it: what it prints, what it leaves behind, its exit status. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crash/state.h"
#include "skip.h"

struct room {
	char dir[32], build[256];
	char output[8192];
};

static int setup(void **state)
{
	struct room *room = calloc(1, sizeof *room);
	char self[200];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

	if (!room || n < 0)
		return -1;
	self[n] = '\0';
	*strrchr(self, '/') = '\0';
	*strrchr(self, '/') = '\0';
	snprintf(room->build, sizeof room->build, "%s", self);
	strcpy(room->dir, "/tmp/crashverb-XXXXXX");
	*state = room;
	return mkdtemp(room->dir) ? 0 : -1;
}

static int teardown(void **state)
{
	struct room *room = *state;
	int rc = state_remove_tree(room->dir, NULL);

	free(room);
	return rc;
}

/* Runs it in the room's directory; $C is the program with what writes and checks there. */
static int run(struct room *room, const char *arguments)
{
	char command[2048];
	FILE *out;
	size_t n;
	int status;

	snprintf(command, sizeof command,
	    "cd %s && B=%s && S=$B/crash/subjects/crash-subject && exec 2>&1; \"$B/tritone\" crashtest %s", room->dir,
	    room->build, arguments);
	out = popen(command, "re");
	assert_non_null(out);
	n = fread(room->output, 1, sizeof room->output - 1, out);
	room->output[n] = '\0';
	status = pclose(out);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void expect(struct room *room, const char *arguments, int status, const char *text)
{
	const int found = run(room, arguments);

	if (found != status || !strstr(room->output, text))
		fail_msg("'%s': status %d, expected %d and '%s':\n%s", arguments, found, status, text, room->output);
}

static void test_holds(void **state)
{
	struct room *room = *state;

	expect(room,
	    "--seed 1 --check \"$S sqlite-wal check\" --model prefix --states-max 100 -- $S sqlite-wal write 1 d", 0,
	    "0 lost acknowledged data   0 corrupt   0 recovery failures");
	assert_non_null(strstr(room->output, "recorded "));
	assert_non_null(strstr(room->output, "byte-torn: --model byte"));
}

/* A writer whose name is never made durable: found, kept, and found again by the command that is printed. */
static void test_deviates(void **state)
{
	static const char writer[] =
	    "-- sh -c 'echo 1 >\"$0/new\"; sync \"$0/new\"; mv \"$0/new\" \"$0/value\"; echo 1' d";
	struct room *room = *state;
	char command[512], again[1024], *at;
	struct stat status;

	snprintf(command, sizeof command,
	    "--keep kept --timeout 20 --check 'f() { test ! -s \"$2\" || test -s \"$1/value\"; }; f' %s", writer);
	expect(room, command, 1, "lost acknowledged data, the smallest state that shows it");
	assert_non_null(strstr(room->output, "MISSING  rename"));
	snprintf(again, sizeof again, "%s/kept/state", room->dir);
	assert_int_equal(stat(again, &status), 0);
	at = strstr(room->output, "tritone crashtest --replay");
	assert_non_null(at);
	assert_non_null(strstr(at, " --timeout 20 ")); /* whoever waited longer is to wait as long again */
	at[strcspn(at, "\n")] = '\0';
	snprintf(again, sizeof again, "%s", at + strlen("tritone crashtest "));
	expect(room, again, 1, "1 crash states");
	assert_non_null(strstr(room->output, "1 lost acknowledged data"));
}

/* A recovery that is sound if it comes to its end, and not if the power fails once more. */
static void test_recovery_of_a_command_is_crashed(void **state)
{
	static const char recovers[] =
	    "f() { test ! -e \"$1/flag\" || { rm \"$1/flag\"; mv \"$1/a\" \"$1/b\"; mv \"$1/b\" \"$1/a\"; }; }; f";
	static const char checks[] = "f() { test ! -s \"$2\" || test -s \"$1/a\"; }; f";
	static const char writes[] = "sh -c 'echo 1 >\"$0/a\"; sync \"$0/a\" \"$0\"; echo 1; echo 2 >\"$0/flag\"' d";
	struct room *room = *state;
	char command[1024], recovers_then[256], *at;

	snprintf(recovers_then, sizeof recovers_then, "%s \"$1\"; %s", recovers, checks);
	snprintf(command, sizeof command, "--recover '%s' --check '%s' -- %s", recovers, checks, writes);
	expect(room, command, 0, "0 lost acknowledged data");
	assert_null(strstr(room->output, "crashed too"));
	assert_int_equal(run(room, "--help; rm -r d"), 0);
	snprintf(
	    command, sizeof command, "--recovery-max 50 --recover '%s' --check '%s' -- %s", recovers, checks, writes);
	expect(room, command, 1, "lost acknowledged data, after a crash of the recovery of");
	assert_non_null(strstr(room->output, "the recovery of each of them was crashed too"));
	at = strstr(room->output, "tritone crashtest --replay");
	assert_non_null(at);
	at[strcspn(at, "\n")] = '\0';
	snprintf(command, sizeof command, "%s", at + strlen("tritone crashtest "));
	expect(room, command, 1, "lost acknowledged data, after a crash of the recovery of");
	/* who has no command that recovers does it in the check */
	snprintf(command, sizeof command, "--recovery-max 50 --check '%s' -- %s", recovers_then, writes);
	assert_int_equal(run(room, "--help; rm -r d"), 0);
	expect(room, command, 1, "lost acknowledged data, after a crash of the recovery of");
}

/* What one run has kept is there after the next. */
static void test_kept(void **state)
{
	static const char lossy[] = "--model prefix --check false -- sh -c 'echo 1 >\"$0/f\"; echo 1' d";
	struct room *room = *state;
	char first[512], command[256];

	snprintf(command, sizeof command, "--keep kept %s", lossy);
	expect(room, command, 1, "kept: kept/state");
	expect(room, command, 2, "in kept a state is kept already");
	expect(room, lossy, 1, "kept: ");
	snprintf(first, sizeof first, "%s", strstr(room->output, "kept: ") + strlen("kept: "));
	*strstr(first, "/state") = '\0';
	strcat(first, "-2/state");
	expect(room, lossy, 1, first);
}

/* Nothing acknowledged: nothing can be lost, and a run that sees no loss says so. */
static void test_unacknowledged(void **state)
{
	struct room *room = *state;

	expect(room, "--check true -- sh -c 'echo 1 >\"$0/f\"' d", 4, "acknowledged nothing");
	expect(room, "--unacknowledged --check true -- sh -c 'echo 1 >\"$0/f\"' d", 0, "0 acknowledgements");
	expect(room, "--check 'exit 2;' -- sh -c 'echo 1 >\"$0/f\"' d", 1, "corrupt");
}

/* Files that were there count as durable: it is said that they were. */
static void test_there_before(void **state)
{
	struct room *room = *state;

	expect(room, "--check true -- sh -c 'echo 1 >\"$0/a\"; echo 1' d", 0, "1 directory\n");
	assert_null(strstr(room->output, "before"));
	expect(room, "--check true -- sh -c 'echo 1 >\"$0/b\"; echo 1' d", 0, "1 file was there before");
	expect(room, "--check true -- sh -c 'echo 1 >\"$0/c\"; echo 1' d", 0, "2 files were there before");
}

static void test_json(void **state)
{
	struct room *room = *state;

	expect(room, "--json --model prefix --check true -- sh -c 'echo x >\"$0/f\"; echo 1' d", 0,
	    "\"acknowledgements\": 1");
	assert_int_equal(room->output[0], '{');
	assert_non_null(strstr(room->output, "\"deviation\": null"));
	expect(room, "--json --model prefix --keep kept --check false -- sh -c 'echo x >\"$0/f\"; echo 1' d 2>said", 1,
	    "\"kept\": \"kept\"");
	assert_int_equal(room->output[0], '{');
	expect(room, "--replay kept/trace --only 99 --check true", 4, "no state 99");
}

/* wal/ on a disk that syncs nothing, unknown to it: --self says that it does not hold, and keeps what shows it. */
static void test_self_that_does_not_hold(void **state)
{
	static const char again[] = "tritone crashtest --self --seed 0x3 --recovery-max 0\n";
	struct room *room = *state;
	char command[1024], line[512] = "", kept[512] = "";
	struct stat status;
	FILE *out;
	int pid;

#ifdef __SANITIZE_ADDRESS__
	SKIP("a library below a program with AddressSanitizer: its runtime wants to be the first");
#endif
	snprintf(command, sizeof command,
	    "cd %s && echo $$ && LD_PRELOAD=%s/tests/no_sync.so exec %s/tritone crashtest --self --seed 3 "
	    "--recovery-max 0 2>&1",
	    room->dir, room->build, room->build);
	out = popen(command, "re");
	assert_non_null(out);
	assert_int_equal(fscanf(out, "%d ", &pid), 1);
	while (strcmp(line, again) != 0 && fgets(line, sizeof line, out))
		if (strstr(line, "kept: "))
			snprintf(kept, sizeof kept, "%s/%s", room->dir, strstr(line, "kept: ") + strlen("kept: "));
	assert_string_equal(line, again);
	kill(pid, SIGTERM); /* the other rows would take a minute more */
	assert_int_equal(WEXITSTATUS(pclose(out)), 128 + SIGTERM);
	kept[strcspn(kept, ",")] = '\0';
	assert_int_equal(stat(kept, &status), 0);
	assert_true(S_ISDIR(status.st_mode));
}

static void test_usage(void **state)
{
	struct room *room = *state;

	expect(room, "", 2, "expected a command");
	expect(room, "--model none -- true d", 2, "no model 'none'");
	expect(room, "--recover true -- true d", 2, "--recover goes with --check");
	expect(room, "--only 3 -- true d", 2, "--only goes with --replay");
	expect(room, "-j 0 -- true d", 2, "no number");
	expect(room, "--timeout 0 -- true d", 2, "no number");
	expect(room, "-- no-such-command d", 2, "there is no such command");
	expect(room, "-- false d", 2, "ended with status 1");
	expect(room, "--check ./no-such-check -- sh -c 'echo 1 >\"$0/f\"; echo 1' d", 2, "--check './no-such-check'");
	expect(room, "--check true --recover no-such -- sh -c 'echo 1 >\"$0/f\"; echo 1' d", 2, "--recover 'no-such'");
	expect(room, "--self --keep d", 2, "--self takes");
	expect(room, "--self --model byte", 2, "--self takes");
	expect(room, "--help", 0, "usage: tritone crashtest");
}

static void test_nothing(void **state)
{
	expect(*state, "-- true d", 4, "nothing was written");
	expect(*state, "-- sh -c 'echo 1 >\"$0/f\"' d", 4, "no log of wal/ was written");
}

/* A command that would go on, and the signal that ends it all: also while it is still recorded. */
static void test_interrupted(void **state)
{
	static const char *const recorders[] = {"preload", "notifier"};
	char arguments[256];
	size_t i;

	for (i = 0; i < sizeof recorders / sizeof *recorders; i++) {
		snprintf(arguments, sizeof arguments,
		    "--check true --recorder %s -- sh -c 'kill -TERM $PPID; exec sleep 1000' d", recorders[i]);
		expect(*state, arguments, 128 + SIGTERM, "");
	}
}

/* What a command leaves running is not recorded any more, and is not left to the machine. */
static void test_command_leaves_nothing(void **state)
{
	static const char *const recorders[] = {"preload", "notifier"};
	struct room *room = *state;
	char arguments[512], path[64];
	size_t i;

	for (i = 0; i < sizeof recorders / sizeof *recorders; i++) {
		FILE *file;
		int pid;

		snprintf(arguments, sizeof arguments,
		    "--recorder %s --check true -- sh -c 'sleep 1000 >/dev/null 2>&1 & echo $! >pid; echo 1 "
		    ">\"$0/f\"; echo 1' d",
		    recorders[i]);
		expect(room, arguments, 0, "1 acknowledgement");
		snprintf(path, sizeof path, "%s/pid", room->dir);
		file = fopen(path, "re");
		assert_non_null(file);
		assert_int_equal(fscanf(file, "%d", &pid), 1);
		fclose(file);
		assert_int_equal(kill(pid, SIGKILL), -1); /* there was nothing to be killed */
	}
}

static void test_cannot(void **state)
{
	struct room *room = *state;

	expect(room, "--recorder preload -- $B/tests/notifier_child_static d every", 7, "statically linked");
	expect(
	    room, "-- sh -c '\"$0\" \"$1\" every' $B/tests/notifier_child_static d", 7, "--recorder notifier sees it");
	expect(room, "-- sh -c 'exec \"$0\" \"$1\" map data' $B/tests/notifier_child d", 7, "shared and writable");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_holds, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_deviates, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_recovery_of_a_command_is_crashed, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_kept, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_unacknowledged, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_there_before, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_json, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_self_that_does_not_hold, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_usage, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_nothing, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_interrupted, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_command_leaves_nothing, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_cannot, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
