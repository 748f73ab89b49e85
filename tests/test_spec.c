/* SPDX-License-Identifier: Apache-2.0 */
/* host/spec: what experiments and suites may say, where a mistake is reported, and that no bytes can crash it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "check/check.h"
#include "tests/spec_fixture.h"

static struct spec_experiment *load(struct place *place, const char *text)
{
	struct spec_experiment *experiment = NULL;

	write_bytes(place, text, strlen(text));
	memset(&place->err, 0, sizeof place->err);
	if (spec_experiment_load(&experiment, place->file, &place->err) != 0)
		assert_null(experiment);
	return experiment;
}

/* The text is refused, and the error, without the file's name, is `expected`. */
static void refused(struct place *place, const char *text, const char *expected)
{
	struct spec_experiment *experiment = load(place, text);
	size_t prefix = strlen(place->file) + 1;

	if (experiment)
		print_error("accepted: %s\n", text);
	assert_null(experiment);
	assert_true(strlen(place->err.text) > prefix);
	assert_string_equal(place->err.text + prefix, expected);
}

/* ---- experiments ---- */

static const char complete[] =
    "title: t\n"
    "description: d\n"
    "tags: [a, b]\n"
    "configuration: {host: localhost, port: 80, user: {type: env, key: TEST_SPEC_NONE, default: me}}\n"
    "secrets: {token: {type: env, key: TEST_SPEC_TOKEN}}\n"
    "arguments: [--bug, x]\n"
    "syscall-filter: true\n"
    "steady-state-hypothesis:\n"
    "  title: up\n"
    "  probes:\n"
    "    - name: one\n"
    "      tolerance: 200\n"
    "      provider: {type: http, url: 'http://${host}/', timeout: 2s}\n"
    "    - {type: probe, name: two, tolerance: [0, 3], provider: {type: process, path: true, arguments: [a]}}\n"
    "    - {name: three, tolerance: {type: regex, pattern: '^a+$'}, provider: {type: process, path: ls}}\n"
    "    - {name: four, tolerance: {type: range, range: [200, 299]}, provider: {type: http, url: u, method: HEAD}}\n"
    "method:\n"
    "  - {type: action, name: act, provider: {type: process, path: ls}, pauses: {before: 1, after: 250ms}}\n"
    "rollbacks:\n"
    "  - {type: probe, name: look, provider: {type: process, path: ls}}\n"
    "workload: {tasks: 30, tail: 2, roles: [x], rate: 2.5, limit: 20s}\n"
    "faults:\n"
    "  - plugin: agent-kill\n"
    "    arguments: {signal: KILL, count: 2}\n"
    "    when: {event: provider-request, nth: 3, hold: true, of: claude, after: 10ms}\n"
    "    duration: 2s\n"
    "    proof: 500ms\n"
    "  - name: second\n"
    "    plugin: /x/disk-full.so\n"
    "    when: {at: 1.5s}\n"
    "    until: {event: fault, of: agent-kill}\n"
    "invariants:\n"
    "  - no-duplicate-commit\n"
    "  - {no-lost-task: {limit: 5s}}\n"
    "  - every-confirmed-notified: {limit: 3s}\n"
    "stop: {error-rate: 0.5, unresponsive: 9s, halt-file: /h}\n"
    "expect: {deviated: [no-lost-task], may: [progress], vacuous: [cascade-order]}\n"
    "sweep: {fault: second, argument: mode, values: [refuse, perform-then-fail]}\n";

