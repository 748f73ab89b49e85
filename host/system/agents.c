/* SPDX-License-Identifier: Apache-2.0 */
/* The agents of the system under test, seen through their pid files. */
#include "system/agents.h"

#include <errno.h>
#include <limits.h>
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
	char *pid_files, *task_files, *worktree_files; /* absolute globs; the last two may be NULL */
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

/* A pid file: an agent, unless it is known, or dead before anybody could see it alive. */
static void meet(struct agents *agents, const char *path, const char *id)
{
	struct agent *agent;
	char line[32], *end;
	uint64_t start_time;
	long pid;
	int fd;

	if (textfile_line(path, line, sizeof line, NULL) != 0)
		return;
	pid = strtol(line, &end, 10);
	if (end == line || *end || pid <= 1 || pid > INT_MAX)
		return;
	fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	if (fd < 0)
		return;
	if (textfile_start_time((pid_t)pid, &start_time, NULL) != 0 || known(agents, id, (pid_t)pid, start_time) ||
	    !(agent = calloc(1, sizeof *agent))) {
		close(fd);
		return;
	}
	snprintf(agent->id, sizeof agent->id, "%s", id);
	agent->pid = (pid_t)pid;
	agent->start_time = start_time;
	agent->pidfd = fd;
	agent->op = OP_NONE;
	if (add(agents, agent) != 0) {
		close(fd);
		free(agent);
		return;
	}
	announce(agents, agent, false);
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
