/* SPDX-License-Identifier: Apache-2.0 */
/* The conductor's core: the room that it has, for the names of tasks that ended long ago above all: said before it is full,
 * bounded in a renewed core, too, empty with each log; and when a checkpoint is worth its bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core_small.h"

#include <errno.h>
#include <string.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(said_in_time),
	    cmocka_unit_test(written_down),
	    cmocka_unit_test(renewed),
	    cmocka_unit_test(renewed_with_fewer_tasks),
	    cmocka_unit_test(checkpoints_are_due),
	    cmocka_unit_test(names_end_with_their_log),
	    cmocka_unit_test(answers_outlive_a_checkpoint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
