/* SPDX-License-Identifier: Apache-2.0 */
/* The agents of the system under test, seen through their pid files. */
#include "system/agents.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pcre2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "system/pathglob.h"
#include "system/textfile.h"

#define ID_SIZE 128

struct agent {
	char id[ID_SIZE], task[256], worktree[PATH_MAX];
	pid_t pid;
	uint64_t start_time;
	int pidfd;
	uint64_t op; /* OP_NONE: its task is not known yet */
};

struct agents {
	struct history *history;
	char *pid_files, *task_files, *worktree_files; /* absolute globs, each may be NULL */
	pcre2_code *code;                              /* NULL: no pattern */
	pcre2_match_data *match;
	char *task_environment;
	struct keeper *keeper;
	int epoll;
	pthread_mutex_t lock; /* of what follows; only the watching thread writes */
	struct agent **items;
	size_t count, room;
};

static int absolute(char **ret, const char *state_dir, const char *glob)
{
	if (!glob)
		return 0;
	return asprintf(ret, "%s%s%s", glob[0] == '/' ? "" : state_dir, glob[0] == '/' ? "" : "/", glob) < 0 ? -1 : 0;
}

static int set_pattern(struct agents *agents, const struct agents_options *options, struct error *err)
{
	PCRE2_SIZE at;
	int code;

	agents->keeper = options->keeper;
	agents->code = pcre2_compile((PCRE2_SPTR)options->pattern, PCRE2_ZERO_TERMINATED, 0, &code, &at, NULL);
	if (!agents->code)
		return error_set(err, EINVAL, "'%.100s' is no pattern", options->pattern);
	agents->match = pcre2_match_data_create_from_pattern(agents->code, NULL);
	agents->task_environment = options->task_environment ? strdup(options->task_environment) : NULL;
	if (!agents->match || (options->task_environment && !agents->task_environment))
		return error_set(err, ENOMEM, "no memory for the agents");
	return 0;
}

int agents_create(struct agents **ret_agents, const struct agents_options *options, struct error *err)
{
	struct agents *agents = calloc(1, sizeof *agents);

	if (!agents)
		return error_set(err, ENOMEM, "no memory for the agents");
	agents->history = options->history;
	pthread_mutex_init(&agents->lock, NULL);
	agents->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (agents->epoll < 0) {
		int code = errno;

		agents_destroy(agents);
		return error_set(err, code, "epoll: %s", strerror(code));
	}
	if (absolute(&agents->pid_files, options->state_dir, options->pid_files) != 0 ||
	    absolute(&agents->task_files, options->state_dir, options->task_files) != 0 ||
	    absolute(&agents->worktree_files, options->state_dir, options->worktree_files) != 0) {
		agents_destroy(agents);
		return error_set(err, ENOMEM, "no memory for the agents");
	}
	if (options->pattern && set_pattern(agents, options, err) != 0) {
		agents_destroy(agents);
		return -1;
	}
	*ret_agents = agents;
	return 0;
}

void agents_destroy(struct agents *agents)
{
	if (!agents)
		return;
	for (size_t i = 0; i < agents->count; i++) {
		close(agents->items[i]->pidfd);
		free(agents->items[i]);
	}
	free(agents->items);
	free(agents->pid_files);
	free(agents->task_files);
	free(agents->worktree_files);
	free(agents->task_environment);
	if (agents->match)
		pcre2_match_data_free(agents->match);
	if (agents->code)
		pcre2_code_free(agents->code);
	if (agents->epoll >= 0)
		close(agents->epoll);
	pthread_mutex_destroy(&agents->lock);
	free(agents);
}

static bool known(const struct agents *agents, const char *id, pid_t pid, uint64_t start_time)
{
	for (size_t i = 0; i < agents->count; i++) {
		const struct agent *agent = agents->items[i];

		if (agent->pid == pid && agent->start_time == start_time && !strcmp(agent->id, id))
			return true;
	}
	return false;
}

static struct agent *find(const struct agents *agents, const char *id)
{
	for (size_t i = agents->count; i > 0; i--)
		if (!strcmp(agents->items[i - 1]->id, id))
			return agents->items[i - 1];
	return NULL;
}

static void side_file(const char *glob, const char *id, char *ret, size_t size)
{
	char path[PATH_MAX];

	if (!glob || ret[0] || !pathglob_fill(glob, id, path, sizeof path))
		return;
	if (textfile_line(path, ret, size, NULL) != 0)
		ret[0] = '\0';
}

