/* SPDX-License-Identifier: Apache-2.0 */
/* One fault from the host's side: its runner process, its undo record, and a fresh runner when the first is lost. */
#include "runner/runner.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runner/channel.h"
#include "runner/params.h"

struct runner {
	struct channel_options options;
	char log_path[PATH_MAX];
	struct channel *channel;
	struct undo_log *undo_log;
	struct plugin_info *info;
	struct runner_request request; /* holds the setup for a fresh runner, and is used for each ask */
	struct runner_reply reply;
	struct tritone_undo undo;
	enum runner_failure failure;
	bool planned;
	bool recorded; /* the undo record is durable and not closed */
	bool expired;  /* reverted by itself, and the record closed */
	bool reverted; /* by runner_revert */
};

/* ---- preparing ---- */

static int make_dir(const char *path, struct error *err)
{
	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return 0;
	return error_set(err, errno, "%s: %s", path, strerror(errno));
}

static int copy(char *ret, size_t size, const char *text, const char *what, struct error *err)
{
	if (strlen(text) >= size)
		return error_set(err, ENAMETOOLONG, "%s is longer than %zu bytes: %.100s", what, size - 1, text);
	memcpy(ret, text, strlen(text) + 1);
	return 0;
}

static int check_fault_id(const char *id, struct error *err)
{
	size_t size = strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-");

	if (size && !id[size] && size <= RUNNER_FAULT_ID_MAX)
		return 0;
	return error_set(
	    err, EINVAL, "'%.80s' cannot be a fault's id: 1 to %d of a-z, 0-9 and '-'", id, RUNNER_FAULT_ID_MAX);
}

/* RUN/keep/ID for what the plugin keeps, RUN/log/fault-ID.log for what it and its runner say. */
static int make_dirs(const char *run_dir, const struct undo_entry *entry, char *ret_log, size_t size, struct error *err)
{
	char path[PATH_MAX];

	if ((size_t)snprintf(path, sizeof path, "%s/keep", run_dir) >= sizeof path ||
	    (size_t)snprintf(ret_log, size, "%s/log/fault-%s.log", run_dir, entry->fault_id) >= size)
		return error_set(err, ENAMETOOLONG, "%s: the path of the run is too long", run_dir);
	if (make_dir(path, err) < 0 || make_dir(entry->keep_dir, err) < 0)
		return -1;
	snprintf(path, sizeof path, "%s/log", run_dir);
	return make_dir(path, err);
}

static int fill_setup(struct runner_setup *ret, const struct runner_options *options, struct error *err)
{
	struct undo_entry *entry = &ret->entry;
	char run_dir[PATH_MAX];

	if (check_fault_id(options->fault_id, err) < 0)
		return -1;
	if (options->state_dir[0] != '/' || options->plugin[0] != '/')
		return error_set(err, EINVAL, "%s: not an absolute path",
		    options->plugin[0] != '/' ? options->plugin : options->state_dir);
	if (!realpath(options->run_dir, run_dir))
		return error_set(err, errno, "%s: %s", options->run_dir, strerror(errno));
	if (copy(ret->run_dir, sizeof ret->run_dir, run_dir, "the run directory", err) < 0 ||
	    copy(entry->fault_id, sizeof entry->fault_id, options->fault_id, "the fault's id", err) < 0 ||
	    copy(entry->plugin, sizeof entry->plugin, options->plugin, "the plugin's path", err) < 0 ||
	    copy(entry->state_dir, sizeof entry->state_dir, options->state_dir, "the system's directory", err) < 0 ||
	    copy(entry->socket, sizeof entry->socket, options->socket ? options->socket : "", "the control socket",
		err) < 0)
		return -1;
	if ((size_t)snprintf(entry->keep_dir, sizeof entry->keep_dir, "%s/keep/%s", run_dir, options->fault_id) >=
	    sizeof entry->keep_dir)
		return error_set(err, ENAMETOOLONG, "%s: the path of the run is too long", run_dir);
	entry->seed = options->seed;
	entry->duration_ms = options->duration_ms;
	ret->hook_timeout_ms = options->hook_timeout_ms > 0 ? options->hook_timeout_ms : RUNNER_TIMEOUT_MS;
	entry->hook_timeout_ms = ret->hook_timeout_ms;
	return params_join(entry->params, sizeof entry->params, options->params, options->param_count, err);
}

