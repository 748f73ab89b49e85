/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retries, tokens, agents and restarts stay inside their policies, and a breaker that should open opens: nothing passes it until its
 * reset, then so many trial calls at a time as the policy says, until one of them closes it. Opportunity: each task that was worked
 * on, and each time that a breaker should have opened.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "check/facts.h"
#include "check/invariants.h"

#define RECENT_MAX 16u

struct breaker {
	uint64_t failures;   /* consecutive */
	uint64_t tripped_at; /* index of the failure that must open it, or OP_NONE */
	uint64_t tripped_us, open_until_us;
	/* A call that was no trial has succeeded while it was open, or nobody may have heard of what opened it, or only after an answer:
	 * until then it may be open or not, passes calls or counts no failures. */
	uint64_t doubt_until_us;
	uint64_t unheard; /* failures in a row that may not have been heard of, and do not count */
	uint64_t recent
	    [RECENT_MAX]; /* indices of the last failures whose callers have not gone on: they may not have told of them */
	size_t recent_count;
	uint64_t trials[CHECK_TRIALS_MAX]; /* indices of the trial calls that may still be under way */
	size_t trial_count;
};

/* When each call was over, as its client saw it: by the place of its invoke; UINT64_MAX for those that never were. */
static uint64_t *call_ends(const struct history_view *view, const struct check_config *config)
{
	uint64_t *ends = facts_need(malloc((view->count + 1) * sizeof *ends)), lag;
	size_t i;

	memset(ends, 0xff, (view->count + 1) * sizeof *ends);
	for (i = 0; i < view->count; i++) {
		const struct op *op = &view->ops[i];

		if (op->kind != OP_CALL || op->type == OP_INVOKE || op->pair >= i) /* OP_NONE comes after everything */
			continue;
		/* Answered: it says how long ago that was. Its client is gone: it was gone a little before that was seen. */
		if (op->type == OP_OK)
			lag = op->number > 0 ? (uint64_t)(op->number * 1e6) : 0;
		else if (op->type == OP_FAIL)
			lag = op->value > 0 ? (uint64_t)op->value : 0;
		else
			lag = config->throttle_grace_us;
		ends[op->pair] = op->time_us > lag ? op->time_us - lag : 0;
	}
	return ends;
}

static void judge_task(const struct task_facts *t, const struct check_config *config, struct check_result *result)
{
	const uint64_t evidence[] = {t->accepted, t->attempt_max_at, t->last_seen};

	if (!t->calls)
		return;
	result->opportunities++;
	if (config->attempts_max && (uint64_t)t->attempt_max > config->attempts_max)
		check_violation(result, evidence, 3, "task %s reached attempt %" PRId64 ", the policy allows %" PRIu64,
		    t->task, t->attempt_max, config->attempts_max);
	if (config->calls_per_task_max && t->calls > config->calls_per_task_max)
		check_violation(result, evidence, 3, "task %s made %" PRIu64 " model calls, the policy allows %" PRIu64,
		    t->task, t->calls, config->calls_per_task_max);
	if (config->tokens_per_task_max && t->tokens > 0 && (uint64_t)t->tokens > config->tokens_per_task_max)
		check_violation(result, evidence, 3, "task %s spent %" PRId64 " tokens, its budget is %" PRIu64,
		    t->task, t->tokens, config->tokens_per_task_max);
}

static size_t provider_of(const struct check_config *config, const char *name)
{
	size_t i;

	for (i = 0; i < config->provider_count; i++)
		if (!strcmp(config->providers[i], name))
			break;
	return i;
}

/* The breaker is half open: a trial call, or one too many. */
static void judge_trial(struct breaker *b, const struct op *op, const uint64_t *ends, const struct check_config *config,
    struct check_result *result)
{
	size_t i, kept = 0;

	for (i = 0; i < b->trial_count; i++)
		if (ends[b->trials[i]] > op->time_us)
			b->trials[kept++] = b->trials[i];
	b->trial_count = kept;
	if (kept < config->breaker_trials) {
		b->trials[b->trial_count++] = op->index;
	} else if (op->time_us > b->tripped_us + config->throttle_grace_us) { /* else it was already on its way */
		const uint64_t evidence[] = {b->tripped_at, b->trials[0], op->index};

		check_violation(result, evidence, 3,
		    "%s was called while its breaker was half open and %zu trial call%s under way", op->actor, kept,
		    kept == 1 ? " was" : "s were");
	}
}

