/* SPDX-License-Identifier: Apache-2.0 */
/* host/report, for programs: JSON and JUnit word by word; and the progress that is shown meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <jansson.h>

#include "tests/report_room.h"

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
	const struct CMUnitTest tests[] = {
	    TEST(test_a_contract_is_told),
	    TEST(test_json),
	    TEST(test_jsonl),
	    TEST(test_junit),
	    TEST(test_junit_that_cannot_be_written),
	    TEST(test_progress_plain),
	    TEST(test_progress_on_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
