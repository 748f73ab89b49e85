/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting connections; see park.h. */
#include "gateway/park.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 64

struct park {
	pthread_mutex_t *lock; /* the gateway's; not ours */
	struct loop *loop;     /* too */
	pthread_t thread;
	int timer, epoll;
	struct park_slot *first;
	struct park_slot **heap; /* 1-based; the earliest deadline on top */
	size_t heap_count, heap_room;
	int64_t armed_us; /* when the timer will go off; -1: not at all */
	uint64_t serial;
	bool closed, stop;
};

int64_t park_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void park_reset(int fd)
{
	struct sockaddr none = {.sa_family = AF_UNSPEC};
	struct linger linger = {.l_onoff = 1, .l_linger = 0};

	/* Dissolving the association sends the reset at once, before the server could send an end of file; lingering
	 * for no time is for kernels that refuse it. */
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
	(void)connect(fd, &none, sizeof none);
}

/* ---- the heap of deadlines ---- */

static void heap_place(struct park *park, size_t i, struct park_slot *slot)
{
	park->heap[i] = slot;
	slot->heap = i;
}

static void heap_up(struct park *park, size_t i, struct park_slot *slot)
{
	while (i > 1 && park->heap[i / 2]->due_us > slot->due_us) {
		heap_place(park, i, park->heap[i / 2]);
		i /= 2;
	}
	heap_place(park, i, slot);
}

static void heap_down(struct park *park, size_t i, struct park_slot *slot)
{
	for (;;) {
		size_t child = i * 2;

		if (child > park->heap_count)
			break;
		if (child < park->heap_count && park->heap[child + 1]->due_us < park->heap[child]->due_us)
			child++;
		if (park->heap[child]->due_us >= slot->due_us)
			break;
		heap_place(park, i, park->heap[child]);
		i = child;
	}
	heap_place(park, i, slot);
}

static bool heap_add(struct park *park, struct park_slot *slot)
{
	if (park->heap_count + 1 >= park->heap_room) {
		size_t room = park->heap_room ? park->heap_room * 2 : 64;
		struct park_slot **grown = reallocarray(park->heap, room, sizeof(struct park_slot *));

		if (!grown)
			return false;
		park->heap = grown;
		park->heap_room = room;
	}
	heap_up(park, ++park->heap_count, slot);
	return true;
}

static void heap_remove(struct park *park, struct park_slot *slot)
{
	size_t i = slot->heap;
	struct park_slot *last;

	if (!i)
		return;
	slot->heap = 0;
	last = park->heap[park->heap_count--];
	if (last == slot)
		return;
	if (i > 1 && park->heap[i / 2]->due_us > last->due_us)
		heap_up(park, i, last);
	else
		heap_down(park, i, last);
}

/* ---- parking ---- */

