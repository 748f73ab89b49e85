/* SPDX-License-Identifier: Apache-2.0 */
/* Pages, laid over each other. */
#include "crash/content.h"

#include <stdlib.h>
#include <string.h>

void content_finish(struct content *content)
{
	free(content->pages);
	*content = (struct content){0};
}

/* Where `index` is, or would be. */
static size_t place_of(const struct content *content, uint64_t index)
{
	size_t low = 0, high = content->count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (content->pages[middle].index < index)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static const struct page *find(const struct content *content, uint64_t index)
{
	const size_t at = place_of(content, index);

	return at < content->count && content->pages[at].index == index ? &content->pages[at] : NULL;
}

static struct page *insert(struct content *content, uint64_t index)
{
	const size_t at = place_of(content, index);
	struct page *pages = content->pages;

	if (content->count == content->capacity) {
		const size_t wanted = content->capacity ? 2 * content->capacity : 16;

		pages = reallocarray(pages, wanted, sizeof *pages);
		if (!pages)
			return NULL;
		content->pages = pages;
		content->capacity = wanted;
	}
	memmove(pages + at + 1, pages + at, (content->count - at) * sizeof *pages);
	content->count++;
	pages[at] = (struct page){.index = index};
	return &pages[at];
}

void variant_begin(struct variant *variant, const struct content *below, struct slab *slab)
{
	struct page *pages = variant->over.pages;
	const size_t capacity = variant->over.capacity;

	*variant = (struct variant){.below = below,
	    .below_pages = UINT64_MAX,
	    .over = {.size = below->size, .pages = pages, .capacity = capacity},
	    .slab = slab};
}

void variant_finish(struct variant *variant)
{
	content_finish(&variant->over);
}

const uint8_t *variant_page(const struct variant *variant, uint64_t index)
{
	const struct page *page = find(&variant->over, index);

	if (!page && index < variant->below_pages)
		page = find(variant->below, index);
	return page ? page->bytes : NULL;
}

/* A copy of the page that may be written to. */
static uint8_t *own(struct variant *variant, uint64_t index)
{
	const struct page *there = find(&variant->over, index);
	const uint8_t *before;
	struct page *page;
	uint8_t *bytes;

	if (there && there->bytes) {
		memcpy(&bytes, &there->bytes, sizeof bytes); /* from the slab, for this variant alone */
		return bytes;
	}
	before = variant_page(variant, index);
	bytes = slab_take(variant->slab, PAGE_BYTES);
	page =
	    bytes ? (there ? &variant->over.pages[there - variant->over.pages] : insert(&variant->over, index)) : NULL;
	if (!page) {
		variant->failed = true;
		return NULL;
	}
	if (before)
		memcpy(bytes, before, PAGE_BYTES);
	else
		memset(bytes, 0, PAGE_BYTES);
	page->bytes = bytes;
	return bytes;
}

void variant_write(struct variant *variant, uint64_t offset, const uint8_t *data, uint64_t size)
{
	const uint64_t end = offset + size;

	while (offset < end && !variant->failed) {
		const size_t in_page = offset % PAGE_BYTES;
		const size_t piece =
		    end - offset < PAGE_BYTES - in_page ? (size_t)(end - offset) : PAGE_BYTES - in_page;
		uint8_t *bytes;

		if (data || variant_page(variant, offset / PAGE_BYTES)) {
			bytes = own(variant, offset / PAGE_BYTES);
			if (!bytes)
				return;
			if (data)
				memcpy(bytes + in_page, data, piece);
			else
				memset(bytes + in_page, 0, piece);
		}
		data = data ? data + piece : NULL;
		offset += piece;
	}
	if (end > variant->over.size)
		variant->over.size = end;
}

void variant_resize(struct variant *variant, uint64_t size)
{
	const uint64_t pages = (size + PAGE_BYTES - 1) / PAGE_BYTES;
	const size_t tail = size % PAGE_BYTES;
	uint8_t *bytes;

	if (size < variant->over.size) {
		variant->over.count = place_of(&variant->over, pages);
		if (pages < variant->below_pages)
			variant->below_pages = pages;
		if (tail && variant_page(variant, pages - 1)) {
			bytes = own(variant, pages - 1);
			if (bytes)
				memset(bytes + tail, 0, PAGE_BYTES - tail);
		}
	}
	variant->over.size = size;
}

static bool is_zero(const uint8_t *bytes)
{
	return bytes[0] == 0 && !memcmp(bytes, bytes + 1, PAGE_BYTES - 1);
}

int variant_end(struct variant *variant)
{
	const struct content *below = variant->below;
	struct digest digest = below->digest;
	const struct page *hidden;
	size_t i;

	if (variant->below_pages != UINT64_MAX)
		for (i = place_of(below, variant->below_pages); i < below->count; i++)
			digest_remove(&digest, below->pages[i].digest);
	for (i = 0; i < variant->over.count; i++) {
		struct page *page = &variant->over.pages[i];

		hidden = page->index < variant->below_pages ? find(below, page->index) : NULL;
		if (hidden)
			digest_remove(&digest, hidden->digest);
		if (page->bytes && is_zero(page->bytes))
			page->bytes = NULL;
		if (!page->bytes)
			continue;
		page->digest = digest_of(page->bytes, PAGE_BYTES, page->index);
		digest_add(&digest, page->digest);
	}
	variant->over.digest = digest;
	return variant->failed ? -1 : 0;
}

const struct page *variant_next(const struct variant *variant, struct variant_walk *walk)
{
	const struct content *below = variant->below, *over = &variant->over;

	for (;;) {
		const struct page *low = walk->below < below->count ? &below->pages[walk->below] : NULL;
		const struct page *high = walk->over < over->count ? &over->pages[walk->over] : NULL;

		if (low && low->index >= variant->below_pages)
			low = NULL;
		if (!low && !high)
			return NULL;
		if (high && (!low || high->index <= low->index)) {
			walk->over++;
			walk->below += low && low->index == high->index;
			if (high->bytes)
				return high;
			continue;
		}
		walk->below++;
		return low;
	}
}

int content_take(struct content *content, const struct variant *variant)
{
	struct content taken = {.size = variant->over.size, .digest = variant->over.digest};
	struct variant_walk walk = {0};
	const struct page *page;

	taken.pages = calloc(variant->below->count + variant->over.count + 1, sizeof *taken.pages);
	if (!taken.pages)
		return -1;
	taken.capacity = variant->below->count + variant->over.count + 1;
	while ((page = variant_next(variant, &walk)))
		taken.pages[taken.count++] = *page;
	content_finish(content);
	*content = taken;
	return 0;
}
