/* SPDX-License-Identifier: Apache-2.0 */
/* The frames between host and runner, packed and unpacked; see protocol.h. Both sides trust nothing that they get. */
#include "runner/protocol.h"

#include <errno.h>
#include <string.h>

static const char *const hook_names[] = {
    [HOOK_NONE] = "start",
    [HOOK_LOAD] = "load",
    [HOOK_CHECK] = "check",
    [HOOK_PLAN] = "plan",
    [HOOK_INJECT] = "inject",
    [HOOK_VERIFY] = "verify",
    [HOOK_REVERT] = "revert",
    [HOOK_CANCEL] = "cancel",
};
#define HOOK_COUNT (sizeof hook_names / sizeof *hook_names)

static const char *const reply_names[] = {
    [REPLY_DONE] = "done",
    [REPLY_LOG] = "log",
    [REPLY_EVIDENCE] = "evidence",
    [REPLY_EXPIRED] = "expired",
};
#define REPLY_COUNT (sizeof reply_names / sizeof *reply_names)

const char *runner_hook_name(enum runner_hook hook)
{
	return (size_t)hook < HOOK_COUNT ? hook_names[hook] : "unknown";
}

/* ---- requests ---- */

int protocol_send_request(int fd, const struct runner_request *request, struct error *err)
{
	bool load = request->hook == HOOK_LOAD;
	msgpack_sbuffer buf;
	msgpack_packer pk;
	int r;

	msgpack_sbuffer_init(&buf);
	msgpack_packer_init(&pk, &buf, msgpack_sbuffer_write);
	msgpack_pack_map(&pk, 2u + (request->has_undo ? 1u : 0u) + (load ? 4u : 0u));
	frame_put_str(&pk, "do", runner_hook_name(request->hook));
	frame_put_uint(&pk, "sequence", request->sequence);
	if (request->has_undo)
		frame_put_bin(&pk, "undo", request->undo.bytes, request->undo.size);
	if (load) {
		frame_put_str(&pk, "run_dir", request->setup.run_dir);
		frame_put_int(&pk, "hook_timeout_ms", request->setup.hook_timeout_ms);
		frame_put_bool(&pk, "describe_only", request->setup.describe_only);
		msgpack_pack_str(&pk, 5);
		msgpack_pack_str_body(&pk, "entry", 5);
		undo_entry_pack(&pk, &request->setup.entry);
	}
	r = frame_send(fd, &buf, err);
	msgpack_sbuffer_destroy(&buf);
	return r;
}

static int undo_get(const msgpack_object *map, struct tritone_undo *ret_undo, bool *ret_has, struct error *err)
{
	const uint8_t *bytes;
	size_t size;

	if (!frame_get_bin(map, "undo", &bytes, &size))
		return 0;
	if (size > TRITONE_UNDO_SIZE_MAX)
		return error_set(err, EMSGSIZE, "an undo record of %zu bytes", size);
	memcpy(ret_undo->bytes, bytes, size);
	ret_undo->size = (uint32_t)size;
	*ret_has = true;
	return 0;
}

int protocol_parse_request(const msgpack_object *value, struct runner_request *ret_request, struct error *err)
{
	const msgpack_object *entry;
	char name[16];
	size_t i;

	memset(ret_request, 0, sizeof *ret_request);
	if (!frame_get_str(value, "do", name, sizeof name) ||
	    !frame_get_uint(value, "sequence", &ret_request->sequence))
		return error_set(err, EILSEQ, "a request without a hook or a sequence number");
	for (i = HOOK_LOAD; i < HOOK_COUNT && strcmp(name, hook_names[i]) != 0; i++)
		;
	if (i == HOOK_COUNT)
		return error_set(err, EILSEQ, "a request for the unknown hook '%s'", name);
	ret_request->hook = (enum runner_hook)i;
	if (undo_get(value, &ret_request->undo, &ret_request->has_undo, err) < 0)
		return -1;
	if (ret_request->hook != HOOK_LOAD)
		return 0;
	entry = frame_get(value, "entry");
	if (!entry || !frame_get_str(value, "run_dir", ret_request->setup.run_dir, sizeof ret_request->setup.run_dir) ||
	    !frame_get_int(value, "hook_timeout_ms", &ret_request->setup.hook_timeout_ms) ||
	    !frame_get_bool(value, "describe_only", &ret_request->setup.describe_only))
		return error_set(err, EILSEQ, "an incomplete load request");
	return undo_entry_unpack(entry, &ret_request->setup.entry, err);
}

/* ---- replies ---- */

static void pack_result(msgpack_packer *pk, const struct runner_reply *reply)
{
	frame_put_int(pk, "result", reply->result);
	frame_put_int(pk, "code", reply->result < 0 ? reply->error.code : 0);
	frame_put_str(pk, "error", reply->result < 0 ? reply->error.text : "");
}

