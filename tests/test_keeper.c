/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper, with real processes: this program is the host, the keeper (run as __keeper) and what
 * the keeper starts (run as child MODE). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/keeper.h"
#include "keeper_child.h"
#include "skip.h"

/* ---- the host ---- */

struct fixture {
	char dir[64], fifo[96];
	int fifo_fd;
	struct keeper *keeper;
};

static char program[PATH_MAX];

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct keeper_options options = {0};
	struct error err = {0};

	if (!f)
		return -1;
	*state = f;
	snprintf(f->dir, sizeof f->dir, "/tmp/tritone-keeper-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->fifo, sizeof f->fifo, "%s/fifo", f->dir);
	if (mkfifo(f->fifo, 0600) < 0 || (f->fifo_fd = open(f->fifo, O_RDWR | O_CLOEXEC)) < 0)
		return -1;
	options.log_dir = f->dir;
	options.request_ms = 3600000; /* how long it takes to answer is the machine's to choose */
	if (keeper_start(&f->keeper, &options, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		return -1;
	}
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char command[128];

	keeper_destroy(f->keeper);
	close(f->fifo_fd);
	snprintf(command, sizeof command, "rm -rf %s", f->dir);
	if (system(command) != 0)
		return -1;
	free(f);
	return 0;
}

static pid_t start_child(struct keeper *keeper, const char *name, const char *mode, const char *argument)
{
	const char *argv[] = {program, "child", mode, argument, NULL};
	struct keeper_process process = {.name = name, .argv = argv};
	struct error err = {0};
	pid_t pid = -1;

	if (keeper_spawn(keeper, &process, &pid, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(pid > 1);
	return pid;
}

/* The pid that a child tells. */
static pid_t heard(struct fixture *f)
{
	char line[32] = "";
	size_t n = 0;

	while (n < sizeof line - 1 && read(f->fifo_fd, line + n, 1) == 1 && line[n] != '\n')
		n++;
	return (pid_t)atoi(line);
}

static int hold(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	assert_true(fd >= 0);
	return fd;
}

static void await_death(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	assert_int_equal(poll(&p, 1, -1), 1);
	close(pidfd);
}

static struct keeper_event next_event(struct fixture *f)
{
	struct keeper_event event;
	struct error err = {0};

	if (keeper_next_event(f->keeper, -1, &event, &err) != 1)
		fail_msg("%s", err.text);
	return event;
}

struct look {
	unsigned count;
	pid_t wanted;
	struct keeper_node found;
};

static int look_at(void *arg, const struct keeper_node *node)
{
	struct look *look = arg;

	look->count++;
	if (node->pid == look->wanted)
		look->found = *node;
	return 0;
}

static struct look look_for(struct fixture *f, pid_t pid)
{
	struct look look = {.wanted = pid};

	assert_int_equal(keeper_tree(f->keeper, look_at, &look, NULL), 0);
	return look;
}

/* ---- tests ---- */

static void test_exit_events(void **state)
{
	struct fixture *f = *state;
	struct keeper_event event;
	pid_t pid = start_child(f->keeper, "seven", "exit", "7");

	event = next_event(f);
	assert_int_equal(event.pid, pid);
	assert_true(event.spawned);
	assert_string_equal(event.name, "seven");
	assert_true(WIFEXITED(event.status));
	assert_int_equal(WEXITSTATUS(event.status), 7);
	assert_true(event.start_ns > 0 && event.end_ns > event.start_ns);

	pid = start_child(f->keeper, "killed", "stay", f->fifo);
	assert_int_equal(heard(f), pid);
	assert_int_equal(keeper_next_event(f->keeper, 0, &event, NULL), 0);
	assert_int_equal(keeper_signal(f->keeper, pid, SIGKILL, NULL), 0);
	event = next_event(f);
	assert_int_equal(event.pid, pid);
	assert_true(WIFSIGNALED(event.status));
	assert_int_equal(WTERMSIG(event.status), SIGKILL);
}

static void test_spawn_says_what_failed(void **state)
{
	struct fixture *f = *state;
	const char *argv[] = {"/nonexistent/program", NULL}, *bare[] = {"no-such-program-anywhere", NULL};
	struct keeper_process process = {.name = "x", .argv = argv};
	struct keeper_event event;
	struct error err = {0};
	pid_t pid = 12345;

	assert_int_equal(keeper_spawn(f->keeper, &process, &pid, &err), -1);
	assert_int_equal(err.code, ENOENT);
	assert_non_null(strstr(err.text, "/nonexistent/program"));
	process.argv = bare;
	assert_int_equal(keeper_spawn(f->keeper, &process, &pid, &err), -1);
	assert_int_equal(err.code, ENOENT);
	argv[0] = program;
	process.argv = argv;
	process.cwd = "/nonexistent/place";
	assert_int_equal(keeper_spawn(f->keeper, &process, &pid, &err), -1);
	assert_int_equal(err.code, ENOENT);
	assert_non_null(strstr(err.text, "/nonexistent/place"));
	process.cwd = NULL;
	process.output = "/nonexistent/log";
	assert_int_equal(keeper_spawn(f->keeper, &process, &pid, &err), -1);
	assert_non_null(strstr(err.text, "/nonexistent/log"));
	process.name = "a/b";
	assert_int_equal(keeper_spawn(f->keeper, &process, &pid, &err), -1);
	assert_int_equal(err.code, EINVAL);
	assert_int_equal(pid, 12345);
	/* None of them is an exit of the system's. */
	assert_int_equal(keeper_next_event(f->keeper, 0, &event, NULL), 0);
}

static void read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	assert_true(n >= 0);
	text[n] = '\0';
	close(fd);
}

static void test_a_process_starts_clean(void **state)
{
	struct fixture *f = *state;
	const char *argv[] = {program, "child", "hygiene", NULL}, *env[] = {"MARK=here", NULL};
	struct keeper_process process = {.name = "clean", .argv = argv, .env = env, .cwd = f->dir};
	char path[128], expected[512], text[2048];
	pid_t pid;
	int i;

	for (i = 0; i < 2; i++) { /* twice: the second appends */
		assert_int_equal(keeper_spawn(f->keeper, &process, &pid, NULL), 0);
		assert_int_equal(next_event(f).status, 0);
	}
	snprintf(expected, sizeof expected,
	    "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
	    "fds 3\nstdin /dev/null\nleader 1\nhere %s\nmark here\n",
	    f->dir);
	snprintf(path, sizeof path, "%s/clean.log", f->dir);
	read_text(path, text, sizeof text);
	assert_non_null(strstr(text, expected));
	assert_non_null(strstr(text, "on stderr\n"));
	assert_non_null(strstr(strstr(text, expected) + 1, expected));
}

static void test_separate_error_output(void **state)
{
	struct fixture *f = *state;
	const char *argv[] = {program, "child", "hygiene", NULL};
	char out[96], error[96], text[2048];
	struct keeper_process process = {.name = "two", .argv = argv, .output = out, .error_output = error};
	pid_t pid;

	snprintf(out, sizeof out, "%s/out", f->dir);
	snprintf(error, sizeof error, "%s/err", f->dir);
	assert_int_equal(keeper_spawn(f->keeper, &process, &pid, NULL), 0);
	assert_int_equal(next_event(f).status, 0);
	read_text(error, text, sizeof text);
	assert_string_equal(text, "on stderr\n");
	read_text(out, text, sizeof text);
	assert_null(strstr(text, "on stderr"));
}

static void test_signals_reach_only_the_system(void **state)
{
	struct fixture *f = *state;
	struct keeper_event event;
	struct error err = {0};
	pid_t deep;

	start_child(f->keeper, "d", "daemon", f->fifo);
	deep = heard(f);
	assert_int_equal(keeper_signal(f->keeper, getpid(), SIGTERM, &err), -1);
	assert_int_equal(err.code, ESRCH);
	assert_int_equal(keeper_signal(f->keeper, 1, SIGTERM, &err), -1);
	assert_int_equal(keeper_signal(f->keeper, keeper_pid(f->keeper), SIGKILL, &err), -1);
	assert_int_equal(keeper_signal(f->keeper, deep, SIGTERM, &err), 0);
	do
		event = next_event(f); /* the one in the middle may come first */
	while (event.pid != deep);
	assert_false(event.spawned);
	assert_int_equal(WTERMSIG(event.status), SIGTERM);
	assert_int_equal(event.start_ns, 0);
	assert_int_equal(keeper_signal(f->keeper, deep, SIGTERM, &err), -1);
	assert_int_equal(err.code, ESRCH);
}

static void test_a_daemon_is_found_and_ended(void **state)
{
	struct fixture *f = *state;
	unsigned killed = 99;
	struct look look;
	pid_t top, deep;
	int pidfd;

	top = start_child(f->keeper, "d", "stubborn-daemon", f->fifo);
	deep = heard(f);
	pidfd = hold(deep);
	look = look_for(f, deep);
	assert_int_equal(look.found.pid, deep);
	assert_true(look.found.start_time > 0);
	assert_string_equal(look.found.comm, "test_keeper");
	look = look_for(f, top);
	assert_int_equal(look.found.ppid, keeper_pid(f->keeper));
	assert_int_equal(keeper_stop(f->keeper, 0, &killed, NULL), 0);
	assert_int_equal(killed, 2);
	await_death(pidfd);
	assert_int_equal(look_for(f, 0).count, 0);
}

/* With what it has started: a command whose time is over leaves nobody behind. */
static void test_a_group_is_killed(void **state)
{
	struct fixture *f = *state;
	struct error err = {0};
	pid_t top = start_child(f->keeper, "p", "pair", f->fifo), child = heard(f);
	int pidfd = hold(child);

	assert_int_equal(keeper_kill(f->keeper, child, &err), -1); /* not started by the keeper */
	assert_int_equal(err.code, ESRCH);
	assert_int_equal(keeper_kill(f->keeper, top, &err), 0);
	await_death(pidfd);
	while (next_event(f).pid != top)
		;
	assert_int_equal(look_for(f, 0).count, 0);
	assert_int_equal(keeper_kill(f->keeper, top, &err), -1);
	assert_int_equal(err.code, ESRCH);
}

/* The keeper itself is killed, as by a system that takes it for its parent: whom it had does not live on without it. */
static void test_nothing_outlives_a_killed_keeper(void **state)
{
	struct fixture *f = *state;
	struct error err = {0};
	int pidfd;

	start_child(f->keeper, "d", "stubborn-daemon", f->fifo);
	pidfd = hold(heard(f));
	assert_int_equal(kill(keeper_pid(f->keeper), SIGKILL), 0);
	await_death(pidfd);
	assert_int_equal(keeper_stop(f->keeper, 0, NULL, &err), -1);
	assert_int_equal(err.code, ECONNRESET);
}

/* Who started it was killed, and can tell it nothing: that is not its fault. */
static void test_an_orphan_is_asked_to_end(void **state)
{
	struct fixture *f = *state;
	unsigned killed = 99;
	pid_t top, deep;

	top = start_child(f->keeper, "d", "daemon", f->fifo);
	deep = heard(f);
	assert_int_equal(keeper_signal(f->keeper, top, SIGKILL, NULL), 0);
	assert_int_equal(next_event(f).pid, top);
	assert_int_equal(look_for(f, deep).found.ppid, keeper_pid(f->keeper));
	assert_int_equal(keeper_stop(f->keeper, 3600000, &killed, NULL), 0);
	assert_int_equal(killed, 0);
}

static void test_stop_counts_the_stubborn(void **state)
{
	struct fixture *f = *state;
	unsigned killed = 99;
	pid_t stubborn;

	start_child(f->keeper, "one", "stay", f->fifo);
	heard(f);
	start_child(f->keeper, "two", "tidy", f->fifo);
	heard(f);
	/* Both end by themselves: the long grace is neither cut short nor waited out. */
	assert_int_equal(keeper_stop(f->keeper, 3600000, &killed, NULL), 0);
	assert_int_equal(killed, 0);
	assert_int_equal(WTERMSIG(next_event(f).status), SIGTERM);
	assert_int_equal(WEXITSTATUS(next_event(f).status), 33);

	/* Who was dead by then does not count, be it reaped or not: its parent has left it. */
	stubborn = start_child(f->keeper, "three", "stubborn-parent", f->fifo);
	heard(f);
	assert_int_equal(keeper_stop(f->keeper, 100, &killed, NULL), 0);
	assert_int_equal(killed, 1);
	assert_int_equal(WTERMSIG(next_event(f).status), SIGKILL);
	assert_int_equal(look_for(f, stubborn).count, 0);
	/* Nothing to stop is fine. */
	assert_int_equal(keeper_stop(f->keeper, 0, &killed, NULL), 0);
	assert_int_equal(killed, 0);
}

static void test_a_stopped_process_is_let_go_to_end(void **state)
{
	struct fixture *f = *state;
	unsigned killed = 99;
	pid_t pid = start_child(f->keeper, "s", "stay", f->fifo);

	heard(f);
	assert_int_equal(keeper_signal(f->keeper, pid, SIGSTOP, NULL), 0);
	assert_int_equal(keeper_stop(f->keeper, 3600000, &killed, NULL), 0);
	assert_int_equal(killed, 0);
}

/* SIGCONT takes back a SIGSTOP that is on its way: who traces the process, its own leak checker at the end, waits for that one. */
static void test_who_is_not_stopped_hears_nothing_but_the_end(void **state)
{
	struct fixture *f = *state;
	struct keeper_event event;
	unsigned killed = 99;
	pid_t pid = start_child(f->keeper, "r", "runs-on", f->fifo);

	assert_int_equal(heard(f), pid);
	assert_int_equal(keeper_stop(f->keeper, 3600000, &killed, NULL), 0);
	assert_int_equal(killed, 0);
	do
		event = next_event(f);
	while (event.pid != pid);
	assert_true(WIFEXITED(event.status));
	assert_int_equal(WEXITSTATUS(event.status), 33);
}

/* By the lock that its heads share: each look at /proc may miss them all. */
static bool storm_lives(struct fixture *f)
{
	int r = flock(f->fifo_fd, LOCK_EX | LOCK_NB);

	assert_true(r == 0 || errno == EWOULDBLOCK);
	if (r == 0)
		flock(f->fifo_fd, LOCK_UN);
	return r < 0;
}

static void test_a_fork_storm_is_ended(void **state)
{
	struct fixture *f = *state;
	struct error err = {0};

	start_child(f->keeper, "storm", "hydra", f->fifo);
	heard(f);
	assert_true(storm_lives(f));
	if (keeper_stop(f->keeper, 100, NULL, &err) < 0)
		fail_msg("%s", err.text);
	assert_false(storm_lives(f));
	assert_int_equal(look_for(f, 0).count, 0);
	/* It works on. */
	start_child(f->keeper, "after", "stay", f->fifo);
	assert_int_equal(look_for(f, heard(f)).count, 1);
}

static void test_destroy_ends_everything(void **state)
{
	struct fixture *f = *state;
	int top, deep, stubborn;

	top = hold(start_child(f->keeper, "d", "daemon", f->fifo));
	deep = hold(heard(f));
	stubborn = hold(start_child(f->keeper, "s", "stubborn", f->fifo));
	heard(f);
	keeper_destroy(f->keeper);
	f->keeper = NULL;
	await_death(top);
	await_death(deep);
	await_death(stubborn);
}

static void test_a_dead_keeper_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct keeper_event event;
	struct error err = {0};
	int top = hold(start_child(f->keeper, "s", "stubborn", f->fifo));

	heard(f);
	assert_int_equal(kill(keeper_pid(f->keeper), SIGKILL), 0);
	await_death(top); /* by the parent-death signal */
	assert_int_equal(keeper_next_event(f->keeper, -1, &event, &err), -1);
	assert_int_equal(err.code, ECONNRESET);
	assert_int_equal(keeper_stop(f->keeper, 0, NULL, &err), -1);
	assert_int_equal(err.code, ECONNRESET);
}

static void test_a_stopped_keeper_is_let_go(void **state)
{
	struct fixture *f = *state;
	struct error err = {0};
	unsigned killed = 99;

	start_child(f->keeper, "s", "stay", f->fifo);
	heard(f);
	assert_int_equal(kill(keeper_pid(f->keeper), SIGSTOP), 0);
	if (keeper_stop(f->keeper, 3600000, &killed, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(killed, 0);

	/* And where nobody asks it anything before the end. */
	start_child(f->keeper, "t", "stay", f->fifo);
	heard(f);
	assert_int_equal(kill(keeper_pid(f->keeper), SIGSTOP), 0);
	keeper_destroy(f->keeper);
	f->keeper = NULL;
}

static void test_a_silent_keeper_is_an_error(void **state)
{
	struct keeper_options options = {.request_ms = 50};
	struct keeper *keeper;
	struct error err = {0};

	(void)state;
	setenv("KEEPER_SAYS", "nothing", 1);
	assert_int_equal(keeper_start(&keeper, &options, &err), -1);
	assert_int_equal(err.code, ETIMEDOUT);
	setenv("KEEPER_SAYS", "hello", 1);
	options.request_ms = 3000; /* it has to be started in it, on a busy machine too */
	assert_int_equal(keeper_start(&keeper, &options, &err), 0);
	unsetenv("KEEPER_SAYS");
	assert_int_equal(keeper_stop(keeper, 0, NULL, &err), -1);
	assert_int_equal(err.code, ETIMEDOUT);
	/* What it may say later is an answer to nobody's question. */
	assert_int_equal(keeper_rule_clear(keeper, "x", &err), -1);
	assert_int_equal(err.code, ETIMEDOUT);
	keeper_destroy(keeper);
}

/* A host that is not root, with a system that becomes root: what keeper_stop says of it goes to `out`. */
static void __attribute__((noreturn)) lesser_host(struct fixture *f, const char *helper, int out)
{
	const char *argv[] = {helper, "child", "rootly", f->fifo, NULL};
	struct keeper_process process = {.name = "rootly", .argv = argv};
	struct keeper_options options = {0};
	struct keeper *keeper;
	struct error err = {0};
	pid_t pid;

	if (setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0 ||
	    keeper_start(&keeper, &options, &err) < 0 || keeper_spawn(keeper, &process, &pid, &err) < 0 ||
	    heard(f) != pid)
		_exit(1);
	err.code = 0;
	err.text[0] = '\0';
	if (keeper_stop(keeper, 0, NULL, &err) == 0)
		_exit(2);
	if (write(out, &pid, sizeof pid) < 0 || write(out, &err, sizeof err) < 0)
		_exit(1);
	keeper_destroy(keeper);
	_exit(0);
}

static void test_who_may_not_be_killed_is_left_behind(void **state)
{
	struct fixture *f = *state;
	char helper[96], command[PATH_MAX + 512], named[32];
	struct error err;
	int out[2], status;
	pid_t host, pid;

	if (geteuid() != 0)
		SKIP("only root can make a set-user-ID program that another user may not kill");
	snprintf(helper, sizeof helper, "%s/rootly", f->dir);
	snprintf(command, sizeof command, "cp '%s' %s && chmod 4755 %s && chmod 755 %s && chmod 666 %s", program,
	    helper, helper, f->dir, f->fifo);
	assert_int_equal(system(command), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	host = fork();
	if (host == 0)
		lesser_host(f, helper, out[1]);
	close(out[1]);
	assert_int_equal(read(out[0], &pid, sizeof pid), sizeof pid);
	assert_int_equal(kill(pid, SIGKILL), 0); /* whatever comes of the rest */
	assert_int_equal(read(out[0], &err, sizeof err), sizeof err);
	close(out[0]);
	assert_int_equal(waitpid(host, &status, 0), host);
	assert_int_equal(status, 0);
	assert_int_equal(err.code, EPERM);
	snprintf(named, sizeof named, " %d (rootly)", pid);
	assert_non_null(strstr(err.text, named));
}

/* What the host of the next test does, in a process of its own. */
static void __attribute__((noreturn)) doomed_host(struct fixture *f, int out)
{
	struct keeper_options options = {.log_dir = f->dir};
	struct keeper *keeper;
	pid_t pids[4];

	if (keeper_start(&keeper, &options, NULL) < 0)
		_exit(1);
	pids[0] = keeper_pid(keeper);
	pids[1] = start_child(keeper, "d", "daemon", f->fifo);
	pids[2] = heard(f);
	pids[3] = start_child(keeper, "s", "stubborn", f->fifo);
	heard(f);
	start_child(keeper, "storm", "hydra", f->fifo);
	heard(f);
	if (write(out, pids, sizeof pids) != (ssize_t)sizeof pids)
		_exit(1);
	for (;;)
		pause();
}

static void test_nothing_outlives_a_killed_host(void **state)
{
	struct fixture *f = *state;
	pid_t pids[4], host;
	int fds[4], out[2], i;

	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	host = fork();
	if (host == 0)
		doomed_host(f, out[1]);
	close(out[1]);
	assert_int_equal(read(out[0], pids, sizeof pids), sizeof pids);
	close(out[0]);
	for (i = 0; i < 4; i++)
		fds[i] = hold(pids[i]);
	assert_true(storm_lives(f));
	kill(host, SIGKILL);
	assert_int_equal(waitpid(host, NULL, 0), host);
	/* The keeper exits only when nothing is left below it, the storm included. */
	for (i = 0; i < 4; i++)
		await_death(fds[i]);
	assert_false(storm_lives(f));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	    T(test_exit_events),
	    T(test_spawn_says_what_failed),
	    T(test_a_process_starts_clean),
	    T(test_separate_error_output),
	    T(test_signals_reach_only_the_system),
	    T(test_a_daemon_is_found_and_ended),
	    T(test_a_group_is_killed),
	    T(test_nothing_outlives_a_killed_keeper),
	    T(test_an_orphan_is_asked_to_end),
	    T(test_stop_counts_the_stubborn),
	    T(test_a_stopped_process_is_let_go_to_end),
	    T(test_who_is_not_stopped_hears_nothing_but_the_end),
	    T(test_a_fork_storm_is_ended),
	    T(test_destroy_ends_everything),
	    T(test_a_dead_keeper_is_an_error),
	    T(test_a_stopped_keeper_is_let_go),
	    T(test_a_silent_keeper_is_an_error),
	    T(test_who_may_not_be_killed_is_left_behind),
	    T(test_nothing_outlives_a_killed_host),
	};
	ssize_t n;

	if (argc > 2 && !strcmp(argv[1], "__keeper") && getenv("KEEPER_SAYS"))
		return keeper_silent(atoi(argv[2]), getenv("KEEPER_SAYS"));
	if (argc > 1 && !strcmp(argv[1], "__keeper"))
		return keeper_main(argc - 1, argv + 1);
	if (argc > 2 && !strcmp(argv[1], "child"))
		return keeper_child(argc - 2, argv + 2);
	n = readlink("/proc/self/exe", program, sizeof program - 1);
	if (n < 0)
		return 1;
	program[n] = '\0';
	return cmocka_run_group_tests(tests, NULL, NULL);
}