static void test_experiment_says_all(void **state)
{
	struct place *place = *state;
	struct check_config config = {0};
	struct spec_manifest manifest = {0};
	struct spec_experiment *x;

	setenv("TEST_SPEC_TOKEN", "s3cret", 1);
	x = load(place, complete);
	assert_string_equal(place->err.text, "");
	assert_non_null(x);
	assert_string_equal(x->file, place->file);
	assert_string_equal(x->name, "x");
	assert_string_equal(x->title, "t");
	assert_string_equal(x->tags.items[1], "b");
	assert_null(x->tags.items[2]);
	assert_string_equal(x->configuration.items[1].value, "80");
	assert_int_equal(x->configuration.items[1].line, 4);
	assert_string_equal(x->configuration.items[2].value, "me");
	assert_string_equal(x->secrets.items[0].value, "s3cret");
	assert_true(x->syscall_filter);
	assert_int_equal(x->hypothesis.count, 4);
	assert_true(x->hypothesis.items[0].is_probe);
	assert_string_equal(x->hypothesis.items[0].url, "http://${host}/");
	assert_string_equal(x->hypothesis.items[0].method, "GET");
	assert_int_equal(x->hypothesis.items[0].timeout_ms, 2000);
	assert_int_equal(x->hypothesis.items[0].tolerance_low, 200);
	assert_int_equal(x->hypothesis.items[0].tolerance_high, 200);
	assert_string_equal(x->hypothesis.items[1].command.items[0], "true");
	assert_string_equal(x->hypothesis.items[1].command.items[1], "a");
	assert_null(x->hypothesis.items[1].command.items[2]);
	assert_int_equal(x->hypothesis.items[1].tolerance_high, 3);
	assert_string_equal(x->hypothesis.items[2].tolerance_regex, "^a+$");
	assert_int_equal(x->hypothesis.items[3].tolerance_low, 200);
	assert_false(x->method.items[0].is_probe);
	assert_int_equal(x->method.items[0].pause_before_ms, 1000);
	assert_int_equal(x->method.items[0].pause_after_ms, 250);
	assert_false(x->method.items[0].has_tolerance);
	assert_true(x->rollbacks.items[0].is_probe);
	assert_int_equal(x->workload.tasks, 30);
	assert_int_equal(x->workload.roles.count, 1);
	assert_true(x->workload.rate == 2.5);
	assert_int_equal(x->workload.limit_ms, 5000); /* no-lost-task's */
	assert_int_equal(x->fault_count, 2);
	assert_string_equal(x->faults[0].name, "agent-kill");
	assert_string_equal(x->faults[0].arguments.items[1].value, "2");
	assert_int_equal(x->faults[0].when.event, SPEC_EVENT_REQUEST);
	assert_int_equal(x->faults[0].when.nth, 3);
	assert_true(x->faults[0].when.hold);
	assert_int_equal(x->faults[0].when.after_ms, 10);
	assert_int_equal(x->faults[0].duration_ms, 2000);
	assert_int_equal(x->faults[0].proof_ms, 500);
	assert_int_equal(x->faults[0].line, 23);
	assert_int_equal(x->faults[1].when.event, SPEC_EVENT_NONE);
	assert_int_equal(x->faults[1].when.after_ms, 1500);
	assert_int_equal(x->faults[1].until.event, SPEC_EVENT_FAULT);
	assert_int_equal(x->invariant_count, 3);
	assert_string_equal(x->invariants[1].name, "no-lost-task");
	assert_int_equal(x->invariants[1].parameters.count, 0);
	assert_string_equal(x->invariants[2].parameters.items[0].name, "notify-limit");
	assert_true(x->stop.error_rate == 0.5);
	assert_int_equal(x->stop.unresponsive_ms, 9000);
	assert_string_equal(x->expect_deviated.items[0], "no-lost-task");
	assert_string_equal(x->expect_may.items[0], "progress");
	assert_string_equal(x->expect_vacuous.items[0], "cascade-order");
	assert_string_equal(x->sweep.values.items[1], "perform-then-fail");
	assert_int_equal(spec_check_config(&manifest, x, &config, &place->err), 0);
	assert_int_equal(config.notify_limit_us, 3000000);
	spec_experiment_free(x);
	unsetenv("TEST_SPEC_TOKEN");
	refused(
	    place, complete, "5:18: the environment variable TEST_SPEC_TOKEN is not set, and 'token' has no default");
}

static void test_experiment_defaults(void **state)
{
	struct place *place = *state;
	struct spec_experiment *x = load(place, "{\"title\": \"as JSON\", \"faults\": [{\"plugin\": \"rate-limit\"}]}");

	assert_non_null(x);
	assert_int_equal(x->workload.tasks, 24);
	assert_int_equal(x->workload.tail, 6);
	assert_int_equal(x->workload.limit_ms, 30000);
	assert_int_equal(x->workload.roles.count, 3);
	assert_string_equal(x->workload.roles.items[2], "review");
	assert_null(x->workload.roles.items[3]);
	assert_int_equal(x->faults[0].when.event, SPEC_EVENT_NONE);
	assert_int_equal(x->faults[0].when.nth, 1);
	assert_int_equal(x->faults[0].when.after_ms, 0);
	assert_int_equal(x->faults[0].until.event, SPEC_EVENT_NONE);
	assert_null(x->system);
	assert_null(x->sweep.argument);
	assert_int_equal(x->invariant_count, 0);
	assert_int_equal(x->expect_deviated.count, 0);
	spec_experiment_free(x);
}

