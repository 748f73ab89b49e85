/* SPDX-License-Identifier: Apache-2.0 */
/* One probe a capability. Each tries the real thing, in a child where it would leave a trace in this
 * process. */
#include "system/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <git2.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "system/commands.h"
#include "keeper/filter.h"

#define SPACE_MIN_MIB    256u /* a recovery suite with its kept runs takes far less */
#define SYNC_SLOW_MS     20.0 /* slower, and suites are bound by the disk */
#define SYNC_ROUNDS      9
#define WATCHES_MIN      4096
#define LANDLOCK_VERSION 1u /* LANDLOCK_CREATE_RULESET_VERSION */

struct probe {
	const char *name, *used_for, *without;
	bool needed;
	bool (*run)(const char *state_root, char *detail, size_t size);
};

static bool say(bool present, char *detail, size_t size, const char *text)
{
	snprintf(detail, size, "%s", text);
	return present;
}

/* Runs `body` in a child; its exit status, or -1. */
static int in_child(int (*body)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(body());
	if (pid < 0)
		return -1;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- the kernel ---- */

static bool kernel(const char *state_root, char *detail, size_t size)
{
	struct utsname name;
	unsigned major = 0, minor = 0;

	(void)state_root;
	if (uname(&name) < 0 || sscanf(name.release, "%u.%u", &major, &minor) != 2)
		return say(false, detail, size, strerror(errno));
	snprintf(detail, size, "%s %s; 5.11 or later is needed", name.sysname, name.release);
	return major > 5 || (major == 5 && minor >= 11);
}

static bool pidfd(const char *state_root, char *detail, size_t size)
{
	struct pollfd p = {.fd = -1, .events = POLLIN};
	pid_t pid = fork();
	bool works = false;

	(void)state_root;
	if (pid == 0)
		for (;;)
			pause();
	if (pid < 0)
		return say(false, detail, size, strerror(errno));
	p.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (p.fd >= 0 && syscall(SYS_pidfd_send_signal, p.fd, SIGKILL, NULL, 0) == 0)
		works = poll(&p, 1, 5000) == 1;
	say(works, detail, size, works ? "opened, signalled, death seen" : strerror(errno));
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (p.fd >= 0)
		close(p.fd);
	return works;
}

/* A grandchild whose parent exits must become ours. */
static int adopt(void)
{
	pid_t middle;
	int adopted = 0, pair[2];
	char c;

	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 || pipe2(pair, O_CLOEXEC) < 0)
		return 1;
	middle = fork();
	if (middle == 0) {
		if (fork() == 0) {
			close(pair[1]);
			(void)!read(pair[0], &c, 1); /* until its grandparent has looked */
			_exit(0);
		}
		_exit(0);
	}
	close(pair[0]);
	if (middle < 0 || waitpid(middle, NULL, 0) != middle)
		return 1;
	close(pair[1]);
	while (waitpid(-1, NULL, 0) > 0)
		adopted++;
	return adopted == 1 ? 0 : 1;
}

static bool subreaper(const char *state_root, char *detail, size_t size)
{
	bool works = in_child(adopt) == 0;

	(void)state_root;
	return say(works, detail, size, works ? "an orphan was adopted" : "an orphan went elsewhere");
}

static bool memory_of_a_child(const char *state_root, char *detail, size_t size)
{
	static char here[] = "tritone";
	char copy[sizeof here] = "";
	struct iovec local = {.iov_base = copy, .iov_len = sizeof copy};
	struct iovec remote = {.iov_base = here, .iov_len = sizeof here};
	pid_t pid = fork();
	ssize_t n;

	(void)state_root;
	if (pid == 0)
		for (;;)
			pause();
	if (pid < 0)
		return say(false, detail, size, strerror(errno));
	n = process_vm_readv(pid, &local, 1, &remote, 1, 0);
	say(n == (ssize_t)sizeof here, detail, size, n < 0 ? strerror(errno) : "read from a child");
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return n == (ssize_t)sizeof here && !strcmp(copy, here);
}

