/* SPDX-License-Identifier: Apache-2.0 */
/* What several verbs read in the same way; see options.h. */
#include "cli/options.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

const char *cli_state_root(void)
{
	const char *root = getenv("TRITONE_STATE");

	return root && *root ? root : ".tritone";
}

uint64_t cli_seed(const char *text)
{
	uint64_t seed;
	char *end;

	if (!text)
		text = getenv("TRITONE_SEED");
	if (text && *text) {
		errno = 0;
		seed = strtoull(text, &end, 0);
		if (!errno && *end == '\0' && text[0] != '-')
			return seed;
		return XXH3_64bits(text, strlen(text));
	}
	if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
		seed = 1;
	return seed & 0xffffffff; /* short enough to be typed */
}

int cli_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	unsigned long long number;
	char *end;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno || *text < '0' || *text > '9' || *end || number < min || number > max)
		return -1;
	*ret = number;
	return 0;
}

int cli_usage(const char *verb, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "tritone %s: ", verb);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "; see tritone %s --help\n", verb);
	return 2;
}
