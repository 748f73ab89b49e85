/* SPDX-License-Identifier: Apache-2.0 */
/* The observer's thread. Requests to look are tickets: each round serves those drawn before it began. */
#include "system/observe.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct observer {
	struct observer_parts parts;
	int wake;
	pthread_t thread;
	bool keeper_lost; /* the thread's own */

	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t served;
	uint64_t drawn, done;
	bool stop;
	struct error error; /* code 0: none */
};

static void fail(struct observer *observer, const struct error *error)
{
	pthread_mutex_lock(&observer->lock);
	if (!observer->error.code)
		observer->error = *error;
	pthread_mutex_unlock(&observer->lock);
}

static void drain_keeper(struct observer *observer)
{
	struct keeper_event event;
	struct error error;
	int got = 0;

	while (!observer->keeper_lost && (got = keeper_next_event(observer->parts.keeper, 0, &event, &error)) == 1) {
		if (event.spawned && observer->parts.processes)
			processes_died(observer->parts.processes, &event);
		if (event.spawned && observer->parts.exits)
			exits_put(observer->parts.exits, event.pid, event.status);
	}
	if (got < 0) {
		observer->keeper_lost = true;
		fail(observer, &error);
	}
}

static void look_around(struct observer *observer)
{
	struct error error;

	drain_keeper(observer);
	if (watch_dispatch(observer->parts.watch, &error) != 0)
		fail(observer, &error);
	if (observer->parts.ledger && ledger_follow(observer->parts.ledger, &error) != 0)
		fail(observer, &error);
	if (observer->parts.agents) {
		agents_dispatch(observer->parts.agents);
		agents_scan(observer->parts.agents);
	}
}

static uint64_t tickets(struct observer *observer, bool *ret_stop)
{
	uint64_t drawn;

	pthread_mutex_lock(&observer->lock);
	drawn = observer->drawn;
	*ret_stop = observer->stop;
	pthread_mutex_unlock(&observer->lock);
	return drawn;
}

/* Somebody wants to be sure: look at the ledger too, event or not. */
static void serve(struct observer *observer, uint64_t drawn)
{
	struct error error = {0};

	if (observer->parts.ledger && ledger_look(observer->parts.ledger, &error) != 0)
		fail(observer, &error);
	if (observer->parts.lines && lines_verify(observer->parts.lines, &error) != 0)
		fail(observer, &error);
	pthread_mutex_lock(&observer->lock);
	observer->done = drawn;
	pthread_cond_broadcast(&observer->served);
	pthread_mutex_unlock(&observer->lock);
}

static void *observe(void *arg)
{
	struct observer *observer = arg;
	uint64_t served = 0;

	for (;;) {
		struct pollfd fds[4] = {{.fd = observer->wake, .events = POLLIN},
		    {.fd = watch_fd(observer->parts.watch), .events = POLLIN},
		    {.fd = observer->keeper_lost ? -1 : keeper_event_fd(observer->parts.keeper), .events = POLLIN},
		    {.fd = observer->parts.agents ? agents_fd(observer->parts.agents) : -1, .events = POLLIN}};
		uint64_t drawn, ignored;
		bool stop;

		if (poll(fds, 4, observer->parts.agents ? agents_scan_ms(observer->parts.agents) : -1) < 0 &&
		    errno != EINTR) {
			struct error error;

			error_set(&error, errno, "observer: poll: %s", strerror(errno));
			fail(observer, &error);
			break;
		}
		while (read(observer->wake, &ignored, sizeof ignored) > 0)
			;
		drawn = tickets(observer, &stop);
		look_around(observer);
		if (drawn != served)
			serve(observer, drawn);
		served = drawn;
		if (stop)
			break;
	}
	pthread_mutex_lock(&observer->lock); /* nobody waits for a thread that is gone */
	observer->done = UINT64_MAX;
	pthread_cond_broadcast(&observer->served);
	pthread_mutex_unlock(&observer->lock);
	return NULL;
}

static void wake_up(struct observer *observer)
{
	while (eventfd_write(observer->wake, 1) != 0 && errno == EINTR)
		;
}

int observer_start(struct observer **ret_observer, const struct observer_parts *parts, struct error *err)
{
	struct observer *observer = calloc(1, sizeof *observer);
	int code;

	if (!observer)
		return error_set(err, ENOMEM, "no memory for the observer");
	observer->parts = *parts;
	observer->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (observer->wake < 0) {
		code = errno;
		free(observer);
		return error_set(err, code, "eventfd: %s", strerror(code));
	}
	pthread_mutex_init(&observer->lock, NULL);
	pthread_cond_init(&observer->served, NULL);
	code = pthread_create(&observer->thread, NULL, observe, observer);
	if (code) {
		pthread_cond_destroy(&observer->served);
		pthread_mutex_destroy(&observer->lock);
		close(observer->wake);
		free(observer);
		return error_set(err, code, "observer: no thread: %s", strerror(code));
	}
	*ret_observer = observer;
	return 0;
}

int observer_look(struct observer *observer, struct error *err)
{
	struct error error;
	uint64_t mine;

	pthread_mutex_lock(&observer->lock);
	mine = ++observer->drawn;
	pthread_mutex_unlock(&observer->lock);
	wake_up(observer);
	pthread_mutex_lock(&observer->lock);
	while (observer->done < mine)
		pthread_cond_wait(&observer->served, &observer->lock);
	error = observer->error;
	pthread_mutex_unlock(&observer->lock);
	return error.code ? error_set(err, error.code, "%s", error.text) : 0;
}

void observer_stop(struct observer *observer)
{
	if (!observer)
		return;
	pthread_mutex_lock(&observer->lock);
	observer->stop = true;
	observer->drawn++;
	pthread_mutex_unlock(&observer->lock);
	wake_up(observer);
	pthread_join(observer->thread, NULL);
	pthread_cond_destroy(&observer->served);
	pthread_mutex_destroy(&observer->lock);
	close(observer->wake);
	free(observer);
}
