/* SPDX-License-Identifier: Apache-2.0 */
/* host/spec: durations, the nearest word, variables, and the keys as the manual shows them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "tests/spec_fixture.h"

static void test_duration(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} good[] = {{"250ms", 250}, {"2s", 2000}, {"1.5s", 1500}, {"1m", 60000}, {"1h", 3600000}, {"3", 3000},
	    {"0.25", 250}, {"0", 0}, {"0.5m", 30000}, {"10 s", 10000}},
	  bad[] = {{"", 0}, {"s", 0}, {"-1s", 0}, {"1 day", 0}, {"1e3", 0}, {"0x10", 0}, {"inf", 0}, {".5s", 0},
	      {"1.s", 0}, {"0.5ms", 0}, {"99999999h", 0}, {"99999999999999999999s", 0}, {"1s ", 0}};
	struct error err;
	int64_t ms;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof good / sizeof *good; i++) {
		assert_int_equal(spec_duration(good[i].text, &ms, &err), 0);
		assert_int_equal(ms, good[i].ms);
	}
	for (i = 0; i < sizeof bad / sizeof *bad; i++) {
		ms = 77;
		assert_int_equal(spec_duration(bad[i].text, &ms, &err), -1);
		assert_int_equal(err.code, EINVAL);
		assert_int_equal(ms, 77);
	}
}

static void test_nearest(void **state)
{
	static const char *const known[] = {"faults", "title", "tags", "no-lost-task", NULL};

	(void)state;
	assert_string_equal(spec_nearest("falts", known), "faults");
	assert_string_equal(spec_nearest("fautls", known), "faults");
	assert_string_equal(spec_nearest("titel", known), "title");
	assert_string_equal(spec_nearest("no-lots-tasks", known), "no-lost-task");
	assert_null(spec_nearest("workload", known));
	assert_null(spec_nearest("xyz", known));
	assert_null(spec_nearest("", known));
	assert_null(spec_nearest("a-word-that-is-much-longer-than-any-that-is-worth-a-guess", known));
}

static const char *lookup(void *arg, const char *name)
{
	(void)arg;
	if (!strcmp(name, "a"))
		return "${b}";
	return !strcmp(name, "port.api") ? "80" : NULL;
}

static void test_expand(void **state)
{
	struct error err;
	char *text = NULL;

	(void)state;
	assert_int_equal(spec_expand(&text, "x${port.api}-$$-${a}-$-{}$", lookup, NULL, &err), 0);
	assert_string_equal(text, "x80-$-${b}-$-{}$");
	free(text);
	text = NULL;
	assert_int_equal(spec_expand(&text, "${none}", lookup, NULL, &err), -1);
	assert_int_equal(err.code, ENOENT);
	assert_non_null(strstr(err.text, "'none'"));
	assert_int_equal(spec_expand(&text, "${a", lookup, NULL, &err), -1);
	assert_int_equal(err.code, EINVAL);
	assert_int_equal(spec_expand(&text, "${}", lookup, NULL, &err), -1);
	assert_null(text);
}

static void test_every_key_is_described(void **state)
{
	static const char *const kinds[] = {"manifest", "experiment", "suite", "policy", "progress"};
	struct error err;
	char *text = NULL;
	size_t size = 0, i;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	assert_non_null(out);
	for (i = 0; i < sizeof kinds / sizeof *kinds; i++)
		assert_int_equal(spec_describe(out, kinds[i], &err), 0);
	assert_int_equal(spec_describe(out, "nothing", &err), -1);
	fclose(out);
	assert_null(strstr(text, "(null)"));
	assert_non_null(strstr(text, "\t*limit*: duration; default 30s\n\t\t"));
	assert_non_null(strstr(text, "*progress-limit* or *limit*: duration"));
	assert_non_null(strstr(text, "*recover-point*"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_every_key_is_described),
	    TEST(test_duration),
	    TEST(test_nearest),
	    TEST(test_expand),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
