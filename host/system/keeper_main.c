/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper's process: its loop, the host's requests, the exits of its children. Where the host
 * goes away, everything below goes with it. Rules are judged in notify.c. */
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
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "system/filter.h"
#include "system/keeper.h"
#include "system/notify.h"
#include "system/rules.h"
#include "system/spawn.h"
#include "system/system.h"
#include "system/tree.h"
#include "wire/frame.h"

#define EVENTS_SIZE_MAX (16u << 20) /* bytes that wait for a slow host; beyond, orphans go unreported */

struct spawned {
	pid_t pid;
	int64_t start_ns;
	char name[64];
};

struct keep {
	int control, events, signals;
	const char *log_dir;
	struct spawned *spawned; /* alive or not yet reaped */
	size_t spawned_count, spawned_room;
	uint8_t *queue; /* of events */
	size_t queue_used, queue_room;
	struct sock_fprog filter; /* made at its first use */
	struct rules *rules;
	struct notify *notify; /* started at its first use */
	bool stopping;
	int64_t stop_ns;
};

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* ---- events ---- */

static void queue_flush(struct keep *keep)
{
	while (keep->queue_used) {
		ssize_t n = send(keep->events, keep->queue, keep->queue_used, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return; /* full: later; broken: the control socket says so too */
		keep->queue_used -= (size_t)n;
		memmove(keep->queue, keep->queue + n, keep->queue_used);
	}
}

static bool queue_add(struct keep *keep, const msgpack_sbuffer *buf)
{
	const size_t need = keep->queue_used + 4 + buf->size;
	const uint32_t size = (uint32_t)buf->size;
	const uint8_t head[4] = {(uint8_t)(size >> 24), (uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size};

	if (need > keep->queue_room) {
		uint8_t *grown = realloc(keep->queue, need * 2);

		if (!grown)
			return false;
		keep->queue = grown;
		keep->queue_room = need * 2;
	}
	memcpy(keep->queue + keep->queue_used, head, 4);
	memcpy(keep->queue + keep->queue_used + 4, buf->data, buf->size);
	keep->queue_used = need;
	return true;
}

static void report(struct keep *keep, const struct keeper_event *event)
{
	msgpack_sbuffer buf;
	msgpack_packer pk;

	if (!event->spawned && keep->queue_used > EVENTS_SIZE_MAX)
		return;
	msgpack_sbuffer_init(&buf);
	msgpack_packer_init(&pk, &buf, msgpack_sbuffer_write);
	msgpack_pack_map(&pk, 6);
	frame_put_int(&pk, "pid", event->pid);
	frame_put_int(&pk, "status", event->status);
	frame_put_bool(&pk, "spawned", event->spawned);
	frame_put_str(&pk, "name", event->name);
	frame_put_int(&pk, "start_ns", event->start_ns);
	frame_put_int(&pk, "end_ns", event->end_ns);
	if (!queue_add(keep, &buf))
		fprintf(stderr, "keeper: no memory to report the exit of %d\n", event->pid);
	msgpack_sbuffer_destroy(&buf);
	queue_flush(keep);
}

/* ---- children ---- */

static struct spawned *spawned_find(struct keep *keep, pid_t pid)
{
	size_t i;

	for (i = 0; i < keep->spawned_count; i++)
		if (keep->spawned[i].pid == pid)
			return &keep->spawned[i];
	return NULL;
}

static void describe(struct keep *keep, pid_t pid, struct keeper_event *event)
{
	struct spawned *spawned = spawned_find(keep, pid);
	struct tree_node node;

	memset(event, 0, sizeof *event);
	event->pid = pid;
	event->end_ns = now_ns();
	if (spawned) {
		event->spawned = true;
		event->start_ns = spawned->start_ns;
		memcpy(event->name, spawned->name, sizeof event->name);
		*spawned = keep->spawned[--keep->spawned_count];
	} else if (tree_read(pid, &node)) {
		snprintf(event->name, sizeof event->name, "%s", node.comm);
	}
}

/* Reaps and reports whoever has exited. False: no child at all is left, and as all orphans end up
 * here, no descendant either. */
static bool reap(struct keep *keep)
{
	for (;;) {
		struct keeper_event event;
		siginfo_t info = {0};

		/* Looked at before it is reaped: then its name is still there. */
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0) {
			if (errno == EINTR)
				continue;
			return false;
		}
		if (!info.si_pid)
			return true;
		describe(keep, info.si_pid, &event);
		if (waitpid(info.si_pid, &event.status, WNOHANG) == info.si_pid)
			report(keep, &event);
	}
}

static void drain_signals(struct keep *keep)
{
	struct signalfd_siginfo info[8];

	while (read(keep->signals, info, sizeof info) > 0)
		;
}

/* ---- the end of the tree ---- */

/* The whole group at once where it is not ours (a fork cannot slip in between), else the process. */
static void strike(const struct tree_node *node, int signal)
{
	if (node->pgrp > 1 && node->pgrp != getpgrp())
		kill(-node->pgrp, signal);
	else
		kill(node->pid, signal);
}

static bool known(const struct tree *before, const struct tree_node *node)
{
	size_t i;

	for (i = 0; i < before->count; i++)
		if (before->nodes[i].pid == node->pid && before->nodes[i].start_time == node->start_time)
			return true;
	return false;
}

/* Stops everything below, until a look around finds nobody new: then nobody forks any more. */
static void freeze(struct tree *now, struct tree *before)
{
	int round;

	before->count = 0;
	for (round = 0; round < 64; round++) {
		struct tree swap;
		bool fresh = false;
		size_t i;

		if (tree_scan(now, getpid(), NULL) < 0)
			return;
		for (i = 0; i < now->count; i++) {
			if (known(before, &now->nodes[i]))
				continue;
			fresh = true;
			strike(&now->nodes[i], SIGSTOP);
		}
		if (!fresh)
			return;
		swap = *before;
		*before = *now;
		*now = swap;
	}
}

/* Returns how many were alive. Ends only when no descendant is left. */
static unsigned kill_all(struct keep *keep)
{
	struct tree now = {0}, before = {0};
	unsigned killed = 0;
	bool first = true;

	while (reap(keep)) {
		struct pollfd p = {.fd = keep->signals, .events = POLLIN};
		size_t i;

		freeze(&now, &before);
		/* A look that failed (no memory) must not keep the known ones alive. */
		if (tree_scan(&now, getpid(), NULL) < 0)
			now.count = 0;
		for (i = 0; i < now.count; i++) {
			const char state = now.nodes[i].state;

			killed += first && state != 'Z' && state != 'X';
			strike(&now.nodes[i], SIGKILL);
		}
		first = false;
		for (i = 0; i < keep->spawned_count; i++)
			kill(keep->spawned[i].pid, SIGKILL);
		/* Their death wakes us; the limit is for those that are reparented only after it. */
		poll(&p, 1, 20);
		drain_signals(keep);
	}
	tree_finish(&now);
	tree_finish(&before);
	return killed;
}

/* ---- replies ---- */

static int reply(struct keep *keep, int code, const char *text, const char *key, int64_t value)
{
	msgpack_sbuffer buf;
	msgpack_packer pk;
	int r;

	msgpack_sbuffer_init(&buf);
	msgpack_packer_init(&pk, &buf, msgpack_sbuffer_write);
	msgpack_pack_map(&pk, key ? 3 : 2);
	frame_put_int(&pk, "code", code);
	frame_put_str(&pk, "text", text);
	if (key)
		frame_put_int(&pk, key, value);
	r = frame_send(keep->control, &buf, NULL);
	msgpack_sbuffer_destroy(&buf);
	return r;
}

static int reply_error(struct keep *keep, const struct error *err)
{
	return reply(keep, err->code ? err->code : EIO, err->text, NULL, 0);
}

/* ---- requests: each returns -1 only when the host cannot be answered ---- */

/* A NULL-terminated array whose strings are copies, in one piece of memory. */
static char **get_strings(const msgpack_object *map, const char *key)
{
	const msgpack_object *o = frame_get(map, key);
	size_t size = 0;
	uint32_t n, i;
	char **strings, *at;

	if (!o || o->type != MSGPACK_OBJECT_ARRAY)
		return NULL;
	n = o->via.array.size;
	for (i = 0; i < n; i++) {
		if (o->via.array.ptr[i].type != MSGPACK_OBJECT_STR)
			return NULL;
		size += o->via.array.ptr[i].via.str.size + 1;
	}
	strings = malloc((n + 1) * sizeof *strings + size);
	if (!strings)
		return NULL;
	at = (char *)(strings + n + 1);
	for (i = 0; i < n; i++) {
		const msgpack_object_str *s = &o->via.array.ptr[i].via.str;

		strings[i] = at;
		memcpy(at, s->ptr, s->size);
		at[s->size] = '\0';
		at += s->size + 1;
	}
	strings[n] = NULL;
	return strings;
}

static int prepare_filter(struct keep *keep, struct error *err)
{
	if (!keep->filter.filter && filter_build(&keep->filter, err) < 0)
		return -1;
	if (!keep->notify && notify_start(&keep->notify, keep->rules, err) < 0)
		return -1;
	return 0;
}

static int note_spawned(struct keep *keep, pid_t pid, const char *name, int64_t start_ns)
{
	struct spawned *spawned;

	if (keep->spawned_count == keep->spawned_room) {
		size_t room = keep->spawned_room ? keep->spawned_room * 2 : 16;
		struct spawned *grown = reallocarray(keep->spawned, room, sizeof *grown);

		if (!grown)
			return -1;
		keep->spawned = grown;
		keep->spawned_room = room;
	}
	spawned = &keep->spawned[keep->spawned_count++];
	spawned->pid = pid;
	spawned->start_ns = start_ns;
	snprintf(spawned->name, sizeof spawned->name, "%s", name);
	return 0;
}

static int spawn(struct keep *keep, const char *name, struct spawn_options *o, bool filter, struct error *err)
{
	const int64_t start_ns = now_ns();
	int listener = -1;
	pid_t pid;

	if (filter) {
		if (prepare_filter(keep, err) < 0)
			return -1;
		o->filter = &keep->filter;
	}
	if (spawn_process(o, &pid, &listener, err) < 0)
		return -1;
	if (note_spawned(keep, pid, name, start_ns) < 0) {
		kill(pid, SIGKILL);
		return error_set(err, ENOMEM, "no memory for process %s", name);
	}
	if (listener >= 0 && notify_add(keep->notify, listener, err) < 0) {
		kill(pid, SIGKILL);
		return -1;
	}
	return pid;
}

static int on_spawn(struct keep *keep, const msgpack_object *request)
{
	char name[64], cwd[PATH_MAX] = "/", output[PATH_MAX], error_output[PATH_MAX];
	struct spawn_options o = {.cwd = cwd, .output = output};
	struct error err = {0};
	bool filter = false;
	int pid = -1;

	o.argv = get_strings(request, "argv");
	o.env = get_strings(request, "env");
	if (!frame_get_str(request, "name", name, sizeof name) || !name[0] || strchr(name, '/')) {
		error_set(&err, EINVAL, "a process needs a name of 1 to 63 bytes without '/'");
		goto out;
	}
	if (!o.argv || !o.argv[0]) {
		error_set(&err, EINVAL, "process %s: no command", name);
		goto out;
	}
	(void)frame_get_str(request, "cwd", cwd, sizeof cwd);
	(void)frame_get_bool(request, "filter", &filter);
	if (!frame_get_str(request, "output", output, sizeof output) &&
	    snprintf(output, sizeof output, keep->log_dir[0] ? "%s/%s.log" : "/dev/null", keep->log_dir, name) >=
		(int)sizeof output) {
		error_set(&err, ENAMETOOLONG, "process %s: the path of its log is too long", name);
		goto out;
	}
	if (frame_get_str(request, "error_output", error_output, sizeof error_output))
		o.error_output = error_output;
	if (!o.env) {
		struct spawn_options inherits = o;

		inherits.env = environ;
		pid = spawn(keep, name, &inherits, filter, &err);
	} else {
		pid = spawn(keep, name, &o, filter, &err);
	}
out:
	free(o.argv);
	free(o.env);
	return pid < 0 ? reply_error(keep, &err) : reply(keep, 0, "", "pid", pid);
}

static int on_signal(struct keep *keep, const msgpack_object *request)
{
	int64_t pid = 0, signal = 0;
	struct tree_node node;
	int pidfd, r, code;

	if (!frame_get_int(request, "pid", &pid) || !frame_get_int(request, "signal", &signal) || pid < 2)
		return reply(keep, EINVAL, "a signal needs a process", NULL, 0);
	/* Held by pidfd first: what is found below us under this number then is who gets the signal. */
	pidfd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	if (pidfd < 0)
		return reply(keep, errno, "there is no such process", NULL, 0);
	if (!tree_is_below((pid_t)pid, getpid()) || !tree_read((pid_t)pid, &node) || node.state == 'Z') {
		r = reply(keep, ESRCH, "no living process of the system has this pid", NULL, 0);
	} else {
		code = syscall(SYS_pidfd_send_signal, pidfd, (int)signal, NULL, 0) < 0 ? errno : 0;
		r = reply(keep, code, code ? strerror(code) : "", NULL, 0);
	}
	close(pidfd);
	return r;
}

static int on_stop(struct keep *keep, const msgpack_object *request)
{
	int64_t grace_ms = 0;
	size_t i;

	if (!frame_get_int(request, "grace_ms", &grace_ms) || grace_ms < 0 || grace_ms > INT64_MAX / 2000000)
		return reply(keep, EINVAL, "the grace is out of range", NULL, 0);
	for (i = 0; i < keep->spawned_count; i++) {
		/* Our child and not reaped: the number is surely its. Who is stopped hears nothing. */
		kill(keep->spawned[i].pid, SIGTERM);
		kill(keep->spawned[i].pid, SIGCONT);
	}
	keep->stopping = true;
	keep->stop_ns = now_ns() + grace_ms * 1000000;
	return 0;
}

static int on_rule(struct keep *keep, const msgpack_object *request)
{
	char key[64] = "", path[PATH_MAX] = "";
	struct tritone_errno_rule rule = {.struct_size = sizeof rule, .key = key, .path = path};
	uint64_t mode = 0, calls = 0;
	int64_t code = 0;
	struct error err = {0};

	if (!frame_get_uint(request, "mode", &mode) || !frame_get_str(request, "key", key, sizeof key) ||
	    !frame_get_str(request, "path", path, sizeof path) || !frame_get_uint(request, "calls", &calls) ||
	    !frame_get_int(request, "error", &code) || !frame_get_int(request, "delay_ms", &rule.delay_ms) ||
	    !frame_get_uint(request, "first", &rule.first) || !frame_get_uint(request, "every", &rule.every) ||
	    !frame_get_uint(request, "count", &rule.count) ||
	    !frame_get_double(request, "probability", &rule.probability) ||
	    !frame_get_int(request, "lifetime_ms", &rule.lifetime_ms))
		return reply(keep, EINVAL, "a rule is incomplete, or its key or path too long", NULL, 0);
	rule.mode = (uint32_t)mode;
	rule.calls = (uint32_t)calls;
	rule.error = (int32_t)code;
	if (rules_set(keep->rules, &rule, now_ns(), &err) < 0)
		return reply_error(keep, &err);
	if (keep->notify)
		notify_rules_changed(keep->notify);
	return reply(keep, 0, "", NULL, 0);
}

static int on_clear(struct keep *keep, const msgpack_object *request)
{
	char key[64];

	if (frame_get_str(request, "key", key, sizeof key)) /* a longer one cannot be there */
		rules_clear(keep->rules, key);
	if (keep->notify)
		notify_rules_changed(keep->notify);
	return reply(keep, 0, "", NULL, 0);
}

static int on_stats(struct keep *keep, const msgpack_object *request)
{
	struct keeper_rule_stats stats;
	struct error err = {0};
	char key[64] = "";
	msgpack_sbuffer buf;
	msgpack_packer pk;
	int r;

	(void)frame_get_str(request, "key", key, sizeof key);
	if (rules_stats(keep->rules, key, now_ns(), &stats, &err) < 0)
		return reply_error(keep, &err);
	msgpack_sbuffer_init(&buf);
	msgpack_packer_init(&pk, &buf, msgpack_sbuffer_write);
	msgpack_pack_map(&pk, 6);
	frame_put_int(&pk, "code", 0);
	frame_put_uint(&pk, "hits", stats.hits);
	frame_put_uint(&pk, "seen", stats.seen);
	frame_put_str(&pk, "call", stats.call);
	frame_put_str(&pk, "path", stats.path);
	frame_put_int(&pk, "pid", stats.pid);
	r = frame_send(keep->control, &buf, NULL);
	msgpack_sbuffer_destroy(&buf);
	return r;
}

static const struct {
	const char *op;
	int (*run)(struct keep *keep, const msgpack_object *request);
} requests[] = {
    {"spawn", on_spawn},
    {"signal", on_signal},
    {"stop", on_stop},
    {"rule", on_rule},
    {"clear", on_clear},
    {"stats", on_stats},
};

/* False: the host is gone, or talks nonsense. */
static bool serve(struct keep *keep)
{
	struct frame frame;
	struct error err = {0};
	char op[16] = "";
	size_t i;
	int r;

	frame_init(&frame);
	r = frame_recv(keep->control, -1, &frame, &err);
	if (r < 0)
		fprintf(stderr, "keeper: %s\n", err.text);
	if (r == 1) {
		(void)frame_get_str(&frame.value, "op", op, sizeof op);
		for (i = 0, r = -1; i < sizeof requests / sizeof *requests; i++)
			if (!strcmp(op, requests[i].op))
				r = requests[i].run(keep, &frame.value) < 0 ? -1 : 1;
	}
	frame_finish(&frame);
	return r == 1;
}

/* ---- the loop ---- */

static bool stop_goes_on(struct keep *keep)
{
	unsigned killed = 0;

	if (reap(keep)) {
		if (now_ns() < keep->stop_ns)
			return true;
		killed = kill_all(keep);
	}
	keep->stopping = false;
	return reply(keep, 0, "", "killed", killed) == 0;
}

static int wait_ms(const struct keep *keep)
{
	int64_t left = (keep->stop_ns - now_ns() + 999999) / 1000000;

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
		drain_signals(keep);
		(void)reap(keep);
		queue_flush(keep);
		if (p[1].revents & (POLLHUP | POLLERR | POLLNVAL))
			return;
		if (!keep->stopping && (p[1].revents & POLLIN) && !serve(keep))
			return;
		/* At once too: when there is nothing to end, no signal will come to wake us. */
		if (keep->stopping && !stop_goes_on(keep))
			return;
	}
}

