/* SPDX-License-Identifier: Apache-2.0 */
/* The conductor's state files: whole or not at all, also while they are read and when writes fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "io/clock.h"
#include "io/files.h"
#include "io/tmpname.h"
#include "io/worktree.h"

#define LONG_SIZE 20000u

struct room {
	char dir[64], path[80], tmp[96];
	uv_loop_t loop;
	struct error err;
};

static int setup(void **state)
{
	struct room *room = calloc(1, sizeof *room);

	if (!room)
		return -1;
	snprintf(room->dir, sizeof room->dir, "/tmp/test-conductor-files-XXXXXX");
	if (!mkdtemp(room->dir) || uv_loop_init(&room->loop) != 0)
		return -1;
	snprintf(room->path, sizeof room->path, "%s/x.json", room->dir);
	snprintf(room->tmp, sizeof room->tmp, "%s/" TMPNAME_STATE "x.json", room->dir);
	signal(SIGXFSZ, SIG_IGN);
	*state = room;
	return 0;
}

static int teardown(void **state)
{
	struct room *room = *state;
	int r = uv_loop_close(&room->loop); /* EBUSY: something was left behind */

	worktree_remove(room->dir, NULL);
	free(room);
	return r;
}

/* The disk takes no more than so many bytes in one file: EFBIG beyond. */
static void limit_files(rlim_t bytes)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void expect_content(const char *path, const char *text)
{
	char got[256] = "";
	FILE *file = fopen(path, "re");

	assert_non_null(file);
	assert_int_equal(fread(got, 1, sizeof got - 1, file), strlen(text));
	fclose(file);
	assert_string_equal(got, text);
}

static void test_write_replaces(void **state)
{
	struct room *room = *state;

	assert_int_equal(files_write(room->path, "one", 3, FILES_DURABLE, &room->err), 0);
	expect_content(room->path, "one");
	assert_int_equal(files_write(room->path, "two!", 4, FILES_ATOMIC, &room->err), 0);
	expect_content(room->path, "two!");
	assert_int_equal(access(room->tmp, F_OK), -1);
}

/* What was there stays whole, and nothing half written is left beside it. */
static void test_failed_write_changes_nothing(void **state)
{
	struct room *room = *state;
	char sub[96], long_text[LONG_SIZE];

	memset(long_text, 'x', sizeof long_text);
	assert_int_equal(files_write(room->path, "one", 3, FILES_DURABLE, &room->err), 0);
	limit_files(1000);
	assert_int_equal(files_write(room->path, long_text, sizeof long_text, FILES_DURABLE, &room->err), -1);
	assert_int_equal(room->err.code, EFBIG);
	limit_files(RLIM_INFINITY);
	expect_content(room->path, "one");
	assert_int_equal(access(room->tmp, F_OK), -1);
	/* The rename is what fails. */
	snprintf(sub, sizeof sub, "%s/folder", room->dir);
	assert_int_equal(mkdir(sub, 0755), 0);
	assert_int_equal(files_write(sub, "one", 3, FILES_DURABLE, &room->err), -1);
	snprintf(sub, sizeof sub, "%s/" TMPNAME_STATE "folder", room->dir);
	assert_int_equal(access(sub, F_OK), -1);
	/* Nowhere to write to. */
	snprintf(sub, sizeof sub, "%s/nowhere/x", room->dir);
	assert_int_equal(files_write(sub, "one", 3, FILES_DURABLE, &room->err), -1);
	assert_int_equal(room->err.code, ENOENT);
	assert_non_null(strstr(room->err.text, "nowhere"));
}

/* The seeded bug has to be visible. */
static void test_in_place_is_not_atomic(void **state)
{
	struct room *room = *state;
	char long_text[LONG_SIZE];
	struct stat st;

	memset(long_text, 'x', sizeof long_text);
	assert_int_equal(files_write(room->path, "one", 3, FILES_DURABLE, &room->err), 0);
	limit_files(1000);
	assert_int_equal(files_write(room->path, long_text, sizeof long_text, FILES_IN_PLACE, &room->err), -1);
	limit_files(RLIM_INFINITY);
	assert_int_equal(stat(room->path, &st), 0);
	assert_int_equal(st.st_size, 1000);
}

