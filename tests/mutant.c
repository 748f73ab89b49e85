/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Simulates with whatever core it was linked with, and says which invariant notices first: for mutate_core.sh, which links it
 * with one mistake at a time. First the schedules that are kept, then seeds from 1 on. What else would have noticed is seen
 * in some more seeds.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/coverage.h"
#include "sim/plan.h"
#include "sim/schedule.h"
#include "sim/sim.h"

#define MORE 200u /* seeds after the first that deviates */

struct run {
	struct sim *sim;
	struct coverage *coverage;
	struct sim_result result;
	uint32_t noticed; /* bit: number of a check */
	bool endless;     /* one did not come to its end */
};

/* true: for the first time. */
static bool deviates(struct run *run, const struct sim_plan *plan, const char *of)
{
	bool first = run->noticed == 0 && !run->endless;

	sim_run(run->sim, plan, &run->result, run->coverage);
	for (unsigned i = 0; i < SIM_CHECKS; i++)
		run->noticed |= run->result.verdicts[i].violations ? 1u << i : 0;
	run->endless = run->endless || run->result.cut;
	if (!first || (run->noticed == 0 && !run->endless))
		return false;
	for (unsigned i = 0; i < SIM_CHECKS && run->noticed; i++) {
		if (!(run->noticed >> i & 1))
			continue;
		printf("%s\t%s\n", run->result.verdicts[i].name, of);
		break;
	}
	if (!run->noticed)
		printf("endless\t%s\n", of);
	fflush(stdout);
	return true;
}

static void say_all(const struct run *run)
{
	const char *comma = "";

	for (unsigned i = 0; i < SIM_CHECKS; i++) {
		if (!(run->noticed >> i & 1))
			continue;
		printf("%s%s", comma, run->result.verdicts[i].name);
		comma = ",";
	}
	puts(run->noticed ? "" : "endless");
}

int main(int argc, char **argv)
{
	uint64_t seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : 0, last = seeds;
	static struct coverage coverage;
	struct run run = {.coverage = &coverage};
	static struct sim_plan plan;
	struct error err;

	if (seeds == 0) {
		fprintf(stderr, "usage: mutant SEEDS [SCHEDULE ...]\n");
		return 2;
	}
	if (sim_create(&run.sim, NULL, &err) != 0) {
		fprintf(stderr, "mutant: %s\n", err.text);
		return 2;
	}
	for (int i = 2; i < argc; i++) {
		const char *name = strrchr(argv[i], '/');

		if (schedule_read(&plan, NULL, argv[i], &err) != 0) {
			fprintf(stderr, "mutant: %s\n", err.text);
			return 2;
		}
		if (deviates(&run, &plan, name ? name + 1 : argv[i]))
			last = MORE;
	}
	for (uint64_t seed = 1; seed <= last; seed++) {
		char of[32];

		plan_draw(&plan, seed);
		snprintf(of, sizeof of, "seed %" PRIu64, seed);
		if (deviates(&run, &plan, of))
			last = seed + MORE < seeds ? seed + MORE : seeds;
	}
	if (run.noticed || run.endless)
		say_all(&run);
	sim_destroy(run.sim);
	return run.noticed || run.endless ? 1 : 0;
}
