/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a fault: it waits for its moment, is injected, is felt, is undone; as the engine does it for real. */
#include "sim/world.h"

#include <string.h>

#include "sim/rng.h"

enum { PLACE_TARGET = 800 };

const struct sim_fault *inject_active(
    const struct world *w, enum sim_plugin plugin, uint32_t target, uint32_t *ret_index)
{
	for (uint32_t i = 0; i < w->plan->fault_count; i++) {
		const struct sim_fault *f = &w->plan->faults[i];

		if (w->faults[i].state == FAULT_ACTIVE && f->plugin == plugin &&
		    (f->target == SIM_ANY || f->target == target)) {
			*ret_index = i;
			return f;
		}
	}
	return NULL;
}

static enum seen_mode mode_of(const struct world *w)
{
	if (!w->alive)
		return MODE_DOWN;
	if (!w->live || w->recovering)
		return MODE_RECOVERING;
	return core_writable(w->core) ? MODE_UP : MODE_OFFLINE;
}

void inject_felt(struct world *w, uint32_t index, const char *proof)
{
	const struct sim_fault *f = &w->plan->faults[index];
	struct active_fault *a = &w->faults[index];
	uint32_t task = a->agent == NOBODY ? NOBODY : w->agents[a->agent].task;

	if (a->felt)
		return;
	a->felt = true;
	w->coverage->faults[f->plugin][f->kind & 7][task < SIM_TASKS_MAX ? w->task_states[task] : SEEN_NONE]++;
	w->coverage->modes[f->plugin][mode_of(w)]++;
	ops_complete(w, a->invoke, (struct op){.kind = OP_FAULT, .type = OP_OK, .detail = proof});
	inject_happens(w, SIM_ON_FAULT, f->name, NOBODY);
}

void inject_babbled(struct world *w, const struct sim_agent *agent, uint32_t kind)
{
	for (uint32_t i = 0; i < w->plan->fault_count; i++) {
		const struct sim_fault *f = &w->plan->faults[i];
		const struct active_fault *a = &w->faults[i];

		if (a->state == FAULT_ACTIVE && f->plugin == SIM_AGENT_BABBLE && f->kind == kind &&
		    a->agent != NOBODY && &w->agents[a->agent] == agent)
			inject_felt(w, i, w->names[agent->task]);
	}
}

/* ---- doing it ---- */

static uint32_t choose_agent(struct world *w, uint32_t index)
{
	uint32_t by = w->faults[index].by, alive = 0, wanted;

	if (by != NOBODY && w->agents[by].alive && w->agents[by].seen)
		return by;
	for (uint32_t i = 0; i < w->agent_count; i++)
		alive += w->agents[i].alive && w->agents[i].seen;
	if (alive == 0)
		return NOBODY;
	wanted = (uint32_t)(rng_at(w->plan->seed, PLACE_TARGET, w->plan->faults[index].name, 0) % alive);
	for (uint32_t i = 0;; i++)
		if (w->agents[i].alive && w->agents[i].seen && wanted-- == 0)
			return i;
}

static void babble(struct sim_agent *agent, uint32_t kind)
{
	agent->babble |= 1u << kind;
	agent->deaf = agent->deaf || kind == BABBLE_DEAF;
	agent->silent = agent->silent || kind == BABBLE_SILENT;
	agent->loops = agent->loops || kind == BABBLE_LOOP;
	agent->muddled = agent->muddled || kind != BABBLE_LOOP;
}

static void remove_file(struct world *w, uint32_t index, struct sim_agent *agent)
{
	const char *actor = w->faults[index].name;

	agent->removed = true;
	ops_add(w,
	    (struct op){
		.kind = OP_EVIDENCE, .type = OP_OK, .actor = actor, .key = "removed-path", .detail = "shared/plan.md"});
	ops_add(w, (struct op){.kind = OP_EVIDENCE,
		       .type = OP_OK,
		       .actor = actor,
		       .key = "removed-task",
		       .detail = w->names[agent->task]});
}

