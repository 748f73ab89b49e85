/* SPDX-License-Identifier: Apache-2.0 */
/* The host's side of the keeper: requests and replies on one socket, events on another. What is
 * done with them is in keeper_main.c. */
#include "keeper/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "keeper/tree.h"
#include "wire/frame.h"

#define REQUEST_MS 60000
#define LOOK_MS    500 /* how often one that is waited for is asked whether it was stopped */

struct keeper {
	pthread_mutex_t lock; /* one request and its reply on `control` */
	int control, events;
	pid_t guard, pid; /* our child, and the keeper itself, which is that one's */
	int64_t request_ms;
	bool silent;                 /* it has not answered once: what it says now answers nothing */
	struct frame_reader *reader; /* of `events` */
};

/* ---- requests ---- */

struct request {
	msgpack_sbuffer buf;
	msgpack_packer pk;
};

/* `pairs` more pairs follow. */
static void request_begin(struct request *request, const char *op, uint32_t pairs)
{
	msgpack_sbuffer_init(&request->buf);
	msgpack_packer_init(&request->pk, &request->buf, msgpack_sbuffer_write);
	msgpack_pack_map(&request->pk, pairs + 1);
	frame_put_str(&request->pk, "op", op);
}

static void put_strings(msgpack_packer *pk, const char *key, const char *const *strings)
{
	uint32_t n = 0, i;

	msgpack_pack_str(pk, strlen(key));
	msgpack_pack_str_body(pk, key, strlen(key));
	if (!strings) {
		msgpack_pack_nil(pk);
		return;
	}
	while (strings[n])
		n++;
	msgpack_pack_array(pk, n);
	for (i = 0; i < n; i++) {
		msgpack_pack_str(pk, strlen(strings[i]));
		msgpack_pack_str_body(pk, strings[i], strlen(strings[i]));
	}
}

static int read_reply(const struct frame *reply, struct error *err)
{
	char text[sizeof err->text];
	int64_t code;

	if (!frame_get_int(&reply->value, "code", &code))
		return error_set(err, EPROTO, "the keeper's reply has no code");
	if (code == 0)
		return 0;
	if (!frame_get_str(&reply->value, "text", text, sizeof text))
		snprintf(text, sizeof text, "the keeper says no: %s", strerror((int)code));
	return error_set(err, (int)code, "%s", text);
}

/* What runs below it may stop it (its pid is their PPID), by mistake or not: then nothing would ever end. */
static void let_go_on(const struct keeper *keeper)
{
	struct tree_node node;

	if (keeper->guard > 0 && tree_read(keeper->guard, &node) && node.state == 'T')
		kill(keeper->guard, SIGCONT); /* our child, not reaped: the number is surely its */
	if (keeper->pid > 0 && tree_read(keeper->pid, &node) && node.state == 'T' && node.ppid == keeper->guard)
		kill(keeper->pid, SIGCONT);
}

/* Waits for a frame, `ms` at most: as frame_recv. */
static int await_frame(struct keeper *keeper, int64_t ms, struct frame *frame, struct error *err)
{
	struct pollfd p = {.fd = keeper->control, .events = POLLIN};
	int64_t until = clock_ms() + ms, left;

	while (poll(&p, 1, LOOK_MS) <= 0) {
		left = until - clock_ms();
		if (left <= 0) {
			keeper->silent = true;
			return error_set(
			    err, ETIMEDOUT, "the keeper (pid %d) does not answer: the run cannot go on", keeper->pid);
		}
		let_go_on(keeper);
	}
	return frame_recv(keeper->control, -1, frame, err); /* it is sent in one piece */
}

/* Sends the request, frees it, and leaves the reply in *reply (init'd). `more_ms`: longer than others take. */
static int request_end(
    struct keeper *keeper, struct request *request, int64_t more_ms, struct frame *reply, struct error *err)
{
	int r;