static void test_make_dirs(void **state)
{
	struct room *room = *state;
	char path[128];
	struct stat st;

	snprintf(path, sizeof path, "%s/a/b/c", room->dir);
	assert_int_equal(files_make_dirs(path, &room->err), 0);
	assert_int_equal(files_make_dirs(path, &room->err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(files_write(room->path, "one", 3, FILES_ATOMIC, &room->err), 0);
	snprintf(path, sizeof path, "%s/x.json/d", room->dir);
	assert_int_equal(files_make_dirs(path, &room->err), -1);
	/* what kept it from being made, not that it is not there */
	if (mkdir("/sys/tritone-test", 0755) < 0 && errno != ENOENT) {
		const int code = errno;

		assert_int_equal(files_make_dirs("/sys/tritone-test/a", &room->err), -1);
		assert_int_equal(room->err.code, code);
	}
	expect_content(room->path, "one");
}

static void touch(const struct room *room, const char *name)
{
	char path[160];
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", room->dir, name);
	file = fopen(path, "we");
	assert_non_null(file);
	fclose(file);
}

static void test_sweep(void **state)
{
	struct room *room = *state;
	char path[128], outside[80];

	snprintf(path, sizeof path, "%s/state/deep", room->dir);
	assert_int_equal(files_make_dirs(path, &room->err), 0);
	snprintf(outside, sizeof outside, "%s/outside", room->dir);
	assert_int_equal(mkdir(outside, 0755), 0);
	snprintf(path, sizeof path, "%s/state/link", room->dir);
	assert_int_equal(symlink(outside, path), 0);
	touch(room, "state/" TMPNAME_STATE "a");
	touch(room, "state/deep/" TMPNAME_STATE "b");
	touch(room, "state/deep/kept");
	touch(room, "outside/" TMPNAME_STATE "c");
	snprintf(path, sizeof path, "%s/state", room->dir);
	assert_int_equal(files_sweep(path, &room->err), 0);
	snprintf(path, sizeof path, "%s/state/" TMPNAME_STATE "a", room->dir);
	assert_int_equal(access(path, F_OK), -1);
	snprintf(path, sizeof path, "%s/state/deep/" TMPNAME_STATE "b", room->dir);
	assert_int_equal(access(path, F_OK), -1);
	snprintf(path, sizeof path, "%s/state/deep/kept", room->dir);
	assert_int_equal(access(path, F_OK), 0);
	snprintf(path, sizeof path, "%s/outside/" TMPNAME_STATE "c", room->dir);
	assert_int_equal(access(path, F_OK), 0);
	snprintf(path, sizeof path, "%s/nowhere", room->dir);
	assert_int_equal(files_sweep(path, &room->err), 0);
}

/* ---- files that are replaced again and again ---- */

static void run_until_idle(struct room *room, const struct state_file *file)
{
	while (!state_file_idle(file))
		uv_run(&room->loop, UV_RUN_ONCE);
}

static char *text_of(char letter, size_t size)
{
	char *text = malloc(size + 1);

	assert_non_null(text);
	memset(text, letter, size);
	text[size] = '\0';
	return text;
}

/* Is it one of the texts, from its first byte to its last? */
static void expect_whole(const char *path)
{
	char *got = text_of(' ', 2 * LONG_SIZE);
	FILE *file = fopen(path, "re");
	size_t size, i;

	if (file) { /* not yet there is fine */
		size = fread(got, 1, 2 * LONG_SIZE, file);
		fclose(file);
		assert_int_equal(size, LONG_SIZE);
		for (i = 1; i < size; i++)
			assert_int_equal(got[i], got[0]);
	}
	free(got);
}

static void test_last_text_wins(void **state)
{
	struct room *room = *state;
	struct state_file *file = NULL;
	char expected[] = "z";
	int i;

	assert_int_equal(state_file_create(&file, &room->loop, room->path, false, &room->err), 0);
	assert_true(state_file_idle(file));
	state_file_put(file, NULL); /* no memory for the text: the file stays as it is */
	assert_true(state_file_idle(file));
	for (i = 0; i < 300; i++) {
		state_file_put(file, text_of((char)('a' + i % 26), LONG_SIZE));
		expect_whole(room->path);
		uv_run(&room->loop, UV_RUN_NOWAIT);
		expect_whole(room->path);
	}
	state_file_put(file, text_of('y', LONG_SIZE));
	state_file_put(file, strdup(expected));
	run_until_idle(room, file);
	expect_content(room->path, expected);
	state_file_close(file);
	uv_run(&room->loop, UV_RUN_DEFAULT);
}

/* As long as it cannot be written it is not idle, and once it can the newest text is there, with no hand. */
static void test_failed_write_is_repeated(void **state)
{
	struct room *room = *state;
	struct state_file *file = NULL;
	int i;

	assert_int_equal(state_file_create(&file, &room->loop, room->path, false, &room->err), 0);
	state_file_put(file, strdup("good"));
	run_until_idle(room, file);
	limit_files(100);
	state_file_put(file, text_of('a', LONG_SIZE));
	for (i = 0; i < 4; i++) { /* the write, its end, the pause, the write */
		uv_run(&room->loop, UV_RUN_ONCE);
		assert_false(state_file_idle(file));
		expect_content(room->path, "good");
	}
	state_file_put(file, text_of('b', LONG_SIZE));
	uv_run(&room->loop, UV_RUN_ONCE);
	limit_files(RLIM_INFINITY);
	run_until_idle(room, file);
	expect_whole(room->path);
	state_file_close(file);
	uv_run(&room->loop, UV_RUN_DEFAULT);
}

/* Closed with a write under way, and with one that waits to be tried again: the loop ends all the same. */
static void test_close_gives_up(void **state)
{
	struct room *room = *state;
	struct state_file *file = NULL;

	state_file_close(NULL);
	assert_int_equal(state_file_create(&file, &room->loop, room->path, false, &room->err), 0);
	state_file_put(file, text_of('a', LONG_SIZE));
	state_file_put(file, text_of('b', LONG_SIZE));
	state_file_close(file);
	uv_run(&room->loop, UV_RUN_DEFAULT);
	expect_whole(room->path);
	limit_files(100);
	assert_int_equal(state_file_create(&file, &room->loop, room->path, false, &room->err), 0);
	state_file_put(file, text_of('c', LONG_SIZE));
	uv_run(&room->loop, UV_RUN_ONCE);
	state_file_put(file, text_of('d', LONG_SIZE));
	state_file_close(file);
	uv_run(&room->loop, UV_RUN_DEFAULT);
	limit_files(RLIM_INFINITY);
}

static uint64_t clock_us(clockid_t id)
{
	struct timespec now;

	assert_int_equal(clock_gettime(id, &now), 0);
	return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

/* Within a boot the time goes on from what the file says, whatever the wall clock does; else the wall clock is asked. */
static void test_time_is_counted_by_the_boot(void **state)
{
	static const struct {
		size_t at;
		const char *text;
	} damages[] = {{0, "x"}, {36, "-"}, {37, "-"}, {38, "x"}, {37, "99999999999999999999"}};
	struct room *room = *state;
	uint64_t now, from, then = clock_us(CLOCK_REALTIME) + UINT64_C(86400000000), before, after;
	char *text, damaged[128];

	from = clock_us(CLOCK_REALTIME);
	assert_false(clock_resume(room->path, &now));
	assert_true(now >= from && now <= clock_us(CLOCK_REALTIME));
	before = clock_us(CLOCK_BOOTTIME);
	text = clock_text(then);
	after = clock_us(CLOCK_BOOTTIME);
	assert_non_null(text);
	assert_int_equal(files_write(room->path, text, strlen(text), FILES_ATOMIC, &room->err), 0);
	from = clock_us(CLOCK_BOOTTIME);
	assert_true(clock_resume(room->path, &now));
	assert_true(now >= then + (from - after) && now <= then + (clock_us(CLOCK_BOOTTIME) - before));
	for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
		snprintf(damaged, sizeof damaged, "%.*s%s%s", (int)damages[i].at, text, damages[i].text,
		    text + damages[i].at + 1);
		assert_int_equal(files_write(room->path, damaged, strlen(damaged), FILES_ATOMIC, &room->err), 0);
		assert_false(clock_resume(room->path, &now));
	}
	assert_int_equal(files_write(room->path, text, strlen(text) - 1, FILES_ATOMIC, &room->err), 0);
	assert_false(clock_resume(room->path, &now));
	assert_null(clock_text(0));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_write_replaces, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_failed_write_changes_nothing, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_in_place_is_not_atomic, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_make_dirs, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_sweep, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_last_text_wins, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_failed_write_is_repeated, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_time_is_counted_by_the_boot, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_close_gives_up, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
