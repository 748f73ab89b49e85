/* SPDX-License-Identifier: Apache-2.0 */
/* The conductor's core's little world, its time and its log; see core_world.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core_world_effects.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixtures/conductor/policy/cascade.h"

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

struct core *world_core(const struct core_options *options)
{
	struct core *core;
	struct error err;

	if (core_create(&core, options, &err) != 0)
		fail_msg("%s", err.text);
	return core;
}

void world_replay(const struct world *world, struct core *core, uint64_t first, uint64_t last)
{
	struct error err;

	for (uint64_t lsn = first; lsn <= last; lsn++) {
		const struct world_record *r = &world->log[lsn - 1];

		if (core_replay(core, lsn, 1, r->kind, r->payload, r->size, &err) != 0)
			fail_msg("replay: %s", err.text);
	}
}

static void world_recover(struct world *world)
{
	world_replay(world, world->core, 1, world->durable);
	if (world->doubts)
		core_doubt_time(world->core);
	memset(world->window_us, 0, sizeof world->window_us); /* one whose record was not durable is forgotten */
	world->epoch++;
	world->staged = world->durable;
	core_recovered(world->core, world->epoch, world->durable, world->now_us, world->effects);
	world_perform(world);
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

/* ---- events ---- */

void world_step(struct world *world, struct core_event event)
{
	event.now_us = world->now_us;
	world->steps++;
	core_step(world->core, &event, world->effects);
	world_perform(world);
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
	e->event.task = e->task;
	e->event.digest = e->digest;
	e->event.base = e->base;
	e->event.text = e->text;
	if (agent && agent->hung) {
		world_later(world, 10 * WORLD_MS, e->agent, e->event);
		return;
	}
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
		world_agent_says(world, e->agent, world->options.policy.beat_ms * WORLD_MS, e->event);
	world_step(world, e->event);
	if (agent && e->event.kind == CORE_CALLED)
		world_agent_goes_on(world, e->agent, &e->event);
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

	if (lsn)
		world->durable = lsn;
	/* Only the conductor's own events die with it; and agents lose their socket. */
	world->event_count = 0;
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
	struct core *core = world_core(&world->options);
	uint64_t digest;

	world_replay(world, core, 1, world->durable);
	digest = core_digest(core);
	core_destroy(core);
	return digest;
}
