/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fallback follows the configured order, and no provider is called, nor tokens spent, inside its throttle window. A window begins with
 * a 429 that was really sent and lasts for its Retry-After; a call within the grace was already on its way, and a system that died
 * within the grace, or before, may never have heard of it, nor from a caller that died. A call to a later place of
 * the cascade needs a reason at each earlier one: of the same provider, that very model throttled or failing shortly before; of another,
 * any model of it; or a call after a failure is still under way there (a trial: the others go elsewhere). Opportunity: each 429, and each call past the first place.
 */
#include <inttypes.h>
#include <string.h>

#include "check/facts.h"
#include "check/invariants.h"

#define SEEN_LATE_US 1000000u /* a death, after it happened */

struct provider_state {
	uint64_t throttled_at; /* index of the last 429, or OP_NONE */
	uint64_t throttled_us; /* when that was answered */
	uint64_t throttled_from_us, throttled_until_us;
	uint64_t failed_until_us; /* it gave its callers a reason to go elsewhere until then */
	uint64_t reason_us;       /* which lasts so long */
	uint64_t calls;           /* under way */
	bool failed;              /* one did, and none has succeeded that its breaker let pass after that */
	uint64_t failed_us;       /* when, last */
	uint64_t well_us;         /* since when it has not: news that may take the grace */
	const struct op *well_by; /* the end of the call that has shown it, or NULL */
};

/* A 429 of which it is not known yet whether anybody lived to tell of it. */
#define UNHEARD_MAX 64u
struct unheard {
	size_t provider;
	const struct op *op;
};

/* A fallback past a provider that had failed, until it is known whether another call was its trial meanwhile. */
#define PENDING_MAX 64u
struct pending {
	const struct op *call;
	size_t called, before; /* places */
};

/* A 429 whose caller may wait for that very provider instead of falling back further. */
#define PINS_MAX 64u
struct pin {
	const struct op *op; /* the 429; NULL: none */
	size_t place;
};

struct place {
	const char *name;  /* "claude/opus", or "codex": whichever model */
	const char *model; /* NULL: any */
	size_t provider;
	uint64_t failed_until_us, reason_us;
};

