/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gateway: the model providers and the notification sinks that the system under test talks to,
 * over HTTP on loopback. It answers deterministically from its seed, records every request in the
 * history, and answers wrongly where a rule says so.
 *
 * A provider NAME is at URL/NAME and speaks, at the same time:
 *   POST /v1/chat/completions, /v1/responses, /v1/embeddings   as OpenAI does
 *   POST /v1/messages, /v1/messages/count_tokens               as Anthropic does
 *   GET  /v1/models, /v1/models/MODEL                          as the one whose headers come with it
 * A sink NAME is at URL/sink/NAME (any POST with a JSON body). Which task a request belongs to comes
 * from the header or JSON member that the options name. Recorded are requests to a model (OP_CALL)
 * and to a sink (OP_NOTIFY), once their body has arrived; a list of models is not.
 *
 * A provider with an upstream is not played but asked: whatever is below URL/NAME goes to the upstream's URL, and its answer
 * comes back as it is, a stream as it comes. Rules act on it as on answers of the gateway's own; what fails on the upstream's
 * side is answered with 502 or 504, or broken off, and its detail begins with "upstream: ". No API key is written anywhere.
 *
 * A completion's detail says why there was no answer ("reset", "never answered", "truncated",
 * "the client went away", "the gateway was stopped") and which rule acted ("rule KEY").
 *
 * Caveats
 *  - The history must outlive the gateway.
 *  - A client that closes its sending half while its request waits counts as gone.
 */
#ifndef TRITONE_GATEWAY_H
#define TRITONE_GATEWAY_H

#include <stdint.h>

#include "history/history.h"
#include "tritone/fault.h"
#include "wal/error.h"

#define GATEWAY_NAMES_MAX 16

/* A provider that is asked, and not played. */
struct gateway_upstream {
	const char *provider;     /* NULL: behind the last */
	const char *url;          /* "https://api.example.com": what is below /PROVIDER here is below it there */
	const char *key_variable; /* the environment variable with an API key that replaces the client's; NULL: none */
	int64_t silence_ms;       /* so long without a byte, and it is given up; 0: two minutes */
};

struct gateway_options {
	struct history *history; /* may be NULL */
	uint64_t seed;
	uint16_t port;                                /* 0: any free one */
	const char *providers[GATEWAY_NAMES_MAX + 1]; /* NULL-terminated */
	const char *sinks[GATEWAY_NAMES_MAX + 1];
	const char *task_header;    /* of provider requests, e.g. "X-Task-Id"; NULL: none */
	const char *attempt_header; /* e.g. "X-Attempt"; NULL: none */
	const char *sink_task;      /* JSON member of a sink's body with the task, e.g. "task" */
	const char *sink_key;       /* JSON member with the deduplication key, e.g. "key" */
	const char
	    *ledger_sink;   /* what this sink takes (a 2xx, heard of or not) is a commit, too: OP_COMMIT; NULL: none */
	int64_t latency_ms; /* each provider reply takes so long */
	const char *script; /* file of scripted replies, see script.h; NULL: the built-in plan, see reply.h */
	/* Where a request has no task header: a pattern of PCRE2 that is looked for in the user's last message, then in the
	 * system prompt; its first group is the task. NULL: none. */
	const char *task_pattern;
	struct gateway_upstream upstreams[GATEWAY_NAMES_MAX + 1];
	const char *record; /* what the upstreams answer is added to this file, see recording.h; NULL: none */
	/* The upstreams' providers (all, where there are none) are answered from this recording, and nobody is asked. NULL:
	 * none. */
	const char *replay;
};

struct gateway;

int gateway_create(struct gateway **ret_gateway, const struct gateway_options *options, struct error *err);
/* Answers what is held or hung with a reset, stops listening, joins its threads. NULL is fine. */
void gateway_destroy(struct gateway *gateway);

const char *gateway_url(const struct gateway *gateway); /* "http://127.0.0.1:PORT" */

/* -1 when what was answered is not what was asked for, and nothing can be concluded from it: ENOENT, the recording had no
 * answer to a request; or what came could not be recorded. */
int gateway_amiss(struct gateway *gateway, struct error *err);

/* Rules, exactly as plugins state them (fault.h). Setting a key again replaces the rule. */
int gateway_rule_set(struct gateway *gateway, const struct tritone_gateway_rule *rule, struct error *err);
int gateway_rule_hits(
    struct gateway *gateway, const char *key, uint64_t *ret_hits, uint64_t *ret_seen, struct error *err);
void gateway_rule_clear(struct gateway *gateway, const char *key); /* also ends what it holds back */

/*
 * Barriers, for faults on events: the `nth` (1-based, counted from now) request to `target` ("*":
 * any provider; a sink's name) is recorded (invoke) and then held, unanswered, until
 * gateway_release. *ret_id names the barrier. While it is held, other requests go on. The held
 * request's invoke has the detail "held ID" (several barriers: "held ID ID"): wait for that in the
 * history. Rules are asked when it is released, so that what was set meanwhile is for it, too.
 */
int gateway_hold(struct gateway *gateway, const char *target, uint64_t nth, uint64_t *ret_id, struct error *err);
void gateway_release(struct gateway *gateway, uint64_t id); /* fired or not; unknown ids are ignored */

/* One entry for each provider and sink: the host's part of services->targets. */
int gateway_targets(struct gateway *gateway, uint32_t kind, tritone_target_fn visit, void *arg);

#endif
