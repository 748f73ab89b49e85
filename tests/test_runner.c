/* SPDX-License-Identifier: Apache-2.0 */
/* host/runner with plugins that are none, with parameters, and with one that does what it says. */
#include "runner_fixture.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- loading ---- */

static void refused(struct fixture *f, const char *name, int code, const char *text)
{
	struct plugin_info *info;

	if (strchr(name, '/'))
		snprintf(f->plugin, sizeof f->plugin, "%s", name);
	else
		use_plugin(f, name);
	assert_int_equal(plugin_info_load(&info, f->plugin, &f->err), -1);
	if (f->err.code != code)
		fail_msg("%s: code %d: %s", name, f->err.code, f->err.text);
	assert_says(f, text);
	memset(&f->err, 0, sizeof f->err);
	assert_int_equal(runner_start(&f->runner, &f->options, &f->err), -1);
	assert_int_equal(f->err.code, code);
	assert_says(f, text);
}

static void test_broken_plugins_are_refused(void **state)
{
	struct fixture *f = *state;

	refused(f, "evil-abi", EPROTO, "evil-abi.so was built for fault ABI 2, this tritone speaks ABI 1");
	refused(f, "evil-magic", ENOEXEC, "0xdeadbeef");
	refused(f, "evil-no-symbol", ENOEXEC,
	    "evil-no-symbol.so is not a fault plugin: it does not export tritone_fault_v1");
	refused(f, "evil-no-hook", ENOEXEC, "it has no revert hook");
	refused(f, "evil-short", ENOEXEC, "its descriptor has");
	refused(f, "evil-name", ENOEXEC, "its name must be");
	refused(f, "evil-huge-table", ENOEXEC, "claims 100000 parameters, the limit is 64");
	refused(f, "evil-bad-default", ENOEXEC, "parameter 'broken' has a default");
	refused(f, "evil-blast", ENOEXEC, "its blast radius 0x99 is unknown");
	refused(f, "evil-crash-on-load", EPROTO, "crashed in load: killed by SIGABRT");
}

static void test_other_files_are_refused(void **state)
{
	struct fixture *f = *state;
	char path[PATH_MAX], link[PATH_MAX];
	FILE *maps, *file;

	snprintf(path, sizeof path, "%s/text.so", f->dir);
	file = fopen(path, "we");
	assert_non_null(file);
	fputs("not an ELF\n", file);
	fclose(file);
	refused(f, path, ENOEXEC, "text.so is not a fault plugin: it is not a shared module");
	refused(f, f->dir, ENOEXEC, "it is not a regular file");
	snprintf(path, sizeof path, "%s/absent.so", f->dir);
	snprintf(f->plugin, sizeof f->plugin, "%s", path);
	assert_int_equal(runner_start(&f->runner, &f->options, &f->err), -1);
	assert_int_equal(f->err.code, ENOENT);

	/* A real library, whatever of them this process has mapped. */
	maps = fopen("/proc/self/maps", "re");
	assert_non_null(maps);
	path[0] = '\0';
	while (fgets(link, sizeof link, maps) && !strstr(link, "cmocka"))
		;
	fclose(maps);
	assert_non_null(strchr(link, '/'));
	link[strcspn(link, "\n")] = '\0';
	refused(f, strchr(link, '/'), ENOEXEC, "does not export tritone_fault_v1");
}

static void test_a_constructor_that_hangs(void **state)
{
	struct fixture *f = *state;

	use_plugin(f, "evil-hang-on-load");
	f->options.hook_timeout_ms = 500;
	assert_int_equal(runner_start(&f->runner, &f->options, &f->err), -1);
	assert_int_equal(f->err.code, ETIMEDOUT);
	assert_says(f, "hung in load");
}

static void test_pathological_needs_leave(void **state)
{
	struct fixture *f = *state;

	use_plugin(f, "evil-pathological");
	assert_int_equal(runner_start(&f->runner, &f->options, &f->err), -1);
	assert_int_equal(f->err.code, EPERM);
	f->options.allow_pathological = true;
	start(f);
}

static void test_a_later_descriptor_is_fine(void **state)
{
	struct fixture *f = *state;

	use_plugin(f, "evil-long");
	inject(f);
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	assert_clean(f);
}

