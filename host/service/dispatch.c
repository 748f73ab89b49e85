/* SPDX-License-Identifier: Apache-2.0 */
/* The services' protocol, the server's half; see dispatch.h. */
#include "service/dispatch.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "wire/frame.h"

#define OP_SIZE 32

static uint64_t id_of(const msgpack_object *request)
{
	uint64_t id = 0;

	frame_get_uint(request, "id", &id);
	return id;
}

static void begin(msgpack_packer *pk, msgpack_sbuffer *reply, const msgpack_object *request, uint32_t members)
{
	msgpack_packer_init(pk, reply, msgpack_sbuffer_write);
	msgpack_pack_map(pk, members + 2);
	frame_put_uint(pk, "id", id_of(request));
	frame_put_bool(pk, "ok", true);
}

static int missing(struct error *err, const char *what, const char *why)
{
	if (why)
		return error_set(err, ENOTSUP, "this system has no %s: %s", what, why);
	return error_set(err, ENOTSUP, "this system has no %s", what);
}

static int need_str(const msgpack_object *request, const char *name, char *ret, size_t size, struct error *err)
{
	if (frame_get_str(request, name, ret, size) && *ret)
		return 0;
	return error_set(err, EINVAL, "the request's '%s' is missing, empty or longer than %zu bytes", name, size - 1);
}

/* Members that are left out keep what the struct has; one of the wrong type or range is refused. */
static int get_i64(const msgpack_object *request, const char *name, int64_t *ret, struct error *err)
{
	if (frame_get(request, name) && !frame_get_int(request, name, ret))
		return error_set(err, EINVAL, "the request's '%s' is not a whole number", name);
	return 0;
}

static int get_u64(const msgpack_object *request, const char *name, uint64_t *ret, struct error *err)
{
	if (frame_get(request, name) && !frame_get_uint(request, name, ret))
		return error_set(err, EINVAL, "the request's '%s' is not a whole number of 0 or more", name);
	return 0;
}

static int get_u32(const msgpack_object *request, const char *name, uint32_t *ret, struct error *err)
{
	uint64_t value = *ret;

	if (get_u64(request, name, &value, err) < 0)
		return -1;
	if (value > UINT32_MAX)
		return error_set(err, EINVAL, "the request's '%s' is over 32 bits", name);
	*ret = (uint32_t)value;
	return 0;
}

static int get_i32(const msgpack_object *request, const char *name, int32_t *ret, struct error *err)
{
	int64_t value = *ret;

	if (get_i64(request, name, &value, err) < 0)
		return -1;
	if (value < INT32_MIN || value > INT32_MAX)
		return error_set(err, EINVAL, "the request's '%s' is over 32 bits", name);
	*ret = (int32_t)value;
	return 0;
}

static int get_number(const msgpack_object *request, const char *name, double *ret, struct error *err)
{
	if (frame_get(request, name) && !frame_get_double(request, name, ret))
		return error_set(err, EINVAL, "the request's '%s' is not a number", name);
	return 0;
}

/* ---- the operations: each fills the reply, or *err ---- */

static int done(const msgpack_object *request, msgpack_sbuffer *reply)
{
	msgpack_packer pk;

	begin(&pk, reply, request, 0);
	return 0;
}

/* "" when it is there. */
static void put_missing(msgpack_packer *pk, const char *name, bool is, const char *what, const char *why)
{
	struct error err = {0};

	if (is)
		missing(&err, what, why);
	frame_put_str(pk, name, err.text);
}

static int hello(const struct service_backend *backend, const msgpack_object *request, msgpack_sbuffer *reply)
{
	msgpack_packer pk;

	begin(&pk, reply, request, 5);
	frame_put_uint(&pk, "version", SERVICE_VERSION);
	frame_put_str(&pk, "state_dir", backend->state_dir ? backend->state_dir : "");
	put_missing(&pk, "no_gateway", !backend->gateway_rule, "gateway", backend->missing_gateway);
	put_missing(&pk, "no_errno", !backend->errno_rule, "system-call filter", backend->missing_errno);
	put_missing(&pk, "no_faultpoint", !backend->faultpoint, "fault points", backend->missing_faultpoint);
	return 0;
}

struct gathering {
	msgpack_sbuffer bytes;
	uint32_t count;
	bool full;
};

