/* SPDX-License-Identifier: Apache-2.0 */
/* The processes of the system under test. A death may be told before keeper_spawn has returned its pid: it is then kept
 * in `early` until the pid is known. */
#include "system/processes.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "system/commands.h"
#include "system/ready.h"
#include "system/system.h"
#include "system/tail.h"
#include "system/textfile.h"
#include "system/variables.h"

struct process {
	struct processes *all;
	const struct spec_process *spec;
	char **command, **environment;
	char *directory;
	struct ready *ready;
	int wake; /* eventfd: it died, or no more */
	pthread_t thread;
	bool has_thread;

	/* under all->lock */
	pid_t pid; /* 0: none */
	uint64_t start_time;
	uint64_t op; /* of its start */
	uint64_t restarts;
	bool launching;
	bool overflowed; /* it has written too much: killed, and not started again */
	bool lost;       /* dead, and nobody starts it again */
	int last_status; /* as from waitpid, of the last one that has ended */
	struct keeper_event early;
};

struct processes {
	struct processes_options options;
	pthread_mutex_t lock;
	bool no_more;
	struct process *items;
	size_t count;
};

static void wake_up(struct process *process)
{
	while (eventfd_write(process->wake, 1) != 0 && errno == EINTR)
		;
}

static int expand(char **ret, const char *text, const struct processes_options *options, struct error *err)
{
	return text ? spec_expand(ret, text, options->lookup, options->lookup_arg, err) : 0;
}

static int create_ready(struct process *process, struct error *err)
{
	const struct processes_options *options = &process->all->options;
	char log[PATH_MAX];

	if (snprintf(log, sizeof log, "%s/%s.log", options->log_dir, process->spec->name) >= (int)sizeof log)
		return error_set(err, ENAMETOOLONG, "the path of its log is too long");
	return ready_create(&process->ready,
	    &(struct ready_options){.process = process->spec,
		.lookup = options->lookup,
		.lookup_arg = options->lookup_arg,
		.http = options->http,
		.keeper = options->keeper,
		.exits = options->exits,
		.log = log,
		.interrupt_fd = options->interrupt_fd,
		.environment = process->environment,
		.directory = process->directory},
	    err);
}

static int prepare(struct process *process, bool first, struct error *err)
{
	const struct processes_options *options = &process->all->options;
	const struct spec_process *spec = process->spec;

	process->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (process->wake < 0) {
		int code = errno;

		return error_set(err, code, "eventfd: %s", strerror(code));
	}
	if (variables_expand_all(&process->command, &spec->command, first ? options->arguments : NULL, options->lookup,
		options->lookup_arg, err) != 0 ||
	    variables_environment(&process->environment, options->manifest, &spec->environment, options->faultpoints,
		options->lookup, options->lookup_arg, err) != 0 ||
	    expand(&process->directory, spec->directory ? spec->directory : "${state}", options, err) != 0 ||
	    create_ready(process, err) != 0)
		return error_context(err, "process %s", spec->name);
	return 0;
}

int processes_create(struct processes **ret_processes, const struct processes_options *options, struct error *err)
{
	struct processes *processes = calloc(1, sizeof *processes);

	if (processes)
		processes->items = calloc(options->manifest->process_count, sizeof *processes->items);
	if (!processes || !processes->items) {
		free(processes);
		return error_set(err, ENOMEM, "no memory for the processes");
	}
	processes->options = *options;
	pthread_mutex_init(&processes->lock, NULL);
	for (; processes->count < options->manifest->process_count; processes->count++) {
		struct process *process = &processes->items[processes->count];

		process->all = processes;
		process->spec = &options->manifest->processes[processes->count];
		process->op = OP_NONE;
		if (prepare(process, processes->count == options->manifest->main_process, err) != 0) {
			processes->count++;
			processes_destroy(processes);
			return -1;
		}
	}
	*ret_processes = processes;
	return 0;
}

