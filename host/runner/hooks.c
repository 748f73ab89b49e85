/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin's view of the host: struct tritone_call, the service table, and one call of one hook. */
#include "runner/hooks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runner/params.h"
#include "service/service.h"

struct hooks {
	const struct plugin *plugin;
	struct runner_setup setup;
	struct hooks_sink sink;
	struct service_client *client; /* NULL: no services */
	struct tritone_services services;
	struct tritone_value *values;
	struct tritone_call call;
	atomic_int cancelled;
	uint64_t random;
};

/* ---- services ---- */

static int to_plugin(struct tritone_error *ret, const struct error *err)
{
	if (ret) {
		ret->code = err->code;
		memcpy(ret->text, err->text, sizeof ret->text < sizeof err->text ? sizeof ret->text : sizeof err->text);
		ret->text[sizeof ret->text - 1] = '\0';
	}
	return -1;
}

static int no_services(struct tritone_error *error, const char *what)
{
	struct error err;

	error_set(&err, ENOTSUP, "this system has no %s: the fault was started without a control socket", what);
	return to_plugin(error, &err);
}

static void service_log(void *host, uint32_t level, const char *text)
{
	struct hooks *hooks = host;

	if (text)
		hooks->sink.log(hooks->sink.arg, level, text);
}

static int service_cancelled(void *host)
{
	struct hooks *hooks = host;

	return atomic_load(&hooks->cancelled);
}

/* splitmix64: every hook starts anew from the seed, the fault's id and the hook, so that a plan can be repeated. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static void seed_random(struct hooks *hooks, enum runner_hook hook)
{
	const char *c;
	uint64_t hash = 0xcbf29ce484222325u ^ (uint64_t)hook; /* FNV-1a over the id */

	for (c = hooks->setup.entry.fault_id; *c; c++)
		hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
	hooks->random = hooks->setup.entry.seed;
	hooks->random = next_random(&hooks->random) ^ hash;
}

static uint64_t service_random(void *host, uint64_t bound)
{
	struct hooks *hooks = host;
	uint64_t limit, value;

	if (bound == 0)
		return 0;
	limit = UINT64_MAX - UINT64_MAX % bound; /* a multiple of bound: no value is favoured */
	do
		value = next_random(&hooks->random);
	while (value >= limit);
	return value % bound;
}

static int targets(void *host, uint32_t kind, tritone_target_fn visit, void *arg, struct tritone_error *error)
{
	struct hooks *hooks = host;
	struct error err = {0};

	if (!hooks->client)
		return no_services(error, "inventory of targets");
	return service_targets(hooks->client, kind, visit, arg, &err) < 0 ? to_plugin(error, &err) : 0;
}

static int gateway_rule(void *host, const struct tritone_gateway_rule *rule, struct tritone_error *error)
{
	struct hooks *hooks = host;
	struct error err = {0};

	if (!hooks->client)
		return no_services(error, "gateway");
	return service_gateway_rule(hooks->client, rule, &err) < 0 ? to_plugin(error, &err) : 0;
}

static int errno_rule(void *host, const struct tritone_errno_rule *rule, struct tritone_error *error)
{
	struct hooks *hooks = host;
	struct error err = {0};

	if (!hooks->client)
		return no_services(error, "system-call filter");
	return service_errno_rule(hooks->client, rule, &err) < 0 ? to_plugin(error, &err) : 0;
}

static int faultpoint(void *host, const struct tritone_point_rule *rule, struct tritone_error *error)
{
	struct hooks *hooks = host;
	struct error err = {0};

	if (!hooks->client)
		return no_services(error, "fault points");
	return service_faultpoint(hooks->client, rule, &err) < 0 ? to_plugin(error, &err) : 0;
}

static int rule_hits(void *host, const char *key, uint64_t *ret_hits, uint64_t *ret_seen, struct tritone_error *error)
{
	struct hooks *hooks = host;
	uint64_t hits = 0, seen = 0;
	struct error err = {0};

	if (!hooks->client)
		return no_services(error, "rules");
	if (service_rule_hits(hooks->client, key, &hits, &seen, &err) < 0)
		return to_plugin(error, &err);
	if (ret_hits)
		*ret_hits = hits;
	if (ret_seen)
		*ret_seen = seen;
	return 0;
}

/* Rules end with the connection that set them: where there is none, or it is broken, none is left to clear. */
static int rule_clear(void *host, const char *key, struct tritone_error *error)
{
	struct hooks *hooks = host;
	struct error err = {0};

	if (!hooks->client || service_rule_clear(hooks->client, key, &err) == 0)
		return 0;
	if (err.code == EPIPE || err.code == ECONNRESET || err.code == ENOTCONN)
		return 0;
	return to_plugin(error, &err);
}

static void service_evidence(void *host, const char *name, const char *value)
{
	struct hooks *hooks = host;

	if (name && value)
		hooks->sink.evidence(hooks->sink.arg, name, value);
}

static const struct tritone_services service_table = {
    .struct_size = sizeof(struct tritone_services),
    .log = service_log,
    .cancelled = service_cancelled,
    .random = service_random,
    .targets = targets,
    .gateway_rule = gateway_rule,
    .errno_rule = errno_rule,
    .faultpoint = faultpoint,
    .rule_hits = rule_hits,
    .rule_clear = rule_clear,
    .evidence = service_evidence,
};

