/* SPDX-License-Identifier: Apache-2.0 */
/* A writer with the mistakes that are really made, recorded, and its exploration. Failures are cmocka's assertions. */
#ifndef TRITONE_TESTS_EXPLORE_ROOM_H
#define TRITONE_TESTS_EXPLORE_ROOM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "crash/explore.h"

#define VALUES 3

/* A writer keeps a number in the file "value", replaced whole each time, and prints it. Its mistakes: */
enum mistake { NO_MISTAKE, NO_SYNC, NO_DIR_SYNC, ACK_FIRST, IN_PLACE };

struct room {
	char work[64], dir[96];
	struct trace *trace;
	struct explore_options options;
	struct explore_result result;
};

int setup(void **state);
int teardown(void **state);

/* The writer's trace becomes the room's. */
void record_writer(struct room *room, enum mistake mistake);
/* 0: no value; -1: not one that was ever written. */
int read_value(const char *dir);

/* A judge's function: by the value alone. */
int judge_value(void *context, const struct crash_case *state, struct crash_verdict *verdict, struct error *err);
extern const struct crash_judge by_value;

/* Explores the room's trace; the result is the room's, too. */
void explore_it(struct room *room, const struct crash_judge *judge);
/* How many states were judged, and how many verdicts there are. */
uint64_t judged(const struct explore_result *result);
uint64_t all_outcomes(const struct explore_result *result);

#endif
