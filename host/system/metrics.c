/* SPDX-License-Identifier: Apache-2.0 */
/* As much of Prometheus' text format as a claim needs. */
#include "system/metrics.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *skip_blanks(const char *at)
{
	while (*at == ' ' || *at == '\t')
		at++;
	return at;
}

static size_t name_length(const char *at)
{
	size_t n = 0;

	while (isalnum((unsigned char)at[n]) || at[n] == '_' || at[n] == ':')
		n++;
	return n;
}

/* From behind '{' up to its '}', which may stand in a value. NULL: there is none in this line. */
static const char *end_of_labels(const char *at)
{
	bool quoted = false;

	for (; *at && *at != '\n'; at++) {
		if (*at == '\\' && quoted && at[1])
			at++;
		else if (*at == '"')
			quoted = !quoted;
		else if (*at == '}' && !quoted)
			return at;
	}
	return NULL;
}

int metrics_condition(struct metrics_condition *ret, const char *text, struct error *err)
{
	static const char *const comparisons[] = {">=", "<=", "==", "!=", ">", "<", NULL};
	const char *at = skip_blanks(text), *end;
	size_t length = name_length(at), i;
	char *rest;

	memset(ret, 0, sizeof *ret);
	if (!length || length >= sizeof ret->name)
		return error_set(err, EINVAL, "expected the name of a sample, found '%.60s'", text);
	memcpy(ret->name, at, length);
	at = skip_blanks(at + length);
	if (*at == '{') {
		end = end_of_labels(at + 1);
		if (!end || (size_t)(end - at) > sizeof ret->labels)
			return error_set(err, EINVAL, "the labels of '%.60s' have no end", text);
		memcpy(ret->labels, at + 1, (size_t)(end - at - 1));
		at = skip_blanks(end + 1);
	}
	for (i = 0; comparisons[i] && strncmp(at, comparisons[i], strlen(comparisons[i])) != 0; i++)
		;
	if (!comparisons[i])
		return error_set(err, EINVAL, "expected >=, <=, >, <, == or != in '%.60s'", text);
	memcpy(ret->comparison, comparisons[i], strlen(comparisons[i]));
	at += strlen(comparisons[i]);
	ret->bound = strtod(at, &rest);
	if (rest == at || *skip_blanks(rest))
		return error_set(err, EINVAL, "expected a number at the end of '%.60s'", text);
	return 0;
}

/* Is each label of `wanted` among those of the sample, as it is written? */
static bool has_labels(const char *labels, size_t size, const char *wanted)
{
	char all[1024];

	if (!*wanted)
		return true;
	if (snprintf(all, sizeof all, ",%.*s,", (int)size, labels) >= (int)sizeof all)
		return false;
	while (*wanted) {
		char one[300];
		const char *at = wanted;
		bool quoted = false;

		for (; *at && (quoted || *at != ','); at++)
			quoted = *at == '"' ? !quoted : quoted;
		snprintf(one, sizeof one, ",%.*s,", (int)(at - wanted), wanted);
		if (!strstr(all, one))
			return false;
		wanted = skip_blanks(*at ? at + 1 : at);
	}
	return true;
}

bool metrics_find(const char *text, const struct metrics_condition *condition, double *ret_value)
{
	const char *line;

	for (line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		const char *at = skip_blanks(line), *end, *labels = "";
		size_t length = name_length(at), size = 0;
		char *rest;
		double value;

		if (length != strlen(condition->name) || strncmp(at, condition->name, length) != 0)
			continue;
		at = skip_blanks(at + length);
		if (*at == '{') {
			end = end_of_labels(at + 1);
			if (!end)
				continue;
			labels = at + 1;
			size = (size_t)(end - labels);
			at = end + 1;
		}
		value = strtod(at, &rest);
		if (rest == at || !has_labels(labels, size, condition->labels))
			continue;
		*ret_value = value;
		return true;
	}
	return false;
}

bool metrics_holds(const struct metrics_condition *condition, double value)
{
	const char *c = condition->comparison;

	if (c[0] == '>')
		return c[1] ? value >= condition->bound : value > condition->bound;
	if (c[0] == '<')
		return c[1] ? value <= condition->bound : value < condition->bound;
	return c[0] == '=' ? !(value < condition->bound || value > condition->bound)
			   : value < condition->bound || value > condition->bound;
}