void processes_destroy(struct processes *processes)
{
	if (!processes)
		return;
	processes_no_more(processes);
	for (size_t i = 0; i < processes->count; i++) {
		struct process *process = &processes->items[i];

		strings_free(process->command);
		strings_free(process->environment);
		free(process->directory);
		ready_destroy(process->ready);
		if (process->wake >= 0)
			close(process->wake);
	}
	pthread_mutex_destroy(&processes->lock);
	free(processes->items);
	free(processes);
}

static bool is_restarted(const struct process *process)
{
	return process->all->options.manifest->restart.on_crash && process->spec->restart;
}

/* Under the lock: the process is gone; says so. */
static void bury(struct process *process, int status)
{
	bool expected = process->all->no_more;
	int64_t code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);

	history_append(process->all->options.history, &(struct op){.kind = OP_SYSTEM,
							  .type = OP_INFO,
							  .pair = process->op,
							  .actor = process->spec->name,
							  .value = process->pid,
							  .status = code,
							  .detail = expected ? "stop" : "died"});
	process->pid = 0;
	process->start_time = 0;
	process->last_status = status;
	process->lost = !expected && !is_restarted(process);
	wake_up(process);
}

void processes_died(struct processes *processes, const struct keeper_event *event)
{
	pthread_mutex_lock(&processes->lock);
	for (size_t i = 0; i < processes->count; i++) {
		struct process *process = &processes->items[i];

		if (process->pid == event->pid)
			bury(process, event->status);
		else if (process->launching && !strcmp(process->spec->name, event->name))
			process->early = *event;
	}
	pthread_mutex_unlock(&processes->lock);
}

static int launch(struct process *process, const char *why, struct error *err)
{
	struct processes *all = process->all;
	uint64_t start_time = 0;
	pid_t pid = 0;
	int result;

	pthread_mutex_lock(&all->lock);
	ready_begin(process->ready);
	process->launching = true;
	process->early = (struct keeper_event){.pid = 0};
	pthread_mutex_unlock(&all->lock);
	result = keeper_spawn(all->options.keeper,
	    &(struct keeper_process){.name = process->spec->name,
		.argv = (const char *const *)process->command,
		.env = (const char *const *)process->environment,
		.cwd = process->directory,
		.filter = all->options.filter},
	    &pid, err);
	if (result == 0 && textfile_start_time(pid, &start_time, NULL) != 0)
		start_time = 0; /* dead already: its event is on the way */
	pthread_mutex_lock(&all->lock);
	process->launching = false;
	if (result == 0) {
		process->pid = pid;
		process->start_time = start_time;
		process->op = history_append(all->options.history, &(struct op){.kind = OP_SYSTEM,
								       .type = OP_INVOKE,
								       .pair = OP_NONE,
								       .actor = process->spec->name,
								       .value = pid,
								       .detail = why});
		if (process->early.pid == pid)
			bury(process, process->early.status);
	}
	pthread_mutex_unlock(&all->lock);
	return result == 0 ? 0 : error_context(err, "process %s", process->spec->name);
}

/* The last line that the process wrote, for the error message. */
static void last_words(const struct process *process, char *ret, size_t size)
{
	char path[PATH_MAX];

	ret[0] = '\0';
	if (snprintf(path, sizeof path, "%s/%s.log", process->all->options.log_dir, process->spec->name) <
	    (int)sizeof path)
		tail_said(path, ret, size);
}

enum life { ALIVE, DEAD, UNWANTED };

static enum life life_of(struct process *process)
{
	enum life life;
	uint64_t ignored;

	while (read(process->wake, &ignored, sizeof ignored) > 0)
		;
	pthread_mutex_lock(&process->all->lock);
	life = process->all->no_more ? UNWANTED : process->pid == 0 ? DEAD : ALIVE;
	pthread_mutex_unlock(&process->all->lock);
	return life;
}

