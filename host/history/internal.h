/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this room share. `lock` guards everything in struct history but `store`, which has its own. */
#ifndef TRITONE_HISTORY_INTERNAL_H
#define TRITONE_HISTORY_INTERNAL_H

#include <pthread.h>

#include "history/history.h"

struct history_chunk;
struct store;

struct history {
	pthread_mutex_t lock;
	pthread_cond_t grown; /* an operation more, or interrupted */
	uint64_t born_ns;
	struct op *ops;               /* from `base` on */
	size_t base;                  /* what came before is forgotten */
	size_t shared;                /* the operations before this may share strings with older ones */
	size_t count, capacity;       /* of all; of the room in `ops` */
	struct history_chunk *chunks; /* the strings; they never move while the history lives */
	bool interrupted;
	struct store *store; /* NULL: memory only */
};

/* A moment on CLOCK_MONOTONIC, for the condition variables (all are made by history_cond_init). */
struct timespec history_deadline(int64_t timeout_ms);
int history_cond_init(pthread_cond_t *cond, struct error *err);

/* Appends what was stored, with the time it has; `index` must be the next one. For loading only. */
void history_restore(struct history *history, const struct op *op);

/* The operations [first, first + max) as they are now, copied; their strings stay where they are. Returns how many. */
size_t history_copy(struct history *history, uint64_t first, struct op *ops, size_t max);

int store_create(struct history *history, const char *dir, struct error *err);
void store_destroy(struct store *store); /* writes what is left; NULL is fine */
void store_wake(struct store *store);    /* an operation more */

#endif
