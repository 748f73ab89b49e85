/* SPDX-License-Identifier: Apache-2.0 */
/* The trace: identity of files, lines from bytes, there and back through a file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crash/state.h"
#include "crash/trace.h"

struct room {
	char dir[32], path[48];
	struct trace *trace;
};

static int setup(void **state)
{
	struct room *room = calloc(1, sizeof *room);

	if (!room)
		return -1;
	strcpy(room->dir, "/tmp/trace-XXXXXX");
	if (!mkdtemp(room->dir) || trace_create(&room->trace, "/some/where", NULL) < 0)
		return -1;
	snprintf(room->path, sizeof room->path, "%s/trace", room->dir);
	*state = room;
	return 0;
}

static int teardown(void **state)
{
	struct room *room = *state;
	int rc = state_remove_tree(room->dir, NULL);

	trace_destroy(room->trace);
	free(room);
	return rc;
}

static void add(struct trace *trace, struct trace_op op)
{
	struct error err;

	if (trace_add(trace, &op, &err) < 0)
		fail_msg("%s", err.text);
}

static void test_identity(void **state)
{
	struct trace *trace = ((struct room *)*state)->trace;

	assert_int_equal(trace_set_root(trace, 500, NULL), 0);
	add(trace, (struct trace_op){.kind = TRACE_CREATE, .file = 7, .dir = 500, .name = "a"});
	add(trace, (struct trace_op){.kind = TRACE_FSYNC, .file = 7});
	add(trace, (struct trace_op){.kind = TRACE_UNLINK, .file = 7, .dir = 500, .name = "a"});
	add(trace, (struct trace_op){.kind = TRACE_CREATE, .file = 7, .dir = 500, .name = "b"});
	add(trace, (struct trace_op){.kind = TRACE_FSYNC, .file = 7});
	add(trace, (struct trace_op){.kind = TRACE_FSYNC, .file = 500});
	assert_int_equal(trace->ops[1].file, trace->ops[0].file);
	assert_int_not_equal(trace->ops[3].file, trace->ops[0].file); /* the inode number is used again */
	assert_int_equal(trace->ops[4].file, trace->ops[3].file);
	assert_int_equal(trace->ops[5].file, TRACE_ROOT);
	assert_string_equal(trace_name(trace, trace->ops[4].file), "b");
}

static void test_unknown_file(void **state)
{
	struct trace *trace = ((struct room *)*state)->trace;
	const struct trace_op sync = {.kind = TRACE_FSYNC, .file = 9},
			      create = {.kind = TRACE_CREATE, .file = 9, .dir = 8, .name = "x"};
	struct error err = {0};

	assert_int_equal(trace_set_root(trace, 500, NULL), 0);
	assert_int_equal(trace_add(trace, &sync, &err), -1);
	assert_int_equal(err.code, EILSEQ);
	assert_int_equal(trace_add(trace, &create, &err), -1);
	assert_int_equal(err.code, EILSEQ);
	assert_int_equal(trace->count, 0);
}

static void output(struct trace *trace, const char *text)
{
	add(trace, (struct trace_op){.kind = TRACE_OUTPUT, .data = (const uint8_t *)text, .data_size = strlen(text)});
}

/* Lines are cut where they end, not where the writes do; each is where its last byte was written. */
static void test_lines(void **state)
{
	struct trace *trace = ((struct room *)*state)->trace;

	assert_int_equal(trace_set_root(trace, 1, NULL), 0);
	output(trace, "one\ntw");
	add(trace, (struct trace_op){.kind = TRACE_SYNC_ALL});
	output(trace, "o\n\nnever ended");
	assert_int_equal(trace->acks_count, 3);
	assert_string_equal(trace->acks[0].text, "one");
	assert_string_equal(trace->acks[1].text, "two");
	assert_string_equal(trace->acks[2].text, "");
	assert_int_equal(trace->ops[1].kind, TRACE_SYNC_ALL);
	assert_int_equal(trace_acks_before(trace, 0), 0);
	assert_int_equal(trace_acks_before(trace, 1), 1);
	assert_int_equal(trace_acks_before(trace, 2), 1);
	assert_int_equal(trace_acks_before(trace, 3), 2);
	assert_int_equal(trace_acks_before(trace, trace->count), 3);
}

static void fill(struct trace *trace)
{
	static const uint8_t data[] = {1, 0, 2, 0, 3};

	assert_int_equal(trace_set_root(trace, 77, NULL), 0);
	add(trace, (struct trace_op){.kind = TRACE_CREATE, .file = 78, .dir = 77, .name = "there", .mode = 0600});
	add(trace, (struct trace_op){.kind = TRACE_BEGIN});
	add(trace, (struct trace_op){.kind = TRACE_MKDIR, .file = 79, .dir = 77, .name = "dir", .pid = 5});
	add(trace, (struct trace_op){.kind = TRACE_WRITE,
		       .flags = TRACE_DURABLE,
		       .file = 78,
		       .offset = 1ull << 40,
		       .size = 5,
		       .data = data,
		       .data_size = 5});
	add(trace, (struct trace_op){
		       .kind = TRACE_RENAME, .file = 78, .dir = 77, .name = "there", .dir2 = 79, .name2 = "gone"});
	add(trace, (struct trace_op){.kind = TRACE_ALLOCATE, .file = 78, .mode = 3, .offset = 4096, .size = 100});
	output(trace, "said\n");
	add(trace, (struct trace_op){.kind = TRACE_MARK, .data = (const uint8_t *)"point", .data_size = 5});
	add(trace,
	    (struct trace_op){.kind = TRACE_SYMLINK, .file = 80, .dir = 79, .name = "l", .data = data, .data_size = 3});
}

