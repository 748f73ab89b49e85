/* SPDX-License-Identifier: Apache-2.0 */
/* The recorder from outside: what a program did, linked dynamically and statically, in order and with the data; and what
 * cannot be followed is refused. */
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
#include <sys/wait.h>
#include <unistd.h>

#include "crash/notifier/notifier.h"

struct room {
	char dir[32], child[2][256];
};

static int setup(void **state)
{
	static const char *const names[] = {"notifier_child", "notifier_child_static"};
	struct room *room = calloc(1, sizeof *room);
	ssize_t n;
	int i;

	if (!room)
		return -1;
	for (i = 0; i < 2; i++) {
		n = readlink("/proc/self/exe", room->child[i], 200);
		if (n < 0)
			return -1;
		room->child[i][n] = '\0';
		strcpy(strrchr(room->child[i], '/') + 1, names[i]);
	}
	strcpy(room->dir, "/tmp/notifier-XXXXXX");
	*state = room;
	return mkdtemp(room->dir) ? 0 : -1;
}

static int teardown(void **state)
{
	struct room *room = *state;
	char command[64];

	snprintf(command, sizeof command, "rm -rf %s", room->dir);
	free(room);
	return system(command);
}

static void in_dir(const struct room *room, const char *name, char path[64])
{
	snprintf(path, 64, "%s/%s", room->dir, name);
	assert_int_equal(mkdir(path, 0700), 0);
}

static int record(const struct room *room, int which, const char *dir, const char *mode, const char *extra,
    const char *const *volatiles, struct trace **ret_trace, int *ret_status, struct error *err)
{
	char words[4][256], *argv[5] = {words[0], words[1], words[2], words[3], NULL};
	struct notifier_options options = {.dir = dir, .argv = argv, .volatiles = volatiles, .echo = -1};

	snprintf(words[0], sizeof words[0], "%s", room->child[which]);
	snprintf(words[1], sizeof words[1], "%s", dir);
	snprintf(words[2], sizeof words[2], "%s", mode);
	if (extra)
		snprintf(words[3], sizeof words[3], "%s", extra);
	else
		argv[3] = NULL;
	return notifier_record(ret_trace, &options, ret_status, err);
}

static const struct {
	uint32_t kind, flags;
	const char *name, *name2, *data;
	uint64_t offset, size;
} expected[] = {
    {TRACE_CREATE, 0, "one", NULL, NULL, 0, 0},
    {TRACE_WRITE, 0, NULL, NULL, "hello", 0, 5},
    {TRACE_WRITE, 0, NULL, NULL, "J", 0, 1},
    {TRACE_WRITE, 0, NULL, NULL, "abc", 5, 3},
    {TRACE_FDATASYNC, 0, NULL, NULL, NULL, 0, 0},
    {TRACE_TRUNCATE, 0, NULL, NULL, NULL, 0, 6},
    {TRACE_ALLOCATE, 0, NULL, NULL, NULL, 0, 10},
    {TRACE_FSYNC, 0, NULL, NULL, NULL, 0, 0},
    {TRACE_ACK, 0, NULL, NULL, "one", 0, 0},
    {TRACE_WRITE, 0, NULL, NULL, "end", 10, 3},
    {TRACE_MKDIR, 0, "sub", NULL, NULL, 0, 0},
    {TRACE_RENAME, 0, "one", "two", NULL, 0, 0},
    {TRACE_LINK, 0, "three", NULL, NULL, 0, 0},
    {TRACE_SYMLINK, 0, "four", NULL, "sub/two", 0, 0},
    {TRACE_UNLINK, 0, "two", NULL, NULL, 0, 0},
    {TRACE_TRUNCATE, 0, NULL, NULL, NULL, 0, 4},
    {TRACE_FSYNC, 0, NULL, NULL, NULL, 0, 0},
    {TRACE_CREATE, 0, "five", NULL, NULL, 0, 0},
    {TRACE_WRITE, TRACE_DURABLE, NULL, NULL, "5", 0, 1},
    {TRACE_ACK, 0, NULL, NULL, "half a line", 0, 0},
    {TRACE_ACK, 0, NULL, NULL, "and one more", 0, 0},
    {TRACE_TRUNCATE, 0, NULL, NULL, NULL, 0, 0},
    {TRACE_RMDIR, 0, "sub", NULL, NULL, 0, 0},
    {TRACE_UNLINK, 0, "four", NULL, NULL, 0, 0},
    {TRACE_CREATE, 0, "six", NULL, NULL, 0, 0},
    {TRACE_WRITE, TRACE_DURABLE, NULL, NULL, "6", 0, 1},
    {TRACE_WRITE, 0, NULL, NULL, "abc", 2, 3},
    {TRACE_WRITE, TRACE_DURABLE, NULL, NULL, "abc", 5, 3},
};

