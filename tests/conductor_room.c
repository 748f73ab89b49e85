/* SPDX-License-Identifier: Apache-2.0 */
/* See conductor_room.h. */
#include "conductor_room.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LATENCY_MS 5

extern char **environ;

static const char *const role_names[ROOM_ROLES] = {"plan", "write", "review"};

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

void room_run_verb(struct room *room, const char *verb, char *output, size_t size)
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

void room_serve(struct room *room)
{
	char sink[128], gateway[96], line[128] = "", *text;
	const char *const words[] = {room->program, "serve", "--state", room->state, "--listen", "127.0.0.1:0",
	    "--gateway", gateway, "--notify", sink, "--set", "lease-ms=600", "--set", "beat-ms=100", "--set",
	    "backoff-base-ms=20", "--set", "backoff-max-ms=200", "--set", "notify-backoff-ms=50", "--set",
	    "notify-backoff-max-ms=400", "--set", "kill-grace-ms=300", "--set", "role-timeout-ms=10000", "--set",
	    room->set ? room->set : "report-ms=250"};
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

int room_stop(struct room *room, int signal_number)
{
	int status;

	kill(room->pid, signal_number);
	status = wait_for(room->pid);
	room->pid = 0;
	close(room->out);
	return status;
}

int room_create(struct room **ret_room, const char *state)
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

	if (!room)
		return -1;
	room->program = getenv("CONDUCTOR");
	memcpy(options.providers, providers, sizeof providers);
	snprintf(room->state, sizeof room->state, "%s", state);
	if (!room->program || history_create(&room->history, NULL, &err) != 0) {
		free(room);
		return -1;
	}
	options.history = room->history;
	if (gateway_create(&room->gateway, &options, &err) != 0) {
		history_destroy(room->history);
		free(room);
		return -1;
	}
	room->curl = curl_easy_init();
	*ret_room = room;
	return 0;
}

void room_destroy(struct room *room)
{
	if (room->pid)
		room_stop(room, SIGKILL);
	curl_easy_cleanup(room->curl);
	gateway_destroy(room->gateway);
	history_destroy(room->history);
	free(room);
}

/* ---- HTTP ---- */

static size_t drop(char *bytes, size_t one, size_t count, void *arg)
{
	(void)bytes;
	(void)arg;
	return one * count;
}

long room_post(struct room *room, const char *body)
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

void room_task_name(char *name, size_t size, int chain, int role)
{
	snprintf(name, size, "c%d-%s", chain, role_names[role]);
}

long room_submit(struct room *room, int chain, int role)
{
	char name[32], before[32], after[40] = "", body[256];

	room_task_name(name, sizeof name, chain, role);
	if (role) {
		room_task_name(before, sizeof before, chain, role - 1);
		snprintf(after, sizeof after, "\"%s\"", before);
	}
	snprintf(body, sizeof body,
	    "{\"id\":\"%s\",\"key\":\"k-%s\",\"role\":\"%s\",\"after\":[%s],\"prompt\":\"do it\"}", name, name,
	    role_names[role], after);
	return room_post(room, body);
}

/* ---- what the outside saw ---- */

struct delivered {
	char tasks[ROOM_TASKS_MAX][32];
	int count, wanted;
	room_delivered_fn tell;
	void *arg;
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
	assert_true(delivered->count < ROOM_TASKS_MAX);
	snprintf(delivered->tasks[delivered->count++], sizeof delivered->tasks[0], "%s", op->task);
	if (delivered->tell)
		delivered->tell(delivered->arg, op->task);
	return delivered->count >= delivered->wanted;
}

void room_wait_delivered(struct room *room, int wanted, room_delivered_fn tell, void *arg)
{
	struct delivered delivered = {.wanted = wanted, .tell = tell, .arg = arg};
	uint64_t index;

	assert_int_equal(history_wait(room->history, 0, count_delivered, &delivered, -1, &index), 1);
}
