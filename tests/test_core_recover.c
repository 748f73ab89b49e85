/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery of the conductor's core: the process dies at every record of a run, before and after its effects
 * were performed; it dies again in the recovery; the log cannot be written. Each time every task ends with
 * exactly one commit, and the state is what the log says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core_world.h"

#include <stdio.h>
#include <string.h>

#define SECOND (1000 * WORLD_MS)

static const struct {
	const char *id, *role, *after;
} work[] = {
    {"p", "plan", NULL}, {"a", "write", "p"}, {"b", "write", "p"}, {"r", "review", "a,b"}, {"x", "write", NULL}};
#define TASKS (sizeof work / sizeof work[0])

static void submit_all(struct world *w)
{
	for (size_t i = 0; i < TASKS && core_writable(w->core); i++)
		world_submit(w, i, work[i].id, work[i].role, work[i].after);
}

static void all_done_once(struct world *w, const char *what, uint64_t lsn)
{
	for (size_t i = 0; i < TASKS; i++) {
		if (strcmp(world_state(w, work[i].id), "done") != 0 || world_commits(w, work[i].id) != 1 ||
		    world_notes(w, work[i].id) < 1)
			fail_msg("%s %llu: task %s is %s with %zu commits and %zu notes", what, (unsigned long long)lsn,
			    work[i].id, world_state(w, work[i].id), world_commits(w, work[i].id),
			    world_notes(w, work[i].id));
	}
	assert_int_equal(w->commit_count, TASKS);
	assert_true(core_quiet(w->core));
	assert_true(core_digest(w->core) == world_replayed(w));
}

static uint64_t undisturbed(void)
{
	struct core_options options;
	struct world *w;
	uint64_t records;

	world_options(&options);
	w = world_create(&options);
	submit_all(w);
	world_run(w, 20 * SECOND);
	all_done_once(w, "undisturbed", 0);
	records = w->durable;
	world_destroy(w);
	return records;
}

static void crash_at(uint64_t lsn, bool after, uint64_t again)
{
	struct core_options options;
	struct world *w;

	world_options(&options);
	w = world_create(&options);
	w->crash_lsn = lsn;
	w->crash_after = after;
	submit_all(w);
	world_run(w, 20 * SECOND);
	if (w->crashed) {
		if (again) { /* and once more, so many records into the recovery */
			world_restart(w, 0);
			w->crash_lsn = w->durable + again;
			submit_all(w);
			world_run(w, 20 * SECOND);
		}
		if (w->crashed)
			world_restart(w, 0);
		submit_all(w);
		world_run(w, 30 * SECOND);
	}
	all_done_once(w, after ? "crash after" : "crash before", lsn);
	world_destroy(w);
}

static void every_prefix(void **state)
{
	uint64_t records = undisturbed();

	(void)state;
	assert_true(records > 50);
	for (uint64_t lsn = 1; lsn <= records; lsn++) {
		crash_at(lsn, false, 0);
		crash_at(lsn, true, 0);
	}
}

static void crash_in_the_recovery(void **state)
{
	uint64_t records = undisturbed();

	(void)state;
	for (uint64_t lsn = 1; lsn <= records; lsn += 3)
		for (uint64_t again = 1; again <= 7; again += 2)
			crash_at(lsn, again % 4 == 1, again);
}

/* `conductor recover`, twice: it lands what is open, starts and sends nothing, and the second one changes nothing. */
static void recover_twice(void **state)
{
	uint64_t records = undisturbed();

	(void)state;
	for (uint64_t lsn = 1; lsn <= records; lsn++) {
		struct core_options options;
		struct world *w;
		uint64_t digest, durable;
		size_t notes, spawns, commits;

		world_options(&options);
		w = world_create(&options);
		w->crash_lsn = lsn;
		w->crash_after = lsn % 2;
		submit_all(w);
		world_run(w, 20 * SECOND);
		notes = w->note_count;
		spawns = w->spawns;
		w->options.reconcile_only = true;
		world_restart(w, 0);
		world_run(w, 20 * SECOND);
		assert_true(core_quiet(w->core));
		digest = core_digest(w->core);
		assert_true(digest == world_replayed(w));
		durable = w->durable;
		commits = w->commit_count;
		world_restart(w, 0);
		world_run(w, 20 * SECOND);
		assert_true(core_quiet(w->core));
		assert_true(core_digest(w->core) == digest);
		assert_int_equal(w->durable, durable);
		assert_int_equal(w->commit_count, commits);
		assert_int_equal(w->note_count, notes);
		assert_int_equal(w->spawns, spawns);
		w->options.reconcile_only = false;
		world_restart(w, 0);
		submit_all(w);
		world_run(w, 30 * SECOND);
		all_done_once(w, "recover twice", lsn);
		world_destroy(w);
	}
}

