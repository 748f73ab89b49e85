/* SPDX-License-Identifier: Apache-2.0 */
/* See conductor_trial.h. */
#include "conductor_trial.h"

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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "conductor_room.h"
#include "system/copytree.h"
#include "wal/wal.h"

#define HANG_MS    90000 /* only so that what hangs is named */
#define TICK_MS    50
#define AGAIN_NS   20000000
#define POSTS_MAX  2000
#define STORM      5 /* failures after which what fails from then on is mended */
#define OUTPUT_MAX 65536

struct trial {
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
	struct trial_result *result;
};

static bool deviate(struct trial *trial, const char *what)
{
	if (!trial->result->why[0])
		snprintf(trial->result->why, sizeof trial->result->why, "%s", what);
	return false;
}

/* --- the conductor --- */

static void take_output(struct trial *trial)
{
	ssize_t n = read(trial->out, trial->output + trial->used, sizeof trial->output - 1 - trial->used);

	if (n > 0)
		trial->used += (size_t)n;
	trial->output[trial->used] = '\0';
	if (trial->used > sizeof trial->output / 2) /* the old half is of no use */
		trial->used = 0;
}

static void take_events(struct trial *trial)
{
	struct keeper_event event;

	while (keeper_next_event(trial->keeper, 0, &event, NULL) == 1)
		if (event.pid == trial->pid) {
			trial->ended = true;
			trial->status = event.status;
		}
}

/* A fault that lasts has been felt enough: from here on it is over. */
static bool mended(struct trial *trial)
{
	struct keeper_rule_stats stats = {0};

	if (keeper_rule_stats(trial->keeper, TRIAL_RULE, &stats, NULL) < 0 || stats.hits < STORM)
		return false;
	trial->result->stats = stats;
	assert_int_equal(keeper_rule_clear(trial->keeper, TRIAL_RULE, NULL), 0);
	return true;
}

/* Until it is ready (true) or has ended. It may wait with that for a disk that works. */
static bool serve(struct trial *trial)
{
	const char *gateway = gateway_url(trial->room->gateway);
	char sink[128];
	const char *const argv[] = {trial->conductor, "serve", "--state", trial->state, "--listen", "127.0.0.1:0",
	    "--gateway", gateway, "--notify", sink, "--set", "lease-ms=2000", "--set", "beat-ms=200", "--set",
	    "backoff-base-ms=10", "--set", "backoff-max-ms=50", "--set", "notify-backoff-ms=20", "--set",
	    "notify-backoff-max-ms=100", "--set", "kill-grace-ms=300", "--set", "role-timeout-ms=20000", NULL};
	const struct keeper_process process = {
	    .name = "conductor", .argv = argv, .output = trial->pipe, .filter = true};
	const char *text = NULL;
	struct error err;
	int waited = 0;

	snprintf(sink, sizeof sink, "%s/sink/notify", gateway);
	trial->ended = false;
	do { /* what the one before has said */
		trial->used = 0;
		take_output(trial);
	} while (trial->used);
	if (keeper_spawn(trial->keeper, &process, &trial->pid, &err) < 0)
		fail_msg("%s", err.text);
	while (!trial->ended && !(text = strstr(trial->output, "ready, epoch"))) {
		struct pollfd fds[2] = {
		    {.fd = trial->out, .events = POLLIN}, {.fd = keeper_event_fd(trial->keeper), .events = POLLIN}};

		if (poll(fds, 2, TICK_MS) == 0 && !mended(trial) && (waited += TICK_MS) >= HANG_MS)
			return deviate(trial, "it neither got ready nor ended");
		take_output(trial);
		take_events(trial);
	}
	take_output(trial);
	text = strstr(trial->output, "port ");
	if (text && strstr(trial->output, "ready, epoch"))
		trial->room->port = (unsigned)strtoul(text + 5, NULL, 10);
	return !trial->ended;
}

