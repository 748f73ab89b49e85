/* SPDX-License-Identifier: Apache-2.0 */
/* The conductor's core's little world; see core_world.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core_world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixtures/conductor/policy/cascade.h"

#define STEPS_OF_A_TASK 4u

void world_options(struct core_options *options)
{
	static const char *const settings[] = {"lease-ms=600", "beat-ms=100", "kill-grace-ms=3000",
	    "throttle-base-ms=600", "throttle-max-ms=4000", "breaker-reset-ms=800", "backoff-base-ms=20",
	    "backoff-max-ms=200", "notify-backoff-ms=50", "notify-backoff-max-ms=400", "role-timeout-ms=10000",
	    "slo-window-ms=60000"};

	memset(options, 0, sizeof *options);
	policy_init(&options->policy);
	for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
		assert_int_equal(policy_set(&options->policy, settings[i], NULL), 0);
	options->seed = 1;
	options->tasks_max = 256;
	options->prompt_bytes = 1 << 20;
}

static void world_effects(struct world *world);

static void world_recover(struct world *world)
{
	struct error err;

	for (uint64_t lsn = 1; lsn <= world->durable; lsn++) {
		const struct world_record *r = &world->log[lsn - 1];

		if (core_replay(world->core, lsn, 1, r->kind, r->payload, r->size, &err) != 0)
			fail_msg("replay: %s", err.text);
	}
	if (world->doubts)
		core_doubt_time(world->core);
	memset(world->window_us, 0, sizeof world->window_us); /* one whose record was not durable is forgotten */
	world->epoch++;
	world->staged = world->durable;
	core_recovered(world->core, world->epoch, world->durable, world->now_us, world->effects);
	world_effects(world);
}

struct world *world_create(const struct core_options *options)
{
	struct world *world = calloc(1, sizeof *world);
	struct error err;

	assert_non_null(world);
	world->events = calloc(WORLD_EVENTS, sizeof *world->events);
	assert_non_null(world->events);
	world->options = *options;
	world->now_us = 1000 * WORLD_MS;
	world->timer_us = CORE_NEVER;
	world->sink_status = 200;
	world->call_ms = 20;
	world->tokens = 10;
	world->exit_status = -1;
	for (unsigned i = 0; i < POLICY_PROVIDERS; i++)
		world->provider_retry_after_ms[i] = -1;
	if (core_create(&world->core, options, &err) != 0 ||
	    core_effects_create(&world->effects, world->core, &err) != 0)
		fail_msg("%s", err.text);
	world_recover(world);
	return world;
}

void world_destroy(struct world *world)
{
	if (!world)
		return;
	for (size_t i = 0; i < WORLD_LIST; i++)
		free(world->log[i].payload);
	core_effects_destroy(world->effects);
	core_destroy(world->core);
	free(world->events);
	free(world);
}

void world_later(struct world *world, uint64_t after_us, int agent, struct core_event event)
{
	struct world_event *e;

	assert_true(world->event_count < WORLD_EVENTS);
	e = &world->events[world->event_count++];
	memset(e, 0, sizeof *e);
	e->at_us = world->now_us + after_us;
	e->order = world->order++;
	e->agent = agent;
	e->event = event;
	snprintf(e->task, sizeof e->task, "%s", event.task ? event.task : "");
	snprintf(e->digest, sizeof e->digest, "%s", event.digest ? event.digest : "");
	snprintf(e->base, sizeof e->base, "%s", event.base ? event.base : "");
	snprintf(e->text, sizeof e->text, "%s", event.text ? event.text : "");
}

static void agent_says(struct world *world, int index, uint64_t after_us, struct core_event event)
{
	const struct world_agent *agent = &world->agents[index];

	event.task = agent->task;
	event.attempt = agent->attempt;
	event.epoch = agent->epoch;
	world_later(world, after_us, index, event);
}

int world_agent(const struct world *world, const char *task, uint32_t attempt)
{
	for (size_t i = world->agent_count; i-- > 0;)
		if (strcmp(world->agents[i].task, task) == 0 && world->agents[i].attempt == attempt)
			return (int)i;
	return -1;
}

void world_die(struct world *world, int index, int32_t status)
{
	struct world_agent *agent = &world->agents[index];

	if (!agent->alive)
		return;
	agent->alive = false;
	world_later(world, 1, -1,
	    (struct core_event){.kind = CORE_GONE, .task = agent->task, .attempt = agent->attempt, .status = status});
}

/* ---- performing effects ---- */

