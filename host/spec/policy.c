/* SPDX-License-Identifier: Apache-2.0 */
/* The names by which files speak of the checkers' numbers: a manifest's `policy`, an invariant's parameters. */
#include "spec/policy.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check/check.h"

#define ROW(key_, type_, member_, invariant_, short_, help_)                                                           \
	{                                                                                                              \
		.key = key_, .type = type_, .offset = offsetof(struct check_config, member_), .invariant = invariant_, \
		.parameter = short_, .help = help_                                                                     \
	}

const struct policy_row policy_rows[] = {
    ROW("unasked-commits-max", POLICY_COUNT, unasked_commits_max, "no-duplicate-commit", NULL,
	"commits that the system may make of no task that was handed in: merges, tasks that it thought of itself"),
    ROW("throttle-grace", POLICY_TIME, throttle_grace_us, "cascade-order", NULL,
	"a call that arrives so soon after a 429 was already on its way"),
    ROW("throttle-default", POLICY_TIME, throttle_default_us, "cascade-order", NULL,
	"the least window after a 429 without Retry-After; 0: not judged"),
    ROW("throttle-max", POLICY_TIME, throttle_max_us, "cascade-order", NULL,
	"a Retry-After above it is bounded to it; 0: unbounded"),
    ROW("notify-limit", POLICY_TIME, notify_limit_us, "every-confirmed-notified", "limit",
	"a commit must be notified within it"),
    ROW("progress-limit", POLICY_TIME, progress_limit_us, "progress", "limit",
	"at most so long without anything happening while tasks are open"),
    ROW("progress-excuse", POLICY_TIME, progress_excuse_us, "progress", "excuse",
	"how long a fault that declares no duration may be waited out, besides"),
    ROW("slo-window", POLICY_TIME, slo_window_us, "slo-returns", "window",
	"how long the SLOs must stay green at the end"),
    ROW("slo-blast-radius", POLICY_FRACTION, slo_blast_radius, "slo-returns", "blast-radius",
	"how far below its target an SLO may fall during the fault, as a fraction of the target"),
    ROW("slo-budget-cost", POLICY_FRACTION, slo_budget_cost, "slo-returns", "budget-cost",
	"how much of the error budget the fault may cost"),
    ROW("claim-slack", POLICY_TIME, claim_slack_us, "dashboard-honest", "slack",
	"a claim may lag behind what was observed by so much"),
    ROW("slo-task-success", POLICY_FRACTION, slo_task_success, "slo-returns", "task-success",
	"target of the SLO; 0: not judged"),
    ROW("slo-notification", POLICY_FRACTION, slo_notification, "slo-returns", "notification",
	"target of the SLO; 0: not judged"),
    ROW("slo-latency-p95", POLICY_TIME_DOUBLE, slo_latency_p95_us, "slo-returns", "latency-p95",
	"target of the SLO; 0: not judged"),
    ROW("slo-tasks", POLICY_COUNT, slo_tasks, "slo-returns", "tasks", "window of the SLOs, in tasks"),
    ROW("attempts-max", POLICY_COUNT, attempts_max, "bounded-effort", NULL, "attempts of one task; 0: not judged"),
    ROW("agents-max", POLICY_COUNT, agents_max, "bounded-effort", NULL, "agents alive at one time; 0: not judged"),
    ROW("calls-per-task-max", POLICY_COUNT, calls_per_task_max, "bounded-effort", NULL,
	"model calls of one task; 0: not judged"),
    ROW("tokens-per-task-max", POLICY_COUNT, tokens_per_task_max, "bounded-effort", NULL,
	"tokens of one task; 0: not judged"),
    ROW("breaker-threshold", POLICY_COUNT, breaker_threshold, "bounded-effort", NULL,
	"consecutive failures that must open a provider's breaker; 0: none is promised"),
    ROW("breaker-reset", POLICY_TIME, breaker_reset_us, "bounded-effort", NULL,
	"how long an open breaker lets nothing through"),
    ROW("breaker-trials", POLICY_COUNT, breaker_trials, "bounded-effort", NULL,
	"calls at a time that a half-open breaker lets through; 0: not judged"),
    ROW("restarts-max", POLICY_COUNT, restarts_max, "bounded-effort", NULL,
	"restarts of the orchestrator; 0: not judged"),
    {.key = NULL},
};

