/* SPDX-License-Identifier: Apache-2.0 */
/* The conductor's core: tasks that ended long ago make room, and are still never done twice. */
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

#include "fixtures/conductor/core/record.h"
#include "fixtures/conductor/policy/cascade.h"

#define SECOND    (1000 * WORLD_MS)
#define TASKS_MAX 24u
#define RETAIN    8u /* then two go at a time */
#define RETAIN_MS 300u
#define PROMPT    3000u

static struct world *make(const struct core_options *changed)
{
	struct core_options options;

	world_options(&options);
	options.policy.retain_tasks = RETAIN;
	options.policy.retain_ms = RETAIN_MS;
	options.tasks_max = TASKS_MAX;
	options.retired_max = changed ? changed->retired_max : 0;
	options.prompt_bytes = changed && changed->prompt_bytes ? changed->prompt_bytes : 1 << 20;
	return world_create(&options);
}

/* The status of the answer, or 0 while there is none. */
static int32_t answer(const struct world *w, uint64_t token)
{
	for (size_t i = w->reply_count; i > 0; i--)
		if (w->replies[i - 1].token == token)
			return w->replies[i - 1].status;
	return 0;
}

static const struct world_reply *last_reply(const struct world *w)
{
	assert_true(w->reply_count > 0);
	return &w->replies[w->reply_count - 1];
}

static const char *name_of(unsigned number)
{
	static char name[16];

	snprintf(name, sizeof name, "t%u", number);
	return name;
}

/* Tasks `first` to `last`, a few at a time, each of its batch to its end and beyond the time that it is kept for. */
static void do_tasks(struct world *w, unsigned first, unsigned last)
{
	for (unsigned i = first; i <= last; i++) {
		world_submit(w, i, name_of(i), "write", "");
		if (i % 4 == 3 || i == last) {
			world_run(w, 20 * SECOND);
			world_pass(w, (RETAIN_MS + 10) * WORLD_MS);
		}
	}
	/* it is retired when something happens */
	for (unsigned i = 0; i < TASKS_MAX; i++)
		world_pass(w, 110 * WORLD_MS), world_step(w, (struct core_event){.kind = CORE_TICK});
	world_run(w, SECOND);
}

static bool is_there(const struct world *w, const char *id)
{
	for (size_t i = 0; i < core_task_count(w->core); i++) {
		struct core_task_view view;

		core_task(w->core, i, &view);
		if (strcmp(view.id, id) == 0)
			return true;
	}
	return false;
}

static void many_tasks_through_a_small_table(void **state)
{
	struct world *w = make(NULL);
	const unsigned count = 10 * TASKS_MAX;

	(void)state;
	do_tasks(w, 0, count - 1);
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(answer(w, i), 202);
		assert_int_equal(world_commits(w, name_of(i)), 1);
		assert_int_equal(world_notes(w, name_of(i)), 1);
	}
	assert_int_equal(core_task_count(w->core) + core_retired_count(w->core), count);
	assert_in_range(core_task_count(w->core), RETAIN, RETAIN + 1);
	assert_true(world_replayed(w) == core_digest(w->core));
	for (unsigned i = 0; i < count; i++) { /* the oldest went */
		const bool expected = i >= count - core_task_count(w->core);

		assert_int_equal(is_there(w, name_of(i)), expected);
	}
	world_destroy(w);
}

static void a_retired_task_is_not_done_again(void **state)
{
	struct world *w = make(NULL);
	uint64_t lsn;

	(void)state;
	world_submit(w, 1000, "t0", "write", "");
	world_run(w, 20 * SECOND);
	lsn = last_reply(w)->lsn;
	assert_true(lsn > 0);
	do_tasks(w, 1, 3 * TASKS_MAX);
	for (int again = 0; again < 2; again++) { /* in the same process, and in the next one */
		const uint64_t staged = core_staged(w->core);

		assert_false(is_there(w, "t0"));
		world_submit(w, 1001, "t0", "write", "");
		assert_int_equal(last_reply(w)->status, 202);
		assert_int_equal(last_reply(w)->lsn, lsn);
		assert_string_equal(last_reply(w)->task, "t0");
		world_submit(w, 1002, "t0", "review", ""); /* other content */
		assert_int_equal(last_reply(w)->status, 409);
		world_step(w, (struct core_event){.kind = CORE_SUBMIT,
				  .token = 1003,
				  .submission = &(struct core_submission){
				      .id = "other", .key = "t0", .role = "write", .prompt = "do it"}});
		assert_int_equal(last_reply(w)->status, 409); /* the key is taken */
		assert_int_equal(core_staged(w->core), staged);
		world_run(w, 20 * SECOND);
		assert_int_equal(world_commits(w, "t0"), 1);
		world_restart(w, 0);
		world_run(w, SECOND);
	}
	world_destroy(w);
}

