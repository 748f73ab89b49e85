/* SPDX-License-Identifier: Apache-2.0 */
/*
 * At most one commit for each task, in the ledger itself, and none that no task accounts for: work that landed under no name, or under
 * one that nobody handed in, may be anybody's second. What was there before the first task was handed in is not judged (a repository
 * begins somehow), nor are as many as the system may make for itself. Opportunity: each commit.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check/facts.h"
#include "check/invariants.h"

static bool handed_in(const struct task_facts *t)
{
	return t && (t->submitted != OP_NONE || t->accepted != OP_NONE);
}

static int by_commit(const void *a, const void *b)
{
	const struct op *const *x = a, *const *y = b;
	int order = strcmp((*x)->key, (*y)->key);

	return order ? order : ((*x)->index > (*y)->index) - ((*x)->index < (*y)->index);
}

static int by_index(const void *a, const void *b)
{
	const struct op *const *x = a, *const *y = b;

	return ((*x)->index > (*y)->index) - ((*x)->index < (*y)->index);
}

/* The commits that no task accounts for, each once however often it was seen, in the order of the ledger. The caller frees. */
static const struct op **strays(const struct history_view *view, const struct facts *facts, size_t *ret_count)
{
	const struct op **found = NULL;
	size_t count = 0, room = 0, kept = 0, i;
	bool begun = false;

	for (i = 0; i < view->count; i++) {
		const struct op *op = &view->ops[i];

		begun = begun || op->kind == OP_SUBMIT;
		if (!begun || op->kind != OP_COMMIT || (op->task[0] && handed_in(facts_task(facts, op->task))))
			continue;
		if (count == room) {
			room = room ? 2 * room : 16;
			found = facts_need(realloc(found, room * sizeof *found));
		}
		found[count++] = op;
	}
	if (count)
		qsort(found, count, sizeof(const struct op *), by_commit);
	for (i = 0; i < count; i++)
		if (i == 0 || strcmp(found[i]->key, found[i - 1]->key) != 0)
			found[kept++] = found[i];
	if (kept)
		qsort(found, kept, sizeof(const struct op *), by_index);
	*ret_count = kept;
	return found;
}

static uint64_t judge_strays(const struct history_view *view, const struct facts *facts,
    const struct check_config *config, struct check_result *result)
{
	size_t count, i;
	const struct op **found = strays(view, facts, &count);

	for (i = 0; i < count; i++) {
		const uint64_t evidence[] = {found[i]->index};

		result->opportunities += !found[i]->task[0];
		if (i < config->unasked_commits_max)
			continue;
		if (found[i]->task[0])
			check_violation(result, evidence, 1, "commit %.10s is of task %s, which nobody handed in",
			    found[i]->key, found[i]->task);
		else
			check_violation(result, evidence, 1, "commit %.10s names no task", found[i]->key);
	}
	free(found);
	return count;
}

#define ATTEMPT_SIZE 40

/* Where a ledger does not name it, there is none to tell. */
static const char *attempt_of(const struct op *commit, char buf[ATTEMPT_SIZE])
{
	if (!commit->attempt)
		return "";
	snprintf(buf, ATTEMPT_SIZE, " (attempt %" PRId64 ")", commit->attempt);
	return buf;
}

static uint64_t judge_tasks(const struct history_view *view, const struct facts *facts,
    const struct check_config *config, struct check_result *result)
{
	uint64_t twice = 0;
	size_t i;

	for (i = 0; i < facts->count; i++) {
		const struct task_facts *t = &facts->tasks[i];
		const struct op *first, *second;
		char attempts[2][ATTEMPT_SIZE];
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
		check_violation(result, evidence, 3, "task %s was committed %" PRIu64 " times: %.10s%s and %.10s%s%s",
		    t->task, t->commits, first->key, attempt_of(first, attempts[0]), second->key,
		    attempt_of(second, attempts[1]),
		    config->commits == CHECK_EXACTLY_ONCE ? "" : "; the system does not promise exactly-once");
		check_permit(result, config->commits == CHECK_AT_LEAST_ONCE);
	}
	return twice;
}

static void run(const struct history_view *view, const struct check_config *config, struct check_result *result)
{
	struct facts facts;
	uint64_t twice, unasked;

	check_begin(result);
	facts_gather(&facts, view);
	twice = judge_tasks(view, &facts, config, result);
	unasked = judge_strays(view, &facts, config, result);
	check_end(result,
	    "%" PRIu64 " commits, %" PRIu64 " tasks committed twice, %" PRIu64 " commits of no known task",
	    result->opportunities, twice, unasked);
	facts_finish(&facts);
}

const struct check check_no_duplicate_commit = {
    .name = "no-duplicate-commit",
    .summary = "at most one commit for each task, and none of no known task, in the ledger itself",
    .run = run,
};
