/* SPDX-License-Identifier: Apache-2.0 */
/* host/system against a small real orchestrator (fake_system.c): its life, what is seen of it, and its audit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "skip.h"
#include "system/copytree.h"
#include "keeper/keeper.h"
#include "system/metrics.h"
#include "system/pathglob.h"
#include "system/system.h"
#include "keeper/filter.h"

#define WAIT_MS 30000 /* only a test that fails takes so long */

static const char manifest_text[] =
    "name: fake\n"
    "prepare:\n"
    "  - [\"${bin}/fake_system\", init, \"${state}\"]\n"
    "processes:\n"
    "  - name: fake\n"
    "    command: [\"${bin}/fake_system\", serve, \"${state}\", \"${port.api}\"]\n"
    "    ready: {http: \"http://127.0.0.1:${port.api}/ready\", timeout: %s}\n"
    "restart: {on-crash: true, delay: 1ms, max: 2}\n"
    "submit:\n"
    "  method: POST\n"
    "  url: \"http://127.0.0.1:${port.api}/tasks\"\n"
    "  headers: {Content-Type: application/json}\n"
    "  body: '{\"id\": \"${task}\", \"key\": \"${key}\", \"after\": ${after}, \"prompt\": \"${prompt}\"}'\n"
    "outcome: {url: \"http://127.0.0.1:${port.api}/tasks\", list: tasks, id: id, state: state, reason: reason,\n"
    "  done: [done], failed: [failed]}\n"
    "agents: {pid-files: \".sdd/runtime/agents/*/pid\", task-files: \".sdd/runtime/agents/*/task\",\n"
    "  worktree-files: \".sdd/runtime/agents/*/worktree\"}\n"
    "commits: {git: \"${state}/repo\", branch: main, task-trailer: Task-Id, attempt-trailer: Attempt,\n"
    "  epoch-trailer: Epoch}\n"
    "slo: {file: \"${state}/.sdd/metrics/slos.json\"}\n"
    "state: {directory: \"${state}\", json: [\".sdd/**/*.json\"], temporary: [\".sdd/**/*.tmp\"]}\n"
    "wal:\n"
    "  directory: \"${state}/wal\"\n"
    "  replay: [\"${bin}/fake_system\", replay, \"${state}\"]\n"
    "  recover: [\"${bin}/fake_system\", recover, \"${state}\"]\n"
    "  recover-point: recover.middle\n"
    "faultpoints: [recover.middle, work.twice]\n";

struct fixture {
	char dir[64];
	struct spec_manifest *manifest;
	struct history *history;
	struct system *system;
	bool filter;
};

static void create(struct fixture *fixture, const char *timeout, const struct spec_strings *arguments)
{
	char path[128];
	struct error err;
	FILE *file;

	snprintf(path, sizeof path, "%s/manifest.yaml", fixture->dir);
	file = fopen(path, "we");
	assert_non_null(file);
	assert_true(fprintf(file, manifest_text, timeout) > 0);
	assert_int_equal(fclose(file), 0);
	if (spec_manifest_load(&fixture->manifest, path, &err) != 0)
		fail_msg("%s", err.text);
	if (system_create(&fixture->system,
		&(struct system_options){.manifest = fixture->manifest,
		    .arguments = arguments,
		    .history = fixture->history,
		    .run_dir = fixture->dir,
		    .syscall_filter = fixture->filter,
		    .seed = 7},
		&err) != 0)
		fail_msg("%s", err.text);
}

static void start(struct fixture *fixture, const struct spec_strings *arguments)
{
	struct error err;

	create(fixture, "30s", arguments);
	if (system_start(fixture->system, &err) != 0)
		fail_msg("%s", err.text);
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof *fixture);

	if (!fixture)
		return -1;
	strcpy(fixture->dir, "/tmp/test_system.XXXXXX");
	if (!mkdtemp(fixture->dir) || history_create(&fixture->history, NULL, NULL) != 0)
		return -1;
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	system_destroy(fixture->system);
	history_destroy(fixture->history);
	spec_manifest_free(fixture->manifest);
	removetree(fixture->dir, NULL);
	free(fixture);
	return 0;
}

/* --- looking into the history --- */

struct want {
	enum op_kind kind;
	enum op_type type;
	const char *actor, *task, *detail; /* NULL: any; the detail is searched for it */
	struct op found;                   /* numbers only: its strings are gone */
	char key[64], said[256];
	unsigned count;
};

