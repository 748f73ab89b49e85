/* SPDX-License-Identifier: Apache-2.0 */
/* What test_crash_notifier records: one call of each kind, with a line after some. Linked statically, too. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tritone/faultpoint.h"

static void must(int right, const char *what)
{
	if (right)
		return;
	fprintf(stderr, "notifier_child: %s: %s\n", what, strerror(errno));
	exit(1);
}

#define MUST(expression) must(expression, #expression)

static void say(const char *line)
{
	MUST(write(STDOUT_FILENO, line, strlen(line)) == (ssize_t)strlen(line));
}

static void every_call(void)
{
	struct iovec vectors[2] = {{(char[]){'a', 'b'}, 2}, {(char[]){'c'}, 1}};
	int fd, dir, durable;
	struct stat st;

	umask(027);
	fd = open("one", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	MUST(fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & 0777) == 0640);
	MUST(fcntl(fd, F_GETFD) == FD_CLOEXEC);
	MUST(write(fd, "hello", 5) == 5);
	MUST(pwrite(fd, "J", 1, 0) == 1);
	MUST(writev(fd, vectors, 2) == 3);
	MUST(lseek(fd, 0, SEEK_CUR) == 8);
	MUST(fdatasync(fd) == 0);
	MUST(ftruncate(fd, 6) == 0);
	MUST(posix_fallocate(fd, 0, 10) == 0);
	MUST(fsync(fd) == 0);
	say("one\n");
	MUST(close(fd) == 0);
	fd = open("one", O_WRONLY | O_APPEND | O_CLOEXEC);
	MUST(fd >= 0 && write(fd, "end", 3) == 3 && close(fd) == 0);
	MUST(mkdir("sub", 0777) == 0);
	MUST(rename("one", "sub/two") == 0);
	MUST(link("sub/two", "three") == 0);
	MUST(symlink("sub/two", "four") == 0);
	MUST(unlink("sub/two") == 0);
	MUST(truncate("four", 3) < 0 && errno == ENOENT);
	MUST(truncate("three", 4) == 0);
	say("half a ");
	dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	MUST(dir >= 0 && fsync(dir) == 0);
	durable = openat(dir, "five", O_WRONLY | O_CREAT | O_EXCL | O_DSYNC | O_CLOEXEC, 0600);
	MUST(durable >= 0 && write(durable, "5", 1) == 1 && close(durable) == 0);
	say("line\nand one more\n");
	MUST(openat(dir, "five", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) < 0 && errno == EEXIST);
	MUST(openat(dir, "five", O_WRONLY | O_TRUNC | O_CLOEXEC) >= 0);
	MUST(rmdir("sub") == 0);
	MUST(unlinkat(dir, "four", 0) == 0);
	fd = open("six", O_WRONLY | O_CREAT | O_SYNC | O_CLOEXEC, 0600);
	MUST(fd >= 0 && write(fd, "6", 1) == 1 && close(fd) == 0);
	fd = open("six", O_WRONLY | O_CLOEXEC);
	MUST(fd >= 0 && pwritev(fd, vectors, 2, 2) == 3);
	MUST(pwritev2(fd, vectors, 2, 5, RWF_DSYNC) == 3);
}

static void nothing_of_ours(const char *elsewhere)
{
	int fd = open(elsewhere, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	MUST(fd >= 0 && write(fd, "x", 1) == 1 && fsync(fd) == 0 && close(fd) == 0);
	MUST(unlink(elsewhere) == 0);
}

static void map(const char *name)
{
	int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char *bytes;

	MUST(fd >= 0 && ftruncate(fd, 4096) == 0);
	bytes = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	MUST(bytes != MAP_FAILED);
	bytes[0] = 1;
	say("mapped\n");
}

/* Of four syncs only the last one makes the file durable; opened so, it is cut, though nobody may write to it. */
static void sync_and_cut(void)
{
	static const char pages[8192];
	int fd = open("data", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char *shared, *copy;

	MUST(fd >= 0 && write(fd, pages, sizeof pages) == (ssize_t)sizeof pages);
	shared = mmap(NULL, sizeof pages, PROT_READ, MAP_SHARED, fd, 0);
	copy = mmap(NULL, sizeof pages, PROT_READ, MAP_PRIVATE, fd, 0);
	MUST(shared != MAP_FAILED && copy != MAP_FAILED);
	MUST(msync(shared, sizeof pages, MS_ASYNC) == 0);
	MUST(msync(copy, sizeof pages, MS_SYNC) == 0);
	MUST(msync(shared, sizeof pages / 2, MS_SYNC) == 0);
	say("not yet\n");
	MUST(msync(shared, sizeof pages, MS_SYNC) == 0);
	say("durable\n");
	MUST(open("data", O_RDONLY | O_TRUNC | O_CLOEXEC) >= 0);
}

/* By the header, in the midst of a line that is printed. */
static void acknowledge(void)
{
	int fd = open("data", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	MUST(fd >= 0 && tritone_faultpoint("opened") == 0);
	say("half a ");
	tritone_acknowledge("17\nnot this");
	tritone_acknowledge("");
	MUST(write(fd, "x", 1) == 1);
	say("line\n");
}

/* Nothing is replaced there. */
static void move_out(const char *there)
{
	MUST(mknod("one", S_IFREG | 0600, 0) == 0);
	MUST(renameat2(AT_FDCWD, "one", AT_FDCWD, there, RENAME_NOREPLACE) < 0 && errno == EEXIST);
}

/* What holds nothing comes and goes, and changes places with what does. */
static void pipes(void)
{
	MUST(mkfifo("pipe", 0600) == 0);
	MUST(close(open("one", O_WRONLY | O_CREAT | O_CLOEXEC, 0600)) == 0);
	MUST(renameat2(AT_FDCWD, "pipe", AT_FDCWD, "one", RENAME_EXCHANGE) == 0);
	MUST(rename("one", "other") == 0);
	MUST(link("other", "again") == 0);
	MUST(unlink("other") == 0);
	MUST(mkdir("dir", 0700) == 0);
	MUST(renameat2(AT_FDCWD, "dir", AT_FDCWD, "again", RENAME_EXCHANGE) == 0);
	MUST(symlink("nowhere", "link") == 0);
	MUST(rename("dir", "link") == 0);
	MUST(unlink("link") == 0);
	MUST(rmdir("again") == 0);
	say("done\n");
}

static void *append(void *arg)
{
	int fd = *(int *)arg, i;

	for (i = 0; i < 100; i++)
		MUST(write(fd, "0123456789", 10) == 10);
	return NULL;
}

/* Two threads and a child that append to one file. */
static void many(void)
{
	int fd = open("log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600), status;
	pthread_t threads[2];
	pid_t pid;

	MUST(fd >= 0);
	pid = fork();
	if (pid == 0) {
		append(&fd);
		exit(0);
	}
	MUST(
	    pthread_create(&threads[0], NULL, append, &fd) == 0 && pthread_create(&threads[1], NULL, append, &fd) == 0);
	MUST(pthread_join(threads[0], NULL) == 0 && pthread_join(threads[1], NULL) == 0);
	MUST(waitpid(pid, &status, 0) == pid && status == 0);
}

int main(int argc, char **argv)
{
	MUST(fcntl(STDIN_FILENO, F_GETFD) == 0); /* the recorder leaves it as it was */
	if (argc == 3 && chdir(argv[1]) == 0 && !strcmp(argv[2], "every"))
		every_call();
	else if (argc == 4 && !strcmp(argv[2], "map") && chdir(argv[1]) == 0)
		map(argv[3]);
	else if (argc == 4 && !strcmp(argv[2], "elsewhere"))
		nothing_of_ours(argv[3]);
	else if (argc == 4 && !strcmp(argv[2], "move-in") && chdir(argv[1]) == 0)
		return rename(argv[3], "moved") == 0;
	else if (argc == 4 && !strcmp(argv[2], "move-out") && chdir(argv[1]) == 0)
		move_out(argv[3]);
	else if (argc == 3 && !strcmp(argv[2], "pipes") && chdir(argv[1]) == 0)
		pipes();
	else if (argc == 3 && !strcmp(argv[2], "sync-and-cut") && chdir(argv[1]) == 0)
		sync_and_cut();
	else if (argc == 3 && !strcmp(argv[2], "acknowledge") && chdir(argv[1]) == 0)
		acknowledge();
	else if (argc == 3 && !strcmp(argv[2], "many"))
		many();
	else
		return 2;
	return 0;
}
