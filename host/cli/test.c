/* SPDX-License-Identifier: Apache-2.0 */
/* `tritone test`: runs a suite, or one experiment, and says what held. `tritone run`: the same with a schedule of the simulation. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/options.h"
#include "cli/verb.h"
#include "engine/engine.h"
#include "report/report.h"
#include "sim/sim.h"
#include "spec/spec.h"

#define ONLY_MAX 32

enum format { FORMAT_HUMAN, FORMAT_JSON, FORMAT_JSONL };

struct arguments {
	struct engine_options engine;
	struct report_options report;
	enum format format;
	const char *file, *system, *junit, *seed, *only[ONLY_MAX];
	size_t only_count;
	const char *verb;
	unsigned jobs;
	bool quiet;
};

static const char usage[] =
    "usage: tritone test [OPTION ...] FILE\n"
    "       tritone run [OPTION ...] SCHEDULE\n"
    "Runs a suite, or a single experiment, on the system that it names, and prints a verdict for each.\n"
    "`run` takes one experiment, such as a schedule that `tritone simulate` has written, and refuses what only the\n"
    "simulation can do; where it names no system, that is the reference orchestrator.\n\n"
    "  -s, --system NAME     the system's manifest: a file, or a name in a systems/ folder beside or\n"
    "                        above FILE, in the working directory or in fixtures/\n"
    "      --seed N          the seed of every random choice (default: TRITONE_SEED, or a fresh one, which is "
    "printed)\n"
    "      --only PATTERN    only the experiments whose name contains PATTERN; may be given again\n"
    "      --reruns N        run an unexpected deviation again N times (default 2); an expected one is run again once\n"
    "  -j, --jobs N          so many experiments beside each other (default: 2 where there are two processors)\n"
    "      --keep            keep the run directory of each run, not only of those that failed\n"
    "      --dry-run         stop after the plan; touch nothing\n"
    "      --strict          what the system's contract permits is a deviation all the same\n"
    "      --pathological    allow faults that may take the machine down\n"
    "      --json            print one JSON document      --jsonl   one JSON object a line\n"
    "      --junit FILE      write JUnit XML to FILE too\n"
    "  -q, --quiet           no progress on standard error\n"
    "  -v, --verbose         all invariants; twice: the evidence and the timeline, too\n"
    "  -h, --help\n\n"
    "Exit status: 0 all as expected, 1 deviated, 2 usage or bad file, 3 gate failed, 4 not injected or vacuous,\n"
    "5 undo incomplete, 6 aborted, 7 a capability is missing here, 130 or 143 after a signal (all faults undone).\n";

static int parse(struct arguments *a, int argc, char **argv)
{
	static const struct option options[] = {
	    {"system", required_argument, NULL, 's'},
	    {"seed", required_argument, NULL, 'S'},
	    {"only", required_argument, NULL, 'o'},
	    {"reruns", required_argument, NULL, 'r'},
	    {"jobs", required_argument, NULL, 'j'},
	    {"keep", no_argument, NULL, 'k'},
	    {"dry-run", no_argument, NULL, 'n'},
	    {"pathological", no_argument, NULL, 'P'},
	    {"strict", no_argument, NULL, 'C'},
	    {"json", no_argument, NULL, 'D'},
	    {"jsonl", no_argument, NULL, 'l'},
	    {"junit", required_argument, NULL, 'J'},
	    {"quiet", no_argument, NULL, 'q'},
	    {"verbose", no_argument, NULL, 'v'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	bool both = false;
	uint64_t number;
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "s:j:qvh", options, NULL)) != -1) {
		switch (c) {
		case 's':
			a->system = optarg;
			break;
		case 'S':
			a->seed = optarg;
			break;
		case 'o':
			if (a->only_count == ONLY_MAX)
				return cli_usage(a->verb, "--only can be given %d times", ONLY_MAX);
			a->only[a->only_count++] = optarg;
			break;
		case 'r':
			if (cli_number(optarg, 0, 1000, &number) != 0)
				return cli_usage(a->verb, "--reruns wants a number from 0 to 1000, found '%s'", optarg);
			a->engine.reruns = (uint32_t)number;
			break;
		case 'j':
			if (cli_number(optarg, 1, PROGRESS_LANES, &number) != 0)
				return cli_usage(
				    a->verb, "--jobs wants a number from 1 to %d, found '%s'", PROGRESS_LANES, optarg);
			a->jobs = (unsigned)number;
			break;
		case 'k':
			a->engine.keep = true;
			break;
		case 'n':
			a->engine.dry_run = true;
			break;
		case 'P':
			a->engine.allow_pathological = true;
			break;
		case 'C':
			a->engine.strict = true;
			break;
		case 'D':
			both |= a->format == FORMAT_JSONL;
			a->format = FORMAT_JSON;
			break;
		case 'l':
			both |= a->format == FORMAT_JSON;
			a->format = FORMAT_JSONL;
			break;
		case 'J':
			a->junit = optarg;
			break;
		case 'q':
			a->quiet = true;
			break;
		case 'v':
			a->report.verbosity++;
			a->engine.timeline = a->report.verbosity > 1;
			break;
		case 'h':
			fputs(usage, stdout);
			return -1;
		default:
			return cli_usage(a->verb, "wrong arguments");
		}
	}
	if (both)
		return cli_usage(a->verb, "--json and --jsonl exclude each other");
	if (argc - optind != 1)
		return cli_usage(a->verb, "exactly one suite or experiment is wanted");
	a->file = argv[optind];
	return 0;
}

static bool is_wanted(const struct arguments *a, const char *name)
{
	size_t i;

	for (i = 0; i < a->only_count; i++)
		if (strstr(name, a->only[i]))
			return true;
	return !a->only_count;
}

/* The cases that are wanted come to the front; returns how many they are. */
static size_t select_cases(struct engine_case *cases, size_t count, const struct arguments *a)
{
	size_t i, n = 0;

	for (i = 0; i < count; i++) {
		if (is_wanted(a, cases[i].name)) {
			struct engine_case held = cases[n];

			cases[n++] = cases[i];
			cases[i] = held;
		}
	}
	return n;
}

