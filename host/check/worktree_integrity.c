/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that a fault removed from a worktree is restored, or its task fails loudly; it is never committed without it. The fault says
 * what it removed by evidence: "removed-path", relative to the worktree, then "removed-task". Opportunity: each removed file.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "check/facts.h"
#include "check/invariants.h"

/* The operations that this is about, by their indices: what faults stated, and what was committed without a file. There are few. */
struct few {
	const struct history_view *view;
	uint64_t *at;
	size_t count;
};

static struct few few_of(const struct history_view *view)
{
	struct few few = {.view = view};
	size_t i;

	for (i = 0; i < view->count; i++)
		few.count += view->ops[i].kind == OP_EVIDENCE || view->ops[i].kind == OP_DELETION;
	if (!few.count)
		return few;
	few.at = facts_need(malloc(few.count * sizeof *few.at));
	few.count = 0;
	for (i = 0; i < view->count; i++)
		if (view->ops[i].kind == OP_EVIDENCE || view->ops[i].kind == OP_DELETION)
			few.at[few.count++] = i;
	return few;
}

/* The value of the fact `name` that the same fault stated, nearest after that one; "" when there is none. */
static const char *fact(const struct few *few, size_t from, const char *name)
{
	const struct op *ops = few->view->ops;
	size_t i;

	for (i = from; i < few->count; i++) {
		const struct op *op = &ops[few->at[i]];

		if (op->kind == OP_EVIDENCE && !strcmp(op->actor, ops[few->at[from]].actor) && !strcmp(op->key, name))
			return op->detail;
	}
	return "";
}

static void judge(const struct few *few, size_t from, const struct facts *facts, struct check_result *result)
{
	const struct op *ops = few->view->ops;
	const uint64_t at = few->at[from];
	const char *path = ops[at].detail;
	const char *task = fact(few, from, "removed-task");
	const struct task_facts *t;
	size_t i;

	result->opportunities++;
	for (i = from; i < few->count; i++) {
		const struct op *op = &ops[few->at[i]];
		const uint64_t evidence[] = {at, op->index};

		if (op->kind == OP_DELETION && !strcmp(op->actor, path) && (!task[0] || !strcmp(op->task, task)))
			check_violation(result, evidence, 2,
			    "task %s was committed (%.10s) without %s, which a fault had removed", op->task, op->key,
			    path);
	}
	t = task[0] ? facts_task(facts, task) : NULL;
	if (t && t->first_commit == OP_NONE && t->given_up == OP_NONE) {
		const uint64_t evidence[] = {at, t->last_seen};

		check_violation(
		    result, evidence, 2, "task %s lost %s and neither went on nor failed loudly", task, path);
	}
}

static void run(const struct history_view *view, const struct check_config *config, struct check_result *result)
{
	struct facts facts;
	struct few few;
	size_t i;

	(void)config;
	check_begin(result);
	facts_gather(&facts, view);
	few = few_of(view);
	for (i = 0; i < few.count; i++) {
		const struct op *op = &view->ops[few.at[i]];

		if (op->kind == OP_EVIDENCE && !strcmp(op->key, "removed-path"))
			judge(&few, i, &facts, result);
	}
	free(few.at);
	if (result->opportunities)
		check_end(result, "%" PRIu64 " files removed, %" PRIu64 " commits without them", result->opportunities,
		    result->violations);
	else
		check_end(result, "no file was removed from a worktree");
	facts_finish(&facts);
}

const struct check check_worktree_integrity = {
    .name = "worktree-integrity",
    .summary = "a removed file is restored or its task fails loudly; never committed without it",
    .run = run,
};
