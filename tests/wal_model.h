/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/ beside a model of it: operations on a new log, each compared with what the model says. Readers, second writers and
 * writers that are killed are processes of their own.
 */
#ifndef TRITONE_TESTS_WAL_MODEL_H
#define TRITONE_TESTS_WAL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nth_call.h"

enum what { APPEND, SYNC, REPLAY, REOPEN, SECOND, READER, OVERSIZE, BEYOND, CHECKPOINT, TRIM, KILL, WHATS };
extern const char *const wal_model_names[WHATS];

struct op {
	enum what what;
	uint32_t a, b;
};

/* What a mistake in wal/ would look like, put into the model: the test of the test. */
enum plant { PLANT_NONE, PLANT_TRIM, PLANT_SYNC, PLANT_EPOCH };

#define WAL_MODEL_TEXT 512u

/* What a process does; text, call and acknowledged are in memory that it shares with its parent. */
struct run {
	const char *dir; /* not there yet */
	const struct op *ops;
	size_t count, at;
	bool limited; /* the map cannot grow for long: ENOSPC is no deviation */
	enum plant plant;
	char *text; /* WAL_MODEL_TEXT bytes: what deviates */
	struct nth_call *call;
	_Atomic uint64_t *acknowledged;
	/* its own */
	struct model *model;
	struct wal *wal;
};

/* All of it, to the end of the calling process: status 0 when all held; 1: `text` says what did not. */
void wal_model_run(struct run *run) __attribute__((noreturn));

/* The next number of a sequence that starts with *state. */
uint64_t wal_model_draw(uint64_t *state);

#endif
