/* SPDX-License-Identifier: Apache-2.0 */
/* Each seeded bug changes what the core does, in the way that its row says; without it nothing of the kind
 * is seen in the same scene. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core_world.h"

#include <stdio.h>
#include <string.h>

#define SECOND (1000 * WORLD_MS)

enum { CLAUDE, CODEX, GEMINI, QWEN };

/* A scene returns how much of the mistake it saw. */
typedef size_t (*scene_fn)(struct world *w);

static size_t play(scene_fn scene, const char *bug)
{
	struct core_options options;
	struct world *w;
	size_t seen;

	world_options(&options);
	if (bug)
		assert_int_equal(bugs_add(&options.bugs, bug, NULL), 0);
	w = world_create(&options);
	seen = scene(w);
	world_destroy(w);
	return seen;
}

static void expect(scene_fn scene, const char *bug)
{
	assert_int_equal(play(scene, NULL), 0);
	assert_true(play(scene, bug) > 0);
}

/* Dies when it has landed and before that is in the log. */
static void die_at(struct world *w, uint32_t kind, bool after)
{
	for (int i = 0; i < 2000 && world_records(w, kind) == 0; i++)
		world_run(w, 100);
	assert_int_equal(world_records(w, kind), 1);
	if (after)
		world_run(w, WORLD_MS);
	world_restart(w, 0);
	world_run(w, 5 * SECOND);
}

static size_t second_commit(struct world *w)
{
	world_submit(w, 1, "a", "write", NULL);
	die_at(w, CORE_RECORD_COMMIT_INTENT, true);
	assert_true(world_commits(w, "a") >= 1);
	return world_commits(w, "a") - 1;
}

static size_t done_without_commit(struct world *w)
{
	world_submit(w, 1, "a", "write", NULL);
	w->on_effect = NULL;
	for (int i = 0; i < 4000 && world_records(w, CORE_RECORD_COMMIT_DONE) == 0; i++) {
		if (w->durable > 0 && w->staged > w->durable && w->log[w->staged - 1].kind == CORE_RECORD_COMMIT_DONE) {
			w->crash_lsn = w->staged;
			w->crash_after = false;
		}
		world_run(w, 50);
		if (w->crashed)
			break;
	}
	assert_true(w->crashed);
	world_restart(w, 0);
	world_run(w, 5 * SECOND);
	assert_string_equal(world_state(w, "a"), "done");
	return world_commits(w, "a") == 0;
}

static size_t answered_too_early(struct world *w)
{
	world_submit(w, 1, "a", "write", NULL);
	world_run(w, SECOND);
	assert_int_equal(w->replies[0].status, 202);
	return w->replies[0].lsn > w->replies[0].durable;
}

static bool hang_the_others(struct world *w, const struct core_effect *e)
{
	if (e->kind == CORE_WORK && e->attempt > 1 && w->user[0])
		w->agents[world_agent(w, e->task, e->attempt)].hung = true;
	return false;
}

/* The first agent hangs past its lease, and goes on when the second one is at work. */
static size_t old_attempt_lands(struct world *w)
{
	w->call_ms = 100;
	w->on_effect = hang_the_others;
	w->user[0] = 1;
	world_submit(w, 1, "a", "write", NULL);
	world_pass(w, 20 * WORLD_MS);
	w->agents[0].hung = w->agents[0].deaf = true;
	world_pass(w, 680 * WORLD_MS);
	assert_int_equal(w->agents[w->agent_count - 1].attempt, 2);
	w->agents[0].hung = false;
	world_pass(w, 450 * WORLD_MS);
	w->user[0] = 0;
	for (size_t i = 1; i < w->agent_count; i++)
		w->agents[i].hung = false;
	world_pass(w, 10 * SECOND);
	assert_string_equal(world_state(w, "a"), "done");
	return w->commits[0].attempt == 1;
}

