/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that are performed and then reported as failed, or delayed: what is on the disk afterwards. */
#include "filter_fixture.h"

/* ---- perform, then fail ---- */

static void test_performed_writes_are_there_once(void **state)
{
	static const struct {
		const char *call, *expected;
	} writes[] = {
	    {"write", "xyz3456789"},
	    {"writev", "xyz3456789"},
	    {"pwrite64", "01234xyz89"},
	    {"pwritev", "01234xyz89"},
	    {"pwritev2", "01234xyz89"},
	    {"sendfile", "\177ELF456789"},
	    {"copy_file_range", "0123401289"},
	    {"ftruncate", "01"},
	    {"truncate", "01"},
	};
	struct fixture *f = *state;
	struct stat st;
	size_t i;

	for (i = 0; i < COUNT(writes); i++) {
		print_message("# %s\n", writes[i].call);
		put(at(f->in, "file"), "0123456789");
		RULE(f, PERFORM);
		assert_int_equal(RUN(f, writes[i].call, at(f->in, "file")), ENOSPC);
		assert_string_equal(content(at(f->in, "file")), writes[i].expected);
		assert_int_equal(stats(f).hits, 1);
	}
	assert_int_equal(RUN(f, "fallocate", at(f->in, "file")), ENOSPC);
	assert_int_equal(stat(at(f->in, "file"), &st), 0);
	assert_int_equal(st.st_size, 100);
	RULE(f, PERFORM, .error = EIO);
	assert_int_equal(RUN(f, "fsync", at(f->in, "file")), EIO);
	assert_int_equal(RUN(f, "fdatasync", at(f->in, "file")), EIO);
	assert_int_equal(RUN(f, "msync", at(f->in, "file")), EIO);
	assert_int_equal(stats(f).hits, 3);
}

static void test_performed_writes_move_the_shared_offset(void **state)
{
	struct fixture *f = *state;

	put(at(f->in, "file"), "");
	RULE(f, PERFORM, .first = 1, .every = 2);
	assert_string_equal(sequence(f, "6"), "0 28 0 28 0 28 \n");
	assert_string_equal(content(at(f->in, "file")), "abcdef");
	/* O_APPEND: behind what is there. */
	RULE(f, PERFORM);
	assert_int_equal(RUN(f, "sequence", at(f->in, "file"), "append", "2"), 0);
	assert_string_equal(content(at(f->in, "file")), "abcdefab");
}

static void check_large(struct fixture *f, const char *how)
{
	const size_t size = 5000001;
	char *bytes = malloc(size);
	size_t i;
	int fd;

	assert_non_null(bytes);
	put(at(f->in, "file"), "");
	RULE(f, PERFORM);
	assert_int_equal(RUN(f, "large", at(f->in, "file"), "5000001", how), ENOSPC);
	fd = open(at(f->in, "file"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, bytes, size), size);
	assert_int_equal(read(fd, bytes, 0), 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), size);
	close(fd);
	for (i = 0; i < size && bytes[i] == (char)(i * 31 + i / 4096); i++)
		;
	free(bytes);
	assert_int_equal(i, size);
}

static void test_a_large_write_is_whole(void **state)
{
	check_large(*state, "write");
	check_large(*state, "pwrite");
}

static void test_signals_do_not_make_it_happen_twice(void **state)
{
	struct fixture *f = *state;

	put(at(f->in, "file"), "");
	RULE(f, PERFORM);
	assert_int_equal(RUN(f, "hailed", at(f->in, "file"), "500"), 0);
	assert_int_equal(strlen(content(at(f->in, "file"))), 500);
	assert_int_equal(stats(f).hits, 500);
}

static void test_performed_names_are_there(void **state)
{
	struct fixture *f = *state;
	char name[32];
	struct stat st;
	size_t i;

	for (i = 0; i < COUNT(path_calls); i++) {
		const char *call = path_calls[i].name;

		print_message("# %s\n", call);
		clear(f);
		put(at(f->out, "from"), "text");
		snprintf(name, sizeof name, "new-%s", call);
		RULE(f, PERFORM);
		assert_int_equal(RUN(f, "in-dir", f->in, call, name, at(f->out, "from")), ENOSPC);
		assert_int_equal(lstat(at(f->in, name), &st), 0);
		assert_int_equal(stats(f).hits, 1);
		if (path_calls[i].set == TRITONE_CALL_RENAME)
			assert_false(exists(at(f->out, "from")));
		if (!strcmp(call, "mkdir")) /* the child's umask is 027 */
			assert_int_equal(st.st_mode & 07777, 0750);
		if (!strcmp(call, "open"))
			assert_int_equal(st.st_mode & 07777, 0640);
		if (!strcmp(call, "symlinkat"))
			assert_true(S_ISLNK(st.st_mode));
		/* Whoever tries again learns that it is there. */
		if (path_calls[i].set == TRITONE_CALL_LINK)
			assert_int_equal(RUN(f, "in-dir", f->in, call, name, at(f->out, "from")), EEXIST);
	}
	RULE(f, PERFORM, .calls = TRITONE_CALL_LINK);
	assert_int_equal(RUN(f, "tmpfile", f->in, at(f->in, "named")), ENOSPC);
	assert_true(exists(at(f->in, "named")));
}

