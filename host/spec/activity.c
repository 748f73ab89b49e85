/* SPDX-License-Identifier: Apache-2.0 */
/* Probes and actions, in the words of the Chaos Toolkit: provider, tolerance, pauses. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <math.h>
#include <string.h>

#include "spec/tables.h"

struct provider {
	char *type, *url, *method, *path;
	struct spec_strings arguments;
	int64_t timeout_ms;
};

#define PROVIDER_IN(member_) .offset = offsetof(struct provider, member_)
#define IN(member_)          .offset = offsetof(struct spec_activity, member_)

static const char *const provider_types[] = {"http", "process", NULL};
static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", NULL};

static const struct node_field provider_fields[] = {
    {.key = "type",
	.type = NODE_TEXT,
	.required = true,
	PROVIDER_IN(type),
	.choices = provider_types,
	.help = "What it is done with."},
    {.key = "url", .type = NODE_TEXT, PROVIDER_IN(url), .help = "http: required."},
    {.key = "method",
	.type = NODE_TEXT,
	PROVIDER_IN(method),
	.choices = methods,
	.fallback = "GET",
	.help = "http: the method."},
    {.key = "path",
	.type = NODE_TEXT,
	PROVIDER_IN(path),
	.help = "process: the program, required. No shell is in between."},
    {.key = "arguments", .type = NODE_STRINGS, PROVIDER_IN(arguments), .help = "process: its arguments."},
    {.key = "timeout",
	.type = NODE_DURATION,
	PROVIDER_IN(timeout_ms),
	.fallback = "5s",
	.min = 1,
	.max = 3600000,
	.help = "Not answered, or not ended by then: failed."},
    {.key = NULL},
};
static const struct node_table provider_table = {.fields = provider_fields};

static int refuse_keys(struct node_file *file, yaml_node_t *node, const char *const *keys, const char *type)
{
	for (; *keys; keys++)
		if (node_get(file, node, *keys))
			return node_fail(file, node_get(file, node, *keys),
			    "'%s' has no meaning for a provider of type %s", *keys, type);
	return 0;
}

static int read_provider(struct node_file *file, yaml_node_t *node, void *out)
{
	static const char *const of_http[] = {"url", "method", NULL}, *const of_process[] = {"path", "arguments", NULL};
	struct spec_activity *activity = out;
	struct provider provider = {0};
	size_t count;
	char **items;

	if (node_map(file, node, &provider_table, &provider) != 0)
		return -1;
	activity->timeout_ms = provider.timeout_ms;
	if (!strcmp(provider.type, "http")) {
		activity->type = SPEC_PROVIDER_HTTP;
		activity->url = provider.url;
		activity->method = provider.method;
		if (!provider.url)
			return node_fail(file, node, "the key 'url' is missing");
		return refuse_keys(file, node, of_process, "http");
	}
	activity->type = SPEC_PROVIDER_PROCESS;
	if (!provider.path)
		return node_fail(file, node, "the key 'path' is missing");
	count = provider.arguments.count;
	items = arena_alloc(file->arena, (count + 2) * sizeof *items);
	if (!items)
		return node_no_memory(file);
	items[0] = provider.path;
	if (count)
		memcpy(items + 1, provider.arguments.items, count * sizeof *items);
	activity->command.items = items;
	activity->command.count = count + 1;
	return refuse_keys(file, node, of_http, "process");
}

static int status_number(struct node_file *file, yaml_node_t *node, int64_t *ret)
{
	double number;

	if (node_number(file, node, &number) != 0)
		return -1;
	if (number != floor(number) || number < 0 || number > 999)
		return node_fail(file, node, "expected a status between 0 and 999, found %g", number);
	*ret = (int64_t)number;
	return 0;
}

static int read_range(struct node_file *file, yaml_node_t *node, struct spec_activity *activity)
{
	if (!node || node_count(node) != 2 || !node_at(file, node, 0))
		return node_fail(file, node, "expected [LOW, HIGH]");
	if (status_number(file, node_at(file, node, 0), &activity->tolerance_low) != 0 ||
	    status_number(file, node_at(file, node, 1), &activity->tolerance_high) != 0)
		return -1;
	if (activity->tolerance_low > activity->tolerance_high)
		return node_fail(file, node, "the first number of a range is the lower one");
	return 0;
}

int spec_check_pattern(struct node_file *file, yaml_node_t *node, const char *pattern)
{
	PCRE2_UCHAR8 why[128] = "";
	PCRE2_SIZE at;
	int code;
	pcre2_code *regex = pcre2_compile((PCRE2_SPTR8)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &code, &at, NULL);

	if (regex) {
		pcre2_code_free(regex);
		return 0;
	}
	pcre2_get_error_message(code, why, sizeof why);
	return node_fail(file, node, "not a regular expression: %s, at its character %zu", (const char *)why, at + 1);
}

struct tolerance {
	char *type, *pattern;
};

static int keep_node(struct node_file *file, yaml_node_t *node, void *out)
{
	(void)file;
	(void)node;
	(void)out;
	return 0;
}

static const char *const tolerance_types[] = {"regex", "range", NULL};
static const struct node_field tolerance_fields[] = {
    {.key = "type",
	.type = NODE_TEXT,
	.required = true,
	.choices = tolerance_types,
	.offset = offsetof(struct tolerance, type),
	.help = "What the rest says."},
    {.key = "pattern",
	.type = NODE_TEXT,
	.offset = offsetof(struct tolerance, pattern),
	.help = "regex: the output, or the answer's body, must match it (PCRE2)."},
    {.key = "range",
	.type = NODE_CUSTOM,
	.read = keep_node,
	.form = "[LOW, HIGH]",
	.help = "range: the status lies in it, the ends included."},
    {.key = NULL},
};
static const struct node_table tolerance_table = {.fields = tolerance_fields};

/* 200, [200, 299], {type: range, range: [200, 299]}, {type: regex, pattern: ...} */
static int read_tolerance(struct node_file *file, yaml_node_t *node, void *out)
{
	struct tolerance tolerance = {0};
	struct spec_activity *activity = out;
	yaml_node_t *range;

	activity->has_tolerance = true;
	if (node_is_scalar(node)) {
		if (status_number(file, node, &activity->tolerance_low) != 0)
			return -1;
		activity->tolerance_high = activity->tolerance_low;
		return 0;
	}
	if (node->type == YAML_SEQUENCE_NODE)
		return read_range(file, node, activity);
	if (node_map(file, node, &tolerance_table, &tolerance) != 0)
		return -1;
	range = node_get(file, node, "range");
	if (!strcmp(tolerance.type, "range")) {
		if (!range || tolerance.pattern)
			return node_fail(
			    file, node, "a tolerance of type range has 'range: [LOW, HIGH]' and nothing else");
		return read_range(file, range, activity);
	}
	if (!tolerance.pattern || range)
		return node_fail(file, node, "a tolerance of type regex has 'pattern' and nothing else");
	activity->tolerance_regex = tolerance.pattern;
	return spec_check_pattern(file, node_get(file, node, "pattern"), tolerance.pattern);
}

