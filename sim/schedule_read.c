/* SPDX-License-Identifier: Apache-2.0 */
/* Reads schedules; see schedule.h. */
#include "sim/schedule.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixtures/conductor/policy/cascade.h"
#include "sim/fleet.h"

#define KEY_ROTATION "key-rotation"

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
	if (from->within_ms || from->probability > 0)
		return error_set(err, EINVAL, "%s:%u:%u: the simulation has no chance in a moment: say when", x->file,
		    from->line, from->column);
	if (from->event > (enum spec_event)SIM_ON_RESTART)
		return error_set(
		    err, EINVAL, "%s:%u:%u: the simulation has no such event", x->file, from->line, from->column);
	if (!from->of)
		return 0;
	if (when->event == SIM_ON_REQUEST || when->event == SIM_ON_REPLY)
		return provider_of(from->of, &when->of, fault, x->file, err);
	for (size_t i = 0; i < x->fault_count; i++)
		if (strcmp(x->faults[i].name, from->of) == 0)
			when->of = number_at_end(from->of, (uint32_t)i);
	return 0;
}

/*
 * Of what can be done to any process that a manifest names the simulation has what is done to the orchestrator; and who is not told of
 * a new key sees nothing of its exchange but the refusals.
 */
static int plugin_of(const char *name)
{
	if (strcmp(name, KEY_ROTATION) == 0)
		return SIM_PROVIDER_ERROR;
	if (strcmp(name, "process-kill") == 0)
		return SIM_ORCHESTRATOR_KILL;
	if (strcmp(name, "process-stop") == 0)
		return SIM_ORCHESTRATOR_PAUSE;
	return sim_plugin_parse(name);
}

/* 1: taken, 0: not one of those, or another value than the only one that the simulation has. */
static int is_of_orchestrator(const struct spec_fault *from, const char *key, const char *value)
{
	if (strncmp(from->plugin, "process-", 8) != 0)
		return 0;
	if (strcmp(key, "process") == 0)
		return *value == '\0' || strcmp(value, "conductor") == 0;
	if (strcmp(key, "scope") == 0) /* each agent has a group of its own */
		return strcmp(value, "process") == 0 || strcmp(value, "group") == 0;
	return strcmp(key, "which") == 0 || (strcmp(key, "signal") == 0 && strcmp(value, "KILL") == 0);
}

/* As each plugin has them, and what schedule.c writes; between blanks. */
static bool has_parameter(enum sim_plugin plugin, const char *key)
{
	static const char *const parameters[SIM_PLUGINS] = {[SIM_AGENT_KILL] = " signal ",
	    [SIM_AGENT_PAUSE] = "",
	    [SIM_RATE_LIMIT] = " provider retry-after header ",
	    [SIM_PROVIDER_ERROR] = " provider kind status delay ",
	    [SIM_FILE_REMOVE] = " pattern ",
	    [SIM_DISK_FULL] = " path mode error ",
	    [SIM_SWALLOWED_EXCEPTION] = " status swallow ",
	    [SIM_ORCHESTRATOR_KILL] = " point nth ",
	    [SIM_POWER_LOSS] = "",
	    [SIM_ORCHESTRATOR_PAUSE] = "",
	    [SIM_CLOCK_JUMP] = " number ",
	    [SIM_AGENT_BABBLE] = " kind ",
	    [SIM_GIT_TROUBLE] = " kind delay ",
	    [SIM_SINK_ERROR] = " kind status delay ",
	    [SIM_PROVIDER_LIE] = " kind provider "};
	char word[32];

	return snprintf(word, sizeof word, " %s ", key) < (int)sizeof word && strstr(parameters[plugin], word);
}

static int read_number(const struct spec_pair *pair, const struct spec_experiment *x, int64_t min, int64_t max,
    int64_t *ret, struct error *err)
{
	char *end;

	errno = 0;
	*ret = strtoll(pair->value, &end, 10);
	if (end == pair->value || *end || errno || *ret < min || *ret > max)
		return error_set(err, EINVAL, "%s:%u:%u: %s must be a number from %lld to %lld, found '%s'", x->file,
		    pair->line, pair->column, pair->name, (long long)min, (long long)max, pair->value);
	return 0;
}

