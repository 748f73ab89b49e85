/* SPDX-License-Identifier: Apache-2.0 */
/* Faults by hand at several agents: whatever ends it in the middle, nothing stays in force. argv: the plugins that were built. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/engine.h"
#include "runner/runner.h"

#define AGENTS 2

static char **plugins;

struct fixture {
	char root[64];
	int agents[AGENTS];
	char plugin[80];
	bool removed;
	size_t undone; /* how often that was said */
	FILE *out;
};

/* What the shooter prints; the moment that the first agent is hit, the plugin is gone. */
static ssize_t remove_at_felt(void *arg, const char *bytes, size_t size)
{
	struct fixture *f = arg;

	f->undone += memmem(bytes, size, "undone", 6) != NULL;
	if (memmem(bytes, size, "felt", 4))
		f->removed = unlink(f->plugin) == 0;
	return (ssize_t)size;
}

static const char *plugin(const char *name)
{
	char **p;

	for (p = plugins; *p; p++)
		if (strstr(*p, name))
			return *p;
	fail_msg("%s was not given", name);
	return NULL;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	const cookie_io_functions_t io = {.write = remove_at_felt};
	char command[PATH_MAX + 128];
	int i;

	assert_non_null(f);
	strcpy(f->root, "/tmp/tritone-byhand-XXXXXX");
	assert_non_null(mkdtemp(f->root));
	for (i = 0; i < AGENTS; i++) {
		f->agents[i] = fork();
		if (f->agents[i] == 0)
			for (;;)
				pause();
		assert_true(f->agents[i] > 0);
	}
	snprintf(f->plugin, sizeof f->plugin, "%s/agent-pause.so", f->root);
	snprintf(command, sizeof command, "cp '%s' %s", plugin("agent-pause.so"), f->plugin);
	assert_int_equal(system(command), 0);
	f->out = fopencookie(f, "w", io);
	assert_non_null(f->out);
	setvbuf(f->out, NULL, _IOLBF, 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char command[128];
	int i;

	for (i = 0; i < AGENTS; i++) {
		kill(f->agents[i], SIGKILL);
		waitpid(f->agents[i], NULL, 0);
	}
	fclose(f->out);
	snprintf(command, sizeof command, "rm -rf %s", f->root);
	i = system(command);
	free(f);
	return i;
}

static char state_of(int pid)
{
	char path[64], state = '?';
	FILE *in;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	in = fopen(path, "r");
	assert_non_null(in);
	assert_int_equal(fscanf(in, "%*d %*s %c", &state), 1);
	fclose(in);
	return state;
}

/* The first agent is stopped, and the second fault cannot be started: the first must go on. */
static void test_no_way_out_skips_the_undo(void **state)
{
	struct fixture *f = *state;
	const struct engine_options options = {.root = f->root};
	const struct engine_shot shot = {.plugin = f->plugin,
	    .pids = f->agents,
	    .pid_count = AGENTS,
	    .max = AGENTS,
	    .duration_ms = 60000,
	    .out = f->out};
	struct error err = {0};
	int i;

	assert_int_equal(engine_shoot(&options, &shot, &err), VERDICT_ERROR);
	assert_int_equal(err.code, ENOENT);
	assert_true(f->removed);
	assert_int_equal(f->undone, 1);
	for (i = 0; i < AGENTS; i++)
		assert_int_not_equal(state_of(f->agents[i]), 'T');
}

/* What was stopped by another is refused before anything is touched: there is nothing to undo, and nothing is called so. */
static void test_what_was_not_injected_is_not_called_undone(void **state)
{
	struct fixture *f = *state;
	const struct engine_options options = {.root = f->root};
	const struct engine_shot shot = {
	    .plugin = f->plugin, .pids = f->agents, .pid_count = 1, .duration_ms = 60000, .out = f->out};
	struct error err = {0};

	assert_int_equal(kill(f->agents[0], SIGSTOP), 0);
	assert_int_equal(waitpid(f->agents[0], NULL, WUNTRACED), f->agents[0]);
	assert_int_equal(engine_shoot(&options, &shot, &err), VERDICT_NOT_INJECTED);
	assert_non_null(strstr(err.text, "stopped already"));
	assert_int_equal(f->undone, 0);
	assert_int_equal(state_of(f->agents[0]), 'T');
}

/* A name of a system is looked for beside and above the file, and then from where `tritone up` would look. */
static void test_one_lookup_for_systems(void **state)
{
	static const char *const made[] = {
	    "x/systems/near.yaml", "systems/near.yaml", "systems/here.yaml", "fixtures/systems/there.yaml"};
	static const struct {
		const char *name, *beside, *found; /* NULL: nowhere */
	} rows[] = {
	    {"near", "x/y/z.yaml", "x/systems/near.yaml"},
	    {"near", NULL, "./systems/near.yaml"},
	    {"here", "/x/y/z.yaml", "./systems/here.yaml"},
	    {"there", "/x/y/z.yaml", "fixtures/systems/there.yaml"},
	    {"there", NULL, "fixtures/systems/there.yaml"},
	    {"nowhere", "/x/y/z.yaml", NULL},
	    {"systems/here.yaml", NULL, "systems/here.yaml"},
	};
	struct fixture *f = *state;
	char before[PATH_MAX], path[PATH_MAX];
	struct error err;
	size_t i;

	assert_non_null(getcwd(before, sizeof before));
	assert_int_equal(chdir(f->root), 0);
	assert_int_equal(system("mkdir -p x/y x/systems systems fixtures/systems"), 0);
	for (i = 0; i < sizeof made / sizeof *made; i++) {
		FILE *file = fopen(made[i], "w");

		assert_non_null(file);
		fclose(file);
	}
	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		int r = engine_system_path(path, sizeof path, rows[i].name, rows[i].beside, &err);

		assert_int_equal(r, rows[i].found ? 0 : -1);
		if (rows[i].found)
			assert_string_equal(path, rows[i].found);
	}
	assert_int_equal(chdir(before), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_no_way_out_skips_the_undo, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_what_was_not_injected_is_not_called_undone, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_one_lookup_for_systems, setup, teardown),
	};

	if (argc > 1 && !strcmp(argv[1], "__runner"))
		return runner_main(argc - 1, argv + 1);
	plugins = argv + 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
