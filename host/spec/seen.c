/* SPDX-License-Identifier: Apache-2.0 */
/* What a manifest says of a system's outside: how tasks go in, and where their ends, commits, agents and claims are seen. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "spec/tables.h"

#define IN(member_) .offset = offsetof(struct spec_manifest, member_)

/* ---- what several have in common ---- */

/* Exactly one of the keys is there. */
static int one_of(struct node_file *file, yaml_node_t *node, const char *what, const char *const *keys)
{
	size_t i, count = 0, used = 0;
	char list[128] = "";

	for (i = 0; keys[i]; i++) {
		count += node_get(file, node, keys[i]) != NULL;
		used += (size_t)snprintf(
		    list + used, sizeof list - used, "%s'%s'", i ? (keys[i + 1] ? ", " : " or ") : "", keys[i]);
	}
	if (count == 1)
		return 0;
	return node_fail(file, node, count ? "%s: only one of %s" : "%s: one of %s is wanted", what, list);
}

/* A pattern that compiles, and has the group if one is wanted. */
int spec_pattern(struct node_file *file, const yaml_node_t *node, const char *text, const char *group)
{
	PCRE2_UCHAR why[160];
	PCRE2_SIZE at;
	pcre2_code *code;
	int error, found;

	if (!text)
		return 0;
	code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, 0, &error, &at, NULL);
	if (!code) {
		pcre2_get_error_message(error, why, sizeof why);
		return node_fail(file, node, "the pattern is wrong at %zu: %s", (size_t)at, (const char *)why);
	}
	found = group ? pcre2_substring_number_from_name(code, (PCRE2_SPTR)group) : 0;
	pcre2_code_free(code);
	return found >= 0 ? 0 : node_fail(file, node, "the pattern has no group (?<%s>...)", group);
}

/* ---- submit ---- */

static const struct node_field accepted_fields[] = {
    {.key = "file",
	.type = NODE_TEXT,
	IN(submit.accepted_file),
	.help = "Once this file exists; *${task}* as in _body_."},
    {.key = "taken", .type = NODE_BOOL, IN(submit.taken), .fallback = "false", .help = "Once the spool file is gone."},
    {.key = NULL},
};
static const struct node_table accepted_table = {.fields = accepted_fields};

static const struct node_field submit_fields[] = {
    {.key = "url", .type = NODE_TEXT, IN(submit.url), .help = "Where a task is handed in by HTTP."},
    {.key = "command",
	.type = NODE_STRINGS,
	.filled = true,
	IN(submit.command),
	.help = "Instead: a command that hands it in, with the variables of _body_. Exit status 0: accepted; a signal, "
		"or no end in "
		"time: unknown; else refused."},
    {.key = "file",
	.type = NODE_TEXT,
	IN(submit.file),
	.help = "Instead: a spool file, whose name has *${task}* or *${key}* in it; _body_ is written beside it and "
		"renamed. "
		"Accepted at "
		"once, unless _accepted_ says when."},
    {.key = "accepted",
	.type = NODE_MAP,
	.table = &accepted_table,
	.help = "How it shows that a task of a command or a spool file was accepted; not by then: unknown."},
    {.key = "method", .type = NODE_TEXT, IN(submit.method), .fallback = "POST", .help = "HTTP method."},
    {.key = "headers", .type = NODE_PAIRS, IN(submit.headers), .help = "HTTP headers to send."},
    {.key = "body",
	.type = NODE_TEXT,
	IN(submit.body),
	.help =
	    "*${task}* *${key}* *${role}* *${prompt}*, escaped for a JSON string, and *${after}*, a JSON array of task "
	    "names, are filled in."},
    {.key = "timeout",
	.type = NODE_DURATION,
	IN(submit.timeout_ms),
	.fallback = "5s",
	.min = 1,
	.max = 3600000,
	.help = "Of HTTP, 2xx: accepted; 4xx and 5xx: refused; anything else, or nothing by then: unknown."},
    {.key = NULL},
};

static int submit_finish(struct node_file *file, yaml_node_t *node, void *out)
{
	static const char *const ways[] = {"url", "command", "file", NULL};
	const struct spec_manifest *manifest = out;

	if (one_of(file, node, "submit", ways) != 0)
		return -1;
	if (!manifest->submit.command.count && !manifest->submit.body)
		return node_fail(file, node, "the key 'body' is missing");
	if (manifest->submit.url && node_get(file, node, "accepted"))
		return node_fail(file, node_get(file, node, "accepted"), "'accepted' goes with 'command' and 'file'");
	if (manifest->submit.taken && !manifest->submit.file)
		return node_fail(file, node_get(file, node, "accepted"), "'taken' is about a spool 'file'");
	if (manifest->submit.file && !strstr(manifest->submit.file, "${task}") &&
	    !strstr(manifest->submit.file, "${key}"))
		return node_fail(file, node_get(file, node, "file"),
		    "each task needs a file of its own: ${task} or ${key} in its name");
	return 0;
}
const struct node_table spec_submit_table = {.fields = submit_fields, .finish = submit_finish};

