/* SPDX-License-Identifier: Apache-2.0 */
/* host/system's eyes on files that say something: state files as a reader sees them, claims about SLOs, agents' pids and tasks. */
#include "watch_room.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "system/claims.h"

/* --- state files --- */

static void make_statefiles(struct fixture *fixture)
{
	static const char *const json[] = {"**/*.json", NULL}, *const temporary[] = {"**/*.tmp", "**/.new-*", NULL};

	assert_int_equal(
	    statefiles_create(&fixture->statefiles,
		&(struct statefiles_options){
		    .history = fixture->history, .directory = fixture->dir, .json = json, .temporary = temporary},
		NULL),
	    0);
	assert_int_equal(statefiles_watch(fixture->statefiles, fixture->watch, NULL), 0);
}

/* "+NAME " for a file that was whole, "-NAME " for one that was not, "*" behind one that was rewritten in place. */
static void statefiles(struct fixture *fixture, char *ret, size_t size)
{
	struct history_view view = history_view(fixture->history);

	ret[0] = '\0';
	for (size_t i = 0; i < view.count; i++) {
		size_t used = strlen(ret);

		if (view.ops[i].kind == OP_STATEFILE)
			snprintf(ret + used, size - used, "%c%s%s ", view.ops[i].type == OP_OK ? '+' : '-',
			    view.ops[i].actor, strstr(view.ops[i].detail, "in place") ? "*" : "");
	}
}

static void test_a_file_is_seen_as_a_reader_sees_it(void **state)
{
	struct fixture *fixture = *state;
	char text[256], path[256];
	int fd;

	make_directory(fixture, "d");
	make_statefiles(fixture);
	write_file(fixture, "d/.new-a.json", "{\"a\": "); /* nobody reads it yet */
	dispatch(fixture);
	write_file(fixture, "d/.new-a.json", "{\"a\": 1}");
	move(fixture, "d/.new-a.json", "d/a.json");
	dispatch(fixture);
	statefiles(fixture, text, sizeof text);
	assert_string_equal(text, "+d/a.json ");

	fd = open(in(fixture, "d/a.json", path), O_WRONLY | O_TRUNC | O_CLOEXEC);
	assert_true(fd >= 0);
	dispatch(fixture); /* at this moment it is empty */
	assert_int_equal(write(fd, "{}", 2), 2);
	close(fd);
	dispatch(fixture);
	statefiles(fixture, text, sizeof text);
	assert_string_equal(text, "+d/a.json -d/a.json +d/a.json* ");
}

static void test_a_file_that_vanished_is_no_finding(void **state)
{
	struct fixture *fixture = *state;
	char text[256], path[256];

	make_statefiles(fixture);
	write_file(fixture, "gone.json", "half");
	assert_int_equal(unlink(in(fixture, "gone.json", path)), 0);
	dispatch(fixture);
	statefiles(fixture, text, sizeof text);
	assert_string_equal(text, "");
}

static void test_audit_looks_at_all(void **state)
{
	struct fixture *fixture = *state;
	char text[256];

	make_directory(fixture, "d");
	write_file(fixture, "d/x.tmp", "");
	make_statefiles(fixture);
	write_file(fixture, "d/bad.json", "[1, 2");
	assert_int_equal(statefiles_audit(fixture->statefiles, NULL), 0);
	statefiles(fixture, text, sizeof text);
	assert_true(!strcmp(text, "-d/x.tmp -d/bad.json ") || !strcmp(text, "-d/bad.json -d/x.tmp "));
}

/* --- claims --- */

static void test_a_claim_found_and_told_of_is_one(void **state)
{
	struct fixture *fixture = *state;
	struct claims *claims;
	char path[256];

	make_directory(fixture, "d");
	watch_root(fixture, "d");
	assert_int_equal(claims_create(&claims, fixture->history, in(fixture, "d/slos.json", path), NULL), 0);
	write_file(fixture, "d/slos.json", "{\"slos\": [{\"name\": \"x\", \"current\": 1, \"status\": \"green\"}]}");
	assert_int_equal(claims_watch(claims, fixture->watch, NULL), 0); /* found ... */
	dispatch(fixture);                                               /* ... and told of */
	assert_int_equal(history_count(fixture->history), 1);
	write_file(fixture, "d/slos.json", "{\"slos\": [{\"name\": \"x\", \"current\": 0, \"status\": \"red\"}, {}]}");
	dispatch(fixture);
	write_file(fixture, "d/slos.json", "{\"slos\": ");
	dispatch(fixture);
	assert_int_equal(history_count(fixture->history), 3);
	assert_int_equal(history_view(fixture->history).ops[0].value, 1);
	assert_int_equal(history_view(fixture->history).ops[1].value, 0); /* no "met": the word counts */
	watch_destroy(fixture->watch);
	fixture->watch = NULL;
	claims_destroy(claims);
}

/* --- agents --- */

static void test_an_agent_waits_for_its_task(void **state)
{
	struct fixture *fixture = *state;
	char pid[32];

	assert_int_equal(agents_create(&fixture->agents,
			     &(struct agents_options){.history = fixture->history,
				 .state_dir = fixture->dir,
				 .pid_files = "agents/*/pid",
				 .task_files = "agents/*/task"},
			     NULL),
	    0);
	assert_int_equal(agents_watch(fixture->agents, fixture->watch, NULL), 0);
	snprintf(pid, sizeof pid, "%d\n", (int)getpid());
	make_directory(fixture, "agents");
	make_directory(fixture, "agents/x");
	write_file(fixture, "agents/x/pid", pid);
	dispatch(fixture);
	assert_int_equal(history_count(fixture->history), 0);
	write_file(fixture, "agents/x/task.new", "the task\n");
	move(fixture, "agents/x/task.new", "agents/x/task");
	write_file(fixture, "agents/x/pid", pid); /* the same again */
	dispatch(fixture);
	assert_int_equal(history_count(fixture->history), 1);
	assert_string_equal(history_view(fixture->history).ops[0].task, "the task");
	assert_string_equal(history_view(fixture->history).ops[0].actor, "x");
	write_file(fixture, "agents/x/pid", "nonsense");
	make_directory(fixture, "agents/y");
	write_file(fixture, "agents/y/pid", "0");
	dispatch(fixture);
	assert_int_equal(history_count(fixture->history), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    WATCH_TEST(test_a_file_is_seen_as_a_reader_sees_it),
	    WATCH_TEST(test_a_file_that_vanished_is_no_finding),
	    WATCH_TEST(test_audit_looks_at_all),
	    WATCH_TEST(test_a_claim_found_and_told_of_is_one),
	    WATCH_TEST(test_an_agent_waits_for_its_task),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