static bool fails_at(struct world *w, const struct core_effect *e)
{
	if (e->kind == CORE_APPEND && e->lsn >= w->user[0] && w->user[1] == 0) {
		w->user[1] = 1;
		w->write_fails = true;
	}
	return false;
}

/* Each of these got to the core, or the core was not writable any more when its turn came. */
static size_t submitted(const struct world *w)
{
	return (size_t)w->user[2];
}

static void write_failure_at(uint64_t lsn)
{
	struct core_options options;
	struct world *w;
	struct core_status status;
	size_t commits, accepted = 0;

	world_options(&options);
	w = world_create(&options);
	w->user[0] = lsn;
	w->on_effect = fails_at;
	for (size_t i = 0; i < TASKS && core_writable(w->core); i++, w->user[2]++)
		world_submit(w, i, work[i].id, work[i].role, work[i].after);
	world_run(w, 20 * SECOND);
	if (w->write_fails) {
		assert_false(core_writable(w->core));
		core_status(w->core, w->now_us, &status);
		assert_false(status.writable);
		commits = w->commit_count;
		world_submit(w, 99, "late", "write", NULL);
		assert_int_equal(w->replies[w->reply_count - 1].status, 503);
		world_run(w, SECOND);
		assert_int_equal(w->commit_count, commits);
		assert_int_equal(w->reply_count, submitted(w) + 1); /* nobody is left without an answer */
		for (size_t i = 0; i < w->reply_count; i++)
			accepted += w->replies[i].status == 202;
		world_reopen(w);
		assert_true(core_writable(w->core));
		assert_true(core_task_count(w->core) >= accepted); /* nothing that was acknowledged is gone */
	}
	submit_all(w);
	world_run(w, 30 * SECOND);
	all_done_once(w, "write failure", lsn);
	world_destroy(w);
}

static void write_failures(void **state)
{
	uint64_t records = undisturbed();

	(void)state;
	for (uint64_t lsn = 1; lsn <= records; lsn++)
		write_failure_at(lsn);
}

/* An agent whose conductor died lives on; its late result comes to the new one and is refused. */
static void late_result_after_restart(void **state)
{
	struct core_options options;
	struct world *w;

	(void)state;
	world_options(&options);
	w = world_create(&options);
	world_submit(w, 1, "a", "write", NULL);
	world_run(w, 60 * WORLD_MS);
	assert_string_equal(world_state(w, "a"), "running");
	world_restart(w, 0);
	assert_false(core_ready(w->core));
	world_run(w, 10 * WORLD_MS);
	assert_true(core_ready(w->core));
	assert_false(w->agents[0].alive);
	world_step(
	    w, (struct core_event){
		   .kind = CORE_RESULT, .task = "a", .attempt = 1, .epoch = 1, .digest = "late", .base = "base"});
	world_run(w, 5 * SECOND);
	assert_int_equal(world_records(w, CORE_RECORD_REFUSED), 1);
	assert_int_equal(world_commits(w, "a"), 1);
	assert_int_equal(w->commits[0].attempt, 2);
	assert_true(w->calls[w->call_count - 1].step == 4 && w->call_count < 8); /* from the checkpoint on */
	world_destroy(w);
}

static bool at_most_six(struct world *w, const struct core_effect *e)
{
	size_t alive = 0;

	for (size_t i = 0; i < w->agent_count; i++)
		alive += w->agents[i].alive;
	if (e->kind == CORE_SPAWN) {
		assert_true(alive < 6);
		w->user[0]++;
	}
	return false;
}

