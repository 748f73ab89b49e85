/* SPDX-License-Identifier: Apache-2.0 */
/* What host/system reads of texts: samples of metrics, globs of paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "system/metrics.h"
#include "system/pathglob.h"

static void test_metrics(void **state)
{
	static const char text[] = "# HELP ok tasks\n# TYPE ok gauge\nok_total 3\n"
				   "ok{queue=\"a,b\",zone=\"x\"} 0.95 1700000000\nok{queue=\"b\"} 0.5\nbad NaN\n";
	static const struct {
		const char *condition;
		bool found, holds;
	} rows[] = {
	    {"ok >= 0.9", true, true},
	    {"ok{queue=\"b\"} >= 0.9", true, false},
	    {"ok{zone=\"x\", queue=\"a,b\"} == 0.95", true, true},
	    {"ok{queue=\"c\"} > 0", false, false},
	    {"ok{queue=\"\"} > 0", false, false},
	    {"ok_total != 3", true, false},
	    {"ok_total < 4", true, true},
	    {"o > 0", false, false},
	};
	static const char *const wrong[] = {"", "ok", "ok >", "ok > many", "ok{a=\"b\" > 3", "> 3", "ok => 3"};
	struct metrics_condition condition;
	struct error err;
	double value;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_int_equal(metrics_condition(&condition, rows[i].condition, &err), 0);
		assert_int_equal(metrics_find(text, &condition, &value), rows[i].found);
		if (rows[i].found)
			assert_int_equal(metrics_holds(&condition, value), rows[i].holds);
	}
	for (i = 0; i < sizeof wrong / sizeof *wrong; i++)
		assert_int_equal(metrics_condition(&condition, wrong[i], &err), -1);
}

static void test_globs(void **state)
{
	char text[64];

	(void)state;
	assert_true(pathglob_match("/a/*.json", "/a/.b.json"));
	assert_false(pathglob_match("/a/*.json", "/a/b/c.json"));
	assert_true(pathglob_match("/a/**/*.json", "/a/c.json"));
	assert_true(pathglob_match("/a/**/*.json", "/a/b/b/c.json"));
	assert_false(pathglob_match("/a/**/x", "/a/bx"));
	assert_true(pathglob_match("/a/b?c", "/a/bxc"));
	assert_false(pathglob_match("/a/b?c", "/a/b/c"));
	assert_true(pathglob_capture("/a/*/pid", "/a/t-1-a2/pid", text, sizeof text));
	assert_string_equal(text, "t-1-a2");
	assert_true(pathglob_fill("/a/*/task", "t", text, sizeof text));
	assert_string_equal(text, "/a/t/task");
	assert_false(pathglob_fill("/a/*/task", "t", text, 8));
	assert_true(pathglob_may_hold("/a/*/pid", "/a"));
	assert_true(pathglob_may_hold("/a/*/pid", "/a/b"));
	assert_false(pathglob_may_hold("/a/*/pid", "/a/b/c"));
	assert_false(pathglob_may_hold("/a/*/pid", "/a/b/pid"));
	assert_true(pathglob_may_hold("/a/**/pid", "/a/b/c/d"));
	assert_false(pathglob_may_hold("/a/**/pid", "/b"));
	assert_true(pathglob_root("/a/b/*/pid", text, sizeof text));
	assert_string_equal(text, "/a/b");
	assert_true(pathglob_root("/a/b/c.json", text, sizeof text));
	assert_string_equal(text, "/a/b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_metrics),
	    cmocka_unit_test(test_globs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
