/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small real orchestrator for test_system.c: HTTP, git, agents, an SLO file, a log. A task's
 * prompt tells it what to do wrong.
 *
 *     fake_system init STATE | serve STATE PORT [--never-ready] | replay STATE | recover STATE [--drift]
 */
#include <errno.h>
#include <fcntl.h>
#include <git2.h>
#include <inttypes.h>
#include <jansson.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tritone/faultpoint.h"
#include "wal/wal.h"

#define PATH_SIZE 4096

static const char *state_dir;
static bool never_ready;
static struct wal *wal;

static _Noreturn void die(const char *what)
{
	const git_error *error = git_error_last();

	fprintf(stderr, "fake_system: %s: %s\n", what, error && error->message ? error->message : strerror(errno));
	exit(3);
}

static void path_of(char *ret, const char *name)
{
	if (snprintf(ret, PATH_SIZE, "%s/%s", state_dir, name) >= PATH_SIZE)
		die(name);
}

static void write_whole(const char *name, const char *text)
{
	char path[PATH_SIZE];
	FILE *file;

	path_of(path, name);
	file = fopen(path, "we");
	if (!file || fputs(text, file) < 0 || fclose(file) != 0)
		die(path);
}

static void write_atomically(const char *name, const char *text)
{
	char temporary[512], from[PATH_SIZE], to[PATH_SIZE];

	if (snprintf(temporary, sizeof temporary, "%s.tmp", name) >= (int)sizeof temporary)
		die(name);
	write_whole(temporary, text);
	path_of(from, temporary);
	path_of(to, name);
	if (rename(from, to) != 0)
		die(to);
}

static void make_directory(const char *name)
{
	char path[PATH_SIZE];

	path_of(path, name);
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		die(path);
}

/* --- git --- */

/* A commit on main with file `add` (and without `remove`), and the trailers of a task, if it is for one. */
static void commit(const char *add, const char *remove, const char *task)
{
	char path[PATH_SIZE], message[512];
	git_repository *repo = NULL;
	git_signature *who = NULL;
	git_treebuilder *builder = NULL;
	git_commit *parent = NULL;
	git_tree *old = NULL, *tree = NULL;
	git_oid blob, tree_id, id, head;
	const git_commit *parents[1];
	bool has_parent;

	path_of(path, "repo");
	if (git_repository_open(&repo, path) != 0)
		die(path);
	has_parent = git_reference_name_to_id(&head, repo, "refs/heads/main") == 0;
	if (has_parent && (git_commit_lookup(&parent, repo, &head) != 0 || git_commit_tree(&old, parent) != 0))
		die("parent");
	if (git_treebuilder_new(&builder, repo, old) != 0 ||
	    git_blob_create_from_buffer(&blob, repo, add, strlen(add)) != 0 ||
	    git_treebuilder_insert(NULL, builder, add, &blob, GIT_FILEMODE_BLOB) != 0)
		die("tree");
	if (remove && git_treebuilder_remove(builder, remove) != 0)
		die("remove");
	if (git_treebuilder_write(&tree_id, builder) != 0 || git_tree_lookup(&tree, repo, &tree_id) != 0)
		die("tree");
	if (task)
		snprintf(message, sizeof message, "work\n\nTask-Id: %s\nAttempt: 2\nEpoch: 7\n", task);
	else
		snprintf(message, sizeof message, "first\n");
	parents[0] = parent;
	if (git_signature_now(&who, "fake", "fake@localhost") != 0 ||
	    git_commit_create(
		&id, repo, "refs/heads/main", who, who, NULL, message, tree, has_parent ? 1 : 0, parents) != 0)
		die("commit");
	git_tree_free(tree);
	git_tree_free(old);
	git_commit_free(parent);
	git_treebuilder_free(builder);
	git_signature_free(who);
	git_repository_free(repo);
}

static int init(void)
{
	git_repository *repo;
	char path[PATH_SIZE];

	make_directory(".");
	path_of(path, "repo");
	if (git_repository_init(&repo, path, 1) != 0)
		die(path);
	git_repository_free(repo);
	commit("README.md", NULL, NULL);
	return 0;
}

/* --- the log: one record a task, its text is "TASK STATE" --- */

static void open_log(bool read_only)
{
	struct error error;
	char path[PATH_SIZE];

	path_of(path, "wal");
	if (wal_open(&wal, path, &(struct wal_options){.read_only = read_only, .must_exist = read_only}, &error) != 0) {
		fprintf(stderr, "fake_system: %s\n", error.text);
		exit(3);
	}
}

