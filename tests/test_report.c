/* SPDX-License-Identifier: Apache-2.0 */
/* host/report, for people: word by word, what foreign bytes may do to it, and the exit status of many results. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "report/text.h"
#include "tests/report_room.h"

/* ---- verdicts ---- */

static void test_names_and_statuses(void **state)
{
	static const struct {
		enum verdict verdict;
		const char *name;
		int status;
	} rows[] = {
	    {VERDICT_HELD, "held", 0},
	    {VERDICT_VACUOUS, "vacuous", 4},
	    {VERDICT_NOT_INJECTED, "not-injected", 4},
	    {VERDICT_DEVIATED, "deviated", 1},
	    {VERDICT_GATE_FAILED, "gate-failed", 3},
	    {VERDICT_ABORTED, "aborted", 6},
	    {VERDICT_UNAVAILABLE, "unavailable", 7},
	    {VERDICT_ERROR, "error", 2},
	    {VERDICT_UNDO_INCOMPLETE, "undo-incomplete", 5},
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_string_equal(verdict_name(rows[i].verdict), rows[i].name);
		assert_int_equal(verdict_exit_status(rows[i].verdict), rows[i].status);
	}
}

static void test_status_of_many(void **state)
{
	struct place *place = *state;
	struct result *r = place->results;

	assert_int_equal(verdict_exit_status_of(r, 0), 2); /* nothing was run: not a pass */
	assert_int_equal(verdict_exit_status_of(r, 1), 0);
	assert_int_equal(verdict_exit_status_of(&r[2], 1), 0); /* deviated, as it should */
	assert_int_equal(verdict_exit_status_of(r, 4), 1);
	r[3].ok = false; /* held, and should not have */
	assert_int_equal(verdict_exit_status_of(&r[3], 1), 1);
	r[3].verdict = VERDICT_VACUOUS;
	assert_int_equal(verdict_exit_status_of(&r[3], 1), 4);
	assert_int_equal(verdict_exit_status_of(r, 4), 1); /* deviated outranks vacuous */
	r[3].verdict = VERDICT_ABORTED;
	assert_int_equal(verdict_exit_status_of(r, 4), 6);
	r[0].left_behind = 1; /* though it says ok */
	assert_int_equal(verdict_exit_status_of(r, 4), 5);
}

/* ---- for people ---- */

static void test_human_lines(void **state)
{
	struct report_options options = {0};
	struct place *place = *state;

	report_human(place->out, &options, &place->results[0]);
	assert_string_equal(written(place),
	    "ok    agent-kill              held      recovered in 41 ms      1 fault, 24 "
	    "tasks, 24 commits, 0 duplicates\n");
	report_human(place->out, &options, &place->results[2]);
	assert_string_equal(written(place), "ok    double-commit-on-retry  deviated  no-duplicate-commit, as expected: "
					    "task-3 was committed twice\n");
	options.name_width = 12;
	report_human(place->out, &options, &place->results[1]);
	assert_string_equal(written(place),
	    "FAIL  rate-limit    DEVIATED  cascade-order: claude was called inside its window; reproduced 3/3\n"
	    "      fault agent-kill: felt: pid 4711 is gone\n"
	    "        pid: 4711\n"
	    "      deviated  cascade-order                 40 opportunities  40 calls, 3 out of order\n"
	    "          claude was called inside its window\n"
	    "            1.204 s  call fail  task-1 claude\n"
	    "            1.208 s  call invoke  task-2 claude\n"
	    "          <&\">\n"
	    "            1.300 s  call ok  task-3 claude\n"
	    "          ... and 1 more\n"
	    "      run        .tritone/runs/7\n"
	    "      reproduce  tritone test 'my experiments/rate-limit.yaml' --seed 7\n");
}

/* Every invariant is named, and an operation is shown once however many findings it convinces of. */
static void test_human_names_all_and_repeats_nothing(void **state)
{
	struct report_options options = {.name_width = 12};
	struct place *place = *state;
	struct result *r = &place->results[1];
	const char *text;

	r->checks[1].result.findings[1].evidence[0] = 9;
	r->checks[2] = r->checks[3] = r->checks[1];
	r->checks[2].check = check_find("progress");
	r->checks[3].check = check_find("slo-returns");
	r->check_count = 4;
	report_human(place->out, &options, r);
	text = written(place);
	assert_non_null(strstr(text, "cascade-order: claude was called inside its window; also progress, slo-returns; "
				     "reproduced 3/3\n"));
	assert_null(strstr(text, "task-3 claude"));
	r->checks[2].expected = r->checks[3].expected = true;
	report_human(place->out, &options, r);
	assert_non_null(strstr(written(place), "inside its window; reproduced 3/3\n"));
	options.verbosity = 1; /* of what was expected, one finding with what proves it */
	r = &place->results[2];
	r->checks[0].result.finding_count = 2;
	r->checks[0].result.violations = 2;
	r->checks[0].result.findings[0].evidence_count = 1;
	r->evidence_lines[0] = strdup("9.000 s  commit ok  task-3");
	strcpy(r->checks[0].result.findings[1].text, "task-4 was committed twice");
	report_human(place->out, &options, r);
	text = written(place);
	assert_non_null(strstr(text, "          task-3 was committed twice\n"
				     "            9.000 s  commit ok  task-3\n"
				     "          ... and 1 more\n"));
	assert_null(strstr(text, "task-4"));
	options.verbosity = 2;
	report_human(place->out, &options, r);
	assert_non_null(strstr(written(place), "          task-4 was committed twice\n"));
}

