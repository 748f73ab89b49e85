/* SPDX-License-Identifier: Apache-2.0 */
/* What a job has found, and the sum of all. */
#include <string.h>

#include "crash/explore_internal.h"

uint64_t explore_total(const struct explore_result *result)
{
	uint64_t total = result->recoveries;
	unsigned i;

	for (i = 0; i < MODEL_KINDS; i++)
		total += result->judged[i];
	return total;
}

bool explore_deviates(const struct explore_finding *finding)
{
	return finding->found && !(finding->outcome == CRASH_REFUSED && finding->kind == MODEL_BYTE);
}

/* Fewer pieces missing is simpler, and then what comes earlier. */
static bool is_simpler(const struct explore_finding *a, const struct explore_finding *b)
{
	if (!b->found || a->kind != b->kind)
		return !b->found || a->kind < b->kind;
	return a->missing != b->missing ? a->missing < b->missing : a->ordinal < b->ordinal;
}

static uint64_t pieces_missing(const struct model_state *state)
{
	uint64_t missing = 0;
	size_t op, piece;

	for (op = 0; op < state->at; op++)
		for (piece = 0; piece < model_pieces(state->model, op); piece++)
			missing += model_fate(state, op, piece, NULL, 0) == MODEL_MISSING;
	return missing;
}

void explore_note(
    struct job *job, const struct model_state *state, const struct crash_verdict *verdict, bool in_recovery)
{
	struct explore_result *result = &job->share->result;
	struct explore_finding finding = {.found = true,
	    .ordinal = state->ordinal,
	    .kind = state->kind,
	    .outcome = verdict->outcome,
	    .at = state->at,
	    .acked = state->acked,
	    .in_recovery = in_recovery};

	if (in_recovery)
		result->recoveries++;
	else
		result->judged[state->kind]++;
	result->outcomes[verdict->outcome]++;
	if (state->kind == MODEL_BYTE && !in_recovery)
		result->outcomes_byte[verdict->outcome]++;
	job->share->progress++;
	if (verdict->outcome == CRASH_RECOVERED)
		return;
	finding.missing = pieces_missing(state);
	memcpy(finding.reason, verdict->reason, sizeof finding.reason);
	job->share->deviations += explore_deviates(&finding);
	if (is_simpler(&finding, &result->first[verdict->outcome]))
		result->first[verdict->outcome] = finding;
	if (job->options->stop_at_first && explore_deviates(&finding))
		job->shared->stop = 1;
}

void explore_add_result(struct explore_result *to, const struct explore_result *from)
{
	size_t i;

	for (i = 0; i < MODEL_KINDS; i++)
		to->judged[i] += from->judged[i];
	for (i = 0; i < CRASH_OUTCOMES; i++) {
		to->outcomes[i] += from->outcomes[i];
		to->outcomes_byte[i] += from->outcomes_byte[i];
		if (from->first[i].found && is_simpler(&from->first[i], &to->first[i]))
			to->first[i] = from->first[i];
	}
	to->contents += from->contents;
	to->again += from->again;
	to->recoveries += from->recoveries;
	to->crashed += from->crashed;
}
