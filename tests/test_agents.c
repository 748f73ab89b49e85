/* SPDX-License-Identifier: Apache-2.0 */
/* host/system/agents.h with real processes: in which order their lives are told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system/agents.h"

struct fixture {
	char dir[64];
	struct history *history;
	struct agents *agents;
	struct watch *watch;
	pid_t pids[2];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct error err;

	*state = f;
	snprintf(f->dir, sizeof f->dir, "/tmp/tritone-agents-XXXXXX");
	if (!mkdtemp(f->dir) || history_create(&f->history, NULL, &err) ||
	    agents_create(&f->agents,
		&(struct agents_options){.history = f->history, .state_dir = f->dir, .pid_files = "agents/*/pid"},
		&err) ||
	    watch_create(&f->watch, &err) || agents_watch(f->agents, f->watch, &err))
		return -1;
	return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 2; i++) {
		if (f->pids[i] <= 0)
			continue;
		kill(f->pids[i], SIGKILL);
		waitpid(f->pids[i], NULL, 0);
	}
	watch_destroy(f->watch);
	agents_destroy(f->agents);
	history_destroy(f->history);
	nftw(f->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	free(f);
	return 0;
}

static void start_agent(struct fixture *f, int which, const char *id)
{
	char path[128];
	FILE *out;

	f->pids[which] = fork();
	if (f->pids[which] == 0)
		for (;;)
			pause();
	assert_true(f->pids[which] > 0);
	snprintf(path, sizeof path, "%s/agents", f->dir);
	(void)mkdir(path, 0700); /* the second one finds it there */
	snprintf(path, sizeof path, "%s/agents/%s", f->dir, id);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof path, "%s/agents/%s/pid", f->dir, id);
	out = fopen(path, "we");
	assert_non_null(out);
	fprintf(out, "%d\n", (int)f->pids[which]);
	assert_int_equal(fclose(out), 0);
}

/* One dies, and the next is started in its place before anybody has looked: never two at once. */
static void test_death_before_successor(void **state)
{
	struct fixture *f = *state;
	struct history_view view;
	struct error err;
	siginfo_t info;

	start_agent(f, 0, "one");
	assert_int_equal(watch_dispatch(f->watch, &err), 0);
	kill(f->pids[0], SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)f->pids[0], &info, WEXITED | WNOWAIT), 0);
	start_agent(f, 1, "two");
	assert_int_equal(watch_dispatch(f->watch, &err), 0);
	agents_dispatch(f->agents);
	view = history_view(f->history);
	assert_int_equal(view.count, 3);
	assert_string_equal(view.ops[0].actor, "one");
	assert_int_equal(view.ops[0].type, OP_INVOKE);
	assert_string_equal(view.ops[1].actor, "one");
	assert_int_equal(view.ops[1].type, OP_OK);
	assert_string_equal(view.ops[2].actor, "two");
	assert_int_equal(view.ops[2].type, OP_INVOKE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_death_before_successor, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
