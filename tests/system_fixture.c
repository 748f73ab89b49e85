/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of host/system share. */
#include "system_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "keeper/keeper.h"
#include "system/copytree.h"

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

void create(struct fixture *fixture, const char *timeout, const struct spec_strings *arguments)
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

void start(struct fixture *fixture, const struct spec_strings *arguments)
{
	struct error err;

	create(fixture, "30s", arguments);
	if (system_start(fixture->system, &err) != 0)
		fail_msg("%s", err.text);
}

int system_setup(void **state)
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

int system_teardown(void **state)
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

void await(struct fixture *fixture, struct want *want, uint64_t first)
{
	if (history_wait(fixture->history, first, matches, want, WAIT_MS, NULL) != 1)
		fail_msg("no %s %s of actor %s, task %s", op_kind_name(want->kind), op_type_name(want->type),
		    want->actor ? want->actor : "any", want->task ? want->task : "any");
}

unsigned count(struct fixture *fixture, struct want *want)
{
	want->count = 0;
	history_scan(fixture->history, 0, count_all, want);
	return want->count;
}

int submit(struct fixture *fixture, const char *task, const char *prompt)
{
	return system_submit(fixture->system,
	    &(struct system_task){.task = task, .key = task, .role = "write", .prompt = prompt, .after = "[]"});
}

void observe(struct fixture *fixture)
{
	struct error err;

	if (system_observe(fixture->system, &err) != 0)
		fail_msg("%s", err.text);
}

int stop(struct fixture *fixture)
{
	struct error err;
	int killed = system_stop(fixture->system, WAIT_MS, &err);

	if (killed < 0)
		fail_msg("%s", err.text);
	return killed;
}

void audit(struct fixture *fixture)
{
	struct error err;

	if (system_audit(fixture->system, &err) != 0)
		fail_msg("%s", err.text);
}

int system_fixture_main(int argc, char **argv, const struct CMUnitTest *tests, size_t count)
{
	if (argc > 1 && !strcmp(argv[1], "__keeper"))
		return keeper_main(argc - 1, argv + 1);
	return _cmocka_run_group_tests("tests", tests, count, NULL, NULL);
}
