/* SPDX-License-Identifier: Apache-2.0 */
/* The table behind spec_check_config, for the loaders (which refuse unknown names at once) and for the manual pages. */
#ifndef TRITONE_SPEC_POLICY_H
#define TRITONE_SPEC_POLICY_H

#include <stddef.h>

#include "spec/spec.h"

enum policy_type {
	POLICY_COUNT = 1,   /* uint64_t */
	POLICY_FRACTION,    /* double, 0..1 */
	POLICY_TIME,        /* uint64_t, microseconds; a duration in files */
	POLICY_TIME_DOUBLE, /* the same in a double */
};

struct policy_row {
	const char *key; /* in a manifest's `policy` */
	enum policy_type type;
	size_t offset;         /* in struct check_config */
	const char *invariant; /* whose parameter it is, too: by its key, or as */
	const char *parameter; /* this shorter name; NULL: none */
	const char *help;
};

extern const struct policy_row policy_rows[]; /* ends with a NULL key */
/* Is it accepted without being the checker's: a duration that the loader takes out? */
bool policy_taken(const char *invariant, const char *parameter);

/* The names of all invariants, NULL-terminated: what an unknown one is compared with. */
#define POLICY_INVARIANTS_MAX 31
void policy_invariant_names(const char *ret[POLICY_INVARIANTS_MAX + 1]);

/* Only the numbers that `policy` names are set. EINVAL with the place in `file`. */
int policy_apply(const struct spec_pairs *policy, const char *file, struct check_config *config, struct error *err);
int policy_invariant_apply(
    const struct spec_invariant *invariant, const char *file, struct check_config *config, struct error *err);

/* The key that a parameter's shorter name stands for; the name itself when it is none. */
const char *policy_key(const char *invariant, const char *parameter);

#endif
