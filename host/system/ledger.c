/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger, read with libgit2. A look costs one reference lookup when nothing is new. */
#include "system/ledger.h"

#include <errno.h>
#include <git2.h>
#include <pthread.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define STRAIGHT_MAX 64 /* commits between two looks that are not walked to as a graph */

struct ledger {
	struct ledger_options options; /* strings below are its own */
	char *repository, *reference;  /* "refs/heads/BRANCH" */
	char *task_trailer, *attempt_trailer, *epoch_trailer;
	git_repository *git;  /* NULL: not there yet */
	struct watch *watch;  /* NULL: not watched */
	char *place_watched;  /* options.repository, which may be a work tree */
	char *common_watched; /* where its references are; NULL: not known yet */
	git_oid beginning, last;
	bool has_beginning, has_last;
	int64_t place; /* of the next commit */
};

/* What one commit says of itself. */
struct note {
	char id[GIT_OID_HEXSZ + 1];
	char task[256];
	int64_t attempt, epoch;
};

static int git_failed(struct error *err, const char *what)
{
	const git_error *last = git_error_last();

	return error_set(err, EIO, "%s: git: %s", what, last && last->message ? last->message : "unknown error");
}

static char *copy(const char *text)
{
	return text ? strdup(text) : NULL;
}

/* 1 when the repository is open, 0 when there is none yet. */
static int open_repository(struct ledger *ledger, struct error *err)
{
	int code;

	if (ledger->git)
		return 1;
	code = git_repository_open(&ledger->git, ledger->repository);
	if (code == GIT_ENOTFOUND)
		return 0;
	return code == 0 ? 1 : git_failed(err, ledger->repository);
}

/* 1 with the branch's head, 0 when there is none. */
static int head(struct ledger *ledger, git_oid *ret, struct error *err)
{
	int there = open_repository(ledger, err), code;

	if (there <= 0)
		return there;
	code = git_reference_name_to_id(ret, ledger->git, ledger->reference);
	if (code == GIT_ENOTFOUND)
		return 0;
	return code == 0 ? 1 : git_failed(err, ledger->reference);
}

/*
 * Whoever runs this may have a configuration of git that cannot be read, or that changes what is: it is left alone. Once and for good, since
 * libgit2 keeps such settings for the process, without a lock, until its last user has gone: this is one that never goes.
 */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void read_no_settings(void)
{
	static const int levels[] = {
	    GIT_CONFIG_LEVEL_PROGRAMDATA, GIT_CONFIG_LEVEL_SYSTEM, GIT_CONFIG_LEVEL_XDG, GIT_CONFIG_LEVEL_GLOBAL};
	size_t i;

	git_libgit2_init();
	for (i = 0; i < sizeof levels / sizeof *levels; i++)
		git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, levels[i], "");
}

int ledger_create(struct ledger **ret_ledger, const struct ledger_options *options, struct error *err)
{
	struct ledger *ledger = calloc(1, sizeof *ledger);
	int there;

	if (!ledger)
		return error_set(err, ENOMEM, "no memory for the ledger");
	pthread_once(&once, read_no_settings);
	git_libgit2_init();
	ledger->options = *options;
	ledger->repository = copy(options->repository);
	ledger->task_trailer = copy(options->task_trailer);
	ledger->attempt_trailer = copy(options->attempt_trailer);
	ledger->epoch_trailer = copy(options->epoch_trailer);
	if (!ledger->repository || (options->task_trailer && !ledger->task_trailer) ||
	    (options->attempt_trailer && !ledger->attempt_trailer) ||
	    (options->epoch_trailer && !ledger->epoch_trailer) ||
	    asprintf(&ledger->reference, "refs/heads/%s", options->branch) < 0) {
		ledger_destroy(ledger);
		return error_set(err, ENOMEM, "no memory for the ledger");
	}
	there = head(ledger, &ledger->beginning, err);
	if (there < 0) {
		ledger_destroy(ledger);
		return -1;
	}
	ledger->has_beginning = ledger->has_last = there;
	ledger->last = ledger->beginning;
	*ret_ledger = ledger;
	return 0;
}

