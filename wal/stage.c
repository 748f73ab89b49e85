/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Staging and group commit: records are staged in memory, and the first thread that must have its own on disk takes
 * all that are there with it (the leader); who comes meanwhile stages for the next commit and sleeps.
 *
 * Who sleeps is woken once, when its own batch is done, and needs no lock then. Batches take turns on two futex words,
 * so that the threads of the batch that is done and those of the next one are told apart; of the next one, one is
 * woken, to lead. A word is advanced before each wake-up: who was about to sleep looks again.
 *
 * Those whom the last commit served are about to come with their next record, and a commit that went ahead of them
 * would carry few. So who comes first sleeps, too, and it is the last of as many as were served that leads: no turn of
 * the processor is spent on waiting. If they stay away, the first one, which watches the clock, leads. One thread
 * alone is its own last one.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "wal/internal.h"

#define STAGED_MAX    (16u << 20) /* bytes; beyond it wal_append commits by itself */
#define GATHER_NS_MAX 1000000u    /* that a batch waits at most for those who are to come */
#define UPKEEP_SLACK  (2u << 20)  /* bytes, that one transaction of a checkpoint or a trim may need */

int wal_staging_init(struct wal *wal, struct error *err)
{
	int rc = pthread_mutex_init(&wal->lock, NULL);

	wal->watched = WAL_NO_BATCH;
	if (rc)
		goto fail;
	rc = pthread_rwlock_init(&wal->map, NULL);
	if (rc)
		goto fail_map;
	rc = pthread_mutex_init(&wal->upkeep, NULL);
	if (rc)
		goto fail_upkeep;
	return 0;

fail_upkeep:
	pthread_rwlock_destroy(&wal->map);
fail_map:
	pthread_mutex_destroy(&wal->lock);
fail:
	return error_set(err, rc, "%s: no locks: %s", wal->dir, strerror(rc));
}

void wal_staging_finish(struct wal *wal)
{
	free(wal->staged.bytes);
	free(wal->flying.bytes);
	pthread_mutex_destroy(&wal->upkeep);
	pthread_rwlock_destroy(&wal->map);
	pthread_mutex_destroy(&wal->lock);
}

/* --- sleeping and waking --- */

/* Until the word is no longer `seen`, `limit_ns` (0: none) have gone by, or for no reason at all: the caller looks
 * again. */
static void word_wait(struct wal_word *word, uint32_t seen, uint64_t limit_ns)
{
	const struct timespec limit = {(time_t)(limit_ns / 1000000000u), (long)(limit_ns % 1000000000u)};

	atomic_fetch_add(&word->sleepers, 1);
	syscall(SYS_futex, &word->value, FUTEX_WAIT_PRIVATE, seen, limit_ns ? &limit : NULL, NULL, 0);
	atomic_fetch_sub(&word->sleepers, 1);
}

