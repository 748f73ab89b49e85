/* SPDX-License-Identifier: Apache-2.0 */
/* What the host asks of the keeper, one function a request. Rules are judged in notify.c. */
#include "keeper/keep.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "keeper/spawn.h"
#include "keeper/tree.h"
#include "wire/frame.h"

/* ---- replies ---- */

int keep_reply(struct keep *keep, int code, const char *text, const char *key, int64_t value)
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

int keep_reply_error(struct keep *keep, const struct error *err)
{
	return keep_reply(keep, err->code ? err->code : EIO, err->text, NULL, 0);
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
	const int64_t start_ns = keep_now_ns();
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
	return pid < 0 ? keep_reply_error(keep, &err) : keep_reply(keep, 0, "", "pid", pid);
}

static int on_signal(struct keep *keep, const msgpack_object *request)
{
	int64_t pid = 0, signal = 0;
	struct tree_node node;
	int pidfd, r, code;

	if (!frame_get_int(request, "pid", &pid) || !frame_get_int(request, "signal", &signal) || pid < 2)
		return keep_reply(keep, EINVAL, "a signal needs a process", NULL, 0);
	/* Held by pidfd first: what is found below us under this number then is who gets the signal. */
	pidfd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	if (pidfd < 0)
		return keep_reply(keep, errno, "there is no such process", NULL, 0);
	if (!tree_is_below((pid_t)pid, getpid()) || !tree_read((pid_t)pid, &node) || node.state == 'Z') {
		r = keep_reply(keep, ESRCH, "no living process of the system has this pid", NULL, 0);
	} else {
		code = syscall(SYS_pidfd_send_signal, pidfd, (int)signal, NULL, 0) < 0 ? errno : 0;
		r = keep_reply(keep, code, code ? strerror(code) : "", NULL, 0);
	}
	close(pidfd);
	return r;
}

static int on_kill(struct keep *keep, const msgpack_object *request)
{
	int64_t pid = 0;

	/* Our child and not reaped: the number is surely its, and its group's. */
	if (!frame_get_int(request, "pid", &pid) || pid < 2 || !keep_spawned(keep, (pid_t)pid))
		return keep_reply(keep, ESRCH, "no living process was started with this pid", NULL, 0);
	kill(-(pid_t)pid, SIGKILL); /* it may have left its group, or made another */
	kill((pid_t)pid, SIGKILL);
	return keep_reply(keep, 0, "", NULL, 0);
}

/*
 * Our child and not reaped: the number is surely its. Who is stopped hears nothing before it goes on. Nobody else is sent SIGCONT: it takes
 * back each SIGSTOP that is on its way, and a tracer that has just attached (a leak checker, at the end) would wait for that for ever.
 */
static void ask_to_end(pid_t child)
{
	struct tree_node node;

	kill(child, SIGTERM);
	if (tree_read(child, &node) && node.state == 'T')
		kill(child, SIGCONT);
}

static int on_stop(struct keep *keep, const msgpack_object *request)
{
	struct tree tree = {0};
	struct error err = {0};
	int64_t grace_ms = 0;
	size_t i;

	if (!frame_get_int(request, "grace_ms", &grace_ms) || grace_ms < 0 || grace_ms > INT64_MAX / 2000000)
		return keep_reply(keep, EINVAL, "the grace is out of range", NULL, 0);
	/* Before anybody ends: whom the end of the others makes an orphan was theirs to end. */
	if (tree_scan(&tree, getpid(), &err) < 0) {
		fprintf(stderr, "keeper: %s\n", err.text);
		tree.count = 0; /* those that were spawned are known without it */
	}
	for (i = 0; i < keep->spawned_count; i++)
		ask_to_end(keep->spawned[i].pid);
	for (i = 0; i < tree.count && tree.nodes[i].depth == 1; i++)
		if (!keep_spawned(keep, tree.nodes[i].pid))
			ask_to_end(tree.nodes[i].pid);
	tree_finish(&tree);
	keep->stopping = true;
	keep->stop_ns = keep_now_ns() + grace_ms * 1000000;
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
		return keep_reply(keep, EINVAL, "a rule is incomplete, or its key or path too long", NULL, 0);
	rule.mode = (uint32_t)mode;
	rule.calls = (uint32_t)calls;
	rule.error = (int32_t)code;
	if (rules_set(keep->rules, &rule, keep_now_ns(), &err) < 0)
		return keep_reply_error(keep, &err);
	if (keep->notify)
		notify_rules_changed(keep->notify);
	return keep_reply(keep, 0, "", NULL, 0);
}

static int on_clear(struct keep *keep, const msgpack_object *request)
{
	char key[64];

	if (frame_get_str(request, "key", key, sizeof key)) /* a longer one cannot be there */
		rules_clear(keep->rules, key);
	if (keep->notify)
		notify_rules_changed(keep->notify);
	return keep_reply(keep, 0, "", NULL, 0);
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
	if (rules_stats(keep->rules, key, keep_now_ns(), &stats, &err) < 0)
		return keep_reply_error(keep, &err);
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
    {"kill", on_kill},
    {"stop", on_stop},
    {"rule", on_rule},
    {"clear", on_clear},
    {"stats", on_stats},
};

bool keep_serve(struct keep *keep)
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