void ledger_destroy(struct ledger *ledger)
{
	if (!ledger)
		return;
	git_repository_free(ledger->git);
	git_libgit2_shutdown();
	free(ledger->repository);
	free(ledger->reference);
	free(ledger->place_watched);
	free(ledger->common_watched);
	free(ledger->task_trailer);
	free(ledger->attempt_trailer);
	free(ledger->epoch_trailer);
	free(ledger);
}

static void read_note(const struct ledger *ledger, git_commit *commit, struct note *note)
{
	git_message_trailer_array trailers;

	memset(note, 0, sizeof *note);
	git_oid_tostr(note->id, sizeof note->id, git_commit_id(commit));
	if (git_message_trailers(&trailers, git_commit_message(commit)) != 0)
		return;
	for (size_t i = 0; i < trailers.count; i++) {
		const char *key = trailers.trailers[i].key, *value = trailers.trailers[i].value;

		if (ledger->task_trailer && !strcasecmp(key, ledger->task_trailer))
			snprintf(note->task, sizeof note->task, "%s", value);
		else if (ledger->attempt_trailer && !strcasecmp(key, ledger->attempt_trailer))
			note->attempt = strtoll(value, NULL, 10);
		else if (ledger->epoch_trailer && !strcasecmp(key, ledger->epoch_trailer))
			note->epoch = strtoll(value, NULL, 10);
	}
	git_message_trailer_array_free(&trailers);
}

static int report_deletions(struct ledger *ledger, git_commit *commit, const struct note *note, struct error *err)
{
	git_diff_options options;
	git_commit *parent = NULL;
	git_tree *old = NULL, *new = NULL;
	git_diff *diff = NULL;
	int result = -1;

	if (git_commit_parentcount(commit) == 0)
		return 0;
	if (git_diff_options_init(&options, GIT_DIFF_OPTIONS_VERSION) != 0 ||
	    git_commit_parent(&parent, commit, 0) != 0 || git_commit_tree(&old, parent) != 0 ||
	    git_commit_tree(&new, commit) != 0 || git_diff_tree_to_tree(&diff, ledger->git, old, new, &options) != 0) {
		git_failed(err, note->id);
		goto out;
	}
	for (size_t i = 0; i < git_diff_num_deltas(diff); i++) {
		const git_diff_delta *delta = git_diff_get_delta(diff, i);

		if (delta->status != GIT_DELTA_DELETED)
			continue;
		history_append(ledger->options.history, &(struct op){.kind = OP_DELETION,
							    .type = OP_OK,
							    .pair = OP_NONE,
							    .task = note->task,
							    .key = note->id,
							    .actor = delta->old_file.path,
							    .attempt = note->attempt,
							    .epoch = note->epoch});
	}
	result = 0;
out:
	git_diff_free(diff);
	git_tree_free(new);
	git_tree_free(old);
	git_commit_free(parent);
	return result;
}

static int report(struct ledger *ledger, git_commit *commit, bool rewritten, struct error *err)
{
	struct note note;

	read_note(ledger, commit, &note);
	if (!ledger->options.history)
		return 0;
	history_append(ledger->options.history, &(struct op){.kind = OP_COMMIT,
						    .type = OP_OK,
						    .pair = OP_NONE,
						    .task = note.task,
						    .key = note.id,
						    .attempt = note.attempt,
						    .epoch = note.epoch,
						    .value = ledger->place++,
						    .detail = rewritten ? "rewritten" : NULL});
	return report_deletions(ledger, commit, &note, err);
}

typedef int (*walk_fn)(void *arg, git_commit *commit, struct error *err);

/* Calls visit for what `head` reaches and `hide` does not, oldest first. */
static int walk(
    struct ledger *ledger, const git_oid *from, const git_oid *hide, walk_fn visit, void *arg, struct error *err)
{
	git_revwalk *revwalk = NULL;
	git_oid id;
	int result = -1, code = 0;

