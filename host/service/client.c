/* SPDX-License-Identifier: Apache-2.0 */
/* The services' client: one request at a time, each under a deadline. See service.h. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "clock.h"
#include "service/address.h"
#include "service/dispatch.h"
#include "service/service.h"
#include "wire/frame.h"

#define CALL_MS 10000

struct service_client {
	pthread_mutex_t lock;
	int fd;
	struct frame_reader *reader;
	uint64_t id; /* of the latest request: a reply that comes after its deadline is told from the next one by it */
	bool broken;
	char *state_dir, *no_gateway, *no_errno, *no_faultpoint;
};

/* ---- one call ---- */

static int gone(struct service_client *client, struct error *err)
{
	client->broken = true;
	return error_set(err, EPIPE, "the process that serves the control socket has gone");
}

static int receive(struct service_client *client, int64_t deadline, struct error *err)
{
	struct pollfd polled = {.fd = client->fd, .events = POLLIN};
	int64_t left = deadline - clock_ms();
	uint8_t bytes[16384];
	ssize_t n;
	int r;

	r = poll(&polled, 1, left > 0 ? (int)left : 0);
	if (r < 0 && errno != EINTR)
		return error_set(err, errno, "waiting for the control socket: %s", strerror(errno));
	if (r == 0)
		return error_set(err, ETIMEDOUT, "the control socket has not answered within %d s", CALL_MS / 1000);
	if (r < 0)
		return 0;
	n = recv(client->fd, bytes, sizeof bytes, MSG_DONTWAIT);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0)
		return gone(client, err);
	return frame_reader_feed(client->reader, bytes, (size_t)n, err);
}

static int await(struct service_client *client, struct frame *reply, struct error *err)
{
	int64_t deadline = clock_ms() + CALL_MS;
	uint64_t id;
	int r;

	for (;;) {
		r = frame_reader_next(client->reader, reply, err);
		if (r < 0) {
			client->broken = true;
			return error_context(err, "the control socket");
		}
		if (r > 0 && frame_get_uint(&reply->value, "id", &id) && id == client->id)
			return 0;
		if (r == 0 && receive(client, deadline, err) < 0)
			return -1;
	}
}

/* Begins a request of so many members besides id and op; the caller packs them. */
static void begin(
    struct service_client *client, msgpack_packer *pk, msgpack_sbuffer *request, const char *op, uint32_t members)
{
	pthread_mutex_lock(&client->lock);
	msgpack_sbuffer_init(request);
	msgpack_packer_init(pk, request, msgpack_sbuffer_write);
	msgpack_pack_map(pk, members + 2);
	frame_put_uint(pk, "id", ++client->id);
	frame_put_str(pk, "op", op);
}

/* Ends what begin began: sends, waits, frees the request. *reply (init'd) may be looked into on success. */
static int end(struct service_client *client, msgpack_sbuffer *request, struct frame *reply, struct error *err)
{
	struct error why = {0};
	bool ok = false;
	int64_t code = EIO;
	int r;

	if (client->broken)
		r = gone(client, err);
	else
		r = frame_send(client->fd, request, &why);
	if (r < 0 && why.code) {
		if (why.code == EMSGSIZE)
			error_set(err, EMSGSIZE, "%s", why.text);
		else
			gone(client, err);
	}
	msgpack_sbuffer_destroy(request);
	if (r == 0)
		r = await(client, reply, err);
	pthread_mutex_unlock(&client->lock);
	if (r < 0)
		return -1;
	frame_get_bool(&reply->value, "ok", &ok);
	if (ok)
		return 0;
	if (!frame_get_str(&reply->value, "text", why.text, sizeof why.text))
		strcpy(why.text, "the control socket refused, and did not say why");
	frame_get_int(&reply->value, "code", &code);
	return error_set(err, code > 0 && code < 4096 ? (int)code : EIO, "%s", why.text);
}

static int end_plain(struct service_client *client, msgpack_sbuffer *request, struct error *err)
{
	struct frame reply;
	int r;

	frame_init(&reply);
	r = end(client, request, &reply, err);
	frame_finish(&reply);
	return r;
}

static char *get_text(const msgpack_object *map, const char *key)
{
	const msgpack_object *o = frame_get(map, key);

	if (!o || o->type != MSGPACK_OBJECT_STR)
		return strdup("");
	return strndup(o->via.str.ptr, o->via.str.size);
}

/* ---- the connection ---- */

