/* SPDX-License-Identifier: Apache-2.0 */
/* The life of the system under test: created, prepared, started, observed, stopped. */
#include "system/system.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "system/install.h"
#include "system/private.h"
#include "system/tail.h"

#define PREPARE_TIMEOUT_MS 60000

static int make_directory(char **ret, const char *parent, const char *name, struct error *err)
{
	char *path;

	if (asprintf(&path, "%s/%s", parent, name) < 0)
		return error_set(err, ENOMEM, "%s/%s: no memory", parent, name);
	*ret = path; /* freed with the system */
	if (mkdir(path, 0700) != 0 && errno != EEXIST) {
		int code = errno;

		return error_set(err, code, "%s: %s", path, strerror(code));
	}
	return 0;
}

/* ${manifest}, absolute: what is started is started elsewhere. */
static void manifest_directory(const char *file, char *ret, size_t size)
{
	char real[PATH_MAX], *slash;

	if (!file || !realpath(file, real) || !(slash = strrchr(real, '/')))
		snprintf(real, sizeof real, "/");
	else
		slash[slash == real ? 1 : 0] = '\0';
	snprintf(ret, size, "%s", real);
}

int system_create(struct system **ret_system, const struct system_options *options, struct error *err)
{
	struct system *system = calloc(1, sizeof *system);
	char points[PATH_MAX], manifest_dir[PATH_MAX];

	if (!system)
		return error_set(err, ENOMEM, "no memory for the system");
	pthread_mutex_init(&system->lock, NULL);
	pthread_mutex_init(&system->looking, NULL);
	system->manifest = options->manifest;
	system->arguments = options->arguments;
	system->history = options->history;
	system->gateway = options->gateway;
	system->syscall_filter = options->syscall_filter;
	system->interrupt_fd = options->interrupt_fd;
	system->progress = options->progress;
	system->progress_arg = options->progress_arg;
	if (options->run_dir[0] != '/' || options->manifest->process_count == 0) {
		error_set(err, EINVAL, "%s: the run directory must be absolute, and there must be a process",
		    options->run_dir);
		goto failed;
	}
	if (snprintf(points, sizeof points, "%s/faultpoints", options->run_dir) >= (int)sizeof points) {
		error_set(err, ENAMETOOLONG, "%s: too long", options->run_dir);
		goto failed;
	}
	system->run_dir = strdup(options->run_dir);
	if (options->cache_dir)
		system->cache_dir = strdup(options->cache_dir);
	else if (asprintf(&system->cache_dir, "%s/install", options->run_dir) < 0)
		system->cache_dir = NULL;
	manifest_directory(options->manifest->file, manifest_dir, sizeof manifest_dir);
	if (!system->run_dir || !system->cache_dir) {
		error_set(err, ENOMEM, "no memory for the system");
		goto failed;
	}
	if (make_directory(&system->state_dir, options->run_dir, "state", err) != 0 ||
	    make_directory(&system->log_dir, options->run_dir, "logs", err) != 0 ||
	    variables_create(&system->variables,
		&(struct variables_options){.run_dir = system->run_dir,
		    .state_dir = system->state_dir,
		    .manifest_dir = manifest_dir,
		    .gateway = options->gateway ? gateway_url(options->gateway) : NULL,
		    .seed = options->seed},
		err) != 0 ||
	    faultpoints_create(&system->faultpoints, points, err) != 0 || http_create(&system->http, err) != 0 ||
	    exits_create(&system->exits, err) != 0 ||
	    triggers_create(&system->triggers, system->history, system->state_dir, system->log_dir, err) != 0 ||
	    keeper_start(
		&system->keeper, &(struct keeper_options){.log_dir = system->log_dir, .seed = options->seed}, err) != 0)
		goto failed;
	*ret_system = system;
	return 0;
failed:
	system_destroy(system);
	return -1;
}

const char *system_lookup(void *arg, const char *name)
{
	struct system *system = arg;

	return variables_lookup(system->variables, name);
}

const char *system_state_dir(const struct system *system)
{
	return system->state_dir;
}

