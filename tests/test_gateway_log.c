/* SPDX-License-Identifier: Apache-2.0 */
/* The lines of `tritone gateway`, at the edges of their room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "cli/gateway_log.h"

struct fixture {
	struct gateway_lines lines;
	char behind[256]; /* nothing may come here */
	char detail[GATEWAY_LINES_SIZE];
};

static int setup(void **state)
{
	struct fixture *f = malloc(sizeof *f);

	assert_non_null(f);
	memset(f, 0xa5, sizeof *f);
	f->lines.used = f->lines.next = 0;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

/* Of an operation whose detail has `size` bytes. */
static bool add(struct fixture *f, size_t size)
{
	const struct op op = {.kind = OP_CALL,
	    .type = OP_FAIL,
	    .pair = OP_NONE,
	    .number = -1,
	    .actor = "a",
	    .key = "",
	    .task = "",
	    .detail = f->detail,
	    .index = 7};

	memset(f->detail, 'x', size);
	f->detail[size] = '\0';
	return gateway_lines_add(&f->lines, &op);
}

static void expect_nothing_behind(const struct fixture *f)
{
	size_t i;

	for (i = 0; i < sizeof f->behind; i++)
		assert_int_equal((unsigned char)f->behind[i], 0xa5);
}

/* Filled to each of its last places, and one more. */
static void test_room_to_the_last_byte(void **state)
{
	struct fixture *f = *state;
	size_t bare, left;

	assert_false(add(f, 1));
	bare = f->lines.used - 1; /* of a line, without its detail */
	for (left = 0; left < 3; left++) {
		f->lines.used = 0;
		assert_false(add(f, 1));
		assert_false(add(f, GATEWAY_LINES_SIZE - f->lines.used - bare - left));
		assert_int_equal(f->lines.used, GATEWAY_LINES_SIZE - left);
		assert_int_equal(f->lines.bytes[f->lines.used - 1], '\n');
		f->lines.next = 3;
		assert_true(add(f, 1));
		assert_int_equal(f->lines.used, GATEWAY_LINES_SIZE - left);
		assert_int_equal(f->lines.next, 3);
		expect_nothing_behind(f);
	}
}

/* It would never have room: the next ones have. */
static void test_a_line_too_long(void **state)
{
	struct fixture *f = *state;

	assert_false(add(f, GATEWAY_LINES_SIZE - 1));
	assert_int_equal(f->lines.used, 0);
	assert_int_equal(f->lines.next, 8);
	expect_nothing_behind(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_room_to_the_last_byte, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_line_too_long, setup, teardown),
	};

	return cmocka_run_group_tests_name("gateway_log", tests, NULL, NULL);
}
