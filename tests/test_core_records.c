/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conductor's records as somebody else may write them: each number and text in the longest form, the members in another order, one more
 * that is not known. They mean the same. And what is beyond a member's limit, or of another type, is refused in both ways of reading.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixtures/conductor/core/record.h"

struct bytes {
	uint8_t *data;
	size_t size;
};

static int setup(void **state)
{
	struct bytes *b = calloc(1, sizeof *b);

	assert_non_null(b);
	b->data = malloc(8 * RECORD_MAX);
	assert_non_null(b->data);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bytes *b = *state;

	free(b->data);
	free(b);
	return 0;
}

/* ---- writing, in the longest forms ---- */

static void put(struct bytes *b, uint8_t first, uint64_t number, unsigned count)
{
	b->data[b->size++] = first;
	while (count-- > 0)
		b->data[b->size++] = (uint8_t)(number >> (8 * count));
}

static void put_text(struct bytes *b, const char *text, size_t length)
{
	put(b, 0xdb, length, 4);
	memcpy(b->data + b->size, text, length);
	b->size += length;
}

static void put_value(struct bytes *b, const msgpack_object *o)
{
	if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER) {
		put(b, 0xcf, o->via.u64, 8);
	} else if (o->type == MSGPACK_OBJECT_STR) {
		put_text(b, o->via.str.ptr, o->via.str.size);
	} else {
		assert_int_equal(o->type, MSGPACK_OBJECT_ARRAY);
		put(b, 0xdd, o->via.array.size, 4);
		for (uint32_t i = 0; i < o->via.array.size; i++)
			put_value(b, &o->via.array.ptr[i]);
	}
}

/* The same map, last member first, and one that nobody knows between. */
static void rewrite(struct bytes *b, const uint8_t *payload, size_t size)
{
	msgpack_unpacked unpacked;
	const msgpack_object_map *map;

	msgpack_unpacked_init(&unpacked);
	assert_int_equal(msgpack_unpack_next(&unpacked, (const char *)payload, size, NULL), MSGPACK_UNPACK_SUCCESS);
	map = &unpacked.data.via.map;
	b->size = 0;
	put(b, 0xdf, map->size + 1, 4);
	for (uint32_t i = map->size; i-- > 0;) {
		put_value(b, &map->ptr[i].key);
		put_value(b, &map->ptr[i].val);
		if (i != map->size / 2)
			continue;
		put_text(b, "colour", 6);
		put_text(b, "blue", 4);
	}
	msgpack_unpacked_destroy(&unpacked);
}

/* ---- the same ---- */

static void same(const struct record *a, const struct record *b)
{
	const uint64_t x[] = {a->time_us, a->epoch, a->attempt, a->step, a->tokens, a->action, a->until_us,
	    a->start_time, (uint64_t)a->pid, a->provider, a->level, a->agents, a->slo, a->incident, a->value, a->total,
	    a->failed, a->again, a->fresh, a->fault_class, a->role, a->after_count, a->prompt_size};
	const uint64_t y[] = {b->time_us, b->epoch, b->attempt, b->step, b->tokens, b->action, b->until_us,
	    b->start_time, (uint64_t)b->pid, b->provider, b->level, b->agents, b->slo, b->incident, b->value, b->total,
	    b->failed, b->again, b->fresh, b->fault_class, b->role, b->after_count, b->prompt_size};

	assert_memory_equal(x, y, sizeof x);
	assert_string_equal(a->task, b->task);
	assert_string_equal(a->from, b->from);
	assert_string_equal(a->digest, b->digest);
	assert_string_equal(a->base, b->base);
	assert_string_equal(a->commit, b->commit);
	assert_string_equal(a->key, b->key);
	assert_string_equal(a->text, b->text);
	for (uint32_t i = 0; i < a->after_count; i++)
		assert_string_equal(a->after[i], b->after[i]);
	if (a->prompt_size > 0)
		assert_memory_equal(a->prompt, b->prompt, a->prompt_size);
}