static void show(void *arg, const struct result *result)
{
	struct arguments *a = arg;

	progress_erase(a->engine.progress);
	if (a->engine.dry_run && result->ok && a->format == FORMAT_HUMAN)
		printf("plan  %-*s  %s\n", a->report.name_width, result->name, result->reason);
	else if (a->format == FORMAT_HUMAN)
		report_human(stdout, &a->report, result);
	else if (a->format == FORMAT_JSONL)
		report_jsonl(stdout, &a->report, result);
	fflush(stdout);
}

static int exit_status(const struct result *results, size_t count, int sig)
{
	int status = verdict_exit_status_of(results, count);

	return sig && status != verdict_exit_status(VERDICT_UNDO_INCOMPLETE) ? 128 + sig : status;
}

static void say_planned(const struct result *results, size_t count)
{
	size_t i, planned = 0;

	for (i = 0; i < count; i++)
		planned += results[i].ok;
	printf("%zu planned", planned);
	if (planned < count)
		printf(", %zu cannot be", count - planned);
	puts(", nothing was touched");
}

static int finish(struct arguments *a, const struct result *results, size_t count, int sig)
{
	struct error err;
	int status = exit_status(results, count, sig);

	if (a->engine.dry_run && a->format == FORMAT_HUMAN)
		say_planned(results, count);
	else if (a->format == FORMAT_HUMAN)
		report_human_summary(stdout, &a->report, results, count);
	else if (a->format == FORMAT_JSON && report_json(stdout, &a->report, results, count, &err)) {
		fprintf(stderr, "tritone %s: %s\n", a->verb, err.text);
		status = status ? status : 2;
	}
	if (a->junit && report_junit(a->junit, &a->report, results, count, &err)) {
		fprintf(stderr, "tritone %s: %s\n", a->verb, err.text);
		status = status ? status : 2;
	}
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "tritone %s: standard output could not be written\n", a->verb);
		status = status ? status : 2;
	}
	return status;
}

