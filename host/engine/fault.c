/* SPDX-License-Identifier: Apache-2.0 */
/* One fault of an experiment: from the plugin that is loaded, through inject and its proof, to revert. Its moment is moment.c's. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/run.h"

#define PROOF_DEFAULT_MS 5000
#define VERIFY_GAP_US    2000
#define VERIFY_GAP_MAX   20000
#define ASK_GAP_US       2000

/* ---- loading and starting ---- */

static void take_evidence(void *arg, const char *name, const char *value)
{
	struct run_fault *fault = arg;
	struct result_fault *r = fault->result;

	history_append(fault->run->history,
	    &(struct op){
		.kind = OP_EVIDENCE, .type = OP_OK, .pair = OP_NONE, .actor = r->id, .key = name, .detail = value});
	if (r->evidence_count == RESULT_EVIDENCE_MAX)
		return;
	snprintf(r->evidence[r->evidence_count].name, sizeof r->evidence[0].name, "%s", name);
	snprintf(r->evidence[r->evidence_count].value, sizeof r->evidence[0].value, "%s", value);
	r->evidence_count++;
}

/* `argument`: where it stands; NULL: not in the fault. */
static int set_param(struct run_fault *fault, const char *name, const char *value, const struct spec_pair *argument)
{
	size_t i, length = strlen(name);
	char *text;

	for (i = 0; i < fault->param_count; i++)
		if (!strncmp(fault->params[i], name, length) && fault->params[i][length] == '=')
			break;
	if (i == RUN_PARAMS_MAX)
		return run_fail(fault->run, VERDICT_ERROR, "fault %s has more than %d arguments", fault->spec->name,
		    RUN_PARAMS_MAX);
	if (asprintf(&text, "%s=%s", name, value) < 0)
		return run_fail(fault->run, VERDICT_ERROR, "no memory");
	if (i < fault->param_count)
		free(fault->params[i]);
	else
		fault->param_count++;
	fault->params[i] = text;
	fault->arguments[i] = argument;
	return 0;
}

static int bad_file(const struct run_fault *fault, const struct error *err)
{
	const struct spec_fault *spec = fault->spec;

	return run_fail(
	    fault->run, VERDICT_ERROR, "%s:%u:%u: %s", fault->run->x->file, spec->line, spec->column, err->text);
}

/* At the argument of that number, where it has a place of its own. */
static int bad_argument(const struct run_fault *fault, size_t number, const struct error *err)
{
	const struct spec_pair *at = number < fault->param_count ? fault->arguments[number] : NULL;

	if (!at)
		return bad_file(fault, err);
	return run_fail(
	    fault->run, VERDICT_ERROR, "%s:%u:%u: %s", fault->run->x->file, at->line, at->column, err->text);
}

/* What the file alone makes wrong is refused before anything is made; values that it does not determine are for fault_start. */
static int check_early(struct run_fault *fault)
{
	char *expanded[RUN_PARAMS_MAX] = {NULL};
	bool later[RUN_PARAMS_MAX] = {false};
	struct error err;
	size_t i, wrong = 0;
	int r = 0;

	for (i = 0; r == 0 && i < fault->param_count; i++) {
		struct run_early early = {fault->run, false};

		wrong = i;
		r = spec_expand(&expanded[i], fault->params[i], run_lookup_early, &early, &err);
		later[i] = early.later;
	}
	if (r == 0)
		r = plugin_params_check(
		    fault->info, (const char *const *)expanded, later, fault->param_count, &wrong, &err);
	for (i = 0; i < fault->param_count; i++)
		free(expanded[i]);
	return r ? bad_argument(fault, wrong, &err) : 0;
}

/* As by hand: what is about agents has a parameter that names one. */
static bool needs_agents(const struct plugin_info *info)
{
	uint32_t i;

	for (i = 0; i < info->param_count; i++)
		if (!strcmp(info->params[i].name, "agent"))
			return true;
	return false;
}

