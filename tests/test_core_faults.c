/* SPDX-License-Identifier: Apache-2.0 */
/* What the conductor's core does when agents die and hang, providers throttle and fail, budgets end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core_world.h"

#include "core/record.h"

#include <stdio.h>
#include <string.h>

#define SECOND (1000 * WORLD_MS)

enum { CLAUDE, CODEX, GEMINI, QWEN };

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

static void start(struct world *w, const char *id)
{
	world_submit(w, 1, id, "write", NULL);
	world_run(w, 10 * WORLD_MS);
	assert_string_equal(world_state(w, id), "running");
}

static void death_resumes_at_the_checkpoint(void **state)
{
	struct world *w = *state;
	uint64_t died;

	start(w, "a");
	world_run(w, 50 * WORLD_MS); /* two steps are done */
	died = w->now_us;
	world_die(w, 0, 137);
	world_run(w, 5 * SECOND);
	assert_string_equal(world_state(w, "a"), "done");
	assert_int_equal(w->agents[1].attempt, 2);
	assert_int_equal(w->calls[w->call_count - 1].attempt, 2);
	assert_int_equal(world_commits(w, "a"), 1);
	for (size_t i = 0; i < w->call_count; i++)
		if (w->calls[i].attempt == 2) {
			assert_int_equal(w->calls[i].step, 3);
			assert_true(w->calls[i].at_us - died < 20 * WORLD_MS);
			break;
		}
}

static void attempts_are_bounded(void **state)
{
	struct world *w = *state;

	world_submit(w, 1, "a", "write", NULL);
	for (int i = 0; i < 20; i++) {
		world_run(w, 300 * WORLD_MS - 1);
		world_run(w, 1);
		for (size_t j = 0; j < w->agent_count; j++)
			world_die(w, (int)j, 139);
		w->call_ms = 10000;
	}
	w->call_ms = 20;
	assert_int_equal(world_commits(w, "a"), 1); /* the first one was done before it could be killed */
	w->call_ms = 100000;
	world_submit(w, 2, "b", "write", NULL);
	for (int i = 0; i < 20; i++) {
		world_run(w, 300 * WORLD_MS);
		for (size_t j = 0; j < w->agent_count; j++)
			world_die(w, (int)j, 139);
	}
	world_run(w, SECOND);
	assert_string_equal(world_state(w, "b"), "failed");
	assert_int_equal(w->agents[w->agent_count - 1].attempt, 5);
	assert_int_equal(world_records(w, CORE_RECORD_GIVE_UP), 1);
}

/* Once is an accident: at once. From the second time on it waits, twice as long each time, half of it by chance. */
static void pauses_grow(void **state)
{
	struct world *w = *state;
	uint64_t pauses[4] = {0}, base_us, max_us;
	unsigned count = 0;

	w->options.policy.attempts_max = 5;
	base_us = core_policy(w->core)->backoff_base_ms * 1000;
	max_us = core_policy(w->core)->backoff_max_ms * 1000;
	w->call_ms = 100000;
	world_submit(w, 1, "a", "write", NULL);
	for (int i = 0; i < 4; i++) {
		world_pass(w, 400 * WORLD_MS);
		world_die(w, (int)w->agent_count - 1, 139);
		world_pass(w, 20 * WORLD_MS);
	}
	for (uint64_t lsn = 1; lsn <= w->durable && count < 4; lsn++) {
		const struct world_record *r = &w->log[lsn - 1];
		struct record record;

		if (r->kind != CORE_RECORD_FAIL)
			continue;
		assert_int_equal(core_record_decode(&record, r->kind, r->payload, r->size, NULL), 0);
		pauses[count++] = record.until_us ? record.until_us - record.time_us : 0;
	}
	assert_int_equal(count, 4);
	assert_int_equal(pauses[0], 0);
	for (unsigned i = 1; i < count; i++) {
		uint64_t most = base_us << (i - 1) < max_us ? base_us << (i - 1) : max_us;

		assert_in_range(pauses[i], most / 2, most);
	}
}

