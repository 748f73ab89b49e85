/* SPDX-License-Identifier: Apache-2.0 */
/* The conductor's core under everything at once, from many seeds: agents die and hang, providers throttle
 * and fail, the sink refuses, git lies, the log cannot be written, the process dies. Its promises hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core_world.h"

#include <stdio.h>
#include <string.h>

#include "fixtures/conductor/policy/cascade.h"

#define SECOND (1000 * WORLD_MS)
#define TASKS  12u
#define SEEDS  400u

static void submit_some(struct world *w, uint64_t *seed)
{
	static const char *const roles[] = {"plan", "write", "review"};
	char id[8], after[32];

	for (unsigned i = 0; i < TASKS; i++) {
		snprintf(id, sizeof id, "t%u", i);
		after[0] = '\0';
		/* The same content each time: it is submitted again after a restart. */
		if (i >= 2 && i % 3)
			snprintf(after, sizeof after, "t%u,t%u", i / 2, i / 3);
		if (core_writable(w->core) && (retry_random(seed) % 3 || strcmp(world_state(w, id), "unknown") == 0))
			world_submit(w, 1, id, roles[i % 3], after);
	}
}

static bool agents_bounded(struct world *w, const struct core_effect *e)
{
	size_t alive = 0;

	if (e->kind != CORE_SPAWN)
		return false;
	for (size_t i = 0; i < w->agent_count; i++)
		alive += w->agents[i].alive;
	if (alive >= w->options.policy.agents)
		fail_msg("%zu agents are alive when one more is started", alive);
	assert_true(e->attempt <= w->options.policy.attempts_max + w->options.policy.interruptions_max);
	return false;
}

static void disturb(struct world *w, uint64_t *seed)
{
	static const int32_t statuses[] = {0, 0, 0, 429, 500, -1};
	size_t agent = w->agent_count ? retry_random(seed) % w->agent_count : 0;
	unsigned p = (unsigned)(retry_random(seed) % POLICY_PROVIDERS);

	switch (retry_random(seed) % 9) {
	case 0:
		if (w->agent_count)
			world_die(w, (int)agent, 137);
		break;
	case 1:
		if (w->agent_count) {
			w->agents[agent].hung = !w->agents[agent].hung;
			w->agents[agent].deaf = retry_random(seed) % 2;
		}
		break;
	case 2:
	case 3:
		w->provider_status[p] = statuses[retry_random(seed) % 6];
		w->provider_retry_after_ms[p] = retry_random(seed) % 2 ? -1 : (int64_t)(retry_random(seed) % 1500);
		break;
	case 4:
		w->sink_status = retry_random(seed) % 2 ? 200 : 503;
		break;
	case 5:
		w->git = (enum world_git)(retry_random(seed) % 3);
		break;
	case 6:
		world_restart(w, 0);
		break;
	case 7:
		if (w->write_fails || !core_writable(w->core))
			world_reopen(w);
		else
			w->write_fails = true;
		break;
	default:
		submit_some(w, seed);
		break;
	}
}

static void heal(struct world *w)
{
	w->sink_status = 200;
	w->git = GIT_WORKS;
	memset(w->provider_status, 0, sizeof w->provider_status);
	for (size_t i = 0; i < w->agent_count; i++)
		w->agents[i].deaf = false;
	if (w->write_fails || !core_writable(w->core))
		world_reopen(w);
}

static void promises(struct world *w, uint64_t seed)
{
	struct core_task_view view;

	for (size_t i = 0; i < core_task_count(w->core); i++) {
		size_t commits, notes;
		bool done;

		core_task(w->core, i, &view);
		commits = world_commits(w, view.id);
		notes = world_notes(w, view.id);
		done = strcmp(view.state, "done") == 0;
		if ((!done && strcmp(view.state, "failed") != 0) || commits > 1 ||
		    (done && (commits != 1 || notes < 1)) || (!done && commits > 0))
			fail_msg("seed %llu: task %s is %s with %zu commits and %zu notes", (unsigned long long)seed,
			    view.id, view.state, commits, notes);
	}
	for (size_t i = 0; i < w->reply_count; i++)
		if (w->replies[i].status == 202 && strcmp(world_state(w, w->replies[i].task), "unknown") == 0)
			fail_msg("seed %llu: task %s was accepted and is lost", (unsigned long long)seed,
			    w->replies[i].task);
	if (w->inside)
		fail_msg("seed %llu: %zu calls inside a throttle window", (unsigned long long)seed, w->inside);
	assert_true(core_quiet(w->core));
	assert_true(core_digest(w->core) == world_replayed(w));
}

static void chaos(void **state)
{
	size_t done = 0, failed = 0, steps = 0;

	(void)state;
	for (uint64_t s = 1; s <= SEEDS; s++) {
		struct core_options options;
		struct core_task_view view;
		struct world *w;
		uint64_t seed = s;

		world_options(&options);
		options.seed = s;
		options.policy.attempts_max = 2; /* so that some are used up */
		options.policy.interruptions_max = 4;
		w = world_create(&options);
		w->on_effect = agents_bounded;
		submit_some(w, &seed);
		for (int i = 0; i < 60; i++) {
			world_pass(w, retry_random(&seed) % (120 * WORLD_MS));
			if (w->exit_status >= 0)
				break;
			disturb(w, &seed);
		}
		heal(w);
		world_pass(w, 30 * SECOND);
		world_run(w, 60 * SECOND);
		assert_int_equal(w->exit_status, -1);
		promises(w, s);
		for (size_t i = 0; i < core_task_count(w->core); i++) {
			core_task(w->core, i, &view);
			done += strcmp(view.state, "done") == 0;
			failed += strcmp(view.state, "failed") == 0;
		}
		steps += w->steps;
		world_destroy(w);
	}
	print_message("%zu tasks done, %zu failed, %zu steps\n", done, failed, steps);
	assert_true(done > failed && failed > 0);
}

/* The same seed gives the same run, to the byte of its log. */
static void deterministic(void **state)
{
	uint64_t digests[2], lsns[2];

	(void)state;
	for (unsigned run = 0; run < 2; run++) {
		struct core_options options;
		struct world *w;
		uint64_t seed = 5;

		world_options(&options);
		w = world_create(&options);
		submit_some(w, &seed);
		for (int i = 0; i < 25; i++) {
			world_pass(w, retry_random(&seed) % (300 * WORLD_MS));
			disturb(w, &seed);
		}
		heal(w);
		world_pass(w, 30 * SECOND);
		digests[run] = core_digest(w->core);
		lsns[run] = w->durable;
		world_destroy(w);
	}
	assert_true(digests[0] == digests[1]);
	assert_int_equal(lsns[0], lsns[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(chaos),
	    cmocka_unit_test(deterministic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
