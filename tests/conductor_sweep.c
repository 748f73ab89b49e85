/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The n-th failure sweep of the conductor: which file call of a run fails, how and for how long. In each test run some
 * are drawn from a seed; CONDUCTOR_SWEEP_SHARD=K/N takes all of them, each call in each way, of which this machine does the
 * K-th of every N. Runs mostly wait, so several go on beside each other.
 * TRITONE_SEED, CONDUCTOR_SWEEP_RUNS: how many (drawn, or of all, at most); CONDUCTOR_SWEEP_LANES; CONDUCTOR_SWEEP_FROM=CALL: from that call
 * on; CONDUCTOR_SWEEP_ONLY="FIRST ERRNO MODE COUNT": one of them again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "conductor_trial.h"
#include "system/system.h"

#define RUNS          16
#define LANES         4
#define LANES_MAX     64
#define ERRNOS        6
#define INTERRUPTIONS 60
#define WAYS          (ERRNOS * 4u) /* in which a call can fail: errno, mode, once or from then on */
#define SAY_EVERY     100
#define ALL_CALLS                                                                                                      \
	(TRITONE_CALL_WRITE | TRITONE_CALL_SYNC | TRITONE_CALL_CREATE | TRITONE_CALL_RENAME | TRITONE_CALL_LINK |      \
	    TRITONE_CALL_ALLOCATE)

static const int errnos[ERRNOS] = {ENOSPC, EIO, EDQUOT, EINTR, EROFS, ENOMEM};

/* Which faults: drawn, or all of them in order, or one that is named. */
struct plan {
	uint64_t seed, runs;
	uint64_t shard, shards; /* shards 0: drawn */
	uint64_t from;          /* the first call */
	const char *only;       /* "FIRST ERRNO MODE COUNT", or NULL */
};

/* What the lanes share. */
struct sweep {
	struct plan plan;
	uint64_t calls;        /* of a run without a fault */
	_Atomic uint64_t next; /* run */
	_Atomic uint64_t felt; /* the last run so far in which the fault was */
	_Atomic uint64_t runs, unfelt, refused, gave_up, deviations;
};

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