/* What is said again is not recorded again: a checkpoint does not go back, an action is not counted twice. */
static void steps_said_again_are_not_taken(void **state)
{
	struct world *w = *state;

	start(w, "a");
	for (int i = 0; i < 2000 && world_records(w, CORE_RECORD_STEP) < 2; i++)
		world_run(w, WORLD_MS);
	assert_int_equal(world_records(w, CORE_RECORD_STEP), 2);
	for (uint32_t step = 1; step <= 2; step++)
		world_step(w, (struct core_event){.kind = CORE_STEPPED,
				  .task = "a",
				  .attempt = 1,
				  .epoch = w->agents[0].epoch,
				  .step = step,
				  .action = 77,
				  .digest = "again"});
	world_run(w, 5 * SECOND);
	assert_string_equal(world_state(w, "a"), "done");
	assert_int_equal(world_records(w, CORE_RECORD_STEP), 4); /* as many as it has calls */
}

static void lease_fences_and_ends(void **state)
{
	struct world *w = *state;
	struct world_agent *first = &w->agents[0];

	start(w, "a");
	first->hung = first->deaf = true;
	world_run(w, 550 * WORLD_MS);
	assert_int_equal(w->agent_count, 1);
	world_run(w, 100 * WORLD_MS); /* lease 600 ms: SIGTERM, and the next attempt at once */
	assert_int_equal(w->kills, 1);
	assert_true(first->alive);
	assert_int_equal(w->agents[1].attempt, 2);
	world_run(w, 1000 * WORLD_MS);
	assert_string_equal(world_state(w, "a"), "done");
	first->hung = false; /* it wakes up: everything that it says is refused */
	world_step(w,
	    (struct core_event){
		.kind = CORE_RESULT, .task = "a", .attempt = 1, .epoch = first->epoch, .digest = "z", .base = "base"});
	world_run(w, 5 * SECOND);
	assert_int_equal(world_records(w, CORE_RECORD_REFUSED), 1);
	assert_false(first->alive); /* SIGKILL after the grace */
	assert_int_equal(w->commit_count, 1);
	assert_int_equal(w->commits[0].attempt, 2);
}

static void beats_keep_the_lease(void **state)
{
	struct world *w = *state;

	w->call_ms = 3000;
	start(w, "a");
	world_run(w, 20 * SECOND);
	assert_string_equal(world_state(w, "a"), "done");
	assert_int_equal(w->spawns, 2); /* not the lease ended the first one but the role's timeout of 10 s */
	assert_int_equal(w->kills, 1);
	assert_int_equal(w->call_count, 5);
}

static void own_stall_costs_no_lease(void **state)
{
	struct world *w = *state;

	w->call_ms = 300;
	start(w, "a");
	w->now_us += 5 * SECOND; /* the conductor did not run */
	world_run(w, 10 * SECOND);
	assert_string_equal(world_state(w, "a"), "done");
	assert_int_equal(w->spawns, 1);
}

static void throttled_work_waits_then_escalates(void **state)
{
	struct world *w = *state;
	uint64_t first;

	w->provider_status[CLAUDE] = 429;
	start(w, "a");
	world_run(w, 10 * SECOND);
	assert_string_equal(world_state(w, "a"), "done");
	/* claude, 600 ms later claude again, then codex; the later steps go to codex while claude's window lasts */
	assert_int_equal(w->calls[0].provider, CLAUDE);
	assert_int_equal(w->calls[1].provider, CLAUDE);
	assert_int_equal(w->calls[2].provider, CODEX);
	assert_int_equal(w->call_count, 6);
	first = w->calls[0].at_us + 20 * WORLD_MS;
	assert_true(w->calls[1].at_us >= first + 600 * WORLD_MS);
	assert_true(w->calls[2].at_us < w->calls[1].at_us + 50 * WORLD_MS);
}

