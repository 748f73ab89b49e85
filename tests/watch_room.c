/* SPDX-License-Identifier: Apache-2.0 */
/* A directory that is looked at; see watch_room.h. */
#include "watch_room.h"

#include <git2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "system/copytree.h"

int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof *fixture);

	if (!fixture)
		return -1;
	strcpy(fixture->dir, "/tmp/test_watch.XXXXXX");
	if (!mkdtemp(fixture->dir) || history_create(&fixture->history, NULL, NULL) != 0 ||
	    watch_create(&fixture->watch, NULL) != 0)
		return -1;
	git_libgit2_init();
	*state = fixture;
	return 0;
}

int teardown(void **state)
{
	struct fixture *fixture = *state;

	agents_destroy(fixture->agents);
	statefiles_destroy(fixture->statefiles);
	ledger_destroy(fixture->ledger);
	watch_destroy(fixture->watch);
	history_destroy(fixture->history);
	removetree(fixture->dir, NULL);
	git_libgit2_shutdown();
	free(fixture);
	return 0;
}

const char *in(struct fixture *fixture, const char *name, char *buf)
{
	snprintf(buf, 256, "%s/%s", fixture->dir, name);
	return buf;
}

void make_directory(struct fixture *fixture, const char *name)
{
	char path[256];

	assert_int_equal(mkdir(in(fixture, name, path), 0700), 0);
}

void write_file(struct fixture *fixture, const char *name, const char *text)
{
	char path[256];
	FILE *file = fopen(in(fixture, name, path), "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

void move(struct fixture *fixture, const char *from, const char *to)
{
	char old[256], new[256];

	assert_int_equal(rename(in(fixture, from, old), in(fixture, to, new)), 0);
}

static void note(void *arg, const char *path, uint32_t mask)
{
	struct fixture *fixture = arg;
	size_t size = strlen(fixture->seen);

	if (mask == 0 || (mask & (IN_CLOSE_WRITE | IN_MOVED_TO)))
		snprintf(fixture->seen + size, sizeof fixture->seen - size, "%s ", strrchr(path, '/') + 1);
}

static bool everywhere(void *arg, const char *dir)
{
	(void)arg;
	return !strstr(dir, "/not");
}

void dispatch(struct fixture *fixture)
{
	assert_int_equal(watch_dispatch(fixture->watch, NULL), 0);
	if (fixture->ledger)
		assert_int_equal(ledger_follow(fixture->ledger, NULL), 0);
}

void watch_root(struct fixture *fixture, const char *name)
{
	char path[256];

	assert_int_equal(watch_add(fixture->watch, in(fixture, name, path), everywhere, note, fixture, NULL), 0);
}
