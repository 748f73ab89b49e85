/* SPDX-License-Identifier: Apache-2.0 */
/* The judge of the libraries of crash/subjects: their recovery and their check, without a process for each. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crash/judge.h"
#include "crash/subjects/subject.h"

static int prepare(const void *config, const struct trace *trace, void **ret_context, struct error *err)
{
	(void)trace;
	(void)err;
	memcpy(ret_context, &config, sizeof config);
	return 0;
}

/* A line is the number of a transaction. */
static uint32_t number_of(const struct trace_line *line)
{
	return (uint32_t)strtoul(line->text, NULL, 10);
}

static int recover(void *context, const struct crash_case *state, struct error *err)
{
	const struct subject *subject = context;

	(void)err;
	subject->recover(state->dir, NULL); /* refused or not: what it wrote is what counts */
	return 0;
}

static int judge_state(
    void *context, const struct crash_case *state, struct crash_verdict *ret_verdict, struct error *err)
{
	static const enum crash_outcome outcomes[] = {CRASH_RECOVERED, CRASH_LOST, CRASH_CORRUPT, CRASH_REFUSED};
	const uint32_t acked = state->acked ? number_of(&state->trace->acks[state->acked - 1]) : 0;
	const struct subject *subject = context;
	char message[256] = "";
	enum subject_verdict verdict;

	(void)err;
	/* opening is the recovery of all of them, and what an open says is for the check to weigh */
	verdict = subject->check(state->dir, acked, acked + 1, message, sizeof message);
	ret_verdict->outcome = outcomes[verdict];
	snprintf(ret_verdict->reason, sizeof ret_verdict->reason, "%.190s", message);
	if (ret_verdict->outcome != CRASH_RECOVERED || !crash_case_again(state))
		return 0;
	verdict = subject->check(state->dir, acked, acked + 1, message, sizeof message);
	if (outcomes[verdict] == CRASH_RECOVERED)
		return 0;
	ret_verdict->outcome = CRASH_FAILED;
	snprintf(ret_verdict->reason, sizeof ret_verdict->reason, "recovered a second time: %.170s", message);
	return 0;
}

struct crash_judge crash_judge_subject(const struct subject *subject)
{
	return (struct crash_judge){
	    .name = subject->name, .config = subject, .prepare = prepare, .recover = recover, .judge = judge_state};
}