/* Starts a process and loads the plugin in it. With an undo record: one that is only to revert. */
static int start(struct channel **ret_channel, const struct channel_options *options, struct runner_request *request,
    const struct tritone_undo *undo, struct runner_reply *ret_reply, struct error *err)
{
	struct channel *channel;
	bool revert_only = undo;

	if (channel_open(&channel, options, err) < 0)
		return -1;
	request->hook = HOOK_LOAD;
	request->has_undo = revert_only;
	if (undo)
		request->undo = *undo;
	if (channel_ask(channel, request, revert_only, ret_reply, err) < 0) {
		channel_close(channel);
		return -1;
	}
	*ret_channel = channel;
	return 0;
}

int runner_start(struct runner **ret_runner, const struct runner_options *options, struct error *err)
{
	struct runner *runner = calloc(1, sizeof *runner);

	if (!runner)
		return error_set(err, ENOMEM, "no memory for a fault");
	if (fill_setup(&runner->request.setup, options, err) < 0 ||
	    make_dirs(runner->request.setup.run_dir, &runner->request.setup.entry, runner->log_path,
		sizeof runner->log_path, err) < 0)
		goto fail;
	runner->undo_log = options->undo;
	runner->options = (struct channel_options){
	    .log_path = runner->log_path,
	    .hook_timeout_ms = runner->request.setup.hook_timeout_ms,
	    .interrupt_fd = options->interrupt_fd,
	    .log = options->log,
	    .evidence = options->evidence,
	    .arg = options->arg,
	};
	if (start(&runner->channel, &runner->options, &runner->request, NULL, &runner->reply, err) < 0)
		goto fail;
	runner->info = runner->reply.info;
	if (!runner->info) {
		error_set(err, EPROTO, "%s: the runner did not describe it", options->plugin);
		goto fail;
	}
	if (runner->info->blast == TRITONE_BLAST_PATHOLOGICAL && !options->allow_pathological) {
		error_set(err, EPERM,
		    "%s is pathological: it may harm this machine beyond the system under test; allow "
		    "it with --pathological",
		    runner->info->name);
		goto fail;
	}
	*ret_runner = runner;
	return 0;
fail:
	runner_destroy(runner);
	return -1;
}

const struct plugin_info *runner_info(const struct runner *runner)
{
	return runner->info;
}

enum runner_failure runner_failure(const struct runner *runner)
{
	return runner->failure;
}

int runner_fd(const struct runner *runner)
{
	return channel_fd(runner->channel);
}

void runner_destroy(struct runner *runner)
{
	if (!runner)
		return;
	channel_close(runner->channel);
	plugin_info_free(runner->info);
	free(runner);
}

/* ---- the hooks ---- */

static int ask(
    struct runner *runner, enum runner_hook hook, const struct tritone_undo *undo, bool must_finish, struct error *err)
{
	int r;

	runner->request.hook = hook;
	runner->request.has_undo = undo;
	if (undo)
		runner->request.undo = *undo;
	r = channel_ask(runner->channel, &runner->request, must_finish, &runner->reply, err);
	runner->failure = r < 0 ? channel_failure(runner->channel) : RUNNER_FAILURE_NONE;
	return r;
}

int runner_check(struct runner *runner, struct error *err)
{
	return ask(runner, HOOK_CHECK, NULL, false, err);
}

int runner_plan(struct runner *runner, struct tritone_undo *ret_undo, struct error *err)
{
	if (runner->recorded)
		return error_set(err, EALREADY, "%s is injected already", runner->request.setup.entry.fault_id);
	if (ask(runner, HOOK_PLAN, NULL, false, err) < 0)
		return -1;
	runner->undo = runner->reply.undo;
	runner->planned = true;
	if (ret_undo)
		*ret_undo = runner->undo;
	return 0;
}

int runner_inject(struct runner *runner, struct error *err)
{
	struct undo_entry *entry = &runner->request.setup.entry;

	runner->failure = RUNNER_FAILURE_NONE;
	if (!runner->planned)
		return error_set(err, EINVAL, "%s cannot be injected before it was planned", entry->fault_id);
	if (runner->recorded)
		return error_set(err, EALREADY, "%s is injected already", entry->fault_id);
	if (!runner->undo_log)
		return error_set(err, EINVAL, "%s cannot be injected without an undo log", entry->fault_id);
	entry->undo = runner->undo;
	if (undo_planned(runner->undo_log, entry, err) < 0)
		return error_context(err, "%s was not injected, its undo record could not be written", entry->fault_id);
	runner->recorded = true;
	runner->reverted = runner->expired = false;
	return ask(runner, HOOK_INJECT, &runner->undo, false, err);
}