static const struct {
	const char *text, *error;
} mistakes[] = {
    {"", "1:1: the file is empty"},
    {"# only a comment\n", "1:1: the file is empty"},
    {"just words", "1:1: expected a map, found 'just words'"},
    {"- a\n", "1:1: expected a map, found a list"},
    {"title: x\nfalts: []\n", "2:1: unknown key 'falts'; did you mean 'faults'?"},
    {"title: x\nfaults:\n  - plugin: p\n    durration: 1s\n", "4:5: unknown key 'durration'; did you mean 'duration'?"},
    {"stop: {zzzzzzzzz: 1}", "1:8: unknown key 'zzzzzzzzz'; known: error-rate, unresponsive, halt-file"},
    {"title: x\ntags: []\ntitle: y\n", "3:1: the key 'title' is here twice; first at line 1"},
    {"faults: [{plugin: p, duration: [1]}]", "1:32: expected a duration such as 250ms, found a list"},
    {"faults: [{plugin: p, duration: soon}]", "1:32: expected a duration such as 250ms, 2s or 1m, found 'soon'"},
    {"faults: {plugin: p}", "1:9: expected a list for 'faults', found a map"},
    {"faults: [{name: p}]", "1:10: the key 'plugin' is missing"},
    {"faults: [{plugin: }]", "1:19: expected a text, found nothing"},
    {"faults: [{plugin: Some_Plugin}]", "1:19: a fault's name has up to 63 of a-z, 0-9 and '-', found 'Some_Plugin'"},
    {"faults: [{plugin: p}, {plugin: p}]", "1:23: a second fault named 'p'; give it a 'name' of its own"},
    {"faults: [{plugin: p, when: {event: provider-requst}}]",
	"1:36: unknown event 'provider-requst'; did you mean 'provider-request'?"},
    {"faults: [{plugin: p, when: {nth: 3}}]", "1:28: 'nth' goes with 'event'"},
    {"faults: [{plugin: p, when: {event: commit, matches: x}}]", "1:53: 'matches' is about the event output"},
    {"faults: [{plugin: p, when: {event: output, matches: '('}}]",
	"1:53: the pattern is wrong at 1: missing closing parenthesis"},
    {"faults: [{plugin: p, when: {event: point}}]", "1:28: 'of' is missing: which point?"},
    {"faults: [{plugin: p, when: {event: commit, times: 64}}, {plugin: q}]",
	"1:9: 65 faults with their repetitions, at most 64 are possible"},
    {"faults: [{plugin: p, when: {event: commit, times: 2}}, {name: p-2, plugin: p}]",
	"1:9: two faults would be named 'p-2': give one a 'name' of its own"},
    {"faults: [{plugin: p, until: {event: output}}]",
	"1:29: a fault cannot end at the event output, nor by probability, nor several times; it can begin so"},
    {"faults: [{plugin: p, when: {}}]", "1:28: expected 'at' or 'event'"},
    {"faults: [{plugin: p, when: {at: 1s, event: commit}}]",
	"1:28: 'at' and 'event' exclude each other; 'after' counts from the event"},
    {"faults: [{plugin: p, when: {event: output, hold: true}}]",
	"1:50: only a provider-request, a notify, a commit, a file and a sync can be held back, found the event "
	"output"},
    {"faults: [{plugin: p, when: {event: file, hold: true, of: 'x*'}}]",
	"1:58: with 'hold' the file is a path, found the pattern 'x*'"},
    {"faults: [{plugin: p, when: {event: commit, hold: true, after: 30s, within: 30s}}]",
	"1:28: what is held back is let go after 60 s: 'after' and 'within' together must be less"},
    {"faults: [{plugin: p, when: {event: commit, of: x}}]", "1:48: the event commit is not of anything in particular"},
    {"faults: [{plugin: p, when: {event: commit, nth: 0}}]", "1:49: 'nth' must be between 1 and 1e+09, found 0"},
    {"faults: [{plugin: p, when: {event: fault, of: q}}]", "1:47: there is no fault named 'q' in this file"},
    {"faults: [{plugin: p, when: {event: fault, of: p}}]", "1:47: the fault 'p' would wait for itself"},
    {"faults: [{plugin: p, when: {event: fault, of: q}}, {plugin: q, when: {event: revert, of: p}}]",
	"1:10: the fault 'p' waits for faults that wait for each other"},
    {"faults: [{plugin: p, until: {at: 1s}}]",
	"1:29: expected an 'event'; how long a fault lasts is said by 'duration'"},
    {"invariants: [no-lost-tasks]", "1:14: unknown invariant 'no-lost-tasks'; did you mean 'no-lost-task'?"},
    {"invariants: [{progress: {limt: 1s}}]", "1:32: unknown parameter 'limt'; did you mean 'limit'?"},
    {"invariants: [{progress: {limit: x}}]", "1:33: 'limit': expected a duration such as 250ms, 2s or 1m, found 'x'"},
    {"invariants: [{wal-intact: {limit: 1s}}]", "1:35: unknown parameter 'limit'; there are none"},
    {"invariants: [progress, progress]", "1:24: the invariant 'progress' is here twice"},
    {"expect: {deviated: [progres]}", "1:21: unknown invariant 'progres'; did you mean 'progress'?"},
    {"expect: {deviated: progress}", "1:20: expected a list of texts, found 'progress'; write [progress]"},
    {"invariants: [wal-intact]\nexpect: {deviated: [progress]}",
	"2:20: 'progress' cannot deviate: it is not among this experiment's invariants"},
    {"workload: {tasks: 0}", "1:19: 'tasks' must be between 1 and 1e+06, found 0"},
    {"workload: {tasks: -1}", "1:19: expected a whole number, found '-1'"},
    {"workload: {tasks: \"24\"}", "1:19: expected a whole number, found the text '24'"},
    {"workload: {roles: []}", "1:19: 'roles' is empty; expected at least one item"},
    {"workload: {rate: nan}", "1:18: expected a number, found 'nan'"},
    {"workload: {limit: 0}", "1:19: 'limit' must be between 1 ms and 8.64e+07 ms, found 0 ms"},
    {"syscall-filter: yes", "1:17: expected true or false, found 'yes'"},
    {"sweep: {argument: a, values: [1]}", "1:8: the key 'fault' is missing: this file has 0 faults"},
    {"steady-state-hypothesis: {probes: [{name: a, provider: {type: http, url: u}}]}",
	"1:36: the probe 'a' says nothing without a tolerance"},
    {"steady-state-hypothesis: {probes: [{name: a, tolerance: {type: regex, pattern: '(a'}, provider: {type: http, "
     "url: u}}]}",
	"1:80: not a regular expression: missing closing parenthesis, at its character 3"},
    {"method: [{name: a, provider: {type: http}}]", "1:30: the key 'url' is missing"},
    {"method: [{name: a, provider: {type: python, module: m}}]", "1:37: unknown type 'python'; known: http, process"},
    {"method: [{name: a, provider: {type: http, url: u, path: p}}]",
	"1:57: 'path' has no meaning for a provider of type http"},
    {"method: [{name: a, tolerance: 200, provider: {type: http, url: u}}]",
	"1:31: an action has no tolerance; a probe has"},
    {"experiments: [a]", "1:1: this is a suite; expected an experiment"},
    {"invariants: [{no-lost-task: {limt: 3s}}]", "1:36: unknown parameter 'limt'; did you mean 'limit'?"},
    {"invariants: [{no-lost-task: {patience: 3s}}]", "1:40: unknown parameter 'patience'; known: limit"},
    {"invariants: [{progress: {patience: 3s}}]",
	"1:36: unknown parameter 'patience'; known: progress-limit, limit, progress-excuse, excuse"},
    {"invariants: [{no-zombie-commit: {patience: 3s}}]", "1:44: unknown parameter 'patience'; there are none"},
    {"title: &a x", "1:8: anchors (&name) are not supported; write the value out where it is used"},
    {"title: *a", "1:8: aliases (*name) are not supported; write the value out"},
    {"title: !!str x", "1:8: tags (!name) are not supported"},
    {"title: x\n---\ntitle: y\n", "2:1: a second document; expected one in a file"},
    {"title: x\nfaults:\n\t- plugin: p\n", "3:1: a tab in the indentation; indent with spaces"},
    {"title: x: y", "1:9: not valid YAML: mapping values are not allowed in this context"},
    {"title: \"x\\0y\"", "1:8: a NUL character in a text"},
    {"title: x\n# \xff\n", "2:3: not UTF-8: invalid leading UTF-8 octet"},
    {"title: \x01\n", "1:8: a control character (0x01)"},
    {"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "1:25: nested too deeply"},
    {"? [a]\n: x\n", "1:3: expected a key, found a list"},
};

static void test_mistakes_are_placed(void **state)
{
	size_t i;

	for (i = 0; i < sizeof mistakes / sizeof *mistakes; i++)
		refused(*state, mistakes[i].text, mistakes[i].error);
}

static void test_files_that_are_none(void **state)
{
	struct place *place = *state;
	struct spec_experiment *x = NULL;
	struct spec_suite *suite = NULL;
	char *big = calloc(1, (1u << 20) + 2);

	assert_non_null(big);
	assert_int_equal(spec_experiment_load(&x, place->dir, &place->err), -1);
	assert_int_equal(place->err.code, EISDIR);
	assert_int_equal(spec_experiment_load(&x, place->file, &place->err), -1);
	assert_int_equal(place->err.code, ENOENT);
	assert_non_null(strstr(place->err.text, place->file));
	memset(big, '#', (1u << 20) + 1);
	write_bytes(place, big, (1u << 20) + 1);
	assert_int_equal(spec_suite_load(&suite, place->file, &place->err), -1);
	assert_int_equal(place->err.code, EFBIG);
	free(big);
}

/* A fault that comes several times is several faults, of which the first has to come. */
static void test_repetitions(void **state)
{
	struct place *place = *state;
	struct spec_experiment *x = load(place, "title: t\nfaults:\n  - {name: a, plugin: p, when: {event: commit, "
						"nth: 4, every: 10, times: 3}}\n  - {plugin: q}\n");

	assert_string_equal(place->err.text, "");
	assert_non_null(x);
	assert_int_equal(x->fault_count, 4);
	assert_string_equal(x->faults[2].name, "a-3");
	assert_string_equal(x->faults[2].base, "a");
	assert_int_equal(x->faults[0].when.nth, 4);
	assert_int_equal(x->faults[1].when.nth, 14);
	assert_int_equal(x->faults[2].when.nth, 24);
	assert_false(x->faults[0].again);
	assert_true(x->faults[1].again && x->faults[2].again);
	assert_false(x->faults[3].again);
	assert_string_equal(x->faults[3].base, "q");
	spec_experiment_free(x);
}

/* ---- suites ---- */

static void test_suite(void **state)
{
	struct place *place = *state;
	char text[1024], expected[256];
	struct spec_suite *suite = NULL;

	snprintf(text, sizeof text,
	    "title: all\ncontrol: true\nexperiments:\n  - x.yaml\n"
	    "  - {experiment: x.yaml, bug: ack-before-sync, expect: {deviated: [no-lost-task]}}\n"
	    "  - {experiment: ./x.yaml, name: third, arguments: [--fast]}\n");
	write_bytes(place, text, strlen(text));
	if (spec_suite_load(&suite, place->file, &place->err) != 0)
		fail_msg("%s", place->err.text);
	snprintf(expected, sizeof expected, "%s/x.yaml", place->dir);
	assert_true(suite->control);
	assert_int_equal(suite->case_count, 3);
	assert_string_equal(suite->cases[0].experiment, expected);
	assert_string_equal(suite->cases[0].name, "x");
	assert_false(suite->cases[0].has_expect);
	assert_string_equal(suite->cases[1].name, "ack-before-sync");
	assert_string_equal(suite->cases[1].bug, "ack-before-sync");
	assert_int_equal(suite->cases[1].arguments.count, 0);
	assert_true(suite->cases[1].has_expect);
	assert_string_equal(suite->cases[1].expect_deviated.items[0], "no-lost-task");
	assert_string_equal(suite->cases[2].arguments.items[0], "--fast");
	assert_int_equal(suite->cases[2].line, 6);
	spec_suite_free(suite);
}

static void test_suite_mistakes(void **state)
{
	static const struct {
		const char *text, *error;
	} rows[] = {
	    {"experimens: [x.yaml]\n", "1:1: unknown key 'experimens'; did you mean 'experiments'?"},
	    {"experiments: []\n", "1:14: 'experiments' is empty; expected at least one item"},
	    {"experiments: [x.yaml, x.yaml]\n",
		"1:23: a second case named 'x', as at line 1; give it a 'name' of its own"},
	    {"experiments: [{experiment: x.yaml, expect: {deviated: [no-lost-tsk]}}]\n",
		"1:56: unknown invariant 'no-lost-tsk'; did you mean 'no-lost-task'?"},
	    {LEAST, "1:1: this is the manifest of a system; expected a suite or an experiment"},
	    {"title: one\nfalts: []\n", "2:1: unknown key 'falts'; did you mean 'faults'?"},
	};
	struct place *place = *state;
	struct spec_suite *suite = NULL;
	size_t i;

	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		write_bytes(place, rows[i].text, strlen(rows[i].text));
		assert_int_equal(spec_suite_load(&suite, place->file, &place->err), -1);
		assert_string_equal(place->err.text + strlen(place->file) + 1, rows[i].error);
	}
	/* A missing experiment is a matter of its own case alone. */
	write_bytes(place, "experiments: [y.yaml]\n", 22);
	assert_int_equal(spec_suite_load(&suite, place->file, &place->err), 0);
	assert_non_null(strstr(suite->cases[0].problem, ":1:15: the experiment "));
	assert_non_null(strstr(suite->cases[0].problem, "/y.yaml: No such file"));
	spec_suite_free(suite);
}

