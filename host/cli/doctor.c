/* SPDX-License-Identifier: Apache-2.0 */
/* `tritone doctor`: which capability is missing here, and what that costs. */
#include <getopt.h>
#include <jansson.h>
#include <libsmartcols.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/options.h"
#include "cli/verb.h"
#include "system/machine.h"

#define EXIT_MISSING 7

static const char usage[] =
    "usage: tritone doctor [--json]\n"
    "Tries each capability of this machine that Tritone uses and says what the absence of one costs.\n\n"
    "      --json    print one JSON document\n"
    "  -h, --help\n\n"
    "The state directory is TRITONE_STATE, or .tritone. Exit status: 0 all that is needed is there, 2 usage,\n"
    "7 something needed is missing.\n";

/* ---- for people ---- */

struct table {
	struct libscols_table *table;
	bool failed, absent;
};

static const char *word(const struct machine_row *row)
{
	if (row->present)
		return "ok";
	return row->needed ? "MISSING" : "absent";
}

static void add_line(void *arg, const struct machine_row *row)
{
	struct table *t = arg;
	struct libscols_line *line = scols_table_new_line(t->table, NULL);

	t->absent |= !row->present;
	/* What it costs only where it is paid: a table of warnings that do not apply would not be read. */
	t->failed |= !line || scols_line_set_data(line, 0, row->name) || scols_line_set_data(line, 1, word(row)) ||
		     scols_line_set_data(line, 2, row->detail) || scols_line_set_data(line, 3, row->used_for) ||
		     scols_line_set_data(line, 4, row->present ? "" : row->without);
}

static int print_table(void)
{
	static const struct {
		const char *title;
		int flags;
	} columns[] = {
	    {"CAPABILITY", 0},
	    {"STATE", 0},
	    {"FOUND", SCOLS_FL_WRAP},
	    {"NEEDED FOR", SCOLS_FL_WRAP},
	    {"WITHOUT IT", SCOLS_FL_WRAP},
	};
	struct table t = {.table = scols_new_table()};
	size_t i;
	int missing;

	if (!t.table)
		goto fail;
	for (i = 0; i < sizeof columns / sizeof *columns; i++)
		if (!scols_table_new_column(t.table, columns[i].title, 0, columns[i].flags))
			goto fail;
	missing = machine_look(cli_state_root(), add_line, &t);
	if (!t.absent)
		scols_column_set_flags(scols_table_get_column(t.table, 4), SCOLS_FL_HIDDEN);
	if (t.failed || scols_print_table(t.table) != 0)
		goto fail;
	scols_unref_table(t.table);
	if (missing)
		printf("\n%d needed %s missing here\n", missing, missing == 1 ? "capability is" : "capabilities are");
	return missing ? EXIT_MISSING : 0;
fail:
	scols_unref_table(t.table);
	fputs("tritone doctor: no memory for the table\n", stderr);
	return EXIT_MISSING;
}

/* ---- for programs ---- */

static void add_object(void *arg, const struct machine_row *row)
{
	json_t *rows = arg;

	json_array_append_new(
	    rows, json_pack("{s:s, s:b, s:b, s:s, s:s, s:s}", "capability", row->name, "present", row->present,
		      "needed", row->needed, "found", row->detail, "used_for", row->used_for, "without", row->without));
}

static int print_json(void)
{
	json_t *rows = json_array();
	int missing = rows ? machine_look(cli_state_root(), add_object, rows) : 1;
	json_t *document = json_pack("{s:i, s:o?}", "missing", missing, "capabilities", rows);

	if (!document || json_dumpf(document, stdout, JSON_INDENT(2)) < 0)
		missing = 1;
	putchar('\n');
	json_decref(document);
	return missing ? EXIT_MISSING : 0;
}

int verb_doctor(int argc, char **argv)
{
	static const struct option options[] = {
	    {"json", no_argument, NULL, 'j'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	bool json = false;
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage, stdout);
			return 0;
		}
		if (c != 'j')
			return cli_usage("doctor", "%s: unknown option", argv[optind - 1]);
		json = true;
	}
	if (optind < argc)
		return cli_usage("doctor", "it takes no argument '%s'", argv[optind]);
	return json ? print_json() : print_table();
}