static int hello(struct service_client *client, struct error *err)
{
	msgpack_sbuffer request;
	msgpack_packer pk;
	struct frame reply;
	uint64_t version = 0;
	int r;

	frame_init(&reply);
	begin(client, &pk, &request, "hello", 0);
	r = end(client, &request, &reply, err);
	if (r == 0 && (!frame_get_uint(&reply.value, "version", &version) || version != SERVICE_VERSION))
		r = error_set(err, EPROTO, "the control socket speaks version %llu, expected %u",
		    (unsigned long long)version, SERVICE_VERSION);
	if (r == 0) {
		client->state_dir = get_text(&reply.value, "state_dir");
		client->no_gateway = get_text(&reply.value, "no_gateway");
		client->no_errno = get_text(&reply.value, "no_errno");
		client->no_faultpoint = get_text(&reply.value, "no_faultpoint");
		if (!client->state_dir || !client->no_gateway || !client->no_errno || !client->no_faultpoint)
			r = error_set(err, ENOMEM, "no memory for the control socket");
	}
	frame_finish(&reply);
	return r;
}

static int connect_to(struct service_client *client, const char *path, struct error *err)
{
	struct timeval limit = {.tv_sec = CALL_MS / 1000};
	struct address address;
	int r;

	if (address_init(&address, path, err) < 0)
		return -1;
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client->fd < 0 || setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0) {
		r = error_set(err, errno, "making a socket: %s", strerror(errno));
		address_finish(&address);
		return r;
	}
	do {
		r = connect(client->fd, (const struct sockaddr *)&address.un, sizeof address.un);
	} while (r < 0 && errno == EINTR);
	if (r < 0 && errno == ENOENT)
		error_set(err, ENOENT, "%s: no control socket there; is the system running?", path);
	else if (r < 0 && errno == ECONNREFUSED)
		error_set(err, ECONNREFUSED, "%s: nobody listens there any more", path);
	else if (r < 0)
		error_set(err, errno, "%s: %s", path, strerror(errno));
	address_finish(&address);
	return r;
}

int service_connect(struct service_client **ret_client, const char *path, struct error *err)
{
	struct service_client *client = calloc(1, sizeof *client);

	if (!client)
		return error_set(err, ENOMEM, "no memory for the control socket");
	client->fd = -1;
	pthread_mutex_init(&client->lock, NULL);
	if (frame_reader_create(&client->reader, err) < 0 || connect_to(client, path, err) < 0)
		goto fail;
	if (hello(client, err) < 0) {
		error_context(err, "%s", path);
		goto fail;
	}
	*ret_client = client;
	return 0;
fail:
	service_close(client);
	return -1;
}

void service_close(struct service_client *client)
{
	if (!client)
		return;
	if (client->fd >= 0)
		close(client->fd);
	frame_reader_destroy(client->reader);
	pthread_mutex_destroy(&client->lock);
	free(client->state_dir);
	free(client->no_gateway);
	free(client->no_errno);
	free(client->no_faultpoint);
	free(client);
}

bool service_ended(struct service_client *client)
{
	struct pollfd polled = {.fd = client->fd, .events = POLLRDHUP};

	return client->broken || (poll(&polled, 1, 0) > 0 && (polled.revents & (POLLRDHUP | POLLHUP | POLLERR)));
}

const char *service_missing(const struct service_client *client, uint32_t capability)
{
	const char *why = capability == TRITONE_CAP_GATEWAY      ? client->no_gateway
			  : capability == TRITONE_CAP_ERRNO      ? client->no_errno
			  : capability == TRITONE_CAP_FAULTPOINT ? client->no_faultpoint
								 : "";

	return *why ? why : NULL;
}

const char *service_state_dir(const struct service_client *client)
{
	return client->state_dir;
}

/* ---- the calls ---- */

/* False: stop, as the visitor said, or *r is -1. */
static bool show(const msgpack_object *map, tritone_target_fn visit, void *arg, int *r, struct error *err)
{
	struct tritone_target target = {.struct_size = sizeof target};
	char *id = get_text(map, "id"), *task = get_text(map, "task"), *worktree = get_text(map, "worktree");
	uint64_t kind = 0, flags = 0;
	int64_t pid = 0;
	bool more = false;

	frame_get_uint(map, "kind", &kind);
	frame_get_uint(map, "flags", &flags);
	frame_get_int(map, "pid", &pid);
	frame_get_uint(map, "start_time", &target.start_time);
	target.kind = (uint32_t)kind;
	target.flags = (uint32_t)flags;
	target.pid = (int32_t)pid;
	target.id = id;
	target.task = task;
	target.worktree = worktree;
	if (id && task && worktree)
		more = visit(arg, &target) == 0;
	else
		*r = error_set(err, ENOMEM, "no memory for a target");
	free(id);
	free(task);
	free(worktree);
	return more;
}

