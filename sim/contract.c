/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the core promises to whoever drives it (core.h): each effect names what it is for. What is not so is a violation of the contract, and
 * an effect that names nobody is not performed.
 */
#include "sim/world.h"

#include <signal.h>
#include <string.h>

#include "fixtures/conductor/policy/cascade.h"

static bool is(struct world *w, bool holds, const struct core_effect *e, const char *what)
{
	if (!holds)
		world_broken(w, "effect %d for task '%s', attempt %u: %s", (int)e->kind, e->task, e->attempt, what);
	return holds;
}

/* An accepted task is answered with its own record; what cannot be taken now with when to come again. */
static void reply(struct world *w, const struct core_effect *e)
{
	bool again = e->status == 429 || e->status == 503;

	is(w, e->status == 202 || e->status == 400 || e->status == 409 || again, e, "no such answer is foreseen");
	is(w, (e->retry_after_ms > 0) == again, e, "when to come again");
	if (e->status == 202)
		is(w, e->lsn > 0 && e->lsn <= w->durable && w->log[e->lsn - 1].kind == CORE_RECORD_ACCEPT, e,
		    "accepted by a record that is not one, or not durable");
}

/* The checkpoint that an attempt goes on from is of its task and of that step. */
static void checkpoint(struct world *w, const struct core_effect *e)
{
	uint64_t tree = world_tree_parse(e->digest);

	is(w, e->step == w->promised[world_task(e->task)].step, e, "not after the step that was recorded last");
	is(w, (e->step > 0) == (tree != 0), e, "a step without its tree");
	if (tree)
		is(w, tree >> 48 == world_task(e->task) && (tree >> 8 & 0xffff) == e->step, e, "another one's tree");
}

static void work(struct world *w, const struct core_effect *e)
{
	const struct sim_task *task = &w->plan->tasks[world_task(e->task)];

	checkpoint(w, e);
	is(w, strcmp(e->role, policy_role_name(task->role)) == 0, e, "another role");
	is(w, strcmp(e->prompt, client_prompt(world_task(e->task))) == 0, e, "another prompt");
	is(w, e->after_count <= task->after_count, e, "more to come after than was handed in");
	for (size_t i = 0; i < e->after_count; i++) {
		bool there = false;

		for (unsigned k = 0; k < task->after_count; k++)
			there = there || world_task(e->after[i]) == task->after[k];
		is(w, there, e, "comes after another task than was handed in");
	}
}

static void route(struct world *w, const struct core_effect *e)
{
	uint64_t budget = w->plan->policy.task_tokens_max;

	is(w, e->step > 0, e, "a route for no step");
	if (!e->go)
		return;
	is(w, cascade_provider_parse(e->provider) != CASCADE_NONE && e->model[0], e, "a route to nobody");
	is(w, !budget || (e->tokens_left > 0 && e->tokens_left <= budget), e, "no budget for the call");
}

static void land(struct world *w, const struct core_effect *e)
{
	uint64_t tree = world_tree_parse(e->digest);

	is(w, e->op > 0 && e->epoch == w->epoch && strcmp(e->base, "base") == 0, e, "op, epoch or base");
	is(w, (tree >> 24 & 0xffffff) == e->attempt, e, "another attempt's tree");
}

/* What the sink is told of a commit is what its trailers say. */
static void notify(struct world *w, const struct core_effect *e)
{
	const struct sim_commit *commit = NULL;

	is(w, e->op > 0, e, "a question without a number");
	for (uint32_t i = 0; i < w->commit_count; i++)
		if (strcmp(w->commits[i].id, e->digest) == 0)
			commit = &w->commits[i];
	if (is(w, commit && commit->task == world_task(e->task), e, "no commit of it has that id"))
		is(w, commit->attempt == e->attempt, e, "the commit is another attempt's");
}

static bool names_task(struct world *w, const struct core_effect *e)
{
	return is(w, world_task(e->task) < SIM_TASKS_MAX, e, "it names no task");
}

bool contract_effect(struct world *w, const struct core_effect *e)
{
	switch (e->kind) {
	case CORE_REPLY:
		reply(w, e);
		return true;
	case CORE_SPAWN:
		if (!names_task(w, e) || !is(w, e->attempt > 0 && e->epoch == w->epoch, e, "attempt or epoch"))
			return false;
		checkpoint(w, e);
		return true;
	case CORE_WORK:
		if (!names_task(w, e))
			return false;
		work(w, e);
		return true;
	case CORE_ROUTE:
		if (!names_task(w, e))
			return false;
		route(w, e);
		return true;
	case CORE_SIGNAL:
		is(w, e->status == SIGTERM || e->status == SIGKILL, e, "another signal");
		return names_task(w, e) && is(w, e->pid > 0, e, "a signal to nobody");
	case CORE_END:
		return names_task(w, e) && is(w, e->pid > 0 && e->start_time > 0, e, "an end of nobody");
	case CORE_STOP:
		return names_task(w, e) && is(w, e->text[0], e, "a stop without a reason");
	case CORE_LAND:
		if (!names_task(w, e))
			return false;
		land(w, e);
		return true;
	case CORE_LOOKUP:
		return names_task(w, e) && is(w, e->op > 0, e, "a question without a number");
	case CORE_NOTIFY:
		if (!names_task(w, e))
			return false;
		notify(w, e);
		promises_notify(w, e);
		return true;
	case CORE_APPEND:
	case CORE_WRITE_SLO:
	case CORE_WRITE_INCIDENTS:
	case CORE_WRITE_STATUS:
	case CORE_TIMER:
	case CORE_EXIT:
		break;
	}
	return true;
}

/* The numbers of the SLO file are one story: what is left of the budget, whether it is used up, and of what. */
void contract_report(struct world *w, const struct core_slo_report *r)
{
	double fraction = r->budget_total > 0 ? r->budget_remaining / r->budget_total : -1;
	bool met = true;

	for (unsigned i = 0; i < CORE_SLOS; i++)
		met = met && r->slos[i].target > 0 && r->slos[i].current >= 0 &&
		      (i < 2 ? r->slos[i].met == (r->slos[i].current >= r->slos[i].target)
			     : r->slos[i].met == (r->slos[i].current <= r->slos[i].target));
	if (!met || r->failed_tasks > r->total_tasks || r->total_tasks > w->plan->policy.slo_window || fraction < 0 ||
	    fraction > 1 || fraction - r->budget_fraction > 1e-9 || r->budget_fraction - fraction > 1e-9 ||
	    r->is_depleted != (r->budget_remaining <= 0) || (r->failed_tasks == 0 && fraction < 1))
		world_broken(w,
		    "an SLO file that contradicts itself: %.3f of %.3f failures are left (%.3f) after %llu of %llu, %s",
		    r->budget_remaining, r->budget_total, r->budget_fraction, (unsigned long long)r->failed_tasks,
		    (unsigned long long)r->total_tasks, r->is_depleted ? "used up" : "not used up");
}
