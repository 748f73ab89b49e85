/* SPDX-License-Identifier: Apache-2.0 */
/* The agents' processes: what they do one after the other, how they are told and heard, how they end. What one
 * said before its death is heard before its death is seen. */
#include "sim/world.h"

#include <signal.h>

#include "sim/rng.h"

#define PREPARE_TRIES_MAX 200u
#define SAME_ACTION       4711u
#define PAUSE_US          (50 * SIM_MS) /* before what the disk refused is tried again */

enum { PLACE_PREPARE = 300, PLACE_MESSAGE, PLACE_TOOL, PLACE_SNAPSHOT, PLACE_BABBLE };

static uint64_t message_us(struct world *w, struct sim_agent *a)
{
	return world_span(w, &w->plan->message, PLACE_MESSAGE, ((uint64_t)a->task << 32) | a->attempt, ++a->draws);
}

static uint32_t find(const struct world *w, const char *id, uint32_t attempt)
{
	uint32_t task = world_task(id);

	for (uint32_t i = w->agent_count; i-- > 0;)
		if (w->agents[i].task == task && w->agents[i].attempt == attempt && w->agents[i].life == w->life)
			return i;
	return NOBODY;
}

struct happening *agent_act_later(struct world *w, uint32_t index, uint64_t after_us, enum act act)
{
	struct happening *h = world_later(w, after_us, HAPPENS_ACT);

	h->agent = index;
	h->what = act;
	return h;
}

/* ---- what is said ---- */

static struct happening *say_at(struct world *w, struct sim_agent *a, uint64_t at_us, enum core_event_kind kind)
{
	struct happening *h = world_later(w, at_us - w->now_us, HAPPENS_CORE);

	h->core = kind;
	h->life = a->life;
	h->task = a->task;
	h->attempt = a->attempt;
	h->epoch = a->epoch;
	h->number = -1;
	return h;
}

static bool babbles(const struct sim_agent *a, uint32_t kind)
{
	return a->babble >> kind & 1;
}

/* The message is filled in by the caller from `like`; a socket keeps the order, an agent that babbles does not. */
static void say(struct world *w, struct sim_agent *a, enum core_event_kind kind, const struct happening *like)
{
	uint64_t at = w->now_us + message_us(w, a);
	uint64_t place = ((uint64_t)a->task << 32) | a->attempt;
	unsigned copies = 1;

	if (babbles(a, BABBLE_LATE) && world_draw(w, 400, PLACE_BABBLE, place, a->draws)) {
		inject_babbled(w, a, BABBLE_LATE);
		at += 100 * SIM_MS + rng_at(w->plan->seed, PLACE_BABBLE, place, a->draws + 1000) % (900 * SIM_MS);
	}
	if (babbles(a, BABBLE_TWICE) && world_draw(w, 500, PLACE_BABBLE, place, a->draws)) {
		inject_babbled(w, a, BABBLE_TWICE);
		copies = 2;
	}
	if (babbles(a, BABBLE_REORDER) && world_draw(w, 500, PLACE_BABBLE, place, a->draws)) {
		inject_babbled(w, a, BABBLE_REORDER);
		at += 5 * SIM_MS;
	} else
		at = a->said_us = at > a->said_us ? at : a->said_us;
	while (copies-- > 0) {
		struct happening *h = say_at(w, a, at + copies * 3 * SIM_MS, kind);

		if (!like)
			continue;
		h->step = like->step;
		h->status = like->status;
		h->provider = like->provider;
		h->fault_class = like->fault_class;
		h->tree = like->tree;
		h->tokens = like->tokens;
		h->action = like->action;
		h->number = like->number;
	}
	if (babbles(a, BABBLE_STALE) && kind == CORE_STEPPED) {
		struct happening *h = say_at(w, a, at + SIM_MS, CORE_RESULT);

		inject_babbled(w, a, BABBLE_STALE);
		h->attempt = a->attempt > 1 ? a->attempt - 1 : a->attempt + 7;
		h->epoch = a->epoch - 1;
		h->tree = (uint64_t)a->task << 48 | (uint64_t)h->attempt << 24 | 0xff00 | 1;
	}
}

static uint64_t tree_of(const struct sim_agent *a)
{
	return (uint64_t)a->task << 48 | (uint64_t)a->attempt << 24 | (uint64_t)a->step << 8 | (a->lossy ? 3 : 1);
}

/* ---- birth ---- */

