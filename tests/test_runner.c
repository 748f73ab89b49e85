/* SPDX-License-Identifier: Apache-2.0 */
/* host/runner with plugins that crash, hang, lie and refuse, with hosts and runners that are killed. Waits on events
 * only: this process is a subreaper, so that the end of any descendant, orphaned or not, can be waited for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/landlock.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "skip.h"
#include "runner/runner.h"
#include "service/service.h"

#define FAULT "f-1"

struct fixture {
	char dir[64], run[PATH_MAX], state[PATH_MAX], effect[PATH_MAX], plugins[PATH_MAX];
	char plugin[PATH_MAX];
	struct undo_log *undo;
	struct runner *runner;
	struct runner_options options;
	struct error err;
	const char *params[8];
	char seen[4096]; /* evidence, "name=value\n" ... */
	size_t log_lines;
	int tell; /* a forked host writes a byte here for each evidence "misbehaving"; -1: nobody to tell */
};

/* ---- helpers ---- */

static void on_log(void *arg, uint32_t level, const char *text)
{
	struct fixture *f = arg;

	(void)level;
	f->log_lines++;
	if (!strcmp(text, "babble")) {
		struct pollfd p = {.fd = runner_fd(f->runner), .events = POLLIN};

		/* Takes so long over it that the next one is always there. */
		poll(&p, 1, -1);
	}
}

static void on_evidence(void *arg, const char *name, const char *value)
{
	struct fixture *f = arg;
	size_t used = strlen(f->seen);

	snprintf(f->seen + used, sizeof f->seen - used, "%s=%s\n", name, value);
	if (f->tell >= 0 && !strcmp(name, "misbehaving"))
		assert_int_equal(write(f->tell, "x", 1), 1);
}

static void use_plugin(struct fixture *f, const char *name)
{
	assert_true((size_t)snprintf(f->plugin, sizeof f->plugin, "%s/%s.so", f->plugins, name) < sizeof f->plugin);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	char self[PATH_MAX - 16], *slash;
	ssize_t n;

	assert_non_null(f);
	strcpy(f->dir, "/tmp/test-runner-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->run, sizeof f->run, "%s/run", f->dir);
	snprintf(f->state, sizeof f->state, "%s/state", f->dir);
	snprintf(f->effect, sizeof f->effect, "%s/state/evil-" FAULT, f->dir);
	assert_int_equal(mkdir(f->run, 0700), 0);
	assert_int_equal(mkdir(f->state, 0700), 0);
	n = readlink("/proc/self/exe", self, sizeof self - 1);
	assert_true(n > 0);
	self[n] = '\0';
	slash = strrchr(self, '/');
	*slash = '\0';
	snprintf(f->plugins, sizeof f->plugins, "%s/plugins", self);
	use_plugin(f, "evil");
	f->tell = -1;
	f->options = (struct runner_options){
	    .plugin = f->plugin,
	    .fault_id = FAULT,
	    .params = f->params,
	    .run_dir = f->run,
	    .state_dir = f->state,
	    .seed = 7,
	    .hook_timeout_ms = 20000,
	    .log = on_log,
	    .evidence = on_evidence,
	    .arg = f,
	    .interrupt_fd = -1,
	};
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char command[128];

	runner_destroy(f->runner);
	undo_close(f->undo);
	snprintf(command, sizeof command, "rm -rf '%s'", f->dir);
	assert_int_equal(system(command), 0);
	free(f);
	return 0;
}

static void with(struct fixture *f, const char *when, const char *how, const char *more)
{
	static char texts[3][64];

	snprintf(texts[0], sizeof texts[0], "when=%s", when);
	snprintf(texts[1], sizeof texts[1], "how=%s", how);
	snprintf(texts[2], sizeof texts[2], "%s", more ? more : "");
	f->params[0] = texts[0];
	f->params[1] = texts[1];
	f->params[2] = texts[2];
	f->options.param_count = more ? 3 : 2;
}

static void start(struct fixture *f)
{
	if (!f->undo)
		assert_int_equal(undo_open(&f->undo, f->run, &f->err), 0);
	f->options.undo = f->undo;
	if (runner_start(&f->runner, &f->options, &f->err) < 0)
		fail_msg("%s", f->err.text);
}

static void plan(struct fixture *f)
{
	start(f);
	if (runner_plan(f->runner, NULL, &f->err) < 0)
		fail_msg("%s", f->err.text);
}

static void inject(struct fixture *f)
{
	plan(f);
	if (runner_inject(f->runner, &f->err) < 0)
		fail_msg("%s", f->err.text);
	assert_int_equal(access(f->effect, F_OK), 0);
}

static int outstanding(struct fixture *f)
{
	int n = f->undo ? undo_log_outstanding(f->undo, NULL, NULL, &f->err)
			: undo_outstanding(f->run, NULL, NULL, &f->err);

	if (n < 0)
		fail_msg("%s", f->err.text);
	return n;
}

static void assert_clean(struct fixture *f)
{
	assert_int_equal(access(f->effect, F_OK), -1);
	assert_int_equal(outstanding(f), 0);
}

static void assert_says(const struct fixture *f, const char *text)
{
	if (!strstr(f->err.text, text))
		fail_msg("'%s' does not say '%s'", f->err.text, text);
}

static bool has_evidence(const struct fixture *f, const char *text)
{
	return strstr(f->seen, text) != NULL;
}

static bool has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 2;
}

