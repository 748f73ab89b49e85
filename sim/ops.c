/* SPDX-License-Identifier: Apache-2.0 */
/* The history: what an observer outside would have seen, in the words of host/history. */
#include "sim/world.h"

#include <string.h>

/* What must not count as a sign of life: see check/progress.c. */
static bool is_activity(const struct op *op)
{
	return op->kind == OP_CALL || op->kind == OP_COMMIT || op->kind == OP_NOTIFY || op->kind == OP_AGENT ||
	       op->kind == OP_SYSTEM;
}

static uint64_t append(struct world *w, struct op op)
{
	if (w->op_count + 1 >= WORLD_OPS) {
		w->cut = true;
		return OP_NONE;
	}
	op.index = w->op_count;
	op.time_us = w->now_us;
	op.task = op.task ? op.task : "";
	op.actor = op.actor ? op.actor : "";
	op.key = op.key ? op.key : "";
	op.detail = op.detail ? op.detail : "";
	if (is_activity(&op))
		w->active_us = w->now_us;
	w->ops[w->op_count] = op;
	return w->op_count++;
}

uint64_t ops_add(struct world *w, struct op op)
{
	op.pair = OP_NONE;
	return append(w, op);
}

void ops_complete(struct world *w, uint64_t invoke, struct op op)
{
	const struct op *from;

	if (invoke == OP_NONE)
		return;
	from = &w->ops[invoke];
	op.pair = invoke;
	op.task = from->task;
	op.actor = from->actor;
	op.key = op.key ? op.key : from->key;
	if (!op.attempt)
		op.attempt = from->attempt;
	append(w, op);
}

static const char *const slo_names[CORE_SLOS] = {
    "task_success", "notification_delivery", "latency_p95", "recovery_time"};

void ops_claims(struct world *w, const struct claim *claim)
{
	bool was_red = ops_any_red(w);

	for (unsigned i = 0; i < CORE_SLOS; i++) {
		w->red[i] = !claim->met[i] || strcmp(claim->status[i], "red") == 0;
		ops_add(w, (struct op){.kind = OP_CLAIM,
			       .type = OP_OK,
			       .actor = slo_names[i],
			       .number = claim->current[i],
			       .value = claim->met[i],
			       .detail = claim->status[i]});
	}
	w->red[CORE_SLOS] = claim->depleted || strcmp(claim->budget_status, "red") == 0;
	ops_add(w, (struct op){.kind = OP_CLAIM,
		       .type = OP_OK,

		       .actor = "error_budget",
		       .number = claim->budget,
		       .value = !claim->depleted,
		       .detail = claim->budget_status});
	/* What remediation has taken away is as red as its reason until it is back. */
	w->red[CORE_SLOS + 1] = !w->plan->as_real && claim->agents < w->plan->policy.agents;
	if (!w->plan->as_real)
		ops_add(w, (struct op){.kind = OP_CLAIM,
			       .type = OP_OK,
			       .actor = "agents",
			       .number = (double)claim->agents,
			       .value = !w->red[CORE_SLOS + 1],
			       .detail = w->red[CORE_SLOS + 1] ? "red" : "green"});
	if (was_red || ops_any_red(w))
		w->red_us = w->now_us;
	ops_add(w, (struct op){.kind = OP_STATEFILE, .type = OP_OK, .actor = ".sdd/metrics/slos.json"});
}

bool ops_any_red(const struct world *w)
{
	for (unsigned i = 0; i < sizeof w->red / sizeof w->red[0]; i++)
		if (w->red[i])
			return true;
	return false;
}

static void tell_end(struct world *w, uint32_t task, enum op_type type, const char *detail)
{
	w->client[task].told = true;
	w->result->done += type == OP_OK;
	w->result->failed += type == OP_FAIL;
	w->client[task].given_up = type == OP_FAIL;
	ops_add(w, (struct op){.kind = OP_OUTCOME, .type = type, .task = w->names[task], .detail = detail});
}

/* Of those that are retired it still knows how they ended: one that was stopped for long may retire a task that ended before, at once. */
static void retired_outcomes(struct world *w)
{
	for (size_t i = 0; i < core_retired_count(w->core); i++) {
		bool failed;
		uint32_t task = world_task(core_retired(w->core, i, &failed)) % SIM_TASKS_MAX;

		if (!w->client[task].told)
			tell_end(w, task, failed ? OP_FAIL : OP_OK, failed ? "failed" : "done");
	}
}

/* What the orchestrator says when it is asked; each end once, what is open only at the last. */
void ops_outcomes(struct world *w, bool last)
{
	if (w->live)
		retired_outcomes(w);
	if (last && w->live)
		w->result->tasks += (uint32_t)core_retired_count(w->core);
	for (size_t i = 0; w->live && i < core_task_count(w->core); i++) {
		struct core_task_view view;
		enum op_type type = OP_INFO;
		uint32_t task;

		core_task(w->core, i, &view);
		task = world_task(view.id) % SIM_TASKS_MAX;
		if (strcmp(view.state, "done") == 0)
			type = OP_OK;
		else if (strcmp(view.state, "failed") == 0)
			type = OP_FAIL;
		w->result->tasks += last;
		if (!w->client[task].told && (type != OP_INFO || last))
			tell_end(w, task, type, type == OP_FAIL ? view.reason : view.state);
	}
	if (last && w->temporary_left)
		ops_add(w, (struct op){.kind = OP_STATEFILE,
			       .type = OP_FAIL,
			       .actor = ".sdd/metrics/slos.json.tmp",
			       .detail = "a temporary file was left"});
}
