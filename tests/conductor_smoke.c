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

#include "core/record.h"
#include "gateway/gateway.h"
#include "history/history.h"
#include "wal/wal.h"

#define CHAINS     8
#define ROLES      3
#define TASKS      (CHAINS * ROLES)
#define LATENCY_MS 5

extern char **environ;

static const char *const role_names[ROLES] = {"plan", "write", "review"};

struct room {
	char dir[64], state[80];
	const char *program;
	struct history *history;
	struct gateway *gateway;
	pid_t pid;
	int out; /* the conductor's standard output */
	unsigned port;
	CURL *curl;
};

/* ---- processes ---- */

static pid_t start(char *const *arguments, int out)
{
	posix_spawn_file_actions_t actions;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	if (out >= 0)
		posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	assert_int_equal(posix_spawn(&pid, arguments[0], &actions, NULL, arguments, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	return pid;
}

static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		assert_int_equal(errno, EINTR);
	return status;
}

/* Runs it to its end; what it prints is in `output`. */
static void run_verb(struct room *room, const char *verb, char *output, size_t size)
{
	char *program = strdup(room->program), *name = strdup(verb), *option = strdup("--state");
	char *arguments[] = {program, name, option, room->state, NULL};
	size_t used = 0;
	int pair[2];
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	pid = start(arguments, pair[1]);
	close(pair[1]);
	while (used + 1 < size && (n = read(pair[0], output + used, size - used - 1)) > 0)
		used += (size_t)n;
	output[used] = '\0';
	close(pair[0]);
	assert_int_equal(wait_for(pid), 0);
	free(program);
	free(name);
	free(option);
}

/* Starts the conductor and waits until it says that it is ready. */
static void serve(struct room *room)
{
	char sink[128], gateway[96], line[128] = "", *text;
	const char *const words[] = {room->program, "serve", "--state", room->state, "--listen", "127.0.0.1:0",
	    "--gateway", gateway, "--notify", sink, "--set", "lease-ms=600", "--set", "beat-ms=100", "--set",
	    "backoff-base-ms=20", "--set", "backoff-max-ms=200", "--set", "notify-backoff-ms=50", "--set",
	    "notify-backoff-max-ms=400", "--set", "kill-grace-ms=300", "--set", "role-timeout-ms=10000"};
	char *arguments[sizeof words / sizeof words[0] + 1];
	size_t i, used = 0;
	int pair[2];

	snprintf(gateway, sizeof gateway, "%s", gateway_url(room->gateway));
	snprintf(sink, sizeof sink, "%s/sink/notify", gateway);
	for (i = 0; i < sizeof words / sizeof words[0]; i++)
		arguments[i] = strdup(words[i]);
	arguments[i] = NULL;
	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	room->pid = start(arguments, pair[1]);
	close(pair[1]);
	for (i = 0; arguments[i]; i++)
		free(arguments[i]);
	room->out = pair[0];
	while (!strstr(line, "ready, epoch") && used + 1 < sizeof line) {
		ssize_t n = read(room->out, line + used, 1);

		assert_true(n == 1); /* 0: it ended instead */
		used += (size_t)n;
	}
	text = strstr(line, "port ");
	assert_non_null(text);
	room->port = (unsigned)strtoul(text + 5, NULL, 10);
}

static int stop(struct room *room, int signal_number)
{
	int status;

	kill(room->pid, signal_number);
	status = wait_for(room->pid);
	room->pid = 0;
	close(room->out);
	return status;
}

static int setup(void **state)
{
	static const char *const providers[] = {"claude", "codex", "gemini", "qwen", NULL};
	struct room *room = calloc(1, sizeof *room);
	struct gateway_options options = {.seed = 1,
	    .task_header = "X-Task-Id",
	    .attempt_header = "X-Attempt",
	    .sink_task = "task",
	    .sink_key = "key",
	    .latency_ms = LATENCY_MS,
	    .sinks = {"notify", NULL}};
	struct error err;
	char output[256];

	if (!room)
		return -1;
	*state = room;
	room->program = getenv("CONDUCTOR");
	if (!room->program)
		return -1;
	memcpy(options.providers, providers, sizeof providers);
	snprintf(room->dir, sizeof room->dir, "/tmp/conductor-smoke-XXXXXX");
	if (!mkdtemp(room->dir) || history_create(&room->history, NULL, &err) != 0)
		return -1;
	snprintf(room->state, sizeof room->state, "%s/state", room->dir);
	options.history = room->history;
	if (gateway_create(&room->gateway, &options, &err) != 0)
		return -1;
	room->curl = curl_easy_init();
	git_libgit2_init();
	run_verb(room, "init", output, sizeof output);
	return 0;
}

static int teardown(void **state)
{
	struct room *room = *state;
	char command[128];

	if (room->pid)
		stop(room, SIGKILL);
	curl_easy_cleanup(room->curl);
	gateway_destroy(room->gateway);
	history_destroy(room->history);
	git_libgit2_shutdown();
	snprintf(command, sizeof command, "rm -rf %s", room->dir);
	if (getenv("CONDUCTOR_SMOKE_KEEP"))
		fprintf(stderr, "kept: %s\n", room->dir);
	else if (system(command) != 0)
		return -1;
	free(room);
	return 0;
}

/* ---- HTTP ---- */

static size_t drop(char *bytes, size_t one, size_t count, void *arg)
{
	(void)bytes;
	(void)arg;
	return one * count;
}

static long post_task(struct room *room, const char *body)
{
	struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
	char url[64];
	long status = 0;

	snprintf(url, sizeof url, "http://127.0.0.1:%u/tasks", room->port);
	curl_easy_setopt(room->curl, CURLOPT_URL, url);
	curl_easy_setopt(room->curl, CURLOPT_PROXY, "");
	curl_easy_setopt(room->curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(room->curl, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(room->curl, CURLOPT_WRITEFUNCTION, drop);
	if (curl_easy_perform(room->curl) == CURLE_OK)
		curl_easy_getinfo(room->curl, CURLINFO_RESPONSE_CODE, &status);
	curl_slist_free_all(headers);
	return status;
}

static void task_name(char *name, size_t size, int chain, int role)
{
	snprintf(name, size, "c%d-%s", chain, role_names[role]);
}

static void submit_all(struct room *room)
{
	char name[32], before[40], body[256];
	int chain, role;

	for (chain = 0; chain < CHAINS; chain++) {
		before[0] = '\0';
		for (role = 0; role < ROLES; role++) {
			task_name(name, sizeof name, chain, role);
			snprintf(body, sizeof body,
			    "{\"id\":\"%s\",\"key\":\"k-%s\",\"role\":\"%s\",\"after\":[%s],\"prompt\":\"do it\"}",
			    name, name, role_names[role], before);
			assert_int_equal(post_task(room, body), 202);
			snprintf(before, sizeof before, "\"%s\"", name);
		}
	}
}

/* ---- what the outside saw ---- */

struct delivered {
	char tasks[TASKS][32];
	int count, wanted;
};

static bool count_delivered(void *arg, const struct op *op)
{
	struct delivered *delivered = arg;
	int i;

	if (op->kind != OP_NOTIFY || op->type != OP_OK)
		return false;
	for (i = 0; i < delivered->count; i++)
		if (strcmp(delivered->tasks[i], op->task) == 0)
			return false;
	assert_true(delivered->count < TASKS);
	snprintf(delivered->tasks[delivered->count++], sizeof delivered->tasks[0], "%s", op->task);
	return delivered->count >= delivered->wanted;
}

/* Until `wanted` tasks have been notified. There is no limit here: the test runner has one. */
static void wait_delivered(struct room *room, int wanted)
{
	struct delivered delivered = {.wanted = wanted};
	uint64_t index;

	assert_int_equal(history_wait(room->history, 0, count_delivered, &delivered, -1, &index), 1);
}

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
	assert_int_equal(stop(room, SIGTERM), 0);
	check_commits(room);
	check_clean(room);
	/* What the log says is what a recovery finds, however often. */
	run_verb(room, "replay", replayed, sizeof replayed);
	assert_non_null(strstr(replayed, "\"c7-review\": \"done\""));
	for (i = 0; i < 2; i++) {
		run_verb(room, "recover", recovered, sizeof recovered);
		assert_string_equal(recovered, replayed);
	}
	check_commits(room);
}

/* ---- tests ---- */

static void test_left_alone(void **state)
{
	struct room *room = *state;

	serve(room);
	submit_all(room);
	/* The same key again is the first's answer; other content under the same id is not. */
	assert_int_equal(
	    post_task(room, "{\"id\":\"c0-plan\",\"key\":\"k-c0-plan\",\"role\":\"plan\",\"prompt\":\"do it\"}"), 202);
	assert_int_equal(
	    post_task(room, "{\"id\":\"c0-plan\",\"key\":\"other\",\"role\":\"review\",\"prompt\":\"no\"}"), 409);
	assert_int_equal(post_task(room, "{\"id\":\"x\"}"), 400);
	assert_int_equal(post_task(room, "{"), 400);
	finish(room);
}

static void test_killed_again_and_again(void **state)
{
	static const int moments[] = {1, 3, 8, 14, 20, 23};
	struct room *room = *state;
	size_t i;

	serve(room);
	submit_all(room);
	for (i = 0; i < sizeof moments / sizeof moments[0]; i++) {
		wait_delivered(room, moments[i]);
		stop(room, SIGKILL);
		serve(room);
	}
	finish(room);
}

static bool is_call(void *arg, const struct op *op)
{
	int *left = arg;

	return op->kind == OP_CALL && op->type == OP_INVOKE && --*left == 0;
}

static void test_killed_while_agents_work(void **state)
{
	struct room *room = *state;
	int round;

	serve(room);
	submit_all(room);
	for (round = 1; round <= 6; round++) {
		int calls = round * 11;
		uint64_t index;

		assert_int_equal(history_wait(room->history, 0, is_call, &calls, -1, &index), 1);
		stop(room, SIGKILL);
		serve(room);
	}
	finish(room);
}

static void test_told_to_end_while_agents_work(void **state)
{
	struct room *room = *state;
	int round;

	serve(room);
	submit_all(room);
	for (round = 1; round <= 3; round++) {
		int calls = round * 20;
		uint64_t index;

		assert_int_equal(history_wait(room->history, 0, is_call, &calls, -1, &index), 1);
		assert_int_equal(stop(room, SIGTERM), 0);
		check_clean(room);
		serve(room);
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
	struct room *room = *state;

	serve(room);
	submit_all(room);
	hurt_agents(room, SIGKILL);
	finish(room);
}

static void test_agents_hang(void **state)
{
	struct room *room = *state;

	serve(room);
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
	struct room *room = *state;
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
	serve(room);
	wait_delivered(room, 1);
	assert_int_equal(stop(room, SIGTERM), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_left_alone, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_killed_again_and_again, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_killed_while_agents_work, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_told_to_end_while_agents_work, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_agents_killed, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_agents_hang, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_clock_set_back, setup, teardown),
	};

	cmocka_set_test_filter(getenv("CONDUCTOR_SMOKE_ONLY"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