/* An end is no crash, and says what it was: the errno's text is in what it printed. */
static bool ended_well(struct trial *trial, int code)
{
	take_output(trial);
	if (WIFSIGNALED(trial->status))
		return deviate(trial, "it crashed");
	if (!strstr(trial->output, strerror(code)))
		return deviate(trial, "it ended and did not say why");
	trial->result->gave_up = true;
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

static bool delivered(struct trial *trial, int wanted, int64_t timeout_ms)
{
	struct delivered found = {.wanted = wanted};
	uint64_t index;

	return wanted == 0 || history_wait(trial->room->history, 0, count_delivered, &found, timeout_ms, &index) == 1;
}

/* With what the log says of them: waiting, or given up? */
static bool not_done(struct trial *trial, const char *what)
{
	static char replayed[8192];
	struct trial_result *result = trial->result;
	char *tasks;

	if (result->why[0])
		return false;
	room_run_verb(trial->room, "replay", replayed, sizeof replayed);
	tasks = strstr(replayed, "\"tasks\"");
	for (char *c = tasks; c && *c; c++)
		*c = *c == '\n' ? ' ' : *c;
	snprintf(result->why, sizeof result->why, "%s: %.300s", what, tasks ? tasks : "");
	return false;
}

/* While the fault is there: until all is done all the same, or it has been felt enough. */
static void work_under_fault(struct trial *trial)
{
	int accepted = 0, waited = 0;

	while (accepted < ROOM_ROLES && room_submit(trial->room, 0, accepted) == 202)
		accepted++;
	trial->result->refused = accepted < ROOM_ROLES;
	while (!trial->ended && !delivered(trial, accepted, TICK_MS) && !mended(trial) && waited < HANG_MS) {
		waited += TICK_MS;
		take_events(trial);
		take_output(trial);
	}
	take_events(trial);
	if (waited >= HANG_MS)
		not_done(trial, "accepted tasks are not done, though the fault is over or was never felt");
}

/* As whoever hands in a task would: again, with the same key, until it is accepted. */
static bool submit_all(struct trial *trial)
{
	const struct timespec pause = {.tv_nsec = AGAIN_NS};
	int role, tries;

	for (role = 0; role < ROOM_ROLES; role++)
		for (tries = 0; room_submit(trial->room, 0, role) != 202; tries++) {
			take_events(trial);
			if (trial->ended || tries == POSTS_MAX)
				return deviate(trial, "it takes no tasks, though the fault is over");
			nanosleep(&pause, NULL); /* the submitter's own pace: there is no event for it */
		}
	return true;
}

static bool one_commit_each(struct trial *trial)
{
	char path[128], name[40], trailer[64];
	int counts[ROOM_ROLES] = {0}, role;
	git_repository *repo = NULL;
	git_revwalk *walk = NULL;
	bool good = true;
	git_oid id;

	snprintf(path, sizeof path, "%s/repo", trial->state);
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
			good = deviate(trial, counts[role] ? "a task was committed twice" : "a task has no commit");
	return good;
}

static bool whole_afterwards(struct trial *trial)
{
	static char replayed[8192], recovered[8192];
	struct wal_report report;
	char path[128];
	struct error err;

	snprintf(path, sizeof path, "%s/wal", trial->state);
	if (wal_verify(path, &report, &err) < 0)
		return deviate(trial, err.text);
	room_run_verb(trial->room, "replay", replayed, sizeof replayed);
	room_run_verb(trial->room, "recover", recovered, sizeof recovered);
	if (strcmp(replayed, recovered) != 0)
		return deviate(trial, "what is recovered is not what was replayed");
	return one_commit_each(trial);
}

/* It may still end of what it met before the fault was over, once, and goes on when it is started again. */
static bool all_delivered(struct trial *trial, int code)
{
	bool again = trial->result->gave_up;
	int waited = 0;

	while (!delivered(trial, ROOM_ROLES, TICK_MS)) {
		take_events(trial);
		take_output(trial);
		if (trial->ended && again)
			return deviate(trial, "it ended twice, though the fault is over");
		if (trial->ended && (!ended_well(trial, code) || !serve(trial)))
			return deviate(trial, "it ended and does not start again, though the fault is over");
		again = trial->result->gave_up;
		if ((waited += TICK_MS) >= HANG_MS)
			return not_done(trial, "tasks are not done, though the fault is over");
	}
	return true;
}

/* The fault has ended; the conductor too, perhaps. */
static bool recovers(struct trial *trial, int code)
{
	if (trial->ended && !serve(trial))
		return deviate(trial, "it does not start again, though the fault is over");
	if (!submit_all(trial))
		return false;
	if (!all_delivered(trial, code))
		return false;
	assert_int_equal(keeper_signal(trial->keeper, trial->pid, SIGTERM, NULL), 0);
	while (!trial->ended) {
		struct pollfd event = {.fd = keeper_event_fd(trial->keeper), .events = POLLIN};

		if (poll(&event, 1, HANG_MS) == 0)
			return deviate(trial, "it does not end when it is told to");
		take_events(trial);
	}
	if (!WIFEXITED(trial->status) || WEXITSTATUS(trial->status) != 0)
		return deviate(trial, "it does not end well when it is told to");
	return whole_afterwards(trial);
}

/* Whatever of it is still there. */
static void end(struct trial *trial)
{
	struct keeper_event event;

	keeper_stop(trial->keeper, 0, NULL, NULL);
	while (!trial->ended && keeper_next_event(trial->keeper, HANG_MS, &event, NULL) == 1)
		trial->ended = event.pid == trial->pid;
}

bool trial_run(struct trial *trial, struct tritone_errno_rule rule, struct trial_result *ret_result)
{
	struct trial_result *result = trial->result = ret_result;
	struct error err = {0};
	bool good, ready;

	memset(result, 0, sizeof *result);
	if (removetree(trial->state, &err) < 0 || copytree(trial->template_dir, trial->state, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(room_create(&trial->room, trial->state), 0);
	rule.key = TRIAL_RULE;
	rule.path = trial->state;
	if (keeper_rule_set(trial->keeper, &rule, &err) < 0)
		fail_msg("%s", err.text);
	ready = serve(trial);
	if (ready)
		work_under_fault(trial);
	if (keeper_rule_stats(trial->keeper, TRIAL_RULE, &result->stats, NULL) < 0)
		assert_true(result->stats.hits > 0); /* it was cleared before */
	assert_int_equal(keeper_rule_clear(trial->keeper, TRIAL_RULE, &err), 0);
	take_events(trial);
	good = !result->why[0] && (!trial->ended || ended_well(trial, rule.error)) && recovers(trial, rule.error);
	if (!trial->ended)
		end(trial);
	room_destroy(trial->room);
	snprintf(result->fault, sizeof result->fault, "call %llu of %llu (last %s of .%.100s), %s, %s, %s",
	    (unsigned long long)rule.first + 1, (unsigned long long)result->stats.seen, result->stats.call,
	    result->stats.hits ? result->stats.path + strlen(trial->state) : "", strerror(rule.error),
	    rule.mode == TRITONE_ERRNO_REFUSE ? "refused" : "performed", rule.count == 1 ? "once" : "from then on");
	return good;
}

const char *trial_output(const struct trial *trial)
{
	return trial->output;
}

int trial_create(struct trial **ret_trial)
{
	struct trial *trial = calloc(1, sizeof *trial);
	struct keeper_options options = {.seed = 1};
	struct error err;
	char output[256];

	if (!trial)
		return -1;
	git_libgit2_init();
	snprintf(trial->dir, sizeof trial->dir, "%s/conductor-sweep-XXXXXX",
	    access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(trial->dir))
		return -1;
	snprintf(trial->state, sizeof trial->state, "%s/state", trial->dir);
	snprintf(trial->template_dir, sizeof trial->template_dir, "%s/template", trial->dir);
	snprintf(trial->pipe, sizeof trial->pipe, "%s/output", trial->dir);
	trial->conductor = getenv("CONDUCTOR");
	if (mkfifo(trial->pipe, 0600) < 0 || (trial->out = open(trial->pipe, O_RDWR | O_NONBLOCK | O_CLOEXEC)) < 0 ||
	    keeper_start(&trial->keeper, &options, &err) < 0 || room_create(&trial->room, trial->template_dir) != 0)
		return -1;
	room_run_verb(trial->room, "init", output, sizeof output);
	room_destroy(trial->room);
	*ret_trial = trial;
	return 0;
}

void trial_destroy(struct trial *trial)
{
	struct error err;

	keeper_destroy(trial->keeper);
	close(trial->out);
	if (!getenv("CONDUCTOR_SWEEP_KEEP"))
		(void)removetree(trial->dir, &err);
	git_libgit2_shutdown();
	free(trial);
}
