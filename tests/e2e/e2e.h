/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the end-to-end tests share: the built tritone as a program of its own, with a state directory of its own, its lines as they come,
 * and every process that it starts. Nothing here waits for time to pass: for lines, files and deaths, with a guard against waiting for ever.
 */
#ifndef TRITONE_TESTS_E2E_H
#define TRITONE_TESTS_E2E_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/types.h>

/* So long something that must come is waited for, and a program that says nothing meanwhile. Far more than any takes beside a hundred others. */
#define GUARD_MS 240000

struct ran {
	pid_t pid;
	int pidfd, fds[2];
	char *text[2]; /* standard output and error so far */
	size_t used[2];
	int status; /* exit status, or 128 + the signal that ended it */
	bool ended;
	int64_t heard_ms; /* when it said something */
	struct ran *next;
};

struct world {
	char dir[64];   /* everything lies below it */
	char state[96]; /* TRITONE_STATE */
	char build[3840];
	struct ran *rans;
	uid_t uid;       /* as whom tritone runs; 0: as the test does */
	char noted[512]; /* free for the tests */
};

/* cmocka fixtures of a `struct world`. The teardown ends what a failed test has left and removes everything. */
int world_create(void **state);
int world_destroy(void **state);

/* printf into DIR/NAME; returns the path, valid until the world is destroyed. */
const char *world_write(struct world *world, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* "DIR/NAME", the same. */
const char *world_path(struct world *world, const char *name);
/* The reference system's manifest with a text replaced, as DIR/NAME. */
const char *world_manifest(struct world *world, const char *name, const char *from, const char *to);
/* The same without the limits that a process of it may miss where the machine is busy: leases, timeouts, graces. For tests of anything
 * but these. `from` may be NULL; so it is DIR/unhurried.yaml, which is there in every world. */
const char *world_unhurried(struct world *world, const char *name, const char *from, const char *to);
/* A text in a file that is there is replaced. */
void world_edit(struct world *world, const char *name, const char *from, const char *to);
const char *world_plugin(struct world *world, const char *name); /* of tests/plugins */

/* Starts `tritone ...`, the arguments ending with a NULL. Freed with the world. */
struct ran *tritone_start(struct world *world, ...) __attribute__((sentinel));
/* The same to its end. */
struct ran *tritone(struct world *world, ...) __attribute__((sentinel));
struct ran *program_start(struct world *world, char *const *argv);
/* Fails the test when it ends without having said so. `what` may be in either stream. */
void ran_says(struct ran *ran, const char *what);
bool ran_said(const struct ran *ran, const char *what);
void ran_signal(struct ran *ran, int signal);
int ran_end(struct ran *ran); /* waits for it; its status */
/* Fails with everything it said when the status is another one. */
void ran_status(struct ran *ran, int expected);
/* Fails with everything it said unless that is among it. */
void ran_has(struct ran *ran, const char *what);
/* What stands behind `what` up to the end of its line, malloc'ed for the world's life. */
const char *ran_value(struct world *world, struct ran *ran, const char *what);

/* Every living process of this world but the test itself: by its environment, command line or working directory. */
size_t world_processes(struct world *world, pid_t *ret, size_t max);
/* Waits until none is left; fails with their names when they do not go. */
void world_quiet(struct world *world);
/* Waits until a file is there / is gone (glob), woken by what happens in its directory or by the guard. */
void world_file(const char *pattern);
size_t world_matches(const char *pattern, char *ret_first, size_t size);
/* The state letter of a process, '-' when there is none. */
char process_state(pid_t pid);
/* Until its state is one of these; a stop cannot be waited for by a stranger, it is looked at again and again. */
void process_await(pid_t pid, const char *states);
/* `tritone status` and `tritone recover` agree that nothing is left behind. */
void world_clean(struct world *world);
size_t world_runs(struct world *world); /* number of run directories */

#endif