static bool is_alive(void *arg)
{
	return life_of(arg) == ALIVE;
}

/* Starts it and waits until it is ready. 1 ready, 0 it died or is no longer wanted, -1 not ready in time, -2 it could not
 * even be started. */
static int bring_up(struct process *process, const char *why, struct error *err)
{
	struct processes *all = process->all;
	struct error error = {0};
	int ready;
	uint64_t op;

	if (launch(process, why, err) != 0)
		return -2;
	pthread_mutex_lock(&all->lock);
	op = process->op;
	pthread_mutex_unlock(&all->lock);
	ready = ready_await(process->ready, process->wake, is_alive, process, &error);
	if (ready == 0)
		return 0;
	history_complete(all->options.history, op,
	    &(struct op){.kind = OP_SYSTEM,
		.type = ready == 1 ? OP_OK : OP_FAIL,
		.pair = op,
		.actor = process->spec->name,
		.value = 0,
		.detail = ready == 1 ? why : error.text});
	return ready == 1 ? 1 : error_set(err, error.code, "%s", error.text);
}

static void flood(const struct process *process, char *ret, size_t size)
{
	snprintf(ret, size, "it has written more than %" PRIu64 " MiB of output, and was killed",
	    process->spec->output_max_mib);
}

static void refuse(struct process *process, const char *why)
{
	history_append(process->all->options.history,
	    &(struct op){
		.kind = OP_SYSTEM, .type = OP_FAIL, .pair = OP_NONE, .actor = process->spec->name, .detail = why});
}

static bool is_main(const struct process *process)
{
	return process == &process->all->items[process->all->options.manifest->main_process];
}

/* Waits for its death, and out the delay. false: no more. */
static bool wait_for_death(struct process *process)
{
	const struct processes_options *options = &process->all->options;
	struct pollfd fd = {.fd = process->wake, .events = POLLIN};
	int64_t until = -1;

	for (;;) {
		enum life life = life_of(process);

		if (life == UNWANTED)
			return false;
		if (life == DEAD && until < 0) {
			until = clock_ms() + options->manifest->restart.delay_ms;
			if (options->crashed && is_main(process))
				options->crashed(options->crashed_arg);
		}
		if (until >= 0 && clock_ms() >= until)
			return true;
		poll(&fd, 1, until < 0 ? -1 : (int)(until - clock_ms() > 1000 ? 1000 : until - clock_ms()));
	}
}

void processes_overflow(struct processes *processes, size_t index)
{
	struct process *process = &processes->items[index];
	bool first;
	pid_t pid;

	pthread_mutex_lock(&processes->lock);
	first = !process->overflowed;
	process->overflowed = true;
	pid = process->pid;
	pthread_mutex_unlock(&processes->lock);
	if (pid)
		keeper_signal(processes->options.keeper, pid, SIGKILL, NULL);
	if (first) {
		char why[128];

		flood(process, why, sizeof why);
		refuse(process, why);
	}
}

static bool is_overflowed(struct process *process)
{
	bool is;

	pthread_mutex_lock(&process->all->lock);
	is = process->overflowed;
	pthread_mutex_unlock(&process->all->lock);
	return is;
}

static void *restart_thread(void *arg)
{
	struct process *process = arg;
	uint64_t max = process->all->options.manifest->restart.max;

	while (wait_for_death(process)) {
		struct error error = {0};
		char why[128];

		if (is_overflowed(process))
			break;
		if (max && process->restarts >= max) {
			snprintf(why, sizeof why, "died again after %" PRIu64 " restarts: the limit", max);
			refuse(process, why);
			break;
		}
		process->restarts++;
		if (bring_up(process, "restart", &error) == -2) {
			refuse(process, error.text);
			break;
		}
	}
	pthread_mutex_lock(&process->all->lock);
	process->lost = !process->all->no_more;
	pthread_mutex_unlock(&process->all->lock);
	return NULL;
}