static void judge_call(struct breaker *b, const struct op *op, const uint64_t *ends, const struct check_config *config,
    struct check_result *result)
{
	const uint64_t evidence[] = {b->tripped_at, op->index};

	if (b->tripped_at == OP_NONE)
		return;
	if (op->time_us >= b->open_until_us) {
		if (config->breaker_trials && config->breaker_trials <= CHECK_TRIALS_MAX)
			judge_trial(b, op, ends, config, result);
		return;
	}
	/* It was already on its way; or the system has heard of the failures in another order, and of the last one earlier. */
	if (op->time_us <= b->tripped_us + config->throttle_grace_us ||
	    op->time_us + config->breaker_slack_us >= b->open_until_us)
		return;
	check_violation(result, evidence, 2,
	    "%s was called %.0f ms before its breaker may close: %" PRIu64 " failures in a row", op->actor,
	    (double)(b->open_until_us - op->time_us) / 1e3, b->failures);
}

static void trip(struct breaker *b, const struct op *op, const struct check_config *config)
{
	b->tripped_at = op->index;
	b->tripped_us = op->time_us;
	b->open_until_us = op->time_us + config->breaker_reset_us;
	b->trial_count = 0;
}

static bool is_trial(const struct breaker *b, const struct op *op)
{
	size_t i;

	for (i = 0; i < b->trial_count; i++)
		if (b->trials[i] == op->pair)
			return true;
	return false;
}

static void doubt(struct breaker *b)
{
	if (b->tripped_at != OP_NONE)
		b->doubt_until_us = b->open_until_us;
	b->tripped_at = OP_NONE;
}

static void well(struct breaker *b, const struct op *op, uint64_t begun_us)
{
	bool trial = is_trial(b, op);

	b->failures = b->unheard = 0;
	if (trial || begun_us >= b->doubt_until_us)
		b->doubt_until_us = 0;
	if (trial)
		b->tripped_at = OP_NONE;
	else if (op->type == OP_OK || b->recent_count) /* what opened it may be told after this answer */
		doubt(b);
	if (b->tripped_at == OP_NONE)
		b->recent_count = 0; /* else whoever saw what has opened it may still die */
}

static void note_failure(struct breaker *b, const struct op *op)
{
	b->failures++;
	if (!op->task[0])
		return;
	if (b->recent_count == RECENT_MAX)
		memmove(b->recent, b->recent + 1, --b->recent_count * sizeof b->recent[0]);
	b->recent[b->recent_count++] = op->index;
}

/* Who says 4xx is there: the request was wrong, or too early, and the provider is not broken. */
static bool answers(const struct op *op)
{
	return op->type == OP_OK || (op->status >= 400 && op->status < 500);
}

/* Server errors, resets and silence count. A 4xx is an answer, if no success: of a trial it closes. A killed agent hangs up on a healthy
 * provider. Once it is open, only a trial says anything of it. */
static void judge_end(struct breaker *b, const struct op *op, uint64_t begun_us, const struct check_config *config,
    struct check_result *result)
{
	bool open = b->tripped_at != OP_NONE;

	if (answers(op)) {
		well(b, op, begun_us);
	} else if (strcmp(op->detail, OP_CLIENT_GONE) != 0 && begun_us >= b->doubt_until_us) {
		note_failure(b, op);
		if (open ? op->time_us >= b->open_until_us && (op->pair == OP_NONE || is_trial(b, op))
			 : b->failures >= config->breaker_threshold) {
			result->opportunities++;
			trip(b, op, config);
		} else if (!open && b->failures + b->unheard >= config->breaker_threshold) {
			b->doubt_until_us = op->time_us + config->breaker_reset_us;
		}
	}
}

/* Nobody has heard of this failure. */
static void take_back(struct breaker *b, uint64_t failure, const struct check_config *config)
{
	b->failures -= b->failures > 0;
	b->unheard++;
	if (b->tripped_at == OP_NONE || (b->tripped_at != failure && b->failures >= config->breaker_threshold))
		return;
	doubt(b);
	if (b->failures >= config->breaker_threshold)
		b->failures = config->breaker_threshold - 1;
}

static bool tells_of_caller(const struct op *op)
{
	return op->task[0] &&
	       ((op->kind == OP_CALL && op->type == OP_INVOKE) || (op->kind == OP_AGENT && op->type == OP_OK));
}

