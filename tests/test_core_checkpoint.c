/* SPDX-License-Identifier: Apache-2.0 */
/* The conductor's core: recovery from a checkpoint equals recovery from the beginning, for many histories, wherever
 * the checkpoint was taken; and what is no checkpoint is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core_world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixtures/conductor/policy/cascade.h"

#define SECOND (1000 * WORLD_MS)
#define SEEDS  40u
#define TASKS  14u

struct bytes {
	uint8_t *data;
	size_t size;
};

static struct bytes take(const struct core *core)
{
	const uint64_t digest = core_digest(core);
	struct bytes bytes = {.size = core_snapshot(core, NULL, 0)};

	bytes.data = malloc(bytes.size);
	assert_non_null(bytes.data);
	assert_true(bytes.size > 0);
	assert_int_equal(core_snapshot(core, bytes.data, bytes.size), bytes.size);
	assert_int_equal(
	    core_snapshot(core, bytes.data, bytes.size - 1), 0); /* and never more than there is room for */
	assert_int_equal(core_snapshot(core, bytes.data, bytes.size), bytes.size);
	assert_true(core_digest(core) == digest); /* writing it down changes nothing */
	return bytes;
}

static struct core *restored(const struct core_options *options, const struct bytes *bytes)
{
	struct core *core = world_core(options);
	struct error err;

	if (core_restore(core, bytes->data, bytes->size, &err) != 0)
		fail_msg("restore: %s", err.text);
	return core;
}

static void same_text(const char *a, const char *b)
{
	if (strcmp(a, b) != 0)
		fail_msg("'%s' is not '%s'", a, b);
}

/* All that a core of either origin does when it goes on. */
static void same_effects(const struct core_effects *a, const struct core_effects *b)
{
	assert_int_equal(a->count, b->count);
	for (size_t i = 0; i < a->count; i++) {
		const struct core_effect *x = &a->items[i], *y = &b->items[i];

		assert_int_equal(x->kind, y->kind);
		assert_int_equal(x->lsn, y->lsn);
		assert_int_equal(x->attempt, y->attempt);
		assert_int_equal(x->step, y->step);
		assert_int_equal(x->pid, y->pid);
		assert_int_equal(x->start_time, y->start_time);
		assert_int_equal(x->epoch, y->epoch);
		assert_int_equal(x->status, y->status);
		assert_int_equal(x->tokens_left, y->tokens_left);
		assert_int_equal(x->go, y->go);
		assert_int_equal(x->restore, y->restore);
		assert_int_equal(x->op, y->op);
		assert_int_equal(x->deadline_us, y->deadline_us);
		assert_int_equal(x->size, y->size);
		if (x->size)
			assert_memory_equal(x->payload, y->payload, x->size);
		assert_int_equal(x->after_count, y->after_count);
		for (size_t k = 0; k < x->after_count; k++)
			same_text(x->after[k], y->after[k]);
		same_text(x->task, y->task);
		same_text(x->role, y->role);
		same_text(x->model, y->model);
		same_text(x->prompt, y->prompt);
		same_text(x->base, y->base);
		same_text(x->digest, y->digest);
		same_text(x->text, y->text);
	}
}

static void same_core(struct core *a, struct core *b)
{
	struct bytes x = take(a), y = take(b);

	assert_true(core_digest(a) == core_digest(b));
	assert_int_equal(core_now_us(a), core_now_us(b));
	assert_int_equal(x.size, y.size);
	assert_memory_equal(x.data, y.data, x.size);
	free(x.data);
	free(y.data);
}

