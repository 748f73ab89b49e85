/* SPDX-License-Identifier: Apache-2.0 */
/* What `tritone system check` sees of a system, operation by operation, and how it waits. */
#include <stdio.h>
#include <string.h>

#include "engine/checkup.h"

#define LOOK_GAP_MS 50
#define ASK_GAP_US  300000 /* how often it is asked what became of the tasks */

/* ---- what is seen ---- */

static bool is_asked(const struct checkup *c, const char *provider)
{
	const struct spec_manifest *m = c->run->manifest;
	size_t i;

	for (i = 0; i < m->gateway.upstream_count; i++)
		if (!strcmp(m->gateway.upstreams[i].provider, provider))
			return true;
	return !i && m->gateway.replay;
}

static void take_call(struct checkup *c, const struct op *op)
{
	const struct spec_strings *providers = &c->run->manifest->gateway.providers;
	size_t i;

	for (i = 0; i < providers->count && i < GATEWAY_NAMES_MAX; i++) {
		if (strcmp(providers->items[i], op->actor) != 0)
			continue;
		c->reached_count += !c->reached[i];
		c->reached[i] = true;
	}
	c->calls_of_no_task += !op->task[0];
}

/* Of a provider that is not played. What the gateway's own rule has refused says nothing of it. */
static void take_answer(struct checkup *c, const struct op *op)
{
	const bool its_own = !strncmp(op->detail, "upstream: ", 10) || !strcmp(op->detail, "not in the recording");

	if (its_own)
		snprintf(c->refusal, sizeof c->refusal, "provider %.60s: %.200s", op->actor, op->detail);
	else if (op->type == OP_OK && is_asked(c, op->actor))
		c->asked++;
}

static void take_process(struct checkup *c, const struct op *op)
{
	if (op->type == OP_INVOKE)
		c->started_us = op->time_us;
	if (op->type == OP_OK && !strcmp(op->detail, "restart"))
		c->restarts++;
	if (op->type == OP_INFO && !strcmp(op->detail, "died")) {
		snprintf(c->trouble, sizeof c->trouble, "process %.60s ended with status %lld%s", op->actor,
		    (long long)op->status, op->status == 0 ? SYSTEM_DAEMON_HINT : "");
		c->stuck = c->stuck || !c->run->manifest->restart.on_crash;
	}
	if (op->type == OP_FAIL) {
		snprintf(c->trouble, sizeof c->trouble, "process %.60s: %.250s", op->actor, op->detail);
		c->stuck = true;
	}
}

static void take_submission(struct checkup *c, const struct op *op)
{
	c->answered++;
	if (op->type != OP_OK)
		snprintf(c->trouble, sizeof c->trouble, "task %.40s was %s: %.250s", op->task,
		    op->type == OP_FAIL ? "refused" : "not answered", op->detail);
}

static bool see(void *arg, const struct op *op)
{
	struct checkup *c = arg;

	c->next = op->index + 1;
	tracker_follow(&c->run->tracker, op);
	if (op->kind == OP_CALL && op->type == OP_INVOKE)
		take_call(c, op);
	else if (op->kind == OP_CALL)
		take_answer(c, op);
	else if (op->kind == OP_SYSTEM)
		take_process(c, op);
	else if (op->kind == OP_AGENT && op->type == OP_INVOKE)
		c->agents++;
	else if (op->kind == OP_CLAIM)
		c->claims++;
	else if (op->kind == OP_COMMIT && !op->task[0])
		c->commits_of_no_task++;
	else if (op->kind == OP_SUBMIT && op->type != OP_INVOKE)
		take_submission(c, op);
	else if (op->kind == OP_OUTCOME && op->type == OP_FAIL)
		snprintf(c->trouble, sizeof c->trouble, "task %.40s was given up: %.250s", op->task, op->detail);
	return true;
}

void checkup_catch_up(struct checkup *c)
{
	uint64_t index;

	while (history_wait(c->run->history, c->next, see, c, 0, &index) == 1)
		;
}

static bool is_at(const struct tracked *task, enum checkup_end end)
{
	switch (end) {
	case END_COMMITTED:
		return task->committed;
	case END_NOTIFIED:
		return task->notified;
	case END_DONE:
		return task->done;
	}
	return false;
}

size_t checkup_count(const struct checkup *c, enum checkup_end end, size_t *ret_missing)
{
	size_t i, n = 0;

	*ret_missing = c->last;
	for (i = c->first; i < c->last; i++) {
		if (is_at(&c->run->tracker.tasks[i], end))
			n++;
		else if (*ret_missing == c->last)
			*ret_missing = i;
	}
	return n;
}

/* ---- waiting ---- */

static void ask(struct checkup *c)
{
	uint64_t now_us = history_now_us(c->run->history);
	struct error err;

	if (!spec_has_outcome(c->run->manifest) || now_us < c->asked_us + ASK_GAP_US)
		return;
	c->asked_us = now_us;
	c->outcome_trouble[0] = '\0';
	if (system_outcomes(c->run->system, &err))
		snprintf(c->outcome_trouble, sizeof c->outcome_trouble, "%.199s", err.text);
}

int checkup_await(struct checkup *c, checkup_until_fn done)
{
	struct run *run = c->run;
	uint64_t deadline = history_now_us(run->history) + (uint64_t)c->what->limit_ms * 1000;
	struct error err;
	uint64_t index;

	for (;;) {
		/* Also where an observer says that it cannot see: a ledger that is no repository. */
		if (system_observe(run->system, &err)) {
			snprintf(c->trouble, sizeof c->trouble, "%.199s", err.text);
			return -1;
		}
		checkup_catch_up(c);
		if (run_stopped(run)) {
			snprintf(c->trouble, sizeof c->trouble, "%.199s", run->result->reason);
			return -1;
		}
		if (done(c))
			return 0;
		if (c->stuck)
			return -1;
		/* A hand-in has a limit of its own: what came of the first one is told, however long it took. */
		if (history_now_us(run->history) > deadline && c->answered) {
			size_t used = strlen(c->trouble);

			snprintf(c->trouble + used, sizeof c->trouble - used, "%snot within %g s", used ? "; " : "",
			    (double)c->what->limit_ms / 1e3);
			return -1;
		}
		ask(c);
		(void)history_wait(run->history, c->next, see, c, LOOK_GAP_MS, &index);
	}
}

int checkup_hand_in(struct checkup *c, size_t count)
{
	workload_stop(c->run->workload);
	c->run->workload = NULL;
	c->answered = 0;
	c->first = c->handed_in;
	c->last = c->handed_in += count;
	return workload_start(&c->run->workload, c->run->system, &c->roles, 0, c->first, count, &c->why);
}