/* It goes on, or it dies: so soon after a failure that it may not have told of it. */
static void note_caller(
    struct breaker *b, const struct op *op, const struct history_view *view, const struct check_config *config)
{
	size_t i, kept = 0;

	for (i = 0; i < b->recent_count; i++) {
		const struct op *failure = &view->ops[b->recent[i]];

		if (!op_same_caller(failure, op))
			b->recent[kept++] = b->recent[i];
		else if (op->kind == OP_AGENT && op->time_us <= failure->time_us + config->throttle_grace_us)
			take_back(b, failure->index, config);
	}
	b->recent_count = kept;
}

/* A system that dies may forget what it counted, and what it has had no time to write down. */
static void system_died(
    struct breaker breakers[CHECK_PROVIDERS_MAX], uint64_t now_us, const struct check_config *config)
{
	size_t p;

	for (p = 0; p < config->provider_count; p++) {
		breakers[p].failures = breakers[p].unheard = breakers[p].recent_count = 0;
		if (now_us <= breakers[p].tripped_us + config->throttle_grace_us)
			doubt(&breakers[p]);
	}
}

static void judge_breakers(
    const struct history_view *view, const struct check_config *config, struct check_result *result)
{
	struct breaker breakers[CHECK_PROVIDERS_MAX];
	uint64_t *ends;
	size_t i, p;

	if (!config->breaker_threshold)
		return;
	ends = call_ends(view, config);
	memset(breakers, 0, sizeof breakers);
	for (p = 0; p < CHECK_PROVIDERS_MAX; p++)
		breakers[p].tripped_at = OP_NONE;
	for (i = 0; i < view->count; i++) {
		const struct op *op = &view->ops[i];

		if (op->kind == OP_SYSTEM && op->type == OP_INFO)
			system_died(breakers, op->time_us, config);
		if (tells_of_caller(op))
			for (p = 0; p < config->provider_count; p++)
				note_caller(&breakers[p], op, view, config);
		if (op->kind != OP_CALL || (p = provider_of(config, op->actor)) == config->provider_count)
			continue;
		if (op->type == OP_INVOKE)
			judge_call(&breakers[p], op, ends, config, result);
		else
			judge_end(
			    &breakers[p], op, op->pair < i ? view->ops[op->pair].time_us : op->time_us, config, result);
	}
	free(ends);
}

/* How many agents were alive at once. */
static uint64_t judge_counts(
    const struct history_view *view, const struct check_config *config, struct check_result *result)
{
	uint64_t alive = 0, most = 0, restarts = 0;
	size_t i;

	for (i = 0; i < view->count; i++) {
		const struct op *op = &view->ops[i];
		const uint64_t evidence[] = {i};

		if (op->kind == OP_AGENT && op->type == OP_INVOKE) {
			alive++;
			if (alive > most)
				most = alive;
			if (config->agents_max && alive == config->agents_max + 1)
				check_violation(result, evidence, 1,
				    "%" PRIu64 " agents were alive at once, the policy allows %" PRIu64, alive,
				    config->agents_max);
		} else if (op->kind == OP_AGENT && op->type == OP_OK && alive) {
			alive--;
		} else if (op->kind == OP_SYSTEM && op->type == OP_INFO) {
			restarts++;
			if (config->restarts_max && restarts == config->restarts_max + 1)
				check_violation(result, evidence, 1,
				    "the system died %" PRIu64 " times, the policy allows %" PRIu64, restarts,
				    config->restarts_max);
		}
	}
	return most;
}

static void run(const struct history_view *view, const struct check_config *config, struct check_result *result)
{
	struct facts facts;
	uint64_t agents;
	size_t i;

	check_begin(result);
	facts_gather(&facts, view);
	for (i = 0; i < facts.count; i++)
		judge_task(&facts.tasks[i], config, result);
	judge_breakers(view, config, result);
	agents = judge_counts(view, config, result);
	check_end(result, "%" PRIu64 " tasks and breakers within policy, at most %" PRIu64 " agents at once",
	    result->opportunities > result->violations ? result->opportunities - result->violations : 0, agents);
	facts_finish(&facts);
}

const struct check check_bounded_effort = {
    .name = "bounded-effort",
    .summary = "retries, tokens, agents and restarts stay inside their policies; a breaker that should open opens",
    .run = run,
};
