/* SPDX-License-Identifier: Apache-2.0 */
/* The conductor's core on its main path: acceptance, the order of records and effects, the DAG, bulkheads,
 * idempotency, landings, notifications. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core_world.h"

#include <stdio.h>
#include <string.h>

#define SECOND (1000 * WORLD_MS)

static int setup(void **state)
{
	struct core_options options;

	world_options(&options);
	*state = world_create(&options);
	return 0;
}

static int teardown(void **state)
{
	world_destroy(*state);
	return 0;
}

static void one_task(void **state)
{
	struct world *w = *state;
	static const uint32_t order[] = {CORE_RECORD_ACCEPT, CORE_RECORD_CLAIM, CORE_RECORD_SPAWN, CORE_RECORD_STEP,
	    CORE_RECORD_STEP, CORE_RECORD_STEP, CORE_RECORD_STEP, CORE_RECORD_RESULT, CORE_RECORD_COMMIT_INTENT,
	    CORE_RECORD_COMMIT_DONE, CORE_RECORD_NOTIFY_INTENT, CORE_RECORD_NOTIFY_DONE};
	size_t next = 0;

	world_submit(w, 1, "a", "write", NULL);
	world_run(w, 5 * SECOND);
	assert_string_equal(world_state(w, "a"), "done");
	assert_int_equal(world_commits(w, "a"), 1);
	assert_int_equal(world_notes(w, "a"), 1);
	assert_int_equal(w->call_count, 4);
	for (uint64_t i = 0; i < w->durable; i++)
		if (w->log[i].kind != CORE_RECORD_SLO)
			assert_int_equal(w->log[i].kind, order[next++]);
	assert_int_equal(next, sizeof order / sizeof order[0]);
	assert_true(core_quiet(w->core));
	assert_true(core_digest(w->core) == world_replayed(w));
}

/* Before each effect the record that it depends on must be durable. */
static bool durable_before(struct world *w, const struct core_effect *e)
{
	uint32_t needs = 0;

	if (e->kind == CORE_REPLY && e->status == 202)
		assert_true(e->lsn <= w->durable);
	if (e->kind == CORE_SPAWN)
		needs = CORE_RECORD_CLAIM;
	if (e->kind == CORE_WORK)
		needs = CORE_RECORD_SPAWN;
	if (e->kind == CORE_LAND)
		needs = CORE_RECORD_COMMIT_INTENT;
	if (e->kind == CORE_NOTIFY)
		needs = CORE_RECORD_NOTIFY_INTENT;
	if (needs) {
		assert_true(world_records(w, needs) > w->user[needs]);
		w->user[needs]++;
	}
	if (e->kind == CORE_ROUTE && e->go)
		assert_int_equal(world_records(w, CORE_RECORD_STEP), e->step - 1);
	return false;
}

static void effects_wait_for_records(void **state)
{
	struct world *w = *state;

	w->on_effect = durable_before;
	world_submit(w, 1, "a", "write", NULL);
	assert_int_equal(w->reply_count, 0);
	world_run(w, 5 * SECOND);
	assert_int_equal(w->reply_count, 1);
	assert_int_equal(w->replies[0].status, 202);
	assert_string_equal(world_state(w, "a"), "done");
	assert_int_equal(w->user[CORE_RECORD_CLAIM], 1);
	assert_int_equal(w->user[CORE_RECORD_SPAWN], 1);
	assert_int_equal(w->user[CORE_RECORD_COMMIT_INTENT], 1);
	assert_int_equal(w->user[CORE_RECORD_NOTIFY_INTENT], 1);
}

static void idempotency_keys(void **state)
{
	struct world *w = *state;
	struct core_submission s = {.id = "a", .key = "k", .role = "write", .prompt = "x"};
	struct core_submission other = {.id = "a", .key = "k", .role = "write", .prompt = "y"};
	struct core_submission other_key = {.id = "a", .key = "k2", .role = "write", .prompt = "y"};
	struct core_submission other_id = {.id = "b", .key = "k", .role = "write", .prompt = "x"};

	world_step(w, (struct core_event){.kind = CORE_SUBMIT, .token = 1, .submission = &s});
	world_step(w, (struct core_event){.kind = CORE_SUBMIT, .token = 2, .submission = &s});
	world_step(w, (struct core_event){.kind = CORE_SUBMIT, .token = 3, .submission = &other});
	world_step(w, (struct core_event){.kind = CORE_SUBMIT, .token = 4, .submission = &other_key});
	world_step(w, (struct core_event){.kind = CORE_SUBMIT, .token = 6, .submission = &other_id});
	assert_int_equal(w->reply_count, 3);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(w->replies[i].status, 409);
	world_run(w, 5 * SECOND);
	world_step(w, (struct core_event){.kind = CORE_SUBMIT, .token = 5, .submission = &s});
	assert_int_equal(w->reply_count, 6);
	for (size_t i = 3; i < 6; i++) {
		assert_int_equal(w->replies[i].status, 202);
		assert_int_equal(w->replies[i].lsn, w->replies[3].lsn);
		assert_string_equal(w->replies[i].task, "a");
	}
	assert_int_equal(world_commits(w, "a"), 1);
}

