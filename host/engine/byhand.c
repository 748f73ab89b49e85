/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One fault by hand at a system that already runs: chosen, shown, injected, proven, and taken back after its time or at a signal. Its undo
 * record lies in a run directory of its own, so that `tritone recover` finds it whatever happens here.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "clock.h"
#include "engine/run.h"
#include "engine/bystander.h"

#define SHOTS_MAX     64
#define PROOF_MS      5000
#define VERIFY_GAP_MS 10
#define HALT_GAP_MS   200

struct shooting {
	struct run run;
	const struct engine_shot *shot;
	struct plugin_info *info;
	struct bystander *bystander;   /* serves the targets when the system has no control socket */
	struct service_client *client; /* of the system's, or its gateway's, own control socket; NULL: it has none */
	char state_dir[PATH_MAX], upstream[PATH_MAX]; /* the latter: what `client` is connected to */
	char agents[SHOTS_MAX][128]; /* who is hit, by id; one entry "" for a fault that is not about agents */
	size_t agent_count;
	struct runner *runners[SHOTS_MAX];
	int64_t injected_ms; /* the latest of them; the time that a fault lasts is counted from there */
	size_t matched;
};

/* ---- where the system is ---- */

static bool is_socket(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

static int find_system(struct shooting *s, struct error *err)
{
	static const char *const places[] = {"", "/.."};
	const struct engine_shot *shot = s->shot;
	size_t i;

	if (shot->socket &&
	    snprintf(s->run.socket, sizeof s->run.socket, "%s", shot->socket) >= (int)sizeof s->run.socket)
		return error_set(err, ENAMETOOLONG, "the path of the control socket is too long");
	for (i = 0; !s->run.socket[0] && shot->state && i < 2; i++) {
		char path[PATH_MAX];

		snprintf(path, sizeof path, "%.4000s%s/control.sock", shot->state, places[i]);
		if (is_socket(path))
			snprintf(s->run.socket, sizeof s->run.socket, "%s", path);
	}
	if (s->run.socket[0] && service_connect(&s->client, s->run.socket, err))
		return -1;
	memcpy(s->upstream, s->run.socket, sizeof s->upstream);
	if (s->client && !shot->pid_count) {
		snprintf(s->state_dir, sizeof s->state_dir, "%s", service_state_dir(s->client));
		if (s->state_dir[0])
			return 0;
	}
	if (!shot->state && !shot->pid_count && !s->run.socket[0])
		return error_set(err, EINVAL, "which system? give --state DIR, --pid N or --control SOCKET");
	if (shot->state && !realpath(shot->state, s->state_dir))
		return error_set(err, errno, "%s: %s", shot->state, strerror(errno));
	if (!shot->state)
		snprintf(s->state_dir, sizeof s->state_dir, "%s", s->run.dir);
	return 1; /* there is nobody to ask: the targets come from pids and pid files */
}

/* ---- whom it hits ---- */

struct choice {
	struct shooting *s;
	const char *wanted;
};

static int consider(void *arg, const struct tritone_target *t)
{
	struct choice *c = arg;
	struct shooting *s = c->s;

	if (c->wanted[0] && strcmp(c->wanted, t->id) != 0 && strcmp(c->wanted, t->task) != 0)
		return 0;
	s->matched++;
	if (s->agent_count < SHOTS_MAX)
		snprintf(s->agents[s->agent_count++], sizeof s->agents[0], "%s", t->id);
	return 0;
}

static const char *param(const struct engine_shot *shot, const char *name)
{
	size_t i, n = strlen(name);

	for (i = 0; i < shot->param_count; i++)
		if (!strncmp(shot->params[i], name, n) && shot->params[i][n] == '=')
			return shot->params[i] + n + 1;
	return "";
}

/* What the fault cannot do without, as far as the system says it at once. */
static int has_capabilities(const struct shooting *s, const struct service_client *client, struct error *err)
{
	static const uint32_t needed[] = {TRITONE_CAP_GATEWAY, TRITONE_CAP_ERRNO};
	size_t i;

	for (i = 0; i < sizeof needed / sizeof *needed; i++) {
		const char *why = s->info->capabilities & needed[i] ? service_missing(client, needed[i]) : NULL;

		if (why)
			return error_set(err, ENOTSUP, "%s", why);
	}
	return 0;
}

/* Every agent that matches, or one entry "" for a fault that is not about agents: the plugin knows at what. */
static int inventory(struct shooting *s, const char *wanted, struct error *err)
{
	struct choice c = {s, wanted};
	struct service_client *client;
	size_t i;
	int r;

	if (service_connect(&client, s->run.socket, err))
		return -1;
	for (i = 0; i < s->info->param_count && strcmp(s->info->params[i].name, "agent") != 0; i++)
		;
	r = has_capabilities(s, client, err);
	if (r == 0 && i < s->info->param_count)
		r = service_targets(client, TRITONE_TARGET_AGENT, consider, &c, err);
	else if (r == 0)
		s->agent_count = s->matched = 1;
	service_close(client);
	return r;
}

static int choose(struct shooting *s, struct error *err)
{
	const struct engine_shot *shot = s->shot;
	const char *wanted = param(shot, "agent");
	size_t keep = shot->max ? shot->max : 1, i;

	if (inventory(s, wanted, err))
		return -1;
	if (!s->matched && bystander_refused(s->bystander)[0])
		return error_set(err, ESRCH, "no agent matches%s%.30s; %s", wanted[0] ? ": " : "", wanted,
		    bystander_refused(s->bystander));
	if (!s->matched)
		return error_set(err, ESRCH, "no agent matches%s%s", wanted[0] ? ": " : "", wanted);
	if (s->matched > keep && !shot->max) {
		fprintf(shot->out, "%zu agents match:\n", s->matched);
		for (i = 0; i < s->agent_count; i++)
			fprintf(shot->out, "  %s\n", s->agents[i]);
		return error_set(
		    err, E2BIG, "%zu agents match; name one (agent=ID), or allow more than one with --max", s->matched);
	}
	/* The seed chooses which of them: the first `keep` after a rotation. */
	for (i = 0; i < keep && i < s->agent_count; i++) {
		size_t k = i + (size_t)((s->run.options->seed + i) % (s->agent_count - i));
		char held[128];

		memcpy(held, s->agents[i], sizeof held);
		memcpy(s->agents[i], s->agents[k], sizeof held);
		memcpy(s->agents[k], held, sizeof held);
	}
	if (s->agent_count > keep)
		s->agent_count = keep;
	return 0;
}

/* ---- the shots ---- */

static void show(void *arg, const char *name, const char *value)
{
	struct shooting *s = arg;

	fprintf(s->shot->out, "  %-12s %s\n", name, value);
}

static int start(struct shooting *s, size_t i, struct error *err)
{
	const struct engine_shot *shot = s->shot;
	const char *params[64];
	char agent[160], id[96];
	struct runner_options options = {
	    .plugin = s->info->path,
	    .fault_id = id,
	    .params = params,
	    .run_dir = s->run.dir,
	    .state_dir = s->state_dir,
	    .socket = s->run.socket,
	    .undo = s->run.undo,
	    .seed = s->run.options->seed,
	    .duration_ms = shot->duration_ms,
	    .allow_pathological = s->run.options->allow_pathological,
	    .evidence = show,
	    .arg = s,
	    .interrupt_fd = interrupt_fd(s->run.options->interrupt),
	};
	size_t k;

	/* Not in this run alone: the keys of its rules begin with it, and others may have theirs at the same gateway. */
	snprintf(id, sizeof id, "%.48s-%zu-%08x", s->info->name, i + 1,
	    (unsigned)XXH3_64bits(s->run.dir, strlen(s->run.dir)));
	for (k = 0; k < shot->param_count; k++)
		if (!s->agents[i][0] || strncmp(shot->params[k], "agent=", 6) != 0)
			params[options.param_count++] = shot->params[k];
	if (s->agents[i][0]) {
		snprintf(agent, sizeof agent, "agent=%s", s->agents[i]);
		params[options.param_count++] = agent;
	}
	if (runner_start(&s->runners[i], &options, err) || runner_check(s->runners[i], err))
		return -1;
	return 0;
}

static int dry_run(struct shooting *s, size_t i, struct error *err)
{
	struct tritone_undo undo;
	uint32_t k, printable = 0;

	if (runner_plan(s->runners[i], &undo, err))
		return -1;
	for (k = 0; k < undo.size; k++)
		printable += undo.bytes[k] != 0;
	if (s->info->capabilities & TRITONE_CAP_GATEWAY)
		show(s, "gateway", s->upstream);
	fprintf(s->shot->out, "  %-12s %u bytes (%u not zero) in %s/undo, before anything is touched\n", "undo record",
	    undo.size, printable, s->run.dir);
	return 0;
}

/* ---- what ends it before its time ---- */

struct search {
	const struct shooting *s;
	size_t found;
};

static int is_hit(void *arg, const struct tritone_target *t)
{
	struct search *search = arg;
	size_t i;

	for (i = 0; i < search->s->agent_count; i++)
		search->found += !strcmp(search->s->agents[i], t->id) || !search->s->agents[i][0];
	return search->found > 0;
}

/* Whom a system of its own replaces is its recovery; where there are only processes, those that were hit are the system. */
static bool agents_gone(struct shooting *s)
{
	struct search search = {s, 0};
	struct service_client *client;
	struct error err;
	int r;

	if (!s->bystander || (!s->agents[0][0] && !s->shot->pid_count) || (s->info->capabilities & TRITONE_CAP_INSTANT))
		return false;
	if (service_connect(&client, s->run.socket, &err))
		return false;
	r = service_targets(client, TRITONE_TARGET_AGENT, is_hit, &search, &err);
	service_close(client);
	return r == 0 && !search.found;
}

/* A halt file, or the end of what is hit: -1 with the reason. A signal is seen where it is waited for. */
static int look_around(struct shooting *s, struct error *err)
{
	char why[256];

	if (rundir_halted(&s->run, why, sizeof why))
		return error_set(err, ECANCELED, "%s", why);
	if (s->client && service_ended(s->client))
		return error_set(
		    err, EPIPE, "the system has ended meanwhile: nobody is at its control socket any more");
	if (agents_gone(s))
		return error_set(err, ESRCH, "the system has ended meanwhile: %s%s",
		    s->agents[0][0] ? "no process is left of " : "none of its processes is left",
		    s->agents[0][0] ? s->agents[0] : "");
	return 0;
}

static enum verdict fire(struct shooting *s, size_t i, struct error *err)
{
	struct tritone_proof proof = {.struct_size = sizeof proof};
	int64_t limit = s->shot->proof_ms ? s->shot->proof_ms : s->info->proof_ms ? s->info->proof_ms : PROOF_MS;
	int64_t until = clock_ms() + limit, look = clock_ms() + HALT_GAP_MS;
	struct pollfd p = {.fd = interrupt_fd(s->run.options->interrupt), .events = POLLIN};

	if (runner_plan(s->runners[i], NULL, err) || runner_inject(s->runners[i], err))
		return err->code == ENOTSUP ? VERDICT_UNAVAILABLE : VERDICT_NOT_INJECTED;
	s->injected_ms = clock_ms();
	do {
		if (runner_verify(s->runners[i], &proof, err))
			return look_around(s, err) ? VERDICT_ABORTED : VERDICT_NOT_INJECTED;
		if (proof.felt == TRITONE_FELT) {
			fprintf(s->shot->out, "felt          %s\n", proof.text);
			return VERDICT_HELD;
		}
		if (proof.felt == TRITONE_NEVER || interrupt_signal(s->run.options->interrupt))
			break;
		if (clock_ms() >= look && look_around(s, err))
			return VERDICT_ABORTED;
		look = clock_ms() >= look ? clock_ms() + HALT_GAP_MS : look;
		poll(&p, 1, VERIFY_GAP_MS);
	} while (clock_ms() < until);
	if (proof.felt == TRITONE_UNEXERCISED && !(s->info->capabilities & TRITONE_CAP_INSTANT))
		fprintf(s->shot->out, "waiting       %s\n", proof.text);
	error_set(err, ETIMEDOUT, "not felt: %.200s", proof.text);
	return proof.felt == TRITONE_UNEXERCISED ? VERDICT_VACUOUS : VERDICT_NOT_INJECTED;
}

/* Whether somebody has come across it by now. Asked while it lasts: what has ended by itself is not known to have been felt. */
static bool felt_late(struct shooting *s)
{
	struct tritone_proof proof = {.struct_size = sizeof proof};
	struct error why;
	size_t i;

	for (i = 0; i < s->agent_count; i++)
		if (s->runners[i] && runner_verify(s->runners[i], &proof, &why) == 0 && proof.felt == TRITONE_FELT) {
			fprintf(s->shot->out, "felt          %s\n", proof.text);
			return true;
		}
	return false;
}

/* Until the time is over or a signal comes: 0; -1 when something else has ended it. */
static int last(struct shooting *s, enum verdict *verdict, struct error *err)
{
	int64_t until = s->injected_ms + s->shot->duration_ms, look = 0, now;
	struct pollfd p = {.fd = interrupt_fd(s->run.options->interrupt), .events = POLLIN};

	while (!interrupt_signal(s->run.options->interrupt) && (now = clock_ms()) < until) {
		int64_t gap = *verdict == VERDICT_VACUOUS ? VERIFY_GAP_MS : HALT_GAP_MS;

		if (now >= look && look_around(s, err))
			return -1;
		look = now >= look ? now + HALT_GAP_MS : look;
		if (*verdict == VERDICT_VACUOUS && felt_late(s))
			*verdict = VERDICT_HELD;
		poll(&p, 1, (int)(until - now < gap ? until - now : gap));
	}
	if (*verdict == VERDICT_VACUOUS && felt_late(s)) /* a signal has ended it */
		*verdict = VERDICT_HELD;
	return 0;
}

static enum verdict shoot_all(struct shooting *s, struct error *err)
{
	enum verdict verdict = VERDICT_HELD;
	bool lasting = !(s->info->capabilities & TRITONE_CAP_INSTANT);
	struct error why;
	size_t i;

	for (i = 0; i < s->agent_count && verdict == VERDICT_HELD; i++) {
		fprintf(s->shot->out, "%s %s%s%s\n", s->run.options->dry_run ? "would inject" : "injecting",
		    s->info->name, s->agents[i][0] ? " at " : "", s->agents[i]);
		if (start(s, i, err)) /* those before it are in force: the way out is the same */
			verdict = err->code == ENOTSUP ? VERDICT_UNAVAILABLE : VERDICT_ERROR;
		else if (s->run.options->dry_run)
			verdict = dry_run(s, i, err) ? VERDICT_NOT_INJECTED : VERDICT_HELD;
		else
			verdict = fire(s, i, err);
	}
	if (s->run.options->dry_run)
		return verdict;
	/* What nobody has come across yet may still be: it lasts its time, too. */
	if (lasting && (verdict == VERDICT_HELD || verdict == VERDICT_VACUOUS) && last(s, &verdict, err) < 0)
		verdict = VERDICT_ABORTED;
	for (i = 0; i < s->agent_count; i++) {
		bool recorded = s->runners[i] && runner_recorded(s->runners[i]);

		if (!s->runners[i])
			continue;
		if (runner_revert(s->runners[i], &why)) {
			*err = why;
			verdict = VERDICT_UNDO_INCOMPLETE;
		} else if (recorded) {
			fprintf(s->shot->out, "undone        %s%s%s\n", s->info->name, s->agents[i][0] ? " at " : "",
			    s->agents[i]);
		}
	}
	return verdict;
}

static enum verdict prepare(struct shooting *s, struct error *err)
{
	const struct engine_shot *shot = s->shot;
	char path[PATH_MAX], why[256];
	int r;

	if (plugin_locate(shot->plugin, path, sizeof path, err) || plugin_info_load(&s->info, path, err) ||
	    plugin_params_check(s->info, shot->params, NULL, shot->param_count, NULL, err))
		return VERDICT_ERROR;
	if (s->info->blast == TRITONE_BLAST_PATHOLOGICAL && !s->run.options->allow_pathological) {
		error_set(err, EPERM, "%s is pathological and needs --pathological", s->info->name);
		return VERDICT_ERROR;
	}
	if (rundir_halted(&s->run, why, sizeof why)) {
		error_set(err, ECANCELED, "%s", why);
		return VERDICT_ABORTED;
	}
	if (rundir_create(&s->run, err) || undo_open(&s->run.undo, s->run.dir, err))
		return VERDICT_ERROR;
	s->run.socket[0] = '\0';
	r = find_system(s, err);
	if (r < 0)
		return VERDICT_ERROR;
	if (r > 0) {
		snprintf(s->run.socket, sizeof s->run.socket, "%.4000s/control.sock", s->run.dir);
		if (bystander_create(&s->bystander, s->run.socket, s->state_dir, shot->pid_files, shot->pids,
			shot->pid_count, s->upstream[0] ? s->upstream : NULL, err))
			return VERDICT_ERROR;
	}
	if (choose(s, err) == 0)
		return VERDICT_HELD;
	if (err->code == ENOTSUP)
		return VERDICT_UNAVAILABLE;
	return err->code == ESRCH ? VERDICT_NOT_INJECTED : VERDICT_ERROR;
}

enum verdict engine_shoot(const struct engine_options *options, const struct engine_shot *shot, struct error *err)
{
	struct result result = {.recovered_us = -1};
	struct engine_case c = {.experiment = ""};
	struct shooting *s = calloc(1, sizeof *s);
	enum verdict verdict;
	size_t i;

	if (!s) {
		error_set(err, ENOMEM, "no memory");
		return VERDICT_ERROR;
	}
	snprintf(c.name, sizeof c.name, "inject-%.60s", shot->plugin);
	s->shot = shot;
	s->run.options = options;
	s->run.c = &c;
	s->run.result = &result;
	verdict = prepare(s, err);
	if (verdict == VERDICT_HELD)
		verdict = shoot_all(s, err);
	for (i = 0; i < SHOTS_MAX; i++)
		runner_destroy(s->runners[i]);
	bystander_destroy(s->bystander);
	service_close(s->client);
	plugin_info_free(s->info);
	undo_close(s->run.undo);
	if (s->run.dir[0] && !options->keep && verdict != VERDICT_UNDO_INCOMPLETE)
		(void)rundir_remove(s->run.dir);
	free(s);
	return verdict;
}