#define POLICY_NAMES_MAX 64

void policy_invariant_names(const char *ret[POLICY_INVARIANTS_MAX + 1])
{
	size_t i;

	for (i = 0; i < POLICY_INVARIANTS_MAX && check_table[i]; i++)
		ret[i] = check_table[i]->name;
	ret[i] = NULL;
}

static int fail(const char *file, const struct spec_pair *pair, struct error *err, const char *what)
{
	return error_set(err, EINVAL, "%s:%u:%u: '%s': %s", file, pair->line, pair->column, pair->name, what);
}

static int set_time(
    const struct policy_row *row, const char *file, const struct spec_pair *pair, void *to, struct error *err)
{
	struct error why;
	int64_t ms;

	if (spec_duration(pair->value, &ms, &why) != 0)
		return fail(file, pair, err, why.text);
	if (row->type == POLICY_TIME)
		*(uint64_t *)to = (uint64_t)ms * 1000;
	else
		*(double *)to = (double)ms * 1000;
	return 0;
}

static int set_value(const struct policy_row *row, const char *file, const struct spec_pair *pair,
    struct check_config *config, struct error *err)
{
	void *to = (char *)config + row->offset;
	const char *text = pair->value;
	double fraction;
	char *end;

	switch (row->type) {
	case POLICY_COUNT:
		if (!*text || text[strspn(text, "0123456789")] || strlen(text) > 18)
			return fail(file, pair, err, "expected a whole number");
		*(uint64_t *)to = strtoull(text, NULL, 10);
		return 0;
	case POLICY_FRACTION:
		fraction = strtod(text, &end);
		if (!*text || text[strspn(text, "0123456789.")] || *end || !(fraction >= 0 && fraction <= 1))
			return fail(file, pair, err, "expected a fraction between 0 and 1");
		*(double *)to = fraction;
		return 0;
	case POLICY_TIME:
	case POLICY_TIME_DOUBLE:
	default:
		return set_time(row, file, pair, to, err);
	}
}

static int unknown(const char *file, const struct spec_pair *pair, const char *const *known, struct error *err)
{
	const char *nearest = spec_nearest(pair->name, known);
	char list[120] = "";
	size_t used = 0;

	if (nearest)
		return error_set(err, EINVAL, "%s:%u:%u: unknown parameter '%.40s'; did you mean '%s'?", file,
		    pair->line, pair->column, pair->name, nearest);
	for (; *known; known++) {
		if (used + strlen(*known) + sizeof ", ..." > sizeof list) {
			snprintf(list + used, sizeof list - used, ", ...");
			break;
		}
		used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", *known);
	}
	return error_set(err, EINVAL, "%s:%u:%u: unknown parameter '%.40s'; %s%s", file, pair->line, pair->column,
	    pair->name, *list ? "known: " : "there are none", list);
}

int policy_apply(const struct spec_pairs *policy, const char *file, struct check_config *config, struct error *err)
{
	const char *known[POLICY_NAMES_MAX + 1];
	const struct policy_row *row;
	size_t i, count = 0;

	for (row = policy_rows; row->key && count < POLICY_NAMES_MAX; row++)
		known[count++] = row->key;
	known[count] = NULL;
	for (i = 0; i < policy->count; i++) {
		for (row = policy_rows; row->key; row++)
			if (!strcmp(row->key, policy->items[i].name))
				break;
		if (!row->key)
			return unknown(file, &policy->items[i], known, err);
		if (set_value(row, file, &policy->items[i], config, err) != 0)
			return -1;
	}
	return 0;
}

/* Parameters that are not the checker's own: the loader takes them out. */
static const struct {
	const char *invariant, *parameter;
} taken[] = {
    {"no-lost-task", "limit"}, /* as workload.limit */
};
#define TAKEN_COUNT (sizeof taken / sizeof *taken)