/* ---- the system-call filter ---- */

static bool filter(const char *state_root, char *detail, size_t size)
{
	struct error err = {0};

	(void)state_root;
	if (filter_try(NULL, &err) < 0)
		return say(false, detail, size, err.text);
	return say(true, detail, size, "a child's call was notified and answered");
}

static bool sync_wake_up(const char *state_root, char *detail, size_t size)
{
	bool sync = false;

	(void)state_root;
	if (filter_try(&sync, NULL) < 0)
		return say(false, detail, size, "no filter");
	return say(sync, detail, size, sync ? "accepted by the kernel" : "Linux 6.6 or later has it");
}

/* Without a program the kernel looks at the flags first: EFAULT says that it knows them. */
static bool killable(const char *state_root, char *detail, size_t size)
{
	long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
	    SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, NULL);
	bool known = r < 0 && errno == EFAULT;

	(void)state_root;
	return say(known, detail, size, known ? "accepted by the kernel" : "Linux 5.19 or later has it");
}

/* ---- other things of the kernel ---- */

static bool landlock(const char *state_root, char *detail, size_t size)
{
	/* landlock_create_ruleset, 444 on every architecture */
	long abi = syscall(444, NULL, 0, LANDLOCK_VERSION);

	(void)state_root;
	if (abi < 0)
		return say(false, detail, size, strerror(errno));
	snprintf(detail, size, "ABI %ld", abi);
	return true;
}

static bool privileges(const char *state_root, char *detail, size_t size)
{
	(void)state_root;
	snprintf(detail, size, "runs as uid %u; neither root nor a user namespace is needed", (unsigned)geteuid());
	return true;
}

static long read_number(const char *path)
{
	long number = -1;
	FILE *in = fopen(path, "re");

	if (in) {
		if (fscanf(in, "%ld", &number) != 1)
			number = -1;
		fclose(in);
	}
	return number;
}

static bool inotify(const char *state_root, char *detail, size_t size)
{
	long watches = read_number("/proc/sys/fs/inotify/max_user_watches");
	long instances = read_number("/proc/sys/fs/inotify/max_user_instances");
	int fd = inotify_init1(IN_CLOEXEC);

	(void)state_root;
	if (fd < 0)
		return say(false, detail, size, strerror(errno));
	close(fd);
	snprintf(detail, size, "%ld watches, %ld instances a user", watches, instances);
	return watches >= WATCHES_MIN;
}

/* ---- git ---- */

static bool libgit2(const char *state_root, char *detail, size_t size)
{
	int major = 0, minor = 0, revision = 0;

	(void)state_root;
	git_libgit2_version(&major, &minor, &revision);
	snprintf(detail, size, "%d.%d.%d", major, minor, revision);
	return major >= 1;
}

static bool git_program(const char *state_root, char *detail, size_t size)
{
	char path[PATH_MAX];

	(void)state_root;
	if (command_find("git", path, sizeof path, NULL) == 0)
		return say(true, detail, size, path);
	return say(false, detail, size, "not in PATH");
}

/* ---- the state directory ---- */

/* It, or the directory in which it would be made. */
static void nearest(const char *state_root, char *path, size_t size)
{
	struct stat st;
	char *slash;

	snprintf(path, size, "%s", state_root);
	while (stat(path, &st) < 0) {
		slash = strrchr(path, '/');
		if (!slash) {
			snprintf(path, size, ".");
			return;
		}
		slash[slash == path] = '\0';
	}
}

static bool space(const char *state_root, char *detail, size_t size)
{
	char path[PATH_MAX];
	struct statvfs fs;
	uint64_t mib;

	nearest(state_root, path, sizeof path);
	if (statvfs(path, &fs) < 0) {
		snprintf(detail, size, "%.100s: %s", path, strerror(errno));
		return false;
	}
	mib = (uint64_t)fs.f_bavail * fs.f_frsize >> 20;
	snprintf(detail, size, "%" PRIu64 " MiB free in %.100s; %u are enough", mib, path, SPACE_MIN_MIB);
	return mib >= SPACE_MIN_MIB && access(path, W_OK | X_OK) == 0;
}

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