static bool matches(void *arg, const struct op *op)
{
	struct want *want = arg;

	if (op->kind != want->kind || op->type != want->type || (want->actor && strcmp(op->actor, want->actor) != 0) ||
	    (want->task && strcmp(op->task, want->task) != 0) || (want->detail && !strstr(op->detail, want->detail)))
		return false;
	want->found = *op;
	snprintf(want->key, sizeof want->key, "%s", op->key);
	snprintf(want->said, sizeof want->said, "%s", op->detail);
	want->count++;
	return true;
}

static bool count_all(void *arg, const struct op *op)
{
	matches(arg, op);
	return false;
}

static void await(struct fixture *fixture, struct want *want, uint64_t first)
{
	if (history_wait(fixture->history, first, matches, want, WAIT_MS, NULL) != 1)
		fail_msg("no %s %s of actor %s, task %s", op_kind_name(want->kind), op_type_name(want->type),
		    want->actor ? want->actor : "any", want->task ? want->task : "any");
}

static unsigned count(struct fixture *fixture, struct want *want)
{
	want->count = 0;
	history_scan(fixture->history, 0, count_all, want);
	return want->count;
}

static int submit(struct fixture *fixture, const char *task, const char *prompt)
{
	return system_submit(fixture->system,
	    &(struct system_task){.task = task, .key = task, .role = "write", .prompt = prompt, .after = "[]"});
}

static void observe(struct fixture *fixture)
{
	struct error err;

	if (system_observe(fixture->system, &err) != 0)
		fail_msg("%s", err.text);
}

static int stop(struct fixture *fixture)
{
	struct error err;
	int killed = system_stop(fixture->system, WAIT_MS, &err);

	if (killed < 0)
		fail_msg("%s", err.text);
	return killed;
}

static void audit(struct fixture *fixture)
{
	struct error err;

	if (system_audit(fixture->system, &err) != 0)
		fail_msg("%s", err.text);
}

/* --- the tests --- */

static void test_starts_takes_tasks_and_stops(void **state)
{
	struct fixture *fixture = *state;
	struct want ready = {.kind = OP_SYSTEM, .type = OP_OK, .actor = "fake"};
	struct want commit = {.kind = OP_COMMIT, .type = OP_OK};
	struct want died = {.kind = OP_SYSTEM, .type = OP_INFO, .detail = "stop"};
	struct want outcome = {.kind = OP_OUTCOME, .type = OP_OK};
	struct error err;

	start(fixture, NULL);
	assert_int_equal(count(fixture, &ready), 1);
	assert_int_equal(submit(fixture, "one", "say \"hello\"\n\\ to all"), 0);
	assert_int_equal(submit(fixture, "two", ""), 0);
	observe(fixture);
	assert_int_equal(count(fixture, &commit), 2); /* and not the one from before the start */
	commit.task = "two";
	assert_int_equal(count(fixture, &commit), 1);
	assert_int_equal(commit.found.value, 1);
	assert_int_equal(commit.found.attempt, 2);
	assert_int_equal(commit.found.epoch, 7);
	assert_int_equal(strlen(commit.key), 40);
	assert_int_equal(system_outcomes(fixture->system, &err), 0);
	assert_int_equal(count(fixture, &outcome), 2);
	assert_int_equal(stop(fixture), 0);
	assert_int_equal(count(fixture, &died), 1);
	assert_int_equal(died.found.status, 0);
	assert_int_equal(died.found.pair, ready.found.pair);
	assert_int_equal(system_stop(fixture->system, 0, &err), 0);
}

static void test_submit_tells_refused_from_unknown(void **state)
{
	struct fixture *fixture = *state;
	struct want fail = {.kind = OP_SUBMIT, .type = OP_FAIL}, info = {.kind = OP_SUBMIT, .type = OP_INFO};
	struct want back = {.kind = OP_SYSTEM, .type = OP_OK, .detail = "restart"};

	start(fixture, NULL);
	assert_int_equal(submit(fixture, "one", "refuse"), 1);
	assert_int_equal(count(fixture, &fail), 1);
	assert_int_equal(fail.found.status, 400);
	assert_string_equal(fail.said, "not that one");
	assert_int_equal(submit(fixture, "two", "crash"), 2);
	assert_int_equal(count(fixture, &info), 1);
	await(fixture, &back, 0);
	assert_int_equal(submit(fixture, "two", ""), 0);
}