void agents_spawn(struct world *w, const struct core_effect *e)
{
	uint32_t index = w->agent_count;
	struct sim_agent *a = &w->agents[index];
	struct happening *h;

	if (index + 1 >= WORLD_AGENTS) {
		w->cut = true;
		return;
	}
	w->agent_count++;
	*a = (struct sim_agent){.task = world_task(e->task),
	    .attempt = e->attempt,
	    .epoch = e->epoch,
	    .life = w->life,
	    .step = e->step,
	    .pid = (int32_t)(1000 + index),
	    .alive = true,
	    .restored = e->restore,
	    .lossy = (world_tree_parse(e->digest) & 2) && !e->restore,
	    .seen_op = OP_NONE,
	    .held_by = NOBODY,
	    .call_op = OP_NONE};
	h = world_later(w, world_span(w, &w->plan->prepare, PLACE_PREPARE, a->task, a->attempt), HAPPENS_PREPARED);
	h->agent = index;
}

void agents_prepared(struct world *w, const struct happening *h)
{
	struct sim_agent *a = &w->agents[h->agent];
	bool performed = false, interrupted = false;
	uint32_t index;

	if (a->alive && (disk_fails(w, PATH_WORKTREES, &performed) || disk_fails(w, PATH_METRICS, &performed))) {
		if (++a->tries < PREPARE_TRIES_MAX) {
			world_later(w, PAUSE_US, HAPPENS_PREPARED)->agent = h->agent;
			return;
		}
		a->alive = false;
		interrupted = true;
	}
	if (a->alive && inject_active(w, SIM_GIT_TROUBLE, SIM_ANY, &index) &&
	    w->plan->faults[index].kind == GIT_UNREADABLE) { /* and so is no worktree made */
		inject_felt(w, index, "unreadable");
		a->alive = false;
	}
	if (!a->alive) {
		process_feed(w, (struct core_event){.kind = CORE_SPAWN_FAILED,
				    .task = w->names[a->task],
				    .attempt = a->attempt,
				    .fault_class = interrupted ? CORE_CLASS_INTERRUPTED : CORE_CLASS_SPAWN,
				    .text = "the process ended at once"});
		return;
	}
	a->spawned = a->seen = true;
	a->seen_op = ops_add(w, (struct op){.kind = OP_AGENT,
				    .type = OP_INVOKE,
				    .task = w->names[a->task],
				    .actor = w->names[a->task],
				    .attempt = a->attempt,
				    .value = a->pid});
	process_feed(w, (struct core_event){.kind = CORE_SPAWNED,
			    .task = w->names[a->task],
			    .attempt = a->attempt,
			    .pid = a->pid,
			    .start_time = 7,
			    .base = "base"});
}

/* ---- what they are told ---- */

void agents_work(struct world *w, const struct core_effect *e)
{
	uint32_t index = find(w, e->task, e->attempt);
	struct sim_agent *a = index == NOBODY ? NULL : &w->agents[index];

	if (!a || !a->alive)
		return;
	a->told = true;
	a->step = e->step;
	agent_act_later(w, index, message_us(w, a), ACT_BEGIN);
}

void agents_route(struct world *w, const struct core_effect *e)
{
	uint32_t index = find(w, e->task, e->attempt);
	struct sim_agent *a = index == NOBODY ? NULL : &w->agents[index];
	struct happening *h;

	if (!e->go || !a || !a->alive)
		return;
	h = agent_act_later(w, index, message_us(w, a), ACT_CALL);
	h->provider = e->provider[0] == 'c' ? (e->provider[1] == 'l' ? 0 : 1) : e->provider[0] == 'g' ? 2 : 3;
	h->step = e->step;
	h->tokens = e->tokens_left;
	h->op = e->model[0] == 's'; /* sonnet */
}

void agents_stop(struct world *w, const struct core_effect *e)
{
	uint32_t index = find(w, e->task, e->attempt);

	if (index != NOBODY && w->agents[index].alive)
		agent_act_later(w, index, message_us(w, &w->agents[index]), ACT_EXIT);
}

void agents_signal(struct world *w, const struct core_effect *e)
{
	uint32_t index = find(w, e->task, e->attempt);

	if (index == NOBODY || !w->agents[index].alive || w->agents[index].pid != e->pid)
		return;
	if (e->status == SIGKILL)
		agent_die(w, index, 137);
	else
		agent_term(w, index);
}