static void test_experiment_alone_is_a_suite_of_one(void **state)
{
	struct place *place = *state;
	struct spec_suite *suite = NULL;

	write_bytes(place, "title: one\n", 11);
	assert_int_equal(spec_suite_load(&suite, place->file, &place->err), 0);
	assert_int_equal(suite->case_count, 1);
	assert_string_equal(suite->title, "one");
	assert_string_equal(suite->cases[0].experiment, place->file);
	assert_string_equal(suite->cases[0].name, "x");
	spec_suite_free(suite);
}

/* ---- bytes that nobody wrote ---- */

static uint64_t next(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return *seed >> 33;
}

static void mutate(char *bytes, size_t *size, size_t room, uint64_t *seed)
{
	static const char alphabet[] = "\"'[]{},:-#&*!|>%@`\t\n\\ ?~0\xff\xc3\x01";
	uint64_t edits = 1 + next(seed) % 6;

	while (edits--) {
		size_t at = next(seed) % (*size + 1), length = next(seed) % 12;

		switch (next(seed) % 4) {
		case 0: /* another byte */
			if (at < *size)
				bytes[at] = alphabet[next(seed) % (sizeof alphabet - 1)];
			break;
		case 1: /* one more */
			if (*size + 1 < room) {
				memmove(bytes + at + 1, bytes + at, *size - at);
				bytes[at] = alphabet[next(seed) % (sizeof alphabet - 1)];
				++*size;
			}
			break;
		case 2: /* some fewer */
			if (at + length < *size) {
				memmove(bytes + at, bytes + at + length, *size - at - length);
				*size -= length;
			}
			break;
		default: /* the end is missing */
			if (next(seed) % 8 == 0)
				*size = at;
		}
	}
}

