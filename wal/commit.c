/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing: records are staged in memory, and the first thread that must have its own on disk takes all that are there
 * with it (the leader); who comes meanwhile waits, and one of them leads the next commit.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "wal/internal.h"

#define STAGED_MAX    (16u << 20) /* bytes; beyond it wal_append commits by itself */
#define ENTRY_HEAD    (sizeof(uint32_t) + WAL_HASH_SIZE)
#define INTR_TRIES    8
#define GATHER_YIELDS 8
#define GROWTH_SLACK  (1u << 20) /* bytes, for LMDB's own pages */
#define UPKEEP_SLACK  (2u << 20) /* bytes, that one transaction of a checkpoint or a trim may need */

int wal_staging_init(struct wal *wal, struct error *err)
{
	int rc = pthread_mutex_init(&wal->lock, NULL);

	if (rc)
		goto fail;
	rc = pthread_cond_init(&wal->done, NULL);
	if (rc)
		goto fail_cond;
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
	pthread_cond_destroy(&wal->done);
fail_cond:
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
	pthread_cond_destroy(&wal->done);
	pthread_mutex_destroy(&wal->lock);
}

/* More address space, and a file as long as the map: a hole costs nothing, and what LMDB maps can never end in SIGBUS. */
static int grow(struct wal *wal, size_t needed, struct error *err)
{
	size_t size = wal->map_size;
	int rc, fd;

	do {
		if (size >= wal->map_size_max)
			return error_set(
			    err, ENOSPC, "%s: the log may not grow beyond %zu bytes", wal->dir, wal->map_size_max);
		size = size > wal->map_size_max / 2 ? wal->map_size_max : 2 * size;
	} while (size - wal->map_size < needed && size < wal->map_size_max);
	rc = mdb_env_get_fd(wal->env, &fd);
	if (rc)
		return wal_mdb_error(err, rc, wal, "has no file");
	if (ftruncate(fd, (off_t)size) < 0 || fsync(fd) < 0)
		return error_set(
		    err, errno, "%s/%s: cannot grow to %zu bytes: %s", wal->dir, WAL_DATA_FILE, size, strerror(errno));
	pthread_rwlock_wrlock(&wal->map);
	rc = mdb_env_set_mapsize(wal->env, size);
	pthread_rwlock_unlock(&wal->map);
	if (rc)
		return wal_mdb_error(err, rc, wal, "cannot be mapped at its new size");
	wal->map_size = size;
	return 0;
}

/* Chains and stores each record of the batch; the chain's end goes to *state. A wal_change_fn. */
static int put_records(void *arg, struct wal *wal, MDB_txn *txn, struct wal_state *state, struct error *err)
{
	struct wal_batch *batch = arg;
	uint8_t *at = batch->bytes, *end = batch->bytes + batch->used;
	MDB_cursor *cursor;
	int rc = mdb_cursor_open(txn, wal->log, &cursor);

	(void)err;
	if (rc)
		return rc;
	while (at < end) {
		size_t lsn = state->head_lsn + 1;
		MDB_val key = {sizeof lsn, &lsn}, value;
		uint8_t *room = at + sizeof(uint32_t);
		uint32_t size;

		memcpy(&size, at, sizeof size);
		state->head = record_hash_in_place(room, &state->head, size);
		state->head_lsn = lsn;
		value = (MDB_val){size + WAL_HASH_SIZE, NULL};
		rc = mdb_cursor_put(cursor, &key, &value, MDB_APPEND | MDB_RESERVE);
		if (rc)
			break;
		memcpy(value.mv_data, room + WAL_HASH_SIZE, size);
		memcpy((uint8_t *)value.mv_data + size, state->head.bytes, WAL_HASH_SIZE);
		at += ENTRY_HEAD + size;
	}
	mdb_cursor_close(cursor);
	return rc;
}

/* One transaction. An LMDB code, or -1 with *err filled (fenced). *ret_committing: it came as far as the commit. */
static int commit_once(struct wal *wal, wal_change_fn change, void *arg, struct wal_state *ret_state,
    bool *ret_committing, struct error *err)
{
	struct wal_state state;
	MDB_txn *txn;
	int rc = mdb_txn_begin(wal->env, NULL, 0, &txn);

	*ret_committing = false;
	if (rc)
		return rc;
	rc = wal_get_state(wal, txn, &state, err);
	if (rc)
		goto abort;
	if (state.epoch != wal->epoch || state.head_lsn != wal->state.head_lsn) {
		rc = error_set(err, ESTALE, "%s: epoch %llu has the log, this writer is of epoch %llu", wal->dir,
		    (unsigned long long)state.epoch, (unsigned long long)wal->epoch);
		goto abort;
	}
	rc = change(arg, wal, txn, &state, err);
	if (rc)
		goto abort;
	rc = wal_put_state(wal, txn, &state);
	if (rc)
		goto abort;
	*ret_committing = true;
	rc = mdb_txn_commit(txn); /* frees the transaction, whatever it returns */
	if (rc == 0)
		*ret_state = state;
	return rc;

abort:
	mdb_txn_abort(txn);
	return rc;
}

/* What a full map asks for: pages that readers held who are gone, or else a larger map, once. */
static int make_room(struct wal *wal, size_t needed, bool *cleared, bool *grown, struct error *err)
{
	int rc, dead = 0;

	if (!*cleared) {
		*cleared = true;
		rc = mdb_reader_check(wal->env, &dead);
		if (rc)
			return wal_mdb_error(err, rc, wal, "cannot clear its stale readers");
		if (dead)
			return 0;
	}
	if (*grown)
		return wal_mdb_error(err, MDB_MAP_FULL, wal, "cannot be written");
	*grown = true;
	return grow(wal, 2 * needed + GROWTH_SLACK, err);
}

