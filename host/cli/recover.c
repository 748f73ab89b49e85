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
    "       tritone recover --forget [RUN/]FAULT\n"
    "Undoes the faults of runs whose tritone is gone, from their undo records; all runs of the state directory\n"
    "(TRITONE_STATE, or .tritone) when none is named. May be run again at any time.\n\n"
    "      --forget [RUN/]FAULT   give this one fault up that can never be undone: what it did stays, and it no "
    "longer\n"
    "                             keeps anything from being started; RUN may be left out where only one is of that "
    "name\n"
    "  -h, --help\n\n"
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
		printf("  if it never can be: tritone recover --forget %s/%s\n", recovery->id, entry->fault_id);
	} else {
		recovery->undone++;
		printf("%s: %s: undone\n", recovery->id, entry->fault_id);
	}
	fflush(stdout);
}

/* Returns the exit status. A run at work is no failure, unless it was asked for by name. *said: something was printed. */
static int recover(const char *dir, bool named, bool *said)
{
	struct recovery recovery = {.id = runs_id(dir)};
	struct error err = {0};
	int left = runner_recover_run(dir, say, &recovery, &err);

	*said = *said || left != 0 || recovery.undone || named;
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
	bool said = false;
	struct stat st;

	if (!realpath(path, real) || stat(real, &st) < 0 || !S_ISDIR(st.st_mode)) {
		fprintf(stderr, "tritone recover: %s is not the directory of a run\n", path);
		return 2;
	}
	return recover(real, true, &said);
}

/* ---- giving one up ---- */

struct search {
	const char *fault;
	size_t found;
};

static void count(void *arg, const struct undo_entry *entry)
{
	struct search *search = arg;

	search->found += !strcmp(search->fault, entry->fault_id);
}

static int forget_in(const char *dir, const char *fault)
{
	struct undo_entry *entry = calloc(1, sizeof *entry);
	struct error err = {0};
	int r = entry ? runner_forget(dir, fault, entry, &err) : error_set(&err, ENOMEM, "no memory");

	if (r == 0)
		printf("%s: %s: GIVEN UP, NOT UNDONE: whatever %s did to %s stays\n", runs_id(dir), fault,
		    entry->plugin, entry->state_dir);
	else
		fprintf(stderr, "tritone recover: %s\n", err.text);
	free(entry);
	return r ? (err.code == ENOENT ? 2 : EXIT_INCOMPLETE) : 0;
}

static int forget(const char *what, char **dirs, size_t dir_count)
{
	const char *slash = strchr(what, '/'), *chosen = NULL;
	struct search search = {.fault = slash ? slash + 1 : what};
	size_t i;

	for (i = 0; i < dir_count; i++) {
		const char *id = runs_id(dirs[i]);
		size_t before = search.found;

		if (slash && (strlen(id) != (size_t)(slash - what) || strncmp(id, what, strlen(id)) != 0))
			continue;
		if (undo_host(dirs[i]) == 0 || slash)
			undo_outstanding(dirs[i], count, &search, NULL);
		if (search.found > before)
			chosen = dirs[i];
	}
	if (search.found == 1)
		return forget_in(chosen, search.fault);
	if (search.found)
		return cli_usage(
		    "recover", "%zu outstanding faults are named '%s'; say which: RUN/%s", search.found, what, what);
	return cli_usage("recover", "no fault '%s' is outstanding; tritone status names them", what);
}

int verb_recover(int argc, char **argv)
{
	static const struct option options[] = {
	    {"forget", required_argument, NULL, 'f'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	const char *given_up = NULL;
	bool said = false;
	struct error err = {0};
	size_t i, run_count;
	int c, r, status = 0;
	char **dirs;

	optind = 1;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage, stdout);
			return 0;
		}
		if (c != 'f' || given_up)
			return cli_usage("recover", c == 'f' ? "one --forget at a time" : "wrong arguments");
		given_up = optarg;
	}
	if (given_up && optind < argc)
		return cli_usage("recover", "--forget takes the one fault, and no run besides");
	if (optind < argc) {
		for (; optind < argc; optind++)
			if ((r = recover_named(argv[optind])) > status)
				status = r;
		return status;
	}
	if (runs_list(&dirs, &run_count, &err) < 0) {
		fprintf(stderr, "tritone recover: %s\n", err.text);
		return EXIT_INCOMPLETE;
	}
	if (given_up)
		status = forget(given_up, dirs, run_count);
	for (i = 0; !given_up && i < run_count; i++)
		if ((r = recover(dirs[i], false, &said)) > status)
			status = r;
	if (!given_up && !said)
		puts("nothing is outstanding");
	runs_free(dirs, run_count);
	return status;
}