static int settle_in(struct keep *keep, struct error *err)
{
	static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGQUIT, SIGXFSZ, SIGUSR1, SIGUSR2};
	char path[PATH_MAX] = "/dev/null";
	sigset_t child;
	size_t i;
	int null, log;

	for (i = 0; i < sizeof ignored / sizeof *ignored; i++)
		signal(ignored[i], SIG_IGN);
	(void)setsid(); /* fails only when we lead a session already */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return error_set(err, errno, "becoming a subreaper: %s", strerror(errno));
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
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &child, NULL) < 0)
		return error_set(err, errno, "blocking SIGCHLD: %s", strerror(errno));
	keep->signals = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
	if (keep->signals < 0)
		return error_set(err, errno, "signalfd: %s", strerror(errno));
	return 0;
}

int keeper_main(int argc, char **argv)
{
	struct keep keep = {.control = -1, .events = -1, .signals = -1};
	struct error err = {0};
	uint64_t seed;

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
	if (settle_in(&keep, &err) < 0 || rules_create(&keep.rules, seed, &err) < 0) {
		(void)reply_error(&keep, &err);
		return 1;
	}
	if (reply(&keep, 0, "", NULL, 0) == 0)
		loop(&keep);
	(void)kill_all(&keep);
	notify_stop(keep.notify);
	rules_destroy(keep.rules);
	filter_free(&keep.filter);
	free(keep.spawned);
	free(keep.queue);
	close(keep.signals);
	close(keep.control);
	close(keep.events);
	return 0;
}
