/* SPDX-License-Identifier: Apache-2.0 */
/* `tritone show`: the timeline of a kept run, operation by operation. */
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/options.h"
#include "cli/verb.h"
#include "history/history.h"
#include "spec/spec.h"

static const char usage[] =
    "usage: tritone show [--kind KIND] [--task TASK] RUN\n"
    "Prints what was observed in a run that was kept: every operation, in order. RUN is a run's directory, or its "
    "id.\n\n"
    "      --kind KIND   only operations of this kind, see below\n"
    "      --task TASK   only operations about this task\n"
    "  -h, --help\n\n"
    "Exit status: 0, 2 no such run, or its history cannot be read.\n";

/* The names of all kinds, NULL-terminated. */
#define KINDS_MAX OP_FILE
static void kind_names(const char *ret[KINDS_MAX + 1])
{
	size_t i;

	for (i = 0; i < KINDS_MAX; i++)
		ret[i] = op_kind_name((enum op_kind)(i + 1));
	ret[i] = NULL;
}

static void help(void)
{
	const char *kinds[KINDS_MAX + 1];
	size_t i;

	fputs(usage, stdout);
	kind_names(kinds);
	fputs("\nKinds:", stdout);
	for (i = 0; kinds[i]; i++)
		printf("%s %s", i ? "," : "", kinds[i]);
	putchar('\n');
}

static int bad_kind(const char *kind)
{
	const char *kinds[KINDS_MAX + 1], *nearest;
	size_t i;

	kind_names(kinds);
	for (i = 0; kinds[i]; i++)
		if (!strcmp(kinds[i], kind))
			return 0;
	nearest = spec_nearest(kind, kinds);
	if (nearest)
		return cli_usage("show", "there is no kind '%s'; did you mean '%s'?", kind, nearest);
	return cli_usage("show", "there is no kind '%s'", kind);
}

static int print(const char *dir, const char *kind, const char *task)
{
	struct history *history;
	struct history_view view;
	struct error err;
	char line[512];
	size_t i;

	if (history_load(&history, dir, &err)) {
		fprintf(stderr, "tritone show: %s\n", err.text);
		return 2;
	}
	view = history_view(history);
	for (i = 0; i < view.count; i++) {
		const struct op *op = &view.ops[i];

		if ((kind && strcmp(kind, op_kind_name(op->kind)) != 0) || (task && strcmp(task, op->task) != 0))
			continue;
		op_format(op, line, sizeof line);
		puts(line);
	}
	history_destroy(history);
	return 0;
}

int verb_show(int argc, char **argv)
{
	static const struct option options[] = {
	    {"kind", required_argument, NULL, 'k'},
	    {"task", required_argument, NULL, 't'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	const char *kind = NULL, *task = NULL;
	char dir[PATH_MAX];
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'h') {
			help();
			return 0;
		}
		if (c == '?')
			return cli_usage("show", "wrong arguments");
		*(c == 'k' ? &kind : &task) = optarg;
	}
	if (kind && (c = bad_kind(kind)) != 0)
		return c;
	if (argc - optind != 1)
		return cli_usage("show", "exactly one run is wanted");
	snprintf(dir, sizeof dir, "%.4000s/history", argv[optind]);
	if (access(dir, F_OK) != 0 && !strchr(argv[optind], '/'))
		snprintf(dir, sizeof dir, "%.2000s/runs/%.1000s/history", cli_state_root(), argv[optind]);
	return print(dir, kind, task);
}
