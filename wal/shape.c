/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks whether a data file is what LMDB may be let loose on. LMDB trusts its file: a short one ends in SIGBUS, a wild
 * page number in SIGSEGV or abort(). The layout is that of LMDB 0.9 (format 1) on this machine; nothing is written.
 */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wal/pages.h"

#define DEPTH_MAX 32u
#define READ_MAX  (256u << 10) /* bytes of pages */

enum tree_kind { TREE_FREE = PAGES_FREE, TREE_MAIN = PAGES_MAIN, TREE_LOG, TREE_META };

struct shape {
	const uint8_t *map;
	size_t page_size;
	uint64_t pages;
	uint8_t *seen; /* a bit a page */
	uint64_t entries;
	uint64_t txn_id, freed; /* of the snapshot; key of the last list of free pages */
	struct tree log, meta;
	bool has_state;
	struct shape_found found;
	char *reason;
	size_t reason_size;
};

static int wrong(struct shape *shape, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int wrong(struct shape *shape, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(shape->reason, shape->reason_size, format, args);
	va_end(args);
	return -1;
}

static int walk(struct shape *shape, enum tree_kind kind, uint64_t number, uint32_t depth);

/* Each page has one use: in a tree, as part of a large value, or free. */
static int mark(struct shape *shape, uint64_t number, uint64_t count)
{
	uint64_t i;

	if (number < 2 || number >= shape->pages || count > shape->pages - number)
		return wrong(shape, "a reference to page %llu, of %llu", (unsigned long long)number,
		    (unsigned long long)shape->pages);
	for (i = number; i < number + count; i++) {
		if (shape->seen[i / 8] & (1u << (i % 8)))
			return wrong(shape, "page %llu is used twice", (unsigned long long)i);
		shape->seen[i / 8] = (uint8_t)(shape->seen[i / 8] | (1u << (i % 8)));
	}
	return 0;
}

static const uint8_t *page_at(struct shape *shape, uint64_t number, struct page *ret_page)
{
	const uint8_t *bytes = shape->map + number * shape->page_size;

	memcpy(ret_page, bytes, sizeof *ret_page);
	if (ret_page->number != number) {
		wrong(shape, "page %llu says that it is page %llu", (unsigned long long)number,
		    (unsigned long long)ret_page->number);
		return NULL;
	}
	return bytes;
}

/* A value on pages of its own. */
static const uint8_t *large_value(struct shape *shape, const uint8_t *where, size_t size)
{
	const uint64_t needed = (HEADER_SIZE - 1 + size) / shape->page_size + 1;
	const uint8_t *bytes;
	struct page page;
	uint64_t number;
	uint32_t count;

	memcpy(&number, where, sizeof number);
	if (mark(shape, number, needed) < 0)
		return NULL;
	bytes = page_at(shape, number, &page);
	if (!bytes)
		return NULL;
	memcpy(&count, bytes + 12, sizeof count);
	if (page.flags != PAGE_LARGE || count != needed) {
		wrong(shape, "page %llu should begin a value of %llu pages", (unsigned long long)number,
		    (unsigned long long)needed);
		return NULL;
	}
	return bytes + HEADER_SIZE;
}

/* LMDB takes it that a list falls, and finds runs of pages by that: of another it would hand out pages that are in use. */
static int free_list(struct shape *shape, const uint8_t *key, const uint8_t *value, size_t size)
{
	uint64_t count, number, i, txn, before = UINT64_MAX;

	memcpy(&txn, key, sizeof txn);
	if (txn <= shape->freed || txn > shape->txn_id)
		return wrong(shape, "a list of pages that transaction %llu is to have freed", (unsigned long long)txn);
	shape->freed = txn;
	if (size < sizeof count)
		return wrong(shape, "a list of free pages without a length");
	memcpy(&count, value, sizeof count);
	if (count > size / sizeof count - 1)
		return wrong(shape, "a list of free pages that is longer than its place");
	for (i = 1; i <= count; i++) {
		memcpy(&number, value + i * sizeof number, sizeof number);
		if (number >= before)
			return wrong(shape, "a list of free pages that is not in order");
		before = number;
		if (mark(shape, number, 1) < 0)
			return -1;
	}
	return 0;
}

static int sub_tree(struct shape *shape, const char *name, size_t name_size, const uint8_t *value, size_t size)
{
	if (size != sizeof(struct tree))
		return wrong(shape, "a database whose description has %zu bytes", size);
	if (name_size == 3 && !memcmp(name, "log", 3)) {
		memcpy(&shape->log, value, sizeof shape->log);
		shape->found.has_log = true;
		if (shape->log.flags != INTEGER_KEYS)
			return wrong(shape, "its database 'log' has other keys than a log's");
		return 0;
	}
	if (name_size == 4 && !memcmp(name, "meta", 4)) {
		memcpy(&shape->meta, value, sizeof shape->meta);
		shape->found.has_meta = true;
		if (shape->meta.flags)
			return wrong(shape, "its database 'meta' has other keys than a log's");
		return 0;
	}
	return wrong(
	    shape, "it holds a database '%.*s', which no log has", (int)(name_size > 40 ? 40 : name_size), name);
}

/* What the nameless database holds: the two that have names, and the state. */
static int named(
    struct shape *shape, const uint8_t *name, size_t name_size, const uint8_t *value, size_t size, uint16_t flags)
{
	if (flags & NODE_TREE)
		return sub_tree(shape, (const char *)name, name_size, value, size);
	if (name_size != sizeof WAL_STATE_NAME - 1 || memcmp(name, WAL_STATE_NAME, name_size) != 0)
		return wrong(shape, "it holds values of its own, as no log does");
	shape->has_state = true;
	return 0;
}

static int entry(struct shape *shape, enum tree_kind kind, const uint8_t *key, size_t key_size, const uint8_t *value,
    size_t size, uint16_t flags)
{
	uint64_t lsn;

	shape->entries++;
	if (flags & ~(NODE_LARGE | (kind == TREE_MAIN ? NODE_TREE : 0u)))
		return wrong(shape, "an entry with flags that no log uses");
	if (flags & NODE_LARGE) {
		value = large_value(shape, value, size);
		if (!value)
			return -1;
	}
	switch (kind) {
	case TREE_FREE:
		return key_size == 8 ? free_list(shape, key, value, size)
				     : wrong(shape, "a list of free pages with a wrong key");
	case TREE_MAIN:
		return named(shape, key, key_size, value, size, flags);
	case TREE_LOG:
		if (key_size != sizeof lsn)
			return wrong(shape, "a record whose key has %zu bytes", key_size);
		memcpy(&lsn, key, sizeof lsn);
		if (lsn <= shape->found.last_lsn)
			return wrong(shape, "LSN %llu comes after LSN %llu", (unsigned long long)lsn,
			    (unsigned long long)shape->found.last_lsn);
		shape->found.last_lsn = lsn;
		return 0;
	case TREE_META:
		return 0;
	}
	return -1;
}

static int walk_node(
    struct shape *shape, enum tree_kind kind, const uint8_t *bytes, size_t at, bool leaf, uint32_t depth)
{
	uint16_t low, high, flags, key_size;
	const uint8_t *node = bytes + at;
	size_t size, held;

	if (at + NODE_SIZE > shape->page_size)
		return wrong(shape, "an entry outside of its page");
	memcpy(&low, node, 2);
	memcpy(&high, node + 2, 2);
	memcpy(&flags, node + 4, 2);
	memcpy(&key_size, node + 6, 2);
	size = (size_t)low | (size_t)high << 16;
	held = leaf ? (flags & NODE_LARGE ? sizeof(uint64_t) : size) : 0;
	if (held > shape->page_size || at + NODE_SIZE + key_size + held > shape->page_size)
		return wrong(shape, "an entry that leaves its page");
	if (!leaf)
		return walk(shape, kind, (uint64_t)size | (uint64_t)flags << 32, depth - 1);
	return entry(shape, kind, node + NODE_SIZE, key_size, node + NODE_SIZE + key_size, size, flags);
}

/* `depth` counts down to 1, the leaves. */
static int walk(struct shape *shape, enum tree_kind kind, uint64_t number, uint32_t depth)
{
	const unsigned long long shown = number;
	const bool leaf = depth == 1;
	const uint8_t *bytes;
	struct page page;
	size_t count, i;

	if (mark(shape, number, 1) < 0)
		return -1;
	bytes = page_at(shape, number, &page);
	if (!bytes)
		return -1;
	if (page.flags != (leaf ? PAGE_LEAF : PAGE_BRANCH))
		return wrong(
		    shape, "page %llu has flags %#x, expected a %s", shown, page.flags, leaf ? "leaf" : "branch");
	if (page.lower < HEADER_SIZE || page.lower > page.upper || page.upper > shape->page_size || page.lower % 2 ||
	    page.upper % 2)
		return wrong(
		    shape, "page %llu says that its free space is from %u to %u", shown, page.lower, page.upper);
	count = (page.lower - HEADER_SIZE) / 2;
	if (count < (leaf || kind == TREE_FREE ? 1u : 2u)) /* LMDB aborts on fewer */
		return wrong(shape, "page %llu has %zu entries", shown, count);
	for (i = 0; i < count; i++) {
		uint16_t at;

		memcpy(&at, bytes + HEADER_SIZE + 2 * i, sizeof at);
		if (at < page.upper || at % 2)
			return wrong(shape, "page %llu has an entry at %u", shown, at);
		if (walk_node(shape, kind, bytes, at, leaf, depth) < 0)
			return -1;
	}
	return 0;
}

static int walk_tree(struct shape *shape, enum tree_kind kind, const struct tree *tree)
{
	shape->entries = 0;
	if (tree->root == NO_PAGE)
		/* LMDB counts on from the depth, even from that of an empty tree. */
		return tree->entries || tree->depth ? wrong(shape, "a tree of %llu entries, %u pages deep, has no root",
							  (unsigned long long)tree->entries, tree->depth)
						    : 0;
	if (tree->depth < 1 || tree->depth > DEPTH_MAX)
		return wrong(shape, "a tree says that it is %u pages deep", tree->depth);
	if (walk(shape, kind, tree->root, tree->depth) < 0)
		return -1;
	if (shape->entries != tree->entries)
		return wrong(shape, "a tree of %llu entries holds %llu", (unsigned long long)tree->entries,
		    (unsigned long long)shape->entries);
	return 0;
}

static int walk_all(struct shape *shape, const struct meta *meta)
{
	shape->txn_id = meta->txn_id;
	if (meta->trees[TREE_FREE].flags != INTEGER_KEYS || meta->trees[TREE_MAIN].flags)
		return wrong(shape, "its first pages name kinds of trees that no log has");
	if (walk_tree(shape, TREE_MAIN, &meta->trees[TREE_MAIN]) < 0)
		return -1;
	shape->found.empty = !shape->found.has_log && !shape->found.has_meta && !shape->has_state;
	if (shape->found.has_meta && walk_tree(shape, TREE_META, &shape->meta) < 0)
		return -1;
	if (shape->found.has_log && walk_tree(shape, TREE_LOG, &shape->log) < 0)
		return -1;
	if (!shape->found.empty && (!shape->found.has_log || !shape->found.has_meta))
		return wrong(shape, "it has no database '%s'", shape->found.has_log ? "meta" : "log");
	return walk_tree(shape, TREE_FREE, &meta->trees[TREE_FREE]);
}

/* The pages that may be walked. Few are read, which costs less than to map them and to let go of that at once. */
static int take_pages(struct shape *shape, int fd)
{
	const size_t size = shape->pages * shape->page_size;
	void *bytes = MAP_FAILED;
	ssize_t n;

	if (size > READ_MAX) {
		bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
		if (bytes == MAP_FAILED)
			return -1;
		shape->map = bytes;
		return 0;
	}
	bytes = malloc(size);
	if (!bytes)
		return -1;
	n = pages_read(fd, bytes, size, 0);
	if (n != (ssize_t)size) {
		const int code = n < 0 ? errno : EIO;

		free(bytes);
		errno = code;
		return -1;
	}
	shape->map = bytes;
	return 0;
}

static void give_pages_back(struct shape *shape)
{
	const size_t size = shape->pages * shape->page_size;
	void *bytes;

	memcpy(&bytes, &shape->map, sizeof bytes);
	if (size > READ_MAX)
		munmap(bytes, size);
	else
		free(bytes);
}

const char *shape_check(int fd, uint64_t txn_id, struct shape_found *ret_found, char *reason, size_t reason_size)
{
	struct shape shape = {.found.code = EILSEQ, .reason = reason, .reason_size = reason_size};
	struct shape_geometry geometry = {0};
	struct meta metas[2];
	const struct meta *meta;
	bool cut;
	int rc;

	reason[0] = '\0';
	cut = pages_geometry(fd, metas, &geometry, reason, reason_size) != NULL;
	ret_found->code = geometry.code;
	if (cut && !geometry.size) /* not even its first pages */
		return reason;
	if (metas[0].txn_id != txn_id && metas[1].txn_id != txn_id) {
		reason[0] = '\0';
		return reason; /* two commits later */
	}
	meta = &metas[metas[0].txn_id != txn_id]; /* of two that say the same, LMDB takes the first */
	shape.page_size = geometry.page_size;
	shape.pages = meta->last_page + 1;
	if (shape.pages > geometry.size / geometry.page_size) { /* walked all the same: how far does it reach? */
		shape.pages = geometry.size / geometry.page_size;
		cut = true;
	}
	shape.seen = calloc(1, shape.pages / 8 + 1);
	rc = shape.seen ? take_pages(&shape, fd) : -1;
	if (rc < 0) {
		shape.found.code = shape.seen && errno ? errno : ENOMEM;
		snprintf(reason, reason_size, "cannot be checked: %s", strerror(shape.found.code));
	} else {
		rc = walk_all(&shape, meta);
		give_pages_back(&shape);
	}
	free(shape.seen);
	if (cut)
		shape_geometry(fd, &geometry, reason, reason_size); /* the cause, rather than where it was met */
	*ret_found = shape.found;
	return rc < 0 || cut ? reason : NULL;
}
