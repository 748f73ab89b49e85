/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conductor's core: what is no snapshot is refused, by name. Each value of a good one in turn is made what it cannot
 * be: of another type, too long, with a NUL in it, missing, one too many, beyond its limit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core_world.h"

#include <errno.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND (1000 * WORLD_MS)

enum harm { HARM_NONE, HARM_TYPE, HARM_LONG, HARM_NUL, HARM_MORE, HARM_LESS, HARM_HUGE, HARMS };

struct snapshot {
	struct core_options options;
	uint8_t *bytes;
	size_t size;
	msgpack_unpacked tree;
	uint64_t values; /* in the tree, arrays included */
};

/* A history with all that a snapshot can hold: open and ended tasks, dependencies, failures, an incident, retired ones. */
static int setup(void **state)
{
	struct snapshot *s = calloc(1, sizeof *s);
	char id[16], after[16];
	struct world *w;

	assert_non_null(s);
	world_options(&s->options);
	s->options.policy.slo_window = 8;
	s->options.policy.attempts_max = 2;
	s->options.policy.retain_tasks = 8;
	s->options.policy.retain_ms = 100;
	w = world_create(&s->options);
	for (unsigned i = 0; i < 24; i++) {
		snprintf(id, sizeof id, "t%u", i);
		snprintf(after, sizeof after, "t%u", i - 1);
		world_submit(w, i, id, i % 2 ? "write" : "plan", i % 3 == 2 ? after : "");
		w->git = i >= 12 && i < 18 ? GIT_CONFLICTS : GIT_WORKS;
		world_pass(w, (i < 20 ? 900 : 30) * WORLD_MS);
	}
	assert_true(core_retired_count(w->core) > 2 && core_incident_count(w->core) > 0);
	s->size = core_snapshot(w->core, NULL, 0);
	s->bytes = malloc(s->size);
	assert_non_null(s->bytes);
	assert_int_equal(core_snapshot(w->core, s->bytes, s->size), s->size);
	world_destroy(w);
	msgpack_unpacked_init(&s->tree);
	assert_int_equal(msgpack_unpack_next(&s->tree, (const char *)s->bytes, s->size, NULL), MSGPACK_UNPACK_SUCCESS);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct snapshot *s = *state;

	msgpack_unpacked_destroy(&s->tree);
	free(s->bytes);
	free(s);
	return 0;
}

struct copying {
	msgpack_packer packer;
	uint64_t at, target; /* the number of the value */
	enum harm harm;
	bool done;
};

static void copy(struct copying *c, const msgpack_object *object);

static void copy_array(struct copying *c, const msgpack_object *object, bool here)
{
	const uint32_t size = object->via.array.size;
	const uint32_t less = here && c->harm == HARM_LESS && size > 0, more = here && c->harm == HARM_MORE;

	c->done = c->done || less || more;
	msgpack_pack_array(&c->packer, size - less + more);
	for (uint32_t i = 0; i < size - less; i++)
		copy(c, &object->via.array.ptr[i]);
	if (more)
		msgpack_pack_nil(&c->packer);
}

static void copy_text(struct copying *c, const msgpack_object *object, bool here)
{
	const size_t size = here && c->harm == HARM_LONG ? CORE_PROMPT_MAX + 1 : object->via.str.size + 1;
	char *bytes = calloc(1, size + 1);

	assert_non_null(bytes);
	if (here && c->harm == HARM_LONG)
		memset(bytes, 'x', size);
	else
		memcpy(bytes, object->via.str.ptr, object->via.str.size);
	if (here && (c->harm == HARM_LONG || c->harm == HARM_NUL)) {
		msgpack_pack_str_with_body(&c->packer, bytes, size); /* the last byte of a HARM_NUL is one */
		c->done = true;
	} else {
		msgpack_pack_str_with_body(&c->packer, bytes, object->via.str.size);
	}
	free(bytes);
}

static void copy(struct copying *c, const msgpack_object *object)
{
	const bool here = c->at++ == c->target;

	if (here && c->harm == HARM_TYPE) {
		msgpack_pack_nil(&c->packer);
		c->done = true;
		return;
	}
	if (object->type == MSGPACK_OBJECT_ARRAY) {
		copy_array(c, object, here);
	} else if (object->type == MSGPACK_OBJECT_STR) {
		copy_text(c, object, here);
	} else {
		assert_int_equal(object->type, MSGPACK_OBJECT_POSITIVE_INTEGER);
		c->done = c->done || (here && c->harm == HARM_HUGE);
		msgpack_pack_uint64(&c->packer, here && c->harm == HARM_HUGE ? UINT64_MAX : object->via.u64);
	}
}

