/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests of systems: the table of their keys, and what a table cannot say. */
#include "spec/tables.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check/check.h"
#include "spec/policy.h"

#define IN(member_) .offset = offsetof(struct spec_manifest, member_)

static const struct node_field restart_fields[] = {
    {.key = "on-crash",
	.type = NODE_BOOL,
	IN(restart.on_crash),
	.fallback = "false",
	.help = "Start the process again when it has died: what a keeper in production would do."},
    {.key = "delay",
	.type = NODE_DURATION,
	IN(restart.delay_ms),
	.fallback = "100ms",
	.help = "So long after its death."},
    {.key = "max", .type = NODE_UINT, IN(restart.max), .fallback = "10", .help = "At most so often in a run."},
    {.key = NULL},
};
static const struct node_table restart_table = {.fields = restart_fields};

static const struct node_field gateway_fields[] = {
    {.key = "providers",
	.type = NODE_STRINGS,
	.required = true,
	IN(gateway.providers),
	.help = "Model providers, in the order of the cascade."},
    {.key = "cascade",
	.type = NODE_STRINGS,
	IN(gateway.cascade),
	.help = "The order of fallback when it tells models of one provider apart: PROVIDER, whichever model, or "
		"PROVIDER/MODEL. Without it, that of the providers."},
    {.key = "sinks", .type = NODE_STRINGS, IN(gateway.sinks), .help = "Notification sinks."},
    {.key = "task-header",
	.type = NODE_TEXT,
	IN(gateway.task_header),
	.help = "Header of a model request that names its task."},
    {.key = "attempt-header", .type = NODE_TEXT, IN(gateway.attempt_header), .help = "The same for the attempt."},
    {.key = "sink-task",
	.type = NODE_TEXT,
	IN(gateway.sink_task),
	.help = "Member of a notification's JSON body that names its task."},
    {.key = "sink-key",
	.type = NODE_TEXT,
	IN(gateway.sink_key),
	.help = "The same for the key by which a repeat can be told."},
    {.key = "latency",
	.type = NODE_DURATION,
	IN(gateway.latency_ms),
	.fallback = "0ms",
	.help = "How long a provider's reply takes."},
    {.key = "script",
	.type = NODE_TEXT,
	IN(gateway.script),
	.help = "What the models say: a file as in tritone-script(5), its path relative to this one. Without it, the "
		"built-in plan."},
    {.key = "task-pattern",
	.type = NODE_TEXT,
	IN(gateway.task_pattern),
	.help = "Where a request has no such header: a Perl-compatible pattern that is looked for in the user's last "
		"message, then in the system prompt; its first group is the task."},
    {.key = "upstreams",
	.type = NODE_LIST,
	IN(gateway.upstreams),
	.count_offset = offsetof(struct spec_manifest, gateway.upstream_count),
	.table = &spec_upstream_table,
	.help = "Providers that are real: see REAL PROVIDERS. All others are played by the gateway."},
    {.key = "record",
	.type = NODE_TEXT,
	IN(gateway.record),
	.help = "What they answer is added to this file, its path relative to this one."},
    {.key = "replay",
	.type = NODE_TEXT,
	IN(gateway.replay),
	.help = "They are answered from such a file, and nobody is asked; where _upstreams_ names none, all providers "
		"are."},
    {.key = NULL},
};
static const struct node_table gateway_table = {.fields = gateway_fields};

static const struct node_field state_fields[] = {
    {.key = "directory",
	.type = NODE_TEXT,
	IN(state.directory),
	.fallback = "${state}",
	.help = "Where its files are."},
    {.key = "json",
	.type = NODE_STRINGS,
	IN(state.json),
	.help = "Globs of files that must be whole JSON whenever they are looked at; \\*\\* crosses directories."},
    {.key = "temporary",
	.type = NODE_STRINGS,
	IN(state.temporary),
	.help = "Globs of names that may not be left over after a stop."},
    {.key = NULL},
};
static const struct node_table state_table = {.fields = state_fields};

static const struct node_field wal_fields[] = {
    {.key = "directory",
	.type = NODE_TEXT,
	.required = true,
	IN(wal.directory),
	.help = "The log, in the format of wal/."},
    {.key = "replay",
	.type = NODE_STRINGS,
	IN(wal.replay),
	.help = "Command that prints {\"digest\": ..., \"tasks\": {ID: STATE}} from the log alone."},
    {.key = "recover",
	.type = NODE_STRINGS,
	IN(wal.recover),
	.help = "Command that recovers a copy (*${state}* is the copy) without starting work, then exits 0."},
    {.key = "recover-point",
	.type = NODE_TEXT,
	IN(wal.recover_point),
	.help = "Fault point at which one recovery is killed, to see that a second crash changes nothing."},
    {.key = NULL},
};
static const struct node_table wal_table = {.fields = wal_fields};

