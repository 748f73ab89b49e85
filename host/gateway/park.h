/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that wait: suspended in the HTTP server, resumed when their time has come, when what
 * they wait for has ended, or when the client has hung up. One thread, one timer, however many wait.
 *
 * All functions but create and destroy are called with the mutex held that park_create was given.
 */
#ifndef TRITONE_GATEWAY_PARK_H
#define TRITONE_GATEWAY_PARK_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/loop.h"
#include "wal/error.h"

struct park;

enum park_why {
	PARK_DUE = 1, /* its time has come */
	PARK_ENDED,   /* park_end with its tag */
	PARK_GONE,    /* the client has hung up */
	PARK_CLOSED,  /* park_close: the connection has been reset */
};

/* One place; lives in the request, zeroed. */
struct park_slot {
	struct park_slot *prev, *next;
	struct MHD_Connection *connection;
	size_t heap; /* 1-based place in the heap; 0: no deadline */
	int64_t due_us;
	uint64_t tag, serial;
	int fd;
	bool parked;
	enum park_why why; /* valid after the resumption */
};

int park_create(struct park **ret_park, pthread_mutex_t *lock, struct loop *loop, struct error *err);
void park_destroy(struct park *park); /* after park_close and after the server has stopped; without the lock */

/* Suspends the connection until due_us (park_now_us's clock; -1: no limit) or until park_end(tag). Called by the
 * server's thread from the request's handler, which is called again afterwards. False: closed; answer now. */
bool park_put(
    struct park *park, struct park_slot *slot, struct MHD_Connection *connection, int64_t due_us, uint64_t tag);
void park_end(struct park *park, uint64_t tag);
/* Resets and resumes all that wait; park_put fails from now on. */
void park_close(struct park *park);
bool park_closed(const struct park *park);

int64_t park_now_us(void);
/* Closes a connection so that the peer sees a reset, not an end of file. The descriptor stays open. */
void park_reset(int fd);

#endif