	pthread_mutex_lock(&keeper->lock);
	if (keeper->silent)
		r = error_set(err, ETIMEDOUT, "the keeper (pid %d) has not answered before", keeper->pid);
	else
		r = frame_send(keeper->control, &request->buf, err);
	if (r == 0) {
		r = await_frame(keeper, keeper->request_ms + more_ms, reply, err);
		r = r == 0 ? error_set(err, ECONNRESET, "the keeper is gone") : r < 0 ? -1 : 0;
	} else if (err && err->code == EPIPE) {
		error_set(err, ECONNRESET, "the keeper is gone");
	}
	pthread_mutex_unlock(&keeper->lock);
	msgpack_sbuffer_destroy(&request->buf);
	return r < 0 ? -1 : read_reply(reply, err);
}

static int request_simply(struct keeper *keeper, struct request *request, struct error *err)
{
	struct frame reply;
	int r;

	frame_init(&reply);
	r = request_end(keeper, request, 0, &reply, err);
	frame_finish(&reply);
	return r;
}

/* ---- its life ---- */

/* After fork in a process that may have threads: nothing but system calls. */
static void __attribute__((noreturn)) become_keeper(const char *program, int control, int events, char *const *argv)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (fcntl(control, F_SETFD, 0) == 0 && fcntl(events, F_SETFD, 0) == 0)
		execv(program, argv);
	_exit(127);
}

static int launch(struct keeper *keeper, const struct keeper_options *options, struct error *err)
{
	const char *program = options->program ? options->program : "/proc/self/exe";
	char verb[] = "__keeper", name[] = "tritone", control[16], events[16], seed[32], log_dir[PATH_MAX];
	char *argv[] = {name, verb, control, events, seed, log_dir, NULL};
	int c[2] = {-1, -1}, e[2] = {-1, -1};

	if (snprintf(log_dir, sizeof log_dir, "%s", options->log_dir ? options->log_dir : "") >= (int)sizeof log_dir)
		return error_set(err, ENAMETOOLONG, "%s: the path is too long", options->log_dir);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, c) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, e) < 0) {
		error_set(err, errno, "a socket for the keeper: %s", strerror(errno));
		goto fail;
	}
	snprintf(control, sizeof control, "%d", c[1]);
	snprintf(events, sizeof events, "%d", e[1]);
	snprintf(seed, sizeof seed, "%" PRIu64, options->seed);
	keeper->guard = fork();
	if (keeper->guard == 0)
		become_keeper(program, c[1], e[1], argv);
	if (keeper->guard < 0) {
		error_set(err, errno, "fork: %s", strerror(errno));
		goto fail;
	}
	close(c[1]);
	close(e[1]);
	keeper->control = c[0];
	keeper->events = e[0];
	return 0;
fail:
	if (c[0] >= 0) {
		close(c[0]);
		close(c[1]);
	}
	if (e[0] >= 0) {
		close(e[0]);
		close(e[1]);
	}
	return -1;
}

int keeper_start(struct keeper **ret_keeper, const struct keeper_options *options, struct error *err)
{
	struct keeper *keeper = calloc(1, sizeof *keeper);
	struct frame hello;
	int64_t pid;
	int r;

	if (!keeper)
		return error_set(err, ENOMEM, "no memory for the keeper");
	pthread_mutex_init(&keeper->lock, NULL);
	keeper->control = keeper->events = -1;
	keeper->guard = keeper->pid = -1;
	keeper->request_ms = options->request_ms ? options->request_ms : REQUEST_MS;
	if (frame_reader_create(&keeper->reader, err) < 0 || launch(keeper, options, err) < 0)
		goto fail;
	frame_init(&hello);
	r = await_frame(keeper, keeper->request_ms, &hello, err);
	if (r == 1)
		r = read_reply(&hello, err);
	else if (!keeper->silent)
		r = error_set(err, ECONNRESET, "the keeper did not start: is %s a tritone?",
		    options->program ? options->program : "this program");
	if (r == 0)
		keeper->pid = frame_get_int(&hello.value, "pid", &pid) ? (pid_t)pid : keeper->guard;
	frame_finish(&hello);
	if (r < 0)
		goto fail;
	*ret_keeper = keeper;
	return 0;
fail:
	keeper_destroy(keeper);
	return -1;
}

