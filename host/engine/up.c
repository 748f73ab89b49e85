/* SPDX-License-Identifier: Apache-2.0 */
/* A system that is started and left running, for faults by hand: everything of a run but the experiment. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/run.h"
#include "keeper/filter.h"

#define HALT_GAP_MS 200 /* how often halt files are looked for, and losses */
#define LAST_LINES  10

/* "POST http://...", malloc'ed; NULL when it is not declared or cannot be said. */
static char *request(struct run *run, const char *method, const char *url)
{
	char *expanded, *text = NULL;
	struct error err;

	if (!url || spec_expand(&expanded, url, system_lookup, run->system, &err))
		return NULL;
	if (asprintf(&text, "%s %s", method, expanded) < 0)
		text = NULL;
	free(expanded);
	return text;
}

static void tell(struct run *run, const struct engine_up *up)
{
	const struct spec_manifest *m = run->manifest;
	char *submit = request(run, m->submit.method ? m->submit.method : "POST", m->submit.url);
	char *outcome = request(run, "GET", m->outcome.url);

	up->ready(up->arg, &(struct engine_place){.run_dir = run->dir,
			       .state_dir = run->state_dir,
			       .gateway_url = gateway_url(run->gateway),
			       .socket = run->socket,
			       .submit = submit,
			       .outcome = outcome});
	free(submit);
	free(outcome);
}

#define LOAD_TASKS 1000000 /* nobody stays up for so long */

struct speaker {
	const struct engine_up *up;
	const char *process;
};

static void say(void *arg, const char *name, const char *line)
{
	const struct speaker *speaker = arg;

	if (!strcmp(name, speaker->process))
		speaker->up->words(speaker->up->arg, name, line);
}

/* Tells of each that is gone for good, once. -1 when it is the orchestrator. */
static int look_for_losses(struct run *run, const struct engine_up *up, bool *told)
{
	const struct spec_manifest *m = run->manifest;
	char how[160];
	size_t i;

	for (i = 0; i < m->process_count; i++) {
		struct speaker speaker = {up, m->processes[i].name};

		if (told[i] || !system_lost(run->system, speaker.process, how, sizeof how))
			continue;
		told[i] = true;
		up->lost(up->arg, speaker.process, how);
		system_last_words(run->system, LAST_LINES, say, &speaker);
		if (i == m->main_process)
			return run_fail(
			    run, VERDICT_DEVIATED, "the system has ended by itself: %s: %s", speaker.process, how);
	}
	return 0;
}

static void wait_for_the_end(struct run *run, const struct engine_up *up)
{
	struct pollfd p = {.fd = interrupt_fd(run->options->interrupt), .events = POLLIN};
	bool *told = calloc(run->manifest->process_count, sizeof *told);
	char why[256];

	if (!told)
		run_fail(run, VERDICT_ERROR, "no memory");
	while (told && !interrupt_signal(run->options->interrupt) && !rundir_halted(run, why, sizeof why) &&
	       look_for_losses(run, up, told) == 0)
		poll(&p, 1, HALT_GAP_MS);
	free(told);
}

enum verdict engine_up(const struct engine_options *options, const struct engine_up *up, struct error *err)
{
	struct result result = {.recovered_us = -1};
	struct engine_case c = {.experiment = ""};
	struct run run = {.options = options, .c = &c, .result = &result, .syscall_filter = up->syscall_filter};
	char path[PATH_MAX], why[256], plan[] = "plan", write[] = "write", review[] = "review";
	char *names[] = {plan, write, review, NULL};
	const struct spec_strings roles = {names, 3};

	if (engine_system_path(path, sizeof path, up->system, NULL, err) ||
	    spec_manifest_load(&run.manifest, path, err))
		return VERDICT_ERROR;
	snprintf(c.name, sizeof c.name, "up-%.60s", run.manifest->name);
	if (rundir_halted(&run, why, sizeof why))
		run_fail(&run, VERDICT_ABORTED, "%s", why);
	else if (run.syscall_filter && filter_available(err))
		run_fail(&run, VERDICT_UNAVAILABLE, "the system-call filter is not possible here: %s", err->text);
	else if (rundir_create(&run, err) || run_open(&run, err))
		run_fail(&run, VERDICT_ERROR, "%s", err->text);
	else if (system_start(run.system, err)) {
		run_fail(&run, VERDICT_GATE_FAILED, "the system did not start: %s", err->text);
		(void)system_stop(run.system, run.manifest->stop_grace_ms, err);
	} else {
		tell(&run, up);
		/* So that there are agents to break. */
		if (up->load > 0 && workload_start(&run.workload, run.system, &roles, up->load, 0, LOAD_TASKS, err))
			run_fail(&run, VERDICT_ERROR, "%s", err->text);
		else
			wait_for_the_end(&run, up);
		if (rundir_halted(&run, why, sizeof why))
			run_fail(&run, VERDICT_ABORTED, "%s", why);
		workload_stop(run.workload);
		if (system_stop(run.system, run.manifest->stop_grace_ms, err) < 0)
			run_fail(&run, err->code == EPERM ? VERDICT_UNDO_INCOMPLETE : VERDICT_ERROR,
			    "the system could not be stopped: %s", err->text);
	}
	run_shut(&run);
	spec_manifest_free(run.manifest);
	if (result.verdict != VERDICT_HELD)
		error_set(err, ECANCELED, "%.250s", result.reason);
	if ((result.verdict == VERDICT_HELD || result.verdict == VERDICT_ABORTED) && run.dir[0] && !options->keep)
		(void)rundir_remove(run.dir);
	return result.verdict;
}