static void test_description(void **state)
{
	struct fixture *f = *state;
	struct plugin_info *info;

	assert_int_equal(plugin_info_load(&info, f->plugin, &f->err), 0);
	assert_string_equal(info->name, "evil");
	assert_string_equal(info->version, "1.0");
	assert_string_equal(info->path, f->plugin);
	assert_string_equal(plugin_blast_name(info->blast), "process");
	assert_int_equal(info->capabilities, TRITONE_CAP_FILES);
	assert_int_equal(info->proof_ms, 5000);
	assert_int_equal(info->param_count, 7);
	assert_string_equal(info->params[0].choices, "never|check|plan|inject|verify|revert");
	assert_string_equal(info->params[3].unit, "pieces");
	assert_null(info->params[6].fallback);
	plugin_info_free(info);
}

/* ---- parameters ---- */

static void test_parameters_reach_the_plugin(void **state)
{
	struct fixture *f = *state;
	const char *params[] = {"count=9", "ratio=0.25", "grace=1.5s", "text=a=b c"};

	f->options.params = params;
	f->options.param_count = 4;
	start(f);
	assert_int_equal(runner_check(f->runner, &f->err), 0);
	assert_true(has_evidence(f, "text=a=b c\ncount=9\ngrace=1500\npercent=25\n"));
	assert_true(has_evidence(f, "random-none=0\nterm-ignored=1\n"));
	assert_int_equal(f->log_lines, 1);
}

static void test_defaults(void **state)
{
	struct fixture *f = *state;

	start(f);
	assert_int_equal(runner_check(f->runner, &f->err), 0);
	assert_true(has_evidence(f, "text=\ncount=3\ngrace=250\npercent=50\n"));
}

static void test_the_seed_decides(void **state)
{
	struct fixture *f = *state;
	char first[sizeof f->seen];

	start(f);
	assert_int_equal(runner_check(f->runner, &f->err), 0);
	memcpy(first, f->seen, sizeof first);
	f->seen[0] = '\0';
	assert_int_equal(runner_check(f->runner, &f->err), 0);
	assert_string_equal(f->seen, first);
	runner_destroy(f->runner);
	f->runner = NULL;
	f->seen[0] = '\0';
	f->options.seed = 8;
	start(f);
	assert_int_equal(runner_check(f->runner, &f->err), 0);
	assert_string_not_equal(f->seen, first);
}

static void test_bad_parameters(void **state)
{
	static const struct {
		const char *pair, *says;
	} rows[] = {
	    {"count=10", "evil: parameter 'count': '10' is not an integer from 1 to 9, in pieces"},
	    {"count=0x5", "'0x5' is not an integer"},
	    {"count=", "'' is not an integer"},
	    {"count=99999999999999999999", "is not an integer"},
	    {"ratio=1.01", "'1.01' is not a number from 0 to 1"},
	    {"ratio=nan", "'nan' is not a number"},
	    {"grace=2 weeks", "is not a duration (such as 250ms, 2s, 1m) from 0ms to 60000ms"},
	    {"grace=2m", "'2m' is not a duration"},
	    {"once=maybe", "'maybe' is neither true nor false"},
	    {"when=later", "'later' is not one of never|check|plan|inject|verify|revert"},
	    {"wen=check", "no parameter is named 'wen'; did you mean 'when'?"},
	    {"zzzzzzzzz=1", "no parameter is named 'zzzzzzzzz'; known: when, how, once"},
	    {"count", "parameter 'count' has no value"},
	    {"text=a\nb", "line break"},
	};
	struct fixture *f = *state;
	struct plugin_info *info;
	size_t i;

	assert_int_equal(plugin_info_load(&info, f->plugin, &f->err), 0);
	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		f->options.params = &rows[i].pair;
		f->options.param_count = 1;
		assert_int_equal(runner_start(&f->runner, &f->options, &f->err), -1);
		assert_int_equal(f->err.code, EINVAL);
		assert_says(f, rows[i].says);
		if (strchr(rows[i].pair, '\n'))
			continue; /* refused before the table is looked at */
		assert_int_equal(plugin_params_check(info, &rows[i].pair, NULL, 1, NULL, &f->err), -1);
		assert_says(f, rows[i].says);
	}
	plugin_info_free(info);
}

/* ---- an honest fault ---- */

