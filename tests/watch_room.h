/* SPDX-License-Identifier: Apache-2.0 */
/* A directory that host/system's eyes look at, and a hand that changes it. Failures are cmocka's assertions. */
#ifndef TRITONE_TESTS_WATCH_ROOM_H
#define TRITONE_TESTS_WATCH_ROOM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "system/agents.h"
#include "system/ledger.h"
#include "system/statefiles.h"
#include "system/watch.h"

struct fixture {
	char dir[64];
	struct history *history;
	struct watch *watch;
	struct ledger *ledger;
	struct statefiles *statefiles;
	struct agents *agents;
	char seen[2048]; /* "NAME " for each file that was reported, in order */
};

int setup(void **state);
int teardown(void **state);

/* `name` below the directory, written to `buf`, which has 256 bytes. */
const char *in(struct fixture *fixture, const char *name, char *buf);
void make_directory(struct fixture *fixture, const char *name);
void write_file(struct fixture *fixture, const char *name, const char *text);
void move(struct fixture *fixture, const char *from, const char *to);

/* Watches it, without what is below a directory "not..."; what is written or comes there is `seen`. */
void watch_root(struct fixture *fixture, const char *name);
/* What has happened is looked at. */
void dispatch(struct fixture *fixture);

#define WATCH_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif
