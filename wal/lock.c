/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One writer: an open-file-description lock on a file of its own, taken before LMDB is touched, because LMDB's writer
 * mutex cannot be waited on for a limited time. The pid inside is for the message only; the lock is what counts.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "wal/internal.h"

#define ORPHAN_TRIES   200
#define ORPHAN_WAIT_NS 1000000

static pid_t read_pid(int fd)
{
	char text[32];
	ssize_t n = pread(fd, text, sizeof text - 1, 0);
	long pid;

	if (n <= 0)
		return -1;
	text[n] = '\0';
	pid = strtol(text, NULL, 10);
	return pid > 0 && pid <= INT32_MAX ? (pid_t)pid : -1;
}

static int try_lock(int fd)
{
	struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int rc;

	do
		rc = fcntl(fd, F_OFD_SETLK, &range);
	while (rc < 0 && errno == EINTR);
	return rc;
}

int wal_lock_take(int dir_fd, const char *dir, int *ret_fd, struct error *err)
{
	const struct timespec pause = {.tv_nsec = ORPHAN_WAIT_NS};
	int fd = openat(dir_fd, WAL_LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	struct stat status;
	char text[32];
	int n, tries;

	if (fd < 0)
		return error_set(err, errno, "%s/%s: %s", dir, WAL_LOCK_FILE, strerror(errno));
	for (tries = 0; try_lock(fd) < 0; tries++) {
		int code = errno;
		pid_t pid = read_pid(fd);

		/* A writer that was killed while it started a program leaves the lock for a moment to a child that has
		 * not called exec yet. Only then is a short wait right: who is recorded is dead. */
		if ((code == EAGAIN || code == EACCES) && pid > 0 && kill(pid, 0) < 0 && errno == ESRCH) {
			if (tries < ORPHAN_TRIES) {
				nanosleep(&pause, NULL);
				continue;
			}
			pid = -1; /* whoever has it has not come to say so */
		}
		close(fd);
		if (code != EAGAIN && code != EACCES)
			return error_set(err, code, "%s/%s: cannot be locked: %s", dir, WAL_LOCK_FILE, strerror(code));
		if (pid < 0)
			return error_set(err, EBUSY, "%s: another process is writing this log", dir);
		return error_set(err, EBUSY, "%s: process %ld is writing this log; end it first", dir, (long)pid);
	}
	n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
	/* what is longer was left by one that was killed */
	if (fstat(fd, &status) < 0 || (status.st_size > n && ftruncate(fd, 0) < 0) ||
	    pwrite(fd, text, (size_t)n, 0) != n) {
		int code = errno ? errno : EIO;

		close(fd);
		return error_set(err, code, "%s/%s: %s", dir, WAL_LOCK_FILE, strerror(code));
	}
	*ret_fd = fd;
	return 0;
}

void wal_lock_release(int fd)
{
	struct flock range = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	if (fd < 0)
		return;
	/* A child that has the file as well, and has not called exec yet, would keep the lock if it were only closed here; and if it is
	 * the child that closes, the lock is not its own. */
	if (read_pid(fd) == getpid() && (ftruncate(fd, 0) < 0 || fcntl(fd, F_OFD_SETLK, &range) < 0)) {
		/* nothing depends on it: a pid without a lock is ignored */
	}
	close(fd);
}

pid_t wal_lock_holder(int dir_fd)
{
	struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd = openat(dir_fd, WAL_LOCK_FILE, O_RDONLY | O_CLOEXEC);
	pid_t pid = 0;

	if (fd < 0)
		return errno == ENOENT || errno == EACCES ? 0 : -1;
	if (fcntl(fd, F_OFD_GETLK, &range) < 0 || range.l_type != F_UNLCK)
		pid = read_pid(fd);
	close(fd);
	return pid;
}