void agents_end(struct world *w, const struct core_effect *e)
{
	struct happening *h;

	for (uint32_t i = 0; i < w->agent_count; i++) {
		struct sim_agent *a = &w->agents[i];

		if (a->pid != e->pid || !a->alive)
			continue;
		if (a->life == w->life && a->spawned) { /* its death is the answer */
			agent_die(w, i, 137);
			return;
		}
		agent_die(w, i, 137);
	}
	h = world_later(w, w->plan->message.low, HAPPENS_CORE);
	h->core = CORE_GONE;
	h->task = world_task(e->task);
	h->attempt = e->attempt;
	h->status = 137;
	h->number = -1;
}

/* ---- death ---- */

void agent_die(struct world *w, uint32_t index, int32_t status)
{
	struct sim_agent *a = &w->agents[index];
	uint64_t at;

	if (!a->alive)
		return;
	a->alive = false;
	providers_hung_up(w, a, OP_CLIENT_GONE);
	if (a->seen)
		ops_complete(w, a->seen_op, (struct op){.kind = OP_AGENT, .type = OP_OK});
	if (!a->spawned || a->life != w->life || !w->alive)
		return; /* its preparation will find it dead; or nobody is there to see it */
	at = w->now_us + message_us(w, a);
	say_at(w, a, at > a->said_us ? at : a->said_us, CORE_GONE)->status = status;
}

void agent_term(struct world *w, uint32_t index)
{
	struct sim_agent *a = &w->agents[index];

	if (a->deaf) {
		inject_babbled(w, a, BABBLE_DEAF);
		return;
	}
	if (a->paused)
		a->term_pending = true;
	else
		agent_die(w, index, 143);
}

void agent_resume(struct world *w, uint32_t index)
{
	struct sim_agent *a = &w->agents[index];

	a->paused = false;
	if (!a->alive)
		return;
	if (a->term_pending) {
		agent_die(w, index, 143);
	} else if (a->orphan) {
		agent_act_later(w, index, w->plan->message.low, ACT_EXIT);
	} else if (a->deferred) {
		struct happening *h = agent_act_later(w, index, 0, (enum act)a->act.what);

		h->provider = a->act.provider;
		h->step = a->act.step;
		h->status = a->act.status;
		h->tokens = a->act.tokens;
		h->number = a->act.number;
		h->fault_class = a->act.fault_class;
		h->op = a->act.op;
	}
	a->deferred = false;
}

/* Its socket is closed: an agent without a conductor ends by itself. */
void agents_orphan(struct world *w, bool power)
{
	for (uint32_t i = 0; i < w->agent_count; i++) {
		struct sim_agent *a = &w->agents[i];

		if (!a->alive)
			continue;
		if (power) {
			agent_die(w, i, 137);
			continue;
		}
		a->orphan = true;
		if (!a->paused)
			agent_act_later(w, i, message_us(w, a) + SIM_MS, ACT_EXIT);
	}
}

void agents_kill_all(struct world *w)
{
	for (uint32_t i = 0; i < w->agent_count; i++)
		agent_die(w, i, 137);
}

/* ---- what they do ---- */

static void fail(struct world *w, struct sim_agent *a, enum core_class fault_class)
{
	struct happening like = {.fault_class = fault_class, .number = -1};

	say(w, a, CORE_FAILED, &like);
}

static void ask(struct world *w, struct sim_agent *a)
{
	struct happening like = {.step = a->step + 1, .number = -1};

	say(w, a, CORE_ROUTE_ASKED, &like);
}

static uint64_t tool_us(struct world *w, struct sim_agent *a)
{
	uint64_t place = ((uint64_t)a->task << 32) | a->attempt, draw = ++a->draws;

	return world_span(w, &w->plan->tool, PLACE_TOOL, place, draw) +
	       world_span(w, &w->plan->snapshot, PLACE_SNAPSHOT, place, draw);
}

/* Nobody misses the file until it is looked for: at a step that reads it, at the latest with the result. */
static bool misses_file(struct world *w, struct sim_agent *a, bool last)
{
	if (!a->removed)
		return false;
	if (bugs_on(&w->options.bugs, BUG_COMMIT_WITHOUT_REMOVED)) {
		a->lossy = true;
		return false;
	}
	return last || world_draw(w, 400, PLACE_TOOL, ((uint64_t)a->task << 32) | a->attempt, ++a->draws);
}