static void in_vain(struct world *w, uint32_t index, const char *why)
{
	struct active_fault *a = &w->faults[index];

	ops_complete(w, a->invoke, (struct op){.kind = OP_FAULT, .type = OP_FAIL, .detail = why});
	a->felt = true; /* it has an end already */
	inject_end(w, index);
	a->felt = false;
}

static void do_to_agent(struct world *w, uint32_t index, const struct sim_fault *f)
{
	struct active_fault *a = &w->faults[index];
	struct sim_agent *agent;

	a->agent = choose_agent(w, index);
	if (a->agent == NOBODY) {
		in_vain(w, index, "no agent is alive");
		return;
	}
	agent = &w->agents[a->agent];
	if (f->plugin == SIM_AGENT_BABBLE) {
		babble(agent, f->kind);
		if (f->kind == BABBLE_SILENT) /* for good: it may be missed when the fault is over */
			inject_felt(w, index, w->names[agent->task]);
		return; /* the others are felt when it does so */
	}
	if (f->plugin == SIM_AGENT_KILL && f->kind == KILL_TERM && agent->deaf) {
		agent_term(w, a->agent);
		in_vain(w, index, "it does not listen");
		return;
	}
	inject_felt(w, index, w->names[agent->task]);
	if (f->plugin == SIM_AGENT_KILL && f->kind == KILL_KILL)
		agent_die(w, a->agent, 137);
	else if (f->plugin == SIM_AGENT_KILL)
		agent_term(w, a->agent);
	else if (f->plugin == SIM_AGENT_PAUSE)
		agent->paused = true;
	else
		remove_file(w, index, agent);
}

static void do_to_process(struct world *w, uint32_t index, const struct sim_fault *f)
{
	if (f->plugin == SIM_CLOCK_JUMP) {
		inject_felt(w, index, "set");
		w->jump_us += f->number * (int64_t)SIM_MS;
	} else if (f->plugin == SIM_ORCHESTRATOR_KILL && f->target != SIM_POINT_NOW) {
		return; /* it waits for the point */
	} else if (w->alive && f->plugin == SIM_ORCHESTRATOR_PAUSE) {
		inject_felt(w, index, "stopped");
		process_stop(w, w->now_us + f->duration_us);
		return;
	} else if (w->alive) {
		inject_felt(w, index, f->plugin == SIM_POWER_LOSS ? "no power" : "killed");
		w->coverage->points[SIM_POINT_NOW]++;
		process_crash(w, f->plugin == SIM_POWER_LOSS);
	}
	inject_end(w, index);
}

static bool is_of_agents(enum sim_plugin plugin)
{
	return plugin == SIM_AGENT_KILL || plugin == SIM_AGENT_PAUSE || plugin == SIM_FILE_REMOVE ||
	       plugin == SIM_AGENT_BABBLE;
}

static bool is_of_process(enum sim_plugin plugin)
{
	return plugin == SIM_ORCHESTRATOR_KILL || plugin == SIM_POWER_LOSS || plugin == SIM_ORCHESTRATOR_PAUSE ||
	       plugin == SIM_CLOCK_JUMP;
}

void inject_due(struct world *w, uint32_t index)
{
	const struct sim_fault *f = &w->plan->faults[index];
	struct active_fault *a = &w->faults[index];

	if (a->state == FAULT_OVER || a->state == FAULT_ACTIVE)
		return;
	a->state = FAULT_ACTIVE;
	a->invoke = ops_add(
	    w, (struct op){.kind = OP_FAULT, .type = OP_INVOKE, .actor = a->name, .key = sim_plugin_name(f->plugin)});
	if (f->duration_us)
		world_later(w, f->duration_us, HAPPENS_FAULT_ENDS)->what = index;
	if (is_of_agents(f->plugin))
		do_to_agent(w, index, f);
	else if (is_of_process(f->plugin))
		do_to_process(w, index, f);
	/* else it is in force from now on */
	if (f->plugin == SIM_AGENT_KILL)
		inject_end(w, index);
}

