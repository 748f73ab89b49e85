/* SPDX-License-Identifier: Apache-2.0 */
/* The history in memory: appended to by every observer, waited on by the engine. Storing it is store.c's. */
#include "history/history.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "history/internal.h"

#define CHUNK_SIZE     (64u << 10) /* bytes */
#define CAPACITY_FIRST 1024u

struct history_chunk {
	struct history_chunk *next;
	size_t used, size;
	size_t last; /* the last operation with a string of it */
	char bytes[];
};

static uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

struct timespec history_deadline(int64_t timeout_ms)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += (time_t)(timeout_ms / 1000);
	at.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (at.tv_nsec >= 1000000000) {
		at.tv_sec++;
		at.tv_nsec -= 1000000000;
	}
	return at;
}

int history_cond_init(pthread_cond_t *cond, struct error *err)
{
	pthread_condattr_t attr;
	int rc = pthread_condattr_init(&attr);

	if (rc)
		return error_set(err, rc, "history: no condition variable: %s", strerror(rc));
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	rc = pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
	return rc ? error_set(err, rc, "history: no condition variable: %s", strerror(rc)) : 0;
}

/* An observer cannot do anything sensible without memory, and a history with holes would give false verdicts:
 * better no verdict. The undo records are on disk, and `tritone recover` follows them. */
static void *must(void *memory)
{
	if (!memory) {
		fputs("tritone: history: out of memory\n", stderr);
		abort();
	}
	return memory;
}

static const char *keep(struct history *history, const char *text)
{
	struct history_chunk *chunk = history->chunks;
	size_t size;
	char *copy;

	if (!text || !*text)
		return "";
	size = strlen(text) + 1;
	if (!chunk || chunk->size - chunk->used < size) {
		size_t room = size > CHUNK_SIZE ? size : CHUNK_SIZE;

		chunk = must(malloc(sizeof *chunk + room));
		chunk->used = 0;
		chunk->size = room;
		chunk->next = history->chunks;
		history->chunks = chunk;
	}
	copy = chunk->bytes + chunk->used;
	memcpy(copy, text, size);
	chunk->used += size;
	chunk->last = history->count;
	return copy;
}

int history_create(struct history **ret_history, const char *dir, struct error *err)
{
	struct history *history = calloc(1, sizeof *history);
	int rc;

	if (!history)
		return error_set(err, ENOMEM, "history: out of memory");
	history->born_ns = monotonic_ns();
	rc = pthread_mutex_init(&history->lock, NULL);
	if (rc) {
		error_set(err, rc, "history: no mutex: %s", strerror(rc));
		goto fail_lock;
	}
	if (history_cond_init(&history->grown, err) < 0)
		goto fail_cond;
	if (dir && store_create(history, dir, err) < 0)
		goto fail_store;
	*ret_history = history;
	return 0;

fail_store:
	pthread_cond_destroy(&history->grown);
fail_cond:
	pthread_mutex_destroy(&history->lock);
fail_lock:
	free(history);
	return -1;
}

void history_destroy(struct history *history)
{
	struct history_chunk *chunk, *next;

	if (!history)
		return;
	store_destroy(history->store);
	for (chunk = history->chunks; chunk; chunk = next) {
		next = chunk->next;
		free(chunk);
	}
	pthread_cond_destroy(&history->grown);
	pthread_mutex_destroy(&history->lock);
	free(history->ops);
	free(history);
}

/* A free place at the end; the caller fills it before it lets go of the lock. */
static struct op *grow(struct history *history)
{
	if (history->count - history->base == history->capacity) {
		size_t capacity = history->capacity ? 2 * history->capacity : CAPACITY_FIRST;

		history->ops = must(reallocarray(history->ops, capacity, sizeof *history->ops));
		history->capacity = capacity;
	}
	return &history->ops[history->count - history->base];
}

/* A completion's string: its own, or the invoke's, which is the history's already and needs no copy, unless it will be
 * forgotten before. */
static const char *inherit(struct history *history, const char *own, const char *invoke)
{
	return own || !invoke || history->base ? keep(history, own ? own : invoke) : invoke;
}

static uint64_t append_locked(struct history *history, const struct op *op, const struct op *invoke)
{
	struct op all = *op;
	struct op *slot;
	uint64_t now_us = (monotonic_ns() - history->born_ns) / 1000;
	size_t held = history->count - history->base;
	uint64_t last_us = held ? history->ops[held - 1].time_us : 0;

	all.index = history->count;
	all.time_us = now_us > last_us ? now_us : last_us; /* a loaded history may be ahead */
	all.task = inherit(history, op->task, invoke ? invoke->task : NULL);
	all.actor = inherit(history, op->actor, invoke ? invoke->actor : NULL);
	all.key = inherit(history, op->key, invoke ? invoke->key : NULL);
	all.detail = keep(history, op->detail);
	if (invoke) {
		all.pair = invoke->index;
		if (!all.attempt)
			all.attempt = invoke->attempt;
		if (!all.kind)
			all.kind = invoke->kind;
	}
	if (invoke && !history->base)
		history->shared = history->count + 1;
	slot = grow(history); /* may move the invoke: not used after this */
	*slot = all;
	history->count++;
	pthread_cond_broadcast(&history->grown);
	return all.index;
}