/* No two members alike, none left out, all of them as large as they may be, or one smaller. */
static void fill(struct record *r, uint32_t kind, uint32_t less)
{
	record_init(r, kind, "a-task", 11 + less);
	r->epoch = UINT64_MAX - less;
	r->attempt = UINT32_MAX - less;
	r->step = 14 + less;
	r->tokens = 15 + less;
	r->action = 16 + less;
	r->until_us = 17 + less;
	r->start_time = 18 + less;
	r->pid = INT32_MAX - (int32_t)less;
	r->level = 20 + less;
	r->agents = 21 + less;
	r->slo = CORE_SLOS - 1 - less;
	r->incident = 22 + less;
	r->value = 23 + less;
	r->total = 24 + less;
	r->failed = 25 + less;
	r->again = less == 0;
	r->fresh = less != 0;
	r->fault_class = less ? CORE_CLASS_LOOP : CORE_CLASS_SPAWN;
	record_copy(r->from, sizeof r->from, "from");
	record_copy(r->digest, sizeof r->digest, "digest");
	record_copy(r->base, sizeof r->base, "base");
	record_copy(r->commit, sizeof r->commit, "commit");
	record_copy(r->key, sizeof r->key, "key");
	record_copy(r->text, sizeof r->text, "text");
	if (kind == CORE_RECORD_THROTTLE || kind == CORE_RECORD_BREAKER)
		r->provider = less ? 0 : POLICY_PROVIDERS - 1;
}

static void written_and_rewritten(struct bytes *b, const struct record *r)
{
	uint8_t *payload = malloc(RECORD_MAX);
	size_t size = core_record_encode(r, payload, RECORD_MAX);
	struct record read;

	assert_true(size > 0);
	record_init(&read, r->kind, "", 0);
	assert_true(record_read_quickly(&read, payload, size));
	same(r, &read);
	rewrite(b, payload, size);
	record_init(&read, r->kind, "", 0);
	assert_false(record_read_quickly(&read, b->data, b->size));
	assert_int_equal(core_record_decode(&read, r->kind, b->data, b->size, NULL), 0);
	same(r, &read);
	free(payload);
}

static void written_by_others(void **state)
{
	char *prompt = malloc(CORE_PROMPT_MAX);
	struct record r;

	memset(prompt, 'p', CORE_PROMPT_MAX);
	for (uint32_t kind = 1; kind < CORE_RECORD_END; kind++)
		for (uint32_t less = 0; less < 2; less++) {
			fill(&r, kind, less);
			if (kind == CORE_RECORD_ACCEPT || kind == CORE_RECORD_RETIRE) {
				r.prompt = prompt;
				r.prompt_size = less ? 300 : CORE_PROMPT_MAX;
			}
			if (kind == CORE_RECORD_ACCEPT) {
				r.role = less ? POLICY_ROLE_PLAN : POLICY_ROLE_REVIEW;
				r.after_count = less ? 3 : CORE_AFTER_MAX;
				for (uint32_t i = 0; i < r.after_count; i++)
					snprintf(r.after[i], sizeof r.after[i], "before-%u", i);
			}
			written_and_rewritten(*state, &r);
		}
	free(prompt);
}

/* ---- beyond the limits ---- */

static const struct {
	const char *name;
	uint64_t most; /* 0: a text */
	size_t room;   /* of a text, with its end */
} limits[] = {{"time", UINT64_MAX, 0}, {"attempt", UINT32_MAX, 0}, {"epoch", UINT64_MAX, 0}, {"step", UINT32_MAX, 0},
    {"tokens", UINT64_MAX, 0}, {"action", UINT64_MAX, 0}, {"until", UINT64_MAX, 0}, {"start", UINT64_MAX, 0},
    {"pid", INT32_MAX, 0}, {"provider", POLICY_PROVIDERS, 0}, {"level", UINT32_MAX, 0}, {"agents", UINT32_MAX, 0},
    {"slo", CORE_SLOS - 1, 0}, {"incident", UINT64_MAX, 0}, {"value", UINT64_MAX, 0}, {"total", UINT64_MAX, 0},
    {"failed", UINT64_MAX, 0}, {"again", 1, 0}, {"fresh", 1, 0}, {"task", 0, CORE_ID_MAX}, {"class", 0, 24},
    {"from", 0, CORE_ID_MAX}, {"tree", 0, CORE_HASH_MAX}, {"base", 0, CORE_HASH_MAX}, {"commit", 0, CORE_HASH_MAX},
    {"key", 0, CORE_KEY_MAX + CORE_HASH_MAX}, {"reason", 0, CORE_TEXT_MAX}};