/* Both become the conductor: they see the same tasks and decide the same. */
static void same_future(struct core *a, struct core *b, const struct world *w)
{
	struct core_effects *x, *y;
	struct error err;

	assert_int_equal(core_effects_create(&x, a, &err), 0);
	assert_int_equal(core_effects_create(&y, b, &err), 0);
	core_recovered(a, 99, w->durable, w->now_us + SECOND, x);
	core_recovered(b, 99, w->durable, w->now_us + SECOND, y);
	same_effects(x, y);
	for (unsigned i = 1; i <= 20; i++) {
		const struct core_event tick = {.kind = CORE_TICK, .now_us = w->now_us + SECOND + i * 200 * WORLD_MS};
		const struct core_event durable = {.kind = CORE_DURABLE, .now_us = tick.now_us, .lsn = core_staged(a)};

		core_step(a, &durable, x);
		core_step(b, &durable, y);
		same_effects(x, y);
		core_step(a, &tick, x);
		core_step(b, &tick, y);
		same_effects(x, y);
	}
	same_core(a, b);
	core_effects_destroy(x);
	core_effects_destroy(y);
}

/* A checkpoint at `lsn`, the rest replayed on top of it, against all replayed. */
static void compare_at(const struct world *w, uint64_t lsn)
{
	struct core *all = world_core(&w->options), *prefix = world_core(&w->options), *from;
	struct bytes bytes;

	world_replay(w, prefix, 1, lsn);
	bytes = take(prefix);
	from = restored(&w->options, &bytes);
	same_core(from, prefix);
	world_replay(w, from, lsn + 1, w->durable);
	world_replay(w, all, 1, w->durable);
	same_core(from, all);
	same_future(from, all, w);
	core_destroy(all);
	core_destroy(prefix);
	core_destroy(from);
	free(bytes.data);
}

/* What the living conductor stores is what a replay up to there gives. */
static void compare_live(const struct world *w)
{
	uint64_t lsn = core_snapshot_lsn(w->core);
	struct core *core;
	struct bytes live, replayed;

	if (!lsn)
		return;
	assert_int_equal(lsn, w->staged);
	core = world_core(&w->options);
	world_replay(w, core, 1, lsn);
	live = take(w->core);
	replayed = take(core);
	assert_int_equal(live.size, replayed.size);
	assert_memory_equal(live.data, replayed.data, live.size);
	free(live.data);
	free(replayed.data);
	core_destroy(core);
}

static void submit_some(struct world *w, uint64_t *seed)
{
	static const char *const roles[] = {"plan", "write", "review"};
	char id[8], after[32];

	for (unsigned i = 0; i < TASKS; i++) {
		snprintf(id, sizeof id, "t%u", i);
		after[0] = '\0';
		if (i >= 2 && i % 3)
			snprintf(after, sizeof after, "t%u,t%u", i / 2, i / 3);
		if (core_writable(w->core) && retry_random(seed) % 2)
			world_submit(w, 1, id, roles[i % 3], after);
	}
}

static void disturb(struct world *w, uint64_t *seed)
{
	static const int32_t statuses[] = {0, 0, 0, 429, 500, -1};
	size_t agent = w->agent_count ? retry_random(seed) % w->agent_count : 0;
	unsigned p = (unsigned)(retry_random(seed) % POLICY_PROVIDERS);

	switch (retry_random(seed) % 8) {
	case 0:
		if (w->agent_count)
			world_die(w, (int)agent, 137);
		break;
	case 1:
		if (w->agent_count)
			w->agents[agent].hung = !w->agents[agent].hung;
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
		world_restart(w, 0);
		break;
	case 6: /* it has lost a file */
		if (w->agent_count && w->agents[agent].alive)
			world_step(w, (struct core_event){.kind = CORE_FAILED,
					  .task = w->agents[agent].task,
					  .attempt = w->agents[agent].attempt,
					  .epoch = w->agents[agent].epoch,
					  .fault_class = CORE_CLASS_WORKTREE,
					  .text = "docs/lost.md"});
		break;
	default:
		submit_some(w, seed);
		break;
	}
}

