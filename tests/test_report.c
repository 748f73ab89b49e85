/* SPDX-License-Identifier: Apache-2.0 */
/* host/report: each format word by word, what foreign bytes may do to them, and the exit status of many results. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "report/report.h"
#include "report/text.h"

struct place {
	struct result results[4];
	char *text;
	size_t size;
	FILE *out;
	char path[64];
};

static void fill_held(struct result *r)
{
	strcpy(r->name, "agent-kill");
	strcpy(r->title, "An agent dies");
	strcpy(r->file, "fixtures/experiments/agent-kill.yaml");
	r->seed = 18446744073709551615u;
	r->verdict = VERDICT_HELD;
	r->ok = true;
	r->recovered_us = 41300;
	r->tasks = r->commits = 24;
	r->duration_us = 1500000;
	r->fault_count = 1;
	strcpy(r->faults[0].id, "agent-kill-1");
	strcpy(r->faults[0].name, "agent-kill");
	strcpy(r->faults[0].plugin, "agent-kill");
	r->faults[0].injected = r->faults[0].felt = r->faults[0].reverted = true;
	strcpy(r->faults[0].proof, "pid 4711 is gone");
	strcpy(r->faults[0].evidence[0].name, "pid");
	strcpy(r->faults[0].evidence[0].value, "4711");
	r->faults[0].evidence_count = 1;
	r->checks[0].check = check_find("no-duplicate-commit");
	r->checks[0].result.verdict = CHECK_HELD;
	r->checks[0].result.opportunities = 24;
	strcpy(r->checks[0].result.summary, "24 tasks, 24 commits");
	r->checks[0].expected = true;
	r->check_count = 1;
}

static void fill_failed(struct result *r)
{
	struct check_result *judged = &r->checks[1].result;

	fill_held(r);
	strcpy(r->name, "rate-limit");
	strcpy(r->file, "my experiments/rate-limit.yaml");
	strcpy(r->run_dir, ".tritone/runs/7");
	r->seed = 7;
	r->verdict = VERDICT_DEVIATED;
	r->ok = false;
	r->recovered_us = -1;
	r->reproduced = r->reruns = 3;
	r->checks[1].check = check_find("cascade-order");
	judged->verdict = CHECK_DEVIATED;
	judged->opportunities = 40;
	judged->violations = 3;
	strcpy(judged->summary, "40 calls, 3 out of order");
	judged->finding_count = 2;
	strcpy(judged->findings[0].text, "claude was called inside its window");
	judged->findings[0].evidence[0] = 5;
	judged->findings[0].evidence[1] = 9;
	judged->findings[0].evidence_count = 2;
	strcpy(judged->findings[1].text, "<&\">");
	judged->findings[1].evidence[0] = 11;
	judged->findings[1].evidence_count = 1;
	r->check_count = 2;
	r->evidence_lines[0] = strdup("1.204 s  call fail  task-1 claude");
	r->evidence_lines[1] = strdup("1.208 s  call invoke  task-2 claude");
	r->evidence_lines[2] = strdup("1.300 s  call ok  task-3 claude");
}

static void fill_expected(struct result *r)
{
	fill_held(r);
	strcpy(r->name, "double-commit-on-retry");
	strcpy(r->bug, "double-commit-on-retry");
	r->verdict = VERDICT_DEVIATED;
	r->checks[0].result.verdict = CHECK_DEVIATED;
	r->checks[0].result.violations = 1;
	r->checks[0].result.finding_count = 1;
	strcpy(r->checks[0].result.findings[0].text, "task-3 was committed twice");
}

static int setup(void **state)
{
	struct place *place = calloc(1, sizeof *place);
	int fd;

	assert_non_null(place);
	place->out = open_memstream(&place->text, &place->size);
	assert_non_null(place->out);
	fill_held(&place->results[0]);
	fill_failed(&place->results[1]);
	fill_expected(&place->results[2]);
	fill_held(&place->results[3]);
	strcpy(place->path, "/tmp/test-report-XXXXXX");
	fd = mkstemp(place->path);
	assert_true(fd >= 0);
	close(fd);
	*state = place;
	return 0;
}

static int teardown(void **state)
{
	struct place *place = *state;
	size_t i;

	for (i = 0; i < 4; i++)
		result_finish(&place->results[i]);
	unlink(place->path);
	fclose(place->out);
	free(place->text);
	free(place);
	return 0;
}

/* What was written since the last call. */
static const char *written(struct place *place)
{
	static char text[32768];

	fflush(place->out);
	assert_true(place->size < sizeof text);
	memcpy(text, place->text, place->size);
	text[place->size] = '\0';
	rewind(place->out);
	return text;
}

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
	report_human(place->out, &options, r);
	assert_string_equal(written(place),
	    "FAIL  it's[1]                 HELD      no-duplicate-commit: was expected to deviate, but held\n"
	    "      held      no-duplicate-commit           24 opportunities  24 tasks, 24 commits\n"
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

	report_human_summary(place->out, &options, place->results, 1);
	assert_string_equal(written(place), "1 held, 0 deviated, 0 left behind\n");
	place->results[3].ok = false;
	place->results[3].verdict = VERDICT_VACUOUS;
	place->results[3].left_behind = 2;
	report_human_summary(place->out, &options, place->results, 4);
	assert_string_equal(written(place), "1 held, 1 as expected, 1 deviated, 1 vacuous, 2 left behind\n");
}

