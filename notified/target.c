/* SPDX-License-Identifier: Apache-2.0 */
/* Memory, descriptors and paths of a task that waits in a notified call. Read only. */
#include "notified/target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE      4096u /* at least this granularity is mapped or not, on every architecture */
#define LINKS_MAX 16

/* ---- memory ---- */

static ssize_t vm_read(pid_t tid, uint64_t address, void *bytes, size_t size)
{
	struct iovec local = {.iov_base = bytes, .iov_len = size};
	struct iovec remote = {
	    .iov_base = (void *)(uintptr_t)address, .iov_len = size}; // NOLINT(performance-no-int-to-ptr)

	return process_vm_readv(tid, &local, 1, &remote, 1, 0);
}

int target_read(pid_t tid, uint64_t address, void *ret_bytes, size_t size)
{
	ssize_t n = size ? vm_read(tid, address, ret_bytes, size) : 0;

	if (n < 0)
		return -errno;
	return (size_t)n == size ? 0 : -EFAULT;
}

/* "/proc/self/fd/3" is common (linkat of an O_TMPFILE), and would be ours. */
static int own_names(pid_t tid, char text[PATH_MAX])
{
	static const char self[] = "/proc/self", thread_self[] = "/proc/thread-self";
	char rest[PATH_MAX];
	pid_t pid;
	mode_t mask;
	int n, r;

	if (!strncmp(text, self, sizeof self - 1) && (text[sizeof self - 1] == '/' || !text[sizeof self - 1])) {
		r = target_status(tid, &pid, &mask);
		if (r < 0)
			return r;
		memcpy(rest, text + sizeof self - 1, strlen(text) - sizeof self + 2);
		n = snprintf(text, PATH_MAX, "/proc/%d%s", pid, rest);
	} else if (!strncmp(text, thread_self, sizeof thread_self - 1)) {
		memcpy(rest, text + sizeof thread_self - 1, strlen(text) - sizeof thread_self + 2);
		n = snprintf(text, PATH_MAX, "/proc/%d%s", tid, rest);
	} else {
		return 0;
	}
	return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

int target_string(pid_t tid, uint64_t address, char ret_text[PATH_MAX])
{
	size_t got = 0;

	while (got < PATH_MAX) {
		/* Up to the end of a page: the next one need not be mapped. */
		size_t want = PAGE - (size_t)((address + got) % PAGE);
		ssize_t n;

		if (want > PATH_MAX - got)
			want = PATH_MAX - got;
		n = vm_read(tid, address + got, ret_text + got, want);
		if (n <= 0)
			return n < 0 ? -errno : -EFAULT;
		if (memchr(ret_text + got, '\0', (size_t)n))
			return own_names(tid, ret_text);
		got += (size_t)n;
	}
	return -ENAMETOOLONG;
}

/* ---- descriptors ---- */

static int read_link(const char *link, char ret_path[PATH_MAX])
{
	ssize_t n = readlink(link, ret_path, PATH_MAX - 1);

	if (n < 0)
		return -errno;
	ret_path[n] = '\0';
	return 0;
}

int target_fd_path(pid_t tid, int fd, char ret_path[PATH_MAX])
{
	static const char deleted[] = " (deleted)";
	char link[64];
	struct stat st;
	size_t length;
	int r;

	snprintf(link, sizeof link, "/proc/%d/fd/%d", tid, fd);
	r = read_link(link, ret_path);
	if (r < 0)
		return r;
	if (ret_path[0] != '/')
		return -ENOENT;
	length = strlen(ret_path);
	if (length > sizeof deleted && !strcmp(ret_path + length - sizeof deleted + 1, deleted) &&
	    stat(link, &st) == 0 && st.st_nlink == 0)
		ret_path[length - sizeof deleted + 1] = '\0';
	return 0;
}

int target_mapped_path(pid_t tid, uint64_t address, char ret_path[PATH_MAX])
{
	char name[64], *line = NULL;
	size_t room = 0;
	int r = -ENOENT;
	FILE *maps;

	snprintf(name, sizeof name, "/proc/%d/maps", tid);
	maps = fopen(name, "re");
	if (!maps)
		return -errno;
	while (getline(&line, &room, maps) > 0) {
		unsigned long long start, end;
		int at = 0;

		if (sscanf(line, "%llx-%llx %*s %*s %*s %*s %n", &start, &end, &at) < 2 || address < start ||
		    address >= end)
			continue;
		if (at && line[at] == '/') {
			line[strcspn(line, "\n")] = '\0';
			r = snprintf(ret_path, PATH_MAX, "%s", line + at) < PATH_MAX ? 0 : -ENAMETOOLONG;
		}
		break;
	}
	free(line);
	fclose(maps);
	return r;
}

int target_status(pid_t tid, pid_t *ret_pid, mode_t *ret_umask)
{
	char name[64], line[256];
	int found = 0;
	FILE *status;

	snprintf(name, sizeof name, "/proc/%d/status", tid);
	status = fopen(name, "re");
	if (!status)
		return -errno;
	while (found < 2 && fgets(line, sizeof line, status)) {
		if (!strncmp(line, "Umask:", 6)) {
			*ret_umask = (mode_t)strtoul(line + 6, NULL, 8);
			found++;
		} else if (!strncmp(line, "Tgid:", 5)) {
			*ret_pid = (pid_t)strtol(line + 5, NULL, 10);
			found++;
		}
	}
	fclose(status);
	return found == 2 ? 0 : -ESRCH;
}

int target_take_fd(pid_t tid, int fd)
{
	pid_t pid = 0;
	mode_t mask = 0;
	int pidfd, taken, r;

	r = target_status(tid, &pid, &mask);
	if (r < 0)
		return r;
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		return -errno;
	taken = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	r = taken < 0 ? -errno : taken;
	close(pidfd);
	return r;
}

static void dir_name(pid_t tid, int dirfd, char *name, size_t size)
{
	if (dirfd == AT_FDCWD)
		snprintf(name, size, "/proc/%d/cwd", tid);
	else
		snprintf(name, size, "/proc/%d/fd/%d", tid, dirfd);
}

int target_open_dir(pid_t tid, int dirfd)
{
	char name[64];
	int fd;

	dir_name(tid, dirfd, name, sizeof name);
	fd = open(name, O_PATH | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* ---- paths ---- */

/* Where directories do not exist: takes ".", ".." and "//" out by the text alone. `path` is absolute. */
static void normalise(char *path)
{
	char *out = path, *in = path;

	while (*in) {
		size_t length;

		while (*in == '/')
			in++;
		length = strcspn(in, "/");
		if (length == 2 && in[0] == '.' && in[1] == '.') {
			while (out > path && *--out != '/')
				;
		} else if (length && !(length == 1 && in[0] == '.')) {
			*out++ = '/';
			memmove(out, in, length);
			out += length;
		}
		in += length;
	}
	if (out == path)
		*out++ = '/';
	*out = '\0';
}

/* The directory of an absolute path without links, and the last component as it is. */
static int resolve_parent(const char *path, char ret_path[PATH_MAX])
{
	char text[PATH_MAX], real[PATH_MAX], *last;
	size_t length = strlen(path);

	memcpy(text, path, length + 1);
	while (length > 1 && text[length - 1] == '/')
		text[--length] = '\0';
	last = strrchr(text, '/') + 1;
	if (!*last || !strcmp(last, ".") || !strcmp(last, "..")) {
		if (realpath(text, ret_path))
			return 0;
		memcpy(ret_path, text, length + 1);
		normalise(ret_path);
		return 0;
	}
	last[-1] = '\0';
	if (!realpath(text[0] ? text : "/", real)) {
		last[-1] = '/';
		memcpy(ret_path, text, length + 1);
		normalise(ret_path);
		return 0;
	}
	return snprintf(ret_path, PATH_MAX, "%s/%s", real[1] ? real : "", last) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* `path` behind `base`, unless it is absolute itself. */
static int join(const char *base, const char *path, char ret_path[PATH_MAX])
{
	int n = path[0] == '/' ? snprintf(ret_path, PATH_MAX, "%s", path)
			       : snprintf(ret_path, PATH_MAX, "%s/%s", base, path);

	return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

int target_resolve(pid_t tid, int dirfd, const char *path, bool follow, char ret_path[PATH_MAX])
{
	char whole[PATH_MAX], base[PATH_MAX] = "", link[64];
	int i, r = 0;

	if (path[0] != '/') {
		dir_name(tid, dirfd, link, sizeof link);
		r = read_link(link, base);
		if (r < 0)
			return r;
	}
	if (!path[0]) /* AT_EMPTY_PATH: the descriptor itself */
		return join("", base, ret_path);
	r = join(base, path, whole);
	for (i = 0; r == 0 && i < LINKS_MAX; i++) {
		r = resolve_parent(whole, ret_path);
		if (r < 0 || !follow)
			return r;
		/* A link to what does not exist yet: opening creates it there. */
		if (read_link(ret_path, whole) < 0)
			return 0;
		memcpy(base, ret_path, PATH_MAX);
		*strrchr(base, '/') = '\0';
		if (whole[0] != '/') {
			char relative[PATH_MAX];

			memcpy(relative, whole, sizeof relative);
			r = join(base, relative, whole);
		}
	}
	return r < 0 ? r : -ELOOP;
}
