/* SPDX-License-Identifier: Apache-2.0 */
/* `tritone plugin`: which faults there are, and what one of them takes. All of it comes from the descriptors. */
#include <getopt.h>
#include <jansson.h>
#include <libsmartcols.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/options.h"
#include "cli/verb.h"
#include "runner/params.h"
#include "runner/runner.h"

static const char usage[] =
    "usage: tritone plugin list [--json]                  the faults that can be found\n"
    "       tritone plugin show [--json | --scd] NAME     what one does, may touch, and takes\n\n"
    "      --json    print one JSON document\n"
    "      --scd     print blast radius and parameters as sections of an scdoc manual page\n"
    "  -h, --help\n\n"
    "NAME is looked up in the directories of TRITONE_PLUGIN_PATH, beside the program, and where plugins are "
    "installed;\n"
    "with a '/' it is a file. Exit status: 0, or 2: usage, no such plugin, or one that cannot be loaded.\n";

static const struct {
	uint32_t bit;
	const char *name;
} capabilities[] = {
    {TRITONE_CAP_SIGNAL, "signal"},
    {TRITONE_CAP_FILES, "files"},
    {TRITONE_CAP_GATEWAY, "gateway"},
    {TRITONE_CAP_ERRNO, "errno"},
    {TRITONE_CAP_FAULTPOINT, "faultpoint"},
    {TRITONE_CAP_NETWORK, "network"},
};
#define CAPABILITY_COUNT (sizeof capabilities / sizeof *capabilities)

static const char *or_empty(const char *text)
{
	return text ? text : "";
}

static int no_memory(void)
{
	fputs("tritone plugin: no memory\n", stderr);
	return 2;
}

static int load(struct plugin_info **ret_info, const char *name)
{
	struct error err = {0};
	char path[PATH_MAX];

	if (plugin_locate(name, path, sizeof path, &err) == 0 && plugin_info_load(ret_info, path, &err) == 0)
		return 0;
	fprintf(stderr, "tritone plugin: %s\n", err.text);
	return 2;
}

static int dump(json_t *value)
{
	int r = value ? json_dumpf(value, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) : -1;

	json_decref(value);
	if (r < 0)
		return no_memory();
	putchar('\n');
	return 0;
}

static json_t *describe(const struct plugin_info *info)
{
	json_t *caps = json_array(), *params = json_array();
	uint32_t i;

	for (i = 0; i < CAPABILITY_COUNT; i++)
		if (info->capabilities & capabilities[i].bit)
			json_array_append_new(caps, json_string(capabilities[i].name));
	for (i = 0; i < info->param_count; i++) {
		const struct tritone_param *p = &info->params[i];
		json_t *param = json_pack("{s:s, s:s, s:b, s:s?, s:s?, s:s?, s:s?}", "name", p->name, "type",
		    params_type_name(p->type), "required", (int)p->required, "default", p->fallback, "choices",
		    p->choices, "unit", p->unit, "help", p->help);

		if (param && (p->min < 0 || p->max > 0 || p->min > 0)) {
			json_object_set_new(param, "min", json_real(p->min));
			json_object_set_new(param, "max", json_real(p->max));
		}
		json_array_append_new(params, param);
	}
	return json_pack("{s:s, s:s, s:s, s:s, s:i, s:s, s:o, s:I, s:o}", "name", info->name, "version", info->version,
	    "summary", info->summary, "file", info->path, "abi", (int)info->abi, "blast",
	    plugin_blast_name(info->blast), "capabilities", caps, "proof_ms", (json_int_t)info->proof_ms, "parameters",
	    params);
}

/* ---- tables ---- */

struct column {
	const char *title;
	int flags;
};

static struct libscols_table *table_new(const struct column *columns, size_t count)
{
	struct libscols_table *table = scols_new_table();
	size_t i;

	for (i = 0; table && i < count; i++)
		if (!scols_table_new_column(table, columns[i].title, 0, columns[i].flags)) {
			scols_unref_table(table);
			return NULL;
		}
	return table;
}

static int add_line(struct libscols_table *table, const char *const *cells, size_t count)
{
	struct libscols_line *line = scols_table_new_line(table, NULL);
	size_t i;

	if (!line)
		return -1;
	for (i = 0; i < count; i++)
		if (scols_line_set_data(line, i, cells[i]))
			return -1;
	return 0;
}

/* ---- list ---- */

static int list(int as_json)
{
	static const struct column columns[] = {{"NAME", 0}, {"VERSION", 0}, {"BLAST", 0}, {"SUMMARY", SCOLS_FL_WRAP}};
	struct libscols_table *table = table_new(columns, 4);
	json_t *array = json_array();
	struct error err = {0};
	char **names = NULL;
	int status = 0, failed = !table || !array;
	size_t i;

	if (plugin_list(&names, &err) < 0) {
		fprintf(stderr, "tritone plugin: %s\n", err.text);
		status = 2;
	}
	for (i = 0; names && names[i]; i++) {
		struct plugin_info *info;

		if (load(&info, names[i]) == 0) {
			const char *const cells[] = {
			    info->name, info->version, plugin_blast_name(info->blast), info->summary};

			failed |= as_json ? json_array_append_new(array, describe(info)) : add_line(table, cells, 4);
			plugin_info_free(info);
		} else {
			status = 2; /* said already; the others are shown all the same */
		}
		free(names[i]);
	}
	free(names);
	if (failed || (!as_json && i && scols_print_table(table) != 0))
		status = no_memory();
	else if (as_json)
		status |= dump(json_incref(array));
	else if (!i && !status)
		puts("no plugins are found; they are looked for as tritone plugin --help says");
	json_decref(array);
	scols_unref_table(table);
	return status;
}

