/* SPDX-License-Identifier: Apache-2.0 */
/* The model where there are more states than may be visited: how many, which ones, and what is said of it. */
#include "crash_model_room.h"

struct digests {
	struct digest sum;
	uint64_t visits;
};

static int sum_up(void *arg, const struct model_state *state)
{
	struct digests *digests = arg;

	digest_add(&digests->sum, digest_of(&state->digest, sizeof state->digest, digests->visits++));
	return 0;
}

static struct digests walk(struct room *room, uint64_t seed)
{
	struct digests digests = {0};
	struct model *model;

	room->options = (struct model_options){.kinds = SUBSET, .seed = seed, .states_max = 500};
	assert_int_equal(model_create(&model, room->trace, &room->options, NULL), 0);
	model_count(model, &room->count);
	assert_int_equal(model_walk(model, sum_up, &digests, NULL), 0);
	model_destroy(model);
	return digests;
}

/* Too many for all: as many as asked for, the same ones for the same seed, and it is said. */
static void test_sampling(void **state)
{
	struct room *room = *state;
	struct digests first, second, other;
	uint64_t i;

	begin_with(room, 1, "f", "");
	for (i = 0; i < 30; i++)
		write_at(room, 1, i * PAGE_BYTES, "x");
	first = walk(room, 1);
	second = walk(room, 1);
	other = walk(room, 2);
	assert_false(room->count.exhaustive);
	assert_true(first.visits <= 500 && first.visits > 250);
	assert_int_equal(room->count.visits[MODEL_SUBSET], first.visits);
	assert_true(digest_equal(first.sum, second.sum));
	assert_false(digest_equal(first.sum, other.sum));
}

/* More than can be counted are never said to be all of them; as many as can be are counted right. */
static void test_too_many_to_count(void **state)
{
	const struct model_options options = {.kinds = SUBSET, .seed = 1, .states_max = INT64_MAX};
	struct room *room = *state;
	struct model_count count;
	struct model *model;
	uint64_t i;

	begin_with(room, 1, "f", "");
	for (i = 0; i < 61; i++) {
		if (i == 41) {
			ack(room);
			assert_int_equal(model_create(&model, room->trace, &options, NULL), 0);
			model_count(model, &count);
			model_destroy(model);
			assert_true(count.exhaustive);
			/* of the beginning one, each write with any of those before it, and any of all */
			assert_int_equal(count.visits[MODEL_SUBSET], 1 + ((1ull << 41) - 1) + (1ull << 41));
		}
		write_at(room, 1, i * PAGE_BYTES, "x");
	}
	for (; i < 64; i++)
		write_at(room, 1, i * PAGE_BYTES, "x");
	assert_int_equal(model_create(&model, room->trace, &options, NULL), 0);
	model_count(model, &count);
	model_destroy(model);
	assert_false(count.exhaustive);
	assert_true(count.visits[MODEL_SUBSET] <= INT64_MAX);
}

struct contents {
	struct digest seen[64];
	size_t count;
};

static int count_contents(void *arg, const struct model_state *state)
{
	struct contents *contents = arg;
	size_t i;

	for (i = 0; i < contents->count && !digest_equal(contents->seen[i], state->digest); i++)
		;
	assert_true(i < 64);
	contents->seen[i] = state->digest;
	contents->count += i == contents->count;
	return 0;
}

static size_t contents_of(struct room *room, unsigned kinds)
{
	const struct model_options options = {.kinds = kinds, .seed = 1, .states_max = 1};
	struct contents contents = {0};
	struct model *model;

	assert_int_equal(model_create(&model, room->trace, &options, NULL), 0);
	assert_int_equal(model_walk(model, count_contents, &contents, NULL), 0);
	model_destroy(model);
	return contents.count;
}

/* Room for one state at each point: it is not the one that the prefix is. */
static void test_sampling_of_one(void **state)
{
	struct room *room = *state;
	uint64_t i;

	begin_with(room, 1, "f", "");
	for (i = 0; i < 10; i++)
		write_at(room, 1, i * PAGE_BYTES, "x");
	assert_int_equal(contents_of(room, PREFIX), 11);
	assert_int_equal(contents_of(room, PREFIX | SUBSET), 11 + 9); /* each alone; the first alone is a prefix */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_sampling, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_too_many_to_count, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_sampling_of_one, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
