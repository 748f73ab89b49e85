/* SPDX-License-Identifier: Apache-2.0 */
/* Objectives of the conductor's core: what the SLO file claims, each colour, remediation and incidents. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core_world.h"

#include <stdio.h>
#include <string.h>

#define SECOND (1000 * WORLD_MS)

enum { TASKS, DELIVERY, LATENCY, RECOVERY };

static struct world *make(uint64_t window, const char *bug)
{
	struct core_options options;

	world_options(&options);
	options.policy.slo_window = window;
	if (bug)
		assert_int_equal(bugs_add(&options.bugs, bug, NULL), 0);
	return world_create(&options);
}

static void run_tasks(struct world *w, const char *prefix, unsigned count, bool fail)
{
	char id[16];

	for (int p = 0; p < 4; p++)
		w->provider_status[p] = fail ? 400 : 0;
	for (unsigned i = 0; i < count; i++) {
		snprintf(id, sizeof id, "%s%u", prefix, i);
		world_submit(w, i, id, "write", NULL);
	}
	world_pass(w, 2 * SECOND);
	assert_string_equal(world_state(w, id), fail ? "failed" : "done");
}

static struct core_slo_report report(const struct world *w)
{
	struct core_slo_report r;

	core_slo_report(w->core, w->now_us, &r);
	return r;
}

static void colours(void **state)
{
	struct world *w = make(50, NULL);
	struct core_slo_report r = report(w);

	(void)state;
	assert_string_equal(r.status, "green");
	assert_true(r.slos[TASKS].current >= 1.0 && r.slos[DELIVERY].met);
	run_tasks(w, "a", 10, false);
	run_tasks(w, "b", 1, true);
	r = report(w);
	assert_int_equal(r.total_tasks, 11);
	assert_int_equal(r.failed_tasks, 1);
	assert_true(r.budget_total > 2.99 && r.budget_total < 3.01); /* at least 3 */
	assert_true(r.budget_fraction > 0.66 && r.budget_fraction < 0.67);
	assert_string_equal(r.status, "green");
	assert_true(r.slos[TASKS].current > 0.909 && r.slos[TASKS].current < 0.91 && r.slos[TASKS].met);
	assert_true(r.burn_rate > 0.90 && r.burn_rate < 0.92);
	assert_true(r.time_to_exhaustion_tasks > 21.9 && r.time_to_exhaustion_tasks < 22.1);
	run_tasks(w, "c", 1, true);
	r = report(w);
	assert_string_equal(r.status, "yellow");
	assert_false(r.slos[TASKS].met);
	run_tasks(w, "d", 1, true);
	r = report(w);
	assert_string_equal(r.status, "red");
	assert_true(r.is_depleted);
	world_destroy(w);
}

static void undelivered_counts_until_delivered(void **state)
{
	struct world *w = make(50, NULL);
	struct core_slo_report r;

	(void)state;
	w->sink_status = 503;
	for (unsigned i = 0; i < 4; i++)
		world_submit(w, i, (const char *[]){"a", "b", "c", "d"}[i], "write", NULL);
	world_pass(w, SECOND);
	r = report(w);
	assert_true(r.slos[DELIVERY].met); /* still within the limit of 2 s */
	world_pass(w, 2 * SECOND);
	r = report(w);
	assert_true(r.slos[DELIVERY].current < 0.01);
	assert_string_equal(r.slos[DELIVERY].status, "red");
	assert_string_equal(r.slos[TASKS].status, "green");
	assert_string_equal(r.status, "red");
	w->sink_status = 200;
	world_pass(w, SECOND);
	r = report(w);
	assert_true(r.slos[DELIVERY].current >= 1.0);
	assert_string_equal(r.status, "green");
	world_destroy(w);
}

/* However long the log takes, in the end the file says what is so. */
static void the_file_comes_true(void **state)
{
	(void)state;
	for (uint64_t sync_ms = 1; sync_ms <= 60; sync_ms++) {
		struct core_options options;
		struct world *w;

		world_options(&options);
		options.policy.notify_limit_ms = 40;
		options.policy.report_ms = 5;
		w = world_create(&options);
		w->sync_ms = sync_ms;
		run_tasks(w, "a", 3, false);
		assert_true(report(w).slos[DELIVERY].met);
		assert_true(w->slo_file.slos[DELIVERY].met);
		assert_int_equal(w->slo_file.total_tasks, 3);
		world_destroy(w);
	}
}

static void latency_and_recovery(void **state)
{
	struct core_options options;
	struct core_slo_report r;
	struct world *w;

	(void)state;
	world_options(&options);
	options.policy.slo_latency_ms = 500;
	w = world_create(&options);
	w->call_ms = 200;
	run_tasks(w, "a", 4, false);
	r = report(w);
	assert_true(r.slos[LATENCY].current > 0.8 && r.slos[LATENCY].current < 1.0);
	assert_true(r.slos[LATENCY].target > 0.49 && r.slos[LATENCY].target < 0.51);
	assert_false(r.slos[LATENCY].met);
	assert_string_equal(r.slos[LATENCY].status, "red");
	assert_true(r.slos[RECOVERY].current <= 0.0);
	world_submit(w, 9, "b", "write", NULL);
	world_pass(w, 100 * WORLD_MS);
	world_die(w, (int)w->agent_count - 1, 137);
	world_pass(w, 3 * SECOND);
	r = report(w);
	assert_true(r.slos[RECOVERY].current > 0.001 && r.slos[RECOVERY].current < 0.01);
	world_destroy(w);
}

