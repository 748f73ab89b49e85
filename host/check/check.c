/* SPDX-License-Identifier: Apache-2.0 */
/* The table of invariants, their default configuration, and how a checker states its findings. */
#include "check/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "check/invariants.h"

const struct check *const check_table[] = {
    &check_no_duplicate_commit,
    &check_no_lost_task,
    &check_no_zombie_commit,
    &check_cascade_order,
    &check_every_confirmed_notified,
    &check_slo_returns,
    &check_dashboard_honest,
    &check_wal_intact,
    &check_no_half_written,
    &check_worktree_integrity,
    &check_progress,
    &check_bounded_effort,
    NULL,
};

const struct check *check_find(const char *name)
{
	const struct check *const *c;

	for (c = check_table; *c; c++)
		if (!strcmp((*c)->name, name))
			return *c;
	return NULL;
}

const char *check_verdict_name(enum check_verdict verdict)
{
	switch (verdict) {
	case CHECK_VACUOUS:
		return "vacuous";
	case CHECK_HELD:
		return "held";
	case CHECK_DEVIATED:
		return "deviated";
	}
	return "unknown";
}

void check_config_init(struct check_config *config)
{
	memset(config, 0, sizeof *config);
	config->throttle_grace_us = 250000;
	config->notifies = true;
	config->notify_limit_us = 5000000;
	config->progress_limit_us = 5000000;
	config->graph_slack_us = 1000000;
	config->slo_window_us = 500000;
	config->slo_blast_radius = 1.0;
	config->slo_budget_cost = 1.0;
	config->claim_slack_us = 1000000;
	config->slo_task_success = 0.90;
	config->slo_notification = 0.99;
	config->slo_tasks = 50;
	config->breaker_trials = 1;
	config->commits = CHECK_EXACTLY_ONCE;
}

void check_begin(struct check_result *result)
{
	memset(result, 0, sizeof *result);
}

void check_violation(struct check_result *result, const uint64_t *evidence, size_t count, const char *format, ...)
{
	struct check_finding *f;
	va_list args;
	size_t i, k;

	result->violations++;
	if (result->finding_count == CHECK_FINDINGS_MAX)
		return;
	f = &result->findings[result->finding_count++];
	va_start(args, format);
	vsnprintf(f->text, sizeof f->text, format, args);
	va_end(args);
	for (i = 0; i < count && f->evidence_count < CHECK_EVIDENCE_MAX; i++) {
		if (evidence[i] == OP_NONE)
			continue;
		for (k = 0; k < f->evidence_count && f->evidence[k] != evidence[i]; k++)
			;
		if (k == f->evidence_count) /* what is the last thing seen and the second commit is shown once */
			f->evidence[f->evidence_count++] = evidence[i];
	}
}

void check_permit(struct check_result *result, bool permitted)
{
	result->permitted += permitted;
}

void check_end(struct check_result *result, const char *summary_format, ...)
{
	va_list args;

	va_start(args, summary_format);
	vsnprintf(result->summary, sizeof result->summary, summary_format, args);
	va_end(args);
	if (result->violations)
		result->verdict = CHECK_DEVIATED;
	else if (result->opportunities)
		result->verdict = CHECK_HELD;
	else
		result->verdict = CHECK_VACUOUS;
}
