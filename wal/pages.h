/* SPDX-License-Identifier: Apache-2.0 */
/* pages: how LMDB 0.9 (format 1) lays out its file on a 64-bit machine. */
#ifndef TRITONE_WAL_PAGES_H
#define TRITONE_WAL_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "wal/internal.h"

#define HEADER_SIZE  16u
#define NODE_SIZE    8u
#define NO_PAGE      UINT64_MAX
#define PAGE_BRANCH  0x01u
#define PAGE_LEAF    0x02u
#define PAGE_LARGE   0x04u
#define PAGE_META    0x08u
#define NODE_LARGE   0x01u
#define NODE_TREE    0x02u
#define INTEGER_KEYS 0x08u /* MDB_INTEGERKEY, as stored */

struct page {
	uint64_t number;
	uint16_t pad, flags;
	uint16_t lower, upper; /* of a large one: its number of pages, 32 bits */
};

struct tree {
	uint32_t pad;
	uint16_t flags, depth;
	uint64_t branches, leaves, large, entries, root;
};

#define PAGES_FREE 0 /* of meta.trees */
#define PAGES_MAIN 1

struct meta {
	uint32_t magic, format;
	uint64_t address, map_size;
	struct tree trees[2];
	uint64_t last_page, txn_id;
};

_Static_assert(sizeof(struct page) == HEADER_SIZE && sizeof(struct tree) == 48 && sizeof(struct meta) == 136,
    "the layout of LMDB 0.9 on a 64-bit machine");

/* pread, not interrupted. */
ssize_t pages_read(int fd, void *to, size_t size, off_t at);

/* Both meta pages, and what follows from them. NULL or the reason. */
const char *pages_geometry(
    int fd, struct meta metas[2], struct shape_geometry *ret_geometry, char *reason, size_t reason_size);

#endif