static void compare(const struct trace *trace)
{
	const size_t count = sizeof expected / sizeof *expected;
	size_t i;

	assert_true(trace->begin > 0);
	for (i = 0; i < count; i++) {
		const struct trace_op *op = &trace->ops[trace->begin + i];

		if (trace->begin + i >= trace->count || op->kind != expected[i].kind ||
		    op->flags != expected[i].flags || op->offset != expected[i].offset || op->size != expected[i].size)
			fail_msg("operation %zu is not what was done", i);
		if (expected[i].name)
			assert_string_equal(op->name, expected[i].name);
		if (expected[i].name2)
			assert_string_equal(op->name2, expected[i].name2);
		if (expected[i].data) {
			assert_int_equal(op->data_size, strlen(expected[i].data));
			assert_memory_equal(op->data, expected[i].data, op->data_size);
		}
	}
	assert_int_equal(trace->count - trace->begin, count);
	assert_int_equal(trace->acks_count, 3);
	/* The file that was renamed is the one that was made, and the directory that was synced is the root. */
	assert_int_equal(trace->ops[trace->begin + 11].file, trace->ops[trace->begin].file);
	assert_int_equal(trace->ops[trace->begin + 16].file, TRACE_ROOT);
}

static void test_every_call(void **state)
{
	struct room *room = *state;
	int which, status = -1;

	for (which = 0; which < 2; which++) {
		struct trace *trace = NULL;
		struct error err = {0};
		char dir[64];

		in_dir(room, which ? "static" : "dynamic", dir);
		if (record(room, which, dir, "every", NULL, NULL, &trace, &status, &err) < 0)
			fail_msg("%s", err.text);
		assert_int_equal(status, 0);
		compare(trace);
		trace_destroy(trace);
	}
}

/* Files outside are nobody's business; a name that only begins like the directory's is outside. */
static void test_elsewhere(void **state)
{
	struct room *room = *state;
	struct trace *trace = NULL;
	char dir[64], other[80];
	int status = -1;

	in_dir(room, "dir", dir);
	snprintf(other, sizeof other, "%s-other", dir);
	assert_int_equal(record(room, 0, dir, "elsewhere", other, NULL, &trace, &status, NULL), 0);
	assert_int_equal(status, 0);
	assert_int_equal(trace->count, trace->begin);
	trace_destroy(trace);
}

static void test_shared_mapping(void **state)
{
	static const char *const volatiles[] = {"*.mdb", NULL};
	struct room *room = *state;
	int which, status = -1;

	for (which = 0; which < 2; which++) {
		struct trace *trace = NULL;
		struct error err = {0};
		char dir[64];

		in_dir(room, which ? "static" : "dynamic", dir);
		assert_int_equal(record(room, which, dir, "map", "data", volatiles, &trace, &status, &err), -1);
		assert_int_equal(err.code, ENOTSUP);
		assert_non_null(strstr(err.text, "data is mapped shared"));
		assert_true(WIFSIGNALED(status)); /* it was ended for it */
		assert_int_equal(record(room, which, dir, "map", "data", volatiles, &trace, &status, NULL), -1);
		assert_int_equal(record(room, which, dir, "map", "lock.mdb", volatiles, &trace, &status, &err), 0);
		assert_int_equal(status, 0);
		assert_int_equal(trace->ops[trace->count - 2].kind, TRACE_VOLATILE);
		assert_int_equal(trace->acks_count, 1);
		trace_destroy(trace);
	}
}