/* ---- show ---- */

static const char *shown_default(const struct tritone_param *param)
{
	if (param->required)
		return "required";
	if (param->fallback)
		return param->fallback;
	switch (param->type) {
	case TRITONE_PARAM_BOOL:
		return "false";
	case TRITONE_PARAM_INT:
	case TRITONE_PARAM_DOUBLE:
		return "0";
	case TRITONE_PARAM_DURATION:
		return "0ms";
	default:
		return "";
	}
}

static int show_params(const struct plugin_info *info)
{
	static const struct column columns[] = {
	    {"PARAMETER", 0}, {"TYPE", 0}, {"DEFAULT", 0}, {"RANGE", 0}, {"UNIT", 0}, {"", SCOLS_FL_WRAP}};
	struct libscols_table *table = table_new(columns, 6);
	uint32_t i;
	int failed = !table;

	for (i = 0; !failed && i < info->param_count; i++) {
		const struct tritone_param *p = &info->params[i];
		char range[PATH_MAX];
		const char *const cells[] = {
		    p->name, params_type_name(p->type), shown_default(p), range, or_empty(p->unit), or_empty(p->help)};

		params_range(range, sizeof range, p);
		failed = add_line(table, cells, 6);
	}
	if (!failed && info->param_count) {
		putchar('\n');
		failed = scols_print_table(table);
	}
	scols_unref_table(table);
	return failed ? no_memory() : 0;
}

static int show_text(const struct plugin_info *info)
{
	uint32_t i;

	printf("%s %s: %s\n\nblast radius   %s\nneeds         ", info->name, info->version, info->summary,
	    plugin_blast_name(info->blast));
	for (i = 0; i < CAPABILITY_COUNT; i++)
		if (info->capabilities & capabilities[i].bit)
			printf(" %s", capabilities[i].name);
	printf("%s\nproof within   %lld ms\nABI            %u\nfile           %s\n",
	    info->capabilities ? "" : " nothing", (long long)info->proof_ms, info->abi, info->path);
	return show_params(info);
}

static void put_scd(const char *text)
{
	for (; *text; text++) {
		if (strchr("*_\\#<>`", *text))
			putchar('\\');
		putchar(*text);
	}
}

static int show_scd(const struct plugin_info *info)
{
	uint32_t i;

	printf("# BLAST RADIUS\n\n_%s_. Capabilities:", plugin_blast_name(info->blast));
	for (i = 0; i < CAPABILITY_COUNT; i++)
		if (info->capabilities & capabilities[i].bit)
			printf(" _%s_", capabilities[i].name);
	printf("%s. The proof has %lld ms, where the experiment does not say otherwise.\n\n# PARAMETERS\n\n",
	    info->capabilities ? "" : " none", (long long)info->proof_ms);
	if (!info->param_count)
		puts("None.\n");
	for (i = 0; i < info->param_count; i++) {
		const struct tritone_param *p = &info->params[i];
		char range[PATH_MAX];

		params_range(range, sizeof range, p);
		printf("*%s* (%s", p->name, params_type_name(p->type));
		if (*range) {
			fputs(p->type == TRITONE_PARAM_CHOICE ? ": " : ", ", stdout);
			put_scd(range);
		}
		if (p->unit && *p->unit && p->type != TRITONE_PARAM_DURATION) {
			putchar(' ');
			put_scd(p->unit);
		}
		if (p->required)
			fputs(", required", stdout);
		else if (*shown_default(p)) {
			fputs(", default ", stdout);
			put_scd(shown_default(p));
		}
		fputs(")\n\t", stdout);
		put_scd(p->help && *p->help ? p->help : "-");
		puts("\n");
	}
	return 0;
}

int verb_plugin(int argc, char **argv)
{
	static const struct option options[] = {
	    {"json", no_argument, NULL, 'j'},
	    {"scd", no_argument, NULL, 's'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	int c, status, as_json = 0, as_scd = 0;
	struct plugin_info *info;
	const char *what;

	optind = 1;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage, stdout);
			return 0;
		}
		if (c == '?')
			return cli_usage("plugin", "wrong arguments");
		as_json |= c == 'j';
		as_scd |= c == 's';
	}
	what = optind < argc ? argv[optind] : "";
	if (!strcmp(what, "list") && argc == optind + 1 && !as_scd)
		return list(as_json);
	if (strcmp(what, "show") != 0 || argc != optind + 2 || (as_json && as_scd))
		return cli_usage("plugin", "expected `list`, or `show` and one name");
	if (load(&info, argv[optind + 1]) != 0)
		return 2;
	if (as_json)
		status = dump(describe(info));
	else
		status = as_scd ? show_scd(info) : show_text(info);
	plugin_info_free(info);
	return status;
}
