/* SPDX-License-Identifier: Apache-2.0 */
/* An agent's hands: nothing outside its worktree, nothing lost in silence, files whole or not at
 * all. And what it understands of Retry-After. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/model.h"
#include "agent/tree.h"

struct room {
	char dir[64], work[80];
	struct tree *tree;
	struct error err;
};

static void path_of(const struct room *room, const char *name, char *path, size_t size)
{
	assert_true(snprintf(path, size, "%s/%s", room->dir, name) < (int)size);
}

static void put(const struct room *room, const char *name, const char *text)
{
	char path[256];
	FILE *file;

	path_of(room, name, path, sizeof path);
	file = fopen(path, "we");
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static void get(const struct room *room, const char *name, char *text, size_t size)
{
	char path[256];
	FILE *file;
	size_t n;

	path_of(room, name, path, sizeof path);
	file = fopen(path, "re");
	assert_non_null(file);
	n = fread(text, 1, size - 1, file);
	text[n] = '\0';
	fclose(file);
}

static void drop(const struct room *room, const char *name)
{
	char path[256];

	path_of(room, name, path, sizeof path);
	assert_int_equal(remove(path), 0);
}

/* outside.txt, work/README.md, work/docs/a.md, work/link -> ../outside.txt, work/out -> .. */
static int setup(void **state)
{
	struct room *room = calloc(1, sizeof *room);
	char path[256];

	if (!room)
		return -1;
	*state = room;
	snprintf(room->dir, sizeof room->dir, "/tmp/test-conductor-agent-XXXXXX");
	if (!mkdtemp(room->dir))
		return -1;
	snprintf(room->work, sizeof room->work, "%s/work", room->dir);
	snprintf(path, sizeof path, "%s/docs", room->work);
	if (mkdir(room->work, 0755) != 0 || mkdir(path, 0755) != 0)
		return -1;
	put(room, "outside.txt", "secret");
	put(room, "work/README.md", "read me");
	put(room, "work/docs/a.md", "a");
	snprintf(path, sizeof path, "%s/link", room->work);
	if (symlink("../outside.txt", path) != 0)
		return -1;
	snprintf(path, sizeof path, "%s/out", room->work);
	if (symlink("..", path) != 0)
		return -1;
	return tree_open(&room->tree, room->work, &room->err);
}

static int teardown(void **state)
{
	struct room *room = *state;
	char command[128];

	tree_close(room->tree);
	snprintf(command, sizeof command, "rm -rf %s", room->dir);
	if (system(command) != 0)
		return -1;
	free(room);
	return 0;
}

static enum tree_result write_text(struct room *room, const char *path, const char *text)
{
	return tree_write(room->tree, path, text, strlen(text), &room->err);
}

static void test_reads_and_writes_inside(void **state)
{
	struct room *room = *state;
	char *bytes = NULL, text[64];
	size_t size = 0;
	uint64_t one = 0, two = 0;

	assert_int_equal(tree_read(room->tree, "docs/a.md", &bytes, &size, &room->err), TREE_OK);
	assert_string_equal(bytes, "a");
	assert_int_equal(size, 1);
	free(bytes);
	assert_int_equal(write_text(room, "deep/er/b.md", "first"), TREE_OK);
	assert_int_equal(tree_check(room->tree, "deep/er/b.md", &one, &room->err), TREE_OK);
	assert_int_equal(write_text(room, "deep/er/b.md", "second"), TREE_OK);
	assert_int_equal(tree_check(room->tree, "deep/er/b.md", &two, &room->err), TREE_OK);
	assert_true(one != two);
	get(room, "work/deep/er/b.md", text, sizeof text);
	assert_string_equal(text, "second");
	assert_int_equal(tree_verify(room->tree, &room->err), TREE_OK);
}