static void what_comes_after_one(void **state)
{
	struct world *w = make(NULL);

	(void)state;
	w->git = GIT_CONFLICTS;
	world_submit(w, 1, "bad", "write", "");
	world_run(w, 60 * SECOND);
	assert_string_equal(world_state(w, "bad"), "failed");
	w->git = GIT_WORKS;
	do_tasks(w, 100, 100 + 2 * TASKS_MAX);
	assert_false(is_there(w, "bad"));
	assert_false(is_there(w, "t100"));
	world_submit(w, 2, "child", "write", "t100"); /* it counts as handed in */
	assert_int_equal(answer(w, 2), 0);
	world_run(w, 20 * SECOND);
	assert_int_equal(answer(w, 2), 202);
	assert_int_equal(world_commits(w, "child"), 1);
	world_submit(w, 3, "child", "write", "t100");
	assert_int_equal(last_reply(w)->status, 202);
	world_submit(w, 4, "orphan", "write", "t100,bad");
	world_run(w, 20 * SECOND);
	assert_int_equal(answer(w, 4), 202); /* as if it were still there: it fails with what it comes after */
	assert_string_equal(world_state(w, "orphan"), "failed");
	assert_int_equal(world_commits(w, "orphan"), 0);
	world_submit(w, 5, "lost", "write", "never-there");
	assert_int_equal(last_reply(w)->status, 400);
	world_submit(w, 6, "bad", "write", ""); /* as before it was retired: accepted once, and that was all */
	assert_int_equal(last_reply(w)->status, 202);
	world_run(w, 20 * SECOND);
	assert_int_equal(world_commits(w, "bad"), 0);
	assert_true(world_replayed(w) == core_digest(w->core));
	world_destroy(w);
}

/* A task stays while one that comes after it is open, however many end meanwhile. */
static void not_while_somebody_waits(void **state)
{
	struct world *w = make(NULL);

	(void)state;
	world_submit(w, 1, "first", "write", "");
	world_run(w, 20 * SECOND);
	w->agents[w->agent_count - 1].hung = false;
	/* an agent that never answers: its task is open for long */
	w->call_ms = 9000;
	world_submit(w, 2, "slow", "write", "first");
	world_pass(w, 100 * WORLD_MS);
	w->call_ms = 20;
	for (unsigned i = 0; i < 14; i++) {
		world_submit(w, 10 + i, name_of(i), "review", "");
		world_pass(w, 400 * WORLD_MS);
	}
	assert_string_equal(world_state(w, "slow"), "running");
	assert_true(core_retired_count(w->core) > 0);
	assert_true(is_there(w, "first"));
	assert_true(is_there(w, "slow"));
	world_run(w, 60 * SECOND);
	assert_int_equal(world_commits(w, "slow"), 1);
	do_tasks(w, 100, 100 + TASKS_MAX);
	assert_false(is_there(w, "first"));
	assert_int_equal(world_commits(w, "first"), 1);
	world_destroy(w);
}

/* Who asks has the time for it: since the end of the task, and since the conductor is back. */
static void not_before_its_time(void **state)
{
	struct world *w = make(NULL);

	(void)state;
	world_pass(w, 2 * RETAIN_MS * WORLD_MS); /* it has not just come back */
	for (unsigned i = 0; i < RETAIN + 4; i++)
		world_submit(w, i, name_of(i), i % 2 ? "write" : "review", "");
	while (world_notes(w, name_of(RETAIN + 3)) == 0 || world_notes(w, name_of(RETAIN + 2)) == 0)
		world_pass(w, 10 * WORLD_MS);
	world_submit(w, 100, "next", "plan", "");
	assert_int_equal(core_retired_count(w->core), 0);
	w->now_us += 10 * SECOND; /* nobody is there to be asked */
	world_restart(w, 0);
	world_pass(w, (RETAIN_MS - 100) * WORLD_MS);
	world_step(w, (struct core_event){.kind = CORE_TICK});
	assert_int_equal(core_retired_count(w->core), 0);
	world_pass(w, 200 * WORLD_MS);
	world_step(w, (struct core_event){.kind = CORE_TICK});
	assert_true(core_retired_count(w->core) > 0);
	world_destroy(w);
}

/* When there is no room for more names none is retired any more: refused, but never done twice. */
static void names_are_bounded(void **state)
{
	const struct core_options few = {.retired_max = 6};
	struct world *w = make(&few);
	struct core_options options;
	unsigned refused = 0;
	struct core *core;
	struct error err;

	(void)state;
	do_tasks(w, 0, 2 * TASKS_MAX);
	assert_int_equal(core_retired_count(w->core), 6);
	assert_int_equal(core_task_count(w->core), TASKS_MAX);
	for (unsigned i = 0; i <= 2 * TASKS_MAX; i++) {
		assert_int_equal(answer(w, i), i < 6 + TASKS_MAX ? 202 : 429);
		refused += answer(w, i) == 429;
		assert_int_equal(world_commits(w, name_of(i)), answer(w, i) == 202);
	}
	assert_true(refused > 0);
	world_submit(w, 1000, "t0", "write", "");
	assert_int_equal(last_reply(w)->status, 202);
	assert_true(world_replayed(w) == core_digest(w->core));
	/* a conductor with room for fewer keeps the others whole */
	options = w->options;
	options.retired_max = 2;
	assert_int_equal(core_create(&core, &options, &err), 0);
	for (uint64_t lsn = 1; lsn <= w->durable && core_task_count(core) < TASKS_MAX; lsn++) {
		const struct world_record *r = &w->log[lsn - 1];

		assert_int_equal(core_replay(core, lsn, 1, r->kind, r->payload, r->size, &err), 0);
	}
	assert_int_equal(core_retired_count(core), 2);
	core_destroy(core);
	world_destroy(w);
}

/* A policy that asks for more than there is room for keeps less: no new task is refused for it. */
static void more_than_there_is_room_for(void **state)
{
	struct core_options options;
	struct world *w;

	(void)state;
	world_options(&options);
	options.policy.retain_tasks = TASKS_MAX;
	options.policy.retain_ms = RETAIN_MS;
	options.tasks_max = TASKS_MAX;
	options.prompt_bytes = 1 << 20;
	w = world_create(&options);
	do_tasks(w, 0, 3 * TASKS_MAX);
	for (unsigned i = 0; i <= 3 * TASKS_MAX; i++)
		assert_int_equal(answer(w, i), 202);
	assert_true(core_retired_count(w->core) > TASKS_MAX);
	assert_true(world_replayed(w) == core_digest(w->core));
	world_destroy(w);
}

/* The room for prompts is that of the tasks that are open, live as in a replay. */
static void prompts_make_room(void **state)
{
	const struct core_options little = {.prompt_bytes = 4 * PROMPT};
	struct world *w = make(&little);
	char prompt[PROMPT + 1];

	(void)state;
	memset(prompt, 'p', PROMPT);
	prompt[PROMPT] = '\0';
	for (unsigned i = 0; i < 16; i++) {
		const struct core_submission s = {.id = name_of(i), .role = "write", .prompt = prompt};

		prompt[0] = (char)('a' + i);
		world_step(w, (struct core_event){.kind = CORE_SUBMIT, .token = i, .submission = &s});
		if (i % 2) {
			world_restart(w, w->staged > w->durable ? 0 : w->durable);
			world_run(w, 20 * SECOND);
		} else {
			world_pass(w, 5 * WORLD_MS);
		}
		assert_int_equal(answer(w, i) == 202 || i % 2, 1);
	}
	for (unsigned i = 0; i < 16; i += 2)
		assert_int_equal(world_commits(w, name_of(i)), 1);
	assert_true(world_replayed(w) == core_digest(w->core));
	world_destroy(w);
}

/* The prompt that an agent is told is its own, after all that moved. */
static bool prompt_is_right(struct world *w, const struct core_effect *effect)
{
	if (effect->kind == CORE_WORK) {
		w->user[0]++;
		if (strncmp(effect->prompt, effect->task, strlen(effect->task)) != 0)
			w->user[1]++;
	}
	return false;
}

static void prompts_stay_their_own(void **state)
{
	const struct core_options little = {.prompt_bytes = 6000};
	struct world *w = make(&little);

	(void)state;
	w->on_effect = prompt_is_right;
	for (unsigned i = 0; i < 60; i++) {
		char prompt[1200];
		const struct core_submission s = {.id = name_of(i), .role = i % 3 ? "write" : "plan", .prompt = prompt};

		memset(prompt, 'x', sizeof prompt - 1);
		memcpy(prompt, s.id, strlen(s.id));
		prompt[400 + 13 * i] = '\0';
		world_step(w, (struct core_event){.kind = CORE_SUBMIT, .token = i, .submission = &s});
		world_pass(w, 130 * WORLD_MS);
	}
	world_run(w, 20 * SECOND);
	assert_true(w->user[0] > 20);
	assert_int_equal(w->user[1], 0);
	assert_true(core_retired_count(w->core) > 0);
	world_destroy(w);
}

