/* SPDX-License-Identifier: Apache-2.0 */
/* See conductor_judge.h. */
#include "conductor_judge.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <git2.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wal/wal.h"

#define OUTPUT_MAX 16384
#define TASKS_MAX  64

extern char **environ;

/* One state being judged. */
struct trial {
	const char *program;
	const struct crash_case *state;
	struct crash_verdict *verdict;
	char first[OUTPUT_MAX], again[OUTPUT_MAX];
	json_t *tasks; /* of `first` */
};

/* Fills the verdict; returns false, which ends the judging. */
static bool no(struct trial *trial, enum crash_outcome outcome, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool no(struct trial *trial, enum crash_outcome outcome, const char *format, ...)
{
	va_list args;

	trial->verdict->outcome = outcome;
	va_start(args, format);
	vsnprintf(trial->verdict->reason, sizeof trial->verdict->reason, format, args);
	va_end(args);
	return false;
}

/* ---- the conductor ---- */

static size_t read_all(int fd, char *to, size_t size)
{
	size_t used = 0;
	ssize_t n;

	while (used + 1 < size && ((n = read(fd, to + used, size - used - 1)) > 0 || (n < 0 && errno == EINTR)))
		used += n > 0 ? (size_t)n : 0;
	to[used] = '\0';
	return used;
}

/* Standard output in `output` if it ends well, else what it said on standard error. */
static int run(const char *program, const char *verb, const char *dir, char *output, size_t size)
{
	char name[16], option[] = "--state", path[PATH_MAX], self[PATH_MAX];
	char *argv[] = {self, name, option, path, NULL};
	char errors[512] = "";
	posix_spawn_file_actions_t actions;
	int out[2], err[2], status = -1;
	pid_t pid;

	snprintf(name, sizeof name, "%s", verb);
	snprintf(path, sizeof path, "%s", dir);
	snprintf(self, sizeof self, "%s", program);
	if (pipe2(out, O_CLOEXEC) < 0)
		return -1;
	if (pipe2(err, O_CLOEXEC) < 0) {
		close(out[0]);
		close(out[1]);
		return -1;
	}
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
	if (posix_spawn(&pid, program, &actions, NULL, argv, environ) != 0)
		pid = -1;
	posix_spawn_file_actions_destroy(&actions);
	close(out[1]);
	close(err[1]);
	read_all(out[0], output, size);
	read_all(err[0], errors, sizeof errors);
	close(out[0]);
	close(err[0]);
	if (pid > 0)
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	if (status != 0)
		snprintf(output, size, "%s", errors);
	return status;
}

static bool runs(struct trial *trial, const char *verb, char *output)
{
	int status = run(trial->program, verb, trial->state->dir, output, OUTPUT_MAX);

	output[strcspn(output, "\n")] = status ? '\0' : output[strcspn(output, "\n")];
	if (status == 0)
		return true;
	if (WIFSIGNALED(status))
		return no(trial, CRASH_FAILED, "conductor %s: signal %d: %.120s", verb, WTERMSIG(status), output);
	return no(trial, CRASH_FAILED, "conductor %s: %.160s", verb, output);
}

/* The task of the acknowledgement `word TASK`, or NULL: it is another word. */
static const char *task_of(const struct trace_line *line, const char *word)
{
	const size_t length = strlen(word);

	return strncmp(line->text, word, length) == 0 && line->text[length] == ' ' ? line->text + length + 1 : NULL;
}

static bool is_made(const struct crash_case *state)
{
	return state->acked > 0 && strcmp(state->trace->acks[0].text, "made") == 0;
}

static bool recovers(struct trial *trial)
{
	json_t *root;

	if (!is_made(trial->state) && !runs(trial, "init", trial->first))
		return false;
	if (!runs(trial, "recover", trial->first))
		return false;
	root = json_loads(trial->first, 0, NULL);
	trial->tasks = json_incref(json_object_get(root, "tasks"));
	json_decref(root);
	if (!json_is_object(trial->tasks))
		return no(trial, CRASH_FAILED, "conductor recover: no state: %.100s", trial->first);
	if (!runs(trial, "recover", trial->again))
		return false;
	if (strcmp(trial->first, trial->again) != 0)
		return no(trial, CRASH_CORRUPT, "a second recovery comes to another state");
	return true;
}

static const char *state_of(const struct trial *trial, const char *task)
{
	return json_string_value(json_object_get(trial->tasks, task));
}

static bool is_committed(const char *state)
{
	return state && (!strcmp(state, "committed") || !strcmp(state, "notifying") || !strcmp(state, "done"));
}

static bool keeps_its_word(struct trial *trial)
{
	size_t i;

	for (i = 0; i < trial->state->acked; i++) {
		const struct trace_line *line = &trial->state->trace->acks[i];
		const char *task = task_of(line, "accepted");

		if (task && !state_of(trial, task))
			return no(trial, CRASH_LOST, "task %s was accepted, and is not known", task);
		task = task_of(line, "confirmed");
		if (task && !is_committed(state_of(trial, task)))
			return no(trial, CRASH_LOST, "task %s was confirmed, and is '%s'", task,
			    state_of(trial, task) ? state_of(trial, task) : "unknown");
	}
	return true;
}

/* ---- git ---- */

static bool git_says_no(struct trial *trial, const char *what)
{
	const git_error *last = git_error_last();

	return no(trial, CRASH_CORRUPT, "git: %s: %.140s", what, last && last->message ? last->message : "?");
}

static bool tree_is_whole(struct trial *trial, git_repository *repo, const git_oid *id, int depth)
{
	git_tree *tree = NULL;
	bool good = true;
	size_t i;

	if (depth > 16 || git_tree_lookup(&tree, repo, id) != 0)
		return git_says_no(trial, "a tree");
	for (i = 0; good && i < git_tree_entrycount(tree); i++) {
		const git_tree_entry *entry = git_tree_entry_byindex(tree, i);
		git_blob *blob = NULL;

		if (git_tree_entry_type(entry) == GIT_OBJECT_TREE) {
			good = tree_is_whole(trial, repo, git_tree_entry_id(entry), depth + 1);
		} else if (git_blob_lookup(&blob, repo, git_tree_entry_id(entry)) != 0) {
			good = git_says_no(trial, git_tree_entry_name(entry));
		}
		git_blob_free(blob);
	}
	git_tree_free(tree);
	return good;
}

/* Notes the task of a commit; false if it has one already. */
static bool note_task(struct trial *trial, const git_commit *commit, json_t *seen)
{
	const char *at = strstr(git_commit_message(commit), "\nTask-Id: ");
	char task[64];

	if (!at)
		return git_commit_parentcount(commit) == 0 || no(trial, CRASH_CORRUPT, "a commit names no task");
	snprintf(task, sizeof task, "%.*s", (int)strcspn(at + 10, "\n"), at + 10);
	if (json_object_get(seen, task))
		return no(trial, CRASH_CORRUPT, "task %s was committed twice", task);
	json_object_set_new(seen, task, json_true());
	return true;
}

static bool walk_main(struct trial *trial, git_repository *repo, json_t *seen)
{
	git_revwalk *walk = NULL;
	bool good = true;
	git_oid id;
	int r = -1;

	if (git_revwalk_new(&walk, repo) != 0 || git_revwalk_push_ref(walk, "refs/heads/main") != 0) {
		git_revwalk_free(walk);
		return git_says_no(trial, "main");
	}
	while (good && (r = git_revwalk_next(&id, walk)) == 0) {
		git_commit *commit = NULL;

		good = git_commit_lookup(&commit, repo, &id) == 0 || git_says_no(trial, "a commit");
		good =
		    good && note_task(trial, commit, seen) && tree_is_whole(trial, repo, git_commit_tree_id(commit), 0);
		git_commit_free(commit);
	}
	if (good && r != GIT_ITEROVER)
		good = git_says_no(trial, "walking main");
	git_revwalk_free(walk);
	return good;
}

static bool repository_is_whole(struct trial *trial)
{
	git_repository *repo = NULL;
	json_t *seen = json_object();
	char path[PATH_MAX];
	const char *task;
	json_t *value;
	bool good;

	snprintf(path, sizeof path, "%s/repo", trial->state->dir);
	if (git_repository_open_bare(&repo, path) != 0)
		good = git_says_no(trial, "opening");
	else
		good = walk_main(trial, repo, seen);
	json_object_foreach(trial->tasks, task, value)
	{
		if (good && is_committed(json_string_value(value)) && !json_object_get(seen, task))
			good = no(trial, CRASH_LOST, "task %s is '%s', and main has no commit of it", task,
			    json_string_value(value));
	}
	git_repository_free(repo);
	json_decref(seen);
	return good;
}

/* ---- files ---- */

static bool file_is_whole(struct trial *trial, const char *path, const char *name)
{
	const char *dot = strrchr(name, '.');
	json_t *root;

	if (strncmp(name, ".tmp-", 5) == 0)
		return no(trial, CRASH_CORRUPT, "%s is left", name);
	if (!dot || strcmp(dot, ".json") != 0)
		return true;
	root = json_load_file(path, 0, NULL);
	json_decref(root);
	return root || no(trial, CRASH_CORRUPT, "%s is no JSON", name);
}

static bool files_are_whole(struct trial *trial, const char *dir, int depth)
{
	DIR *handle = opendir(dir);
	struct dirent *entry;
	bool good = true;

	if (!handle)
		return errno == ENOENT || no(trial, CRASH_CORRUPT, "%s: %s", dir, strerror(errno));
	while (good && (entry = readdir(handle)) != NULL) {
		char path[PATH_MAX];

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") ||
		    snprintf(path, sizeof path, "%s/%s", dir, entry->d_name) >= (int)sizeof path)
			continue;
		if (entry->d_type == DT_DIR)
			good = depth > 8 || files_are_whole(trial, path, depth + 1);
		else
			good = file_is_whole(trial, path, entry->d_name);
	}
	closedir(handle);
	return good;
}