static void tell(void *arg, const char *text)
{
	struct system *system = arg;

	if (system->progress)
		system->progress(system->progress_arg, "install", text);
}

static int install(struct system *system, struct error *err)
{
	struct install_options options = {.manifest = system->manifest,
	    .cache_dir = system->cache_dir,
	    .keeper = system->keeper,
	    .lookup = system_lookup,
	    .lookup_arg = system,
	    .interrupt_fd = system->interrupt_fd,
	    .progress = tell,
	    .progress_arg = system};
	char dir[PATH_MAX];

	if (!system->manifest->install.command_count)
		return 0;
	if (install_dir(&options, dir, sizeof dir, err) != 0 || variables_install(system->variables, dir, err) != 0)
		return -1;
	return install_make(&options, dir, err);
}

static int prepare_one(struct system *system, size_t index, struct error *err)
{
	const struct spec_manifest *manifest = system->manifest;
	char **argv = NULL, **environment = NULL, name[32], how[96];
	int status = 0, result = -1;

	snprintf(name, sizeof name, "prepare-%zu", index + 1);
	if (variables_expand_all(&argv, &manifest->prepare[index], NULL, system_lookup, system, err) != 0 ||
	    variables_environment(&environment, manifest, &manifest->processes[manifest->main_process].environment,
		NULL, system_lookup, system, err) != 0)
		goto out;
	result = command_run(system->keeper,
	    &(struct command){.name = name,
		.argv = argv,
		.environment = environment,
		.directory = system->state_dir,
		.timeout_ms = PREPARE_TIMEOUT_MS,
		.interrupt_fd = system->interrupt_fd},
	    &status, err);
	if (result == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
		command_status(status, how, sizeof how);
		result = error_set(err, ECHILD, "%s: %s %s; see %s/%s.log", name, argv[0], how, system->log_dir, name);
	}
out:
	strings_free(argv);
	strings_free(environment);
	return result;
}

static int create_ledger(struct system *system, struct error *err)
{
	const struct spec_manifest *manifest = system->manifest;
	char *repository;
	int result;

	if (!manifest->commits.git)
		return 0;
	if (spec_expand(&repository, manifest->commits.git, system_lookup, system, err) != 0)
		return -1;
	result = ledger_create(&system->ledger,
	    &(struct ledger_options){.history = system->history,
		.repository = repository,
		.branch = manifest->commits.branch ? manifest->commits.branch : "main",
		.task_trailer = manifest->commits.task_trailer,
		.attempt_trailer = manifest->commits.attempt_trailer,
		.epoch_trailer = manifest->commits.epoch_trailer},
	    err);
	free(repository);
	return result == 0 ? ledger_watch(system->ledger, system->watch, err) : -1;
}

static int create_lines(struct system *system, struct error *err)
{
	char *file;
	int result;

	if (!system->manifest->commits.file)
		return 0;
	if (spec_expand(&file, system->manifest->commits.file, system_lookup, system, err) != 0)
		return -1;
	result = lines_create(&system->lines,
	    &(struct lines_options){
		.history = system->history, .file = file, .pattern = system->manifest->commits.pattern},
	    err);
	free(file);
	return result == 0 ? lines_watch(system->lines, system->watch, err) : -1;
}

static int create_claims(struct system *system, struct error *err)
{
	char *file;
	int result;

	if (!system->manifest->slo.file)
		return 0;
	if (spec_expand(&file, system->manifest->slo.file, system_lookup, system, err) != 0)
		return -1;
	result = claims_create(&system->claims, system->history, file, err);
	free(file);
	return result == 0 ? claims_watch(system->claims, system->watch, err) : -1;
}

static int create_statefiles(struct system *system, struct error *err)
{
	const struct spec_manifest *manifest = system->manifest;
	char *directory;
	int result;

	if (!manifest->state.json.count && !manifest->state.temporary.count)
		return 0;
	if (spec_expand(&directory, manifest->state.directory ? manifest->state.directory : "${state}", system_lookup,
		system, err) != 0)
		return -1;
	result = statefiles_create(&system->statefiles,
	    &(struct statefiles_options){.history = system->history,
		.directory = directory,
		.json = (const char *const *)manifest->state.json.items,
		.temporary = (const char *const *)manifest->state.temporary.items},
	    err);
	free(directory);
	return result == 0 ? statefiles_watch(system->statefiles, system->watch, err) : -1;
}

