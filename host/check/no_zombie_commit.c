/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nothing lands from an attempt after a later one was seen at work, nor from an epoch older than one that has landed. Opportunity: each
 * attempt that was superseded, and each take-over to a higher epoch in the ledger.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "check/facts.h"
#include "check/invariants.h"

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

/* Each commit against the highest attempt of its task that was seen at work before it. */
static uint64_t judge_attempts(const struct history_view *view, const struct facts *facts, struct check_result *result)
{
	uint64_t *highest = facts_need(malloc((facts->count + 1) * sizeof *highest)), superseded = 0, i;

	for (i = 0; i < facts->count; i++) {
		highest[i] = OP_NONE;
		if (facts->tasks[i].attempt_max > 1)
			superseded += (uint64_t)facts->tasks[i].attempt_max - 1;
	}
	for (i = 0; superseded && i < view->count; i++) {
		const struct op *op = &view->ops[i];
		bool call = op->kind == OP_CALL && op->type == OP_INVOKE;
		uint64_t *at;

		if ((!call && op->kind != OP_COMMIT) || op->attempt == 0 || !op->task[0])
			continue;
		at = &highest[facts_task(facts, op->task) - facts->tasks];
		if (call) {
			if (*at == OP_NONE || op->attempt > view->ops[*at].attempt)
				*at = i;
		} else if (*at != OP_NONE && view->ops[*at].attempt > op->attempt) {
			const uint64_t evidence[] = {*at, i};

			check_violation(result, evidence, 2,
			    "commit %.10s of task %s is from attempt %" PRId64 ", landed %.0f ms after attempt %" PRId64
			    " was at work",
			    op->key, op->task, op->attempt, (double)(op->time_us - view->ops[*at].time_us) / 1e3,
			    view->ops[*at].attempt);
		}
	}
	free(highest);
	return superseded;
}

static void run(const struct history_view *view, const struct check_config *config, struct check_result *result)
{
	struct facts facts;
	uint64_t superseded;

	(void)config;
	check_begin(result);
	facts_gather(&facts, view);
	superseded = judge_attempts(view, &facts, result);
	result->opportunities += superseded;
	judge_epochs(view, result);
	check_end(
	    result, "%" PRIu64 " attempts superseded, %" PRIu64 " zombie commits", superseded, result->violations);
	facts_finish(&facts);
}

const struct check check_no_zombie_commit = {
    .name = "no-zombie-commit",
    .summary = "nothing lands from an attempt after it was given up",
    .run = run,
};