static bool log_is_whole(struct trial *trial)
{
	struct wal_report report;
	struct error err;
	char path[PATH_MAX];

	snprintf(path, sizeof path, "%s/wal", trial->state->dir);
	return wal_verify(path, &report, &err) == 0 || no(trial, CRASH_CORRUPT, "%.180s", err.text);
}

static bool state_is_whole(struct trial *trial)
{
	char path[PATH_MAX];

	snprintf(path, sizeof path, "%s/.sdd", trial->state->dir);
	return files_are_whole(trial, path, 0);
}

/* ---- the judge ---- */

static int prepare(const void *config, const struct trace *trace, void **ret_context, struct error *err)
{
	char *program = strdup(config);

	(void)trace;
	if (!program)
		return error_set(err, ENOMEM, "no memory for a judge");
	git_libgit2_init();
	*ret_context = program;
	return 0;
}

static void finish(void *context)
{
	git_libgit2_shutdown();
	free(context);
}

static int judge(void *context, const struct crash_case *state, struct crash_verdict *ret_verdict, struct error *err)
{
	struct trial *trial = calloc(1, sizeof *trial);

	if (!trial)
		return error_set(err, ENOMEM, "no memory for a judge");
	*ret_verdict = (struct crash_verdict){.outcome = CRASH_RECOVERED};
	trial->program = context;
	trial->state = state;
	trial->verdict = ret_verdict;
	(void)(recovers(trial) && keeps_its_word(trial) && repository_is_whole(trial) && log_is_whole(trial) &&
	       state_is_whole(trial));
	json_decref(trial->tasks);
	free(trial);
	return 0;
}

const struct crash_judge conductor_judge = {.name = "conductor", .prepare = prepare, .finish = finish, .judge = judge};