uint64_t history_append(struct history *history, const struct op *op)
{
	uint64_t index;

	pthread_mutex_lock(&history->lock);
	index = append_locked(history, op, NULL);
	pthread_mutex_unlock(&history->lock);
	if (history->store)
		store_wake(history->store);
	return index;
}

uint64_t history_complete(struct history *history, uint64_t invoke, const struct op *op)
{
	struct op unpaired = *op;
	uint64_t index;

	pthread_mutex_lock(&history->lock);
	unpaired.pair = invoke < history->base ? invoke : OP_NONE;
	if (invoke >= history->base && invoke < history->count)
		index = append_locked(history, op, &history->ops[invoke - history->base]);
	else
		index = append_locked(history, &unpaired, NULL);
	pthread_mutex_unlock(&history->lock);
	if (history->store)
		store_wake(history->store);
	return index;
}

void history_restore(struct history *history, const struct op *op)
{
	struct op all = *op;
	struct op *slot;

	all.task = keep(history, op->task);
	all.actor = keep(history, op->actor);
	all.key = keep(history, op->key);
	all.detail = keep(history, op->detail);
	slot = grow(history);
	*slot = all;
	history->count++;
}

uint64_t history_now_us(const struct history *history)
{
	return (monotonic_ns() - history->born_ns) / 1000;
}

size_t history_count(struct history *history)
{
	size_t count;

	pthread_mutex_lock(&history->lock);
	count = history->count;
	pthread_mutex_unlock(&history->lock);
	return count;
}

size_t history_copy(struct history *history, uint64_t first, struct op *ops, size_t max)
{
	size_t n = 0;

	pthread_mutex_lock(&history->lock);
	if (first >= history->base && first < history->count) {
		n = history->count - first;
		n = n < max ? n : max;
		memcpy(ops, history->ops + (first - history->base), n * sizeof *ops);
	}
	pthread_mutex_unlock(&history->lock);
	return n;
}

void history_forget(struct history *history, uint64_t before)
{
	struct history_chunk **at, *gone;
	size_t drop;

	pthread_mutex_lock(&history->lock);
	before = before < history->count ? before : history->count;
	drop = before > history->base ? (size_t)before - history->base : 0;
	/* by halves, so that each operation is moved once at most on the average */
	if (!history->store && drop && drop * 2 >= history->count - history->base) {
		memmove(history->ops, history->ops + drop, (history->count - before) * sizeof *history->ops);
		history->base = (size_t)before;
		for (at = &history->chunks; history->base >= history->shared && (gone = *at);) {
			/* the newest is still being filled */
			if (gone == history->chunks || gone->last >= history->base) {
				at = &gone->next;
				continue;
			}
			*at = gone->next;
			free(gone);
		}
	}
	pthread_mutex_unlock(&history->lock);
}

bool history_scan(struct history *history, uint64_t first, history_visit_fn visit, void *arg)
{
	bool found = false;
	uint64_t i;

	pthread_mutex_lock(&history->lock);
	for (i = first > history->base ? first : history->base; i < history->count && !found; i++)
		found = visit(arg, &history->ops[i - history->base]);
	pthread_mutex_unlock(&history->lock);
	return found;
}

int history_wait(
    struct history *history, uint64_t first, history_visit_fn visit, void *arg, int64_t timeout_ms, uint64_t *ret_index)
{
	struct timespec deadline = history_deadline(timeout_ms < 0 ? 0 : timeout_ms);
	uint64_t next = first;
	int result = -1;
	int rc = 0;

	pthread_mutex_lock(&history->lock);
	while (!history->interrupted) {
		for (next = next > history->base ? next : history->base; next < history->count; next++) {
			if (!visit(arg, &history->ops[next - history->base]))
				continue;
			if (ret_index)
				*ret_index = next;
			result = 1;
			goto out;
		}
		if (rc == ETIMEDOUT) {
			result = 0;
			goto out;
		}
		if (timeout_ms < 0)
			rc = pthread_cond_wait(&history->grown, &history->lock);
		else
			rc = pthread_cond_timedwait(&history->grown, &history->lock, &deadline);
	}
out:
	pthread_mutex_unlock(&history->lock);
	return result;
}

void history_interrupt(struct history *history)
{
	pthread_mutex_lock(&history->lock);
	history->interrupted = true;
	pthread_cond_broadcast(&history->grown);
	pthread_mutex_unlock(&history->lock);
}

void history_resume(struct history *history)
{
	pthread_mutex_lock(&history->lock);
	history->interrupted = false;
	pthread_mutex_unlock(&history->lock);
}

struct history_view history_view(struct history *history)
{
	struct history_view view;

	pthread_mutex_lock(&history->lock);
	view = (struct history_view){.ops = history->ops, .count = history->count};
	pthread_mutex_unlock(&history->lock);
	return view;
}