struct cascade {
	struct provider_state providers[CHECK_PROVIDERS_MAX];
	struct place places[CHECK_CASCADE_MAX];
	size_t count;
	struct unheard unheard[UNHEARD_MAX];
	size_t unheard_count;
	struct pending pending[PENDING_MAX];
	size_t pending_count;
	struct pin pins[PINS_MAX];
	size_t pin_next, pinned; /* so many are there */
	bool down;               /* the system is, or is coming up: who knows who hears what its agents are told */
	uint64_t felt_us;        /* when a fault was last proven */
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
static uint64_t window_end_us(const struct op *op, const struct check_config *config)
{
	uint64_t window = config->throttle_default_us;
	uint64_t left = op->value > 0 ? (uint64_t)op->value : 0;

	if (op->number >= 0)
		window = (uint64_t)(op->number * 1e6);
	if (config->throttle_max_us && window > config->throttle_max_us)
		window = config->throttle_max_us;
	return (op->time_us > left ? op->time_us - left : 0) + window;
}

static void begin_window(struct provider_state *p, const struct op *op, const struct check_config *config)
{
	uint64_t until = window_end_us(op, config);

	if (p->throttled_at == OP_NONE || op->time_us > p->throttled_until_us)
		p->throttled_from_us = op->time_us;
	if (p->throttled_at == OP_NONE || until > p->throttled_until_us)
		p->throttled_until_us = until;
	p->throttled_at = op->index;
	p->throttled_us = op->time_us;
}

/* What was answered longer ago than the grace has been heard. */
static void hear(struct cascade *cascade, uint64_t now_us, const struct check_config *config)
{
	size_t i, kept = 0;

	for (i = 0; i < cascade->unheard_count; i++) {
		const struct unheard *u = &cascade->unheard[i];

		if (now_us > u->op->time_us + config->throttle_grace_us)
			begin_window(&cascade->providers[u->provider], u->op, config);
		else
			cascade->unheard[kept++] = *u;
	}
	cascade->unheard_count = kept;
}

/* The caller has died, or (NULL) the system: of what it was answered last nobody may have heard. */
static void forget(struct cascade *cascade, const char *task)
{
	size_t i, kept = 0;

	for (i = 0; i < cascade->unheard_count; i++)
		if (task && strcmp(cascade->unheard[i].op->task, task) != 0)
			cascade->unheard[kept++] = cascade->unheard[i];
	cascade->unheard_count = kept;
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
	bool throttled = op->status == 429;
	uint64_t until = throttled ? window_end_us(op, config) : op->time_us;
	size_t place = place_of(cascade, provider, op->key);

	/* Of a system that is down, or coming up, nobody knows who hears it: it need not be heeded, and it may be. */
	if (throttled && !cascade->down && cascade->unheard_count < UNHEARD_MAX)
		cascade->unheard[cascade->unheard_count++] = (struct unheard){.provider = provider, .op = op};
	else if (throttled && !cascade->down)
		begin_window(p, op, config);
	if (throttled && op->number < 0 && config->throttle_max_us > config->throttle_default_us)
		until += config->throttle_max_us - config->throttle_default_us; /* the window may have doubled */
	until += excuse_us(config);
	later(&p->failed_until_us, until);
	p->reason_us = until - op->time_us;
	if (place >= cascade->count)
		return;
	later(&cascade->places[place].failed_until_us, until);
	cascade->places[place].reason_us = until - op->time_us;
}

/* Who comes back may not know how long it was away, and wait out again what had not been seen to end. */
static void wait_again(struct cascade *cascade, uint64_t now_us, const struct check_config *config)
{
	size_t i;

	for (i = 0; i < config->provider_count; i++)
		if (cascade->providers[i].failed)
			later(&cascade->providers[i].failed_until_us, now_us + cascade->providers[i].reason_us);
	for (i = 0; i < cascade->count; i++)
		if (cascade->providers[cascade->places[i].provider].failed && cascade->places[i].reason_us)
			later(&cascade->places[i].failed_until_us, now_us + cascade->places[i].reason_us);
}

/* Of that a provider is well again, too. `death` is the caller's or the system's. */
static void forget_well(struct cascade *cascade, const struct op *death, const struct check_config *config)
{
	size_t i;

	for (i = 0; i < config->provider_count; i++) {
		struct provider_state *p = &cascade->providers[i];

		if (!p->well_by || (death->kind == OP_AGENT && !op_same_caller(p->well_by, death)))
			continue;
		p->well_by = NULL;
		if (death->time_us > p->well_us + config->throttle_grace_us)
			continue;
		p->failed = true;
		p->well_us = 0;
	}
}

/* Who goes on has told of what it was answered. */
static void told(struct cascade *cascade, const struct op *call, const struct check_config *config)
{
	size_t i;

	for (i = 0; i < config->provider_count; i++)
		if (cascade->providers[i].well_by && op_same_caller(cascade->providers[i].well_by, call))
			cascade->providers[i].well_by = NULL;
}

/*
 * A machine that has no time for us lets us see a death late: a system that died right after a fault was proven may have died of it there and
 * then, though it is written down after the grace.
 */
static void forget_windows(struct cascade *cascade, const struct op *death, const struct check_config *config)
{
	size_t i;

	if (!cascade->felt_us || death->time_us > cascade->felt_us + SEEN_LATE_US)
		return;
	for (i = 0; i < config->provider_count; i++)
		if (cascade->felt_us <= cascade->providers[i].throttled_us + config->throttle_grace_us)
			cascade->providers[i].throttled_at = OP_NONE;
}

/* Who dies, and who is there again. */
static void note_life(struct cascade *cascade, const struct op *op, const struct check_config *config)
{
	if (op->kind == OP_AGENT && op->type == OP_OK && op->task[0]) {
		forget(cascade, op->task);
		forget_well(cascade, op, config);
	}
	if (op->kind != OP_SYSTEM)
		return;
	if (op->type == OP_INFO) {
		forget(cascade, NULL);
		forget_windows(cascade, op, config);
		forget_well(cascade, op, config);
	}
	if (op->type == OP_OK && cascade->down)
		wait_again(cascade, op->time_us, config);
	if (op->type == OP_INFO || op->type == OP_OK)
		cascade->down = op->type == OP_INFO;
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
	check_permit(result, config->calls_throttled);
}

static void out_of_order(const struct cascade *cascade, const struct pending *found, const struct check_config *config,
    struct check_result *result)
{
	const uint64_t evidence[] = {found->call->index};