static void do_append(struct world *world, const struct core_effect *e)
{
	struct world_record *r;

	if (world->write_fails) {
		if (!core_bug(world->core, BUG_ENOSPC_SWALLOWED) && core_writable(world->core))
			world_later(world, 0, -1, (struct core_event){.kind = CORE_WRITE_FAILED, .status = 28});
		return;
	}
	assert_int_equal(e->lsn, world->staged + 1);
	assert_true(world->staged < WORLD_LIST);
	r = &world->log[world->staged++];
	free(r->payload);
	r->payload = malloc(e->size);
	assert_non_null(r->payload);
	memcpy(r->payload, e->payload, e->size);
	r->size = e->size;
	r->kind = e->record;
	if (!world->syncing) {
		world->syncing = true;
		world_later(world, (world->sync_ms ? world->sync_ms : 1) * WORLD_MS, -1,
		    (struct core_event){.kind = CORE_DURABLE});
	}
}

static void do_spawn(struct world *world, const struct core_effect *e)
{
	struct world_agent *agent = &world->agents[world->agent_count];

	assert_true(world->agent_count < WORLD_LIST);
	world->agent_count++;
	world->spawns++;
	*agent = (struct world_agent){.attempt = e->attempt,
	    .epoch = e->epoch,
	    .step = e->step,
	    .pid = (int32_t)(1000 + world->agent_count),
	    .alive = true};
	snprintf(agent->task, sizeof agent->task, "%s", e->task);
	world_later(world, 2 * WORLD_MS, -1,
	    (struct core_event){.kind = CORE_SPAWNED,
		.task = e->task,
		.attempt = e->attempt,
		.pid = agent->pid,
		.start_time = 7,
		.base = e->base[0] ? e->base : "base"});
}

static void do_work(struct world *world, const struct core_effect *e)
{
	int index = world_agent(world, e->task, e->attempt);

	assert_true(index >= 0);
	world->agents[index].told = true;
	agent_says(world, index, 0, (struct core_event){.kind = CORE_BEAT});
	agent_says(world, index, WORLD_MS, (struct core_event){.kind = CORE_ROUTE_ASKED, .step = e->step + 1});
}

static void do_route(struct world *world, const struct core_effect *e)
{
	int index = world_agent(world, e->task, e->attempt);
	struct world_call *call = &world->calls[world->call_count];
	int p = cascade_provider_parse(e->provider);
	int32_t status;

	if (!e->go)
		return;
	assert_true(index >= 0 && p >= 0 && world->call_count < WORLD_LIST);
	status = world->provider_status[p] == 0 ? 200 : world->provider_status[p] < 0 ? 0 : world->provider_status[p];
	*call = (struct world_call){
	    .provider = p, .attempt = e->attempt, .step = e->step, .at_us = world->now_us, .status = status};
	snprintf(call->task, sizeof call->task, "%s", e->task);
	world->call_count++;
	world->inside += world->now_us < world->window_us[p];
	world->agents[index].step = e->step;
	agent_says(world, index, world->call_ms * WORLD_MS,
	    (struct core_event){.kind = CORE_CALLED,
		.step = e->step,
		.provider = e->provider,
		.status = status,
		.tokens = status == 200 ? world->tokens : 0,
		.retry_after_ms = status == 429 ? world->provider_retry_after_ms[p] : -1});
}

/* What an agent does once its call is answered. */
static void agent_goes_on(struct world *world, int index, const struct core_event *called)
{
	struct world_agent *agent = &world->agents[index];
	char tree[CORE_HASH_MAX];

	if (called->status != 200) {
		agent_says(world, index, 0, (struct core_event){.kind = CORE_ROUTE_ASKED, .step = called->step});
		return;
	}
	snprintf(tree, sizeof tree, "tree-%.20s-%u", agent->task, called->step);
	agent_says(world, index, 0,
	    (struct core_event){.kind = CORE_STEPPED,
		.step = called->step,
		.digest = tree,
		.base = "base",
		.action = world->action ? world->action : 100 + called->step});
	if (called->step >= STEPS_OF_A_TASK)
		agent_says(world, index, 1, (struct core_event){.kind = CORE_RESULT, .digest = tree, .base = "base"});
	else
		agent_says(world, index, 1, (struct core_event){.kind = CORE_ROUTE_ASKED, .step = called->step + 1});
}

