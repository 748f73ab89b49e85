/* SPDX-License-Identifier: Apache-2.0 */
/*
 * content: what a file holds, as pages; a page of zeros is a hole. A variant is a content with a few changes laid over
 * it: what a crash state makes of a file, built and thrown away a hundred thousand times a second.
 */
#ifndef TRITONE_CRASH_CONTENT_H
#define TRITONE_CRASH_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crash/digest.h"
#include "crash/slab.h"

#define PAGE_BYTES 4096u

struct page {
	uint64_t index;
	const uint8_t *bytes; /* NULL in a variant: a hole where the content below has a page */
	struct digest digest;
};

struct content {
	uint64_t size;
	struct page *pages; /* by index */
	size_t count, capacity;
	struct digest digest; /* of the pages */
};

void content_finish(struct content *content); /* the bytes are the slab's */

struct variant {
	const struct content *below;
	uint64_t below_pages; /* from this index on, what is below does not count */
	struct content over;  /* its size is the variant's; its digest is of all, once ended */
	struct slab *slab;
	bool failed; /* no memory */
};

/* `variant->over.pages` is kept from use to use; zero it before the first. */
void variant_begin(struct variant *variant, const struct content *below, struct slab *slab);
void variant_write(struct variant *variant, uint64_t offset, const uint8_t *data, uint64_t size); /* NULL: zeros */
void variant_resize(struct variant *variant, uint64_t size);
int variant_end(struct variant *variant); /* -1: no memory */
void variant_finish(struct variant *variant);

/* The page as it is then; NULL: zeros. */
const uint8_t *variant_page(const struct variant *variant, uint64_t index);
/* What is below becomes what the variant says. Its pages must be in a slab that lasts. 0 or -1. */
int content_take(struct content *content, const struct variant *variant);

/* Visits the pages that are no holes, in order. */
struct variant_walk {
	size_t below, over;
};
const struct page *variant_next(const struct variant *variant, struct variant_walk *walk);

#endif