/* A file without a name where the file system has such; else one that is unlinked at once. */
static int scratch(const char *dir)
{
	char name[PATH_MAX];
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0)
		return fd;
	if (snprintf(name, sizeof name, "%s/.tritone-doctor-XXXXXX", dir) >= (int)sizeof name)
		return -1;
	fd = mkostemp(name, O_CLOEXEC);
	if (fd >= 0)
		unlink(name);
	return fd;
}

static bool sync_time(const char *state_root, char *detail, size_t size)
{
	char path[PATH_MAX], block[4096] = {0};
	double times[SYNC_ROUNDS];
	int fd, i;

	nearest(state_root, path, sizeof path);
	fd = scratch(path);
	if (fd < 0) {
		snprintf(detail, size, "%.100s: %s", path, strerror(errno));
		return false;
	}
	for (i = 0; i < SYNC_ROUNDS; i++) {
		double began = now_ms();

		if (pwrite(fd, block, sizeof block, (off_t)i * (off_t)sizeof block) < 0 || fdatasync(fd) < 0) {
			snprintf(detail, size, "%.100s: %s", path, strerror(errno));
			close(fd);
			return false;
		}
		times[i] = now_ms() - began;
	}
	close(fd);
	qsort(times, SYNC_ROUNDS, sizeof *times, by_value);
	snprintf(detail, size, "%.2f ms a write and fdatasync, median of %d", times[SYNC_ROUNDS / 2], SYNC_ROUNDS);
	return times[SYNC_ROUNDS / 2] <= SYNC_SLOW_MS;
}

/* ---- all of them ---- */

static const struct probe probes[] = {
    {"kernel", "everything below", "several of the lines below fail", true, kernel},
    {"pidfd", "signals that never hit another process; deaths seen at once", "no fault on processes", true, pidfd},
    {"subreaper", "ending the whole system, daemons too, when the host dies", "processes would be left behind", true,
	subreaper},
    {"system-call filter", "disk-full and every other error of system calls", "these faults end with status 7", true,
	filter},
    {"memory of a child", "finding the path that a call is about", "these faults end with status 7", true,
	memory_of_a_child},
    {"killable wait", "performing a call exactly once under a hail of signals",
	"perform-then-fail may act twice on a program that lives on signals (Go)", false, killable},
    {"sync wake-up", "answering a notified call on the same processor", "a notified call takes longer", false,
	sync_wake_up},
    {"Landlock", "confining a fault's process to the paths it declares", "a broken plugin could write elsewhere", false,
	landlock},
    {"privileges", "nothing", "nothing", false, privileges},
    {"inotify", "seeing changes of state files at once", "they are looked at from time to time", false, inotify},
    {"libgit2", "the ledger of commits", "no experiment on git commits", true, libgit2},
    {"git program", "looking at a kept repository by hand, and systems that call it", "such systems do not start",
	false, git_program},
    {"free space", "runs, their logs and what is kept of them", "runs end early", true, space},
    {"fsync time", "durable records before each fault", "suites take longer than their budget", false, sync_time},
};

int machine_look(const char *state_root, void (*visit)(void *arg, const struct machine_row *row), void *arg)
{
	int missing = 0;
	size_t i;

	for (i = 0; i < sizeof probes / sizeof *probes; i++) {
		const struct probe *p = &probes[i];
		struct machine_row row = {
		    .name = p->name, .needed = p->needed, .used_for = p->used_for, .without = p->without};

		row.present = p->run(state_root, row.detail, sizeof row.detail);
		missing += p->needed && !row.present;
		visit(arg, &row);
	}
	return missing;
}
