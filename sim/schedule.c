/* SPDX-License-Identifier: Apache-2.0 */
/* Writes schedules; see schedule.h. */
#include "sim/schedule.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "fixtures/conductor/policy/cascade.h"
#include "sim/world.h"

static json_t *milliseconds(uint64_t us)
{
	char text[32];

	snprintf(text, sizeof text, "%" PRIu64 "ms", us / SIM_MS);
	return json_string(text);
}

static json_t *write_when(const struct sim_plan *plan, const struct sim_when *when)
{
	json_t *out = json_object();
	char name[64];

	if (when->event == SIM_AT) {
		json_object_set_new(out, "at", milliseconds(when->after_us));
		return out;
	}
	json_object_set_new(out, "event", json_string(sim_event_word(when->event)));
	if (when->nth != 1)
		json_object_set_new(out, "nth", json_integer(when->nth));
	if (when->hold)
		json_object_set_new(out, "hold", json_true());
	if (when->after_us)
		json_object_set_new(out, "after", milliseconds(when->after_us));
	if (when->of == SIM_ANY)
		return out;
	if (when->event == SIM_ON_FAULT || when->event == SIM_ON_REVERT) {
		for (uint32_t i = 0; i < plan->fault_count; i++)
			if (plan->faults[i].name == when->of)
				sim_fault_name(&plan->faults[i], name, sizeof name);
		json_object_set_new(out, "of", json_string(name));
	} else {
		json_object_set_new(out, "of", json_string(cascade_providers[when->of % POLICY_PROVIDERS]));
	}
	return out;
}

static void write_number(json_t *arguments, const struct sim_fault *f)
{
	const char *key = "number";

	if (f->plugin == SIM_RATE_LIMIT && f->number < 0) {
		json_object_set_new(arguments, "header", json_false());
		return;
	}
	if (f->plugin == SIM_RATE_LIMIT)
		key = "retry-after";
	else if ((f->plugin == SIM_PROVIDER_ERROR && f->kind == ERROR_DELAY) || f->plugin == SIM_GIT_TROUBLE ||
		 (f->plugin == SIM_SINK_ERROR && f->kind == SINK_SLOW))
		key = "delay";
	else if (f->plugin == SIM_PROVIDER_ERROR || f->plugin == SIM_SWALLOWED_EXCEPTION || f->plugin == SIM_SINK_ERROR)
		key = "status";
	if (key[0] == 'r' || key[0] == 'd')
		json_object_set_new(arguments, key, milliseconds((uint64_t)f->number * SIM_MS));
	else
		json_object_set_new(arguments, key, json_integer(f->number));
}

static json_t *write_arguments(const struct sim_fault *f)
{
	json_t *arguments = json_object();
	const char *kind = sim_kind_name(f->plugin, f->kind);
	char point[48];

	if (*kind)
		json_object_set_new(arguments,
		    f->plugin == SIM_AGENT_KILL  ? "signal"
		    : f->plugin == SIM_DISK_FULL ? "mode"
						 : "kind",
		    json_string(kind));
	if (f->plugin == SIM_RATE_LIMIT || f->plugin == SIM_PROVIDER_ERROR || f->plugin == SIM_PROVIDER_LIE)
		json_object_set_new(arguments, "provider",
		    json_string(f->target < POLICY_PROVIDERS ? cascade_providers[f->target] : "*"));
	if (f->plugin == SIM_DISK_FULL && f->target != PATH_ALL)
		json_object_set_new(arguments, "path", json_string(sim_path_name(f->target)));
	if (f->plugin == SIM_ORCHESTRATOR_KILL && f->target != SIM_POINT_NOW) {
		json_object_set_new(arguments, "point", json_string(sim_point_name(f->target, point, sizeof point)));
		json_object_set_new(arguments, "nth", json_integer(f->nth));
	}
	if (f->plugin == SIM_SWALLOWED_EXCEPTION && f->kind == EXCEPTION_SEEN)
		json_object_set_new(arguments, "swallow", json_false());
	if (f->number || f->plugin == SIM_RATE_LIMIT)
		write_number(arguments, f);
	return arguments;
}

static json_t *write_fault(const struct sim_plan *plan, const struct sim_fault *f)
{
	json_t *out = json_object(), *arguments = write_arguments(f);
	char name[64];

	sim_fault_name(f, name, sizeof name);
	json_object_set_new(out, "name", json_string(name));
	json_object_set_new(out, "plugin",
	    json_string(f->plugin == SIM_ORCHESTRATOR_PAUSE ? "process-stop" : sim_plugin_name(f->plugin)));
	if (json_object_size(arguments))
		json_object_set(out, "arguments", arguments);
	json_decref(arguments);
	json_object_set_new(out, "when", write_when(plan, &f->when));
	if (f->has_until)
		json_object_set_new(out, "until", write_when(plan, &f->until));
	if (f->duration_us)
		json_object_set_new(out, "duration", milliseconds(f->duration_us));
	return out;
}

