/* SPDX-License-Identifier: Apache-2.0 */
/* The model providers, as the gateway in front of them would show them: each request, and how it was answered. */
#include "sim/world.h"

#include "fixtures/conductor/policy/cascade.h"

enum { PLACE_CALL = 400 };

struct answer {
	int32_t status; /* 0: none */
	int64_t retry_after_ms;
	uint64_t tokens, after_us;
	enum core_class fault_class;
	bool hangs;
	uint32_t held_by; /* the fault that keeps it from being there at once, or NOBODY */
};

/* What is refused is answered at once: no model thinks about it. */
static uint64_t refusal_us(const struct world *w, const struct answer *answer)
{
	return w->plan->refusal_us ? w->plan->refusal_us : answer->after_us;
}

/* Who is throttled hears nothing else. */
static void disturb(struct world *w, uint32_t provider, struct answer *answer)
{
	const struct sim_fault *f;
	uint32_t index;

	f = inject_active(w, SIM_RATE_LIMIT, provider, &index);
	if (f) {
		inject_felt(w, index, "429");
		*answer = (struct answer){
		    .status = 429, .retry_after_ms = f->number, .after_us = refusal_us(w, answer), .held_by = NOBODY};
		f = inject_active(w, SIM_PROVIDER_LIE, provider, &index);
		if (!f || f->kind == LIE_TOKENS)
			return;
		if (answer->retry_after_ms >= 0 || f->kind == LIE_LONG_HEADER)
			inject_felt(w, index, "header");
		answer->retry_after_ms = f->kind == LIE_LONG_HEADER ? 86400000 : -1;
		return;
	}
	f = inject_active(w, SIM_PROVIDER_ERROR, provider, &index);
	if (f) {
		inject_felt(w, index, sim_kind_name(f->plugin, f->kind));
		answer->status = f->kind == ERROR_STATUS ? (int32_t)f->number : f->kind == ERROR_DELAY ? 200 : 0;
		answer->hangs = f->kind == ERROR_HANG;
		if (f->kind == ERROR_HANG || f->kind == ERROR_DELAY)
			answer->held_by = index;
		if (f->kind == ERROR_STATUS || f->kind == ERROR_RESET)
			answer->after_us = refusal_us(w, answer);
		if (f->kind == ERROR_DELAY)
			answer->after_us += (uint64_t)f->number * SIM_MS;
		if (f->kind == ERROR_MALFORMED) {
			answer->status = 200;
			answer->fault_class = CORE_CLASS_VALIDATION;
		}
	}
	if (answer->status != 200) {
		answer->tokens = 0;
		return;
	}
	f = inject_active(w, SIM_PROVIDER_LIE, provider, &index);
	if (f && f->kind == LIE_TOKENS) {
		answer->tokens *= 50;
		inject_felt(w, index, "tokens");
	}
}

static void answer_later(struct world *w, const struct happening *like, uint64_t after_us)
{
	struct happening *h = world_later(w, after_us, HAPPENS_ANSWER);

	h->agent = like->agent;
	h->step = like->step;
	h->what = like->what;
	h->provider = like->provider;
	h->status = like->status;
	h->number = like->number;
	h->tokens = like->tokens;
	h->fault_class = like->fault_class;
}

/* As the gateway does when a rule is cleared: who was kept waiting by it is answered, or hung up on. */
void providers_let_go(struct world *w, uint32_t fault)
{
	for (uint32_t i = 0; i < w->agent_count; i++)
		if (w->agents[i].held_by == fault && w->agents[i].call == w->agents[i].held.what)
			answer_later(w, &w->agents[i].held, 0);
}

void providers_arrive(struct world *w, uint32_t agent, const struct happening *h)
{
	struct sim_agent *a = &w->agents[agent];
	const struct sim_plan *plan = w->plan;
	uint64_t place = ((uint64_t)a->task << 32) | a->attempt;
	static const char *const models[] = {"opus", "sonnet", "codex", "gemini", "qwen"};
	struct answer answer = {.status = 200, .retry_after_ms = -1, .tokens = plan->tokens, .held_by = NOBODY};
	struct happening *later, held;

	a->call = ++w->calls;
	a->call_op = ops_add(w, (struct op){.kind = OP_CALL,
				    .type = OP_INVOKE,
				    .task = w->names[a->task],
				    .actor = cascade_providers[h->provider],
				    .key = models[h->provider == 0 ? h->op : h->provider + 1],
				    .attempt = a->attempt});
	inject_happens(w, SIM_ON_REQUEST, h->provider, agent);
	if (!a->alive || !a->call)
		return;
	answer.after_us = world_span(w, &plan->call, PLACE_CALL, place, ++a->draws);
	if (h->tokens && answer.tokens > h->tokens)
		answer.tokens = h->tokens; /* max_tokens */
	disturb(w, h->provider, &answer);
	held = (struct happening){.agent = agent,
	    .step = h->step,
	    .what = a->call,
	    .provider = h->provider,
	    .status = answer.status,
	    .number = answer.retry_after_ms,
	    .tokens = answer.tokens,
	    .fault_class = answer.fault_class};
	if (!answer.hangs)
		answer_later(w, &held, answer.after_us);
	a->held = held;
	a->held_by = answer.held_by;
	if (answer.hangs || answer.after_us > plan->policy.role_timeout_ms * SIM_MS / 4) {
		later = agent_act_later(w, agent, plan->policy.role_timeout_ms * SIM_MS / 4 + SIM_MS, ACT_TIMEOUT);
		later->step = a->call; /* which of its calls */
		later->provider = h->provider;
		later->number = -1;
	}
}

void providers_answer(struct world *w, const struct happening *h)
{
	struct sim_agent *a = &w->agents[h->agent];
	struct op op = {.kind = OP_CALL, .status = h->status, .number = -1};
	struct happening *later;

	if (a->call != h->what)
		return; /* nobody waits for it any more */
	op.type = h->status == 0 ? OP_INFO : h->status / 100 == 2 ? OP_OK : OP_FAIL;
	if (h->status == 429 && h->number >= 0)
		op.number = (double)h->number / 1e3;
	if (op.type == OP_OK)
		op.value = (int64_t)h->tokens;
	if (op.type == OP_INFO)
		op.detail = "reset";
	ops_complete(w, a->call_op, op);
	a->call = 0;
	a->call_op = OP_NONE;
	inject_happens(w, SIM_ON_REPLY, h->provider, h->agent);
	if (!a->alive)
		return;
	later = agent_act_later(w, h->agent, w->plan->message.low, ACT_CALLED);
	later->step = h->step;
	later->provider = h->provider;
	later->status = h->status;
	later->number = h->number;
	later->tokens = h->tokens;
	later->fault_class = h->fault_class;
}

void providers_hung_up(struct world *w, struct sim_agent *a, const char *why)
{
	if (!a->call)
		return;
	ops_complete(w, a->call_op, (struct op){.kind = OP_CALL, .type = OP_INFO, .number = -1, .detail = why});
	a->call = 0;
	a->call_op = OP_NONE;
}
