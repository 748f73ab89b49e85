/* SPDX-License-Identifier: Apache-2.0 */
/* The conductor's core: how tasks are retired: many with one record, as older records said it too, whatever names those hold; and what
 * stays as it is for the others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core_small.h"

#include <errno.h>
#include <string.h>

#include "fixtures/conductor/core/record.h"

/* What stays moves when others go, so many go at once. */
static void go_together(void **state)
{
	struct core_options options = small();
	const unsigned count = 600;
	struct world *w;
	uint64_t records = 0, names = 0;

	(void)state;
	options.policy.retain_tasks = 320;
	options.policy.queue_max = count;
	options.policy.agents = 64;
	for (unsigned role = 0; role < POLICY_ROLES; role++)
		options.policy.role_agents[role] = 64;
	options.tasks_max = 1024;
	options.retired_max = 1024;
	w = world_create(&options);
	for (unsigned i = 0; i < count; i++) {
		char id[16];

		snprintf(id, sizeof id, "t%u", i);
		world_submit(w, i, id, i % 2 ? "write" : "review", "");
		if (i % 50 == 49)
			world_pass(w, SECOND);
	}
	world_run(w, 60 * SECOND);
	for (unsigned i = 0; i < 20; i++) {
		world_pass(w, RETAIN_MS * WORLD_MS);
		world_step(w, (struct core_event){.kind = CORE_TICK});
	}
	world_run(w, SECOND);
	for (uint64_t lsn = 1; lsn <= w->durable; lsn++) {
		struct record record;
		struct error err;

		if (w->log[lsn - 1].kind != CORE_RECORD_RETIRE)
			continue;
		assert_int_equal(core_record_decode(
				     &record, CORE_RECORD_RETIRE, w->log[lsn - 1].payload, w->log[lsn - 1].size, &err),
		    0);
		assert_true(record.prompt_size > 0);
		names++;
		for (size_t i = 0; i < record.prompt_size; i++)
			names += record.prompt[i] == ' ';
		records++;
	}
	assert_int_equal(names, core_retired_count(w->core));
	assert_true(names >= count - 320 - 41);
	assert_true(records * 16 <= names);
	assert_in_range(core_task_count(w->core), 320, 320 + 41);
	assert_true(world_replayed(w) == core_digest(w->core));
	world_destroy(w);
}

static void names_as_records(void **state)
{
	/* {"names": "a bb"}, then what is none */
	static const char good[] = "\x81\xa5names\xa4"
				   "a bb",
			  list[] = "\x81\xa5names\x91\xa1"
				   "a";
	struct record record;
	uint8_t bytes[RECORD_MAX];
	struct error err;

	(void)state;
	assert_int_equal(core_record_decode(&record, CORE_RECORD_RETIRE, good, sizeof good - 1, &err), 0);
	assert_int_equal(record.prompt_size, 4);
	assert_memory_equal(record.prompt, "a bb", 4);
	assert_int_equal(core_record_encode(&record, bytes, sizeof bytes), sizeof good - 1);
	assert_memory_equal(bytes, good, sizeof good - 1);
	record_init(&record, CORE_RECORD_RETIRE, "", 0);
	assert_true(record_read_quickly(&record, good, sizeof good - 1));
	assert_int_equal(record.prompt_size, 4);
	record_init(&record, CORE_RECORD_GIVE_UP, "", 0); /* where it means nothing */
	assert_false(record_read_quickly(&record, good, sizeof good - 1));
	assert_int_equal(core_record_decode(&record, CORE_RECORD_GIVE_UP, good, sizeof good - 1, &err), 0);
	assert_int_equal(record.prompt_size, 0);
	assert_int_equal(core_record_decode(&record, CORE_RECORD_RETIRE, list, sizeof list - 1, &err), -1);
	assert_int_equal(err.code, EILSEQ);
	assert_non_null(strstr(err.text, "names"));
}

