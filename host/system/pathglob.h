/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Globs over whole paths, as manifests write them: '*' and '?' stay within one name, a component
 * '**' crosses directories (none included), and all of them match a leading dot.
 */
#ifndef TRITONE_SYSTEM_PATHGLOB_H
#define TRITONE_SYSTEM_PATHGLOB_H

#include <stdbool.h>
#include <stddef.h>

bool pathglob_match(const char *pattern, const char *path);
/* As pathglob_match; what the first '*' matched goes to ret (empty when the pattern has none, or
 * when it does not fit). */
bool pathglob_capture(const char *pattern, const char *path, char *ret, size_t size);
/* Could a path below directory `dir` match? True rather than false when in doubt. */
bool pathglob_may_hold(const char *pattern, const char *dir);
/* The pattern with `text` in place of its first '*'. False when it does not fit. */
bool pathglob_fill(const char *pattern, const char *text, char *ret, size_t size);
/* The directory above the first component with a wildcard (or above the last component). */
bool pathglob_root(const char *pattern, char *ret, size_t size);

#endif