/* The runner of a fixture whose host is this process: its only child. */
static pid_t only_child(void)
{
	char path[64];
	long pid = 0;
	FILE *file;

	snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
	file = fopen(path, "re");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%ld", &pid), 1);
	fclose(file);
	return (pid_t)pid;
}

/* Until no descendant is left. */
static void wait_for_all(void)
{
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	assert_int_equal(errno, ECHILD);
}

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

/* ---- hooks that misbehave, one by one ---- */

static const char *const hooks[] = {"check", "plan", "inject", "verify", "revert"};

/* Runs hook after hook until one fails; returns its index, or -1. */
static int run_until_failure(struct fixture *f)
{
	struct tritone_proof proof;

	if (runner_check(f->runner, &f->err) < 0)
		return 0;
	if (runner_plan(f->runner, NULL, &f->err) < 0)
		return 1;
	if (runner_inject(f->runner, &f->err) < 0)
		return 2;
	if (runner_verify(f->runner, &proof, &f->err) < 0)
		return 3;
	return -1;
}

static void misbehave_in_each(
    struct fixture *f, const char *how, enum runner_failure failure, int code, const char *says)
{
	size_t i;

	for (i = 0; i < 4; i++) {
		with(f, hooks[i], how, NULL);
		start(f);
		assert_int_equal(run_until_failure(f), (int)i);
		if (f->err.code != code)
			fail_msg("%s in %s: code %d: %s", how, hooks[i], f->err.code, f->err.text);
		assert_says(f, says);
		assert_int_equal(runner_failure(f->runner), failure);
		if (failure != RUNNER_FAILURE_REFUSED)
			assert_says(f, hooks[i]);
		if (runner_revert(f->runner, &f->err) < 0)
			fail_msg("%s in %s: %s", how, hooks[i], f->err.text);
		assert_clean(f);
		runner_destroy(f->runner);
		f->runner = NULL;
	}
}

static void test_crash_in_each_hook(void **state)
{
	misbehave_in_each(*state, "crash", RUNNER_FAILURE_CRASHED, EPROTO, "killed by SIGABRT");
}

static void test_exit_in_each_hook(void **state)
{
	misbehave_in_each(*state, "exit", RUNNER_FAILURE_CRASHED, EPROTO, "exit status 3");
}

static void test_hang_in_each_hook(void **state)
{
	struct fixture *f = *state;

	f->options.hook_timeout_ms = 500;
	misbehave_in_each(f, "hang", RUNNER_FAILURE_HUNG, ETIMEDOUT, "no answer within 500 ms; its process was killed");
}

static void test_babble_in_each_hook(void **state)
{
	struct fixture *f = *state;

	f->options.hook_timeout_ms = 500; /* however fast it talks, it is not waited for any longer */
	misbehave_in_each(
	    f, "babble", RUNNER_FAILURE_HUNG, ETIMEDOUT, "no answer within 500 ms; its process was killed");
}

static void test_late_but_cancelled_in_each_hook(void **state)
{
	struct fixture *f = *state;

	f->options.hook_timeout_ms = 400; /* the hook returns when told to, well within the grace */
	misbehave_in_each(f, "wait", RUNNER_FAILURE_HUNG, ETIMEDOUT, "no answer within 400 ms");
}