static void test_restarts_as_often_as_it_may(void **state)
{
	struct fixture *fixture = *state;
	struct want died = {.kind = OP_SYSTEM, .type = OP_INFO, .detail = "died"};
	struct want back = {.kind = OP_SYSTEM, .type = OP_OK, .detail = "restart"};
	struct want limit = {.kind = OP_SYSTEM, .type = OP_FAIL, .detail = "limit"};
	uint64_t from = 0;

	start(fixture, NULL);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(submit(fixture, "bad", "crash"), 2);
		await(fixture, &back, from);
		from = back.found.index + 1;
	}
	assert_int_equal(submit(fixture, "bad", "crash"), 2);
	await(fixture, &limit, 0);
	assert_int_equal(count(fixture, &died), 3);
	assert_int_equal(died.found.status, 128 + SIGKILL);
	assert_int_equal(submit(fixture, "late", ""), 2);
	assert_int_equal(stop(fixture), 0);
}

static void test_not_ready_and_not_there(void **state)
{
	struct fixture *fixture = *state;
	char *never[] = {(char[]){"--never-ready"}, NULL};
	struct spec_strings arguments = {.items = never, .count = 1};
	struct want fail = {.kind = OP_SYSTEM, .type = OP_FAIL};
	struct error err;

	create(fixture, "100ms", &arguments);
	assert_int_equal(system_start(fixture->system, &err), -1);
	assert_int_equal(err.code, ETIMEDOUT);
	assert_int_equal(count(fixture, &fail), 1);
	assert_int_equal(stop(fixture), 0);
}

static void test_death_before_ready_is_told_with_its_last_words(void **state)
{
	struct fixture *fixture = *state;
	char path[128];
	struct error err;

	create(fixture, "30s", NULL);
	snprintf(path, sizeof path, "%s/state/wal", fixture->dir);
	assert_int_equal(symlink("/dev/null", path), 0); /* its log cannot be opened */
	assert_int_equal(system_start(fixture->system, &err), -1);
	assert_int_equal(err.code, ECHILD);
	assert_non_null(strstr(err.text, "fake_system: "));
}

static void test_deletions_are_seen(void **state)
{
	struct fixture *fixture = *state;
	struct want deletion = {.kind = OP_DELETION, .type = OP_OK};

	start(fixture, NULL);
	assert_int_equal(submit(fixture, "one", ""), 0);
	observe(fixture);
	assert_int_equal(count(fixture, &deletion), 0);
	assert_int_equal(submit(fixture, "two", "delete"), 0);
	deletion.actor = "README.md";
	deletion.task = "two";
	await(fixture, &deletion, 0);
}

static void test_claims_are_recorded_once_each(void **state)
{
	struct fixture *fixture = *state;
	struct want claim = {.kind = OP_CLAIM, .type = OP_OK, .actor = "task_success"};
	struct want budget = {.kind = OP_CLAIM, .type = OP_OK, .actor = "error_budget"};

	start(fixture, NULL);
	observe(fixture);
	assert_int_equal(count(fixture, &claim), 1);
	assert_int_equal(claim.found.value, 1);
	assert_string_equal(claim.said, "green");
	assert_int_equal(submit(fixture, "one", "red"), 0);
	observe(fixture);
	assert_int_equal(count(fixture, &claim), 2);
	assert_int_equal(claim.found.value, 0);
	assert_true(claim.found.number > 0.49 && claim.found.number < 0.51);
	assert_string_equal(claim.said, "red");
	assert_int_equal(count(fixture, &budget), 2);
	assert_true(budget.found.number > 0.74 && budget.found.number < 0.76);
}

struct targets {
	unsigned count, of_event;
	pid_t pid;
	char id[64], worktree[64];
};

static int visit_target(void *arg, const struct tritone_target *target)
{
	struct targets *targets = arg;

	targets->count++;
	targets->pid = target->pid;
	if (target->flags & TRITONE_TARGET_OF_EVENT) {
		targets->of_event++;
		snprintf(targets->id, sizeof targets->id, "%s", target->id);
		snprintf(targets->worktree, sizeof targets->worktree, "%s", target->worktree);
	}
	return 0;
}