static void test_life(void **state)
{
	struct fixture *f = *state;
	struct tritone_undo undo = {0};
	struct tritone_proof proof = {0};

	start(f);
	assert_string_equal(runner_info(f->runner)->name, "evil");
	assert_int_equal(runner_inject(f->runner, &f->err), -1); /* not planned */
	assert_int_equal(runner_check(f->runner, &f->err), 0);
	assert_int_equal(runner_plan(f->runner, &undo, &f->err), 0);
	assert_int_equal(undo.size, 5);
	assert_int_equal(outstanding(f), 0);
	assert_int_equal(access(f->effect, F_OK), -1);
	assert_int_equal(runner_inject(f->runner, &f->err), 0);
	assert_int_equal(outstanding(f), 1);
	assert_int_equal(runner_inject(f->runner, &f->err), -1);
	assert_int_equal(f->err.code, EALREADY);
	assert_int_equal(runner_verify(f->runner, &proof, &f->err), 0);
	assert_int_equal(proof.felt, TRITONE_FELT);
	assert_string_equal(proof.text, f->effect);
	assert_int_equal(runner_expired(f->runner, &f->err), 0);
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	assert_clean(f);
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	assert_int_equal(runner_expired(f->runner, &f->err), 0);
	assert_int_equal(runner_failure(f->runner), RUNNER_FAILURE_NONE);
}

static void test_plan_then_revert(void **state)
{
	struct fixture *f = *state;

	plan(f);
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	assert_clean(f);
}

static void test_a_liar_is_not_felt(void **state)
{
	struct fixture *f = *state;
	struct tritone_proof proof;

	with(f, "never", "lie", NULL);
	plan(f);
	assert_int_equal(runner_inject(f->runner, &f->err), 0);
	assert_int_equal(runner_verify(f->runner, &proof, &f->err), 0);
	assert_int_equal(proof.felt, TRITONE_NOT_YET);
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	assert_clean(f);
}

static void test_duration_runs_out(void **state)
{
	struct fixture *f = *state;
	struct pollfd p;

	f->options.duration_ms = 50;
	inject(f);
	p = (struct pollfd){.fd = runner_fd(f->runner), .events = POLLIN};
	do {
		assert_int_equal(poll(&p, 1, -1), 1);
	} while (runner_expired(f->runner, &f->err) == 0);
	assert_int_equal(runner_expired(f->runner, &f->err), 1);
	assert_clean(f);
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
}

static void test_duration_runs_out_and_revert_refuses_once(void **state)
{
	struct fixture *f = *state;
	struct pollfd p;

	with(f, "revert", "refuse", "once=true");
	f->options.duration_ms = 50;
	inject(f);
	p = (struct pollfd){.fd = runner_fd(f->runner), .events = POLLIN};
	do {
		assert_int_equal(poll(&p, 1, -1), 1);
	} while (runner_expired(f->runner, &f->err) == 0);
	assert_int_equal(runner_expired(f->runner, &f->err), -1);
	assert_says(f, "Sunday");
	assert_int_equal(outstanding(f), 1);
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	assert_clean(f);
}

static void test_duration_runs_out_and_revert_hangs_once(void **state)
{
	struct fixture *f = *state;
	struct pollfd p;

	with(f, "revert", "hang", "once=true");
	f->options.duration_ms = 20;
	f->options.hook_timeout_ms = 500;
	inject(f);
	p = (struct pollfd){.fd = runner_fd(f->runner), .events = POLLIN};
	do {
		assert_int_equal(poll(&p, 1, -1), 1);
	} while (runner_expired(f->runner, &f->err) == 0);
	assert_int_equal(runner_expired(f->runner, &f->err), -1);
	assert_says(f, "hangs");
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	assert_clean(f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    RUNNER_TEST(test_broken_plugins_are_refused),
	    RUNNER_TEST(test_other_files_are_refused),
	    RUNNER_TEST(test_a_constructor_that_hangs),
	    RUNNER_TEST(test_pathological_needs_leave),
	    RUNNER_TEST(test_a_later_descriptor_is_fine),
	    RUNNER_TEST(test_description),
	    RUNNER_TEST(test_parameters_reach_the_plugin),
	    RUNNER_TEST(test_defaults),
	    RUNNER_TEST(test_the_seed_decides),
	    RUNNER_TEST(test_bad_parameters),
	    RUNNER_TEST(test_life),
	    RUNNER_TEST(test_plan_then_revert),
	    RUNNER_TEST(test_a_liar_is_not_felt),
	    RUNNER_TEST(test_duration_runs_out),
	    RUNNER_TEST(test_duration_runs_out_and_revert_refuses_once),
	    RUNNER_TEST(test_duration_runs_out_and_revert_hangs_once),
	};

	return runner_fixture_main(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
