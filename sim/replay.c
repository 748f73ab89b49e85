/* SPDX-License-Identifier: Apache-2.0 */
/* What `tritone replay` does: one seed, or one schedule, and its story. */
#include <inttypes.h>
#include <stdio.h>

#include "sim/coverage.h"
#include "sim/schedule.h"
#include "sim/sim.h"

static void print_plan(const struct sim_plan *plan)
{
	const struct policy *p = &plan->policy;
	char line[256];

	printf("seed %" PRIu64 ": %" PRIu64 " agents, %u tasks, lease %" PRIu64 " ms, attempts %" PRIu64
	       ", breaker %" PRIu64 "/%" PRIu64 " ms, call %u..%u us, sync %u..%u us\n",
	    plan->seed, p->agents, plan->task_count, p->lease_ms, p->attempts_max, p->breaker_threshold,
	    p->breaker_reset_ms, plan->call.low, plan->call.high, plan->sync.low, plan->sync.high);
	for (uint32_t i = 0; i < plan->fault_count; i++) {
		sim_fault_format(&plan->faults[i], line, sizeof line);
		printf("  fault: %s\n", line);
	}
}

/* What was not felt has tested nothing: how many, each by its name. */
static uint32_t print_unfelt(const struct sim *sim, const struct sim_plan *plan)
{
	uint32_t count = 0;
	char name[64];

	for (uint32_t i = 0; i < plan->fault_count; i++) {
		if (sim_felt(sim, i))
			continue;
		sim_fault_name(&plan->faults[i], name, sizeof name);
		printf("never felt: %s\n", name);
		count++;
	}
	return count;
}

int sim_replay(const struct sim_replay *options, struct error *err)
{
	static struct coverage coverage;
	static struct sim_plan plan;
	struct sim_result r;
	struct sim *sim;
	uint32_t unfelt;

	if (!options->schedule)
		plan_draw(&plan, *options->seed);
	else if (schedule_read(&plan, options->seed, options->schedule, err) != 0)
		return -1;
	if (sim_create(&sim, options->bug, err) != 0)
		return -1;
	sim_run(sim, &plan, &r, &coverage);
	if (!options->quiet) {
		print_plan(&plan);
		sim_story(sim, stdout);
	}
	for (unsigned i = 0; i < SIM_CHECKS; i++)
		printf("%-26s %-8s %6" PRIu64 " opportunities  %s\n", r.verdicts[i].name,
		    r.verdicts[i].violations      ? "deviated"
		    : r.verdicts[i].opportunities ? "held"
						  : "vacuous",
		    r.verdicts[i].opportunities, r.verdicts[i].text);
	printf("%" PRIu64 " events, %" PRIu64 " operations, %.3f s simulated, trace %016" PRIx64 "\n", r.events, r.ops,
	    (double)r.simulated_us / 1e6, r.trace);
	unfelt = print_unfelt(sim, &plan);
	sim_destroy(sim);
	if (r.deviated)
		return SIM_DEVIATED;
	/* A schedule is there for its faults; a seed's are drawn, and many a one comes too late. */
	return coverage_any(&coverage) && !(options->schedule && unfelt) ? SIM_HELD : SIM_VACUOUS;
}
