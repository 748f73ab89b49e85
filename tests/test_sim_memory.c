/* SPDX-License-Identifier: Apache-2.0 */
/* The simulator's memory: all of it is there before the first seed. Only the judgement of a seed takes some, a few blocks that do
 * not grow in number with what happened in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "sim/coverage.h"
#include "sim/plan.h"
#include "sim/sim.h"

#define SEEDS      400u
#define BLOCKS_MAX 32u /* of all the checkers */

/* The C library's own, by the names that it has for those who stand in front of it. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

static uint64_t allocations;

void *malloc(size_t size)
{
	allocations++;
	return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	allocations++;
	return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
	allocations++;
	return __libc_realloc(old, size);
}

static void no_event_allocates(void **state)
{
	static struct coverage coverage;
	static struct sim_plan plan;
	uint64_t most = 0, longest = 0, before = allocations;
	struct sim_result result;
	struct sim *sim;
	struct error err;
	void *volatile one = malloc(1);

	(void)state;
	free(one);
	assert_true(allocations == before + 1); /* they are counted */
	if (sim_create(&sim, NULL, &err) != 0)
		fail_msg("%s", err.text);
	assert_true(sim_memory(sim) > 0);
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		plan_draw(&plan, seed);
		before = allocations;
		sim_run(sim, &plan, &result, &coverage);
		most = allocations - before > most ? allocations - before : most;
		longest = result.steps > longest ? result.steps : longest;
	}
	sim_destroy(sim);
	print_message("at most %llu blocks for the judgement, %llu steps of the core in the longest seed\n",
	    (unsigned long long)most, (unsigned long long)longest);
	assert_true(longest > 32 * BLOCKS_MAX);
	assert_true(most > 0 && most <= BLOCKS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(no_event_allocates)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
