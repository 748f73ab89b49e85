/* SPDX-License-Identifier: Apache-2.0 */
/* The stage before anything is started: files, plugins and limits are read and checked, then the run directory and all that serves in it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/run.h"
#include "keeper/filter.h"

static int add_argument(struct run *run, const char *argument)
{
	char **grown = realloc(run->arguments.items, (run->arguments.count + 2) * sizeof *grown);

	if (!grown)
		return run_fail(run, VERDICT_ERROR, "no memory");
	run->arguments.items = grown;
	grown[run->arguments.count] = strdup(argument);
	if (!grown[run->arguments.count])
		return run_fail(run, VERDICT_ERROR, "no memory");
	grown[++run->arguments.count] = NULL;
	return 0;
}

static int add_arguments(struct run *run, const struct spec_strings *more)
{
	size_t i;

	for (i = 0; more && i < more->count; i++)
		if (add_argument(run, more->items[i]))
			return -1;
	return 0;
}

static int load_files(struct run *run)
{
	const struct engine_case *c = run->c;
	const char *system;
	char path[PATH_MAX];
	struct error err;

	if (c->problem)
		return run_fail(run, VERDICT_ERROR, "%s", c->problem);
	if (spec_experiment_load(&run->x, c->experiment, &err))
		return run_fail(run, VERDICT_ERROR, "%s", err.text);
	snprintf(run->result->title, sizeof run->result->title, "%s", run->x->title ? run->x->title : "");
	system = c->system ? c->system : run->x->system;
	if (!c->system && run->x->system_problem)
		return run_fail(run, VERDICT_ERROR, "%s", run->x->system_problem);
	if (!system)
		return run_fail(run, VERDICT_ERROR,
		    "%s: no system is named, neither here nor by the suite nor with --system", run->x->file);
	if (engine_system_path(path, sizeof path, system, c->experiment, &err) ||
	    spec_manifest_load(&run->manifest, path, &err))
		return run_fail(run, VERDICT_ERROR, "%s", err.text);
	if (add_arguments(run, &run->x->arguments) || add_arguments(run, c->arguments))
		return -1;
	if (c->bug && (add_argument(run, "--bug") || add_argument(run, c->bug)))
		return -1;
	check_config_init(&run->config);
	if (spec_events_check(run->manifest, run->x, &err) ||
	    spec_check_config(run->manifest, run->x, &run->config, &err))
		return run_fail(run, VERDICT_ERROR, "%s", err.text);
	return 0;
}

static int load_faults(struct run *run)
{
	struct error err;
	size_t i;

	if (run->x->fault_count) {
		run->faults = calloc(run->x->fault_count, sizeof *run->faults);
		run->result->faults = calloc(run->x->fault_count, sizeof *run->result->faults);
		if (!run->faults || !run->result->faults)
			return run_fail(run, VERDICT_ERROR, "no memory for %zu faults", run->x->fault_count);
	}
	run->syscall_filter = run->x->syscall_filter;
	for (i = 0; i < run->x->fault_count; i++) {
		run->fault_count++;
		if (fault_load(run, &run->faults[i], &run->x->faults[i]))
			return -1;
	}
	if (run->syscall_filter && filter_available(&err))
		return run_fail(run, VERDICT_UNAVAILABLE, "the system-call filter is not possible here: %s", err.text);
	return 0;
}

/* How long it can take at worst, for people who wait and for the plan. */
static int64_t worst_case_ms(const struct run *run)
{
	int64_t ms = 2 * run->x->workload.limit_ms + (int64_t)(run->config.slo_window_us / 1000);
	size_t i;

	for (i = 0; i < run->x->fault_count; i++)
		ms += run->x->faults[i].duration_ms + run->x->faults[i].proof_ms;
	return ms;
}

static void describe_plan(struct run *run)
{
	size_t used = 0, i;
	char *text = run->result->reason;
	const size_t size = sizeof run->result->reason;

	used += (size_t)snprintf(text, size, "%llu + %llu tasks on %s, at most %.0f s%s",
	    (unsigned long long)run->x->workload.tasks, (unsigned long long)run->x->workload.tail, run->manifest->name,
	    (double)worst_case_ms(run) / 1e3, run->fault_count ? ";" : ", no faults");
	for (i = 0; i < run->fault_count && used < size; i++)
		used +=
		    (size_t)snprintf(text + used, size - used, " %s (%s, blast radius %s)", run->faults[i].spec->name,
			run->faults[i].info->name, plugin_blast_name(run->faults[i].info->blast));
}

int stage_prepare(struct run *run)
{
	struct error err;
	char why[256];
	size_t i;

	if (load_files(run) || load_faults(run))
		return -1;
	if (activities_check(run, &run->x->hypothesis, &err) || activities_check(run, &run->x->method, &err) ||
	    activities_check(run, &run->x->rollbacks, &err))
		return run_fail(run, VERDICT_ERROR, "%s", err.text);
	if (rundir_halted(run, why, sizeof why))
		return run_fail(run, VERDICT_ABORTED, "%s", why);
	if (run->options->dry_run) {
		describe_plan(run);
		return 0;
	}
	if (rundir_create(run, &err))
		return run_fail(run, VERDICT_ERROR, "%s", err.text);
	snprintf(run->result->run_dir, sizeof run->result->run_dir, "%.1000s", run->dir);
	if (run_open(run, &err) ||
	    tracker_init(&run->tracker, run->x->workload.tasks + run->x->workload.tail, run->manifest, &err))
		return run_fail(run, VERDICT_ERROR, "%s", err.text);
	for (i = 0; i < run->fault_count; i++)
		if (fault_start(&run->faults[i]))
			return -1;
	return 0;
}
