/* SPDX-License-Identifier: Apache-2.0 */
/* Starting and ending the programs that a benchmark is about; see child.h. */
#include "child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEPTH_MAX 8 /* of processes below processes */

extern char **environ;

/* In the child: only what is safe between fork and exec. */
static void become(const struct child *child, int output, pid_t parent)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), log = null;

	if (child->log)
		log = open(child->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (null < 0 || log < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0 ||
	    dup2(output >= 0 ? output : log, STDOUT_FILENO) < 0)
		_exit(127);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		_exit(127);
	if (child->directory && chdir(child->directory) < 0)
		_exit(127);
	/* argv is const for the caller; execve does not write to it. */
	execve(child->argv[0], (char **)(uintptr_t)child->argv, child->environment ? child->environment : environ);
	_exit(127);
}

int child_start(const struct child *child, pid_t *ret_pid, int *ret_output, struct error *err)
{
	int pipes[2] = {-1, -1};
	pid_t parent = getpid(), pid;

	if (ret_output && pipe2(pipes, O_CLOEXEC) < 0)
		return error_set(err, errno, "pipe: %s", strerror(errno));
	pid = fork();
	if (pid == 0)
		become(child, pipes[1], parent);
	if (pipes[1] >= 0)
		close(pipes[1]);
	if (pid < 0) {
		error_set(err, errno, "fork: %s", strerror(errno));
		if (pipes[0] >= 0)
			close(pipes[0]);
		return -1;
	}
	*ret_pid = pid;
	if (ret_output)
		*ret_output = pipes[0];
	return 0;
}

static double seconds(const struct timeval *tv)
{
	return (double)tv->tv_sec + (double)tv->tv_usec / 1e6;
}

int child_wait(pid_t pid, int timeout_ms, double *ret_cpu_s, struct error *err)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), status, late;
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	struct rusage usage;

	if (pidfd < 0)
		return error_set(err, errno, "pidfd_open: %s", strerror(errno));
	late = poll(&p, 1, timeout_ms) == 0;
	close(pidfd);
	if (late)
		kill(pid, SIGKILL);
	while (wait4(pid, &status, 0, &usage) < 0)
		if (errno != EINTR)
			return error_set(err, errno, "wait4: %s", strerror(errno));
	if (ret_cpu_s)
		*ret_cpu_s = seconds(&usage.ru_utime) + seconds(&usage.ru_stime);
	if (late)
		return error_set(err, ETIMEDOUT, "process %d did not end within %d ms", (int)pid, timeout_ms);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return error_set(err, EPROTO, "process %d ended with status 0x%x", (int)pid, (unsigned)status);
	return 0;
}

/* Ticks of one process and of what it has waited for; 0 when it is gone. */
static unsigned long long ticks_of(const char *pid)
{
	unsigned long long own[2], waited[2];
	char path[64], text[1024], *rest;
	size_t n;
	FILE *in;

	snprintf(path, sizeof path, "/proc/%s/stat", pid);
	in = fopen(path, "re");
	if (!in)
		return 0;
	n = fread(text, 1, sizeof text - 1, in);
	fclose(in);
	text[n] = '\0';
	rest = strrchr(text, ')');
	if (!rest || sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu", &own[0],
			 &own[1], &waited[0], &waited[1]) != 4)
		return 0;
	return own[0] + own[1] + waited[0] + waited[1];
}

static unsigned long long ticks_below(const char *pid, int depth)
{
	unsigned long long sum = ticks_of(pid);
	char path[64], child[32];
	struct dirent *task;
	FILE *in;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%.16s/task", pid);
	dir = depth < DEPTH_MAX ? opendir(path) : NULL;
	while (dir && (task = readdir(dir))) {
		snprintf(path, sizeof path, "/proc/%.16s/task/%.16s/children", pid, task->d_name);
		in = task->d_name[0] != '.' ? fopen(path, "re") : NULL;
		while (in && fscanf(in, "%31s", child) == 1)
			sum += ticks_below(child, depth + 1);
		if (in)
			fclose(in);
	}
	if (dir)
		closedir(dir);
	return sum;
}

double child_cpu_s(pid_t pid)
{
	char text[16];

	snprintf(text, sizeof text, "%d", (int)pid);
	return (double)ticks_below(text, 0) / (double)sysconf(_SC_CLK_TCK);
}

int child_line(int output, char *line, size_t size, int timeout_ms, struct error *err)
{
	struct pollfd p = {.fd = output, .events = POLLIN};
	size_t used = 0;
	char c;

	/* Byte by byte: lines are few, and what follows is for the next call. */
	while (used + 1 < size) {
		if (poll(&p, 1, timeout_ms) <= 0)
			return error_set(err, ETIMEDOUT, "the program said nothing within %d ms", timeout_ms);
		if (read(output, &c, 1) != 1)
			return error_set(err, EPIPE, "the program ended before it was ready");
		if (c == '\n')
			break;
		line[used++] = c;
	}
	line[used] = '\0';
	return 0;
}

int child_program(char *path, size_t size, const char *name, struct error *err)
{
	char self[PATH_MAX], *slash;
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	int i;

	if (n < 0)
		return error_set(err, errno, "/proc/self/exe: %s", strerror(errno));
	self[n] = '\0';
	for (i = 0; i < 2; i++) {
		slash = strrchr(self, '/');
		if (!slash)
			return error_set(err, ENOENT, "%s: not in a build directory", self);
		*slash = '\0';
	}
	if (snprintf(path, size, "%s%s%s", self, *name ? "/" : "", name) >= (int)size)
		return error_set(err, ENAMETOOLONG, "%s: too long", self);
	return access(path, X_OK) == 0 ? 0 : error_set(err, errno, "%s: %s; build it first", path, strerror(errno));
}

int child_directory(char *path, size_t size, struct error *err)
{
	const char *tmp = getenv("TMPDIR");

	if (snprintf(path, size, "%s/tritone-bench-XXXXXX", tmp && *tmp ? tmp : "/tmp") >= (int)size || !mkdtemp(path))
		return error_set(err, errno, "%s: %s", path, strerror(errno));
	return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

void child_remove_directory(const char *path)
{
	if (*path && nftw(path, remove_entry, 32, FTW_DEPTH | FTW_PHYS) < 0)
		fprintf(stderr, "bench: %s could not be removed\n", path);
}