static int read_argument(struct sim_fault *f, const struct spec_pair *pair, const struct spec_fault *from,
    const struct spec_experiment *x, struct error *err)
{
	const char *key = pair->name, *value = pair->value;
	int64_t number;
	int choice;

	if (strcmp(from->plugin, KEY_ROTATION) == 0 && strcmp(key, "key") == 0)
		return 0; /* the conductor's agents have none */
	if (is_of_orchestrator(from, key, value))
		return 0;
	if (!has_parameter(f->plugin, key))
		return error_set(err, EINVAL, "%s:%u:%u: the simulation has no '%s' of %s", x->file, pair->line,
		    pair->column, key, from->plugin);
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
		if (read_number(pair, x, 1, INT32_MAX, &number, err) != 0)
			return -1;
		f->nth = (uint32_t)number;
		return 0;
	} else if (strcmp(key, "retry-after") == 0 || strcmp(key, "delay") == 0) {
		if (spec_duration(value, &f->number, err) != 0)
			return error_context(err, "%s:%u:%u", x->file, pair->line, pair->column);
		return 0;
	} else if (strcmp(key, "swallow") == 0 && f->plugin == SIM_SWALLOWED_EXCEPTION) {
		f->kind = strcmp(value, "false") == 0 ? EXCEPTION_SEEN : EXCEPTION_SWALLOWED;
		return 0;
	} else if (strcmp(key, "pattern") == 0 && f->plugin == SIM_FILE_REMOVE) {
		return 0; /* an agent's worktree has one file that can be missed */
	} else if (strcmp(key, "error") == 0 && f->plugin == SIM_DISK_FULL) {
		return 0; /* the conductor makes no difference between them */
	} else if (strcmp(key, "header") == 0) {
		f->number = strcmp(value, "false") == 0 ? -1 : f->number;
		return 0;
	} else if (strcmp(key, "status") == 0) {
		return read_number(pair, x, 100, 599, &f->number, err);
	} else { /* of a clock, in milliseconds */
		return read_number(pair, x, -INT32_MAX, INT32_MAX, &f->number, err);
	}
	if (choice < 0)
		return error_set(err, EINVAL, "%s:%u:%u: the simulation has no %s '%s' of %s", x->file, pair->line,
		    pair->column, key, value, sim_plugin_name(f->plugin));
	return 0;
}

/* What a plugin does when nothing is said: as in its own table of parameters. */
static void defaults(struct sim_fault *f, const char *plugin)
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
		f->number = strcmp(plugin, KEY_ROTATION) == 0 ? 401 : 500;
	if (f->plugin == SIM_SWALLOWED_EXCEPTION)
		f->number = 503;
}

static int read_fault(
    struct sim_plan *plan, const struct spec_experiment *x, const struct spec_fault *from, struct error *err)
{
	struct sim_fault *f = &plan->faults[plan->fault_count];
	int plugin = plugin_of(from->plugin);

	if (plugin < 0)
		return error_set(err, EINVAL,
		    "%s:%u:%u: the simulation has no fault '%s'; tritone-schedule(5) lists them", x->file, from->line,
		    from->column, from->plugin);
	if (plan->fault_count == SIM_FAULTS_MAX)
		return error_set(err, E2BIG, "%s: more than %u faults", x->file, SIM_FAULTS_MAX);
	memset(f, 0, sizeof *f);
	f->plugin = (enum sim_plugin)plugin;
	f->name = number_at_end(from->name, plan->fault_count);
	defaults(f, from->plugin);
	if (read_when(&f->when, &from->when, x, from, err) != 0)
		return -1;
	f->has_until = from->until.event != SPEC_EVENT_NONE;
	if (f->has_until && read_when(&f->until, &from->until, x, from, err) != 0)
		return -1;
	f->duration_us = (uint64_t)from->duration_ms * SIM_MS;
	for (size_t i = 0; i < from->arguments.count; i++)
		if (read_argument(f, &from->arguments.items[i], from, x, err) != 0)
			return -1;
	if (f->plugin == SIM_ORCHESTRATOR_PAUSE && !f->duration_us)
		return error_set(err, EINVAL, "%s:%u:%u: in simulation a stopped orchestrator needs a duration",
		    x->file, from->line, from->column);
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

static void leave_out(struct sim_plan *plan, const char *text)
{
	while (text && *text) {
		char *end;
		unsigned long task = strtoul(text, &end, 10);

		if (end == text)
			break;
		if (task < SIM_TASKS_MAX)
			plan->tasks[task].left_out = true;
		text = end;
	}
}

static int take(struct sim_plan *plan, const uint64_t *seed, const struct spec_experiment *x, struct error *err)
{
	const char *text = x->simulation.seed ? x->simulation.seed : configured(x, "sim-seed");

	uint64_t own = 1;
	char *end;

	if (!seed && text) {
		errno = 0;
		own = strtoull(text, &end, 10);
		if (errno || *text < '0' || *text > '9' || *end)
			return error_set(
			    err, EINVAL, "%s: the simulation's seed must be a number, found '%s'", x->file, text);
	}
	if (!seed && !text && !x->system)
		return error_set(err, EINVAL,
		    "%s: it names no system and no seed of the simulation; expected 'system', or 'simulation' with "
		    "'seed'",
		    x->file);
	plan_draw(plan, seed ? *seed : own);
	if (x->system && fleet_read(plan, x, err) != 0)
		return -1;
	if (fleet_graph(plan, x, err) != 0 || fleet_arguments(plan, x, err) != 0)
		return -1;
	leave_out(plan, configured(x, "sim-left-out"));
	plan->fault_count = 0;
	for (size_t i = 0; i < x->fault_count; i++)
		if (read_fault(plan, x, &x->faults[i], err) != 0)
			return -1;
	plan_settle(plan);
	return 0;
}

int schedule_read(struct sim_plan *plan, const uint64_t *seed, const char *path, struct error *err)
{
	struct spec_experiment *x;
	int r;

	if (spec_experiment_load(&x, path, err) != 0)
		return -1;
	r = take(plan, seed, x, err);
	spec_experiment_free(x);
	return r;
}
