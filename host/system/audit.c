/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can only be looked at once nothing runs: files left over, and the system's own log. The log
 * is replayed and recovered on copies of the state directory; the original stays as it was found.
 * Recovery has something to do where the system crashed, so that state is kept for it.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "system/copytree.h"
#include "system/private.h"
#include "system/textfile.h"
#include "wal/wal.h"

#define COMMAND_TIMEOUT_MS 30000
#define COPY_NAME          "audit"
#define CRASH_NAME         "crash"

struct audit {
	struct system *system;
	char copy[PATH_MAX]; /* the state directory's copy: ${state} of the commands */
	char *wal_dir;       /* of the original */
	char **environment, **replay, **recover;
	bool bad; /* something was found: the copy is kept for the post-mortem */
};

static const char *copy_lookup(void *arg, const char *name)
{
	struct audit *audit = arg;

	return !strcmp(name, "state") ? audit->copy : system_lookup(audit->system, name);
}

static void record(struct audit *audit, const char *actor, bool ok, int64_t value, const char *detail)
{
	if (!ok)
		audit->bad = true;
	history_append(audit->system->history, &(struct op){.kind = OP_WAL,
						   .type = ok ? OP_OK : OP_FAIL,
						   .pair = OP_NONE,
						   .actor = actor,
						   .value = value,
						   .detail = detail});
}

static void verify_log(struct audit *audit)
{
	struct wal_report report;
	struct error error;

	memset(&report, 0, sizeof report);
	if (wal_verify(audit->wal_dir, &report, &error) == 0)
		record(audit, "verify", true, (int64_t)report.records, NULL);
	else
		record(audit, "verify", false, (int64_t)report.records, error.text);
}

/* Runs one of the commands on the copy. 0 when it exited with 0. */
static int run(
    struct audit *audit, const char *name, char **argv, const char *output, int *ret_status, struct error *err)
{
	struct command command = {.name = name,
	    .argv = argv,
	    .environment = audit->environment,
	    .directory = audit->copy,
	    .output = output,
	    .timeout_ms = COMMAND_TIMEOUT_MS};
	char how[96];

	if (command_run(audit->system->keeper, &command, ret_status, err) != 0)
		return -1;
	if (WIFEXITED(*ret_status) && WEXITSTATUS(*ret_status) == 0)
		return 0;
	command_status(*ret_status, how, sizeof how);
	return error_set(err, EPROTO, "%s: %s %s", name, argv[0], how);
}

/* {"digest": ..., "tasks": {...}}; a new reference in *ret. */
static int replay(struct audit *audit, const char *name, json_t **ret, struct error *err)
{
	char output[PATH_MAX + 32], *text;
	json_error_t wrong;
	size_t size;
	int status;
	json_t *root;

	snprintf(output, sizeof output, "%s/%s.json", audit->system->log_dir, name);
	if (removetree(output, err) != 0 || run(audit, name, audit->replay, output, &status, err) != 0 ||
	    textfile_read(&text, &size, output, err) != 0)
		return -1;
	root = json_loadb(text, size, 0, &wrong);
	free(text);
	if (!root || !json_is_string(json_object_get(root, "digest")) ||
	    !json_is_object(json_object_get(root, "tasks"))) {
		json_decref(root);
		return error_set(err, EPROTO, "%s: printed no {\"digest\": \"...\", \"tasks\": {...}}: %.80s", name,
		    root ? "a member is missing" : wrong.text);
	}
	*ret = root;
	return 0;
}

/* --- state = replay(log): what the system said last of each task, against the log --- */

static bool take_outcome(void *arg, const struct op *op)
{
	json_t *last = arg;

	if (op->kind == OP_OUTCOME && *op->task) /* the last one wins */
		json_object_set_new(last, op->task, json_integer(op->type));
	return false;
}

static bool among(const struct spec_strings *words, const char *word)
{
	for (size_t i = 0; i < words->count; i++)
		if (!strcmp(words->items[i], word))
			return true;
	return false;
}

/* Number of tasks compared; what differs first goes to `difference`. */
static int64_t compare(struct audit *audit, json_t *last, json_t *tasks, char *difference, size_t size)
{
	const struct spec_manifest *manifest = audit->system->manifest;
	const char *task;
	json_t *said;
	int64_t compared = 0;

	difference[0] = '\0';
	json_object_foreach (last, task, said) {
		json_int_t type = json_integer_value(said);
		const struct spec_strings *words = type == OP_OK ? &manifest->outcome.done : &manifest->outcome.failed;
		const char *state = json_string_value(json_object_get(tasks, task));

		if (type != OP_OK && type != OP_FAIL)
			continue; /* it was still open then: it may be anything now */
		compared++;
		if (difference[0] || (state && among(words, state)))
			continue;
		snprintf(difference, size, "task %.100s: the system said %s, the log says %.60s", task,
		    type == OP_OK ? "done" : "failed", state ? state : "nothing");
	}
	return compared;
}

