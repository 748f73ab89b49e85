/* SPDX-License-Identifier: Apache-2.0 */
/* `tritone recover`: undoes the faults that a host which is gone has left behind. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/options.h"
#include "cli/runs.h"
#include "cli/verb.h"
#include "runner/runner.h"

#define EXIT_INCOMPLETE 5

static const char usage[] =
    "usage: tritone recover [RUN_DIR ...]\n"
    "Undoes the faults of runs whose tritone is gone, from their undo records; all runs of the state directory\n"
    "(TRITONE_STATE, or .tritone) when none is named. May be run again at any time.\n\n"
    "Exit status: 0 nothing is left behind, 2 usage, 5 something could not be undone (which, and why, is said).\n";

struct recovery {
	const char *id;
	int undone, left;
};

static void say(void *arg, const struct undo_entry *entry, const struct error *why)
{
	struct recovery *recovery = arg;

	if (why) {
		recovery->left++;
		printf("%s: %s: NOT undone: %s\n", recovery->id, entry->fault_id, why->text);
	} else {
		recovery->undone++;
		printf("%s: %s: undone\n", recovery->id, entry->fault_id);
	}
	fflush(stdout);
}

/* Returns the exit status. A run at work is no failure, unless it was asked for by name. */
static int recover(const char *dir, bool named)
{
	struct recovery recovery = {.id = runs_id(dir)};
	struct error err = {0};
	int left = runner_recover_run(dir, say, &recovery, &err);

	if (left < 0) {
		printf("%s\n", err.text); /* names the run */
		return err.code == EBUSY && !named ? 0 : EXIT_INCOMPLETE;
	}
	if (named && !left && !recovery.undone)
		printf("%s: nothing is outstanding\n", recovery.id);
	return left ? EXIT_INCOMPLETE : 0;
}

static int recover_named(const char *path)
{
	char real[PATH_MAX];
	struct stat st;

	if (!realpath(path, real) || stat(real, &st) < 0 || !S_ISDIR(st.st_mode)) {
		fprintf(stderr, "tritone recover: %s is not the directory of a run\n", path);
		return 2;
	}
	return recover(real, true);
}

int verb_recover(int argc, char **argv)
{
	static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	struct error err = {0};
	size_t i, count;
	int c, r, status = 0;
	char **dirs;

	optind = 1;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage, stdout);
			return 0;
		}
		return cli_usage("recover", "wrong arguments");
	}
	if (optind < argc) {
		for (; optind < argc; optind++)
			if ((r = recover_named(argv[optind])) > status)
				status = r;
		return status;
	}
	if (runs_list(&dirs, &count, &err) < 0) {
		fprintf(stderr, "tritone recover: %s\n", err.text);
		return EXIT_INCOMPLETE;
	}
	for (i = 0; i < count; i++)
		if ((r = recover(dirs[i], false)) > status)
			status = r;
	runs_free(dirs, count);
	return status;
}