bool processes_lost(struct processes *processes, size_t index, char *ret_how, size_t size)
{
	struct process *process = &processes->items[index];
	char status[96];
	bool lost;

	pthread_mutex_lock(&processes->lock);
	lost = process->lost;
	command_status(process->last_status, status, sizeof status);
	if (lost && process->overflowed)
		flood(process, ret_how, size);
	else if (lost && process->restarts)
		snprintf(ret_how, size, "it %s, after %" PRIu64 " restarts", status, process->restarts);
	else if (lost)
		snprintf(ret_how, size, "it %s%s", status, process->last_status == 0 ? SYSTEM_DAEMON_HINT : "");
	pthread_mutex_unlock(&processes->lock);
	return lost;
}

bool processes_restarting(struct processes *processes)
{
	bool found = false;
	size_t i;

	pthread_mutex_lock(&processes->lock);
	for (i = 0; i < processes->count && !processes->no_more; i++)
		found |= processes->items[i].pid == 0 && !processes->items[i].lost;
	pthread_mutex_unlock(&processes->lock);
	return found;
}

static int early_end(struct process *process, struct error *err)
{
	char words[192], how[96];
	int status;

	pthread_mutex_lock(&process->all->lock);
	status = process->last_status;
	pthread_mutex_unlock(&process->all->lock);
	if (is_overflowed(process)) {
		flood(process, how, sizeof how);
		return error_set(err, EFBIG, "process %s: %s", process->spec->name, how);
	}
	command_status(status, how, sizeof how);
	last_words(process, words, sizeof words);
	return error_set(err, ECHILD, "process %s: it ended before it was ready: %s%s%s", process->spec->name, how,
	    status == 0 ? SYSTEM_DAEMON_HINT : "", words);
}

static int start_one(struct process *process, struct error *err)
{
	int ready = bring_up(process, "start", err), code;

	if (ready < 0)
		return -1;
	if (ready == 0)
		return early_end(process, err);
	if (!is_restarted(process))
		return 0;
	code = pthread_create(&process->thread, NULL, restart_thread, process);
	if (code)
		return error_set(err, code, "process %s: no thread: %s", process->spec->name, strerror(code));
	process->has_thread = true;
	return 0;
}

int processes_start(struct processes *processes, struct error *err)
{
	for (size_t i = 0; i < processes->count; i++)
		if (start_one(&processes->items[i], err) != 0)
			return -1;
	return 0;
}

void processes_no_more(struct processes *processes)
{
	pthread_mutex_lock(&processes->lock);
	processes->no_more = true;
	pthread_mutex_unlock(&processes->lock);
	for (size_t i = 0; i < processes->count; i++)
		if (processes->items[i].wake >= 0)
			wake_up(&processes->items[i]);
	for (size_t i = 0; i < processes->count; i++) {
		struct process *process = &processes->items[i];

		if (process->has_thread)
			pthread_join(process->thread, NULL);
		process->has_thread = false;
	}
}

static bool whereabouts(struct process *process, pid_t *ret_pid, uint64_t *ret_start_time)
{
	bool there;

	pthread_mutex_lock(&process->all->lock);
	there = process->pid != 0;
	if (there) {
		*ret_pid = process->pid;
		*ret_start_time = process->start_time;
	}
	pthread_mutex_unlock(&process->all->lock);
	return there;
}

bool processes_find(struct processes *processes, const char *name, pid_t *ret_pid, uint64_t *ret_start_time)
{
	for (size_t i = 0; i < processes->count; i++)
		if (!strcmp(processes->items[i].spec->name, name))
			return whereabouts(&processes->items[i], ret_pid, ret_start_time);
	return false;
}

bool processes_main(struct processes *processes, pid_t *ret_pid, uint64_t *ret_start_time)
{
	return whereabouts(&processes->items[processes->options.manifest->main_process], ret_pid, ret_start_time);
}
