/* SPDX-License-Identifier: Apache-2.0 */
/* What the plugins with one gateway rule share: its proof and its end. Header only. */
#ifndef TRITONE_PLUGINS_GATEWAY_H
#define TRITONE_PLUGINS_GATEWAY_H

#include "plugins/plugin.h"

/* Nothing to record: the rule's key follows from the fault's id. */
static inline int rule_plan(const struct tritone_call *call, struct tritone_undo *undo, struct tritone_error *error)
{
	const uint32_t version = 1;

	(void)call;
	(void)error;
	undo_write(undo, &version, sizeof version);
	return 0;
}

/* Felt once a request was answered by the rule; unexercised as long as nobody has called. `what` ends the sentence. */
static inline int rule_verify(const struct tritone_call *call, const char *who, const char *what,
    struct tritone_proof *proof, struct tritone_error *error)
{
	uint64_t hits = 0, seen = 0;
	char key[64];

	if (call->services->rule_hits(call->host, rule_key(call, key, sizeof key), &hits, &seen, error))
		return -1;
	if (hits)
		return proven(proof, TRITONE_FELT, "%llu of %llu requests to %s were %s", (unsigned long long)hits,
		    (unsigned long long)seen, who, what);
	if (!seen)
		return proven(proof, TRITONE_UNEXERCISED, "nobody has called %s", who);
	return proven(
	    proof, TRITONE_NOT_YET, "none of %llu requests to %s was %s", (unsigned long long)seen, who, what);
}

static inline int rule_revert(
    const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	char key[64];

	(void)undo;
	return call->services->rule_clear(call->host, rule_key(call, key, sizeof key), error);
}

#endif
