/* SPDX-License-Identifier: Apache-2.0 */
/* Typed parameters, driven by the plugin's table; see params.h. */
#include "runner/params.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runner/load.h"
#include "spec/spec.h"

const char *params_type_name(uint32_t type)
{
	switch (type) {
	case TRITONE_PARAM_STRING:
		return "string";
	case TRITONE_PARAM_INT:
		return "integer";
	case TRITONE_PARAM_DOUBLE:
		return "number";
	case TRITONE_PARAM_BOOL:
		return "boolean";
	case TRITONE_PARAM_DURATION:
		return "duration";
	case TRITONE_PARAM_CHOICE:
		return "choice";
	default:
		return "unknown";
	}
}

static bool bounded(const struct tritone_param *param)
{
	return param->min < 0 || param->max > 0 || param->min > 0 || param->max < 0;
}

void params_range(char *ret, size_t size, const struct tritone_param *param)
{
	const char *unit = param->type == TRITONE_PARAM_DURATION ? "ms" : "";

	ret[0] = '\0';
	if (param->type == TRITONE_PARAM_CHOICE)
		snprintf(ret, size, "%s", param->choices);
	else if (param->type != TRITONE_PARAM_STRING && param->type != TRITONE_PARAM_BOOL && bounded(param))
		snprintf(ret, size, "%.15g%s to %.15g%s", param->min, unit, param->max, unit);
}

/* ---- one value ---- */

static bool parse_int(const char *text, int64_t *ret)
{
	char *end;
	long long value;

	if (isspace((unsigned char)*text))
		return false;
	errno = 0;
	value = strtoll(text, &end, 10);
	*ret = value;
	return !errno && end != text && !*end;
}

static bool parse_double(const char *text, double *ret)
{
	char *end;

	if (text[strspn(text, "0123456789+-.eE")]) /* strtod would take "inf" and "0x1p3" */
		return false;
	errno = 0;
	*ret = strtod(text, &end);
	return !errno && end != text && !*end && isfinite(*ret);
}

static bool parse_bool(const char *text, int64_t *ret)
{
	static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
	size_t i;

	for (i = 0; i < sizeof words / sizeof *words; i++)
		if (!strcmp(text, words[i])) {
			*ret = (int64_t)(i % 2);
			return true;
		}
	return false;
}

static bool parse_choice(const char *text, const char *choices)
{
	size_t size = strlen(text);

	while (size && choices) {
		size_t span = strcspn(choices, "|");

		if (span == size && !strncmp(choices, text, size))
			return true;
		choices = choices[span] ? choices + span + 1 : NULL;
	}
	return false;
}

static bool parse_value(struct tritone_value *ret, const struct tritone_param *param, const char *text)
{
	double number = 0;
	bool ok;

	switch (param->type) {
	case TRITONE_PARAM_STRING:
		ret->string = strdup(text);
		return ret->string;
	case TRITONE_PARAM_CHOICE:
		if (!parse_choice(text, param->choices))
			return false;
		ret->string = strdup(text);
		return ret->string;
	case TRITONE_PARAM_BOOL:
		return parse_bool(text, &ret->integer);
	case TRITONE_PARAM_INT:
		ok = parse_int(text, &ret->integer);
		number = (double)ret->integer;
		break;
	case TRITONE_PARAM_DURATION:
		ok = spec_duration(text, &ret->integer, NULL) == 0;
		number = (double)ret->integer;
		break;
	case TRITONE_PARAM_DOUBLE:
		ok = parse_double(text, &ret->number);
		number = ret->number;
		break;
	default:
		return false;
	}
	return ok && (!bounded(param) || (number >= param->min && number <= param->max));
}

static int bad_value(const struct tritone_param *param, const char *text, struct error *err)
{
	char range[128];
	const char *unit = param->unit && *param->unit ? param->unit : NULL;

	params_range(range, sizeof range, param);
	if (param->type == TRITONE_PARAM_CHOICE)
		return error_set(err, EINVAL, "parameter '%s': '%.60s' is not one of %s", param->name, text, range);
	if (param->type == TRITONE_PARAM_BOOL)
		return error_set(err, EINVAL, "parameter '%s': '%.60s' is neither true nor false", param->name, text);
	return error_set(err, EINVAL, "parameter '%s': '%.60s' is not %s %s%s%s%s%s%s", param->name, text,
	    param->type == TRITONE_PARAM_INT ? "an" : "a", params_type_name(param->type),
	    param->type == TRITONE_PARAM_DURATION ? " (such as 250ms, 2s, 1m)" : "", *range ? " from " : "", range,
	    unit && param->type != TRITONE_PARAM_DURATION ? ", in " : "",
	    unit && param->type != TRITONE_PARAM_DURATION ? unit : "");
}

