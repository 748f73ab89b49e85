/* SPDX-License-Identifier: Apache-2.0 */
/* Errors of real system calls: which calls, which files, which occurrences, which processes. */
#include "filter_fixture.h"
#include "keeper/filter.h"

/* ---- refuse ---- */

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
	uint64_t hits = 0;

	put(at(f->in, "file"), "");
	RULE(f, .lifetime_ms = 2000);
	while (RUN(f, "write", at(f->in, "file")) == ENOSPC)
		hits++;
	/* What came across it is still known when it is over, and no more is added to that. */
	assert_int_equal(RUN(f, "write", at(f->in, "file")), 0);
	assert_int_equal(keeper_rule_stats(f->keeper, "k", &s, &err), 0);
	assert_int_equal(s.hits, hits);
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
	assert_int_equal(RUN(f, "queue", "x"), ENOSYS);
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
	assert_int_equal(filter_available(&err), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
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
	    T(test_without_a_rule_nothing_changes),
	    T(test_threads),
	    T(test_a_grandchild_inherits),
	    T(test_a_static_child),
	    cmocka_unit_test(test_it_can_be_had_here),
	};
	int r = fixture_begin(argc, argv);

	return r < 0 ? cmocka_run_group_tests(tests, NULL, NULL) : r;
}
