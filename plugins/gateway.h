/* SPDX-License-Identifier: Apache-2.0 */
/* What the plugins with rules at the gateway or elsewhere share: records, proofs and ends. Header only. */
#ifndef TRITONE_PLUGINS_GATEWAY_H
#define TRITONE_PLUGINS_GATEWAY_H

#include <errno.h>

#include "plugins/plugin.h"

#define RULE_UNDO_VERSION 1u

/* Nothing to record but a version: the rule's key follows from the fault's id. */
static inline int rule_plan(const struct tritone_call *call, struct tritone_undo *undo, struct tritone_error *error)
{
	const uint32_t version = RULE_UNDO_VERSION;

	(void)call;
	(void)error;
	undo_write(undo, &version, sizeof version);
	return 0;
}

/*
 * How often a rule has acted, and been looked at. 1: it has ended, with its time or its system. Whoever asks then has not found the
 * fault felt before, so that nobody is known to have come across it.
 */
static inline int rule_count(const struct tritone_call *call, const char *part, uint64_t *ret_hits, uint64_t *ret_seen,
    struct tritone_error *error)
{
	char key[64];

	if (call->services->rule_hits(call->host, rule_key(call, part, key), ret_hits, ret_seen, error) == 0)
		return 0;
	return error->code == ENOENT ? 1 : -1;
}

static inline int rule_ended(struct tritone_proof *proof)
{
	return proven(
	    proof, TRITONE_UNEXERCISED, "it is over, and nobody had come across it when it was last looked at");
}

/* Felt once a request was answered by the rule; unexercised as long as nobody has called. `what` ends the sentence. */
static inline int rule_verify(const struct tritone_call *call, const char *who, const char *what,
    struct tritone_proof *proof, struct tritone_error *error)
{
	uint64_t hits = 0, seen = 0;
	int r = rule_count(call, "", &hits, &seen, error);

	if (r)
		return r > 0 ? rule_ended(proof) : -1;
	if (hits)
		return proven(proof, TRITONE_FELT, "%llu of %llu requests to %s were %s", (unsigned long long)hits,
		    (unsigned long long)seen, who, what);
	if (!seen)
		return proven(proof, TRITONE_UNEXERCISED, "nobody has called %s", who);
	return proven(
	    proof, TRITONE_NOT_YET, "none of %llu requests to %s was %s", (unsigned long long)seen, who, what);
}

/*
 * Clears the rules whatever the record says, each even if another one cannot be; -1 with the first reason. `parts` ends with NULL. A record
 * that is damaged, or of a later version, is an error all the same: that version may have had more to undo.
 */
static inline int rules_revert(const struct tritone_call *call, const struct tritone_undo *undo,
    const char *const *parts, struct tritone_error *error)
{
	struct tritone_error other;
	uint32_t version;
	char key[64];
	int r = 0;

	for (; *parts; parts++)
		if (call->services->rule_clear(call->host, rule_key(call, *parts, key), r ? &other : error))
			r = -1;
	return undo_read(undo, &version, sizeof version, RULE_UNDO_VERSION, r ? &other : error) || r ? -1 : 0;
}

static inline int rule_revert(
    const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	static const char *const only[] = {"", NULL};

	return rules_revert(call, undo, only, error);
}

#endif