static void test_nothing_outside(void **state)
{
	static const char *const paths[] = {"../outside.txt", "docs/../../outside.txt", "/etc/passwd", "link",
	    "out/outside.txt", "", ".", "..", "docs/./a.md", "docs//a.md", "docs/", ".git/config", "docs/.git",
	    ".tmp-agent-1"};
	struct room *room = *state;
	char *bytes = NULL, text[64];
	size_t i, size;

	for (i = 0; i < sizeof paths / sizeof paths[0]; i++) {
		if (tree_read(room->tree, paths[i], &bytes, &size, &room->err) != TREE_REFUSED)
			fail_msg("'%s' could be read", paths[i]);
		/* A link may be replaced by a file of its name; it is never followed. */
		if (strcmp(paths[i], "link") != 0 && write_text(room, paths[i], "pwned") != TREE_REFUSED)
			fail_msg("'%s' could be written", paths[i]);
	}
	assert_int_equal(write_text(room, "link", "mine"), TREE_OK);
	get(room, "outside.txt", text, sizeof text);
	assert_string_equal(text, "secret");
}

static void test_a_lost_file_is_lost(void **state)
{
	struct room *room = *state;
	char *bytes = NULL;
	size_t size;
	uint64_t hash;

	drop(room, "work/docs/a.md");
	assert_int_equal(tree_read(room->tree, "docs/a.md", &bytes, &size, &room->err), TREE_LOST);
	assert_int_equal(write_text(room, "docs/a.md", "from nothing"), TREE_LOST);
	assert_int_equal(tree_verify(room->tree, &room->err), TREE_LOST);
	/* The folder too; and it is not made again on the way. */
	drop(room, "work/docs");
	assert_int_equal(write_text(room, "docs/a.md", "from nothing"), TREE_LOST);
	assert_int_equal(tree_check(room->tree, "docs/a.md", &hash, &room->err), TREE_LOST);
	/* What never was there is only the model's mistake. */
	assert_int_equal(tree_read(room->tree, "never.md", &bytes, &size, &room->err), TREE_REFUSED);
}

static void test_a_written_file_is_known(void **state)
{
	struct room *room = *state;
	uint64_t hash;

	assert_int_equal(write_text(room, "new.md", "new"), TREE_OK);
	drop(room, "work/new.md");
	assert_int_equal(tree_check(room->tree, "new.md", &hash, &room->err), TREE_LOST);
	assert_int_equal(write_text(room, "new.md", "again"), TREE_LOST);
}

static unsigned count_entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static void test_a_failed_write_leaves_nothing(void **state)
{
	struct room *room = *state;
	struct rlimit limit = {.rlim_cur = 4, .rlim_max = RLIM_INFINITY}, was;
	unsigned before = count_entries(room->work);
	char text[64];

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	limit.rlim_max = was.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_int_equal(write_text(room, "README.md", "longer than four bytes"), TREE_FAILED);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	get(room, "work/README.md", text, sizeof text);
	assert_string_equal(text, "read me");
	assert_int_equal(count_entries(room->work), before);
	assert_int_equal(write_text(room, "README.md", "longer than four bytes"), TREE_OK);
}

static void test_retry_after(void **state)
{
	(void)state;
	assert_int_equal(model_parse_retry_after("2", 0), 2000);
	assert_int_equal(model_parse_retry_after(" 0.25 ", 0), 250);
	assert_int_equal(model_parse_retry_after("0", 0), 0);
	assert_int_equal(model_parse_retry_after("-1", 0), -1);
	assert_int_equal(model_parse_retry_after("soon", 0), -1);
	assert_int_equal(model_parse_retry_after("nan", 0), -1);
	assert_int_equal(model_parse_retry_after("1e300", 0), INT64_C(24) * 3600 * 1000);
	assert_int_equal(model_parse_retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 40), 60000);
	assert_int_equal(model_parse_retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 400), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_reads_and_writes_inside, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_nothing_outside, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_lost_file_is_lost, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_written_file_is_known, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_failed_write_leaves_nothing, setup, teardown),
	    cmocka_unit_test(test_retry_after),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
