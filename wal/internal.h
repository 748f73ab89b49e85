/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this room share.
 *
 * Lock order: `lock` (staging, durable, failed) is never held while LMDB is called; `map` is held for reading by every
 * read transaction and for writing while the map is grown. `state` belongs to the committing thread (busy == true).
 */
#ifndef TRITONE_WAL_INTERNAL_H
#define TRITONE_WAL_INTERNAL_H

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "wal/wal.h"

#define WAL_DATA_FILE   "data.mdb"
#define WAL_LMDB_LOCK   "lock.mdb"
#define WAL_LOCK_FILE   "writer.lock" /* held by the writer; its pid inside */
#define WAL_FORMAT_FILE "format"      /* there once the log has been created: an empty data file is then a loss */

#define WAL_HASH_SIZE     16u
#define WAL_INTR_TRIES    8   /* of a transaction that is interrupted */
#define WAL_HEAD_SIZE_MAX 48u /* what record_encode adds to a payload, at most */
#define WAL_STATE_SIZE    104u
#define WAL_STATE_FORMAT  3u /* 2 lay in `meta`, 1 had no transaction number either */
#define WAL_STATE_NAME    "state"
#define WAL_CHUNK_SIZE    4080u /* of a checkpoint: what a page of its own holds, so that any free page will do */

struct wal_hash {
	uint8_t bytes[WAL_HASH_SIZE];
};

/*
 * Beside the databases, key "state": each transaction rewrites the page that names them in any case. (Up to format 2 it
 * was in `meta`, which cost a page more; whoever opens such a log for writing moves it.) A record is `base` when all up to it have been trimmed: LSN 0, hash 0 at first.
 * base_lsn <= checkpoint_lsn <= head_lsn. Every transaction writes it, with the transaction's own number: LMDB's first
 * pages have no checksum, and one of them torn can show an old tree under a new number.
 */
struct wal_state {
	uint64_t epoch;
	uint64_t head_lsn, base_lsn, checkpoint_lsn;
	struct wal_hash head, base;
	uint64_t txn; /* LMDB's number; 0: written by a version that did not keep it */
};

/* In `meta`, key "checkpoint"; its payload in chunks, whose keys carry the slot: a new one is written beside the old. */
struct wal_checkpoint {
	uint64_t lsn, epoch, slot, size;
	struct wal_hash chain;   /* of the record `lsn` */
	struct wal_hash content; /* over all of the above and the payload */
};
#define WAL_CHECKPOINT_SIZE 96u

/* Records on their way to the disk: for each {uint32_t size, room for the previous hash, the array}. */
struct wal_batch {
	uint8_t *bytes;
	size_t used, capacity;
};
#define WAL_ENTRY_HEAD (sizeof(uint32_t) + WAL_HASH_SIZE)

/* What threads sleep on: a futex. */
struct wal_word {
	_Atomic uint32_t value, sleepers;
};

struct wal {
	char *dir;
	MDB_env *env;
	MDB_dbi log, meta, root; /* root: the nameless one, that names the others */
	int lock_fd;             /* -1: a reader */
	bool read_only;
	size_t map_size, map_size_max;
	size_t used_first;     /* bytes that the log had at the first commit; 0: there was none */
	size_t ahead_to;       /* bytes of the file whose blocks are there, or have been tried */
	_Atomic bool unmapped; /* the map could not be made anew at its new size: LMDB must not be called any more */
	uint64_t epoch;        /* fixed once open; `state` moves with each commit */
	struct wal_state state;

