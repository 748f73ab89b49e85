/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ${variables} of a manifest. A port is chosen at its first use, outside the range from which
 * the kernel serves outgoing connections, so that it stays free while its owner is being restarted.
 * Thread-safe.
 */
#ifndef TRITONE_SYSTEM_VARIABLES_H
#define TRITONE_SYSTEM_VARIABLES_H

#include <stdint.h>

#include "spec/spec.h"
#include "wal/error.h"

struct variables;

struct variables_options {
	const char *run_dir, *state_dir;
	const char *gateway, *manifest_dir; /* may be NULL: no such variable */
	uint64_t seed;
};

int variables_create(struct variables **ret_variables, const struct variables_options *options, struct error *err);
/* What ${install} is from here on; before any other thread looks. */
int variables_install(struct variables *variables, const char *dir, struct error *err);
void variables_destroy(struct variables *variables); /* NULL is fine */
/* A spec_lookup_fn; what it returns lives as long as the variables. NULL: unknown, or no free port. */
const char *variables_lookup(void *variables, const char *name);

/* Expands a whole argv. *ret is NULL-terminated; free with strings_free. `more` (may be NULL) is added as it is. */
int variables_expand_all(char ***ret, const struct spec_strings *items, const struct spec_strings *more,
    spec_lookup_fn lookup, void *arg, struct error *err);
void strings_free(char **items); /* NULL is fine */

/*
 * The environment of a process of the system: ours without proxies, without our own TRITONE_ variables and without the API keys that
 * the manifest's upstreams are asked with, which are not for the system, plus `pairs` expanded, plus TRITONE_FAULTPOINTS=table (may be NULL).
 */
int variables_environment(char ***ret, const struct spec_manifest *manifest, const struct spec_pairs *pairs,
    const char *table, spec_lookup_fn lookup, void *arg, struct error *err);

#endif
