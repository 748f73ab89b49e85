/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan of an experiment that names a system: fleet and policy are those of the manifest's command, the limits of the
 * checkers those of a real run, the tasks those that the engine would hand in, and things take about as long as they do.
 */
#include "sim/fleet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SUBMIT_US      (3 * SIM_MS) /* a submission, its answer, the next one */
#define STEPS          4u           /* of the gateway's built-in plan: read, write, check, done */
#define TOKENS_OF_CALL 400u
#define SYSTEM         "conductor" /* by its manifest */

/* As seen on the real system, two processors, with the gateway's latency for the calls. */
static void take_times(struct sim_plan *plan, int64_t latency_ms)
{
	uint32_t call_us = (uint32_t)((uint64_t)latency_ms * SIM_MS);

	plan->sync = (struct sim_span){300, 4000};
	plan->message = (struct sim_span){50, 400};
	plan->prepare = (struct sim_span){4000, 20000};
	plan->call = (struct sim_span){call_us + 500, call_us + 4000};
	plan->tool = (struct sim_span){200, 2000};
	plan->snapshot = (struct sim_span){500, 5000};
	plan->git = (struct sim_span){2000, 12000};
	plan->lookup = (struct sim_span){500, 4000};
	plan->sink = (struct sim_span){300, 2000};
	plan->restart = (struct sim_span){25000, 60000};
	plan->take_over = (struct sim_span){3000, 15000};
	plan->file = (struct sim_span){300, 4000};
	plan->refusal_us = SIM_MS;
	plan->tokens = TOKENS_OF_CALL;
}

static int take_policy(struct policy *policy, const struct spec_strings *command, struct error *err)
{
	for (size_t i = 0; i + 1 < command->count; i++)
		if (strcmp(command->items[i], "--set") == 0 && policy_set(policy, command->items[i + 1], err) != 0)
			return -1;
	return 0;
}

static int take_tasks(struct sim_plan *plan, const struct spec_experiment *x, struct error *err)
{
	const struct spec_strings *roles = &x->workload.roles;
	uint64_t all = x->workload.tasks + x->workload.tail;
	uint64_t gap_us = x->workload.rate > 0 ? (uint64_t)(1e6 / x->workload.rate) : SUBMIT_US;

	if (all > SIM_TASKS_MAX)
		return error_set(err, E2BIG, "%s: %llu tasks; the simulation has room for %u", x->file,
		    (unsigned long long)all, SIM_TASKS_MAX);
	plan->task_count = (uint32_t)x->workload.tasks;
	plan->tail_count = (uint32_t)x->workload.tail;
	for (uint32_t i = 0; i < SIM_TASKS_MAX; i++) {
		struct sim_task *t = &plan->tasks[i];
		int role = policy_role_parse(roles->items[i % roles->count]);

		if (role < 0)
			return error_set(err, EINVAL, "%s: the simulation has no role '%s'", x->file,
			    roles->items[i % roles->count]);
		*t = (struct sim_task){.role = (enum policy_role)role, .steps = STEPS, .submit_us = i * gap_us};
		if (i % roles->count && i != plan->task_count) /* the first of the tail waits for nobody */
			t->after[t->after_count++] = (uint8_t)(i - 1);
	}
	return 0;
}

static const struct spec_task *task_named(const struct spec_experiment *x, const char *name)
{
	const struct spec_task *task = x->workload.graph;

	while (strcmp(task->name, name) != 0) /* it is there: the loader has looked */
		task++;
	return task;
}

/* A schedule's tasks keep their numbers when others are left out: what is drawn for them stays the same. Else their places count. */
static uint32_t number_of(const struct spec_experiment *x, const struct spec_task *task)
{
	char *end;
	unsigned long n;

	if (!x->simulation.seed || task->name[0] != 't' || task->name[1] < '0' || task->name[1] > '9')
		return (uint32_t)(task - x->workload.graph);
	n = strtoul(task->name + 1, &end, 10);
	return *end == '\0' && n < SIM_TASKS_MAX ? (uint32_t)n : (uint32_t)(task - x->workload.graph);
}

