/* SPDX-License-Identifier: Apache-2.0 */
/* host/spec: what manifests may say, what an experiment may wait for on a system, and that the tree's own files are right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>

#include "check/check.h"
#include "tests/spec_fixture.h"

static void test_manifest_of_the_reference(void **state)
{
	struct place *place = *state;
	struct check_config config = {0};
	struct spec_manifest *m = NULL;

	if (spec_manifest_load(&m, SOURCES "/fixtures/systems/conductor.yaml", &place->err) != 0)
		fail_msg("%s", place->err.text);
	assert_string_equal(m->name, "conductor");
	assert_int_equal(m->prepare_count, 1);
	assert_string_equal(m->prepare[0].items[1], "init");
	assert_int_equal(m->process_count, 1);
	assert_string_equal(m->processes[0].command.items[1], "serve");
	assert_int_equal(m->processes[0].ready.timeout_ms, 10000);
	assert_true(m->restart.on_crash);
	assert_string_equal(m->submit.method, "POST");
	assert_string_equal(m->submit.headers.items[0].name, "Content-Type");
	assert_string_equal(m->outcome.done.items[0], "done");
	assert_int_equal(m->gateway.providers.count, 4);
	assert_string_equal(m->commits.branch, "main");
	assert_string_equal(m->wal.recover_point, "recover.middle");
	/* Its policy is the same when it recovers. */
	assert_string_equal(m->wal.recover.items[m->wal.recover.count - 1], "report-ms=50");
	assert_string_equal(m->contract.items[0].value, "exactly-once");
	assert_int_equal(spec_check_config(m, NULL, &config, &place->err), 0);
	assert_int_equal(config.provider_count, 4);
	assert_string_equal(config.providers[0], "claude");
	assert_int_equal(config.commits, CHECK_EXACTLY_ONCE);
	assert_int_equal(config.attempts_max, 10);
	assert_int_equal(config.breaker_reset_us, 800000);
	assert_true(config.slo_task_success == 0.90);
	spec_manifest_free(m);
}

static void test_manifest_arguments(void **state)
{
	static const char text[] =
	    "name: n\nprocesses: [{name: db, command: [d], helper: true}, {name: p, command: [c, first]}]\n"
	    "submit: {url: u, body: b}\narguments: [--set, x=1]\nwal: {directory: w, recover: [r]}\n";
	struct place *place = *state;
	struct spec_manifest *m = NULL;

	write_bytes(place, text, strlen(text));
	if (spec_manifest_load(&m, place->file, &place->err) != 0)
		fail_msg("%s", place->err.text);
	assert_int_equal(m->processes[0].command.count, 1); /* a helper is not the orchestrator */
	assert_int_equal(m->processes[1].command.count, 4);
	assert_string_equal(m->processes[1].command.items[1], "first");
	assert_string_equal(m->processes[1].command.items[3], "x=1");
	assert_null(m->processes[1].command.items[4]);
	assert_int_equal(m->wal.recover.count, 3);
	assert_string_equal(m->wal.recover.items[1], "--set");
	assert_null(m->wal.recover.items[3]);
	spec_manifest_free(m);
}

#define NAME_RULE "1 to 63 bytes, none of them a '/' or a control character, and does not begin with a dot"

