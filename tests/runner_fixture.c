/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of host/runner share. */
#include "runner_fixture.h"

#include <limits.h>
#include <linux/landlock.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

const char *const hooks[5] = {"check", "plan", "inject", "verify", "revert"};

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

void use_plugin(struct fixture *f, const char *name)
{
	assert_true((size_t)snprintf(f->plugin, sizeof f->plugin, "%s/%s.so", f->plugins, name) < sizeof f->plugin);
}

int fixture_setup(void **state)
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

int fixture_teardown(void **state)
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

void with(struct fixture *f, const char *when, const char *how, const char *more)
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

void start(struct fixture *f)
{
	if (!f->undo)
		assert_int_equal(undo_open(&f->undo, f->run, &f->err), 0);
	f->options.undo = f->undo;
	if (runner_start(&f->runner, &f->options, &f->err) < 0)
		fail_msg("%s", f->err.text);
}

void plan(struct fixture *f)
{
	start(f);
	if (runner_plan(f->runner, NULL, &f->err) < 0)
		fail_msg("%s", f->err.text);
}

void inject(struct fixture *f)
{
	plan(f);
	if (runner_inject(f->runner, &f->err) < 0)
		fail_msg("%s", f->err.text);
	assert_int_equal(access(f->effect, F_OK), 0);
}

int outstanding(struct fixture *f)
{
	int n = f->undo ? undo_log_outstanding(f->undo, NULL, NULL, &f->err)
			: undo_outstanding(f->run, NULL, NULL, &f->err);

	if (n < 0)
		fail_msg("%s", f->err.text);
	return n;
}

void assert_clean(struct fixture *f)
{
	assert_int_equal(access(f->effect, F_OK), -1);
	assert_int_equal(outstanding(f), 0);
}

void assert_says(const struct fixture *f, const char *text)
{
	if (!strstr(f->err.text, text))
		fail_msg("'%s' does not say '%s'", f->err.text, text);
}

bool has_evidence(const struct fixture *f, const char *text)
{
	return strstr(f->seen, text) != NULL;
}

bool has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 2;
}

pid_t only_child(void)
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

int runner_fixture_main(int argc, char **argv, const struct CMUnitTest *tests, size_t count)
{
	if (argc > 1 && !strcmp(argv[1], "__runner"))
		return runner_main(argc - 1, argv + 1);
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return 1;
	return _cmocka_run_group_tests("tests", tests, count, NULL, NULL);
}
