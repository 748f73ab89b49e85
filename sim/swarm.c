/* SPDX-License-Identifier: Apache-2.0 */
/* A seed's plan: each seed draws which kinds of fault it has at all, and then how many, so that rare mixes
 * come up as often as common ones (swarm testing). Times are scaled as in fixtures/systems/conductor.yaml. */
#include <string.h>

#include "sim/plan.h"
#include "sim/rng.h"

static struct sim_span span(struct rng *rng, uint32_t low, uint32_t high)
{
	uint32_t a = (uint32_t)rng_range(rng, low, high), b = (uint32_t)rng_range(rng, low, high);

	return (struct sim_span){a < b ? a : b, a < b ? b : a};
}

static uint64_t one_of(struct rng *rng, const uint64_t *values, size_t count)
{
	return values[rng_below(rng, count)];
}
#define ONE_OF(rng_, ...)                                                                                              \
	one_of(rng_, (const uint64_t[]){__VA_ARGS__}, sizeof(const uint64_t[]){__VA_ARGS__} / sizeof(uint64_t))

static void draw_policy(struct sim_plan *plan, struct rng *rng)
{
	struct policy *p = &plan->policy;

	policy_init(p);
	p->lease_ms = ONE_OF(rng, 400, 600, 1000);
	p->beat_ms = p->lease_ms / ONE_OF(rng, 3, 4, 6);
	p->kill_grace_ms = ONE_OF(rng, 300, 1000, 3000);
	p->throttle_base_ms = ONE_OF(rng, 200, 600);
	p->throttle_max_ms = ONE_OF(rng, 1500, 4000);
	p->breaker_threshold = ONE_OF(rng, 2, 3, 5);
	p->breaker_reset_ms = ONE_OF(rng, 300, 800);
	p->backoff_base_ms = 20;
	p->backoff_max_ms = ONE_OF(rng, 100, 200);
	p->notify_backoff_ms = 50;
	p->notify_backoff_max_ms = 400;
	p->notify_limit_ms = 200;
	p->role_timeout_ms = ONE_OF(rng, 3000, 10000);
	p->agents = ONE_OF(rng, 1, 2, 3, 4, 6, 8);
	for (unsigned i = 0; i < POLICY_ROLES; i++)
		p->role_agents[i] = rng_range(rng, 1, p->agents);
	p->attempts_max = ONE_OF(rng, 2, 3, 5);
	p->interruptions_max = ONE_OF(rng, 3, 5, 20);
	p->network_retries = ONE_OF(rng, 1, 3, 5);
	p->throttled_retries = ONE_OF(rng, 0, 1, 3);
	p->validation_retries = ONE_OF(rng, 1, 2);
	p->worktree_retries = ONE_OF(rng, 1, 2);
	p->task_tokens_max = ONE_OF(rng, 0, 100000, 2000);
	p->loop_max = 6;
	p->slo_window = ONE_OF(rng, 8, 12, 16);
	p->slo_window_ms = 60000;
	p->slo_latency_ms = ONE_OF(rng, 5000, 600000);
	p->slo_recovery_ms = ONE_OF(rng, 2000, 60000);
	p->report_ms = ONE_OF(rng, 50, 100);
	plan->slots_max = (uint32_t)p->agents * 3 + 4;
	plan->tokens = (uint32_t)rng_range(rng, 5, 60);
}

static void draw_tasks(struct sim_plan *plan, struct rng *rng)
{
	uint32_t shape = (uint32_t)rng_below(rng, 4); /* chains, a wide fan, a random graph, loners */
	uint32_t gap = (uint32_t)ONE_OF(rng, 0, 2000, 20000, 100000);
	uint64_t at = 0;

	plan->task_count = (uint32_t)rng_range(rng, 4, 32);
	plan->tail_count = 4;
	for (uint32_t i = 0; i < SIM_TASKS_MAX; i++) {
		struct sim_task *t = &plan->tasks[i];
		uint32_t first = i < plan->task_count ? 0 : plan->task_count;

		memset(t, 0, sizeof *t);
		t->role = (enum policy_role)(shape == 0 ? (i - first) % POLICY_ROLES : rng_below(rng, POLICY_ROLES));
		t->steps = (uint8_t)rng_range(rng, 1, 5);
		t->submit_us = at;
		at += gap ? rng_below(rng, gap) : 0;
		if (shape == 0 && (i - first) % POLICY_ROLES != 0) {
			t->after[t->after_count++] = (uint8_t)(i - 1);
		} else if (shape == 1 && i > first && i - first <= 8) {
			t->after[t->after_count++] = (uint8_t)first;
		} else if (shape == 2 && i > first) {
			uint32_t wanted = (uint32_t)rng_below(rng, SIM_AFTER_MAX + 1);

			for (uint32_t k = 0; k < wanted; k++) {
				uint8_t before = (uint8_t)rng_range(rng, first, i - 1);
				bool there = false;

				for (uint32_t j = 0; j < t->after_count; j++)
					there = there || t->after[j] == before;
				if (!there)
					t->after[t->after_count++] = before;
			}
		}
	}
}