int fault_load(struct run *run, struct run_fault *fault, const struct spec_fault *spec)
{
	const struct engine_case *c = run->c;
	char path[PATH_MAX];
	struct error err;
	size_t i;

	fault->run = run;
	fault->spec = spec;
	fault->end_us = UINT64_MAX;
	fault->invoke = OP_NONE;
	fault->result = &run->result->faults[run->result->fault_count++];
	snprintf(fault->result->id, sizeof fault->result->id, "%s", spec->name);
	snprintf(fault->result->name, sizeof fault->result->name, "%s", spec->name);
	snprintf(fault->result->plugin, sizeof fault->result->plugin, "%s", spec->plugin);
	fault->result->reverted = true; /* nothing is in force yet */
	for (i = 0; i < spec->arguments.count; i++)
		if (set_param(fault, spec->arguments.items[i].name, spec->arguments.items[i].value,
			&spec->arguments.items[i]))
			return -1;
	if (c->sweep_argument && (!c->sweep_fault || !strcmp(c->sweep_fault, spec->base)) &&
	    set_param(fault, c->sweep_argument, c->sweep_value, NULL))
		return -1;
	if (plugin_locate(spec->plugin, path, sizeof path, &err) || plugin_info_load(&fault->info, path, &err))
		return bad_file(fault, &err);
	if (check_early(fault))
		return -1;
	if (needs_agents(fault->info) && !spec_has_agents(run->manifest))
		return run_fail(run, VERDICT_UNAVAILABLE,
		    "%s:%u:%u: fault %s is about an agent, and %s does not say where those are: it has no 'agents' "
		    "with "
		    "'pid-files' or 'pattern'",
		    run->x->file, spec->line, spec->column, spec->name, run->manifest->file);
	if (fault->info->blast == TRITONE_BLAST_PATHOLOGICAL && !run->options->allow_pathological)
		return run_fail(run, VERDICT_ERROR, "%s:%u:%u: fault %s is pathological and needs --pathological",
		    run->x->file, spec->line, spec->column, spec->name);
	if (fault->info->capabilities & TRITONE_CAP_ERRNO || moment_needs_filter(run->manifest, &spec->when))
		run->syscall_filter = true;
	return 0;
}

int fault_start(struct run_fault *fault)
{
	struct run *run = fault->run;
	struct runner_options options = {
	    .plugin = fault->info->path,
	    .fault_id = fault->result->id,
	    .params = (const char *const *)fault->params,
	    .run_dir = run->dir,
	    .state_dir = run->state_dir,
	    .socket = run->socket,
	    .undo = run->undo,
	    .seed = run->options->seed,
	    .duration_ms = fault->spec->duration_ms,
	    .hook_timeout_ms = fault->spec->hook_timeout_ms,
	    .allow_pathological = run->options->allow_pathological,
	    .evidence = take_evidence,
	    .arg = fault,
	    .interrupt_fd = interrupt_fd(run->options->interrupt),
	};
	struct error err;
	size_t i, wrong;

	for (i = 0; i < fault->param_count; i++) {
		char *expanded;

		if (spec_expand(&expanded, fault->params[i], run_lookup, run, &err))
			return bad_argument(fault, i, &err);
		free(fault->params[i]);
		fault->params[i] = expanded;
	}
	if (plugin_params_check(
		fault->info, (const char *const *)fault->params, NULL, fault->param_count, &wrong, &err))
		return bad_argument(fault, wrong, &err);
	options.param_count = fault->param_count;
	if (moment_watch(fault, &err))
		return run_fail(run, VERDICT_ERROR, "fault %s: %s", fault->spec->name, err.text);
	if (runner_start(&fault->runner, &options, &err))
		return run_fail(run, VERDICT_ERROR, "fault %s: %s", fault->spec->name, err.text);
	if (runner_check(fault->runner, &err)) {
		enum verdict v = runner_failure(fault->runner) == RUNNER_FAILURE_REFUSED ? VERDICT_UNAVAILABLE
											 : VERDICT_NOT_INJECTED;

		return run_fail(run, v, "fault %s cannot work here: %s", fault->spec->name, err.text);
	}
	return 0;
}

