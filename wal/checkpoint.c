/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoint and trim. A checkpoint's payload lies in `meta`, in chunks of one page each, in one of two slots; its
 * header names the slot, and the transaction that writes the header is the one in which it takes force. So a crash
 * leaves the old checkpoint or the new one, and perhaps chunks in the other slot, which the next one clears first.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "wal/internal.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define CHUNK_KEY_SIZE  6u
#define CHUNKS_PER_TXN  256u /* about 1 MiB */
#define RECORDS_PER_TXN 4096u
#define TRIMMED_PER_TXN (4u << 20) /* bytes */

static char header_name[] = "checkpoint";

static void chunk_key(uint8_t key[CHUNK_KEY_SIZE], uint64_t slot, uint64_t number)
{
	uint32_t big = htobe32((uint32_t)number);

	key[0] = 'c';
	key[1] = (uint8_t)('0' + slot);
	memcpy(key + 2, &big, sizeof big);
}

static bool key_in_slot(const MDB_val *key, uint64_t slot)
{
	const uint8_t *bytes = key->mv_data;

	return key->mv_size == CHUNK_KEY_SIZE && bytes[0] == 'c' && bytes[1] == (uint8_t)('0' + slot);
}

static uint64_t chunk_count(uint64_t size)
{
	return (size + WAL_CHUNK_SIZE - 1) / WAL_CHUNK_SIZE;
}

static size_t chunk_size(uint64_t size, uint64_t number)
{
	uint64_t left = size - number * WAL_CHUNK_SIZE;

	return left < WAL_CHUNK_SIZE ? (size_t)left : WAL_CHUNK_SIZE;
}

static void content_begin(XXH3_state_t *hash, const struct wal_checkpoint *checkpoint)
{
	uint8_t bytes[WAL_CHECKPOINT_SIZE];
	struct wal_checkpoint bare = *checkpoint;

	memset(&bare.content, 0, sizeof bare.content);
	bare.slot = 0; /* where it lies is not what it says */
	checkpoint_encode(bytes, &bare);
	XXH3_128bits_reset(hash);
	XXH3_128bits_update(hash, bytes, sizeof bytes);
}

static struct wal_hash content_end(XXH3_state_t *hash)
{
	XXH128_canonical_t bytes;
	struct wal_hash content;

	XXH128_canonicalFromHash(&bytes, XXH3_128bits_digest(hash));
	memcpy(content.bytes, bytes.digest, sizeof content.bytes);
	return content;
}

/* --- reading --- */

static int damaged(struct wal *wal, uint64_t lsn, const char *why, struct error *err)
{
	return error_set(err, EILSEQ, "%s/%s: the checkpoint of LSN %llu is damaged: %s", wal->dir, WAL_DATA_FILE,
	    (unsigned long long)lsn, why);
}

int checkpoint_get(struct wal *wal, MDB_txn *txn, const struct wal_state *state, struct wal_checkpoint *ret_checkpoint,
    struct error *err)
{
	MDB_val key = {sizeof header_name - 1, header_name}, value;
	int rc = mdb_get(txn, wal->meta, &key, &value);
	const char *why;

	if (rc && rc != MDB_NOTFOUND)
		return wal_mdb_error(err, rc, wal, "cannot be read");
	why = rc ? "it is missing" : checkpoint_decode(value.mv_data, value.mv_size, ret_checkpoint);
	if (!why && ret_checkpoint->lsn != state->checkpoint_lsn)
		why = "it is that of another LSN";
	if (!why && ret_checkpoint->epoch > state->epoch)
		why = "its epoch is out of order";
	return why ? damaged(wal, state->checkpoint_lsn, why, err) : 0;
}

int checkpoint_read(
    struct wal *wal, MDB_txn *txn, const struct wal_checkpoint *checkpoint, uint8_t *to, struct error *err)
{
	const uint64_t count = chunk_count(checkpoint->size);
	struct wal_hash content;
	XXH3_state_t hash;
	uint64_t i;

