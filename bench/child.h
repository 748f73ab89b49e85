/* SPDX-License-Identifier: Apache-2.0 */
/* A program that a benchmark starts. It does not outlive the thread that started it. */
#ifndef TRITONE_BENCH_CHILD_H
#define TRITONE_BENCH_CHILD_H

#include <stddef.h>
#include <sys/types.h>

#include "wal/error.h"

struct child {
	const char *const *argv;
	char *const *environment; /* NULL: ours */
	const char *directory;    /* NULL: ours */
	const char *log;          /* standard error goes here, and standard output without `ret_output`; appended */
};

/* *ret_output (may be NULL): a descriptor with its standard output. */
int child_start(const struct child *child, pid_t *ret_pid, int *ret_output, struct error *err);

/*
 * Waits; kills it if it has not ended within `timeout_ms` (< 0: waits for ever). *ret_cpu_s, which may be NULL, is the time that it and
 * whatever it has waited for have used. -1 unless it exited with 0.
 */
int child_wait(pid_t pid, int timeout_ms, double *ret_cpu_s, struct error *err);

/* The time that it, what it has waited for and what lives below it have used so far. */
double child_cpu_s(pid_t pid);

/* One line of the output without its end, or -1 when there is none within `timeout_ms`. */
int child_line(int output, char *line, size_t size, int timeout_ms, struct error *err);

/* PATH of a program of the build: `name` below the directory above the one that this benchmark is in. */
int child_program(char *path, size_t size, const char *name, struct error *err);

/* A fresh directory below TMPDIR or /tmp, and its end with all that is in it. */
int child_directory(char *path, size_t size, struct error *err);
void child_remove_directory(const char *path);

#endif
