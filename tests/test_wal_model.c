/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/ against a model of it (wal_model.h): operations drawn from a seed. What deviates is shrunk to the few operations
 * that show it, and printed with the seed. TRITONE_SEED and TRITONE_MODEL_RUNS choose.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <time.h>

#include "wal_fixture.h"
#include "wal_model.h"

#define OPS_MAX 70u
#define RUNS    200u

struct lab {
	struct fixture *fixture;
	struct shared {
		char text[WAL_MODEL_TEXT];
		struct nth_call call;
		_Atomic uint64_t acknowledged;
	} * shared;
	bool limited;
	enum plant plant;
	uint64_t performed;
};

/* True when it held. */
static bool holds(struct lab *lab, const struct op *ops, size_t count)
{
	struct run run = {.dir = lab->fixture->log,
	    .ops = ops,
	    .count = count,
	    .limited = lab->limited,
	    .plant = lab->plant,
	    .text = lab->shared->text,
	    .call = &lab->shared->call,
	    .acknowledged = &lab->shared->acknowledged};
	int status;
	pid_t pid;

	nftw(run.dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	lab->shared->text[0] = '\0';
	lab->performed += count;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		wal_model_run(&run);
	status = child_status(pid);
	if (status && !lab->shared->text[0])
		snprintf(lab->shared->text, sizeof lab->shared->text, "ended with status %d", status);
	return status == 0;
}

/* Leaves out halves, quarters, ... single operations, for as long as it still deviates. */
static size_t shrink(struct lab *lab, struct op *ops, size_t count)
{
	struct op fewer[OPS_MAX];
	size_t chunk = count / 2, at;

	while (chunk) {
		bool left_out = false;

		for (at = 0; at + chunk <= count;) {
			memcpy(fewer, ops, at * sizeof *ops);
			memcpy(fewer + at, ops + at + chunk, (count - at - chunk) * sizeof *ops);
			if (holds(lab, fewer, count - chunk)) {
				at += chunk;
				continue;
			}
			count -= chunk;
			memcpy(ops, fewer, count * sizeof *ops);
			left_out = true;
		}
		if (!left_out || chunk > 1)
			chunk /= 2;
	}
	return count;
}

static void print(struct lab *lab, const struct op *ops, size_t count, uint64_t seed)
{
	size_t i;

	holds(lab, ops, count); /* for the text */
	fprintf(stderr, "# seed %llu%s, shrunk to %zu operations: %s\n", (unsigned long long)seed,
	    lab->limited ? " (map limited)" : "", count, lab->shared->text);
	for (i = 0; i < count; i++)
		fprintf(stderr, "#   %zu %s %u %u\n", i, wal_model_names[ops[i].what], ops[i].a, ops[i].b);
}

static size_t make_ops(struct op ops[OPS_MAX], uint64_t seed)
{
	/* appends and syncs more often than the rest */
	static const enum what bag[] = {APPEND, APPEND, APPEND, APPEND, SYNC, SYNC, SYNC, REPLAY, REPLAY, REOPEN,
	    SECOND, READER, OVERSIZE, BEYOND, CHECKPOINT, CHECKPOINT, TRIM, TRIM, KILL, KILL};
	uint64_t random = seed;
	size_t count = 10 + (size_t)(wal_model_draw(&random) % (OPS_MAX - 10)), i;

	for (i = 0; i < count; i++)
		ops[i] = (struct op){bag[wal_model_draw(&random) % (sizeof bag / sizeof bag[0])],
		    (uint32_t)(wal_model_draw(&random) >> 40), (uint32_t)(wal_model_draw(&random) >> 40)};
	return count;
}

static void lab_open(struct lab *lab, struct fixture *f)
{
	*lab = (struct lab){.fixture = f};
	if (access("/dev/shm", W_OK) == 0)
		snprintf(f->log, sizeof f->log, "/dev/shm/%s", strrchr(f->dir, '/') + 1);
	lab->shared = mmap(NULL, sizeof *lab->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(lab->shared, MAP_FAILED);
}

static void lab_close(struct lab *lab)
{
	nftw(lab->fixture->log, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	munmap(lab->shared, sizeof *lab->shared);
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

static void test_as_the_model_says(void **state)
{
	const uint64_t seed = from_environment("TRITONE_SEED", (uint64_t)time(NULL)),
		       runs = from_environment("TRITONE_MODEL_RUNS", RUNS);
	struct op ops[OPS_MAX];
	struct lab lab;
	uint64_t i;

	lab_open(&lab, *state);
	for (i = 0; i < runs; i++) {
		size_t count = make_ops(ops, seed + i);

		lab.limited = (seed + i) % 4 == 0;
		if (holds(&lab, ops, count))
			continue;
		count = shrink(&lab, ops, count);
		print(&lab, ops, count, seed + i);
		fail_msg("seed %llu: %s", (unsigned long long)(seed + i), lab.shared->text);
	}
	fprintf(stderr, "# seed %llu: %llu runs, %llu operations\n", (unsigned long long)seed, (unsigned long long)runs,
	    (unsigned long long)lab.performed);
	lab_close(&lab);
}

/* A model that is wrong is found out, and by few operations. */
static void test_mistakes_are_found_and_shrunk(void **state)
{
	static const enum plant plants[] = {PLANT_TRIM, PLANT_SYNC, PLANT_EPOCH};
	struct op ops[OPS_MAX];
	struct lab lab;
	size_t i, count = 0;
	uint64_t seed;

	lab_open(&lab, *state);
	for (i = 0; i < sizeof plants / sizeof plants[0]; i++) {
		bool held = true;

		lab.plant = plants[i];
		for (seed = 1; held && seed < 100; seed++) {
			count = make_ops(ops, seed);
			held = holds(&lab, ops, count);
		}
		assert_false(held);
		count = shrink(&lab, ops, count);
		assert_false(holds(&lab, ops, count));
		assert_in_range(count, 1, 5);
	}
	lab_close(&lab);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_as_the_model_says, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(test_mistakes_are_found_and_shrunk, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
