/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A conductor in a process of its own, with a gateway in this one: started, handed tasks, waited for, ended. Failures are
 * cmocka's assertions.
 */
#ifndef TRITONE_TESTS_CONDUCTOR_ROOM_H
#define TRITONE_TESTS_CONDUCTOR_ROOM_H

#include <curl/curl.h>
#include <stddef.h>
#include <sys/types.h>

#include "gateway/gateway.h"
#include "history/history.h"

#define ROOM_ROLES     3
#define ROOM_TASKS_MAX 64

struct room {
	char state[80];
	const char *program; /* the conductor; from the environment, CONDUCTOR */
	struct history *history;
	struct gateway *gateway;
	pid_t pid;
	int out; /* the conductor's standard output */
	unsigned port;
	const char *set; /* NULL, or one more NAME=VALUE for --set, from the next start on */
	CURL *curl;
};

/* 0 or -1. The state directory is not made. */
int room_create(struct room **ret_room, const char *state);
void room_destroy(struct room *room); /* kills a conductor that still runs */

/* Runs a verb of the conductor to its end, which is to be a good one; what it prints is in `output`. */
void room_run_verb(struct room *room, const char *verb, char *output, size_t size);
/* Starts the conductor and waits until it says that it is ready. */
void room_serve(struct room *room);
/* Returns its exit status as of waitpid. */
int room_stop(struct room *room, int signal_number);

/* The HTTP status. */
long room_post(struct room *room, const char *body);

/* Task `role` of chain `chain`: plan, write and review, one after the other. */
void room_task_name(char *name, size_t size, int chain, int role);
long room_submit(struct room *room, int chain, int role);

/* Called for each task when its first notification has been delivered. */
typedef void (*room_delivered_fn)(void *arg, const char *task);
/* Until `wanted` tasks have been notified. There is no limit here: the test runner has one. */
void room_wait_delivered(struct room *room, int wanted, room_delivered_fn delivered, void *arg);

#endif
