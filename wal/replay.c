/* SPDX-License-Identifier: Apache-2.0 */
/* Reading: the walk along the chain, and replay and verify on top of it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wal/internal.h"

static int bad(struct wal *wal, struct chain_walk *walk, uint64_t lsn, const char *reason, struct error *err)
{
	walk->bad_lsn = lsn;
	return error_set(
	    err, EILSEQ, "%s/%s: damaged at LSN %llu: %s", wal->dir, WAL_DATA_FILE, (unsigned long long)lsn, reason);
}

/* Places the cursor on the first record to visit; the hash before it comes from the one before, or from the base. */
static int chain_begin(struct wal *wal, MDB_cursor *cursor, const struct wal_state *state, struct chain_walk *walk,
    MDB_val *key, MDB_val *value, struct wal_hash *ret_previous, struct error *err)
{
	size_t before = walk->first - 1;
	int rc;

	if (walk->first == state->base_lsn + 1) {
		*ret_previous = state->base;
		return mdb_cursor_get(cursor, key, value, MDB_FIRST);
	}
	*key = (MDB_val){sizeof before, &before};
	rc = mdb_cursor_get(cursor, key, value, MDB_SET_KEY);
	if (rc == MDB_NOTFOUND || (rc == 0 && value->mv_size < WAL_HASH_SIZE)) {
		bad(wal, walk, before, "there is no such record", err);
		return -1;
	}
	if (rc)
		return rc;
	memcpy(ret_previous->bytes, (const uint8_t *)value->mv_data + value->mv_size - WAL_HASH_SIZE, WAL_HASH_SIZE);
	return mdb_cursor_get(cursor, key, value, MDB_NEXT);
}

/* NULL, or what is wrong with the record at `expected`. */
static const char *check_record(const MDB_val *key, const MDB_val *value, uint64_t expected, uint64_t epoch_min,
    uint64_t epoch_max, struct wal_hash *previous, struct wal_record *ret_record)
{
	const uint8_t *bytes = value->mv_data;
	struct wal_hash hash;
	const char *why;
	size_t lsn, size;

	if (key->mv_size != sizeof lsn)
		return "its key is no LSN";
	memcpy(&lsn, key->mv_data, sizeof lsn);
	if (lsn != expected)
		return lsn > expected ? "it is missing" : "it comes twice";
	if (value->mv_size <= WAL_HASH_SIZE)
		return "it is too short";
	size = value->mv_size - WAL_HASH_SIZE;
	hash = record_hash(previous, bytes, size);
	if (memcmp(hash.bytes, bytes + size, WAL_HASH_SIZE) != 0)
		return "its hash does not match its bytes and the record before it";
	why = record_decode(bytes, size, ret_record);
	if (why)
		return why;
	if (ret_record->lsn != expected)
		return "it says that it is another one";
	if (ret_record->epoch < epoch_min || ret_record->epoch > epoch_max)
		return "its epoch is out of order";
	*previous = hash;
	return NULL;
}

/* On the way past the checkpoint: is it of this chain? */
static int check_mark(
    struct wal *wal, struct chain_walk *walk, uint64_t next, const struct wal_hash *previous, struct error *err)
{
	if (!walk->checkpoint || walk->checkpoint->lsn + 1 != next ||
	    !memcmp(previous->bytes, walk->checkpoint->chain.bytes, WAL_HASH_SIZE))
		return 0;
	return bad(wal, walk, walk->checkpoint->lsn, "the checkpoint there is not of this chain", err);
}

static int chain_visit(
    struct wal *wal, MDB_cursor *cursor, const struct wal_state *state, struct chain_walk *walk, struct error *err)
{
	struct wal_record record = {0};
	struct wal_hash previous;
	uint64_t expected = walk->first, epoch = 0;
	MDB_val key, value;
	const char *why;
	int rc = chain_begin(wal, cursor, state, walk, &key, &value, &previous, err);

	if (rc == -1)
		return -1;
	if (check_mark(wal, walk, expected, &previous, err) < 0)
		return -1;
	for (; rc == 0; rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
		if (expected > state->head_lsn)
			return bad(wal, walk, expected, "it comes after the head", err);
		why = check_record(&key, &value, expected, epoch, state->epoch, &previous, &record);
		if (why)
			return bad(wal, walk, expected, why, err);
		epoch = record.epoch;
		expected++;
		walk->records++;
		if (check_mark(wal, walk, expected, &previous, err) < 0)
			return -1;
		rc = walk->visit ? walk->visit(walk->arg, &record) : 0;
		if (rc)
			return rc;
	}
	if (rc != MDB_NOTFOUND)
		return wal_mdb_error(err, rc, wal, "cannot be read");
	if (expected <= state->head_lsn)
		return bad(wal, walk, expected, "it is missing at the end", err);
	if (memcmp(previous.bytes, state->head.bytes, WAL_HASH_SIZE) != 0)
		return bad(wal, walk, state->head_lsn, "its hash is not that of the head", err);
	return 0;
}

