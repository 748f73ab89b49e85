/* SPDX-License-Identifier: Apache-2.0 */
/* What wal/ is measured against: bare LMDB, and SQLite with the durability that wal/ promises. Each ends the program when it fails. */
#ifndef TRITONE_BENCH_WAL_PEERS_H
#define TRITONE_BENCH_WAL_PEERS_H

#include <stddef.h>
#include <stdint.h>

void peer_die(const char *what, const char *why) __attribute__((noreturn));

/* What something took: by the clock, and of this process's processor time, which a busy machine does not lengthen. */
struct cost {
	double seconds, cpu_seconds;
};
struct cost cost_now(void);
struct cost cost_since(struct cost begin);

/* `batches` transactions of `batch` records of `size` bytes in a new store below `dir`; what they took, without
 * its creation. */
struct cost peer_lmdb(const char *dir, unsigned batches, unsigned batch, const void *record, size_t size);
struct cost peer_sqlite(const char *dir, unsigned batches, unsigned batch, const void *record, size_t size);

/* A cursor over the database `log` of the LMDB environment in `dir`, that checks nothing; seconds. */
double peer_scan(const char *dir, uint64_t *ret_sum);

/* What the file that a flush of 8 KiB is for has there already. */
enum flush_place { FLUSH_OVERWRITES, FLUSH_RESERVED, FLUSH_HOLE };

/* The median of `rounds` such flushes (at most PEER_FLUSHES_MAX), in microseconds. */
#define PEER_FLUSHES_MAX 400
double peer_flush_us(const char *path, enum flush_place place, size_t rounds);

#endif