static void draw_spans(struct sim_plan *plan, struct rng *rng)
{
	plan->sync = span(rng, 50, 8000);
	plan->message = span(rng, 10, 1000);
	plan->prepare = span(rng, 1000, 20000);
	plan->call = span(rng, 2000, 60000);
	plan->tool = span(rng, 100, 5000);
	plan->snapshot = span(rng, 100, 5000);
	plan->git = span(rng, 500, 15000);
	plan->lookup = span(rng, 200, 5000);
	plan->sink = span(rng, 200, 8000);
	plan->restart = span(rng, 15000, 60000);
	plan->take_over = span(rng, 1000, 20000);
	plan->file = span(rng, 100, 5000);
}

static struct sim_when draw_when(struct sim_plan *plan, struct rng *rng)
{
	struct sim_when when = {.nth = 1, .of = SIM_ANY, .event = SIM_ON_REQUEST};
	uint32_t steps = plan->task_count * 3;

	switch (rng_below(rng, 8)) {
	case 0:
	case 1:
		when.event = SIM_AT;
		when.after_us = rng_below(rng, 4000) * SIM_MS;
		break;
	case 2:
		when.event = SIM_ON_REPLY;
		break;
	case 3:
		when.event = SIM_ON_COMMIT;
		break;
	case 4:
		when.event = SIM_ON_NOTIFY;
		break;
	case 5:
		when.event = SIM_ON_ACCEPT;
		break;
	case 6:
		if (plan->fault_count > 0) {
			when.event = rng_permille(rng, 500) ? SIM_ON_FAULT : SIM_ON_REVERT;
			when.of = plan->faults[rng_below(rng, plan->fault_count)].name;
		}
		break;
	default:
		break;
	}
	if (when.event == SIM_ON_REQUEST || when.event == SIM_ON_REPLY)
		when.nth = (uint32_t)rng_range(rng, 1, steps);
	else if (when.event == SIM_ON_COMMIT || when.event == SIM_ON_NOTIFY || when.event == SIM_ON_ACCEPT)
		when.nth = (uint32_t)rng_range(rng, 1, plan->task_count);
	if (when.event == SIM_ON_REQUEST)
		when.hold = rng_permille(rng, 500);
	if (when.event != SIM_AT && rng_permille(rng, 400))
		when.after_us = rng_below(rng, 300) * SIM_MS;
	return when;
}

static void draw_fault(struct sim_plan *plan, struct rng *rng, enum sim_plugin plugin)
{
	struct sim_fault *f = &plan->faults[plan->fault_count];

	memset(f, 0, sizeof *f);
	f->plugin = plugin;
	f->name = plan->fault_count;
	f->when = draw_when(plan, rng);
	f->duration_us = rng_range(rng, 20, 1500) * SIM_MS;
	f->target = SIM_ANY;
	f->nth = 1;
	if (plugin == SIM_RATE_LIMIT || plugin == SIM_PROVIDER_ERROR || plugin == SIM_PROVIDER_LIE)
		f->target =
		    rng_permille(rng, 300) ? SIM_ANY : (uint32_t)rng_below(rng, 4) * (uint32_t)rng_below(rng, 2);
	switch (plugin) {
	case SIM_AGENT_KILL:
		f->kind = (uint32_t)rng_below(rng, 2);
		f->duration_us = 0;
		break;
	case SIM_RATE_LIMIT:
		f->number = rng_permille(rng, 250) ? -1 : (int64_t)rng_range(rng, 0, 2500);
		if (f->number < 100 && f->number > 0)
			f->number = 0; /* "at once" */
		break;
	case SIM_PROVIDER_ERROR:
		f->kind = (uint32_t)rng_below(rng, 6);
		f->number = f->kind == ERROR_DELAY    ? (int64_t)rng_range(rng, 100, 1200)
			    : f->kind == ERROR_STATUS ? (rng_permille(rng, 300) ? 401 : 500)
						      : 0;
		break;
	case SIM_DISK_FULL:
		f->kind = rng_permille(rng, 300) ? DISK_PERFORM : DISK_REFUSE;
		f->target = (uint32_t)rng_below(rng, PATHS);
		break;
	case SIM_SWALLOWED_EXCEPTION: /* what it swallows is a mistake, and would be found */
		f->kind = EXCEPTION_SEEN;
		f->number = 503;
		break;
	case SIM_ORCHESTRATOR_KILL:
		f->target = rng_permille(rng, 150)   ? SIM_POINT_NOW
			    : rng_permille(rng, 400) ? (uint32_t)rng_below(rng, SIM_POINT_RECORDS)
						     : (uint32_t)rng_below(rng, SIM_POINTS);
		f->nth = f->target == SIM_POINT_ANY_EFFECT ? (uint32_t)rng_range(rng, 1, 200)
			 : f->target == SIM_POINT_RECOVERY ? (uint32_t)rng_range(rng, 1, 12)
							   : (uint32_t)rng_range(rng, 1, 4);
		f->duration_us = 0;
		break;
	case SIM_POWER_LOSS:
	case SIM_FILE_REMOVE:
		f->duration_us = plugin == SIM_POWER_LOSS ? 0 : f->duration_us;
		break;
	case SIM_CLOCK_JUMP:
		f->number = (int64_t)rng_range(rng, 10, 5000) * (rng_permille(rng, 500) ? -1 : 1);
		f->duration_us = 0;
		break;
	case SIM_AGENT_BABBLE:
		f->kind = (uint32_t)rng_below(rng, 7);
		break;
	case SIM_GIT_TROUBLE:
		f->kind = (uint32_t)rng_below(rng, 5);
		f->number = f->kind == GIT_SLOW ? (int64_t)rng_range(rng, 50, 800) : 0;
		break;
	case SIM_SINK_ERROR:
		f->kind = (uint32_t)rng_below(rng, 4);
		f->number = f->kind == SINK_STATUS ? 500 : f->kind == SINK_SLOW ? (int64_t)rng_range(rng, 50, 800) : 0;
		break;
	case SIM_PROVIDER_LIE:
		f->kind = (uint32_t)rng_below(rng, 3);
		break;
	case SIM_AGENT_PAUSE:
	case SIM_ORCHESTRATOR_PAUSE:
	case SIM_PLUGINS:
		break;
	}
	plan->fault_count++;
}

