/* SPDX-License-Identifier: Apache-2.0 */
/* Read from /proc/PID/task. */
#include "runner/starved.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool read_text(int task, const char *tid, const char *what, char *text, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "%.16s/%s", tid, what);
	fd = openat(task, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	do
		n = read(fd, text, size - 1);
	while (n < 0 && errno == EINTR);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

static void look_at(int task, const char *tid, struct starved *ret)
{
	long long ran_ns, waited_ns;
	char text[512], *at;

	if (read_text(task, tid, "schedstat", text, sizeof text) &&
	    sscanf(text, "%lld %lld", &ran_ns, &waited_ns) == 2) {
		ret->ran_us += ran_ns / 1000;
		ret->waited_us += waited_ns / 1000;
	}
	if (read_text(task, tid, "stat", text, sizeof text) && (at = strrchr(text, ')')))
		ret->ready = ret->ready || !strncmp(at, ") R", 3);
}

void starved_look(pid_t pid, struct starved *ret)
{
	struct dirent *entry;
	char path[32];
	int threads = 0;
	DIR *dir;

	memset(ret, 0, sizeof *ret);
	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		return;
	/* In the order in which they were started. */
	while (threads < 2 && (entry = readdir(dir)))
		if (entry->d_name[0] != '.') {
			look_at(dirfd(dir), entry->d_name, ret);
			threads++;
		}
	closedir(dir);
}