/* Reads what is known of it besides the pid, and says once that it was seen. */
static void announce(struct agents *agents, struct agent *agent, bool at_any_rate)
{
	pthread_mutex_lock(&agents->lock);
	side_file(agents->task_files, agent->id, agent->task, sizeof agent->task);
	side_file(agents->worktree_files, agent->id, agent->worktree, sizeof agent->worktree);
	pthread_mutex_unlock(&agents->lock);
	if (agent->op != OP_NONE || (agents->task_files && !agent->task[0] && !at_any_rate))
		return;
	agent->op = history_append(agents->history, &(struct op){.kind = OP_AGENT,
							.type = OP_INVOKE,
							.pair = OP_NONE,
							.actor = agent->id,
							.task = agent->task,
							.value = agent->pid,
							.detail = agent->worktree});
}

static int add(struct agents *agents, struct agent *agent)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = agent};
	int result = 0;

	pthread_mutex_lock(&agents->lock);
	if (agents->count == agents->room) {
		size_t room = agents->room ? agents->room * 2 : 16;
		struct agent **more = realloc(agents->items, room * sizeof(struct agent *));

		if (more) {
			agents->items = more;
			agents->room = room;
		}
	}
	if (agents->count == agents->room || epoll_ctl(agents->epoll, EPOLL_CTL_ADD, agent->pidfd, &event) != 0)
		result = -1;
	else
		agents->items[agents->count++] = agent;
	pthread_mutex_unlock(&agents->lock);
	return result;
}

/* An agent, unless it is known, or dead before anybody could see it alive. NULL then. */
static struct agent *adopt(struct agents *agents, const char *id, pid_t pid)
{
	struct agent *agent;
	uint64_t start_time;
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (fd < 0)
		return NULL;
	if (textfile_start_time(pid, &start_time, NULL) != 0 || known(agents, id, pid, start_time) ||
	    !(agent = calloc(1, sizeof *agent))) {
		close(fd);
		return NULL;
	}
	snprintf(agent->id, sizeof agent->id, "%s", id);
	agent->pid = pid;
	agent->start_time = start_time;
	agent->pidfd = fd;
	agent->op = OP_NONE;
	return agent;
}

static void welcome(struct agents *agents, struct agent *agent)
{
	if (add(agents, agent) != 0) {
		close(agent->pidfd);
		free(agent);
		return;
	}
	announce(agents, agent, false);
}

/* A pid file. */
static void meet(struct agents *agents, const char *path, const char *id)
{
	struct agent *agent;
	char line[32], *end;
	long pid;

	if (textfile_line(path, line, sizeof line, NULL) != 0)
		return;
	pid = strtol(line, &end, 10);
	if (end == line || *end || pid <= 1 || pid > INT_MAX)
		return;
	agent = adopt(agents, id, (pid_t)pid);
	if (agent)
		welcome(agents, agent);
}

/* ---- by their command lines ---- */

#define SCAN_MS      100
#define WORDS_SIZE   8192u
#define ENVIRON_SIZE 65536u

/* /proc/PID/NAME, whole as far as it fits; the NULs between its words become `between`. */
static size_t read_words(pid_t pid, const char *name, char *ret, size_t size, char between)
{
	char path[64];
	size_t used = 0;
	int fd;

	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && used + 1 < size) {
		ssize_t got = read(fd, ret + used, size - 1 - used);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		used += (size_t)got;
	}
	if (fd >= 0)
		close(fd);
	while (used && !ret[used - 1])
		used--;
	for (size_t i = 0; i < used; i++)
		if (!ret[i])
			ret[i] = between;
	ret[used] = '\0';
	return used;
}

static void group(const struct agents *agents, const char *name, char *ret, size_t size)
{
	PCRE2_SIZE length = size;

	if (pcre2_substring_copy_byname(agents->match, (PCRE2_SPTR)name, (PCRE2_UCHAR *)ret, &length) != 0)
		ret[0] = '\0';
}

static void task_of(const struct agents *agents, pid_t pid, char *ret, size_t size)
{
	char *text = malloc(ENVIRON_SIZE), *line, *save = NULL;
	size_t length = strlen(agents->task_environment);

	if (!text)
		return;
	read_words(pid, "environ", text, ENVIRON_SIZE, '\n');
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (!strncmp(line, agents->task_environment, length) && line[length] == '=')
			snprintf(ret, size, "%s", line + length + 1);
	free(text);
}

static int look_at(void *arg, const struct keeper_node *node)
{
	struct agents *agents = arg;
	char words[WORDS_SIZE], id[ID_SIZE], path[64];
	struct agent *agent;
	size_t size;
	ssize_t length;

	for (size_t i = 0; i < agents->count; i++)
		if (agents->items[i]->pid == node->pid && agents->items[i]->start_time == node->start_time)
			return 0;
	size = read_words(node->pid, "cmdline", words, sizeof words, ' ');
	if (!size || pcre2_match(agents->code, (PCRE2_SPTR)words, size, 0, 0, agents->match, NULL) < 0)
		return 0;
	group(agents, "id", id, sizeof id);
	if (!id[0])
		snprintf(id, sizeof id, "pid-%d", node->pid);
	agent = adopt(agents, id, node->pid);
	if (!agent)
		return 0;
	group(agents, "task", agent->task, sizeof agent->task);
	if (!agent->task[0] && agents->task_environment)
		task_of(agents, node->pid, agent->task, sizeof agent->task);
	snprintf(path, sizeof path, "/proc/%d/cwd", node->pid);
	length = readlink(path, agent->worktree, sizeof agent->worktree - 1);
	agent->worktree[length > 0 ? length : 0] = '\0';
	welcome(agents, agent);
	return 0;
}

