/* SPDX-License-Identifier: Apache-2.0 */
/* Naming a process for ever (pid and start time), signalling that one and no other, and seeing whether it lives. Header only. */
#ifndef TRITONE_PLUGINS_PROCESS_H
#define TRITONE_PLUGINS_PROCESS_H

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "plugins/plugin.h"

struct process_undo {
	uint32_t version;
	int32_t pid;
	uint64_t start_time;
	char id[128];
	char task[128];
};
#define PROCESS_UNDO_VERSION 1u

/* Start time (field 22) and state (field 3) of a process; 0 when there is none. */
static inline uint64_t process_start(int pid, char *ret_state)
{
	char path[64], text[1024], *p;
	uint64_t start = 0;
	ssize_t n;
	int fd, field;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof text - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	p = strrchr(text, ')'); /* the name may hold anything, but nothing behind it holds a ')' */
	if (!p || p[1] != ' ')
		return 0;
	*ret_state = p[2];
	for (field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	if (p)
		start = strtoull(p, NULL, 10);
	return start;
}

/* Is it still that process, and not a zombie? */
static inline bool process_alive(int pid, uint64_t start_time, char *ret_state)
{
	uint64_t start = process_start(pid, ret_state);

	return start != 0 && start == start_time && *ret_state != 'Z' && *ret_state != 'X';
}

/*
 * Sends `sig` to that very process: the pidfd is opened first, then the start time compared, so that a reused pid is never hit. ESRCH
 * when it is gone.
 */
static inline int process_signal(int pid, uint64_t start_time, int sig, struct tritone_error *error)
{
	char state;
	int fd, r;

	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return fail(error, errno, "process %d: %s", pid, strerror(errno));
	if (!process_alive(pid, start_time, &state)) {
		close(fd);
		return fail(error, ESRCH, "process %d is gone", pid);
	}
	r = (int)syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0);
	if (r)
		r = fail(error, errno, "signal %d to process %d: %s", sig, pid, strerror(errno));
	close(fd);
	return r;
}

/* ---- choosing one: the one named; else the one that the triggering event belongs to; else one by the seed ---- */

struct process_choice {
	const char *id; /* "": any */
	struct process_undo chosen;
	uint64_t seen;
	bool found, of_event;
	uint64_t (*random)(void *host, uint64_t bound);
	void *host;
};

static inline int process_consider(void *arg, const struct tritone_target *t)
{
	struct process_choice *c = arg;
	bool of_event = t->flags & TRITONE_TARGET_OF_EVENT;

	if (t->pid <= 0 || (c->id[0] && strcmp(c->id, t->id) != 0 && strcmp(c->id, t->task) != 0))
		return 0;
	if (c->of_event && !of_event)
		return 0;
	if (of_event && !c->of_event)
		c->seen = 0; /* those of the event outrank what was seen before */
	c->of_event = of_event;
	c->seen++;
	/* Reservoir of one: each of the n seen is taken with probability 1/n. */
	if (c->found && c->seen > 1 && c->random(c->host, c->seen) != 0)
		return 0;
	c->found = true;
	c->chosen.pid = t->pid;
	c->chosen.start_time = t->start_time;
	snprintf(c->chosen.id, sizeof c->chosen.id, "%s", t->id);
	snprintf(c->chosen.task, sizeof c->chosen.task, "%s", t->task);
	return 0;
}

/* The plan of a fault on one process: chooses it and writes the undo record. */
static inline int process_plan(const struct tritone_call *call, uint32_t kind, const char *id,
    struct tritone_undo *undo, struct tritone_error *error)
{
	struct process_choice c = {.id = id, .random = call->services->random, .host = call->host};

	c.chosen.version = PROCESS_UNDO_VERSION;
	if (call->services->targets(call->host, kind, process_consider, &c, error))
		return -1;
	if (!c.found && id[0])
		return fail(error, ESRCH, "there is no agent or task '%s' at work", id);
	if (!c.found)
		return fail(error, ESRCH, "the system has no such process at the moment");
	undo_write(undo, &c.chosen, sizeof c.chosen);
	evidence(call, "target", "%s", c.chosen.id);
	evidence(call, "pid", "%d", c.chosen.pid);
	return 0;
}

#endif