static void test_agents_are_targets_until_they_die(void **state)
{
	struct fixture *fixture = *state;
	struct want alive = {.kind = OP_AGENT, .type = OP_INVOKE, .actor = "one-a1"};
	struct want gone = {.kind = OP_AGENT, .type = OP_OK, .actor = "one-a1"};
	struct targets targets = {.count = 0};
	struct error err;
	char path[128];
	FILE *file;

	start(fixture, NULL);
	assert_int_equal(submit(fixture, "one", "agent"), 0);
	assert_int_equal(submit(fixture, "two", "agent"), 0);
	observe(fixture);
	assert_int_equal(count(fixture, &alive), 1);
	system_event_task(fixture->system, "one");
	assert_int_equal(system_targets(fixture->system, TRITONE_TARGET_AGENT, visit_target, &targets, &err), 0);
	assert_int_equal(targets.count, 2);
	assert_int_equal(targets.of_event, 1);
	assert_string_equal(targets.id, "one-a1");
	assert_string_equal(targets.worktree, "/nowhere");

	/* A pid file that names a process outside the system makes it no target. */
	snprintf(path, sizeof path, "%s/state/.sdd/runtime/agents/alien", fixture->dir);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof path, "%s/state/.sdd/runtime/agents/alien/pid", fixture->dir);
	file = fopen(path, "we");
	assert_non_null(file);
	fprintf(file, "%d\n", (int)getpid());
	fclose(file);
	observe(fixture);

	assert_int_equal(kill((pid_t)alive.found.value, SIGKILL), 0);
	await(fixture, &gone, 0);
	assert_int_equal(gone.found.pair, alive.found.index);
	targets = (struct targets){.count = 0};
	assert_int_equal(system_targets(fixture->system, TRITONE_TARGET_AGENT, visit_target, &targets, &err), 0);
	assert_int_equal(targets.count, 1);
	targets = (struct targets){.count = 0};
	assert_int_equal(system_targets(fixture->system, TRITONE_TARGET_SYSTEM, visit_target, &targets, &err), 0);
	assert_int_equal(targets.count, 1);
	assert_true(targets.pid > 1);
}

static void test_a_daemon_that_has_strayed_is_ended(void **state)
{
	struct fixture *fixture = *state;
	struct error err;

	start(fixture, NULL);
	assert_int_equal(submit(fixture, "one", "stray"), 0);
	assert_int_equal(system_stop(fixture->system, 100, &err), 1); /* it ignores SIGTERM */
}

static void test_half_written_and_left_over_files_are_found(void **state)
{
	struct fixture *fixture = *state;
	struct want half = {.kind = OP_STATEFILE, .type = OP_FAIL, .actor = ".sdd/half.json"};
	struct want left = {.kind = OP_STATEFILE, .type = OP_FAIL, .actor = ".sdd/left.json.tmp"};
	struct want good = {.kind = OP_STATEFILE, .type = OP_OK, .actor = ".sdd/metrics/slos.json"};

	start(fixture, NULL);
	observe(fixture);
	assert_true(count(fixture, &good) >= 1);
	assert_int_equal(submit(fixture, "one", "half"), 0);
	await(fixture, &half, 0);
	assert_int_equal(submit(fixture, "two", "leave"), 0);
	stop(fixture);
	assert_int_equal(count(fixture, &left), 0);
	audit(fixture);
	assert_int_equal(count(fixture, &left), 1);
	assert_non_null(strstr(left.said, "left over"));
	half.detail = NULL;
	assert_true(count(fixture, &half) >= 2); /* seen then, and there still */
}

static void test_audit_of_a_good_log(void **state)
{
	struct fixture *fixture = *state;
	struct want verify = {.kind = OP_WAL, .type = OP_OK, .actor = "verify"};
	struct want replay = {.kind = OP_WAL, .type = OP_OK, .actor = "replay"};
	struct want recover = {.kind = OP_WAL, .type = OP_OK, .actor = "recover-twice"};
	struct error err;
	char path[128];

	start(fixture, NULL);
	assert_int_equal(submit(fixture, "one", ""), 0);
	assert_int_equal(submit(fixture, "two", ""), 0);
	assert_int_equal(system_outcomes(fixture->system, &err), 0);
	assert_int_equal(system_audit(fixture->system, &err), -1); /* not while it runs */
	stop(fixture);
	audit(fixture);
	assert_int_equal(count(fixture, &verify), 1);
	assert_int_equal(verify.found.value, 2);
	assert_int_equal(count(fixture, &replay), 1);
	assert_int_equal(replay.found.value, 2);
	assert_int_equal(count(fixture, &recover), 1);
	assert_int_equal(recover.found.value, 2);
	assert_non_null(strstr(recover.said, "killed"));
	snprintf(path, sizeof path, "%s/audit", fixture->dir);
	assert_int_equal(access(path, F_OK), -1); /* nothing was found: the copy is not kept */
}