static void test_manifest_mistakes(void **state)
{
	static const struct {
		const char *text, *error;
	} rows[] = {
	    {"name: n\n", "1:1: the key 'processes' is missing"},
	    {"name: n\nprocesses: []\nsubmit: {url: u, body: b}\n",
		"2:12: 'processes' is empty; expected at least one item"},
	    {"name: ../../n\nprocesses: [{name: p, command: [c]}]\nsubmit: {url: u, body: b}\n",
		"1:7: the name of a system has " NAME_RULE},
	    {"name: .n\nprocesses: [{name: p, command: [c]}]\nsubmit: {url: u, body: b}\n",
		"1:7: the name of a system has " NAME_RULE},
	    {"name: n\nprocesses: [{name: \"a\\nb\", command: [c]}]\nsubmit: {url: u, body: b}\n",
		"2:20: the name of a process has " NAME_RULE},
	    {"name: n\nprocesses: [{name: \"\", command: [c]}]\nsubmit: {url: u, body: b}\n",
		"2:20: the name of a process has " NAME_RULE},
	    {"name: n\nprocesses: [{name: submit, command: [c]}]\nsubmit: {url: u, body: b}\n",
		"2:20: a process may not be called 'submit': what a command of the manifest writes is kept by that "
		"name"},
	    {"name: n\nprocesses: [{name: prepare-1, command: [c]}]\nsubmit: {url: u, body: b}\n",
		"2:20: a process may not be called 'prepare-1': what a command of the manifest writes is kept by that "
		"name"},
	    {LEAST "policy: {attempt-max: 3}\n", "4:23: unknown parameter 'attempt-max'; did you mean 'attempts-max'?"},
	    {LEAST "policy: {attempts-max: many}\n", "4:24: 'attempts-max': expected a whole number"},
	    {LEAST "policy: {slo-notification: 1.5}\n",
		"4:28: 'slo-notification': expected a fraction between 0 and 1"},
	    {LEAST "contract: {commits: exactly-twice}\n",
		"4:21: unknown commits 'exactly-twice'; did you mean 'exactly-once'?"},
	    {LEAST "contract: {comits: exactly-once}\n", "4:12: unknown key 'comits'; did you mean 'commits'?"},
	    {LEAST "contract: {throttling: retry}\n", "4:24: unknown throttling 'retry'; did you mean 'retries'?"},
	    {LEAST "commits: {git: g}\n", "4:10: the key 'task-trailer' is missing"},
	    {LEAST "commits: {git: g, file: f, pattern: '(?<task>x)'}\n",
		"4:10: commits: only one of 'git', 'file' or 'sink'"},
	    {LEAST "commits: {branch: b}\n", "4:10: commits: one of 'git', 'file' or 'sink' is wanted"},
	    {LEAST "commits: {file: f, pattern: 'task'}\n", "4:29: the pattern has no group (?<task>...)"},
	    {LEAST "outcome: {url: u}\n", "4:10: the key 'done' is missing"},
	    {LEAST "outcome: {done-file: f}\n", "4:22: each task needs a file of its own: ${task} in its name"},
	    {LEAST "agents: {pattern: '(', task-environment: T}\n",
		"4:19: the pattern is wrong at 1: missing closing parenthesis"},
	    {LEAST "slo: {metrics: u}\n", "4:6: 'metrics' and 'samples' go together"},
	    {"name: n\nprocesses: [{name: p, command: [c]}]\nsubmit: {url: u}\n", "3:9: the key 'body' is missing"},
	    {"name: n\nprocesses: [{name: p, command: [c]}]\nsubmit: {command: [c], url: u, body: b}\n",
		"3:9: submit: only one of 'url', 'command' or 'file'"},
	    {"name: n\nprocesses: [{name: p, command: [c]}]\nsubmit: {file: f, body: b}\n",
		"3:16: each task needs a file of its own: ${task} or ${key} in its name"},
	    {"name: n\nprocesses: [{name: p, command: [c], helper: true}]\nsubmit: {url: u, body: b}\n",
		"2:12: all are helpers: which is the orchestrator?"},
	    {LEAST "gateway: {providers: [a, a]}\n", "4:10: the provider 'a' is here twice"},
	    {LEAST "gateway: {providers: [a, b], cascade: [a/x, ab]}\n", "4:45: 'ab': there is no such provider"},
	    {LEAST "gateway: {providers: [a, b], cascade: [a/x, b/]}\n", "4:45: 'b/': a model is missing"},
	    {LEAST "gateway: {providers: [a, b], cascade: [a/x, b, a/x]}\n", "4:48: the place 'a/x' is here twice"},
	    {LEAST "gateway: {providers: [alpha], upstreams: [{provider: alpa, url: 'http://h'}]}\n",
		"4:54: unknown provider 'alpa'; did you mean 'alpha'?"},
	    {LEAST "gateway: {providers: [a], upstreams: [{provider: a}]}\n", "4:39: the key 'url' is missing"},
	    {LEAST "gateway: {providers: [a], upstreams: [{provider: a, url: h}]}\n",
		"4:58: expected a base URL such as https://api.example.com, found 'h': it begins neither with http:// "
		"nor "
		"with https://"},
	    {LEAST "gateway: {providers: [a], upstreams: [{provider: a, url: 'https://me:word@h'}]}\n",
		"4:58: expected a base URL such as https://api.example.com, found '(with an @)': it has a user or a "
		"password: name the variable with the API key in key-from"},
	    {LEAST "gateway: {providers: [a], upstreams: [{provider: a, url: 'http://h'}, {provider: a, url: "
		   "'http://i'}]}\n",
		"4:82: a second upstream of 'a'"},
	    {LEAST "gateway: {providers: [a], upstreams: [{provider: a, url: 'http://h', key-from: sk-1}]}\n",
		"4:80: expected the name of an environment variable; a key itself does not belong here"},
	    {LEAST "gateway: {providers: [a], upstreams: [{provider: a, url: 'http://h', timeout: 0ms}]}\n",
		"4:79: 'timeout' must be between 1 ms and 8.64e+07 ms, found 0 ms"},
	    {LEAST "gateway: {providers: [a], record: f}\n",
		"4:35: 'record' needs 'upstreams' whose answers are recorded"},
	    {LEAST "gateway: {providers: [a], upstreams: [{provider: a, url: 'http://h'}], record: f, replay: g}\n",
		"4:91: 'record' and 'replay' contradict each other: the one asks upstreams, the other spares them"},
	    {LEAST "gateway: {providers: [a], replay: '${run}/f'}\n",
		"4:35: no variables are known here: a path beside this file is expected"},
	    {LEAST "gateway: {providers: [a], replay: /nowhere/f}\n",
		"4:35: the recording /nowhere/f: No such file or directory"},
	    {LEAST "agents: {pid-files: run/pid}\n", "4:21: 'pid-files' needs a '*' where the agent's id is"},
	    {LEAST "faultpoints: [a.before]\nwal: {directory: d, recover-point: a.befor}\n",
		"5:36: unknown fault point 'a.befor'; did you mean 'a.before'?"},
	};
	struct place *place = *state;
	struct spec_manifest *m = NULL;
	size_t i;

	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		write_bytes(place, rows[i].text, strlen(rows[i].text));
		assert_int_equal(spec_manifest_load(&m, place->file, &place->err), -1);
		assert_string_equal(place->err.text + strlen(place->file) + 1, rows[i].error);
	}
	write_bytes(place, LEAST, strlen(LEAST));
	assert_int_equal(spec_manifest_load(&m, place->file, &place->err), 0);
	assert_string_equal(m->submit.method, "POST");
	assert_int_equal(m->submit.timeout_ms, 5000);
	assert_false(m->restart.on_crash);
	assert_null(m->outcome.url);
	assert_null(m->commits.git);
	spec_manifest_free(m);
}

