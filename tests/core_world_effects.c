/* SPDX-License-Identifier: Apache-2.0 */
/* What the effects of the conductor's core do in its little world: its agents, git, the sink, the log. See core_world.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core_world_effects.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixtures/conductor/policy/cascade.h"

#define STEPS_OF_A_TASK 4u

void world_agent_says(struct world *world, int index, uint64_t after_us, struct core_event event)
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
	world_agent_says(world, index, 0, (struct core_event){.kind = CORE_BEAT});
	world_agent_says(world, index, WORLD_MS, (struct core_event){.kind = CORE_ROUTE_ASKED, .step = e->step + 1});
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
	world_agent_says(world, index, world->call_ms * WORLD_MS,
	    (struct core_event){.kind = CORE_CALLED,
		.step = e->step,
		.provider = e->provider,
		.status = status,
		.tokens = status == 200 ? world->tokens : 0,
		.retry_after_ms = status == 429 ? world->provider_retry_after_ms[p] : -1});
}

void world_agent_goes_on(struct world *world, int index, const struct core_event *called)
{
	struct world_agent *agent = &world->agents[index];
	char tree[CORE_HASH_MAX];

	if (called->status != 200) {
		world_agent_says(world, index, 0, (struct core_event){.kind = CORE_ROUTE_ASKED, .step = called->step});
		return;
	}
	snprintf(tree, sizeof tree, "tree-%.20s-%u", agent->task, called->step);
	world_agent_says(world, index, 0,
	    (struct core_event){.kind = CORE_STEPPED,
		.step = called->step,
		.digest = tree,
		.base = "base",
		.action = world->action ? world->action : 100 + called->step});
	if (called->step >= STEPS_OF_A_TASK)
		world_agent_says(
		    world, index, 1, (struct core_event){.kind = CORE_RESULT, .digest = tree, .base = "base"});
	else
		world_agent_says(
		    world, index, 1, (struct core_event){.kind = CORE_ROUTE_ASKED, .step = called->step + 1});
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

void world_perform(struct world *world)
{
	for (size_t i = 0; i < world->effects->count; i++) {
		const struct core_effect *e = &world->effects->items[i];

		if (!world->on_effect || !world->on_effect(world, e))
			perform(world, e);
	}
}