/* LMDB says EIO for a short write, and that is how a disk becomes full. */
static bool disk_is_full(const struct wal *wal, size_t needed)
{
	struct statvfs status;

	return statvfs(wal->dir, &status) == 0 && status.f_bavail * status.f_frsize < needed + GROWTH_SLACK;
}

/* Called by the one thread that has set `busy`, without the lock. *ret_unknown: what failed was the commit itself. */
static int commit_change(
    struct wal *wal, wal_change_fn change, void *arg, size_t needed, bool *ret_unknown, struct error *err)
{
	bool cleared = false, grown = false;
	int interrupted = 0;

	for (;;) {
		int rc = commit_once(wal, change, arg, &wal->state, ret_unknown, err);

		if (rc == 0 || rc == -1)
			return rc;
		if (rc == EINTR && ++interrupted < INTR_TRIES)
			continue;
		if (rc == EIO && disk_is_full(wal, needed))
			rc = ENOSPC;
		if (rc != MDB_MAP_FULL)
			return wal_mdb_error(err, rc, wal, "cannot be written");
		*ret_unknown = false;
		if (make_room(wal, needed, &cleared, &grown, err) < 0)
			return -1;
	}
}

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
	uint64_t expected = wal->waiters_last;
	bool unknown;
	int yields, rc;

	wal->busy = true;
	/* Those whom the last commit served are about to come with their next record: let them run first, or every
	 * second commit would carry one record. Their number falls to 1 when there is one thread: no wait then. */
	for (yields = 0; yields < GATHER_YIELDS && wal->waiters < expected; yields++) {
		pthread_mutex_unlock(&wal->lock);
		sched_yield();
		pthread_mutex_lock(&wal->lock);
	}
	wal->waiters_last = wal->waiters;
	batch = wal->staged;
	wal->staged = wal->flying;
	wal->staged.used = 0;
	wal->staged.count = 0;
	wal->flying = (struct wal_batch){0};
	pthread_mutex_unlock(&wal->lock);

	rc = commit_change(wal, put_records, &batch, batch.used, &unknown, &err);

	pthread_mutex_lock(&wal->lock);
	wal->flying = batch;
	wal->busy = false;
	if (rc < 0)
		wal->failed = err;
	else
		atomic_store(&wal->durable_lsn, wal->state.head_lsn);
	pthread_cond_broadcast(&wal->done);
}

int wal_upkeep(struct wal *wal, wal_change_fn change, void *arg, struct error *err)
{
	struct error cause = {0};
	bool unknown, led = false;
	int rc;

	pthread_mutex_lock(&wal->lock);
	/* those who wait for their records come in between two of these */
	while (!wal->failed.code && (wal->busy || (!led && wal->waiters))) {
		if (wal->busy) {
			pthread_cond_wait(&wal->done, &wal->lock);
			continue;
		}
		lead(wal);
		led = true;
	}
	if (wal->failed.code) {
		rc = refuse(wal, err);
		pthread_mutex_unlock(&wal->lock);
		return rc;
	}
	wal->busy = true;
	pthread_mutex_unlock(&wal->lock);

	rc = commit_change(wal, change, arg, UPKEEP_SLACK, &unknown, &cause);

	pthread_mutex_lock(&wal->lock);
	wal->busy = false;
	if (rc < 0 && (unknown || cause.code == ESTALE))
		wal->failed = cause;
	atomic_store(&wal->base_lsn, wal->state.base_lsn);
	atomic_store(&wal->checkpoint_lsn, wal->state.checkpoint_lsn);
	pthread_cond_broadcast(&wal->done);
	pthread_mutex_unlock(&wal->lock);
	return rc < 0 ? error_set(err, cause.code, "%s", cause.text) : 0;
}

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

int wal_append(struct wal *wal, uint32_t kind, const void *payload, size_t size, uint64_t *ret_lsn, struct error *err)
{
	const size_t room = ENTRY_HEAD + WAL_HEAD_SIZE_MAX + size;
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
		if (wal->busy)
			pthread_cond_wait(&wal->done, &wal->lock);
		else
			lead(wal);
	}
	if (wal->failed.code) {
		refuse(wal, err);
		goto out;
	}
	if (reserve(wal, room, err) < 0)
		goto out;
	at = wal->staged.bytes + wal->staged.used;
	encoded = (uint32_t)record_encode(at + ENTRY_HEAD, wal->next_lsn, wal->epoch, kind, payload, size);
	memcpy(at, &encoded, sizeof encoded);
	wal->staged.used += ENTRY_HEAD + encoded;
	wal->staged.count++;
	if (ret_lsn)
		*ret_lsn = wal->next_lsn;
	wal->next_lsn++;
	rc = 0;
out:
	pthread_mutex_unlock(&wal->lock);
	return rc;
}

int wal_sync(struct wal *wal, uint64_t lsn, uint64_t *ret_durable, struct error *err)
{
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
	wal->waiters++;
	while (!wal->failed.code && atomic_load(&wal->durable_lsn) < lsn) {
		if (wal->busy)
			pthread_cond_wait(&wal->done, &wal->lock);
		else
			lead(wal);
	}
	wal->waiters--;
	if (atomic_load(&wal->durable_lsn) < lsn) {
		error_set(err, wal->failed.code, "%s", wal->failed.text);
		goto out;
	}
	if (ret_durable)
		*ret_durable = atomic_load(&wal->durable_lsn);
	rc = 0;
out:
	pthread_mutex_unlock(&wal->lock);
	return rc;
}

uint64_t wal_durable(const struct wal *wal)
{
	return atomic_load(&wal->durable_lsn);
}