static void test_refusal_in_each_hook(void **state)
{
	misbehave_in_each(*state, "refuse", RUNNER_FAILURE_REFUSED, ENOTSUP, "not on a Sunday");
}

static void test_refusal_without_a_reason(void **state)
{
	misbehave_in_each(*state, "mute", RUNNER_FAILURE_REFUSED, EIO, "gave no reason");
}

static void test_garbage_on_the_socket(void **state)
{
	misbehave_in_each(*state, "garbage", RUNNER_FAILURE_CRASHED, EPROTO, "written over the runner's socket");
}

static void test_socket_closed_by_the_plugin(void **state)
{
	struct fixture *f = *state;

	f->options.hook_timeout_ms = 500; /* its own listener still holds it until then */
	with(f, "inject", "close", NULL);
	start(f);
	assert_int_equal(run_until_failure(f), 2);
	assert_int_equal(runner_failure(f->runner), RUNNER_FAILURE_CRASHED);
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	assert_clean(f);
}

static void test_undo_record_too_large(void **state)
{
	struct fixture *f = *state;

	with(f, "plan", "big-undo", NULL);
	start(f);
	assert_int_equal(runner_plan(f->runner, NULL, &f->err), -1);
	assert_int_equal(f->err.code, EMSGSIZE);
	assert_says(f, "4097 bytes, the limit is 4096");
	assert_int_equal(runner_inject(f->runner, &f->err), -1);
	assert_clean(f);
}

static void test_proof_of_unknown_kind(void **state)
{
	struct fixture *f = *state;

	with(f, "verify", "nonsense", NULL);
	start(f);
	assert_int_equal(run_until_failure(f), 3);
	assert_says(f, "unknown proof 0x77");
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
}

static void test_revert_that_fails_the_first_time(void **state)
{
	static const char *const hows[] = {"crash", "exit", "hang"};
	struct fixture *f = *state;
	char once[PATH_MAX + 64];
	size_t i;

	for (i = 0; i < 3; i++) {
		f->options.hook_timeout_ms = i == 2 ? 500 : 20000;
		with(f, "revert", hows[i], "once=true");
		inject(f);
		if (runner_revert(f->runner, &f->err) < 0)
			fail_msg("%s: %s", hows[i], f->err.text);
		assert_clean(f);
		runner_destroy(f->runner);
		f->runner = NULL;
		snprintf(once, sizeof once, "%s/keep/" FAULT "/once-" FAULT, f->run);
		assert_int_equal(unlink(once), 0);
	}
}

static void test_revert_that_always_fails(void **state)
{
	static const struct {
		const char *how;
		int code;
		enum runner_failure failure;
	} rows[] = {{"crash", EPROTO, RUNNER_FAILURE_CRASHED}, {"hang", ETIMEDOUT, RUNNER_FAILURE_HUNG},
	    {"refuse", ENOTSUP, RUNNER_FAILURE_REFUSED}};
	struct fixture *f = *state;
	size_t i;

	f->options.hook_timeout_ms = 500;
	for (i = 0; i < 3; i++) {
		with(f, "revert", rows[i].how, NULL);
		inject(f);
		assert_int_equal(runner_revert(f->runner, &f->err), -1);
		assert_int_equal(f->err.code, rows[i].code);
		assert_int_equal(runner_failure(f->runner), rows[i].failure);
		assert_int_equal(outstanding(f), (int)i + 1);
		assert_int_equal(runner_revert(f->runner, &f->err), -1);
		runner_destroy(f->runner);
		f->runner = NULL;
	}
}

static void test_a_process_left_by_the_plugin_ends(void **state)
{
	struct fixture *f = *state;
	const char *text;

	with(f, "inject", "child", NULL);
	inject(f);
	text = strstr(f->seen, "child=");
	assert_non_null(text);
	assert_int_equal(kill((pid_t)atoi(text + 6), 0), 0);
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	runner_destroy(f->runner);
	f->runner = NULL;
	wait_for_all(); /* comes back only when that one has gone too */
	assert_clean(f);
}

