/* SPDX-License-Identifier: Apache-2.0 */
/* Undoes what a run has left behind, once its host and its runners are gone. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runner/locks.h"
#include "runner/runner.h"

struct list {
	struct undo_entry *items;
	size_t count;
	bool failed;
};

static void keep(void *arg, const struct undo_entry *entry)
{
	struct list *list = arg;
	struct undo_entry *grown = realloc(list->items, (list->count + 1) * sizeof *grown);

	if (!grown) {
		list->failed = true;
		return;
	}
	list->items = grown;
	list->items[list->count++] = *entry;
}

/* The runners of a dead host revert by themselves, in bounded time: what they do need not be done again. */
static void wait_for_runner(void *arg, const struct undo_entry *entry)
{
	int fd = lock_fault(entry->keep_dir, NULL);

	(void)arg;
	if (fd >= 0)
		close(fd);
}

int runner_recover_run(const char *run_dir,
    void (*visit)(void *arg, const struct undo_entry *entry, const struct error *why), void *arg, struct error *err)
{
	struct list list = {0};
	struct undo_log *log;
	size_t i;
	int left;

	if (lock_no_host(run_dir, err) < 0)
		return -1;
	left = undo_outstanding(run_dir, wait_for_runner, NULL, err);
	if (left <= 0)
		return left;
	if (undo_take_over(&log, run_dir, err) < 0)
		return -1;
	left = undo_log_outstanding(log, keep, &list, err);
	if (left >= 0 && list.failed)
		left = error_set(err, ENOMEM, "no memory for undo records");
	for (i = list.count; left >= 0 && i-- > 0;) { /* the last one done is the first one undone */
		struct error why = {0};
		int r = runner_recover(run_dir, log, &list.items[i], &why);

		if (r == 0)
			left--;
		visit(arg, &list.items[i], r == 0 ? NULL : &why);
	}
	undo_close(log);
	free(list.items);
	return left;
}

struct lookup {
	const char *fault_id;
	struct undo_entry *entry;
	bool found;
};

static void look_up(void *arg, const struct undo_entry *entry)
{
	struct lookup *lookup = arg;

	if (strcmp(lookup->fault_id, entry->fault_id) != 0)
		return;
	*lookup->entry = *entry;
	lookup->found = true;
}

int runner_forget(const char *run_dir, const char *fault_id, struct undo_entry *ret_entry, struct error *err)
{
	struct lookup lookup = {.fault_id = fault_id, .entry = ret_entry};
	struct undo_log *log;
	int r;

	if (lock_no_host(run_dir, err) < 0 || undo_outstanding(run_dir, look_up, &lookup, err) < 0)
		return -1;
	if (!lookup.found)
		return error_set(err, ENOENT, "%s: no fault '%s' is outstanding there", run_dir, fault_id);
	wait_for_runner(NULL, ret_entry);
	if (undo_take_over(&log, run_dir, err) < 0)
		return -1;
	lookup.found = false;
	r = undo_log_outstanding(log, look_up, &lookup, err);
	if (r >= 0)
		r = lookup.found ? undo_forgotten(log, fault_id, err)
				 : error_set(err, ENOENT, "%s: %s has just been undone", run_dir, fault_id);
	undo_close(log);
	return r < 0 ? -1 : 0;
}
