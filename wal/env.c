/* SPDX-License-Identifier: Apache-2.0 */
/* What touches LMDB on everyone's behalf: its errors in our words, reading, the state. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "wal/internal.h"

int wal_mdb_code(int rc)
{
	switch (rc) {
	case MDB_INVALID:
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_VERSION_MISMATCH:
	case MDB_INCOMPATIBLE:
	case MDB_NOTFOUND:
	case MDB_BAD_TXN: /* it met such a page before */
	case MDB_BAD_VALSIZE:
		return EILSEQ;
	case MDB_MAP_FULL:
		return ENOSPC;
	case MDB_READERS_FULL:
		return EAGAIN;
	default:
		return rc > 0 ? rc : EIO;
	}
}

int wal_mdb_error(struct error *err, int rc, const struct wal *wal, const char *doing)
{
	return error_set(err, wal_mdb_code(rc), "%s/%s: %s: %s", wal->dir, WAL_DATA_FILE, doing, mdb_strerror(rc));
}

/* The writer has grown it. A failure leaves no map at all. */
static int follow_map(struct wal *wal)
{
	int rc = mdb_env_set_mapsize(wal->env, 0);

	if (rc)
		atomic_store(&wal->unmapped, true);
	return rc;
}

int wal_read_begin(struct wal *wal, MDB_txn **ret_txn, struct error *err)
{
	int rc, dead, tries = 0;

	pthread_rwlock_rdlock(&wal->map);
	for (;;) {
		if (atomic_load(&wal->unmapped)) {
			rc = ENOMEM;
			break;
		}
		rc = mdb_txn_begin(wal->env, NULL, MDB_RDONLY, ret_txn);
		if (rc == 0)
			return 0;
		if (++tries > 2)
			break;
		if (rc == MDB_MAP_RESIZED && wal->read_only) /* the writer has grown it: follow */
			rc = follow_map(wal);
		else if (rc == MDB_READERS_FULL)
			rc = mdb_reader_check(wal->env, &dead);
		if (rc)
			break;
	}
	pthread_rwlock_unlock(&wal->map);
	return wal_mdb_error(err, rc, wal, "cannot be read");
}

void wal_read_end(struct wal *wal, MDB_txn *txn)
{
	mdb_txn_abort(txn);
	pthread_rwlock_unlock(&wal->map);
}

int wal_get_state(struct wal *wal, MDB_txn *txn, struct wal_state *ret_state, struct error *err)
{
	char name[] = WAL_STATE_NAME;
	MDB_val key = {sizeof name - 1, name}, value;
	int rc = mdb_get(txn, wal->root, &key, &value);
	const bool old = rc == MDB_NOTFOUND;
	uint64_t format;
	const char *why;

	if (old)
		rc = mdb_get(txn, wal->meta, &key, &value);
	if (rc && rc != MDB_NOTFOUND)
		return wal_mdb_error(err, rc, wal, "cannot be read");
	why = rc ? "its meta is empty" : state_decode(value.mv_data, value.mv_size, ret_state, &format);
	if (!why && old == (format == WAL_STATE_FORMAT))
		why = "its meta is where that of another version belongs";
	return why ? error_set(err, EILSEQ, "%s/%s: %s", wal->dir, WAL_DATA_FILE, why) : 0;
}

int wal_put_state(struct wal *wal, MDB_txn *txn, struct wal_state *state)
{
	uint8_t bytes[WAL_STATE_SIZE];
	char name[] = WAL_STATE_NAME;
	MDB_val key = {sizeof name - 1, name}, value = {sizeof bytes, bytes};

	state->txn = mdb_txn_id(txn);
	state_encode(bytes, state);
	return mdb_put(txn, wal->root, &key, &value, 0);
}

int wal_move_state(struct wal *wal, MDB_txn *txn)
{
	char name[] = WAL_STATE_NAME;
	MDB_val key = {sizeof name - 1, name};
	int rc = mdb_del(txn, wal->meta, &key, NULL);

	return rc == MDB_NOTFOUND ? 0 : rc;
}

const char *wal_snapshot_wrong(MDB_txn *txn, const struct wal_state *state, char *reason, size_t reason_size)
{
	uint64_t id = mdb_txn_id(txn);

	/* a log that mdb_copy has made compact begins again with transaction 1 */
	if (!state->txn || state->txn == id || id == 1)
		return NULL;
	snprintf(reason, reason_size,
	    "its first pages are of transaction %llu and what they lead to is of transaction %llu (a torn write of "
	    "them, "
	    "or a change by another program)",
	    (unsigned long long)id, (unsigned long long)state->txn);
	return reason;
}
