/* SPDX-License-Identifier: Apache-2.0 */
/*
 * self: the explorer at itself. wal/ must hold in every state; libraries that promise durability must; and those that
 * were told not to keep their promise (the canaries) must be found not to.
 */
#ifndef TRITONE_CRASH_SELF_H
#define TRITONE_CRASH_SELF_H

#include "crash/explore.h"

enum self_expectation {
	SELF_HOLDS,
	SELF_LOSES_NOTHING, /* it may refuse to open what was never completed, by name */
	SELF_LOSES,         /* a canary: some state must deviate */
	SELF_EITHER,        /* known to be weak at the edges: shown, not judged */
};

struct self_row {
	const char *name, *summary;
	enum self_expectation expected;
	struct explore_result result;
	bool as_expected;
};

typedef void (*self_row_fn)(void *arg, const struct self_row *row);

/* `base`: kinds, seed, jobs, work, interrupted are taken from it. *ret_ok: all rows are as expected. */
int self_run(const struct explore_options *base, self_row_fn row, void *arg, bool *ret_ok, struct error *err);

#endif
