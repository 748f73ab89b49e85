/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host and a fault runner say to each other, in wire/frame.h frames over a socket pair. The runner begins
 * with `done` number 0: it is there. The host asks (load,
 * then one hook at a time, cancel at any time); the runner answers each with `done` and in between sends `log`,
 * `evidence` and, when the fault's duration has run out and it has reverted by itself, `expired`.
 */
#ifndef TRITONE_RUNNER_PROTOCOL_H
#define TRITONE_RUNNER_PROTOCOL_H

#include <msgpack.h>

#include "runner/runner.h"
#include "wire/frame.h"

#define RUNNER_FD           3    /* the runner's end of the socket pair */
#define RUNNER_TEXT_MAX     1024 /* bytes of one log line or evidence value; longer ones are cut */
#define RUNNER_TIMEOUT_MS   10000
#define RUNNER_FAULT_ID_MAX 63

enum runner_hook {
	HOOK_NONE = 0,
	HOOK_LOAD,
	HOOK_CHECK,
	HOOK_PLAN,
	HOOK_INJECT,
	HOOK_VERIFY,
	HOOK_REVERT,
	HOOK_CANCEL, /* not a hook: tells the running one to return */
};
const char *runner_hook_name(enum runner_hook hook);

/* What a runner must know of its fault. */
struct runner_setup {
	struct undo_entry entry; /* its `undo` is not used here */
	char run_dir[1024];      /* "" for describe_only */
	int64_t hook_timeout_ms;
	bool describe_only; /* load, answer with the descriptor, and call no hook */
};

struct runner_request {
	enum runner_hook hook;
	uint64_t sequence;
	bool has_undo; /* with HOOK_LOAD: this runner is only to revert */
	struct tritone_undo undo;
	struct runner_setup setup; /* HOOK_LOAD */
};

enum runner_reply_kind { REPLY_DONE = 1, REPLY_LOG, REPLY_EVIDENCE, REPLY_EXPIRED };

struct runner_reply {
	enum runner_reply_kind kind;
	uint64_t sequence; /* DONE: of the request */
	int result;        /* DONE, EXPIRED: 0 or -1 with `error` */
	struct error error;
	struct tritone_undo undo;   /* DONE of HOOK_PLAN */
	struct tritone_proof proof; /* DONE of HOOK_VERIFY */
	struct plugin_info *info;   /* DONE of HOOK_LOAD: packed by the runner; the receiver owns it */
	uint32_t level;             /* LOG */
	char name[64];              /* EVIDENCE */
	char text[RUNNER_TEXT_MAX]; /* LOG, EVIDENCE */
};

int protocol_send_request(int fd, const struct runner_request *request, struct error *err);
int protocol_parse_request(const msgpack_object *value, struct runner_request *ret_request, struct error *err);
/* Packs reply->info too, if it is set; what it points to stays the caller's. */
int protocol_send_reply(int fd, const struct runner_reply *reply, struct error *err);
int protocol_parse_reply(const msgpack_object *value, struct runner_reply *ret_reply, struct error *err);

/* undo.c: the same map is the payload of an undo record and part of a load request. */
void undo_entry_pack(msgpack_packer *pk, const struct undo_entry *entry);
int undo_entry_unpack(const msgpack_object *map, struct undo_entry *ret_entry, struct error *err);

/* info.c */
void plugin_info_pack(msgpack_packer *pk, const struct plugin_info *info);
int plugin_info_unpack(const msgpack_object *map, struct plugin_info **ret_info, struct error *err);

#endif
