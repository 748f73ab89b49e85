/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper's children and whoever ends up with it: their exits as events, and the end of them
 * all. */
#include "keeper/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/tree.h"
#include "wire/frame.h"

#define EVENTS_SIZE_MAX (16u << 20)         /* bytes that wait for a slow host; beyond, orphans go unreported */
#define GIVE_UP_NS      INT64_C(3000000000) /* nothing changes for so long where nobody left may be killed */
#define REAP_MAX        512                 /* in one go: in a storm of forks they may be no fewer for ever */
#define STRIKES         16                  /* at our own children, before each look at all */

/* ---- events ---- */

void keep_flush(struct keep *keep)
{
	while (keep->queue_used) {
		ssize_t n = send(keep->events, keep->queue, keep->queue_used, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return; /* full: later; broken: the control socket says so too */
		keep->queue_used -= (size_t)n;
		memmove(keep->queue, keep->queue + n, keep->queue_used);
	}
}

static bool queue_add(struct keep *keep, const msgpack_sbuffer *buf)
{
	const size_t need = keep->queue_used + 4 + buf->size;
	const uint32_t size = (uint32_t)buf->size;
	const uint8_t head[4] = {(uint8_t)(size >> 24), (uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size};

	if (need > keep->queue_room) {
		uint8_t *grown = realloc(keep->queue, need * 2);

		if (!grown)
			return false;
		keep->queue = grown;
		keep->queue_room = need * 2;
	}
	memcpy(keep->queue + keep->queue_used, head, 4);
	memcpy(keep->queue + keep->queue_used + 4, buf->data, buf->size);
	keep->queue_used = need;
	return true;
}

static void report(struct keep *keep, const struct keeper_event *event)
{
	msgpack_sbuffer buf;
	msgpack_packer pk;

	if (!event->spawned && keep->queue_used > EVENTS_SIZE_MAX)
		return;
	msgpack_sbuffer_init(&buf);
	msgpack_packer_init(&pk, &buf, msgpack_sbuffer_write);
	msgpack_pack_map(&pk, 6);
	frame_put_int(&pk, "pid", event->pid);
	frame_put_int(&pk, "status", event->status);
	frame_put_bool(&pk, "spawned", event->spawned);
	frame_put_str(&pk, "name", event->name);
	frame_put_int(&pk, "start_ns", event->start_ns);
	frame_put_int(&pk, "end_ns", event->end_ns);
	if (!queue_add(keep, &buf))
		fprintf(stderr, "keeper: no memory to report the exit of %d\n", event->pid);
	msgpack_sbuffer_destroy(&buf);
	keep_flush(keep);
}

/* ---- children ---- */

struct spawned *keep_spawned(struct keep *keep, pid_t pid)
{
	size_t i;

	for (i = 0; i < keep->spawned_count; i++)
		if (keep->spawned[i].pid == pid)
			return &keep->spawned[i];
	return NULL;
}

static void describe(struct keep *keep, pid_t pid, struct keeper_event *event)
{
	struct spawned *spawned = keep_spawned(keep, pid);
	struct tree_node node;

	memset(event, 0, sizeof *event);
	event->pid = pid;
	event->end_ns = keep_now_ns();
	if (spawned) {
		event->spawned = true;
		event->start_ns = spawned->start_ns;
		memcpy(event->name, spawned->name, sizeof event->name);
		*spawned = keep->spawned[--keep->spawned_count];
	} else if (tree_read(pid, &node)) {
		snprintf(event->name, sizeof event->name, "%s", node.comm);
	}
}

bool keep_reap(struct keep *keep)
{
	int i;

	for (i = 0; i < REAP_MAX; i++) {
		struct keeper_event event;
		siginfo_t info = {0};

		/* Looked at before it is reaped: then its name is still there. */
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0) {
			if (errno == EINTR)
				continue;
			keep->unreaped = false;
			return false;
		}
		keep->unreaped = info.si_pid != 0;
		if (!info.si_pid)
			return true;
		describe(keep, info.si_pid, &event);
		if (waitpid(info.si_pid, &event.status, WNOHANG) == info.si_pid)
			report(keep, &event);
	}
	return true;
}

void keep_drain_signals(struct keep *keep)
{
	struct signalfd_siginfo info[8];

	while (read(keep->signals, info, sizeof info) > 0)
		;
}

/* ---- the end of the tree ---- */

/* The whole group at once where it is not ours (a fork cannot slip in between), else the process. */
static void strike(const struct tree_node *node, int signal)
{
	if (node->pgrp > 1 && node->pgrp != getpgrp())
		kill(-node->pgrp, signal);
	else
		kill(node->pid, signal);
}

/*
 * Stops whoever is our child at this moment. Who forks and exits again and again has its heirs here, and none of them lives as long as
 * a look at all processes takes; from this read to the signal are some microseconds. The youngest first: the others are mostly dead.
 */
static void stop_children(void)
{
	char path[64], text[16384], *from = text, *at;
	ssize_t got;
	size_t n = 0;
	pid_t pid;
	int fd;

	snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return; /* a kernel without it: the looks alone have to do */
	while ((got = read(fd, text + n, sizeof text - 1 - n)) > 0) {
		n += (size_t)got;
		if (n <= sizeof text / 2)
			continue;
		memmove(text, text + n - sizeof text / 4, sizeof text / 4);
		n = sizeof text / 4;
		from = memchr(text, ' ', n); /* its first number may be half of one */
	}
	close(fd);
	text[n] = '\0';
	while (from && (at = strrchr(from, ' '))) {
		*at = '\0';
		at = strrchr(from, ' ');
		pid = (pid_t)strtol(at ? at + 1 : from, NULL, 10);
		if (pid > 1) {
			kill(-pid, SIGSTOP);
			kill(pid, SIGSTOP);
		}
	}
}

static bool known(const struct tree *before, const struct tree_node *node)
{
	size_t i;

	for (i = 0; i < before->count; i++)
		if (before->nodes[i].pid == node->pid && before->nodes[i].start_time == node->start_time)
			return true;
	return false;
}

static bool dead(const struct tree_node *node)
{
	return node->state == 'Z' || node->state == 'X';
}

/*
 * Stops everything below, until a look around finds nobody new: then nobody forks any more. The dead are reaped between two looks:
 * in a storm of forks they are so many that each look would take longer than the one before, until no pid is left for anybody.
 */
static void freeze(struct keep *keep, struct tree *now, struct tree *before)
{
	int round;

	before->count = 0;
	for (round = 0; round < 64; round++) {
		struct tree swap;
		bool fresh = false;
		size_t i;

		for (i = 0; i < STRIKES && keep_reap(keep); i++)
			stop_children();
		if (!keep_reap(keep) || tree_scan(now, getpid(), NULL) < 0)
			return;
		for (i = 0; i < now->count; i++) {
			if (known(before, &now->nodes[i]))
				continue;
			fresh = true; /* one that is dead, too: it may have left a child that this look has missed */
			if (!dead(&now->nodes[i]))
				strike(&now->nodes[i], SIGSTOP);
		}
		if (!fresh)
			return;
		swap = *before;
		*before = *now;
		*now = swap;
	}
}

/* Whether whoever lives may not be killed, none excepted: names them. `ret_sum` changes when they do. */
static bool none_can_be_killed(const struct tree *now, char ret_left[KEEP_LEFT_SIZE], uint64_t *ret_sum)
{
	size_t i, used = 0;

	*ret_sum = 0;
	ret_left[0] = '\0';
	for (i = 0; i < now->count; i++) {
		const struct tree_node *node = &now->nodes[i];

		if (dead(node))
			continue;
		if (kill(node->pid, 0) == 0 || errno != EPERM)
			return false;
		*ret_sum = *ret_sum * 31 + (uint64_t)node->pid;
		if (used < KEEP_LEFT_SIZE - 1)
			used += (size_t)snprintf(ret_left + used, KEEP_LEFT_SIZE - used, "%s%d (%.15s)",
			    used ? ", " : "", node->pid, node->comm);
	}
	return ret_left[0] != '\0';
}

unsigned keep_kill_all(struct keep *keep, char ret_left[KEEP_LEFT_SIZE])
{
	struct tree now = {0}, before = {0};
	uint64_t sum, last_sum = 0;
	int64_t since_ns = 0;
	unsigned killed = 0;
	bool first = true;

	ret_left[0] = '\0';
	while (keep_reap(keep)) {
		struct pollfd p = {.fd = keep->signals, .events = POLLIN};
		size_t i;

		freeze(keep, &now, &before);
		/* A look that failed (no memory) must not keep the known ones alive. */
		if (tree_scan(&now, getpid(), NULL) < 0)
			now.count = 0;
		for (i = 0; i < now.count; i++) {
			killed += first && !dead(&now.nodes[i]);
			strike(&now.nodes[i], SIGKILL);
		}
		first = false;
		if (!none_can_be_killed(&now, ret_left, &sum)) {
			ret_left[0] = '\0';
			last_sum = 0;
		} else if (sum != last_sum) {
			last_sum = sum;
			since_ns = keep_now_ns();
		} else if (keep_now_ns() - since_ns > GIVE_UP_NS) {
			break;
		}
		for (i = 0; i < keep->spawned_count; i++)
			kill(keep->spawned[i].pid, SIGKILL);
		/* Their death wakes us; the limit is for those that are reparented only after it. */
		poll(&p, 1, keep->unreaped ? 0 : 20);
		keep_drain_signals(keep);
	}
	if (!keep_reap(keep))
		ret_left[0] = '\0';
	tree_finish(&now);
	tree_finish(&before);
	return killed;
}