static int take_task(
    struct sim_task *t, const struct spec_experiment *x, const struct spec_task *task, struct error *err)
{
	int role = policy_role_parse(task->role);

	if (role < 0)
		return error_set(err, EINVAL, "%s:%u:%u: the simulation has no role '%s'", x->file, task->line,
		    task->column, task->role);
	if (task->after.count > SIM_AFTER_MAX)
		return error_set(err, E2BIG, "%s:%u:%u: after %zu tasks; the simulation has room for %u", x->file,
		    task->line, task->column, task->after.count, SIM_AFTER_MAX);
	t->role = (enum policy_role)role;
	t->steps = (uint8_t)task->steps;
	t->left_out = false;
	if (t->submit_us / SIM_MS !=
	    (uint64_t)task->at_ms) /* the file tells only whole milliseconds of what was drawn */
		t->submit_us = (uint64_t)task->at_ms * SIM_MS;
	t->after_count = 0;
	for (size_t i = 0; i < task->after.count; i++)
		t->after[t->after_count++] = (uint8_t)number_of(x, task_named(x, task->after.items[i]));
	return 0;
}

int fleet_graph(struct sim_plan *plan, const struct spec_experiment *x, struct error *err)
{
	if (!x->workload.graph)
		return 0;
	if (!x->simulation.seed)
		plan->task_count = (uint32_t)x->workload.graph_count;
	for (uint32_t i = 0; i < plan->task_count; i++)
		plan->tasks[i].left_out = true;
	for (size_t i = 0; i < x->workload.graph_count; i++) {
		const struct spec_task *task = &x->workload.graph[i];
		uint32_t number = number_of(x, task);

		if (number >= plan->task_count || !plan->tasks[number].left_out)
			return error_set(err, EINVAL, "%s:%u:%u: the seed has no task '%s', or it is here twice",
			    x->file, task->line, task->column, task->name);
		if (take_task(&plan->tasks[number], x, task, err) != 0)
			return -1;
	}
	return 0;
}

int fleet_read(struct sim_plan *plan, const struct spec_experiment *x, struct error *err)
{
	struct spec_manifest *manifest;
	int r = -1;

	if (x->system_problem)
		return error_set(err, EINVAL, "%s", x->system_problem);
	if (spec_manifest_load(&manifest, x->system, err) != 0)
		return -1;
	policy_init(&plan->policy);
	check_config_init(&plan->limits);
	if (strcmp(manifest->name, SYSTEM) != 0)
		error_set(err, ENOTSUP, "%s: its system is %s; the simulation has the reference orchestrator (%s) only",
		    x->file, manifest->name, SYSTEM);
	else if (take_policy(&plan->policy, &manifest->processes[0].command, err) == 0 &&
		 spec_check_config(manifest, x, &plan->limits, err) == 0)
		r = take_tasks(plan, x, err);
	/* The strings are the manifest's: the judge puts its own there, in the same order. */
	plan->limits.provider_count = plan->limits.cascade_count = 0;
	take_times(plan, manifest->gateway.latency_ms);
	plan->as_real = true;
	plan->settle_limit_us = (uint64_t)x->workload.limit_ms * SIM_MS;
	plan->checkpoint_records = (uint32_t)plan->policy.checkpoint_records;
	plan->slots_max = (uint32_t)plan->policy.agents * 3 + 4;
	spec_manifest_free(manifest);
	return r;
}

int fleet_arguments(struct sim_plan *plan, const struct spec_experiment *x, struct error *err)
{
	const struct spec_strings *arguments = &x->arguments;

	for (size_t i = 0; i < arguments->count; i += 2) {
		const char *name = arguments->items[i],
			   *value = i + 1 < arguments->count ? arguments->items[i + 1] : "";
		int r;

		if (strcmp(name, "--set") == 0)
			r = policy_set(&plan->policy, value, err);
		else if (strcmp(name, "--bug") == 0)
			r = bugs_add(&plan->bugs, value, err);
		else
			r = error_set(err, EINVAL, "the simulation has no argument '%s'", name);
		if (r != 0)
			return error_context(err, "%s", x->file);
		plan->bugged = plan->bugged || strcmp(name, "--bug") == 0;
	}
	return policy_check(&plan->policy, err);
}