/* Until it is gone, however often it is stopped on its way. */
static void await_end(struct keeper *keeper)
{
	struct pollfd p = {.events = POLLIN};
	pid_t r;

	p.fd = (int)syscall(SYS_pidfd_open, keeper->guard, 0);
	for (;;) {
		r = waitpid(keeper->guard, NULL, p.fd < 0 ? 0 : WNOHANG);
		if (r == keeper->guard || (r < 0 && errno != EINTR))
			break;
		let_go_on(keeper);
		poll(&p, 1, LOOK_MS);
	}
	if (p.fd >= 0)
		close(p.fd);
}

void keeper_destroy(struct keeper *keeper)
{
	if (!keeper)
		return;
	if (keeper->control >= 0)
		close(keeper->control);
	if (keeper->events >= 0)
		close(keeper->events);
	if (keeper->guard > 0)
		await_end(keeper);
	frame_reader_destroy(keeper->reader);
	pthread_mutex_destroy(&keeper->lock);
	free(keeper);
}

pid_t keeper_pid(const struct keeper *keeper)
{
	return keeper->pid;
}

/* ---- processes ---- */

int keeper_spawn(struct keeper *keeper, const struct keeper_process *process, pid_t *ret_pid, struct error *err)
{
	struct request request;
	struct frame reply;
	int64_t pid;
	int r;

	request_begin(&request, "spawn", 7);
	frame_put_str(&request.pk, "name", process->name);
	put_strings(&request.pk, "argv", process->argv);
	put_strings(&request.pk, "env", process->env);
	frame_put_str(&request.pk, "cwd", process->cwd);
	frame_put_str(&request.pk, "output", process->output);
	frame_put_str(&request.pk, "error_output", process->error_output);
	frame_put_bool(&request.pk, "filter", process->filter);
	frame_init(&reply);
	r = request_end(keeper, &request, 0, &reply, err);
	if (r == 0 && !frame_get_int(&reply.value, "pid", &pid))
		r = error_set(err, EPROTO, "the keeper's reply has no pid");
	if (r == 0)
		*ret_pid = (pid_t)pid;
	frame_finish(&reply);
	return r;
}

int keeper_signal(struct keeper *keeper, pid_t pid, int signal, struct error *err)
{
	struct request request;

	request_begin(&request, "signal", 2);
	frame_put_int(&request.pk, "pid", pid);
	frame_put_int(&request.pk, "signal", signal);
	return request_simply(keeper, &request, err);
}

int keeper_kill(struct keeper *keeper, pid_t pid, struct error *err)
{
	struct request request;

	request_begin(&request, "kill", 1);
	frame_put_int(&request.pk, "pid", pid);
	return request_simply(keeper, &request, err);
}

int keeper_stop(struct keeper *keeper, int64_t grace_ms, unsigned *ret_killed, struct error *err)
{
	struct request request;
	struct frame reply;
	uint64_t killed;
	int r;

	request_begin(&request, "stop", 1);
	frame_put_int(&request.pk, "grace_ms", grace_ms);
	frame_init(&reply);
	r = request_end(keeper, &request, grace_ms, &reply, err);
	if (r == 0 && !frame_get_uint(&reply.value, "killed", &killed))
		r = error_set(err, EPROTO, "the keeper's reply has no count");
	if (r == 0 && ret_killed)
		*ret_killed = (unsigned)killed;
	frame_finish(&reply);
	return r;
}

int keeper_tree(
    const struct keeper *keeper, int (*visit)(void *arg, const struct keeper_node *node), void *arg, struct error *err)
{
	struct tree tree = {0};
	size_t i;
	int r;

	r = tree_scan(&tree, keeper->pid, err);
	for (i = 0; r == 0 && i < tree.count; i++) {
		const struct tree_node *from = &tree.nodes[i];
		struct keeper_node node = {
		    .pid = from->pid, .ppid = from->ppid, .start_time = from->start_time, .state = from->state};

		if (from->state == 'Z' || from->state == 'X')
			continue;
		memcpy(node.comm, from->comm, sizeof node.comm);
		if (visit(arg, &node))
			break;
	}
	tree_finish(&tree);
	return r;
}

/* ---- events ---- */

