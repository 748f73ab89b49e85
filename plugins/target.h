/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Choosing one agent (or the orchestrator): the one named; else the one that the triggering event belongs to; else one by the seed, the
 * same whatever the order of the inventory. Header only.
 */
#ifndef TRITONE_PLUGINS_TARGET_H
#define TRITONE_PLUGINS_TARGET_H

#include <errno.h>

#include "plugins/plugin.h"

struct target_choice {
	const char *id;         /* an agent or its task; "": any */
	bool process, worktree; /* it must have one */
	/* the chosen one */
	bool found, of_event;
	int32_t pid;
	uint64_t start_time;
	char name[128];
	char task[128];
	char dir[4096]; /* its worktree */
	/* while choosing */
	uint64_t draw, best;
};

static inline uint64_t target_score(uint64_t draw, const struct tritone_target *t)
{
	uint64_t z = draw;
	const char *c;

	for (c = t->id; *c; c++)
		z = (z ^ (unsigned char)*c) * 0x100000001b3u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u; /* the end of splitmix64 */
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static inline int target_consider(void *arg, const struct tritone_target *t)
{
	struct target_choice *c = arg;
	bool of_event = t->flags & TRITONE_TARGET_OF_EVENT;
	uint64_t score = target_score(c->draw, t);

	if ((c->process && t->pid <= 0) || (c->worktree && !t->worktree[0]))
		return 0;
	if (c->id[0] && strcmp(c->id, t->id) != 0 && strcmp(c->id, t->task) != 0)
		return 0;
	if (c->found && (c->of_event > of_event || (c->of_event == of_event && c->best >= score)))
		return 0;
	if (strlen(t->worktree) >= sizeof c->dir)
		return 0; /* longer than any path can be */
	c->found = true;
	c->of_event = of_event;
	c->best = score;
	c->pid = t->pid;
	c->start_time = t->start_time;
	snprintf(c->name, sizeof c->name, "%s", t->id);
	snprintf(c->task, sizeof c->task, "%s", t->task);
	snprintf(c->dir, sizeof c->dir, "%s", t->worktree);
	return 0;
}

/* Fill id, process and worktree before. ESRCH when there is none. */
static inline int target_choose(
    const struct tritone_call *call, uint32_t kind, struct target_choice *choice, struct tritone_error *error)
{
	const char *what = kind == TRITONE_TARGET_SYSTEM ? "orchestrator" : "agent";

	choice->draw = call->services->random(call->host, UINT64_MAX);
	if (call->services->targets(call->host, kind, target_consider, choice, error))
		return -1;
	if (choice->found)
		return 0;
	if (choice->id[0])
		return fail(error, ESRCH, "there is no %s with the id or task '%s'%s", what, choice->id,
		    choice->worktree ? " and a worktree" : "");
	return fail(
	    error, ESRCH, "the system has no %s%s at the moment", what, choice->worktree ? " with a worktree" : "");
}

#endif
