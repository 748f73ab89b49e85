/* SPDX-License-Identifier: Apache-2.0 */
/* What the meta pages of a data file say, which is safe to ask of any file; and whether it is one that was never complete. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wal/pages.h"

#define META_MAGIC  0xBEEFC0DEu
#define META_FORMAT 1u

ssize_t pages_read(int fd, void *to, size_t size, off_t at)
{
	ssize_t n;

	do
		n = pread(fd, to, size, at);
	while (n < 0 && errno == EINTR);
	return n;
}

/* One meta page: false with the reason if it is none. */
static bool read_meta(
    int fd, uint64_t at, uint64_t number, struct meta *ret_meta, int *ret_code, char *reason, size_t reason_size)
{
	uint8_t bytes[HEADER_SIZE + sizeof(struct meta)];
	ssize_t n = pages_read(fd, bytes, sizeof bytes, (off_t)at);
	struct page page;

	*ret_code = n < 0 ? errno : EILSEQ;
	if (n != (ssize_t)sizeof bytes) {
		snprintf(reason, reason_size, "%s", n < 0 ? strerror(errno) : "it is too short for an LMDB file");
		return false;
	}
	memcpy(&page, bytes, sizeof page);
	memcpy(ret_meta, bytes + HEADER_SIZE, sizeof *ret_meta);
	if (!(page.flags & PAGE_META) || ret_meta->magic != META_MAGIC) {
		snprintf(reason, reason_size, "it is not an LMDB file (page %llu has no magic number)",
		    (unsigned long long)number);
		return false;
	}
	/* LMDB takes the page by whether the transaction's number is odd: one out of place would show another snapshot */
	if (page.number != number || (ret_meta->txn_id && ret_meta->txn_id % 2 != number)) {
		snprintf(reason, reason_size, "its meta page %llu is one that belongs elsewhere",
		    (unsigned long long)number);
		return false;
	}
	if (ret_meta->format != META_FORMAT) {
		snprintf(reason, reason_size, "it is of LMDB's format %u, expected %u", ret_meta->format, META_FORMAT);
		return false;
	}
	return true;
}

static bool read_metas(int fd, struct meta metas[2], int *ret_code, char *reason, size_t reason_size)
{
	uint32_t page_size;

	if (!read_meta(fd, 0, 0, &metas[0], ret_code, reason, reason_size))
		return false;
	page_size = metas[0].trees[PAGES_FREE].pad; /* where LMDB keeps it */
	if (page_size < 512 || page_size > 65536 || (page_size & (page_size - 1))) {
		snprintf(reason, reason_size, "its page size is %u", page_size);
		return false;
	}
	if (!read_meta(fd, page_size, 1, &metas[1], ret_code, reason, reason_size))
		return false;
	if (metas[1].trees[PAGES_FREE].pad != page_size) {
		snprintf(reason, reason_size, "its two meta pages disagree on the page size");
		return false;
	}
	return true;
}

const char *pages_geometry(
    int fd, struct meta metas[2], struct shape_geometry *ret_geometry, char *reason, size_t reason_size)
{
	const struct meta *newest;
	struct stat status;
	uint64_t page_size;

	if (fstat(fd, &status) < 0) {
		ret_geometry->code = errno;
		snprintf(reason, reason_size, "%s", strerror(errno));
		return reason;
	}
	if (!read_metas(fd, metas, &ret_geometry->code, reason, reason_size))
		return reason;
	newest = &metas[metas[1].txn_id > metas[0].txn_id];
	page_size = metas[0].trees[PAGES_FREE].pad;
	*ret_geometry = (struct shape_geometry){.code = EILSEQ,
	    .size = (uint64_t)status.st_size,
	    .page_size = page_size,
	    .last_page = newest->last_page,
	    .txn_id = newest->txn_id,
	    .map_size = newest->map_size};
	if (newest->last_page >= (uint64_t)status.st_size / page_size) {
		snprintf(reason, reason_size, "it is cut short: %llu bytes, where the last page ends at %llu",
		    (unsigned long long)status.st_size, (unsigned long long)(newest->last_page + 1) * page_size);
		return reason;
	}
	return NULL;
}

const char *shape_geometry(int fd, struct shape_geometry *ret_geometry, char *reason, size_t reason_size)
{
	struct meta metas[2];

	return pages_geometry(fd, metas, ret_geometry, reason, reason_size);
}

/* LMDB's first write: the meta page `number` of a file that has never held anything, which a crash can cut or tear. */
static bool unborn_page(const uint8_t *bytes, size_t size, uint64_t number, uint32_t page_size)
{
	const struct page page = {.number = number, .flags = PAGE_META};
	const struct tree none = {.root = NO_PAGE};
	struct meta meta = {.magic = META_MAGIC, .format = META_FORMAT, .trees = {none, none}, .last_page = 1};
	uint8_t whole[HEADER_SIZE + sizeof meta];
	size_t i;

	meta.trees[PAGES_FREE].pad = page_size;
	meta.trees[PAGES_FREE].flags = INTEGER_KEYS;
	memcpy(whole, &page, sizeof page);
	memcpy(whole + HEADER_SIZE, &meta, sizeof meta);
	for (i = 0; i < size; i++) {
		const size_t map_size = HEADER_SIZE + offsetof(struct meta, map_size);

		if (bytes[i] && (i >= sizeof whole || bytes[i] != whole[i]) &&
		    (i < map_size || i >= map_size + sizeof meta.map_size))
			return false;
	}
	return true;
}

static bool all_zero(const uint8_t *bytes, size_t size)
{
	return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

bool shape_unborn(int fd)
{
	const long page_size = sysconf(_SC_PAGESIZE);
	uint8_t bytes[65536];
	uint64_t number = 0;
	bool unborn;
	ssize_t n;

	if (page_size < 512 || page_size > (long)sizeof bytes)
		return false;
	do {
		n = pages_read(fd, bytes, (size_t)page_size, (off_t)(number * (uint64_t)page_size));
		/* from the third page on only zeros, as of a file that was made longer */
		unborn = n >= 0 && unborn_page(bytes, (size_t)n, number, (uint32_t)page_size) &&
			 (number < 2 || all_zero(bytes, (size_t)n));
		number++;
	} while (unborn && n == page_size);
	return unborn;
}
