/* SPDX-License-Identifier: Apache-2.0 */
/* tritone simulate: many seeds of the reference orchestrator in virtual time; what deviates is shrunk. */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/options.h"
#include "cli/verb.h"
#include "sim/sim.h"
#include "spec/spec.h"

#define JOBS_MAX  64u
#define COUNT_MAX (UINT64_C(1) << 40)

static const struct option long_options[] = {
    {"seeds", required_argument, NULL, 's'},
    {"count", required_argument, NULL, 'n'},
    {"budget", required_argument, NULL, 't'},
    {"cpu", required_argument, NULL, 'c'},
    {"jobs", required_argument, NULL, 'j'},
    {"bug", required_argument, NULL, 'b'},
    {"output", required_argument, NULL, 'o'},
    {"no-shrink", no_argument, NULL, 'N'},
    {"verbose", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static int help(void)
{
	fputs("usage: tritone simulate [--seeds A..B | --seeds WORD --count N] [--bug NAME] [-j JOBS]\n\n"
	      "Runs the reference orchestrator's core in virtual time, through the faults that follow from each seed, "
	      "and judges\n"
	      "each run by the twelve invariants. A seed that deviates is shrunk to the smallest schedule that still "
	      "does.\n\n"
	      "  --seeds A..B        these; or one number or word (a commit id), from which on --count seeds are run\n"
	      "  -n, --count N       so many seeds (1000)\n"
	      "      --budget TIME   as many as fit, e.g. 5m\n"
	      "      --cpu TIME      as many as fit into so much processor time, all processes together\n"
	      "  -j, --jobs N        processes (1)\n"
	      "      --bug NAME      with a seeded bug; ends at the lowest seed that violates its invariant\n"
	      "                      (fixtures/conductor/conductor bugs, beside tritone, lists them)\n"
	      "  -o, --output DIR    where shrunk schedules go (.)\n"
	      "      --no-shrink     only say which seeds deviate\n"
	      "  -v, --verbose       names what was never exercised\n\n"
	      "Ends with 0 when all held, 1 when a seed deviated, 2 when it could not be run, 4 when nothing was "
	      "exercised, "
	      "130 or 143\nafter a signal (with the figures until then). See tritone-simulate(1).\n",
	    stdout);
	return 0;
}

/* ---- the command line ---- */

/* One of the numbers of A..B, which ends at `end`. */
static int parse_number(const char *text, const char *end, uint64_t *ret)
{
	char *at;

	errno = 0;
	*ret = strtoull(text, &at, 0);
	return isdigit((unsigned char)*text) && at == end && !errno ? 0 : -1;
}

/* "A..B", or a number or word for the first of `count`. */
static int parse_seeds(struct sim_simulate *o, const char *text)
{
	const char *dots = strstr(text, ".."), *wrong = NULL;
	uint64_t last = 0;

	if (*text && *text != '-' && !dots) {
		o->first = cli_seed(text);
		return 0;
	}
	if (!dots || parse_number(text, dots, &o->first) || parse_number(dots + 2, strchr(text, '\0'), &last))
		wrong = "expected A..B, a number or a word";
	else if (last < o->first)
		wrong = "it ends before it begins";
	else if (last - o->first >= COUNT_MAX)
		wrong = "more than 2^40 seeds";
	if (wrong)
		return cli_usage("simulate", "--seeds %s: %s", text, wrong);
	o->count = last - o->first + 1;
	return 0;
}

/* --budget, --cpu */
static int parse_time(const char *text, uint64_t *ret_ms)
{
	struct error err;
	int64_t ms;

	if (spec_duration(text, &ms, &err) != 0 || ms <= 0)
		return -1;
	*ret_ms = (uint64_t)ms;
	return 0;
}

/* Better before the first seed than after the last. */
static int check_output(const char *dir)
{
	struct stat st;

	if (!dir || !*dir)
		return 0;
	if (stat(dir, &st) == 0 && !S_ISDIR(st.st_mode))
		errno = ENOTDIR;
	else if (access(dir, W_OK | X_OK) == 0)
		return 0;
	fprintf(stderr, "tritone simulate: --output %s: %s\n", dir, strerror(errno));
	return -1;
}

int verb_simulate(int argc, char **argv)
{
	struct sim_simulate s = {.count = 1000, .jobs = 1, .output = ""};
	const char *seeds = NULL;
	uint64_t number, counted = 0;
	struct error err;
	int c, status;

	while ((c = getopt_long(argc, argv, "n:j:o:vh", long_options, NULL)) != -1) {
		switch (c) {
		case 's':
			seeds = optarg;
			break;
		case 'n':
			if (cli_number(optarg, 1, COUNT_MAX, &counted))
				return cli_usage("simulate", "--count %s: expected a number from 1 to 2^40", optarg);
			break;
		case 't':
			if (parse_time(optarg, &s.budget_ms))
				return cli_usage("simulate", "--budget %s: expected a duration, e.g. 5m", optarg);
			break;
		case 'c':
			if (parse_time(optarg, &s.cpu_ms))
				return cli_usage("simulate", "--cpu %s: expected a duration, e.g. 5m", optarg);
			break;
		case 'j':
			if (cli_number(optarg, 1, JOBS_MAX, &number))
				return cli_usage(
				    "simulate", "--jobs %s: expected a number from 1 to %u", optarg, JOBS_MAX);
			s.jobs = (unsigned)number;
			break;
		case 'b':
			s.bug = optarg;
			break;
		case 'o':
			s.output = optarg;
			break;
		case 'N':
			s.no_shrink = true;
			break;
		case 'v':
			s.verbose = true;
			break;
		case 'h':
			return help();
		default:
			return 2;
		}
	}
	if (optind < argc)
		return cli_usage("simulate", "unexpected '%s'", argv[optind]);
	if (s.budget_ms || s.cpu_ms)
		s.count = COUNT_MAX;
	if (counted)
		s.count = counted;
	if (seeds && parse_seeds(&s, seeds) != 0)
		return 2;
	if (!seeds)
		s.first = cli_seed(NULL);
	if (counted && seeds && strstr(seeds, ".."))
		return cli_usage("simulate", "--count goes with the first seed only, not with --seeds A..B");
	if (check_output(s.output) != 0)
		return 2;
	status = sim_simulate(&s, &err);
	if (status >= 0)
		return status;
	fprintf(stderr, "tritone simulate: %s\n", err.text);
	return 2;
}