	check_violation(result, evidence, 1,
	    "task %s called %s although %s comes before it and was neither throttled nor failing", found->call->task,
	    cascade->places[found->called].name, cascade->places[found->before].name);
	check_permit(result, config->any_order);
}

/* The trial's request may arrive a little after those that were sent elsewhere because of it. */
static void settle(struct cascade *cascade, uint64_t now_us, size_t tried, const struct check_config *config,
    struct check_result *result)
{
	size_t i, kept = 0;

	for (i = 0; i < cascade->pending_count; i++) {
		const struct pending *p = &cascade->pending[i];

		if (now_us > p->call->time_us + config->throttle_grace_us)
			out_of_order(cascade, p, config, result);
		else if (cascade->places[p->before].provider != tried)
			cascade->pending[kept++] = *p;
	}
	cascade->pending_count = kept;
}

static void pin(struct cascade *cascade, const struct op *op, size_t provider)
{
	cascade->pinned += !cascade->pins[cascade->pin_next].op;
	cascade->pins[cascade->pin_next] = (struct pin){.op = op, .place = place_of(cascade, provider, op->key)};
	cascade->pin_next = (cascade->pin_next + 1) % PINS_MAX;
}

/* Work in flight that was throttled tries again where it was: that is no fallback. Whatever it calls, it waits no more. */
static bool takes_pin(struct cascade *cascade, const struct op *call, size_t place)
{
	bool found = false;
	size_t i;

	for (i = 0; i < PINS_MAX; i++) {
		struct pin *p = &cascade->pins[i];

		if (!p->op || strcmp(p->op->task, call->task) != 0)
			continue;
		found = found || (p->place == place && p->op->attempt == call->attempt);
		p->op = NULL;
		cascade->pinned--;
	}
	return found;
}

static void judge_order(struct cascade *cascade, size_t provider, const struct op *call,
    const struct check_config *config, struct check_result *result)
{
	const uint64_t evidence[] = {call->index};
	size_t called = place_of(cascade, provider, call->key), i;
	bool again = cascade->pinned > 0 && takes_pin(cascade, call, called);

	if (called == 0 || !has_place(cascade, provider))
		return;
	result->opportunities++;
	if (again && called < cascade->count)
		return;
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

		const struct provider_state *before = &cascade->providers[p->provider];
		struct pending found;

		if (call->time_us < failed_until_us || (before->failed && before->calls) ||
		    (before->well_us && call->time_us < before->well_us + config->throttle_grace_us))
			continue;
		found = (struct pending){.call = call, .called = called, .before = i};
		if (before->failed && cascade->pending_count < PENDING_MAX)
			cascade->pending[cascade->pending_count++] = found;
		else
			out_of_order(cascade, &found, config, result);
		return;
	}
}

/* begun_us: when the call was made that `op` is about. One that was under way at a failure, or let go before the breaker opened, says
 * nothing of what came after. */
static void judge_call(struct cascade *cascade, size_t provider, const struct op *op, uint64_t begun_us,
    const struct check_config *config, struct check_result *result)
{
	struct provider_state *p = &cascade->providers[provider];

	if (op->type == OP_INVOKE) {
		told(cascade, op, config);
		settle(cascade, op->time_us, provider, config, result);
		judge_window(p, op, config, result);
		judge_order(cascade, provider, op, config, result);
		p->calls++;
		return;
	}
	p->calls -= p->calls > 0;
	if (op->type != OP_OK) {
		p->failed = true;
		p->failed_us = op->time_us;
		p->well_by = NULL;
		note_failure(cascade, provider, op, config);
		if (op->status == 429 && op->task[0])
			pin(cascade, op, provider);
	} else if (p->failed && begun_us >= p->failed_us + config->breaker_reset_us) {
		p->failed = false;
		p->well_us = op->time_us;
		p->well_by = op;
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

		if (op->kind == OP_FAULT && op->type == OP_OK)
			cascade.felt_us = op->time_us;
		if (op->kind != OP_CALL && op->kind != OP_AGENT && op->kind != OP_SYSTEM)
			continue;
		hear(&cascade, op->time_us, config);
		note_life(&cascade, op, config);
		if (op->kind != OP_CALL)
			continue;
		p = provider_of(config, op->actor, strlen(op->actor));
		if (p == config->provider_count)
			continue;
		calls += op->type == OP_INVOKE;
		throttles += op->type != OP_INVOKE && op->status == 429;
		judge_call(&cascade, p, op, op->pair < i ? view->ops[op->pair].time_us : op->time_us, config, result);
	}
	settle(&cascade, UINT64_MAX, CHECK_PROVIDERS_MAX, config, result);
	result->opportunities += throttles;
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
