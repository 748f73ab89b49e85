/* SPDX-License-Identifier: Apache-2.0 */
/* Reverted twice, in another process, after the end of the runner or the host; and records that are damaged. */
#include "conformance_undo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conformance_fault.h"

extern char **environ;

void conformance_revert_twice(void **state)
{
	struct world *w = *state;
	char *before = world_tree(w, false);
	struct undo_entry *entry;

	fault_inject(w, NULL);
	entry = fault_entry(w);
	if (runner_revert(w->runner, &w->err) < 0)
		fail_msg("%s", w->err.text);
	assert_undone(w, before);
	assert_int_equal(runner_revert(w->runner, &w->err), 0);
	/* The runner knows that it has reverted; the plugin in a fresh process does not. */
	runner_destroy(w->runner);
	w->runner = NULL;
	assert_int_equal(undo_planned(w->undo, entry, &w->err), 0);
	fault_recover(w, entry);
	assert_undone(w, before);
	free(entry);
	free(before);
}

void conformance_revert_elsewhere(void **state)
{
	struct world *w = *state;
	char *before = world_tree(w, false);
	struct undo_entry *entry;

	fault_inject(w, NULL);
	runner_destroy(w->runner);
	w->runner = NULL;
	entry = fault_entry(w);
	fault_recover(w, entry);
	assert_undone(w, before);
	free(entry);
	free(before);
}

void conformance_runner_killed(void **state)
{
	struct world *w = *state;
	char *before = world_tree(w, false);

	fault_inject(w, NULL);
	assert_int_equal(kill(runner_pid(), SIGKILL), 0);
	if (runner_revert(w->runner, &w->err) < 0)
		fail_msg("%s", w->err.text);
	assert_undone(w, before);
	free(before);
}

int conformance_host(char **argv)
{
	struct world w = {.plugin = argv[0], .undo = NULL};
	const struct runner_options base = {.plugin = argv[0],
	    .fault_id = FAULT,
	    .run_dir = argv[1],
	    .state_dir = argv[2],
	    .socket = argv[3],
	    .seed = 7,
	    .hook_timeout_ms = 60000,
	    .interrupt_fd = -1};
	struct runner_options options = base;

	if (undo_open(&w.undo, argv[1], &w.err) < 0)
		goto fail;
	options.undo = w.undo;
	if (runner_start(&w.runner, &options, &w.err) < 0 || runner_plan(w.runner, NULL, &w.err) < 0 ||
	    runner_inject(w.runner, &w.err) < 0)
		goto fail;
	printf("%d\n", (int)runner_pid());
	fflush(stdout);
	for (;;)
		pause();
fail:
	fprintf(stderr, "%s\n", w.err.text);
	return 1;
}

void conformance_host_killed(void **state)
{
	struct world *w = *state;
	char *before = world_tree(w, false);
	char self[] = "/proc/self/exe", name[] = "test_conformance", verb[] = "__host", plugin[PATH_MAX];
	char *const argv[] = {name, verb, plugin, w->run, w->state, w->socket, NULL};
	posix_spawn_file_actions_t actions;
	int pipe_fds[2], runner = 0;
	FILE *words;
	pid_t pid;

	snprintf(plugin, sizeof plugin, "%s", w->plugin);
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
	assert_int_equal(posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], STDOUT_FILENO), 0);
	assert_int_equal(posix_spawn(&pid, self, &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(pipe_fds[1]);
	words = fdopen(pipe_fds[0], "r");
	assert_non_null(words);
	assert_int_equal(fscanf(words, "%d", &runner), 1);
	fclose(words);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	/* This process is a subreaper: the runner is ours now. */
	assert_int_equal(waitpid(runner, NULL, 0), runner);
	assert_undone(w, before);
	free(before);
}

/* ---- damaged records ---- */

static void damage(struct tritone_undo *undo, int how)
{
	uint32_t i;

	switch (how) {
	case 0:
		undo->size = 0;
		break;
	case 1:
		undo->size--;
		break;
	case 2:
		undo->bytes[0] ^= 0x40; /* its version */
		break;
	case 3:
		memset(undo->bytes, 0xff, sizeof undo->bytes);
		break;
	case 4:
		memset(undo->bytes, 0x5a, sizeof undo->bytes);
		undo->size = TRITONE_UNDO_SIZE_MAX;
		break;
	default: /* all but the version */
		for (i = 4; i < sizeof undo->bytes; i++)
			undo->bytes[i] = (uint8_t)(how == 5 ? 0xff : 0);
	}
}

void conformance_damaged_record(void **state)
{
	struct world *w = *state;
	char *before = world_tree(w, false);
	struct undo_entry *entry, *damaged = malloc(sizeof *damaged);
	int how, r;

	fault_inject(w, NULL);
	runner_destroy(w->runner);
	w->runner = NULL;
	entry = fault_entry(w);
	assert_non_null(damaged);
	for (how = 0; how < 7; how++) {
		memcpy(damaged, entry, sizeof *damaged);
		damage(&damaged->undo, how);
		if (!memcmp(&damaged->undo.bytes, &entry->undo.bytes, entry->undo.size) &&
		    damaged->undo.size == entry->undo.size)
			continue; /* it has nothing that could be damaged so */
		memset(&w->err, 0, sizeof w->err);
		r = runner_recover(w->run, w->undo, damaged, &w->err);
		if (r == 0)
			fail_msg("damaged in way %d, the record was taken for good", how);
		assert_line(w->err.text, "error");
		if (w->err.code != EINVAL)
			fail_msg("damaged in way %d: expected a refusal, found: %s", how, w->err.text);
		assert_int_equal(fault_outstanding(w, NULL), 1);
	}
	fault_recover(w, entry);
	assert_undone(w, before);
	free(damaged);
	free(entry);
	free(before);
}