static void after_call(struct world *w, uint32_t index, const struct happening *h)
{
	struct sim_agent *a = &w->agents[index];

	say(w, a, CORE_CALLED, h);
	if (h->status != 200 || h->fault_class != CORE_CLASS_NONE)
		ask(w, a); /* the conductor decides: the next route, or stop */
	else
		agent_act_later(w, index, tool_us(w, a), ACT_STEP);
}

/* Some do the same thing all the time, some have another one to do between. */
static bool goes_in_circles(struct world *w, struct sim_agent *a)
{
	if (!a->loops || (a->task % 2 && a->step % 2))
		return false;
	inject_babbled(w, a, BABBLE_LOOP);
	if (++a->same > w->plan->policy.loop_max + 1 && !a->muddled)
		world_broken(w, "the agent of task %s did the same thing %u times", w->names[a->task], a->same);
	return true;
}

static void step_done(struct world *w, uint32_t index)
{
	struct sim_agent *a = &w->agents[index];
	struct happening like = {.number = -1};
	bool performed = false;

	if (disk_fails(w, PATH_WORKTREES, &performed) || disk_fails(w, PATH_REPO, &performed)) {
		agent_act_later(w, index, PAUSE_US, ACT_STEP);
		return;
	}
	if (misses_file(w, a, false)) {
		fail(w, a, CORE_CLASS_WORKTREE);
		return;
	}
	a->step++;
	like.step = a->step;
	like.tree = tree_of(a);
	like.action = goes_in_circles(w, a) ? SAME_ACTION : 100 + a->step;
	say(w, a, CORE_STEPPED, &like);
	if (a->step >= w->plan->tasks[a->task].steps && !a->loops)
		agent_act_later(w, index, tool_us(w, a), ACT_RESULT);
	else
		ask(w, a);
}

static void result(struct world *w, uint32_t index)
{
	struct sim_agent *a = &w->agents[index];
	struct happening like = {.step = a->step, .number = -1};
	bool performed = false;

	if (disk_fails(w, PATH_REPO, &performed)) {
		agent_act_later(w, index, PAUSE_US, ACT_RESULT);
		return;
	}
	if (misses_file(w, a, true)) {
		fail(w, a, CORE_CLASS_WORKTREE);
		return;
	}
	like.tree = tree_of(a);
	say(w, a, CORE_RESULT, &like);
}

static void begin(struct world *w, uint32_t index)
{
	struct sim_agent *a = &w->agents[index];
	struct happening *h;

	say(w, a, CORE_BEAT, NULL);
	h = world_later(w, w->plan->policy.beat_ms * SIM_MS, HAPPENS_BEAT);
	h->agent = index;
	if (a->step >= w->plan->tasks[a->task].steps)
		agent_act_later(w, index, tool_us(w, a), ACT_RESULT);
	else
		ask(w, a);
}

void agents_act(struct world *w, const struct happening *h)
{
	struct sim_agent *a = &w->agents[h->agent];

	if (!a->alive || (a->orphan && h->what != ACT_EXIT))
		return;
	if (a->silent && h->what != ACT_EXIT)
		return; /* it hangs in the middle of it, for good */
	if (a->paused) {
		if (h->what != ACT_EXIT)
			a->act = *h;
		else
			a->term_pending = true;
		a->deferred = h->what != ACT_EXIT || a->deferred;
		return;
	}
	switch ((enum act)h->what) {
	case ACT_BEGIN:
		begin(w, h->agent);
		break;
	case ACT_ASK:
		ask(w, a);
		break;
	case ACT_CALL:
		providers_arrive(w, h->agent, h);
		break;
	case ACT_TIMEOUT:
		if (a->call != h->step)
			break;
		providers_hung_up(w, a, "never answered");
		after_call(w, h->agent, h);
		break;
	case ACT_CALLED:
		after_call(w, h->agent, h);
		break;
	case ACT_STEP:
		step_done(w, h->agent);
		break;
	case ACT_RESULT:
		result(w, h->agent);
		break;
	case ACT_EXIT:
		agent_die(w, h->agent, 0);
		break;
	}
}

void agents_beat(struct world *w, const struct happening *h)
{
	struct sim_agent *a = &w->agents[h->agent];

	if (!a->alive || a->orphan || a->life != w->life)
		return;
	world_later(w, w->plan->policy.beat_ms * SIM_MS, HAPPENS_BEAT)->agent = h->agent;
	if (!a->paused && !a->silent)
		say(w, a, CORE_BEAT, NULL);
}
