/* SPDX-License-Identifier: Apache-2.0 */
/*
 * self: the explorer at itself. wal/ must hold in every state; libraries that promise durability must; and those that
 * were told not to keep their promise (the canaries) must be found not to: an explorer that does not see what a manual
 * says may be lost is blind.
 */
#ifndef TRITONE_CRASH_SELF_H
#define TRITONE_CRASH_SELF_H

#include "crash/explore.h"

#define SELF_BIT(outcome) (1u << (outcome))

struct self_row {
	const char *name;
	const char *expected; /* in words */
	unsigned kinds;       /* of the model */
	unsigned must;        /* SELF_BIT of each outcome that is to be found: a canary */
	unsigned may;         /* of those that are no fault if they are; any other is one */
	struct explore_result result;
	bool as_expected;
	char reason[300]; /* if it is not */
	/* What shows that it is not, if a state does; with these, which last as long as the call, minimal_write comes to it. */
	const struct explore_finding *against;
	const struct explore_options *options;
	const struct trace *trace;
};

typedef void (*self_row_fn)(void *arg, const struct self_row *row);

/*
 * `base`: seed, jobs, work, interrupted are taken from it, states_max if it is more than a row has, for a longer look, and
 * recovery_max (UINT64_MAX: as a row has it). *ret_ok: all rows are as expected.
 */
int self_run(const struct explore_options *base, self_row_fn row, void *arg, bool *ret_ok, struct error *err);

#endif
