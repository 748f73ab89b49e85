/* SPDX-License-Identifier: Apache-2.0 */
/* minimal: one finding as something to look at: the state in a directory that can be opened, what reached the disk
 * and what did not, and the trace to come by it again. */
#ifndef TRITONE_CRASH_MINIMAL_H
#define TRITONE_CRASH_MINIMAL_H

#include <stdio.h>

#include "crash/explore.h"

/* What is in `dir`, which is created, with its parents: state/ (the files), acknowledged (the lines), operations (with
 * the fate of each), trace. `finding` must come from an exploration with these options. EEXIST: it has a state already,
 * which is left alone. */
int minimal_write(const struct trace *trace, const struct explore_options *options,
    const struct explore_finding *finding, const char *dir, struct error *err);

/* The operations from the first one on that is not durable, at most `lines_max` of them. */
int minimal_print(const struct trace *trace, const struct explore_options *options,
    const struct explore_finding *finding, FILE *out, unsigned lines_max, struct error *err);

#endif