static void test_human_says_why(void **state)
{
	struct report_options options = {0};
	struct place *place = *state;
	struct result *r = &place->results[3];

	r->ok = false;
	r->verdict = VERDICT_NOT_INJECTED;
	strcpy(r->reason, "agent-kill: pid 4711 ignores SIGTERM");
	r->faults[0].felt = r->faults[0].reverted = false;
	strcpy(r->name, "it's[1]");
	options.file = "x.yaml";
	options.system = "a b";
	report_human(place->out, &options, r);
	assert_string_equal(written(place),
	    "FAIL  it's[1]                 NOT-INJECTED  agent-kill: pid 4711 ignores SIGTERM\n"
	    "      fault agent-kill: injected, not felt, NOT UNDONE: pid 4711 is gone\n"
	    "        pid: 4711\n"
	    "      reproduce  tritone test --system 'a b' x.yaml --only 'it'\\''s[1]' --seed 18446744073709551615\n");
	r->fault_count = 0;
	r->verdict = VERDICT_HELD;
	r->checks[0].expected = false;
	strcpy(r->gone, "server is gone for good: it exited with 3");
	r->output = strdup("server: one\nserver: \033two\n");
	report_human(place->out, &options, r);
	assert_string_equal(written(place),
	    "FAIL  it's[1]                 HELD      no-duplicate-commit: was expected to deviate, but held\n"
	    "      system: server is gone for good: it exited with 3\n"
	    "      held      no-duplicate-commit           24 opportunities  24 tasks, 24 commits\n"
	    "      the last lines of its output:\n"
	    "        server: one\n"
	    "        server: ?two\n"
	    "      reproduce  tritone test --system 'a b' x.yaml --only 'it'\\''s[1]' --seed 18446744073709551615\n");
}

static void test_human_verbose(void **state)
{
	struct report_options options = {.verbosity = 1};
	struct place *place = *state;

	place->results[0].recovered_us = -1;
	report_human(place->out, &options, &place->results[0]);
	assert_string_equal(written(place),
	    "ok    agent-kill              held      -                       1 fault, 24 tasks, 24 commits, 0 "
	    "duplicates\n"
	    "      fault agent-kill: felt: pid 4711 is gone\n"
	    "        pid: 4711\n"
	    "      held      no-duplicate-commit           24 opportunities  24 tasks, 24 commits\n"
	    "      reproduce  tritone test fixtures/experiments/agent-kill.yaml --seed 18446744073709551615\n");
}

static void test_timeline_leaves_out_the_many(void **state)
{
	struct report_options options = {.verbosity = 2};
	static const struct op ops[] = {
	    {.index = 0,
		.type = OP_OK,
		.kind = OP_COMMIT,
		.task = "t1",
		.actor = "",
		.key = "abc",
		.detail = "",
		.time_us = 1000},
	    {.index = 1,
		.type = OP_OK,
		.kind = OP_CALL,
		.task = "t2",
		.actor = "claude",
		.key = "",
		.detail = "",
		.time_us = 2000},
	};
	struct place *place = *state;
	const char *text;

	place->results[0].history = (struct history_view){.ops = ops, .count = 2};
	report_human(place->out, &options, &place->results[0]);
	text = written(place);
	assert_non_null(strstr(text, "      0.001 s  commit ok  t1"));
	assert_null(strstr(text, "t2"));
}

static void test_evidence_from_the_history(void **state)
{
	static const struct op ops[12] = {
	    [5] = {.index = 5,
		.type = OP_FAIL,
		.kind = OP_CALL,
		.task = "t9",
		.actor = "claude",
		.key = "",
		.detail = ""},
	};
	struct place *place = *state;
	struct result *r = &place->results[1];
	char line[512];

	assert_string_equal(result_evidence(r, 1, 1, 0, line, sizeof line), "1.300 s  call ok  task-3 claude");
	result_finish(r);
	assert_null(result_evidence(r, 1, 0, 0, line, sizeof line)); /* neither kept nor there */
	r->history = (struct history_view){.ops = ops, .count = 12};
	assert_non_null(strstr(result_evidence(r, 1, 0, 0, line, sizeof line), "t9"));
	assert_null(result_evidence(r, 1, 0, 2, line, sizeof line));
	assert_null(result_evidence(r, 0, 0, 0, line, sizeof line));
}

