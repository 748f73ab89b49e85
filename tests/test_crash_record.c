/* SPDX-License-Identifier: Apache-2.0 */
/* The preloaded recorder against the one from outside: both see the same; and what cannot be followed is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crash/notifier/notifier.h"
#include "crash/record/record.h"
#include "crash/state.h"
#include "tritone/faultpoint.h"

struct room {
	char dir[32], child[2][256];
	struct trace *trace;
	int status;
};

static int setup(void **state)
{
	static const char *const names[] = {"notifier_child", "notifier_child_static"};
	struct room *room = calloc(1, sizeof *room);
	ssize_t n;
	int i;

	for (i = 0; room && i < 2; i++) {
		n = readlink("/proc/self/exe", room->child[i], 200);
		if (n < 0)
			return -1;
		room->child[i][n] = '\0';
		strcpy(strrchr(room->child[i], '/') + 1, names[i]);
	}
	if (!room)
		return -1;
	strcpy(room->dir, "/tmp/record-XXXXXX");
	room->status = -1;
	*state = room;
	return mkdtemp(room->dir) ? 0 : -1;
}

static int teardown(void **state)
{
	struct room *room = *state;
	int rc = state_remove_tree(room->dir, NULL);

	trace_destroy(room->trace);
	free(room);
	return rc;
}

static void in_dir(const struct room *room, const char *name, char path[64])
{
	snprintf(path, 64, "%s/%s", room->dir, name);
	assert_int_equal(mkdir(path, 0700), 0);
}

static int record(struct room *room, const char *dir, char *const *argv, struct error *err)
{
	const struct record_options options = {.dir = dir};

	trace_destroy(room->trace);
	room->trace = NULL;
	return record_command(&options, argv, &room->trace, &room->status, err);
}

static int record_child(struct room *room, const char *dir, const char *mode, const char *extra, struct error *err)
{
	char words[4][256], *argv[5] = {words[0], words[1], words[2], extra ? words[3] : NULL, NULL};

	snprintf(words[0], sizeof words[0], "%s", room->child[0]);
	snprintf(words[1], sizeof words[1], "%s", dir);
	snprintf(words[2], sizeof words[2], "%s", mode);
	snprintf(words[3], sizeof words[3], "%s", extra ? extra : "");
	return record(room, dir, argv, err);
}

static int record_shell(struct room *room, const char *dir, const char *script, struct error *err)
{
	char shell[] = "sh", option[] = "-c", text[512], place[64];
	char *argv[] = {shell, option, text, place, NULL};

	snprintf(text, sizeof text, "cd \"$0\" && { %s\n}", script);
	snprintf(place, sizeof place, "%s", dir);
	return record(room, dir, argv, err);
}

static bool same_text(const char *a, const char *b)
{
	return !a || !b ? a == b : strcmp(a, b) == 0;
}

/* Two recorders that share no code but the trace: what one forgets, the other has. */
static void compare_with_the_notifier(struct room *room, const char *mode)
{
	struct trace *other = NULL;
	struct error err = {0};
	char name[32], dir[64], words[3][256], *argv[4] = {words[0], words[1], words[2], NULL};
	struct notifier_options options = {.dir = dir, .argv = argv, .echo = -1};
	size_t i;
	int status;

	snprintf(name, sizeof name, "first-%s", mode);
	in_dir(room, name, dir);
	if (record_child(room, dir, mode, NULL, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(room->status, 0);
	snprintf(name, sizeof name, "second-%s", mode);
	in_dir(room, name, dir);
	strcpy(words[0], room->child[0]);
	strcpy(words[1], dir);
	strcpy(words[2], mode);
	if (notifier_record(&other, &options, &status, &err) < 0)
		fail_msg("%s", err.text);
	for (i = 0; i < room->trace->count && i < other->count; i++) {
		const struct trace_op *a = &room->trace->ops[i], *b = &other->ops[i];

		if (a->kind != b->kind || a->flags != b->flags || a->file != b->file || a->dir != b->dir ||
		    a->dir2 != b->dir2 || a->offset != b->offset || a->size != b->size ||
		    a->data_size != b->data_size || !same_text(a->name, b->name) || !same_text(a->name2, b->name2) ||
		    (a->data_size && memcmp(a->data, b->data, a->data_size) != 0))
			fail_msg("operation %zu differs: kind 0x%x flags %u file %llu at %llu size %llu against 0x%x "
				 "%u %llu %llu %llu",
			    i, a->kind, a->flags, (unsigned long long)a->file, (unsigned long long)a->offset,
			    (unsigned long long)a->size, b->kind, b->flags, (unsigned long long)b->file,
			    (unsigned long long)b->offset, (unsigned long long)b->size);
	}
	assert_int_equal(room->trace->count, other->count);
	trace_destroy(other);
}

static void test_same_as_the_notifier(void **state)
{
	compare_with_the_notifier(*state, "every");
}

/* Pipes and sockets hold nothing, and are not in a trace: nor is what becomes of their names. */
static void test_pipes(void **state)
{
	struct room *room = *state;
	static const uint32_t kinds[] = {
	    TRACE_CREATE, TRACE_RENAME, TRACE_MKDIR, TRACE_RENAME, TRACE_SYMLINK, TRACE_UNLINK, TRACE_RMDIR, TRACE_ACK};
	size_t i;

	compare_with_the_notifier(room, "pipes");
	for (i = 0; i < sizeof kinds / sizeof *kinds && room->trace->begin + i < room->trace->count; i++)
		assert_int_equal(room->trace->ops[room->trace->begin + i].kind, kinds[i]);
	assert_int_equal(room->trace->count - room->trace->begin, sizeof kinds / sizeof *kinds);
}

/* Without a line: what is said by the header has its place in the order, too. */
static void test_acknowledged_by_the_header(void **state)
{
	static const uint32_t kinds[] = {TRACE_CREATE, TRACE_MARK, TRACE_ACK, TRACE_ACK, TRACE_WRITE, TRACE_ACK};
	static const char *const lines[] = {"17", "", "half a line"};
	struct room *room = *state;
	size_t i;

	assert_int_equal(setenv("TRITONE_RECORD", "notifier", 1), 0); /* as the verb does for that recorder */
	compare_with_the_notifier(room, "acknowledge");
	assert_int_equal(unsetenv("TRITONE_RECORD"), 0);
	assert_int_equal(room->trace->count - room->trace->begin, sizeof kinds / sizeof *kinds);
	for (i = 0; i < sizeof kinds / sizeof *kinds; i++)
		assert_int_equal(room->trace->ops[room->trace->begin + i].kind, kinds[i]);
	assert_int_equal(room->trace->acks_count, 3);
	for (i = 0; i < 3; i++) {
		assert_int_equal(room->trace->acks[i].size, strlen(lines[i]));
		assert_memory_equal(room->trace->acks[i].text, lines[i], strlen(lines[i]));
	}
}

/* What the kernel does not sync is not taken for durable. */
static void test_sync_of_a_mapping(void **state)
{
	static const uint32_t kinds[] = {TRACE_CREATE, TRACE_WRITE, TRACE_ACK, TRACE_MSYNC, TRACE_ACK, TRACE_TRUNCATE};
	struct room *room = *state;
	size_t i;

	compare_with_the_notifier(room, "sync-and-cut");
	for (i = 0; i < sizeof kinds / sizeof *kinds && room->trace->begin + i < room->trace->count; i++)
		assert_int_equal(room->trace->ops[room->trace->begin + i].kind, kinds[i]);
	assert_int_equal(room->trace->count - room->trace->begin, sizeof kinds / sizeof *kinds);
}

static void test_elsewhere(void **state)
{
	struct room *room = *state;
	char dir[64], other[80];

	in_dir(room, "dir", dir);
	snprintf(other, sizeof other, "%s-other", dir);
	assert_int_equal(record_child(room, dir, "elsewhere", other, NULL), 0);
	assert_int_equal(room->status, 0);
	assert_int_equal(room->trace->count, room->trace->begin);
}

/* Three writers at once, two of them threads of one process. */
static void test_total_order(void **state)
{
	struct room *room = *state;
	struct error err = {0};
	uint64_t end = 0;
	char dir[64], *was = getcwd(NULL, 0);
	size_t i;

	in_dir(room, "dir", dir);
	if (chdir(dir) < 0 || record_child(room, dir, "many", NULL, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(chdir(was ? was : "/"), 0);
	free(was);
	assert_int_equal(room->status, 0);
	for (i = room->trace->begin; i < room->trace->count; i++) {
		if (room->trace->ops[i].kind != TRACE_WRITE)
			continue;
		assert_int_equal(room->trace->ops[i].offset, end);
		end += room->trace->ops[i].size;
	}
	assert_int_equal(end, 3000);
}

/* What libc writes by itself (stdio), from processes that the command starts, some of which end before it. */
static void test_programs(void **state)
{
	struct room *room = *state;
	struct error err = {0};
	char dir[64];

	in_dir(room, "dir", dir);
	if (record_shell(
		room, dir, "echo 1 | cat; awk 'BEGIN { print \"x\" > \"f\"; print 2 }'; mv f g; exec sync g", &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(room->status, 0);
	assert_int_equal(room->trace->acks_count, 2);
	assert_string_equal(room->trace->acks[0].text, "1");
	assert_string_equal(room->trace->acks[1].text, "2");
	assert_int_equal(room->trace->ops[room->trace->count - 2].kind, TRACE_RENAME);
	assert_int_equal(room->trace->ops[room->trace->count - 1].kind, TRACE_FSYNC);
	assert_int_equal(room->trace->ops[room->trace->count - 1].file, room->trace->ops[room->trace->count - 2].file);
}

static void test_shared_mapping(void **state)
{
	struct room *room = *state;
	struct error err = {0};
	char dir[64];

	in_dir(room, "dir", dir);
	assert_int_equal(record_child(room, dir, "map", "data", &err), -1);
	assert_int_equal(err.code, ENOTSUP);
	assert_non_null(strstr(err.text, "data shared and writable"));
	assert_non_null(strstr(err.text, "--volatile"));
	if (record_child(room, dir, "map", "lock.mdb", &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(room->trace->acks_count, 1);
}

static void test_from_outside(void **state)
{
	struct room *room = *state;
	struct error err = {0};
	char dir[64], other[80];
	int fd;

	in_dir(room, "dir", dir);
	snprintf(other, sizeof other, "%s-other", dir);
	fd = open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(record_child(room, dir, "move-in", other, &err), -1);
	assert_int_equal(err.code, ENOTSUP);
	assert_non_null(strstr(err.text, "from elsewhere"));
}

/* One that a preloaded library is blind to is named, not recorded as if it did nothing. */
static void test_static(void **state)
{
	struct room *room = *state;
	struct error err = {0};
	char dir[64], *argv[] = {room->child[1], dir, (char[]){"every"}, NULL};
	bool is_static = false;

	in_dir(room, "dir", dir);
	assert_int_equal(record(room, dir, argv, &err), -1);
	assert_int_equal(err.code, ENOTSUP);
	assert_non_null(strstr(err.text, "statically linked"));
	assert_int_equal(record_is_static(room->child[1], &is_static, &err), 0);
	assert_true(is_static);
	assert_int_equal(record_is_static("sh", &is_static, &err), 0);
	assert_false(is_static);
	assert_int_equal(record_is_static("no-such-command", &is_static, &err), -1);
	assert_int_equal(err.code, ENOENT);
}

/* As a shell would find it: an empty part of PATH is where we are, and a directory is no command. */
static void test_finding_a_command(void **state)
{
	struct room *room = *state;
	struct error err = {0};
	const char *path = getenv("PATH");
	char dir[64], tool[80], before[4096], paths[3][128];
	bool is_static;
	size_t i;

	snprintf(before, sizeof before, "%s", path ? path : "/usr/bin:/bin");
	in_dir(room, "first", dir);
	snprintf(tool, sizeof tool, "%s/some-tool", dir);
	assert_int_equal(mkdir(tool, 0700), 0);
	snprintf(paths[2], sizeof paths[2], "%s:%s/here", dir, room->dir);
	in_dir(room, "here", dir);
	snprintf(tool, sizeof tool, "%s/some-tool", dir);
	assert_int_equal(symlink("/bin/sh", tool), 0);
	assert_int_equal(chdir(dir), 0);
	snprintf(paths[0], sizeof paths[0], ":/nowhere");
	snprintf(paths[1], sizeof paths[1], "/nowhere:");
	for (i = 0; i < 3; i++) {
		int rc;

		assert_int_equal(setenv("PATH", paths[i], 1), 0);
		rc = record_is_static("some-tool", &is_static, &err);
		assert_int_equal(setenv("PATH", before, 1), 0);
		if (rc < 0)
			fail_msg("'%s': %s", paths[i], err.text);
		assert_false(is_static); /* the shell's, not the directory's */
	}
	assert_int_equal(chdir("/"), 0);
}

static int write_and_say(void *arg)
{
	const char *dir = arg;
	int fd;

	if (chdir(dir) < 0 || setenv("TRITONE_RECORD", "1", 1) < 0 || tritone_faultpoint("before the file"))
		return 1;
	fd = open("f", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, "abc", 3) != 3 || fsync(fd) < 0 || close(fd) < 0)
		return 2;
	printf("said\n");
	return 7;
}

/* `run` has the directory as its argument. */
static int record_in_dir(struct room *room, int (*run)(void *arg), struct error *err)
{
	struct record_options options = {0};
	char dir[64];

	in_dir(room, "dir", dir);
	options.dir = dir;
	return record_function(&options, run, dir, &room->trace, &room->status, err);
}

static void test_function(void **state)
{
	struct room *room = *state;
	struct error err = {0};

	if (record_in_dir(room, write_and_say, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(WIFEXITED(room->status) && WEXITSTATUS(room->status) == 7);
	assert_int_equal(room->trace->count - room->trace->begin, 5);
	assert_string_equal(room->trace->acks[0].text, "said");
	assert_int_equal(room->trace->marks_count, 1);
	assert_string_equal(room->trace->marks[0].text, "before the file");
	assert_int_equal(room->trace->marks[0].op, room->trace->begin);
}

/* Another file system's sync makes nothing here durable. */
static int sync_elsewhere(void *arg)
{
	int elsewhere = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC), dir = -1, rc;

	rc = elsewhere < 0 || chdir(arg) < 0 || syncfs(elsewhere) < 0;
	if (rc == 0)
		dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return rc || dir < 0 || syncfs(dir) < 0;
}

static void test_sync_of_a_file_system(void **state)
{
	struct room *room = *state;
	struct error err = {0};

	if (record_in_dir(room, sync_elsewhere, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(room->status, 0);
	assert_int_equal(room->trace->count - room->trace->begin, 1);
	assert_int_equal(room->trace->ops[room->trace->begin].kind, TRACE_SYNC_ALL);
}

/* Whoever lets the kernel reap his children is told, and does not wait for good. */
static void test_children_that_nobody_waits_for(void **state)
{
	const struct sigaction ignored = {.sa_handler = SIG_IGN};
	struct room *room = *state;
	struct error err = {0};
	struct sigaction before;
	int rc;

	assert_int_equal(sigaction(SIGCHLD, &ignored, &before), 0);
	rc = record_in_dir(room, write_and_say, &err);
	assert_int_equal(sigaction(SIGCHLD, &before, NULL), 0);
	assert_int_equal(rc, -1);
	assert_int_equal(err.code, ECHILD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_same_as_the_notifier, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_pipes, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_acknowledged_by_the_header, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_sync_of_a_mapping, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_elsewhere, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_total_order, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_programs, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_shared_mapping, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_from_outside, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_static, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_finding_a_command, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_function, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_sync_of_a_file_system, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_children_that_nobody_waits_for, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
