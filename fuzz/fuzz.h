/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fuzz targets share. Each fuzz_NAME.c is libFuzzer's entry point, linked with libFuzzer in a build with
 * -Dfuzz=true, and with replay.c otherwise: then it runs once over each file of fuzz/corpus/NAME, in the unit tests. What
 * must hold is asserted; a target that returns has found nothing.
 */
#ifndef TRITONE_FUZZ_FUZZ_H
#define TRITONE_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#define MUST(what)                                                                                                     \
	do {                                                                                                           \
		if (!(what)) {                                                                                         \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #what);                      \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

/* Takes bytes from the front of an input; zeros behind its end. */
struct taker {
	const uint8_t *bytes;
	size_t size;
};

static inline uint64_t take(struct taker *taker, unsigned width)
{
	uint64_t value = 0;

	for (; width && taker->size; width--, taker->size--)
		value = value << 8 | *taker->bytes++;
	return value;
}

/* A file in memory with these bytes; its path goes to `path`. Returns the descriptor, to be closed. */
int fuzz_file(const uint8_t *bytes, size_t size, char path[32]);

/* A directory of this process, in memory where there is such a file system; removed at exit. */
const char *fuzz_dir(void);

#endif
