/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fallback follows the configured order, and no provider is called, nor tokens spent, inside its throttle window. A window begins with
 * a 429 that was really sent and lasts for its Retry-After; a call within the grace was already on its way. A call to a later provider
 * needs a reason: each earlier one throttled or failing shortly before. Opportunity: each 429, and each call past the first provider.
 */
#include <inttypes.h>
#include <string.h>

#include "check/invariants.h"

struct provider_state {
	uint64_t throttled_at; /* index of the last 429, or OP_NONE */
	uint64_t throttled_from_us, throttled_until_us;
	uint64_t failed_until_us; /* it gave its callers a reason to go elsewhere until then */
};

static size_t provider_of(const struct check_config *config, const char *name)
{
	size_t i;

	for (i = 0; i < config->provider_count; i++)
		if (!strcmp(config->providers[i], name))
			return i;
	return config->provider_count;
}

/* How long a failure excuses a fallback: what the breaker may keep it away, and a margin for the backoff. */
static uint64_t excuse_us(const struct check_config *config)
{
	return config->breaker_reset_us + config->throttle_default_us + 4 * config->throttle_grace_us + 1000000;
}

static void note_failure(struct provider_state *p, const struct op *op, const struct check_config *config)
{
	uint64_t window = config->throttle_default_us, until;
	uint64_t left = op->value > 0 ? (uint64_t)op->value : 0;
	/* When the answer left, which the operation says it was a little before it could be recorded. */
	uint64_t sent_us = op->time_us > left ? op->time_us - left : 0;

	if (op->status == 429) {
		if (op->number >= 0)
			window = (uint64_t)(op->number * 1e6);
		if (config->throttle_max_us && window > config->throttle_max_us)
			window = config->throttle_max_us;
		until = sent_us + window;
		if (p->throttled_at == OP_NONE || sent_us > p->throttled_until_us)
			p->throttled_from_us = op->time_us;
		if (p->throttled_at == OP_NONE || until > p->throttled_until_us)
			p->throttled_until_us = until;
		p->throttled_at = op->index;
	} else {
		until = op->time_us;
	}
	until += excuse_us(config);
	if (until > p->failed_until_us)
		p->failed_until_us = until;
}

static void judge_window(const struct provider_state *p, const struct op *call, const struct check_config *config,
    struct check_result *result)
{
	const uint64_t evidence[] = {p->throttled_at, call->index};

	if (p->throttled_at == OP_NONE || call->time_us <= p->throttled_from_us + config->throttle_grace_us)
		return;
	if (call->time_us >= p->throttled_until_us)
		return;
	check_violation(result, evidence, 2, "task %s called %s %.0f ms before its throttle window ended", call->task,
	    call->actor, (double)(p->throttled_until_us - call->time_us) / 1e3);
}

static void judge_order(const struct provider_state *states, size_t called, const struct op *call,
    const struct check_config *config, struct check_result *result)
{
	const uint64_t evidence[] = {call->index};
	size_t i;

	result->opportunities++;
	for (i = 0; i < called; i++) {
		if (call->time_us < states[i].failed_until_us)
			continue;
		check_violation(result, evidence, 1,
		    "task %s called %s although %s comes before it and was neither throttled nor failing", call->task,
		    call->actor, config->providers[i]);
		return;
	}
}

static void run(const struct history_view *view, const struct check_config *config, struct check_result *result)
{
	struct provider_state states[CHECK_PROVIDERS_MAX];
	uint64_t throttles = 0, calls = 0;
	size_t i, p;

	check_begin(result);
	memset(states, 0, sizeof states);
	for (p = 0; p < CHECK_PROVIDERS_MAX; p++)
		states[p].throttled_at = OP_NONE;
	for (i = 0; i < view->count; i++) {
		const struct op *op = &view->ops[i];

		if (op->kind != OP_CALL)
			continue;
		p = provider_of(config, op->actor);
		if (p == config->provider_count)
			continue;
		if (op->type == OP_FAIL || op->type == OP_INFO) {
			throttles += op->status == 429;
			result->opportunities += op->status == 429;
			note_failure(&states[p], op, config);
		} else if (op->type == OP_INVOKE) {
			calls++;
			judge_window(&states[p], op, config, result);
			if (p > 0)
				judge_order(states, p, op, config, result);
		}
	}
	if (result->opportunities)
		check_end(result, "%" PRIu64 " calls, %" PRIu64 " throttled, %" PRIu64 " out of order or too early",
		    calls, throttles, result->violations);
	else
		check_end(result, "nobody was throttled and nobody fell back in %" PRIu64 " calls", calls);
}

const struct check check_cascade_order = {
    .name = "cascade-order",
    .summary = "fallback follows the configured order; no call inside a throttle window",
    .run = run,
};
