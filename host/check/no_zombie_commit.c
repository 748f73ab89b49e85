/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nothing lands from an attempt after a later one was seen at work, nor from an epoch older than one that has landed. Opportunity: each
 * attempt that was superseded, and each take-over to a higher epoch in the ledger.
 */
#include <inttypes.h>
#include <string.h>

#include "check/facts.h"
#include "check/invariants.h"

/* An attempt of the commit's task that is higher than the commit's, seen at work before it; OP_NONE when there is none. */
static uint64_t superseded_by(const struct history_view *view, const struct op *commit)
{
	uint64_t i;

	for (i = 0; i < commit->index; i++) {
		const struct op *op = &view->ops[i];

		if (op->kind == OP_CALL && op->type == OP_INVOKE && op->attempt > commit->attempt &&
		    !strcmp(op->task, commit->task))
			return i;
	}
	return OP_NONE;
}

static void judge_epochs(const struct history_view *view, struct check_result *result)
{
	uint64_t highest_at = OP_NONE;
	uint64_t i;

	for (i = 0; i < view->count; i++) {
		const struct op *op = &view->ops[i];

		if (op->kind != OP_COMMIT || op->epoch == 0)
			continue;
		if (highest_at == OP_NONE) {
			highest_at = i;
		} else if (op->epoch > view->ops[highest_at].epoch) {
			result->opportunities++;
			highest_at = i;
		} else if (op->epoch < view->ops[highest_at].epoch) {
			const uint64_t evidence[] = {highest_at, i};

			check_violation(result, evidence, 2,
			    "commit %.10s of task %s landed with epoch %" PRId64 " after epoch %" PRId64
			    " had taken over",
			    op->key, op->task, op->epoch, view->ops[highest_at].epoch);
		}
	}
}

static void run(const struct history_view *view, const struct check_config *config, struct check_result *result)
{
	struct facts facts;
	uint64_t attempts = 0, i;

	(void)config;
	check_begin(result);
	facts_gather(&facts, view);
	for (i = 0; i < facts.count; i++)
		if (facts.tasks[i].attempt_max > 1)
			attempts += (uint64_t)facts.tasks[i].attempt_max - 1;
	result->opportunities = attempts;
	for (i = 0; attempts && i < view->count; i++) {
		const struct op *op = &view->ops[i];
		uint64_t evidence[2];

		if (op->kind != OP_COMMIT || op->attempt == 0 || !op->task[0])
			continue;
		if (facts_task(&facts, op->task)->attempt_max <= op->attempt)
			continue;
		evidence[0] = superseded_by(view, op);
		evidence[1] = i;
		if (evidence[0] != OP_NONE)
			check_violation(result, evidence, 2,
			    "commit %.10s of task %s is from attempt %" PRId64 ", landed %.0f ms after attempt %" PRId64
			    " was at work",
			    op->key, op->task, op->attempt,
			    (double)(op->time_us - view->ops[evidence[0]].time_us) / 1e3,
			    view->ops[evidence[0]].attempt);
	}
	judge_epochs(view, result);
	check_end(result, "%" PRIu64 " attempts superseded, %" PRIu64 " zombie commits", attempts, result->violations);
	facts_finish(&facts);
}

const struct check check_no_zombie_commit = {
    .name = "no-zombie-commit",
    .summary = "nothing lands from an attempt after it was given up",
    .run = run,
};
