/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conductor and the loss of power: a small workload is recorded, with its agents and git. For a longer look:
 * CONDUCTOR_CRASH_STATES (400 visits by default), CONDUCTOR_CRASH_CHAINS (1), TRITONE_SEED (1).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conductor_judge.h"
#include "skip.h"
#include "crash/explore.h"
#include "crash/notifier/notifier.h"
#include "crash/record/record.h"
#include "crash/state.h"

#define SERVE_EVERY 80 /* states: a life of the conductor takes as long as all of these */

struct room {
	char dir[32], writer[256], work[64];
	int chains; /* of three tasks each */
	struct trace *trace;
};

/* Once for all tests. */
static int record(void **state)
{
	static const char *const volatiles[] = {"lock.mdb", NULL};
	char chains[8], *argv[] = {NULL, NULL, chains, NULL};
	struct room *room = calloc(1, sizeof *room);
	struct notifier_options options = {.argv = argv, .volatiles = volatiles, .echo = -1};
	struct error err = {0};
	int status = -1;
	ssize_t n;

	if (!room || !getenv("CONDUCTOR"))
		return -1;
	strcpy(room->dir, "/tmp/crash-conductor-XXXXXX");
	n = readlink("/proc/self/exe", room->writer, 200);
	if (!mkdtemp(room->dir) || n < 0 || explore_work_create(room->work, &err) < 0)
		return -1;
	room->writer[n] = '\0';
	strcpy(strrchr(room->writer, '/') + 1, "conductor_writer");
	argv[0] = room->writer;
	room->chains = getenv("CONDUCTOR_CRASH_CHAINS") ? atoi(getenv("CONDUCTOR_CRASH_CHAINS")) : 1;
	snprintf(chains, sizeof chains, "%d", room->chains);
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
	explore_work_remove(room->work);
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

	if (((struct room *)*state)->chains > 1)
		SKIP("several chains write at once");
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
	assert_int_equal(trace->acks_count, 1 + 2 * 3 * ((struct room *)*state)->chains);
}

/* ---- what the power's failure leaves behind is recovered ---- */

static uint64_t states_max(void)
{
	const char *text = getenv("CONDUCTOR_CRASH_STATES");

	return text ? strtoull(text, NULL, 10) : 400;
}

static uint64_t seed(void)
{
	const char *text = getenv("TRITONE_SEED");

	return text ? strtoull(text, NULL, 0) : 1;
}

/* Returns how many states were judged, and not recovered. */
static uint64_t explore_all(const struct trace *trace, const struct conductor_judge_config *config, uint64_t visits,
    const char *work, uint64_t *ret_wrong)
{
	struct explore_options options = {
	    .seed = seed(), .states_max = visits, .volatiles = record_volatiles, .timeout_ms = 60000, .work = work};
	struct crash_judge judge = conductor_judge;
	struct explore_result result;
	struct error err = {0};
	uint64_t judged = 0;
	unsigned i;

	judge.config = config;
	if (explore(trace, &judge, &options, &result, &err) < 0)
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
		printf(
		    "# %llu times %s; the simplest (%s, seed %llu, state %llu, %llu pieces missing, %zu acknowledged) "
		    "after %s: %s\n",
		    (unsigned long long)result.outcomes[i], crash_outcome_name(i), model_name(finding->kind),
		    (unsigned long long)options.seed, (unsigned long long)finding->ordinal,
		    (unsigned long long)finding->missing, finding->acked, op, finding->reason);
	}
	fflush(stdout);
	*ret_wrong = judged - result.outcomes[CRASH_RECOVERED];
	return judged;
}

static void test_every_state_is_recovered(void **state)
{
	const struct room *room = *state;
	const struct conductor_judge_config config = {.writer = room->writer, .serve_every = SERVE_EVERY};
	uint64_t judged, wrong = 0;

	judged = explore_all(room->trace, &config, states_max(), room->work, &wrong);
	assert_int_equal(wrong, 0);
	assert_true(judged > 200);
}

/* ---- and the recovery may be crashed, too ---- */

struct picking {
	uint64_t every, seen; /* states with something acknowledged */
	struct state_dir *dir;
	size_t acked;
};

static int pick(void *arg, const struct model_state *state)
{
	struct picking *picking = arg;

	if (!state->acked || ++picking->seen < picking->every)
		return 0;
	picking->acked = state->acked;
	return state_make(picking->dir, state, NULL) < 0 ? -1 : 1;
}

/* The `every`-th crash state in `path`. Returns how much was acknowledged by then; 0: there is none. */
static size_t make_state(const struct room *room, const char *path, uint64_t every)
{
	const struct model_options options = {.kinds = (1u << MODEL_PREFIX) | (1u << MODEL_SUBSET),
	    .volatiles = record_volatiles,
	    .seed = seed(),
	    .states_max = 2000};
	struct picking picking = {.every = every};
	struct model *model = NULL;
	struct error err = {0};
	int r;

	assert_int_equal(state_remove_tree(path, &err), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(model_create(&model, room->trace, &options, &err), 0);
	assert_int_equal(state_open(&picking.dir, path, &err), 0);
	r = model_walk(model, pick, &picking, &err);
	state_close(picking.dir);
	model_destroy(model);
	assert_true(r >= 0);
	return picking.acked;
}

static void record_recovery(const char *path, struct trace **ret_trace)
{
	static const char *const volatiles[] = {"lock.mdb", NULL};
	char program[256], verb[] = "recover", option[] = "--state", dir[256];
	char *argv[] = {program, verb, option, dir, NULL};
	const struct notifier_options options = {.dir = path, .argv = argv, .volatiles = volatiles, .echo = -1};
	struct error err = {0};
	int status = -1;

	snprintf(program, sizeof program, "%s", getenv("CONDUCTOR"));
	snprintf(dir, sizeof dir, "%s", path);
	if (notifier_record(ret_trace, &options, &status, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(status, 0);
}

static void test_a_crashed_recovery_is_recovered(void **state)
{
	const struct room *room = *state;
	uint64_t judged = 0, wrong = 0, all_wrong = 0, every;
	char path[128];

	snprintf(path, sizeof path, "%s/crashed", room->work);
	for (every = 50; every < 2000; every = every * 2 + 71) {
		struct conductor_judge_config config = {.writer = room->writer, .before = room->trace};
		struct trace *trace = NULL;

		config.acked = make_state(room, path, every);
		if (!config.acked)
			break;
		record_recovery(path, &trace);
		judged += explore_all(trace, &config, states_max() / 4, room->work, &wrong);
		all_wrong += wrong;
		trace_destroy(trace);
	}
	assert_int_equal(all_wrong, 0);
	assert_true(judged > 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_objects_have_durable_names),
	    cmocka_unit_test(test_repository_is_made_at_once),
	    cmocka_unit_test(test_every_state_is_recovered),
	    cmocka_unit_test(test_a_crashed_recovery_is_recovered),
	};

	return cmocka_run_group_tests(tests, record, forget);
}
