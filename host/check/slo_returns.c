/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After a fault that was felt, the SLOs (as observed, and as the system publishes them) leave green no further than the declared blast
 * radius, are green again at the end with no hand, have been so for the window, and cost no more of the error budget than declared.
 * Opportunity: each task that was committed after the last fault was undone: without one nobody knows that it works again.
 */
#include <inttypes.h>
#include <string.h>

#include "check/facts.h"
#include "check/invariants.h"
#include "check/observed.h"
#include "slo/slo.h"

#define NAMES_MAX 16

static bool claims_red(const struct op *op)
{
	return op->value == 0 || !strcmp(op->detail, "red");
}

/* What stood before a last claim that is green, back to the one that stood when the window began, may not be red either. */
static void judge_window(const struct history_view *view, uint64_t last, uint64_t window_from_us, uint64_t end_us,
    struct check_result *result)
{
	const char *name = view->ops[last].actor;
	uint64_t next = last, i;

	for (i = last; i-- > 0 && view->ops[next].time_us > window_from_us;) {
		const struct op *op = &view->ops[i];
		const uint64_t evidence[] = {i, next};

		if (op->kind != OP_CLAIM || strcmp(op->actor, name) != 0)
			continue;
		if (claims_red(op)) {
			check_violation(result, evidence, 2, "%s was not green until %.0f ms before the end", name,
			    end_us > view->ops[next].time_us ? (double)(end_us - view->ops[next].time_us) / 1e3 : 0.0);
			return;
		}
		next = i;
	}
}

/* The last claim of each name must be met, and none that stood in the final window may be unmet. */
static void judge_claims(
    const struct history_view *view, uint64_t window_from_us, uint64_t end_us, struct check_result *result)
{
	uint64_t last[NAMES_MAX];
	size_t names = 0, i, n;

	for (i = 0; i < view->count; i++) {
		const struct op *op = &view->ops[i];

		if (op->kind != OP_CLAIM)
			continue;
		for (n = 0; n < names && strcmp(view->ops[last[n]].actor, op->actor) != 0; n++)
			;
		if (n == NAMES_MAX)
			continue;
		names += n == names;
		last[n] = i;
	}
	for (n = 0; n < names; n++) {
		const struct op *op = &view->ops[last[n]];
		const uint64_t evidence[] = {last[n]};

		if (claims_red(op))
			check_violation(result, evidence, 1, "at the end %s still says %s (%.3f)", op->actor,
			    op->detail[0] ? op->detail : "not met", op->number);
		else
			judge_window(view, last[n], window_from_us, end_us, result);
	}
}

static void judge_delivery(const struct history_view *view, const struct facts *facts,
    const struct check_config *config, uint64_t window_from_us, uint64_t end_us, struct check_result *result)
{
	double target = config->slo_notification, floor = target * (1 - config->slo_blast_radius);
	struct delivery *delivery = delivery_create(view, facts, config, config->claim_slack_us, false);
	double worst = 1, seen;
	uint64_t worst_at = OP_NONE;
	size_t i;

	for (i = facts->first_felt; i < view->count; i++) {
		const struct op *op = &view->ops[i];

		if (op->kind != OP_NOTIFY && op->kind != OP_COMMIT && i != facts->settled)
			continue;
		seen = delivery_at(delivery, op->time_us);
		if (seen < worst) {
			worst = seen;
			worst_at = i;
		}
		if (seen < target && op->time_us > window_from_us) {
			const uint64_t evidence[] = {i};

			check_violation(result, evidence, 1,
			    "notification delivery was %.3f only %.0f ms before the end, target %.2f", seen,
			    end_us > op->time_us ? (double)(end_us - op->time_us) / 1e3 : 0.0, target);
			break;
		}
	}
	delivery_free(delivery);
	if (worst < floor) {
		const uint64_t evidence[] = {worst_at};

		check_violation(result, evidence, 1,
		    "notification delivery fell to %.3f, the declared blast radius ends at %.3f", worst, floor);
	}
}

static uint64_t last_failure(const struct facts *facts)
{
	uint64_t last = OP_NONE;
	size_t i;

	for (i = 0; i < facts->count; i++) {
		const struct task_facts *t = &facts->tasks[i];

		if (t->given_up != OP_NONE && t->first_commit == OP_NONE && (last == OP_NONE || t->given_up > last))
			last = t->given_up;
	}
	return last;
}

static void judge_success(const struct history_view *view, const struct facts *facts, const struct check_config *config,
    struct check_result *result)
{
	uint64_t ended, failed;
	double seen = observed_success(view, facts, config, &ended, &failed);
	const uint64_t evidence[] = {last_failure(facts)};
	struct slo_budget budget;

	if (config->slo_task_success <= 0 || !ended)
		return;
	budget = slo_budget(config->slo_task_success, ended, failed);
	if (seen < config->slo_task_success)
		check_violation(result, evidence, 1,
		    "task success is %.3f at the end, target %.2f: %" PRIu64 " of %" PRIu64 " failed", seen,
		    config->slo_task_success, failed, ended);
	if (1 - budget.fraction > config->slo_budget_cost)
		check_violation(result, evidence, 1,
		    "the fault cost %.0f %% of the error budget, declared were at most %.0f %%",
		    100 * (1 - budget.fraction), 100 * config->slo_budget_cost);
}

static void run(const struct history_view *view, const struct check_config *config, struct check_result *result)
{
	uint64_t window_from_us, healed_us, end_us;
	struct facts facts;
	size_t i;

	check_begin(result);
	facts_gather(&facts, view);
	if (facts.first_felt == OP_NONE) {
		check_end(result, "no fault was felt");
		facts_finish(&facts);
		return;
	}
	healed_us = op_time(view, facts.last_revert, facts.end_us);
	for (i = 0; i < facts.count; i++)
		result->opportunities += op_time(view, facts.tasks[i].first_commit, 0) > healed_us;
	end_us = op_time(view, facts.settled, facts.end_us);
	window_from_us = end_us > config->slo_window_us ? end_us - config->slo_window_us : 0;
	if (result->opportunities) {
		if (config->notifies)
			judge_delivery(view, &facts, config, window_from_us, end_us, result);
		judge_success(view, &facts, config, result);
		judge_claims(view, window_from_us, end_us, result);
		check_end(result, "%" PRIu64 " tasks committed after the last fault, %" PRIu64 " SLOs not back",
		    result->opportunities, result->violations);
	} else {
		check_end(result, "no task was committed after the last fault was undone");
	}
	facts_finish(&facts);
}

const struct check check_slo_returns = {
    .name = "slo-returns",
    .summary = "the SLOs return to green by themselves and stay there, within blast radius and budget",
    .run = run,
};