/* Agents of the process before count until they are gone. */
static void left_over_agents_count(void **state)
{
	static const char *const roles[] = {"plan", "write", "review"};
	struct core_options options;
	struct world *w;
	char id[8];

	(void)state;
	world_options(&options);
	w = world_create(&options);
	w->on_effect = at_most_six;
	w->call_ms = 200;
	for (unsigned i = 0; i < 18; i++) {
		snprintf(id, sizeof id, "t%u", i);
		world_submit(w, i, id, roles[i % 3], NULL);
	}
	world_run(w, 100 * WORLD_MS);
	assert_int_equal(w->user[0], 6);
	world_restart(w, 0);
	world_run(w, 60 * SECOND);
	assert_int_equal(w->commit_count, 18);
	assert_int_equal(w->user[0], 24);
	world_destroy(w);
}

static void damaged_records_are_named(void **state)
{
	static const uint8_t not_a_map[] = {0x93, 1, 2, 3};
	static const uint8_t bad_task[] = {0x81, 0xa4, 't', 'a', 's', 'k', 0x07};
	struct core_options options;
	struct core *core;
	struct error err;

	(void)state;
	world_options(&options);
	assert_int_equal(core_create(&core, &options, &err), 0);
	assert_int_equal(core_replay(core, 7, 1, CORE_RECORD_CLAIM, not_a_map, sizeof not_a_map, &err), -1);
	assert_non_null(strstr(err.text, "LSN 7"));
	assert_int_equal(core_replay(core, 8, 1, CORE_RECORD_CLAIM, bad_task, sizeof bad_task, &err), -1);
	assert_non_null(strstr(err.text, "\"task\""));
	assert_int_equal(core_replay(core, 9, 1, 999, not_a_map, sizeof not_a_map, &err), -1);
	assert_non_null(strstr(err.text, "999"));
	core_destroy(core);
}

/* A task at work whose conductor dies so often. */
static struct world *interrupted(uint64_t attempts_max, uint64_t interruptions_max, unsigned times)
{
	struct core_options options;
	struct world *w;

	world_options(&options);
	options.policy.attempts_max = attempts_max;
	options.policy.interruptions_max = interruptions_max;
	w = world_create(&options);
	w->call_ms = 100000;
	world_submit(w, 1, "a", "write", NULL);
	world_run(w, SECOND);
	for (unsigned i = 0; i < times; i++) {
		assert_string_equal(world_state(w, "a"), "running");
		world_restart(w, 0);
		world_run(w, SECOND);
	}
	return w;
}

static void own_deaths_cost_the_task_no_attempt(void **state)
{
	struct world *w = interrupted(2, 6, 6);

	(void)state;
	assert_string_equal(world_state(w, "a"), "running");
	assert_int_equal(w->agents[w->agent_count - 1].attempt, 7);
	w->call_ms = 20;
	world_die(w, (int)w->agent_count - 1, 139); /* the first of two that are its own */
	world_run(w, 5 * SECOND);
	assert_string_equal(world_state(w, "a"), "done");
	assert_true(core_digest(w->core) == world_replayed(w));
	world_destroy(w);
}

static void own_deaths_are_bounded(void **state)
{
	struct world *w = interrupted(5, 3, 4);
	struct core_task_view view;

	(void)state;
	core_task(w->core, 0, &view);
	assert_string_equal(view.state, "failed");
	assert_string_equal(view.reason, "interrupted");
	assert_int_equal(view.attempts, 4);
	world_destroy(w);
}

static bool disk_is_full(struct world *w, const struct core_effect *e)
{
	if (e->kind != CORE_SPAWN || w->user[0] == 0)
		return false;
	w->user[0]--;
	world_later(w, WORLD_MS, -1,
	    (struct core_event){.kind = CORE_SPAWN_FAILED,
		.task = e->task,
		.attempt = e->attempt,
		.fault_class = w->user[1] ? CORE_CLASS_INTERRUPTED : CORE_CLASS_NONE,
		.text = "the worktree could not be made"});
	return true;
}

/* A disk that is full for a while is not the task's doing; a program that does not start counts. */
static void full_disk_costs_the_task_no_attempt(void **state)
{
	struct core_options options;

	(void)state;
	for (unsigned full = 0; full < 2; full++) {
		struct world *w;

		world_options(&options);
		options.policy.attempts_max = 2;
		w = world_create(&options);
		w->on_effect = disk_is_full;
		w->user[0] = 5;
		w->user[1] = full;
		world_submit(w, 1, "a", "write", NULL);
		world_run(w, 10 * SECOND);
		assert_string_equal(world_state(w, "a"), full ? "done" : "failed");
		world_destroy(w);
	}
}