static void test_a_process_left_by_a_plugin_that_died_ends(void **state)
{
	struct fixture *f = *state;
	struct tritone_proof proof;

	with(f, "inject", "child", NULL);
	inject(f);
	assert_int_equal(kill(only_child(), SIGKILL), 0);
	assert_int_equal(runner_verify(f->runner, &proof, &f->err), -1);
	assert_int_equal(runner_failure(f->runner), RUNNER_FAILURE_CRASHED);
	wait_for_all(); /* the other one too, though it held our socket open */
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	assert_clean(f);
}

static void test_chatter_does_not_block(void **state)
{
	struct fixture *f = *state;
	char event[sizeof(struct inotify_event) + NAME_MAX + 1] __attribute__((aligned(8)));
	struct pollfd p;
	int watch = inotify_init1(IN_CLOEXEC);

	/* Nobody reads while the fault's time runs out: 20000 lines do not fit, and it must be reverted all the same. */
	with(f, "revert", "chatter", NULL);
	f->options.duration_ms = 20;
	assert_true(inotify_add_watch(watch, f->state, IN_DELETE) >= 0);
	inject(f);
	assert_true(read(watch, event, sizeof event) > 0);
	close(watch);
	assert_int_equal(access(f->effect, F_OK), -1);
	p = (struct pollfd){.fd = runner_fd(f->runner), .events = POLLIN};
	while (runner_expired(f->runner, &f->err) == 0)
		assert_int_equal(poll(&p, 1, -1), 1);
	assert_int_equal(runner_expired(f->runner, &f->err), 1);
	assert_true(f->log_lines < 20000);
	assert_clean(f);
}

/* ---- interrupts ---- */

static void test_interrupt(void **state)
{
	static const char *const hows[] = {"wait", "hang"};
	struct fixture *f = *state;
	int pipe_fds[2];
	size_t i;

	for (i = 0; i < 2; i++) {
		assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
		f->options.interrupt_fd = pipe_fds[0];
		f->tell = pipe_fds[1]; /* the hook's own evidence is what interrupts it */
		with(f, "inject", hows[i], NULL);
		plan(f);
		assert_int_equal(runner_inject(f->runner, &f->err), -1);
		assert_int_equal(f->err.code, ECANCELED);
		assert_int_equal(runner_failure(f->runner), RUNNER_FAILURE_NONE);
		assert_int_equal(access(f->effect, F_OK), 0);
		assert_int_equal(runner_revert(f->runner, &f->err), 0); /* still readable, and not heeded */
		assert_clean(f);
		runner_destroy(f->runner);
		f->runner = NULL;
		close(pipe_fds[0]);
		close(pipe_fds[1]);
	}
	f->tell = -1;
}

/* ---- confinement ---- */

static void test_files_are_confined(void **state)
{
	struct fixture *f = *state;
	char outside[PATH_MAX];

	if (!has_landlock())
		SKIP("this kernel has no Landlock");
	with(f, "inject", "outside", NULL);
	plan(f);
	assert_int_equal(runner_inject(f->runner, &f->err), -1);
	assert_int_equal(f->err.code, EACCES);
	snprintf(outside, sizeof outside, "%s/outside", f->dir);
	assert_int_equal(access(outside, F_OK), -1);
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	assert_clean(f);
}

static void test_files_need_the_capability(void **state)
{
	struct fixture *f = *state;

	if (!has_landlock())
		SKIP("this kernel has no Landlock");
	use_plugin(f, "evil-no-files");
	plan(f);
	assert_int_equal(runner_inject(f->runner, &f->err), -1);
	assert_int_equal(f->err.code, EACCES);
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	assert_clean(f);
}

static void test_sockets_need_the_capability(void **state)
{
	struct fixture *f = *state;

	with(f, "check", "inet", NULL);
	start(f);
	assert_int_equal(runner_check(f->runner, &f->err), -1);
	assert_int_equal(f->err.code, EACCES);
	runner_destroy(f->runner);
	f->runner = NULL;
	use_plugin(f, "evil-network");
	start(f);
	assert_int_equal(runner_check(f->runner, &f->err), 0);
}

static void test_signals_to_the_group_are_ignored(void **state)
{
	struct fixture *f = *state;
	pid_t pid;

	inject(f);
	pid = only_child();
	assert_int_equal(getpgid(pid), pid);
	assert_int_equal(kill(-pid, SIGINT), 0);
	assert_int_equal(kill(-pid, SIGTERM), 0);
	assert_int_equal(kill(-pid, SIGHUP), 0);
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	assert_int_equal(only_child(), pid);
	assert_clean(f);
}

