/* SPDX-License-Identifier: Apache-2.0 */
/* Kills processes that the manifest names: the server only, the workers only, one of them; alone, with its group, or with all below it. */
#include "plugins/crowd.h"

static const struct tritone_param params[] = {
    CROWD_PARAMS,
    {.name = "signal",
	.type = TRITONE_PARAM_CHOICE,
	.fallback = "KILL",
	.choices = "KILL|TERM|" PROCESS_SIGNALS,
	.help = "the signal that is sent"},
};
enum { SIGNAL = CROWD_PARAM_COUNT };

static int inject(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	int number = process_signal_number(call->values[SIGNAL].string);
	struct crowd_undo u;
	uint32_t from;

	if (crowd_undo(undo, &u, error) || crowd_strike(&u, number, error))
		return -1;
	/* Who was started between the choice and now has the same fate; SIGTERM is for those that were chosen. */
	for (from = u.count; number == SIGKILL && crowd_grow(&u, crowd_scope(call)) > 0; from = u.count)
		if (crowd_signal(&u, from, SIGKILL, error) < 0)
			return -1;
	if (u.count == CROWD_MAX)
		return fail(error, E2BIG, "so many processes came beside those that were chosen that some may live on");
	return 0;
}

static int verify(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_proof *proof,
    struct tritone_error *error)
{
	const char *name = call->values[SIGNAL].string;
	struct crowd_undo u;
	uint32_t alive;

	if (crowd_undo(undo, &u, error))
		return -1;
	alive = crowd_alive(&u, "", NULL);
	if (alive)
		return proven(
		    proof, TRITONE_NOT_YET, "%u of %u processes are still alive after SIG%s", alive, u.count, name);
	if (u.count == 1)
		return proven(
		    proof, TRITONE_FELT, "%s (pid %d) is gone after SIG%s", u.members[0].name, u.members[0].pid, name);
	return proven(proof, TRITONE_FELT, "%s (pid %d) and %u more are gone after SIG%s", u.members[0].name,
	    u.members[0].pid, u.count - 1, name);
}

/* What brings them back is the restart policy of the manifest. */
static int revert(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	struct crowd_undo u;

	(void)call;
	return crowd_undo(undo, &u, error);
}

static const struct tritone_fault fault = {
    TRITONE_FAULT_HEAD,
    .blast = TRITONE_BLAST_SYSTEM,
    .capabilities = TRITONE_CAP_SIGNAL | TRITONE_CAP_INSTANT,
    .name = "process-kill",
    .version = "1.0",
    .summary = "processes of the manifest are killed: the server, the workers, with their groups",
    TRITONE_FAULT_PARAMS(params),
    .proof_ms = 5000,
    TRITONE_FAULT_HOOKS(crowd_plan, inject, verify, revert),
};
TRITONE_FAULT(fault)