static void slurp(const char *path, char *buf, size_t size)
{
	FILE *in = fopen(path, "re");
	size_t got;

	assert_non_null(in);
	got = fread(buf, 1, size - 1, in);
	buf[got] = '\0';
	fclose(in);
}

/* A pseudo-terminal's other end: what a person would get to see. */
static void run_on_terminal(void (*what)(FILE *out, void *arg), void *arg, char *seen, size_t size)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave, status;
	size_t used = 0;
	ssize_t got;
	pid_t pid;

	assert_true(master >= 0);
	assert_int_equal(grantpt(master), 0);
	assert_int_equal(unlockpt(master), 0);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(slave >= 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		FILE *out = fdopen(slave, "w");

		what(out, arg);
		fclose(out);
		_exit(0);
	}
	close(slave);
	while (used + 1 < size && (got = read(master, seen + used, size - used - 1)) > 0)
		used += (size_t)got;
	seen[used] = '\0';
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(master);
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

/* ---- for programs ---- */

static void test_json(void **state)
{
	struct report_options options = {.suite = "re\"covery\xff"};
	struct place *place = *state;
	struct error err = {0};
	json_error_t why;
	json_t *document, *result, *check;

	assert_int_equal(report_json(place->out, &options, place->results, 3, &err), 0);
	document = json_loads(written(place), JSON_REJECT_DUPLICATES, &why);
	if (!document)
		fail_msg("%s", why.text);
	assert_int_equal(json_integer_value(json_object_get(document, "layout")), 1);
	assert_int_equal(json_integer_value(json_object_get(document, "exit_status")), 1);
	assert_int_equal(json_integer_value(json_object_get(document, "ok")), 2);
	assert_int_equal(json_integer_value(json_object_get(document, "failed")), 1);
	assert_string_equal(json_string_value(json_object_get(document, "suite")), "re\"covery?");
	result = json_array_get(json_object_get(document, "results"), 0);
	assert_string_equal(json_string_value(json_object_get(result, "seed")), "18446744073709551615");
	assert_true(json_real_value(json_object_get(result, "recovered_ms")) == 41.3);
	assert_true(json_is_true(json_object_get(result, "ok")));
	assert_string_equal(json_string_value(json_object_get(result, "reason")), "");
	result = json_array_get(json_object_get(document, "results"), 1);
	assert_true(json_is_null(json_object_get(result, "recovered_ms")));
	assert_string_equal(json_string_value(json_object_get(result, "verdict")), "deviated");
	assert_string_equal(json_string_value(json_object_get(result, "reason")),
	    "cascade-order: claude was called inside its window; reproduced 3/3");
	check = json_array_get(json_object_get(result, "checks"), 1);
	assert_string_equal(json_string_value(json_object_get(check, "invariant")), "cascade-order");
	assert_true(json_is_false(json_object_get(check, "ok")));
	assert_int_equal(json_integer_value(json_object_get(check, "violations")), 3);
	check = json_array_get(json_object_get(check, "findings"), 0);
	assert_int_equal(json_array_size(json_object_get(check, "evidence")), 2);
	assert_string_equal(
	    json_string_value(json_object_get(
		json_object_get(json_array_get(json_object_get(result, "faults"), 0), "evidence"), "pid")),
	    "4711");
	json_decref(document);
}

static void test_jsonl(void **state)
{
	struct report_options options = {.suite = "s"};
	struct place *place = *state;
	const char *text, *end;
	json_t *object;

	report_jsonl(place->out, &options, &place->results[0]);
	report_jsonl(place->out, &options, &place->results[1]);
	text = written(place);
	end = strchr(text, '\n');
	assert_non_null(end);
	object = json_loadb(text, (size_t)(end - text), 0, NULL);
	assert_string_equal(json_string_value(json_object_get(object, "name")), "agent-kill");
	json_decref(object);
	object = json_loads(end + 1, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(object, "name")), "rate-limit");
	json_decref(object);
	assert_string_equal(strchr(end + 1, '\n'), "\n");
}

