/* SPDX-License-Identifier: Apache-2.0 */
/* What every figure is made of: a monotonic clock and a median. */
#ifndef TRITONE_BENCH_MEDIAN_H
#define TRITONE_BENCH_MEDIAN_H

#include <stddef.h>
#include <stdlib.h>
#include <time.h>

static inline double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static inline int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Sorts `values`, and gives the one below which the part `part` of them lies. */
static inline double quantile(double *values, size_t count, double part)
{
	qsort(values, count, sizeof *values, by_value);
	return values[(size_t)((double)(count - 1) * part + 0.5)];
}

static inline double median(double *values, size_t count)
{
	return quantile(values, count, 0.5);
}

#endif