/* ---- outcome ---- */

static const struct node_field outcome_fields[] = {
    {.key = "url", .type = NODE_TEXT, IN(outcome.url), .help = "GET; JSON."},
    {.key = "command",
	.type = NODE_STRINGS,
	.filled = true,
	IN(outcome.command),
	.help = "Instead: a command that prints the same JSON and exits with 0."},
    {.key = "file", .type = NODE_TEXT, IN(outcome.file), .help = "Instead: a file with the same JSON."},
    {.key = "each",
	.type = NODE_STRINGS,
	.filled = true,
	IN(outcome.each),
	.help = "Instead: a command for one *${task}*. Exit status 0: done; 1: given up; else still open."},
    {.key = "done-file",
	.type = NODE_TEXT,
	IN(outcome.done_file),
	.help = "Instead: a task is done once this file, with *${task}* in its name, exists."},
    {.key = "failed-file", .type = NODE_TEXT, IN(outcome.failed_file), .help = "And given up once this one does."},
    {.key = "list",
	.type = NODE_TEXT,
	IN(outcome.list),
	.help = "Member that holds the array of tasks; the JSON itself is the array when not given."},
    {.key = "id", .type = NODE_TEXT, IN(outcome.id), .fallback = "id", .help = "Member with the task's name."},
    {.key = "state", .type = NODE_TEXT, IN(outcome.state), .fallback = "state", .help = "Member with its state."},
    {.key = "reason", .type = NODE_TEXT, IN(outcome.reason), .help = "Member with the reason of a failure."},
    {.key = "done",
	.type = NODE_STRINGS,
	.filled = true,
	IN(outcome.done),
	.help = "States after which nothing more happens to a task that went well; needed with _url_, _command_ and "
		"_file_."},
    {.key = "failed",
	.type = NODE_STRINGS,
	IN(outcome.failed),
	.help = "The same for a task that was given up, aloud."},
    {.key = NULL},
};

static int outcome_finish(struct node_file *file, yaml_node_t *node, void *out)
{
	static const char *const ways[] = {"url", "command", "file", "each", "done-file", NULL};
	const struct spec_manifest *manifest = out;
	const char *done = manifest->outcome.done_file;

	if (one_of(file, node, "outcome", ways) != 0)
		return -1;
	if (!manifest->outcome.each.count && !done && !manifest->outcome.done.count)
		return node_fail(file, node, "the key 'done' is missing");
	if (done && !strstr(done, "${task}"))
		return node_fail(
		    file, node_get(file, node, "done-file"), "each task needs a file of its own: ${task} in its name");
	return 0;
}
const struct node_table spec_outcome_table = {.fields = outcome_fields, .finish = outcome_finish};

/* ---- agents ---- */

static const struct node_field agents_fields[] = {
    {.key = "pid-files",
	.type = NODE_TEXT,
	IN(agents.pid_files),
	.help = "Glob below *${state}*; what its first \\* matches is the agent's id. Each file holds a pid."},
    {.key = "task-files", .type = NODE_TEXT, IN(agents.task_files), .help = "The same for the task that it works on."},
    {.key = "worktree-files",
	.type = NODE_TEXT,
	IN(agents.worktree_files),
	.help = "The same for the directory in which it works."},
    {.key = "pattern",
	.type = NODE_TEXT,
	IN(agents.pattern),
	.help = "Instead: a regular expression (PCRE2) that matches the command line (its words with a blank between) "
		"of each process "
		"of the system that is an agent. The groups _(?<id>...)_ and _(?<task>...)_ name it and its task; its "
		"directory is "
		"where it "
		"works. Looked for at short intervals: one that is gone sooner is not seen."},
    {.key = "task-environment",
	.type = NODE_TEXT,
	IN(agents.task_environment),
	.help = "With _pattern_: the variable of its environment that names its task."},
    {.key = NULL},
};

static int agents_finish(struct node_file *file, yaml_node_t *node, void *out)
{
	static const char *const ways[] = {"pid-files", "pattern", NULL}, *const globs[] = {"pid-files", "task-files",
									      "worktree-files", NULL};
	const struct spec_manifest *manifest = out;
	size_t i;

	if (one_of(file, node, "agents", ways) != 0)
		return -1;
	for (i = 0; globs[i]; i++) {
		yaml_node_t *at = node_get(file, node, globs[i]);

		if (at && !strchr((const char *)at->data.scalar.value, '*'))
			return node_fail(file, at, "'%s' needs a '*' where the agent's id is", globs[i]);
		if (at && manifest->agents.pattern)
			return node_fail(file, at, "'%s' goes with 'pid-files'", globs[i]);
	}
	if (manifest->agents.task_environment && !manifest->agents.pattern)
		return node_fail(
		    file, node_get(file, node, "task-environment"), "'task-environment' goes with 'pattern'");
	return spec_pattern(file, node_get(file, node, "pattern"), manifest->agents.pattern, NULL);
}
const struct node_table spec_agents_table = {.fields = agents_fields, .finish = agents_finish};

/* ---- commits ---- */

