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

#include "io/conductor.h"
#include "io/files.h"
#include "io/repo.h"
#include "wal/wal.h"

#define OUTPUT_MAX 16384
#define TASKS_MAX  64

extern char **environ;

/* One state being judged. */
struct trial {
	const struct crash_case *state;
	const struct trace_line *acks;
	size_t acked;
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

static int init_verb(const char *dir, struct error *err)
{
	char path[PATH_MAX];

	snprintf(path, sizeof path, "%s/repo", dir);
	return files_make_dirs(dir, err) != 0 ? -1 : repo_init(path, err);
}

/* `conductor recover`, and the state that the log has then, in `output`. */
static int recover_verb(const char *dir, char *output, struct error *err)
{
	/* As the conductor that goes on has them: what is lost is tried again at once. */
	static const char *const settings[] = {"backoff-base-ms=20", "backoff-max-ms=200"};
	struct conductor_options options = {.state = dir, .seed = 1, .recover = true};
	char *text = NULL;
	size_t size = 0;
	int status = -1, r;
	size_t i;
	FILE *out;

	policy_init(&options.policy);
	for (i = 0; i < sizeof settings / sizeof *settings; i++)
		if (policy_set(&options.policy, settings[i], err) != 0)
			return -1;
	if (conductor_run(&options, &status, err) != 0)
		return -1;
	if (status != 0)
		return error_set(err, EIO, "exit status %d", status);
	out = open_memstream(&text, &size);
	if (!out)
		return error_set(err, ENOMEM, "no memory for a state");
	r = conductor_replay(&options, out, err);
	fclose(out);
	snprintf(output, OUTPUT_MAX, "%s", text);
	free(text);
	return r;
}

static bool makes(struct trial *trial)
{
	struct error err;

	return init_verb(trial->state->dir, &err) == 0 || no(trial, CRASH_FAILED, "conductor init: %.160s", err.text);
}

static bool runs(struct trial *trial, char *output)
{
	struct error err;

	return recover_verb(trial->state->dir, output, &err) == 0 ||
	       no(trial, CRASH_FAILED, "conductor recover: %.160s", err.text);
}

/* The task of the acknowledgement `word TASK`, or NULL: it is another word. */
static const char *task_of(const struct trace_line *line, const char *word)
{
	const size_t length = strlen(word);

	return strncmp(line->text, word, length) == 0 && line->text[length] == ' ' ? line->text + length + 1 : NULL;
}

static bool is_made(const struct trial *trial)
{
	return trial->acked > 0 && strcmp(trial->acks[0].text, "made") == 0;
}

/* Out of what `first` says. */
static bool take_tasks(struct trial *trial)
{
	json_t *root = json_loads(trial->first, 0, NULL);

	json_decref(trial->tasks);
	trial->tasks = json_incref(json_object_get(root, "tasks"));
	json_decref(root);
	return json_is_object(trial->tasks) ||
	       no(trial, CRASH_FAILED, "conductor recover: no state: %.100s", trial->first);
}

static bool recovers(struct trial *trial)
{
	if (!is_made(trial) && !makes(trial))
		return false;
	if (!runs(trial, trial->first))
		return false;
	if (!take_tasks(trial))
		return false;
	if (!runs(trial, trial->again))
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

	for (i = 0; i < trial->acked; i++) {
		const struct trace_line *line = &trial->acks[i];
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

/* For whoever comes with git itself: HEAD leads to main, and the configuration says what this is. */
static bool head_is_main(struct trial *trial, git_repository *repo)
{
	git_reference *head = NULL;
	bool good;

	if (git_repository_head(&head, repo) != 0)
		return git_says_no(trial, "HEAD");
	good = strcmp(git_reference_name(head), "refs/heads/main") == 0 ||
	       no(trial, CRASH_CORRUPT, "HEAD is %s", git_reference_name(head));
	git_reference_free(head);
	return good && (git_repository_is_bare(repo) || no(trial, CRASH_CORRUPT, "the configuration is not there"));
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
	if (git_repository_open_ext(&repo, path, GIT_REPOSITORY_OPEN_NO_SEARCH, NULL) != 0)
		good = git_says_no(trial, "opening");
	else
		good = head_is_main(trial, repo) && walk_main(trial, repo, seen);
	json_object_foreach (trial->tasks, task, value) {
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

/* ---- going on ---- */

static size_t count_open(const struct trial *trial)
{
	size_t open = 0;
	const char *task;
	json_t *value;

	json_object_foreach (trial->tasks, task, value)
		open += strcmp(json_string_value(value), "done") != 0;
	return open;
}

static bool all_done(struct trial *trial)
{
	struct error err;

	if (recover_verb(trial->state->dir, trial->first, &err) != 0)
		return no(trial, CRASH_FAILED, "conductor recover, at the end: %.140s", err.text);
	if (!take_tasks(trial))
		return false;
	return count_open(trial) == 0 || no(trial, CRASH_LOST, "%zu tasks are not done at the end", count_open(trial));
}

/* A conductor of its own, with agents and a gateway, goes on from here. */
static bool goes_on(struct trial *trial, const char *writer)
{
	char self[PATH_MAX], dir[PATH_MAX], verb[] = "finish", number[16];
	char *argv[] = {self, dir, verb, number, NULL};
	int status = -1;
	pid_t pid;

	snprintf(self, sizeof self, "%s", writer);
	snprintf(dir, sizeof dir, "%s", trial->state->dir);
	snprintf(number, sizeof number, "%zu", count_open(trial));
	if (posix_spawn(&pid, self, NULL, NULL, argv, environ) != 0)
		return no(trial, CRASH_FAILED, "%s: %s", writer, strerror(errno));
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status != 0)
		return no(trial, CRASH_FAILED, "the conductor that went on ended with status %#x", (unsigned)status);
	return all_done(trial) && repository_is_whole(trial);
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

struct context {
	const struct conductor_judge_config *config;
	bool begun; /* in this process */
	unsigned judged;
};

static int prepare(const void *config, const struct trace *trace, void **ret_context, struct error *err)
{
	struct context *context = calloc(1, sizeof *context);

	(void)trace;
	if (!context)
		return error_set(err, ENOMEM, "no memory for a judge");
	context->config = config;
	*ret_context = context;
	return 0;
}

/* Threads and what a library has of its own do not survive a fork, so they begin in the process that judges. There what
 * the conductor prints goes nowhere, and a signal that kills it does so. */
static int begin(struct context *context, struct error *err)
{
	static const int deadly[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	size_t i;

	if (null < 0 || dup2(null, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0)
		return error_set(err, errno, "/dev/null: %s", strerror(errno));
	close(null);
	for (i = 0; i < sizeof deadly / sizeof *deadly; i++)
		signal(deadly[i], SIG_DFL);
	git_libgit2_init();
	context->begun = true;
	return 0;
}

static int judge(void *arg, const struct crash_case *state, struct crash_verdict *ret_verdict, struct error *err)
{
	struct context *context = arg;
	const unsigned every = context->config->serve_every;
	struct trial *trial;
	bool good;

	if (!context->begun && begin(context, err) < 0)
		return -1;
	trial = calloc(1, sizeof *trial);
	if (!trial)
		return error_set(err, ENOMEM, "no memory for a judge");
	*ret_verdict = (struct crash_verdict){.outcome = CRASH_RECOVERED};
	trial->state = state;
	trial->acks = context->config->before ? context->config->before->acks : state->trace->acks;
	trial->acked = context->config->before ? context->config->acked : state->acked;
	trial->verdict = ret_verdict;
	good = recovers(trial) && keeps_its_word(trial) && repository_is_whole(trial);
	if (good && every && ++context->judged % every == 0)
		good = goes_on(trial, context->config->writer);
	(void)(good && log_is_whole(trial) && state_is_whole(trial));
	json_decref(trial->tasks);
	free(trial);
	return 0;
}

const struct crash_judge conductor_judge = {.name = "conductor", .prepare = prepare, .finish = free, .judge = judge};
