/* SPDX-License-Identifier: Apache-2.0 */
/* The host's end of one runner process; see channel.h. */
#include "runner/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "runner/starved.h"

#define GRACE_MS_MAX  1000              /* between telling a hook to return and ending its process */
#define READY_MS      10                /* until one is looked at again that has no processor */
#define TAKE_SIZE_MAX ((size_t)1 << 16) /* bytes between two looks at the clock */

struct channel {
	struct channel_options options;
	pid_t pid;
	int pidfd, fd;
	bool alive;
	struct frame_reader *reader;
	uint64_t sequence;
	enum runner_hook hook; /* the one asked for last */
	enum runner_failure failure;
	int expired;
	struct error expired_error;
	struct error ended; /* how the process ended */
};

/* ---- starting ---- */

/* Between fork and exec of a host with threads: async-signal-safe calls only. Signals are blocked until the ones that
 * may hit the terminal's whole process group are ignored. */
static void child_exec(int fd, int log_fd) __attribute__((noreturn));
static void child_exec(int fd, int log_fd)
{
	static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	char name[] = "tritone", verb[] = "__runner", self[] = "/proc/self/exe";
	char *const argv[] = {name, verb, NULL};
	struct sigaction ignore = {.sa_handler = SIG_IGN}, normal = {.sa_handler = SIG_DFL};
	sigset_t none;
	size_t i;

	setsid();
	for (i = 0; i < sizeof ignored / sizeof *ignored; i++)
		sigaction(ignored[i], &ignore, NULL);
	sigaction(SIGALRM, &normal, NULL);
	sigaction(SIGCHLD, &normal, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (log_fd == RUNNER_FD && (log_fd = fcntl(log_fd, F_DUPFD_CLOEXEC, RUNNER_FD + 1)) < 0)
		_exit(126);
	if (fd == RUNNER_FD ? fcntl(fd, F_SETFD, 0) < 0 : dup2(fd, RUNNER_FD) < 0)
		_exit(126);
	if (log_fd >= 0 && (dup2(log_fd, STDOUT_FILENO) < 0 || dup2(log_fd, STDERR_FILENO) < 0))
		_exit(126);
	execv(self, argv);
	_exit(127);
}

static int open_output(const char *log_path, struct error *err)
{
	const char *path = log_path ? log_path : "/dev/null";
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

	return fd < 0 ? error_set(err, errno, "%s: %s", path, strerror(errno)) : fd;
}

static int start(struct channel *channel, struct error *err)
{
	int pair[2], log_fd;
	sigset_t all, old;

	log_fd = open_output(channel->options.log_path, err);
	if (log_fd < 0)
		return -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		close(log_fd);
		return error_set(err, errno, "no socket pair for a fault runner: %s", strerror(errno));
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	channel->pid = fork();
	if (channel->pid == 0)
		child_exec(pair[1], log_fd);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	close(pair[1]);
	close(log_fd);
	channel->fd = pair[0];
	if (channel->pid < 0)
		return error_set(err, errno, "no process for a fault runner: %s", strerror(errno));
	channel->alive = true;
	channel->pidfd = pidfd_open(channel->pid, 0);
	if (channel->pidfd < 0)
		return error_set(err, errno, "no pidfd for a fault runner: %s", strerror(errno));
	return 0;
}

/* ---- ending ---- */

static void reap(struct channel *channel)
{
	siginfo_t info = {0};
	const char *hook = runner_hook_name(channel->hook);

	if (!channel->alive)
		return;
	/* The pid still names our zombie, so that its session cannot be another's: what it has started goes with it. */
	while (waitid(P_PID, (id_t)channel->pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
		;
	kill(-channel->pid, SIGKILL);
	while (waitid(P_PID, (id_t)channel->pid, &info, WEXITED) < 0 && errno == EINTR)
		;
	channel->alive = false;
	if (info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED)
		error_set(&channel->ended, EPROTO, "the plugin's process crashed in %s: killed by SIG%s", hook,
		    sigabbrev_np(info.si_status) ? sigabbrev_np(info.si_status) : "?");
	else
		error_set(&channel->ended, EPROTO, "the plugin's process ended itself in %s with exit status %d", hook,
		    info.si_status);
}

void channel_kill(struct channel *channel)
{
	if (!channel->alive)
		return;
	kill(-channel->pid, SIGKILL);
	kill(channel->pid, SIGKILL); /* in case that it has not come as far as setsid */
	reap(channel);
}

void channel_close(struct channel *channel)
{
	if (!channel)
		return;
	channel_kill(channel); /* before the socket closes, which would be the dead-man switch */
	if (channel->fd >= 0)
		close(channel->fd);
	if (channel->pidfd >= 0)
		close(channel->pidfd);
	frame_reader_destroy(channel->reader);
	free(channel);
}

bool channel_alive(const struct channel *channel)
{
	return channel->alive;
}

int channel_fd(const struct channel *channel)
{
	return channel->fd;
}

enum runner_failure channel_failure(const struct channel *channel)
{
	return channel->failure;
}

int channel_expired(const struct channel *channel, struct error *err)
{
	if (channel->expired < 0 && err)
		*err = channel->expired_error;
	return channel->expired;
}

int channel_ended(const struct channel *channel, struct error *err)
{
	if (err)
		*err = channel->ended;
	return -1;
}

/* ---- listening ---- */

/* 1: *reply is the answer that was waited for; 0: something else; -1: the stream is bad. */
static int dispatch(struct channel *channel, const msgpack_object *value, struct runner_reply *reply, struct error *err)
{
	const struct channel_options *o = &channel->options;

	if (protocol_parse_reply(value, reply, err) < 0)
		return -1;
	switch (reply->kind) {
	case REPLY_DONE:
		if (reply->sequence == channel->sequence)
			return 1;
		plugin_info_free(reply->info); /* the late answer of a hook that was given up */
		break;
	case REPLY_LOG:
		if (o->log)
			o->log(o->arg, reply->level, reply->text);
		break;
	case REPLY_EVIDENCE:
		if (o->evidence)
			o->evidence(o->arg, reply->name, reply->text);
		break;
	case REPLY_EXPIRED:
		channel->expired = reply->result < 0 ? -1 : 1;
		channel->expired_error = reply->error;
		break;
	}
	return 0;
}

/* Reads what is there. 1: the answer; 0: nothing more now; 2: enough for one go, whoever talks without end must not keep
 * us here; -1: the stream is bad; -2: end of file. */
static int take(struct channel *channel, struct runner_reply *reply, struct error *err)
{
	uint8_t bytes[16384];
	struct frame frame;
	size_t total = 0;
	ssize_t n;
	int r;

	frame_init(&frame);
	for (;;) {
		while ((r = frame_reader_next(channel->reader, &frame, err)) > 0) {
			r = dispatch(channel, &frame.value, reply, err);
			frame_finish(&frame);
			if (r)
				return r;
		}
		if (r < 0)
			break;
		if (total >= TAKE_SIZE_MAX) {
			r = 2;
			break;
		}
		n = recv(channel->fd, bytes, sizeof bytes, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0) {
			r = -2;
			break;
		}
		if (frame_reader_feed(channel->reader, bytes, (size_t)n, err) < 0) {
			r = -1;
			break;
		}
		total += (size_t)n;
	}
	frame_finish(&frame);
	return r;
}

static int gone(struct channel *channel, struct error *err)
{
	/* End of file without an end: the plugin has closed our socket. Nothing can be said to it any more. */
	struct pollfd p = {.fd = channel->pidfd, .events = POLLIN};

	if (channel->alive && poll(&p, 1, GRACE_MS_MAX) <= 0)
		kill(channel->pid, SIGKILL);
	reap(channel);
	channel->failure = RUNNER_FAILURE_CRASHED;
	return channel_ended(channel, err);
}

static int garbled(struct channel *channel, struct error *err)
{
	channel_kill(channel);
	channel->failure = RUNNER_FAILURE_CRASHED;
	error_set(&channel->ended, EPROTO, "the plugin has written over the runner's socket in %s: %s",
	    runner_hook_name(channel->hook), err->text);
	return channel_ended(channel, err);
}

/* ---- asking ---- */

struct waiting {
	int64_t deadline;
	struct starved at_first, before; /* when it was asked, and when the deadline was last put off */
	bool watch_interrupt;
	bool told; /* the hook was told to return */
	bool interrupted, timed_out;
};

static void give(const struct channel *channel, struct waiting *w, int64_t ms)
{
	starved_look(channel->pid, &w->at_first);
	w->before = w->at_first;
	w->deadline = clock_ms() + ms;
}

/* What a busy machine keeps from the process is no time of the hook's; one that hangs waits for no processor, or has had its share. */
static bool is_past(const struct channel *channel, struct waiting *w)
{
	struct starved now;
	int64_t waited_us;

	if (clock_ms() < w->deadline)
		return false;
	starved_look(channel->pid, &now);
	waited_us = now.waited_us - w->before.waited_us;
	w->before = now;
	if (waited_us >= 1000)
		w->deadline += waited_us / 1000;
	else if (now.ready && now.ran_us - w->at_first.ran_us < channel->options.hook_timeout_ms * 1000)
		w->deadline = clock_ms() + READY_MS;
	else
		return true;
	return false;
}

static void tell(struct channel *channel, struct waiting *w)
{
	const struct runner_request cancel = {.hook = HOOK_CANCEL, .sequence = channel->sequence};
	struct error ignored;
	int64_t grace =
	    channel->options.hook_timeout_ms < GRACE_MS_MAX ? channel->options.hook_timeout_ms : GRACE_MS_MAX;

	w->told = true;
	w->watch_interrupt = false;
	give(channel, w, grace);
	protocol_send_request(channel->fd, &cancel, &ignored); /* a failure shows as the end of the process */
}

static int hung(struct channel *channel, const struct waiting *w, bool killed, struct error *err)
{
	if (w->interrupted) {
		channel->failure = RUNNER_FAILURE_NONE;
		error_set(&channel->ended, ECANCELED, "interrupted in %s", runner_hook_name(channel->hook));
		return channel_ended(channel, err);
	}
	channel->failure = RUNNER_FAILURE_HUNG;
	error_set(&channel->ended, ETIMEDOUT, "the plugin hung in %s: no answer within %lld ms%s",
	    runner_hook_name(channel->hook), (long long)channel->options.hook_timeout_ms,
	    killed ? "; its process was killed" : "");
	return channel_ended(channel, err);
}

/* Past the deadline: the hook is told to return, then its process is ended. */
static int late(struct channel *channel, struct waiting *w, struct error *err)
{
	if (w->told) {
		channel_kill(channel);
		return hung(channel, w, true, err);
	}
	w->timed_out = true;
	tell(channel, w);
	return 0;
}

/* One wait for the answer: 1 answered, 0 again, -1 given up. */
static int wait_once(struct channel *channel, struct waiting *w, struct runner_reply *reply, struct error *err)
{
	struct pollfd p[3] = {
	    {.fd = channel->fd, .events = POLLIN},
	    {.fd = channel->pidfd, .events = POLLIN},
	    {.fd = w->watch_interrupt ? channel->options.interrupt_fd : -1, .events = POLLIN},
	};
	int64_t left = w->deadline - clock_ms();
	struct error local = {0};
	int r;

	r = poll(p, 3, left > 0 ? (int)left : 0);
	if (r < 0 && errno != EINTR)
		return error_set(err, errno, "waiting for a fault runner: %s", strerror(errno));
	if (r < 0)
		return 0;
	r = p[0].revents || p[1].revents ? take(channel, reply, &local) : 0;
	if (r == 1)
		return 1;
	if (r == -1) {
		if (err)
			*err = local;
		return garbled(channel, err ? err : &local);
	}
	if (r == -2 || (r == 0 && p[1].revents))
		return gone(channel, err);
	if (p[2].revents && !w->told) {
		w->interrupted = true;
		tell(channel, w);
	} else if (is_past(channel, w)) { /* not only where nothing has come: a hook may talk for ever */
		return late(channel, w, err);
	}
	return 0;
}

int channel_ask(struct channel *channel, struct runner_request *request, bool must_finish,
    struct runner_reply *ret_reply, struct error *err)
{
	struct waiting w = {.watch_interrupt = !must_finish && channel->options.interrupt_fd >= 0};
	struct error ignored;
	int r;

	channel->hook = request->hook;
	if (!channel->alive)
		return channel_ended(channel, err);
	channel->failure = RUNNER_FAILURE_NONE;
	channel->sequence++;
	request->sequence = channel->sequence;
	protocol_send_request(channel->fd, request, &ignored); /* as in tell() */
	give(channel, &w, channel->options.hook_timeout_ms);
	do
		r = wait_once(channel, &w, ret_reply, err);
	while (r == 0);
	if (r < 0)
		return -1;
	if (w.timed_out) {
		plugin_info_free(ret_reply->info);
		return hung(channel, &w, false, err);
	}
	if (ret_reply->result == 0)
		return 0; /* done, even if an interrupt came meanwhile */
	if (w.interrupted)
		return hung(channel, &w, false, err);
	channel->failure = RUNNER_FAILURE_REFUSED;
	if (err)
		*err = ret_reply->error;
	return -1;
}

/* The process says hello once it runs: what it takes to start one is no hook's time. */
static int greet(struct channel *channel, struct error *err)
{
	struct runner_reply *reply = malloc(sizeof *reply);
	struct waiting w = {.told = true};
	int r;

	if (!reply)
		return error_set(err, ENOMEM, "no memory for a fault runner");
	give(channel, &w, RUNNER_TIMEOUT_MS);
	do
		r = wait_once(channel, &w, reply, err);
	while (r == 0);
	free(reply);
	return r < 0 ? -1 : 0;
}

int channel_open(struct channel **ret_channel, const struct channel_options *options, struct error *err)
{
	struct channel *channel = calloc(1, sizeof *channel);

	if (!channel)
		return error_set(err, ENOMEM, "no memory for a fault runner");
	channel->options = *options;
	channel->fd = channel->pidfd = -1;
	if (frame_reader_create(&channel->reader, err) < 0 || start(channel, err) < 0 || greet(channel, err) < 0) {
		channel_close(channel);
		return -1;
	}
	*ret_channel = channel;
	return 0;
}

void channel_drain(struct channel *channel)
{
	struct runner_reply *reply;
	struct error err = {0};
	struct pollfd p = {.fd = channel->pidfd, .events = POLLIN};
	bool dead;
	int r;

	if (!channel->alive)
		return;
	dead = poll(&p, 1, 0) > 0;
	reply = malloc(sizeof *reply);
	if (!reply)
		return; /* asked again later */
	while ((r = take(channel, reply, &err)) == 1)
		plugin_info_free(reply->info);
	free(reply);
	if (r == -1)
		garbled(channel, &err);
	else if (r == -2 || (r == 0 && dead))
		gone(channel, &err);
}