static void test_audit_recovers_from_where_it_crashed(void **state)
{
	struct fixture *fixture = *state;
	struct want back = {.kind = OP_SYSTEM, .type = OP_OK, .detail = "restart"};
	struct want replay = {.kind = OP_WAL, .type = OP_OK, .actor = "replay"};
	struct want recover = {.kind = OP_WAL, .type = OP_OK, .actor = "recover-twice"};
	struct error err;

	start(fixture, NULL);
	assert_int_equal(submit(fixture, "one", ""), 0);
	assert_int_equal(submit(fixture, "two", "crash"), 2);
	await(fixture, &back, 0);
	assert_int_equal(submit(fixture, "two", ""), 0);
	assert_int_equal(system_outcomes(fixture->system, &err), 0);
	stop(fixture);
	audit(fixture);
	assert_int_equal(count(fixture, &replay), 1);
	assert_int_equal(replay.found.value, 2); /* at the end */
	assert_int_equal(count(fixture, &recover), 1);
	assert_int_equal(recover.found.value, 1); /* then */
	assert_non_null(strstr(recover.said, "first crash"));
}

static void test_audit_finds_a_recovery_that_drifts(void **state)
{
	struct fixture *fixture = *state;
	char *drift[] = {(char[]){"--drift"}, NULL};
	struct spec_strings arguments = {.items = drift, .count = 1};
	struct want recover = {.kind = OP_WAL, .type = OP_FAIL, .actor = "recover-twice"};

	start(fixture, &arguments);
	assert_int_equal(submit(fixture, "one", ""), 0);
	stop(fixture);
	audit(fixture);
	assert_int_equal(count(fixture, &recover), 1);
	assert_non_null(strstr(recover.said, "recovered twice"));
}

static void test_audit_finds_a_task_that_the_log_does_not_know(void **state)
{
	struct fixture *fixture = *state;
	struct want replay = {.kind = OP_WAL, .type = OP_FAIL, .actor = "replay"};

	start(fixture, NULL);
	assert_int_equal(submit(fixture, "one", ""), 0);
	history_append(
	    fixture->history, &(struct op){.kind = OP_OUTCOME, .type = OP_OK, .pair = OP_NONE, .task = "ghost"});
	stop(fixture);
	audit(fixture);
	assert_int_equal(count(fixture, &replay), 1);
	assert_non_null(strstr(replay.said, "ghost"));
}

static void test_fault_points_act_when_they_are_to(void **state)
{
	struct fixture *fixture = *state;
	struct tritone_point_rule rule = {.struct_size = sizeof rule,
	    .action = TRITONE_POINT_ERROR,
	    .key = "twice",
	    .name = "work.twice",
	    .error = EIO,
	    .nth = 2,
	    .count = 1};
	struct want commit = {.kind = OP_COMMIT, .type = OP_OK};
	struct want recover = {.kind = OP_WAL, .type = OP_FAIL, .actor = "recover-twice", .detail = "two commits"};
	uint64_t hits = 0, seen = 0;
	struct error err;

	start(fixture, NULL);
	assert_int_equal(submit(fixture, "zero", ""), 0); /* before it is armed: does not count */
	assert_int_equal(system_faultpoint(fixture->system, &rule, &err), 0);
	rule.key = "other";
	assert_int_equal(system_faultpoint(fixture->system, &rule, &err), -1);
	assert_int_equal(err.code, EBUSY);
	rule.name = "work.twize";
	assert_int_equal(system_faultpoint(fixture->system, &rule, &err), -1);
	assert_int_equal(err.code, ENOTSUP);
	assert_non_null(strstr(err.text, "work.twice"));
	for (int i = 1; i <= 3; i++) {
		char task[16];

		snprintf(task, sizeof task, "task-%d", i);
		assert_int_equal(submit(fixture, task, ""), 0);
		assert_int_equal(system_rule_hits(fixture->system, "twice", &hits, &seen, &err), 0);
		assert_int_equal(seen, i);
		assert_int_equal(hits, i >= 2 ? 1 : 0);
	}
	observe(fixture);
	commit.task = "task-2";
	assert_int_equal(count(fixture, &commit), 2);
	assert_int_equal(system_rule_clear(fixture->system, "twice", &err), 0);
	assert_int_equal(system_rule_hits(fixture->system, "twice", &hits, NULL, &err), -1);
	assert_int_equal(err.code, ENOENT);
	assert_int_equal(system_rule_clear(fixture->system, "twice", &err), 0);
	stop(fixture);
	audit(fixture); /* and its ledger has a task twice */
	assert_int_equal(count(fixture, &recover), 1);
}

