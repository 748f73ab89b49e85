/* SPDX-License-Identifier: Apache-2.0 */
/* Kills one agent. SIGTERM by default: one that ignores it is reported as such, and is not called killed. */
#include "plugins/process.h"

static const struct tritone_param params[] = {
    {.name = "agent",
	.type = TRITONE_PARAM_STRING,
	.help = "which one, by agent id or task; empty: that of the event, or one by the seed"},
    {.name = "signal",
	.type = TRITONE_PARAM_CHOICE,
	.fallback = "TERM",
	.choices = "TERM|KILL|" PROCESS_SIGNALS,
	.help = "the signal that is sent"},
};
enum { AGENT, SIGNAL };

static uint64_t bit_of(const char *name)
{
	return UINT64_C(1) << (process_signal_number(name) - 1);
}

static int plan(const struct tritone_call *call, struct tritone_undo *undo, struct tritone_error *error)
{
	const char *name = call->values[SIGNAL].string;
	struct process_undo u;

	if (process_plan(call, TRITONE_TARGET_AGENT, call->values[AGENT].string, undo, error) ||
	    process_undo(undo, &u, error))
		return -1;
	if (u.caught & bit_of(name))
		evidence(call, "caught", "it has a handler for SIG%s, and may finish its work before it ends", name);
	return 0;
}

static int inject(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	struct process_undo u;

	if (process_undo(undo, &u, error))
		return -1;
	return process_signal(u.pid, u.start_time, process_signal_number(call->values[SIGNAL].string), error);
}

static int verify(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_proof *proof,
    struct tritone_error *error)
{
	struct process_undo u;
	const char *name = call->values[SIGNAL].string;
	uint64_t bit = bit_of(name);
	char state = '?';

	if (process_undo(undo, &u, error))
		return -1;
	if (!process_alive(u.pid, u.start_time, &state))
		return proven(proof, TRITONE_FELT, "agent %s (pid %d) is gone after SIG%s%s", u.id, u.pid, name,
		    u.caught & bit ? ", which it catches: whether it had finished its work is not seen from outside"
				   : "");
	/* Before and after: one that only ignores it now may have caught it, and be on its way out. */
	if (u.ignored & process_ignored(u.pid) & bit)
		return proven(proof, TRITONE_NEVER, "agent %s (pid %d) ignores SIG%s and lives on", u.id, u.pid, name);
	return proven(
	    proof, TRITONE_NOT_YET, "agent %s (pid %d) is still alive after SIG%s, state %c", u.id, u.pid, name, state);
}

/* A dead process cannot be brought back; what recovers from that is the system under test. */
static int revert(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	struct process_undo u;

	(void)call;
	return process_undo(undo, &u, error);
}

static const struct tritone_fault fault = {
    TRITONE_FAULT_HEAD,
    .blast = TRITONE_BLAST_PROCESS,
    .capabilities = TRITONE_CAP_SIGNAL | TRITONE_CAP_INSTANT,
    .name = "agent-kill",
    .version = "1.0",
    .summary = "one agent is killed in the middle of its work",
    TRITONE_FAULT_PARAMS(params),
    .proof_ms = 2000,
    TRITONE_FAULT_HOOKS(plan, inject, verify, revert),
};
TRITONE_FAULT(fault)
