/* SPDX-License-Identifier: Apache-2.0 */
/* `tritone status`: the runs of the state directory, who is at them, and what they have left behind. Changes nothing. */
#include <getopt.h>
#include <jansson.h>
#include <libsmartcols.h>
#include <stdio.h>
#include <string.h>

#include "cli/options.h"
#include "cli/runs.h"
#include "cli/verb.h"
#include "runner/runner.h"

#define EXIT_OUTSTANDING 5

static const char usage[] =
    "usage: tritone status [--json]\n"
    "Shows each run of the state directory (TRITONE_STATE, or .tritone), the process that is at it, and its faults "
    "that\n"
    "are not undone: active ones of a run at work, left behind ones of a run whose tritone is gone.\n"
    "A run that is finished, and kept, may be deleted; so may one that is gone, once it has none.\n\n"
    "Exit status: 0 nothing is left behind, 2 usage, 5 something is (tritone recover undoes it).\n";

struct run {
	const char *id;
	pid_t host;
	bool finished;   /* its host has ended in order */
	int outstanding; /* -1: unknown, see err */
	struct error err;
	char faults[192]; /* their ids, as many as fit */
	json_t *json;     /* their ids */
};

static void name(void *arg, const struct undo_entry *entry)
{
	struct run *run = arg;
	size_t used = strlen(run->faults);

	snprintf(run->faults + used, sizeof run->faults - used, "%s%s", used ? ", " : "", entry->fault_id);
	json_array_append_new(run->json, json_string(entry->fault_id));
}

static bool look(struct run *run, const char *dir)
{
	memset(run, 0, sizeof *run);
	run->id = runs_id(dir);
	run->json = json_array();
	run->host = undo_host(dir);
	run->finished = undo_host_finished(dir);
	run->outstanding = undo_outstanding(dir, name, run, &run->err);
	return run->outstanding == 0 || (run->outstanding > 0 && run->host);
}

static int add_line(struct libscols_table *table, const struct run *run)
{
	struct libscols_line *line = scols_table_new_line(table, NULL);
	char host[24], faults[320];

	if (!line)
		return -1;
	if (run->host > 0)
		snprintf(host, sizeof host, "pid %ld", (long)run->host);
	else
		snprintf(host, sizeof host, "%s", run->host ? "alive" : run->finished ? "finished, kept" : "gone");
	if (run->outstanding < 0)
		snprintf(faults, sizeof faults, "unknown: %s", run->err.text);
	else if (run->outstanding == 0)
		snprintf(faults, sizeof faults, "none");
	else
		snprintf(faults, sizeof faults, "%s: %s", run->host ? "active" : "LEFT BEHIND", run->faults);
	return scols_line_set_data(line, 0, run->id) || scols_line_set_data(line, 1, host) ||
		       scols_line_set_data(line, 2, faults)
		   ? -1
		   : 0;
}

static int add_object(json_t *array, const struct run *run)
{
	json_t *object =
	    json_pack("{s:s, s:o?, s:O, s:s?}", "run", run->id, "pid", run->host > 0 ? json_integer(run->host) : NULL,
		"outstanding", run->json, "error", run->outstanding < 0 ? run->err.text : NULL);

	if (!object)
		return -1;
	json_object_set_new(object, "alive", json_boolean(run->host != 0));
	json_object_set_new(object, "finished", json_boolean(run->finished));
	return json_array_append_new(array, object);
}

static int status(bool as_json, char **dirs, size_t count)
{
	struct libscols_table *table = scols_new_table();
	json_t *array = json_array();
	bool clean = true, failed;
	size_t i;

	failed = !table || !array || !scols_table_new_column(table, "RUN", 0, 0) ||
		 !scols_table_new_column(table, "HOST", 0, 0) ||
		 !scols_table_new_column(table, "FAULTS", 0, SCOLS_FL_WRAP);
	for (i = 0; !failed && i < count; i++) {
		struct run run;

		clean = look(&run, dirs[i]) && clean;
		failed = (as_json ? add_object(array, &run) : add_line(table, &run)) < 0;
		json_decref(run.json);
	}
	if (!failed && as_json) {
		failed = json_dumpf(array, stdout, JSON_INDENT(2)) < 0;
		putchar('\n');
	} else if (!failed && count) {
		failed = scols_print_table(table) != 0;
	} else if (!failed) {
		printf("no runs in %s\n", cli_state_root());
	}
	scols_unref_table(table);
	json_decref(array);
	if (failed) {
		fputs("tritone status: no memory for the table\n", stderr);
		return EXIT_OUTSTANDING;
	}
	return clean ? 0 : EXIT_OUTSTANDING;
}

int verb_status(int argc, char **argv)
{
	static const struct option options[] = {
	    {"json", no_argument, NULL, 'j'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	struct error err = {0};
	bool as_json = false;
	char **dirs;
	size_t count;
	int c, r;

	optind = 1;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage, stdout);
			return 0;
		}
		if (c == '?')
			return cli_usage("status", "wrong arguments");
		as_json = true;
	}
	if (optind < argc)
		return cli_usage("status", "it takes no arguments");
	if (runs_list(&dirs, &count, &err) < 0) {
		fprintf(stderr, "tritone status: %s\n", err.text);
		return EXIT_OUTSTANDING;
	}
	r = status(as_json, dirs, count);
	runs_free(dirs, count);
	return r;
}
