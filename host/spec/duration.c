/* SPDX-License-Identifier: Apache-2.0 */
/* Durations as people write them. By hand and in whole numbers: strtod would take "inf", "0x1p3" and the locale. */
#include "spec/spec.h"

#include <errno.h>
#include <string.h>

#define DURATION_MAX_MS (366ll * 24 * 3600 * 1000)
#define DIGITS_MAX      12

static const struct {
	const char *name;
	int64_t ms;
} units[] = {{"ms", 1}, {"s", 1000}, {"", 1000}, {"m", 60000}, {"h", 3600000}};

static int refuse(const char *text, const char *why, struct error *err)
{
	return error_set(err, EINVAL, "expected a duration such as 250ms, 2s or 1m, found '%.40s'%s", text, why);
}

/* Digits before and after the point as one number, and how many came after it. Returns what follows them, or NULL. */
static const char *digits(const char *text, int64_t *ret_number, int64_t *ret_scale)
{
	int64_t number = 0, scale = 1;
	int count = 0, before = 0;
	const char *p = text;

	for (; *p >= '0' && *p <= '9'; p++, before++) {
		if (++count > DIGITS_MAX)
			return NULL;
		number = number * 10 + (*p - '0');
	}
	if (!before)
		return NULL;
	if (*p == '.') {
		p++;
		if (*p < '0' || *p > '9')
			return NULL;
		for (; *p >= '0' && *p <= '9'; p++) {
			if (++count > DIGITS_MAX)
				return NULL;
			number = number * 10 + (*p - '0');
			scale *= 10;
		}
	}
	*ret_number = number;
	*ret_scale = scale;
	return p;
}

int spec_duration(const char *text, int64_t *ret_ms, struct error *err)
{
	int64_t number, scale, ms = 0;
	const char *rest = digits(text, &number, &scale);
	size_t i;

	if (!rest)
		return refuse(text, "", err);
	while (*rest == ' ')
		rest++;
	for (i = 0; i < sizeof units / sizeof *units; i++)
		if (!strcmp(rest, units[i].name))
			ms = units[i].ms;
	if (!ms)
		return refuse(text, "", err);
	/* number < 10^12 and ms < 10^7: the product fits */
	if (number * ms % scale)
		return refuse(text, ", which is finer than a millisecond", err);
	if (number * ms / scale > DURATION_MAX_MS)
		return refuse(text, ", which is longer than a year", err);
	*ret_ms = number * ms / scale;
	return 0;
}
