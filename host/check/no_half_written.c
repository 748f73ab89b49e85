/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No partial or temporary file is left in the state directory, and each state file parses whenever somebody looks. Opportunity: each look
 * at a state file.
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

		if (op->kind != OP_STATEFILE)
			continue;
		result->opportunities++;
		if (op->type == OP_FAIL)
			check_violation(result, evidence, 1, "%s: %s", op->actor, op->detail);
	}
	check_end(result, "%" PRIu64 " looks at state files, %" PRIu64 " found half-written", result->opportunities,
	    result->violations);
}

const struct check check_no_half_written = {
    .name = "no-half-written",
    .summary = "no partial or temporary file is left; each state file parses",
    .run = run,
};
