/* SPDX-License-Identifier: Apache-2.0 */
/* What runs under the system-call filter in test_filter.c, built dynamically and statically:
 * `filter_child CALL ARGUMENT ...` makes that very call and exits with its errno. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNUSABLE 200 /* exit status: the set-up itself failed */

static int result(long r)
{
	return r < 0 ? errno : 0;
}

static int open_file(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		_exit(UNUSABLE);
	return fd;
}

static int on_mapping(const char *path)
{
	int fd = open_file(path, O_RDWR);
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	close(fd);
	if (p == MAP_FAILED)
		_exit(UNUSABLE);
	p[0] = 'm';
	return result(msync(p, 4096, MS_SYNC));
}

static int by_pipe(int fd)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0 || write(ends[1], "xyz", 3) != 3)
		_exit(UNUSABLE);
	return result(syscall(SYS_splice, ends[0], NULL, fd, NULL, 3L, 0));
}

/* Calls on a file that exists and has some content. */
static int on_file(const char *call, const char *path, int *ret)
{
	struct iovec iov[2] = {{.iov_base = (char[]){"xy"}, .iov_len = 2}, {.iov_base = (char[]){"z"}, .iov_len = 1}};
	int fd, in;

	if (!strcmp(call, "msync")) {
		*ret = on_mapping(path);
		return 1;
	}
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return 0;
	in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (!strcmp(call, "write"))
		*ret = result(syscall(SYS_write, fd, "xyz", 3));
	else if (!strcmp(call, "pwrite64"))
		*ret = result(syscall(SYS_pwrite64, fd, "xyz", 3, 5L));
	else if (!strcmp(call, "writev"))
		*ret = result(syscall(SYS_writev, fd, iov, 2));
	else if (!strcmp(call, "pwritev"))
		*ret = result(syscall(SYS_pwritev, fd, iov, 2, 5L, 0L));
	else if (!strcmp(call, "pwritev2"))
		*ret = result(syscall(SYS_pwritev2, fd, iov, 2, 5L, 0L, RWF_DSYNC));
	else if (!strcmp(call, "sendfile"))
		*ret = result(syscall(SYS_sendfile, fd, in, NULL, 4L));
	else if (!strcmp(call, "copy_file_range"))
		*ret = result(syscall(SYS_copy_file_range, fd, &(int64_t){0}, fd, &(int64_t){5}, 3L, 0));
	else if (!strcmp(call, "splice"))
		*ret = by_pipe(fd);
	else if (!strcmp(call, "truncate"))
		*ret = result(syscall(SYS_truncate, path, 2L));
	else if (!strcmp(call, "fsync"))
		*ret = result(syscall(SYS_fsync, fd));
	else if (!strcmp(call, "fdatasync"))
		*ret = result(syscall(SYS_fdatasync, fd));
	else if (!strcmp(call, "ftruncate"))
		*ret = result(syscall(SYS_ftruncate, fd, 2L));
	else if (!strcmp(call, "fallocate"))
		*ret = result(syscall(SYS_fallocate, fd, 0, 0L, 100L));
	else
		return 0;
	close(in);
	return 1;
}

static int open_how(const char *path)
{
	struct open_how how = {.flags = O_CREAT | O_WRONLY, .mode = 0640};

	return result(syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how));
}

/* Calls that make `path`; `from` exists, for those that take it from somewhere. */
static int on_path(const char *call, const char *path, const char *from, int *ret)
{
	if (!strcmp(call, "open"))
		*ret = result(syscall(SYS_open, path, O_CREAT | O_WRONLY, 0666));
	else if (!strcmp(call, "openat"))
		*ret = result(syscall(SYS_openat, AT_FDCWD, path, O_CREAT | O_WRONLY, 0640));
	else if (!strcmp(call, "openat2"))
		*ret = open_how(path);
	else if (!strcmp(call, "creat"))
		*ret = result(syscall(SYS_creat, path, 0640));
	else if (!strcmp(call, "mkdir"))
		*ret = result(syscall(SYS_mkdir, path, 0777));
	else if (!strcmp(call, "mkdirat"))
		*ret = result(syscall(SYS_mkdirat, AT_FDCWD, path, 0777));
	else if (!strcmp(call, "rename"))
		*ret = result(syscall(SYS_rename, from, path));
	else if (!strcmp(call, "renameat"))
		*ret = result(syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, path));
	else if (!strcmp(call, "renameat2"))
		*ret = result(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, path, 0));
	else if (!strcmp(call, "link"))
		*ret = result(syscall(SYS_link, from, path));
	else if (!strcmp(call, "linkat"))
		*ret = result(syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, path, 0));
	else if (!strcmp(call, "symlink"))
		*ret = result(syscall(SYS_symlink, from, path));
	else if (!strcmp(call, "symlinkat"))
		*ret = result(syscall(SYS_symlinkat, from, AT_FDCWD, path));
	else
		return 0;
	return 1;
}

/* An unnamed file that gets its name by /proc/self/fd, as glibc's manual shows it. */
static int tmpfile_link(const char *dir, const char *path)
{
	char name[64];
	int fd = open(dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);

	if (fd < 0)
		return errno;
	snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
	return result(linkat(AT_FDCWD, name, AT_FDCWD, path, AT_SYMLINK_FOLLOW));
}