bool policy_taken(const char *invariant, const char *parameter)
{
	for (size_t i = 0; i < TAKEN_COUNT; i++)
		if (!strcmp(taken[i].invariant, invariant) && !strcmp(taken[i].parameter, parameter))
			return true;
	return false;
}

static int apply_parameter(const struct spec_invariant *invariant, const struct spec_pair *pair, const char *file,
    struct check_config *config, struct error *err)
{
	const char *known[POLICY_NAMES_MAX + 1];
	const struct policy_row *row;
	size_t count = 0;

	for (row = policy_rows; row->key && count + 2 < POLICY_NAMES_MAX; row++) {
		if (strcmp(row->invariant, invariant->name) != 0)
			continue;
		if (!strcmp(row->key, pair->name) || (row->parameter && !strcmp(row->parameter, pair->name)))
			return set_value(row, file, pair, config, err);
		known[count++] = row->key;
		if (row->parameter)
			known[count++] = row->parameter;
	}
	for (size_t i = 0; i < TAKEN_COUNT && count < POLICY_NAMES_MAX; i++)
		if (!strcmp(taken[i].invariant, invariant->name))
			known[count++] = taken[i].parameter;
	known[count] = NULL;
	return unknown(file, pair, known, err);
}

int policy_invariant_apply(
    const struct spec_invariant *invariant, const char *file, struct check_config *config, struct error *err)
{
	size_t i;

	for (i = 0; i < invariant->parameters.count; i++) {
		const struct spec_pair *pair = &invariant->parameters.items[i];
		int64_t ms;

		if (policy_taken(invariant->name, pair->name)) {
			if (spec_duration(pair->value, &ms, err) != 0)
				return error_context(err, "%s:%u:%u", file, pair->line, pair->column);
			continue;
		}
		if (apply_parameter(invariant, pair, file, config, err) != 0)
			return -1;
	}
	return 0;
}

const char *policy_key(const char *invariant, const char *parameter)
{
	const struct policy_row *row;

	for (row = policy_rows; row->key; row++)
		if (row->parameter && !strcmp(row->invariant, invariant) && !strcmp(row->parameter, parameter))
			return row->key;
	return parameter;
}

static bool promises(const struct spec_manifest *manifest, const char *name, const char *what)
{
	const char *value = spec_contract(manifest, name);

	return value && !strcmp(value, what);
}

static enum check_promise promise_of(const struct spec_manifest *manifest, const char *name)
{
	if (promises(manifest, name, "exactly-once"))
		return CHECK_EXACTLY_ONCE;
	if (promises(manifest, name, "at-least-once"))
		return CHECK_AT_LEAST_ONCE;
	return promises(manifest, name, "at-most-once") ? CHECK_AT_MOST_ONCE : CHECK_PROMISE_NONE;
}

int spec_check_config(const struct spec_manifest *manifest, const struct spec_experiment *experiment,
    struct check_config *config, struct error *err)
{
	size_t i;

	config->provider_count = 0;
	for (i = 0; i < manifest->gateway.providers.count && i < CHECK_PROVIDERS_MAX; i++)
		config->providers[config->provider_count++] = manifest->gateway.providers.items[i];
	config->cascade_count = 0;
	for (i = 0; i < manifest->gateway.cascade.count && i < CHECK_CASCADE_MAX; i++)
		config->cascade[config->cascade_count++] = manifest->gateway.cascade.items[i];
	config->notifies = manifest->gateway.sinks.count > 0;
	config->commits = promise_of(manifest, "commits");
	config->notifications = promise_of(manifest, "notifications");
	config->calls_throttled = promises(manifest, "throttling", "retries");
	config->any_order = promises(manifest, "order", "any");
	if (policy_apply(&manifest->policy, manifest->file, config, err) != 0)
		return -1;
	for (i = 0; experiment && i < experiment->invariant_count; i++)
		if (policy_invariant_apply(&experiment->invariants[i], experiment->file, config, err) != 0)
			return -1;
	return 0;
}