static void test_from_outside(void **state)
{
	struct room *room = *state;
	struct trace *trace = NULL;
	struct error err = {0};
	char dir[64], other[80];
	int status, fd;

	in_dir(room, "dir", dir);
	snprintf(other, sizeof other, "%s-other", dir);
	fd = open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(record(room, 1, dir, "move-in", other, NULL, &trace, &status, &err), -1);
	assert_non_null(strstr(err.text, "from outside"));
	assert_int_equal(access(other, F_OK), 0);
}

/* Moved out without replacing what is there, it stays. */
static void test_to_outside(void **state)
{
	struct room *room = *state;
	struct trace *trace = NULL;
	struct error err = {0};
	char dir[64], other[80];
	int status = -1, fd;

	in_dir(room, "dir", dir);
	snprintf(other, sizeof other, "%s-other", dir);
	fd = open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	if (record(room, 0, dir, "move-out", other, NULL, &trace, &status, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(status, 0);
	assert_int_equal(trace->count - trace->begin, 1); /* it was made, and no more */
	trace_destroy(trace);
}

/* What the kernel does not sync is not taken for durable, and a cut is seen. */
static void test_sync_of_a_mapping(void **state)
{
	static const uint32_t kinds[] = {TRACE_CREATE, TRACE_WRITE, TRACE_ACK, TRACE_MSYNC, TRACE_ACK, TRACE_TRUNCATE};
	struct room *room = *state;
	struct trace *trace = NULL;
	struct error err = {0};
	int status = -1;
	char dir[64];
	size_t i;

	in_dir(room, "dir", dir);
	if (record(room, 0, dir, "sync-and-cut", NULL, NULL, &trace, &status, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(status, 0);
	for (i = 0; i < sizeof kinds / sizeof *kinds && trace->begin + i < trace->count; i++)
		assert_int_equal(trace->ops[trace->begin + i].kind, kinds[i]);
	assert_int_equal(trace->count - trace->begin, sizeof kinds / sizeof *kinds);
	trace_destroy(trace);
}

/* Three writers at once: every write is there, each where the one before it ended. */
static void test_total_order(void **state)
{
	struct room *room = *state;
	struct trace *trace = NULL;
	struct error err = {0};
	uint64_t end = 0;
	int status = -1;
	char dir[64];
	size_t i;

	in_dir(room, "dir", dir);
	if (chdir(dir) < 0 || record(room, 0, dir, "many", NULL, NULL, &trace, &status, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(status, 0);
	for (i = trace->begin; i < trace->count; i++) {
		if (trace->ops[i].kind != TRACE_WRITE)
			continue;
		assert_int_equal(trace->ops[i].offset, end);
		end += trace->ops[i].size;
	}
	assert_int_equal(end, 3000);
	trace_destroy(trace);
}

static void test_no_such_program(void **state)
{
	struct room *room = *state;
	char *argv[] = {(char[]){"/no/such/program"}, NULL};
	struct notifier_options options = {.dir = room->dir, .argv = argv, .echo = -1};
	struct trace *trace = NULL;
	struct error err = {0};
	int status;

	assert_int_equal(notifier_record(&trace, &options, &status, &err), -1);
	assert_int_equal(err.code, ENOENT);
	options.dir = "/no/such/directory";
	assert_int_equal(notifier_record(&trace, &options, &status, &err), -1);
	assert_int_equal(err.code, ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_every_call, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_elsewhere, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_shared_mapping, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_from_outside, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_to_outside, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_sync_of_a_mapping, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_total_order, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_no_such_program, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