static int unique(struct node_file *file, const yaml_node_t *node, const struct spec_strings *list, const char *what)
{
	size_t i, j;

	if (list->count > CHECK_PROVIDERS_MAX)
		return node_fail(file, node, "more than %d %ss", CHECK_PROVIDERS_MAX, what);
	for (i = 0; i < list->count; i++)
		for (j = 0; j < i; j++)
			if (!strcmp(list->items[i], list->items[j]))
				return node_fail(file, node, "the %s '%.40s' is here twice", what, list->items[i]);
	return 0;
}

/* Each place names a provider that there is, and none is there twice. */
static int cascade_finish(struct node_file *file, yaml_node_t *gateway, const struct spec_manifest *manifest)
{
	const struct spec_strings *cascade = &manifest->gateway.cascade, *providers = &manifest->gateway.providers;
	yaml_node_t *list = node_get(file, gateway, "cascade");
	size_t i, j;

	if (cascade->count > CHECK_CASCADE_MAX)
		return node_fail(file, list, "more than %d places", CHECK_CASCADE_MAX);
	for (i = 0; i < cascade->count; i++) {
		yaml_node_t *at = list->type == YAML_SEQUENCE_NODE ? node_at(file, list, i) : list;
		const char *place = cascade->items[i];
		size_t length = strcspn(place, "/");

		if (place[length] == '/' && !place[length + 1])
			return node_fail(file, at, "'%.40s': a model is missing", place);
		for (j = 0; j < providers->count; j++)
			if (strlen(providers->items[j]) == length && !strncmp(providers->items[j], place, length))
				break;
		if (j == providers->count)
			return node_fail(file, at, "'%.40s': there is no such provider", place);
		for (j = 0; j < i; j++)
			if (!strcmp(cascade->items[j], place))
				return node_fail(file, at, "the place '%.40s' is here twice", place);
	}
	return 0;
}

static bool has(const struct spec_strings *list, const char *word)
{
	size_t i;

	for (i = 0; i < list->count; i++)
		if (!strcmp(list->items[i], word))
			return true;
	return false;
}

/* The words of `more` behind those of `list`, in the file's memory. */
static int append(struct node_file *file, struct spec_strings *list, const struct spec_strings *more)
{
	char **items = arena_alloc(file->arena, (list->count + more->count + 1) * sizeof *items);
	size_t i;

	if (!items)
		return node_no_memory(file);
	for (i = 0; i < list->count; i++)
		items[i] = list->items[i];
	for (i = 0; i < more->count; i++)
		items[list->count + i] = more->items[i];
	items[list->count + more->count] = NULL;
	list->items = items;
	list->count += more->count;
	return 0;
}

/* What makes the orchestrator what it is makes its recovery so, too. */
static int arguments_finish(struct node_file *file, struct spec_manifest *manifest)
{
	const struct spec_strings *more = &manifest->arguments;

	if (more->count && append(file, &manifest->processes[manifest->main_process].command, more) != 0)
		return -1;
	return more->count && manifest->wal.recover.count ? append(file, &manifest->wal.recover, more) : 0;
}

#define NAME_SIZE_MAX 63u /* bytes */

/* Files are called after it: it may not lead elsewhere. */
static int name_finish(struct node_file *file, const yaml_node_t *node, const char *what, const char *name)
{
	const char *c;

	for (c = name; *c && *c != '/' && (unsigned char)*c >= 0x20 && *c != 0x7f; c++)
		;
	if (*c || !*name || *name == '.' || strlen(name) > NAME_SIZE_MAX)
		return node_fail(file, node,
		    "the name of a %s has 1 to %u bytes, none of them a '/' or a control character, and does not begin "
		    "with a dot",
		    what, NAME_SIZE_MAX);
	return 0;
}

/* What the system's commands write has the same place as what its processes write, by these names. */
static int process_name_finish(struct node_file *file, const yaml_node_t *node, const char *name)
{
	static const char *const names[] = {
	    "keeper", "ready", "submit", "outcome", "slo", "prepare-", "replay-", "recover-", NULL};
	size_t i, size;

	for (i = 0; names[i]; i++) {
		size = strlen(names[i]);
		if (!strncmp(name, names[i], size) && (names[i][size - 1] == '-' || !name[size]))
			return node_fail(file, node,
			    "a process may not be called '%.40s': what %s writes is kept by that name", name,
			    i ? "a command of the manifest" : "the keeper of all processes");
	}
	return name_finish(file, node, "process", name);
}

