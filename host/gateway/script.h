/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scripted replies: a JSON file with a list of rules, the first that matches answers; where none
 * does, the built-in plan.
 *
 *     [{"match": {"provider": "claude", "model": "opus", "role": "write", "task": "t-1", "step": 2,
 *                 "contains": "text in the last message"},
 *       "reply": {"content": "hello", "tool_calls": [{"name": "read_file", "arguments": {...}}],
 *                 "finish_reason": "stop", "status": 400, "error": "text"}}]
 *
 * All members are optional; an unknown one is an error that names the rule.
 */
#ifndef TRITONE_GATEWAY_SCRIPT_H
#define TRITONE_GATEWAY_SCRIPT_H

#include "gateway/reply.h"
#include "wal/error.h"

struct script;

int script_load(struct script **ret_script, const char *path, struct error *err);
void script_free(struct script *script);
/* Fills *ret_completion, or returns an error's reply. */
struct reply script_reply(
    const struct script *script, uint64_t seed, const struct asked *asked, struct completion *ret_completion);

#endif