/* No call to a provider inside its window, whatever Retry-After says; new work goes to the next one at once. */
static void windows_are_kept(void **state)
{
	struct world *w = *state;
	uint64_t until = 0;

	w->provider_status[CLAUDE] = 429;
	w->provider_retry_after_ms[CLAUDE] = 2000;
	start(w, "a");
	world_run(w, 15 * WORLD_MS);
	until = w->now_us + 2000 * WORLD_MS;
	world_submit(w, 2, "b", "write", NULL);
	world_run(w, 3 * SECOND);
	assert_string_equal(world_state(w, "a"), "done");
	assert_string_equal(world_state(w, "b"), "done");
	assert_int_equal(w->calls[0].provider, CLAUDE);
	for (size_t i = 1; i < w->call_count; i++)
		assert_true(w->calls[i].provider == CODEX || w->calls[i].at_us >= until);
	w->provider_retry_after_ms[CLAUDE] = 3600 * 1000; /* bounded to 4 s */
	world_submit(w, 3, "c", "write", NULL);
	world_pass(w, 3 * SECOND);
	w->provider_status[CLAUDE] = 0;
	world_pass(w, 2 * SECOND);
	world_submit(w, 4, "d", "write", NULL);
	world_run(w, 3 * SECOND);
	assert_int_equal(w->calls[w->call_count - 1].provider, CLAUDE);
}

static void windows_survive_a_restart(void **state)
{
	struct world *w = *state;

	w->provider_status[CLAUDE] = 429;
	w->provider_retry_after_ms[CLAUDE] = 3000;
	start(w, "a");
	world_run(w, 30 * WORLD_MS);
	assert_int_equal(world_records(w, CORE_RECORD_THROTTLE), 1);
	world_restart(w, 0);
	w->provider_status[CLAUDE] = 0;
	world_run(w, 2 * SECOND);
	assert_string_equal(world_state(w, "a"), "done");
	for (size_t i = 1; i < w->call_count; i++)
		assert_int_equal(w->calls[i].provider, CODEX);
}

/* A clock that was set ahead ends no window: what was left of it goes by again. */
static void windows_survive_a_clock_set_ahead(void **state)
{
	struct world *w = *state;
	struct core_status status;

	w->doubts = true;
	w->provider_status[CLAUDE] = 429;
	w->provider_retry_after_ms[CLAUDE] = 3000;
	w->provider_status[CODEX] = 500;
	start(w, "a");
	while (world_records(w, CORE_RECORD_BREAKER) == 0)
		world_pass(w, WORLD_MS);
	w->now_us += 3600 * SECOND;
	world_restart(w, 0);
	core_status(w->core, w->now_us, &status);
	assert_true(status.providers[CLAUDE].throttled_ms > 1000 && status.providers[CLAUDE].throttled_ms <= 3000);
	assert_string_equal(status.providers[CODEX].breaker, "open");
	world_pass(w, 50 * WORLD_MS);
	assert_true(world_replayed(w) == core_digest(w->core)); /* it is in the log, too */
	w->provider_status[CLAUDE] = w->provider_status[CODEX] = 0;
	world_run(w, 20 * SECOND);
	assert_string_equal(world_state(w, "a"), "done");
	world_pass(w, 5 * SECOND);
	start(w, "b");
	world_run(w, 20 * SECOND);
	w->now_us += 3600 * SECOND; /* nothing is left of any of them */
	world_restart(w, 0);
	core_status(w->core, w->now_us, &status);
	for (unsigned p = 0; p <= 3; p++)
		assert_int_equal(status.providers[p].throttled_ms, 0);
}

/* Who throttles answers: its breaker stays closed, so that all may call it once the window is over. */
static void throttled_is_not_broken(void **state)
{
	struct world *w = *state;
	struct core_status status;

	w->provider_status[0] = 429;
	w->provider_retry_after_ms[0] = 1000;
	start(w, "a");
	world_pass(w, 200 * WORLD_MS);
	core_status(w->core, w->now_us, &status);
	assert_true(status.providers[0].throttled_ms > 0);
	assert_string_equal(status.providers[0].breaker, "closed");
}