void agents_scan(struct agents *agents)
{
	if (agents->code)
		keeper_tree(agents->keeper, look_at, agents, NULL);
}

int agents_scan_ms(const struct agents *agents)
{
	return agents->code ? SCAN_MS : -1;
}

static void on_event(void *arg, const char *path, uint32_t mask)
{
	struct agents *agents = arg;
	char id[ID_SIZE];

	if (mask && !(mask & (IN_CLOSE_WRITE | IN_MOVED_TO)))
		return;
	/* Whose death made room for the one that is met now has died before: else there would seem to be one too many. */
	agents_dispatch(agents);
	if (pathglob_capture(agents->pid_files, path, id, sizeof id)) {
		meet(agents, path, id);
	} else if ((agents->task_files && pathglob_capture(agents->task_files, path, id, sizeof id)) ||
		   (agents->worktree_files && pathglob_capture(agents->worktree_files, path, id, sizeof id))) {
		struct agent *agent = find(agents, id);

		if (agent)
			announce(agents, agent, false);
	}
}

static bool descend(void *arg, const char *dir)
{
	struct agents *agents = arg;

	return pathglob_may_hold(agents->pid_files, dir) ||
	       (agents->task_files && pathglob_may_hold(agents->task_files, dir)) ||
	       (agents->worktree_files && pathglob_may_hold(agents->worktree_files, dir));
}

int agents_watch(struct agents *agents, struct watch *watch, struct error *err)
{
	const char *globs[] = {agents->pid_files, agents->task_files, agents->worktree_files};
	char roots[3][PATH_MAX];

	for (size_t i = 0; i < 3; i++) {
		bool covered = false;

		roots[i][0] = '\0';
		if (!globs[i])
			continue;
		if (!pathglob_root(globs[i], roots[i], sizeof roots[i]))
			return error_set(err, ENAMETOOLONG, "%.64s...: too long", globs[i]);
		for (size_t k = 0; k < i; k++)
			covered = covered || !strcmp(roots[k], roots[i]);
		if (!covered && watch_add(watch, roots[i], descend, on_event, agents, err) != 0)
			return -1;
	}
	return 0;
}

int agents_fd(const struct agents *agents)
{
	return agents->epoll;
}

static void bury(struct agents *agents, struct agent *agent)
{
	size_t kept = 0;

	announce(agents, agent, true);
	history_complete(agents->history, agent->op,
	    &(struct op){.kind = OP_AGENT, .type = OP_OK, .pair = agent->op, .value = agent->pid});
	pthread_mutex_lock(&agents->lock);
	while (kept < agents->count && agents->items[kept] != agent)
		kept++;
	for (; kept + 1 < agents->count; kept++)
		agents->items[kept] = agents->items[kept + 1];
	agents->count = kept;
	pthread_mutex_unlock(&agents->lock);
	/* Closing alone leaves it in the epoll while a child that another thread has just forked still holds a copy. */
	epoll_ctl(agents->epoll, EPOLL_CTL_DEL, agent->pidfd, NULL);
	close(agent->pidfd);
	free(agent);
}

void agents_dispatch(struct agents *agents)
{
	struct epoll_event events[16];

	for (;;) {
		int count = epoll_wait(agents->epoll, events, 16, 0);

		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			return;
		for (int i = 0; i < count; i++)
			bury(agents, events[i].data.ptr);
	}
}

int agents_each(
    struct agents *agents, int (*visit)(void *arg, const struct agent_view *agent), void *arg, struct error *err)
{
	struct agent *copies;
	size_t count;

	pthread_mutex_lock(&agents->lock);
	count = agents->count;
	copies = calloc(count ? count : 1, sizeof *copies);
	for (size_t i = 0; copies && i < count; i++)
		copies[i] = *agents->items[i];
	pthread_mutex_unlock(&agents->lock);
	if (!copies)
		return error_set(err, ENOMEM, "no memory for %zu agents", count);
	for (size_t i = 0; i < count; i++) {
		struct agent_view view = {.id = copies[i].id,
		    .task = copies[i].task,
		    .worktree = copies[i].worktree,
		    .pid = copies[i].pid,
		    .start_time = copies[i].start_time};

		if (visit(arg, &view))
			break;
	}
	free(copies);
	return 0;
}