	content_begin(&hash, checkpoint);
	for (i = 0; i < count; i++) {
		const size_t size = chunk_size(checkpoint->size, i);
		uint8_t bytes[CHUNK_KEY_SIZE];
		MDB_val key = {sizeof bytes, bytes}, value;
		int rc;

		chunk_key(bytes, checkpoint->slot, i);
		rc = mdb_get(txn, wal->meta, &key, &value);
		if (rc && rc != MDB_NOTFOUND)
			return wal_mdb_error(err, rc, wal, "cannot be read");
		if (rc || value.mv_size != size)
			return damaged(
			    wal, checkpoint->lsn, rc ? "a part is missing" : "a part has the wrong size", err);
		XXH3_128bits_update(&hash, value.mv_data, size);
		if (to)
			memcpy(to + i * WAL_CHUNK_SIZE, value.mv_data, size);
	}
	content = content_end(&hash);
	if (memcmp(content.bytes, checkpoint->content.bytes, WAL_HASH_SIZE) != 0)
		return damaged(wal, checkpoint->lsn, "its hash does not match its bytes", err);
	return 0;
}

/* --- writing --- */

enum phase { CLEAR_BEFORE, WRITE, CLEAR_AFTER, DONE };

struct writing {
	const uint8_t *payload;
	struct wal_checkpoint checkpoint;
	enum phase phase;
	uint64_t written; /* chunks */
};