static void refusals(void **state)
{
	struct world *w = *state;
	struct core_submission s = {.id = "", .role = "write"};

	world_step(w, (struct core_event){.kind = CORE_SUBMIT, .token = 1, .submission = &s});
	s.id = "../x";
	world_step(w, (struct core_event){.kind = CORE_SUBMIT, .token = 2, .submission = &s});
	s = (struct core_submission){.id = "a", .role = "boss"};
	world_step(w, (struct core_event){.kind = CORE_SUBMIT, .token = 3, .submission = &s});
	s = (struct core_submission){.id = "a", .role = "write", .after = {"nobody"}, .after_count = 1};
	world_step(w, (struct core_event){.kind = CORE_SUBMIT, .token = 4, .submission = &s});
	s = (struct core_submission){.id = "a", .role = "write", .after_count = 17};
	world_step(w, (struct core_event){.kind = CORE_SUBMIT, .token = 5, .submission = &s});
	assert_int_equal(w->reply_count, 5);
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(w->replies[i].status, 400);
		assert_true(w->replies[i].text[0] != '\0');
	}
	assert_int_equal(core_task_count(w->core), 0);
}

static void queue_is_bounded(void **state)
{
	struct core_options options;
	struct world *w;

	(void)state;
	world_options(&options);
	options.policy.queue_max = 2;
	w = world_create(&options);
	world_submit(w, 1, "a", "write", NULL);
	world_submit(w, 2, "b", "write", NULL);
	world_submit(w, 3, "c", "write", NULL);
	assert_int_equal(w->replies[0].status, 429);
	assert_int_equal(w->replies[0].token, 3);
	world_run(w, 5 * SECOND);
	world_submit(w, 4, "c", "write", NULL);
	world_run(w, 5 * SECOND);
	assert_string_equal(world_state(w, "c"), "done");
	world_destroy(w);
}

static uint64_t commit_time(const struct world *w, const char *task)
{
	for (size_t i = 0; i < w->commit_count; i++)
		if (strcmp(w->commits[i].task, task) == 0)
			return w->commits[i].at_us;
	return 0;
}

static void dag(void **state)
{
	struct world *w = *state;

	world_submit(w, 1, "p", "plan", NULL);
	world_submit(w, 2, "w1", "write", "p");
	world_submit(w, 3, "w2", "write", "p");
	world_submit(w, 4, "r", "review", "w1,w2");
	assert_string_equal(world_state(w, "w1"), "accepted");
	world_run(w, 10 * SECOND);
	assert_string_equal(world_state(w, "r"), "done");
	assert_int_equal(w->commit_count, 4);
	assert_true(commit_time(w, "p") < w->calls[4].at_us);
	assert_true(commit_time(w, "r") > commit_time(w, "w1") && commit_time(w, "r") > commit_time(w, "w2"));
	assert_int_equal(world_records(w, CORE_RECORD_HANDOFF), 4);
	assert_true(core_digest(w->core) == world_replayed(w));
}

static void failed_dependency(void **state)
{
	struct world *w = *state;

	world_submit(w, 1, "a", "write", NULL);
	world_submit(w, 2, "b", "write", "a");
	world_submit(w, 3, "c", "write", "b");
	w->provider_status[0] = w->provider_status[1] = w->provider_status[2] = w->provider_status[3] = 400;
	world_run(w, 10 * SECOND);
	assert_string_equal(world_state(w, "a"), "failed");
	assert_string_equal(world_state(w, "b"), "failed");
	assert_string_equal(world_state(w, "c"), "failed");
	assert_int_equal(w->call_count, 3); /* 1 + validation-retries */
	assert_int_equal(w->commit_count, 0);
	assert_true(core_quiet(w->core));
}

static bool count_agents(struct world *w, const struct core_effect *e)
{
	struct core_status status;

	if (e->kind != CORE_SPAWN)
		return false;
	core_status(w->core, w->now_us, &status);
	assert_true(status.running <= w->options.policy.agents);
	if (status.running > w->user[0])
		w->user[0] = status.running;
	return false;
}

static void bulkheads(void **state)
{
	struct core_options options;
	struct world *w;
	char id[8];

	(void)state;
	world_options(&options);
	options.policy.role_agents[POLICY_ROLE_PLAN] = 3;
	options.policy.role_agents[POLICY_ROLE_WRITE] = 1;
	w = world_create(&options);
	w->on_effect = count_agents;
	for (unsigned i = 0; i < 8; i++) {
		snprintf(id, sizeof id, "p%u", i);
		world_submit(w, i, id, "plan", NULL);
		snprintf(id, sizeof id, "w%u", i);
		world_submit(w, 100 + i, id, "write", NULL);
	}
	world_run(w, 60 * SECOND);
	assert_int_equal(w->commit_count, 16);
	assert_int_equal(w->user[0], 4);
	world_destroy(w);
}

