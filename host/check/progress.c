/* SPDX-License-Identifier: Apache-2.0 */
/*
 * While accepted tasks are open, something happens at least every `progress limit`: a call, a commit, a notification, an agent, a
 * restart; that somebody hands in more is none. Time while a fault is in force does not count (a system may wait a fault out).
 * Opportunity: each task that was open at some time.
 */
#include <inttypes.h>

#include "check/facts.h"
#include "check/invariants.h"

struct watch {
	const struct history_view *view;
	const struct check_config *config;
	struct check_result *result;
	uint64_t last;          /* index of the last activity, OP_NONE before the first */
	uint64_t quiet_from_us; /* the gap counts from here */
	uint64_t faults;        /* in force */
	uint64_t open;          /* tasks */
	uint64_t longest_us;
};

static bool is_activity(const struct op *op)
{
	return op->kind == OP_CALL || op->kind == OP_COMMIT || op->kind == OP_NOTIFY || op->kind == OP_AGENT ||
	       op->kind == OP_SYSTEM;
}

static void judge_gap(struct watch *w, const struct op *next)
{
	uint64_t gap = next->time_us > w->quiet_from_us ? next->time_us - w->quiet_from_us : 0;
	const uint64_t evidence[] = {w->last, next->index};

	if (w->open == 0 || w->faults)
		return;
	if (gap > w->longest_us)
		w->longest_us = gap;
	if (gap > w->config->progress_limit_us)
		check_violation(w->result, evidence, 2,
		    "%" PRIu64 " tasks were open and nothing happened for %.1f s (limit %.1f s)", w->open,
		    (double)gap / 1e6, (double)w->config->progress_limit_us / 1e6);
}

static void follow_tasks(struct watch *w, const struct facts *facts, const struct op *op)
{
	const struct task_facts *t = op->task[0] ? facts_task(facts, op->task) : NULL;

	if (!t || t->accepted == OP_NONE)
		return;
	if (t->accepted == op->index) {
		if (w->open == 0)
			w->quiet_from_us = op->time_us; /* before, there was nothing to do */
		w->open += t->first_commit == OP_NONE || t->first_commit > op->index;
		w->result->opportunities++;
	} else if ((t->first_commit == op->index && t->accepted < op->index) ||
		   (t->first_commit == OP_NONE && t->given_up == op->index)) {
		w->open--;
	}
}

static void run(const struct history_view *view, const struct check_config *config, struct check_result *result)
{
	struct watch w = {.view = view, .config = config, .result = result, .last = OP_NONE};
	struct facts facts;
	size_t i;

	check_begin(result);
	facts_gather(&facts, view);
	for (i = 0; i < view->count; i++) {
		const struct op *op = &view->ops[i];
		bool begins = op->kind == OP_FAULT && op->type == OP_INVOKE;

		if (is_activity(op) || begins || i + 1 == view->count) {
			judge_gap(&w, op);
			w.last = i;
			w.quiet_from_us = op->time_us;
		}
		if (begins) {
			w.faults++;
		} else if (op->kind == OP_REVERT && op->type != OP_INVOKE && w.faults) {
			w.faults--;
			w.quiet_from_us = op->time_us;
		}
		follow_tasks(&w, &facts, op);
	}
	check_end(result, "%" PRIu64 " tasks, longest silence %.0f ms with work open, %" PRIu64 " left open",
	    result->opportunities, (double)w.longest_us / 1e3, w.open);
	facts_finish(&facts);
}

const struct check check_progress = {
    .name = "progress",
    .summary = "while tasks are open something happens within the limit: no zombie graph",
    .run = run,
};