static int walk_records(
    struct wal *wal, MDB_txn *txn, const struct wal_state *state, struct chain_walk *walk, struct error *err)
{
	MDB_cursor *cursor;
	int rc = mdb_cursor_open(txn, wal->log, &cursor);

	walk->records = 0;
	walk->bad_lsn = 0;
	if (rc)
		return wal_mdb_error(err, rc, wal, "cannot be read");
	rc = chain_visit(wal, cursor, state, walk, err);
	mdb_cursor_close(cursor);
	return rc;
}

int chain_walk(struct wal *wal, MDB_txn *txn, const struct wal_state *state, struct chain_walk *walk, struct error *err)
{
	char reason[192];
	const char *why = wal_snapshot_wrong(txn, state, reason, sizeof reason);

	if (why) { /* refused in any case: for the more precise reason, if there is one */
		walk->first = state->base_lsn + 1;
		walk->visit = NULL;
		if (walk_records(wal, txn, state, walk, err) < 0)
			return -1;
		return bad(wal, walk, state->head_lsn + 1, why, err);
	}
	walk->records = 0;
	walk->bad_lsn = 0;
	if (walk->first <= state->base_lsn)
		walk->first = state->base_lsn + 1;
	return walk->first > state->head_lsn + 1 ? 0 : walk_records(wal, txn, state, walk, err);
}

int chain_verify(struct wal *wal, MDB_txn *txn, const struct wal_state *state, struct chain_walk *walk,
    struct wal_checkpoint *ret_checkpoint, struct error *err)
{
	if (state->checkpoint_lsn) {
		if (checkpoint_get(wal, txn, state, ret_checkpoint, err) < 0 ||
		    checkpoint_read(wal, txn, ret_checkpoint, NULL, err) < 0) {
			walk->bad_lsn = state->checkpoint_lsn;
			return -1;
		}
		walk->checkpoint = ret_checkpoint;
	}
	return chain_walk(wal, txn, state, walk, err);
}

/* The checkpoint to the visitor; it outlives the call, for the walk. */
static int visit_checkpoint(struct wal *wal, MDB_txn *txn, const struct wal_state *state, struct chain_walk *walk,
    struct wal_checkpoint *checkpoint, struct error *err)
{
	struct wal_record record = {.checkpoint = true};
	uint8_t *payload;
	int rc;

	if (checkpoint_get(wal, txn, state, checkpoint, err) < 0)
		return -1;
	payload = malloc(checkpoint->size + 1);
	if (!payload)
		return error_set(err, ENOMEM, "%s: no memory for a checkpoint of %llu bytes", wal->dir,
		    (unsigned long long)checkpoint->size);
	rc = checkpoint_read(wal, txn, checkpoint, payload, err);
	if (rc == 0) {
		record.lsn = checkpoint->lsn;
		record.epoch = checkpoint->epoch;
		record.payload = payload;
		record.size = checkpoint->size;
		rc = walk->visit(walk->arg, &record);
	}
	free(payload);
	walk->first = checkpoint->lsn + 1;
	walk->checkpoint = checkpoint;
	return rc;
}

static int replay(struct wal *wal, MDB_txn *txn, struct chain_walk *walk, struct error *err)
{
	struct wal_checkpoint checkpoint;
	struct wal_state state;
	int rc = 0;

	if (wal_get_state(wal, txn, &state, err) < 0)
		return -1;
	if (wal->read_only) {
		atomic_store(&wal->durable_lsn, state.head_lsn);
		atomic_store(&wal->base_lsn, state.base_lsn);
		atomic_store(&wal->checkpoint_lsn, state.checkpoint_lsn);
	}
	if (walk->first && walk->first <= state.base_lsn)
		return error_set(err, ERANGE, "%s: LSN %llu has been trimmed; the first is %llu", wal->dir,
		    (unsigned long long)walk->first, (unsigned long long)state.base_lsn + 1);
	if (!walk->first && state.checkpoint_lsn)
		rc = visit_checkpoint(wal, txn, &state, walk, &checkpoint, err);
	rc = rc ? rc : chain_walk(wal, txn, &state, walk, err);
	walk->checkpoint = NULL;
	return rc;
}

int wal_replay(struct wal *wal, uint64_t first, wal_visit_fn visit, void *arg, struct error *err)
{
	struct chain_walk walk = {.first = first, .visit = visit, .arg = arg};
	MDB_txn *txn;
	int rc;

	if (wal_read_begin(wal, &txn, err) < 0)
		return -1;
	rc = replay(wal, txn, &walk, err);
	wal_read_end(wal, txn);
	return rc;
}