/* Names that no task has, that are too long, twice the same, nothing between two spaces: the others go all the same. */
static void odd_names(void **state)
{
	const struct core_options options = small();
	struct world *w = world_create(&options);
	struct record record;
	uint8_t bytes[RECORD_MAX];
	struct error err;
	char names[300];
	size_t size;

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		assert_true(do_one(w, i));
	assert_int_equal(core_retired_count(w->core), 0);
	snprintf(names, sizeof names, " t1  nobody t1 %080d %0*d t3", 7, (int)CORE_ID_MAX, 7);
	record_init(&record, CORE_RECORD_RETIRE, "", w->now_us);
	record.prompt = names;
	record.prompt_size = strlen(names);
	size = core_record_encode(&record, bytes, sizeof bytes);
	assert_true(size > 0);
	assert_int_equal(core_replay(w->core, w->durable + 1, 1, CORE_RECORD_RETIRE, bytes, size, &err), 0);
	assert_int_equal(core_retired_count(w->core), 2);
	assert_int_equal(core_task_count(w->core), 2);
	assert_string_equal(world_state(w, "t0"), "done");
	assert_string_equal(world_state(w, "t2"), "done");
	world_destroy(w);
}

/* Records that name tasks one by one, as they were until they named many at once. */
static void older_records(void **state)
{
	const struct core_options options = small();
	struct world *w = world_create(&options);
	struct record record;
	uint8_t bytes[RECORD_MAX];
	struct error err;
	size_t size;

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		assert_true(do_one(w, i));
	record_init(&record, CORE_RECORD_RETIRE, "", w->now_us);
	record.after_count = 2;
	record_copy(record.after[0], CORE_ID_MAX, "t2");
	record_copy(record.after[1], CORE_ID_MAX, "t0");
	size = core_record_encode(&record, bytes, sizeof bytes);
	assert_int_equal(core_replay(w->core, w->durable + 1, 1, CORE_RECORD_RETIRE, bytes, size, &err), 0);
	assert_int_equal(core_retired_count(w->core), 2);
	assert_int_equal(core_task_count(w->core), 2);
	assert_string_equal(world_state(w, "t1"), "done");
	assert_string_equal(world_state(w, "t3"), "done");
	world_destroy(w);
}

/* Whose name there is no room for stays what it is, in a replay with less room, too. */
static void without_room_they_stay(void **state)
{
	struct core_options options = small();
	struct world *w = world_create(&options);
	const unsigned count = 20;
	struct core *core;

	(void)state;
	for (unsigned i = 0; i < count; i++)
		assert_true(do_one(w, i));
	assert_true(core_retired_count(w->core) > 5);
	options.retired_max = 5;
	core = world_core(&options);
	world_replay(w, core, 1, w->durable);
	assert_int_equal(core_retired_count(core), 5);
	assert_int_equal(core_task_count(core), count - 5);
	core_destroy(core);
	world_destroy(w);
}

/* What it is told that it comes after. */
static bool comes_after(struct world *w, const struct core_effect *effect)
{
	if (effect->kind == CORE_WORK && strcmp(effect->task, "slow") == 0) {
		assert_int_equal(effect->after_count, 2);
		assert_string_equal(effect->after[0], "first");
		assert_string_equal(effect->after[1], "second");
		w->user[0]++;
	}
	return false;
}

/* A task at work keeps what it was handed when others move: its next attempt can begin. */
static void hand_offs_stay(void **state)
{
	const struct core_options options = small();
	struct world *w = world_create(&options);
	int agent;

	(void)state;
	w->on_effect = comes_after;
	for (unsigned i = 0; i < RETAIN - 2; i++)
		assert_true(do_one(w, i));
	world_submit(w, 100, "first", "write", "");
	world_submit(w, 101, "second", "write", "");
	world_pass(w, SECOND);
	w->call_ms = 60000;
	world_submit(w, 102, "slow", "plan", "first,second");
	world_pass(w, 100 * WORLD_MS);
	assert_string_equal(world_state(w, "slow"), "running");
	agent = world_agent(w, "slow", 1);
	assert_true(agent >= 0);
	w->call_ms = 20;
	assert_int_equal(core_retired_count(w->core), 0);
	world_submit(w, 103, "another", "write", "");
	world_submit(w, 104, "more", "write", ""); /* with these the oldest go, and all others move */
	while (core_retired_count(w->core) == 0) {
		world_pass(w, 50 * WORLD_MS);
		world_step(w, (struct core_event){.kind = CORE_TICK});
	}
	assert_string_equal(world_state(w, "slow"), "running");
	world_die(w, agent, 137);
	world_run(w, 20 * SECOND);
	assert_int_equal(w->user[0], 2); /* once before, once after */
	assert_int_equal(world_commits(w, "slow"), 1);
	assert_true(world_replayed(w) == core_digest(w->core));
	world_destroy(w);
}

