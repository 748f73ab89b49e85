/* SPDX-License-Identifier: Apache-2.0 */
/* Delta debugging; see shrink.h. */
#include "sim/shrink.h"

#include <string.h>

#include "sim/rng.h"

#define RUNS_MAX      4000u
#define FAULTS_ENOUGH 3u /* with more, pairs of them are tried, other orders, other moments */
#define ORDERS        3u
#define WANDER_MAX    1500u

struct shrinking {
	struct sim_plan *plan;
	shrink_test_fn violates;
	void *arg;
	struct shrink_figures *figures;
};

static bool is_there(const struct sim_plan *plan, const struct sim_when *when)
{
	if (when->event != SIM_ON_FAULT && when->event != SIM_ON_REVERT)
		return true;
	for (uint32_t i = 0; i < plan->fault_count; i++)
		if (plan->faults[i].name == when->of)
			return true;
	return false;
}

/* A fault that waits for one that was left out never comes. */
static void drop_orphans(struct sim_plan *plan)
{
	uint32_t kept;

	do {
		kept = 0;
		for (uint32_t i = 0; i < plan->fault_count; i++)
			if (is_there(plan, &plan->faults[i].when))
				plan->faults[kept++] = plan->faults[i];
		if (kept == plan->fault_count)
			return;
		plan->fault_count = kept;
	} while (true);
}

static bool try(struct shrinking *s, struct sim_plan *candidate)
{
	uint64_t events = 0;

	if (s->figures->runs >= RUNS_MAX)
		return false;
	s->figures->runs++;
	drop_orphans(candidate);
	plan_settle(candidate);
	if (!s->violates(s->arg, candidate, &events))
		return false;
	*s->plan = *candidate;
	s->figures->events_after = events;
	return true;
}

static uint32_t tasks_in(const struct sim_plan *plan)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < plan->task_count; i++)
		count += !plan->tasks[i].left_out;
	return count;
}

/* Leaves out `size` of the faults, from the first-th on. */
static bool without_faults(struct shrinking *s, uint32_t first, uint32_t size)
{
	struct sim_plan candidate = *s->plan;
	uint32_t end = first + size < candidate.fault_count ? first + size : candidate.fault_count;

	memmove(&candidate.faults[first], &candidate.faults[end],
	    (candidate.fault_count - end) * sizeof candidate.faults[0]);
	candidate.fault_count -= end - first;
	return try(s, &candidate);
}

/* Leaves out `size` of the tasks that are still there. */
static bool without_tasks(struct shrinking *s, uint32_t first, uint32_t size)
{
	struct sim_plan candidate = *s->plan;
	uint32_t place = 0;

	for (uint32_t i = 0; i < candidate.task_count; i++) {
		if (candidate.tasks[i].left_out)
			continue;
		if (place >= first && place < first + size)
			candidate.tasks[i].left_out = true;
		place++;
	}
	return try(s, &candidate);
}

static uint32_t size_of(const struct shrinking *s, bool tasks)
{
	return tasks ? tasks_in(s->plan) : s->plan->fault_count;
}

/* What is left depends on moments that the others make: one goes, and another comes at a moment of its own. */
static void wander(struct shrinking *s)
{
	struct rng rng = {.state = s->plan->seed};

	for (uint32_t i = 0; i < WANDER_MAX && s->plan->fault_count > FAULTS_ENOUGH; i++) {
		struct sim_plan candidate = *s->plan;
		uint32_t gone = (uint32_t)rng_below(&rng, candidate.fault_count);
		struct sim_when *when;

		candidate.faults[gone] = candidate.faults[--candidate.fault_count];
		when = &candidate.faults[rng_below(&rng, candidate.fault_count)].when;
		*when = (struct sim_when){
		    .event = SIM_AT, .nth = 1, .of = SIM_ANY, .after_us = rng_below(&rng, 400) * 10 * SIM_MS};
		try(s, &candidate);
	}
}

/* Two that only count together (a fault, and one that waits out what it left) go together. */
static bool without_pair(struct shrinking *s)
{
	for (uint32_t a = 0; a < s->plan->fault_count; a++) {
		for (uint32_t b = a + 1; b < s->plan->fault_count; b++) {
			struct sim_plan candidate = *s->plan;
			uint32_t kept = 0;

			for (uint32_t i = 0; i < s->plan->fault_count; i++)
				if (i != a && i != b)
					candidate.faults[kept++] = s->plan->faults[i];
			candidate.fault_count = kept;
			if (try(s, &candidate))
				return true;
		}
	}
	return false;
}

