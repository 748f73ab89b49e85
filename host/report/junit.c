/* SPDX-License-Identifier: Apache-2.0 */
/* JUnit's XML, as CI services read it: a test case for each result, with its seed as a property. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "report/report.h"
#include "report/text.h"

/* text_clean has taken what XML cannot hold at all. */
static void put_escaped(FILE *out, const char *text)
{
	char clean[TEXT_MAX];
	const char *p;

	for (p = text_clean(clean, sizeof clean, text); *p; p++) {
		switch (*p) {
		case '&':
			fputs("&amp;", out);
			break;
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		default:
			fputc(*p, out);
		}
	}
}

static void put_attribute(FILE *out, const char *name, const char *text)
{
	fprintf(out, " %s=\"", name);
	put_escaped(out, text);
	fputc('"', out);
}

static void put_property(FILE *out, const char *name, const char *value)
{
	fputs("        <property", out);
	put_attribute(out, "name", name);
	put_attribute(out, "value", value);
	fputs("/>\n", out);
}

enum outcome { OUTCOME_OK, OUTCOME_FAILURE, OUTCOME_ERROR, OUTCOME_SKIPPED };

/* Failure: the system was at fault, or nothing was learned of it. Error: the run was. Skipped: this machine cannot. */
static enum outcome outcome_of(const struct result *result)
{
	if (result->left_behind)
		return OUTCOME_ERROR;
	if (result->ok)
		return OUTCOME_OK;
	switch (result->verdict) {
	case VERDICT_HELD:
	case VERDICT_VACUOUS:
	case VERDICT_NOT_INJECTED:
	case VERDICT_DEVIATED:
		return OUTCOME_FAILURE;
	case VERDICT_UNAVAILABLE:
		return OUTCOME_SKIPPED;
	case VERDICT_GATE_FAILED:
	case VERDICT_ABORTED:
	case VERDICT_ERROR:
	case VERDICT_UNDO_INCOMPLETE:
		break;
	}
	return OUTCOME_ERROR;
}

static void put_details(FILE *out, const struct report_options *options, const struct result *result)
{
	char text[TEXT_MAX], line[512];
	const char *evidence;
	uint32_t c, f, k;

	for (c = 0; c < result->check_count; c++) {
		if (!result_check_failed(&result->checks[c]))
			continue;
		put_escaped(out, result->checks[c].check->name);
		fputs(": ", out);
		put_escaped(out, result->checks[c].result.summary);
		fputc('\n', out);
		for (f = 0; f < result->checks[c].result.finding_count; f++) {
			fputs("  ", out);
			put_escaped(out, result->checks[c].result.findings[f].text);
			fputc('\n', out);
			for (k = 0; (evidence = result_evidence(result, c, f, k, line, sizeof line)); k++) {
				fputs("    ", out);
				put_escaped(out, evidence);
				fputc('\n', out);
			}
		}
	}
	fputs("run: ", out);
	put_escaped(out, result->run_dir);
	fputs("\nreproduce: ", out);
	put_escaped(out, text_command(text, sizeof text, options, result));
	fputc('\n', out);
}

static void put_case(FILE *out, const char *suite, const struct report_options *options, const struct result *result)
{
	static const char *const elements[] = {"", "failure", "error", "skipped"};
	enum outcome outcome = outcome_of(result);
	char seed[24], reason[TEXT_MAX];

	fputs("    <testcase", out);
	put_attribute(out, "classname", suite);
	put_attribute(out, "name", result->name);
	fprintf(out, " time=\"%.3f\"", (double)result->duration_us / 1e6);
	put_attribute(out, "file", result->file);
	fputs(">\n      <properties>\n", out);
	snprintf(seed, sizeof seed, "%" PRIu64, result->seed);
	put_property(out, "seed", seed);
	put_property(out, "verdict", verdict_name(result->verdict));
	if (*result->bug)
		put_property(out, "bug", result->bug);
	if (*result->contract)
		put_property(out, "contract", result->contract);
	fputs("      </properties>\n", out);
	if (outcome != OUTCOME_OK) {
		text_reason(reason, sizeof reason, result);
		fprintf(out, "      <%s", elements[outcome]);
		put_attribute(out, "message", *reason ? reason : "held against expectation");
		if (outcome != OUTCOME_SKIPPED) /* it has no type */
			put_attribute(out, "type", result->left_behind ? "left-behind" : verdict_name(result->verdict));
		fputc('>', out);
		put_details(out, options, result);
		fprintf(out, "</%s>\n", elements[outcome]);
	}
	fputs("    </testcase>\n", out);
}

static void put_counts(FILE *out, const struct result *results, size_t count)
{
	size_t of[4] = {0}, i;
	uint64_t us = 0;

	for (i = 0; i < count; i++) {
		of[outcome_of(&results[i])]++;
		us += results[i].duration_us;
	}
	fprintf(out, " tests=\"%zu\" failures=\"%zu\" errors=\"%zu\" skipped=\"%zu\" time=\"%.3f\">\n", count,
	    of[OUTCOME_FAILURE], of[OUTCOME_ERROR], of[OUTCOME_SKIPPED], (double)us / 1e6);
}

int report_junit(const char *path, const struct report_options *options, const struct result *results, size_t count,
    struct error *err)
{
	const char *suite = options->suite && *options->suite ? options->suite : "tritone";
	FILE *out = fopen(path, "we");
	size_t i;
	int failed;

	if (!out)
		return error_set(err, errno, "%s: %s", path, strerror(errno));
	fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites", out);
	put_attribute(out, "name", "tritone");
	put_counts(out, results, count);
	fputs("  <testsuite", out);
	put_attribute(out, "name", suite);
	put_counts(out, results, count);
	for (i = 0; i < count; i++)
		put_case(out, suite, options, &results[i]);
	fputs("  </testsuite>\n</testsuites>\n", out);
	failed = ferror(out);
	if (fclose(out) != 0 || failed)
		return error_set(err, errno ? errno : EIO, "%s: could not be written whole: %s", path,
		    strerror(errno ? errno : EIO));
	return 0;
}