static void arm(struct park *park, int64_t at_us)
{
	struct itimerspec spec = {0};

	if (at_us == park->armed_us)
		return;
	park->armed_us = at_us;
	if (at_us >= 0) {
		spec.it_value.tv_sec = at_us / 1000000;
		spec.it_value.tv_nsec = at_us % 1000000 * 1000;
		if (!at_us)
			spec.it_value.tv_nsec = 1; /* all zero would disarm it */
	}
	(void)timerfd_settime(park->timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void take_out(struct park *park, struct park_slot *slot, enum park_why why)
{
	(void)epoll_ctl(park->epoll, EPOLL_CTL_DEL, slot->fd, NULL);
	heap_remove(park, slot);
	if (slot->prev)
		slot->prev->next = slot->next;
	else
		park->first = slot->next;
	if (slot->next)
		slot->next->prev = slot->prev;
	slot->prev = slot->next = NULL;
	slot->parked = false;
	slot->why = why;
	MHD_resume_connection(slot->connection);
	loop_wake(park->loop);
}

bool park_put(
    struct park *park, struct park_slot *slot, struct MHD_Connection *connection, int64_t due_us, uint64_t tag)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct epoll_event event = {.events = EPOLLRDHUP};

	if (park->closed || !info)
		return false;
	*slot = (struct park_slot){.connection = connection, .due_us = due_us, .tag = tag, .fd = info->connect_fd};
	if (due_us >= 0 && !heap_add(park, slot))
		return false;
	slot->serial = event.data.u64 = ++park->serial;
	/* Without this its client's hang-up is only seen at the end of the wait: late, not wrong. */
	(void)epoll_ctl(park->epoll, EPOLL_CTL_ADD, slot->fd, &event);
	slot->next = park->first;
	if (slot->next)
		slot->next->prev = slot;
	park->first = slot;
	slot->parked = true;
	MHD_suspend_connection(connection);
	if (due_us >= 0 && (park->armed_us < 0 || due_us < park->armed_us))
		arm(park, due_us);
	return true;
}

void park_end(struct park *park, uint64_t tag)
{
	struct park_slot *slot, *next;

	for (slot = tag ? park->first : NULL; slot; slot = next) {
		next = slot->next;
		if (slot->tag == tag)
			take_out(park, slot, PARK_ENDED);
	}
}

void park_close(struct park *park)
{
	park->closed = true;
	while (park->first) {
		park_reset(park->first->fd);
		take_out(park, park->first, PARK_CLOSED);
	}
}

bool park_closed(const struct park *park)
{
	return park->closed;
}

/* ---- the thread ---- */

static void take_due(struct park *park)
{
	int64_t now = park_now_us();

	while (park->heap_count && park->heap[1]->due_us <= now)
		take_out(park, park->heap[1], PARK_DUE);
	arm(park, park->heap_count ? park->heap[1]->due_us : -1);
}

static void *run(void *arg)
{
	struct park *park = arg;
	struct epoll_event events[EVENTS];
	bool stop = false;

	while (!stop) {
		int n = epoll_wait(park->epoll, events, EVENTS, -1), i;
		uint64_t expirations;

		pthread_mutex_lock(park->lock);
		for (i = 0; i < n; i++) {
			struct park_slot *at = park->first;

			if (!events[i].data.u64) {
				(void)!read(park->timer, &expirations, sizeof expirations);
				park->armed_us = -1;
				continue;
			}
			/* It may have been taken out, and even freed, since epoll_wait returned. */
			while (at && at->serial != events[i].data.u64)
				at = at->next;
			if (at)
				take_out(park, at, PARK_GONE);
		}
		take_due(park);
		stop = park->stop;
		pthread_mutex_unlock(park->lock);
	}
	return NULL;
}

int park_create(struct park **ret_park, pthread_mutex_t *lock, struct loop *loop, struct error *err)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0};
	struct park *park = calloc(1, sizeof *park);
	int r;

	if (!park)
		return error_set(err, ENOMEM, "no memory for the gateway's timer");
	park->lock = lock;
	park->loop = loop;
	park->armed_us = -1;
	park->epoll = epoll_create1(EPOLL_CLOEXEC);
	park->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (park->epoll < 0 || park->timer < 0 || epoll_ctl(park->epoll, EPOLL_CTL_ADD, park->timer, &event) < 0) {
		error_set(err, errno, "making the gateway's timer: %s", strerror(errno));
		goto fail;
	}
	r = pthread_create(&park->thread, NULL, run, park);
	if (r) {
		error_set(err, r, "starting the gateway's timer thread: %s", strerror(r));
		goto fail;
	}
	*ret_park = park;
	return 0;
fail:
	if (park->epoll >= 0)
		close(park->epoll);
	if (park->timer >= 0)
		close(park->timer);
	free(park);
	return -1;
}

void park_destroy(struct park *park)
{
	if (!park)
		return;
	pthread_mutex_lock(park->lock);
	park->stop = true;
	arm(park, 0);
	pthread_mutex_unlock(park->lock);
	pthread_join(park->thread, NULL);
	close(park->epoll);
	close(park->timer);
	free(park->heap);
	free(park);
}
