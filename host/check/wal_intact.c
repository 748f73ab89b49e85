/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system's own log: the chain verifies, the state equals what replay gives, and a crash during recovery changes nothing. The
 * observations are made after the run (system_audit); this is their judge. Opportunity: each of them.
 */
#include <inttypes.h>

#include "check/invariants.h"

static void run(const struct history_view *view, const struct check_config *config, struct check_result *result)
{
	size_t i;

	(void)config;
	check_begin(result);
	for (i = 0; i < view->count; i++) {
		const struct op *op = &view->ops[i];
		const uint64_t evidence[] = {i};

		if (op->kind != OP_WAL || (op->type != OP_OK && op->type != OP_FAIL))
			continue;
		result->opportunities++;
		if (op->type == OP_FAIL)
			check_violation(result, evidence, 1, "%s: %s", op->actor, op->detail);
	}
	check_end(
	    result, "%" PRIu64 " checks of the log, %" PRIu64 " failed", result->opportunities, result->violations);
}

const struct check check_wal_intact = {
    .name = "wal-intact",
    .summary = "the log's chain verifies, state = replay(log), recovery twice is recovery once",
    .run = run,
};