static void exhausted_cascade_waits(void **state)
{
	struct world *w = *state;
	struct core_status status;

	for (int p = 0; p < 4; p++) {
		w->provider_status[p] = 429;
		w->provider_retry_after_ms[p] = 3000;
	}
	world_submit(w, 1, "a", "write", NULL);
	world_submit(w, 2, "b", "write", "a");
	world_run(w, SECOND);
	assert_int_equal(w->call_count, 4);
	assert_string_equal(world_state(w, "a"), "running");
	core_status(w->core, w->now_us, &status);
	assert_non_null(strstr(status.why, "throttled"));
	assert_true(status.providers[0].throttled_ms > 1000 && status.providers[0].throttled_ms <= 3000);
	for (int p = 0; p < 4; p++)
		w->provider_status[p] = 0;
	world_run(w, 10 * SECOND);
	assert_string_equal(world_state(w, "b"), "done");
	assert_int_equal(world_records(w, CORE_RECORD_FAIL), 0);
}

static void breaker_opens_and_tries_once(void **state)
{
	struct world *w = *state;
	size_t claude = 0;
	uint64_t opened = 0;

	w->provider_status[CLAUDE] = 500;
	start(w, "a");
	world_run(w, 2 * SECOND);
	assert_string_equal(world_state(w, "a"), "done");
	for (size_t i = 0; i < w->call_count; i++)
		claude += w->calls[i].provider == CLAUDE;
	assert_int_equal(claude, 5);
	assert_int_equal(world_records(w, CORE_RECORD_BREAKER), 1);
	world_pass(w, SECOND);
	opened = w->now_us;
	for (uint64_t i = 0; i < 4; i++) /* half-open by now: one trial, the others elsewhere */
		world_submit(w, 10 + i, (const char *[]){"b", "c", "d", "e"}[i], "write", NULL);
	world_run(w, 2 * SECOND);
	claude = 0;
	for (size_t i = 0; i < w->call_count; i++)
		claude += w->calls[i].provider == CLAUDE && w->calls[i].at_us >= opened;
	assert_int_equal(claude, 1);
	w->provider_status[CLAUDE] = 0;
	world_pass(w, SECOND);
	world_submit(w, 20, "f", "write", NULL);
	world_run(w, 2 * SECOND);
	assert_int_equal(w->calls[w->call_count - 1].provider, CLAUDE);
	assert_int_equal(world_records(w, CORE_RECORD_BREAKER), 3); /* open, open again, closed */
}

static void trial_that_dies_opens_again(void **state)
{
	struct world *w = *state;
	size_t calls;

	w->provider_status[CLAUDE] = 500;
	start(w, "a");
	world_pass(w, 2 * SECOND);
	assert_int_equal(world_records(w, CORE_RECORD_BREAKER), 1);
	calls = w->call_count;
	world_submit(w, 2, "b", "write", NULL);
	while (w->call_count == calls)
		world_pass(w, WORLD_MS);
	assert_int_equal(w->calls[calls].provider, CLAUDE); /* the trial */
	world_die(w, (int)w->agent_count - 1, 137);
	world_pass(w, 5 * WORLD_MS);
	assert_int_equal(world_records(w, CORE_RECORD_BREAKER), 2);
	w->provider_status[CLAUDE] = 0;
	world_pass(w, 2 * SECOND);
	world_submit(w, 3, "c", "write", NULL);
	world_pass(w, SECOND);
	assert_int_equal(w->calls[w->call_count - 1].provider, CLAUDE);
	assert_int_equal(world_records(w, CORE_RECORD_BREAKER), 3);
}

/* An agent that mixes up what it says asks for its next call before it has told of this one: the provider's trial is over all the same. */
static void trial_that_is_not_told_of(void **state)
{
	struct world *w = *state;
	size_t calls;

	w->provider_status[CLAUDE] = 500;
	start(w, "a");
	world_pass(w, 2 * SECOND);
	assert_int_equal(world_records(w, CORE_RECORD_BREAKER), 1);
	calls = w->call_count;
	world_submit(w, 2, "b", "write", NULL);
	while (w->call_count == calls)
		world_pass(w, WORLD_MS);
	assert_int_equal(w->calls[calls].provider, CLAUDE); /* the trial */
	world_step(w, (struct core_event){.kind = CORE_ROUTE_ASKED, .task = "b", .attempt = 1, .step = 1});
	world_pass(w, 2 * SECOND);
	w->provider_status[CLAUDE] = 0;
	world_pass(w, 2 * SECOND);
	calls = w->call_count;
	world_submit(w, 3, "c", "write", NULL);
	world_pass(w, SECOND);
	assert_true(w->call_count > calls);
	assert_int_equal(w->calls[calls].provider, CLAUDE);
}

