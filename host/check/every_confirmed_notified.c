/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Confirmed minus notified is empty: each task in the ledger reached the sink (a 2xx), within the limit, counted from its commit or
 * from the end of the last fault, whichever is later. Where that is promised, all notifications of a task that was committed once have the
 * same key: else the sink cannot tell the second from another. Opportunity: each committed task.
 */
#include <inttypes.h>

#include "check/facts.h"
#include "check/invariants.h"

static void judge_key(const struct history_view *view, const struct task_facts *t, const struct check_config *config,
    struct check_result *result)
{
	const uint64_t evidence[] = {t->first_commit, t->told, t->told_otherwise};

	if (config->notify_keys && t->told_otherwise != OP_NONE && t->other_commit == OP_NONE)
		check_violation(result, evidence, 3,
		    "task %s was notified as %s, then as %s: the sink cannot know it again", t->task,
		    view->ops[t->told].key, view->ops[t->told_otherwise].key);
}

static void run(const struct history_view *view, const struct check_config *config, struct check_result *result)
{
	struct facts facts;
	uint64_t notified = 0, healed_us;
	size_t i;

	check_begin(result);
	if (!config->notifies) {
		check_end(result, "the system has no sink to be told of its commits");
		return;
	}
	facts_gather(&facts, view);
	healed_us = op_time(view, facts.last_revert, 0);
	for (i = 0; i < facts.count; i++) {
		const struct task_facts *t = &facts.tasks[i];
		const uint64_t evidence[] = {t->first_commit, t->notified, t->last_seen};
		uint64_t due_us;

		if (t->first_commit == OP_NONE)
			continue;
		result->opportunities++;
		judge_key(view, t, config, result);
		due_us = view->ops[t->first_commit].time_us;
		if (due_us < healed_us)
			due_us = healed_us;
		due_us += config->notify_limit_us;
		if (t->notified == OP_NONE) {
			check_violation(result, evidence, 3, "task %s was committed (%.10s) and never notified",
			    t->task, view->ops[t->first_commit].key);
			check_permit(result, config->notifications == CHECK_AT_MOST_ONCE);
		} else if (view->ops[t->notified].time_us > due_us) {
			check_violation(result, evidence, 2,
			    "task %s was notified %.1f s after its commit, past the limit of %.1f s", t->task,
			    (double)(view->ops[t->notified].time_us - view->ops[t->first_commit].time_us) / 1e6,
			    (double)config->notify_limit_us / 1e6);
		} else {
			notified++;
		}
	}
	check_end(result, "%" PRIu64 " committed, %" PRIu64 " notified in time", result->opportunities, notified);
	facts_finish(&facts);
}

const struct check check_every_confirmed_notified = {
    .name = "every-confirmed-notified",
    .summary = "every committed task is notified within the limit",
    .run = run,
};