	pthread_mutex_t lock;
	pthread_rwlock_t map;
	bool busy;        /* somebody commits */
	bool upkeep_next; /* and then it is the turn of wal_upkeep */
	struct wal_batch staged, flying;
	uint64_t next_lsn;
	uint64_t batch;           /* number of the one that is staged */
	uint64_t flying_lsn;      /* the last that was taken from there */
	uint64_t syncers, served; /* threads that asked for the staged batch to be synced; for the one in flight */
	uint64_t expected;        /* that are about to ask: all who did when the last batch was done */
	uint64_t watched;         /* the batch that one of them watches the clock for */
	uint64_t commit_ns;       /* what the last commit took */
	struct wal_word words[2], idle; /* batch even, batch odd; `busy` has ended */
	_Atomic uint64_t durable_lsn, base_lsn, checkpoint_lsn;
	struct error failed;    /* code 0: not failed */
	pthread_mutex_t upkeep; /* held over a whole checkpoint or trim; before `lock` */
};
#define WAL_NO_BATCH UINT64_MAX

/* record.c */
size_t record_encode(uint8_t *to, uint64_t lsn, uint64_t epoch, uint32_t kind, const void *payload, size_t size);
/* `size` without the hash. NULL, or why these bytes are no record. */
const char *record_decode(const uint8_t *bytes, size_t size, struct wal_record *ret_record);
/* `bytes` has WAL_HASH_SIZE of room before it, which is overwritten with `previous`. */
struct wal_hash record_hash_in_place(uint8_t *room, const struct wal_hash *previous, size_t size);
struct wal_hash record_hash(const struct wal_hash *previous, const uint8_t *bytes, size_t size);
void state_encode(uint8_t to[WAL_STATE_SIZE], const struct wal_state *state);
/* *ret_format: WAL_STATE_FORMAT, or an older one. */
const char *state_decode(const uint8_t *bytes, size_t size, struct wal_state *ret_state, uint64_t *ret_format);
void checkpoint_encode(uint8_t to[WAL_CHECKPOINT_SIZE], const struct wal_checkpoint *checkpoint);
const char *checkpoint_decode(const uint8_t *bytes, size_t size, struct wal_checkpoint *ret_checkpoint);

/* lock.c */
int wal_lock_take(int dir_fd, const char *dir, int *ret_fd, struct error *err);
void wal_lock_release(int fd);
/* The pid of the live writer, 0 if there is none, -1 if it has not said who it is or none can tell. */
pid_t wal_lock_holder(int dir_fd);

/* geometry.c, shape.c: is this an LMDB file whose pages hold together? LMDB trusts its file: it dies of SIGBUS on a short one, of
 * SIGSEGV or abort() on a wild page number. So we look first. */
struct shape_geometry {
	int code; /* of the failure: EILSEQ, or what kept it from being read */
	uint64_t size, page_size, last_page, txn_id;
	uint64_t map_size; /* as the last writer had it */
};
/* From the meta pages alone; safe on any file. NULL or the reason; filled also if the file is only cut short. */
const char *shape_geometry(int fd, struct shape_geometry *ret_geometry, char *reason, size_t reason_size);
/* Nothing but what LMDB writes first into a new file, or a part of that. */
bool shape_unborn(int fd);
struct shape_found {
	int code;   /* as above */
	bool empty; /* no database in it at all */
	bool has_log, has_meta;
	uint64_t last_lsn; /* the last record seen before the damage */
};
/* Walks every page of the snapshot `txn_id`, which the caller holds. NULL or the reason; "" if the snapshot is not
 * there any more: take a new one. */
const char *shape_check(int fd, uint64_t txn_id, struct shape_found *ret_found, char *reason, size_t reason_size);

/* env.c */
int wal_mdb_code(int rc); /* an errno value for what LMDB returned */
int wal_mdb_error(struct error *err, int rc, const struct wal *wal, const char *doing);
int wal_read_begin(struct wal *wal, MDB_txn **ret_txn, struct error *err); /* takes `map` */
void wal_read_end(struct wal *wal, MDB_txn *txn);
int wal_get_state(struct wal *wal, MDB_txn *txn, struct wal_state *ret_state, struct error *err);
int wal_put_state(struct wal *wal, MDB_txn *txn, struct wal_state *state); /* an LMDB code; sets state->txn */
int wal_move_state(struct wal *wal, MDB_txn *txn); /* from where older versions kept it: an LMDB code */
/* What is in this snapshot was written by the transaction that the snapshot says it is. NULL, or what is wrong. */
const char *wal_snapshot_wrong(MDB_txn *txn, const struct wal_state *state, char *reason, size_t reason_size);