static void check_replay(struct audit *audit)
{
	json_t *last = json_object(), *root = NULL;
	struct error error;
	char difference[224];
	int64_t compared;

	if (!last)
		return;
	history_scan(audit->system->history, 0, take_outcome, last);
	if (replay(audit, "replay-log", &root, &error) != 0) {
		record(audit, "replay", false, 0, error.text);
	} else {
		compared = compare(audit, last, json_object_get(root, "tasks"), difference, sizeof difference);
		if (difference[0])
			record(audit, "replay", false, compared, difference);
		else if (compared)
			record(audit, "replay", true, compared, NULL);
	}
	json_decref(root);
	json_decref(last);
}

/* --- a second crash during recovery changes nothing --- */

struct commits {
	json_t *seen; /* task: commit id */
	char twice[224];
};

static void count_commit(void *arg, const char *id, const char *task)
{
	struct commits *commits = arg;
	const char *first = json_string_value(json_object_get(commits->seen, task));

	if (!*task)
		return;
	if (first && !commits->twice[0])
		snprintf(commits->twice, sizeof commits->twice,
		    "after recovery task %.100s has two commits: %.12s and %.12s", task, first, id);
	json_object_set_new(commits->seen, task, json_string(id));
}

/* 0: no task has two commits in the copy's ledger, or it has none. */
static int check_ledger(struct audit *audit, struct error *err)
{
	const struct spec_manifest *manifest = audit->system->manifest;
	struct commits commits = {.seen = NULL, .twice = ""};
	struct ledger *ledger = NULL;
	char *repository = NULL;
	int result = -1;

	if (!manifest->commits.git)
		return 0;
	commits.seen = json_object();
	if (!commits.seen)
		return error_set(err, ENOMEM, "no memory for the ledger");
	if (spec_expand(&repository, manifest->commits.git, copy_lookup, audit, err) != 0 ||
	    ledger_create(&ledger,
		&(struct ledger_options){.repository = repository,
		    .branch = manifest->commits.branch,
		    .task_trailer = manifest->commits.task_trailer},
		err) != 0 ||
	    ledger_each(ledger, count_commit, &commits, err) != 0)
		goto out;
	result = commits.twice[0] ? error_set(err, EEXIST, "%s", commits.twice) : 0;
out:
	ledger_destroy(ledger);
	free(repository);
	json_decref(commits.seen);
	return result;
}

