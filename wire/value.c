/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/value.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

/* What follows the first byte, for 0xc0 to 0xdf. */
static const struct {
	uint8_t count_width; /* bytes of a count */
	uint8_t unit;        /* bytes for each of the count */
	uint8_t members;     /* values for each of the count */
	uint8_t fixed;       /* bytes besides */
} heads[32] = {
    /* c0 nil, c2 and c3 bool */ {0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0},
    /* c4 bin */ {1, 1, 0, 0}, {2, 1, 0, 0}, {4, 1, 0, 0},
    /* c7 ext */ {1, 1, 0, 1}, {2, 1, 0, 1}, {4, 1, 0, 1},
    /* ca float */ {0, 0, 0, 4}, {0, 0, 0, 8},
    /* cc uint */ {0, 0, 0, 1}, {0, 0, 0, 2}, {0, 0, 0, 4}, {0, 0, 0, 8},
    /* d0 int */ {0, 0, 0, 1}, {0, 0, 0, 2}, {0, 0, 0, 4}, {0, 0, 0, 8},
    /* d4 fixext */ {0, 0, 0, 2}, {0, 0, 0, 3}, {0, 0, 0, 5}, {0, 0, 0, 9}, {0, 0, 0, 17},
    /* d9 str */ {1, 1, 0, 0}, {2, 1, 0, 0}, {4, 1, 0, 0},
    /* dc array */ {2, 0, 1, 0}, {4, 0, 1, 0},
    /* de map */ {2, 0, 2, 0}, {4, 0, 2, 0}};

/* Is there a byte at least for each value that is announced, and none behind the last? */
static bool bounded(const uint8_t *bytes, size_t size)
{
	uint64_t pending = 1, skip, count;
	size_t at = 0;
	unsigned i;

	while (pending) {
		const uint8_t first = at < size ? bytes[at] : 0;

		if (pending > size - at)
			return false;
		at++;
		pending--;
		skip = 0;
		if (first >= 0x80 && first < 0x90) {
			pending += 2u * (first & 0x0fu);
		} else if (first >= 0x90 && first < 0xa0) {
			pending += first & 0x0fu;
		} else if (first >= 0xa0 && first < 0xc0) {
			skip = first & 0x1fu;
		} else if (first >= 0xc0 && first < 0xe0) {
			if (heads[first - 0xc0].count_width > size - at)
				return false;
			for (count = 0, i = 0; i < heads[first - 0xc0].count_width; i++)
				count = count << 8 | bytes[at++];
			pending += count * heads[first - 0xc0].members;
			skip = count * heads[first - 0xc0].unit + heads[first - 0xc0].fixed;
		}
		if (skip > size - at)
			return false;
		at += (size_t)skip;
	}
	return at == size;
}

int value_unpack(msgpack_unpacked *unpacked, const void *bytes, size_t size, struct error *err)
{
	size_t used = 0;

	if (!bounded(bytes, size) || msgpack_unpack_next(unpacked, bytes, size, &used) != MSGPACK_UNPACK_SUCCESS ||
	    used != size)
		return error_set(err, EILSEQ, "%zu bytes that are not one msgpack value", size);
	return 0;
}
