/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop: the thread in which the HTTP server runs. libmicrohttpd has one of its own, but 0.9.75 asks epoll for 128 events at a time, and when it is
 * given just 128 it asks again, without a limit of time, before it has looked at any of them: with so many clients that all wait, for ever.
 * Run from outside it never waits there.
 */
#ifndef TRITONE_GATEWAY_LOOP_H
#define TRITONE_GATEWAY_LOOP_H

#include <microhttpd.h>

#include "wal/error.h"

/* With these the server is to be started. */
#define LOOP_FLAGS (MHD_USE_EPOLL | MHD_USE_ITC | MHD_ALLOW_SUSPEND_RESUME)

struct loop;

int loop_create(struct loop **ret_loop, struct error *err);

/* Serves `daemon` from now on. Once. */
int loop_begin(struct loop *loop, struct MHD_Daemon *daemon, struct error *err);

/* After each MHD_resume_connection, of any thread, and when a connection has ended: libmicrohttpd looks at the first, and at whether it has
 * room for another connection, when a turn begins, and does not tell who runs it from outside that it wants one. */
void loop_wake(struct loop *loop);

/* The server is as it was left, and is to be stopped after this. */
void loop_end(struct loop *loop);

/* Nobody wakes it any more. For both: NULL is fine. */
void loop_destroy(struct loop *loop);

#endif