/* ---- services ---- */

struct backend {
	char key[64]; /* the rule that is set, "" if none */
	int gone[2];  /* a byte is written when a rule is cleared */
};

static int give_targets(void *arg, uint32_t kind, tritone_target_fn visit, void *visit_arg, struct error *err)
{
	const struct tritone_target target = {
	    .struct_size = sizeof target, .kind = kind, .pid = 1, .id = "agent-7", .task = "", .worktree = ""};

	(void)arg;
	(void)err;
	visit(visit_arg, &target);
	return 0;
}

static int set_rule(void *arg, const struct tritone_gateway_rule *rule, struct error *err)
{
	struct backend *backend = arg;

	(void)err;
	snprintf(backend->key, sizeof backend->key, "%s", rule->key);
	return rule->status == 429 ? 0 : -1;
}

static int count_hits(void *arg, const char *key, uint64_t *ret_hits, uint64_t *ret_seen, struct error *err)
{
	struct backend *backend = arg;

	if (strcmp(backend->key, key) != 0)
		return error_set(err, ENOENT, "no rule %s", key);
	*ret_hits = 3;
	*ret_seen = 4;
	return 0;
}

static int clear_rule(void *arg, const char *key, struct error *err)
{
	struct backend *backend = arg;

	(void)err;
	if (!strcmp(backend->key, key)) {
		backend->key[0] = '\0';
		return write(backend->gone[1], "x", 1) == 1 ? 0 : -1;
	}
	return 0;
}

static void test_services(void **state)
{
	struct fixture *f = *state;
	struct backend backend = {.key = ""};
	const struct service_backend table = {
	    .arg = &backend,
	    .targets = give_targets,
	    .gateway_rule = set_rule,
	    .rule_hits = count_hits,
	    .rule_clear = clear_rule,
	    .missing_errno = "it was started without the filter",
	    .state_dir = f->state,
	};
	struct service_server *server;
	char path[PATH_MAX], byte;
	int round;

	snprintf(path, sizeof path, "%s/control.sock", f->dir);
	assert_int_equal(pipe2(backend.gone, O_CLOEXEC), 0);
	assert_int_equal(service_serve(&server, path, &table, &f->err), 0);
	f->options.socket = path;
	with(f, "inject", "services", NULL);
	for (round = 0; round < 2; round++) {
		inject(f);
		assert_true(has_evidence(f, "target=agent-7\nhits=3\nseen=4\n"));
		assert_true(has_evidence(f, "it was started without the filter"));
		assert_true(has_evidence(f, "point="));
		assert_string_equal(backend.key, FAULT);
		if (round == 1) /* the rule goes with the runner's connection, the file with a fresh runner */
			assert_int_equal(kill(only_child(), SIGKILL), 0);
		else
			assert_int_equal(runner_revert(f->runner, &f->err), 0);
		assert_int_equal(read(backend.gone[0], &byte, 1), 1);
		assert_string_equal(backend.key, "");
		assert_int_equal(runner_revert(f->runner, &f->err), 0);
		assert_clean(f);
		runner_destroy(f->runner);
		f->runner = NULL;
	}
	/* Without its server a fault does not start, and one that is outstanding can still be undone. */
	f->seen[0] = '\0';
	inject(f);
	service_stop(server);
	assert_int_equal(kill(only_child(), SIGKILL), 0);
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	assert_clean(f);
	runner_destroy(f->runner);
	assert_int_equal(runner_start(&f->runner, &f->options, &f->err), -1);
	f->runner = NULL;
	close(backend.gone[0]);
	close(backend.gone[1]);
}

static void test_without_services(void **state)
{
	struct fixture *f = *state;

	with(f, "inject", "services", NULL);
	plan(f);
	assert_int_equal(runner_inject(f->runner, &f->err), -1);
	assert_int_equal(f->err.code, ENOTSUP);
	assert_says(f, "without a control socket");
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	assert_clean(f);
}

/* ---- the runner dies ---- */

