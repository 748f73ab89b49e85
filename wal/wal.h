/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal: an append-only, hash-chained log of msgpack records in one LMDB environment.
 *
 * A record on disk is a msgpack array [format, lsn, epoch, kind, payload] followed by 16 bytes:
 * XXH3-128 over the previous record's 16 bytes and this array. The head (LSN and hash) is kept in
 * the state, written in the same transaction, so that truncation, reordering and bit rot are all found
 * and the first bad LSN is named. LSNs start at 1 and have no gaps.
 *
 * A checkpoint is a payload of the caller's that stands for all records up to an LSN: state(checkpoint, records
 * after it) = state(all records). It is hashed over the record it follows, so that one of another log, an old one or
 * a damaged one is found. What it stands for can then be trimmed; the chain of what is left verifies from there on.
 *
 * Thread safety: wal_append, wal_sync, wal_durable, wal_checkpoint, wal_trim and wal_checkpoint_lsn may be called from
 * any thread; the rest from one thread at a time. Many appenders share one fdatasync (group commit).
 *
 * Caveats
 *  - Nothing is durable before wal_sync has returned an LSN at or above it. Acknowledge only then.
 *  - After a failed sync (ENOSPC, EIO, ...) the log is *failed*: every append and sync gives EROFS
 * with the first cause, and what was staged but not durable is gone. wal_close, then wal_open
 * (which verifies), is the only way on.
 *    A commit that failed may still turn out to be there then, whole or not at all: unknown, not undone.
 *  - A visitor of wal_replay must not call back into the log: while it runs, the map cannot grow. In another process
 *    it keeps nobody from anything.
 *  - One environment may be open once in a process (LMDB's rule), and not across fork.
 *  - A payload is any bytes; by convention one msgpack value, so that `tritone wal dump` can print
 * it.
 */
#ifndef TRITONE_WAL_WAL_H
#define TRITONE_WAL_WAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wal/error.h"

#define WAL_FORMAT         1u
#define WAL_PAYLOAD_MAX    (1u << 20)          /* bytes */
#define WAL_CHECKPOINT_MAX ((size_t)256 << 20) /* bytes; wal_replay holds one in memory */

struct wal;

struct wal_options {
	bool read_only;      /* takes no writer lock, bumps no epoch, changes nothing on disk */
	bool must_exist;     /* ENOENT instead of creating */
	size_t map_size;     /* bytes; 0: 16 MiB. Grown (doubled) when full */
	size_t map_size_max; /* bytes; 0: 64 GiB. ENOSPC beyond */
};

/* One record as replay shows it; the pointers are valid only during the visit. */
struct wal_record {
	uint64_t lsn;
	uint64_t epoch;
	uint32_t kind;
	const uint8_t *payload;
	size_t size;
	bool checkpoint; /* not a record but what stands for all up to `lsn`; `kind` is 0 */
};

/* Return 0 to go on, anything else to stop: wal_replay then returns that value (use > 0; -1 means
 * an error of the log). */
typedef int (*wal_visit_fn)(void *arg, const struct wal_record *record);

/*
 * Opens or creates the log in directory `dir` (created, and its parent fsynced, if absent). For
 * writing it takes the advisory lock (EBUSY with the holder's pid in err->text and *never* a wait),
 * verifies the chain, clears stale readers, and durably bumps the epoch. EILSEQ: not a log of ours,
 * or damaged; names file, LSN and reason; nothing is changed.
 */
int wal_open(struct wal **ret_wal, const char *dir, const struct wal_options *options, struct error *err);
void wal_close(struct wal *wal); /* NULL is fine; staged records that were not synced are dropped */

uint64_t wal_epoch(const struct wal *wal);   /* the fencing token of this writer; for a reader: the last writer's */
uint64_t wal_durable(const struct wal *wal); /* the last durable LSN, 0 when empty */

/* Stages one record; *ret_lsn is its LSN to be. ESTALE: a newer writer has the log. EMSGSIZE: over
 * WAL_PAYLOAD_MAX. */
int wal_append(struct wal *wal, uint32_t kind, const void *payload, size_t size, uint64_t *ret_lsn, struct error *err);

/* Returns once `lsn` (0: all that is staged) is durable; *ret_durable (may be NULL) is then the
 * last durable LSN, often more. */
int wal_sync(struct wal *wal, uint64_t lsn, uint64_t *ret_durable, struct error *err);

/*
 * Visits the durable records in order, without copying, checking each against the chain. `first` 0 is recovery: the
 * last checkpoint, if there is one, is visited first (record->checkpoint), then each record after it. With `first` > 0
 * only records are visited; ERANGE if that one has been trimmed (see wal_first).
 */
int wal_replay(struct wal *wal, uint64_t first, wal_visit_fn visit, void *arg, struct error *err);

/* The LSN of the first record that is still there, or would be; 1 if nothing was ever trimmed. A reader sees what its
 * open or its last replay saw. */
uint64_t wal_first(const struct wal *wal);
/* The LSN up to which the last checkpoint stands for the records; 0: there is none. */
uint64_t wal_checkpoint_lsn(const struct wal *wal);

/*
 * Durably stores `payload` as what stands for all records up to `lsn`, in place of the checkpoint before. It is
 * written in transactions of about 1 MiB, between which appenders go on, and takes force in the last of them: a crash
 * leaves the old one or the new one, whole. EINVAL: `lsn` is 0, not durable yet, or before the last checkpoint's.
 * EMSGSIZE: over WAL_CHECKPOINT_MAX. ENOSPC from a map that may not grow leaves the log and the checkpoint before as they are;
 * a commit that fails makes the log *failed*, as a sync does. Nothing is trimmed.
 */
int wal_checkpoint(struct wal *wal, uint64_t lsn, const void *payload, size_t size, struct error *err);

/*
 * Removes the records up to `lsn` (0: the last checkpoint's), in bounded transactions, between which appenders go on.
 * After a crash some of them are gone, from the front. EINVAL: beyond the last checkpoint. Errors as wal_checkpoint's.
 * Their room is used again once no reader's snapshot needs it: a reader delays that, and never a writer.
 */
int wal_trim(struct wal *wal, uint64_t lsn, struct error *err);

struct wal_report {
	uint64_t records;             /* that are there: not the trimmed ones */
	uint64_t first_lsn, last_lsn; /* 0 when none is there; last_lsn is the head, also when it has been trimmed */
	uint64_t epoch;
	uint64_t bad_lsn; /* first LSN that is wrong, 0 if none */
	uint8_t head[16];
	uint64_t checkpoint_lsn; /* 0: no checkpoint */
	uint64_t checkpoint_size;
};

/* Walks the whole chain of the log in `dir` and its checkpoint, read-only. -1 with EILSEQ and report->bad_lsn if it is
 * damaged. */
int wal_verify(const char *dir, struct wal_report *report, struct error *err);

#endif