static void test_round_trip(void **state)
{
	struct room *room = *state;
	struct trace *back = NULL;
	struct error err = {0};
	size_t i;

	fill(room->trace);
	if (trace_save(room->trace, room->path, &err) < 0 || trace_load(&back, room->path, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(back->root, "/some/where");
	assert_int_equal(back->count, room->trace->count);
	assert_int_equal(back->begin, 2);
	assert_int_equal(back->files, room->trace->files);
	for (i = 0; i < back->count; i++) {
		const struct trace_op *a = &room->trace->ops[i], *b = &back->ops[i];

		assert_int_equal(a->kind, b->kind);
		assert_int_equal(a->flags, b->flags);
		assert_int_equal(a->pid, b->pid);
		assert_int_equal(a->mode, b->mode);
		assert_int_equal(a->file, b->file);
		assert_int_equal(a->dir, b->dir);
		assert_int_equal(a->dir2, b->dir2);
		assert_int_equal(a->offset, b->offset);
		assert_int_equal(a->size, b->size);
		assert_int_equal(a->data_size, b->data_size);
		assert_true(!a->name == !b->name && (!a->name || !strcmp(a->name, b->name)));
		assert_true(!a->name2 == !b->name2 && (!a->name2 || !strcmp(a->name2, b->name2)));
		assert_memory_equal(a->data_size ? a->data : (const uint8_t *)"",
		    b->data_size ? b->data : (const uint8_t *)"", a->data_size);
	}
	assert_string_equal(back->acks[0].text, "said");
	assert_string_equal(back->marks[0].text, "point");
	trace_destroy(back);
}

/* A file that is none, one that is cut anywhere: an error, never an overrun. */
/* A line may hold anything but its end; and a file that has no room for it is not taken for written. */
static void test_lines_in_a_file(void **state)
{
	static const uint8_t bytes[] = "a\0b\n\nlast\nnot whole";
	const struct trace_op output = {.kind = TRACE_OUTPUT, .data = bytes, .data_size = sizeof bytes - 1};
	struct room *room = *state;
	struct error err = {0};
	char text[64];
	FILE *file;

	add(room->trace, output);
	if (trace_save_acks(room->trace, 2, room->path, &err) < 0)
		fail_msg("%s", err.text);
	file = fopen(room->path, "re");
	assert_non_null(file);
	assert_int_equal(fread(text, 1, sizeof text, file), 5);
	fclose(file);
	assert_memory_equal(text, "a\0b\n\n", 5);
	assert_int_equal(trace_save_acks(room->trace, 3, "/dev/full", &err), -1);
	assert_int_equal(err.code, ENOSPC);
	assert_int_equal(trace_save_acks(room->trace, 3, "/no/such/directory", &err), -1);
	assert_int_equal(err.code, ENOENT);
}

static void test_bad_files(void **state)
{
	struct room *room = *state;
	struct trace *back;
	struct error err = {0};
	struct stat status;
	off_t size;

	fill(room->trace);
	assert_int_equal(trace_save(room->trace, room->path, &err), 0);
	assert_int_equal(stat(room->path, &status), 0);
	for (size = status.st_size - 1; size > 0; size -= 7) {
		assert_int_equal(truncate(room->path, size), 0);
		assert_int_equal(trace_load(&back, room->path, &err), -1);
		assert_int_equal(err.code, EILSEQ);
	}
	assert_int_equal(trace_load(&back, "/no/such/trace", &err), -1);
	assert_int_equal(err.code, ENOENT);
}

static void test_tree(void **state)
{
	struct room *room = *state;
	struct error err = {0};
	size_t i, writes = 0, links = 0;
	char path[64];
	int fd;

	snprintf(path, sizeof path, "%s/sub", room->dir);
	assert_int_equal(mkdir(path, 0700), 0);
	fd = open(room->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "x", 1, 1 << 20), 1); /* a hole before it */
	close(fd);
	snprintf(path, sizeof path, "%s/sub/again", room->dir);
	assert_int_equal(link(room->path, path), 0);
	if (trace_add_tree(room->trace, room->dir, &err) < 0)
		fail_msg("%s", err.text);
	for (i = 0; i < room->trace->count; i++) {
		const struct trace_op *op = &room->trace->ops[i];

		links += op->kind == TRACE_LINK;
		writes += op->kind == TRACE_WRITE;
		assert_true(op->kind != TRACE_WRITE || op->size <= 8192);
	}
	assert_int_equal(links, 1);
	assert_int_equal(writes, 1);
	assert_int_equal(room->trace->begin, room->trace->count);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_identity, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_unknown_file, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_lines, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_lines_in_a_file, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bad_files, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_tree, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