static void notifications_are_retried(void **state)
{
	struct world *w = *state;
	struct core_status status;

	w->sink_status = 500;
	world_submit(w, 1, "a", "write", NULL);
	world_run(w, 3 * SECOND);
	assert_string_equal(world_state(w, "a"), "committed");
	core_status(w->core, w->now_us, &status);
	assert_true(w->note_count > 5);
	assert_int_equal(status.notify_retries, w->note_count);
	for (size_t i = 6; i < w->note_count; i++) { /* backoff grows to its bound, and no further */
		assert_true(w->notes[i].at_us - w->notes[i - 1].at_us >= 200 * WORLD_MS);
		assert_true(w->notes[i].at_us - w->notes[i - 1].at_us <= 403 * WORLD_MS);
		assert_string_equal(w->notes[i].key, "a:c0");
	}
	w->sink_status = 204;
	world_run(w, SECOND);
	assert_string_equal(world_state(w, "a"), "done");
	assert_int_equal(world_notes(w, "a"), 1);
	assert_int_equal(world_records(w, CORE_RECORD_NOTIFY_INTENT), 1);
}

static void unknown_landing_is_looked_up(void **state)
{
	struct world *w = *state;

	w->git = GIT_LANDS_AND_FAILS;
	world_submit(w, 1, "a", "write", NULL);
	world_run(w, 5 * SECOND);
	assert_string_equal(world_state(w, "a"), "done");
	assert_int_equal(world_commits(w, "a"), 1);
	w->git = GIT_FAILS;
	world_submit(w, 2, "b", "write", NULL);
	world_run(w, 2 * SECOND);
	assert_string_equal(world_state(w, "b"), "committing");
	w->git = GIT_WORKS;
	world_run(w, 2 * SECOND);
	assert_string_equal(world_state(w, "b"), "done");
	assert_int_equal(world_commits(w, "b"), 1);
}

static void conflicts_start_afresh(void **state)
{
	struct world *w = *state;

	w->git = GIT_CONFLICTS;
	world_submit(w, 1, "a", "write", NULL);
	world_run(w, 200 * WORLD_MS);
	w->git = GIT_WORKS;
	world_run(w, 5 * SECOND);
	assert_string_equal(world_state(w, "a"), "done");
	assert_int_equal(world_commits(w, "a"), 1);
	assert_int_equal(w->commits[0].attempt, 2);
	assert_int_equal(w->call_count, 8); /* no step of the first attempt is believed */
}

static void fenced_conductor_leaves(void **state)
{
	struct world *w = *state;

	world_submit(w, 1, "a", "write", NULL);
	world_run(w, 50 * WORLD_MS);
	w->epoch++; /* somebody else has taken over */
	world_run(w, 5 * SECOND);
	assert_int_equal(w->exit_status, 75);
	assert_int_equal(w->commit_count, 0);
}

static void shutdown_is_orderly(void **state)
{
	struct world *w = *state;

	world_submit(w, 1, "a", "write", NULL);
	world_run(w, 50 * WORLD_MS);
	world_step(w, (struct core_event){.kind = CORE_SHUTDOWN});
	world_submit(w, 2, "b", "write", NULL);
	assert_int_equal(w->replies[w->reply_count - 1].status, 503);
	world_run(w, 5 * SECOND);
	assert_int_equal(w->exit_status, 0);
	for (size_t i = 0; i < w->agent_count; i++)
		assert_false(w->agents[i].alive);
	world_restart(w, 0);
	world_run(w, 5 * SECOND);
	assert_string_equal(world_state(w, "a"), "done");
	assert_int_equal(world_commits(w, "a"), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(one_task, setup, teardown),
	    cmocka_unit_test_setup_teardown(effects_wait_for_records, setup, teardown),
	    cmocka_unit_test_setup_teardown(idempotency_keys, setup, teardown),
	    cmocka_unit_test_setup_teardown(refusals, setup, teardown),
	    cmocka_unit_test(queue_is_bounded),
	    cmocka_unit_test_setup_teardown(dag, setup, teardown),
	    cmocka_unit_test_setup_teardown(failed_dependency, setup, teardown),
	    cmocka_unit_test(bulkheads),
	    cmocka_unit_test_setup_teardown(notifications_are_retried, setup, teardown),
	    cmocka_unit_test_setup_teardown(unknown_landing_is_looked_up, setup, teardown),
	    cmocka_unit_test_setup_teardown(conflicts_start_afresh, setup, teardown),
	    cmocka_unit_test_setup_teardown(fenced_conductor_leaves, setup, teardown),
	    cmocka_unit_test_setup_teardown(shutdown_is_orderly, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
