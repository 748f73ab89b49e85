/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several processes at once: those that a manifest names, with their process groups or all that they have started. Each is known by pid and
 * start time; a process that gets the pid later is never signalled. Header only.
 */
#ifndef TRITONE_PLUGINS_CROWD_H
#define TRITONE_PLUGINS_CROWD_H

#include <dirent.h>
#include <fnmatch.h>

#include "plugins/process.h"

#define CROWD_MAX     60u /* and one less may be chosen: a full one may lack somebody */
#define CROWD_VERSION 1u

enum crowd_scope { CROWD_PROCESS = 1, CROWD_GROUP = 2, CROWD_TREE = 3 };

struct crowd_member {
	int32_t pid;
	int32_t root; /* 1: named by the manifest; 0: one of its group or tree */
	uint64_t start_time;
	char name[40]; /* of the process that it belongs to */
};

struct crowd_undo {
	uint32_t version;
	uint32_t count;
	struct crowd_member members[CROWD_MAX];
};
_Static_assert(sizeof(struct crowd_undo) <= TRITONE_UNDO_SIZE_MAX, "it has to fit");

static inline int crowd_undo(const struct tritone_undo *undo, struct crowd_undo *ret, struct tritone_error *error)
{
	uint32_t i;

	if (undo_read(undo, ret, sizeof *ret, CROWD_VERSION, error))
		return -1;
	if (ret->count == 0 || ret->count > CROWD_MAX)
		return fail(error, EINVAL, "the undo record is damaged: it names %u processes", ret->count);
	for (i = 0; i < ret->count; i++)
		if (ret->members[i].pid <= 1 || !ret->members[i].start_time ||
		    !undo_text(ret->members[i].name, sizeof ret->members[i].name))
			return fail(error, EINVAL, "the undo record is damaged: it names no process");
	return 0;
}

/* Parent (field 4) and process group (field 5) of a process. */
static inline bool crowd_kin(int pid, int *ret_parent, int *ret_group)
{
	char text[1024];
	const char *p = process_stat(pid, text);

	return p && sscanf(p, "%*c %d %d", ret_parent, ret_group) == 2;
}

static inline const struct crowd_member *crowd_find(const struct crowd_undo *u, int pid)
{
	uint32_t i;

	for (i = 0; i < u->count; i++)
		if (u->members[i].pid == pid)
			return &u->members[i];
	return NULL;
}

static inline bool crowd_add(struct crowd_undo *u, int pid, bool root, const char *name)
{
	struct crowd_member *m = &u->members[u->count];
	char state = '?';
	uint64_t start = process_start(pid, &state);

	if (u->count == CROWD_MAX || !start || state == 'Z' || state == 'X')
		return false;
	*m = (struct crowd_member){.pid = pid, .root = root, .start_time = start};
	snprintf(m->name, sizeof m->name, "%s", name);
	u->count++;
	return true;
}

/* Who of all processes belongs to those that are in it: the same group, or a child. Returns how many came. */
static inline uint32_t crowd_grow(struct crowd_undo *u, uint32_t scope)
{
	uint32_t before = u->count, round;
	bool more = scope != CROWD_PROCESS;

	/* A child may be listed before its parent. */
	for (round = 0; more && round < 16; round++) {
		DIR *proc = opendir("/proc");
		struct dirent *entry;

		more = false;
		while (proc && (entry = readdir(proc)) != NULL) {
			int pid = atoi(entry->d_name), parent = 0, group = 0;
			const struct crowd_member *kin;

			if (pid <= 1 || crowd_find(u, pid) || !crowd_kin(pid, &parent, &group))
				continue;
			kin = scope == CROWD_TREE ? crowd_find(u, parent) : crowd_find(u, group);
			if (kin && (scope == CROWD_TREE || kin->root))
				more = crowd_add(u, pid, false, kin->name) || more;
		}
		if (proc)
			closedir(proc);
		more = more && scope == CROWD_TREE;
	}
	return u->count - before;
}

/* The parameters of a fault on processes of the manifest; one may add more behind them. */
#define CROWD_PARAMS                                                                                                   \
	{.name = "process",                                                                                            \
	    .type = TRITONE_PARAM_STRING,                                                                              \
	    .help = "the manifest's name of it, or a pattern such as worker*; empty: the orchestrator"},               \
	    {.name = "which",                                                                                          \
		.type = TRITONE_PARAM_CHOICE,                                                                          \
		.fallback = "all",                                                                                     \
		.choices = "all|one",                                                                                  \
		.help = "of those that match: all, or one by the seed"},                                               \
	{                                                                                                              \
		.name = "scope", .type = TRITONE_PARAM_CHOICE, .fallback = "process", .choices = "process|group|tree", \
		.help = "that process alone, its process group, or it and all that it has started"                     \
	}