	if (git_revwalk_new(&revwalk, ledger->git) != 0)
		return git_failed(err, ledger->repository);
	git_revwalk_sorting(revwalk, GIT_SORT_TOPOLOGICAL | GIT_SORT_REVERSE);
	if (git_revwalk_push(revwalk, from) != 0 || (hide && git_revwalk_hide(revwalk, hide) != 0)) {
		git_failed(err, ledger->reference);
		goto out;
	}
	while ((code = git_revwalk_next(&id, revwalk)) == 0) {
		git_commit *commit;

		if (git_commit_lookup(&commit, ledger->git, &id) != 0) {
			git_failed(err, ledger->reference);
			goto out;
		}
		code = visit(arg, commit, err);
		git_commit_free(commit);
		if (code != 0)
			goto out;
	}
	result = code == GIT_ITEROVER ? 0 : git_failed(err, ledger->reference);
out:
	git_revwalk_free(revwalk);
	return result;
}

struct look {
	struct ledger *ledger;
	bool rewritten;
};

static int look_visit(void *arg, git_commit *commit, struct error *err)
{
	struct look *look = arg;

	return report(look->ledger, commit, look->rewritten, err);
}

/* How many commits, each with one parent, lead from `now` down to the last one seen; 0: it is not that simple. */
static size_t straight_line(const struct ledger *ledger, const git_oid *now, git_oid *ret_ids)
{
	git_oid at = *now;
	size_t count = 0;

	while (count < STRAIGHT_MAX) {
		git_commit *commit;
		bool single;

		if (git_commit_lookup(&commit, ledger->git, &at) != 0)
			return 0;
		ret_ids[count++] = at;
		single = git_commit_parentcount(commit) == 1;
		if (single)
			git_oid_cpy(&at, git_commit_parent_id(commit, 0));
		git_commit_free(commit);
		if (!single)
			return 0;
		if (git_oid_equal(&at, &ledger->last))
			return count;
	}
	return 0;
}

static int report_line(struct ledger *ledger, const git_oid *ids, size_t count, struct error *err)
{
	while (count-- > 0) {
		git_commit *commit;
		int result;

		if (git_commit_lookup(&commit, ledger->git, &ids[count]) != 0)
			return git_failed(err, ledger->reference);
		result = report(ledger, commit, false, err);
		git_commit_free(commit);
		if (result != 0)
			return -1;
	}
	return 0;
}

int ledger_look(struct ledger *ledger, struct error *err)
{
	struct look look = {.ledger = ledger};
	const git_oid *hide = NULL;
	git_oid now, line[STRAIGHT_MAX];
	int there = head(ledger, &now, err);
	size_t count;

	if (there <= 0)
		return there;
	if (ledger->has_last && git_oid_equal(&now, &ledger->last))
		return 0;
	/* A walk of the graph reads several times as many objects: while the system works, this is what is seen. */
	count = ledger->has_last ? straight_line(ledger, &now, line) : 0;
	if (count) {
		ledger->last = now; /* moved on first, as below */
		return report_line(ledger, line, count, err);
	}
	if (ledger->has_last && git_graph_descendant_of(ledger->git, &now, &ledger->last) == 1) {
		hide = &ledger->last;
	} else if (ledger->has_last) {
		/* History was rewritten: everything above the beginning, or, when that went too, everything. */
		look.rewritten = true;
		ledger->place = 0;
		if (ledger->has_beginning && (git_oid_equal(&now, &ledger->beginning) ||
						 git_graph_descendant_of(ledger->git, &now, &ledger->beginning) == 1))
			hide = &ledger->beginning;
	}
	/* Moved on first: a commit that cannot be read is reported once, not with every look. */
	{
		git_oid before;
		const git_oid *from = NULL;

		if (hide) {
			git_oid_cpy(&before, hide);
			from = &before;
		}
		ledger->last = now;
		ledger->has_last = true;
		return walk(ledger, &now, from, look_visit, &look, err);
	}
}