/* n single bytes a, b, c, ... at the file's position; prints each errno. */
static int sequence(const char *path, const char *how, int n)
{
	int fd = open_file(path, O_WRONLY | (!strcmp(how, "append") ? O_APPEND : 0)), i;
	char line[4096];
	size_t used = 0;

	for (i = 0; i < n; i++) {
		char byte = (char)('a' + i % 26);
		int r = result(write(fd, &byte, 1));

		used += (size_t)snprintf(line + used, sizeof line - used, "%d ", r);
	}
	puts(line);
	return 0;
}

static int large(const char *path, size_t size, const char *how)
{
	int fd = open_file(path, O_WRONLY);
	char *bytes = malloc(size);
	ssize_t written;
	size_t i;

	if (!bytes)
		return UNUSABLE;
	for (i = 0; i < size; i++)
		bytes[i] = (char)(i * 31 + i / 4096);
	written = !strcmp(how, "pwrite") ? pwrite(fd, bytes, size, 0) : write(fd, bytes, size);
	return written >= 0 && (size_t)written != size ? EMSGSIZE : result(written);
}

static void on_alarm(int signal)
{
	(void)signal;
}

/* Appends under a hail of signals whose handler does not restart the call, and of such that do. */
static int hailed(const char *path, int n)
{
	struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	const struct itimerval often = {.it_interval = {.tv_usec = 50}, .it_value = {.tv_usec = 50}};
	int fd = open_file(path, O_WRONLY | O_APPEND), i;

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (i = 0; i < n; i++)
		if (write(fd, "x", 1) != -1 || errno != ENOSPC)
			return 1;
	return 0;
}

struct writer {
	pthread_t thread;
	char path[256];
	int expected, wrong;
};

static void *write_on(void *arg)
{
	struct writer *writer = arg;
	int fd = open_file(writer->path, O_WRONLY | O_APPEND), i;

	for (i = 0; i < 50; i++)
		writer->wrong += result(write(fd, "x", 1)) != writer->expected;
	close(fd);
	return NULL;
}

/* Four threads on IN/file get ENOSPC, four on OUT/file nothing. */
static int threads(const char *in, const char *out)
{
	struct writer writers[8];
	int i, wrong = 0;

	for (i = 0; i < 8; i++) {
		writers[i].expected = i % 2 ? 0 : ENOSPC;
		writers[i].wrong = 0;
		snprintf(writers[i].path, sizeof writers[i].path, "%s", i % 2 ? out : in);
		if (pthread_create(&writers[i].thread, NULL, write_on, &writers[i]))
			return UNUSABLE;
	}
	for (i = 0; i < 8; i++) {
		pthread_join(writers[i].thread, NULL);
		wrong += writers[i].wrong;
	}
	return wrong > 100 ? 100 : wrong;
}

/* posix_spawn is vfork and exec; with a fork in between, so that it is a grandchild. */
static int grandchild(char **argv)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, (char *[]){NULL}))
			_exit(UNUSABLE);
		if (waitpid(pid, &status, 0) != pid)
			_exit(UNUSABLE);
		_exit(WEXITSTATUS(status));
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return UNUSABLE;
	return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	const char *call = argc > 2 ? argv[1] : "", *path = argc > 2 ? argv[2] : "";
	const char *third = argc > 3 ? argv[3] : "", *fourth = argc > 4 ? argv[4] : "";
	int r, fd;

	umask(027);
	if (!strcmp(call, "in-dir")) /* in-dir DIR CALL ... */
		return chdir(path) < 0 ? UNUSABLE : main(argc - 2, argv + 2);
	if (!strcmp(call, "grandchild"))
		return grandchild(argv + 1); /* argv[0] of it is "grandchild" */
	if (!strcmp(call, "sequence"))
		return sequence(path, third, atoi(fourth));
	if (!strcmp(call, "large"))
		return large(path, (size_t)atol(third), fourth);
	if (!strcmp(call, "hailed"))
		return hailed(path, atoi(third));
	if (!strcmp(call, "threads"))
		return threads(path, third);
	if (!strcmp(call, "tmpfile"))
		return tmpfile_link(path, third);
	if (!strcmp(call, "existing"))
		return result(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0666));
	if (!strcmp(call, "mkdir-below")) { /* relative to a descriptor */
		fd = open_file(path, O_RDONLY | O_DIRECTORY);
		return result(mkdirat(fd, third, 0777));
	}
	if (!strcmp(call, "unlinked")) {
		fd = open_file(path, O_WRONLY);
		unlink(path);
		return result(write(fd, "x", 1));
	}
	if (!strcmp(call, "queue"))
		return result(syscall(SYS_io_setup, 4, &(unsigned long){0}));
	if (!strcmp(call, "ring"))
		return result(syscall(SYS_io_uring_setup, 4, (char[256]){0}));
	if (on_file(call, path, &r) || on_path(call, path, third, &r))
		return r;
	return UNUSABLE;
}
