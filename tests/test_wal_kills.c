/* SPDX-License-Identifier: Apache-2.0 */
/* Kills of a writer of wal/, as many as a test run has time for (./dev bench kills: ten thousand); stopped writers and
 * readers, whom nobody may have to wait for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <time.h>

#include "skip.h"
#include "wal_fixture.h"
#include "wal_kills.h"

static uint64_t seed(void)
{
	const char *text = getenv("TRITONE_SEED");

	return text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);
}

static void kill_many(const char *dir, uint64_t cycles, int lanes)
{
	struct kills kills = {.seed = seed(), .cycles = cycles};
	int how, where, rc;

	print_message("# seed %llu\n", (unsigned long long)kills.seed);
	rc = kills_lanes(&kills, lanes, &dir, 1);
	kills_print(&kills, stderr);
	if (rc < 0)
		fail_msg("%s", kills.failure);
	assert_int_equal(kills.done, cycles);
	/* a test that never hits what matters would be green for nothing */
	for (where = KILLS_OPENING; where <= KILLS_COMMITTING; where += KILLS_COMMITTING - KILLS_OPENING) {
		uint64_t deaths = 0;

		for (how = 0; how < KILLS_HOWS; how++) {
			deaths += kills.deaths[how][where];
			if (cycles > 1000 && how != KILLS_ACK)
				assert_true(kills.deaths[how][where] > 0);
		}
		assert_true(deaths > 0);
	}
	assert_true(kills.checkpoints > 0 && kills.trims > 0);
	assert_true(kills.in_write > 0 && kills.in_sync > 0 && kills.acknowledged > cycles);
}

static void test_kills_in_memory(void **state)
{
	(void)state;
	if (access("/dev/shm", W_OK) < 0)
		SKIP("no /dev/shm here");
	kill_many("/dev/shm", 1200, 2);
}

static void test_kills_on_disk(void **state)
{
	/* most of a lane's time there is the disk's: the more, the more of them it flushes at once */
	kill_many(((struct fixture *)*state)->dir, 300, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_kills_in_memory, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(test_kills_on_disk, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
