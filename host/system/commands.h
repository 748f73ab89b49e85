/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that run to their end, below the keeper. The observer may not be running. */
#ifndef TRITONE_SYSTEM_COMMANDS_H
#define TRITONE_SYSTEM_COMMANDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "keeper/keeper.h"
#include "wal/error.h"

struct command {
	const char *name; /* also of its log file */
	char *const *argv, *const *environment;
	const char *directory;
	const char *output; /* file for standard output; NULL: the log */
	int64_t timeout_ms;
	int interrupt_fd; /* readable: it is killed, ECANCELED; 0 or -1: none */
};
/* Is there something to read at the descriptor (0 or -1: never), within that time? */
bool command_interrupted(int fd, int wait_ms);
/* The parts of running one, for who waits for its end in a way of his own. */
int command_spawn(struct keeper *keeper, const struct command *command, pid_t *ret_pid, struct error *err);
int command_kill(struct keeper *keeper, const struct command *command, pid_t pid, struct error *err);
/* It is over: 0, or why its status says nothing. */
int command_ended(const struct command *command, bool interrupted, bool killed, struct error *err);
/* 0 with the status as from waitpid; -1: it could not be started, or took too long (and was killed). */
int command_run(struct keeper *keeper, const struct command *command, int *ret_status, struct error *err);
/* "exited with 3", "was killed by signal 9 (Killed)"; always NUL-terminated. */
void command_status(int status, char *ret, size_t size);
/* The program of that name, as execvp would find it from here. ENOENT, EACCES: there is none that could be run. */
int command_find(const char *name, char *ret_path, size_t size, struct error *err);

#endif
