/* SPDX-License-Identifier: Apache-2.0 */
/* slo/: budgets whose three colours are all reachable, nearest-rank quantiles, sliding windows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "slo/slo.h"

static void near(double a, double b)
{
	assert_true(fabs(a - b) < 1e-9);
}

static void test_budget_of_ten_percent(void **state)
{
	struct slo_budget b = slo_budget(0.90, 50, 0);

	(void)state;
	near(b.total, 5);
	assert_int_equal(b.status, SLO_GREEN);
	b = slo_budget(0.90, 50, 2);
	near(b.fraction, 0.6);
	near(b.burn_rate, 0.4);
	assert_int_equal(b.status, SLO_GREEN);
	assert_int_equal(slo_budget(0.90, 50, 3).status, SLO_YELLOW);
	assert_int_equal(slo_budget(0.90, 50, 5).status, SLO_RED);
	near(slo_budget(0.90, 50, 9).remaining, 0);
}

static void test_small_windows_have_three_failures(void **state)
{
	(void)state;
	near(slo_budget(0.99, 10, 0).total, SLO_BUDGET_MIN);
	assert_int_equal(slo_budget(0.99, 10, 1).status, SLO_GREEN);
	assert_int_equal(slo_budget(0.99, 10, 2).status, SLO_YELLOW);
	assert_int_equal(slo_budget(0.99, 10, 3).status, SLO_RED);
	assert_int_equal(slo_budget(0.99, 0, 0).status, SLO_GREEN);
}

static void test_quantile_is_nearest_rank(void **state)
{
	double v[] = {5, 1, 4, 2, 3};

	(void)state;
	near(slo_quantile(v, 5, 0.5), 3);
	near(slo_quantile(v, 5, 0.95), 5);
	near(slo_quantile(v, 5, 0), 1);
	near(slo_quantile(v, 0, 0.5), 0);
}

static void test_window_slides(void **state)
{
	uint8_t memory[3];
	struct slo_window w;

	(void)state;
	slo_window_init(&w, memory, 3);
	slo_window_add(&w, 1);
	slo_window_add(&w, 0);
	slo_window_add(&w, 1);
	assert_int_equal(w.failed, 2);
	slo_window_add(&w, 0); /* the first failure slides out */
	assert_int_equal(w.failed, 1);
	assert_int_equal(w.count, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_budget_of_ten_percent),
	    cmocka_unit_test(test_small_windows_have_three_failures),
	    cmocka_unit_test(test_quantile_is_nearest_rank),
	    cmocka_unit_test(test_window_slides),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
