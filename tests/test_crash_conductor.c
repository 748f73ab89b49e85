/* SPDX-License-Identifier: Apache-2.0 */
/* The conductor and the loss of power: a small workload is recorded, with its agents and git. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conductor_judge.h"
#include "crash/explore.h"
#include "crash/notifier/notifier.h"
#include "crash/record/record.h"

#define SERVE_EVERY 80 /* states: a life of the conductor takes as long as all of these */

struct room {
	char dir[32], writer[256];
	struct trace *trace;
};

/* Once for all tests. */
static int record(void **state)
{
	static const char *const volatiles[] = {"lock.mdb", NULL};
	char chains[] = "1", *argv[] = {NULL, NULL, chains, NULL};
	struct room *room = calloc(1, sizeof *room);
	struct notifier_options options = {.argv = argv, .volatiles = volatiles, .echo = -1};
	struct error err = {0};
	int status = -1;
	ssize_t n;

	if (!room || !getenv("CONDUCTOR"))
		return -1;
	strcpy(room->dir, "/tmp/crash-conductor-XXXXXX");
	n = readlink("/proc/self/exe", room->writer, 200);
	if (!mkdtemp(room->dir) || n < 0)
		return -1;
	room->writer[n] = '\0';
	strcpy(strrchr(room->writer, '/') + 1, "conductor_writer");
	argv[0] = room->writer;
	argv[1] = room->dir;
	options.dir = room->dir;
	*state = room;
	if (notifier_record(&room->trace, &options, &status, &err) < 0 || status != 0) {
		fprintf(stderr, "recording: status %d: %s\n", status, err.text);
		return -1;
	}
	return 0;
}

static int forget(void **state)
{
	struct room *room = *state;
	char command[64];

	trace_destroy(room->trace);
	snprintf(command, sizeof command, "rm -rf %s", room->dir);
	free(room);
	return system(command);
}

/* ---- no file system's goodwill is needed ---- */

static bool is_dir_sync(const struct trace_op *op, uint64_t dir)
{
	return op->kind == TRACE_FSYNC && op->file == dir;
}

static bool makes_a_name(const struct trace *trace, const struct trace_op *op, uint64_t *ret_dir, const char **ret_name)
{
	const bool moved = op->kind == TRACE_RENAME;

	*ret_dir = moved ? op->dir2 : op->dir;
	*ret_name = moved ? op->name2 : op->name;
	(void)trace;
	return moved || op->kind == TRACE_MKDIR || op->kind == TRACE_LINK;
}

/* The last operation that moves main before `before`; 0: none. */
static size_t main_moved(const struct trace *trace, size_t before)
{
	while (before-- > trace->begin) {
		const struct trace_op *op = &trace->ops[before];

		if (op->kind == TRACE_RENAME && strcmp(op->name2, "main") == 0 &&
		    strcmp(trace_name(trace, op->dir2), "heads") == 0)
			return before;
	}
	return 0;
}

static bool is_in_objects(const struct trace *trace, uint64_t dir)
{
	const char *name = trace_name(trace, dir);

	return strcmp(name, "objects") == 0 || strlen(name) == 2;
}

/*
 * What main comes to reach is durable by POSIX alone, which ties no name to the sync of another directory: every name
 * made below objects/ was synced with its own directory before main moved. One chain of tasks: no other is writing.
 */
static void test_objects_have_durable_names(void **state)
{
	const struct trace *trace = ((struct room *)*state)->trace;
	size_t at = trace->count, moves = 0, checked = 0, i, k;

	while ((at = main_moved(trace, at))) {
		moves++;
		for (i = trace->begin; i < at; i++) {
			const char *name;
			uint64_t dir;

			if (!makes_a_name(trace, &trace->ops[i], &dir, &name) || !is_in_objects(trace, dir))
				continue;
			for (k = i + 1; k < at && !is_dir_sync(&trace->ops[k], dir); k++)
				;
			if (k == at)
				fail_msg("main moves, and %s/%s is not durable by its directory",
				    trace_name(trace, dir), name);
			checked++;
		}
	}
	assert_int_equal(moves, 3);
	assert_true(checked > 20);
}