/* stage.c */
int wal_staging_init(struct wal *wal, struct error *err);
void wal_staging_finish(struct wal *wal);

/* A transaction that is not an append, in turn with those that are. `change` may be called again if it did not come to a
 * commit: an LMDB code, or -1 with *err filled. It alters *state as it likes, but for the head. */
typedef int (*wal_change_fn)(void *arg, struct wal *wal, MDB_txn *txn, struct wal_state *state, struct error *err);
int wal_upkeep(struct wal *wal, wal_change_fn change, void *arg, struct error *err);

/* commit.c; called by the one thread that has set `busy`, without the lock. */
/* `needed`: bytes, about, that a full map lacks. *ret_unknown: what failed was the commit itself. */
int wal_commit(struct wal *wal, wal_change_fn change, void *arg, size_t needed, bool *ret_unknown, struct error *err);
/* The change that appends: chains and stores each record of the wal_batch `arg`. */
int wal_put_records(void *arg, struct wal *wal, MDB_txn *txn, struct wal_state *state, struct error *err);

/* room.c */
/* Makes map and file larger by `needed` bytes at least, doubling; no transaction of this process may be open. */
int wal_grow(struct wal *wal, size_t needed, struct error *err);
/* What a full map asks for: pages that readers held who are gone, or else a larger map, each once. */
int wal_make_room(struct wal *wal, size_t needed, bool *cleared, bool *grown, struct error *err);
/* LMDB says EIO for a short write, and that is how a disk becomes full. */
bool wal_disk_is_full(const struct wal *wal, size_t needed);
/*
 * Zeros behind the last page, so that the commits to come overwrite blocks that the file has. Where there is a hole, the file system
 * looks for a block and writes down where it is, too, which makes a flush of few pages take up to twice as long. Of a log that has
 * grown since it was opened: one that uses its pages again asks nothing more of its disk, which, where it promises more than it has
 * (thin provisioning), would refuse only the flush, and the commit with it. Only
 * within a transaction that writes, before it has written: then nobody else writes there, and no page of its own is there yet.
 */
void wal_write_ahead(struct wal *wal, size_t needed);

/* checkpoint.c */
/* Filled from `meta`; only when state->checkpoint_lsn is not 0. */
int checkpoint_get(struct wal *wal, MDB_txn *txn, const struct wal_state *state, struct wal_checkpoint *ret_checkpoint,
    struct error *err);
/* Reads the payload and checks it against its hash; to `to` of checkpoint->size bytes, or nowhere if that is NULL. */
int checkpoint_read(
    struct wal *wal, MDB_txn *txn, const struct wal_checkpoint *checkpoint, uint8_t *to, struct error *err);

/* replay.c */
struct chain_walk {
	uint64_t first;                          /* 0: the first that is there */
	const struct wal_checkpoint *checkpoint; /* NULL: there is none; else checked to be of this chain when passed */
	wal_visit_fn visit;                      /* NULL: only check */
	void *arg;
	uint64_t records; /* out */
	uint64_t bad_lsn; /* out, 0 if none */
};
/* The records from walk->first on. 0, what the visitor returned, or -1. */
int chain_walk(
    struct wal *wal, MDB_txn *txn, const struct wal_state *state, struct chain_walk *walk, struct error *err);
/* All that there is: the records and the checkpoint, which must outlive *walk. */
int chain_verify(struct wal *wal, MDB_txn *txn, const struct wal_state *state, struct chain_walk *walk,
    struct wal_checkpoint *ret_checkpoint, struct error *err);

#endif