/* Removes chunks of a slot while `*room` lasts; *ret_left: there are more. */
static int clear_slot(struct wal *wal, MDB_txn *txn, uint64_t slot, unsigned *room, bool *ret_left)
{
	uint8_t bytes[CHUNK_KEY_SIZE];
	MDB_cursor *cursor;
	MDB_val key, value;
	int rc = mdb_cursor_open(txn, wal->meta, &cursor);

	if (rc)
		return rc;
	*ret_left = false;
	for (;;) {
		chunk_key(bytes, slot, 0);
		key = (MDB_val){sizeof bytes, bytes};
		rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
		if (rc || !key_in_slot(&key, slot))
			break;
		if (!*room) {
			*ret_left = true;
			break;
		}
		rc = mdb_cursor_del(cursor, 0);
		if (rc)
			break;
		--*room;
	}
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

/* The hash of the record `lsn`, which is the base if it has been trimmed. */
static int chain_hash(struct wal *wal, MDB_txn *txn, const struct wal_state *state, uint64_t lsn,
    struct wal_hash *ret_hash, struct error *err)
{
	size_t at = lsn;
	MDB_val key = {sizeof at, &at}, value;
	int rc;

	if (lsn == state->base_lsn) {
		*ret_hash = state->base;
		return 0;
	}
	rc = mdb_get(txn, wal->log, &key, &value);
	if (rc == MDB_NOTFOUND || (rc == 0 && value.mv_size < WAL_HASH_SIZE))
		return error_set(err, EILSEQ, "%s/%s: damaged at LSN %llu: there is no such record", wal->dir,
		    WAL_DATA_FILE, (unsigned long long)lsn);
	if (rc)
		return rc;
	memcpy(ret_hash->bytes, (const uint8_t *)value.mv_data + value.mv_size - WAL_HASH_SIZE, WAL_HASH_SIZE);
	return 0;
}

/* Which slot is free, what the header says. The first thing that a checkpoint does in its first transaction. */
static int begin_writing(
    struct wal *wal, MDB_txn *txn, const struct wal_state *state, struct writing *writing, struct error *err)
{
	struct wal_checkpoint *checkpoint = &writing->checkpoint, before = {0};
	XXH3_state_t hash;
	int rc;

	if (checkpoint->lsn < state->checkpoint_lsn || checkpoint->lsn > state->head_lsn)
		return error_set(err, EINVAL, "%s: a checkpoint of LSN %llu: expected one from %llu to %llu", wal->dir,
		    (unsigned long long)checkpoint->lsn, (unsigned long long)state->checkpoint_lsn,
		    (unsigned long long)state->head_lsn);
	if (state->checkpoint_lsn) {
		if (checkpoint_get(wal, txn, state, &before, err) < 0)
			return -1;
		checkpoint->slot = !before.slot;
	}
	checkpoint->epoch = wal->epoch;
	rc = chain_hash(wal, txn, state, checkpoint->lsn, &checkpoint->chain, err);
	if (rc)
		return rc;
	content_begin(&hash, checkpoint);
	if (checkpoint->size)
		XXH3_128bits_update(&hash, writing->payload, checkpoint->size);
	checkpoint->content = content_end(&hash);
	return 0;
}

static int put_chunk(struct wal *wal, MDB_txn *txn, const struct writing *writing)
{
	uint8_t bytes[CHUNK_KEY_SIZE];
	MDB_val key = {sizeof bytes, bytes}, value = {chunk_size(writing->checkpoint.size, writing->written), NULL};
	int rc;

	chunk_key(bytes, writing->checkpoint.slot, writing->written);
	rc = mdb_put(txn, wal->meta, &key, &value, MDB_RESERVE);
	if (rc == 0)
		memcpy(value.mv_data, writing->payload + writing->written * WAL_CHUNK_SIZE, value.mv_size);
	return rc;
}

static int put_header(struct wal *wal, MDB_txn *txn, const struct wal_checkpoint *checkpoint)
{
	uint8_t bytes[WAL_CHECKPOINT_SIZE];
	MDB_val key = {sizeof header_name - 1, header_name}, value = {sizeof bytes, bytes};

	checkpoint_encode(bytes, checkpoint);
	return mdb_put(txn, wal->meta, &key, &value, 0);
}

/* One transaction's worth of it. */
static int write_some(void *arg, struct wal *wal, MDB_txn *txn, struct wal_state *state, struct error *err)
{
	struct writing *writing = arg;
	const uint64_t chunks = chunk_count(writing->checkpoint.size);
	unsigned room = CHUNKS_PER_TXN;
	bool left = false;
	int rc;

	if (writing->phase == CLEAR_BEFORE) {
		if ((rc = begin_writing(wal, txn, state, writing, err)) != 0 ||
		    (rc = clear_slot(wal, txn, writing->checkpoint.slot, &room, &left)) != 0)
			return rc;
		if (left)
			return 0;
		writing->phase = WRITE;
	}
	if (writing->phase == WRITE) {
		for (; writing->written < chunks && room; writing->written++, room--)
			if ((rc = put_chunk(wal, txn, writing)) != 0)
				return rc;
		if (writing->written < chunks || !room)
			return 0;
		rc = put_header(wal, txn, &writing->checkpoint);
		if (rc)
			return rc;
		state->checkpoint_lsn = writing->checkpoint.lsn;
		writing->phase = CLEAR_AFTER;
	}
	rc = clear_slot(wal, txn, !writing->checkpoint.slot, &room, &left);
	if (rc == 0 && !left)
		writing->phase = DONE;
	return rc;
}

/* A transaction that did not come to its commit is done again from where it began. */
struct attempt {
	wal_change_fn change;
	void *progress, *trial;
	size_t size;
};

static int try_change(void *arg, struct wal *wal, MDB_txn *txn, struct wal_state *state, struct error *err)
{
	struct attempt *attempt = arg;

	memcpy(attempt->trial, attempt->progress, attempt->size);
	return attempt->change(attempt->trial, wal, txn, state, err);
}

static int advance(struct wal *wal, struct attempt *attempt, struct error *err)
{
	if (wal_upkeep(wal, try_change, attempt, err) < 0)
		return -1;
	memcpy(attempt->progress, attempt->trial, attempt->size);
	return 0;
}

int wal_checkpoint(struct wal *wal, uint64_t lsn, const void *payload, size_t size, struct error *err)
{
	struct writing writing = {.payload = payload, .checkpoint = {.lsn = lsn, .size = size}}, trial;
	struct attempt attempt = {write_some, &writing, &trial, sizeof writing};
	int rc = 0;

	if (wal->read_only)
		return error_set(err, EBADF, "%s: opened for reading", wal->dir);
	if (size > WAL_CHECKPOINT_MAX)
		return error_set(err, EMSGSIZE, "%s: a checkpoint of %zu bytes, at most %zu are allowed", wal->dir,
		    size, WAL_CHECKPOINT_MAX);
	if (lsn == 0)
		return error_set(err, EINVAL, "%s: a checkpoint of no record", wal->dir);
	pthread_mutex_lock(&wal->upkeep);
	while (rc == 0 && writing.phase != DONE)
		rc = advance(wal, &attempt, err);
	pthread_mutex_unlock(&wal->upkeep);
	return rc;
}

/* --- trim --- */

struct trimming {
	uint64_t lsn; /* 0: up to the checkpoint */
	bool done;
};

static int trim_records(struct wal *wal, MDB_cursor *cursor, struct wal_state *state, uint64_t upto, struct error *err)
{
	size_t trimmed = 0;
	unsigned i;

	for (i = 0; i < RECORDS_PER_TXN && trimmed < TRIMMED_PER_TXN && state->base_lsn < upto; i++) {
		MDB_val key, value;
		size_t lsn = 0;
		int rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);

		if (rc && rc != MDB_NOTFOUND)
			return rc;
		if (rc == 0 && key.mv_size == sizeof lsn)
			memcpy(&lsn, key.mv_data, sizeof lsn);
		if (lsn != state->base_lsn + 1 || value.mv_size < WAL_HASH_SIZE)
			return error_set(err, EILSEQ, "%s/%s: damaged at LSN %llu: it is missing", wal->dir,
			    WAL_DATA_FILE, (unsigned long long)state->base_lsn + 1);
		state->base_lsn = lsn;
		memcpy(
		    state->base.bytes, (const uint8_t *)value.mv_data + value.mv_size - WAL_HASH_SIZE, WAL_HASH_SIZE);
		trimmed += value.mv_size;
		rc = mdb_cursor_del(cursor, 0);
		if (rc)
			return rc;
	}
	return 0;
}

