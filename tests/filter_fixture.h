/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the system-call filter share: a keeper, a directory with a place that rules are
 * about and one beside it, and children that make one call each. */
#ifndef TRITONE_TESTS_FILTER_FIXTURE_H
#define TRITONE_TESTS_FILTER_FIXTURE_H

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

#include "keeper/filter.h"
#include "keeper/keeper.h"
#include "system/system.h"

#define ALL                                                                                                            \
	(TRITONE_CALL_WRITE | TRITONE_CALL_SYNC | TRITONE_CALL_CREATE | TRITONE_CALL_RENAME | TRITONE_CALL_LINK |      \
	    TRITONE_CALL_ALLOCATE)
#define HOUR    3600000
#define PERFORM .mode = TRITONE_ERRNO_PERFORM_THEN_FAIL
#define REFUSE  .mode = TRITONE_ERRNO_REFUSE

struct fixture {
	char dir[64], in[80], out[80]; /* `in` is what rules are about */
	char child[PATH_MAX];
	struct keeper *keeper;
};

static char here[PATH_MAX]; /* the directory of this program */

/* ---- the fixture ---- */

static inline int start(struct fixture *f)
{
	struct keeper_options options = {.log_dir = f->dir, .seed = 7};
	struct error err = {0};

	if (keeper_start(&f->keeper, &options, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		return -1;
	}
	return 0;
}

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	if (!f)
		return -1;
	*state = f;
	snprintf(f->dir, sizeof f->dir, "/tmp/tritone-filter-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->in, sizeof f->in, "%s/in", f->dir);
	snprintf(f->out, sizeof f->out, "%s/in-other", f->dir); /* the scope's name is a prefix of it */
	snprintf(f->child, sizeof f->child, "%.*s/filter_child", PATH_MAX - 32, here);
	if (mkdir(f->in, 0755) < 0 || mkdir(f->out, 0755) < 0)
		return -1;
	return start(f);
}

static inline int teardown(void **state)
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
static inline const char *at(const char *dir, const char *name)
{
	static char buffers[8][PATH_MAX];
	static unsigned next;
	char *buffer = buffers[next++ % 8];

	snprintf(buffer, PATH_MAX, "%s/%s", dir, name);
	return buffer;
}

static inline void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static inline const char *content(const char *path)
{
	static char text[8192];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

	if (n < 0) {
		fail_msg("%s: %s", path, strerror(errno));
		n = 0; /* never reached, which the analyzer does not know */
	}
	text[n] = '\0';
	close(fd);
	return text;
}

static inline bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static inline pid_t launch(struct fixture *f, const char *const *argv)
{
	struct keeper_process process = {.name = "child", .argv = argv, .filter = true};
	struct error err = {0};
	pid_t pid;

	if (keeper_spawn(f->keeper, &process, &pid, &err) < 0)
		fail_msg("%s", err.text);
	return pid;
}

static inline int exit_status(struct fixture *f, pid_t pid)
{
	struct keeper_event event;

	do
		assert_int_equal(keeper_next_event(f->keeper, -1, &event, NULL), 1);
	while (event.pid != pid);
	assert_true(WIFEXITED(event.status));
	return WEXITSTATUS(event.status);
}

#define RUN(f, ...) exit_status(f, launch(f, (const char *[]){(f)->child, __VA_ARGS__, NULL}))

static inline void rule(struct fixture *f, struct tritone_errno_rule r)
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

static inline struct keeper_rule_stats stats(struct fixture *f)
{
	struct keeper_rule_stats s;

	assert_int_equal(keeper_rule_stats(f->keeper, "k", &s, NULL), 0);
	return s;
}

static inline void clear(struct fixture *f)
{
	assert_int_equal(keeper_rule_clear(f->keeper, "k", NULL), 0);
}

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
    {"splice", TRITONE_CALL_WRITE},
    {"fsync", TRITONE_CALL_SYNC},
    {"fdatasync", TRITONE_CALL_SYNC},
    {"msync", TRITONE_CALL_SYNC},
    {"ftruncate", TRITONE_CALL_ALLOCATE},
    {"fallocate", TRITONE_CALL_ALLOCATE},
    {"truncate", TRITONE_CALL_ALLOCATE},
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

/* The errors of n writes of one byte, as "28 0 28 ". */
static inline const char *sequence(struct fixture *f, const char *n)
{
	unlink(at(f->dir, "child.log"));
	assert_int_equal(RUN(f, "sequence", at(f->in, "file"), "", n), 0);
	return content(at(f->dir, "child.log"));
}

/* This program is the keeper too. -1: it is the tests that are to run. */
static inline int fixture_begin(int argc, char **argv)
{
	ssize_t n;

	if (argc > 1 && !strcmp(argv[1], "__keeper"))
		return keeper_main(argc - 1, argv + 1);
	n = readlink("/proc/self/exe", here, sizeof here - 1);
	if (n < 0)
		return 1;
	here[n] = '\0';
	*strrchr(here, '/') = '\0';
	return -1;
}

#endif