static void test_kill_at_a_point_counts_and_restarts(void **state)
{
	struct fixture *fixture = *state;
	struct tritone_point_rule rule = {
	    .struct_size = sizeof rule, .action = TRITONE_POINT_KILL, .key = "kill", .name = "work.twice", .count = 1};
	struct want back = {.kind = OP_SYSTEM, .type = OP_OK, .detail = "restart"};
	uint64_t hits = 0;
	struct error err;

	start(fixture, NULL);
	assert_int_equal(system_faultpoint(fixture->system, &rule, &err), 0);
	assert_int_equal(submit(fixture, "one", ""), 2);
	await(fixture, &back, 0);
	assert_int_equal(submit(fixture, "one", ""), 0);
	assert_int_equal(system_rule_hits(fixture->system, "kill", &hits, NULL, &err), 0);
	assert_int_equal(hits, 1);
}

static void test_system_calls_fail_when_they_are_to(void **state)
{
	struct fixture *fixture = *state;
	struct tritone_errno_rule rule = {.struct_size = sizeof rule,
	    .mode = TRITONE_ERRNO_REFUSE,
	    .key = "full",
	    .calls = TRITONE_CALL_WRITE | TRITONE_CALL_SYNC | TRITONE_CALL_CREATE,
	    .error = ENOSPC,
	    .count = 1};
	struct want back = {.kind = OP_SYSTEM, .type = OP_OK, .detail = "restart"};
	struct error err;
	uint64_t hits = 0;

	fixture->filter = filter_available(&err) == 0;
	start(fixture, NULL);
	rule.path = system_state_dir(fixture->system);
	if (!fixture->filter) {
		assert_int_equal(system_errno_rule(fixture->system, &rule, &err), -1);
		assert_int_equal(err.code, ENOTSUP);
		SKIP("nothing on this machine can make a system call fail");
	}
	assert_int_equal(system_errno_rule(fixture->system, &rule, &err), 0);
	assert_int_equal(system_rule_hits(fixture->system, "full", &hits, NULL, &err), 0);
	assert_int_equal(hits, 0);
	assert_int_equal(submit(fixture, "one", "red"), 2); /* it gives up when it cannot write */
	await(fixture, &back, 0);
	assert_int_equal(system_rule_hits(fixture->system, "full", &hits, NULL, &err), 0);
	assert_int_equal(hits, 1);
	assert_int_equal(system_rule_clear(fixture->system, "full", &err), 0);
	assert_int_equal(system_rule_hits(fixture->system, "full", &hits, NULL, &err), -1);
	assert_int_equal(err.code, ENOENT);
	assert_int_equal(submit(fixture, "one", "red"), 0);
}

static void test_no_filter_no_rule(void **state)
{
	struct fixture *fixture = *state;
	struct tritone_errno_rule rule = {.struct_size = sizeof rule,
	    .mode = TRITONE_ERRNO_REFUSE,
	    .key = "full",
	    .path = "/tmp",
	    .calls = TRITONE_CALL_WRITE,
	    .error = ENOSPC};
	struct error err;

	start(fixture, NULL);
	assert_int_equal(system_errno_rule(fixture->system, &rule, &err), -1);
	assert_int_equal(err.code, ENOTSUP);
	assert_int_equal(system_rule_hits(fixture->system, "full", NULL, NULL, &err), -1);
	assert_int_equal(err.code, ENOENT);
	assert_int_equal(system_rule_clear(fixture->system, "full", &err), 0);
}