int runner_verify(struct runner *runner, struct tritone_proof *ret_proof, struct error *err)
{
	if (ask(runner, HOOK_VERIFY, &runner->undo, false, err) < 0)
		return -1;
	*ret_proof = runner->reply.proof;
	return 0;
}

/* ---- undoing ---- */

static int close_record(struct runner *runner, struct error *err)
{
	if (!runner->recorded)
		return 0;
	if (undo_reverted(runner->undo_log, runner->request.setup.entry.fault_id, err) < 0)
		return error_context(
		    err, "%s was reverted, but its record could not be closed", runner->request.setup.entry.fault_id);
	runner->recorded = false;
	return 0;
}

int runner_expired(struct runner *runner, struct error *err)
{
	int expired;

	if (runner->expired)
		return 1;
	if (runner->reverted)
		return 0;
	channel_drain(runner->channel);
	expired = channel_expired(runner->channel, err);
	if (expired < 0)
		return -1;
	if (expired > 0) {
		if (close_record(runner, err) < 0)
			return -1;
		runner->expired = true;
		return 1;
	}
	if (channel_alive(runner->channel))
		return 0;
	runner->failure = channel_failure(runner->channel);
	return channel_ended(runner->channel, err);
}

/* In a process of its own, from the record alone. */
static int revert_afresh(const struct channel_options *options, struct runner_request *request,
    const struct tritone_undo *undo, struct runner_reply *reply, enum runner_failure *ret_failure, struct error *err)
{
	struct channel *channel = NULL;
	int r;

	if (start(&channel, options, request, undo, reply, err) < 0)
		return -1;
	plugin_info_free(reply->info);
	request->hook = HOOK_REVERT;
	r = channel_ask(channel, request, true, reply, err);
	*ret_failure = r < 0 ? channel_failure(channel) : RUNNER_FAILURE_NONE;
	channel_close(channel);
	return r;
}

int runner_revert(struct runner *runner, struct error *err)
{
	if (!runner->recorded)
		return 0;
	channel_drain(runner->channel);
	if (channel_expired(runner->channel, NULL) > 0) {
		if (close_record(runner, err) < 0)
			return -1;
		runner->expired = true;
		return 0;
	}
	if (channel_alive(runner->channel) && ask(runner, HOOK_REVERT, &runner->undo, true, err) == 0)
		goto reverted;
	if (channel_alive(runner->channel) && runner->failure == RUNNER_FAILURE_REFUSED)
		return error_context(err, "%s", runner->request.setup.entry.fault_id);
	channel_kill(runner->channel);
	if (revert_afresh(&runner->options, &runner->request, &runner->undo, &runner->reply, &runner->failure, err) < 0)
		return error_context(err, "%s", runner->request.setup.entry.fault_id);
reverted:
	runner->failure = RUNNER_FAILURE_NONE;
	if (close_record(runner, err) < 0)
		return -1;
	runner->reverted = true;
	return 0;
}

bool runner_recorded(const struct runner *runner)
{
	return runner->recorded;
}

int runner_recover(const char *run_dir, struct undo_log *log, const struct undo_entry *entry, struct error *err)
{
	const int64_t timeout_ms = entry->hook_timeout_ms > 0 ? entry->hook_timeout_ms : RUNNER_TIMEOUT_MS;
	struct channel_options options = {.hook_timeout_ms = timeout_ms, .interrupt_fd = -1};
	struct runner_request *request = calloc(1, sizeof *request);
	struct runner_reply *reply = calloc(1, sizeof *reply);
	enum runner_failure failure;
	char real[PATH_MAX], log_path[PATH_MAX];
	int r = -1;

	if (!request || !reply) {
		error_set(err, ENOMEM, "no memory for a fault");
		goto out;
	}
	if (!realpath(run_dir, real)) {
		error_set(err, errno, "%s: %s", run_dir, strerror(errno));
		goto out;
	}
	request->setup.entry = *entry;
	request->setup.hook_timeout_ms = timeout_ms;
	options.log_path = log_path;
	if (copy(request->setup.run_dir, sizeof request->setup.run_dir, real, "the run directory", err) < 0 ||
	    make_dirs(real, entry, log_path, sizeof log_path, err) < 0)
		goto out;
	if (revert_afresh(&options, request, &entry->undo, reply, &failure, err) == 0)
		r = undo_reverted(log, entry->fault_id, err);
out:
	free(reply);
	free(request);
	return r < 0 ? error_context(err, "%s", entry->fault_id) : 0;
}
