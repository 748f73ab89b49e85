/* SPDX-License-Identifier: Apache-2.0 */
/* Schedules as experiment files; see schedule.h. */
#include "sim/schedule.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixtures/conductor/policy/cascade.h"
#include "spec/spec.h"

/* ---- writing ---- */

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
	if (f->number)
		write_number(arguments, f);
	return arguments;
}

static json_t *write_fault(const struct sim_plan *plan, const struct sim_fault *f)
{
	json_t *out = json_object(), *arguments = write_arguments(f);
	char name[64];

	sim_fault_name(f, name, sizeof name);
	json_object_set_new(out, "name", json_string(name));
	json_object_set_new(out, "plugin", json_string(sim_plugin_name(f->plugin)));
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

static json_t *left_out(const struct sim_plan *plan)
{
	char text[SIM_TASKS_MAX * 4] = "";
	size_t used = 0;

	for (uint32_t i = 0; i < plan->task_count; i++)
		if (plan->tasks[i].left_out)
			used += (size_t)snprintf(text + used, sizeof text - used, "%s%u", used ? " " : "", i);
	return json_string(text);
}

int schedule_write(
    const struct sim_plan *plan, const char *bug, const char *deviated, const char *path, struct error *err)
{
	json_t *root = json_object(), *faults = json_array(), *configuration = json_object();
	char text[64];
	int r;

	snprintf(text, sizeof text, "Seed %" PRIu64 " of the simulation", plan->seed);
	json_object_set_new(root, "title", json_string(text));
	snprintf(text, sizeof text, "%" PRIu64, plan->seed);
	json_object_set_new(configuration, "sim-seed", json_string(text));
	json_object_set_new(configuration, "sim-left-out", left_out(plan));
	json_object_set_new(root, "configuration", configuration);
	if (bug && *bug)
		json_object_set_new(root, "arguments", json_pack("[s, s]", "--bug", bug));
	json_object_set_new(root, "workload",
	    json_pack("{s:I, s:I}", "tasks", (json_int_t)plan->task_count, "tail", (json_int_t)plan->tail_count));
	for (uint32_t i = 0; i < plan->fault_count; i++)
		json_array_append_new(faults, write_fault(plan, &plan->faults[i]));
	json_object_set_new(root, "faults", faults);
	if (deviated)
		json_object_set_new(root, "expect", json_pack("{s:[s]}", "deviated", deviated));
	r = json_dump_file(root, path, JSON_INDENT(2));
	json_decref(root);
	return r == 0 ? 0 : error_set(err, EIO, "%s: cannot be written", path);
}

/* ---- reading ---- */

static uint32_t number_at_end(const char *name, uint32_t otherwise)
{
	const char *dash = strrchr(name, '-');

	return dash && dash[1] >= '0' && dash[1] <= '9' ? (uint32_t)strtoul(dash + 1, NULL, 10) : otherwise;
}

static int provider_of(
    const char *name, uint32_t *ret, const struct spec_fault *from, const char *path, struct error *err)
{
	int p = strcmp(name, "*") == 0 ? 0 : cascade_provider_parse(name);

	if (p < 0)
		return error_set(err, EINVAL, "%s:%u: provider '%s' is not known", path, from->line, name);
	*ret = strcmp(name, "*") == 0 ? SIM_ANY : (uint32_t)p;
	return 0;
}

static int read_when(struct sim_when *when, const struct spec_when *from, const struct spec_experiment *x,
    const struct spec_fault *fault, struct error *err)
{
	*when = (struct sim_when){.event = (enum sim_event_name)from->event,
	    .nth = (uint32_t)from->nth,
	    .of = SIM_ANY,
	    .after_us = (uint64_t)from->after_ms * SIM_MS,
	    .hold = from->hold};
	if (!from->of)
		return 0;
	if (when->event == SIM_ON_REQUEST || when->event == SIM_ON_REPLY)
		return provider_of(from->of, &when->of, fault, x->file, err);
	for (size_t i = 0; i < x->fault_count; i++)
		if (strcmp(x->faults[i].name, from->of) == 0)
			when->of = number_at_end(from->of, (uint32_t)i);
	return 0;
}

static int read_argument(struct sim_fault *f, const struct spec_pair *pair, const struct spec_fault *from,
    const struct spec_experiment *x, struct error *err)
{
	const char *key = pair->name, *value = pair->value;
	int choice;

	if (strcmp(key, "signal") == 0 || strcmp(key, "mode") == 0 || strcmp(key, "kind") == 0) {
		choice = sim_kind_parse(f->plugin, value);
		f->kind = (uint32_t)choice;
	} else if (strcmp(key, "point") == 0) {
		choice = sim_point_parse(value);
		f->target = (uint32_t)choice;
	} else if (strcmp(key, "path") == 0) {
		choice = sim_path_parse(value);
		f->target = (uint32_t)choice;
	} else if (strcmp(key, "provider") == 0) {
		return provider_of(value, &f->target, from, x->file, err);
	} else if (strcmp(key, "nth") == 0) {
		f->nth = (uint32_t)strtoul(value, NULL, 10);
		return 0;
	} else if (strcmp(key, "retry-after") == 0 || strcmp(key, "delay") == 0) {
		return spec_duration(value, &f->number, err);
	} else if (strcmp(key, "header") == 0) {
		f->number = strcmp(value, "false") == 0 ? -1 : f->number;
		return 0;
	} else if (strcmp(key, "status") == 0 || strcmp(key, "number") == 0) {
		f->number = strtoll(value, NULL, 10);
		return 0;
	} else {
		return error_set(err, EINVAL, "%s:%u: the simulation has no '%s' of %s", x->file, pair->line, key,
		    sim_plugin_name(f->plugin));
	}
	if (choice < 0)
		return error_set(err, EINVAL, "%s:%u: the simulation has no %s '%s' of %s", x->file, pair->line, key,
		    value, sim_plugin_name(f->plugin));
	return 0;
}

/* What a plugin does when nothing is said: as in its own table of parameters. */
static void defaults(struct sim_fault *f)
{
	f->nth = 1;
	f->target = SIM_ANY;
	if (f->plugin == SIM_DISK_FULL)
		f->target = PATH_ALL;
	if (f->plugin == SIM_ORCHESTRATOR_KILL)
		f->target = SIM_POINT_NOW;
	if (f->plugin == SIM_RATE_LIMIT)
		f->number = 1000;
	if (f->plugin == SIM_PROVIDER_ERROR || f->plugin == SIM_SINK_ERROR)
		f->number = 500;
	if (f->plugin == SIM_SWALLOWED_EXCEPTION)
		f->number = 503;
}

static int read_fault(
    struct sim_plan *plan, const struct spec_experiment *x, const struct spec_fault *from, struct error *err)
{
	struct sim_fault *f = &plan->faults[plan->fault_count];
	int plugin = sim_plugin_parse(from->plugin);

	if (plugin < 0)
		return error_set(
		    err, EINVAL, "%s:%u: the simulation has no fault '%s'", x->file, from->line, from->plugin);
	if (plan->fault_count == SIM_FAULTS_MAX)
		return error_set(err, E2BIG, "%s: more than %u faults", x->file, SIM_FAULTS_MAX);
	memset(f, 0, sizeof *f);
	f->plugin = (enum sim_plugin)plugin;
	f->name = number_at_end(from->name, plan->fault_count);
	defaults(f);
	if (read_when(&f->when, &from->when, x, from, err) != 0)
		return -1;
	f->has_until = from->until.event != SPEC_EVENT_NONE;
	if (f->has_until && read_when(&f->until, &from->until, x, from, err) != 0)
		return -1;
	f->duration_us = (uint64_t)from->duration_ms * SIM_MS;
	for (size_t i = 0; i < from->arguments.count; i++)
		if (read_argument(f, &from->arguments.items[i], from, x, err) != 0)
			return -1;
	plan->fault_count++;
	return 0;
}

static const char *configured(const struct spec_experiment *x, const char *name)
{
	for (size_t i = 0; i < x->configuration.count; i++)
		if (strcmp(x->configuration.items[i].name, name) == 0)
			return x->configuration.items[i].value;
	return NULL;
}

int schedule_read(struct sim_plan *plan, const uint64_t *seed, const char *path, struct error *err)
{
	struct spec_experiment *x;
	const char *text;
	int r = 0;

	if (spec_experiment_load(&x, path, err) != 0)
		return -1;
	text = configured(x, "sim-seed");
	plan_draw(plan, seed ? *seed : text ? strtoull(text, NULL, 10) : 1);
	plan->fault_count = 0;
	for (size_t i = 0; r == 0 && i < x->fault_count; i++)
		r = read_fault(plan, x, &x->faults[i], err);
	text = configured(x, "sim-left-out");
	while (text && *text) {
		char *end;
		unsigned long task = strtoul(text, &end, 10);

		if (end == text)
			break;
		if (task < SIM_TASKS_MAX)
			plan->tasks[task].left_out = true;
		text = end;
	}
	plan_settle(plan);
	spec_experiment_free(x);
	return r;
}