int keeper_event_fd(const struct keeper *keeper)
{
	return keeper->events;
}

static int read_event(const struct frame *frame, struct keeper_event *event, struct error *err)
{
	int64_t pid, status;

	memset(event, 0, sizeof *event);
	if (!frame_get_int(&frame->value, "pid", &pid) || !frame_get_int(&frame->value, "status", &status) ||
	    !frame_get_bool(&frame->value, "spawned", &event->spawned) ||
	    !frame_get_str(&frame->value, "name", event->name, sizeof event->name) ||
	    !frame_get_int(&frame->value, "start_ns", &event->start_ns) ||
	    !frame_get_int(&frame->value, "end_ns", &event->end_ns))
		return error_set(err, EPROTO, "an event of the keeper is incomplete");
	event->pid = (pid_t)pid;
	event->status = (int)status;
	return 1;
}

int keeper_next_event(struct keeper *keeper, int timeout_ms, struct keeper_event *ret_event, struct error *err)
{
	struct frame frame;
	char bytes[4096];
	int r;

	frame_init(&frame);
	while ((r = frame_reader_next(keeper->reader, &frame, err)) == 0) {
		struct pollfd p = {.fd = keeper->events, .events = POLLIN};
		ssize_t n;

		r = poll(&p, 1, timeout_ms);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			error_set(err, errno, "waiting for the keeper: %s", strerror(errno));
		if (r <= 0)
			break;
		n = recv(keeper->events, bytes, sizeof bytes, MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0) {
			r = error_set(err, ECONNRESET, "the keeper is gone");
			break;
		}
		r = frame_reader_feed(keeper->reader, bytes, (size_t)n, err);
		if (r < 0)
			break;
	}
	if (r == 1)
		r = read_event(&frame, ret_event, err);
	frame_finish(&frame);
	return r;
}

/* ---- rules ---- */

int keeper_rule_set(struct keeper *keeper, const struct tritone_errno_rule *rule, struct error *err)
{
	struct request request;

	request_begin(&request, "rule", 11);
	frame_put_uint(&request.pk, "mode", rule->mode);
	frame_put_str(&request.pk, "key", rule->key);
	frame_put_str(&request.pk, "path", rule->path);
	frame_put_uint(&request.pk, "calls", rule->calls);
	frame_put_int(&request.pk, "error", rule->error);
	frame_put_int(&request.pk, "delay_ms", rule->delay_ms);
	frame_put_uint(&request.pk, "first", rule->first);
	frame_put_uint(&request.pk, "every", rule->every);
	frame_put_uint(&request.pk, "count", rule->count);
	frame_put_double(&request.pk, "probability", rule->probability);
	frame_put_int(&request.pk, "lifetime_ms", rule->lifetime_ms);
	return request_simply(keeper, &request, err);
}

int keeper_rule_clear(struct keeper *keeper, const char *key, struct error *err)
{
	struct request request;

	request_begin(&request, "clear", 1);
	frame_put_str(&request.pk, "key", key);
	return request_simply(keeper, &request, err);
}

int keeper_rule_stats(struct keeper *keeper, const char *key, struct keeper_rule_stats *ret_stats, struct error *err)
{
	struct keeper_rule_stats stats = {0};
	struct request request;
	struct frame reply;
	int64_t pid;
	int r;

	request_begin(&request, "stats", 1);
	frame_put_str(&request.pk, "key", key);
	frame_init(&reply);
	r = request_end(keeper, &request, 0, &reply, err);
	if (r == 0 &&
	    (!frame_get_uint(&reply.value, "hits", &stats.hits) || !frame_get_uint(&reply.value, "seen", &stats.seen) ||
		!frame_get_str(&reply.value, "call", stats.call, sizeof stats.call) ||
		!frame_get_str(&reply.value, "path", stats.path, sizeof stats.path) ||
		!frame_get_int(&reply.value, "pid", &pid)))
		r = error_set(err, EPROTO, "the keeper's reply about a rule is incomplete");
	if (r == 0) {
		stats.pid = (pid_t)pid;
		*ret_stats = stats;
	}
	frame_finish(&reply);
	return r;
}