static void calls_are_bounded(void **state)
{
	struct world *w = *state;

	for (int p = 0; p < 4; p++)
		w->provider_status[p] = -1;
	start(w, "a");
	world_run(w, 20 * SECOND);
	/* 5 calls open each provider's breaker; from then on one trial each 800 ms and provider */
	assert_true(w->call_count <= 20 + 4 * (20000 / 800 + 1));
	assert_string_equal(world_state(w, "a"), "running");
}

static void agent_error(struct world *w, enum core_class fault_class, const char *text)
{
	const struct world_agent *agent = &w->agents[w->agent_count - 1];

	world_step(w, (struct core_event){.kind = CORE_FAILED,
			  .task = agent->task,
			  .attempt = agent->attempt,
			  .epoch = agent->epoch,
			  .fault_class = fault_class,
			  .text = text});
}

static bool watch_spawn(struct world *w, const struct core_effect *e)
{
	if (e->kind == CORE_SPAWN)
		w->user[e->attempt] = (uint64_t)(e->restore && strcmp(e->text, "README.md") == 0) + 1;
	return false;
}

static void lost_file_is_restored_once(void **state)
{
	struct world *w = *state;

	w->on_effect = watch_spawn;
	start(w, "a");
	agent_error(w, CORE_CLASS_WORKTREE, "README.md");
	world_run(w, 12 * WORLD_MS);
	assert_int_equal(w->user[1], 1);
	assert_int_equal(w->user[2], 2);
	agent_error(w, CORE_CLASS_WORKTREE, "README.md");
	world_run(w, SECOND);
	assert_string_equal(world_state(w, "a"), "failed");
	assert_int_equal(w->spawns, 2);
}

static void validation_is_retried_twice(void **state)
{
	struct world *w = *state;

	start(w, "a");
	for (int i = 0; i < 3; i++) {
		agent_error(w, CORE_CLASS_VALIDATION, "no");
		world_run(w, 12 * WORLD_MS);
	}
	world_run(w, SECOND);
	assert_string_equal(world_state(w, "a"), "failed");
	assert_int_equal(w->spawns, 3);
}

static void token_budgets(void **state)
{
	struct core_options options;
	struct core_task_view view;
	struct world *w;

	(void)state;
	world_options(&options);
	options.policy.task_tokens_max = 25;
	options.policy.run_tokens_max = 50;
	w = world_create(&options);
	start(w, "a");
	world_run(w, SECOND);
	assert_string_equal(world_state(w, "a"), "failed");
	core_task(w->core, 0, &view);
	assert_string_equal(view.reason, "budget");
	assert_int_equal(w->call_count, 3); /* 10 + 10 + 10 >= 25 */
	world_submit(w, 2, "b", "write", NULL);
	world_run(w, SECOND);
	assert_int_equal(w->call_count, 5); /* 50 of the run */
	world_submit(w, 3, "c", "write", NULL);
	world_run(w, SECOND);
	assert_string_equal(world_state(w, "c"), "failed");
	assert_int_equal(w->call_count, 5);
	assert_int_equal(w->spawns, 2);
	world_destroy(w);
}

static void loops_are_stopped(void **state)
{
	struct core_options options;
	struct core_task_view view;
	struct world *w;

	(void)state;
	world_options(&options);
	options.policy.loop_max = 2;
	w = world_create(&options);
	w->action = 7;
	start(w, "a");
	world_run(w, SECOND);
	core_task(w->core, 0, &view);
	assert_string_equal(view.state, "failed");
	assert_string_equal(view.reason, "loop");
	assert_int_equal(w->call_count, 3);
	world_destroy(w);
}