static int trim_some(void *arg, struct wal *wal, MDB_txn *txn, struct wal_state *state, struct error *err)
{
	struct trimming *trimming = arg;
	MDB_cursor *cursor;
	int rc;

	if (trimming->lsn > state->checkpoint_lsn)
		return error_set(err, EINVAL, "%s: trim up to LSN %llu: the last checkpoint is of LSN %llu", wal->dir,
		    (unsigned long long)trimming->lsn, (unsigned long long)state->checkpoint_lsn);
	if (!trimming->lsn)
		trimming->lsn = state->checkpoint_lsn;
	rc = mdb_cursor_open(txn, wal->log, &cursor);
	if (rc)
		return rc;
	rc = trim_records(wal, cursor, state, trimming->lsn, err);
	mdb_cursor_close(cursor);
	trimming->done = state->base_lsn >= trimming->lsn;
	return rc;
}

int wal_trim(struct wal *wal, uint64_t lsn, struct error *err)
{
	struct trimming trimming = {.lsn = lsn}, trial;
	struct attempt attempt = {trim_some, &trimming, &trial, sizeof trimming};
	int rc = 0;

	if (wal->read_only)
		return error_set(err, EBADF, "%s: opened for reading", wal->dir);
	pthread_mutex_lock(&wal->upkeep);
	/* what is trimmed already is not worth a transaction */
	trimming.done = (lsn ? lsn : atomic_load(&wal->checkpoint_lsn)) <= atomic_load(&wal->base_lsn);
	while (rc == 0 && !trimming.done)
		rc = advance(wal, &attempt, err);
	pthread_mutex_unlock(&wal->upkeep);
	return rc;
}

uint64_t wal_first(const struct wal *wal)
{
	return atomic_load(&wal->base_lsn) + 1;
}

uint64_t wal_checkpoint_lsn(const struct wal *wal)
{
	return atomic_load(&wal->checkpoint_lsn);
}
