/* SPDX-License-Identifier: Apache-2.0 */
/* For people: one line a result, below it what they need to believe and to repeat a failure. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report/report.h"
#include "report/text.h"

#define NAME_WIDTH     22
#define VERDICT_WIDTH  8
#define SPAN_WIDTH     22
#define TIMELINE_MAX   500 /* lines */
#define FINDINGS_SHOWN 3   /* of an invariant that should not have deviated, unless all are asked for */

struct paint {
	const char *good, *bad, *dim, *plain;
};

static struct paint paint_for(FILE *out)
{
	static const struct paint colours = {"\033[32m", "\033[1;31m", "\033[2m", "\033[0m"}, none = {"", "", "", ""};
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
	int fd = fileno(out);

	if (fd < 0 || !isatty(fd) || (no_color && *no_color) || !term || !strcmp(term, "dumb"))
		return none;
	return colours;
}

static void put_upper(FILE *out, const char *text, int width)
{
	int used = 0;

	for (; *text; text++, used++)
		fputc(*text >= 'a' && *text <= 'z' ? *text - 'a' + 'A' : *text, out);
	fprintf(out, "%*s", used < width ? width - used : 0, "");
}

static void put_counts(FILE *out, const struct result *result)
{
	uint32_t i, felt = 0;

	for (i = 0; i < result->fault_count; i++)
		felt += result->faults[i].felt;
	fprintf(out, "%u fault%s, %" PRIu64 " tasks, %" PRIu64 " commits, %" PRIu64 " duplicates", felt,
	    felt == 1 ? "" : "s", result->tasks, result->commits, result->duplicates);
}

static void put_line(
    FILE *out, const struct report_options *options, const struct result *result, const struct paint *paint)
{
	int width = options->name_width > 0 ? options->name_width : NAME_WIDTH;
	char name[sizeof result->name], text[TEXT_MAX], span[32] = "-", recovered[64];

	text_clean(name, sizeof name, result->name);
	fprintf(out, "%s%-4s%s  %-*s  ", result->ok ? paint->good : paint->bad, result->ok ? "ok" : "FAIL",
	    paint->plain, width, name);
	if (result->ok)
		fprintf(out, "%-*s", VERDICT_WIDTH, verdict_name(result->verdict));
	else
		put_upper(out, verdict_name(result->verdict), VERDICT_WIDTH);
	fputs("  ", out);
	if (result->ok && result->verdict == VERDICT_HELD) {
		if (result->recovered_us >= 0)
			text_span(span, sizeof span, (uint64_t)result->recovered_us);
		snprintf(recovered, sizeof recovered, result->recovered_us >= 0 ? "recovered in %s" : "%s", span);
		fprintf(out, "%-*s  ", SPAN_WIDTH, recovered);
		put_counts(out, result);
	} else {
		fputs(text_reason(text, sizeof text, result), out);
	}
	fputc('\n', out);
}

/* Whether an earlier finding of this check has shown the operation already. */
static bool was_shown(const struct check_result *judged, uint32_t finding, uint32_t k)
{
	uint32_t f, e;

	for (f = 0; f < finding; f++)
		for (e = 0; e < judged->findings[f].evidence_count; e++)
			if (judged->findings[f].evidence[e] == judged->findings[finding].evidence[k])
				return true;
	return false;
}

/* The first `limit` of them; each operation is shown where it is first of use. */
static void put_findings(FILE *out, const struct result *result, uint32_t c, uint32_t limit, const struct paint *paint)
{
	const struct check_result *judged = &result->checks[c].result;
	uint32_t f, k, shown = judged->finding_count < limit ? judged->finding_count : limit;
	char text[TEXT_MAX], line[512];
	const char *evidence;

	for (f = 0; f < shown; f++) {
		fprintf(out, "          %s\n", text_clean(text, sizeof text, judged->findings[f].text));
		for (k = 0; (evidence = result_evidence(result, c, f, k, line, sizeof line)); k++)
			if (!was_shown(judged, f, k))
				fprintf(out, "            %s%s%s\n", paint->dim,
				    text_clean(text, sizeof text, evidence), paint->plain);
	}
	if (judged->violations > shown)
		fprintf(out, "          ... and %" PRIu64 " more\n", judged->violations - shown);
}

static void put_check(FILE *out, const struct result *result, uint32_t c, const struct paint *paint)
{
	const struct result_check *check = &result->checks[c];
	bool failed = result_check_failed(check);
	char text[TEXT_MAX];

	fprintf(out, "      %s%-8s%s  %-24s  %6" PRIu64 " opportunit%s  %s%s\n", failed ? paint->bad : "",
	    check_verdict_name(check->result.verdict), failed ? paint->plain : "", check->check->name,
	    check->result.opportunities, check->result.opportunities == 1 ? "y  " : "ies",
	    text_clean(text, sizeof text, check->result.summary),
	    check->result.verdict == CHECK_HELD || !check->expected ? ""
	    : check->permitted && !check->named                     ? " (as its contract permits)"
								    : " (as expected)");
}

static void put_faults(FILE *out, const struct result *result)
{
	char text[TEXT_MAX], name[64];
	uint32_t i, j;

	for (i = 0; i < result->fault_count; i++) {
		const struct result_fault *fault = &result->faults[i];

		fprintf(out, "      fault %s: %s%s%s%s\n", text_clean(name, sizeof name, fault->name),
		    fault->felt       ? "felt"
		    : fault->injected ? "injected, not felt"
				      : "not injected",
		    fault->injected && !fault->reverted ? ", NOT UNDONE" : "", *fault->proof ? ": " : "",
		    text_clean(text, sizeof text, fault->proof));
		for (j = 0; j < fault->evidence_count; j++)
			fprintf(out, "        %s: %s\n", text_clean(name, sizeof name, fault->evidence[j].name),
			    text_clean(text, sizeof text, fault->evidence[j].value));
	}
}

