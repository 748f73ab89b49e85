/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that a fault removed from a worktree is restored, or its task fails loudly; it is never committed without it. The fault says
 * what it removed by evidence: "removed-path", relative to the worktree, then "removed-task". Opportunity: each removed file.
 */
#include <inttypes.h>
#include <string.h>

#include "check/facts.h"
#include "check/invariants.h"

/* The value of the fact `name` that the same fault stated, nearest to `at`; "" when there is none. */
static const char *fact(const struct history_view *view, uint64_t at, const char *name)
{
	uint64_t i;

	for (i = at; i < view->count; i++)
		if (view->ops[i].kind == OP_EVIDENCE && !strcmp(view->ops[i].actor, view->ops[at].actor) &&
		    !strcmp(view->ops[i].key, name))
			return view->ops[i].detail;
	return "";
}

static void judge(const struct history_view *view, const struct facts *facts, uint64_t at, struct check_result *result)
{
	const char *path = view->ops[at].detail;
	const char *task = fact(view, at, "removed-task");
	const struct task_facts *t;
	uint64_t i;

	result->opportunities++;
	for (i = at; i < view->count; i++) {
		const struct op *op = &view->ops[i];
		const uint64_t evidence[] = {at, i};

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
	size_t i;

	(void)config;
	check_begin(result);
	facts_gather(&facts, view);
	for (i = 0; i < view->count; i++)
		if (view->ops[i].kind == OP_EVIDENCE && !strcmp(view->ops[i].key, "removed-path"))
			judge(view, &facts, i, result);
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