static bool any_halted(const struct result *results, size_t count)
{
	while (count > 0)
		if (results[--count].halted)
			return true;
	return false;
}

static int run_suite(struct arguments *a, const struct spec_suite *suite)
{
	struct engine_case *cases;
	struct result *results;
	size_t count, wanted, done, i;
	struct error err;
	int status;

	if (engine_cases(&cases, &count, suite, a->system, &err)) {
		fprintf(stderr, "tritone %s: %s\n", a->verb, err.text);
		return 2;
	}
	wanted = select_cases(cases, count, a);
	if (!wanted) {
		engine_cases_free(cases, count);
		return cli_usage(a->verb, "no experiment's name contains '%s'%s", a->only_count ? a->only[0] : "",
		    a->only_count > 1 ? ", nor any of the other --only" : "");
	}
	results = calloc(wanted, sizeof *results);
	if (!results || interrupt_begin(&a->engine.interrupt, &err)) {
		fprintf(stderr, "tritone %s: %s\n", a->verb, results ? err.text : "no memory");
		free(results);
		engine_cases_free(cases, count);
		return 2;
	}
	a->report.suite = suite->title ? suite->title : suite->name;
	if (!a->quiet)
		fprintf(stderr, "seed %" PRIu64 "\n", a->engine.seed);
	a->report.file = a->file;
	a->report.planned = a->engine.dry_run;
	a->report.system = a->system;
	for (i = 0; i < wanted; i++)
		if ((int)strlen(cases[i].name) > a->report.name_width)
			a->report.name_width = (int)strlen(cases[i].name);
	a->engine.progress = progress_create(stderr, a->quiet, wanted);
	done = engine_run_all(&a->engine, cases, wanted, a->jobs, results, show, a);
	progress_destroy(a->engine.progress);
	status = finish(a, results, done, interrupt_signal(a->engine.interrupt));
	if (done < wanted && !interrupt_signal(a->engine.interrupt)) {
		fprintf(stderr, "tritone %s: %s: %zu of %zu were run\n", a->verb,
		    done > 0 && any_halted(results, done) ? "halted" : "no memory", done, wanted);
		status = status ? status : 2;
	}
	for (i = 0; i < done; i++)
		result_finish(&results[i]);
	interrupt_end(a->engine.interrupt);
	free(results);
	engine_cases_free(cases, count);
	return status;
}

static int run_file(struct arguments *a)
{
	struct spec_suite *suite;
	struct error err;
	int r;

	a->engine.seed = cli_seed(a->seed);
	if (!a->jobs)
		a->jobs = sysconf(_SC_NPROCESSORS_ONLN) > 1 ? 2 : 1;
	if (spec_suite_load(&suite, a->file, &err)) {
		fprintf(stderr, "tritone %s: %s\n", a->verb, err.text);
		return 2;
	}
	r = run_suite(a, suite);
	spec_suite_free(suite);
	return r;
}

int verb_test(int argc, char **argv)
{
	struct arguments a = {.verb = "test", .engine = {.root = cli_state_root(), .reruns = 2}};
	int r = parse(&a, argc, argv);

	if (r)
		return r < 0 ? 0 : r;
	return run_file(&a);
}

int verb_run(int argc, char **argv)
{
	struct arguments a = {.verb = "run", .engine = {.root = cli_state_root(), .reruns = 2}};
	int r = parse(&a, argc, argv);
	bool system_named;
	struct error err;

	if (r)
		return r < 0 ? 0 : r;
	if (schedule_is_real(a.file, &system_named, &err) != 0) {
		fprintf(stderr, "tritone run: %s\n", err.text);
		return 2;
	}
	if (!a.system && !system_named)
		a.system = "conductor";
	return run_file(&a);
}
