/* SPDX-License-Identifier: Apache-2.0 */
/* Hashes of 128 bits, added up. */
#include "crash/digest.h"

#include <xxhash.h>

void digest_add(struct digest *to, struct digest what)
{
	to->low += what.low;
	to->high += what.high;
}

void digest_remove(struct digest *from, struct digest what)
{
	from->low -= what.low;
	from->high -= what.high;
}

struct digest digest_of(const void *bytes, size_t size, uint64_t seed)
{
	const XXH128_hash_t hash = XXH3_128bits_withSeed(bytes, size, seed);

	return (struct digest){hash.low64, hash.high64};
}

bool digest_equal(struct digest a, struct digest b)
{
	return a.low == b.low && a.high == b.high;
}
