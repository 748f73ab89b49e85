/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long recovery took: the longest time that something which a fault broke needed to work again. A process that died: until it is ready. An
 * agent that was lost: until the next attempt of its task is at work. What failed while a fault was in force (a provider, the sink, handing in):
 * from the end of that fault until it succeeds. Nothing of that kind: from the end of the fault to the next commit.
 */
#include <string.h>

#include "engine/run.h"

static void longer(int64_t *longest, uint64_t from_us, uint64_t to_us)
{
	int64_t took = to_us > from_us ? (int64_t)(to_us - from_us) : 0;

	if (took > *longest)
		*longest = took;
}

static void measure_death(const struct history_view *view, const struct op *died, int64_t *longest)
{
	uint64_t i;

	for (i = died->index + 1; i < view->count; i++) {
		const struct op *op = &view->ops[i];
		bool back = died->kind == OP_SYSTEM
				? op->kind == OP_SYSTEM && op->type == OP_OK
				: op->kind == OP_AGENT && op->type == OP_INVOKE && !strcmp(op->task, died->task);

		if (back) {
			longer(longest, died->time_us, op->time_us);
			return;
		}
	}
}

/* A provider works again when any call of it does; a task that could not be handed in or notified only when that very one is. */
static bool alike(const struct op *a, const struct op *b)
{
	return a->kind == b->kind &&
	       !strcmp(a->kind == OP_CALL ? a->actor : a->task, b->kind == OP_CALL ? b->actor : b->task);
}

/* `failed` is an operation that did not succeed between `from` and `revert`; true when the like of it was seen to work again. */
static bool measure_failure(
    const struct history_view *view, const struct op *failed, const struct op *revert, int64_t *longest)
{
	uint64_t i;

	for (i = revert->index + 1; i < view->count; i++) {
		const struct op *op = &view->ops[i];

		if (op->type == OP_OK && alike(op, failed)) {
			longer(longest, revert->time_us, op->time_us);
			return true;
		}
	}
	return false;
}

static void measure_fault(const struct history_view *view, const struct op *revert, int64_t *longest)
{
	bool any = false;
	uint64_t i;

	for (i = revert->index; i-- > 0;) {
		const struct op *op = &view->ops[i];

		if (op->kind == OP_FAULT && op->type == OP_INVOKE && !strcmp(op->actor, revert->actor))
			break;
		if ((op->kind == OP_CALL || op->kind == OP_NOTIFY || op->kind == OP_SUBMIT) &&
		    (op->type == OP_FAIL || op->type == OP_INFO) && strcmp(op->detail, OP_CLIENT_GONE) != 0)
			any = measure_failure(view, op, revert, longest) || any;
	}
	for (i = revert->index + 1; !any && *longest < 0 && i < view->count; i++)
		if (view->ops[i].kind == OP_COMMIT) {
			longer(longest, revert->time_us, view->ops[i].time_us);
			return;
		}
}

int64_t recovery_us(const struct history_view *view)
{
	int64_t longest = -1;
	uint64_t i, last_stop = view->count;

	for (i = 0; i < view->count; i++)
		if (view->ops[i].kind == OP_STAGE && view->ops[i].type == OP_OK &&
		    !strcmp(view->ops[i].actor, "settle"))
			last_stop = i; /* what ends after it is being stopped */
	for (i = 0; i < last_stop; i++) {
		const struct op *op = &view->ops[i];

		if ((op->kind == OP_SYSTEM && op->type == OP_INFO) ||
		    (op->kind == OP_AGENT && op->type == OP_OK && op->task[0]))
			measure_death(view, op, &longest);
	}
	for (i = 0; i < last_stop; i++)
		if (view->ops[i].kind == OP_REVERT &&
		    view->ops[i].type == OP_INVOKE) /* from here on it is being undone */
			measure_fault(view, &view->ops[i], &longest);
	return longest;
}
