/* SPDX-License-Identifier: Apache-2.0 */
/*
 * While accepted tasks are open, something happens at least every `progress limit`: a call, a commit, a notification, an agent, a
 * restart; that somebody hands in more is none. A system may wait a fault out, but only one that it felt, and only for as long as that
 * one was declared to last: a fault without a duration is there to be worked under, and excuses no more than the policy says.
 * And the graph is followed: nobody works on a task before what it comes after is in the ledger. And the system takes new work again:
 * what is first handed in when every fault is over is accepted before the end.
 * Opportunity: each task that was open at some time, or was handed in so.
 */
#include <inttypes.h>
#include <string.h>

#include "check/facts.h"
#include "check/invariants.h"

#define FAULTS_MAX 64 /* in force at a time; more of them excuse nothing */

struct excuse {
	const char *fault;
	uint64_t until_us;
};

struct watch {
	const struct history_view *view;
	const struct check_config *config;
	struct check_result *result;
	uint64_t last;          /* index of the last activity, OP_NONE before the first */
	uint64_t quiet_from_us; /* the gap counts from here */
	struct excuse excuses[FAULTS_MAX];
	size_t excuse_count;
	uint64_t open; /* tasks */
	uint64_t longest_us;
};

static bool is_activity(const struct op *op)
{
	return op->kind == OP_CALL || op->kind == OP_COMMIT || op->kind == OP_NOTIFY || op->kind == OP_AGENT ||
	       op->kind == OP_SYSTEM;
}

/* How long the fault whose inject begins here excuses a silence. */
static uint64_t excuse_us(const struct watch *w, const struct op *begin)
{
	uint64_t i;

	for (i = begin->index + 1; i < w->view->count; i++) {
		const struct op *op = &w->view->ops[i];

		if ((op->kind != OP_FAULT && op->kind != OP_REVERT) || strcmp(op->actor, begin->actor) != 0)
			continue;
		if (op->kind != OP_FAULT || op->type != OP_OK)
			return 0; /* undone or given up before it was felt */
		return begin->number > 0 ? (uint64_t)(begin->number * 1e6) : w->config->progress_excuse_us;
	}
	return 0;
}

/* What is excused up to this moment is no silence. */
static void pass_excused(struct watch *w, uint64_t now_us)
{
	size_t i;

	for (i = 0; i < w->excuse_count; i++)
		if (w->excuses[i].until_us > w->quiet_from_us)
			w->quiet_from_us = w->excuses[i].until_us < now_us ? w->excuses[i].until_us : now_us;
}

static void judge_gap(struct watch *w, const struct op *next)
{
	uint64_t gap = next->time_us - w->quiet_from_us; /* which is never later: time does not decrease */
	const uint64_t evidence[] = {w->last, next->index};

	if (w->open > 0 && gap > w->longest_us)
		w->longest_us = gap;
	if (w->open > 0 && gap > w->config->progress_limit_us)
		check_violation(w->result, evidence, 2,
		    "%" PRIu64 " tasks were open and nothing happened for %.1f s (limit %.1f s)", w->open,
		    (double)gap / 1e6, (double)w->config->progress_limit_us / 1e6);
	w->last = next->index;
	w->quiet_from_us = next->time_us;
}

/* The silence before it is over when an excuse begins. */
static void begin_fault(struct watch *w, const struct op *begin)
{
	uint64_t us = excuse_us(w, begin);

	if (!us || w->excuse_count == FAULTS_MAX)
		return;
	judge_gap(w, begin);
	w->excuses[w->excuse_count++] = (struct excuse){begin->actor, begin->time_us + us};
}

static void end_fault(struct watch *w, const char *fault)
{
	size_t i, kept = 0;

	for (i = 0; i < w->excuse_count; i++)
		if (strcmp(w->excuses[i].fault, fault) != 0)
			w->excuses[kept++] = w->excuses[i];
	w->excuse_count = kept;
}

static void follow_tasks(struct watch *w, const struct facts *facts, const struct op *op)
{
	const struct task_facts *t = op->task[0] ? facts_task(facts, op->task) : NULL;
	uint64_t end;

	if (!t || t->accepted == OP_NONE)
		return;
	end = t->first_commit != OP_NONE ? t->first_commit : t->given_up; /* OP_NONE comes after everything */
	if (t->accepted == op->index) {
		if (w->open == 0)
			w->quiet_from_us = op->time_us; /* before, there was nothing to do */
		w->open += end > op->index;
		w->result->opportunities++;
	} else if (end == op->index && t->accepted < op->index) {
		w->open--;
	}
}

/* `after` is what was handed in with it: a JSON array of names, or nothing. */
static void judge_graph(const struct watch *w, const struct facts *facts, const struct task_facts *t)
{
	const char *after = t->submitted != OP_NONE ? w->view->ops[t->submitted].detail : "";
	const struct op *call = t->first_call != OP_NONE ? &w->view->ops[t->first_call] : NULL;

	while (call && (after = strchr(after, '"')) != NULL) {
		size_t length = strcspn(++after, "\"");
		const struct task_facts *before;
		char name[128];

		if (length >= sizeof name)
			return;
		memcpy(name, after, length);
		name[length] = '\0';
		after += length + (after[length] == '"');
		before = facts_task(facts, name);
		if (!before ||
		    op_time(w->view, before->first_commit, UINT64_MAX) > call->time_us + w->config->graph_slack_us) {
			const uint64_t evidence[] = {
			    t->submitted, call->index, before ? before->first_commit : OP_NONE};

			check_violation(w->result, evidence, 3,
			    "task %s was at work before %s, which it comes after, was in the ledger", t->task, name);
		}
	}
}

/* The last time that it was refused, or not answered in its time, while the system was there; NULL: never. */
static const struct op *last_refusal(const struct watch *w, const struct facts *facts, const struct task_facts *t)
{
	const uint64_t end = facts->settled < w->view->count ? facts->settled + 1 : w->view->count;
	const struct op *last = NULL;
	uint64_t i;

	for (i = t->submitted; i < end; i++) {
		const struct op *op = &w->view->ops[i];

		if (op->kind == OP_SUBMIT && (op->type == OP_FAIL || op->type == OP_INFO) && !strcmp(op->task, t->task))
			last = op;
	}
	return last;
}

static void judge_taken(struct watch *w, const struct facts *facts, const struct task_facts *t)
{
	const struct op *last;

	if (t->accepted != OP_NONE || t->submitted == OP_NONE || facts->last_revert == OP_NONE ||
	    t->submitted < facts->last_revert)
		return;
	last = last_refusal(w, facts, t);
	if (last) {
		const uint64_t evidence[] = {facts->last_revert, t->submitted, last->index};

		w->result->opportunities++;
		check_violation(w->result, evidence, 3,
		    "task %s was handed in after every fault was over, and was never accepted: %.100s", t->task,
		    *last->detail           ? last->detail
		    : last->type == OP_FAIL ? "refused"
					    : "no answer");
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

		pass_excused(&w, op->time_us);
		if (is_activity(op) || i + 1 == view->count)
			judge_gap(&w, op);
		else if (op->kind == OP_FAULT && op->type == OP_INVOKE)
			begin_fault(&w, op);
		else if (op->kind == OP_REVERT && op->type != OP_INVOKE)
			end_fault(&w, op->actor);
		follow_tasks(&w, &facts, op);
	}
	for (i = 0; i < facts.count; i++) {
		judge_graph(&w, &facts, &facts.tasks[i]);
		judge_taken(&w, &facts, &facts.tasks[i]);
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