enum { CROWD_PARAM_PROCESS, CROWD_PARAM_WHICH, CROWD_PARAM_SCOPE, CROWD_PARAM_COUNT };

struct crowd_choice {
	const char *pattern; /* of a name */
	bool one;
	uint64_t draw, best;
	struct crowd_undo *undo;
};

static inline int crowd_consider(void *arg, const struct tritone_target *t)
{
	struct crowd_choice *c = arg;
	uint64_t score = target_score(c->draw, t);
	char state;

	if (t->pid <= 1 || (c->pattern[0] && fnmatch(c->pattern, t->id, 0) != 0))
		return 0;
	if (!process_alive(t->pid, t->start_time, &state))
		return 0; /* it has died, or another one has its pid */
	if (c->one && c->undo->count && score <= c->best)
		return 0;
	if (c->one)
		c->undo->count = 0;
	if (crowd_add(c->undo, t->pid, true, t->id))
		c->best = score;
	return 0;
}

static inline uint32_t crowd_scope(const struct tritone_call *call)
{
	const char *word = call->values[CROWD_PARAM_SCOPE].string;

	return !strcmp(word, "group") ? CROWD_GROUP : !strcmp(word, "tree") ? CROWD_TREE : CROWD_PROCESS;
}

/* The plan: the orchestrator when no process is named, else the processes of the manifest whose names match. */
static inline int crowd_plan(const struct tritone_call *call, struct tritone_undo *undo, struct tritone_error *error)
{
	const char *pattern = call->values[CROWD_PARAM_PROCESS].string;
	struct crowd_undo u = {.version = CROWD_VERSION};
	struct crowd_choice c = {.pattern = pattern,
	    .one = !strcmp(call->values[CROWD_PARAM_WHICH].string, "one"),
	    .draw = call->services->random(call->host, UINT64_MAX),
	    .undo = &u};
	uint32_t i;

	if (call->services->targets(
		call->host, pattern[0] ? TRITONE_TARGET_PROCESS : TRITONE_TARGET_SYSTEM, crowd_consider, &c, error))
		return -1;
	if (u.count == 0 && pattern[0])
		return fail(
		    error, ESRCH, "no process of the manifest whose name matches '%s' runs at the moment", pattern);
	if (u.count == 0)
		return fail(error, ESRCH, "the system has no orchestrator at the moment");
	crowd_grow(&u, crowd_scope(call));
	/* Those that are not in the record would go on, and the fault would be called felt. */
	if (u.count == CROWD_MAX)
		return fail(error, E2BIG,
		    "%s and what belongs to it are %u processes or more: more than can be recorded; narrow 'process' "
		    "or "
		    "'scope'",
		    u.members[0].name, CROWD_MAX);
	for (i = 0; i < u.count; i++)
		if (u.members[i].root)
			evidence(call, "target", "%s (pid %d)", u.members[i].name, u.members[i].pid);
	if (crowd_scope(call) != CROWD_PROCESS)
		evidence(call, "processes", "%u", u.count);
	undo_write(undo, &u, sizeof u);
	return 0;
}

/* To each that lives; how many it was sent to, or -1. */
static inline int crowd_signal(const struct crowd_undo *u, uint32_t from, int sig, struct tritone_error *error)
{
	uint32_t i;
	int sent = 0;

	for (i = from; i < u->count; i++) {
		if (process_signal(u->members[i].pid, u->members[i].start_time, sig, error) == 0)
			sent++;
		else if (error->code != ESRCH)
			return -1;
	}
	return sent;
}

/* The same to all of them: -1 with ESRCH when nobody of them lives. */
static inline int crowd_strike(const struct crowd_undo *u, int sig, struct tritone_error *error)
{
	int sent = crowd_signal(u, 0, sig, error);

	if (sent == 0)
		return fail(error, ESRCH, "process %s (pid %d) is gone", u->members[0].name, u->members[0].pid);
	return sent < 0 ? -1 : 0;
}

/* How many of them live; *ret_in: of those, in one of these states. */
static inline uint32_t crowd_alive(const struct crowd_undo *u, const char *states, uint32_t *ret_in)
{
	uint32_t i, alive = 0, in = 0;
	char state = '?';

	for (i = 0; i < u->count; i++) {
		if (!process_alive(u->members[i].pid, u->members[i].start_time, &state))
			continue;
		alive++;
		in += strchr(states, state) != NULL;
	}
	if (ret_in)
		*ret_in = in;
	return alive;
}

#endif
