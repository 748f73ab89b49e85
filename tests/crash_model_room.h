/* SPDX-License-Identifier: Apache-2.0 */
/* A trace that is written down by hand, and all that a disk may hold of it, in words. Failures are cmocka's assertions. */
#ifndef TRITONE_TESTS_CRASH_MODEL_ROOM_H
#define TRITONE_TESTS_CRASH_MODEL_ROOM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "crash/model.h"

#define ROOT      100u
#define FOUND_MAX 256

/* All states that were visited, in words: "name=content name=content", each once. */
struct room {
	struct trace *trace;
	struct model_options options;
	struct model_count count;
	char found[FOUND_MAX][160];
	size_t found_count, visits;
	size_t acked_min; /* only states with so many */
};

int setup(void **state);
int teardown(void **state);

/* Operations of the trace; a file is a number. */
void add(struct room *room, struct trace_op op);
void create(struct room *room, uint64_t file, const char *name);
void write_at(struct room *room, uint64_t file, uint64_t offset, const char *text);
void plain(struct room *room, uint32_t kind, uint64_t file);
void ack(struct room *room);
/* A file with this content, and the beginning. */
void begin_with(struct room *room, uint64_t file, const char *name, const char *content);

#define PREFIX (1u << MODEL_PREFIX)
#define SUBSET (1u << MODEL_SUBSET)
#define SECTOR (1u << MODEL_SECTOR)
#define BYTE   (1u << MODEL_BYTE)

/* Visits all states of these kinds: `found`, `visits` and `count` are of them. */
void walk_all(struct room *room, unsigned kinds);
/* Exactly these were found, in any order; ends with NULL. */
void expect(struct room *room, const char *const *texts);
#define EXPECT(room, ...) expect(room, (const char *const[]){__VA_ARGS__, NULL})

#endif
