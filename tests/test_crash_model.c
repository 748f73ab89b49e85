/* SPDX-License-Identifier: Apache-2.0 */
/* The model: what is there or missing, by names, sizes and syncs. Each case is small enough to write down all that a disk may
 * hold. */
#include "crash_model_room.h"

#include <string.h>

static void test_prefix(void **state)
{
	struct room *room = *state;

	begin_with(room, 1, "f", "a");
	write_at(room, 1, 1, "b");
	write_at(room, 1, 2, "c");
	walk_all(room, PREFIX);
	EXPECT(room, "f=a", "f=ab", "f=abc");
	assert_int_equal(room->visits, 3);
}

/* Two writes to different files that nothing has covered: there, or not. */
static void test_subset(void **state)
{
	struct room *room = *state;

	create(room, 2, "g");
	begin_with(room, 1, "f", "");
	write_at(room, 1, 0, "a");
	write_at(room, 2, 0, "b");
	walk_all(room, SUBSET);
	EXPECT(room, "g= f=", "g= f=a", "g=b f=", "g=b f=a");
	assert_true(room->count.exhaustive);
}

/* A write is as many pieces as it touches pages. */
static void test_pages(void **state)
{
	struct room *room = *state;
	char text[3 * PAGE_BYTES + 1];

	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	begin_with(room, 1, "f", "");
	write_at(room, 1, 0, text);
	walk_all(room, SUBSET);
	EXPECT(room, "f=", "f=x*4096", "f=0*4096x*4096", "f=x*8192", "f=0*8192x*4096", "f=x*40960*4096x*4096",
	    "f=0*4096x*8192", "f=x*12288");
}

static void test_sync_of_the_file(void **state)
{
	struct room *room = *state;

	begin_with(room, 1, "f", "");
	write_at(room, 1, 0, "a");
	plain(room, TRACE_FDATASYNC, 1);
	write_at(room, 1, 1, "b");
	walk_all(room, PREFIX | SUBSET);
	EXPECT(room, "f=", "f=a", "f=ab");
}

/* The sync of another file covers nothing; nor does one before the write. */
static void test_sync_of_another(void **state)
{
	struct room *room = *state;

	create(room, 2, "g");
	begin_with(room, 1, "f", "");
	plain(room, TRACE_FSYNC, 1);
	write_at(room, 1, 0, "a");
	plain(room, TRACE_FSYNC, 2);
	write_at(room, 2, 0, "b");
	walk_all(room, SUBSET);
	EXPECT(room, "g= f=", "g= f=a", "g=b f=", "g=b f=a");
}

static void test_durable_write(void **state)
{
	struct room *room = *state;

	begin_with(room, 1, "f", "--");
	write_at(room, 1, 0, "a");
	add(room, (struct trace_op){.kind = TRACE_WRITE,
		      .flags = TRACE_DURABLE,
		      .file = 1,
		      .offset = 0,
		      .size = 2,
		      .data = (const uint8_t *)"BC",
		      .data_size = 2});
	ack(room);
	room->acked_min = 1;
	walk_all(room, PREFIX | SUBSET);
	EXPECT(room, "f=BC"); /* what came before it, on the same bytes, cannot come after it */
}

/* A name is durable with its directory, and only then; the file's own sync is not enough. */
static void test_names(void **state)
{
	struct room *room = *state;

	plain(room, TRACE_BEGIN, 0);
	create(room, 1, "f");
	write_at(room, 1, 0, "a");
	plain(room, TRACE_FSYNC, 1);
	ack(room);
	plain(room, TRACE_FSYNC, ROOT);
	ack(room);
	walk_all(room, SUBSET);
	EXPECT(room, "", "f=", "f=a");
	room->acked_min = 1;
	walk_all(room, SUBSET);
	EXPECT(room, "", "f=a");
	room->acked_min = 2;
	walk_all(room, SUBSET);
	EXPECT(room, "f=a");
}

/* The classic mistake: a new file is renamed over the old one, and its data have never been synced. */
static void test_rename(void **state)
{
	struct room *room = *state;

	begin_with(room, 1, "f", "old");
	create(room, 2, "t");
	write_at(room, 2, 0, "new");
	add(room,
	    (struct trace_op){
		.kind = TRACE_RENAME, .file = 2, .other = 1, .dir = ROOT, .name = "t", .dir2 = ROOT, .name2 = "f"});
	walk_all(room, SUBSET);
	EXPECT(room, "f=old", "f=old t=", "f=old t=new", "f=", "f=new");
}