/* ---- all values ---- */

void params_free(struct tritone_value *values, uint32_t count)
{
	uint32_t i;

	if (!values)
		return;
	for (i = 0; i < count; i++)
		free((void *)(uintptr_t)values[i].string);
	free(values);
}

static int unknown_name(
    const struct tritone_param *table, uint32_t count, const char *name, size_t size, struct error *err)
{
	const char *names[PARAMS_MAX + 1], *nearest;
	char word[64], known[128];
	size_t used = 0;
	uint32_t i;

	snprintf(word, sizeof word, "%.*s", (int)(size < 63 ? size : 63), name);
	for (i = 0; i < count; i++)
		names[i] = table[i].name;
	names[count] = NULL;
	nearest = spec_nearest(word, names);
	if (nearest)
		return error_set(err, EINVAL, "no parameter is named '%s'; did you mean '%s'?", word, nearest);
	known[0] = '\0';
	for (i = 0; i < count && used < sizeof known; i++)
		used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", table[i].name);
	return error_set(err, EINVAL, "no parameter is named '%s'; known: %s", word, count ? known : "none at all");
}

static int set_pair(struct tritone_value *values, const struct tritone_param *table, uint32_t count, const char *pair,
    bool later, struct error *err)
{
	const char *equals = strchr(pair, '=');
	size_t size = equals ? (size_t)(equals - pair) : strlen(pair);
	uint32_t i;

	for (i = 0; i < count && (strncmp(table[i].name, pair, size) != 0 || table[i].name[size]); i++)
		;
	if (i == count)
		return unknown_name(table, count, pair, size, err);
	if (!equals)
		return error_set(
		    err, EINVAL, "parameter '%s' has no value: write %s=VALUE", table[i].name, table[i].name);
	if (values[i].given)
		return error_set(err, EINVAL, "parameter '%s' is given twice", table[i].name);
	if (!later && !parse_value(&values[i], &table[i], equals + 1))
		return bad_value(&table[i], equals + 1, err);
	values[i].given = 1;
	return 0;
}

static int set_default(struct tritone_value *value, const struct tritone_param *param, struct error *err)
{
	const bool text = param->type == TRITONE_PARAM_STRING || param->type == TRITONE_PARAM_CHOICE;

	if (param->required)
		return error_set(err, EINVAL, "parameter '%s' (%s%s%s) is required", param->name,
		    params_type_name(param->type), param->help ? ": " : "", param->help ? param->help : "");
	if (!param->fallback) {
		if (text && !(value->string = strdup("")))
			return error_set(err, ENOMEM, "no memory for a parameter");
		return 0;
	}
	return parse_value(value, param, param->fallback) ? 0 : bad_value(param, param->fallback, err);
}

static int parse(struct tritone_value **ret_values, const struct tritone_param *table, uint32_t count,
    const char *const *pairs, const bool *later, size_t pair_count, size_t *ret_wrong, struct error *err)
{
	struct tritone_value *values = calloc(count ? count : 1, sizeof *values);
	size_t i;

	*ret_wrong = pair_count;
	if (!values)
		return error_set(err, ENOMEM, "no memory for %u parameters", count);
	for (i = 0; i < pair_count; i++)
		if (set_pair(values, table, count, pairs[i], later && later[i], err) < 0) {
			*ret_wrong = i;
			goto fail;
		}
	for (i = 0; i < count; i++)
		if (!values[i].given && set_default(&values[i], &table[i], err) < 0)
			goto fail;
	*ret_values = values;
	return 0;
fail:
	params_free(values, count);
	return -1;
}

int params_parse(struct tritone_value **ret_values, const struct tritone_param *table, uint32_t count,
    const char *const *pairs, size_t pair_count, struct error *err)
{
	size_t wrong;

	return parse(ret_values, table, count, pairs, NULL, pair_count, &wrong, err);
}

