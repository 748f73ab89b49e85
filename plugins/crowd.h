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

#define CROWD_MAX     60u
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
	char path[64], text[512], *p, state;
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof text - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	p = strrchr(text, ')');
	return p && sscanf(p + 1, " %c %d %d", &state, ret_parent, ret_group) == 3;
}

static inline bool crowd_has(const struct crowd_undo *u, int pid)
{
	uint32_t i;

	for (i = 0; i < u->count; i++)
		if (u->members[i].pid == pid)
			return true;
	return false;
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

			if (pid <= 1 || crowd_has(u, pid) || !crowd_kin(pid, &parent, &group))
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

	if (t->pid <= 1 || (c->pattern[0] && fnmatch(c->pattern, t->id, 0) != 0))
		return 0;
	if (c->one && c->undo->count && score <= c->best)
		return 0;
	if (c->one)
		c->undo->count = 0;
	if (crowd_add(c->undo, t->pid, true, t->id))
		c->best = score;
	if (c->undo->count && c->undo->members[c->undo->count - 1].start_time != t->start_time)
		c->undo->count--; /* it has died, and another one has its pid */
	return 0;
}

static inline uint32_t crowd_scope(const char *word)
{
	return !strcmp(word, "group") ? CROWD_GROUP : !strcmp(word, "tree") ? CROWD_TREE : CROWD_PROCESS;
}

/* The plan: the orchestrator when `pattern` is empty, else the processes of the manifest whose names match. */
static inline int crowd_plan(const struct tritone_call *call, const char *pattern, bool one, const char *scope,
    struct tritone_undo *undo, struct tritone_error *error)
{
	struct crowd_undo u = {.version = CROWD_VERSION};
	struct crowd_choice c = {
	    .pattern = pattern, .one = one, .draw = call->services->random(call->host, UINT64_MAX), .undo = &u};
	uint32_t i;

	if (call->services->targets(
		call->host, pattern[0] ? TRITONE_TARGET_PROCESS : TRITONE_TARGET_SYSTEM, crowd_consider, &c, error))
		return -1;
	if (u.count == 0 && pattern[0])
		return fail(
		    error, ESRCH, "no process of the manifest whose name matches '%s' runs at the moment", pattern);
	if (u.count == 0)
		return fail(error, ESRCH, "the system has no orchestrator at the moment");
	crowd_grow(&u, crowd_scope(scope));
	for (i = 0; i < u.count; i++)
		if (u.members[i].root)
			evidence(call, "target", "%s (pid %d)", u.members[i].name, u.members[i].pid);
	if (strcmp(scope, "process") != 0)
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
