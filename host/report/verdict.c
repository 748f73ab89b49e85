/* SPDX-License-Identifier: Apache-2.0 */
/* Names and exit statuses of verdicts, and what a result owns. */
#include <stdlib.h>
#include <string.h>

#include "report/report.h"

#define EVIDENCE_LINES (CHECK_FINDINGS_MAX * CHECK_EVIDENCE_MAX)

const char *verdict_name(enum verdict verdict)
{
	switch (verdict) {
	case VERDICT_HELD:
		return "held";
	case VERDICT_VACUOUS:
		return "vacuous";
	case VERDICT_NOT_INJECTED:
		return "not-injected";
	case VERDICT_DEVIATED:
		return "deviated";
	case VERDICT_GATE_FAILED:
		return "gate-failed";
	case VERDICT_ABORTED:
		return "aborted";
	case VERDICT_UNAVAILABLE:
		return "unavailable";
	case VERDICT_ERROR:
		return "error";
	case VERDICT_UNDO_INCOMPLETE:
		return "undo-incomplete";
	}
	return "unknown";
}

int verdict_exit_status(enum verdict verdict)
{
	switch (verdict) {
	case VERDICT_HELD:
		return 0;
	case VERDICT_DEVIATED:
		return 1;
	case VERDICT_ERROR:
		return 2;
	case VERDICT_GATE_FAILED:
		return 3;
	case VERDICT_VACUOUS:
	case VERDICT_NOT_INJECTED:
		return 4;
	case VERDICT_UNDO_INCOMPLETE:
		return 5;
	case VERDICT_ABORTED:
		return 6;
	case VERDICT_UNAVAILABLE:
		return 7;
	}
	return 2;
}

int verdict_exit_status_of(const struct result *results, size_t count)
{
	enum verdict worst = VERDICT_HELD;
	size_t i;

	if (count == 0)
		return verdict_exit_status(VERDICT_ERROR);
	for (i = 0; i < count; i++) {
		enum verdict verdict = results[i].verdict;

		if (results[i].left_behind)
			verdict = VERDICT_UNDO_INCOMPLETE;
		else if (results[i].ok)
			continue;
		else if (verdict == VERDICT_HELD) /* it should not have */
			verdict = VERDICT_DEVIATED;
		if (verdict > worst)
			worst = verdict;
	}
	return verdict_exit_status(worst);
}

bool result_check_failed(const struct result_check *check)
{
	return !check->expected;
}

/* Where a line is among all lines of evidence; EVIDENCE_LINES or more: not kept. */
static size_t line_of(const struct result *result, uint32_t check, uint32_t finding, uint32_t k)
{
	size_t line = k;
	uint32_t c, f;

	for (c = 0; c <= check; c++) {
		const struct check_result *judged = &result->checks[c].result;

		if (judged->verdict != CHECK_DEVIATED)
			continue;
		for (f = 0; f < judged->finding_count && (c < check || f < finding); f++)
			line += judged->findings[f].evidence_count;
	}
	return line;
}

const char *result_evidence(
    const struct result *result, uint32_t check, uint32_t finding, uint32_t k, char *buf, size_t size)
{
	const struct check_result *judged = &result->checks[check].result;
	size_t line;
	uint64_t op;

	if (judged->verdict != CHECK_DEVIATED || finding >= judged->finding_count ||
	    k >= judged->findings[finding].evidence_count)
		return NULL;
	line = line_of(result, check, finding, k);
	if (line < EVIDENCE_LINES && result->evidence_lines[line])
		return result->evidence_lines[line];
	op = judged->findings[finding].evidence[k];
	if (op >= result->history.count)
		return NULL;
	op_format(&result->history.ops[op], buf, size);
	return buf;
}

void result_finish(struct result *result)
{
	size_t i;

	for (i = 0; i < EVIDENCE_LINES; i++) {
		free(result->evidence_lines[i]);
		result->evidence_lines[i] = NULL;
	}
	free(result->timeline);
	result->timeline = NULL;
	free(result->output);
	result->output = NULL;
	free(result->faults);
	result->faults = NULL;
	result->fault_count = 0;
}
