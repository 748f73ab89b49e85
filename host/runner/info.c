/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin's descriptor as data: packed by the runner that has loaded it, unpacked and owned by the host. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "runner/channel.h"
#include "runner/load.h"
#include "runner/params.h"
#include "runner/protocol.h"

const char *plugin_blast_name(uint32_t blast)
{
	switch (blast) {
	case TRITONE_BLAST_PROCESS:
		return "process";
	case TRITONE_BLAST_DIRECTORY:
		return "directory";
	case TRITONE_BLAST_GATEWAY:
		return "gateway";
	case TRITONE_BLAST_SYSTEM:
		return "system";
	case TRITONE_BLAST_HOST:
		return "host";
	case TRITONE_BLAST_PATHOLOGICAL:
		return "pathological";
	default:
		return "unknown";
	}
}

/* ---- packing ---- */

static void pack_param(msgpack_packer *pk, const struct tritone_param *param)
{
	msgpack_pack_map(pk, 9);
	frame_put_str(pk, "name", param->name);
	frame_put_uint(pk, "type", param->type);
	frame_put_uint(pk, "required", param->required);
	frame_put_str(pk, "fallback", param->fallback);
	frame_put_double(pk, "min", param->min);
	frame_put_double(pk, "max", param->max);
	frame_put_str(pk, "choices", param->choices);
	frame_put_str(pk, "unit", param->unit);
	frame_put_str(pk, "help", param->help);
}

void plugin_info_pack(msgpack_packer *pk, const struct plugin_info *info)
{
	uint32_t i;

	msgpack_pack_map(pk, 9);
	frame_put_str(pk, "name", info->name);
	frame_put_str(pk, "version", info->version);
	frame_put_str(pk, "summary", info->summary);
	frame_put_str(pk, "path", info->path);
	frame_put_uint(pk, "abi", info->abi);
	frame_put_uint(pk, "blast", info->blast);
	frame_put_uint(pk, "capabilities", info->capabilities);
	frame_put_int(pk, "proof_ms", info->proof_ms);
	msgpack_pack_str(pk, 6);
	msgpack_pack_str_body(pk, "params", 6);
	msgpack_pack_array(pk, info->param_count);
	for (i = 0; i < info->param_count; i++)
		pack_param(pk, &info->params[i]);
}

/* ---- unpacking ---- */

/* Nil gives NULL. */
static bool get_text(const msgpack_object *map, const char *key, char **ret)
{
	const msgpack_object *o = frame_get(map, key);

	*ret = NULL;
	if (!o || o->type == MSGPACK_OBJECT_NIL)
		return o;
	if (o->type != MSGPACK_OBJECT_STR || o->via.str.size > PATH_MAX)
		return false;
	*ret = strndup(o->via.str.ptr, o->via.str.size);
	return *ret;
}

static bool get_const_text(const msgpack_object *map, const char *key, const char **ret)
{
	char *text;
	bool ok = get_text(map, key, &text);

	*ret = text;
	return ok;
}

static bool get_u32(const msgpack_object *map, const char *key, uint32_t *ret)
{
	uint64_t value;

	if (!frame_get_uint(map, key, &value) || value > UINT32_MAX)
		return false;
	*ret = (uint32_t)value;
	return true;
}

static bool unpack_param(const msgpack_object *map, struct tritone_param *ret)
{
	bool ok = get_const_text(map, "name", &ret->name);

	ok = get_const_text(map, "fallback", &ret->fallback) && ok;
	ok = get_const_text(map, "choices", &ret->choices) && ok;
	ok = get_const_text(map, "unit", &ret->unit) && ok;
	ok = get_const_text(map, "help", &ret->help) && ok;
	return ok && ret->name && get_u32(map, "type", &ret->type) && get_u32(map, "required", &ret->required) &&
	       frame_get_double(map, "min", &ret->min) && frame_get_double(map, "max", &ret->max);
}

