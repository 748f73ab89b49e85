/* SPDX-License-Identifier: Apache-2.0 */
/* Stops one agent (SIGSTOP) and lets it go on later, when it may long have been given up: the zombie of every lease. */
#include "plugins/process.h"

static const struct tritone_param params[] = {
    {.name = "agent",
	.type = TRITONE_PARAM_STRING,
	.help = "which one, by agent id or task; empty: that of the event, or one by the seed"},
};
enum { AGENT };

static int plan(const struct tritone_call *call, struct tritone_undo *undo, struct tritone_error *error)
{
	struct process_undo u;
	char state = '?';

	if (process_plan(call, TRITONE_TARGET_AGENT, call->values[AGENT].string, undo, error) ||
	    process_undo(undo, &u, error))
		return -1;
	/* It would be called felt, and the undo would let go what somebody else has stopped. */
	if (process_alive(u.pid, u.start_time, &state) && (state == 'T' || state == 't'))
		return fail(error, EALREADY, "agent %s (pid %d) is stopped already", u.id, u.pid);
	return 0;
}

static int inject(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	struct process_undo u;

	(void)call;
	if (process_undo(undo, &u, error))
		return -1;
	return process_signal(u.pid, u.start_time, SIGSTOP, error);
}

static int verify(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_proof *proof,
    struct tritone_error *error)
{
	struct process_undo u;
	char state = '?';

	(void)call;
	if (process_undo(undo, &u, error))
		return -1;
	if (!process_alive(u.pid, u.start_time, &state))
		return proven(proof, TRITONE_NEVER, "agent %s (pid %d) ended before it was seen stopped", u.id, u.pid);
	if (state == 'T')
		return proven(proof, TRITONE_FELT, "agent %s (pid %d) is stopped", u.id, u.pid);
	return proven(proof, TRITONE_NOT_YET, "agent %s (pid %d) is in state %c", u.id, u.pid, state);
}

static int revert(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	struct process_undo u;

	(void)call;
	if (process_undo(undo, &u, error))
		return -1;
	if (process_signal(u.pid, u.start_time, SIGCONT, error) == 0 || error->code == ESRCH)
		return 0; /* it goes on, or it is gone: there is nothing left to undo */
	return -1;
}

static const struct tritone_fault fault = {
    TRITONE_FAULT_HEAD,
    .blast = TRITONE_BLAST_PROCESS,
    .capabilities = TRITONE_CAP_SIGNAL,
    .name = "agent-pause",
    .version = "1.0",
    .summary = "one agent is stopped, and goes on later",
    TRITONE_FAULT_PARAMS(params),
    .proof_ms = 2000,
    TRITONE_FAULT_HOOKS(plan, inject, verify, revert),
};
TRITONE_FAULT(fault)