static void test_runner_killed(void **state)
{
	struct fixture *f = *state;
	struct tritone_proof proof;
	struct pollfd p;

	inject(f);
	assert_int_equal(kill(only_child(), SIGKILL), 0);
	p = (struct pollfd){.fd = runner_fd(f->runner), .events = POLLIN};
	assert_int_equal(poll(&p, 1, -1), 1);
	assert_int_equal(runner_expired(f->runner, &f->err), -1);
	assert_int_equal(runner_failure(f->runner), RUNNER_FAILURE_CRASHED);
	assert_int_equal(runner_verify(f->runner, &proof, &f->err), -1);
	assert_says(f, "SIGKILL");
	assert_int_equal(access(f->effect, F_OK), 0);
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	assert_clean(f);
}

static void test_destroyed_without_revert_stays_outstanding(void **state)
{
	struct fixture *f = *state;

	inject(f);
	runner_destroy(f->runner);
	f->runner = NULL;
	wait_for_all();
	assert_int_equal(access(f->effect, F_OK), 0);
	assert_int_equal(outstanding(f), 1);
}

/* ---- recovery ---- */

struct recovery {
	struct fixture *f;
	int result;
};

static void recover_one(void *arg, const struct undo_entry *entry)
{
	struct recovery *r = arg;

	assert_string_equal(entry->fault_id, FAULT);
	assert_string_equal(entry->plugin, r->f->plugin);
	assert_int_equal(entry->seed, 7);
	r->result = runner_recover(r->f->run, r->f->undo, entry, &r->f->err);
}

static void test_recover(void **state)
{
	struct fixture *f = *state;
	struct recovery r = {.f = f, .result = -1};

	inject(f);
	runner_destroy(f->runner);
	f->runner = NULL;
	undo_close(f->undo);
	f->undo = NULL;
	assert_int_equal(outstanding(f), 1);
	assert_int_equal(undo_open(&f->undo, f->run, &f->err), 0);
	assert_int_equal(undo_log_outstanding(f->undo, recover_one, &r, &f->err), 1);
	if (r.result < 0)
		fail_msg("%s", f->err.text);
	assert_clean(f);
}

/* ---- the host dies ---- */

enum stage { STAGE_STARTED, STAGE_PLANNED, STAGE_INJECTED, STAGE_IN_HOOK };