/* ---- life ---- */

static int connect_services(struct hooks *hooks, bool need_services, struct error *err)
{
	struct error local = {0};

	if (!*hooks->setup.entry.socket || service_connect(&hooks->client, hooks->setup.entry.socket, &local) == 0)
		return 0;
	hooks->client = NULL;
	if (!need_services)
		return 0;
	if (err)
		*err = local;
	return -1;
}

int hooks_create(struct hooks **ret_hooks, const struct plugin *plugin, const struct runner_setup *setup,
    const struct hooks_sink *sink, bool need_services, struct error *err)
{
	struct hooks *hooks = calloc(1, sizeof *hooks);
	const struct tritone_fault *fault = &plugin->fault;
	char **pairs = NULL;
	size_t count;

	if (!hooks)
		return error_set(err, ENOMEM, "no memory for a fault");
	hooks->plugin = plugin;
	hooks->setup = *setup;
	hooks->sink = *sink;
	if (params_split(&pairs, &count, setup->entry.params, err) < 0)
		goto fail;
	if (params_parse(&hooks->values, fault->params, fault->param_count, (const char *const *)pairs, count, err) <
	    0) {
		error_context(err, "%s", fault->name);
		goto fail;
	}
	if (connect_services(hooks, need_services, err) < 0)
		goto fail;
	free(pairs);
	hooks->services = service_table;
	hooks->call = (struct tritone_call){
	    .struct_size = sizeof hooks->call,
	    .value_count = fault->param_count,
	    .services = &hooks->services,
	    .host = hooks,
	    .values = hooks->values,
	    .fault_id = hooks->setup.entry.fault_id,
	    .state_dir = hooks->setup.entry.state_dir,
	    .keep_dir = hooks->setup.entry.keep_dir,
	    .seed = hooks->setup.entry.seed,
	    .duration_ms = hooks->setup.entry.duration_ms,
	};
	*ret_hooks = hooks;
	return 0;
fail:
	free(pairs);
	hooks_destroy(hooks);
	return -1;
}

void hooks_destroy(struct hooks *hooks)
{
	if (!hooks)
		return;
	if (hooks->client)
		service_close(hooks->client);
	params_free(hooks->values, hooks->plugin->fault.param_count);
	free(hooks);
}

void hooks_cancel(struct hooks *hooks, bool on)
{
	atomic_store(&hooks->cancelled, on);
}

/* ---- one call ---- */

static int check_plan(const struct tritone_undo *undo, struct error *err)
{
	if (undo->size <= TRITONE_UNDO_SIZE_MAX)
		return 0;
	return error_set(err, EMSGSIZE, "the plugin's plan has an undo record of %u bytes, the limit is %u", undo->size,
	    TRITONE_UNDO_SIZE_MAX);
}

static int check_proof(struct tritone_proof *proof, struct error *err)
{
	proof->text[sizeof proof->text - 1] = '\0';
	switch (proof->felt) {
	case TRITONE_NOT_YET:
	case TRITONE_FELT:
	case TRITONE_NEVER:
	case TRITONE_UNEXERCISED:
		return 0;
	default:
		return error_set(err, EINVAL, "the plugin's verify gave the unknown proof 0x%x", proof->felt);
	}
}

void hooks_run(
    struct hooks *hooks, enum runner_hook hook, const struct tritone_undo *undo, struct runner_reply *ret_reply)
{
	const struct tritone_fault *fault = &hooks->plugin->fault;
	struct runner_reply *reply = ret_reply;
	struct tritone_error error = {0};
	int r = 0;

	seed_random(hooks, hook);
	memset(&reply->undo, 0, sizeof reply->undo);
	reply->proof = (struct tritone_proof){.struct_size = sizeof reply->proof, .felt = TRITONE_NOT_YET};
	switch (hook) {
	case HOOK_CHECK:
		r = fault->check ? fault->check(&hooks->call, &error) : 0;
		break;
	case HOOK_PLAN:
		r = fault->plan(&hooks->call, &reply->undo, &error);
		break;
	case HOOK_INJECT:
		r = fault->inject(&hooks->call, undo, &error);
		break;
	case HOOK_VERIFY:
		r = fault->verify(&hooks->call, undo, &reply->proof, &error);
		break;
	case HOOK_REVERT:
		r = fault->revert(&hooks->call, undo, &error);
		break;
	case HOOK_NONE:
	case HOOK_LOAD:
	case HOOK_CANCEL:
		r = -1;
		error.code = EINVAL;
		break;
	}
	reply->result = r == 0 ? 0 : -1;
	if (r != 0) {
		error.text[sizeof error.text - 1] = '\0';
		error_set(&reply->error, error.code > 0 ? error.code : EIO, "%s",
		    *error.text ? error.text : "the plugin gave no reason");
	} else if (hook == HOOK_PLAN) {
		reply->result = check_plan(&reply->undo, &reply->error);
	} else if (hook == HOOK_VERIFY) {
		reply->result = check_proof(&reply->proof, &reply->error);
	}
	if (reply->undo.size > TRITONE_UNDO_SIZE_MAX)
		reply->undo.size = 0;
}
