/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conductor end to end: real processes, sockets, git and log, with a gateway in this process.
 * Chains plan -> write -> review; each task lands exactly once and is notified, whether the
 * conductor is left alone, killed, paused with its agents, or loses an agent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <curl/curl.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <git2.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "conductor_room.h"
#include "core/record.h"
#include "wal/wal.h"

#define CHAINS 8
#define TASKS  (CHAINS * ROOM_ROLES)

struct smoke {
	char dir[64];
	struct room *room;
};

static int setup(void **state)
{
	struct smoke *smoke = calloc(1, sizeof *smoke);
	char path[80], output[256];

	if (!smoke)
		return -1;
	*state = smoke;
	snprintf(smoke->dir, sizeof smoke->dir, "/tmp/conductor-smoke-XXXXXX");
	if (!mkdtemp(smoke->dir))
		return -1;
	snprintf(path, sizeof path, "%s/state", smoke->dir);
	git_libgit2_init();
	if (room_create(&smoke->room, path) != 0)
		return -1;
	room_run_verb(smoke->room, "init", output, sizeof output);
	return 0;
}

static int teardown(void **state)
{
	struct smoke *smoke = *state;
	char command[128];

	room_destroy(smoke->room);
	git_libgit2_shutdown();
	snprintf(command, sizeof command, "rm -rf %s", smoke->dir);
	if (getenv("CONDUCTOR_SMOKE_KEEP"))
		fprintf(stderr, "kept: %s\n", smoke->dir);
	else if (system(command) != 0)
		return -1;
	free(smoke);
	return 0;
}

static void submit_all(struct room *room)
{
	int chain, role;

	for (chain = 0; chain < CHAINS; chain++)
		for (role = 0; role < ROOM_ROLES; role++)
			assert_int_equal(room_submit(room, chain, role), 202);
}

static void wait_delivered(struct room *room, int wanted)
{
	room_wait_delivered(room, wanted, NULL, NULL);
}

/* ---- what the outside saw ---- */

/* The value of a trailer in a commit message. */
static void trailer(const char *message, const char *name, char *value, size_t size)
{
	const char *at = strstr(message, name);
	size_t length;

	assert_non_null(at);
	at += strlen(name);
	length = strcspn(at, "\n");
	assert_true(length < size);
	memcpy(value, at, length);
	value[length] = '\0';
}

/* Every task has exactly one commit, each commit is of a task, and its file is in main. */
static void check_commits(struct room *room)
{
	char path[128], seen[TASKS][32], file[64];
	git_repository *repo = NULL;
	git_revwalk *walk = NULL;
	git_tree *tree = NULL;
	git_object *head = NULL;
	int count = 0, i;
	git_oid id;

	snprintf(path, sizeof path, "%s/repo", room->state);
	assert_int_equal(git_repository_open_bare(&repo, path), 0);
	assert_int_equal(git_revwalk_new(&walk, repo), 0);
	assert_int_equal(git_revwalk_push_ref(walk, "refs/heads/main"), 0);
	assert_int_equal(git_revparse_single(&head, repo, "main^{tree}"), 0);
	tree = (git_tree *)head;
	while (git_revwalk_next(&id, walk) == 0) {
		git_commit *commit = NULL;
		git_tree_entry *entry = NULL;
		char task[32];

		assert_int_equal(git_commit_lookup(&commit, repo, &id), 0);
		if (git_commit_parentcount(commit) == 0) { /* the first */
			git_commit_free(commit);
			continue;
		}
		assert_int_equal(git_commit_parentcount(commit), 1);
		trailer(git_commit_message(commit), "\nTask-Id: ", task, sizeof task);
		git_commit_free(commit);
		for (i = 0; i < count; i++)
			assert_string_not_equal(seen[i], task);
		assert_true(count < TASKS);
		memcpy(seen[count++], task, sizeof task);
		snprintf(file, sizeof file, "work/%s.md", task);
		assert_int_equal(git_tree_entry_bypath(&entry, tree, file), 0);
		git_tree_entry_free(entry);
	}
	assert_int_equal(count, TASKS);
	git_object_free(head);
	git_revwalk_free(walk);
	git_repository_free(repo);
}

