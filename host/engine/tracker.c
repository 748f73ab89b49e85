/* SPDX-License-Identifier: Apache-2.0 */
/* What has become of the workload's tasks so far, so that the engine knows when to stop watching. Judges nothing. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/run.h"

int tracker_init(struct tracker *tracker, size_t tasks, const struct spec_manifest *manifest, struct error *err)
{
	memset(tracker, 0, sizeof *tracker);
	tracker->ledger = spec_has_ledger(manifest);
	tracker->sinks = manifest->gateway.sinks.count > 0;
	tracker->outcomes = spec_has_outcome(manifest);
	tracker->tasks = calloc(tasks ? tasks : 1, sizeof *tracker->tasks);
	if (!tracker->tasks)
		return error_set(err, ENOMEM, "no memory for a workload of %zu tasks", tasks);
	tracker->count = tasks;
	return 0;
}

void tracker_finish(struct tracker *tracker)
{
	free(tracker->tasks);
	tracker->tasks = NULL;
	tracker->count = 0;
}

/* The workload names its tasks tNNN-ROLE: the number is the place in the table. */
static struct tracked *find(struct tracker *tracker, const char *task)
{
	char *end;
	unsigned long n;

	if (task[0] != 't')
		return NULL;
	n = strtoul(task + 1, &end, 10);
	return end != task + 1 && *end == '-' && n < tracker->count ? &tracker->tasks[n] : NULL;
}

static void set(bool *flag, size_t *count)
{
	*count += !*flag;
	*flag = true;
}

static void follow_claim(struct tracker *tracker, const struct op *op)
{
	const size_t room = sizeof tracker->red_claims / sizeof tracker->red_claims[0];
	const size_t length = sizeof tracker->red_claims[0] - 1; /* so much of a name is looked at */
	bool red = op->value == 0 || !strcmp(op->detail, "red");
	size_t i;

	for (i = 0; i < tracker->red_count && strncmp(tracker->red_claims[i], op->actor, length) != 0; i++)
		;
	if (red && i == tracker->red_count && i < room) {
		memset(tracker->red_claims[i], 0, sizeof tracker->red_claims[i]);
		strncpy(tracker->red_claims[i], op->actor, length);
		tracker->red_count++;
	} else if (!red && i < tracker->red_count) {
		tracker->red_count--;
		memmove(tracker->red_claims[i], tracker->red_claims[tracker->red_count], sizeof tracker->red_claims[i]);
	}
}

void tracker_follow(struct tracker *tracker, const struct op *op)
{
	struct tracked *t = op->task[0] ? find(tracker, op->task) : NULL;

	if (op->kind == OP_CALL || op->kind == OP_COMMIT || op->kind == OP_NOTIFY || op->kind == OP_AGENT ||
	    op->kind == OP_SYSTEM)
		tracker->last_activity_us = op->time_us;
	if (op->kind == OP_SUBMIT && op->type == OP_INVOKE)
		tracker->submissions++;
	if (op->kind == OP_SUBMIT && (op->type == OP_FAIL || op->type == OP_INFO))
		tracker->refused++;
	if (op->kind == OP_CLAIM)
		follow_claim(tracker, op);
	if (!t)
		return;
	if (op->kind == OP_SUBMIT && op->type == OP_OK)
		set(&t->accepted, &tracker->accepted);
	else if (op->kind == OP_COMMIT)
		set(&t->committed, &tracker->committed);
	else if (op->kind == OP_NOTIFY && op->type == OP_OK)
		set(&t->notified, &tracker->notified);
	else if (op->kind == OP_OUTCOME && op->type == OP_FAIL)
		set(&t->given_up, &tracker->given_up);
	else if (op->kind == OP_OUTCOME && op->type == OP_OK)
		t->done = true;
}

static bool at_its_end(const struct tracker *tracker, const struct tracked *t)
{
	if (t->given_up)
		return true;
	if (!tracker->ledger && !tracker->sinks)
		return t->done;
	if (!tracker->sinks && tracker->outcomes && !t->done)
		return false;
	return (t->committed || !tracker->ledger) && (t->notified || !tracker->sinks);
}

bool tracker_settled(const struct tracker *tracker, size_t count)
{
	size_t i;

	for (i = 0; i < count && i < tracker->count; i++) {
		const struct tracked *t = &tracker->tasks[i];

		if (!t->accepted || !at_its_end(tracker, t))
			return false;
	}
	return true;
}
