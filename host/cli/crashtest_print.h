/* SPDX-License-Identifier: Apache-2.0 */
/* crashtest_print: what the verb crashtest says: what was recorded, what came of the states, the one that deviates. */
#ifndef TRITONE_CLI_CRASHTEST_PRINT_H
#define TRITONE_CLI_CRASHTEST_PRINT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crash/explore.h"
#include "crash/self.h"

#define CRASHTEST_VOLATILES_MAX 32

/* What the verb was called with. */
struct crashtest {
	struct explore_options explore;
	const char *volatiles[CRASHTEST_VOLATILES_MAX + 3];
	size_t volatiles_count;
	struct crash_commands commands;
	const char *keep, *replay, *recorder, *log;
	bool json, self, unacknowledged;
	char *const *argv; /* the command, or NULL */
	const char *dir;
};

struct crashtest_counted {
	size_t writes, syncs, directories;
	size_t before; /* files that were there when the command started */
};

struct crashtest_counted crashtest_count(const struct trace *trace);

void crashtest_print_trace(const struct trace *trace);
void crashtest_print_result(const struct crashtest *test, const struct explore_result *result);
/* `keep`: where the deviation's state was kept; "" if it was not. */
json_t *crashtest_json(const struct trace *trace, const struct explore_result *result, uint64_t seed, const char *keep);

/* The finding that is shown: the worst. NULL: none deviates. */
const struct explore_finding *crashtest_worst(const struct explore_result *result);
/* Prints it, keeps its state and the trace; `keep` is then where, "" with --only. 0 or -1. */
int crashtest_print_deviation(const struct crashtest *test, const struct trace *trace,
    const struct explore_finding *finding, char *keep, size_t size, struct error *err);

/* Of --self; a self_row_fn, `arg` is the struct crashtest. A state that ought not to be is kept. */
void crashtest_print_row(void *arg, const struct self_row *row);

#endif