static int create_agents(struct system *system, struct error *err)
{
	const struct spec_manifest *manifest = system->manifest;

	if (!spec_has_agents(manifest))
		return 0;
	if (agents_create(&system->agents,
		&(struct agents_options){.history = system->history,
		    .state_dir = system->state_dir,
		    .pid_files = manifest->agents.pid_files,
		    .pattern = manifest->agents.pattern,
		    .task_environment = manifest->agents.task_environment,
		    .keeper = system->keeper,
		    .task_files = manifest->agents.task_files,
		    .worktree_files = manifest->agents.worktree_files},
		err) != 0)
		return -1;
	return agents_watch(system->agents, system->watch, err);
}

static void on_crash(void *arg)
{
	audit_crashed(arg);
}

/* The observers are there before the first process, so that nothing it does goes unseen. */
static int start_observers(struct system *system, struct error *err)
{
	struct observer *observer;

	if (watch_create(&system->watch, err) != 0 || create_ledger(system, err) != 0 ||
	    create_lines(system, err) != 0 || triggers_watch(system->triggers, system->watch, err) != 0 ||
	    create_claims(system, err) != 0 || create_statefiles(system, err) != 0 || create_agents(system, err) != 0)
		return -1;
	if (processes_create(&system->processes,
		&(struct processes_options){.manifest = system->manifest,
		    .arguments = system->arguments,
		    .keeper = system->keeper,
		    .http = system->http,
		    .exits = system->exits,
		    .history = system->history,
		    .lookup = system_lookup,
		    .lookup_arg = system,
		    .state_dir = system->state_dir,
		    .log_dir = system->log_dir,
		    .faultpoints = faultpoints_path(system->faultpoints),
		    .filter = system->syscall_filter,
		    .interrupt_fd = system->interrupt_fd,
		    .crashed = on_crash,
		    .crashed_arg = system},
		err) != 0)
		return -1;
	if (output_create(&system->output, system->manifest, system->log_dir, system->processes, err) != 0 ||
	    output_watch(system->output, system->watch, err) != 0)
		return -1;
	if (observer_start(&observer,
		&(struct observer_parts){.keeper = system->keeper,
		    .watch = system->watch,
		    .processes = system->processes,
		    .agents = system->agents,
		    .ledger = system->ledger,
		    .lines = system->lines,
		    .exits = system->exits},
		err) != 0)
		return -1;
	pthread_mutex_lock(&system->looking);
	system->observer = observer;
	pthread_mutex_unlock(&system->looking);
	return 0;
}

int system_start(struct system *system, struct error *err)
{
	if (system->started)
		return error_set(err, EALREADY, "%s: it was started already", system->manifest->name);
	system->started = true;
	if (install(system, err) != 0)
		return -1;
	for (size_t i = 0; i < system->manifest->prepare_count; i++)
		if (prepare_one(system, i, err) != 0)
			return -1;
	if (system_check_ports(system, err) != 0 || start_observers(system, err) != 0)
		return -1;
	if (processes_start(system->processes, err) != 0)
		return -1;
	if (!spec_has_claims(system->manifest) || system->manifest->slo.file)
		return 0;
	return asker_start(&system->asker, system, err);
}

int system_watch_output(
    struct system *system, const char *id, const char *process, const char *pattern, struct error *err)
{
	return triggers_output(system->triggers, id, process, pattern, err);
}

int system_watch_file(struct system *system, const char *id, const char *glob, struct error *err)
{
	return triggers_file(system->triggers, id, glob, err);
}

int system_observe(struct system *system, struct error *err)
{
	return system_look(system, err) < 0 ? -1 : 0;
}

