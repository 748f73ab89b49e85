/* SPDX-License-Identifier: Apache-2.0 */
/* The services' socket before a backend that keeps what it was told. Failures are cmocka's assertions. */
#ifndef TRITONE_TESTS_SERVICE_ROOM_H
#define TRITONE_TESTS_SERVICE_ROOM_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "service/service.h"

#define RULES_MAX 16

/* What the backend was told last, and which rules there are. */
struct world {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	char keys[RULES_MAX][64]; /* "": free */
	struct tritone_gateway_rule gateway;
	struct tritone_errno_rule error;
	struct tritone_point_rule point;
	char target[64], path[256], name[64];
	struct service_backend backend;
	struct service_server *server;
	char dir[64], socket[100];
};

/* A world that is served, or not yet: then serve() does it. */
int setup(void **state);
int setup_unserved(void **state);
int teardown(void **state);
void serve(struct world *world);

struct service_client *join(struct world *world);
struct tritone_gateway_rule rule_of(const char *key);

/* Is there such a rule? */
bool has(struct world *world, const char *key);
/* Waits until a rule has gone; that it never does shows as a test that hangs. */
void wait_gone(struct world *world, const char *key);

#endif