static const char expected_junit[] =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
    "<testsuites name=\"tritone\" tests=\"4\" failures=\"1\" errors=\"1\" skipped=\"1\" time=\"6.000\">\n"
    "  <testsuite name=\"a &lt;b&gt; &amp; c\" tests=\"4\" failures=\"1\" errors=\"1\" skipped=\"1\" time=\"6.000\">\n"
    "    <testcase classname=\"a &lt;b&gt; &amp; c\" name=\"agent-kill\" time=\"1.500\" "
    "file=\"fixtures/experiments/agent-kill.yaml\">\n"
    "      <properties>\n"
    "        <property name=\"seed\" value=\"18446744073709551615\"/>\n"
    "        <property name=\"verdict\" value=\"held\"/>\n"
    "      </properties>\n"
    "    </testcase>\n"
    "    <testcase classname=\"a &lt;b&gt; &amp; c\" name=\"rate-limit\" time=\"1.500\" "
    "file=\"my experiments/rate-limit.yaml\">\n"
    "      <properties>\n"
    "        <property name=\"seed\" value=\"7\"/>\n"
    "        <property name=\"verdict\" value=\"deviated\"/>\n"
    "      </properties>\n"
    "      <failure message=\"cascade-order: claude was called inside its window; reproduced 3/3\" type=\"deviated\">"
    "cascade-order: 40 calls, 3 out of order\n"
    "  claude was called inside its window\n"
    "    1.204 s  call fail  task-1 claude\n"
    "    1.208 s  call invoke  task-2 claude\n"
    "  &lt;&amp;&quot;&gt;\n"
    "    1.300 s  call ok  task-3 claude\n"
    "run: .tritone/runs/7\n"
    "reproduce: tritone test 'my experiments/rate-limit.yaml' --seed 7\n"
    "</failure>\n"
    "    </testcase>\n"
    "    <testcase classname=\"a &lt;b&gt; &amp; c\" name=\"gate\" time=\"1.500\" "
    "file=\"fixtures/experiments/agent-kill.yaml\">\n"
    "      <properties>\n"
    "        <property name=\"seed\" value=\"18446744073709551615\"/>\n"
    "        <property name=\"verdict\" value=\"gate-failed\"/>\n"
    "        <property name=\"bug\" value=\"double-commit-on-retry\"/>\n"
    "      </properties>\n"
    "      <error message=\"not steady\" type=\"gate-failed\">run: \n"
    "reproduce: tritone test fixtures/experiments/agent-kill.yaml --seed 18446744073709551615\n"
    "</error>\n"
    "    </testcase>\n"
    "    <testcase classname=\"a &lt;b&gt; &amp; c\" name=\"filter\" time=\"1.500\" "
    "file=\"fixtures/experiments/agent-kill.yaml\">\n"
    "      <properties>\n"
    "        <property name=\"seed\" value=\"18446744073709551615\"/>\n"
    "        <property name=\"verdict\" value=\"unavailable\"/>\n"
    "      </properties>\n"
    "      <skipped message=\"no seccomp here\">run: \n"
    "reproduce: tritone test fixtures/experiments/agent-kill.yaml --seed 18446744073709551615\n"
    "</skipped>\n"
    "    </testcase>\n"
    "  </testsuite>\n"
    "</testsuites>\n";

static void test_junit(void **state)
{
	struct report_options options = {.suite = "a <b> & c"};
	struct place *place = *state;
	char text[16384], command[128];
	struct error err = {0};

	strcpy(place->results[2].name, "gate");
	place->results[2].ok = false;
	place->results[2].verdict = VERDICT_GATE_FAILED;
	place->results[2].checks[0].expected = true;
	strcpy(place->results[2].reason, "not steady");
	strcpy(place->results[3].name, "filter");
	place->results[3].ok = false;
	place->results[3].verdict = VERDICT_UNAVAILABLE;
	strcpy(place->results[3].reason, "no seccomp here");
	assert_int_equal(report_junit(place->path, &options, place->results, 4, &err), 0);
	slurp(place->path, text, sizeof text);
	assert_string_equal(text, expected_junit);
	snprintf(command, sizeof command, "if command -v xmllint >/dev/null; then xmllint --noout %s; fi", place->path);
	assert_int_equal(system(command), 0);
}

