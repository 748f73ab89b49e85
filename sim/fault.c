/* SPDX-License-Identifier: Apache-2.0 */
/* The words for faults, moments and fault points, as experiment files have them. */
#include <stdio.h>
#include <string.h>

#include "fixtures/conductor/core/core.h"
#include "fixtures/conductor/policy/cascade.h"
#include "sim/plan.h"

static const char *const plugin_names[SIM_PLUGINS] = {"agent-kill", "agent-pause", "rate-limit", "provider-error",
    "file-remove", "disk-full", "swallowed-exception", "orchestrator-kill", "power-loss", "orchestrator-pause",
    "clock-jump", "agent-babble", "git-trouble", "sink-error", "provider-lie"};

static const char *const event_names[SIM_EVENTS] = {
    NULL, "provider-request", "provider-reply", "commit", "notify", "accept", "fault", "revert", "restart"};

#define KINDS_MAX 8u
static const char *const kind_names[SIM_PLUGINS][KINDS_MAX] = {
    [SIM_AGENT_KILL] = {"TERM", "KILL"},
    [SIM_PROVIDER_ERROR] = {"status", "delay", "hang", "reset", "malformed", "truncated"},
    [SIM_DISK_FULL] = {"refuse", "perform-then-fail"},
    [SIM_AGENT_BABBLE] = {"twice", "late", "reorder", "stale", "loop", "deaf", "silent"},
    [SIM_GIT_TROUBLE] = {"slow", "fail", "perform-then-fail", "conflict", "unreadable"},
    [SIM_SINK_ERROR] = {"status", "hang", "lost-reply", "slow"},
    [SIM_PROVIDER_LIE] = {"tokens", "no-header", "long-header"},
};

static const char *const path_names[PATHS] = {"", "wal", "repo", "worktrees", ".sdd"};

static int parse(const char *const *names, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (names[i] && strcmp(names[i], name) == 0)
			return (int)i;
	return -1;
}

const char *sim_plugin_name(enum sim_plugin plugin)
{
	return plugin_names[plugin];
}

int sim_plugin_parse(const char *name)
{
	return parse(plugin_names, SIM_PLUGINS, name);
}

const char *sim_event_word(enum sim_event_name event)
{
	return event_names[event];
}

int sim_event_parse(const char *name)
{
	return parse(event_names, SIM_EVENTS, name);
}

const char *sim_kind_name(enum sim_plugin plugin, uint32_t kind)
{
	return kind < KINDS_MAX && kind_names[plugin][kind] ? kind_names[plugin][kind] : "";
}

int sim_kind_parse(enum sim_plugin plugin, const char *name)
{
	return parse(kind_names[plugin], KINDS_MAX, name);
}

const char *sim_path_name(uint32_t path)
{
	return path < PATHS ? path_names[path] : "";
}

int sim_path_parse(const char *name)
{
	return strcmp(name, ".sdd/metrics") == 0 ? PATH_METRICS : parse(path_names, PATHS, name);
}

/* ---- fault points ---- */

static const char *const fixed_points[SIM_POINT_RECORDS] = {
    "effect", "recover.effect", "recover.middle", "git-commit.before", "git-commit.after"};

const char *sim_point_name(uint32_t point, char *buf, size_t size)
{
	uint32_t record = point - SIM_POINT_RECORDS;

	if (point >= SIM_POINTS)
		return "";
	if (point < SIM_POINT_RECORDS)
		return fixed_points[point];
	snprintf(buf, size, "%s.%s", core_record_name(record / 2 + 1), record % 2 ? "after" : "before");
	return buf;
}

int sim_point_parse(const char *name)
{
	char buf[48];

	for (uint32_t i = 0; i <= SIM_POINTS; i++)
		if (strcmp(sim_point_name(i, buf, sizeof buf), name) == 0)
			return (int)i;
	return -1;
}

/* ---- one line for people ---- */

void sim_fault_name(const struct sim_fault *fault, char *buf, size_t size)
{
	snprintf(buf, size, "%s-%u", sim_plugin_name(fault->plugin), fault->name);
}

static int format_when(const struct sim_when *when, const char *at, char *buf, size_t size)
{
	double after = (double)when->after_us / 1e3;

	if (when->event == SIM_AT)
		return snprintf(buf, size, ", %s %.0f ms", at, after);
	if (when->event == SIM_ON_FAULT || when->event == SIM_ON_REVERT)
		return snprintf(
		    buf, size, ", %s %s of fault %u + %.0f ms", at, event_names[when->event], when->of, after);
	return snprintf(buf, size, ", %s %s %u%s%s + %.0f ms", at, event_names[when->event], when->nth,
	    when->of == SIM_ANY ? "" : " of ",
	    when->of == SIM_ANY || when->of >= POLICY_PROVIDERS ? "" : cascade_providers[when->of], after);
}

void sim_fault_format(const struct sim_fault *fault, char *buf, size_t size)
{
	char name[64], point[48];
	int n;

	sim_fault_name(fault, name, sizeof name);
	n = snprintf(buf, size, "%s %s", name, sim_kind_name(fault->plugin, fault->kind));
	if (fault->plugin == SIM_RATE_LIMIT || fault->plugin == SIM_PROVIDER_ERROR || fault->plugin == SIM_PROVIDER_LIE)
		n += snprintf(buf + n, size - (size_t)n, " %s",
		    fault->target < POLICY_PROVIDERS ? cascade_providers[fault->target] : "*");
	if (fault->plugin == SIM_DISK_FULL)
		n += snprintf(buf + n, size - (size_t)n, " /%s", sim_path_name(fault->target));
	if (fault->plugin == SIM_ORCHESTRATOR_KILL && fault->target != SIM_POINT_NOW)
		n += snprintf(buf + n, size - (size_t)n, "at %s %u", sim_point_name(fault->target, point, sizeof point),
		    fault->nth);
	if (fault->number)
		n += snprintf(buf + n, size - (size_t)n, " %lld", (long long)fault->number);
	n += format_when(&fault->when, "from", buf + n, size - (size_t)n);
	if (fault->has_until)
		n += format_when(&fault->until, "until", buf + n, size - (size_t)n);
	if (fault->duration_us)
		snprintf(buf + n, size - (size_t)n, ", for %.0f ms", (double)fault->duration_us / 1e3);
}
