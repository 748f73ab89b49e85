/* SPDX-License-Identifier: Apache-2.0 */
/* The directory in memory in which states are made. Its name has our pid, so that it can be told whose it is. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crash/explore.h"
#include "crash/state.h"

#define PREFIX "tritone-crash-"

/* In memory where there is such a file system, else where temporary files go. */
static const char *memory_dir(void)
{
	const char *temporary = getenv("TMPDIR");

	if (access("/dev/shm", W_OK | X_OK) == 0)
		return "/dev/shm";
	return temporary && *temporary ? temporary : "/tmp";
}

/* One that was killed could not remove its own. */
static void remove_stale(const char *where)
{
	DIR *dir = opendir(where);
	const struct dirent *entry;
	char path[512];
	struct stat status;
	long pid;

	while (dir && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, PREFIX, sizeof PREFIX - 1) != 0)
			continue;
		pid = strtol(entry->d_name + sizeof PREFIX - 1, NULL, 10);
		snprintf(path, sizeof path, "%s/%s", where, entry->d_name);
		if (pid > 0 && kill((pid_t)pid, 0) < 0 && errno == ESRCH && lstat(path, &status) == 0 &&
		    S_ISDIR(status.st_mode) && status.st_uid == geteuid())
			state_remove_tree(path, NULL);
	}
	if (dir)
		closedir(dir);
}

int explore_work_create(char path[64], struct error *err)
{
	const char *where = memory_dir();

	remove_stale(where);
	if (snprintf(path, 64, "%s/" PREFIX "%ld-XXXXXX", where, (long)getpid()) >= 64)
		return error_set(err, ENAMETOOLONG, "%s: too long a name for a directory of temporary files", where);
	if (!mkdtemp(path))
		return error_set(err, errno, "%s: %s", path, strerror(errno));
	return 0;
}

void explore_work_remove(const char *path)
{
	state_remove_tree(path, NULL);
}
