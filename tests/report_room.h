/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of host/report share: four results to be told, and where what is written goes. After cmocka.h. */
#ifndef TRITONE_TESTS_REPORT_ROOM_H
#define TRITONE_TESTS_REPORT_ROOM_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/report.h"

struct place {
	struct result results[4]; /* held, failed, expected, held */
	char *text;
	size_t size;
	FILE *out;
	char path[64]; /* an empty file */
};

int setup(void **state);
int teardown(void **state);
#define TEST(name_) cmocka_unit_test_setup_teardown(name_, setup, teardown)

/* What was written since the last call. */
const char *written(struct place *place);
/* A file's beginning, as a text. */
void slurp(const char *path, char *buf, size_t size);
/* A pseudo-terminal's other end: what a person would get to see. */
void run_on_terminal(void (*what)(FILE *out, void *arg), void *arg, char *seen, size_t size);

#endif
