/* SPDX-License-Identifier: Apache-2.0 */
/* For programs: tritone-report(5) describes the layout. One object a result, alone on a line or in one document. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

#include "report/report.h"
#include "report/text.h"

#define LAYOUT 1 /* grows when a member changes its meaning or goes away; new members do not count */

/* json_object_set_new and friends take NULL as an error and pass it on: only the last one's is looked at. */
static int put_text(json_t *object, const char *key, const char *text)
{
	char clean[TEXT_MAX];

	return json_object_set_new(object, key, json_string(text_clean(clean, sizeof clean, text)));
}

static int put_count(json_t *object, const char *key, uint64_t value)
{
	return json_object_set_new(object, key, json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value));
}

static int put_bool(json_t *object, const char *key, bool value)
{
	return json_object_set_new(object, key, json_boolean(value));
}

static int put_ms(json_t *object, const char *key, double us)
{
	return json_object_set_new(object, key, json_real(us / 1e3));
}

static json_t *json_fault(const struct result_fault *fault)
{
	json_t *object = json_object(), *evidence = json_object();
	uint32_t i;
	int rc = 0;

	rc |= put_text(object, "id", fault->id);
	rc |= put_text(object, "name", fault->name);
	rc |= put_text(object, "plugin", fault->plugin);
	rc |= put_bool(object, "injected", fault->injected);
	rc |= put_bool(object, "felt", fault->felt);
	rc |= put_bool(object, "reverted", fault->reverted);
	rc |= put_text(object, "proof", fault->proof);
	for (i = 0; i < fault->evidence_count; i++) {
		char name[32];

		rc |= put_text(
		    evidence, text_clean(name, sizeof name, fault->evidence[i].name), fault->evidence[i].value);
	}
	rc |= json_object_set_new(object, "evidence", evidence);
	if (rc == 0)
		return object;
	json_decref(object);
	return NULL;
}

static json_t *json_finding(const struct result *result, uint32_t c, uint32_t f)
{
	json_t *object = json_object(), *lines = json_array();
	char line[512], clean[TEXT_MAX];
	const char *evidence;
	uint32_t k;
	int rc;

	rc = put_text(object, "text", result->checks[c].result.findings[f].text);
	for (k = 0; (evidence = result_evidence(result, c, f, k, line, sizeof line)); k++)
		rc |= json_array_append_new(lines, json_string(text_clean(clean, sizeof clean, evidence)));
	rc |= json_object_set_new(object, "evidence", lines);
	if (rc == 0)
		return object;
	json_decref(object);
	return NULL;
}

static json_t *json_check(const struct result *result, uint32_t c)
{
	const struct result_check *check = &result->checks[c];
	json_t *object = json_object(), *findings = json_array();
	uint32_t f;
	int rc = 0;

	rc |= put_text(object, "invariant", check->check->name);
	rc |= put_text(object, "verdict", check_verdict_name(check->result.verdict));
	rc |= put_bool(object, "ok", !result_check_failed(check));
	rc |= put_count(object, "opportunities", check->result.opportunities);
	rc |= put_count(object, "violations", check->result.violations);
	rc |= put_bool(object, "permitted", check->permitted);
	rc |= put_text(object, "summary", check->result.summary);
	for (f = 0; f < check->result.finding_count; f++)
		rc |= json_array_append_new(findings, json_finding(result, c, f));
	rc |= json_object_set_new(object, "findings", findings);
	if (rc == 0)
		return object;
	json_decref(object);
	return NULL;
}