static size_t dropped(struct world *w)
{
	w->provider_status[CLAUDE] = 429;
	world_submit(w, 1, "a", "write", NULL);
	world_pass(w, 20 * SECOND);
	return strcmp(world_state(w, "a"), "done") != 0;
}

static size_t out_of_order(struct world *w)
{
	size_t count = 0;

	for (unsigned i = 0; i < 6; i++)
		world_submit(w, i, (const char *[]){"a", "b", "c", "d", "e", "f"}[i], "write", NULL);
	world_run(w, 5 * SECOND);
	for (size_t i = 0; i < w->call_count; i++)
		count += w->calls[i].provider != CLAUDE;
	return count;
}

static size_t inside_the_window(struct world *w)
{
	uint64_t until = 0;
	size_t count = 0;

	w->provider_status[CLAUDE] = 429;
	w->provider_retry_after_ms[CLAUDE] = 3000;
	world_submit(w, 1, "a", "write", NULL);
	world_run(w, 100 * WORLD_MS);
	until = w->calls[0].at_us + (20 + 3000) * WORLD_MS;
	w->provider_status[CLAUDE] = 0;
	world_run(w, 2 * SECOND);
	for (size_t i = 1; i < w->call_count; i++)
		count += w->calls[i].provider == CLAUDE && w->calls[i].at_us < until;
	return count;
}

static size_t acknowledged_and_gone(struct world *w)
{
	size_t accepted = 0;

	world_pass(w, 5 * WORLD_MS);
	w->write_fails = true;
	world_submit(w, 1, "a", "write", NULL);
	if (core_bug(w->core, BUG_ENOSPC_SWALLOWED))
		world_step(w, (struct core_event){.kind = CORE_WRITE_FAILED, .status = 28});
	world_pass(w, SECOND);
	for (size_t i = 0; i < w->reply_count; i++)
		accepted += w->replies[i].status == 202;
	if (!core_writable(w->core))
		return accepted;
	assert_string_equal(world_state(w, "a"), "done"); /* in memory only */
	w->write_fails = false;
	w->epoch++;
	world_step(w, (struct core_event){.kind = CORE_WRITES_WORK, .epoch = w->epoch, .lsn = w->durable});
	world_submit(w, 2, "b", "write", NULL);
	world_pass(w, SECOND);
	assert_string_equal(world_state(w, "b"), "done");
	world_restart(w, 0);
	return accepted > 0 && strcmp(world_state(w, "a"), "unknown") == 0;
}

static size_t replay_differs(struct world *w)
{
	uint64_t first;

	world_submit(w, 1, "a", "write", NULL);
	world_run(w, 5 * SECOND);
	w->options.reconcile_only = true;
	world_restart(w, 0);
	world_run(w, SECOND);
	first = core_digest(w->core);
	world_restart(w, 0);
	world_run(w, SECOND);
	return core_digest(w->core) != first;
}

static size_t never_notified(struct world *w)
{
	w->sink_status = 500;
	world_submit(w, 1, "a", "write", NULL);
	world_pass(w, SECOND);
	w->sink_status = 200;
	world_pass(w, 2 * SECOND);
	assert_string_equal(world_state(w, "a"), "done");
	return world_notes(w, "a") == 0;
}

static size_t calls_without_end(struct world *w)
{
	for (int p = 0; p < 4; p++)
		w->provider_status[p] = 500;
	world_submit(w, 1, "a", "write", NULL);
	world_pass(w, 9 * SECOND);
	return world_records(w, CORE_RECORD_BREAKER) == 0 || w->call_count > 70;
}

static size_t dependent_waits(struct world *w)
{
	world_submit(w, 1, "a", "write", NULL);
	world_submit(w, 2, "b", "write", "a");
	die_at(w, CORE_RECORD_COMMIT_INTENT, true);
	world_pass(w, 10 * SECOND);
	assert_string_equal(world_state(w, "a"), "done");
	return strcmp(world_state(w, "b"), "done") != 0;
}

