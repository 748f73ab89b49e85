/* SPDX-License-Identifier: Apache-2.0 */
/* The ends of processes, kept in a ring until somebody asks. */
#include "system/exits.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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
	pthread_condattr_t attr;

	if (!exits)
		return error_set(err, ENOMEM, "no memory for the ends of processes");
	pthread_mutex_init(&exits->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&exits->put, &attr);
	pthread_condattr_destroy(&attr);
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

static struct timespec after_ms(int64_t ms)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += ms / 1000;
	at.tv_nsec += (ms % 1000) * 1000000;
	if (at.tv_nsec >= 1000000000) {
		at.tv_sec++;
		at.tv_nsec -= 1000000000;
	}
	return at;
}

static bool is_later(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

/* 1 it has ended, 0 not yet, -1 nobody tells any more. */
static int wait_a_little(struct exits *exits, pid_t pid, int *ret_status)
{
	struct timespec until = after_ms(LOOK_GAP_MS);
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

static bool is_interrupted(const struct command *command)
{
	struct pollfd fd = {.fd = command->interrupt_fd, .events = POLLIN};

	return command->interrupt_fd > 0 && poll(&fd, 1, 0) > 0;
}

int exits_run(
    struct exits *exits, struct keeper *keeper, const struct command *command, int *ret_status, struct error *err)
{
	struct timespec deadline = after_ms(command->timeout_ms), now;
	bool killed = false, interrupted = false;
	struct error error;
	pid_t pid;
	int ended;

	if (keeper_spawn(keeper,
		&(struct keeper_process){.name = command->name,
		    .argv = (const char *const *)command->argv,
		    .env = (const char *const *)command->environment,
		    .cwd = command->directory,
		    .output = command->output},
		&pid, err) != 0)
		return error_context(err, "%s", command->name);
	while ((ended = wait_a_little(exits, pid, ret_status)) == 0) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		interrupted = interrupted || is_interrupted(command);
		if (killed || (!interrupted && !is_later(&now, &deadline)))
			continue;
		killed = true;
		if (keeper_signal(keeper, pid, SIGKILL, &error) != 0 && error.code != ESRCH)
			return error_set(err, error.code, "%s: %s", command->name, error.text);
	}
	if (interrupted || ended < 0)
		return error_set(err, ECANCELED, "%s was interrupted", command->name);
	if (killed)
		return error_set(err, ETIMEDOUT, "%s: %s did not end within %" PRId64 " ms", command->name,
		    command->argv[0], command->timeout_ms);
	return 0;
}
