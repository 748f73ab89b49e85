/* SPDX-License-Identifier: Apache-2.0 */
/* wal/error.h: codes, texts, context, and the bound of the text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "wal/error.h"

static void test_set_and_context(void **state)
{
	struct error err = {0};

	(void)state;
	assert_int_equal(error_set(&err, ENOSPC, "%s: full", "/x"), -1);
	assert_int_equal(err.code, ENOSPC);
	assert_string_equal(err.text, "/x: full");
	assert_int_equal(error_context(&err, "run %d", 7), -1);
	assert_string_equal(err.text, "run 7: /x: full");
	assert_int_equal(err.code, ENOSPC);
	assert_int_equal(error_set(NULL, EIO, "nobody asks"), -1);
}

static void test_long_text_is_cut_not_overrun(void **state)
{
	struct error err = {0};
	char text[600];

	(void)state;
	memset(text, 'a', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	error_set(&err, EIO, "%s", text);
	assert_int_equal(strlen(err.text), sizeof err.text - 1);
	error_context(&err, "%s", text);
	assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_set_and_context),
	    cmocka_unit_test(test_long_text_is_cut_not_overrun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
