/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of host/runner share: directories, the plugins of tests/plugins, one runner. Failures fail the test. */
#ifndef RUNNER_FIXTURE_H
#define RUNNER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <limits.h>
#include <sys/types.h>

#include "runner/runner.h"
#include "runner_host.h"

#define FAULT "f-1"

struct fixture {
	char dir[64], run[PATH_MAX], state[PATH_MAX], effect[PATH_MAX], plugins[PATH_MAX];
	char plugin[PATH_MAX];
	struct undo_log *undo;
	struct runner *runner;
	struct runner_options options;
	struct error err;
	const char *params[8];
	char seen[4096]; /* evidence, "name=value\n" ... */
	size_t log_lines;
	int tell; /* a forked host writes a byte here for each evidence "misbehaving"; -1: nobody to tell */
};

extern const char *const hooks[5]; /* in their order */

/* The module of that name among tests/plugins. */
void use_plugin(struct fixture *f, const char *name);
/* cmocka fixtures of a struct fixture. */
int fixture_setup(void **state);
int fixture_teardown(void **state);
/* What the evil plugin does, and in which hook; `more` is another parameter, or NULL. */
void with(struct fixture *f, const char *when, const char *how, const char *more);
/* Each does all before it, too, and must succeed. */
void start(struct fixture *f);
void plan(struct fixture *f);
void inject(struct fixture *f);
/* How many undo records are. */
int outstanding(struct fixture *f);
void assert_clean(struct fixture *f);
/* The error holds this. */
void assert_says(const struct fixture *f, const char *text);
/* "name=value" was told. */
bool has_evidence(const struct fixture *f, const char *text);
bool has_landlock(void);
/* The runner of a fixture whose host is this process: its only child. */
pid_t only_child(void);

#define RUNNER_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
/* The main of a test program: it is also the runner, and a subreaper, so that the end of any descendant can be waited for. */
int runner_fixture_main(int argc, char **argv, const struct CMUnitTest *tests, size_t count);

#endif