/* While some go others wait for their time, their agents, their answers: nothing of theirs is lost when they move. */
static void those_that_stay_go_on(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 12; seed++) {
		struct world *w = make(NULL);
		uint64_t random = seed;
		unsigned taken = 0;

		for (unsigned i = 0; i < 150; i++) {
			const char *after = i >= 3 && i % 4 == 3 ? name_of(i - 2) : "";
			char before[16];

			snprintf(before, sizeof before, "%s", after);
			world_submit(w, i, name_of(i), i % 3 ? "write" : "plan", before);
			w->provider_status[i % POLICY_PROVIDERS] = retry_random(&random) % 6 ? 0 : 500;
			w->sink_status = retry_random(&random) % 5 ? 200 : 503;
			if (w->agent_count && retry_random(&random) % 9 == 0)
				world_die(w, (int)(retry_random(&random) % w->agent_count), 137);
			world_pass(w, retry_random(&random) % (160 * WORLD_MS));
		}
		memset(w->provider_status, 0, sizeof w->provider_status);
		w->sink_status = 200;
		world_run(w, 120 * SECOND);
		for (unsigned i = 0; i < 150; i++) {
			if (answer(w, i) != 202)
				continue;
			taken++;
			if (is_there(w, name_of(i)) && strcmp(world_state(w, name_of(i)), "done") != 0)
				assert_string_equal(world_state(w, name_of(i)), "failed");
			assert_true(world_commits(w, name_of(i)) <= 1);
			if (world_commits(w, name_of(i)))
				assert_true(world_notes(w, name_of(i)) >= 1);
		}
		assert_true(taken > 60 && core_retired_count(w->core) > 10);
		assert_true(world_replayed(w) == core_digest(w->core));
		world_destroy(w);
	}
}

/* The SLOs ask the tasks of their window what became of them, wherever those are now. */
static void objectives_follow(void **state)
{
	struct world *w = make(NULL);
	struct core_slo_report report;

	(void)state;
	world_pass(w, 2 * RETAIN_MS * WORLD_MS);
	for (unsigned i = 0; i < RETAIN + 2; i++)
		world_submit(w, i, name_of(i), i % 2 ? "write" : "review", "");
	world_run(w, 20 * SECOND);
	assert_int_equal(core_retired_count(w->core), 0);
	w->sink_status = 503;
	world_submit(w, 100, "late", "write", "");
	world_pass(w, 6 * SECOND);
	assert_int_equal(world_commits(w, "late"), 1);
	assert_int_equal(core_retired_count(w->core), 2);
	core_slo_report(w->core, w->now_us, &report);
	assert_string_equal(report.slos[1].name, "notification_delivery");
	assert_true(report.slos[1].current > (RETAIN + 2) / (RETAIN + 3.0) - 1e-9);
	assert_true(report.slos[1].current < (RETAIN + 2) / (RETAIN + 3.0) + 1e-9);
	w->sink_status = 200;
	world_run(w, 20 * SECOND);
	core_slo_report(w->core, w->now_us, &report);
	assert_true(report.slos[1].current > 1 - 1e-9);
	world_destroy(w);
}

static void records(void **state)
{
	/* {"tasks": ["a", "b"]}, then what is none */
	static const char good[] = "\x81\xa5tasks\x92\xa1"
				   "a\xa1"
				   "b",
			  number[] = "\x81\xa5tasks\x91\x05",
			  text[] = "\x81\xa5tasks\xa1"
				   "a";
	struct record record, back;
	uint8_t bytes[RECORD_MAX];
	struct error err;
	size_t size;

	(void)state;
	assert_int_equal(core_record_decode(&record, CORE_RECORD_RETIRE, good, sizeof good - 1, &err), 0);
	assert_int_equal(record.after_count, 2);
	assert_string_equal(record.after[1], "b");
	size = core_record_encode(&record, bytes, sizeof bytes);
	assert_int_equal(size, sizeof good - 1);
	assert_memory_equal(bytes, good, size);
	assert_int_equal(core_record_decode(&back, CORE_RECORD_RETIRE, number, sizeof number - 1, &err), -1);
	assert_int_equal(err.code, EILSEQ);
	assert_non_null(strstr(err.text, "tasks"));
	assert_int_equal(core_record_decode(&back, CORE_RECORD_RETIRE, text, sizeof text - 1, &err), -1);
	assert_int_equal(err.code, EILSEQ);
	assert_string_equal(core_record_name(CORE_RECORD_RETIRE), "retire");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(many_tasks_through_a_small_table),
	    cmocka_unit_test(a_retired_task_is_not_done_again),
	    cmocka_unit_test(what_comes_after_one),
	    cmocka_unit_test(not_while_somebody_waits),
	    cmocka_unit_test(not_before_its_time),
	    cmocka_unit_test(names_are_bounded),
	    cmocka_unit_test(more_than_there_is_room_for),
	    cmocka_unit_test(prompts_make_room),
	    cmocka_unit_test(prompts_stay_their_own),
	    cmocka_unit_test(those_that_stay_go_on),
	    cmocka_unit_test(objectives_follow),
	    cmocka_unit_test(records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
