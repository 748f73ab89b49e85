/* SPDX-License-Identifier: Apache-2.0 */
/* The built tritone as a program, for the end-to-end tests; see e2e.h. */
#include "e2e.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TEXT_MAX (4u << 20)

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- files ---- */

const char *world_path(struct world *world, const char *name)
{
	char *path;

	assert_true(asprintf(&path, "%s/%s", world->dir, name) > 0);
	return path; /* a test's process lives for a few seconds */
}

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

const char *world_write(struct world *world, const char *name, const char *format, ...)
{
	const char *path = world_path(world, name);
	va_list args;
	char *text;

	va_start(args, format);
	assert_true(vasprintf(&text, format, args) >= 0);
	va_end(args);
	write_file(path, text);
	free(text);
	return path;
}

static char *read_all(const char *path)
{
	FILE *file = fopen(path, "re");
	char *text = calloc(1, 65536);

	assert_non_null(file);
	assert_non_null(text);
	assert_true(fread(text, 1, 65535, file) > 0);
	fclose(file);
	return text;
}

const char *world_manifest(struct world *world, const char *name, const char *from, const char *to)
{
	char *text = read_all(SOURCES "/fixtures/systems/conductor.yaml");
	char *at = strstr(text, from);
	const char *path;

	assert_non_null(at);
	*at = '\0';
	path = world_write(world, name, "%s%s%s", text, to, at + strlen(from));
	free(text);
	return path;
}

/* In place of `from`, which must be there; frees `text`. */
static char *replaced(char *text, const char *from, const char *to)
{
	char *at = strstr(text, from), *more;

	assert_non_null(at);
	assert_true(asprintf(&more, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) > 0);
	free(text);
	return more;
}

const char *world_unhurried(struct world *world, const char *name, const char *from, const char *to)
{
	static const char *const limits[][2] = {
	    {"lease-ms=600", "lease-ms=3600000"},
	    {"kill-grace-ms=3000", "kill-grace-ms=3600000"},
	    {"role-timeout-ms=10000", "role-timeout-ms=3600000"},
	    {"  timeout: 10s\n", "  timeout: 10m\n"}, /* to be ready */
	    {"  timeout: 5s\n", "  timeout: 10m\n"},  /* to take a task */
	    {"progress-limit: 5s", "progress-limit: 10m"},
	    {"\nrestart:\n", "\nstop-grace: 10m\nrestart:\n"},
	};
	char *text = read_all(SOURCES "/fixtures/systems/conductor.yaml");
	const char *path;
	size_t i;

	for (i = 0; i < sizeof limits / sizeof *limits; i++)
		text = replaced(text, limits[i][0], limits[i][1]);
	if (from)
		text = replaced(text, from, to);
	path = world_write(world, name, "%s", text);
	free(text);
	return path;
}

void world_edit(struct world *world, const char *name, const char *from, const char *to)
{
	char *text = replaced(read_all(world_path(world, name)), from, to);

	world_write(world, name, "%s", text);
	free(text);
}

const char *world_plugin(struct world *world, const char *name)
{
	char *path;

	assert_true(asprintf(&path, "%s/tests/plugins/%s.so", world->build, name) > 0);
	return path;
}

size_t world_matches(const char *pattern, char *ret_first, size_t size)
{
	size_t n = 0;
	glob_t found;

	if (glob(pattern, GLOB_PERIOD, NULL, &found) == 0) {
		n = found.gl_pathc;
		if (ret_first)
			snprintf(ret_first, size, "%s", found.gl_pathv[0]);
	}
	globfree(&found);
	return n;
}

void world_file(const char *pattern)
{
	int64_t until = now_ms() + GUARD_MS;

	while (!world_matches(pattern, NULL, 0)) {
		if (now_ms() > until)
			fail_msg("%s did not come", pattern);
		poll(NULL, 0, 5); /* directories that do not exist yet cannot be watched */
	}
}

size_t world_runs(struct world *world)
{
	char pattern[160];

	snprintf(pattern, sizeof pattern, "%s/runs/*[a-z]", world->state);
	return world_matches(pattern, NULL, 0);
}

/* ---- programs ---- */

static void become(const struct world *world)
{
	if (world->uid && (setgroups(0, NULL) || setgid(65534) || setuid(world->uid)))
		_exit(125);
}

struct ran *program_start(struct world *world, char *const *argv)
{
	struct ran *ran = calloc(1, sizeof *ran);
	int out[2], err[2];

