/* SPDX-License-Identifier: Apache-2.0 */
/* What plugins get of the system: its inventory of targets, errors of system calls, fault points. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "system/private.h"

/* What is collected before it is shown: sorted, so that the same seed chooses the same target. */
struct inventory {
	struct item {
		struct tritone_target target;
		char id[128], task[256], worktree[4096];
	} * items;
	size_t count, room;
	bool failed;
	const char *event_task;
};

static int collect(void *arg, const struct agent_view *agent)
{
	struct inventory *inventory = arg;
	struct item *item;

	if (inventory->count == inventory->room) {
		size_t room = inventory->room ? inventory->room * 2 : 16;
		struct item *more = realloc(inventory->items, room * sizeof *more);

		if (!more) {
			inventory->failed = true;
			return 1;
		}
		inventory->items = more;
		inventory->room = room;
	}
	item = &inventory->items[inventory->count++];
	memset(&item->target, 0, sizeof item->target);
	snprintf(item->id, sizeof item->id, "%s", agent->id);
	snprintf(item->task, sizeof item->task, "%s", agent->task);
	snprintf(item->worktree, sizeof item->worktree, "%s", agent->worktree);
	item->target.struct_size = sizeof item->target;
	item->target.kind = TRITONE_TARGET_AGENT;
	item->target.pid = agent->pid;
	item->target.start_time = agent->start_time;
	if (*inventory->event_task && !strcmp(inventory->event_task, agent->task))
		item->target.flags = TRITONE_TARGET_OF_EVENT;
	return 0;
}

static int by_id(const void *left, const void *right)
{
	const struct item *a = left, *b = right;

	return strcmp(a->id, b->id);
}

/* Only what the keeper has below it is a target, whatever a pid file says. */
static int mark_ours(void *arg, const struct keeper_node *node)
{
	struct inventory *inventory = arg;

	for (size_t i = 0; i < inventory->count; i++) {
		struct tritone_target *target = &inventory->items[i].target;

		if (target->pid == node->pid && target->start_time == node->start_time)
			target->struct_size = 0; /* a mark, until it is shown */
	}
	return 0;
}

int system_look(struct system *system, struct error *err)
{
	int result = 1;

	pthread_mutex_lock(&system->looking);
	if (system->observer)
		result = observer_look(system->observer, err);
	pthread_mutex_unlock(&system->looking);
	return result;
}

/* 1: the visitor has had enough. */
static int agent_targets(struct system *system, tritone_target_fn visit, void *arg, struct error *err)
{
	struct inventory inventory = {.event_task = ""};
	char event_task[sizeof system->event_task];
	int result;

	/* The agent of the event may be so new that its request was quicker than its pid file. */
	result = system_look(system, err);
	if (result != 0)
		return result < 0 ? -1 : 0;
	if (!system->agents)
		return 0;
	result = -1;
	pthread_mutex_lock(&system->lock);
	memcpy(event_task, system->event_task, sizeof event_task);
	pthread_mutex_unlock(&system->lock);
	inventory.event_task = event_task;
	if (agents_each(system->agents, collect, &inventory, err) != 0)
		goto out;
	if (inventory.failed) {
		error_set(err, ENOMEM, "no memory for the list of agents");
		goto out;
	}
	if (inventory.count)
		qsort(inventory.items, inventory.count, sizeof *inventory.items, by_id);
	if (keeper_tree(system->keeper, mark_ours, &inventory, err) != 0)
		goto out;
	result = 0;
	for (size_t i = 0; i < inventory.count && result == 0; i++) {
		struct item *item = &inventory.items[i];

		if (item->target.struct_size != 0)
			continue;
		item->target.struct_size = sizeof item->target;
		item->target.id = item->id;
		item->target.task = item->task;
		item->target.worktree = item->worktree;
		result = visit(arg, &item->target) ? 1 : 0;
	}
out:
	free(inventory.items);
	return result;
}

static int system_target(struct system *system, tritone_target_fn visit, void *arg)
{
	struct tritone_target target = {.struct_size = sizeof target,
	    .kind = TRITONE_TARGET_SYSTEM,
	    .id = system->manifest->processes[system->manifest->main_process].name,
	    .task = "",
	    .worktree = ""};
	pid_t pid;

	if (!system->processes || !processes_main(system->processes, &pid, &target.start_time))
		return 0;
	target.pid = pid;
	return visit(arg, &target) ? 1 : 0;
}