static bool unpack_params(const msgpack_object *map, struct plugin_info *info)
{
	const msgpack_object *array = frame_get(map, "params");
	uint32_t i;

	if (!array || array->type != MSGPACK_OBJECT_ARRAY || array->via.array.size > PARAMS_MAX)
		return false;
	info->params = calloc(array->via.array.size ? array->via.array.size : 1, sizeof *info->params);
	if (!info->params)
		return false;
	info->param_count = array->via.array.size;
	for (i = 0; i < info->param_count; i++)
		if (!unpack_param(&array->via.array.ptr[i], &info->params[i]))
			return false;
	return true;
}

int plugin_info_unpack(const msgpack_object *map, struct plugin_info **ret_info, struct error *err)
{
	struct plugin_info *info = calloc(1, sizeof *info);
	bool ok;

	if (!info)
		return error_set(err, ENOMEM, "no memory for a plugin's description");
	ok = get_text(map, "name", &info->name) && info->name;
	ok = get_text(map, "version", &info->version) && info->version && ok;
	ok = get_text(map, "summary", &info->summary) && info->summary && ok;
	ok = get_text(map, "path", &info->path) && info->path && ok;
	if (!ok || !get_u32(map, "abi", &info->abi) || !get_u32(map, "blast", &info->blast) ||
	    !get_u32(map, "capabilities", &info->capabilities) || !frame_get_int(map, "proof_ms", &info->proof_ms) ||
	    !unpack_params(map, info)) {
		plugin_info_free(info);
		return error_set(err, EILSEQ, "an incomplete description of a plugin");
	}
	*ret_info = info;
	return 0;
}

void plugin_info_free(struct plugin_info *info)
{
	uint32_t i;

	if (!info)
		return;
	for (i = 0; i < info->param_count; i++) {
		const struct tritone_param *param = &info->params[i];

		free((void *)(uintptr_t)param->name);
		free((void *)(uintptr_t)param->fallback);
		free((void *)(uintptr_t)param->choices);
		free((void *)(uintptr_t)param->unit);
		free((void *)(uintptr_t)param->help);
	}
	free(info->params);
	free(info->name);
	free(info->version);
	free(info->summary);
	free(info->path);
	free(info);
}

/* ---- asking a runner ---- */

int plugin_info_load(struct plugin_info **ret_info, const char *path, struct error *err)
{
	const struct channel_options options = {.hook_timeout_ms = RUNNER_TIMEOUT_MS, .interrupt_fd = -1};
	struct runner_request *request = NULL;
	struct runner_reply *reply = NULL;
	struct channel *channel = NULL;
	char *real = realpath(path, NULL);
	int r = -1;

	if (!real)
		return error_set(err, errno, "%s: %s", path, strerror(errno));
	request = calloc(1, sizeof *request);
	reply = calloc(1, sizeof *reply);
	if (!request || !reply) {
		error_set(err, ENOMEM, "no memory for a plugin's description");
		goto out;
	}
	if (strlen(real) >= sizeof request->setup.entry.plugin) {
		error_set(err, ENAMETOOLONG, "%s: the path is too long", real);
		goto out;
	}
	if (channel_open(&channel, &options, err) < 0)
		goto out;
	request->hook = HOOK_LOAD;
	request->setup.describe_only = true;
	request->setup.hook_timeout_ms = RUNNER_TIMEOUT_MS;
	memcpy(request->setup.entry.plugin, real, strlen(real) + 1);
	if (channel_ask(channel, request, false, reply, err) < 0)
		goto out;
	if (!reply->info) {
		error_set(err, EPROTO, "%s: the runner did not describe it", real);
		goto out;
	}
	*ret_info = reply->info;
	r = 0;
out:
	channel_close(channel);
	free(reply);
	free(request);
	free(real);
	return r;
}

int plugin_params_check(const struct plugin_info *info, const char *const *pairs, const bool *later, size_t count,
    size_t *ret_wrong, struct error *err)
{
	size_t wrong;

	if (params_check(info->params, info->param_count, pairs, later, count, ret_wrong ? ret_wrong : &wrong, err) < 0)
		return error_context(err, "%s", info->name);
	return 0;
}