	assert_non_null(ran);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	assert_int_equal(pipe2(err, O_CLOEXEC), 0);
	ran->pid = fork();
	assert_true(ran->pid >= 0);
	if (ran->pid == 0) {
		int null = open("/dev/null", O_RDONLY);

		setpgid(0, 0);
		if (chdir(world->dir) || dup2(null, 0) < 0 || dup2(out[1], 1) < 0 || dup2(err[1], 2) < 0)
			_exit(125);
		setenv("TRITONE_STATE", world->state, 1);
		unsetenv("TRITONE_SEED");
		unsetenv("TRITONE_PLUGIN_PATH");
		setenv("HOME", world->dir, 1); /* nobody's configuration of git */
		become(world);
		execv(argv[0], argv);
		_exit(126);
	}
	setpgid(ran->pid, ran->pid);
	close(out[1]);
	close(err[1]);
	ran->fds[0] = out[0];
	ran->fds[1] = err[0];
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(err[0], F_SETFL, O_NONBLOCK);
	ran->pidfd = pidfd_open(ran->pid, 0);
	assert_true(ran->pidfd >= 0);
	ran->text[0] = calloc(1, TEXT_MAX);
	ran->text[1] = calloc(1, TEXT_MAX);
	assert_true(ran->text[0] && ran->text[1]);
	ran->next = world->rans;
	world->rans = ran;
	return ran;
}

static struct ran *start(struct world *world, va_list args)
{
	char program[4096], *argv[64] = {program};
	size_t n = 1;

	snprintf(program, sizeof program, "%s/tritone", world->build);
	while (n < 63 && (argv[n] = va_arg(args, char *)))
		n++;
	assert_true(n < 63);
	return program_start(world, argv);
}

struct ran *tritone_start(struct world *world, ...)
{
	va_list args;
	struct ran *ran;

	va_start(args, world);
	ran = start(world, args);
	va_end(args);
	return ran;
}

struct ran *tritone(struct world *world, ...)
{
	va_list args;
	struct ran *ran;

	va_start(args, world);
	ran = start(world, args);
	va_end(args);
	ran_end(ran);
	return ran;
}

static void take_in(struct ran *ran, int which)
{
	ssize_t n;

	while (ran->fds[which] >= 0 && ran->used[which] < TEXT_MAX - 1) {
		n = read(ran->fds[which], ran->text[which] + ran->used[which], TEXT_MAX - 1 - ran->used[which]);
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0) {
			close(ran->fds[which]);
			ran->fds[which] = -1;
		}
		if (n <= 0)
			return;
		ran->used[which] += (size_t)n;
		ran->heard_ms = now_ms();
	}
}

static void show(const struct ran *ran)
{
	print_error(
	    "--- standard output of pid %d\n%s--- standard error\n%s---\n", (int)ran->pid, ran->text[0], ran->text[1]);
}

/* Until something has come, or it has ended. `since`: when the wait began. */
static void step(struct ran *ran, int64_t since)
{
	struct pollfd p[3] = {{.fd = ran->fds[0], .events = POLLIN}, {.fd = ran->fds[1], .events = POLLIN},
	    {.fd = ran->pidfd, .events = POLLIN}};
	int64_t left = (ran->heard_ms > since ? ran->heard_ms : since) + GUARD_MS - now_ms();
	int status;

	if (left <= 0) {
		show(ran);
		fail_msg("waited for %d ms, and heard nothing", GUARD_MS);
	}
	poll(p, 3, (int)left);
	if (p[2].revents) {
		while (waitpid(ran->pid, &status, 0) < 0 && errno == EINTR)
			;
		ran->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
		ran->ended = true;
	}
	take_in(ran, 0);
	take_in(ran, 1);
}

bool ran_said(const struct ran *ran, const char *what)
{
	return strstr(ran->text[0], what) || strstr(ran->text[1], what);
}

void ran_says(struct ran *ran, const char *what)
{
	int64_t since = now_ms();

	while (!ran_said(ran, what)) {
		if (ran->ended) {
			show(ran);
			fail_msg("it ended with %d and never said '%s'", ran->status, what);
		}
		step(ran, since);
	}
}

int ran_end(struct ran *ran)
{
	int64_t since = now_ms();

	while (!ran->ended)
		step(ran, since);
	return ran->status;
}

void ran_signal(struct ran *ran, int signal)
{
	assert_false(ran->ended);
	assert_int_equal(kill(ran->pid, signal), 0);
}

void ran_status(struct ran *ran, int expected)
{
	if (ran_end(ran) == expected)
		return;
	show(ran);
	fail_msg("exit status %d, expected %d", ran->status, expected);
}

void ran_has(struct ran *ran, const char *what)
{
	if (ran_said(ran, what))
		return;
	show(ran);
	fail_msg("it did not say '%s'", what);
}

const char *ran_value(struct world *world, struct ran *ran, const char *what)
{
	const char *at = strstr(ran->text[0], what);
	char *value;

	(void)world;
	if (!at) {
		show(ran);
		fail_msg("it did not print '%s'", what);
		return NULL;
	}
	at += strlen(what);
	at += strspn(at, " ");
	value = strndup(at, strcspn(at, "\n"));
	assert_non_null(value);
	return value;
}

