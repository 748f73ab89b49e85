/* SPDX-License-Identifier: Apache-2.0 */
/* The verdict: the checkers of host/check, the very same, over what was observed. */
#include "sim/world.h"

#include <stdio.h>

#include "fixtures/conductor/policy/cascade.h"

uint64_t judge_progress_limit(const struct sim_plan *plan)
{
	const struct policy *p = &plan->policy;
	uint64_t longest = p->throttle_max_ms > p->role_timeout_ms ? p->throttle_max_ms : p->role_timeout_ms;

	/* What may be waited out: a window, a silent agent's time and grace. */
	return (longest + p->kill_grace_ms + 2000) * SIM_MS;
}

/* What the orchestrator itself cut short is not held against a task: as often as it died, or lost its disk for a while. */
static uint64_t interruptions_max(const struct sim_plan *plan)
{
	uint64_t deaths = 0;

	for (uint32_t i = 0; i < plan->fault_count; i++) {
		if (plan->faults[i].plugin == SIM_DISK_FULL)
			return plan->policy.interruptions_max;
		deaths += plan->faults[i].plugin == SIM_ORCHESTRATOR_KILL || plan->faults[i].plugin == SIM_POWER_LOSS;
	}
	return deaths < plan->policy.interruptions_max ? deaths : plan->policy.interruptions_max;
}

/* Throttled calls are bounded by the windows, not by a count: one for each of them that fits, at each provider, and one after the other. */
static uint64_t throttled_max(const struct sim_plan *plan)
{
	uint64_t all = 0;

	for (uint32_t i = 0; i < plan->fault_count; i++) {
		const struct sim_fault *f = &plan->faults[i];
		uint64_t window_us = (f->number < 0 ? plan->policy.throttle_base_ms : (uint64_t)f->number) * SIM_MS;
		uint64_t calls = f->duration_us / (plan->call.low + 1) + 1, windows;

		if (f->plugin != SIM_RATE_LIMIT)
			continue;
		windows = POLICY_PROVIDERS * (f->duration_us / (window_us + 1) + 1);
		all += calls < windows ? calls : windows;
	}
	return all;
}

/* That a trial is over is known by what its agent says: an end that is told twice, late or out of its turn may stand for another call. */
static bool ends_in_order(const struct sim_plan *plan)
{
	for (uint32_t i = 0; i < plan->fault_count; i++) {
		const struct sim_fault *f = &plan->faults[i];

		if (f->plugin == SIM_AGENT_BABBLE &&
		    (f->kind == BABBLE_TWICE || f->kind == BABBLE_LATE || f->kind == BABBLE_REORDER))
			return false;
	}
	return true;
}

/* Does the orchestrator hear of all that is spent? Not where its agents, its log or it itself may end between an answer and its record; and what
 * a provider lies about binds nobody. */
static bool counts_tokens(const struct sim_plan *plan)
{
	for (uint32_t i = 0; i < plan->fault_count; i++) {
		const struct sim_fault *f = &plan->faults[i];
		bool waits = f->plugin == SIM_PROVIDER_ERROR && (f->kind == ERROR_HANG || f->kind == ERROR_DELAY);
		bool lies = f->plugin == SIM_PROVIDER_LIE && f->kind == LIE_TOKENS;

		if (waits || lies ||
		    (f->plugin != SIM_RATE_LIMIT && f->plugin != SIM_PROVIDER_ERROR && f->plugin != SIM_PROVIDER_LIE &&
			f->plugin != SIM_FILE_REMOVE && f->plugin != SIM_GIT_TROUBLE && f->plugin != SIM_SINK_ERROR &&
			f->plugin != SIM_SWALLOWED_EXCEPTION))
			return false;
	}
	return true;
}

void judge_limits(const struct sim_plan *plan, struct check_config *config)
{
	static const char *const cascade[] = {"claude/opus", "claude/sonnet", "codex", "gemini", "qwen"};
	const struct policy *p = &plan->policy;

	if (plan->as_real)
		*config = plan->limits;
	else
		check_config_init(config);
	for (unsigned i = 0; i < POLICY_PROVIDERS; i++)
		config->providers[config->provider_count++] = cascade_providers[i];
	for (unsigned i = 0; i < sizeof cascade / sizeof cascade[0]; i++)
		config->cascade[config->cascade_count++] = cascade[i];
	if (plan->as_real)
		return;
	config->breaker_trials = ends_in_order(plan) ? 1 : 0;
	config->progress_excuse_us = plan->faults_end_us + SIM_SECOND; /* all faults end then */
	config->throttle_grace_us = 150 * SIM_MS + plan->news_lag_us;
	config->throttle_default_us = p->throttle_base_ms * SIM_MS;
	config->graph_slack_us = 0; /* the ledger is seen at once */
	config->throttle_max_us = p->throttle_max_ms * SIM_MS;
	config->notify_limit_us = 10 * SIM_SECOND;
	config->notify_keys = true;
	config->progress_limit_us = judge_progress_limit(plan);
	config->claim_slack_us = 500 * SIM_MS + plan->claims_lag_us;
	config->slo_tasks = p->slo_window;
	config->attempts_max = p->attempts_max + interruptions_max(plan);
	config->agents_max = p->agents;
	config->calls_per_task_max = config->attempts_max * SIM_STEPS_MAX *
					 (p->network_retries + p->throttled_retries + p->validation_retries + 3) +
				     throttled_max(plan);
	config->tokens_per_task_max = counts_tokens(plan) ? p->task_tokens_max : 0;
	config->breaker_threshold = p->breaker_threshold;
	config->breaker_slack_us = (plan->sync.high + plan->call.high + 20 * plan->message.high) + plan->news_lag_us;
	config->breaker_reset_us = p->breaker_reset_ms * SIM_MS;
	config->restarts_max = 20;
}

void judge_run(struct world *w)
{
	struct history_view view = {.ops = w->ops, .count = w->op_count, .facts = &w->facts};
	struct sim_result *r = w->result;
	struct check_config config;
	struct check_result checked;

	judge_limits(w->plan, &config);
	facts_again(&w->facts, &view);
	for (unsigned i = 0; i + 1 < SIM_CHECKS; i++) {
		struct sim_verdict *v = &r->verdicts[i];

		check_table[i]->run(&view, &config, &checked);
		v->name = check_table[i]->name;
		v->opportunities = checked.opportunities;
		v->violations = checked.violations;
		if (!checked.violations)
			continue;
		snprintf(v->text, sizeof v->text, "%s", checked.findings[0].text);
		v->evidence_count = checked.findings[0].evidence_count;
		for (uint32_t k = 0; k < v->evidence_count; k++)
			v->evidence[k] = checked.findings[0].evidence[k];
	}
	r->verdicts[SIM_CHECKS - 1].name = "contract";
	r->verdicts[SIM_CHECKS - 1].opportunities = r->steps;
	for (unsigned i = 0; i < SIM_CHECKS; i++) {
		w->coverage->opportunities[i] += r->verdicts[i].opportunities;
		w->coverage->violations[i] += r->verdicts[i].violations;
		r->deviated = r->deviated || r->verdicts[i].violations;
	}
}
