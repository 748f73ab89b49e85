/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of a kind of file as a piece of a manual page (scdoc), from the tables that read it. */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "check/check.h"
#include "spec/policy.h"
#include "spec/tables.h"

static void indent(FILE *out, int depth)
{
	while (depth-- > 0)
		fputc('\t', out);
}

static const char *type_name(const struct node_field *field)
{
	if (field->form)
		return field->form;
	switch (field->type) {
	case NODE_TEXT:
		return "text";
	case NODE_BOOL:
		return "true or false";
	case NODE_UINT:
		return "whole number";
	case NODE_DOUBLE:
		return "number";
	case NODE_DURATION:
		return "duration";
	case NODE_STRINGS:
		return "list of texts";
	case NODE_PAIRS:
		return "map of texts and numbers";
	case NODE_MAP:
		return "map";
	case NODE_LIST:
		return "list of maps";
	case NODE_CUSTOM:
		break;
	}
	return "";
}

static void describe(FILE *out, const struct node_field *field, int depth)
{
	size_t i;

	for (; field->key; field++) {
		indent(out, depth);
		fprintf(out, "*%s*: ", field->key);
		for (i = 0; field->choices && field->choices[i]; i++)
			fprintf(out, "%s%s", i ? " or " : "", field->choices[i]);
		if (!field->choices)
			fputs(type_name(field), out);
		if (field->required)
			fputs("; required", out);
		if (field->fallback)
			fprintf(out, "; default %s", field->fallback);
		fputs("\n", out);
		indent(out, depth + 1);
		fprintf(out, "%s\n\n", field->help);
		if (field->table && field->table->fields && !field->elsewhere)
			describe(out, field->table->fields, depth + 1);
	}
}

static void describe_policy(FILE *out, const char *invariant)
{
	static const char *const types[] = {[POLICY_COUNT] = "whole number",
	    [POLICY_FRACTION] = "fraction",
	    [POLICY_TIME] = "duration",
	    [POLICY_TIME_DOUBLE] = "duration"};
	const struct policy_row *row;

	for (row = policy_rows; row->key; row++) {
		if (invariant && strcmp(row->invariant, invariant) != 0)
			continue;
		fprintf(out, "*%s*", row->key);
		if (invariant && row->parameter)
			fprintf(out, " or *%s*", row->parameter);
		fprintf(
		    out, ": %s\n\t%c%s.\n\n", types[row->type], toupper((unsigned char)row->help[0]), row->help + 1);
	}
}

int spec_describe(FILE *out, const char *what, struct error *err)
{
	static const struct {
		const char *name;
		const struct node_table *table;
	} kinds[] = {{"manifest", &spec_manifest_table}, {"experiment", &spec_experiment_table},
	    {"suite", &spec_suite_table}, {"script", &spec_script_table}};
	const struct check *check = check_find(what);
	size_t i;

	for (i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		if (!strcmp(kinds[i].name, what)) {
			describe(out, kinds[i].table->fields, 0);
			return 0;
		}
	}
	if (!strcmp(what, "policy")) {
		describe_policy(out, NULL);
		return 0;
	}
	if (!check)
		return error_set(err, EINVAL,
		    "expected manifest, experiment, suite, script, policy or an invariant, found '%s'", what);
	fprintf(out, "Holds when: %s.\n\n", check->summary);
	describe_policy(out, check->name);
	return 0;
}
