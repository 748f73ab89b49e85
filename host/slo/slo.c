/* SPDX-License-Identifier: Apache-2.0 */
/* SLO and error-budget arithmetic; see slo.h. */
#include "slo/slo.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

const char *slo_status_name(enum slo_status status)
{
	switch (status) {
	case SLO_GREEN:
		return "green";
	case SLO_YELLOW:
		return "yellow";
	case SLO_RED:
		return "red";
	}
	return "unknown";
}

struct slo_budget slo_budget(double target, uint64_t events, uint64_t failed)
{
	struct slo_budget b = {.status = SLO_GREEN};

	assert(target > 0 && target <= 1 && failed <= events);
	b.total = (1 - target) * (double)events;
	if (b.total < SLO_BUDGET_MIN)
		b.total = SLO_BUDGET_MIN;
	b.remaining = b.total - (double)failed;
	if (b.remaining < 0)
		b.remaining = 0;
	b.fraction = b.remaining / b.total;
	if (events && target < 1)
		b.burn_rate = (double)failed / (double)events / (1 - target);
	/* The budget is a number of failures: less than one more allowed failure is none. */
	if (b.remaining < 1 && failed)
		b.status = SLO_RED;
	else if (b.fraction <= 0.5)
		b.status = SLO_YELLOW;
	return b;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double slo_quantile(double *values, size_t count, double q)
{
	size_t rank;

	if (!count)
		return 0;
	assert(q >= 0 && q <= 1);
	qsort(values, count, sizeof *values, by_value);
	rank = (size_t)(q * (double)count);
	if ((double)rank < q * (double)count)
		rank++; /* nearest rank: ceil(q n), 1-based */
	if (rank == 0)
		rank = 1;
	return values[rank - 1];
}

void slo_window_init(struct slo_window *window, uint8_t *memory, size_t size)
{
	assert(size > 0);
	memset(window, 0, sizeof *window);
	window->outcomes = memory;
	window->size = size;
}

void slo_window_add(struct slo_window *window, int failed)
{
	if (window->count == window->size)
		window->failed -= window->outcomes[window->next];
	else
		window->count++;
	window->outcomes[window->next] = failed != 0;
	window->failed += failed != 0;
	window->next = (window->next + 1) % window->size;
}
