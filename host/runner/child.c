/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runner process, `tritone __runner`. Two threads: the main one runs the hooks and owns the fault's time; the
 * listener reads the socket, so that neither a cancel nor the end of the host waits for a hook.
 *
 * Lock order: child.lock before child.send_lock; neither is held while a hook runs.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "runner/deadman.h"
#include "runner/prepare.h"

/* The host ends a fault in time, after a last look at what was felt of it; this end is for a host that cannot. */
#define EXPIRY_SLACK_MS 500

struct child {
	int fd, host_pidfd;
	int overrun_fd; /* a timer that runs while the fault reverts by itself */
	struct runner_setup setup;
	struct prepared prepared;
	pthread_mutex_t send_lock;
	uint64_t dropped; /* log lines and evidence that the host did not take in; under send_lock */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct runner_request *job; /* to do next; NULL: nothing */
	enum runner_hook running;
	uint64_t sequence; /* of the request at hand */
	bool host_gone, reverting, finished;
	bool planned;       /* there may be an undo record */
	bool effective;     /* inject or revert was begun: there may be something to undo */
	int64_t expires_ms; /* monotonic; 0: never */
	struct tritone_undo undo;
};

/* ---- to the host ---- */

static void send_reply(struct child *child, const struct runner_reply *reply)
{
	struct error ignored; /* the listener finds out that the host has gone */

	pthread_mutex_lock(&child->send_lock);
	protocol_send_reply(child->fd, reply, &ignored);
	pthread_mutex_unlock(&child->send_lock);
}

/* A host that is stopped or busy must not keep a fault from being reverted: chatter is dropped before it blocks. */
static bool crowded(struct child *child)
{
	int queued = 0, room = 0;
	socklen_t size = sizeof room;

	return ioctl(child->fd, SIOCOUTQ, &queued) == 0 &&
	       getsockopt(child->fd, SOL_SOCKET, SO_SNDBUF, &room, &size) == 0 && queued > room / 2;
}

static void send_chatter(struct child *child, const struct runner_reply *reply)
{
	struct error ignored;

	pthread_mutex_lock(&child->send_lock);
	if (crowded(child)) {
		child->dropped++;
	} else {
		if (child->dropped) {
			struct runner_reply note = {.kind = REPLY_LOG, .level = TRITONE_LOG_WARNING};

			snprintf(note.text, sizeof note.text, "%llu lines of log or evidence were lost here",
			    (unsigned long long)child->dropped);
			child->dropped = 0;
			protocol_send_reply(child->fd, &note, &ignored);
		}
		protocol_send_reply(child->fd, reply, &ignored);
	}
	pthread_mutex_unlock(&child->send_lock);
}

static void send_log(void *arg, uint32_t level, const char *text)
{
	struct runner_reply reply = {.kind = REPLY_LOG, .level = level};

	snprintf(reply.text, sizeof reply.text, "%s", text);
	send_chatter(arg, &reply);
}

static void send_evidence(void *arg, const char *name, const char *value)
{
	struct runner_reply reply = {.kind = REPLY_EVIDENCE};

	snprintf(reply.name, sizeof reply.name, "%s", name);
	snprintf(reply.text, sizeof reply.text, "%s", value);
	send_chatter(arg, &reply);
}

/* ---- the listener ---- */

static void post(struct child *child, const struct runner_request *request)
{
	struct runner_request *copy;

	if (request->hook == HOOK_CANCEL) {
		pthread_mutex_lock(&child->lock);
		if (child->sequence == request->sequence)
			hooks_cancel(child->prepared.hooks, true);
		pthread_mutex_unlock(&child->lock);
		return;
	}
	copy = malloc(sizeof *copy);
	if (!copy)
		return; /* no answer: the host's deadline */
	*copy = *request;
	pthread_mutex_lock(&child->lock);
	free(child->job);
	child->job = copy;
	child->sequence = copy->sequence;
	hooks_cancel(child->prepared.hooks, false);
	pthread_cond_broadcast(&child->changed);
	pthread_mutex_unlock(&child->lock);
}