static void log_task(const char *task, const char *state)
{
	struct error error;
	char text[512];
	uint64_t lsn;

	snprintf(text, sizeof text, "%s %s", task, state);
	if (wal_append(wal, 1, text, strlen(text), &lsn, &error) != 0 || wal_sync(wal, 0, NULL, &error) != 0) {
		fprintf(stderr, "fake_system: %s\n", error.text);
		exit(3);
	}
}

struct replay {
	json_t *tasks;
	uint64_t records;
};

static int replay_record(void *arg, const struct wal_record *record)
{
	struct replay *replay = arg;
	char text[512] = "", *state;

	memcpy(text, record->payload, record->size < sizeof text - 1 ? record->size : sizeof text - 1);
	state = strchr(text, ' ');
	if (state) {
		*state++ = '\0';
		json_object_set_new(replay->tasks, text, json_string(state));
	}
	replay->records++;
	return 0;
}

static struct replay replay_all(void)
{
	struct replay replay = {json_object(), 0};
	struct error error;

	if (wal_replay(wal, 0, replay_record, &replay, &error) < 0) {
		fprintf(stderr, "fake_system: %s\n", error.text);
		exit(3);
	}
	return replay;
}

static int print_replay(void)
{
	struct replay replay;
	json_t *root;

	open_log(true);
	replay = replay_all();
	root = json_pack("{s:o, s:o}", "digest", json_sprintf("%" PRIu64, replay.records), "tasks", replay.tasks);
	json_dumpf(root, stdout, JSON_SORT_KEYS);
	json_decref(root);
	wal_close(wal);
	return 0;
}

static int recover(bool drift)
{
	open_log(false);
	tritone_faultpoint("recover.middle");
	if (drift) /* not idempotent: each recovery leaves a record */
		log_task("drift", "done");
	wal_close(wal);
	return 0;
}

/* --- agents --- */

/* What a forked child does: without the server's sockets, and open to SIGTERM or deaf to it. */
static _Noreturn void wait_for_ever(void (*on_term)(int))
{
	sigset_t none;

	close_range(0, ~0u, 0);
	signal(SIGTERM, on_term);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (;;)
		pause();
}

static void start_agent(const char *task)
{
	char name[256], pid[32];
	pid_t child = fork();

	if (child == 0)
		wait_for_ever(SIG_DFL);
	if (child < 0)
		die("fork");
	snprintf(name, sizeof name, ".sdd/runtime/agents/%s-a1", task);
	make_directory(name);
	snprintf(pid, sizeof pid, "%d\n", (int)child);
	snprintf(name, sizeof name, ".sdd/runtime/agents/%s-a1/worktree", task);
	write_atomically(name, "/nowhere\n");
	snprintf(name, sizeof name, ".sdd/runtime/agents/%s-a1/pid", task);
	write_atomically(name, pid); /* before the task: an observer has to wait for both */
	snprintf(name, sizeof name, ".sdd/runtime/agents/%s-a1/task", task);
	write_atomically(name, task);
}

/* A daemon of the old kind: it has left its session, its parent is gone, and it ignores SIGTERM. */
static void start_stray(void)
{
	pid_t child = fork();

	if (child == 0) {
		setsid();
		if (fork() == 0)
			wait_for_ever(SIG_IGN);
		_exit(0);
	}
	if (child < 0 || waitpid(child, NULL, 0) != child)
		die("stray");
}

/* --- HTTP --- */

static void publish(const char *status, double current)
{
	char text[512];

	snprintf(text, sizeof text,
	    "{\"slos\": [{\"name\": \"task_success\", \"target\": 0.9, \"current\": %.2f, \"status\": \"%s\", \"met\": "
	    "%s}],"
	    " \"error_budget\": {\"budget_fraction\": 0.75, \"is_depleted\": false, \"status\": \"%s\"}}",
	    current, status, strcmp(status, "red") != 0 ? "true" : "false", status);
	write_atomically(".sdd/metrics/slos.json", text);
}