static void replay_one(struct core *core, uint64_t *lsn, const struct record *record)
{
	uint8_t bytes[RECORD_MAX];
	struct error err;
	size_t size = core_record_encode(record, bytes, sizeof bytes);

	if (core_replay(core, ++*lsn, 1, record->kind, bytes, size, &err) != 0)
		fail_msg("%s", err.text);
}

static void submit_given_up(struct core *core, uint64_t *lsn, const char *id)
{
	struct record record;

	record_init(&record, CORE_RECORD_ACCEPT, id, 1000);
	record_copy(record.key, CORE_KEY_MAX, "the same");
	record.prompt = "do it";
	record.prompt_size = 5;
	replay_one(core, lsn, &record);
	record_init(&record, CORE_RECORD_GIVE_UP, id, 2000);
	record.fault_class = CORE_CLASS_BUDGET;
	replay_one(core, lsn, &record);
}

static void retire_by_name(struct core *core, uint64_t *lsn, const char *id)
{
	struct record record;

	record_init(&record, CORE_RECORD_RETIRE, "", 3000);
	record.prompt = id;
	record.prompt_size = strlen(id);
	replay_one(core, lsn, &record);
}

/* A log that lost records may hold two tasks of one key: the second is not retired over the first. */
static void a_key_is_one_task_s(void **state)
{
	const struct core_options options = small();
	struct core *core = world_core(&options);
	const char *const ids[] = {"a", "b"};
	uint64_t lsn = 0;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		submit_given_up(core, &lsn, ids[i]);
		retire_by_name(core, &lsn, ids[i]);
		assert_int_equal(core_retired_count(core), 1);
		assert_int_equal(core_task_count(core), i);
		if (i > 0)
			break;
		core_reset(core); /* nor is one over itself, in the same memory */
		lsn = 0;
		assert_int_equal(core_retired_count(core), 0);
		submit_given_up(core, &lsn, ids[0]);
		retire_by_name(core, &lsn, ids[0]);
		assert_int_equal(core_retired_count(core), 1);
		assert_int_equal(core_task_count(core), 0);
	}
	core_destroy(core);
}

/* Those that wait for an agent of their role go on waiting in their order, whoever goes meanwhile. */
static void queues_stay(void **state)
{
	struct core_options options = small();
	struct world *w;

	(void)state;
	for (unsigned role = 0; role < POLICY_ROLES; role++)
		options.policy.role_agents[role] = role == POLICY_ROLE_PLAN ? 1 : 2;
	w = world_create(&options);
	for (unsigned i = 0; i < RETAIN + 2; i++)
		assert_true(do_one(w, i));
	assert_int_equal(core_retired_count(w->core), 2);
	w->call_ms = 400; /* from here on each takes its time */
	for (unsigned i = 0; i < 5; i++) {
		char id[16];

		snprintf(id, sizeof id, "plan%u", i);
		world_submit(w, 100 + i, id, "plan", "");
	}
	w->call_ms = 400;
	world_pass(w, 100 * WORLD_MS);
	for (unsigned i = 0; i < 4; i++) {
		char id[16];

		snprintf(id, sizeof id, "w%u", i);
		world_submit(w, 200 + i, id, "write", "");
	}
	while (core_retired_count(w->core) < 4)
		world_pass(w, 50 * WORLD_MS), world_step(w, (struct core_event){.kind = CORE_TICK});
	assert_string_equal(world_state(w, "plan4"), "ready"); /* still in its queue */
	world_run(w, 60 * SECOND);
	for (unsigned i = 0; i < 5; i++) {
		char id[16];

		snprintf(id, sizeof id, "plan%u", i);
		assert_int_equal(world_commits(w, id), 1);
	}
	assert_true(world_replayed(w) == core_digest(w->core));
	world_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(go_together),
	    cmocka_unit_test(names_as_records),
	    cmocka_unit_test(odd_names),
	    cmocka_unit_test(older_records),
	    cmocka_unit_test(without_room_they_stay),
	    cmocka_unit_test(hand_offs_stay),
	    cmocka_unit_test(a_key_is_one_task_s),
	    cmocka_unit_test(queues_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