/* The fault's time ran out, and its own revert hangs: the host, if it is there, can end this process and use a fresh
 * one. If it is not, its end of file is on the way. */
static void report_overrun(struct child *child)
{
	struct runner_reply reply = {.kind = REPLY_EXPIRED, .result = -1};
	uint64_t ticks;

	if (read(child->overrun_fd, &ticks, sizeof ticks) != (ssize_t)sizeof ticks)
		return;
	error_set(&reply.error, ETIMEDOUT, "its time ran out, and its revert hangs");
	send_reply(child, &reply);
}

/* Waits until `*flag` for one hook's time. Under the lock. */
static bool wait_for(struct child *child, const bool *flag)
{
	int64_t end = clock_ms() + child->setup.hook_timeout_ms;
	struct timespec until = {.tv_sec = end / 1000, .tv_nsec = end % 1000 * 1000000};

	while (!*flag)
		if (pthread_cond_timedwait(&child->changed, &child->lock, &until) == ETIMEDOUT)
			return *flag;
	return true;
}

static void host_gone(struct child *child)
{
	bool done;

	/* No malloc and no stdio from here to the exec: a hook that hangs may hold their locks. */
	dprintf(STDERR_FILENO, "%s: the host has gone\n", child->setup.entry.fault_id);
	pthread_mutex_lock(&child->lock);
	child->host_gone = true;
	if (child->running != HOOK_REVERT)
		hooks_cancel(child->prepared.hooks, true);
	pthread_cond_broadcast(&child->changed);
	done = wait_for(child, &child->reverting) && wait_for(child, &child->finished);
	if (!done && child->planned) {
		dprintf(STDERR_FILENO, "%s: %s hangs: starting afresh to revert\n", child->setup.entry.fault_id,
		    runner_hook_name(child->running));
		deadman_exec(child->setup.run_dir, child->setup.entry.fault_id, child->setup.hook_timeout_ms);
	}
	if (!done)
		kill(-getpgrp(), SIGKILL);
	pthread_mutex_unlock(&child->lock); /* finished: the main thread is on its way out */
}

static void *listener(void *arg)
{
	struct child *child = arg;
	struct runner_request *request = malloc(sizeof *request);
	struct error err = {0};
	struct frame frame;

	frame_init(&frame);
	while (request) {
		struct pollfd p[2] = {{.fd = child->fd, .events = POLLIN}, {.fd = child->overrun_fd, .events = POLLIN}};

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[1].revents)
			report_overrun(child);
		if (!p[0].revents)
			continue;
		if (frame_recv(child->fd, (int)child->setup.hook_timeout_ms, &frame, &err) <= 0 ||
		    protocol_parse_request(&frame.value, request, &err) < 0)
			break;
		post(child, request);
	}
	host_gone(child);
	frame_finish(&frame);
	free(request);
	return NULL;
}

/* ---- the main thread ---- */

static void set_overrun(struct child *child, int64_t ms)
{
	const struct itimerspec timer = {.it_value = {ms / 1000, ms % 1000 * 1000000}};

	timerfd_settime(child->overrun_fd, 0, &timer, NULL);
}

static void run_job(struct child *child, struct runner_request *job)
{
	struct runner_reply reply = {.kind = REPLY_DONE, .sequence = job->sequence};
	enum runner_hook hook = job->hook;

	pthread_mutex_lock(&child->lock);
	if (job->has_undo)
		child->undo = job->undo;
	if (hook == HOOK_INJECT || hook == HOOK_REVERT)
		child->effective = child->planned = true;
	pthread_mutex_unlock(&child->lock);

	hooks_run(child->prepared.hooks, hook, &child->undo, &reply);

	pthread_mutex_lock(&child->lock);
	if (reply.result == 0 && hook == HOOK_PLAN) {
		child->undo = reply.undo;
		child->planned = true;
	}
	if (reply.result == 0 && hook == HOOK_INJECT && child->setup.entry.duration_ms > 0)
		child->expires_ms = clock_ms() + child->setup.entry.duration_ms + EXPIRY_SLACK_MS;
	if (reply.result == 0 && hook == HOOK_REVERT) {
		child->effective = false;
		child->expires_ms = 0;
	}
	child->running = HOOK_NONE;
	pthread_mutex_unlock(&child->lock);
	send_reply(child, &reply);
}