static void test_its_own_error_comes_first(void **state)
{
	struct fixture *f = *state;

	RULE(f, PERFORM);
	assert_int_equal(RUN(f, "mkdir", at(f->in, "none/x")), ENOENT);
	assert_int_equal(stats(f).hits, 0);
	assert_int_equal(stats(f).seen, 1);
}

/* ---- delay ---- */

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void test_delay(void **state)
{
	struct fixture *f = *state;
	int64_t began = now_ms();
	pid_t slow;

	put(at(f->in, "file"), "0123456789");
	put(at(f->out, "file"), "0123456789");
	RULE(f, .mode = TRITONE_ERRNO_DELAY, .delay_ms = 150);
	assert_int_equal(RUN(f, "write", at(f->in, "file")), 0);
	assert_true(now_ms() - began >= 150);
	assert_string_equal(content(at(f->in, "file")), "xyz3456789");
	/* While one waits, another goes on, and a clear lets the one go. */
	RULE(f, .mode = TRITONE_ERRNO_DELAY, .delay_ms = HOUR);
	slow = launch(f, (const char *[]){f->child, "pwrite64", at(f->in, "file"), NULL});
	while (stats(f).hits == 0)
		;
	assert_int_equal(RUN(f, "write", at(f->out, "file")), 0);
	assert_string_equal(content(at(f->in, "file")), "xyz3456789");
	clear(f);
	assert_int_equal(exit_status(f, slow), 0);
	assert_string_equal(content(at(f->in, "file")), "xyz34xyz89");
}

/* It has happened, and who did it does not know yet; then it returns what it would have. */
static void test_performed_then_delayed(void **state)
{
	struct fixture *f = *state;
	pid_t slow;

	put(at(f->in, "file"), "0123456789");
	RULE(f, .mode = TRITONE_ERRNO_PERFORM_THEN_DELAY, .delay_ms = HOUR, .first = 1, .count = 1);
	assert_int_equal(RUN(f, "fsync", at(f->in, "file")), 0); /* the second one is meant */
	slow = launch(f, (const char *[]){f->child, "writev", at(f->in, "file"), NULL});
	while (stats(f).hits == 0)
		;
	assert_string_equal(content(at(f->in, "file")), "xyz3456789");
	assert_int_equal(keeper_signal(f->keeper, slow, 0, NULL), 0);
	clear(f);
	assert_int_equal(exit_status(f, slow), 0);
	assert_string_equal(content(at(f->in, "file")), "xyz3456789");

	put(at(f->out, "from"), "text");
	RULE(f, .mode = TRITONE_ERRNO_PERFORM_THEN_DELAY, .delay_ms = HOUR);
	slow = launch(f, (const char *[]){f->child, "in-dir", f->in, "renameat2", "renamed", at(f->out, "from"), NULL});
	while (stats(f).hits == 0)
		;
	assert_true(exists(at(f->in, "renamed")));
	assert_false(exists(at(f->out, "from")));
	clear(f);
	assert_int_equal(exit_status(f, slow), 0);
	/* Who asks how much was written is told. */
	put(at(f->in, "file"), "");
	RULE(f, .mode = TRITONE_ERRNO_PERFORM_THEN_DELAY, .delay_ms = 1);
	assert_int_equal(RUN(f, "large", at(f->in, "file"), "5000001", "write"), 0);
	/* A new descriptor cannot be given to it: made when it is over. Its own error comes at once. */
	assert_int_equal(RUN(f, "openat", at(f->in, "new")), 0);
	assert_true(exists(at(f->in, "new")));
	RULE(f, .mode = TRITONE_ERRNO_PERFORM_THEN_DELAY, .delay_ms = HOUR);
	assert_int_equal(RUN(f, "mkdir", at(f->in, "none/x")), ENOENT);
	assert_int_equal(stats(f).hits, 0);
}

static void test_who_waits_can_be_killed(void **state)
{
	struct fixture *f = *state;
	struct keeper_event event;
	pid_t slow;

	put(at(f->in, "file"), "0123456789");
	RULE(f, .mode = TRITONE_ERRNO_DELAY, .delay_ms = HOUR, .count = 1);
	slow = launch(f, (const char *[]){f->child, "write", at(f->in, "file"), NULL});
	while (stats(f).hits == 0)
		;
	assert_int_equal(keeper_signal(f->keeper, slow, SIGKILL, NULL), 0);
	assert_int_equal(keeper_next_event(f->keeper, -1, &event, NULL), 1);
	assert_int_equal(event.pid, slow);
	assert_int_equal(WTERMSIG(event.status), SIGKILL);
	assert_int_equal(RUN(f, "write", at(f->in, "file")), 0); /* the notifier goes on */
	assert_string_equal(content(at(f->in, "file")), "xyz3456789");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	    T(test_performed_writes_are_there_once),
	    T(test_performed_writes_move_the_shared_offset),
	    T(test_a_large_write_is_whole),
	    T(test_signals_do_not_make_it_happen_twice),
	    T(test_performed_names_are_there),
	    T(test_its_own_error_comes_first),
	    T(test_delay),
	    T(test_performed_then_delayed),
	    T(test_who_waits_can_be_killed),
	};
	int r = fixture_begin(argc, argv);

	return r < 0 ? cmocka_run_group_tests(tests, NULL, NULL) : r;
}
