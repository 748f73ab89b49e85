/* SPDX-License-Identifier: Apache-2.0 */
/* fork and exec inside the keeper, with or without the system-call filter. Keeper side only. */
#ifndef TRITONE_KEEPER_SPAWN_H
#define TRITONE_KEEPER_SPAWN_H

#include <stddef.h>
#include <sys/types.h>

#include "wal/error.h"

struct sock_fprog;

struct spawn_options {
	char **argv, **env;                /* NULL-terminated */
	const char *cwd;                   /* never NULL */
	const char *output, *error_output; /* error_output NULL: with the output */
	const struct sock_fprog *filter;   /* NULL: none */
};

/*
 * Starts the process and waits for its exec. *ret_listener (only with a filter) is the
 * notification descriptor, which must be answered from now on. On failure the child is gone and
 * reaped.
 */
int spawn_process(const struct spawn_options *options, pid_t *ret_pid, int *ret_listener, struct error *err);

#endif
