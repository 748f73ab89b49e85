/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SLO and error-budget arithmetic. Pure functions. Error budget as in the SRE workbook (Beyer et
 * al., 2018, chapter 2): budget = (1 - target) x events in the window, here at least SLO_BUDGET_MIN
 * failures; burn rate = failure fraction / (1 - target).
 */
#ifndef TRITONE_SLO_H
#define TRITONE_SLO_H

#include <stddef.h>
#include <stdint.h>

#define SLO_BUDGET_MIN 3.0 /* failures */

enum slo_status {
	SLO_GREEN = 0, /* more than half of the budget is left */
	SLO_YELLOW,    /* some is left */
	SLO_RED,       /* none is left */
};

struct slo_budget {
	double total;     /* failures allowed in the window */
	double remaining; /* >= 0 */
	double fraction;  /* remaining / total, 0..1 */
	double burn_rate; /* 1: exactly the budget over the window */
	enum slo_status status;
};

const char *slo_status_name(enum slo_status status); /* "green" ... */

/* target in (0, 1]; failed <= events. No events: a full budget, green. */
struct slo_budget slo_budget(double target, uint64_t events, uint64_t failed);

/* The q-quantile (0..1, nearest rank) of `count` values, which are sorted in place. 0 when there
 * are none. */
double slo_quantile(double *values, size_t count, double q);

/* A sliding window over the last `size` outcomes (1 = failed), in the caller's memory. */
struct slo_window {
	uint8_t *outcomes;
	size_t size, next, count;
	uint64_t failed;
};
void slo_window_init(struct slo_window *window, uint8_t *memory, size_t size);
void slo_window_add(struct slo_window *window, int failed);

#endif
