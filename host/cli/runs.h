/* SPDX-License-Identifier: Apache-2.0 */
/* The run directories below the state directory, for the verbs that go through all of them. */
#ifndef TRITONE_CLI_RUNS_H
#define TRITONE_CLI_RUNS_H

#include <stddef.h>

#include "wal/error.h"

/* Absolute paths of STATE/runs/ID, sorted by ID; none when there is no such directory. Free with runs_free. */
int runs_list(char ***ret_dirs, size_t *ret_count, struct error *err);
void runs_free(char **dirs, size_t count);
/* The last part of a run's path. */
const char *runs_id(const char *dir);

#endif