/* After word_advance, without the lock. Who is no sleeper yet has not slept when the value was advanced, and will not. */
static void word_wake(struct wal_word *word, int count)
{
	if (atomic_load(&word->sleepers))
		syscall(SYS_futex, &word->value, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

static void word_advance(struct wal_word *word)
{
	atomic_fetch_add(&word->value, 1);
}

static struct wal_word *word_of(struct wal *wal, uint64_t batch)
{
	return &wal->words[batch & 1];
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* With the lock held, which is let go of meanwhile: until `busy` has ended at least once. */
static void wait_idle(struct wal *wal)
{
	uint32_t seen = atomic_load(&wal->idle.value);

	pthread_mutex_unlock(&wal->lock);
	word_wait(&wal->idle, seen, 0);
	pthread_mutex_lock(&wal->lock);
}

/* Ends `busy`. With the lock held, which is let go of meanwhile. `done`: the batch that is done, or WAL_NO_BATCH. */
static void end_busy(struct wal *wal, uint64_t done)
{
	const uint64_t next = wal->batch;
	const bool failed = wal->failed.code != 0;
	const bool lead = wal->syncers > 0 && !wal->upkeep_next;

	wal->busy = false;
	if (done != WAL_NO_BATCH)
		wal->expected = wal->served + wal->syncers;
	word_advance(&wal->idle);
	if (lead || failed)
		word_advance(word_of(wal, next));
	if (done != WAL_NO_BATCH)
		word_advance(word_of(wal, done));
	pthread_mutex_unlock(&wal->lock);
	word_wake(&wal->idle, INT_MAX);
	if (lead || failed)
		word_wake(word_of(wal, next), failed ? INT_MAX : 1);
	if (done != WAL_NO_BATCH)
		word_wake(word_of(wal, done), INT_MAX);
	pthread_mutex_lock(&wal->lock);
}

/* --- leading --- */

/* EROFS with the first cause, but ESTALE stays what it is: there, a newer writer goes on. */
static int refuse(const struct wal *wal, struct error *err)
{
	return error_set(err, wal->failed.code == ESTALE ? ESTALE : EROFS,
	    "%s (the log takes nothing more until it is reopened)", wal->failed.text);
}

/* Takes what is staged to the disk. With the lock held, which is let go of meanwhile; nobody else is busy. */
static void lead(struct wal *wal)
{
	struct wal_batch batch;
	struct error err = {0};
	uint64_t number, begin;
	bool unknown;
	int rc;

	wal->busy = true;
	wal->served = wal->syncers;
	wal->syncers = 0;
	number = wal->batch++;
	wal->flying_lsn = wal->next_lsn - 1;
	batch = wal->staged;
	wal->staged = wal->flying;
	wal->staged.used = 0;
	wal->flying = (struct wal_batch){0};
	pthread_mutex_unlock(&wal->lock);

	begin = now_ns();
	rc = wal_commit(wal, wal_put_records, &batch, batch.used, &unknown, &err);
	begin = now_ns() - begin;

	pthread_mutex_lock(&wal->lock);
	wal->flying = batch;
	wal->commit_ns = begin;
	if (rc < 0)
		wal->failed = err;
	else
		atomic_store(&wal->durable_lsn, wal->state.head_lsn);
	end_busy(wal, number);
}

int wal_upkeep(struct wal *wal, wal_change_fn change, void *arg, struct error *err)
{
	struct error cause = {0};
	bool unknown, led = false;
	int rc;

	pthread_mutex_lock(&wal->lock);
	wal->upkeep_next = true; /* no new leader from here on, but: */
	while (!wal->failed.code && (wal->busy || (!led && wal->syncers))) {
		if (wal->busy) {
			wait_idle(wal);
		} else { /* those who wait for their records come in between two of these */
			lead(wal);
			led = true;
		}
	}
	wal->upkeep_next = false;
	if (wal->failed.code) {
		rc = refuse(wal, err);
		pthread_mutex_unlock(&wal->lock);
		return rc;
	}
	wal->busy = true;
	pthread_mutex_unlock(&wal->lock);

	rc = wal_commit(wal, change, arg, UPKEEP_SLACK, &unknown, &cause);

	pthread_mutex_lock(&wal->lock);
	if (rc < 0 && (unknown || cause.code == ESTALE))
		wal->failed = cause;
	atomic_store(&wal->base_lsn, wal->state.base_lsn);
	atomic_store(&wal->checkpoint_lsn, wal->state.checkpoint_lsn);
	end_busy(wal, WAL_NO_BATCH);
	pthread_mutex_unlock(&wal->lock);
	return rc < 0 ? error_set(err, cause.code, "%s", cause.text) : 0;
}

/* --- append and sync --- */

static int reserve(struct wal *wal, size_t size, struct error *err)
{
	struct wal_batch *batch = &wal->staged;
	size_t capacity = batch->capacity ? batch->capacity : 4096;
	uint8_t *bytes;

	if (batch->capacity - batch->used >= size)
		return 0;
	while (capacity - batch->used < size)
		capacity *= 2;
	bytes = realloc(batch->bytes, capacity);
	if (!bytes)
		return error_set(err, ENOMEM, "%s: no memory for a record of %zu bytes", wal->dir, size);
	batch->bytes = bytes;
	batch->capacity = capacity;
	return 0;
}

/* Nobody commits, and nobody is to come first. */
static bool may_lead(const struct wal *wal)
{
	return !wal->busy && !wal->upkeep_next;
}

int wal_append(struct wal *wal, uint32_t kind, const void *payload, size_t size, uint64_t *ret_lsn, struct error *err)
{
	const size_t room = WAL_ENTRY_HEAD + WAL_HEAD_SIZE_MAX + size;
	uint32_t encoded;
	uint8_t *at;
	int rc = -1;

	if (wal->read_only)
		return error_set(err, EBADF, "%s: opened for reading", wal->dir);
	if (size > WAL_PAYLOAD_MAX)
		return error_set(err, EMSGSIZE, "%s: a payload of %zu bytes, at most %u are allowed", wal->dir, size,
		    WAL_PAYLOAD_MAX);
	pthread_mutex_lock(&wal->lock);
	while (!wal->failed.code && wal->staged.used + room > STAGED_MAX) {
		if (may_lead(wal))
			lead(wal);
		else
			wait_idle(wal);
	}
	if (wal->failed.code) {
		refuse(wal, err);
		goto out;
	}
	if (reserve(wal, room, err) < 0)
		goto out;
	at = wal->staged.bytes + wal->staged.used;
	encoded = (uint32_t)record_encode(at + WAL_ENTRY_HEAD, wal->next_lsn, wal->epoch, kind, payload, size);
	memcpy(at, &encoded, sizeof encoded);
	wal->staged.used += WAL_ENTRY_HEAD + encoded;
	if (ret_lsn)
		*ret_lsn = wal->next_lsn;
	wal->next_lsn++;
	rc = 0;
out:
	pthread_mutex_unlock(&wal->lock);
	return rc;
}

/* What the first of a batch knows of how it gathers. */
struct watch {
	bool mine;
	uint64_t since_ns; /* when it began */
	uint64_t seen;     /* who had come when it last looked */
};

/*
 * For how long this thread is to sleep while its batch gathers: 0 is without end, since another one watches. False: the
 * batch is to wait no longer. Waiting is worth a part of a commit's time after each who has come, and not more than a
 * commit altogether. With the lock held.
 */
static bool gathers(struct wal *wal, struct watch *watch, uint64_t *ret_ns)
{
	const uint64_t all = wal->commit_ns < GATHER_NS_MAX ? wal->commit_ns : GATHER_NS_MAX;

	*ret_ns = 0;
	if (wal->syncers >= wal->expected || !all)
		return false;
	if (!watch->mine && wal->watched == wal->batch)
		return true;
	if (!watch->mine) {
		*watch = (struct watch){.mine = true, .since_ns = now_ns()};
		wal->watched = wal->batch;
	} else if (wal->syncers == watch->seen || now_ns() - watch->since_ns >= all) {
		return false;
	}
	watch->seen = wal->syncers;
	*ret_ns = all / 4 + 1;
	return true;
}

/* Leads, or sleeps until another leader has served. With the lock held; *ret_locked says whether it is still. */
static void wait_durable(struct wal *wal, uint64_t lsn, bool *ret_locked)
{
	const bool flying = lsn <= wal->flying_lsn;
	const uint64_t batch = flying ? wal->batch - 1 : wal->batch;
	struct wal_word *word = word_of(wal, batch);
	struct watch watch = {0};

	*ret_locked = true;
	if (!flying)
		wal->syncers++;
	while (!wal->failed.code && atomic_load(&wal->durable_lsn) < lsn) {
		uint64_t limit_ns = 0;
		uint32_t seen;

		if (may_lead(wal) && !gathers(wal, &watch, &limit_ns)) {
			lead(wal);
			continue;
		}
		if (watch.mine && !limit_ns) { /* somebody commits; who is woken then may watch again */
			watch.mine = false;
			if (wal->watched == batch)
				wal->watched = WAL_NO_BATCH;
		}
		seen = atomic_load(&word->value);
		pthread_mutex_unlock(&wal->lock);
		word_wait(word, seen, limit_ns);
		*ret_locked = atomic_load(&wal->durable_lsn) < lsn;
		if (!*ret_locked)
			return;
		pthread_mutex_lock(&wal->lock);
	}
}

int wal_sync(struct wal *wal, uint64_t lsn, uint64_t *ret_durable, struct error *err)
{
	bool locked = true;
	int rc = -1;

	if (wal->read_only)
		return error_set(err, EBADF, "%s: opened for reading", wal->dir);
	pthread_mutex_lock(&wal->lock);
	if (wal->failed.code && (lsn == 0 || lsn > atomic_load(&wal->durable_lsn))) {
		refuse(wal, err);
		goto out;
	}
	if (lsn == 0)
		lsn = wal->next_lsn - 1;
	if (lsn >= wal->next_lsn) {
		error_set(err, EINVAL, "%s: LSN %llu was never appended", wal->dir, (unsigned long long)lsn);
		goto out;
	}
	if (atomic_load(&wal->durable_lsn) < lsn)
		wait_durable(wal, lsn, &locked);
	if (atomic_load(&wal->durable_lsn) < lsn) {
		error_set(err, wal->failed.code, "%s", wal->failed.text);
		goto out;
	}
	if (ret_durable)
		*ret_durable = atomic_load(&wal->durable_lsn);
	rc = 0;
out:
	if (locked)
		pthread_mutex_unlock(&wal->lock);
	return rc;
}

uint64_t wal_durable(const struct wal *wal)
{
	return atomic_load(&wal->durable_lsn);
}
