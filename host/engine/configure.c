/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest's policy and the experiment's parameters, by name, into the configuration of the checkers. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/run.h"

enum knob_type { KNOB_COUNT, KNOB_TIME, KNOB_FRACTION };

static const struct knob {
	const char *name;
	enum knob_type type;
	size_t offset;
} knobs[] = {
    {"attempts-max", KNOB_COUNT, offsetof(struct check_config, attempts_max)},
    {"agents-max", KNOB_COUNT, offsetof(struct check_config, agents_max)},
    {"calls-per-task-max", KNOB_COUNT, offsetof(struct check_config, calls_per_task_max)},
    {"tokens-per-task-max", KNOB_COUNT, offsetof(struct check_config, tokens_per_task_max)},
    {"breaker-threshold", KNOB_COUNT, offsetof(struct check_config, breaker_threshold)},
    {"breaker-reset", KNOB_TIME, offsetof(struct check_config, breaker_reset_us)},
    {"restarts-max", KNOB_COUNT, offsetof(struct check_config, restarts_max)},
    {"throttle-grace", KNOB_TIME, offsetof(struct check_config, throttle_grace_us)},
    {"throttle-default", KNOB_TIME, offsetof(struct check_config, throttle_default_us)},
    {"throttle-max", KNOB_TIME, offsetof(struct check_config, throttle_max_us)},
    {"notify-limit", KNOB_TIME, offsetof(struct check_config, notify_limit_us)},
    {"progress-limit", KNOB_TIME, offsetof(struct check_config, progress_limit_us)},
    {"claim-slack", KNOB_TIME, offsetof(struct check_config, claim_slack_us)},
    {"slo-window", KNOB_TIME, offsetof(struct check_config, slo_window_us)},
    {"slo-blast-radius", KNOB_FRACTION, offsetof(struct check_config, slo_blast_radius)},
    {"slo-budget-cost", KNOB_FRACTION, offsetof(struct check_config, slo_budget_cost)},
    {"slo-task-success", KNOB_FRACTION, offsetof(struct check_config, slo_task_success)},
    {"slo-notification", KNOB_FRACTION, offsetof(struct check_config, slo_notification)},
    {"slo-tasks", KNOB_COUNT, offsetof(struct check_config, slo_tasks)},
};

static int number(const char *text, double min, double max, double *ret)
{
	char *end;
	double v;

	errno = 0;
	v = strtod(text, &end);
	if (errno || end == text || *end || !(v >= min && v <= max))
		return -1;
	*ret = v;
	return 0;
}

static int set(struct check_config *config, const struct spec_pair *pair, const char *file, struct error *err)
{
	const char *names[sizeof knobs / sizeof knobs[0] + 1] = {NULL};
	const char *near;
	double value;
	int64_t ms;
	size_t i;

	for (i = 0; i < sizeof knobs / sizeof knobs[0]; i++) {
		void *field = (char *)config + knobs[i].offset;

		names[i] = knobs[i].name;
		if (strcmp(pair->name, knobs[i].name) != 0)
			continue;
		switch (knobs[i].type) {
		case KNOB_TIME:
			if (spec_duration(pair->value, &ms, err))
				return error_context(err, "%s:%u:%u: %s", file, pair->line, pair->column, pair->name);
			*(uint64_t *)field = (uint64_t)ms * 1000;
			return 0;
		case KNOB_COUNT:
			if (number(pair->value, 0, 1e15, &value))
				return error_set(err, EINVAL, "%s:%u:%u: %s: expected a count, found '%s'", file,
				    pair->line, pair->column, pair->name, pair->value);
			*(uint64_t *)field = (uint64_t)value;
			return 0;
		case KNOB_FRACTION:
			if (number(pair->value, 0, 1, &value))
				return error_set(err, EINVAL,
				    "%s:%u:%u: %s: expected a fraction from 0 to 1, found '%s'", file, pair->line,
				    pair->column, pair->name, pair->value);
			*(double *)field = value;
			return 0;
		}
	}
	near = spec_nearest(pair->name, names);
	return error_set(err, EINVAL, "%s:%u:%u: no checker knows the parameter '%s'%s%s%s", file, pair->line,
	    pair->column, pair->name, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

int configure_checks(struct run *run, struct error *err)
{
	const struct spec_manifest *m = run->manifest;
	size_t i, k;

	check_config_init(&run->config);
	if (m->gateway.providers.count > CHECK_PROVIDERS_MAX)
		return error_set(err, EINVAL, "%s: more than %d providers", m->file, CHECK_PROVIDERS_MAX);
	for (i = 0; i < m->gateway.providers.count; i++)
		run->config.providers[run->config.provider_count++] = m->gateway.providers.items[i];
	for (i = 0; i < m->policy.count; i++)
		if (set(&run->config, &m->policy.items[i], m->file, err))
			return -1;
	for (i = 0; i < m->contract.count; i++)
		if (!strcmp(m->contract.items[i].name, "commits"))
			run->config.promises_exactly_once = !strcmp(m->contract.items[i].value, "exactly-once");
	for (i = 0; i < run->x->invariant_count; i++)
		for (k = 0; k < run->x->invariants[i].parameters.count; k++)
			if (set(&run->config, &run->x->invariants[i].parameters.items[k], run->x->file, err))
				return -1;
	return 0;
}