static void lose_the_log(struct world *w)
{
	w->write_fails = true;
	world_pass(w, 100 * WORLD_MS);
	assert_false(core_writable(w->core));
}

/* A recovery that begins with the log and does not come to its end. */
static void recover_in_vain(struct world *w)
{
	struct error err;

	core_reset(w->core);
	for (uint64_t lsn = 1; lsn <= w->durable; lsn++)
		if (core_replay(w->core, lsn, 1, w->log[lsn - 1].kind, w->log[lsn - 1].payload, w->log[lsn - 1].size,
			&err) != 0)
			fail_msg("%s", err.text);
}

/* What the providers did is no less true for the log that did not take it, also when the first recoveries fail. */
static void what_was_learnt_outlives_the_log(void **state)
{
	struct core_options options;
	struct core_status status;
	struct world *w;

	(void)state;
	world_options(&options);
	w = world_create(&options);
	w->provider_status[0] = 500;
	world_submit(w, 1, "a", "write", NULL);
	world_run(w, 2 * SECOND);
	assert_int_equal(world_records(w, CORE_RECORD_BREAKER), 1);
	world_pass(w, SECOND);
	world_submit(w, 2, "b", "write", NULL); /* the trial fails, but the log does not take it */
	while (w->calls[w->call_count - 1].provider != 0)
		world_pass(w, WORLD_MS);
	lose_the_log(w);
	recover_in_vain(w);
	recover_in_vain(w);
	world_reopen(w);
	core_status(w->core, w->now_us, &status);
	assert_string_equal(status.providers[0].breaker, "open");
	w->provider_status[0] = 0;
	world_pass(w, SECOND);
	core_status(w->core, w->now_us, &status);
	assert_string_equal(status.providers[0].breaker, "half-open");
	world_submit(w, 3, "c", "write", NULL); /* this one succeeds */
	while (w->calls[w->call_count - 1].provider != 0)
		world_pass(w, WORLD_MS);
	lose_the_log(w);
	world_reopen(w);
	core_status(w->core, w->now_us, &status);
	assert_string_equal(status.providers[0].breaker, "closed");
	assert_int_equal(world_records(w, CORE_RECORD_BREAKER), 2);
	world_restart(w, 0); /* who dies knows what the log knows */
	core_status(w->core, w->now_us, &status);
	assert_string_equal(status.providers[0].breaker, "half-open");
	world_destroy(w);
}

static bool note_restore(struct world *w, const struct core_effect *e)
{
	if (e->kind == CORE_SPAWN)
		w->user[e->attempt] = (uint64_t)e->restore + 1;
	return disk_is_full(w, e);
}

/* The attempt that was to restore the file never began: the next one has to. */
static void restoring_is_not_forgotten(void **state)
{
	struct core_options options;
	struct world *w;

	(void)state;
	world_options(&options);
	w = world_create(&options);
	w->on_effect = note_restore;
	world_submit(w, 1, "a", "write", NULL);
	world_run(w, 10 * WORLD_MS);
	w->user[0] = 1; /* the next spawn fails */
	world_step(w, (struct core_event){.kind = CORE_FAILED,
			  .task = "a",
			  .attempt = 1,
			  .epoch = w->epoch,
			  .fault_class = CORE_CLASS_WORKTREE,
			  .text = "README.md"});
	world_run(w, 10 * SECOND);
	assert_int_equal(w->user[2], 2);
	assert_int_equal(w->user[3], 2);
	assert_string_equal(world_state(w, "a"), "done");
	world_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_prefix),
	    cmocka_unit_test(crash_in_the_recovery),
	    cmocka_unit_test(recover_twice),
	    cmocka_unit_test(write_failures),
	    cmocka_unit_test(late_result_after_restart),
	    cmocka_unit_test(left_over_agents_count),
	    cmocka_unit_test(damaged_records_are_named),
	    cmocka_unit_test(own_deaths_cost_the_task_no_attempt),
	    cmocka_unit_test(own_deaths_are_bounded),
	    cmocka_unit_test(full_disk_costs_the_task_no_attempt),
	    cmocka_unit_test(what_was_learnt_outlives_the_log),
	    cmocka_unit_test(restoring_is_not_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
