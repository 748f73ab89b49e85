/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every seeded bug is found in simulation by the invariant that its row names, and what deviates gets smaller and still deviates. A test of the
 * checkers, not of memory: it is not run again under the sanitizers, where it would take minutes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "fixtures/conductor/policy/bugs.h"
#include "sim/coverage.h"
#include "sim/shrink.h"
#include "sim/sim.h"

#define SEEDS_MAX  60000u
#define FAULTS_MAX 5u /* that a schedule may have when it has been shrunk */

struct aim {
	struct sim *sim;
	const char *invariant;
	struct coverage coverage;
	struct sim_plan plan;
};

static bool violates(void *arg, const struct sim_plan *plan, uint64_t *ret_events)
{
	struct aim *aim = arg;
	struct sim_result r;
	unsigned i;

	sim_run(aim->sim, plan, &r, &aim->coverage);
	*ret_events = r.events;
	for (i = 0; i < SIM_CHECKS; i++)
		if (strcmp(r.verdicts[i].name, aim->invariant) == 0)
			return r.verdicts[i].violations > 0;
	fail_msg("no invariant is called %s", aim->invariant);
	return false;
}

static void find_and_shrink(struct aim *aim, const char *name)
{
	struct shrink_figures figures;
	uint64_t events, seed = 0;
	bool found = false;

	while (!found && ++seed <= SEEDS_MAX) {
		plan_draw(&aim->plan, seed);
		found = violates(aim, &aim->plan, &events);
	}
	if (!found)
		fail_msg("%s is not found", name);
	shrink(&aim->plan, violates, aim, &figures);
	print_message("%s: seed %llu, %u faults and %u tasks left of %u and %u\n", name, (unsigned long long)seed,
	    figures.faults_after, figures.tasks_after, figures.faults_before, figures.tasks_before);
	assert_true(figures.faults_after <= FAULTS_MAX);
	assert_true(violates(aim, &aim->plan, &events));
}

static int setup(void **state)
{
	*state = calloc(1, sizeof(struct aim));
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	struct aim *aim = *state;

	sim_destroy(aim->sim);
	free(aim);
	return 0;
}

static void bugs_are_found_and_shrunk(void **state)
{
	struct aim *aim = *state;
	struct error err;

	for (unsigned bug = 0; bug < BUG_COUNT; bug++) {
		aim->invariant = bug_table[bug].invariant;
		sim_destroy(aim->sim);
		aim->sim = NULL;
		if (sim_create(&aim->sim, bug_table[bug].name, &err) != 0)
			fail_msg("%s", err.text);
		find_and_shrink(aim, bug_table[bug].name);
	}
}

/* Is it the only one that notices this run? */
static bool alone(struct aim *aim, uint64_t seed)
{
	struct sim_result r;
	bool noticed = false;

	plan_draw(&aim->plan, seed);
	sim_run(aim->sim, &aim->plan, &r, &aim->coverage);
	for (unsigned i = 0; i < SIM_CHECKS; i++) {
		bool its_own = strcmp(r.verdicts[i].name, aim->invariant) == 0;

		if (r.verdicts[i].violations && !its_own)
			return false;
		noticed = noticed || (its_own && r.verdicts[i].violations);
	}
	return noticed;
}

/* No mechanical mistake is for these two alone, see docs/proving.md: without them these bugs would pass. */
static void nobody_else_notices(void **state)
{
	static const char *const bugs[] = {"stale-result-taken", "agents-kept"};
	struct aim *aim = *state;
	struct error err;

	for (unsigned i = 0; i < sizeof bugs / sizeof bugs[0]; i++) {
		uint64_t seed = 1;

		for (unsigned bug = 0; bug < BUG_COUNT; bug++)
			if (strcmp(bug_table[bug].name, bugs[i]) == 0)
				aim->invariant = bug_table[bug].invariant;
		sim_destroy(aim->sim);
		aim->sim = NULL;
		if (sim_create(&aim->sim, bugs[i], &err) != 0)
			fail_msg("%s", err.text);
		while (seed <= SEEDS_MAX && !alone(aim, seed))
			seed++;
		if (seed > SEEDS_MAX)
			fail_msg("%s is never for %s alone", bugs[i], aim->invariant);
		print_message("%s: only %s notices seed %llu\n", bugs[i], aim->invariant, (unsigned long long)seed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(bugs_are_found_and_shrunk, setup, teardown),
	    cmocka_unit_test_setup_teardown(nobody_else_notices, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