/* 0: read. Else it was refused, and err says what was wrong. */
static int read_harmed(struct core *core, const struct snapshot *s, uint64_t target, enum harm harm, bool *ret_done,
    uint64_t *ret_values, struct error *err)
{
	msgpack_sbuffer buffer;
	struct copying c = {.target = target, .harm = harm};
	int rc;

	msgpack_sbuffer_init(&buffer);
	msgpack_packer_init(&c.packer, &buffer, msgpack_sbuffer_write);
	copy(&c, &s->tree.data);
	core_reset(core);
	memset(err, 0, sizeof *err);
	rc = core_restore(core, buffer.data, buffer.size, err);
	*ret_done = c.done;
	*ret_values = c.at;
	msgpack_sbuffer_destroy(&buffer);
	return rc;
}

static void every_value_is_looked_at(void **state)
{
	struct snapshot *s = *state;
	struct core *core = world_core(&s->options);
	uint64_t refused[HARMS] = {0}, read[HARMS] = {0}, values, digest;
	struct error err;
	bool done;

	assert_int_equal(read_harmed(core, s, 0, HARM_NONE, &done, &s->values, &err), 0);
	digest = core_digest(core);
	for (uint64_t target = 0; target < s->values; target++)
		for (enum harm harm = HARM_TYPE; harm < HARMS; harm++) {
			const int rc = read_harmed(core, s, target, harm, &done, &values, &err);

			if (!done) {
				assert_int_equal(rc, 0);
				assert_true(core_digest(core) == digest);
				continue;
			}
			if (rc == 0) {
				read[harm]++;
				continue;
			}
			refused[harm]++;
			assert_int_equal(err.code, EILSEQ);
			/* it says what was wrong */
			assert_non_null(strstr(err.text, "conductor's: "));
			assert_true(strlen(strstr(err.text, "conductor's: ")) > strlen("conductor's: ") + 4);
			assert_null(strstr(err.text, "(null)"));
		}
	print_message("%llu values; refused and read all the same:", (unsigned long long)s->values);
	for (unsigned i = HARM_TYPE; i < HARMS; i++)
		print_message(" %llu/%llu", (unsigned long long)refused[i], (unsigned long long)read[i]);
	print_message("\n");
	assert_true(refused[HARM_TYPE] == s->values && refused[HARM_LONG] >= 90 && refused[HARM_MORE] >= 35);
	assert_int_equal(refused[HARM_LONG], refused[HARM_NUL]);
	assert_int_equal(read[HARM_LONG] + read[HARM_NUL] + read[HARM_MORE] + read[HARM_TYPE], 0);
	/* shorter are only the lists that are as long as they are: of tasks, outcomes, commits, recoveries, dependencies */
	assert_true(read[HARM_LESS] < 10 && refused[HARM_LESS] > 25);
	/* states, roles, classes, pids, 32-bit counts, flags, dependencies, the format */
	assert_true(refused[HARM_HUGE] > 300);
	core_destroy(core);
}

/* Limits by one: each text may be as long as it may. */
static void texts_at_their_limit(void **state)
{
	static const char *const roles[] = {"plan", "write", "review"};
	char id[CORE_ID_MAX], key[CORE_KEY_MAX];
	struct core_options options;
	struct core *core;
	struct world *w;
	struct error err;
	uint8_t *bytes;
	size_t size;

	(void)state;
	memset(id, 'i', sizeof id - 1);
	id[sizeof id - 1] = '\0';
	memset(key, 'k', sizeof key - 1);
	key[sizeof key - 1] = '\0';
	world_options(&options);
	w = world_create(&options);
	for (unsigned i = 0; i < 3; i++) {
		id[0] = key[0] = (char)('a' + i);
		world_step(w, (struct core_event){.kind = CORE_SUBMIT,
				  .token = i,
				  .submission = &(struct core_submission){
				      .id = id, .key = key, .role = roles[i], .prompt = "p"}});
	}
	world_pass(w, 10 * WORLD_MS);
	size = core_snapshot(w->core, NULL, 0);
	bytes = malloc(size);
	assert_non_null(bytes);
	assert_int_equal(core_snapshot(w->core, bytes, size), size);
	core = world_core(&options);
	assert_int_equal(core_restore(core, bytes, size, &err), 0);
	assert_true(core_digest(core) == core_digest(w->core));
	assert_int_equal(core_task_count(core), 3);
	free(bytes);
	core_destroy(core);
	world_destroy(w);
}

