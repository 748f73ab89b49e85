/* SPDX-License-Identifier: Apache-2.0 */
/* Kills processes that the manifest names: the server only, the workers only, one of them; alone, with its group, or with all below it. */
#include "plugins/crowd.h"

static const struct tritone_param params[] = {
    {.name = "process",
	.type = TRITONE_PARAM_STRING,
	.help = "the manifest's name of it, or a pattern such as worker*; empty: the orchestrator"},
    {.name = "which",
	.type = TRITONE_PARAM_CHOICE,
	.fallback = "all",
	.choices = "all|one",
	.help = "of those that match: all, or one by the seed"},
    {.name = "scope",
	.type = TRITONE_PARAM_CHOICE,
	.fallback = "process",
	.choices = "process|group|tree",
	.help = "that process alone, its process group, or it and all that it has started"},
    {.name = "signal",
	.type = TRITONE_PARAM_CHOICE,
	.fallback = "KILL",
	.choices = "KILL|TERM|INT|QUIT|HUP|SEGV|ABRT",
	.help = "the signal that is sent"},
};
enum { PROCESS, WHICH, SCOPE, SIGNAL };

static int number_of(const char *name)
{
	static const struct {
		const char *name;
		int number;
	} signals[] = {{"KILL", SIGKILL}, {"TERM", SIGTERM}, {"INT", SIGINT}, {"QUIT", SIGQUIT}, {"HUP", SIGHUP},
	    {"SEGV", SIGSEGV}, {"ABRT", SIGABRT}};
	size_t i;

	for (i = 0; i < sizeof signals / sizeof signals[0]; i++)
		if (!strcmp(signals[i].name, name))
			return signals[i].number;
	return SIGKILL;
}

static int plan(const struct tritone_call *call, struct tritone_undo *undo, struct tritone_error *error)
{
	return crowd_plan(call, call->values[PROCESS].string, !strcmp(call->values[WHICH].string, "one"),
	    call->values[SCOPE].string, undo, error);
}

static int inject(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	const char *name = call->values[SIGNAL].string;
	struct crowd_undo u;
	uint32_t from;
	int sent;

	if (crowd_undo(undo, &u, error))
		return -1;
	sent = crowd_signal(&u, 0, number_of(name), error);
	/* Who was started between the choice and now has the same fate; SIGTERM is for those that were chosen. */
	while (sent > 0 && number_of(name) == SIGKILL) {
		from = u.count;
		if (crowd_grow(&u, crowd_scope(call->values[SCOPE].string)) == 0)
			break;
		if (crowd_signal(&u, from, SIGKILL, error) < 0)
			return -1;
	}
	if (sent == 0)
		return fail(error, ESRCH, "process %s (pid %d) is gone", u.members[0].name, u.members[0].pid);
	return sent < 0 ? -1 : 0;
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
    TRITONE_FAULT_HOOKS(plan, inject, verify, revert),
};
TRITONE_FAULT(fault)
