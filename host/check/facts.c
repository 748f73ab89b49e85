/* SPDX-License-Identifier: Apache-2.0 */
/* One pass over the history that several checkers share; see facts.h. */
#include "check/facts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

void *facts_need(void *memory)
{
	if (!memory) {
		fputs("tritone: no memory to judge the history\n", stderr);
		abort();
	}
	return memory;
}

/* ---- the index: open addressing over positions in facts->tasks, 0 = empty, n + 1 otherwise ---- */

static uint32_t *slot_of(const struct facts *facts, const char *task)
{
	uint32_t *index = facts->index;
	size_t mask = facts->index_size - 1;
	size_t i = (size_t)XXH3_64bits(task, strlen(task)) & mask;

	while (
	    index[i] && facts->tasks[index[i] - 1].task != task && strcmp(facts->tasks[index[i] - 1].task, task) != 0)
		i = (i + 1) & mask;
	return &index[i];
}

static void grow(struct facts *facts)
{
	size_t i;

	assert(facts->room > 0 && facts->room <= UINT32_MAX / 2);
	facts->room *= 2;
	facts->tasks = facts_need(realloc(facts->tasks, facts->room * sizeof *facts->tasks));
	facts->index_size = facts->room * 2;
	free(facts->index);
	facts->index = facts_need(calloc(facts->index_size, sizeof(uint32_t)));
	for (i = 0; i < facts->count; i++)
		*slot_of(facts, facts->tasks[i].task) = (uint32_t)i + 1;
}

static struct task_facts *task_of(struct facts *facts, const char *task)
{
	uint32_t *slot = slot_of(facts, task);
	struct task_facts *t;

	if (*slot)
		return &facts->tasks[*slot - 1];
	if (facts->count == facts->room) {
		grow(facts);
		slot = slot_of(facts, task);
	}
	t = &facts->tasks[facts->count++];
	*slot = (uint32_t)facts->count;
	memset(t, 0, sizeof *t);
	t->task = task;
	t->submitted = t->accepted = t->first_commit = t->other_commit = t->last_commit = t->notified = OP_NONE;
	t->told = t->told_otherwise = OP_NONE;
	t->done = t->given_up = t->attempt_max_at = t->first_call = OP_NONE;
	return t;
}

struct task_facts *facts_task(const struct facts *facts, const char *task)
{
	uint32_t *slot = slot_of(facts, task);

	return *slot ? &facts->tasks[*slot - 1] : NULL;
}

/* ---- gathering ---- */

static void once(uint64_t *where, uint64_t index)
{
	if (*where == OP_NONE)
		*where = index;
}

static void note_attempt(struct task_facts *t, const struct op *op)
{
	if (op->attempt > t->attempt_max) {
		t->attempt_max = op->attempt;
		t->attempt_max_at = op->index;
	}
}

static void note_commit(struct task_facts *t, const struct op *op, const struct history_view *view)
{
	if (t->last_commit == OP_NONE || strcmp(view->ops[t->last_commit].key, op->key) != 0)
		t->commits++;
	once(&t->first_commit, op->index);
	if (strcmp(view->ops[t->first_commit].key, op->key) != 0)
		once(&t->other_commit, op->index);
	t->last_commit = op->index;
	note_attempt(t, op);
}

static void note(struct task_facts *t, const struct op *op, const struct history_view *view)
{
	t->last_seen = op->index;
	/* Only the kinds that say something of a task's life; the others are of no interest here. */
	if (op->kind == OP_SUBMIT && op->type == OP_INVOKE)
		once(&t->submitted, op->index);
	else if (op->kind == OP_SUBMIT && op->type == OP_OK)
		once(&t->accepted, op->index);
	else if (op->kind == OP_COMMIT)
		note_commit(t, op, view);
	else if (op->kind == OP_NOTIFY && op->type == OP_OK)
		once(&t->notified, op->index);
	else if (op->kind == OP_NOTIFY && op->type == OP_INVOKE) {
		once(&t->told, op->index);
		if (strcmp(view->ops[t->told].key, op->key) != 0)
			once(&t->told_otherwise, op->index);
	} else if (op->kind == OP_OUTCOME && op->type == OP_OK)
		once(&t->done, op->index);
	else if (op->kind == OP_OUTCOME && op->type == OP_FAIL)
		once(&t->given_up, op->index);
	else if (op->kind == OP_CALL && op->type == OP_INVOKE) {
		t->calls++;
		once(&t->first_call, op->index);
		note_attempt(t, op);
	} else if (op->kind == OP_CALL && op->type == OP_OK)
		t->tokens += op->value;
}

static void gather(struct facts *facts, const struct history_view *view)
{
	size_t i;

	facts->count = 0;
	facts->end_us = 0;
	facts->first_felt = facts->last_revert = OP_NONE;
	facts->settled = view->count ? view->count - 1 : OP_NONE;
	for (i = 0; i < view->count; i++) {
		const struct op *op = &view->ops[i];

		facts->end_us = op->time_us;
		if (op->kind == OP_FAULT && op->type == OP_OK)
			once(&facts->first_felt, op->index);
		if (op->kind == OP_REVERT && op->type == OP_OK)
			facts->last_revert = op->index;
		if (op->kind == OP_STAGE && op->type == OP_OK && !strcmp(op->actor, "settle"))
			facts->settled = op->index;
		if (op->task[0])
			note(task_of(facts, op->task), op, view);
	}
}

void facts_again(struct facts *facts, const struct history_view *view)
{
	if (!facts->tasks) {
		facts->room = 128;
		facts->tasks = facts_need(malloc(facts->room * sizeof *facts->tasks));
		facts->index_size = facts->room * 2;
		facts->index = facts_need(malloc(facts->index_size * sizeof(uint32_t)));
	}
	memset(facts->index, 0, facts->index_size * sizeof(uint32_t));
	gather(facts, view);
}

void facts_gather(struct facts *facts, const struct history_view *view)
{
	memset(facts, 0, sizeof *facts);
	if (view->facts) {
		*facts = *view->facts;
		facts->shared = true;
		return;
	}
	facts_again(facts, view);
}

void facts_finish(struct facts *facts)
{
	if (!facts->shared) {
		free(facts->tasks);
		free(facts->index);
	}
	memset(facts, 0, sizeof *facts);
}

uint64_t op_time(const struct history_view *view, uint64_t index, uint64_t otherwise)
{
	return index == OP_NONE ? otherwise : view->ops[index].time_us;
}

bool op_same_caller(const struct op *a, const struct op *b)
{
	return !strcmp(a->task, b->task) && (!a->attempt || !b->attempt || a->attempt == b->attempt);
}