/* Two calls were under way: the second 429 may not shorten the window of the first. */
static void windows_only_grow(void **state)
{
	struct world *w = *state;
	struct core_status status;

	world_submit(w, 1, "a", "write", NULL);
	world_submit(w, 2, "b", "write", NULL);
	world_run(w, 10 * WORLD_MS);
	assert_int_equal(w->call_count, 2);
	for (int i = 0; i < 2; i++)
		world_step(w, (struct core_event){.kind = CORE_CALLED,
				  .task = i ? "b" : "a",
				  .attempt = 1,
				  .epoch = w->epoch,
				  .step = 1,
				  .provider = "claude",
				  .status = 429,
				  .retry_after_ms = i ? 100 : 3000});
	core_status(w->core, w->now_us, &status);
	assert_int_equal(status.providers[CLAUDE].throttled_ms, 3000);
}

static void other_tokens_and_operations_are_refused(void **state)
{
	struct world *w = *state;

	start(w, "a");
	world_step(w,
	    (struct core_event){
		.kind = CORE_RESULT, .task = "a", .attempt = 1, .epoch = w->epoch + 1, .digest = "z", .base = "base"});
	world_step(
	    w, (struct core_event){
		   .kind = CORE_RESULT, .task = "a", .attempt = 2, .epoch = w->epoch, .digest = "z", .base = "base"});
	world_step(w, (struct core_event){.kind = CORE_LANDED, .task = "a", .op = 1, .digest = "z"});
	world_pass(w, 2 * WORLD_MS);
	assert_int_equal(world_records(w, CORE_RECORD_REFUSED), 2);
	assert_string_equal(world_state(w, "a"), "running");
	w->sink_status = 500;
	while (w->note_count == 0)
		world_pass(w, WORLD_MS);
	world_step(w, (struct core_event){.kind = CORE_NOTIFIED, .task = "a", .op = 12345, .status = 200});
	world_pass(w, 5 * WORLD_MS);
	assert_string_equal(world_state(w, "a"), "committed");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(death_resumes_at_the_checkpoint, setup, teardown),
	    cmocka_unit_test_setup_teardown(attempts_are_bounded, setup, teardown),
	    cmocka_unit_test_setup_teardown(pauses_grow, setup, teardown),
	    cmocka_unit_test_setup_teardown(steps_said_again_are_not_taken, setup, teardown),
	    cmocka_unit_test_setup_teardown(lease_fences_and_ends, setup, teardown),
	    cmocka_unit_test_setup_teardown(beats_keep_the_lease, setup, teardown),
	    cmocka_unit_test_setup_teardown(own_stall_costs_no_lease, setup, teardown),
	    cmocka_unit_test_setup_teardown(throttled_work_waits_then_escalates, setup, teardown),
	    cmocka_unit_test_setup_teardown(windows_are_kept, setup, teardown),
	    cmocka_unit_test_setup_teardown(windows_survive_a_restart, setup, teardown),
	    cmocka_unit_test_setup_teardown(windows_survive_a_clock_set_ahead, setup, teardown),
	    cmocka_unit_test_setup_teardown(throttled_is_not_broken, setup, teardown),
	    cmocka_unit_test_setup_teardown(exhausted_cascade_waits, setup, teardown),
	    cmocka_unit_test_setup_teardown(breaker_opens_and_tries_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(trial_that_dies_opens_again, setup, teardown),
	    cmocka_unit_test_setup_teardown(trial_that_is_not_told_of, setup, teardown),
	    cmocka_unit_test_setup_teardown(calls_are_bounded, setup, teardown),
	    cmocka_unit_test_setup_teardown(lost_file_is_restored_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(validation_is_retried_twice, setup, teardown),
	    cmocka_unit_test_setup_teardown(windows_only_grow, setup, teardown),
	    cmocka_unit_test_setup_teardown(other_tokens_and_operations_are_refused, setup, teardown),
	    cmocka_unit_test(token_budgets),
	    cmocka_unit_test(loops_are_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