/* A recovery that is killed at the manifest's point. *ret_killed: it came there. */
static int recover_and_die(struct audit *audit, bool *ret_killed, struct error *err)
{
	struct system *system = audit->system;
	const char *key = "audit";
	struct error error;
	uint64_t hits = 0;
	int status;

	if (faultpoints_set(system->faultpoints,
		&(struct tritone_point_rule){.struct_size = sizeof(struct tritone_point_rule),
		    .action = TRITONE_POINT_KILL,
		    .key = key,
		    .name = system->manifest->wal.recover_point,
		    .nth = 1,
		    .count = 1},
		err) != 0)
		return -1;
	status = 0;
	if (run(audit, "recover-and-die", audit->recover, NULL, &status, &error) == 0) {
		faultpoints_clear(system->faultpoints, key);
		return 0;
	}
	faultpoints_hits(system->faultpoints, key, &hits, NULL, NULL);
	faultpoints_clear(system->faultpoints, key);
	if (!hits || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		return error_set(err, error.code, "%s", error.text);
	*ret_killed = true;
	return keeper_stop(system->keeper, 0, NULL, err); /* whatever it had started */
}

static int recover_twice(struct audit *audit, bool *ret_killed, int64_t *ret_tasks, struct error *err)
{
	json_t *first = NULL, *second = NULL;
	const char *one, *two;
	int result = -1, status;

	if (audit->system->manifest->wal.recover_point && recover_and_die(audit, ret_killed, err) != 0)
		return -1;
	if (run(audit, "recover-1", audit->recover, NULL, &status, err) != 0 ||
	    replay(audit, "replay-1", &first, err) != 0 ||
	    run(audit, "recover-2", audit->recover, NULL, &status, err) != 0 ||
	    replay(audit, "replay-2", &second, err) != 0)
		goto out;
	one = json_string_value(json_object_get(first, "digest"));
	two = json_string_value(json_object_get(second, "digest"));
	if (strcmp(one, two) != 0) {
		error_set(err, EPROTO, "recovered once the state is %.40s, recovered twice it is %.40s", one, two);
		goto out;
	}
	if (!json_equal(json_object_get(first, "tasks"), json_object_get(second, "tasks"))) {
		error_set(err, EPROTO, "a second recovery changed the tasks, though not the digest %.40s", one);
		goto out;
	}
	*ret_tasks = (int64_t)json_object_size(json_object_get(second, "tasks"));
	result = check_ledger(audit, err);
out:
	json_decref(first);
	json_decref(second);
	return result;
}

static void check_recovery(struct audit *audit)
{
	struct error error;
	bool killed = false;
	int64_t tasks = 0;
	char how[96];

	if (recover_twice(audit, &killed, &tasks, &error) == 0) {
		snprintf(how, sizeof how, "from the state at the %s%s",
		    audit->system->crash_kept ? "first crash" : "end", killed ? ", one recovery killed half way" : "");
		record(audit, "recover-twice", true, tasks, how);
	} else {
		record(audit, "recover-twice", false, tasks, error.text);
	}
}

/* --- --- */

/* A copy holds all that the commands touch, or they may not be run: is the ledger inside? */
static bool self_contained(struct system *system, struct error *err)
{
	const struct spec_manifest *manifest = system->manifest;
	const char *state = system->state_dir;
	size_t size = strlen(state);
	char *repository;
	bool inside;

	if (!manifest->commits.git)
		return true;
	if (spec_expand(&repository, manifest->commits.git, system_lookup, system, err) != 0)
		return false;
	inside = !strncmp(repository, state, size) && (repository[size] == '/' || !repository[size]);
	free(repository);
	return inside;
}

static void forget_commands(struct audit *audit)
{
	strings_free(audit->environment);
	strings_free(audit->replay);
	strings_free(audit->recover);
	audit->environment = audit->replay = audit->recover = NULL;
}

/* Points the commands at a copy. */
static int aim(struct audit *audit, const char *name, struct error *err)
{
	struct system *system = audit->system;
	const struct spec_manifest *manifest = system->manifest;

	forget_commands(audit);
	if (snprintf(audit->copy, sizeof audit->copy, "%s/%s", system->run_dir, name) >= (int)sizeof audit->copy)
		return error_set(err, ENAMETOOLONG, "%s: too long", system->run_dir);
	if (variables_environment(&audit->environment, manifest,
		&manifest->processes[manifest->main_process].environment, faultpoints_path(system->faultpoints),
		copy_lookup, audit, err) != 0 ||
	    variables_expand_all(&audit->replay, &manifest->wal.replay, NULL, copy_lookup, audit, err) != 0)
		return -1;
	if (!manifest->wal.recover.count)
		return 0;
	/* What makes the system under test what it is in this experiment (a seeded bug) makes its recovery so too. */
	return variables_expand_all(
	    &audit->recover, &manifest->wal.recover, system->arguments, copy_lookup, audit, err);
}

static int copy_state(struct system *system, const char *name, struct error *err)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof path, "%s/%s", system->run_dir, name) >= (int)sizeof path)
		return error_set(err, ENAMETOOLONG, "%s: too long", system->run_dir);
	if (removetree(path, err) == 0 && copytree(system->state_dir, path, err) == 0)
		return 0;
	removetree(path, NULL);
	return error_context(err, "copy of the state directory");
}

void audit_crashed(struct system *system)
{
	const struct spec_manifest *manifest = system->manifest;

	if (system->crash_kept || !manifest->wal.recover.count || !manifest->wal.replay.count ||
	    !self_contained(system, NULL))
		return;
	system->crash_kept = copy_state(system, CRASH_NAME, NULL) == 0;
}

/* The log of the end against what the system said; recovery from where the system crashed, if it did. */
static int audit_log(struct audit *audit, struct error *err)
{
	struct system *system = audit->system;
	char end[PATH_MAX];

	if (copy_state(system, COPY_NAME, err) != 0 || aim(audit, COPY_NAME, err) != 0)
		return -1;
	snprintf(end, sizeof end, "%s", audit->copy);
	check_replay(audit);
	if (!system->manifest->wal.recover.count)
		return audit->bad ? 0 : removetree(end, err);
	if (system->crash_kept && aim(audit, CRASH_NAME, err) != 0)
		return -1;
	check_recovery(audit);
	if (audit->bad)
		return 0; /* the copies stay for the post-mortem */
	return removetree(end, err) != 0 ? -1 : removetree(audit->copy, err);
}

int system_audit(struct system *system, struct error *err)
{
	const struct spec_manifest *manifest = system->manifest;
	struct audit audit = {.system = system};
	struct error outside = {0};
	int result = 0;

	if (!system->stopped)
		return error_set(err, EBUSY, "%s: still running: it is audited after the stop", manifest->name);
	if (system->statefiles && statefiles_audit(system->statefiles, err) != 0)
		return -1;
	if (!manifest->wal.directory)
		return 0;
	if (spec_expand(&audit.wal_dir, manifest->wal.directory, system_lookup, system, err) != 0)
		return -1;
	verify_log(&audit);
	if (manifest->wal.replay.count && self_contained(system, &outside))
		result = audit_log(&audit, err);
	else if (outside.code)
		result = error_set(err, outside.code, "%s", outside.text);
	free(audit.wal_dir);
	forget_commands(&audit);
	return result;
}