static void draw_faults(struct sim_plan *plan, struct rng *rng)
{
	uint64_t drawn = rng_next(rng);
	uint32_t mix = (uint32_t)drawn & (uint32_t)rng_next(rng); /* a quarter of the plugins */
	uint32_t wanted = (uint32_t)rng_below(rng, 12), kills = 0;

	if ((mix & ((1u << SIM_PLUGINS) - 1)) == 0)
		mix = 1u << SIM_ORCHESTRATOR_KILL | 1u << SIM_AGENT_KILL;
	if (mix >> SIM_CLOCK_JUMP & 1)
		mix |= 1u << SIM_POWER_LOSS; /* the clock is only asked after a boot */
	for (uint32_t tries = 0; plan->fault_count < wanted && tries < 400; tries++) {
		uint32_t plugin = (uint32_t)rng_below(rng, SIM_PLUGINS);

		if (!(mix >> plugin & 1))
			continue;
		if (plugin == SIM_ORCHESTRATOR_KILL || plugin == SIM_POWER_LOSS) {
			if (kills == 5)
				continue;
			kills++;
		}
		draw_fault(plan, rng, (enum sim_plugin)plugin);
	}
}

void plan_settle(struct sim_plan *plan)
{
	uint64_t disk_us = 0;
	bool dies = false;

	plan->claims_lag_us = plan->news_lag_us = 0;
	for (uint32_t i = 0; i < plan->fault_count; i++) {
		const struct sim_fault *f = &plan->faults[i];
		uint64_t lag_us = f->duration_us;

		if (f->plugin == SIM_GIT_TROUBLE)
			lag_us += (uint64_t)f->number * SIM_MS;
		if (f->plugin == SIM_ORCHESTRATOR_PAUSE || f->plugin == SIM_GIT_TROUBLE ||
		    (f->plugin == SIM_DISK_FULL && f->target != PATH_WORKTREES))
			plan->claims_lag_us += lag_us; /* they may follow on each other */
		if (f->plugin == SIM_ORCHESTRATOR_PAUSE || f->plugin == SIM_AGENT_PAUSE)
			plan->news_lag_us += lag_us;
		if (f->plugin == SIM_AGENT_BABBLE)
			plan->news_lag_us += SIM_SECOND;
		dies = dies || f->plugin == SIM_ORCHESTRATOR_KILL || f->plugin == SIM_POWER_LOSS;
		if (f->plugin == SIM_DISK_FULL)
			disk_us += lag_us;
	}
	/* Who dies forgets what a full disk did not take. */
	plan->news_lag_us += dies ? disk_us : 0;
}

void plan_draw(struct sim_plan *plan, uint64_t seed)
{
	struct rng rng = {.state = rng_mix(seed ^ UINT64_C(0x7472696f6e65))};

	memset(plan, 0, sizeof *plan);
	plan->seed = seed;
	draw_policy(plan, &rng);
	draw_tasks(plan, &rng);
	draw_spans(plan, &rng);
	draw_faults(plan, &rng);
	plan->checkpoint_records = (uint32_t)ONE_OF(&rng, 0, 20, 100);
	plan->policy.retain_tasks = ONE_OF(&rng, 0, 2, 10);
	plan->policy.retain_ms = ONE_OF(&rng, 500, 1500);
	if (rng_permille(&rng, 200)) /* enough for an attempt that nothing disturbs, not for many */
		plan->policy.task_tokens_max =
		    plan->tokens * rng_range(&rng, SIM_STEPS_MAX - 1, 9) + rng_below(&rng, plan->tokens);
	plan->faults_end_us = 8 * SIM_SECOND;
	plan_settle(plan);
}