static json_t *write_graph(const struct sim_plan *plan)
{
	json_t *graph = json_array();
	char name[16];

	for (uint32_t i = 0; i < plan->task_count; i++) {
		const struct sim_task *t = &plan->tasks[i];
		json_t *task = json_object(), *after = json_array();

		if (t->left_out) {
			json_decref(task);
			json_decref(after);
			continue;
		}
		for (unsigned k = 0; k < t->after_count; k++) {
			snprintf(name, sizeof name, "t%u", t->after[k]);
			if (!plan->tasks[t->after[k]].left_out)
				json_array_append_new(after, json_string(name));
		}
		snprintf(name, sizeof name, "t%u", i);
		json_object_set_new(task, "name", json_string(name));
		json_object_set_new(task, "role", json_string(policy_role_name(t->role)));
		if (json_array_size(after))
			json_object_set(task, "after", after);
		json_decref(after);
		json_object_set_new(task, "at", milliseconds(t->submit_us));
		json_object_set_new(task, "steps", json_integer(t->steps));
		json_array_append_new(graph, task);
	}
	return graph;
}

static json_t *write_arguments_of_system(const struct sim_plan *plan, const char *bug)
{
	json_t *arguments = json_array();
	char text[64];

	if (bug && *bug) {
		json_array_append_new(arguments, json_string("--bug"));
		json_array_append_new(arguments, json_string(bug));
	}
	for (size_t i = 0; policy_assignment(&plan->policy, i, text, sizeof text); i++) {
		json_array_append_new(arguments, json_string("--set"));
		json_array_append_new(arguments, json_string(text));
	}
	return arguments;
}

/* The limits of the checkers that follow from the policy, for the real system; the simulation derives them itself. Any of them may
 * have no opportunity there. */
static void write_limits(json_t *root, const struct sim_plan *plan, const char *deviated)
{
	const struct policy *p = &plan->policy;
	struct check_config limits;
	json_t *invariants, *names = json_array(), *may = json_array(), *expect = json_object();
	bool named = false;

	judge_limits(plan, &limits);
	invariants = json_pack("[{s:{s:I,s:I,s:I,s:I,s:I,s:o}}, {s:{s:o,s:o}}, {s:{s:I}}, {s:{s:o}}, {s:{s:o}}]",
	    "bounded-effort", "attempts-max", (json_int_t)limits.attempts_max, "agents-max",
	    (json_int_t)limits.agents_max, "calls-per-task-max", (json_int_t)limits.calls_per_task_max,
	    "tokens-per-task-max", (json_int_t)0, "breaker-threshold", (json_int_t)limits.breaker_threshold,
	    "breaker-reset", milliseconds(limits.breaker_reset_us), "cascade-order", "throttle-default",
	    milliseconds(limits.throttle_default_us), "throttle-max", milliseconds(limits.throttle_max_us),
	    "slo-returns", "tasks", (json_int_t)p->slo_window, "progress", "limit",
	    milliseconds(limits.progress_limit_us), "dashboard-honest", "slack",
	    milliseconds(limits.claim_slack_us > SIM_SECOND ? limits.claim_slack_us : SIM_SECOND));
	for (size_t i = 0; i < json_array_size(invariants); i++) {
		const char *name = json_object_iter_key(json_object_iter(json_array_get(invariants, i)));

		json_array_append_new(names, json_string(name));
		named = named || (deviated && strcmp(name, deviated) == 0);
	}
	if (deviated && !named && check_find(deviated))
		json_array_append_new(invariants, json_string(deviated));
	json_object_set_new(root, "invariants", invariants);
	json_object_set_new(expect, "vacuous", names);
	for (size_t i = 0; deviated && check_table[i]; i++) /* what follows from it is no surprise */
		if (strcmp(check_table[i]->name, deviated) != 0)
			json_array_append_new(may, json_string(check_table[i]->name));
	json_object_set_new(expect, "may", may);
	if (deviated && check_find(deviated))
		json_object_set_new(expect, "deviated", json_pack("[s]", deviated));
	json_object_set_new(root, "expect", expect);
}

int schedule_write(
    const struct sim_plan *plan, const char *bug, const char *deviated, const char *path, struct error *err)
{
	json_t *root = json_object(), *faults = json_array(), *graph = write_graph(plan);
	char text[64];
	int r;

	snprintf(text, sizeof text, "Seed %" PRIu64 " of the simulation", plan->seed);
	json_object_set_new(root, "title", json_string(text));
	snprintf(text, sizeof text, "%" PRIu64, plan->seed);
	json_object_set_new(root, "simulation", json_pack("{s:s}", "seed", text));
	json_object_set_new(root, "arguments", write_arguments_of_system(plan, bug));
	json_object_set_new(
	    root, "workload", json_pack("{s:O, s:I}", "graph", graph, "tail", (json_int_t)plan->tail_count));
	json_decref(graph);
	for (uint32_t i = 0; i < plan->fault_count; i++)
		json_array_append_new(faults, write_fault(plan, &plan->faults[i]));
	json_object_set_new(root, "faults", faults);
	write_limits(root, plan, deviated);
	r = json_dump_file(root, path, JSON_INDENT(2));
	json_decref(root);
	return r == 0 ? 0 : error_set(err, EIO, "%s: cannot be written", path);
}