static void work(const char *task, const char *prompt)
{
	char file[300];

	snprintf(file, sizeof file, "%s.md", task);
	if (!strcmp(prompt, "agent"))
		start_agent(task);
	else if (!strcmp(prompt, "stray"))
		start_stray();
	else if (!strcmp(prompt, "half"))
		write_whole(".sdd/half.json", "{\"half\": ");
	else if (!strcmp(prompt, "leave"))
		write_whole(".sdd/left.json.tmp", "{}");
	else if (!strcmp(prompt, "red"))
		publish("red", 0.5);
	if (tritone_faultpoint("work.twice"))
		commit("once.md", NULL, task);
	commit(file, !strcmp(prompt, "delete") ? "README.md" : NULL, task);
	log_task(task, "done");
}

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *text)
{
	char *copy = strdup(text);
	struct MHD_Response *response = MHD_create_response_from_buffer(strlen(text), copy, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result result = MHD_queue_response(connection, status, response);

	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result submitted(struct MHD_Connection *connection, const char *body)
{
	json_t *root = json_loads(body, 0, NULL);
	const char *task = json_string_value(json_object_get(root, "id"));
	const char *prompt = json_string_value(json_object_get(root, "prompt"));
	enum MHD_Result result;

	if (!task || !prompt || !json_is_array(json_object_get(root, "after")) || !strcmp(prompt, "refuse")) {
		result = answer(connection, 400, "not that one\nmore lines");
	} else {
		if (!strcmp(prompt, "crash"))
			kill(getpid(), SIGKILL);
		work(task, prompt);
		result = answer(connection, 202, "{}");
	}
	json_decref(root);
	return result;
}

static enum MHD_Result listed(struct MHD_Connection *connection)
{
	struct replay replay = replay_all();
	json_t *list = json_array(), *state, *root;
	const char *task;
	enum MHD_Result result;
	char *text;

	json_object_foreach (replay.tasks, task, state) {
		json_array_append_new(list, json_pack("{s:s, s:O}", "id", task, "state", state));
	}
	root = json_pack("{s:o}", "tasks", list);
	text = json_dumps(root, 0);
	result = answer(connection, 200, text);
	free(text);
	json_decref(root);
	json_decref(replay.tasks);
	return result;
}

struct request {
	char body[4096];
	size_t size;
};

static enum MHD_Result handle(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
    const char *version, const char *data, size_t *size, void **context)
{
	struct request *request = *context;

	(void)arg;
	(void)version;
	if (!request) {
		*context = calloc(1, sizeof *request);
		return *context ? MHD_YES : MHD_NO;
	}
	if (*size) {
		if (request->size + *size >= sizeof request->body)
			return MHD_NO;
		memcpy(request->body + request->size, data, *size);
		request->size += *size;
		*size = 0;
		return MHD_YES;
	}
	if (!strcmp(url, "/ready"))
		return never_ready ? answer(connection, 503, "no") : answer(connection, 200, "yes");
	if (!strcmp(url, "/tasks"))
		return !strcmp(method, "POST") ? submitted(connection, request->body) : listed(connection);
	return answer(connection, 404, "no");
}

static void finished(void *arg, struct MHD_Connection *connection, void **context, enum MHD_RequestTerminationCode code)
{
	(void)arg;
	(void)connection;
	(void)code;
	free(*context);
	*context = NULL;
}

static int serve(unsigned port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	struct MHD_Daemon *daemon;
	sigset_t set;
	int got;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	make_directory(".sdd");
	make_directory(".sdd/metrics");
	make_directory(".sdd/runtime");
	make_directory(".sdd/runtime/agents");
	open_log(false);
	publish("green", 1.0);
	daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, handle, NULL, MHD_OPTION_SOCK_ADDR,
	    (struct sockaddr *)&address, MHD_OPTION_NOTIFY_COMPLETED, finished, NULL, MHD_OPTION_END);
	if (!daemon)
		die("listen");
	sigwait(&set, &got);
	MHD_stop_daemon(daemon);
	wal_close(wal);
	return 0;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 2 ? argv[1] : "";

	git_libgit2_init();
	state_dir = argc > 2 ? argv[2] : "";
	if (!strcmp(verb, "init"))
		return init();
	if (!strcmp(verb, "serve") && argc > 3) {
		never_ready = argc > 4 && !strcmp(argv[4], "--never-ready");
		return serve((unsigned)strtoul(argv[3], NULL, 10));
	}
	if (!strcmp(verb, "replay"))
		return print_replay();
	if (!strcmp(verb, "recover"))
		return recover(argc > 3 && !strcmp(argv[3], "--drift"));
	fputs("usage: fake_system init|serve|replay|recover STATE ...\n", stderr);
	return 2;
}
