/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kills the orchestrator itself with SIGKILL: at once, or exactly at a named point of its own code (a fault point, such as
 * commit-intent.after). Proven by the death of that very process.
 */
#include "plugins/gateway.h"
#include "plugins/process.h"

static const struct tritone_param params[] = {
    {.name = "point",
	.type = TRITONE_PARAM_STRING,
	.help = "the fault point at which it dies; empty: wherever it is now"},
    {.name = "nth",
	.type = TRITONE_PARAM_INT,
	.fallback = "1",
	.min = 1,
	.max = 1e9,
	.help = "at the n-th pass of the point from now"},
};
enum { POINT, NTH };

static int plan(const struct tritone_call *call, struct tritone_undo *undo, struct tritone_error *error)
{
	return process_plan(call, TRITONE_TARGET_SYSTEM, "", undo, error);
}

static int inject(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	struct process_undo u;
	char key[64];
	struct tritone_point_rule rule = {
	    .struct_size = sizeof rule,
	    .action = TRITONE_POINT_KILL,
	    .key = rule_key(call, "", key),
	    .name = call->values[POINT].string,
	    .nth = (uint64_t)call->values[NTH].integer,
	    .count = 1,
	};

	if (process_undo(undo, &u, error))
		return -1;
	if (!call->values[POINT].string[0])
		return process_signal(u.pid, u.start_time, SIGKILL, error);
	return call->services->faultpoint(call->host, &rule, error);
}

static int verify(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_proof *proof,
    struct tritone_error *error)
{
	struct process_undo u;
	const char *point = call->values[POINT].string;
	uint64_t hits = 0, seen = 0;
	char state = '?';
	bool alive;
	int over = 0;

	if (process_undo(undo, &u, error))
		return -1;
	/* Before its passes are counted: none comes after its death. */
	alive = process_alive(u.pid, u.start_time, &state);
	if (point[0])
		over = rule_count(call, "", &hits, &seen, error);
	if (over)
		return over > 0 ? rule_ended(proof) : -1;
	if (!alive) {
		/* The point is armed for the one that is started in its place, too: a recovery is killed so. */
		if (point[0] && !hits)
			return proven(
			    proof, TRITONE_UNEXERCISED, "%s (pid %d) died before it came to %s", u.id, u.pid, point);
		return proven(
		    proof, TRITONE_FELT, "%s (pid %d) is gone%s%s", u.id, u.pid, point[0] ? ", at " : "", point);
	}
	if (point[0] && !hits)
		return proven(proof, TRITONE_UNEXERCISED, "%s has passed %s %" PRIu64 " times, %" PRId64 " are wanted",
		    u.id, point, seen, call->values[NTH].integer);
	return proven(proof, TRITONE_NOT_YET, "%s (pid %d) is still alive, state %c", u.id, u.pid, state);
}

/* Disarms the point. What brings the orchestrator back is the restart policy of its manifest. */
static int revert(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	struct process_undo u;
	char key[64];

	if (call->values[POINT].string[0] && call->services->rule_clear(call->host, rule_key(call, "", key), error))
		return -1;
	return process_undo(undo, &u, error);
}

static const struct tritone_fault fault = {
    TRITONE_FAULT_HEAD,
    .blast = TRITONE_BLAST_SYSTEM,
    .capabilities = TRITONE_CAP_SIGNAL | TRITONE_CAP_FAULTPOINT | TRITONE_CAP_INSTANT,
    .name = "orchestrator-kill",
    .version = "1.0",
    .summary = "the orchestrator is killed, at a named point of its own code",
    TRITONE_FAULT_PARAMS(params),
    .proof_ms = 20000,
    TRITONE_FAULT_HOOKS(plan, inject, verify, revert),
};
TRITONE_FAULT(fault)