/* Format 2: no retired tasks, and what came with them. */
static void an_older_one_is_read(void **state)
{
	/* [2, totals, [], providers, [], [], [], incidents] */
	msgpack_sbuffer buffer;
	msgpack_packer packer;
	struct core_options options;
	struct core *core;
	struct error err;

	(void)state;
	world_options(&options);
	core = world_core(&options);
	for (unsigned format = 1; format <= 4; format++) {
		msgpack_sbuffer_init(&buffer);
		msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
		msgpack_pack_array(&packer, 8);
		msgpack_pack_uint64(&packer, format);
		msgpack_pack_array(&packer, 10);
		for (unsigned i = 0; i < 10; i++)
			msgpack_pack_uint64(&packer, i == 0 ? 7000 : 0);
		msgpack_pack_array(&packer, 0);
		msgpack_pack_array(&packer, 4 * POLICY_PROVIDERS);
		for (unsigned i = 0; i < 4 * POLICY_PROVIDERS; i++)
			msgpack_pack_uint64(&packer, 0);
		for (unsigned i = 0; i < 3; i++)
			msgpack_pack_array(&packer, 0);
		msgpack_pack_array(&packer, 8 * CORE_INCIDENTS);
		for (unsigned i = 0; i < 8 * CORE_INCIDENTS; i++)
			msgpack_pack_uint64(&packer, 0);
		core_reset(core);
		assert_int_equal(core_restore(core, buffer.data, buffer.size, &err), format == 2 ? 0 : -1);
		if (format == 2)
			assert_int_equal(core_now_us(core), 7000);
		else
			assert_int_equal(err.code, EILSEQ);
		msgpack_sbuffer_destroy(&buffer);
	}
	core_destroy(core);
}

/*
 * A snapshot of format 2, which knew of no retired tasks, as hex: one that is done, one that is committed and has not been told for a
 * minute, one that failed, one at work.
 */
static const char format_2[] =
    "98029ace0393ae100001010000ce0019f0a000000094dc001ea86f6c642d646f6e65070100cd1267a26b31a0cf5f4f64"
    "65c831d0a601ce000f4240ce0016e3600000010063010101000000a0a462626262a464646464a462626262a463636363"
    "a090dc001e000000000000000000000000000000000000000000000000000000000000dc001ea86f6c642d746f6c6406"
    "0100cd1268a26b32a36f6e65cf3a01d38b8f57699902ce000f4240ce0016e3600000010063010101000000a0a4626262"
    "62a464646464a462626262a463636363a090dc001e000000000000000000000000000000000000000000000000000000"
    "000000dc001eaa6f6c642d6661696c656408020500a26b33a0cfd8679ac2335af8fb03ce0010c8e00000000000000000"
    "00000000a0a0a0a0a0a77573656420757090dc001e000000000000000000000000000000000000000000000000000000"
    "000000dc001ea86f6c642d6f70656e020000cd1268a26b34a57468726565cf45c9a6dc55f525fe04ce00124f80000000"
    "01004d010100000100a0a463636363a0a0a0a09100dc001e000000000000000000000000000000000000000000000000"
    "000000000000dc0010000000000000000000000000000000009cce0016e360ce0007a1200000ce0016e360ce0007a120"
    "0100ce0019f0a000020194ce0016e36000ce0016e3600190dc0080000000000000000000000000000000000000000000"
    "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "0000000000000000000000";

