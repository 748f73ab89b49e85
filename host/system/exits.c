/* SPDX-License-Identifier: Apache-2.0 */
/* The ends of processes, kept in a ring until somebody asks. */
#include "system/exits.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

#define KEPT_MAX    1024u
#define LOOK_GAP_MS 50 /* how often an interruption is looked for */

struct exits {
	pthread_mutex_t lock;
	pthread_cond_t put;
	struct {
		pid_t pid; /* 0: none, or taken */
		int status;
	} kept[KEPT_MAX];
	size_t next;
	bool closed;
};

int exits_create(struct exits **ret_exits, struct error *err)
{
	struct exits *exits = calloc(1, sizeof *exits);

	if (!exits)
		return error_set(err, ENOMEM, "no memory for the ends of processes");
	pthread_mutex_init(&exits->lock, NULL);
	clock_cond_init(&exits->put);
	*ret_exits = exits;
	return 0;
}

void exits_destroy(struct exits *exits)
{
	if (!exits)
		return;
	pthread_cond_destroy(&exits->put);
	pthread_mutex_destroy(&exits->lock);
	free(exits);
}

void exits_put(struct exits *exits, pid_t pid, int status)
{
	pthread_mutex_lock(&exits->lock);
	exits->kept[exits->next].pid = pid;
	exits->kept[exits->next].status = status;
	exits->next = (exits->next + 1) % KEPT_MAX;
	pthread_cond_broadcast(&exits->put);
	pthread_mutex_unlock(&exits->lock);
}

void exits_close(struct exits *exits)
{
	pthread_mutex_lock(&exits->lock);
	exits->closed = true;
	pthread_cond_broadcast(&exits->put);
	pthread_mutex_unlock(&exits->lock);
}

/* Under the lock: 1 when it was there. */
static bool take(struct exits *exits, pid_t pid, int *ret_status)
{
	for (size_t i = 0; i < KEPT_MAX; i++) {
		if (exits->kept[i].pid != pid)
			continue;
		exits->kept[i].pid = 0;
		*ret_status = exits->kept[i].status;
		return true;
	}
	return false;
}

/* 1 it has ended, 0 not yet, -1 nobody tells any more. */
static int wait_a_little(struct exits *exits, pid_t pid, int *ret_status)
{
	struct timespec until = clock_in(LOOK_GAP_MS);
	int result;

	pthread_mutex_lock(&exits->lock);
	while ((result = take(exits, pid, ret_status)) == 0 && !exits->closed &&
	       pthread_cond_timedwait(&exits->put, &exits->lock, &until) != ETIMEDOUT)
		;
	if (!result && exits->closed)
		result = take(exits, pid, ret_status) ? 1 : -1;
	pthread_mutex_unlock(&exits->lock);
	return result;
}

int exits_run(
    struct exits *exits, struct keeper *keeper, const struct command *command, int *ret_status, struct error *err)
{
	int64_t deadline = clock_ms() + command->timeout_ms;
	bool killed = false, interrupted = false;
	pid_t pid;
	int ended;

	if (command_spawn(keeper, command, &pid, err) != 0)
		return -1;
	while ((ended = wait_a_little(exits, pid, ret_status)) == 0) {
		interrupted = interrupted || command_interrupted(command->interrupt_fd, 0);
		if (killed || (!interrupted && clock_ms() <= deadline))
			continue;
		killed = true;
		if (command_kill(keeper, command, pid, err) != 0)
			return -1;
	}
	return command_ended(command, interrupted || ended < 0, killed, err);
}