struct each {
	struct ledger *ledger;
	void (*visit)(void *arg, const char *id, const char *task);
	void *arg;
};

static int each_visit(void *arg, git_commit *commit, struct error *err)
{
	struct each *each = arg;
	struct note note;

	(void)err;
	read_note(each->ledger, commit, &note);
	each->visit(each->arg, note.id, note.task);
	return 0;
}

int ledger_each(
    struct ledger *ledger, void (*visit)(void *arg, const char *id, const char *task), void *arg, struct error *err)
{
	struct each each = {.ledger = ledger, .visit = visit, .arg = arg};
	git_oid now;
	int there = head(ledger, &now, err);

	return there <= 0 ? there : walk(ledger, &now, NULL, each_visit, &each, err);
}

static const char *below(const char *path, const char *dir)
{
	size_t size = strlen(dir);

	return !strncmp(path, dir, size) && path[size] == '/' ? path + size + 1 : NULL;
}

static bool in_heads(const char *rest)
{
	return !strcmp(rest, "refs") || !strcmp(rest, "refs/heads") || below(rest, "refs/heads");
}

/* Before there is a repository nobody knows its kind: bare, or with a work tree beside its .git. */
static bool descend(void *arg, const char *dir)
{
	const struct ledger *ledger = arg;
	const char *rest = below(dir, ledger->place_watched);

	if (!rest)
		return false;
	if (!strncmp(rest, ".git/", 5))
		return in_heads(rest + 5);
	return !strcmp(rest, ".git") || in_heads(rest);
}

static bool descend_common(void *arg, const char *dir)
{
	const struct ledger *ledger = arg;
	const char *rest = below(dir, ledger->common_watched);

	return rest && in_heads(rest);
}

/* A failed look is tried again with the next event and at the end, where it is reported. */
static void on_event(void *arg, const char *path, uint32_t mask)
{
	struct ledger *ledger = arg;
	size_t size = strlen(path);
	const char *name = strrchr(path, '/');

	(void)mask;
	/* A reference that is still being written changes nothing; nor does the work tree, once it is known what it is of. */
	if (size >= 5 && !strcmp(path + size - 5, ".lock"))
		return;
	if (!ledger->git || strstr(path, "/refs/heads/") || (name && !strcmp(name, "/packed-refs")))
		ledger_look(ledger, NULL);
}

static char *without_slash(const char *path)
{
	size_t size = strlen(path);

	while (size > 1 && path[size - 1] == '/')
		size--;
	return strndup(path, size);
}

int ledger_follow(struct ledger *ledger, struct error *err)
{
	char real[PATH_MAX];
	const char *rest = NULL;

	if (!ledger->watch || ledger->common_watched || open_repository(ledger, NULL) <= 0)
		return 0;
	ledger->common_watched = without_slash(git_repository_commondir(ledger->git));
	if (!ledger->common_watched)
		return error_set(err, ENOMEM, "no memory for the ledger");
	if (realpath(ledger->place_watched, real))
		rest = !strcmp(real, ledger->common_watched) ? "" : below(ledger->common_watched, real);
	if (!rest || (*rest && strcmp(rest, ".git") != 0)) {
		/* The .git of a linked work tree is a file, and its references are elsewhere. */
		if (watch_add(ledger->watch, ledger->common_watched, descend_common, on_event, ledger, err) != 0)
			return -1;
	}
	ledger_look(ledger, NULL);
	return 0;
}

int ledger_watch(struct ledger *ledger, struct watch *watch, struct error *err)
{
	if (open_repository(ledger, err) < 0)
		return -1;
	ledger->watch = watch;
	ledger->place_watched = without_slash(ledger->repository);
	if (!ledger->place_watched)
		return error_set(err, ENOMEM, "no memory for the ledger");
	if (watch_add(watch, ledger->place_watched, descend, on_event, ledger, err) != 0)
		return -1;
	return ledger_follow(ledger, err);
}