/* ---- processes ---- */

static bool mentions(pid_t pid, const char *file, const char *what)
{
	char path[64], text[65536];
	size_t n, k = strlen(what), i;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
	f = fopen(path, "re");
	if (!f)
		return false;
	n = fread(text, 1, sizeof text, f);
	fclose(f);
	for (i = 0; i + k <= n; i++)
		if (!memcmp(text + i, what, k))
			return true;
	return false;
}

static bool lives_in(pid_t pid, const char *dir)
{
	char path[64], cwd[4096];
	ssize_t n;

	snprintf(path, sizeof path, "/proc/%d/cwd", (int)pid);
	n = readlink(path, cwd, sizeof cwd - 1);
	if (n < 0)
		return false;
	cwd[n] = '\0';
	return strncmp(cwd, dir, strlen(dir)) == 0;
}

char process_state(pid_t pid)
{
	char path[64], text[1024] = "", *p;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return '-';
	if (fread(text, 1, sizeof text - 1, f) == 0)
		text[0] = '\0';
	fclose(f);
	p = strrchr(text, ')');
	return p && p[1] ? p[2] : '-';
}

void process_await(pid_t pid, const char *states)
{
	int64_t until = now_ms() + GUARD_MS;

	while (!strchr(states, process_state(pid))) {
		if (now_ms() > until)
			fail_msg("process %d is in state %c, not in one of %s", (int)pid, process_state(pid), states);
		poll(NULL, 0, 2);
	}
}

size_t world_processes(struct world *world, pid_t *ret, size_t max)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	size_t n = 0;

	assert_non_null(proc);
	while ((entry = readdir(proc)) && n < max) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (pid <= 1 || pid == getpid() || strchr("Z-", process_state(pid)))
			continue;
		if (mentions(pid, "environ", world->dir) || mentions(pid, "cmdline", world->dir) ||
		    lives_in(pid, world->dir))
			ret[n++] = pid;
	}
	closedir(proc);
	return n;
}

void world_quiet(struct world *world)
{
	int64_t until = now_ms() + GUARD_MS;
	pid_t pids[64];
	size_t n;

	while ((n = world_processes(world, pids, 64))) {
		struct pollfd p = {.fd = pidfd_open(pids[0], 0), .events = POLLIN};
		int64_t left = until - now_ms();

		if (left <= 0) {
			char path[64], *line;

			snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pids[0]);
			line = read_all(path);
			fail_msg("%zu processes are left, the first is pid %d: %s", n, (int)pids[0], line);
		}
		if (p.fd < 0)
			continue; /* it has just gone */
		poll(&p, 1, (int)left);
		close(p.fd);
	}
}

void world_clean(struct world *world)
{
	ran_status(tritone(world, "recover", NULL), 0);
	ran_status(tritone(world, "status", NULL), 0);
}

/* ---- the world ---- */

int world_create(void **state)
{
	struct world *world = calloc(1, sizeof *world);
	ssize_t n;
	int up;

	if (!world)
		return -1;
	*state = world;
	n = readlink("/proc/self/exe", world->build, sizeof world->build - 1);
	if (n <= 0)
		return -1;
	for (up = 0; up < 3; up++) /* BUILD/tests/e2e/NAME */
		*strrchr(world->build, '/') = '\0';
	strcpy(world->dir, "/tmp/tritone-e2e-XXXXXX");
	if (!mkdtemp(world->dir))
		return -1;
	snprintf(world->state, sizeof world->state, "%s/state", world->dir);
	world_unhurried(world, "unhurried.yaml", NULL, NULL);
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)ftw;
	(void)st;
	(void)flag;
	remove(path);
	return 0;
}

int world_destroy(void **state)
{
	struct world *world = *state;
	pid_t pids[64];
	size_t n, i;
	int tries;

	/* Only a failed test leaves any: the keeper's death takes the others along. */
	for (tries = 0; tries < 200 && (n = world_processes(world, pids, 64)); tries++) {
		for (i = 0; i < n; i++)
			kill(pids[i], SIGKILL);
		poll(NULL, 0, 10);
	}
	while (world->rans) {
		struct ran *ran = world->rans;

		world->rans = ran->next;
		if (!ran->ended) {
			kill(ran->pid, SIGKILL);
			waitpid(ran->pid, NULL, 0);
		}
		for (i = 0; i < 2; i++) {
			if (ran->fds[i] >= 0)
				close(ran->fds[i]);
			free(ran->text[i]);
		}
		close(ran->pidfd);
		free(ran);
	}
	nftw(world->dir, remove_one, 32, FTW_DEPTH | FTW_PHYS);
	free(world);
	return 0;
}
