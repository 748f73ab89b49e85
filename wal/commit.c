/* SPDX-License-Identifier: Apache-2.0 */
/* One transaction: records from the batch to the disk, or another change; retried where that is right. */
#include <errno.h>
#include <string.h>

#include "wal/internal.h"

static bool is_one(const struct wal_batch *batch)
{
	uint32_t size;

	if (batch->used < WAL_ENTRY_HEAD)
		return false;
	memcpy(&size, batch->bytes, sizeof size);
	return batch->used == WAL_ENTRY_HEAD + size;
}

int wal_put_records(void *arg, struct wal *wal, MDB_txn *txn, struct wal_state *state, struct error *err)
{
	struct wal_batch *batch = arg;
	uint8_t *at = batch->bytes, *end = batch->bytes + batch->used;
	MDB_cursor *cursor = NULL; /* one record is not worth its memory */
	int rc = is_one(batch) ? 0 : mdb_cursor_open(txn, wal->log, &cursor);

	(void)err;
	while (rc == 0 && at < end) {
		size_t lsn = state->head_lsn + 1;
		MDB_val key = {sizeof lsn, &lsn}, value;
		uint8_t *room = at + sizeof(uint32_t);
		uint32_t size;

		memcpy(&size, at, sizeof size);
		state->head = record_hash_in_place(room, &state->head, size);
		state->head_lsn = lsn;
		value = (MDB_val){size + WAL_HASH_SIZE, NULL};
		rc = cursor ? mdb_cursor_put(cursor, &key, &value, MDB_APPEND | MDB_RESERVE)
			    : mdb_put(txn, wal->log, &key, &value, MDB_APPEND | MDB_RESERVE);
		if (rc)
			break;
		memcpy(value.mv_data, room + WAL_HASH_SIZE, size);
		memcpy((uint8_t *)value.mv_data + size, state->head.bytes, WAL_HASH_SIZE);
		at += WAL_ENTRY_HEAD + size;
	}
	if (cursor)
		mdb_cursor_close(cursor);
	return rc;
}

/* What this writer's last commit left is what there is: LMDB numbers transactions without a gap, nobody came between. */
static bool nobody_since(const struct wal *wal, MDB_txn *txn)
{
	return wal->state.txn != 0 && mdb_txn_id(txn) == wal->state.txn + 1;
}

/* One transaction. An LMDB code, or -1 with *err filled (fenced). *ret_committing: it came as far as the commit. */
static int commit_once(struct wal *wal, wal_change_fn change, void *arg, size_t needed, struct wal_state *ret_state,
    bool *ret_committing, struct error *err)
{
	struct wal_state state;
	MDB_txn *txn;
	int rc;

	*ret_committing = false;
	if (atomic_load(&wal->unmapped))
		return ENOMEM;
	rc = mdb_txn_begin(wal->env, NULL, 0, &txn);
	if (rc == MDB_MAP_RESIZED)
		return error_set(err, ESTALE, "%s: another writer has made the log larger, this one is of epoch %llu",
		    wal->dir, (unsigned long long)wal->epoch);
	if (rc)
		return rc;
	state = wal->state;
	rc = nobody_since(wal, txn) ? 0 : wal_get_state(wal, txn, &state, err);
	if (rc)
		goto abort;
	if (state.epoch != wal->epoch || state.head_lsn != wal->state.head_lsn) {
		rc = error_set(err, ESTALE, "%s: epoch %llu has the log, this writer is of epoch %llu", wal->dir,
		    (unsigned long long)state.epoch, (unsigned long long)wal->epoch);
		goto abort;
	}
	wal_write_ahead(wal, needed);
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

int wal_commit(struct wal *wal, wal_change_fn change, void *arg, size_t needed, bool *ret_unknown, struct error *err)
{
	bool cleared = false, grown = false;
	int interrupted = 0;

	for (;;) {
		int rc = commit_once(wal, change, arg, needed, &wal->state, ret_unknown, err);

		if (rc == 0 || rc == -1)
			return rc;
		if (rc == EINTR && ++interrupted < WAL_INTR_TRIES)
			continue;
		if (rc == EIO && wal_disk_is_full(wal, needed))
			rc = ENOSPC;
		if (rc != MDB_MAP_FULL)
			return wal_mdb_error(err, rc, wal, "cannot be written");
		*ret_unknown = false;
		if (wal_make_room(wal, needed, &cleared, &grown, err) < 0)
			return -1;
	}
}