static void pack_reply(msgpack_packer *pk, const struct runner_reply *reply)
{
	switch (reply->kind) {
	case REPLY_DONE:
		msgpack_pack_map(pk, reply->info ? 9 : 8);
		frame_put_uint(pk, "sequence", reply->sequence);
		pack_result(pk, reply);
		frame_put_bin(pk, "undo", reply->undo.bytes, reply->undo.size);
		frame_put_uint(pk, "felt", reply->proof.felt);
		frame_put_str(pk, "proof", reply->proof.text);
		if (reply->info) {
			msgpack_pack_str(pk, 4);
			msgpack_pack_str_body(pk, "info", 4);
			plugin_info_pack(pk, reply->info);
		}
		break;
	case REPLY_LOG:
		msgpack_pack_map(pk, 3);
		frame_put_uint(pk, "level", reply->level);
		frame_put_str(pk, "text", reply->text);
		break;
	case REPLY_EVIDENCE:
		msgpack_pack_map(pk, 3);
		frame_put_str(pk, "name", reply->name);
		frame_put_str(pk, "text", reply->text);
		break;
	case REPLY_EXPIRED:
		msgpack_pack_map(pk, 4);
		pack_result(pk, reply);
		break;
	}
	frame_put_str(pk, "is", reply_names[reply->kind]);
}

int protocol_send_reply(int fd, const struct runner_reply *reply, struct error *err)
{
	msgpack_sbuffer buf;
	msgpack_packer pk;
	int r;

	msgpack_sbuffer_init(&buf);
	msgpack_packer_init(&pk, &buf, msgpack_sbuffer_write);
	pack_reply(&pk, reply);
	r = frame_send(fd, &buf, err);
	msgpack_sbuffer_destroy(&buf);
	return r;
}

static bool get_result(const msgpack_object *value, struct runner_reply *ret)
{
	int64_t result, code;

	if (!frame_get_int(value, "result", &result) || !frame_get_int(value, "code", &code) ||
	    !frame_get_str(value, "error", ret->error.text, sizeof ret->error.text))
		return false;
	ret->result = result == 0 ? 0 : -1;
	ret->error.code = code > 0 && code < 4096 ? (int)code : EIO;
	return true;
}

static int parse_done(const msgpack_object *value, struct runner_reply *ret, struct error *err)
{
	const msgpack_object *info;
	bool has_undo = false;
	uint64_t felt;

	if (!get_result(value, ret) || !frame_get_uint(value, "sequence", &ret->sequence) ||
	    !frame_get_uint(value, "felt", &felt) || felt > UINT32_MAX ||
	    !frame_get_str(value, "proof", ret->proof.text, sizeof ret->proof.text))
		return error_set(err, EILSEQ, "an incomplete answer");
	ret->proof.struct_size = sizeof ret->proof;
	ret->proof.felt = (uint32_t)felt;
	if (undo_get(value, &ret->undo, &has_undo, err) < 0)
		return -1;
	info = frame_get(value, "info");
	return info ? plugin_info_unpack(info, &ret->info, err) : 0;
}

int protocol_parse_reply(const msgpack_object *value, struct runner_reply *ret_reply, struct error *err)
{
	uint64_t level = 0;
	char is[16];
	bool ok;

	memset(ret_reply, 0, sizeof *ret_reply);
	if (!frame_get_str(value, "is", is, sizeof is))
		return error_set(err, EILSEQ, "a frame that does not say what it is");
	if (!strcmp(is, reply_names[REPLY_DONE])) {
		ret_reply->kind = REPLY_DONE;
		return parse_done(value, ret_reply, err);
	}
	if (!strcmp(is, reply_names[REPLY_LOG])) {
		ret_reply->kind = REPLY_LOG;
		ok = frame_get_uint(value, "level", &level) && level <= UINT32_MAX &&
		     frame_get_str(value, "text", ret_reply->text, sizeof ret_reply->text);
		ret_reply->level = (uint32_t)level;
	} else if (!strcmp(is, reply_names[REPLY_EVIDENCE])) {
		ret_reply->kind = REPLY_EVIDENCE;
		ok = frame_get_str(value, "name", ret_reply->name, sizeof ret_reply->name) &&
		     frame_get_str(value, "text", ret_reply->text, sizeof ret_reply->text);
	} else if (!strcmp(is, reply_names[REPLY_EXPIRED])) {
		ret_reply->kind = REPLY_EXPIRED;
		ok = get_result(value, ret_reply);
	} else {
		return error_set(err, EILSEQ, "a frame of the unknown kind '%s'", is);
	}
	return ok ? 0 : error_set(err, EILSEQ, "an incomplete frame of kind '%s'", is);
}
