/* SPDX-License-Identifier: Apache-2.0 */
/* The conductor's core: the room that it has, for the names of tasks that ended long ago above all: said before it is full,
 * used in few moves, bounded in a renewed core, too; and when a checkpoint is worth its bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core_world.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fixtures/conductor/core/record.h"

#define SECOND    (1000 * WORLD_MS)
#define TASKS_MAX 24u
#define RETAIN    8u
#define RETAIN_MS 300u
#define NAMES     20u

static struct core_options small(void)
{
	struct core_options options;

	world_options(&options);
	options.policy.retain_tasks = RETAIN;
	options.policy.retain_ms = RETAIN_MS;
	options.tasks_max = TASKS_MAX;
	options.retired_max = NAMES;
	options.prompt_bytes = 1 << 20;
	return options;
}

/* One task to its end and beyond the time that it is kept for; true when it was taken. */
static bool do_one(struct world *w, unsigned number)
{
	char id[16];

	snprintf(id, sizeof id, "t%u", number);
	world_submit(w, number, id, "write", "");
	world_run(w, 20 * SECOND);
	world_pass(w, (RETAIN_MS + 110) * WORLD_MS);
	world_step(w, (struct core_event){.kind = CORE_TICK});
	world_run(w, SECOND);
	return w->replies[w->reply_count - 1].status == 202;
}

/* Nobody is refused before somebody could have read it. */
static void said_in_time(void **state)
{
	const struct core_options options = small();
	struct world *w = world_create(&options);
	struct core_status status;
	unsigned taken = 0, warned_at = 0;
	size_t writes = 0;

	(void)state;
	while (do_one(w, taken)) {
		taken++;
		core_status(w->core, w->now_us, &status);
		assert_int_equal(status.retired, core_retired_count(w->core));
		assert_int_equal(status.retired_max, NAMES);
		assert_int_equal(status.warning[0] != '\0', status.retired >= NAMES - NAMES / 10);
		if (status.warning[0] && !warned_at) {
			warned_at = taken;
			assert_non_null(strstr(status.warning, "names-max"));
			writes = w->status_writes;
		}
	}
	assert_true(warned_at > 0);
	assert_true(taken >= warned_at + TASKS_MAX - RETAIN - 4); /* and that is how many more were taken */
	assert_true(writes > 0);
	assert_int_equal(taken, NAMES + TASKS_MAX);
	assert_int_equal(w->replies[w->reply_count - 1].status, 429);
	assert_non_null(strstr(w->replies[w->reply_count - 1].text, "names-max"));
	world_destroy(w);
}

/* That the room is nearly used up is news: the file that says so is written, though nothing else changes. */
static void written_down(void **state)
{
	struct core_options options = small();
	struct world *w;
	struct core_status status;
	unsigned i;

	(void)state;
	options.retired_max = 2;
	w = world_create(&options);
	for (i = 0; core_retired_count(w->core) < 2; i++) {
		const size_t writes = w->status_writes;

		assert_true(do_one(w, i));
		core_status(w->core, w->now_us, &status);
		if (status.warning[0])
			assert_true(w->status_writes > writes);
	}
	world_destroy(w);
}

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

/* A renewed core is as one that was created so: no more room than was asked for, and never more than there is. */
static void renewed(void **state)
{
	struct core_options options = small(), more;
	struct core_status status;
	struct core *core;
	struct error err;

	(void)state;
	assert_int_equal(core_create(&core, &options, &err), 0);
	more = options;
	more.retired_max = NAMES + 1;
	assert_int_equal(core_renew(core, &more, &err), -1);
	assert_int_equal(err.code, ENOMEM);
	more.retired_max = 0; /* sixteen times the tasks */
	assert_int_equal(core_renew(core, &more, &err), -1);
	more = options;
	more.tasks_max = TASKS_MAX + 1;
	assert_int_equal(core_renew(core, &more, &err), -1);
	more.tasks_max = 0; /* the usual number */
	assert_int_equal(core_renew(core, &more, &err), -1);
	more = options;
	more.prompt_bytes++;
	assert_int_equal(core_renew(core, &more, &err), -1);
	options.retired_max = 3;
	options.tasks_max = 2;
	assert_int_equal(core_renew(core, &options, &err), 0);
	core_status(core, 0, &status);
	assert_int_equal(status.retired_max, 3);
	options = small();
	assert_int_equal(core_renew(core, &options, &err), 0); /* what was taken at first is still there */
	core_status(core, 0, &status);
	assert_int_equal(status.retired_max, NAMES);
	core_destroy(core);
}

static void renewed_with_fewer_tasks(void **state)
{
	struct core_options options = small();
	struct world *w = world_create(&options);
	struct error err;

	(void)state;
	options.tasks_max = 2;
	assert_int_equal(core_renew(w->core, &options, &err), 0);
	core_recovered(w->core, 2, 0, w->now_us, w->effects);
	for (unsigned i = 0; i < 3; i++) {
		const struct core_submission s = {.id = i == 0 ? "a" : i == 1 ? "b" : "c", .role = "write"};
		const struct core_event event = {.kind = CORE_SUBMIT, .now_us = w->now_us, .submission = &s};
		bool refused = false;

		core_step(w->core, &event, w->effects);
		for (size_t e = 0; e < w->effects->count; e++)
			refused =
			    refused || (w->effects->items[e].kind == CORE_REPLY && w->effects->items[e].status == 429);
		assert_int_equal(refused, i == 2);
	}
	world_destroy(w);
}

