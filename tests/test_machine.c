/* SPDX-License-Identifier: Apache-2.0 */
/* What `tritone doctor` prints, where the outcome is known: this machine runs the other tests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keeper/filter.h"
#include "system/machine.h"

struct seen {
	int rows, absent_needed;
	bool filter, sync, space;
	char space_detail[160];
};

static void look(void *arg, const struct machine_row *row)
{
	struct seen *seen = arg;

	assert_non_null(row->used_for);
	assert_non_null(row->without);
	assert_true(row->detail[0] != '\0');
	seen->rows++;
	seen->absent_needed += row->needed && !row->present;
	if (!strcmp(row->name, "system-call filter"))
		seen->filter = row->present;
	if (!strcmp(row->name, "sync wake-up"))
		seen->sync = row->present;
	if (!strcmp(row->name, "free space")) {
		seen->space = row->present;
		snprintf(seen->space_detail, sizeof seen->space_detail, "%s", row->detail);
	}
}

static void test_it_says_what_the_probes_say(void **state)
{
	struct seen seen = {0};
	bool sync = false;
	int missing = machine_look("/tmp", look, &seen);

	(void)state;
	assert_true(seen.rows >= 10);
	assert_int_equal(missing, seen.absent_needed);
	assert_int_equal(seen.filter, filter_try(&sync, NULL) == 0);
	assert_int_equal(seen.sync, sync);
}

static void test_a_useless_state_directory(void **state)
{
	struct seen seen = {0}, usual = {0};

	(void)state;
	machine_look("/tmp", look, &usual);
	assert_true(machine_look("/proc/none/state", look, &seen) > 0);
	assert_true(usual.space);
	assert_false(seen.space);
	assert_non_null(strstr(seen.space_detail, " /proc;")); /* the nearest that exists */
}

static void test_it_leaves_nothing_behind(void **state)
{
	char dir[] = "/tmp/tritone-machine-XXXXXX", root[64];
	struct dirent *entry;
	struct seen seen = {0};
	int entries = 0;
	DIR *d;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(root, sizeof root, "%s/not/yet", dir);
	machine_look(root, look, &seen);
	machine_look(dir, look, &seen);
	d = opendir(dir);
	while ((entry = readdir(d)))
		entries += entry->d_name[0] != '.';
	closedir(d);
	assert_int_equal(rmdir(dir), 0);
	assert_int_equal(entries, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_it_says_what_the_probes_say),
	    cmocka_unit_test(test_a_useless_state_directory),
	    cmocka_unit_test(test_it_leaves_nothing_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