int service_targets(struct service_client *client, uint32_t kind, tritone_target_fn visit, void *arg, struct error *err)
{
	const msgpack_object *list;
	msgpack_sbuffer request;
	msgpack_packer pk;
	struct frame reply;
	uint32_t i;
	int r;

	frame_init(&reply);
	begin(client, &pk, &request, "targets", 1);
	frame_put_uint(&pk, "kind", kind);
	r = end(client, &request, &reply, err);
	list = r == 0 ? frame_get(&reply.value, "targets") : NULL;
	if (r == 0 && (!list || list->type != MSGPACK_OBJECT_ARRAY))
		r = error_set(err, EPROTO, "the control socket's answer has no targets");
	for (i = 0; r == 0 && i < list->via.array.size; i++)
		if (!show(&list->via.array.ptr[i], visit, arg, &r, err))
			break;
	frame_finish(&reply);
	return r;
}

int service_gateway_rule(struct service_client *client, const struct tritone_gateway_rule *rule, struct error *err)
{
	/* a plugin of the ABI's first version has none */
	const size_t known = offsetof(struct tritone_gateway_rule, text) + sizeof rule->text;
	const char *text = rule->struct_size >= known && rule->text && *rule->text ? rule->text : NULL;
	msgpack_sbuffer request;
	msgpack_packer pk;

	begin(client, &pk, &request, "gateway_rule", text ? 11 : 10);
	frame_put_str(&pk, "key", rule->key);
	frame_put_str(&pk, "target", rule->target);
	frame_put_uint(&pk, "action", rule->action);
	frame_put_int(&pk, "status", rule->status);
	frame_put_int(&pk, "retry_after_ms", rule->retry_after_ms);
	frame_put_int(&pk, "delay_ms", rule->delay_ms);
	frame_put_uint(&pk, "first", rule->first);
	frame_put_uint(&pk, "count", rule->count);
	frame_put_double(&pk, "probability", rule->probability);
	frame_put_int(&pk, "lifetime_ms", rule->lifetime_ms);
	if (text)
		frame_put_str(&pk, "text", text);
	return end_plain(client, &request, err);
}

int service_errno_rule(struct service_client *client, const struct tritone_errno_rule *rule, struct error *err)
{
	msgpack_sbuffer request;
	msgpack_packer pk;

	begin(client, &pk, &request, "errno_rule", 11);
	frame_put_str(&pk, "key", rule->key);
	frame_put_str(&pk, "path", rule->path);
	frame_put_uint(&pk, "mode", rule->mode);
	frame_put_uint(&pk, "calls", rule->calls);
	frame_put_int(&pk, "error", rule->error);
	frame_put_int(&pk, "delay_ms", rule->delay_ms);
	frame_put_uint(&pk, "first", rule->first);
	frame_put_uint(&pk, "every", rule->every);
	frame_put_uint(&pk, "count", rule->count);
	frame_put_double(&pk, "probability", rule->probability);
	frame_put_int(&pk, "lifetime_ms", rule->lifetime_ms);
	return end_plain(client, &request, err);
}

int service_faultpoint(struct service_client *client, const struct tritone_point_rule *rule, struct error *err)
{
	msgpack_sbuffer request;
	msgpack_packer pk;

	begin(client, &pk, &request, "faultpoint", 6);
	frame_put_str(&pk, "key", rule->key);
	frame_put_str(&pk, "name", rule->name);
	frame_put_uint(&pk, "action", rule->action);
	frame_put_int(&pk, "error", rule->error);
	frame_put_uint(&pk, "nth", rule->nth);
	frame_put_uint(&pk, "count", rule->count);
	return end_plain(client, &request, err);
}

int service_rule_hits(
    struct service_client *client, const char *key, uint64_t *ret_hits, uint64_t *ret_seen, struct error *err)
{
	msgpack_sbuffer request;
	msgpack_packer pk;
	struct frame reply;
	int r;

	frame_init(&reply);
	begin(client, &pk, &request, "rule_hits", 1);
	frame_put_str(&pk, "key", key);
	r = end(client, &request, &reply, err);
	if (r == 0 && ret_hits)
		frame_get_uint(&reply.value, "hits", ret_hits);
	if (r == 0 && ret_seen)
		frame_get_uint(&reply.value, "seen", ret_seen);
	frame_finish(&reply);
	return r;
}

int service_rule_clear(struct service_client *client, const char *key, struct error *err)
{
	msgpack_sbuffer request;
	msgpack_packer pk;

	begin(client, &pk, &request, "rule_clear", 1);
	frame_put_str(&pk, "key", key);
	return end_plain(client, &request, err);
}