static void do_land(struct world *world, const struct core_effect *e)
{
	struct core_event event = {.kind = CORE_LANDED, .task = e->task, .op = e->op};
	struct world_commit *commit = &world->commits[world->commit_count];

	if (e->epoch != world->epoch) {
		event.kind = CORE_FENCED;
	} else if (world->git == GIT_CONFLICTS) {
		event.kind = CORE_CONFLICT;
	} else if (world->git == GIT_FAILS) {
		event.kind = CORE_LAND_UNKNOWN;
	} else {
		assert_true(world->commit_count < WORLD_LIST);
		*commit = (struct world_commit){.attempt = e->attempt, .epoch = e->epoch, .at_us = world->now_us};
		snprintf(commit->task, sizeof commit->task, "%s", e->task);
		snprintf(commit->id, sizeof commit->id, "c%zu", world->commit_count++);
		event.digest = commit->id;
		if (world->git == GIT_LANDS_AND_FAILS)
			event.kind = CORE_LAND_UNKNOWN;
	}
	world_later(world, 3 * WORLD_MS, -1, event);
}

static void do_lookup(struct world *world, const struct core_effect *e)
{
	struct core_event event = {.kind = CORE_LOOKED_UP, .task = e->task, .op = e->op};

	for (size_t i = 0; i < world->commit_count && !event.found; i++) {
		if (strcmp(world->commits[i].task, e->task) == 0) {
			event.found = true;
			event.digest = world->commits[i].id;
			event.attempt = world->commits[i].attempt;
		}
	}
	world_later(world, WORLD_MS, -1, event);
}

static void do_notify(struct world *world, const struct core_effect *e)
{
	struct world_note *note = &world->notes[world->note_count];

	assert_true(world->note_count < WORLD_LIST);
	world->note_count++;
	snprintf(note->key, sizeof note->key, "%s", e->text);
	note->status = world->sink_status;
	note->at_us = world->now_us;
	world_later(world, 2 * WORLD_MS, -1,
	    (struct core_event){.kind = CORE_NOTIFIED, .task = e->task, .op = e->op, .status = note->status});
}

static void do_end(struct world *world, const struct core_effect *e)
{
	uint64_t after = 0;

	for (size_t i = 0; i < world->agent_count; i++) {
		if (world->agents[i].pid == e->pid && world->agents[i].alive) {
			world->agents[i].hung = true;
			after = 8 * WORLD_MS; /* a process takes its time to go */
		}
	}
	world_later(world, after, -1,
	    (struct core_event){.kind = CORE_GONE, .task = e->task, .attempt = e->attempt, .pid = e->pid});
}

static void do_signal(struct world *world, const struct core_effect *e)
{
	int index = world_agent(world, e->task, e->attempt);

	world->kills++;
	assert_true(index >= 0);
	assert_int_equal(world->agents[index].pid, e->pid);
	if (e->status == SIGKILL || !world->agents[index].deaf)
		world_die(world, index, 128 + e->status);
}

static void do_stop(struct world *world, const struct core_effect *e)
{
	int index = world_agent(world, e->task, e->attempt);

	world->stops++;
	if (index >= 0 && !world->agents[index].hung)
		world_die(world, index, 0);
}

static void do_reply(struct world *world, const struct core_effect *e)
{
	struct world_reply *reply = &world->replies[world->reply_count];

	assert_true(world->reply_count < WORLD_LIST);
	world->reply_count++;
	*reply = (struct world_reply){.token = e->token, .status = e->status, .lsn = e->lsn, .durable = world->durable};
	snprintf(reply->task, sizeof reply->task, "%s", e->task);
	snprintf(reply->text, sizeof reply->text, "%s", e->text);
}

static void perform(struct world *world, const struct core_effect *e)
{
	switch (e->kind) {
	case CORE_APPEND:
		do_append(world, e);
		break;
	case CORE_REPLY:
		do_reply(world, e);
		break;
	case CORE_SPAWN:
		do_spawn(world, e);
		break;
	case CORE_WORK:
		do_work(world, e);
		break;
	case CORE_ROUTE:
		do_route(world, e);
		break;
	case CORE_STOP:
		do_stop(world, e);
		break;
	case CORE_SIGNAL:
		do_signal(world, e);
		break;
	case CORE_END:
		do_end(world, e);
		break;
	case CORE_LAND:
		do_land(world, e);
		break;
	case CORE_LOOKUP:
		do_lookup(world, e);
		break;
	case CORE_NOTIFY:
		do_notify(world, e);
		break;
	case CORE_WRITE_SLO:
		world->slo_writes++;
		core_slo_published(world->core, &world->slo_file);
		break;
	case CORE_WRITE_INCIDENTS:
		world->incident_writes++;
		break;
	case CORE_WRITE_STATUS:
		world->status_writes++;
		break;
	case CORE_TIMER:
		world->timer_us = e->deadline_us;
		break;
	case CORE_EXIT:
		world->exit_status = e->status;
		break;
	}
}