/* In the order of the manifest. Which of them are helpers is for whoever names them to know. */
static void process_targets(struct system *system, tritone_target_fn visit, void *arg)
{
	const struct spec_manifest *m = system->manifest;

	for (size_t i = 0; system->processes && i < m->process_count; i++) {
		struct tritone_target target = {.struct_size = sizeof target,
		    .kind = TRITONE_TARGET_PROCESS,
		    .id = m->processes[i].name,
		    .task = "",
		    .worktree = ""};
		pid_t pid;

		if (!processes_find(system->processes, m->processes[i].name, &pid, &target.start_time))
			continue;
		target.pid = pid;
		if (visit(arg, &target))
			return;
	}
}

int system_targets(struct system *system, uint32_t kind, tritone_target_fn visit, void *arg, struct error *err)
{
	switch (kind) {
	case TRITONE_TARGET_AGENT:
		return agent_targets(system, visit, arg, err) < 0 ? -1 : 0;
	case TRITONE_TARGET_SYSTEM:
		system_target(system, visit, arg);
		return 0;
	case TRITONE_TARGET_PROCESS:
		process_targets(system, visit, arg);
		return 0;
	case TRITONE_TARGET_PROVIDER:
	case TRITONE_TARGET_SINK:
		if (system->gateway)
			gateway_targets(system->gateway, kind, visit, arg);
		return 0;
	default:
		return error_set(err, EINVAL, "no kind of target %#x", kind);
	}
}

void system_event_task(struct system *system, const char *task)
{
	pthread_mutex_lock(&system->lock);
	snprintf(system->event_task, sizeof system->event_task, "%s", task ? task : "");
	pthread_mutex_unlock(&system->lock);
}

int system_errno_rule(struct system *system, const struct tritone_errno_rule *rule, struct error *err)
{
	if (!system->syscall_filter)
		return error_set(err, ENOTSUP,
		    "%s: it was started without the system-call filter (syscall-filter: true)", system->manifest->name);
	return keeper_rule_set(system->keeper, rule, err);
}

int system_faultpoint(struct system *system, const struct tritone_point_rule *rule, struct error *err)
{
	const struct spec_strings *known = &system->manifest->faultpoints;
	const char *nearest;

	if (!known->count)
		return error_set(err, ENOTSUP, "%s: its manifest declares no fault points", system->manifest->name);
	for (size_t i = 0; i < known->count; i++)
		if (rule->name && !strcmp(known->items[i], rule->name))
			return faultpoints_set(system->faultpoints, rule, err);
	nearest = spec_nearest(rule->name ? rule->name : "", (const char *const *)known->items);
	return error_set(err, ENOTSUP, "%s: its manifest declares no fault point '%s'%s%s%s", system->manifest->name,
	    rule->name ? rule->name : "", nearest ? "; is '" : "", nearest ? nearest : "", nearest ? "' meant?" : "");
}

int system_rule_hits(struct system *system, const char *key, uint64_t *ret_hits, uint64_t *ret_seen, struct error *err)
{
	struct keeper_rule_stats *stats;
	struct error error;
	int result;

	if (faultpoints_hits(system->faultpoints, key, ret_hits, ret_seen, &error) == 0)
		return 0;
	if (!system->syscall_filter)
		return error_set(err, ENOENT, "no rule %s", key);
	stats = malloc(sizeof *stats);
	if (!stats)
		return error_set(err, ENOMEM, "no memory for the statistics of a rule");
	result = keeper_rule_stats(system->keeper, key, stats, &error);
	if (result == 0) {
		if (ret_hits)
			*ret_hits = stats->hits;
		if (ret_seen)
			*ret_seen = stats->seen;
	} else {
		error_set(err, error.code, "%s", error.text);
	}
	free(stats);
	return result;
}

int system_rule_clear(struct system *system, const char *key, struct error *err)
{
	if (faultpoints_clear(system->faultpoints, key) || !system->syscall_filter)
		return 0;
	return keeper_rule_clear(system->keeper, key, err);
}
