/* SPDX-License-Identifier: Apache-2.0 */
/* tritone replay: one seed of the simulation again, with its own faults or those of a schedule, and its story. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/options.h"
#include "cli/verb.h"
#include "sim/sim.h"

static const struct option long_options[] = {
    {"seed", required_argument, NULL, 's'},
    {"bug", required_argument, NULL, 'b'},
    {"schedule", required_argument, NULL, 'f'},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static int help(void)
{
	fputs("usage: tritone replay --seed SEED | --schedule FILE [--seed SEED] [--bug NAME] [-q]\n\n"
	      "Runs one seed of `tritone simulate` again, or a schedule, and tells what an observer outside saw.\n\n"
	      "  --seed SEED       a number, or a word\n"
	      "  --bug NAME        with a seeded bug\n"
	      "  --schedule FILE   this work and these faults; without --seed, with the file's own seed\n"
	      "  -q, --quiet       only the verdicts and the hash of the trace\n\n"
	      "Ends with 0 when all held, 1 when something deviated, 2 when it could not be run, 4 when nothing was "
	      "exercised, or a\nfault of the schedule was not felt.\n",
	    stdout);
	return 0;
}

int verb_replay(int argc, char **argv)
{
	struct sim_replay r = {.bug = NULL};
	const char *text = NULL;
	struct error err;
	uint64_t seed;
	int c, status;

	while ((c = getopt_long(argc, argv, "qh", long_options, NULL)) != -1) {
		switch (c) {
		case 's':
			text = optarg;
			break;
		case 'b':
			r.bug = optarg;
			break;
		case 'f':
			r.schedule = optarg;
			break;
		case 'q':
			r.quiet = true;
			break;
		case 'h':
			return help();
		default:
			return 2;
		}
	}
	if (optind < argc)
		return cli_usage("replay", "unexpected '%s'", argv[optind]);
	if (!text && !r.schedule)
		return cli_usage("replay", "expected --seed SEED or --schedule FILE");
	if (text) {
		seed = cli_seed(text);
		r.seed = &seed;
	}
	status = sim_replay(&r, &err);
	if (status >= 0)
		return status;
	fprintf(stderr, "tritone replay: %s\n", err.text);
	return 2;
}
