/* SPDX-License-Identifier: Apache-2.0 */
/* What test_keeper starts under the keeper, and in its place. */
#include "keeper_child.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void tell(const char *fifo)
{
	char line[32];
	int fd = open(fifo, O_WRONLY | O_CLOEXEC), n;

	n = snprintf(line, sizeof line, "%d\n", getpid());
	if (fd < 0 || write(fd, line, (size_t)n) != n)
		_exit(9);
	close(fd);
}

static void __attribute__((noreturn)) stay(void)
{
	for (;;)
		pause();
}

/* With a child in its group. */
static void __attribute__((noreturn)) pair(const char *fifo)
{
	if (fork() == 0)
		tell(fifo);
	stay();
}

static void __attribute__((noreturn)) daemonize(const char *fifo)
{
	if (fork() > 0)
		stay();
	setsid();
	if (fork() > 0)
		_exit(0);
	setsid();
	tell(fifo);
	stay();
}

/* Never more than `heads` at a time, and never the same for long: each forks its successor, in a
 * session of its own, and exits. No look at the processes can tell that none is left: they share a lock, which the last one lets go. */
static void __attribute__((noreturn)) hydra(const char *fifo, int heads)
{
	int fd = open(fifo, O_WRONLY | O_CLOEXEC), i;

	if (fd < 0 || flock(fd, LOCK_SH) < 0)
		_exit(9);
	for (i = 0; i < heads; i++)
		if (fork() == 0)
			for (;;) {
				if (fork() != 0)
					_exit(0);
				setsid();
			}
	tell(fifo);
	stay();
}

/* A child that is dead, and not reaped. */
static void leave_one_dead(void)
{
	siginfo_t info;
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	if (pid < 0 || waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0)
		_exit(9);
}

/*
 * Asked to end, it waits until one that is asked after it has ended, an orphan (those come last): whatever
 * comes together with SIGTERM has come by then. 34: SIGCONT has, though it was not stopped.
 */
static int runs_on(const char *fifo)
{
	sigset_t ends, got;
	int until[2], signal;
	pid_t between;
	char byte;

	if (pipe2(until, O_CLOEXEC) < 0 || (between = fork()) < 0)
		return 9;
	if (between == 0) {
		if (fork() == 0)
			stay();
		_exit(0);
	}
	close(until[1]);
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGCONT);
	if (waitpid(between, NULL, 0) != between || sigprocmask(SIG_BLOCK, &ends, NULL) < 0)
		return 9;
	sigdelset(&ends, SIGCONT);
	tell(fifo);
	if (sigwait(&ends, &signal) != 0 || read(until[0], &byte, 1) != 0 || sigpending(&got) < 0)
		return 9;
	return sigismember(&got, SIGCONT) ? 34 : 33;
}

static int hygiene(void)
{
	char line[256], target[256];
	struct dirent *entry;
	FILE *status = fopen("/proc/self/status", "re");
	DIR *dir = opendir("/proc/self/fd");
	int in = open("/proc/self/fd/0", O_RDONLY | O_CLOEXEC), fds = 0;

	if (!status || !dir || in < 0)
		return 1;
	while (fgets(line, sizeof line, status))
		if (!strncmp(line, "SigBlk:", 7) || !strncmp(line, "SigIgn:", 7))
			fputs(line, stdout);
	while ((entry = readdir(dir)))
		fds += entry->d_name[0] != '.';
	target[readlink("/proc/self/fd/0", target, sizeof target - 1)] = '\0';
	/* 0, 1, 2, and the three that this function has open */
	printf("fds %d\nstdin %s\nleader %d\nhere %s\nmark %s\n", fds - 3, target, getpgrp() == getpid(),
	    getcwd(line, sizeof line), getenv("MARK"));
	fprintf(stderr, "on stderr\n");
	fclose(status);
	closedir(dir);
	close(in);
	return 0;
}

static void tidy_up(int signal)
{
	const struct timespec work = {.tv_nsec = 50000000};

	(void)signal;
	nanosleep(&work, NULL); /* a process that needs its grace */
	_exit(33);
}

int keeper_child(int argc, char **argv)
{
	const char *mode = argv[0], *fifo = argc > 1 ? argv[1] : "";

	if (!strcmp(mode, "exit"))
		return atoi(fifo);
	if (!strcmp(mode, "pair"))
		pair(fifo);
	if (!strcmp(mode, "hygiene"))
		return hygiene();
	if (!strcmp(mode, "runs-on"))
		return runs_on(fifo);
	if (!strncmp(mode, "stubborn", 8))
		signal(SIGTERM, SIG_IGN);
	if (strstr(mode, "daemon"))
		daemonize(fifo);
	if (!strcmp(mode, "hydra"))
		hydra(fifo, 6);
	if (!strcmp(mode, "stubborn-parent"))
		leave_one_dead();
	if (!strcmp(mode, "rootly") && setresuid(0, 0, 0) != 0)
		return 8;
	if (!strcmp(mode, "tidy"))
		signal(SIGTERM, tidy_up);
	tell(fifo);
	stay();
}

int keeper_silent(int control, const char *says)
{
	static const uint8_t hello[] = {0, 0, 0, 7, 0x81, 0xa4, 'c', 'o', 'd', 'e', 0};
	struct pollfd p = {.fd = control, .events = POLLRDHUP};

	if (!strcmp(says, "hello") && write(control, hello, sizeof hello) != (ssize_t)sizeof hello)
		return 1;
	return poll(&p, 1, -1) == 1 ? 0 : 1;
}