/* Names reach the disk in their order: never the second without the first. */
static void test_order_of_names(void **state)
{
	struct room *room = *state;

	plain(room, TRACE_BEGIN, 0);
	create(room, 1, "a");
	add(room, (struct trace_op){.kind = TRACE_MKDIR, .file = 2, .dir = ROOT, .name = "d"});
	add(room, (struct trace_op){.kind = TRACE_CREATE, .file = 3, .dir = 2, .name = "b"});
	plain(room, TRACE_FSYNC, 2);
	ack(room);
	walk_all(room, SUBSET);
	EXPECT(room, "", "a=", "a= d=", "a= d= d/b=");
	room->acked_min = 1;
	walk_all(room, SUBSET);
	EXPECT(room, "a= d= d/b=");
}

static void test_moved_directory(void **state)
{
	struct room *room = *state;

	add(room, (struct trace_op){.kind = TRACE_MKDIR, .file = 2, .dir = ROOT, .name = "d"});
	add(room, (struct trace_op){.kind = TRACE_CREATE, .file = 3, .dir = 2, .name = "b"});
	plain(room, TRACE_BEGIN, 0);
	add(room,
	    (struct trace_op){.kind = TRACE_RENAME, .file = 2, .dir = ROOT, .name = "d", .dir2 = ROOT, .name2 = "e"});
	walk_all(room, SUBSET);
	EXPECT(room, "d= d/b=", "e= e/b=");
}

/* What was written into a file after it was cut cannot be there without the cut. */
static void test_truncate(void **state)
{
	struct room *room = *state;

	begin_with(room, 1, "f", "old");
	plain(room, TRACE_TRUNCATE, 1);
	write_at(room, 1, 0, "n");
	walk_all(room, SUBSET);
	EXPECT(room, "f=old", "f=", "f=n");
}

/* A change of size is durable with its file, and not before. */
static void test_size(void **state)
{
	struct room *room = *state;

	begin_with(room, 1, "f", "old");
	add(room, (struct trace_op){.kind = TRACE_TRUNCATE, .file = 1, .size = 1});
	ack(room);
	room->acked_min = 1;
	walk_all(room, SUBSET);
	EXPECT(room, "f=old", "f=o");
	plain(room, TRACE_FSYNC, 1);
	ack(room);
	room->acked_min = 2;
	walk_all(room, SUBSET);
	EXPECT(room, "f=o");
}

/* Two names change places at once: never one file under both, or none. */
static void test_exchange(void **state)
{
	struct room *room = *state;

	create(room, 2, "g");
	begin_with(room, 1, "f", "a");
	add(room, (struct trace_op){.kind = TRACE_RENAME,
		      .flags = TRACE_EXCHANGE,
		      .file = 1,
		      .other = 2,
		      .dir = ROOT,
		      .name = "f",
		      .dir2 = ROOT,
		      .name2 = "g"});
	walk_all(room, PREFIX | SUBSET);
	EXPECT(room, "g= f=a", "g=a f=");
}

static void test_volatile(void **state)
{
	static const char *const patterns[] = {"*-shm", NULL};
	struct room *room = *state;

	plain(room, TRACE_BEGIN, 0);
	create(room, 1, "db-shm");
	write_at(room, 1, 0, "x");
	create(room, 2, "db");
	room->options.volatiles = patterns;
	walk_all(room, PREFIX | SUBSET);
	EXPECT(room, "", "db=");
}

/* What was there, and was not touched, is there in all states. */
static void test_beginning(void **state)
{
	struct room *room = *state;

	create(room, 2, "kept");
	write_at(room, 2, 0, "k");
	begin_with(room, 1, "f", "");
	add(room, (struct trace_op){.kind = TRACE_UNLINK, .file = 1, .dir = ROOT, .name = "f"});
	walk_all(room, PREFIX | SUBSET);
	EXPECT(room, "kept=k f=", "kept=k");
}

static void test_parse(void **state)
{
	struct error err;
	unsigned kinds;

	(void)state;
	assert_int_equal(model_parse("prefix,byte", &kinds, NULL), 0);
	assert_int_equal(kinds, PREFIX | BYTE);
	assert_int_equal(model_parse("prefix,bits", &kinds, &err), -1);
	assert_non_null(strstr(err.text, "'bits'"));
	assert_int_equal(model_parse("", &kinds, &err), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_prefix, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_subset, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_pages, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_sync_of_the_file, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_sync_of_another, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_durable_write, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_names, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_rename, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_order_of_names, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_moved_directory, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_truncate, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_size, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_exchange, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_volatile, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_beginning, setup, teardown),
	    cmocka_unit_test(test_parse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
