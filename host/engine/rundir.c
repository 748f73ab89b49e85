/* SPDX-License-Identifier: Apache-2.0 */
/* The run directory: made fresh, refused where something is outstanding or halted, removed when nobody wants it any more. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/run.h"

static int make_dir(const char *path, struct error *err)
{
	struct stat st;

	if (mkdir(path, 0755) == 0)
		return 0;
	if (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return 0;
	return error_set(err, errno, "cannot make the directory %s: %s", path, strerror(errno));
}

/* How many faults of a run are outstanding though nobody is there any more to undo them; -1 when its log cannot be read. */
static int abandoned(const char *run_dir, struct error *err)
{
	int tries, n = 0;

	/* A log that cannot be read may be one that another process is just making: its lock comes with its first bytes. */
	for (tries = 0; tries < 20; tries++) {
		if (undo_host(run_dir) != 0)
			return 0;
		n = undo_outstanding(run_dir, NULL, NULL, err);
		if (n >= 0)
			break;
		poll(NULL, 0, 5);
	}
	return n > 0 && undo_host(run_dir) != 0 ? 0 : n;
}

/* A run whose host is gone and whose faults are not undone: nothing is started on top of it. */
static int refuse_outstanding(const char *runs, struct error *err)
{
	DIR *dir = opendir(runs);
	struct dirent *entry;
	int r = 0;

	if (!dir)
		return error_set(err, errno, "cannot read %s: %s", runs, strerror(errno));
	while (!r && (entry = readdir(dir))) {
		char path[PATH_MAX], undo[PATH_MAX];
		struct error why;
		int n;

		if (entry->d_name[0] == '.' ||
		    snprintf(path, sizeof path, "%s/%s", runs, entry->d_name) >= (int)sizeof path ||
		    snprintf(undo, sizeof undo, "%s/undo", path) >= (int)sizeof undo || access(undo, F_OK) != 0)
			continue;
		n = abandoned(path, &why);
		if (n < 0 && access(undo, F_OK) == 0)
			r = error_set(
			    err, why.code, "the undo log of run %s cannot be read: %.160s", entry->d_name, why.text);
		else if (n > 0)
			r = error_set(err, EBUSY,
			    "run %s has %d fault(s) that were not undone; run `tritone recover` first", entry->d_name,
			    n);
	}
	closedir(dir);
	return r;
}

/* `tritone halt --all` leaves its name in the halt file of each run, so that it is known when its own file is gone again. */
static bool halted_with_all(const char *path)
{
	char word[8] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool all = fd >= 0 && read(fd, word, sizeof word - 1) > 0 && !strncmp(word, "all", 3);

	if (fd >= 0)
		close(fd);
	return all;
}

bool rundir_halted(const struct run *run, char *ret_why, size_t size)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof path, "%s/halt", run->options->root) < (int)sizeof path && access(path, F_OK) == 0) {
		if (run->result)
			run->result->halted = true;
		return snprintf(ret_why, size, "the halt file %s exists; `tritone halt --clear` removes it", path) > 0;
	}
	if (run->dir[0] && snprintf(path, sizeof path, "%s/halt", run->dir) < (int)sizeof path &&
	    access(path, F_OK) == 0) {
		bool all = halted_with_all(path);

		if (run->result && all)
			run->result->halted = true;
		return snprintf(ret_why, size,
			   all ? "every run was halted by hand (halt --all)" : "this run was halted by hand") > 0;
	}
	if (run->x && run->x->stop.halt_file && access(run->x->stop.halt_file, F_OK) == 0)
		return snprintf(ret_why, size, "the experiment's halt file %s exists", run->x->stop.halt_file) > 0;
	return false;
}

/* Makes a directory of its own below `runs`; run->dir stays empty when it cannot: what is named there is removed later. */
static int make_own(struct run *run, const char *runs, struct error *err)
{
	char slug[64], stamp[32], dir[PATH_MAX];
	struct timespec now;
	struct tm tm;
	unsigned n;
	size_t i;

	snprintf(slug, sizeof slug, "%.40s", run->c->name);
	for (i = 0; slug[i]; i++)
		if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789-", slug[i]))
			slug[i] = '-';
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &tm);
	for (n = 0; n < 1000; n++) {
		if (snprintf(dir, sizeof dir, "%s/%s-%03u-%s", runs, stamp, n, slug) >= (int)sizeof dir ||
		    snprintf(run->state_dir, sizeof run->state_dir, "%s/state", dir) >= (int)sizeof run->state_dir ||
		    snprintf(run->socket, sizeof run->socket, "%s/control.sock", dir) >= (int)sizeof run->socket)
			return error_set(err, ENAMETOOLONG, "the path of %s is too long", runs);
		if (mkdir(dir, 0755) == 0) {
			memcpy(run->dir, dir, sizeof dir);
			return make_dir(run->state_dir, err);
		}
		if (errno != EEXIST)
			return error_set(err, errno, "cannot make the run directory %s: %s", dir, strerror(errno));
	}
	return error_set(err, EEXIST, "%s has a thousand runs of this second", runs);
}

int rundir_create(struct run *run, struct error *err)
{
	char runs[PATH_MAX], root[PATH_MAX];

	if (make_dir(run->options->root, err))
		return -1;
	if (!realpath(run->options->root, root))
		return error_set(err, errno, "%s: %s", run->options->root, strerror(errno));
	if (snprintf(runs, sizeof runs, "%s/runs", root) >= (int)sizeof runs)
		return error_set(err, ENAMETOOLONG, "the path of %s is too long", root);
	if (make_dir(runs, err) || refuse_outstanding(runs, err))
		return -1;
	return make_own(run, runs, err);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

int rundir_remove(const char *dir)
{
	/* Only what rundir_create made: .../runs/ID. */
	const char *runs = strstr(dir, "/runs/");

	if (!runs || !runs[6])
		return -1;
	return nftw(dir, remove_one, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}