static size_t too_many_attempts(struct world *w)
{
	w->call_ms = 100000;
	world_submit(w, 1, "a", "write", NULL);
	for (int i = 0; i < 10; i++) {
		world_pass(w, 500 * WORLD_MS);
		if (w->agent_count > 0)
			world_die(w, (int)w->agent_count - 1, 139);
	}
	return w->agent_count > w->options.policy.attempts_max;
}

static void double_commit(void **state)
{
	(void)state;
	expect(second_commit, "double-commit-on-retry");
}

static void done_before_intent(void **state)
{
	(void)state;
	expect(done_without_commit, "done-before-intent");
}

static void ack_before_sync(void **state)
{
	(void)state;
	expect(answered_too_early, "ack-before-sync");
}

static void fences(void **state)
{
	(void)state;
	expect(old_attempt_lands, "missing-fence-check");
	expect(old_attempt_lands, "lease-renewed-after-expiry");
}

static void routing(void **state)
{
	(void)state;
	expect(dropped, "drop-on-failover");
	expect(out_of_order, "cascade-order-ignored");
	expect(inside_the_window, "call-inside-throttle");
	expect(calls_without_end, "breaker-never-opens");
}

static void the_log(void **state)
{
	(void)state;
	expect(acknowledged_and_gone, "enospc-swallowed");
	expect(replay_differs, "replay-not-idempotent");
}

static void progress(void **state)
{
	(void)state;
	expect(never_notified, "notify-swallowed");
	expect(dependent_waits, "dependent-never-ready");
	expect(too_many_attempts, "unbounded-attempts");
}

static void table(void **state)
{
	struct bugs bugs = {0};
	struct error err;

	(void)state;
	for (unsigned i = 0; i < BUG_COUNT; i++) {
		assert_non_null(bug_table[i].name);
		assert_non_null(bug_table[i].seen);
		assert_int_equal(bugs_add(&bugs, bug_table[i].name, &err), 0);
		assert_true(bugs_on(&bugs, (enum bug)i));
	}
	assert_int_equal(bugs_add(&bugs, "ack-befor-sink", &err), -1);
	assert_non_null(strstr(err.text, "ack-before-sync"));
}

static void policy(void **state)
{
	struct policy p;
	struct error err;

	(void)state;
	policy_init(&p);
	assert_int_equal(p.lease_ms, 30000);
	assert_int_equal(p.breaker_reset_ms, 60000);
	assert_int_equal(policy_check(&p, &err), 0);
	assert_int_equal(policy_set(&p, "agents=9", &err), 0);
	assert_int_equal(p.agents, 9);
	assert_int_equal(policy_set(&p, "agents-review=2", &err), 0);
	assert_int_equal(p.role_agents[POLICY_ROLE_REVIEW], 2);
	assert_int_equal(policy_set(&p, "agents=0", &err), -1);
	assert_non_null(strstr(err.text, "from 1 to"));
	assert_int_equal(policy_set(&p, "agents=-1", &err), -1);
	assert_int_equal(policy_set(&p, "agents=9x", &err), -1);
	assert_int_equal(policy_set(&p, "agents", &err), -1);
	assert_int_equal(policy_set(&p, "agent=9", &err), -1);
	assert_non_null(strstr(err.text, "agent"));
	assert_int_equal(policy_set(&p, "agents=99999999999999999999999", &err), -1);
	assert_int_equal(p.agents, 9);
	p.beat_ms = 20000;
	assert_int_equal(policy_check(&p, &err), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(double_commit),
	    cmocka_unit_test(done_before_intent),
	    cmocka_unit_test(ack_before_sync),
	    cmocka_unit_test(fences),
	    cmocka_unit_test(routing),
	    cmocka_unit_test(the_log),
	    cmocka_unit_test(progress),
	    cmocka_unit_test(table),
	    cmocka_unit_test(policy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
