/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every accepted task reaches a terminal state: a commit in the ledger, or a failure that the system owns up to. "Done" without a
 * commit is lost. Opportunity: each accepted task.
 */
#include <inttypes.h>

#include "check/facts.h"
#include "check/invariants.h"

static void run(const struct history_view *view, const struct check_config *config, struct check_result *result)
{
	struct facts facts;
	uint64_t committed = 0, given_up = 0;
	size_t i;

	check_begin(result);
	facts_gather(&facts, view);
	for (i = 0; i < facts.count; i++) {
		const struct task_facts *t = &facts.tasks[i];
		const uint64_t evidence[] = {t->submitted, t->accepted, t->done, t->last_seen};

		if (t->accepted == OP_NONE)
			continue;
		result->opportunities++;
		if (t->first_commit != OP_NONE) {
			committed++;
		} else if (t->done != OP_NONE) {
			check_violation(result, evidence, 4,
			    "task %s was accepted and called done, but the ledger has no commit of it", t->task);
		} else if (t->given_up != OP_NONE) {
			given_up++;
		} else {
			check_violation(result, evidence, 4,
			    "task %s was accepted at %.3f s and never finished, nor was it given up", t->task,
			    (double)view->ops[t->accepted].time_us / 1e6);
			check_permit(result, config->commits == CHECK_AT_MOST_ONCE);
		}
	}
	check_end(result, "%" PRIu64 " accepted, %" PRIu64 " committed, %" PRIu64 " given up, %" PRIu64 " lost",
	    result->opportunities, committed, given_up, result->violations);
	facts_finish(&facts);
}

const struct check check_no_lost_task = {
    .name = "no-lost-task",
    .summary = "every accepted task reaches a terminal state within the limit",
    .run = run,
};