/* The more it would say, the more records it is to stand for. */
static void checkpoints_are_due(void **state)
{
	struct core_options options = small();
	struct world *w;
	uint64_t lsn, worth;

	(void)state;
	options.policy.checkpoint_records = 10;
	w = world_create(&options);
	for (unsigned i = 0; i < 16; i++)
		assert_true(do_one(w, i));
	lsn = core_snapshot_lsn(w->core);
	worth = 10 + core_task_count(w->core) + core_retired_count(w->core);
	assert_true(core_retired_count(w->core) > 0);
	assert_true(lsn > worth);
	assert_true(core_snapshot_due(w->core, lsn - worth));
	assert_false(core_snapshot_due(w->core, lsn - worth + 1));
	core_step(
	    w->core, &(struct core_event){.kind = CORE_WRITE_FAILED, .now_us = w->now_us, .text = ""}, w->effects);
	assert_false(core_snapshot_due(w->core, 0)); /* there is nothing to take one of */
	world_destroy(w);
	options.policy.checkpoint_records = 0;
	w = world_create(&options);
	assert_true(do_one(w, 0));
	assert_true(core_snapshot_lsn(w->core) > 0);
	assert_false(core_snapshot_due(w->core, 0));
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

/* In the same memory nothing is left of those that were retired before: neither for the log that is read again, nor for another. */
static void names_end_with_their_log(void **state)
{
	const struct core_options options = small();
	struct world *w = world_create(&options);
	uint64_t digest;
	struct error err;
	size_t retired;

	(void)state;
	for (unsigned i = 0; i < 15; i++)
		assert_true(do_one(w, i));
	retired = core_retired_count(w->core);
	digest = core_digest(w->core);
	assert_true(retired > 1);
	world_reopen(w);
	assert_int_equal(core_retired_count(w->core), retired);
	assert_true(core_digest(w->core) == digest);
	assert_int_equal(core_renew(w->core, &options, &err), 0);
	core_recovered(w->core, 2, 0, w->now_us, w->effects);
	for (unsigned i = 0; i < retired; i++) {
		char id[16];
		const struct core_submission s = {.id = id, .role = "review", .prompt = "another"};
		const struct core_event event = {.kind = CORE_SUBMIT, .now_us = w->now_us, .submission = &s};

		snprintf(id, sizeof id, "t%u", i);
		core_step(w->core, &event, w->effects);
		for (size_t e = 0; e < w->effects->count; e++)
			assert_int_not_equal(w->effects->items[e].kind, CORE_REPLY); /* it waits for the log */
		assert_int_equal(core_task_count(w->core), i + 1);
	}
	world_destroy(w);
}

/* Whoever hands in a task that is retired gets the first's answer, from a checkpoint, too. */
static void answers_outlive_a_checkpoint(void **state)
{
	const struct core_options options = small();
	const struct core_submission again = {.id = "t1", .role = "write", .prompt = "do it"};
	struct world *w = world_create(&options);
	struct core_event event = {.kind = CORE_SUBMIT, .submission = &again};
	static uint8_t bytes[1 << 16];
	struct core *core;
	struct error err;
	size_t size;

	(void)state;
	for (unsigned i = 0; i < 15; i++)
		assert_true(do_one(w, i));
	world_submit(w, 100, "t1", "write", "");
	assert_int_equal(w->replies[w->reply_count - 1].status, 202);
	size = core_snapshot(w->core, bytes, sizeof bytes);
	assert_true(size > 0);
	core = world_core(&options);
	assert_int_equal(core_restore(core, bytes, size, &err), 0);
	core_recovered(core, 9, w->durable, w->now_us, w->effects);
	event.now_us = w->now_us;
	core_step(core, &event, w->effects);
	assert_true(w->effects->count > 0);
	assert_int_equal(w->effects->items[0].kind, CORE_REPLY);
	assert_int_equal(w->effects->items[0].status, 202);
	assert_int_equal(w->effects->items[0].lsn, w->replies[w->reply_count - 1].lsn);
	assert_true(w->effects->items[0].lsn > 0);
	core_destroy(core);
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
	    cmocka_unit_test(said_in_time),
	    cmocka_unit_test(written_down),
	    cmocka_unit_test(go_together),
	    cmocka_unit_test(names_as_records),
	    cmocka_unit_test(odd_names),
	    cmocka_unit_test(renewed),
	    cmocka_unit_test(renewed_with_fewer_tasks),
	    cmocka_unit_test(checkpoints_are_due),
	    cmocka_unit_test(older_records),
	    cmocka_unit_test(without_room_they_stay),
	    cmocka_unit_test(names_end_with_their_log),
	    cmocka_unit_test(answers_outlive_a_checkpoint),
	    cmocka_unit_test(a_key_is_one_task_s),
	    cmocka_unit_test(queues_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