/* What the contract permits is no failure, and is told from what the experiment expects. */
static void test_a_contract_is_told(void **state)
{
	struct report_options options = {0};
	struct place *place = *state;
	struct result *r = &place->results[2];
	struct error err = {0};
	char text[16384];

	r->checks[0].permitted = true;
	strcpy(r->contract, "commits at-least-once (declared) -> expected; exactly-once would be broken");
	report_human(place->out, &options, r);
	assert_string_equal(written(place),
	    "ok    double-commit-on-retry  deviated  no-duplicate-commit, as its contract permits: "
	    "task-3 was committed twice\n"
	    "      contract: commits at-least-once (declared) -> expected; exactly-once would be broken\n");
	report_jsonl(place->out, &options, r);
	assert_non_null(strstr(written(place), "\"contract\":\"commits at-least-once (declared) -> expected;"));
	assert_int_equal(report_junit(place->path, &options, place->results, 4, &err), 0);
	slurp(place->path, text, sizeof text);
	assert_non_null(strstr(text, "<property name=\"contract\" value=\"commits at-least-once (declared)"));
}

static void test_junit_that_cannot_be_written(void **state)
{
	struct report_options options = {.suite = "s"};
	struct place *place = *state;
	struct error err = {0};

	assert_int_equal(report_junit("/nowhere/x.xml", &options, place->results, 1, &err), -1);
	assert_int_equal(err.code, ENOENT);
	assert_non_null(strstr(err.text, "/nowhere/x.xml"));
	assert_int_equal(report_junit("/dev/full", &options, place->results, 1, &err), -1);
	assert_int_equal(err.code, ENOSPC);
}

/* ---- progress ---- */

static void use_progress(FILE *out, void *arg)
{
	struct progress *progress = progress_create(out, arg != NULL, 2);

	progress_begin(progress, 0, "agent-kill");
	progress_stage(progress, 0, "watch", "1 of 24 committed");
	progress_stage(progress, 0, "watch", "2 of 24 committed");
	progress_stage(progress, 0, "settle", "");
	progress_end(progress, 0);
	progress_begin(
	    progress, 0, "a-name-that-is-so-long-that-the-line-would-wrap-on-a-terminal-of-eighty-columns-and-more");
	progress_begin(progress, 0, "again");
	progress_destroy(progress);
}

static void use_progress_on_terminal(FILE *out, void *arg)
{
	setenv("TERM", "xterm", 1);
	use_progress(out, arg);
}

static void test_progress_plain(void **state)
{
	struct place *place = *state;

	use_progress(place->out, NULL);
	assert_string_equal(written(place),
	    "[1/2] agent-kill\n"
	    "[1/2] agent-kill: watch, 1 of 24 committed\n"
	    "[1/2] agent-kill: settle\n"
	    "[2/2] a-name-that-is-so-long-that-the-line-would-wrap-on-a-terminal-of-eighty-columns-and-more\n"
	    "[3] again\n");
	use_progress(place->out, place);
	assert_string_equal(written(place), "");
	progress_begin(NULL, 0, "none");
	progress_stage(NULL, 0, "none", NULL);
	progress_destroy(NULL);
}

static void test_progress_on_terminal(void **state)
{
	char seen[4096];

	(void)state;
	run_on_terminal(use_progress_on_terminal, NULL, seen, sizeof seen);
	assert_string_equal(seen,
	    "\r\033[K[1/2] agent-kill"
	    "\r\033[K[1/2] agent-kill: watch, 1 of 24 committed"
	    "\r\033[K[1/2] agent-kill: watch, 2 of 24 committed"
	    "\r\033[K[1/2] agent-kill: settle"
	    "\r\033[K"
	    "\r\033[K[2/2] a-name-that-is-so-long-that-the-line-would-wrap-on-a-terminal-of-eighty-c"
	    "\r\033[K[3] again"
	    "\r\033[K");
}

int main(void)
{
#define TEST(name_) cmocka_unit_test_setup_teardown(name_, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_names_and_statuses),
	    TEST(test_status_of_many),
	    TEST(test_human_lines),
	    TEST(test_a_contract_is_told),
	    TEST(test_human_names_all_and_repeats_nothing),
	    TEST(test_human_says_why),
	    TEST(test_human_verbose),
	    TEST(test_timeline_leaves_out_the_many),
	    TEST(test_evidence_from_the_history),
	    TEST(test_summary),
	    TEST(test_colours_only_on_a_terminal),
	    TEST(test_foreign_bytes),
	    TEST(test_spans),
	    TEST(test_json),
	    TEST(test_jsonl),
	    TEST(test_junit),
	    TEST(test_junit_that_cannot_be_written),
	    TEST(test_progress_plain),
	    TEST(test_progress_on_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
