/* SPDX-License-Identifier: Apache-2.0 */
/* At most one commit for each task, in the ledger itself. Opportunity: each commit that names a task. */
#include <inttypes.h>

#include "check/facts.h"
#include "check/invariants.h"

static void run(const struct history_view *view, const struct check_config *config, struct check_result *result)
{
	struct facts facts;
	uint64_t twice = 0;
	size_t i;

	check_begin(result);
	facts_gather(&facts, view);
	for (i = 0; i < facts.count; i++) {
		const struct task_facts *t = &facts.tasks[i];
		const struct op *first, *second;
		uint64_t evidence[3];

		result->opportunities += t->commits;
		if (t->other_commit == OP_NONE)
			continue;
		twice++;
		first = &view->ops[t->first_commit];
		evidence[0] = t->accepted;
		evidence[1] = t->first_commit;
		evidence[2] = t->other_commit;
		second = &view->ops[evidence[2]];
		check_violation(result, evidence, 3,
		    "task %s was committed %" PRIu64 " times: %.10s (attempt %" PRId64 ") and %.10s (attempt %" PRId64
		    ")%s",
		    t->task, t->commits, first->key, first->attempt, second->key, second->attempt,
		    config->promises_exactly_once ? "" : "; the system does not promise exactly-once");
	}
	check_end(result, "%" PRIu64 " commits, %" PRIu64 " tasks committed twice", result->opportunities, twice);
	facts_finish(&facts);
}

const struct check check_no_duplicate_commit = {
    .name = "no-duplicate-commit",
    .summary = "at most one commit for each task, in the ledger itself",
    .run = run,
};
