/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The n-th failure sweep of the conductor: a file call below its state directory, its own or an agent's, is made to fail by
 * the system-call filter; which one, how and for how long is drawn from a seed, since all of them together take hours.
 * After the fault every task that was handed in has one commit and its notification, and the log is whole.
 * TRITONE_SEED, CONDUCTOR_SWEEP_RUNS. CONDUCTOR_SWEEP_SHARD=K/N instead: each call in each way, without a draw, of which
 * this process takes the K-th of every N runs; CONDUCTOR_SWEEP_FROM=CALL: from that call on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <git2.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "conductor_room.h"
#include "system/keeper.h"
#include "system/system.h"
#include "wal/wal.h"

#define RUNS          16
#define HANG_MS       90000 /* only so that what hangs is named */
#define TICK_MS       50
#define AGAIN_NS      20000000
#define POSTS_MAX     2000
#define ERRNOS        6
#define INTERRUPTIONS 60
#define WAYS          (ERRNOS * 4u) /* in which a call can fail: errno, mode, once or from then on */
#define SAY_EVERY     100
#define STORM         5 /* failures after which what fails from then on is mended */
#define OUTPUT_MAX    65536
#define ALL_CALLS                                                                                                      \
	(TRITONE_CALL_WRITE | TRITONE_CALL_SYNC | TRITONE_CALL_CREATE | TRITONE_CALL_RENAME | TRITONE_CALL_LINK |      \
	    TRITONE_CALL_ALLOCATE)

static const int errnos[ERRNOS] = {ENOSPC, EIO, EDQUOT, EINTR, EROFS, ENOMEM};

struct sweep {
	char dir[64], state[80], template_dir[80], pipe[80];
	const char *conductor;
	struct keeper *keeper;
	struct room *room;
	int out;
	pid_t pid;
	bool ended;
	int status;
	char output[OUTPUT_MAX]; /* of the conductor, in this run */
	size_t used;
	char fault[200], why[400];      /* why: "" so far */
	struct keeper_rule_stats stats; /* of the rule, when it was over */
	uint64_t calls, unfelt, refused, gave_up, deviations;
};