static int gather(void *arg, const struct tritone_target *target)
{
	struct gathering *all = arg;
	msgpack_packer pk;

	if (all->bytes.size > FRAME_SIZE_MAX - 64 * 1024) {
		all->full = true;
		return 1;
	}
	msgpack_packer_init(&pk, &all->bytes, msgpack_sbuffer_write);
	msgpack_pack_map(&pk, 7);
	frame_put_uint(&pk, "kind", target->kind);
	frame_put_uint(&pk, "flags", target->flags);
	frame_put_int(&pk, "pid", target->pid);
	frame_put_uint(&pk, "start_time", target->start_time);
	frame_put_str(&pk, "id", target->id);
	frame_put_str(&pk, "task", target->task ? target->task : "");
	frame_put_str(&pk, "worktree", target->worktree ? target->worktree : "");
	all->count++;
	return 0;
}

static int targets(
    const struct service_backend *backend, const msgpack_object *request, msgpack_sbuffer *reply, struct error *err)
{
	struct gathering all = {0};
	uint32_t kind = 0;
	msgpack_packer pk;
	int r;

	if (!backend->targets)
		return missing(err, "inventory", NULL);
	if (get_u32(request, "kind", &kind, err) < 0)
		return -1;
	msgpack_sbuffer_init(&all.bytes);
	r = backend->targets(backend->arg, kind, gather, &all, err);
	if (r == 0 && all.full)
		r = error_set(err, EMSGSIZE, "the inventory is too long for one answer (%u targets fitted)", all.count);
	if (r == 0) {
		begin(&pk, reply, request, 1);
		msgpack_pack_str(&pk, 7);
		msgpack_pack_str_body(&pk, "targets", 7);
		msgpack_pack_array(&pk, all.count);
		msgpack_sbuffer_write(reply, all.bytes.data, all.bytes.size);
	}
	msgpack_sbuffer_destroy(&all.bytes);
	return r;
}

static int gateway_rule(
    const struct service_backend *backend, const msgpack_object *request, msgpack_sbuffer *reply, struct error *err)
{
	char key[SERVICE_KEY_SIZE], target[SERVICE_TARGET_SIZE], text[TRITONE_TEXT_SIZE];
	struct tritone_gateway_rule rule = {
	    .struct_size = sizeof rule, .key = key, .target = target, .retry_after_ms = -1};

	if (!backend->gateway_rule)
		return missing(err, "gateway", backend->missing_gateway);
	if (frame_get(request, "text") && need_str(request, "text", text, sizeof text, err) < 0)
		return -1;
	rule.text = frame_get(request, "text") ? text : NULL;
	if (need_str(request, "key", key, sizeof key, err) < 0 ||
	    need_str(request, "target", target, sizeof target, err) < 0 ||
	    get_u32(request, "action", &rule.action, err) < 0 || get_i32(request, "status", &rule.status, err) < 0 ||
	    get_i64(request, "retry_after_ms", &rule.retry_after_ms, err) < 0 ||
	    get_i64(request, "delay_ms", &rule.delay_ms, err) < 0 || get_u64(request, "first", &rule.first, err) < 0 ||
	    get_u64(request, "count", &rule.count, err) < 0 ||
	    get_number(request, "probability", &rule.probability, err) < 0 ||
	    get_i64(request, "lifetime_ms", &rule.lifetime_ms, err) < 0 ||
	    backend->gateway_rule(backend->arg, &rule, err) < 0)
		return -1;
	return done(request, reply);
}

static int errno_rule(
    const struct service_backend *backend, const msgpack_object *request, msgpack_sbuffer *reply, struct error *err)
{
	char key[SERVICE_KEY_SIZE], path[PATH_MAX];
	struct tritone_errno_rule rule = {.struct_size = sizeof rule, .key = key, .path = path};

	if (!backend->errno_rule)
		return missing(err, "system-call filter", backend->missing_errno);
	if (need_str(request, "key", key, sizeof key, err) < 0 ||
	    need_str(request, "path", path, sizeof path, err) < 0 || get_u32(request, "mode", &rule.mode, err) < 0 ||
	    get_u32(request, "calls", &rule.calls, err) < 0 || get_i32(request, "error", &rule.error, err) < 0 ||
	    get_i64(request, "delay_ms", &rule.delay_ms, err) < 0 || get_u64(request, "first", &rule.first, err) < 0 ||
	    get_u64(request, "every", &rule.every, err) < 0 || get_u64(request, "count", &rule.count, err) < 0 ||
	    get_number(request, "probability", &rule.probability, err) < 0 ||
	    get_i64(request, "lifetime_ms", &rule.lifetime_ms, err) < 0 ||
	    backend->errno_rule(backend->arg, &rule, err) < 0)
		return -1;
	return done(request, reply);
}