static const char *const activity_types[] = {"action", "probe", NULL};

static int read_activity_type(struct node_file *file, yaml_node_t *node, void *out)
{
	bool *is_probe = out;
	char *text;

	if (node_text(file, node, "action or probe", &text) != 0)
		return -1;
	if (strcmp(text, "action") != 0 && strcmp(text, "probe") != 0)
		return node_unknown(file, node, "type", text, activity_types);
	*is_probe = !strcmp(text, "probe");
	return 0;
}

static const struct node_field pauses_fields[] = {
    {.key = "before", .type = NODE_DURATION, IN(pause_before_ms), .fallback = "0", .help = "Wait so long first."},
    {.key = "after", .type = NODE_DURATION, IN(pause_after_ms), .fallback = "0", .help = "And so long afterwards."},
    {.key = NULL},
};
static const struct node_table pauses_table = {.fields = pauses_fields};

static int activity_finish(struct node_file *file, yaml_node_t *node, void *out)
{
	struct spec_activity *activity = out;

	activity->line = node_line(node);
	activity->column = node_column(node);
	if (activity->has_tolerance && !activity->is_probe)
		return node_fail(file, node_get(file, node, "tolerance"), "an action has no tolerance; a probe has");
	return 0;
}

static int hypothesis_finish(struct node_file *file, yaml_node_t *node, void *out)
{
	struct spec_activity *activity = out;

	if (!node_get(file, node, "type"))
		activity->is_probe = true;
	if (!activity->is_probe)
		return node_fail(
		    file, node_get(file, node, "type"), "the steady state is made of probes, found an action");
	if (!activity->has_tolerance)
		return node_fail(file, node, "the probe '%.40s' says nothing without a tolerance", activity->name);
	return activity_finish(file, node, out);
}

static const struct node_field activity_fields[] = {
    {.key = "type",
	.type = NODE_CUSTOM,
	IN(is_probe),
	.read = read_activity_type,
	.form = "action or probe",
	.help = "In _method_ and _rollbacks_ an action by default, in the hypothesis a probe."},
    {.key = "name", .type = NODE_TEXT, .required = true, IN(name), .help = "Shown in reports."},
    {.key = "provider",
	.type = NODE_CUSTOM,
	.required = true,
	.offset = 0,
	.read = read_provider,
	.form = "map",
	.table = &provider_table,
	.help = "How it is carried out."},
    {.key = "tolerance",
	.type = NODE_CUSTOM,
	.offset = 0,
	.read = read_tolerance,
	.table = &tolerance_table,
	.form = "STATUS, [LOW, HIGH], or a map",
	.help = "What a probe must find: an HTTP status or an exit status, or a text. Without it: an answer, exit 0."},
    {.key = "pauses", .type = NODE_MAP, .table = &pauses_table, .help = "Waiting around it."},
    {.key = NULL},
};
const struct node_table spec_activity_table = {
    .fields = activity_fields, .size = sizeof(struct spec_activity), .finish = activity_finish};
const struct node_table spec_hypothesis_table = {
    .fields = activity_fields, .size = sizeof(struct spec_activity), .finish = hypothesis_finish};
