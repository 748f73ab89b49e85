/* SPDX-License-Identifier: Apache-2.0 */
/* Errors of real system calls: real children (filter_child.c) under the filter, and what is on the
 * disk afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "system/filter.h"
#include "system/keeper.h"
#include "system/system.h"

#define ALL                                                                                                            \
	(TRITONE_CALL_WRITE | TRITONE_CALL_SYNC | TRITONE_CALL_CREATE | TRITONE_CALL_RENAME | TRITONE_CALL_LINK |      \
	    TRITONE_CALL_ALLOCATE)
#define HOUR   3600000
#define REFUSE .mode = TRITONE_ERRNO_REFUSE

struct fixture {
	char dir[64], in[80], out[80]; /* `in` is what rules are about */
	char child[PATH_MAX];
	struct keeper *keeper;
};

static char here[PATH_MAX]; /* the directory of this program */

/* ---- the fixture ---- */

static int start(struct fixture *f)
{
	struct keeper_options options = {.log_dir = f->dir, .seed = 7};
	struct error err = {0};

	if (keeper_start(&f->keeper, &options, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		return -1;
	}
	return 0;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	snprintf(f->dir, sizeof f->dir, "/tmp/tritone-filter-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->in, sizeof f->in, "%s/in", f->dir);
	snprintf(f->out, sizeof f->out, "%s/in-other", f->dir); /* the scope's name is a prefix of it */
	snprintf(f->child, sizeof f->child, "%.*s/filter_child", PATH_MAX - 32, here);
	if (mkdir(f->in, 0755) < 0 || mkdir(f->out, 0755) < 0)
		return -1;
	*state = f;
	return start(f);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char command[128];

	keeper_destroy(f->keeper);
	snprintf(command, sizeof command, "rm -rf %s", f->dir);
	if (system(command) != 0)
		return -1;
	free(f);
	return 0;
}

/* Some paths below the fixture; each call gives another buffer, of eight. */
static const char *at(const char *dir, const char *name)
{
	static char buffers[8][PATH_MAX];
	static unsigned next;
	char *buffer = buffers[next++ % 8];

	snprintf(buffer, PATH_MAX, "%s/%s", dir, name);
	return buffer;
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static const char *content(const char *path)
{
	static char text[8192];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

	if (n < 0)
		fail_msg("%s: %s", path, strerror(errno));
	text[n] = '\0';
	close(fd);
	return text;
}

static bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static pid_t launch(struct fixture *f, const char *const *argv)
{
	struct keeper_process process = {.name = "child", .argv = argv, .filter = true};
	struct error err = {0};
	pid_t pid;

	if (keeper_spawn(f->keeper, &process, &pid, &err) < 0)
		fail_msg("%s", err.text);
	return pid;
}

static int exit_status(struct fixture *f, pid_t pid)
{
	struct keeper_event event;

	do
		assert_int_equal(keeper_next_event(f->keeper, -1, &event, NULL), 1);
	while (event.pid != pid);
	assert_true(WIFEXITED(event.status));
	return WEXITSTATUS(event.status);
}

#define RUN(f, ...) exit_status(f, launch(f, (const char *[]){(f)->child, __VA_ARGS__, NULL}))

static void rule(struct fixture *f, struct tritone_errno_rule r)
{
	struct error err = {0};

	r.struct_size = sizeof r;
	if (!r.key)
		r.key = "k";
	if (!r.path)
		r.path = f->in;
	if (!r.mode)
		r.mode = TRITONE_ERRNO_REFUSE;
	if (!r.calls)
		r.calls = ALL;
	if (!r.error)
		r.error = ENOSPC;
	if (keeper_rule_set(f->keeper, &r, &err) < 0)
		fail_msg("%s", err.text);
}

#define RULE(f, ...) rule(f, (struct tritone_errno_rule){__VA_ARGS__})

static struct keeper_rule_stats stats(struct fixture *f)
{
	struct keeper_rule_stats s;

	assert_int_equal(keeper_rule_stats(f->keeper, "k", &s, NULL), 0);
	return s;
}

static void clear(struct fixture *f)
{
	assert_int_equal(keeper_rule_clear(f->keeper, "k", NULL), 0);
}

/* ---- refuse ---- */

static const struct {
	const char *name;
	uint32_t set;
} file_calls[] = {
    {"write", TRITONE_CALL_WRITE},
    {"pwrite64", TRITONE_CALL_WRITE},
    {"writev", TRITONE_CALL_WRITE},
    {"pwritev", TRITONE_CALL_WRITE},
    {"pwritev2", TRITONE_CALL_WRITE},
    {"sendfile", TRITONE_CALL_WRITE},
    {"copy_file_range", TRITONE_CALL_WRITE},
    {"fsync", TRITONE_CALL_SYNC},
    {"fdatasync", TRITONE_CALL_SYNC},
    {"msync", TRITONE_CALL_SYNC},
    {"ftruncate", TRITONE_CALL_ALLOCATE},
    {"fallocate", TRITONE_CALL_ALLOCATE},
};

static const struct {
	const char *name;
	uint32_t set;
} path_calls[] = {
    {"open", TRITONE_CALL_CREATE},
    {"openat", TRITONE_CALL_CREATE},
    {"openat2", TRITONE_CALL_CREATE},
    {"creat", TRITONE_CALL_CREATE},
    {"mkdir", TRITONE_CALL_CREATE},
    {"mkdirat", TRITONE_CALL_CREATE},
    {"rename", TRITONE_CALL_RENAME},
    {"renameat", TRITONE_CALL_RENAME},
    {"renameat2", TRITONE_CALL_RENAME},
    {"link", TRITONE_CALL_LINK},
    {"linkat", TRITONE_CALL_LINK},
    {"symlink", TRITONE_CALL_LINK},
    {"symlinkat", TRITONE_CALL_LINK},
};

#define COUNT(table) (sizeof(table) / sizeof *(table))

static void test_calls_on_files_are_refused_in_scope_only(void **state)
{
	struct fixture *f = *state;
	size_t i;

	for (i = 0; i < COUNT(file_calls); i++) {
		const char *call = file_calls[i].name;

		print_message("# %s\n", call);
		put(at(f->in, "file"), "0123456789");
		put(at(f->out, "file"), "0123456789");
		RULE(f, .calls = file_calls[i].set);
		assert_int_equal(RUN(f, call, at(f->in, "file")), ENOSPC);
		if (strcmp(call, "msync") != 0) /* that one stores through the mapping, not by the call */
			assert_string_equal(content(at(f->in, "file")), "0123456789");
		assert_int_equal(stats(f).hits, 1);
		assert_string_equal(stats(f).call, call);
		assert_string_equal(stats(f).path, at(f->in, "file"));
		assert_true(stats(f).pid > 1);
		assert_int_equal(RUN(f, call, at(f->out, "file")), 0);
		assert_int_equal(stats(f).hits, 1);
		/* A rule for every other kind of call does not mean this one. */
		RULE(f, .calls = ALL & ~file_calls[i].set);
		assert_int_equal(RUN(f, call, at(f->in, "file")), 0);
		clear(f);
		assert_int_equal(RUN(f, call, at(f->in, "file")), 0);
	}
}

static void test_calls_on_paths_are_refused_in_scope_only(void **state)
{
	struct fixture *f = *state;
	char name[32];
	size_t i;

	for (i = 0; i < COUNT(path_calls); i++) {
		const char *call = path_calls[i].name;

		print_message("# %s\n", call);
		put(at(f->out, "from"), "text");
		snprintf(name, sizeof name, "new-%s", call);
		RULE(f, .calls = path_calls[i].set);
		assert_int_equal(RUN(f, call, at(f->in, name), at(f->out, "from")), ENOSPC);
		assert_false(exists(at(f->in, name)));
		assert_int_equal(stats(f).hits, 1);
		assert_string_equal(stats(f).call, call);
		assert_string_equal(stats(f).path, at(f->in, name));
		assert_int_equal(RUN(f, call, at(f->out, name), at(f->out, "from")), 0);
		assert_true(exists(at(f->out, name)));
		assert_int_equal(stats(f).hits, 1);
		clear(f);
		put(at(f->out, "from"), "text");
		assert_int_equal(RUN(f, call, at(f->in, name), at(f->out, "from")), 0);
		assert_true(exists(at(f->in, name)));
	}
}

static void test_both_ends_of_a_rename_count(void **state)
{
	struct fixture *f = *state;

	put(at(f->in, "a"), "text");
	RULE(f, .calls = TRITONE_CALL_RENAME, .error = EIO);
	assert_int_equal(RUN(f, "rename", at(f->out, "b"), at(f->in, "a")), EIO);
	assert_string_equal(stats(f).path, at(f->in, "a"));
	assert_int_equal(RUN(f, "rename", at(f->in, "c"), at(f->in, "a")), EIO);
	assert_int_equal(stats(f).hits, 2);
	assert_int_equal(stats(f).seen, 2);
	assert_true(exists(at(f->in, "a")));
}

static void test_paths_are_found_however_they_are_written(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(mkdir(at(f->in, "sub"), 0755), 0);
	assert_int_equal(symlink(f->in, at(f->out, "way")), 0);
	assert_int_equal(symlink(at(f->in, "target"), at(f->out, "dangling")), 0);
	RULE(f, .calls = TRITONE_CALL_CREATE);
	assert_int_equal(RUN(f, "in-dir", f->in, "openat", "x"), ENOSPC);
	assert_int_equal(RUN(f, "in-dir", f->in, "openat", "./sub/..//x"), ENOSPC);
	assert_int_equal(RUN(f, "in-dir", f->out, "mkdir", "../in/x"), ENOSPC);
	assert_int_equal(RUN(f, "in-dir", f->out, "creat", "way/x"), ENOSPC);
	assert_int_equal(RUN(f, "openat", at(f->out, "way/sub/x")), ENOSPC);
	assert_int_equal(RUN(f, "openat", at(f->out, "dangling")), ENOSPC);
	assert_string_equal(stats(f).path, at(f->in, "target"));
	assert_int_equal(RUN(f, "mkdir-below", f->in, "x"), ENOSPC);
	assert_int_equal(RUN(f, "mkdir-below", at(f->in, "sub"), "x"), ENOSPC);
	assert_int_equal(RUN(f, "tmpfile", f->in, at(f->out, "x")), ENOSPC);
	assert_int_equal(stats(f).hits, 9);
	assert_int_equal(RUN(f, "mkdir-below", f->in, "../in-other/x"), 0);
	assert_int_equal(RUN(f, "in-dir", f->in, "openat", "../in-other/y"), 0);
	assert_int_equal(stats(f).seen, 9);
	/* The scope itself may be written by way of a link, and may be one file. */
	RULE(f, .path = at(f->out, "way"), .calls = TRITONE_CALL_CREATE);
	assert_int_equal(RUN(f, "openat", at(f->in, "x")), ENOSPC);
	put(at(f->in, "one"), "1");
	put(at(f->in, "one-more"), "1");
	RULE(f, .path = at(f->in, "one"), .calls = TRITONE_CALL_WRITE);
	assert_int_equal(RUN(f, "write", at(f->in, "one")), ENOSPC);
	assert_int_equal(RUN(f, "write", at(f->in, "one-more")), 0);
	/* What is deleted still fills the disk. */
	assert_int_equal(RUN(f, "unlinked", at(f->in, "one")), ENOSPC);
	assert_string_equal(stats(f).path, at(f->in, "one"));
}

static void test_what_exists_is_not_created(void **state)
{
	struct fixture *f = *state;

	put(at(f->in, "file"), "text");
	RULE(f, .calls = TRITONE_CALL_CREATE);
	assert_int_equal(RUN(f, "existing", at(f->in, "file")), 0);
	assert_int_equal(RUN(f, "mkdir", at(f->in, "file")), EEXIST);
	assert_int_equal(stats(f).seen, 0);
	assert_int_equal(RUN(f, "existing", at(f->in, "none")), ENOSPC);
}

/* ---- which ones ---- */

/* The errors of n writes of one byte, as "28 0 28 ". */
static const char *sequence(struct fixture *f, const char *n)
{
	unlink(at(f->dir, "child.log"));
	assert_int_equal(RUN(f, "sequence", at(f->in, "file"), "", n), 0);
	return content(at(f->dir, "child.log"));
}

static void test_occurrences(void **state)
{
	struct fixture *f = *state;
	struct keeper_rule_stats s;

	put(at(f->in, "file"), "");
	RULE(f, .first = 2, .every = 3);
	assert_string_equal(sequence(f, "10"), "0 0 28 0 0 28 0 0 28 0 \n");
	s = stats(f);
	assert_int_equal(s.hits, 3);
	assert_int_equal(s.seen, 10);
	put(at(f->in, "file"), "");
	RULE(f, .first = 1, .every = 2, .count = 2, .error = EIO);
	assert_string_equal(sequence(f, "8"), "0 5 0 5 0 0 0 0 \n");
	assert_string_equal(content(at(f->in, "file")), "acefgh");
	assert_int_equal(stats(f).seen, 8); /* set anew, counted anew */
	RULE(f, .count = 1);
	assert_string_equal(sequence(f, "3"), "28 0 0 \n");
	assert_string_equal(sequence(f, "2"), "0 0 \n"); /* a second process does not begin anew */
}

static void test_probability_follows_the_seed(void **state)
{
	struct fixture *f = *state;
	char once[1024];

	put(at(f->in, "file"), "");
	RULE(f, .probability = 0.5);
	snprintf(once, sizeof once, "%s", sequence(f, "100"));
	assert_in_range(stats(f).hits, 20, 80);
	RULE(f, .probability = 0.5);
	assert_string_equal(sequence(f, "100"), once);
	RULE(f, .key = "other", .path = "/nowhere");
	RULE(f, .probability = 1);
	assert_string_equal(sequence(f, "2"), "28 28 \n");
}

static void test_the_first_rule_that_acts_decides(void **state)
{
	struct fixture *f = *state;
	struct keeper_rule_stats s;

	put(at(f->in, "file"), "");
	RULE(f, .count = 1);
	RULE(f, .key = "second", .path = "/", .calls = TRITONE_CALL_WRITE, .error = EIO, .count = 2);
	assert_string_equal(sequence(f, "4"), "28 5 5 0 \n");
	assert_int_equal(keeper_rule_stats(f->keeper, "second", &s, NULL), 0);
	assert_int_equal(s.hits, 2);
	assert_true(s.seen >= 4); /* standard output is below / too */
}

static void test_a_rule_ends(void **state)
{
	struct fixture *f = *state;
	struct keeper_rule_stats s;
	struct error err = {0};

	put(at(f->in, "file"), "");
	RULE(f, .lifetime_ms = 300);
	while (keeper_rule_stats(f->keeper, "k", &s, &err) == 0)
		RUN(f, "write", at(f->in, "file"));
	assert_int_equal(err.code, ENOENT);
	assert_int_equal(RUN(f, "write", at(f->in, "file")), 0);
	RULE(f, .lifetime_ms = HOUR);
	assert_int_equal(RUN(f, "write", at(f->in, "file")), ENOSPC);
	clear(f);
	assert_int_equal(RUN(f, "write", at(f->in, "file")), 0);
	clear(f); /* twice is fine */
	assert_int_equal(keeper_rule_stats(f->keeper, "k", &s, &err), -1);
	assert_int_equal(err.code, ENOENT);
}

static void test_bad_rules_are_refused(void **state)
{
	struct fixture *f = *state;
	const struct tritone_errno_rule good = {
	    .mode = TRITONE_ERRNO_REFUSE, .key = "k", .path = "/x", .calls = ALL, .error = ENOSPC};
	struct tritone_errno_rule bad[] = {good, good, good, good, good, good, good};
	struct error err;
	size_t i;

	bad[0].path = "relative";
	bad[1].calls = 0;
	bad[2].calls = 0x8000;
	bad[3].mode = 0x11;
	bad[4].error = 0;
	bad[5].probability = 1.5;
	bad[6].key = "a-key-that-has-one-byte-more-than-the-sixty-three-it-may-have-..";
	for (i = 0; i < COUNT(bad); i++) {
		err.code = 0;
		assert_int_equal(keeper_rule_set(f->keeper, &bad[i], &err), -1);
		assert_int_equal(err.code, EINVAL);
	}
	assert_int_equal(keeper_rule_set(f->keeper, &good, NULL), 0);
}

/* ---- perform, then fail ---- */

#define PERFORM .mode = TRITONE_ERRNO_PERFORM_THEN_FAIL

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

static void test_a_large_write_is_whole(void **state)
{
	struct fixture *f = *state;
	const size_t size = 5000001;
	char *bytes = malloc(size);
	size_t i;
	int fd;

	assert_non_null(bytes);
	put(at(f->in, "file"), "");
	RULE(f, PERFORM);
	assert_int_equal(RUN(f, "large", at(f->in, "file"), "5000001"), ENOSPC);
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

/* ---- who ---- */

static void test_without_a_rule_nothing_changes(void **state)
{
	struct fixture *f = *state;
	const char *argv[] = {f->child, "ring", "x", NULL};
	struct keeper_process unfiltered = {.name = "free", .argv = argv};
	char name[32];
	size_t i;
	pid_t pid;

	for (i = 0; i < COUNT(file_calls); i++) {
		put(at(f->in, "file"), "0123456789");
		assert_int_equal(RUN(f, file_calls[i].name, at(f->in, "file")), 0);
	}
	for (i = 0; i < COUNT(path_calls); i++) {
		put(at(f->out, "from"), "text");
		snprintf(name, sizeof name, "new-%s", path_calls[i].name);
		assert_int_equal(RUN(f, path_calls[i].name, at(f->in, name), at(f->out, "from")), 0);
		assert_true(exists(at(f->in, name)));
	}
	assert_int_equal(RUN(f, "ring", "x"), ENOSYS);
	/* A process outside the filter is not touched by a rule. */
	put(at(f->in, "file"), "0123456789");
	RULE(f, REFUSE);
	argv[1] = "write";
	argv[2] = at(f->in, "file");
	assert_int_equal(keeper_spawn(f->keeper, &unfiltered, &pid, NULL), 0);
	assert_int_equal(exit_status(f, pid), 0);
	assert_string_equal(content(at(f->in, "file")), "xyz3456789");
}

static void test_threads(void **state)
{
	struct fixture *f = *state;

	put(at(f->in, "file"), "");
	put(at(f->out, "file"), "");
	RULE(f, REFUSE);
	assert_int_equal(RUN(f, "threads", at(f->in, "file"), at(f->out, "file")), 0);
	assert_int_equal(stats(f).hits, 200);
	assert_string_equal(content(at(f->in, "file")), "");
	assert_int_equal(strlen(content(at(f->out, "file"))), 200);
	RULE(f, PERFORM);
	assert_int_equal(RUN(f, "threads", at(f->in, "file"), at(f->out, "file")), 0);
	assert_int_equal(strlen(content(at(f->in, "file"))), 200);
}

static void test_a_grandchild_inherits(void **state)
{
	struct fixture *f = *state;

	put(at(f->in, "file"), "0123456789");
	RULE(f, REFUSE);
	assert_int_equal(RUN(f, "grandchild", "write", at(f->in, "file")), ENOSPC);
	RULE(f, PERFORM);
	assert_int_equal(RUN(f, "grandchild", "write", at(f->in, "file")), ENOSPC);
	assert_string_equal(content(at(f->in, "file")), "xyz3456789");
}

static void test_a_static_child(void **state)
{
	struct fixture *f = *state;

	snprintf(f->child, sizeof f->child, "%.*s/filter_child_static", PATH_MAX - 32, here);
	put(at(f->in, "file"), "0123456789");
	RULE(f, REFUSE);
	assert_int_equal(RUN(f, "write", at(f->in, "file")), ENOSPC);
	assert_int_equal(RUN(f, "openat", at(f->in, "new")), ENOSPC);
	RULE(f, PERFORM);
	assert_int_equal(RUN(f, "write", at(f->in, "file")), ENOSPC);
	assert_string_equal(content(at(f->in, "file")), "xyz3456789");
}

static void test_it_can_be_had_here(void **state)
{
	struct error err = {0};
	bool sync = false;

	(void)state;
	if (filter_try(&sync, &err) < 0)
		fail_msg("%s", err.text);
	print_message("# wake-up on the same processor: %s\n", sync ? "yes" : "no");
	assert_int_equal(system_can_filter(&err), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	    cmocka_unit_test(test_it_can_be_had_here),
	    T(test_calls_on_files_are_refused_in_scope_only),
	    T(test_calls_on_paths_are_refused_in_scope_only),
	    T(test_both_ends_of_a_rename_count),
	    T(test_paths_are_found_however_they_are_written),
	    T(test_what_exists_is_not_created),
	    T(test_occurrences),
	    T(test_probability_follows_the_seed),
	    T(test_the_first_rule_that_acts_decides),
	    T(test_a_rule_ends),
	    T(test_bad_rules_are_refused),
	    T(test_performed_writes_are_there_once),
	    T(test_performed_writes_move_the_shared_offset),
	    T(test_a_large_write_is_whole),
	    T(test_signals_do_not_make_it_happen_twice),
	    T(test_performed_names_are_there),
	    T(test_its_own_error_comes_first),
	    T(test_delay),
	    T(test_who_waits_can_be_killed),
	    T(test_without_a_rule_nothing_changes),
	    T(test_threads),
	    T(test_a_grandchild_inherits),
	    T(test_a_static_child),
	};
	ssize_t n;

	if (argc > 1 && !strcmp(argv[1], "__keeper"))
		return keeper_main(argc - 1, argv + 1);
	n = readlink("/proc/self/exe", here, sizeof here - 1);
	if (n < 0)
		return 1;
	here[n] = '\0';
	*strrchr(here, '/') = '\0';
	return cmocka_run_group_tests(tests, NULL, NULL);
}