/* ---- undoing it ---- */

static void undo(struct world *w, uint32_t index)
{
	const struct sim_fault *f = &w->plan->faults[index];
	struct active_fault *a = &w->faults[index];
	struct sim_agent *agent = a->agent == NOBODY ? NULL : &w->agents[a->agent];

	if (f->plugin == SIM_PROVIDER_ERROR)
		providers_let_go(w, index);
	if (!agent)
		return;
	if (f->plugin == SIM_AGENT_PAUSE)
		agent_resume(w, a->agent);
	if (f->plugin == SIM_FILE_REMOVE)
		agent->removed = false;
	if (f->plugin == SIM_AGENT_BABBLE) {
		agent->babble = 0;
		agent->deaf = agent->loops = false; /* what is silent stays so: it is dead but for its process */
		agent->same = 0;
	}
}

void inject_end(struct world *w, uint32_t index)
{
	struct active_fault *a = &w->faults[index];
	uint64_t revert;

	if (a->state != FAULT_ACTIVE) {
		a->state = FAULT_OVER;
		return;
	}
	a->state = FAULT_OVER;
	if (!a->felt)
		ops_complete(
		    w, a->invoke, (struct op){.kind = OP_FAULT, .type = OP_INFO, .detail = "nobody came across it"});
	revert = ops_add(w, (struct op){.kind = OP_REVERT, .type = OP_INVOKE, .actor = a->name});
	undo(w, index);
	ops_complete(w, revert, (struct op){.kind = OP_REVERT, .type = OP_OK});
	inject_happens(w, SIM_ON_REVERT, w->plan->faults[index].name, NOBODY);
}

void inject_end_all(struct world *w)
{
	w->healed_us = w->now_us;
	process_go_on(w);
	for (uint32_t i = 0; i < w->plan->fault_count; i++)
		if (w->faults[i].state != FAULT_ACTIVE)
			w->faults[i].state = FAULT_OVER;
	for (uint32_t i = 0; i < w->plan->fault_count; i++)
		inject_end(w, i);
}

/* ---- the moments ---- */

static bool matches(const struct sim_when *when, enum sim_event_name event, uint32_t of)
{
	return when->event == event && (when->of == SIM_ANY || of == SIM_ANY || when->of == of);
}

void inject_happens(struct world *w, enum sim_event_name event, uint32_t of, uint32_t agent)
{
	for (uint32_t i = 0; i < w->plan->fault_count; i++) {
		const struct sim_fault *f = &w->plan->faults[i];
		struct active_fault *a = &w->faults[i];

		if (a->state == FAULT_ACTIVE && f->has_until && matches(&f->until, event, of) &&
		    ++a->until_seen == f->until.nth)
			world_later(w, f->until.after_us, HAPPENS_FAULT_ENDS)->what = i;
		if (a->state != FAULT_WAITS || !matches(&f->when, event, of) || ++a->seen != f->when.nth)
			continue;
		a->state = FAULT_DUE;
		a->by = agent;
		/* What waits for another fault comes after what that one has interrupted: the request that it held goes on first. */
		if (f->when.after_us || event == SIM_ON_FAULT || event == SIM_ON_REVERT)
			world_later(w, f->when.after_us, HAPPENS_FAULT)->what = i;
		else
			inject_due(w, i);
	}
}

void inject_begin(struct world *w)
{
	for (uint32_t i = 0; i < w->plan->fault_count; i++) {
		const struct sim_fault *f = &w->plan->faults[i];

		w->faults[i] = (struct active_fault){.agent = NOBODY, .by = NOBODY, .invoke = OP_NONE};
		sim_fault_name(f, w->faults[i].name, sizeof w->faults[i].name);
		if (f->when.event == SIM_AT)
			world_later(w, f->when.after_us, HAPPENS_FAULT)->what = i;
	}
}