/* An event that this system can never show is refused, where it stands. */
static void test_events_that_never_come(void **state)
{
	static const struct {
		const char *when, *error;
	} rows[] = {
	    {"when: {event: provider-request, of: a}", NULL},
	    {"when: {event: provider-request}", NULL},
	    {"when: {event: provider-reply, of: alphA}",
		"2:65: there is no provider named 'alphA'; did you mean 'alpha'?"},
	    {"when: {event: provider-request, of: nobody-known}", "2:67: there is no provider named 'nobody-known'"},
	    {"when: {event: notify}", "2:37: the event never comes: there is no sink"},
	    {"until: {event: commit}", "2:38: the event never comes: there is no ledger"},
	    {"when: {event: accept}, until: {event: restart}", NULL},
	    {"when: {event: output, of: p}", NULL},
	    {"when: {event: output, of: q}", "2:57: there is no process named 'q'"},
	    {"when: {event: file, of: '**'}", NULL},
	    {"when: {event: point, of: a.before}", "2:56: the event never comes: there is no fault point"},
	};
	static char manifest[] = "/tmp/test-spec-manifest-XXXXXX";
	static const char text[] = LEAST "gateway: {providers: [a, alpha]}\n";
	struct place *place = *state;
	struct spec_manifest *m;
	struct error err;
	int fd = mkstemp(manifest);
	size_t i;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
	close(fd);
	if (spec_manifest_load(&m, manifest, &err) != 0)
		fail_msg("%s", err.text);
	unlink(manifest);
	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct spec_experiment *x;
		char whole[512], expected[1024];

		snprintf(whole, sizeof whole, "title: t\nfaults: [{plugin: rate-limit, %s}]\n", rows[i].when);
		write_bytes(place, whole, strlen(whole));
		if (spec_experiment_load(&x, place->file, &err) != 0)
			fail_msg("%s", err.text);
		assert_int_equal(spec_events_check(m, x, &err), rows[i].error ? -1 : 0);
		if (rows[i].error) {
			snprintf(expected, sizeof expected, "%s:%s; the system is that of %s", place->file,
			    rows[i].error, manifest);
			assert_string_equal(err.text, expected);
		}
		spec_experiment_free(x);
	}
	spec_manifest_free(m);
}

