/* SPDX-License-Identifier: Apache-2.0 */
/* What serves in a run directory: the undo log, the history, the gateway, the system (not yet started) and the control socket. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/run.h"

static int make_gateway(struct run *run, struct error *err)
{
	const struct spec_manifest *m = run->manifest;
	struct gateway_options options = {
	    .history = run->history,
	    .seed = run->options->seed,
	    .task_header = m->gateway.task_header,
	    .attempt_header = m->gateway.attempt_header,
	    .sink_task = m->gateway.sink_task,
	    .sink_key = m->gateway.sink_key,
	    .ledger_sink = m->commits.sink,
	    .latency_ms = m->gateway.latency_ms,
	    .script = m->gateway.script,
	    .task_pattern = m->gateway.task_pattern,
	    .record = m->gateway.record,
	    .replay = m->gateway.replay,
	};
	size_t i;

	if (m->gateway.providers.count > GATEWAY_NAMES_MAX || m->gateway.sinks.count > GATEWAY_NAMES_MAX)
		return error_set(err, EINVAL, "%s: more than %d providers or sinks", m->file, GATEWAY_NAMES_MAX);
	for (i = 0; i < m->gateway.providers.count; i++)
		options.providers[i] = m->gateway.providers.items[i];
	for (i = 0; i < m->gateway.sinks.count; i++)
		options.sinks[i] = m->gateway.sinks.items[i];
	/* each is one of the providers, and none is there twice */
	for (i = 0; i < m->gateway.upstream_count; i++)
		options.upstreams[i] = (struct gateway_upstream){.provider = m->gateway.upstreams[i].provider,
		    .url = m->gateway.upstreams[i].url,
		    .key_variable = m->gateway.upstreams[i].key_from,
		    .silence_ms = m->gateway.upstreams[i].timeout_ms};
	return gateway_create(&run->gateway, &options, err);
}

static void tell_progress(void *arg, const char *stage, const char *text)
{
	const struct run *run = arg;

	progress_stage(run->options->progress, run->options->lane, stage, text);
}

int run_open(struct run *run, struct error *err)
{
	struct system_options options = {
	    .manifest = run->manifest,
	    .arguments = &run->arguments,
	    .run_dir = run->dir,
	    .seed = run->options->seed,
	    .syscall_filter = run->syscall_filter,
	    .interrupt_fd = interrupt_fd(run->options->interrupt),
	};
	char path[PATH_MAX], cache[PATH_MAX];
	/* Beside ROOT/runs/ID: what is installed is installed for all of them. */
	char *slash = strrchr(run->dir, '/');
	size_t root = slash ? (size_t)(slash - run->dir) : 0;

	while (root > 0 && run->dir[--root] != '/')
		;
	if (snprintf(cache, sizeof cache, "%.*s/install", (int)root, run->dir) >= (int)sizeof cache)
		return error_set(err, ENAMETOOLONG, "the path of %s is too long", run->dir);
	if (snprintf(path, sizeof path, "%s/history", run->dir) >= (int)sizeof path)
		return error_set(err, ENAMETOOLONG, "the path of %s is too long", run->dir);
	/* The undo log first: its lock is what tells others that this run is alive. */
	if (undo_open(&run->undo, run->dir, err) || history_create(&run->history, path, err) || make_gateway(run, err))
		return -1;
	options.history = run->history;
	options.cache_dir = cache;
	options.progress = tell_progress;
	options.progress_arg = run;
	options.gateway = run->gateway;
	if (system_create(&run->system, &options, err))
		return -1;
	return services_start(run, err);
}

void run_shut(struct run *run)
{
	struct error err;

	service_stop(run->services);
	system_destroy(run->system);
	/* Whatever came out came of a world that was not the one that was asked for. */
	if (run->gateway && gateway_amiss(run->gateway, &err))
		run_fail(run, VERDICT_ERROR, "%s", err.text);
	gateway_destroy(run->gateway);
	if (run->history && history_sync(run->history, &err))
		run_fail(run, VERDICT_ERROR, "the history could not be stored: %s", err.text);
	history_destroy(run->history);
	undo_close(run->undo);
}
