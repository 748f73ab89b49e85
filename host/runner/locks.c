/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel locks on what belongs to a run; see locks.h. */
#include "runner/locks.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runner/runner.h"

static int path_in(char *ret, size_t size, const char *run_dir, const char *name, struct error *err)
{
	if ((size_t)snprintf(ret, size, "%s/%s", run_dir, name) < size)
		return 0;
	return error_set(err, ENAMETOOLONG, "%s: the path of the run is too long", run_dir);
}

static pid_t read_pid(int fd)
{
	char text[24] = "";
	long pid;

	if (pread(fd, text, sizeof text - 1, 0) <= 0)
		return -1;
	pid = strtol(text, NULL, 10);
	return pid > 0 && pid <= INT_MAX ? (pid_t)pid : -1;
}

static int in_use(const char *run_dir, pid_t pid, struct error *err)
{
	if (pid > 0)
		return error_set(err, EBUSY, "%s is in use by pid %ld", run_dir, (long)pid);
	return error_set(err, EBUSY, "%s is in use by another process", run_dir);
}

/* An open-file-description lock, unlike flock's, can be asked for without being taken. */
int lock_host(const char *run_dir, struct error *err)
{
	struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char path[PATH_MAX], text[24];
	int fd, n, code;

	if (path_in(path, sizeof path, run_dir, "host", err) < 0)
		return -1;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		return error_set(err, errno, "%s: %s", path, strerror(errno));
	if (fcntl(fd, F_OFD_SETLK, &range) < 0) {
		code = errno;
		if (code == EAGAIN || code == EACCES)
			in_use(run_dir, read_pid(fd), err);
		else
			error_set(err, code, "%s cannot be locked: %s", path, strerror(code));
		goto fail;
	}
	n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
	if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n) {
		error_set(err, errno ? errno : EIO, "%s cannot be written", path);
		goto fail;
	}
	return fd;
fail:
	close(fd);
	return -1;
}

pid_t undo_host(const char *run_dir)
{
	struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char path[PATH_MAX];
	pid_t pid = 0;
	int fd;

	if (path_in(path, sizeof path, run_dir, "host", NULL) < 0)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (fcntl(fd, F_OFD_GETLK, &range) == 0 && range.l_type != F_UNLCK)
		pid = read_pid(fd);
	close(fd);
	return pid;
}

/* Without its pid: only a host that was killed leaves that. */
void lock_host_done(int fd)
{
	int ignored = ftruncate(fd, 0);

	(void)ignored;
	close(fd);
}

bool undo_host_finished(const char *run_dir)
{
	char path[PATH_MAX];
	struct stat st;

	return undo_host(run_dir) == 0 && path_in(path, sizeof path, run_dir, "host", NULL) == 0 &&
	       stat(path, &st) == 0 && st.st_size == 0;
}

int lock_no_host(const char *run_dir, struct error *err)
{
	pid_t pid = undo_host(run_dir);

	return pid ? in_use(run_dir, pid, err) : 0;
}

static int lock_dir(const char *path, struct error *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return error_set(err, errno, "%s: %s", path, strerror(errno));
	while (flock(fd, LOCK_EX) < 0)
		if (errno != EINTR) {
			error_set(err, errno, "%s cannot be locked: %s", path, strerror(errno));
			close(fd);
			return -1;
		}
	return fd;
}

int lock_turn(const char *run_dir, struct error *err)
{
	char path[PATH_MAX];

	return path_in(path, sizeof path, run_dir, "keep", err) < 0 ? -1 : lock_dir(path, err);
}

int lock_fault(const char *keep_dir, struct error *err)
{
	return lock_dir(keep_dir, err);
}