int system_signal(struct system *system, const char *process, int signal, struct error *err)
{
	const char *name = process ? process : system->manifest->processes[system->manifest->main_process].name;
	uint64_t start_time;
	pid_t pid;

	if (!system->processes || !processes_find(system->processes, name, &pid, &start_time))
		return error_set(err, ESRCH, "process %s: it does not run", name);
	return keeper_signal(system->keeper, pid, signal, err);
}

bool system_lost(struct system *system, const char *process, char *ret_how, size_t size)
{
	const struct spec_manifest *m = system->manifest;
	size_t i = m->main_process;

	if (process)
		for (i = 0; i < m->process_count && strcmp(m->processes[i].name, process) != 0; i++)
			;
	return system->processes && i < m->process_count && processes_lost(system->processes, i, ret_how, size);
}

bool system_restarting(struct system *system)
{
	return system->processes && processes_restarting(system->processes);
}

struct speech {
	const char *name;
	void (*visit)(void *arg, const char *name, const char *line);
	void *arg;
};

static void say_line(void *arg, const char *line)
{
	struct speech *speech = arg;

	speech->visit(speech->arg, speech->name, line);
}

static int is_log(const struct dirent *entry)
{
	size_t size = strlen(entry->d_name);

	return size > 4 && !strcmp(entry->d_name + size - 4, ".log") && strcmp(entry->d_name, "keeper.log") != 0;
}

void system_last_words(
    struct system *system, size_t lines, void (*visit)(void *arg, const char *name, const char *line), void *arg)
{
	struct dirent **entries;
	char path[PATH_MAX];
	int count = scandir(system->log_dir, &entries, is_log, alphasort);

	for (int i = 0; i < count; i++) {
		struct speech speech = {.name = entries[i]->d_name, .visit = visit, .arg = arg};

		if (snprintf(path, sizeof path, "%s/%s", system->log_dir, entries[i]->d_name) < (int)sizeof path) {
			entries[i]->d_name[strlen(entries[i]->d_name) - 4] = '\0';
			tail_lines(path, lines, say_line, &speech);
		}
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
}

static int count_node(void *arg, const struct keeper_node *node)
{
	unsigned *count = arg;

	(void)node;
	(*count)++;
	return 0;
}

int system_stop(struct system *system, int64_t grace_ms, struct error *err)
{
	unsigned killed = 0, left = 0;
	int result;

	if (system->stopped || !system->keeper)
		return 0;
	asker_stop(system->asker);
	system->asker = NULL;
	if (system->processes)
		processes_no_more(system->processes);
	result = keeper_stop(system->keeper, grace_ms, &killed, err);
	pthread_mutex_lock(&system->looking);
	observer_stop(system->observer); /* sees all that happened up to here */
	system->observer = NULL;
	pthread_mutex_unlock(&system->looking);
	exits_close(system->exits);
	system->stopped = true;
	if (result != 0)
		return -1;
	if (keeper_tree(system->keeper, count_node, &left, err) != 0)
		return -1;
	if (left)
		return error_set(err, EBUSY, "%s: %u processes are left after the stop", system->manifest->name, left);
	return (int)killed;
}

void system_destroy(struct system *system)
{
	if (!system)
		return;
	system_stop(system, 0, NULL);
	output_destroy(system->output);
	processes_destroy(system->processes);
	keeper_destroy(system->keeper);
	agents_destroy(system->agents);
	statefiles_destroy(system->statefiles);
	claims_destroy(system->claims);
	lines_destroy(system->lines);
	ledger_destroy(system->ledger);
	watch_destroy(system->watch);
	http_destroy(system->http);
	exits_destroy(system->exits);
	triggers_destroy(system->triggers);
	faultpoints_destroy(system->faultpoints);
	variables_destroy(system->variables);
	pthread_mutex_destroy(&system->looking);
	pthread_mutex_destroy(&system->lock);
	for (size_t i = 0; i < system->task_count; i++)
		free(system->tasks[i]);
	free(system->tasks);
	free(system->run_dir);
	free(system->cache_dir);
	free(system->state_dir);
	free(system->log_dir);
	free(system);
}