/* A host of its own: gets as far as `stage`, says so, and waits to be killed. */
static pid_t fork_host(struct fixture *f, enum stage stage, int *ret_ready)
{
	struct tritone_proof proof;
	int fds[2];
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid) {
		close(fds[1]);
		*ret_ready = fds[0];
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* it does not outlive a test that was given up */
	f->tell = stage == STAGE_IN_HOOK ? fds[1] : -1;
	if (undo_open(&f->undo, f->run, &f->err) < 0)
		_exit(1);
	f->options.undo = f->undo;
	if (runner_start(&f->runner, &f->options, &f->err) < 0)
		_exit(1);
	if (stage >= STAGE_PLANNED && runner_plan(f->runner, NULL, &f->err) < 0)
		_exit(1);
	if (stage >= STAGE_INJECTED)
		runner_inject(f->runner, &f->err);
	if (stage == STAGE_IN_HOOK) {
		runner_verify(f->runner, &proof, &f->err);
		runner_revert(f->runner, &f->err);
	}
	if (write(fds[1], "x", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* Kills such a host, waits for all that comes of it, and looks at what is left. */
static void kill_host_at(struct fixture *f, enum stage stage)
{
	char byte;
	int ready;
	pid_t host = fork_host(f, stage, &ready);

	assert_int_equal(read(ready, &byte, 1), 1);
	assert_int_equal(kill(host, SIGKILL), 0);
	close(ready);
	wait_for_all();
}

static void test_host_killed_in_each_stage(void **state)
{
	struct fixture *f = *state;
	int stage;

	for (stage = STAGE_STARTED; stage <= STAGE_INJECTED; stage++) {
		kill_host_at(f, (enum stage)stage);
		assert_clean(f);
	}
}

static void test_host_killed_while_a_hook_runs(void **state)
{
	struct fixture *f = *state;
	size_t i;

	for (i = 2; i < 4; i++) {
		with(f, hooks[i], "wait", NULL);
		kill_host_at(f, STAGE_IN_HOOK);
		assert_clean(f);
	}
}

static void test_host_killed_while_a_hook_hangs(void **state)
{
	struct fixture *f = *state;
	char once[PATH_MAX + 64];
	size_t i;

	f->options.hook_timeout_ms = 1000;
	for (i = 2; i < 5; i++) {
		with(f, hooks[i], "hang", "once=true");
		kill_host_at(f, STAGE_IN_HOOK);
		assert_clean(f);
		snprintf(once, sizeof once, "%s/keep/" FAULT "/once-" FAULT, f->run);
		assert_int_equal(unlink(once), 0);
	}
}

static void test_host_killed_and_revert_never_works(void **state)
{
	static const char *const hows[] = {"hang", "crash", "refuse"};
	struct fixture *f = *state;
	size_t i;

	f->options.hook_timeout_ms = 500;
	for (i = 0; i < 3; i++) {
		with(f, "revert", hows[i], NULL);
		kill_host_at(f, STAGE_INJECTED);
		assert_int_equal(access(f->effect, F_OK), 0);
		assert_int_equal(outstanding(f), (int)i + 1);
	}
}

/* Two faults of one host: both runners must close their records, one after the other. */
static void test_host_of_two_faults_killed(void **state)
{
	struct fixture *f = *state;
	struct runner *second;
	int fds[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (undo_open(&f->undo, f->run, &f->err) < 0)
			_exit(1);
		f->options.undo = f->undo;
		if (runner_start(&f->runner, &f->options, &f->err) < 0 || runner_plan(f->runner, NULL, &f->err) < 0 ||
		    runner_inject(f->runner, &f->err) < 0)
			_exit(1);
		f->options.fault_id = "f-2";
		if (runner_start(&second, &f->options, &f->err) < 0 || runner_plan(second, NULL, &f->err) < 0 ||
		    runner_inject(second, &f->err) < 0 || write(fds[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(fds[1]);
	assert_int_equal(read(fds[0], &byte, 1), 1);
	close(fds[0]);
	assert_int_equal(outstanding(f), 2);
	assert_int_equal(kill(pid, SIGKILL), 0);
	wait_for_all();
	assert_clean(f);
}

#define RUNNER_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
	    RUNNER_TEST(test_crash_in_each_hook),
	    RUNNER_TEST(test_exit_in_each_hook),
	    RUNNER_TEST(test_hang_in_each_hook),
	    RUNNER_TEST(test_babble_in_each_hook),
	    RUNNER_TEST(test_late_but_cancelled_in_each_hook),
	    RUNNER_TEST(test_refusal_in_each_hook),
	    RUNNER_TEST(test_refusal_without_a_reason),
	    RUNNER_TEST(test_garbage_on_the_socket),
	    RUNNER_TEST(test_socket_closed_by_the_plugin),
	    RUNNER_TEST(test_undo_record_too_large),
	    RUNNER_TEST(test_proof_of_unknown_kind),
	    RUNNER_TEST(test_revert_that_fails_the_first_time),
	    RUNNER_TEST(test_revert_that_always_fails),
	    RUNNER_TEST(test_a_process_left_by_the_plugin_ends),
	    RUNNER_TEST(test_a_process_left_by_a_plugin_that_died_ends),
	    RUNNER_TEST(test_chatter_does_not_block),
	    RUNNER_TEST(test_interrupt),
	    RUNNER_TEST(test_files_are_confined),
	    RUNNER_TEST(test_files_need_the_capability),
	    RUNNER_TEST(test_sockets_need_the_capability),
	    RUNNER_TEST(test_signals_to_the_group_are_ignored),
	    RUNNER_TEST(test_services),
	    RUNNER_TEST(test_without_services),
	    RUNNER_TEST(test_runner_killed),
	    RUNNER_TEST(test_destroyed_without_revert_stays_outstanding),
	    RUNNER_TEST(test_recover),
	    RUNNER_TEST(test_host_killed_in_each_stage),
	    RUNNER_TEST(test_host_killed_while_a_hook_runs),
	    RUNNER_TEST(test_host_killed_while_a_hook_hangs),
	    RUNNER_TEST(test_host_killed_and_revert_never_works),
	    RUNNER_TEST(test_host_of_two_faults_killed),
	};

	if (argc > 1 && !strcmp(argv[1], "__runner"))
		return runner_main(argc - 1, argv + 1);
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