/* ---- the files of the tree ---- */

static int is_file(const struct dirent *entry)
{
	return entry->d_name[0] != '.' && entry->d_type != DT_DIR;
}

/* Every experiment and suite of the tree says what it may say. */
static void test_fixtures(void **state)
{
	static const char *const folders[] = {
	    SOURCES "/fixtures/experiments", SOURCES "/fixtures/experiments/foreign", SOURCES "/fixtures/suites"};
	struct place *place = *state;
	struct dirent **names;
	char path[1024];
	int count, i, folder;

	for (folder = 0; folder < 3; folder++) {
		count = scandir(folders[folder], &names, is_file, alphasort);
		assert_true(count > 0);
		for (i = 0; i < count; i++) {
			struct spec_suite *suite = NULL;

			snprintf(path, sizeof path, "%s/%s", folders[folder], names[i]->d_name);
			free(names[i]);
			if (spec_suite_load(&suite, path, &place->err) != 0)
				print_error("%s\n", place->err.text);
			assert_non_null(suite);
			assert_true(folder < 2 ? suite->case_count == 1 : suite->case_count > 1);
			spec_suite_free(suite);
		}
		free(names);
	}
}

/* What the manual pages show is loaded here. */
static void test_examples_of_the_manual(void **state)
{
	struct spec_manifest *spool = NULL;
	struct place *place = *state;
	struct spec_experiment *x = NULL;
	struct spec_manifest *m = NULL;
	struct spec_script *script = NULL;
	struct spec_suite *s = NULL;

	if (spec_experiment_load(&x, SOURCES "/docs/examples/experiment.yaml", &place->err) != 0)
		fail_msg("%s", place->err.text);
	assert_int_equal(x->invariants[2].parameters.count, 1);
	assert_non_null(strstr(x->system, "fixtures/systems/conductor.yaml"));
	spec_experiment_free(x);
	if (spec_experiment_load(&x, SOURCES "/docs/examples/two-faults.yaml", &place->err) != 0)
		fail_msg("%s", place->err.text);
	assert_int_equal(x->fault_count, 2);
	spec_experiment_free(x);
	if (spec_suite_load(&s, SOURCES "/docs/examples/suite.yaml", &place->err) != 0)
		fail_msg("%s", place->err.text);
	assert_int_equal(s->case_count, 3);
	spec_suite_free(s);
	if (spec_script_load(&script, SOURCES "/docs/examples/script.yaml", &place->err) != 0)
		fail_msg("%s", place->err.text);
	assert_int_equal(script->count, 6);
	spec_script_free(script);
	if (spec_manifest_load(&spool, SOURCES "/docs/examples/spool.yaml", &((struct place *)*state)->err) != 0)
		fail_msg("%s", ((struct place *)*state)->err.text);
	assert_int_equal(spool->main_process, 1);
	assert_true(
	    spec_has_ledger(spool) && spec_has_agents(spool) && spec_has_outcome(spool) && spec_has_claims(spool));
	spec_manifest_free(spool);
	if (spec_manifest_load(&m, SOURCES "/docs/examples/system.yaml", &place->err) != 0)
		fail_msg("%s", place->err.text);
	assert_string_equal(m->outcome.id, "id");
	spec_manifest_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_manifest_of_the_reference),
	    TEST(test_manifest_arguments),
	    TEST(test_manifest_mistakes),
	    TEST(test_events_that_never_come),
	    TEST(test_examples_of_the_manual),
	    TEST(test_fixtures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