static int names_finish(struct node_file *file, yaml_node_t *node, const struct spec_manifest *manifest)
{
	yaml_node_t *list = node_get(file, node, "processes");
	size_t i;

	if (name_finish(file, node_get(file, node, "name"), "system", manifest->name) != 0)
		return -1;
	for (i = 0; i < manifest->process_count; i++)
		if (process_name_finish(
			file, node_get(file, node_at(file, list, i), "name"), manifest->processes[i].name) != 0)
			return -1;
	return 0;
}

static int manifest_finish(struct node_file *file, yaml_node_t *node, void *out)
{
	struct spec_manifest *manifest = out;
	struct check_config scratch;
	yaml_node_t *at;
	size_t i, j;

	if (names_finish(file, node, manifest) != 0)
		return -1;
	while (manifest->main_process < manifest->process_count && manifest->processes[manifest->main_process].helper)
		manifest->main_process++;
	if (manifest->main_process == manifest->process_count)
		return node_fail(
		    file, node_get(file, node, "processes"), "all are helpers: which is the orchestrator?");
	if (manifest->commits.sink && !has(&manifest->gateway.sinks, manifest->commits.sink))
		return node_unknown(file, node_get(file, node_get(file, node, "commits"), "sink"), "sink",
		    manifest->commits.sink,
		    manifest->gateway.sinks.count ? (const char *const *)manifest->gateway.sinks.items
						  : (const char *const[]){NULL});
	for (i = 0; i < manifest->process_count; i++)
		for (j = 0; j < i; j++)
			if (!strcmp(manifest->processes[i].name, manifest->processes[j].name))
				return node_fail(file, node_at(file, node_get(file, node, "processes"), i),
				    "a second process named '%.40s'", manifest->processes[i].name);
	at = node_get(file, node, "gateway");
	if (at && (unique(file, at, &manifest->gateway.providers, "provider") != 0 ||
		      unique(file, at, &manifest->gateway.sinks, "sink") != 0 ||
		      cascade_finish(file, at, manifest) != 0 || spec_upstreams_finish(file, at, manifest) != 0))
		return -1;
	if (manifest->wal.recover_point) {
		const char *const *points = (const char *const *)manifest->faultpoints.items;

		for (i = 0; i < manifest->faultpoints.count; i++)
			if (!strcmp(points[i], manifest->wal.recover_point))
				break;
		at = node_get(file, node_get(file, node, "wal"), "recover-point");
		if (i == manifest->faultpoints.count)
			return node_unknown(file, at, "fault point", manifest->wal.recover_point,
			    points ? points : (const char *const[]){NULL});
	}
	if (arguments_finish(file, manifest) != 0)
		return -1;
	return policy_apply(&manifest->policy, file->path, &scratch, file->err);
}

static const struct node_field manifest_fields[] = {
    {.key = "name", .type = NODE_TEXT, .required = true, IN(name), .help = "What the system is called."},
    {.key = "description", .type = NODE_TEXT, IN(description), .help = "One sentence."},
    {.key = "prepare",
	.type = NODE_LIST,
	IN(prepare),
	.count_offset = offsetof(struct spec_manifest, prepare_count),
	.table = &spec_command_table,
	.form = "list of commands",
	.help = "Commands that run once, one after the other, before the first start; each must exit with 0."},
    {.key = "install",
	.type = NODE_MAP,
	.table = &spec_install_table,
	.help = "What has to be there before any run: done once, below *${install}*, and again only when one of "
		"_inputs_ or "
		"the commands have changed."},
    {.key = "ports",
	.type = NODE_STRINGS,
	IN(ports),
	.help = "Fixed TCP ports of 127.0.0.1 that the system will use, and that have to be free before it starts. "
		"Those in _ready_, "
		"_submit.url_ and _outcome.url_ are looked at without being named here."},
    {.key = "processes",
	.type = NODE_LIST,
	.required = true,
	.filled = true,
	IN(processes),
	.count_offset = offsetof(struct spec_manifest, process_count),
	.table = &spec_process_table,
	.help = "Started in this order, each once the one before is ready. The first that is no _helper_ is \"the "
		"orchestrator\"."},
    {.key = "arguments",
	.type = NODE_STRINGS,
	IN(arguments),
	.help = "Added to the orchestrator's command and to _wal.recover_, each time, before an experiment's own."},
    {.key = "stop-grace",
	.type = NODE_DURATION,
	.fallback = "5s",
	.min = 1,
	.max = 600000,
	IN(stop_grace_ms),
	.help = "At the end of a run all is sent SIGTERM; what is still there after this is killed, and told."},
    {.key = "restart", .type = NODE_MAP, .table = &restart_table, .help = "What happens when a process dies."},
    {.key = "submit",
	.type = NODE_MAP,
	.required = true,
	.table = &spec_submit_table,
	.help = "How a task is handed in."},
    {.key = "outcome",
	.type = NODE_MAP,
	.table = &spec_outcome_table,
	.help = "What the system says became of its tasks."},
    {.key = "agents", .type = NODE_MAP, .table = &spec_agents_table, .help = "Where its agents are seen."},
    {.key = "gateway",
	.type = NODE_MAP,
	.table = &gateway_table,
	.help = "The providers and sinks that it reaches through *${gateway}*."},
    {.key = "commits", .type = NODE_MAP, .table = &spec_commits_table, .help = "The ledger."},
    {.key = "slo", .type = NODE_MAP, .table = &spec_slo_table, .help = "What it claims of itself."},
    {.key = "state", .type = NODE_MAP, .table = &state_table, .help = "Its files."},
    {.key = "wal", .type = NODE_MAP, .table = &wal_table, .help = "Its own log."},
    {.key = "faultpoints",
	.type = NODE_STRINGS,
	IN(faultpoints),
	.help = "Points in its code that include tritone/faultpoint.h."},
    {.key = "contract",
	.type = NODE_CUSTOM,
	IN(contract),
	.read = spec_contract_read,
	.form = "map",
	.table = &spec_contract_table,
	.help = "What it promises, by its own documentation. A deviation that this permits is expected; a verdict says "
		"what "
		"happened, and "
		"whether the opposite was promised."},
    {.key = "policy",
	.type = NODE_PAIRS,
	IN(policy),
	.help = "Its limits, for the checkers; see tritone-invariants(7)."},
    {.key = NULL},
};
const struct node_table spec_manifest_table = {.fields = manifest_fields, .finish = manifest_finish};