static const struct node_field commits_fields[] = {
    {.key = "git", .type = NODE_TEXT, IN(commits.git), .help = "The repository where work lands."},
    {.key = "branch", .type = NODE_TEXT, IN(commits.branch), .fallback = "main", .help = "The branch."},
    {.key = "task-trailer",
	.type = NODE_TEXT,
	IN(commits.task_trailer),
	.help = "Trailer of a commit message that names the task; needed with _git_."},
    {.key = "attempt-trailer", .type = NODE_TEXT, IN(commits.attempt_trailer), .help = "The same for the attempt."},
    {.key = "epoch-trailer", .type = NODE_TEXT, IN(commits.epoch_trailer), .help = "The same for the fencing token."},
    {.key = "file",
	.type = NODE_TEXT,
	IN(commits.file),
	.help = "Instead: a file to which each commit is appended as a line."},
    {.key = "pattern",
	.type = NODE_TEXT,
	IN(commits.pattern),
	.help = "With _file_: a regular expression (PCRE2) that matches the line of a commit, with the groups "
		"_(?<task>...)_ and, "
		"if there "
		"are such, _(?<attempt>...)_, _(?<epoch>...)_ and _(?<id>...)_. Lines that it does not match are no "
		"commits."},
    {.key = "sink",
	.type = NODE_TEXT,
	IN(commits.sink),
	.help = "Instead: the one of _gateway.sinks_ to which each commit is sent. Its body names the task by "
		"_gateway.sink-task_ and the "
		"commit by _gateway.sink-key_; what the sink answers 2xx has landed."},
    {.key = NULL},
};

static int commits_finish(struct node_file *file, yaml_node_t *node, void *out)
{
	static const char *const ways[] = {"git", "file", "sink", NULL};
	const struct spec_manifest *manifest = out;

	if (one_of(file, node, "commits", ways) != 0)
		return -1;
	if (manifest->commits.git && !manifest->commits.task_trailer)
		return node_fail(file, node, "the key 'task-trailer' is missing");
	if (manifest->commits.file && !manifest->commits.pattern)
		return node_fail(file, node, "the key 'pattern' is missing");
	if (manifest->commits.pattern && !manifest->commits.file)
		return node_fail(file, node_get(file, node, "pattern"), "'pattern' goes with 'file'");
	return spec_pattern(file, node_get(file, node, "pattern"), manifest->commits.pattern, "task");
}
const struct node_table spec_commits_table = {.fields = commits_fields, .finish = commits_finish};

/* ---- slo ---- */

static const struct node_field slo_fields[] = {
    {.key = "file",
	.type = NODE_TEXT,
	IN(slo.file),
	.help =
	    "The system's own SLO file: slos[] {name, current, status, met}, error_budget {budget_fraction, status}."},
    {.key = "url", .type = NODE_TEXT, IN(slo.url), .help = "Instead: a URL that answers with the same."},
    {.key = "command",
	.type = NODE_STRINGS,
	.filled = true,
	IN(slo.command),
	.help = "Instead: a command that prints the same."},
    {.key = "metrics",
	.type = NODE_TEXT,
	IN(slo.metrics),
	.help = "Instead: a URL that answers in Prometheus' text format. Each sample named in _samples_ is a claim."},
    {.key = "samples",
	.type = NODE_PAIRS,
	IN(slo.samples),
	.form = "map of conditions",
	.help = "The claim's name, and what must hold of a sample for it to be met: _task-success: "
		"'tasks_ok_ratio{queue=\"a\"} >= 0.9'_."},
    {.key = "every",
	.type = NODE_DURATION,
	IN(slo.every_ms),
	.fallback = "250ms",
	.min = 10,
	.max = 3600000,
	.help = "How often a URL or a command is asked."},
    {.key = NULL},
};

static int slo_finish(struct node_file *file, yaml_node_t *node, void *out)
{
	static const char *const ways[] = {"file", "url", "command", "metrics", NULL};
	const struct spec_manifest *manifest = out;

	if (one_of(file, node, "slo", ways) != 0)
		return -1;
	if ((manifest->slo.metrics != NULL) != (manifest->slo.samples.count > 0))
		return node_fail(file, node, "'metrics' and 'samples' go together");
	return 0;
}
const struct node_table spec_slo_table = {.fields = slo_fields, .finish = slo_finish};

/* ---- what there is to see ---- */

bool spec_has_ledger(const struct spec_manifest *manifest)
{
	return manifest->commits.git || manifest->commits.file || manifest->commits.sink;
}

bool spec_has_outcome(const struct spec_manifest *manifest)
{
	return manifest->outcome.url || manifest->outcome.command.count || manifest->outcome.file ||
	       manifest->outcome.each.count || manifest->outcome.done_file;
}

bool spec_has_agents(const struct spec_manifest *manifest)
{
	return manifest->agents.pid_files || manifest->agents.pattern;
}

bool spec_has_claims(const struct spec_manifest *manifest)
{
	return manifest->slo.file || manifest->slo.url || manifest->slo.command.count || manifest->slo.metrics;
}
