/* SPDX-License-Identifier: Apache-2.0 */
/* The model of torn writes: between sectors and between bytes, and only where it can be told. */
#include "crash_model_room.h"

#include <string.h>

/* A file of two sectors, and other two to be written over them. */
static void begin_with_sectors(struct room *room, char new[1025])
{
	char old[1025];

	memset(old, 'o', 1024);
	memset(new, 'n', 1024);
	old[1024] = new[1024] = '\0';
	begin_with(room, 1, "f", old);
}

static void test_sectors(void **state)
{
	struct room *room = *state;
	char new[1025];

	begin_with_sectors(room, new);
	write_at(room, 1, 0, new);
	walk_all(room, SECTOR);
	EXPECT(room, "f=n*512o*512", "f=o*512n*512");
}

/* Sectors that a write leaves as they are cannot be told to be torn: no state is made for them. */
static void test_unchanged_sectors(void **state)
{
	struct room *room = *state;
	char old[4097], new[4097];

	memset(old, 'o', 4096);
	memset(new, 'o', 4096);
	memset(new + 512, 'n', 512);
	memset(new + 2048, 'm', 1024);
	old[4096] = new[4096] = '\0';
	begin_with(room, 1, "f", old);
	write_at(room, 1, 0, new);
	walk_all(room, SECTOR);
	assert_int_equal(room->visits, 1 + 2 + 4 + 1); /* none; those of three sectors; all is a tear here, too */
	EXPECT(room, "f=o*4096", "f=o*512n*512o*3072", "f=o*2048m*512o*1536", "f=o*2560m*512o*1024",
	    "f=o*512n*512o*1024m*512o*1536", "f=o*512n*512o*1536m*512o*1024", "f=o*2048m*1024o*1024",
	    "f=o*512n*512o*1024m*1024o*1024");
}

/* Zeros that make a file longer are something else than no zeros. */
static void test_sectors_of_zeros(void **state)
{
	struct room *room = *state;
	uint8_t zeros[1536] = {0};

	begin_with(room, 1, "f", "");
	add(room, (struct trace_op){
		      .kind = TRACE_WRITE, .file = 1, .size = sizeof zeros, .data = zeros, .data_size = sizeof zeros});
	walk_all(room, SECTOR);
	EXPECT(room, "f=0*512", "f=0*1024", "f=0*1536");
}

/* What has no name any more cannot be seen to be torn. */
static void test_sectors_without_a_name(void **state)
{
	struct room *room = *state;
	char new[1025];

	begin_with_sectors(room, new);
	add(room, (struct trace_op){.kind = TRACE_UNLINK, .file = 1, .dir = ROOT, .name = "f"});
	plain(room, TRACE_FSYNC, ROOT);
	write_at(room, 1, 0, new);
	walk_all(room, SECTOR);
	assert_int_equal(room->visits, 1);
	EXPECT(room, "");
}

static void test_bytes(void **state)
{
	struct room *room = *state;

	begin_with(room, 1, "f", "abc");
	write_at(room, 1, 0, "XYZ");
	walk_all(room, BYTE);
	EXPECT(room, "f=Xbc", "f=XYc", "f=abZ", "f=aYZ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_sectors, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_unchanged_sectors, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_sectors_of_zeros, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_sectors_without_a_name, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bytes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