static void test_summary(void **state)
{
	struct report_options options = {0};
	struct place *place = *state;

	place->results[0].left_behind = place->results[0].killed = 2;
	report_human(place->out, &options, &place->results[0]);
	assert_string_equal(written(place),
	    "ok    agent-kill              held      recovered in 41 ms      1 fault, 24 tasks, 24 commits, 0 "
	    "duplicates\n"
	    "      left behind: 2 of its processes had to be killed when it was stopped\n");
	place->results[0].left_behind = place->results[0].killed = 0;

	report_human_summary(place->out, &options, place->results, 1);
	assert_string_equal(written(place), "1 held, 0 deviated, 0 left behind\n");
	place->results[3].ok = false;
	place->results[3].verdict = VERDICT_VACUOUS;
	place->results[3].left_behind = 2;
	report_human_summary(place->out, &options, place->results, 4);
	assert_string_equal(written(place), "1 held, 1 as expected, 1 deviated, 1 vacuous, 2 left behind\n");
}

static void human_in_colour(FILE *out, void *arg)
{
	struct report_options options = {0};

	setenv("TERM", "xterm", 1);
	unsetenv("NO_COLOR");
	report_human(out, &options, arg);
}

static void human_without(FILE *out, void *arg)
{
	struct report_options options = {0};

	setenv("TERM", "xterm", 1);
	setenv("NO_COLOR", "1", 1);
	report_human(out, &options, arg);
}

static void test_colours_only_on_a_terminal(void **state)
{
	struct report_options options = {0};
	struct place *place = *state;
	char seen[4096];
	FILE *file;

	run_on_terminal(human_in_colour, &place->results[0], seen, sizeof seen);
	assert_true(strncmp(seen, "\033[32mok  \033[0m  agent-kill", 24) == 0);
	setenv("TERM", "xterm", 1);
	unsetenv("NO_COLOR");
	file = fopen(place->path, "we");
	assert_non_null(file);
	report_human(file, &options, &place->results[0]);
	fclose(file);
	slurp(place->path, seen, sizeof seen);
	assert_null(strchr(seen, '\033'));
	run_on_terminal(human_without, &place->results[0], seen, sizeof seen);
	assert_true(strncmp(seen, "ok    agent-kill", 16) == 0);
	assert_null(strchr(seen, '\033'));
}

static void test_foreign_bytes(void **state)
{
	struct report_options options = {0};
	struct place *place = *state;
	char buf[64], small[4];

	(void)options;
	assert_string_equal(text_clean(buf, sizeof buf, "a\033[2Jb\r\nc\x7f"), "a?[2Jb??c?");
	assert_string_equal(text_clean(buf, sizeof buf, "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8e\xb5"),
	    "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8e\xb5");
	assert_string_equal(text_clean(buf, sizeof buf, "\xff\xc3"), "??"); /* not UTF-8, cut */
	assert_string_equal(text_clean(buf, sizeof buf, "\xc0\xaf\xed\xa0\x80\xc2\x9b"),
	    "?????"
	    "?");                                                                /* overlong, surrogate, C1 */
	assert_string_equal(text_clean(buf, sizeof buf, "\xe0\x80\xaf"), "???"); /* overlong, three bytes */
	assert_string_equal(text_clean(buf, sizeof buf, "\xef\xbf\xbf"), "?");   /* U+FFFF */
	assert_string_equal(text_clean(small, sizeof small, "ab\xe2\x82\xac"), "ab");
	strcpy(place->results[0].name, "x\033]0;title\a");
	report_human(place->out, &options, &place->results[0]);
	assert_null(strchr(written(place), '\033'));
}

static void test_spans(void **state)
{
	char buf[32];

	(void)state;
	assert_string_equal(text_span(buf, sizeof buf, 0), "0.0 ms");
	assert_string_equal(text_span(buf, sizeof buf, 2340), "2.3 ms");
	assert_string_equal(text_span(buf, sizeof buf, 41999), "41 ms");
	assert_string_equal(text_span(buf, sizeof buf, 1240000), "1.24 s");
	assert_string_equal(text_span(buf, sizeof buf, 125000000), "2 min 5 s");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_names_and_statuses),
	    TEST(test_status_of_many),
	    TEST(test_human_lines),
	    TEST(test_human_names_all_and_repeats_nothing),
	    TEST(test_human_says_why),
	    TEST(test_human_verbose),
	    TEST(test_timeline_leaves_out_the_many),
	    TEST(test_evidence_from_the_history),
	    TEST(test_summary),
	    TEST(test_colours_only_on_a_terminal),
	    TEST(test_foreign_bytes),
	    TEST(test_spans),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
