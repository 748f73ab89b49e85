/* SPDX-License-Identifier: Apache-2.0 */
/* Seeds that bring their process down, one after the other: each is a finding, the next one is watched as well, and a budget ends them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>

#include "sim/campaign.h"
#include "sim/plan.h"

#define BUDGET_MS 200u
#define BURNT_US  5000 /* by a seed, before it dies */
#define HANGS     UINT64_C(4711)

static bool watched = true; /* is it ended if it hangs? */

/* In place of the simulator's own, by the linker's --wrap. */
void __wrap_sim_run(struct sim *sim, const struct sim_plan *plan, struct sim_result *result, struct coverage *coverage);

void __wrap_sim_run(struct sim *sim, const struct sim_plan *plan, struct sim_result *result, struct coverage *coverage)
{
	const struct rlimit no_core = {0, 0};
	struct itimerval timer;
	struct timespec used;

	(void)sim, (void)result, (void)coverage;
	while (plan->seed == HANGS)
		;
	getitimer(ITIMER_PROF, &timer);
	do
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	while (used.tv_sec == 0 && used.tv_nsec < BURNT_US * 1000);
	setrlimit(RLIMIT_CORE, &no_core);
	signal(SIGSEGV, SIG_DFL);
	raise(timer.it_value.tv_sec > 0 ? SIGSEGV : SIGUSR1);
	abort();
}

static void run(struct campaign *c, const struct campaign_options *options)
{
	struct error err;

	if (campaign_run(c, options, &err) != 0)
		fail_msg("%s", err.text);
	for (uint32_t i = 0; i < c->found_count; i++)
		watched = watched && c->found[i].signal == SIGSEGV;
}

static void each_death_is_found(void **state)
{
	const struct campaign_options options = {.first = 1, .count = 20, .jobs = 2, .aim = -1};
	static struct campaign c;

	(void)state;
	run(&c, &options);
	assert_int_equal(c.seeds, 20);
	assert_int_equal(c.deviated, 20);
	assert_int_equal(c.by_check[CAMPAIGN_CRASHED], 20);
	assert_int_equal(c.found_count, CAMPAIGN_FOUND_MAX);
	for (uint32_t i = 0; i < c.found_count; i++)
		assert_int_equal(c.found[i].seed, i + 1);
	assert_true(watched);
}

/* Without an end of their own: what the dead have used counts. */
static void a_budget_ends_them(void **state)
{
	struct campaign_options options = {
	    .first = 1, .count = UINT64_C(1) << 40, .jobs = 2, .aim = -1, .cpu_ms = BUDGET_MS};
	static struct campaign c;

	(void)state;
	run(&c, &options);
	assert_true(c.seeds > 2 && c.seeds == c.deviated);
	options.cpu_ms = 0;
	options.budget_ms = BUDGET_MS;
	run(&c, &options);
	assert_true(c.seeds > 0 && c.seeds == c.deviated);
}

/* While it is shrunk it is tried many times: each takes seconds, not the minute that a fresh seed has. */
static void a_hang_is_seen_soon(void **state)
{
	static struct sim_plan plan = {.seed = HANGS};
	struct campaign_found found;
	struct rusage usage;
	uint64_t events;
	struct error err;

	(void)state;
	if (campaign_try(NULL, &plan, &found, &events, &err) != 0)
		fail_msg("%s", err.text);
	assert_int_equal(found.signal, SIGPROF);
	getrusage(RUSAGE_CHILDREN, &usage);
	assert_in_range(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec, 1, 10); /* of the processor, not of time */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_death_is_found),
	    cmocka_unit_test(a_budget_ends_them),
	    cmocka_unit_test(a_hang_is_seen_soon),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