static int faultpoint(
    const struct service_backend *backend, const msgpack_object *request, msgpack_sbuffer *reply, struct error *err)
{
	char key[SERVICE_KEY_SIZE], name[SERVICE_POINT_SIZE];
	struct tritone_point_rule rule = {.struct_size = sizeof rule, .key = key, .name = name};

	if (!backend->faultpoint)
		return missing(err, "fault points", backend->missing_faultpoint);
	if (need_str(request, "key", key, sizeof key, err) < 0 ||
	    need_str(request, "name", name, sizeof name, err) < 0 ||
	    get_u32(request, "action", &rule.action, err) < 0 || get_i32(request, "error", &rule.error, err) < 0 ||
	    get_u64(request, "nth", &rule.nth, err) < 0 || get_u64(request, "count", &rule.count, err) < 0 ||
	    backend->faultpoint(backend->arg, &rule, err) < 0)
		return -1;
	return done(request, reply);
}

static int rule_hits(
    const struct service_backend *backend, const msgpack_object *request, msgpack_sbuffer *reply, struct error *err)
{
	char key[SERVICE_KEY_SIZE];
	uint64_t hits = 0, seen = 0;
	msgpack_packer pk;

	if (!backend->rule_hits)
		return missing(err, "rules", NULL);
	if (need_str(request, "key", key, sizeof key, err) < 0 ||
	    backend->rule_hits(backend->arg, key, &hits, &seen, err) < 0)
		return -1;
	begin(&pk, reply, request, 2);
	frame_put_uint(&pk, "hits", hits);
	frame_put_uint(&pk, "seen", seen);
	return 0;
}

static int rule_clear(
    const struct service_backend *backend, const msgpack_object *request, msgpack_sbuffer *reply, struct error *err)
{
	char key[SERVICE_KEY_SIZE];

	if (!backend->rule_clear)
		return missing(err, "rules", NULL);
	if (need_str(request, "key", key, sizeof key, err) < 0 || backend->rule_clear(backend->arg, key, err) < 0)
		return -1;
	return done(request, reply);
}

/* ---- the table ---- */

static int answer(
    const struct service_backend *backend, const msgpack_object *request, msgpack_sbuffer *reply, struct error *err)
{
	static const struct {
		const char *name;
		int (*run)(const struct service_backend *backend, const msgpack_object *request, msgpack_sbuffer *reply,
		    struct error *err);
	} table[] = {{"targets", targets}, {"gateway_rule", gateway_rule}, {"errno_rule", errno_rule},
	    {"faultpoint", faultpoint}, {"rule_hits", rule_hits}, {"rule_clear", rule_clear}};
	char op[OP_SIZE];
	size_t i;

	if (need_str(request, "op", op, sizeof op, err) < 0)
		return -1;
	if (!strcmp(op, "hello"))
		return hello(backend, request, reply);
	for (i = 0; i < sizeof table / sizeof table[0]; i++)
		if (!strcmp(op, table[i].name))
			return table[i].run(backend, request, reply, err);
	return error_set(err, ENOTSUP, "this service has no operation '%s'", op);
}

enum dispatch_effect dispatch_foresee(const msgpack_object *request, char key[SERVICE_KEY_SIZE])
{
	char op[OP_SIZE];

	if (!frame_get_str(request, "op", op, sizeof op) || !frame_get_str(request, "key", key, SERVICE_KEY_SIZE))
		return DISPATCH_NONE;
	if (!strcmp(op, "gateway_rule") || !strcmp(op, "errno_rule") || !strcmp(op, "faultpoint"))
		return DISPATCH_SET;
	return strcmp(op, "rule_clear") ? DISPATCH_NONE : DISPATCH_CLEARED;
}

void dispatch_refuse(const msgpack_object *request, msgpack_sbuffer *reply, const struct error *why)
{
	msgpack_packer pk;

	msgpack_packer_init(&pk, reply, msgpack_sbuffer_write);
	msgpack_pack_map(&pk, 4);
	frame_put_uint(&pk, "id", id_of(request));
	frame_put_bool(&pk, "ok", false);
	frame_put_int(&pk, "code", why->code);
	frame_put_str(&pk, "text", why->text);
}

bool dispatch(const struct service_backend *backend, const msgpack_object *request, msgpack_sbuffer *reply)
{
	struct error err = {0};

	if (answer(backend, request, reply, &err) == 0)
		return true;
	dispatch_refuse(request, reply, &err);
	return false;
}