static void test_no_bytes_crash_it(void **state)
{
	struct place *place = *state;
	struct spec_experiment *x;
	struct spec_manifest *m;
	struct spec_suite *s;
	char bytes[16384], manifest[12288];
	uint64_t seed = 20240229;
	size_t size, manifest_size, i, accepted = 0;
	FILE *in = fopen(SOURCES "/fixtures/systems/conductor.yaml", "rbe");

	assert_non_null(in);
	manifest_size = fread(manifest, 1, sizeof manifest, in);
	fclose(in);
	for (i = 0; i < 3000; i++) {
		size = i % 3 ? strlen(complete) : manifest_size;
		memcpy(bytes, i % 3 ? complete : manifest, size);
		mutate(bytes, &size, sizeof bytes, &seed);
		write_bytes(place, bytes, size);
		place->err.text[0] = '\0';
		if (spec_experiment_load(&x, place->file, &place->err) == 0) {
			spec_experiment_free(x);
			accepted++;
		} else {
			assert_true(strncmp(place->err.text, place->file, strlen(place->file)) == 0);
		}
		if (spec_manifest_load(&m, place->file, &place->err) == 0) {
			spec_manifest_free(m);
			accepted++;
		}
		if (spec_suite_load(&s, place->file, &place->err) == 0)
			spec_suite_free(s);
	}
	assert_true(accepted > 100); /* the mutations did not all die at the first byte */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_experiment_says_all),
	    TEST(test_experiment_defaults),
	    TEST(test_mistakes_are_placed),
	    TEST(test_files_that_are_none),
	    TEST(test_repetitions),
	    TEST(test_suite),
	    TEST(test_suite_mistakes),
	    TEST(test_experiment_alone_is_a_suite_of_one),
	    TEST(test_no_bytes_crash_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
