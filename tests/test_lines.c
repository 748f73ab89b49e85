/* SPDX-License-Identifier: Apache-2.0 */
/* host/system's file ledger: what of it is a commit, and that nothing that has landed goes away unnoticed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "system/lines.h"

struct fixture {
	char dir[64], file[96], other[96];
	struct history *history;
	struct lines *lines;
};

static void write_to(const char *path, int how, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | how, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(close(fd), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct error err;

	assert_non_null(f);
	strcpy(f->dir, "/tmp/tritone-lines-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->file, sizeof f->file, "%s/ledger", f->dir);
	snprintf(f->other, sizeof f->other, "%s/other", f->dir);
	assert_int_equal(history_create(&f->history, NULL, &err), 0);
	assert_int_equal(
	    lines_create(&f->lines,
		&(struct lines_options){.history = f->history, .file = f->file, .pattern = "^did (?<task>\\S+)$"},
		&err),
	    0);
	assert_int_equal(lines_verify(f->lines, &err), 0); /* not there yet */
	write_to(f->file, O_APPEND, "did a\nnote\ndid b\n");
	assert_int_equal(lines_verify(f->lines, &err), 0);
	assert_int_equal(history_count(f->history), 2);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	lines_destroy(f->lines);
	history_destroy(f->history);
	unlink(f->file);
	unlink(f->other);
	rmdir(f->dir);
	free(f);
	return 0;
}

static void spoiled(struct fixture *f)
{
	struct error err = {0};

	assert_int_equal(lines_verify(f->lines, &err), -1);
	assert_non_null(strstr(err.text, "what had landed is not in it any more"));
}

static void test_goes_on(void **state)
{
	struct fixture *f = *state;
	struct error err;

	write_to(f->file, O_APPEND, "did c\ndid");
	assert_int_equal(lines_verify(f->lines, &err), 0);
	assert_int_equal(history_count(f->history), 3);
	/* Written anew with the same beginning, as some do that write all of it each time. */
	write_to(f->other, O_TRUNC, "did a\nnote\ndid b\ndid c\ndid d\n");
	assert_int_equal(rename(f->other, f->file), 0);
	assert_int_equal(lines_verify(f->lines, &err), 0);
	assert_int_equal(history_count(f->history), 4);
}

static void test_written_over(void **state)
{
	struct fixture *f = *state;
	struct error err;

	write_to(f->file, 0, "did x"); /* as long as before */
	assert_int_equal(lines_look(f->lines, &err), 0);
	spoiled(f);
	assert_int_equal(lines_look(f->lines, &err), -1); /* for good */
}

static void test_emptied_and_filled_again(void **state)
{
	struct fixture *f = *state;

	write_to(
	    f->file, O_TRUNC, "did c\ndid d\ndid e\ndid f\ndid g\n"); /* longer: nothing shows that it was shorter */
	spoiled(f);
}

static void test_rotated_away(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(rename(f->file, f->other), 0);
	spoiled(f);
	write_to(f->file, O_APPEND, "did c\n");
	spoiled(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_goes_on, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_written_over, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_emptied_and_filled_again, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_rotated_away, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
