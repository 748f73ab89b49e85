/* SPDX-License-Identifier: Apache-2.0 */
/* Samples of Prometheus' text format, and conditions on them. Pure. */
#ifndef TRITONE_SYSTEM_METRICS_H
#define TRITONE_SYSTEM_METRICS_H

#include <stdbool.h>

#include "wal/error.h"

struct metrics_condition {
	char name[128];
	char labels[256]; /* what stands between the braces, "" if none */
	char comparison[3];
	double bound;
};

/* 'NAME{LABEL="VALUE",...} >= NUMBER'; >=, <=, >, <, == and !=. EINVAL with what is wrong. */
int metrics_condition(struct metrics_condition *ret, const char *text, struct error *err);
/* The first sample of that name that has those labels. False: there is none. */
bool metrics_find(const char *text, const struct metrics_condition *condition, double *ret_value);
bool metrics_holds(const struct metrics_condition *condition, double value);

#endif