static void world_effects(struct world *world)
{
	for (size_t i = 0; i < world->effects->count; i++) {
		const struct core_effect *e = &world->effects->items[i];

		if (!world->on_effect || !world->on_effect(world, e))
			perform(world, e);
	}
}

/* ---- events ---- */

void world_step(struct world *world, struct core_event event)
{
	event.now_us = world->now_us;
	world->steps++;
	core_step(world->core, &event, world->effects);
	world_effects(world);
}

static void bring_durable(struct world *world)
{
	world->syncing = false;
	if (world->write_fails) {
		world_step(world, (struct core_event){.kind = CORE_WRITE_FAILED, .status = 28});
		return;
	}
	world->durable = world->staged;
	if (world->crash_lsn && world->durable >= world->crash_lsn) {
		world->durable = world->crash_lsn;
		world->crashed = true;
		if (!world->crash_after)
			return;
	}
	world_step(world, (struct core_event){.kind = CORE_DURABLE, .lsn = world->durable});
}

static void note_window(struct world *world, const struct core_event *called)
{
	const struct policy *policy = &world->options.policy;
	int p = cascade_provider_parse(called->provider);
	uint64_t window = called->retry_after_ms >= 0 ? (uint64_t)called->retry_after_ms : policy->throttle_base_ms;

	if (window > policy->throttle_max_ms)
		window = policy->throttle_max_ms;
	if (core_writable(world->core) && world->now_us + window * WORLD_MS > world->window_us[p])
		world->window_us[p] = world->now_us + window * WORLD_MS;
}

static void bring(struct world *world, struct world_event *e)
{
	struct world_agent *agent = e->agent >= 0 ? &world->agents[e->agent] : NULL;

	if (agent && !agent->alive)
		return;
	if (agent && agent->hung) {
		e->event.task = e->task;
		e->event.digest = e->digest;
		e->event.base = e->base;
		e->event.text = e->text;
		world_later(world, 10 * WORLD_MS, e->agent, e->event);
		return;
	}
	e->event.task = e->task;
	e->event.digest = e->digest;
	e->event.base = e->base;
	e->event.text = e->text;
	for (size_t i = 0; e->event.kind == CORE_GONE && e->event.pid && i < world->agent_count; i++)
		if (world->agents[i].pid == e->event.pid)
			world->agents[i].alive = false;
	if (e->event.kind == CORE_DURABLE) {
		bring_durable(world);
		return;
	}
	if (e->event.kind == CORE_CALLED && e->event.status == 429)
		note_window(world, &e->event);
	if (agent && e->event.kind == CORE_BEAT)
		agent_says(world, e->agent, world->options.policy.beat_ms * WORLD_MS, e->event);
	world_step(world, e->event);
	if (agent && e->event.kind == CORE_CALLED)
		agent_goes_on(world, e->agent, &e->event);
}

static size_t next_event(const struct world *world)
{
	size_t best = 0;

	for (size_t i = 1; i < world->event_count; i++)
		if (world->events[i].at_us < world->events[best].at_us ||
		    (world->events[i].at_us == world->events[best].at_us &&
			world->events[i].order < world->events[best].order))
			best = i;
	return best;
}

/* Beats of the living go on for ever; they alone are no reason to. */
static bool idle(const struct world *world)
{
	for (size_t i = 0; i < world->event_count; i++)
		if (world->events[i].agent < 0 ||
		    (world->agents[world->events[i].agent].alive && world->events[i].event.kind != CORE_BEAT))
			return false;
	return core_quiet(world->core);
}

static void go_on(struct world *world, uint64_t for_us, bool stop_when_idle)
{
	uint64_t end = world->now_us + for_us;

	while (!world->crashed && world->exit_status < 0 && !(stop_when_idle && idle(world))) {
		size_t next = world->event_count > 0 ? next_event(world) : 0;
		uint64_t at = world->event_count > 0 ? world->events[next].at_us : CORE_NEVER;
		struct world_event event;

		if (at > end && world->timer_us > end)
			break;
		if (world->timer_us <= at) {
			world->now_us = world->timer_us > world->now_us ? world->timer_us : world->now_us;
			world->timer_us = CORE_NEVER;
			world_step(world, (struct core_event){.kind = CORE_TICK});
			continue;
		}
		event = world->events[next];
		world->events[next] = world->events[--world->event_count];
		world->now_us = at > world->now_us ? at : world->now_us;
		bring(world, &event);
		if (world->steps > 2000000)
			fail_msg("the core never comes to rest");
	}
	if (!world->crashed && world->exit_status < 0 && world->now_us < end && !(stop_when_idle && idle(world)))
		world->now_us = end;
}