static int put_numbers(json_t *object, const struct result *result)
{
	char seed[24];
	int rc = 0;

	/* a text: many a reader keeps numbers as doubles, and half a seed reproduces nothing */
	snprintf(seed, sizeof seed, "%" PRIu64, result->seed);
	rc |= put_text(object, "seed", seed);
	if (result->recovered_us >= 0)
		rc |= put_ms(object, "recovered_ms", (double)result->recovered_us);
	else
		rc |= json_object_set_new(object, "recovered_ms", json_null());
	rc |= put_count(object, "tasks", result->tasks);
	rc |= put_count(object, "commits", result->commits);
	rc |= put_count(object, "duplicates", result->duplicates);
	rc |= put_count(object, "notifications", result->notifications);
	rc |= put_count(object, "completed", result->completed);
	rc |= put_count(object, "given_up", result->given_up);
	rc |= put_count(object, "lost", result->lost);
	rc |= put_count(object, "open", result->open);
	rc |= put_count(object, "calls", result->calls);
	rc |= put_count(object, "left_behind", result->left_behind);
	rc |= put_count(object, "killed", result->killed);
	rc |= put_count(object, "reproduced", result->reproduced);
	rc |= put_count(object, "reruns", result->reruns);
	rc |= put_ms(object, "duration_ms", (double)result->duration_us);
	return rc;
}

static json_t *json_result(const struct report_options *options, const struct result *result)
{
	json_t *object = json_object(), *faults = json_array(), *checks = json_array();
	const bool planned = options->planned && result->ok;
	char text[TEXT_MAX];
	uint32_t i;
	int rc = 0;

	rc |= put_text(object, "suite", options->suite ? options->suite : "");
	rc |= put_text(object, "name", result->name);
	rc |= put_text(object, "title", result->title);
	rc |= put_bool(object, "ok", result->ok);
	rc |= put_text(object, "verdict", planned ? "planned" : verdict_name(result->verdict));
	rc |= put_text(object, "reason",
	    planned                           ? ""
	    : result->verdict == VERDICT_HELD ? result->reason
					      : text_reason(text, sizeof text, result));
	if (planned)
		rc |= put_text(object, "plan", result->reason);
	rc |= put_text(object, "contract", result->contract);
	rc |= put_text(object, "gone", result->gone);
	rc |= put_text(object, "output", result->output ? result->output : "");
	rc |= put_text(object, "file", result->file);
	rc |= put_text(object, "bug", result->bug);
	rc |= put_text(object, "run_directory", result->run_dir);
	rc |= put_text(object, "reproduce", text_command(text, sizeof text, options, result));
	rc |= put_numbers(object, result);
	for (i = 0; i < result->fault_count; i++)
		rc |= json_array_append_new(faults, json_fault(&result->faults[i]));
	rc |= json_object_set_new(object, "faults", faults);
	for (i = 0; i < result->check_count; i++)
		rc |= json_array_append_new(checks, json_check(result, i));
	rc |= json_object_set_new(object, "checks", checks);
	if (rc == 0)
		return object;
	json_decref(object);
	return NULL;
}

void report_jsonl(FILE *out, const struct report_options *options, const struct result *result)
{
	json_t *object = json_result(options, result);

	/* a line that could not be made may not be missing in silence */
	if (!object || json_dumpf(object, out, JSON_COMPACT) != 0)
		fputs("{\"verdict\":\"error\",\"ok\":false,\"reason\":\"no memory for this result\"}", out);
	json_decref(object);
	fputc('\n', out);
	fflush(out);
}

int report_json(
    FILE *out, const struct report_options *options, const struct result *results, size_t count, struct error *err)
{
	json_t *document = json_object(), *list = json_array();
	size_t i, ok = 0;
	uint64_t left = 0;
	int rc = 0;

	for (i = 0; i < count; i++) {
		ok += results[i].ok;
		left += results[i].left_behind;
		rc |= json_array_append_new(list, json_result(options, &results[i]));
	}
	rc |= put_count(document, "layout", LAYOUT);
	rc |= put_text(document, "suite", options->suite ? options->suite : "");
	rc |= put_count(document, "exit_status", (uint64_t)verdict_exit_status_of(results, count));
	rc |= put_count(document, "total", count);
	rc |= put_count(document, "ok", ok);
	rc |= put_count(document, "failed", count - ok);
	rc |= put_count(document, "left_behind", left);
	rc |= json_object_set_new(document, "results", list);
	if (rc == 0)
		rc = json_dumpf(document, out, JSON_INDENT(2));
	json_decref(document);
	if (rc != 0 || fputc('\n', out) == EOF || fflush(out) != 0)
		return error_set(err, EIO, "the report could not be written as JSON");
	return 0;
}
