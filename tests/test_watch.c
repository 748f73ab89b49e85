/* SPDX-License-Identifier: Apache-2.0 */
/* host/system's watch by itself: directories that come, go and move. */
#include "watch_room.h"

#include "system/copytree.h"

static void test_a_root_that_comes_later(void **state)
{
	struct fixture *fixture = *state;

	watch_root(fixture, "a/b/c");
	make_directory(fixture, "a");
	dispatch(fixture);
	make_directory(fixture, "a/b"); /* and what is below it, before anybody looks */
	make_directory(fixture, "a/b/c");
	write_file(fixture, "a/b/c/one", "");
	write_file(fixture, "a/b/other", "");
	dispatch(fixture);
	assert_string_equal(fixture->seen, "one ");
	write_file(fixture, "a/b/c/two", "");
	dispatch(fixture);
	assert_string_equal(fixture->seen, "one two ");
}

static void test_directories_below_are_watched(void **state)
{
	struct fixture *fixture = *state;

	make_directory(fixture, "root");
	write_file(fixture, "root/old", "");
	watch_root(fixture, "root");
	assert_string_equal(fixture->seen, "old ");
	make_directory(fixture, "root/x");
	make_directory(fixture, "root/x/y");
	make_directory(fixture, "root/not");
	write_file(fixture, "root/x/y/deep", "");
	write_file(fixture, "root/not/hidden", "");
	dispatch(fixture);
	assert_string_equal(fixture->seen, "old deep ");
	write_file(fixture, "root/x/y/more", "");
	dispatch(fixture);
	assert_string_equal(fixture->seen, "old deep more ");
}

static void test_a_directory_that_moves_in_and_out(void **state)
{
	struct fixture *fixture = *state;

	make_directory(fixture, "root");
	make_directory(fixture, "aside");
	write_file(fixture, "aside/one", "");
	watch_root(fixture, "root");
	move(fixture, "aside", "root/in");
	dispatch(fixture);
	assert_string_equal(fixture->seen, "one ");
	move(fixture, "root/in", "root/renamed");
	dispatch(fixture);
	assert_string_equal(fixture->seen, "one one ");
	write_file(fixture, "root/renamed/two", "");
	dispatch(fixture);
	assert_string_equal(fixture->seen, "one one two ");
	move(fixture, "root/renamed", "out");
	dispatch(fixture);
	write_file(fixture, "out/three", "");
	dispatch(fixture);
	assert_string_equal(fixture->seen, "one one two ");
}

static void test_a_root_that_is_made_anew(void **state)
{
	struct fixture *fixture = *state;
	char path[256];

	make_directory(fixture, "root");
	watch_root(fixture, "root");
	assert_int_equal(removetree(in(fixture, "root", path), NULL), 0);
	dispatch(fixture);
	make_directory(fixture, "root");
	write_file(fixture, "root/again", "");
	dispatch(fixture);
	assert_string_equal(fixture->seen, "again ");
}

static void test_two_parties_in_one_directory(void **state)
{
	struct fixture *fixture = *state;

	make_directory(fixture, "root");
	make_directory(fixture, "root/x");
	watch_root(fixture, "root");
	watch_root(fixture, "root/x");
	write_file(fixture, "root/x/both", "");
	write_file(fixture, "root/first", "");
	dispatch(fixture);
	assert_string_equal(fixture->seen, "both both first ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    WATCH_TEST(test_a_root_that_comes_later),
	    WATCH_TEST(test_directories_below_are_watched),
	    WATCH_TEST(test_a_directory_that_moves_in_and_out),
	    WATCH_TEST(test_a_root_that_is_made_anew),
	    WATCH_TEST(test_two_parties_in_one_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