static uint64_t draw(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* --- which fault --- */

static struct plan plan_of_environment(void)
{
	struct plan plan = {.seed = from_environment("TRITONE_SEED", (uint64_t)time(NULL)),
	    .runs = from_environment("CONDUCTOR_SWEEP_RUNS", RUNS),
	    .from = from_environment("CONDUCTOR_SWEEP_FROM", 0),
	    .only = getenv("CONDUCTOR_SWEEP_ONLY")};
	const char *text = getenv("CONDUCTOR_SWEEP_SHARD");
	unsigned shard, shards;

	if (text) {
		assert_int_equal(sscanf(text, "%u/%u", &shard, &shards), 2);
		assert_true(shard >= 1 && shard <= shards);
		plan.shard = shard - 1;
		plan.shards = shards;
		plan.runs = from_environment("CONDUCTOR_SWEEP_RUNS", UINT64_MAX);
	}
	return plan;
}

static void choose(const struct plan *plan, uint64_t number, uint64_t calls, struct tritone_errno_rule *rule)
{
	if (plan->only) { /* one of them again */
		unsigned first = 0, mode = 0, count = 0;

		assert_int_equal(sscanf(plan->only, "%u %d %u %u", &first, &rule->error, &mode, &count), 4);
		rule->first = first;
		rule->mode = mode;
		rule->count = count;
	} else if (plan->shards) {
		const uint64_t place = plan->from * WAYS + number * plan->shards + plan->shard, way = place % WAYS;

		rule->first = place / WAYS;
		rule->error = errnos[way / 4];
		rule->mode = way & 2 ? TRITONE_ERRNO_REFUSE : TRITONE_ERRNO_PERFORM_THEN_FAIL;
		rule->count = way & 1;
	} else {
		uint64_t random = plan->seed + number * 0x9e3779b9u;

		rule->first = draw(&random) % calls;
		rule->error = errnos[draw(&random) % ERRNOS];
		rule->mode = draw(&random) % 2 ? TRITONE_ERRNO_REFUSE : TRITONE_ERRNO_PERFORM_THEN_FAIL;
		rule->count = draw(&random) % 2;
	}
}

/*
 * What EINTR can be. write(2) is interrupted before it has written anything, and so libgit2 writes again: one that was
 * performed, and says that it was not, is no fault. LMDB tries again for as long as it is interrupted: some dozens in a row
 * stand for "from then on".
 */
static void keep_possible(struct tritone_errno_rule *rule)
{
	rule->calls = ALL_CALLS;
	if (rule->error == EINTR && rule->mode == TRITONE_ERRNO_PERFORM_THEN_FAIL)
		rule->calls &= ~(uint32_t)TRITONE_CALL_WRITE;
	if (rule->error == EINTR && rule->count == 0)
		rule->count = INTERRUPTIONS;
}

/* --- the lanes, a process each --- */

static void say_counts(const struct sweep *sweep)
{
	fprintf(stderr,
	    "# %llu calls in a run; %llu runs, %llu in which the fault was not felt, %llu times not all tasks were "
	    "accepted at once, %llu times it ended and said why; %llu deviations\n",
	    (unsigned long long)sweep->calls, (unsigned long long)sweep->runs, (unsigned long long)sweep->unfelt,
	    (unsigned long long)sweep->refused, (unsigned long long)sweep->gave_up,
	    (unsigned long long)sweep->deviations);
}

static void count(struct sweep *sweep, uint64_t number, const struct trial_result *result)
{
	uint64_t felt = sweep->felt;

	sweep->refused += result->refused;
	sweep->gave_up += result->gave_up;
	sweep->unfelt += result->stats.hits == 0;
	while (result->stats.hits && felt < number && !atomic_compare_exchange_weak(&sweep->felt, &felt, number))
		;
}

/* No run has so many calls: all have been tried. */
static bool beyond(const struct sweep *sweep, uint64_t number, const struct tritone_errno_rule *rule)
{
	return sweep->plan.shards && rule->first >= sweep->calls &&
	       number > sweep->felt + LANES_MAX + 2 * WAYS / sweep->plan.shards;
}

static void work(struct sweep *sweep, struct trial *trial)
{
	struct tritone_errno_rule rule = {.struct_size = sizeof rule};
	struct trial_result result;
	uint64_t number, runs;

	while ((number = sweep->next++) < sweep->plan.runs) {
		choose(&sweep->plan, number, sweep->calls, &rule);
		keep_possible(&rule);
		if (beyond(sweep, number, &rule))
			return;
		if (!trial_run(trial, rule, &result)) {
			sweep->deviations++;
			fprintf(stderr, "# run %llu: %s: %s (CONDUCTOR_SWEEP_ONLY='%u %d %u %u')\n",
			    (unsigned long long)number, result.fault, result.why, (unsigned)rule.first, rule.error,
			    rule.mode, (unsigned)rule.count);
			fprintf(stderr, "# it said:\n%s\n", trial_output(trial));
		}
		count(sweep, number, &result);
		runs = ++sweep->runs;
		if (sweep->plan.shards && runs % SAY_EVERY == 0) { /* one that is cut off has said how far it came */
			fprintf(stderr, "# so far, at call %llu:\n", (unsigned long long)rule.first + 1);
			say_counts(sweep);
		}
	}
}

/* Without a fault, for the number of calls. */
static void look(struct sweep *sweep, struct trial *trial)
{
	const struct tritone_errno_rule rule = {.struct_size = sizeof rule,
	    .calls = ALL_CALLS,
	    .mode = TRITONE_ERRNO_REFUSE,
	    .error = EIO,
	    .first = UINT32_MAX,
	    .count = 1};
	struct trial_result result;

	if (!trial_run(trial, rule, &result))
		fail_msg("without a fault: %s", result.why);
	sweep->calls = result.stats.seen;
}

/* Its assertions end the lane, not the test: what they say goes where the others talk. */
static pid_t start_lane(struct sweep *sweep, void (*what)(struct sweep *sweep, struct trial *trial))
{
	struct trial *trial;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	dup2(STDERR_FILENO, STDOUT_FILENO);
	assert_int_equal(trial_create(&trial), 0);
	what(sweep, trial);
	trial_destroy(trial);
	_exit(0);
}

static bool lane_ended_well(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void test_sweep(void **state)
{
	const uint64_t asked = from_environment("CONDUCTOR_SWEEP_LANES", LANES);
	const size_t lanes = asked < 1 ? 1 : asked > LANES_MAX ? LANES_MAX : (size_t)asked;
	struct sweep *sweep = mmap(NULL, sizeof *sweep, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pids[LANES_MAX];
	bool good = true;

	(void)state;
	assert_ptr_not_equal(sweep, MAP_FAILED);
	sweep->plan = plan_of_environment();
	print_message("# seed %llu\n", (unsigned long long)sweep->plan.seed);
	assert_true(lane_ended_well(start_lane(sweep, look)));
	assert_true(sweep->calls > 20);
	for (size_t i = 0; i < lanes; i++)
		pids[i] = start_lane(sweep, work);
	for (size_t i = 0; i < lanes; i++)
		good = lane_ended_well(pids[i]) && good;
	say_counts(sweep);
	assert_true(good);
	assert_int_equal(sweep->deviations, 0);
	assert_true(sweep->unfelt < sweep->runs);
	munmap(sweep, sizeof *sweep);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_sweep),
	};

	if (argc > 1 && strcmp(argv[1], "__keeper") == 0)
		return keeper_main(argc - 1, argv + 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