static void run_expiry(struct child *child)
{
	struct runner_reply reply = {0};

	set_overrun(child, child->setup.hook_timeout_ms);
	hooks_run(child->prepared.hooks, HOOK_REVERT, &child->undo, &reply);
	set_overrun(child, 0);
	pthread_mutex_lock(&child->lock);
	child->expires_ms = 0;
	if (reply.result == 0)
		child->effective = false;
	child->running = HOOK_NONE;
	pthread_mutex_unlock(&child->lock);
	reply.kind = REPLY_EXPIRED;
	send_reply(child, &reply);
}

/* One thing to do, done. False: the host has gone. */
static bool serve_once(struct child *child)
{
	struct runner_request *job;
	bool expired = false;

	pthread_mutex_lock(&child->lock);
	while (!child->host_gone && !child->job && !expired) {
		struct timespec until = {
		    .tv_sec = child->expires_ms / 1000, .tv_nsec = child->expires_ms % 1000 * 1000000};

		if (!child->expires_ms)
			pthread_cond_wait(&child->changed, &child->lock);
		else if (clock_ms() >= child->expires_ms)
			expired = true;
		else
			pthread_cond_timedwait(&child->changed, &child->lock, &until);
	}
	if (child->host_gone) {
		pthread_mutex_unlock(&child->lock);
		return false;
	}
	job = child->job;
	child->job = NULL;
	child->running = job ? job->hook : HOOK_REVERT;
	pthread_mutex_unlock(&child->lock);
	if (job)
		run_job(child, job);
	else
		run_expiry(child);
	free(job);
	return true;
}

static int dead_man(struct child *child)
{
	const char *id = child->setup.entry.fault_id;
	struct runner_reply reply = {0};
	struct error err = {0};
	bool effective;
	int status = 0;

	pthread_mutex_lock(&child->lock);
	child->reverting = true;
	child->running = HOOK_REVERT;
	effective = child->effective;
	hooks_cancel(child->prepared.hooks, false);
	pthread_cond_broadcast(&child->changed);
	pthread_mutex_unlock(&child->lock);
	if (effective)
		hooks_run(child->prepared.hooks, HOOK_REVERT, &child->undo, &reply);
	if (reply.result < 0) {
		fprintf(stderr, "%s: still outstanding: %s\n", id, reply.error.text);
		status = 5;
	} else if (child->planned) {
		if (deadman_settle(child->setup.run_dir, id, child->prepared.hooks, effective, child->host_pidfd,
			child->setup.hook_timeout_ms, &err) < 0) {
			fprintf(stderr, "%s: %s, its record stays outstanding: %s\n", id,
			    effective ? "reverted" : "not reverted", err.text);
			status = 5;
		} else {
			fprintf(stderr, "%s: reverted without the host\n", id);
		}
	}
	pthread_mutex_lock(&child->lock);
	child->finished = true;
	pthread_cond_broadcast(&child->changed);
	pthread_mutex_unlock(&child->lock);
	return status;
}

/* ---- loading ---- */

static void set_alarm(int64_t ms)
{
	const struct itimerval timer = {.it_value = {ms / 1000, ms % 1000 * 1000}};

	setitimer(ITIMER_REAL, &timer, NULL);
}