/* In ever smaller parts; begins anew with parts of half the size after each that could go. */
static void reduce(struct shrinking *s, bool tasks)
{
	uint32_t part = size_of(s, tasks);

	while (part > 0) {
		bool any = false;

		for (uint32_t first = 0; first < size_of(s, tasks);) {
			bool gone = tasks ? without_tasks(s, first, part) : without_faults(s, first, part);

			any = any || gone;
			if (!gone)
				first += part;
		}
		if (!any || part > size_of(s, tasks))
			part = part > size_of(s, tasks) && size_of(s, tasks) ? size_of(s, tasks) : part / 2;
	}
}

/* Simpler moments: without what comes after the event, and the earliest that will do. */
static void simplify(struct shrinking *s)
{
	for (uint32_t i = 0; i < s->plan->fault_count; i++) {
		struct sim_plan candidate = *s->plan;

		if (candidate.faults[i].when.after_us && candidate.faults[i].when.event != SIM_AT) {
			candidate.faults[i].when.after_us = 0;
			try(s, &candidate);
		}
		candidate = *s->plan;
		if (candidate.faults[i].when.nth > 1) {
			candidate.faults[i].when.nth = 1;
			try(s, &candidate);
		}
	}
}

/* Which way leads to the least is not known before: faults first, tasks first, the last fault first. */
static void descend(struct shrinking *s, unsigned order)
{
	uint32_t before;

	do {
		before = s->plan->fault_count + tasks_in(s->plan);
		if (order == 1)
			reduce(s, true);
		for (uint32_t i = s->plan->fault_count; order == 2 && i-- > 0;)
			if (i < s->plan->fault_count)
				without_faults(s, i, 1);
		reduce(s, false);
		reduce(s, true);
		if (s->plan->fault_count > FAULTS_ENOUGH)
			without_pair(s);
	} while (s->plan->fault_count + tasks_in(s->plan) < before);
}

/* The fault of the real system that does about the same; false: there is none. */
static bool make_real(struct sim_fault *fault)
{
	uint32_t point = fault->target;

	if (fault->plugin == SIM_SINK_ERROR && fault->kind == SINK_STATUS) {
		fault->plugin = SIM_SWALLOWED_EXCEPTION;
		fault->kind = EXCEPTION_SEEN;
		return true;
	}
	if (fault->plugin != SIM_POWER_LOSS &&
	    (fault->plugin != SIM_ORCHESTRATOR_KILL || (point != SIM_POINT_ANY_EFFECT && point != SIM_POINT_RECOVERY)))
		return false;
	fault->plugin = SIM_ORCHESTRATOR_KILL;
	fault->target = SIM_POINT_NOW;
	fault->kind = 0;
	fault->nth = 1;
	return true;
}

/* What is left should be of use on the real system, too. */
static void realize(struct shrinking *s)
{
	for (uint32_t i = 0; i < s->plan->fault_count; i++) {
		struct sim_plan candidate = *s->plan;

		if (make_real(&candidate.faults[i]))
			try(s, &candidate);
	}
}

void shrink(struct sim_plan *plan, shrink_test_fn violates, void *arg, struct shrink_figures *figures)
{
	struct shrinking s = {.plan = plan, .violates = violates, .arg = arg, .figures = figures};
	struct sim_plan all = *plan;

	memset(figures, 0, sizeof *figures);
	figures->faults_before = plan->fault_count;
	figures->tasks_before = tasks_in(plan);
	if (!violates(arg, plan, &figures->events_before))
		return;
	figures->events_after = figures->events_before;
	descend(&s, 0);
	for (unsigned order = 1; order < ORDERS && plan->fault_count > FAULTS_ENOUGH; order++) {
		struct sim_plan least = *plan;
		uint64_t events = figures->events_after;

		*plan = all;
		descend(&s, order);
		if (plan->fault_count < least.fault_count)
			continue;
		*plan = least;
		figures->events_after = events;
	}
	if (plan->fault_count > FAULTS_ENOUGH) {
		wander(&s);
		descend(&s, 0);
	}
	simplify(&s);
	realize(&s);
	figures->faults_after = plan->fault_count;
	figures->tasks_after = tasks_in(plan);
}
