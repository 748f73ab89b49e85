/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scripted replies: the first rule of a script (spec/spec.h; the keys are in tritone-script(5)) that matches a request
 * answers it; where none does, the built-in plan (reply.h).
 *
 * In texts of a reply ${N} is the N-th group of the rule's pattern (of `user`, else of `last`, else of `system`; 0 is
 * all that matched), ${NAME} a named group of any of them, and ${provider}, ${model}, ${task}, ${role}, ${step},
 * ${nth} are the request's.
 *
 * Not thread-safe: the gateway asks from its server's thread only.
 */
#ifndef TRITONE_GATEWAY_SCRIPT_H
#define TRITONE_GATEWAY_SCRIPT_H

#include "gateway/reply.h"
#include "wal/error.h"

struct script;

int script_load(struct script **ret_script, const char *path, struct error *err);
void script_free(struct script *script);
/*
 * Fills *ret_completion, or returns an error's reply (whose body is NULL otherwise). `counts`: the client will have this
 * answer, so that the next request of the task is its next one. `id` is the request's, for an error.
 */
struct reply script_reply(struct script *script, uint64_t seed, const struct asked *asked, const char *id, bool counts,
    struct completion *ret_completion);

#endif