static void one_member(struct bytes *b, const char *name)
{
	b->size = 0;
	put(b, 0x81, 0, 0);
	put_text(b, name, strlen(name));
}

static bool readable(const struct bytes *b, uint32_t kind)
{
	struct record r;
	struct error err;

	if (core_record_decode(&r, kind, b->data, b->size, &err) == 0)
		return true;
	assert_int_equal(err.code, EILSEQ);
	assert_string_not_equal(err.text, "");
	return false;
}

static void limits_are_kept(void **state)
{
	static char text[CORE_KEY_MAX + CORE_HASH_MAX + 1];
	struct bytes *b = *state;

	memset(text, 'x', sizeof text);
	for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
		const char *name = limits[i].name;
		uint64_t most = limits[i].most;

		one_member(b, name);
		if (most)
			put(b, 0xcf, most, 8);
		else
			put_text(b, text, limits[i].room - 1);
		assert_true(readable(b, CORE_RECORD_THROTTLE));
		one_member(b, name);
		if (most && most < UINT64_MAX)
			put(b, 0xcf, most + 1, 8);
		else
			put_text(b, text, most ? 1 : limits[i].room);
		assert_false(readable(b, CORE_RECORD_THROTTLE));
		one_member(b, name);
		put(b, 0xc0, 0, 0); /* nil */
		assert_false(readable(b, CORE_RECORD_THROTTLE));
	}
	one_member(b, "provider");
	put(b, 0x00, 0, 0);
	assert_false(readable(b, CORE_RECORD_THROTTLE));
	one_member(b, "task");
	put_text(b, "a\0b", 3);
	assert_false(readable(b, CORE_RECORD_THROTTLE));
}

static void put_accept(struct bytes *b, const char *role, uint32_t after, size_t name, size_t prompt)
{
	b->size = 0;
	put(b, 0x83, 0, 0);
	put_text(b, "prompt", 6);
	put(b, 0xdb, prompt, 4);
	memset(b->data + b->size, 'p', prompt);
	b->size += prompt;
	put_text(b, "after", 5);
	put(b, 0xdd, after, 4);
	while (after-- > 0) {
		put(b, 0xdb, name, 4);
		memset(b->data + b->size, 'n', name);
		b->size += name;
	}
	put_text(b, "role", 4);
	put_text(b, role, strlen(role));
}

static void accepted_within_limits(void **state)
{
	struct bytes *b = *state;

	put_accept(b, "write", CORE_AFTER_MAX, CORE_ID_MAX - 1, CORE_PROMPT_MAX);
	assert_true(readable(b, CORE_RECORD_ACCEPT));
	put_accept(b, "boss", 1, 3, 10);
	assert_false(readable(b, CORE_RECORD_ACCEPT));
	put_accept(b, "write", CORE_AFTER_MAX + 1, 3, 10);
	assert_false(readable(b, CORE_RECORD_ACCEPT));
	put_accept(b, "write", 1, CORE_ID_MAX, 10);
	assert_false(readable(b, CORE_RECORD_ACCEPT));
	put_accept(b, "write", 1, 3, CORE_PROMPT_MAX + 1);
	assert_false(readable(b, CORE_RECORD_ACCEPT));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(written_by_others, setup, teardown),
	    cmocka_unit_test_setup_teardown(limits_are_kept, setup, teardown),
	    cmocka_unit_test_setup_teardown(accepted_within_limits, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
