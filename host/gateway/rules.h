/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gateway's fault rules: which request meets which rule, and how often that was so. Knows no
 * sockets and no clock; not thread-safe, the gateway holds its lock.
 *
 * Rules are asked in the order in which they were set. DELAY goes together with what follows (of
 * several delays the longest counts); the first rule of any other kind that acts ends the search.
 */
#ifndef TRITONE_GATEWAY_RULES_H
#define TRITONE_GATEWAY_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "tritone/fault.h"
#include "wal/error.h"

#define RULES_KEY_SIZE  64  /* bytes, with the final NUL */
#define RULES_TEXT_SIZE 256 /* the same */

struct rules;

/* What is to become of one request. */
struct verdict {
	uint32_t action; /* enum tritone_gateway_action without DELAY; 0: answer as usual */
	int32_t status;
	int64_t retry_after_ms;   /* -1: none */
	int64_t until_us;         /* HANG: when it ends by itself; -1: when it is cleared */
	int64_t delay_ms;         /* before the action; 0: none */
	int64_t pace_ms;          /* SLOW: between the pieces */
	uint64_t tag, delay_tag;  /* of the rule that acts, and of the one that delays; 0: none */
	char key[RULES_KEY_SIZE]; /* of the rule that acts (or else delays), "" if none */
	char text[RULES_TEXT_SIZE];
};

/* What rules may want to know of a request. */
struct rules_shown {
	const char *target;
	bool provider; /* not a sink */
	bool spends;   /* it is for a model, well-formed, and its answer tells of tokens */
	bool talks;    /* and a model says something */
	bool stream;   /* as a stream */
	const char *api_key;
};

int gateway_rules_create(struct rules **ret_rules, uint64_t seed, struct error *err);
void gateway_rules_destroy(struct rules *rules);

/* `tag` names this setting of the rule; *ret_replaced is the tag of the one it replaces, or 0. EINVAL says what is
 * wrong with it. Counters start anew. */
int gateway_rules_set(struct rules *rules, const struct tritone_gateway_rule *rule, uint64_t tag, int64_t now_us,
    uint64_t *ret_replaced, struct error *err);
/* ENOENT: no such rule, or its lifetime is over. */
int gateway_rules_hits(
    struct rules *rules, const char *key, int64_t now_us, uint64_t *ret_hits, uint64_t *ret_seen, struct error *err);
/* Returns the tag of what was cleared, or 0. */
uint64_t gateway_rules_clear(struct rules *rules, const char *key);
/* Whether the setting of that tag still stands: neither cleared nor replaced, and its lifetime not over. */
bool gateway_rules_live(const struct rules *rules, uint64_t tag, int64_t now_us);

/* Shows one request to the rules. One that a rule cannot act on (no stream to be broken off, the right key) is not seen
 * by it. */
void gateway_rules_judge(
    struct rules *rules, const struct rules_shown *shown, int64_t now_us, struct verdict *ret_verdict);
/* A request that the rule of that tag was to act on gave it nothing to act on: it does not count as a hit. */
void gateway_rules_take_back(struct rules *rules, uint64_t tag);
/* Whether the action is one for models only. */
bool gateway_rules_for_models(uint32_t action);

#endif
