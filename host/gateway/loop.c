/* SPDX-License-Identifier: Apache-2.0 */
/* One thread that sleeps until the server has something to do, or is to end. */
#include "gateway/loop.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct loop {
	struct MHD_Daemon *daemon; /* NULL: not begun */
	pthread_t thread;
	int events, wake; /* the server's; ours */
	atomic_bool ends;
};

/* Until when it may sleep, in milliseconds; -1: until something comes. */
static int sleep_ms(struct MHD_Daemon *daemon)
{
	MHD_UNSIGNED_LONG_LONG ms;

	if (MHD_get_timeout(daemon, &ms) != MHD_YES)
		return -1;
	return ms < INT_MAX ? (int)ms : INT_MAX;
}

static void *run(void *arg)
{
	struct loop *loop = arg;
	struct pollfd polls[2] = {{.fd = loop->events, .events = POLLIN}, {.fd = loop->wake, .events = POLLIN}};
	eventfd_t woken;

	while (!atomic_load(&loop->ends)) {
		if (poll(polls, 2, sleep_ms(loop->daemon)) < 0)
			continue;     /* EINTR */
		if (polls[1].revents) /* before it looks: who wakes it meanwhile is heard the next time */
			(void)eventfd_read(loop->wake, &woken);
		MHD_run(loop->daemon);
	}
	return NULL;
}

int loop_create(struct loop **ret_loop, struct error *err)
{
	struct loop *loop = calloc(1, sizeof *loop);

	if (!loop)
		return error_set(err, ENOMEM, "no memory for the gateway");
	loop->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wake < 0) {
		error_set(err, errno, "the gateway's HTTP server: eventfd: %s", strerror(errno));
		free(loop);
		return -1;
	}
	*ret_loop = loop;
	return 0;
}

int loop_begin(struct loop *loop, struct MHD_Daemon *daemon, struct error *err)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD);
	int rc;

	if (!info)
		return error_set(err, ENOTSUP, "the gateway's HTTP server: libmicrohttpd has no epoll");
	loop->events = info->epoll_fd;
	loop->daemon = daemon;
	rc = pthread_create(&loop->thread, NULL, run, loop);
	if (rc) {
		loop->daemon = NULL;
		return error_set(err, rc, "the gateway's HTTP server: no thread: %s", strerror(rc));
	}
	return 0;
}

void loop_wake(struct loop *loop)
{
	(void)eventfd_write(loop->wake, 1);
}

void loop_end(struct loop *loop)
{
	if (!loop || !loop->daemon)
		return;
	atomic_store(&loop->ends, true);
	loop_wake(loop);
	pthread_join(loop->thread, NULL);
	loop->daemon = NULL;
}

void loop_destroy(struct loop *loop)
{
	if (!loop)
		return;
	close(loop->wake);
	free(loop);
}