static uint64_t draw(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

static void shell(const char *what, const char *a, const char *b)
{
	char command[300];

	snprintf(command, sizeof command, "%s %s %s", what, a, b ? b : "");
	assert_int_equal(system(command), 0);
}

static bool deviate(struct sweep *sweep, const char *what)
{
	if (!sweep->why[0])
		snprintf(sweep->why, sizeof sweep->why, "%s", what);
	return false;
}

/* --- the conductor --- */

static void take_output(struct sweep *sweep)
{
	ssize_t n = read(sweep->out, sweep->output + sweep->used, sizeof sweep->output - 1 - sweep->used);

	if (n > 0)
		sweep->used += (size_t)n;
	sweep->output[sweep->used] = '\0';
	if (sweep->used > sizeof sweep->output / 2) /* the old half is of no use */
		sweep->used = 0;
}

static void take_events(struct sweep *sweep)
{
	struct keeper_event event;

	while (keeper_next_event(sweep->keeper, 0, &event, NULL) == 1)
		if (event.pid == sweep->pid) {
			sweep->ended = true;
			sweep->status = event.status;
		}
}

/* A fault that lasts has been felt enough: from here on it is over. */
static bool mended(struct sweep *sweep)
{
	struct keeper_rule_stats stats = {0};

	if (keeper_rule_stats(sweep->keeper, "sweep", &stats, NULL) < 0 || stats.hits < STORM)
		return false;
	sweep->stats = stats;
	assert_int_equal(keeper_rule_clear(sweep->keeper, "sweep", NULL), 0);
	return true;
}

/* Until it is ready (true) or has ended. It may wait with that for a disk that works. */
static bool serve(struct sweep *sweep)
{
	const char *gateway = gateway_url(sweep->room->gateway);
	char sink[128];
	const char *const argv[] = {sweep->conductor, "serve", "--state", sweep->state, "--listen", "127.0.0.1:0",
	    "--gateway", gateway, "--notify", sink, "--set", "lease-ms=2000", "--set", "beat-ms=200", "--set",
	    "backoff-base-ms=10", "--set", "backoff-max-ms=50", "--set", "notify-backoff-ms=20", "--set",
	    "notify-backoff-max-ms=100", "--set", "kill-grace-ms=300", "--set", "role-timeout-ms=20000", NULL};
	const struct keeper_process process = {
	    .name = "conductor", .argv = argv, .output = sweep->pipe, .filter = true};
	const char *text = NULL;
	struct error err;
	int waited = 0;

	snprintf(sink, sizeof sink, "%s/sink/notify", gateway);
	sweep->ended = false;
	sweep->used = 0;
	sweep->output[0] = '\0';
	if (keeper_spawn(sweep->keeper, &process, &sweep->pid, &err) < 0)
		fail_msg("%s", err.text);
	while (!sweep->ended && !(text = strstr(sweep->output, "ready, epoch"))) {
		struct pollfd fds[2] = {
		    {.fd = sweep->out, .events = POLLIN}, {.fd = keeper_event_fd(sweep->keeper), .events = POLLIN}};

		if (poll(fds, 2, TICK_MS) == 0 && !mended(sweep) && (waited += TICK_MS) >= HANG_MS)
			return deviate(sweep, "it neither got ready nor ended");
		take_output(sweep);
		take_events(sweep);
	}
	take_output(sweep);
	text = strstr(sweep->output, "port ");
	if (text && strstr(sweep->output, "ready, epoch"))
		sweep->room->port = (unsigned)strtoul(text + 5, NULL, 10);
	return !sweep->ended;
}

/* An end is no crash, and says what it was: the errno's text is in what it printed. */
static bool ended_well(struct sweep *sweep, int code)
{
	take_output(sweep);
	if (WIFSIGNALED(sweep->status))
		return deviate(sweep, "it crashed");
	if (!strstr(sweep->output, strerror(code)))
		return deviate(sweep, "it ended and did not say why");
	sweep->gave_up++;
	return true;
}

/* --- a run --- */

struct delivered {
	bool seen[ROOM_ROLES];
	int count, wanted;
};

static bool count_delivered(void *arg, const struct op *op)
{
	struct delivered *delivered = arg;
	char name[40];
	int role;

	for (role = 0; role < ROOM_ROLES && op->kind == OP_NOTIFY && op->type == OP_OK; role++) {
		room_task_name(name, sizeof name, 0, role);
		if (!delivered->seen[role] && strcmp(op->task, name) == 0) {
			delivered->seen[role] = true;
			delivered->count++;
		}
	}
	return delivered->count >= delivered->wanted;
}

static bool delivered(struct sweep *sweep, int wanted, int64_t timeout_ms)
{
	struct delivered found = {.wanted = wanted};
	uint64_t index;

	return wanted == 0 || history_wait(sweep->room->history, 0, count_delivered, &found, timeout_ms, &index) == 1;
}

/* While the fault is there: until all is done all the same, or it has been felt enough. */
static void work_under_fault(struct sweep *sweep)
{
	int accepted = 0, waited = 0;

	while (accepted < ROOM_ROLES && room_submit(sweep->room, 0, accepted) == 202)
		accepted++;
	sweep->refused += accepted < ROOM_ROLES;
	while (!sweep->ended && !delivered(sweep, accepted, TICK_MS) && !mended(sweep) && waited < HANG_MS) {
		waited += TICK_MS;
		take_events(sweep);
		take_output(sweep);
	}
	take_events(sweep);
	if (waited >= HANG_MS)
		deviate(sweep, "accepted tasks are not done, though the fault is over or was never felt");
}

/* As whoever hands in a task would: again, with the same key, until it is accepted. */
static bool submit_all(struct sweep *sweep)
{
	const struct timespec pause = {.tv_nsec = AGAIN_NS};
	int role, tries;

	for (role = 0; role < ROOM_ROLES; role++)
		for (tries = 0; room_submit(sweep->room, 0, role) != 202; tries++) {
			take_events(sweep);
			if (sweep->ended || tries == POSTS_MAX)
				return deviate(sweep, "it takes no tasks, though the fault is over");
			nanosleep(&pause, NULL); /* the submitter's own pace: there is no event for it */
		}
	return true;
}

static bool one_commit_each(struct sweep *sweep)
{
	char path[128], name[40], trailer[64];
	int counts[ROOM_ROLES] = {0}, role;
	git_repository *repo = NULL;
	git_revwalk *walk = NULL;
	bool good = true;
	git_oid id;

	snprintf(path, sizeof path, "%s/repo", sweep->state);
	assert_int_equal(git_repository_open_bare(&repo, path), 0);
	assert_int_equal(git_revwalk_new(&walk, repo), 0);
	assert_int_equal(git_revwalk_push_ref(walk, "refs/heads/main"), 0);
	while (git_revwalk_next(&id, walk) == 0) {
		git_commit *commit = NULL;

		assert_int_equal(git_commit_lookup(&commit, repo, &id), 0);
		for (role = 0; role < ROOM_ROLES; role++) {
			room_task_name(name, sizeof name, 0, role);
			snprintf(trailer, sizeof trailer, "\nTask-Id: %s\n", name);
			counts[role] += strstr(git_commit_message(commit), trailer) != NULL;
		}
		git_commit_free(commit);
	}
	git_revwalk_free(walk);
	git_repository_free(repo);
	for (role = 0; role < ROOM_ROLES; role++)
		if (counts[role] != 1)
			good = deviate(sweep, counts[role] ? "a task was committed twice" : "a task has no commit");
	return good;
}

static bool whole_afterwards(struct sweep *sweep)
{
	static char replayed[8192], recovered[8192];
	struct wal_report report;
	char path[128];
	struct error err;

	snprintf(path, sizeof path, "%s/wal", sweep->state);
	if (wal_verify(path, &report, &err) < 0)
		return deviate(sweep, err.text);
	room_run_verb(sweep->room, "replay", replayed, sizeof replayed);
	room_run_verb(sweep->room, "recover", recovered, sizeof recovered);
	if (strcmp(replayed, recovered) != 0)
		return deviate(sweep, "what is recovered is not what was replayed");
	return one_commit_each(sweep);
}

/* The fault has ended; the conductor too, perhaps. */
static bool recovers(struct sweep *sweep)
{
	if (sweep->ended && !serve(sweep))
		return deviate(sweep, "it does not start again, though the fault is over");
	if (!submit_all(sweep))
		return false;
	if (!delivered(sweep, ROOM_ROLES, HANG_MS))
		return deviate(sweep, "tasks are not done, though the fault is over");
	assert_int_equal(keeper_signal(sweep->keeper, sweep->pid, SIGTERM, NULL), 0);
	while (!sweep->ended) {
		struct pollfd event = {.fd = keeper_event_fd(sweep->keeper), .events = POLLIN};

		if (poll(&event, 1, HANG_MS) == 0)
			return deviate(sweep, "it does not end when it is told to");
		take_events(sweep);
	}
	if (!WIFEXITED(sweep->status) || WEXITSTATUS(sweep->status) != 0)
		return deviate(sweep, "it does not end well when it is told to");
	return whole_afterwards(sweep);
}

/* True when it held. *ret_seen: how many calls the rule was asked about. */
static bool run(struct sweep *sweep, struct tritone_errno_rule rule, uint64_t *ret_seen)
{
	const bool once = rule.count == 1;
	struct error err = {0};
	bool good, ready;

	sweep->why[0] = '\0';
	memset(&sweep->stats, 0, sizeof sweep->stats);
	shell("rm -rf", sweep->state, NULL);
	shell("cp -a", sweep->template_dir, sweep->state);
	assert_int_equal(room_create(&sweep->room, sweep->state), 0);
	rule.path = sweep->state;
	if (keeper_rule_set(sweep->keeper, &rule, &err) < 0)
		fail_msg("%s", err.text);
	ready = serve(sweep);
	if (ready)
		work_under_fault(sweep);
	if (keeper_rule_stats(sweep->keeper, rule.key, &sweep->stats, NULL) < 0)
		assert_true(sweep->stats.hits > 0); /* it was cleared before */
	assert_int_equal(keeper_rule_clear(sweep->keeper, rule.key, &err), 0);
	take_events(sweep);
	good = !sweep->why[0] && (!sweep->ended || ended_well(sweep, rule.error)) && recovers(sweep);
	if (!sweep->ended) {
		keeper_stop(sweep->keeper, 0, NULL, NULL);
		while (!sweep->ended && keeper_next_event(sweep->keeper, HANG_MS, &(struct keeper_event){0}, NULL) == 1)
			sweep->ended = true;
	}
	room_destroy(sweep->room);
	sweep->unfelt += sweep->stats.hits == 0;
	snprintf(sweep->fault, sizeof sweep->fault, "call %llu of %llu (%s), %s, %s, %s",
	    (unsigned long long)rule.first + 1, (unsigned long long)sweep->stats.seen, sweep->stats.call,
	    strerror(rule.error), rule.mode == TRITONE_ERRNO_REFUSE ? "refused" : "performed",
	    once ? "once" : "from then on");
	*ret_seen = sweep->stats.seen;
	return good;
}

static int setup(void **state)
{
	struct sweep *sweep = calloc(1, sizeof *sweep);
	struct keeper_options options = {.seed = 1};
	struct error err;
	char output[256];

	if (!sweep)
		return -1;
	*state = sweep;
	git_libgit2_init();
	snprintf(sweep->dir, sizeof sweep->dir, "%s/conductor-sweep-XXXXXX",
	    access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(sweep->dir))
		return -1;
	snprintf(sweep->state, sizeof sweep->state, "%s/state", sweep->dir);
	snprintf(sweep->template_dir, sizeof sweep->template_dir, "%s/template", sweep->dir);
	snprintf(sweep->pipe, sizeof sweep->pipe, "%s/output", sweep->dir);
	sweep->conductor = getenv("CONDUCTOR");
	if (mkfifo(sweep->pipe, 0600) < 0 || (sweep->out = open(sweep->pipe, O_RDWR | O_NONBLOCK | O_CLOEXEC)) < 0 ||
	    keeper_start(&sweep->keeper, &options, &err) < 0 || room_create(&sweep->room, sweep->template_dir) != 0)
		return -1;
	room_run_verb(sweep->room, "init", output, sizeof output);
	room_destroy(sweep->room);
	return 0;
}

static int teardown(void **state)
{
	struct sweep *sweep = *state;

	keeper_destroy(sweep->keeper);
	close(sweep->out);
	if (!getenv("CONDUCTOR_SWEEP_KEEP"))
		shell("rm -rf", sweep->dir, NULL);
	git_libgit2_shutdown();
	free(sweep);
	return 0;
}

/* Which faults: drawn, or all of them in order, or one that is named. */
struct plan {
	uint64_t random, runs;
	uint64_t shard, shards; /* shards 0: drawn */
	uint64_t from;          /* the first call */
	const char *only;       /* "FIRST ERRNO MODE COUNT", or NULL */
};

static struct plan plan_of_environment(uint64_t seed)
{
	struct plan plan = {.random = seed,
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
		plan.runs = UINT64_MAX;
	}
	return plan;
}

static void plan_fault(struct plan *plan, uint64_t number, uint64_t calls, struct tritone_errno_rule *rule)
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
		rule->first = draw(&plan->random) % calls;
		rule->error = errnos[draw(&plan->random) % ERRNOS];
		rule->mode = draw(&plan->random) % 2 ? TRITONE_ERRNO_REFUSE : TRITONE_ERRNO_PERFORM_THEN_FAIL;
		rule->count = draw(&plan->random) % 2;
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

static void say_counts(const struct sweep *sweep, uint64_t runs)
{
	fprintf(stderr,
	    "# %llu calls in a run; %llu runs, %llu in which the fault was not felt, %llu times not all tasks were "
	    "accepted at once, %llu times it ended and said why; %llu deviations\n",
	    (unsigned long long)sweep->calls, (unsigned long long)runs, (unsigned long long)sweep->unfelt,
	    (unsigned long long)sweep->refused, (unsigned long long)sweep->gave_up,
	    (unsigned long long)sweep->deviations);
}

static void test_sweep(void **state)
{
	const uint64_t seed = from_environment("TRITONE_SEED", (uint64_t)time(NULL));
	struct sweep *sweep = *state;
	struct plan plan = plan_of_environment(seed);
	struct tritone_errno_rule rule = {.struct_size = sizeof rule,
	    .key = "sweep",
	    .calls = ALL_CALLS,
	    .mode = TRITONE_ERRNO_REFUSE,
	    .error = EIO,
	    .first = UINT32_MAX,
	    .count = 1};
	uint64_t i, seen, unfelt_in_a_row = 0;

	print_message("# seed %llu\n", (unsigned long long)seed);
	assert_true(run(sweep, rule, &sweep->calls)); /* without a fault, for the number of calls */
	assert_true(sweep->calls > 20);
	sweep->unfelt = 0;
	for (i = 0; i < plan.runs; i++) {
		const uint64_t unfelt = sweep->unfelt;

		plan_fault(&plan, i, sweep->calls, &rule);
		keep_possible(&rule);
		if (!run(sweep, rule, &seen)) {
			sweep->deviations++;
			fprintf(stderr, "# run %llu: %s: %s (CONDUCTOR_SWEEP_ONLY='%u %d %u %u')\n",
			    (unsigned long long)i, sweep->fault, sweep->why, (unsigned)rule.first, rule.error,
			    rule.mode, (unsigned)rule.count);
			if (getenv("CONDUCTOR_SWEEP_KEEP"))
				fprintf(stderr, "%s\n", sweep->output);
		}
		unfelt_in_a_row = sweep->unfelt > unfelt ? unfelt_in_a_row + 1 : 0;
		if (plan.shards && (i + 1) % SAY_EVERY == 0) { /* one that is cut off has said how far it came */
			fprintf(stderr, "# so far, to call %llu:\n", (unsigned long long)rule.first + 1);
			say_counts(sweep, i + 1);
		}
		/* no run has so many calls: all have been tried */
		if (plan.shards && rule.first >= sweep->calls && unfelt_in_a_row >= 2 * WAYS / plan.shards)
			plan.runs = i + 1;
	}
	say_counts(sweep, plan.runs);
	assert_int_equal(sweep->deviations, 0);
	assert_true(sweep->unfelt < plan.runs);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_sweep, setup, teardown),
	};

	if (argc > 1 && strcmp(argv[1], "__keeper") == 0)
		return keeper_main(argc - 1, argv + 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
