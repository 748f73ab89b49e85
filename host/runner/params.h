/* SPDX-License-Identifier: Apache-2.0 */
/* Typed parameters: name=value pairs against a plugin's table. Used by the runner to fill call->values and by the host
 * to check before anything is started, so that both say the same. */
#ifndef TRITONE_RUNNER_PARAMS_H
#define TRITONE_RUNNER_PARAMS_H

#include <stdbool.h>
#include <stddef.h>

#include "tritone/fault.h"
#include "wal/error.h"

#define PARAMS_MAX 64u

/* Is the table itself sound (names, types, ranges, choices, defaults that parse)? ENOEXEC with what is wrong. */
int params_check_table(const struct tritone_param *table, uint32_t count, struct error *err);

/*
 * Fills *ret_values (`count` of them, for params_free) from defaults and pairs. EINVAL names the parameter, its type,
 * range and unit, and the nearest known name. The values do not point into `pairs`.
 */
int params_parse(struct tritone_value **ret_values, const struct tritone_param *table, uint32_t count,
    const char *const *pairs, size_t pair_count, struct error *err);
/* Only checks them. `later` (may be NULL) marks pairs whose values are not known yet: their names are checked. *ret_wrong is the pair that
 * is wrong; pair_count: none of them, but one is missing. */
int params_check(const struct tritone_param *table, uint32_t count, const char *const *pairs, const bool *later,
    size_t pair_count, size_t *ret_wrong, struct error *err);
void params_free(struct tritone_value *values, uint32_t count);

/* Pairs as one text, one a line, and back; *ret_pairs is one allocation: free() it. */
int params_join(char *ret, size_t size, const char *const *pairs, size_t pair_count, struct error *err);
int params_split(char ***ret_pairs, size_t *ret_count, const char *text, struct error *err);

/* "string", "integer", ... or "unknown". */
const char *params_type_name(uint32_t type);
/* "1 to 100", "0ms to 60000ms", "TERM|KILL", or "" when unbounded. */
void params_range(char *ret, size_t size, const struct tritone_param *param);

#endif