int params_check(const struct tritone_param *table, uint32_t count, const char *const *pairs, const bool *later,
    size_t pair_count, size_t *ret_wrong, struct error *err)
{
	struct tritone_value *values = NULL;

	if (parse(&values, table, count, pairs, later, pair_count, ret_wrong, err) < 0)
		return -1;
	params_free(values, count);
	return 0;
}

/* ---- the table itself ---- */

static bool text_or_null(const char *text)
{
	return !text || strnlen(text, PLUGIN_TEXT_MAX + 1) <= PLUGIN_TEXT_MAX;
}

static const char *row_fault(const struct tritone_param *param)
{
	struct tritone_value value = {0};
	size_t size;
	bool ok;

	if (!text_or_null(param->fallback) || !text_or_null(param->choices) || !text_or_null(param->unit) ||
	    !text_or_null(param->help))
		return "has a text of more than 1023 bytes";
	size = strspn(param->name, "abcdefghijklmnopqrstuvwxyz0123456789-_");
	if (!size || size > 63 || param->name[size])
		return "has a name that is not 1 to 63 characters of a-z, 0-9, '-' and '_'";
	if (!strcmp(params_type_name(param->type), "unknown"))
		return "has an unknown type";
	if (param->type == TRITONE_PARAM_CHOICE && (!param->choices || !*param->choices))
		return "is a choice without choices";
	if (!isfinite(param->min) || !isfinite(param->max) || param->min > param->max)
		return "has an impossible range";
	if (param->type == TRITONE_PARAM_CHOICE && !param->required && !param->fallback)
		return "is a choice with neither a default nor `required`";
	if (!param->fallback || param->required)
		return NULL;
	ok = parse_value(&value, param, param->fallback);
	free((void *)(uintptr_t)value.string);
	return ok ? NULL : "has a default that is not a value of its own type and range";
}

int params_check_table(const struct tritone_param *table, uint32_t count, struct error *err)
{
	uint32_t i, j;

	if (count > PARAMS_MAX)
		return error_set(err, ENOEXEC, "its table claims %u parameters, the limit is %u", count, PARAMS_MAX);
	if (count && !table)
		return error_set(err, ENOEXEC, "it claims %u parameters and has no table", count);
	for (i = 0; i < count; i++) {
		const char *fault;

		if (!table[i].name || strnlen(table[i].name, PLUGIN_TEXT_MAX + 1) > PLUGIN_TEXT_MAX)
			return error_set(err, ENOEXEC, "parameter %u has no usable name", i + 1);
		fault = row_fault(&table[i]);
		if (fault)
			return error_set(err, ENOEXEC, "parameter '%.63s' %s", table[i].name, fault);
		for (j = 0; j < i; j++)
			if (!strcmp(table[i].name, table[j].name))
				return error_set(err, ENOEXEC, "parameter '%s' is there twice", table[i].name);
	}
	return 0;
}

/* ---- as text ---- */

int params_join(char *ret, size_t size, const char *const *pairs, size_t pair_count, struct error *err)
{
	size_t used = 0, i;

	ret[0] = '\0';
	for (i = 0; i < pair_count; i++) {
		size_t length = strlen(pairs[i]);

		if (strchr(pairs[i], '\n'))
			return error_set(
			    err, EINVAL, "parameter %.60s: a value may not contain a line break", pairs[i]);
		if (length + 2 > size - used)
			return error_set(err, E2BIG, "the parameters are longer than %zu bytes together", size - 2);
		memcpy(ret + used, pairs[i], length);
		used += length;
		ret[used++] = '\n';
		ret[used] = '\0';
	}
	return 0;
}

int params_split(char ***ret_pairs, size_t *ret_count, const char *text, struct error *err)
{
	size_t size = strlen(text) + 1, lines = 0, i, n = 0;
	char **pairs, *copy;

	for (i = 0; text[i]; i++)
		lines += text[i] == '\n';
	pairs = malloc((lines + 1) * sizeof *pairs + size);
	if (!pairs)
		return error_set(err, ENOMEM, "no memory for parameters");
	copy = (char *)(pairs + lines + 1);
	memcpy(copy, text, size);
	while (n < lines) {
		char *end = strchr(copy, '\n');

		*end = '\0';
		pairs[n++] = copy;
		copy = end + 1;
	}
	pairs[n] = NULL;
	*ret_pairs = pairs;
	*ret_count = n;
	return 0;
}
