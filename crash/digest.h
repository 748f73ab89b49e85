/* SPDX-License-Identifier: Apache-2.0 */
/* digest: what is equal has equal ones; of a set, in any order, the sum of its members'. */
#ifndef TRITONE_CRASH_DIGEST_H
#define TRITONE_CRASH_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct digest {
	uint64_t low, high;
};

struct digest digest_of(const void *bytes, size_t size, uint64_t seed);
void digest_add(struct digest *to, struct digest what);
void digest_remove(struct digest *from, struct digest what);
bool digest_equal(struct digest a, struct digest b);

#endif