static void test_metrics(void **state)
{
	static const char text[] = "# HELP ok tasks\n# TYPE ok gauge\nok_total 3\n"
				   "ok{queue=\"a,b\",zone=\"x\"} 0.95 1700000000\nok{queue=\"b\"} 0.5\nbad NaN\n";
	static const struct {
		const char *condition;
		bool found, holds;
	} rows[] = {
	    {"ok >= 0.9", true, true},
	    {"ok{queue=\"b\"} >= 0.9", true, false},
	    {"ok{zone=\"x\", queue=\"a,b\"} == 0.95", true, true},
	    {"ok{queue=\"c\"} > 0", false, false},
	    {"ok{queue=\"\"} > 0", false, false},
	    {"ok_total != 3", true, false},
	    {"ok_total < 4", true, true},
	    {"o > 0", false, false},
	};
	static const char *const wrong[] = {"", "ok", "ok >", "ok > many", "ok{a=\"b\" > 3", "> 3", "ok => 3"};
	struct metrics_condition condition;
	struct error err;
	double value;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_int_equal(metrics_condition(&condition, rows[i].condition, &err), 0);
		assert_int_equal(metrics_find(text, &condition, &value), rows[i].found);
		if (rows[i].found)
			assert_int_equal(metrics_holds(&condition, value), rows[i].holds);
	}
	for (i = 0; i < sizeof wrong / sizeof *wrong; i++)
		assert_int_equal(metrics_condition(&condition, wrong[i], &err), -1);
}

static void test_globs(void **state)
{
	char text[64];

	(void)state;
	assert_true(pathglob_match("/a/*.json", "/a/.b.json"));
	assert_false(pathglob_match("/a/*.json", "/a/b/c.json"));
	assert_true(pathglob_match("/a/**/*.json", "/a/c.json"));
	assert_true(pathglob_match("/a/**/*.json", "/a/b/b/c.json"));
	assert_false(pathglob_match("/a/**/x", "/a/bx"));
	assert_true(pathglob_match("/a/b?c", "/a/bxc"));
	assert_false(pathglob_match("/a/b?c", "/a/b/c"));
	assert_true(pathglob_capture("/a/*/pid", "/a/t-1-a2/pid", text, sizeof text));
	assert_string_equal(text, "t-1-a2");
	assert_true(pathglob_fill("/a/*/task", "t", text, sizeof text));
	assert_string_equal(text, "/a/t/task");
	assert_false(pathglob_fill("/a/*/task", "t", text, 8));
	assert_true(pathglob_may_hold("/a/*/pid", "/a"));
	assert_true(pathglob_may_hold("/a/*/pid", "/a/b"));
	assert_false(pathglob_may_hold("/a/*/pid", "/a/b/c"));
	assert_false(pathglob_may_hold("/a/*/pid", "/a/b/pid"));
	assert_true(pathglob_may_hold("/a/**/pid", "/a/b/c/d"));
	assert_false(pathglob_may_hold("/a/**/pid", "/b"));
	assert_true(pathglob_root("/a/b/*/pid", text, sizeof text));
	assert_string_equal(text, "/a/b");
	assert_true(pathglob_root("/a/b/c.json", text, sizeof text));
	assert_string_equal(text, "/a/b");
}

#define SYSTEM_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    SYSTEM_TEST(test_starts_takes_tasks_and_stops),
	    SYSTEM_TEST(test_submit_tells_refused_from_unknown),
	    SYSTEM_TEST(test_restarts_as_often_as_it_may),
	    SYSTEM_TEST(test_not_ready_and_not_there),
	    SYSTEM_TEST(test_death_before_ready_is_told_with_its_last_words),
	    SYSTEM_TEST(test_deletions_are_seen),
	    SYSTEM_TEST(test_claims_are_recorded_once_each),
	    SYSTEM_TEST(test_agents_are_targets_until_they_die),
	    SYSTEM_TEST(test_a_daemon_that_has_strayed_is_ended),
	    SYSTEM_TEST(test_half_written_and_left_over_files_are_found),
	    SYSTEM_TEST(test_audit_of_a_good_log),
	    SYSTEM_TEST(test_audit_recovers_from_where_it_crashed),
	    SYSTEM_TEST(test_audit_finds_a_recovery_that_drifts),
	    SYSTEM_TEST(test_audit_finds_a_task_that_the_log_does_not_know),
	    SYSTEM_TEST(test_fault_points_act_when_they_are_to),
	    SYSTEM_TEST(test_kill_at_a_point_counts_and_restarts),
	    SYSTEM_TEST(test_system_calls_fail_when_they_are_to),
	    SYSTEM_TEST(test_no_filter_no_rule),
	    cmocka_unit_test(test_metrics),
	    cmocka_unit_test(test_globs),
	};

	if (argc > 1 && !strcmp(argv[1], "__keeper")) /* this program stands in for tritone */
		return keeper_main(argc - 1, argv + 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