static void describe(const struct child *child, struct plugin_info *ret_info)
{
	const struct tritone_fault *fault = &child->prepared.plugin.fault;

	/* Only packed from, never freed: the casts take nothing away. */
	*ret_info = (struct plugin_info){
	    .name = (char *)(uintptr_t)fault->name,
	    .version = (char *)(uintptr_t)fault->version,
	    .summary = (char *)(uintptr_t)fault->summary,
	    .path = (char *)(uintptr_t)child->setup.entry.plugin,
	    .abi = fault->abi,
	    .blast = fault->blast,
	    .capabilities = fault->capabilities,
	    .proof_ms = fault->proof_ms ? fault->proof_ms : 5000,
	    .params = (struct tritone_param *)(uintptr_t)fault->params,
	    .param_count = fault->param_count,
	};
}

/* The first request must be a load; answers it. */
static int load(struct child *child)
{
	const struct hooks_sink sink = {.arg = child, .log = send_log, .evidence = send_evidence};
	struct runner_request *request = malloc(sizeof *request);
	struct runner_reply reply = {.kind = REPLY_DONE};
	struct plugin_info info;
	struct error err = {0};
	struct frame frame;
	int r = -1;

	frame_init(&frame);
	if (!request || frame_recv(child->fd, -1, &frame, &err) <= 0 ||
	    protocol_parse_request(&frame.value, request, &err) < 0 || request->hook != HOOK_LOAD)
		goto out;
	child->setup = request->setup;
	if (request->has_undo) { /* only here to revert: so it must be done even if nobody asks any more */
		child->undo = request->undo;
		child->planned = child->effective = true;
	}
	reply.sequence = child->sequence = request->sequence;
	/* Nobody listens yet: a constructor that hangs while the host goes away must not stay for ever. */
	set_alarm(2 * child->setup.hook_timeout_ms + 1000);
	reply.result = r = prepare(&child->prepared, &child->setup, &sink, RUNNER_FD, !request->has_undo, &reply.error);
	set_alarm(0);
	if (r == 0) {
		describe(child, &info);
		reply.info = &info;
	}
	send_reply(child, &reply);
out:
	frame_finish(&frame);
	free(request);
	return r;
}

static int init_locks(struct child *child)
{
	return clock_cond_init(&child->changed) || pthread_mutex_init(&child->lock, NULL) ||
		       pthread_mutex_init(&child->send_lock, NULL)
		   ? -1
		   : 0;
}

static int serve(void)
{
	const struct runner_reply hello = {.kind = REPLY_DONE};
	struct child *child = calloc(1, sizeof *child);
	pthread_t thread;
	int type, status;
	socklen_t size = sizeof type;

	if (getsockopt(RUNNER_FD, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_STREAM) {
		fputs("tritone __runner is started by tritone itself, with a socket as descriptor 3\n", stderr);
		free(child);
		return 2;
	}
	if (!child || init_locks(child) < 0 || fcntl(RUNNER_FD, F_SETFD, FD_CLOEXEC) < 0) {
		free(child);
		return 1;
	}
	child->fd = RUNNER_FD;
	send_reply(child, &hello);
	if (load(child) < 0)
		return 1;
	if (child->setup.describe_only)
		return 0;
	child->host_pidfd = pidfd_open(getppid(), 0);
	child->overrun_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (child->overrun_fd < 0 || pthread_create(&thread, NULL, listener, child))
		return 1;
	while (serve_once(child))
		;
	status = dead_man(child);
	pthread_join(thread, NULL);
	return status;
}

int runner_main(int argc, char **argv)
{
	static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	int status = 2;
	size_t i;

	for (i = 0; i < sizeof ignored / sizeof *ignored; i++)
		sigaction(ignored[i], &ignore, NULL);
	if (chdir("/") < 0)
		return 1;
	setvbuf(stderr, NULL, _IOLBF, 0);
	if (argc == 1)
		status = serve();
	else if (argc == 5 && !strcmp(argv[1], "--revert"))
		status = deadman_main(argv[2], argv[3], strtoll(argv[4], NULL, 10));
	else
		fputs("tritone __runner is internal\n", stderr);
	if (status != 2 && getpgrp() == getpid()) /* what the plugin has started, and has not ended, goes with it */
		kill(0, SIGKILL);
	_exit(status);
}