/* A new repository is there whole or not at all: all that was written below it has been synced when it gets its name. */
static void test_repository_is_made_at_once(void **state)
{
	const struct trace *trace = ((struct room *)*state)->trace;
	size_t made, checked = 0, i, k;

	for (made = trace->begin; made < trace->count; made++)
		if (trace->ops[made].kind == TRACE_RENAME && strcmp(trace->ops[made].name2, "repo") == 0)
			break;
	assert_true(made < trace->count);
	for (i = trace->begin; i < made; i++) {
		const struct trace_op *op = &trace->ops[i];

		if (op->kind != TRACE_WRITE)
			continue;
		for (k = i + 1; k < made && !is_dir_sync(&trace->ops[k], op->file); k++)
			;
		if (k == made && strcmp(trace_name(trace, op->file), "config.lock") != 0)
			fail_msg("%s was not synced", trace_name(trace, op->file));
		checked++;
	}
	assert_true(checked > 10);
	assert_int_equal(trace->acks_count, 1 + 2 * 3);
}

/* ---- what the power's failure leaves behind is recovered ---- */

static uint64_t states_max(void)
{
	const char *text = getenv("CONDUCTOR_CRASH_STATES");

	return text ? strtoull(text, NULL, 10) : 400;
}

static void test_every_state_is_recovered(void **state)
{
	const struct room *room = *state;
	const struct trace *trace = room->trace;
	const struct conductor_judge_config config = {.writer = room->writer, .serve_every = SERVE_EVERY};
	struct crash_judge judge = conductor_judge;
	struct explore_options options = {
	    .seed = 1, .states_max = states_max(), .volatiles = record_volatiles, .timeout_ms = 60000};
	struct explore_result result;
	struct error err = {0};
	uint64_t judged = 0;
	char work[64];
	unsigned i;
	int r;

	if (getenv("TRITONE_SEED"))
		options.seed = strtoull(getenv("TRITONE_SEED"), NULL, 0);
	judge.config = &config;
	assert_int_equal(explore_work_create(work, &err), 0);
	options.work = work;
	r = explore(trace, &judge, &options, &result, &err);
	explore_work_remove(work);
	if (r < 0)
		fail_msg("%s", err.text);
	for (i = 0; i < MODEL_KINDS; i++)
		judged += result.judged[i];
	printf("# %llu states%s of %zu operations, %llu recovered, %.0f a second\n", (unsigned long long)judged,
	    result.exhaustive ? "" : " (sampled)", trace->count, (unsigned long long)result.outcomes[CRASH_RECOVERED],
	    (double)judged / (result.seconds > 0 ? result.seconds : 1));
	for (i = CRASH_REFUSED; i < CRASH_OUTCOMES; i++) {
		const struct explore_finding *finding = &result.first[i];
		char op[200];

		if (!finding->found)
			continue;
		trace_describe(trace, finding->at - 1, op, sizeof op);
		printf("# %llu times %s; the simplest (%s, seed %llu, state %llu, %llu pieces missing, %zu "
		       "acknowledged) after %s: "
		       "%s\n",
		    (unsigned long long)result.outcomes[i], crash_outcome_name(i), model_name(finding->kind),
		    (unsigned long long)options.seed, (unsigned long long)finding->ordinal,
		    (unsigned long long)finding->missing, finding->acked, op, finding->reason);
	}
	fflush(stdout);
	assert_int_equal(result.outcomes[CRASH_RECOVERED], judged + result.recoveries);
	assert_true(judged > 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_objects_have_durable_names),
	    cmocka_unit_test(test_repository_is_made_at_once),
	    cmocka_unit_test(test_every_state_is_recovered),
	};

	return cmocka_run_group_tests(tests, record, forget);
}