/* What a run will know: those of the run, and those of a task, which only "submit" has. */
static const char *known_variable(void *arg, const char *name)
{
	static const char *const names[] = {"run", "state", "bin", "manifest", "install", "gateway", "seed", "task",
	    "key", "role", "after", "prompt", NULL};
	size_t i;

	(void)arg;
	if (!strncmp(name, "port.", 5) && name[5])
		return "";
	for (i = 0; names[i]; i++)
		if (!strcmp(names[i], name))
			return "";
	return NULL;
}

/* A variable that does not exist is found here, with its place, and not when the system is started. */
static int check_variables(struct node_file *file)
{
	yaml_node_t *description = node_get(file, node_root(file), "description"), *node;
	struct error why;
	char *text;

	for (node = file->document.nodes.start; node < file->document.nodes.top; node++) {
		if (node->type != YAML_SCALAR_NODE || node == description)
			continue;
		if (spec_expand(&text, (const char *)node->data.scalar.value, known_variable, NULL, &why) != 0)
			return node_fail(file, node, "%s", why.text);
		free(text);
	}
	return 0;
}

/* The script is looked at together with the manifest: its mistakes are found before anything is started. */
static int check_gateway(struct node_file *file, struct spec_manifest *manifest)
{
	yaml_node_t *gateway = node_get(file, node_root(file), "gateway");
	struct spec_script *script = NULL;

	if (manifest->gateway.task_pattern &&
	    spec_check_pattern(file, node_get(file, gateway, "task-pattern"), manifest->gateway.task_pattern) != 0)
		return -1;
	if (!manifest->gateway.script)
		return 0;
	manifest->gateway.script = spec_beside(file->arena, file->path, manifest->gateway.script);
	if (!manifest->gateway.script)
		return node_no_memory(file);
	if (access(manifest->gateway.script, R_OK) != 0)
		return node_fail(file, node_get(file, gateway, "script"), "the script %.150s: %s",
		    manifest->gateway.script, strerror(errno));
	if (spec_script_load(&script, manifest->gateway.script, file->err) != 0)
		return -1;
	spec_script_free(script);
	return 0;
}

static int read_manifest(struct node_file *file, void *out)
{
	struct spec_manifest *manifest = out;

	manifest->file = arena_text(file->arena, file->path, strlen(file->path));
	if (!manifest->file)
		return node_no_memory(file);
	if (node_top(file, &spec_manifest_table, manifest) != 0 || check_variables(file) != 0)
		return -1;
	return check_gateway(file, manifest);
}

int spec_manifest_load(struct spec_manifest **ret_manifest, const char *path, struct error *err)
{
	void *manifest;

	if (spec_file_load(&manifest, sizeof **ret_manifest, path, read_manifest, err) != 0)
		return -1;
	*ret_manifest = manifest;
	return 0;
}

void spec_manifest_free(struct spec_manifest *manifest)
{
	spec_file_free(manifest);
}
