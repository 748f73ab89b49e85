/* SPDX-License-Identifier: Apache-2.0 */
/* Stops processes that the manifest names (SIGSTOP) and lets them go on later, when their leases may long be over. */
#include "plugins/crowd.h"

static const struct tritone_param params[] = {
    CROWD_PARAMS,
};

static int plan(const struct tritone_call *call, struct tritone_undo *undo, struct tritone_error *error)
{
	struct crowd_undo u;
	uint32_t stopped = 0;

	if (crowd_plan(call, undo, error) || crowd_undo(undo, &u, error))
		return -1;
	/* It would be called felt, and the undo would let go what somebody else has stopped. */
	crowd_alive(&u, "Tt", &stopped);
	if (stopped)
		return fail(
		    error, EALREADY, "%u of the processes of %s are stopped already", stopped, u.members[0].name);
	return 0;
}

static int inject(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	struct crowd_undo u;

	(void)call;
	return crowd_undo(undo, &u, error) || crowd_strike(&u, SIGSTOP, error) ? -1 : 0;
}

static int verify(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_proof *proof,
    struct tritone_error *error)
{
	struct crowd_undo u;
	uint32_t alive, stopped = 0;

	(void)call;
	if (crowd_undo(undo, &u, error))
		return -1;
	alive = crowd_alive(&u, "T", &stopped);
	if (!alive)
		return proven(proof, TRITONE_NEVER, "%s (pid %d) ended before it was seen stopped", u.members[0].name,
		    u.members[0].pid);
	if (stopped < alive)
		return proven(proof, TRITONE_NOT_YET, "%u of %u processes are stopped", stopped, alive);
	if (alive == 1)
		return proven(proof, TRITONE_FELT, "%s (pid %d) is stopped", u.members[0].name, u.members[0].pid);
	return proven(
	    proof, TRITONE_FELT, "%s (pid %d) and %u more are stopped", u.members[0].name, u.members[0].pid, alive - 1);
}

static int revert(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	struct crowd_undo u;

	(void)call;
	if (crowd_undo(undo, &u, error))
		return -1;
	return crowd_signal(&u, 0, SIGCONT, error) < 0 ? -1 : 0; /* they go on, or they are gone */
}

static const struct tritone_fault fault = {
    TRITONE_FAULT_HEAD,
    .blast = TRITONE_BLAST_SYSTEM,
    .capabilities = TRITONE_CAP_SIGNAL,
    .name = "process-stop",
    .version = "1.0",
    .summary = "processes of the manifest are stopped, and go on later",
    TRITONE_FAULT_PARAMS(params),
    .proof_ms = 2000,
    TRITONE_FAULT_HOOKS(plan, inject, verify, revert),
};
TRITONE_FAULT(fault)