void world_run(struct world *world, uint64_t for_us)
{
	go_on(world, for_us, true);
}

void world_pass(struct world *world, uint64_t for_us)
{
	go_on(world, for_us, false);
}

void world_submit(struct world *world, uint64_t token, const char *id, const char *role, const char *after)
{
	struct core_submission s = {.id = id, .role = role, .prompt = "do it"};
	char names[256];
	char *save = NULL;

	snprintf(names, sizeof names, "%s", after ? after : "");
	for (char *name = strtok_r(names, ",", &save); name; name = strtok_r(NULL, ",", &save))
		s.after[s.after_count++] = name;
	world_step(world, (struct core_event){.kind = CORE_SUBMIT, .token = token, .submission = &s});
}

/* ---- the process dies, the disk comes back ---- */

void world_restart(struct world *world, uint64_t lsn)
{
	struct error err;
	size_t kept = 0;

	if (lsn)
		world->durable = lsn;
	/* Only the conductor's own events die with it; and agents lose their socket. */
	world->event_count = kept;
	for (size_t i = 0; i < world->agent_count; i++) {
		struct world_agent *agent = &world->agents[i];

		/* An agent that sees its socket closed ends; io sees to those that were to be ended and were not yet. */
		if (!agent->told || agent->hung || agent->deaf)
			agent->alive = false;
		agent->hung = agent->alive;
	}
	world->syncing = world->crashed = false;
	world->crash_lsn = 0;
	world->timer_us = CORE_NEVER;
	world->exit_status = -1;
	core_destroy(world->core);
	world->core = NULL;
	if (core_create(&world->core, &world->options, &err) != 0)
		fail_msg("%s", err.text);
	world->now_us += 20 * WORLD_MS;
	world_recover(world);
}

void world_reopen(struct world *world)
{
	world->write_fails = false;
	world->syncing = false;
	for (size_t i = 0; i < world->agent_count; i++)
		world->agents[i].alive = false; /* io ends what is left before it recovers */
	for (size_t i = 0; i < world->event_count; i++)
		if (world->events[i].event.kind == CORE_DURABLE || world->events[i].event.kind == CORE_WRITE_FAILED)
			world->events[i--] = world->events[--world->event_count];
	core_reset(world->core);
	world_recover(world);
}

/* ---- questions ---- */

const char *world_state(struct world *world, const char *task)
{
	struct core_task_view view;

	for (size_t i = 0; i < core_task_count(world->core); i++) {
		core_task(world->core, i, &view);
		if (strcmp(view.id, task) == 0)
			return view.state;
	}
	return "unknown";
}

size_t world_commits(const struct world *world, const char *task)
{
	size_t count = 0;

	for (size_t i = 0; i < world->commit_count; i++)
		count += strcmp(world->commits[i].task, task) == 0;
	return count;
}

size_t world_notes(const struct world *world, const char *task)
{
	size_t length = strlen(task), count = 0;

	for (size_t i = 0; i < world->note_count; i++)
		count += world->notes[i].status / 100 == 2 && strncmp(world->notes[i].key, task, length) == 0 &&
			 world->notes[i].key[length] == ':';
	return count;
}

size_t world_records(const struct world *world, uint32_t kind)
{
	size_t count = 0;

	for (uint64_t i = 0; i < world->durable; i++)
		count += world->log[i].kind == kind;
	return count;
}

uint64_t world_replayed(const struct world *world)
{
	struct core *core;
	struct error err;
	uint64_t digest;

	if (core_create(&core, &world->options, &err) != 0)
		fail_msg("%s", err.text);
	for (uint64_t lsn = 1; lsn <= world->durable; lsn++) {
		const struct world_record *r = &world->log[lsn - 1];

		if (core_replay(core, lsn, 1, r->kind, r->payload, r->size, &err) != 0)
			fail_msg("replay: %s", err.text);
	}
	digest = core_digest(core);
	core_destroy(core);
	return digest;
}
