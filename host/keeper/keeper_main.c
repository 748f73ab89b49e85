/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper's process: how it settles in, and its loop. Where the host goes away, everything below
 * goes with it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "keeper/keep.h"

int64_t keep_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* ---- the loop ---- */

static bool stop_goes_on(struct keep *keep)
{
	char left[KEEP_LEFT_SIZE] = "", text[256];
	unsigned killed = 0;

	if (keep_reap(keep)) {
		if (keep_now_ns() < keep->stop_ns)
			return true;
		killed = keep_kill_all(keep, left);
	}
	keep->stopping = false;
	if (left[0]) {
		snprintf(text, sizeof text, "processes that may not be killed are left behind: %s", left);
		return keep_reply(keep, EPERM, text, NULL, 0) == 0;
	}
	return keep_reply(keep, 0, "", "killed", killed) == 0;
}

static int wait_ms(const struct keep *keep)
{
	int64_t left = (keep->stop_ns - keep_now_ns() + 999999) / 1000000;

	if (keep->unreaped)
		return 0;
	if (!keep->stopping)
		return -1;
	return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

static void loop(struct keep *keep)
{
	for (;;) {
		struct pollfd p[] = {
		    {.fd = keep->signals, .events = POLLIN},
		    {.fd = keep->control, .events = keep->stopping ? 0 : POLLIN},
		    {.fd = keep->events, .events = keep->queue_used ? POLLOUT : 0},
		};

		if (poll(p, 3, wait_ms(keep)) < 0 && errno != EINTR)
			return;
		keep_drain_signals(keep);
		(void)keep_reap(keep);
		keep_flush(keep);
		if (p[1].revents & (POLLHUP | POLLERR | POLLNVAL))
			return;
		if (!keep->stopping && (p[1].revents & POLLIN) && !keep_serve(keep))
			return;
		/* At once too: when there is nothing to end, no signal will come to wake us. */
		if (keep->stopping && !stop_goes_on(keep))
			return;
	}
}

/* What both the keeper and its guard need. */
static int settle_in(struct keep *keep, struct error *err)
{
	static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGQUIT, SIGXFSZ, SIGUSR1, SIGUSR2};
	char path[PATH_MAX] = "/dev/null";
	size_t i;
	int null, log;

	for (i = 0; i < sizeof ignored / sizeof *ignored; i++)
		signal(ignored[i], SIG_IGN);
	(void)setsid(); /* fails only when we lead a session already */
	prctl(PR_SET_NAME, "tritone-keeper");
	if (keep->log_dir[0] && snprintf(path, sizeof path, "%s/keeper.log", keep->log_dir) >= (int)sizeof path)
		return error_set(err, ENAMETOOLONG, "%s: the path is too long", keep->log_dir);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (null < 0 || log < 0)
		return error_set(err, errno, "%s: %s", path, strerror(errno));
	if (dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(log, 2) < 0)
		return error_set(err, errno, "standard descriptors: %s", strerror(errno));
	if (null > 2)
		close(null);
	if (log > 2)
		close(log);
	return 0;
}

/* The process that will have the children. */
static int begin(struct keep *keep, struct error *err)
{
	sigset_t child;

	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return error_set(err, errno, "becoming a subreaper: %s", strerror(errno));
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &child, NULL) < 0)
		return error_set(err, errno, "blocking SIGCHLD: %s", strerror(errno));
	keep->signals = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
	if (keep->signals < 0)
		return error_set(err, errno, "signalfd: %s", strerror(errno));
	return 0;
}

static void end_all(struct keep *keep)
{
	char left[KEEP_LEFT_SIZE];

	(void)keep_kill_all(keep, left);
	if (left[0])
		fprintf(stderr, "keeper: processes that may not be killed are left behind: %s\n", left);
}

/*
 * The keeper's parent, that only waits for its end: should it be killed (by the system that knows it as its parent, or for want of memory),
 * all that was below it comes to here, and is ended.
 */
static int guard(pid_t keeper)
{
	struct keep keep = {.control = -1, .events = -1, .signals = -1};
	int status = 0;

	while (waitpid(keeper, &status, 0) < 0)
		if (errno != EINTR)
			return 1;
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	fprintf(stderr, "keeper: it was killed by signal %d; all that is left is ended\n", WTERMSIG(status));
	end_all(&keep);
	free(keep.queue);
	return 1;
}

static int serve(struct keep *keep, uint64_t seed)
{
	struct error err = {0};

	if (begin(keep, &err) < 0 || rules_create(&keep->rules, seed, &err) < 0) {
		(void)keep_reply_error(keep, &err);
		return 1;
	}
	if (keep_reply(keep, 0, "", "pid", getpid()) == 0)
		loop(keep);
	end_all(keep);
	notify_stop(keep->notify);
	rules_destroy(keep->rules);
	notified_free(&keep->filter);
	free(keep->spawned);
	free(keep->queue);
	close(keep->signals);
	return 0;
}

int keeper_main(int argc, char **argv)
{
	struct keep keep = {.control = -1, .events = -1, .signals = -1};
	struct error err = {0};
	uint64_t seed;
	pid_t pid;
	int r;

	if (argc != 5) {
		fprintf(stderr, "tritone __keeper is started by tritone itself\n");
		return 2;
	}
	keep.control = (int)strtol(argv[1], NULL, 10);
	keep.events = (int)strtol(argv[2], NULL, 10);
	seed = strtoull(argv[3], NULL, 10);
	keep.log_dir = argv[4];
	if (fcntl(keep.control, F_SETFD, FD_CLOEXEC) < 0 || fcntl(keep.events, F_SETFD, FD_CLOEXEC) < 0) {
		fprintf(stderr, "tritone __keeper is started by tritone itself\n");
		return 2;
	}
	if (settle_in(&keep, &err) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 || (pid = fork()) < 0) {
		if (!err.code)
			error_set(&err, errno, "the keeper's guard: %s", strerror(errno));
		(void)keep_reply_error(&keep, &err);
		return 1;
	}
	r = pid == 0 ? serve(&keep, seed) : 0;
	close(keep.control);
	close(keep.events);
	return pid == 0 ? r : guard(pid);
}