/* Nothing is left of agents: no runtime files, no worktrees. */
static void check_clean(struct room *room)
{
	static const char *const dirs[] = {".sdd/runtime/agents", "worktrees"};
	size_t i;

	for (i = 0; i < 2; i++) {
		char path[128];
		struct dirent *entry;
		DIR *dir;

		snprintf(path, sizeof path, "%s/%s", room->state, dirs[i]);
		dir = opendir(path);
		assert_non_null(dir);
		while ((entry = readdir(dir)) != NULL)
			if (entry->d_name[0] != '.')
				fail_msg("%s/%s is left", path, entry->d_name);
		closedir(dir);
	}
}

static void finish(struct room *room)
{
	char replayed[4096], recovered[4096];
	int i;

	wait_delivered(room, TASKS);
	assert_int_equal(room_stop(room, SIGTERM), 0);
	check_commits(room);
	check_clean(room);
	/* What the log says is what a recovery finds, however often. */
	room_run_verb(room, "replay", replayed, sizeof replayed);
	assert_non_null(strstr(replayed, "\"c7-review\": \"done\""));
	for (i = 0; i < 2; i++) {
		room_run_verb(room, "recover", recovered, sizeof recovered);
		assert_string_equal(recovered, replayed);
	}
	check_commits(room);
}

/* ---- tests ---- */

static void test_left_alone(void **state)
{
	struct room *room = ((struct smoke *)*state)->room;

	room_serve(room);
	submit_all(room);
	/* The same key again is the first's answer; other content under the same id is not. */
	assert_int_equal(
	    room_post(room, "{\"id\":\"c0-plan\",\"key\":\"k-c0-plan\",\"role\":\"plan\",\"prompt\":\"do it\"}"), 202);
	assert_int_equal(
	    room_post(room, "{\"id\":\"c0-plan\",\"key\":\"other\",\"role\":\"review\",\"prompt\":\"no\"}"), 409);
	assert_int_equal(room_post(room, "{\"id\":\"x\"}"), 400);
	assert_int_equal(room_post(room, "{"), 400);
	finish(room);
}

static void test_killed_again_and_again(void **state)
{
	static const int moments[] = {1, 3, 8, 14, 20, 23};
	struct room *room = ((struct smoke *)*state)->room;
	size_t i;

	room_serve(room);
	submit_all(room);
	for (i = 0; i < sizeof moments / sizeof moments[0]; i++) {
		wait_delivered(room, moments[i]);
		room_stop(room, SIGKILL);
		room_serve(room);
	}
	finish(room);
}

/* The same with a log that is trimmed all the time: killed also while a checkpoint is stored. */
static void test_killed_with_checkpoints(void **state)
{
	static const int moments[] = {1, 3, 6, 9, 12, 16, 20, 23};
	struct room *room = ((struct smoke *)*state)->room;
	struct wal_report report;
	struct error err;
	char path[128];
	size_t i;

	room->set = "checkpoint-records=5";
	room_serve(room);
	submit_all(room);
	for (i = 0; i < sizeof moments / sizeof moments[0]; i++) {
		wait_delivered(room, moments[i]);
		room_stop(room, SIGKILL);
		room_serve(room);
	}
	/* what has ended long ago, and is only in the checkpoint, is still known */
	assert_int_equal(
	    room_post(room, "{\"id\":\"c0-plan\",\"key\":\"k-c0-plan\",\"role\":\"plan\",\"prompt\":\"do it\"}"), 202);
	assert_int_equal(
	    room_post(room, "{\"id\":\"c0-plan\",\"key\":\"other\",\"role\":\"review\",\"prompt\":\"no\"}"), 409);
	finish(room);
	snprintf(path, sizeof path, "%s/wal", room->state);
	assert_int_equal(wal_verify(path, &report, &err), 0);
	assert_true(report.checkpoint_lsn > 100);
	assert_true(report.records < 150); /* of more than 300 */
}

static bool is_call(void *arg, const struct op *op)
{
	int *left = arg;

	return op->kind == OP_CALL && op->type == OP_INVOKE && --*left == 0;
}

static void test_killed_while_agents_work(void **state)
{
	struct room *room = ((struct smoke *)*state)->room;
	int round;

	room_serve(room);
	submit_all(room);
	for (round = 1; round <= 6; round++) {
		int calls = round * 11;
		uint64_t index;

		assert_int_equal(history_wait(room->history, 0, is_call, &calls, -1, &index), 1);
		room_stop(room, SIGKILL);
		room_serve(room);
	}
	finish(room);
}

