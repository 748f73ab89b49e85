/* SPDX-License-Identifier: Apache-2.0 */
/* Naming a process for ever (pid and start time), signalling that one and no other, and seeing whether it lives. Header only. */
#ifndef TRITONE_PLUGINS_PROCESS_H
#define TRITONE_PLUGINS_PROCESS_H

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "plugins/target.h"

struct process_undo {
	uint32_t version;
	int32_t pid;
	uint64_t start_time;
	uint64_t ignored; /* the signals that it ignored when it was chosen: bit n - 1 for signal n */
	char id[128];
	char task[128];
	uint64_t caught; /* the same of those that it caught; a record of version 1 ends before it */
};
#define PROCESS_UNDO_VERSION 2u
#define PROCESS_UNDO_SIZE_1  offsetof(struct process_undo, caught)

static inline int process_undo(const struct tritone_undo *undo, struct process_undo *ret, struct tritone_error *error)
{
	uint32_t version = 0;

	memset(ret, 0, sizeof *ret);
	if (undo->size == PROCESS_UNDO_SIZE_1)
		memcpy(&version, undo->bytes, sizeof version);
	if (version == 1 ? undo_read(undo, ret, PROCESS_UNDO_SIZE_1, 1, error)
			 : undo_read(undo, ret, sizeof *ret, PROCESS_UNDO_VERSION, error))
		return -1;
	if (ret->pid <= 0 || !ret->start_time || !undo_text(ret->id, sizeof ret->id) ||
	    !undo_text(ret->task, sizeof ret->task))
		return fail(error, EINVAL, "the undo record is damaged: it names no process");
	return 0;
}

/* The beginning of /proc/PID/NAME, "" when it is gone. */
static inline void process_read(int pid, const char *name, char *ret, size_t size)
{
	char path[64];
	ssize_t n = 0;
	int fd;

	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, ret, size - 1);
		close(fd);
	}
	ret[n > 0 ? n : 0] = '\0';
}

/* /proc/PID/stat from its third field, the state, on; NULL when there is none. */
static inline const char *process_stat(int pid, char buf[1024])
{
	const char *p;

	process_read(pid, "stat", buf, 1024);
	p = strrchr(buf, ')'); /* the name may hold anything, but nothing behind it holds a ')' */
	return p && p[1] == ' ' && p[2] ? p + 2 : NULL;
}

/* Start time (field 22) and state (field 3) of a process; 0 when there is none. */
static inline uint64_t process_start(int pid, char *ret_state)
{
	char text[1024];
	const char *p = process_stat(pid, text);
	int field;

	if (!p)
		return 0;
	*ret_state = *p;
	for (field = 3; p && field < 22; field++) {
		p = strchr(p, ' ');
		p = p ? p + 1 : NULL;
	}
	return p ? strtoull(p, NULL, 10) : 0;
}

/* Is it still that process, and not a zombie? */
static inline bool process_alive(int pid, uint64_t start_time, char *ret_state)
{
	uint64_t start = process_start(pid, ret_state);

	return start != 0 && start == start_time && *ret_state != 'Z' && *ret_state != 'X';
}

/* A set of signals from /proc/PID/status, such as "\nSigIgn:"; 0 too when it is gone. */
static inline uint64_t process_signals(int pid, const char *field)
{
	char text[4096];
	const char *p;

	process_read(pid, "status", text, sizeof text);
	p = strstr(text, field);
	return p ? strtoull(p + strlen(field), NULL, 16) : 0;
}

static inline uint64_t process_ignored(int pid)
{
	return process_signals(pid, "\nSigIgn:");
}

/* The number of a signal that a parameter may name: those of PROCESS_SIGNALS. */
#define PROCESS_SIGNALS "INT|QUIT|HUP|SEGV|ABRT" /* besides TERM and KILL, of which one is the default */
static inline int process_signal_number(const char *name)
{
	static const struct {
		const char *name;
		int number;
	} signals[] = {{"TERM", SIGTERM}, {"KILL", SIGKILL}, {"INT", SIGINT}, {"QUIT", SIGQUIT}, {"HUP", SIGHUP},
	    {"SEGV", SIGSEGV}, {"ABRT", SIGABRT}};
	size_t i = 0;

	while (i + 1 < sizeof signals / sizeof signals[0] && strcmp(signals[i].name, name) != 0)
		i++;
	return signals[i].number; /* the host lets no other name pass */
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
	if (fd < 0 && errno != ESRCH && errno != EINVAL) /* EINVAL: the number is a thread's now */
		return fail(error, errno, "process %d: %s", pid, strerror(errno));
	if (fd < 0 || !process_alive(pid, start_time, &state)) {
		if (fd >= 0)
			close(fd);
		return fail(error, ESRCH, "process %d is gone", pid);
	}
	r = (int)syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0);
	if (r)
		r = fail(error, errno, "signal %d to process %d: %s", sig, pid, strerror(errno));
	close(fd);
	return r;
}

/* The plan of a fault on one process: chooses it and writes the undo record. */
static inline int process_plan(const struct tritone_call *call, uint32_t kind, const char *id,
    struct tritone_undo *undo, struct tritone_error *error)
{
	struct process_undo u = {.version = PROCESS_UNDO_VERSION};
	struct target_choice c = {.id = id, .process = true};

	if (target_choose(call, kind, &c, error))
		return -1;
	u.pid = c.pid;
	u.start_time = c.start_time;
	u.ignored = process_ignored(c.pid);
	u.caught = process_signals(c.pid, "\nSigCgt:");
	memcpy(u.id, c.name, sizeof u.id);
	memcpy(u.task, c.task, sizeof u.task);
	undo_write(undo, &u, sizeof u);
	evidence(call, "target", "%s", u.id);
	evidence(call, "pid", "%d", u.pid);
	return 0;
}

#endif