static void put_timeline(FILE *out, const struct history_view *view, const struct paint *paint)
{
	char line[512], text[TEXT_MAX];
	size_t i, shown = 0;

	for (i = 0; i < view->count; i++) {
		const struct op *op = &view->ops[i];

		/* what comes by the hundred and says little by itself */
		if (op->kind == OP_CALL || op->kind == OP_NOTIFY || op->kind == OP_CLAIM || op->kind == OP_STATEFILE)
			continue;
		if (shown++ >= TIMELINE_MAX)
			continue;
		op_format(op, line, sizeof line);
		fprintf(out, "      %s%s%s\n", paint->dim, text_clean(text, sizeof text, line), paint->plain);
	}
	if (shown > TIMELINE_MAX)
		fprintf(out, "      ... and %zu more\n", shown - TIMELINE_MAX);
}

char *report_timeline(const struct history_view *view)
{
	static const struct paint none = {"", "", "", ""};
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	put_timeline(out, view, &none);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

static void put_output(FILE *out, const char *lines)
{
	char line[TEXT_MAX], text[TEXT_MAX];

	if (*lines)
		fputs("      the last lines of its output:\n", out);
	while (*lines) {
		size_t length = strcspn(lines, "\n"), kept = length < sizeof line ? length : sizeof line - 1;

		memcpy(line, lines, kept);
		line[kept] = '\0';
		fprintf(out, "        %s\n", text_clean(text, sizeof text, line));
		lines += length + (lines[length] == '\n');
	}
}

void report_human(FILE *out, const struct report_options *options, const struct result *result)
{
	struct paint paint = paint_for(out);
	char text[TEXT_MAX];
	uint32_t c;

	put_line(out, options, result, &paint);
	if (*result->contract)
		fprintf(out, "      contract: %s\n", text_clean(text, sizeof text, result->contract));
	if (*result->gone && !result->ok)
		fprintf(out, "      system: %s\n", text_clean(text, sizeof text, result->gone));
	if (result->killed)
		fprintf(out, "      left behind: %" PRIu64 " of its processes had to be killed when it was stopped\n",
		    result->killed);
	if (options->verbosity >= 1 || !result->ok)
		put_faults(out, result);
	for (c = 0; c < result->check_count; c++) {
		bool failed = result_check_failed(&result->checks[c]) && !result->ok;

		if (options->verbosity >= 1 || failed)
			put_check(out, result, c, &paint);
		/* One finding convinces; the others are for who mends it. */
		if (options->verbosity >= 2)
			put_findings(out, result, c, CHECK_FINDINGS_MAX, &paint);
		else if (failed || options->verbosity == 1)
			put_findings(out, result, c, failed ? FINDINGS_SHOWN : 1, &paint);
	}
	if (options->verbosity >= 2 && result->timeline)
		fprintf(out, "%s%s%s", paint.dim, result->timeline, paint.plain);
	else if (options->verbosity >= 2)
		put_timeline(out, &result->history, &paint);
	if (result->output && !result->ok)
		put_output(out, result->output);
	if (!result->ok || options->verbosity >= 1) {
		if (*result->run_dir)
			fprintf(out, "      run        %s\n", text_clean(text, sizeof text, result->run_dir));
		fprintf(out, "      reproduce  %s\n", text_command(text, sizeof text, options, result));
	}
	fflush(out);
}

void report_human_summary(FILE *out, const struct report_options *options, const struct result *results, size_t count)
{
	static const struct {
		const char *words;
		enum verdict verdict;
		bool always;
	} rows[] = {
	    {"deviated", VERDICT_DEVIATED, true},
	    {"held against expectation", VERDICT_HELD, false},
	    {"vacuous", VERDICT_VACUOUS, false},
	    {"not injected", VERDICT_NOT_INJECTED, false},
	    {"gate failed", VERDICT_GATE_FAILED, false},
	    {"aborted", VERDICT_ABORTED, false},
	    {"unavailable", VERDICT_UNAVAILABLE, false},
	    {"with errors", VERDICT_ERROR, false},
	    {"undo incomplete", VERDICT_UNDO_INCOMPLETE, false},
	};
	struct paint paint = paint_for(out);
	uint64_t left = 0;
	size_t i, r, held = 0, expected = 0;

	(void)options;
	for (i = 0; i < count; i++) {
		held += results[i].ok && results[i].verdict == VERDICT_HELD;
		expected += results[i].ok && results[i].verdict != VERDICT_HELD;
		left += results[i].left_behind;
	}
	fputs(verdict_exit_status_of(results, count) == 0 ? paint.good : paint.bad, out);
	fprintf(out, "%zu held", held);
	if (expected)
		fprintf(out, ", %zu as expected", expected);
	for (r = 0; r < sizeof rows / sizeof *rows; r++) {
		size_t number = 0;

		for (i = 0; i < count; i++)
			number += !results[i].ok && results[i].verdict == rows[r].verdict;
		if (number || rows[r].always)
			fprintf(out, ", %zu %s", number, rows[r].words);
	}
	fprintf(out, ", %" PRIu64 " left behind%s\n", left, paint.plain);
	fflush(out);
}