static void test_told_to_end_while_agents_work(void **state)
{
	struct room *room = ((struct smoke *)*state)->room;
	int round;

	room_serve(room);
	submit_all(room);
	for (round = 1; round <= 3; round++) {
		int calls = round * 20;
		uint64_t index;

		assert_int_equal(history_wait(room->history, 0, is_call, &calls, -1, &index), 1);
		assert_int_equal(room_stop(room, SIGTERM), 0);
		check_clean(room);
		room_serve(room);
	}
	finish(room);
}

/* One agent's pid, by its runtime file. 0: there is none just now. */
static pid_t an_agent(struct room *room)
{
	char path[128], file[400], text[32] = "";
	struct dirent *entry;
	pid_t pid = 0;
	DIR *dir;

	snprintf(path, sizeof path, "%s/.sdd/runtime/agents", room->state);
	dir = opendir(path);
	while (dir && !pid && (entry = readdir(dir)) != NULL) {
		FILE *handle;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(file, sizeof file, "%s/%s/pid", path, entry->d_name);
		handle = fopen(file, "re");
		if (handle && fgets(text, sizeof text, handle))
			pid = (pid_t)strtol(text, NULL, 10);
		if (handle)
			fclose(handle);
	}
	if (dir)
		closedir(dir);
	return pid;
}

static void hurt_agents(struct room *room, int number)
{
	int round, hurt = 0;

	for (round = 1; round <= 5; round++) {
		int calls = round * 13;
		uint64_t index;
		pid_t pid;

		assert_int_equal(history_wait(room->history, 0, is_call, &calls, -1, &index), 1);
		pid = an_agent(room);
		if (pid > 0 && kill(pid, number) == 0)
			hurt++;
	}
	assert_true(hurt > 0);
}

static void test_agents_killed(void **state)
{
	struct room *room = ((struct smoke *)*state)->room;

	room_serve(room);
	submit_all(room);
	hurt_agents(room, SIGKILL);
	finish(room);
}

static void test_agents_hang(void **state)
{
	struct room *room = ((struct smoke *)*state)->room;

	room_serve(room);
	submit_all(room);
	hurt_agents(room, SIGSTOP);
	finish(room);
}

/* The log's last records are an hour ahead of the machine's clock, which was set back. One attempt was lost and waits for
 * its pause to end: that is a moment, not the hour. */
static void test_clock_set_back(void **state)
{
	static const uint32_t kinds[] = {CORE_RECORD_ACCEPT, CORE_RECORD_CLAIM, CORE_RECORD_FAIL};
	static uint8_t bytes[RECORD_MAX];
	struct room *room = ((struct smoke *)*state)->room;
	uint64_t ahead_us = ((uint64_t)time(NULL) + 3600) * 1000000u;
	struct record record;
	struct wal *wal = NULL;
	struct error err;
	char path[96];
	size_t i;

	snprintf(path, sizeof path, "%s/wal", room->state);
	assert_int_equal(wal_open(&wal, path, NULL, &err), 0);
	for (i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		size_t size;

		record_init(&record, kinds[i], "c0-plan", ahead_us);
		record_copy(record.key, sizeof record.key, "k-c0-plan");
		record.role = POLICY_ROLE_PLAN;
		record.prompt = "";
		record.attempt = 1;
		record.epoch = wal_epoch(wal);
		record.fault_class = CORE_CLASS_DIED;
		record.until_us = ahead_us + 1000;
		size = core_record_encode(&record, bytes, sizeof bytes);
		assert_int_equal(wal_append(wal, kinds[i], bytes, size, NULL, &err), 0);
	}
	assert_int_equal(wal_sync(wal, 0, NULL, &err), 0);
	wal_close(wal);
	room_serve(room);
	wait_delivered(room, 1);
	assert_int_equal(room_stop(room, SIGTERM), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_left_alone, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_killed_again_and_again, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_killed_with_checkpoints, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_killed_while_agents_work, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_told_to_end_while_agents_work, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_agents_killed, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_agents_hang, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_clock_set_back, setup, teardown),
	};

	cmocka_set_test_filter(getenv("CONDUCTOR_SMOKE_ONLY"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
