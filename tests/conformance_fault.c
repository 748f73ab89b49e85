/* SPDX-License-Identifier: Apache-2.0 */
/* The fault at hand; see conformance_fault.h. */
#include "conformance_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void fault_start(struct world *w, const char *const *params)
{
	struct runner_options options = {
	    .plugin = w->plugin,
	    .fault_id = FAULT,
	    .params = params,
	    .run_dir = w->run,
	    .state_dir = w->state,
	    .socket = w->socket,
	    .seed = 7,
	    .hook_timeout_ms = 60000,
	    .interrupt_fd = -1,
	};

	while (params && params[options.param_count])
		options.param_count++;
	if (!w->undo && undo_open(&w->undo, w->run, &w->err) < 0)
		fail_msg("%s", w->err.text);
	options.undo = w->undo;
	if (runner_start(&w->runner, &options, &w->err) < 0 || runner_check(w->runner, &w->err) < 0)
		fail_msg("%s", w->err.text);
}

void fault_inject(struct world *w, const char *const *params)
{
	fault_start(w, params);
	if (runner_plan(w->runner, NULL, &w->err) < 0 || runner_inject(w->runner, &w->err) < 0)
		fail_msg("%s", w->err.text);
}

static void copy_entry(void *arg, const struct undo_entry *entry)
{
	memcpy(arg, entry, sizeof *entry);
}

int fault_outstanding(struct world *w, struct undo_entry *ret_entry)
{
	void (*visit)(void *, const struct undo_entry *) = ret_entry ? copy_entry : NULL;
	int n = w->undo ? undo_log_outstanding(w->undo, visit, ret_entry, &w->err)
			: undo_outstanding(w->run, visit, ret_entry, &w->err);

	if (n < 0)
		fail_msg("%s", w->err.text);
	return n;
}

struct undo_entry *fault_entry(struct world *w)
{
	struct undo_entry *entry = calloc(1, sizeof *entry);

	assert_non_null(entry);
	assert_int_equal(fault_outstanding(w, entry), 1);
	return entry;
}

void fault_recover(struct world *w, const struct undo_entry *entry)
{
	if (runner_recover(w->run, w->undo, entry, &w->err) < 0)
		fail_msg("%s", w->err.text);
}

static bool instant(const struct world *w)
{
	return w->info->capabilities & TRITONE_CAP_INSTANT;
}

void assert_undone(struct world *w, const char *tree_before)
{
	char *tree = world_tree(w, false), buf[256];

	assert_string_equal(tree, tree_before);
	free(tree);
	world_processes(w, buf);
	if (instant(w))
		assert_null(strstr(buf, "stopped"));
	else
		assert_string_equal(buf, "orchestrator alive; a-1 alive; a-2 alive; ");
	assert_int_equal(world_rules(w, NULL), 0);
	assert_int_equal(fault_outstanding(w, NULL), 0);
}

pid_t runner_pid(void)
{
	char path[64], text[512];
	long pid, found = 0;
	FILE *children;

	snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
	children = fopen(path, "re");
	assert_non_null(children);
	while (fscanf(children, "%ld", &pid) == 1) {
		ssize_t n;
		int fd;

		snprintf(path, sizeof path, "/proc/%ld/cmdline", pid);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		n = fd >= 0 ? read(fd, text, sizeof text) : 0;
		if (fd >= 0)
			close(fd);
		if (n > 0 && memmem(text, (size_t)n, "__runner", 8))
			found = pid;
	}
	fclose(children);
	assert_true(found > 0);
	return (pid_t)found;
}

void assert_line(const char *text, const char *what)
{
	if (!text || !*text || strchr(text, '\n') || isspace((unsigned char)*text))
		fail_msg("%s: expected one line, found '%s'", what, text ? text : "nothing");
}
