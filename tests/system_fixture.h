/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of host/system share: fake_system.c under test, in a directory of its own. Failures fail the test. */
#ifndef SYSTEM_FIXTURE_H
#define SYSTEM_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "history/history.h"
#include "system/system.h"

#define WAIT_MS 30000 /* only a test that fails takes so long */

struct fixture {
	char dir[64];
	struct spec_manifest *manifest;
	struct history *history;
	struct system *system;
	bool filter;
};

/* cmocka fixtures of a struct fixture. */
int system_setup(void **state);
int system_teardown(void **state);
/* Its system, not yet started, and started; `arguments` may be NULL. */
void create(struct fixture *fixture, const char *timeout, const struct spec_strings *arguments);
void start(struct fixture *fixture, const struct spec_strings *arguments);

/* What is looked for in the history. */
struct want {
	enum op_kind kind;
	enum op_type type;
	const char *actor, *task, *detail; /* NULL: any; the detail is searched for it */
	struct op found;                   /* numbers only: its strings are gone */
	char key[64], said[256];
	unsigned count;
};
/* Until such an operation has come, at `first` or after it. */
void await(struct fixture *fixture, struct want *want, uint64_t first);
/* How many there are; the last one is in it. */
unsigned count(struct fixture *fixture, struct want *want);
/* As system_submit. Those below must succeed. */
int submit(struct fixture *fixture, const char *task, const char *prompt);
void observe(struct fixture *fixture);
int stop(struct fixture *fixture);
void audit(struct fixture *fixture);

#define SYSTEM_TEST(test) cmocka_unit_test_setup_teardown(test, system_setup, system_teardown)
/* The main of a test program, which stands in for tritone: it is also the keeper. */
int system_fixture_main(int argc, char **argv, const struct CMUnitTest *tests, size_t count);

#endif