void fault_finish(struct run_fault *fault)
{
	size_t i;

	moment_release(fault);
	runner_destroy(fault->runner);
	plugin_info_free(fault->info);
	for (i = 0; i < fault->param_count; i++)
		free(fault->params[i]);
	memset(fault, 0, sizeof *fault);
}

/* ---- inject, verify, revert ---- */

static void say(struct run_fault *fault, enum op_type type, const char *text)
{
	snprintf(fault->result->proof, sizeof fault->result->proof, "%s", text);
	history_complete(fault->run->history, fault->invoke,
	    &(struct op){.kind = OP_FAULT,
		.type = type,
		.actor = fault->result->id,
		.key = fault->result->plugin,
		.detail = text});
}

static void note(const struct run_fault *fault, const char *what)
{
	const struct engine_options *options = fault->run->options;

	progress_note(options->progress, options->lane, "%s %s", fault->spec->name, what);
}

static void revert(struct run_fault *fault)
{
	struct run *run = fault->run;
	struct error err;
	uint64_t invoke;
	bool ok;

	invoke = history_append(run->history,
	    &(struct op){.kind = OP_REVERT, .type = OP_INVOKE, .pair = OP_NONE, .actor = fault->result->id});
	ok = runner_revert(fault->runner, &err) == 0;
	fault->result->reverted = ok;
	run->result->left_behind += !ok;
	history_complete(run->history, invoke,
	    &(struct op){.kind = OP_REVERT,
		.type = ok ? OP_OK : OP_FAIL,
		.actor = fault->result->id,
		.detail = ok ? "" : err.text});
	fault->state = FAULT_OVER;
	moment_release(fault);
	note(fault, ok ? "undone" : "NOT undone");
	if (!ok)
		run_fail(run, VERDICT_UNDO_INCOMPLETE, "fault %s could not be undone: %s", fault->spec->name, err.text);
}

static void inject(struct run_fault *fault, uint64_t now_us)
{
	struct run *run = fault->run;
	int64_t proof_ms = fault->spec->proof_ms ? fault->spec->proof_ms : fault->info->proof_ms;
	bool down = system_restarting(run->system), planned;
	struct error err;

	system_event_task(run->system, fault->event_task);
	planned = runner_plan(fault->runner, NULL, &err) == 0;
	if (!planned && err.code == ESRCH && (down || system_restarting(run->system))) {
		/* There is nobody to be hit, because of a fault before this one: its moment is when somebody is back. */
		snprintf(fault->result->proof, sizeof fault->result->proof, "%s", err.text);
		fault->due_us = now_us + ASK_GAP_US;
		return;
	}
	fault->invoke = history_append(run->history, &(struct op){.kind = OP_FAULT,
							 .type = OP_INVOKE,
							 .pair = OP_NONE,
							 .actor = fault->result->id,
							 .key = fault->result->plugin,
							 .task = fault->event_task,
							 .number = (double)fault->spec->duration_ms / 1e3});
	fault->state = FAULT_ACTIVE;
	if (!planned || runner_inject(fault->runner, &err)) {
		say(fault, OP_FAIL, err.text);
		if (err.code == ENOTSUP)
			run_fail(run, VERDICT_UNAVAILABLE, "fault %s: %s", fault->spec->name, err.text);
		revert(fault);
		return;
	}
	now_us = history_now_us(run->history); /* the hooks have taken their time */
	note(fault, "injected");
	fault->result->injected = true;
	fault->result->reverted = false;
	fault->verify_gap_us = VERIFY_GAP_US;
	fault->next_verify_us = now_us;
	fault->proof_until_us = now_us + run_us(proof_ms ? proof_ms : PROOF_DEFAULT_MS);
	if (fault->spec->duration_ms)
		fault->end_us = now_us + run_us(fault->spec->duration_ms);
	moment_release(fault);
}

/* Looks once. True when the question is settled, one way or the other. */
static bool verify(struct run_fault *fault, uint64_t now_us)
{
	struct tritone_proof proof = {.struct_size = sizeof proof};
	struct error err;

	if (runner_verify(fault->runner, &proof, &err)) {
		say(fault, OP_FAIL, err.text);
		return true;
	}
	fault->unexercised = proof.felt == TRITONE_UNEXERCISED;
	switch (proof.felt) {
	case TRITONE_FELT:
		fault->result->felt = true;
		note(fault, "felt");
		say(fault, OP_OK, proof.text);
		return true;
	case TRITONE_NEVER:
		say(fault, OP_FAIL, proof.text);
		return true;
	case TRITONE_UNEXERCISED:
	case TRITONE_NOT_YET:
		snprintf(fault->result->proof, sizeof fault->result->proof, "%s", proof.text);
		break;
	default:
		snprintf(proof.text, sizeof proof.text, "verify answered %u, which means nothing", proof.felt);
		say(fault, OP_FAIL, proof.text);
		return true;
	}
	if (now_us < fault->proof_until_us || (fault->unexercised && fault->end_us != UINT64_MAX)) {
		fault->next_verify_us = now_us + fault->verify_gap_us;
		fault->verify_gap_us =
		    fault->verify_gap_us * 2 > VERIFY_GAP_MAX ? VERIFY_GAP_MAX : fault->verify_gap_us * 2;
		return false;
	}
	if (fault->unexercised) {
		say(fault, OP_INFO, proof.text);
	} else {
		char text[sizeof proof.text];

		snprintf(text, sizeof text, "not felt in time: %.200s", proof.text[0] ? proof.text : "no evidence");
		say(fault, OP_FAIL, text);
	}
	return true;
}

/* What is broken after the work is done has nothing to recover: its moment has not come in time. */
static bool too_late(const struct run_fault *fault)
{
	const struct run *run = fault->run;

	return run->workload && run->x->workload.tasks && run_all_done(run);
}

uint64_t fault_advance(struct run_fault *fault, uint64_t now_us)
{
	if (fault->state == FAULT_WAITING && fault->spec->when.event == SPEC_EVENT_NONE) {
		fault->state = FAULT_DUE;
		fault->due_us = fault->run->began_us + moment_delay_us(fault, &fault->spec->when);
	}
	if (fault->state == FAULT_WAITING && moment_asks(fault)) {
		if (fault->spec->again && fault[-1].state == FAULT_WAITING)
			return UINT64_MAX; /* it comes behind that one, which is looked for */
		moment_ask(fault, now_us);
		/* What was seen of it is taken in first: its task. */
		return fault->state == FAULT_WAITING ? now_us + ASK_GAP_US : now_us;
	}
	if (fault->state == FAULT_DUE) {
		if (too_late(fault)) {
			snprintf(fault->result->proof, sizeof fault->result->proof,
			    "the workload was over before the moment to inject it came");
			fault_end(fault);
			return UINT64_MAX;
		}
		if (now_us < fault->due_us)
			return fault->due_us;
		inject(fault, now_us);
		if (fault->state == FAULT_DUE)
			return fault->due_us;
		now_us = history_now_us(fault->run->history);
	}
	if (fault->state != FAULT_ACTIVE)
		return UINT64_MAX;
	if (now_us >= fault->next_verify_us && verify(fault, now_us)) {
		fault->next_verify_us = UINT64_MAX;
		if (!fault->result->felt || (fault->info->capabilities & TRITONE_CAP_INSTANT))
			fault->end_us = now_us;
	}
	if (now_us >= fault->end_us) {
		fault_end(fault);
		return UINT64_MAX;
	}
	return fault->next_verify_us < fault->end_us ? fault->next_verify_us : fault->end_us;
}

void fault_end(struct run_fault *fault)
{
	if (fault->state == FAULT_ACTIVE) {
		if (fault->next_verify_us != UINT64_MAX) {
			fault->proof_until_us = 0; /* the last look: it settles the question */
			fault->end_us = UINT64_MAX;
			verify(fault, 1);
		}
		revert(fault);
	}
	moment_release(fault);
	fault->state = FAULT_OVER;
}