static uint32_t agents(const struct world *w)
{
	struct core_status s;

	core_status(w->core, w->now_us, &s);
	return s.agents_max;
}

/* Two are halved, too; one is left. */
static void the_last_agent_is_left(void **state)
{
	struct core_options options;
	struct world *w;

	(void)state;
	for (uint32_t limit = 1; limit <= 3; limit++) {
		world_options(&options);
		options.policy.slo_window = 16;
		options.policy.agents = limit;
		w = world_create(&options);
		run_tasks(w, "a", 3, true);
		assert_string_equal(report(w).status, "red");
		assert_int_equal(agents(w), 1);
		world_destroy(w);
	}
}

static void remediation_and_incidents(void **state)
{
	struct world *w = make(16, NULL);
	struct core_incident incident;
	uint32_t last = 3;

	(void)state;
	run_tasks(w, "a", 3, true);
	assert_string_equal(report(w).status, "red");
	assert_int_equal(agents(w), 3); /* halved, once */
	assert_int_equal(core_incident_count(w->core), 1);
	core_incident(w->core, 0, &incident);
	assert_string_equal(incident.slo, "task_success");
	assert_string_equal(incident.state, "remediating");
	assert_int_equal(incident.agents, 3);
	assert_true(incident.detected_us > 0 && incident.remediating_us >= incident.detected_us);
	assert_int_equal(report(w).action_count, 1);
	world_restart(w, 0); /* a restart forgets none of it */
	assert_int_equal(agents(w), 3);
	assert_int_equal(core_incident_count(w->core), 1);
	for (unsigned i = 0; i < 12; i++) {
		char name[4] = {'b', (char)('a' + i), 0};

		run_tasks(w, name, 4, false);
		assert_true(agents(w) == last || agents(w) == last + 1 || agents(w) == last + 2);
		last = agents(w);
	}
	assert_int_equal(last, 6);
	assert_string_equal(report(w).status, "green");
	core_incident(w->core, 0, &incident);
	assert_string_equal(incident.state, "resolved");
	assert_true(incident.resolved_us > incident.remediating_us);
	assert_int_equal(report(w).action_count, 0);
	assert_true(w->incident_writes >= 3);
	assert_int_equal(world_records(w, CORE_RECORD_REMEDIATE), 4);
	world_destroy(w);
}

/* Nothing more happens, and it gets green again all the same: the window is one of time, too. */
static void window_slides_with_time(void **state)
{
	struct world *w = make(50, NULL);
	size_t writes;

	(void)state;
	run_tasks(w, "a", 3, true);
	assert_string_equal(report(w).status, "red");
	writes = w->slo_writes;
	world_pass(w, 70 * SECOND);
	assert_string_equal(report(w).status, "green");
	assert_int_equal(report(w).total_tasks, 0);
	assert_true(w->slo_writes > writes);
	world_pass(w, 60 * SECOND);
	assert_int_equal(agents(w), 6);
	assert_true(core_digest(w->core) == world_replayed(w));
	world_destroy(w);
}

/* The file is replaced when it would say something else, and only then. */
static void quiet_when_nothing_changes(void **state)
{
	struct world *w = make(50, NULL);
	uint64_t staged;
	size_t writes;

	(void)state;
	run_tasks(w, "a", 4, false);
	world_pass(w, SECOND);
	staged = w->staged;
	writes = w->slo_writes;
	assert_true(writes >= 1 && writes < 10);
	world_pass(w, 20 * SECOND);
	assert_int_equal(w->staged, staged);
	assert_int_equal(w->slo_writes, writes);
	world_destroy(w);
}

static void the_lie(void **state)
{
	struct world *w = make(50, "slo-always-green");

	(void)state;
	run_tasks(w, "a", 5, true);
	assert_string_equal(report(w).status, "green");
	assert_true(report(w).slos[TASKS].current >= 1.0);
	world_destroy(w);
}

static void it_sticks(void **state)
{
	struct world *w = make(8, "remediation-sticks");

	(void)state;
	run_tasks(w, "a", 3, true);
	world_pass(w, 200 * SECOND);
	assert_string_equal(report(w).status, "red");
	assert_int_equal(agents(w), 3);
	for (unsigned i = 0; i < 6; i++) {
		char name[4] = {'b', (char)('a' + i), 0};

		run_tasks(w, name, 4, false);
	}
	assert_int_equal(agents(w), 3);
	assert_string_equal(report(w).status, "red");
	world_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(colours),
	    cmocka_unit_test(undelivered_counts_until_delivered),
	    cmocka_unit_test(the_file_comes_true),
	    cmocka_unit_test(latency_and_recovery),
	    cmocka_unit_test(the_last_agent_is_left),
	    cmocka_unit_test(remediation_and_incidents),
	    cmocka_unit_test(window_slides_with_time),
	    cmocka_unit_test(quiet_when_nothing_changes),
	    cmocka_unit_test(the_lie),
	    cmocka_unit_test(it_sticks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
