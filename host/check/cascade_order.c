/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fallback follows the configured order, and no provider is called, nor tokens spent, inside its throttle window. A window begins with
 * a 429 that was really sent and lasts for its Retry-After; a call within the grace was already on its way, and a system that died
 * within the grace, or before, may never have heard of it. A call to a later place of
 * the cascade needs a reason at each earlier one: of the same provider, that very model throttled or failing shortly before; of another,
 * any model of it. Opportunity: each 429, and each call past the first place.
 */
#include <inttypes.h>
#include <string.h>

#include "check/invariants.h"

struct provider_state {
	uint64_t throttled_at; /* index of the last 429, or OP_NONE */
	uint64_t throttled_from_us, throttled_until_us;
	uint64_t failed_until_us; /* it gave its callers a reason to go elsewhere until then */
};

struct place {
	const char *name;  /* "claude/opus", or "codex": whichever model */
	const char *model; /* NULL: any */
	size_t provider;
	uint64_t failed_until_us;
};

struct cascade {
	struct provider_state providers[CHECK_PROVIDERS_MAX];
	struct place places[CHECK_CASCADE_MAX];
	size_t count;
	bool down; /* the system is: nobody hears what its last agents are told */
};

static size_t provider_of(const struct check_config *config, const char *name, size_t length)
{
	size_t i;

	for (i = 0; i < config->provider_count; i++)
		if (strlen(config->providers[i]) == length && !strncmp(config->providers[i], name, length))
			return i;
	return config->provider_count;
}

static void add_place(struct cascade *cascade, const struct check_config *config, const char *name)
{
	size_t length = strcspn(name, "/"), provider = provider_of(config, name, length);

	if (provider < config->provider_count)
		cascade->places[cascade->count++] = (struct place){
		    .name = name, .model = name[length] ? name + length + 1 : NULL, .provider = provider};
}

static void begin(struct cascade *cascade, const struct check_config *config)
{
	size_t i;

	memset(cascade, 0, sizeof *cascade);
	for (i = 0; i < CHECK_PROVIDERS_MAX; i++)
		cascade->providers[i].throttled_at = OP_NONE;
	for (i = 0; i < config->cascade_count; i++)
		add_place(cascade, config, config->cascade[i]);
	for (i = 0; !config->cascade_count && i < config->provider_count; i++)
		add_place(cascade, config, config->providers[i]);
}

/* Where in the cascade this call is: its model's own place, else the one for any model; of a model that is not known, the provider's
 * first. cascade->count when there is none. */
static size_t place_of(const struct cascade *cascade, size_t provider, const char *model)
{
	size_t i, any = cascade->count;

	for (i = 0; i < cascade->count; i++) {
		const struct place *p = &cascade->places[i];

		if (p->provider != provider)
			continue;
		if (!*model || (p->model && !strcmp(p->model, model)))
			return i;
		if (!p->model && any == cascade->count)
			any = i;
	}
	return any;
}

static bool has_place(const struct cascade *cascade, size_t provider)
{
	return place_of(cascade, provider, "") < cascade->count;
}

/* How long a failure excuses a fallback: what the breaker may keep it away, and a margin for the backoff. */
static uint64_t excuse_us(const struct check_config *config)
{
	return config->breaker_reset_us + config->throttle_default_us + 4 * config->throttle_grace_us + 1000000;
}

/* Until when its callers may count it as throttled, from when the answer left: the operation says how long before it that was. */
static uint64_t throttle(struct provider_state *p, const struct op *op, const struct check_config *config)
{
	uint64_t window = config->throttle_default_us, until;
	uint64_t left = op->value > 0 ? (uint64_t)op->value : 0;
	uint64_t sent_us = op->time_us > left ? op->time_us - left : 0;

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
	return until;
}

static void later(uint64_t *at, uint64_t than)
{
	if (than > *at)
		*at = than;
}

static void note_failure(
    struct cascade *cascade, size_t provider, const struct op *op, const struct check_config *config)
{
	struct provider_state *p = &cascade->providers[provider];
	uint64_t until = op->status == 429 && !cascade->down ? throttle(p, op, config) : op->time_us;
	size_t place = place_of(cascade, provider, op->key);

	until += excuse_us(config);
	later(&p->failed_until_us, until);
	if (place < cascade->count)
		later(&cascade->places[place].failed_until_us, until);
}

/* The system died: of a window that had hardly begun it may never have heard. */
static void note_death(struct cascade *cascade, const struct op *op, const struct check_config *config)
{
	size_t i;

	cascade->down = true;
	for (i = 0; i < config->provider_count; i++)
		if (op->time_us <= cascade->providers[i].throttled_from_us + config->throttle_grace_us)
			cascade->providers[i].throttled_at = OP_NONE;
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

static void judge_order(
    const struct cascade *cascade, size_t provider, const struct op *call, struct check_result *result)
{
	const uint64_t evidence[] = {call->index};
	size_t called = place_of(cascade, provider, call->key), i;

	if (called == 0 || !has_place(cascade, provider))
		return;
	result->opportunities++;
	if (called == cascade->count) {
		check_violation(result, evidence, 1,
		    "task %s called %s with the model %s, which the cascade does not name", call->task, call->actor,
		    call->key);
		return;
	}
	for (i = 0; i < called; i++) {
		const struct place *p = &cascade->places[i];
		uint64_t failed_until_us =
		    p->provider == provider ? p->failed_until_us : cascade->providers[p->provider].failed_until_us;

		if (call->time_us < failed_until_us)
			continue;
		check_violation(result, evidence, 1,
		    "task %s called %s although %s comes before it and was neither throttled nor failing", call->task,
		    cascade->places[called].name, p->name);
		return;
	}
}

static void run(const struct history_view *view, const struct check_config *config, struct check_result *result)
{
	struct cascade cascade;
	uint64_t throttles = 0, calls = 0;
	size_t i, p;

	check_begin(result);
	begin(&cascade, config);
	for (i = 0; i < view->count; i++) {
		const struct op *op = &view->ops[i];

		if (op->kind == OP_SYSTEM && op->type == OP_INFO)
			note_death(&cascade, op, config);
		else if (op->kind == OP_SYSTEM && op->type == OP_OK)
			cascade.down = false;
		if (op->kind != OP_CALL)
			continue;
		p = provider_of(config, op->actor, strlen(op->actor));
		if (p == config->provider_count)
			continue;
		if (op->type == OP_FAIL || op->type == OP_INFO) {
			throttles += op->status == 429;
			result->opportunities += op->status == 429;
			note_failure(&cascade, p, op, config);
		} else if (op->type == OP_INVOKE) {
			calls++;
			judge_window(&cascade.providers[p], op, config, result);
			judge_order(&cascade, p, op, result);
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
