/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system's own SLO claims agree with what was observed. A claim stands until the next one of its name. It is false when it says
 * "met" while what was observed is below the target even for a patient observer (claims may lag by the slack), and when it says "not met"
 * while what was observed meets it even for an impatient one, as far as the system can know it. A system that is down can take nothing back: what stands then is judged
 * again once it is up and had its time. What it says of a task is a claim too: one that it has given up may not be
 * in the ledger. Opportunity: each delivery claim under which something was committed, the last success claim once a task has ended, and
 * each task said to be given up.
 */
#include <inttypes.h>
#include <string.h>

#include "check/facts.h"
#include "check/invariants.h"
#include "check/observed.h"

struct judge {
	const struct history_view *view;
	const struct facts *facts;
	const struct check_config *config;
	struct check_result *result;
	/* The delivery as a patient observer sees it, an impatient one, and that one a slack ago. */
	struct delivery *patient, *impatient, *before;
	uint64_t standing; /* the delivery claim that stands, or OP_NONE */
	double at_claim;   /* the delivery when it was made */
	bool reported;     /* of the standing claim */
	uint64_t mute_us;  /* until then it could not have published another one */
};

static bool about_delivery(const struct op *op)
{
	return strstr(op->actor, "notif") != NULL || strstr(op->actor, "delivery") != NULL;
}

static bool about_success(const struct op *op)
{
	return strstr(op->actor, "success") != NULL;
}

static void judge_delivery(struct judge *j, uint64_t now_us)
{
	const struct op *claim = &j->view->ops[j->standing];
	const uint64_t evidence[] = {j->standing};
	double target = j->config->slo_notification, seen;

	if (j->reported || target <= 0 || now_us < j->mute_us)
		return;
	if (claim->value) {
		seen = delivery_at(j->patient, now_us);
		if (seen >= target)
			return;
		check_violation(j->result, evidence, 1,
		    "it claimed %s met (%.3f) at %.3f s; observed: %.3f of the commits notified, target %.2f",
		    claim->actor, claim->number, (double)now_us / 1e6, seen, target);
	} else {
		/* Not met now, nor at the time of the claim, nor at any time between that a slack covers. */
		if (claim->time_us + 2 * j->config->claim_slack_us > now_us)
			return;
		if (j->at_claim < target || delivery_at(j->before, now_us - j->config->claim_slack_us) < target ||
		    delivery_at(j->impatient, now_us) < target)
			return;
		check_violation(j->result, evidence, 1,
		    "it claimed %s not met (%.3f) up to %.3f s; observed: all commits notified", claim->actor,
		    claim->number, (double)now_us / 1e6);
	}
	j->reported = true;
}

/* What became of the tasks is asked only at the end, so that is when the last claim of the success is judged. */
static void judge_success(struct judge *j, uint64_t last_claim)
{
	const struct op *claim = &j->view->ops[last_claim];
	const uint64_t evidence[] = {last_claim};
	double target = j->config->slo_task_success, seen;
	uint64_t ended, failed;

	seen = observed_success(j->view, j->facts, j->config, &ended, &failed);
	if (target <= 0 || !ended)
		return;
	j->result->opportunities++;
	if ((seen >= target) == (claim->value != 0))
		return;
	check_violation(j->result, evidence, 1,
	    "it claimed %s %s (%.3f); observed: %" PRIu64 " of %" PRIu64 " tasks failed", claim->actor,
	    claim->value ? "met" : "not met", claim->number, failed, ended);
}

/* The standing claim is replaced, or the history ends. Over an empty ledger it has said nothing. */
static void end_claim(struct judge *j, uint64_t now_us)
{
	(void)delivery_at(j->impatient, now_us);
	j->result->opportunities += j->config->slo_notification > 0 && delivery_commits(j->impatient) > 0;
}

static void judge_tasks(struct judge *j)
{
	size_t i;

	for (i = 0; i < j->facts->count; i++) {
		const struct task_facts *t = &j->facts->tasks[i];
		const uint64_t evidence[] = {t->first_commit, t->given_up};

		if (t->given_up == OP_NONE)
			continue;
		j->result->opportunities++;
		if (t->first_commit != OP_NONE)
			check_violation(j->result, evidence, 2,
			    "it said that task %s was given up, but the ledger has commit %.10s of it", t->task,
			    j->view->ops[t->first_commit].key);
	}
}

static void run(const struct history_view *view, const struct check_config *config, struct check_result *result)
{
	struct facts facts;
	struct judge j = {.view = view, .facts = &facts, .config = config, .result = result, .standing = OP_NONE};
	uint64_t success = OP_NONE;
	size_t i;

	check_begin(result);
	facts_gather(&facts, view);
	j.patient = delivery_create(view, &facts, config, 2 * config->claim_slack_us, false);
	j.impatient = delivery_create(view, &facts, config, 0, true);
	j.before = delivery_create(view, &facts, config, 0, true);
	for (i = 0; i < view->count; i++) {
		const struct op *op = &view->ops[i];

		if (op->kind == OP_CLAIM && about_delivery(op)) {
			if (j.standing != OP_NONE && view->ops[j.standing].value != op->value)
				judge_delivery(&j, op->time_us);
			if (j.standing != OP_NONE)
				end_claim(&j, op->time_us);
			j.reported = j.reported && view->ops[j.standing].value == op->value;
			j.standing = i;
			j.at_claim = delivery_at(j.impatient, op->time_us);
		} else if (op->kind == OP_CLAIM && about_success(op)) {
			success = i;
		}
		if (j.standing != OP_NONE &&
		    (op->kind == OP_NOTIFY || op->kind == OP_COMMIT || op->kind == OP_SYSTEM || i + 1 == view->count))
			judge_delivery(&j, op->time_us);
		if (op->kind == OP_SYSTEM && op->type == OP_INFO)
			j.mute_us = UINT64_MAX;
		else if (op->kind == OP_SYSTEM && op->type == OP_OK)
			j.mute_us = op->time_us + 2 * config->claim_slack_us;
	}
	if (j.standing != OP_NONE)
		end_claim(&j, facts.end_us);
	if (success != OP_NONE)
		judge_success(&j, success);
	judge_tasks(&j);
	delivery_free(j.patient);
	delivery_free(j.impatient);
	delivery_free(j.before);
	if (result->opportunities)
		check_end(result, "%" PRIu64 " claims, %" PRIu64 " false", result->opportunities, result->violations);
	else
		check_end(result, "the system published no claim that could be checked");
	facts_finish(&facts);
}

const struct check check_dashboard_honest = {
    .name = "dashboard-honest",
    .summary = "the system's own SLO claims agree with what was observed",
    .run = run,
};