static void recovery_from_a_checkpoint(void **state)
{
	size_t records = 0;
	uint64_t seen[CORE_RECORD_END] = {0};

	(void)state;
	for (uint64_t s = 1; s <= SEEDS; s++) {
		struct core_options options;
		struct world *w;
		uint64_t seed = s;

		world_options(&options);
		options.seed = s;
		options.policy.attempts_max = 2;
		options.policy.slo_window = 7; /* so that it goes round, and not by a power of two */
		options.policy.retain_tasks = s % 3 * 2;
		options.policy.retain_ms = 200;
		w = world_create(&options);
		submit_some(w, &seed);
		for (int i = 0; i < 60 && w->exit_status < 0; i++) {
			world_pass(w, retry_random(&seed) % (120 * WORLD_MS));
			compare_live(w);
			disturb(w, &seed);
			compare_live(w);
		}
		assert_true(w->durable > 2);
		for (int i = 0; i < 5; i++)
			compare_at(w, 1 + retry_random(&seed) % w->durable);
		compare_at(w, w->durable);
		for (uint64_t lsn = 1; lsn <= w->durable; lsn++)
			seen[w->log[lsn - 1].kind]++;
		records += w->durable;
		world_destroy(w);
	}
	print_message("%zu records\n", records);
	for (uint32_t kind = CORE_RECORD_ACCEPT; kind < CORE_RECORD_END; kind++)
		if (!seen[kind] && kind != CORE_RECORD_REFUSED)
			fail_msg("no history had a record '%s'", core_record_name(kind));
}

/* Another policy after a restart has the same effect from a checkpoint as from the records. */
static void policy_of_the_day(void **state)
{
	struct core_options options;
	struct world *w;
	struct core *all, *from;
	struct bytes bytes;
	uint64_t seed = 3;

	(void)state;
	world_options(&options);
	options.policy.slo_window = 16;
	w = world_create(&options);
	for (int i = 0; i < 12; i++) {
		submit_some(w, &seed);
		world_pass(w, 500 * WORLD_MS);
	}
	bytes = take(w->core);
	options.policy.slo_window = 5;
	options.policy.agents = 3;
	from = restored(&options, &bytes);
	all = world_core(&options);
	world_replay(w, all, 1, core_snapshot_lsn(w->core));
	same_core(from, all);
	free(bytes.data);
	core_destroy(all);
	core_destroy(from);
	world_destroy(w);
}

static void refusals(void **state)
{
	struct core_options options;
	struct world *w;
	struct bytes bytes;
	struct core *core;
	struct error err;
	uint64_t seed = 1;
	size_t refused = 0;

	(void)state;
	world_options(&options);
	w = world_create(&options);
	submit_some(w, &seed);
	world_pass(w, 2 * SECOND);
	bytes = take(w->core);
	core = world_core(&options);
	assert_int_equal(core_restore(core, bytes.data, bytes.size - 1, &err), -1); /* cut short */
	assert_int_equal(err.code, EILSEQ);
	core_reset(core);
	assert_int_equal(core_restore(core, "\x90", 1, &err), -1);
	assert_int_equal(err.code, EILSEQ);
	core_reset(core);
	assert_int_equal(core_restore(core, bytes.data, bytes.size, &err), 0);
	assert_int_equal(core_restore(core, bytes.data, bytes.size, &err), -1); /* not on top of something */
	assert_int_equal(err.code, EINVAL);
	for (size_t at = 0; at < bytes.size; at++) { /* any byte may be any other: refused, or a state in its limits */
		uint8_t was = bytes.data[at];

		bytes.data[at] = (uint8_t)(was ^ (1u << at % 8));
		core_reset(core);
		if (core_restore(core, bytes.data, bytes.size, &err) != 0)
			refused++;
		else
			(void)core_digest(core);
		bytes.data[at] = was;
	}
	assert_true(refused > bytes.size / 10);
	core_destroy(core);
	options.tasks_max = 2; /* too small for what it holds */
	core = world_core(&options);
	assert_int_equal(core_restore(core, bytes.data, bytes.size, &err), -1);
	core_destroy(core);
	free(bytes.data);
	world_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(recovery_from_a_checkpoint),
	    cmocka_unit_test(policy_of_the_day),
	    cmocka_unit_test(refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
