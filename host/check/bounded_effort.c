/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retries, tokens, agents and restarts stay inside their policies, and a breaker that should open opens. Opportunity: each task that
 * was worked on, and each time that a breaker should have opened.
 */
#include <inttypes.h>
#include <string.h>

#include "check/facts.h"
#include "check/invariants.h"

struct breaker {
	uint64_t failures;   /* consecutive */
	uint64_t tripped_at; /* index of the failure that must open it, or OP_NONE */
	uint64_t tripped_us, open_until_us;
};

static void judge_task(const struct task_facts *t, const struct check_config *config, struct check_result *result)
{
	const uint64_t evidence[] = {t->accepted, t->attempt_max_at, t->last_seen};

	if (!t->calls)
		return;
	result->opportunities++;
	if (config->attempts_max && t->attempt_max > 0 && (uint64_t)t->attempt_max > config->attempts_max)
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

/* Server errors, resets and silence count; a 429 is the throttle's business, and a killed agent hangs up on a healthy provider. */
static void judge_breaker(
    struct breaker *b, const struct op *op, const struct check_config *config, struct check_result *result)
{
	if (op->type == OP_INVOKE) {
		const uint64_t evidence[] = {b->tripped_at, op->index};

		if (b->tripped_at == OP_NONE || op->time_us >= b->open_until_us)
			return;
		if (op->time_us <= b->tripped_us + config->throttle_grace_us) /* it was already on its way */
			return;
		check_violation(result, evidence, 2,
		    "%s was called %.0f ms before its breaker may close: %" PRIu64 " failures in a row", op->actor,
		    (double)(b->open_until_us - op->time_us) / 1e3, b->failures);
	} else if (op->type == OP_OK) {
		b->failures = 0;
		b->tripped_at = OP_NONE;
	} else if (op->status != 429 && strcmp(op->detail, OP_CLIENT_GONE) != 0) {
		b->failures++;
		if (b->failures == config->breaker_threshold ||
		    (b->failures > config->breaker_threshold && op->time_us >= b->open_until_us)) {
			result->opportunities++;
			b->tripped_at = op->index;
			b->tripped_us = op->time_us;
			b->open_until_us = op->time_us + config->breaker_reset_us;
		}
	}
}

static void judge_counts(const struct history_view *view, const struct check_config *config,
    struct check_result *result, uint64_t *ret_agents)
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
	*ret_agents = most;
}

static void run(const struct history_view *view, const struct check_config *config, struct check_result *result)
{
	struct breaker breakers[CHECK_PROVIDERS_MAX];
	struct facts facts;
	uint64_t agents = 0;
	size_t i, p;

	check_begin(result);
	facts_gather(&facts, view);
	for (i = 0; i < facts.count; i++)
		judge_task(&facts.tasks[i], config, result);
	memset(breakers, 0, sizeof breakers);
	for (p = 0; p < CHECK_PROVIDERS_MAX; p++)
		breakers[p].tripped_at = OP_NONE;
	for (i = 0; config->breaker_threshold && i < view->count; i++) {
		const struct op *op = &view->ops[i];

		if (op->kind == OP_CALL && (p = provider_of(config, op->actor)) < config->provider_count)
			judge_breaker(&breakers[p], op, config, result);
	}
	judge_counts(view, config, result, &agents);
	check_end(result, "%" PRIu64 " tasks and breakers within policy, at most %" PRIu64 " agents at once",
	    result->opportunities > result->violations ? result->opportunities - result->violations : 0, agents);
	facts_finish(&facts);
}

const struct check check_bounded_effort = {
    .name = "bounded-effort",
    .summary = "retries, tokens, agents and restarts stay inside their policies; a breaker that should open opens",
    .run = run,
};
