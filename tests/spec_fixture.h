/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of host/spec share: a file of the test's own, and the error that came of it. After cmocka.h. */
#ifndef TRITONE_TESTS_SPEC_FIXTURE_H
#define TRITONE_TESTS_SPEC_FIXTURE_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spec/spec.h"

/* A manifest that says no more than it must. */
#define LEAST "name: n\nprocesses: [{name: p, command: [c]}]\nsubmit: {url: u, body: b}\n"

struct place {
	char dir[64], file[128];
	struct error err;
};

static inline int setup(void **state)
{
	struct place *place = calloc(1, sizeof *place);

	assert_non_null(place);
	strcpy(place->dir, "/tmp/test-spec-XXXXXX");
	assert_non_null(mkdtemp(place->dir));
	snprintf(place->file, sizeof place->file, "%s/x.yaml", place->dir);
	*state = place;
	return 0;
}

static inline int teardown(void **state)
{
	struct place *place = *state;

	unlink(place->file);
	rmdir(place->dir);
	free(place);
	return 0;
}

static inline void write_bytes(struct place *place, const void *bytes, size_t size)
{
	int fd = open(place->file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);
	assert_int_equal(close(fd), 0);
}

#define TEST(name_) cmocka_unit_test_setup_teardown(name_, setup, teardown)

#endif