/* With what stands there once replaced by something else. */
static int restore_changed(struct core *core, const char *from, const char *to, struct error *err)
{
	const char *at = strstr(format_2, from);
	char hex[2048];
	uint8_t bytes[1024];
	size_t size;

	assert_non_null(at);
	snprintf(hex, sizeof hex, "%.*s%s%s", (int)(at - format_2), format_2, to, at + strlen(from));
	size = strlen(hex) / 2;
	for (size_t i = 0; i < size; i++) {
		const char pair[] = {hex[2 * i], hex[2 * i + 1], '\0'};

		bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	core_reset(core);
	return core_restore(core, bytes, size, err);
}

static struct core *few_tasks(size_t prompt_bytes)
{
	struct core_options options;

	world_options(&options);
	options.policy.slo_window = 4;
	options.tasks_max = 8;
	options.prompt_bytes = prompt_bytes;
	return world_core(&options);
}

static void an_older_one_with_tasks(void **state)
{
	struct core *core = few_tasks(1000);
	struct core_task_view view;
	struct core_slo_report report;
	struct error err;
	size_t size;

	(void)state;
	assert_int_equal(restore_changed(core, "a0", "a0", &err), 0);
	assert_int_equal(core_retired_count(core), 0);
	assert_int_equal(core_task_count(core), 4);
	core_task(core, 0, &view);
	assert_string_equal(view.id, "old-done");
	assert_string_equal(view.state, "done");
	assert_string_equal(view.commit, "cccc");
	core_task(core, 1, &view);
	assert_string_equal(view.id, "old-told");
	assert_string_equal(view.state, "committed");
	core_task(core, 2, &view);
	assert_string_equal(view.id, "old-failed");
	assert_string_equal(view.state, "failed");
	assert_string_equal(view.detail, "used up");
	core_task(core, 3, &view);
	assert_string_equal(view.id, "old-open");
	assert_string_equal(view.state, "running");
	core_slo_report(core, core_now_us(core), &report);
	assert_int_equal(report.total_tasks, 3);
	assert_int_equal(report.failed_tasks, 1);
	/* of two commits one is not told: each is of its own task */
	assert_true(report.slos[1].current > 0.5 - 1e-9 && report.slos[1].current < 0.5 + 1e-9);
	size = core_snapshot(core, NULL, 0);
	for (unsigned i = 0; i < 200; i++) /* writing it down takes none of the room for prompts */
		assert_int_equal(core_snapshot(core, NULL, 0), size);
	core_destroy(core);
}

/* One beyond what there can be, of what is used as an index or copied. */
static void one_too_many(void **state)
{
	static const struct {
		const char *from, *to;
	} changes[] = {
	    {"a86f6c642d646f6e65070100", "a86f6c642d646f6e65090100"},                 /* state: after TASK_FAILED */
	    {"a86f6c642d646f6e65070100", "a86f6c642d646f6e65070300"},                 /* role: POLICY_ROLES */
	    {"a86f6c642d646f6e65070100", "a86f6c642d646f6e6507010e"},                 /* reason: CORE_CLASS_END */
	    {"a463636363a090dc", "a463636363a09100dc"},                               /* the first comes after one */
	    {"a0a0a0a09100dc", "a0a0a0a0dc00110000000000000000000000000000000000dc"}, /* after 17 */
	    {"aa6f6c642d6661696c6564080205", "a0080205"},                             /* no id */
	    {"aa6f6c642d6661696c6564080205", "a86f6c642d646f6e65080205"},             /* the first's id once more */
	};
	char longest[160] = "d93f", longer[160] = "d940";
	struct core *core = few_tasks(1000), *narrow = few_tasks(16);
	struct error err;

	(void)state;
	assert_int_equal(
	    restore_changed(core, "a0a0a0a09100dc", "a0a0a0a0dc001000000000000000000000000000000000dc", &err),
	    0); /* after 16 */
	/* after one that came before it, or itself */
	assert_int_equal(restore_changed(core, "a0a0a0a09100dc", "a0a0a0a09102dc", &err), 0);
	assert_int_equal(restore_changed(core, "a0a0a0a09100dc", "a0a0a0a09103dc", &err), -1);
	/* of the commit that is not told, the last of all tasks, or one beyond */
	assert_int_equal(restore_changed(core, "ce0016e36001", "ce0016e36003", &err), 0);
	assert_int_equal(restore_changed(core, "ce0016e36001", "ce0016e36004", &err), -1);
	for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
		assert_int_equal(restore_changed(core, changes[i].from, changes[i].to, &err), -1);
		assert_int_equal(err.code, EILSEQ);
	}
	for (unsigned i = 0; i < CORE_ID_MAX - 1; i++) {
		strcat(longest, "61");
		strcat(longer, "61");
	}
	strcat(longest, "080205");
	strcat(longer, "61080205");
	assert_int_equal(restore_changed(core, "aa6f6c642d6661696c6564080205", longest, &err), 0);
	assert_int_equal(restore_changed(core, "aa6f6c642d6661696c6564080205", longer, &err), -1);
	assert_int_equal(restore_changed(narrow, "a0", "a0", &err), -1); /* no room for its prompts */
	assert_non_null(strstr(err.text, "prompts"));
	core_destroy(core);
	core_destroy(narrow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(every_value_is_looked_at, setup, teardown),
	    cmocka_unit_test(texts_at_their_limit),
	    cmocka_unit_test(an_older_one_is_read),
	    cmocka_unit_test(an_older_one_with_tasks),
	    cmocka_unit_test(one_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
