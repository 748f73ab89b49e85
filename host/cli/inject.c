/* SPDX-License-Identifier: Apache-2.0 */
/* `tritone inject`: one fault by hand at a system that is already running, and its end. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/options.h"
#include "cli/verb.h"
#include "engine/engine.h"

#define PIDS_MAX 64

static const char usage[] =
    "usage: tritone inject NAME [OPTION ...] [PARAMETER=VALUE ...]\n"
    "Fires one fault at a running system, proves that it was felt, and takes it back.\n\n"
    "Where the system is (one of):\n"
    "      --state DIR        a run of `tritone up` or `test`, or any system's own directory with pid files below it\n"
    "      --pid N            this process is the agent (repeatable)\n"
    "      --control SOCKET   the control socket of a run, or of `tritone gateway`\n\n"
    "      --for TIME         how long it lasts (default 30s); ^C ends it before\n"
    "      --max N            act on up to N agents when more than one matches (default: exactly one must match)\n"
    "      --pid-files GLOB   below --state DIR; the first '*' is the agent's id (default .sdd/runtime/agents/*/pid)\n"
    "      --proof TIME       how long the proof may take\n"
    "      --seed N           chooses among several\n"
    "      --dry-run          show the target and the undo record; touch nothing\n"
    "      --pathological     allow faults that may take the machine down\n"
    "      --keep             keep the fault's run directory\n"
    "  -h, --help\n\n"
    "`tritone plugin show NAME` lists the parameters. Exit status: 0 felt and undone, 2 usage, 4 not felt, 5 not "
    "undone\n"
    "(`tritone recover`), 6 halted, or the system has ended meanwhile, 7 not possible at this system, 130 or 143 after "
    "a signal (undone).\n";

struct arguments {
	struct engine_options engine;
	struct engine_shot shot;
	int pids[PIDS_MAX];
	const char *seed;
};

static int take_number(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	if (cli_number(text, min, max, ret) != 0)
		return cli_usage(
		    "inject", "%s wants a number from %" PRIu64 " to %" PRIu64 ", found '%s'", option, min, max, text);
	return 0;
}

static int take_time(const char *option, const char *text, int64_t *ret)
{
	struct error err;

	if (spec_duration(text, ret, &err))
		return cli_usage("inject", "%s: %s", option, err.text);
	return 0;
}

static int parse(struct arguments *a, int argc, char **argv)
{
	static const struct option options[] = {
	    {"state", required_argument, NULL, 's'},
	    {"pid", required_argument, NULL, 'p'},
	    {"control", required_argument, NULL, 'c'},
	    {"for", required_argument, NULL, 'f'},
	    {"max", required_argument, NULL, 'm'},
	    {"pid-files", required_argument, NULL, 'g'},
	    {"proof", required_argument, NULL, 'r'},
	    {"seed", required_argument, NULL, 'S'},
	    {"dry-run", no_argument, NULL, 'n'},
	    {"pathological", no_argument, NULL, 'P'},
	    {"keep", no_argument, NULL, 'k'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	uint64_t number = 0;
	int c, r = 0;

	optind = 1;
	while (r == 0 && (c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 's':
			a->shot.state = optarg;
			break;
		case 'p':
			if (a->shot.pid_count == PIDS_MAX)
				return cli_usage("inject", "at most %d pids", PIDS_MAX);
			r = take_number("--pid", optarg, 2, 1u << 22, &number);
			a->pids[a->shot.pid_count++] = (int)number;
			break;
		case 'c':
			a->shot.socket = optarg;
			break;
		case 'f':
			r = take_time("--for", optarg, &a->shot.duration_ms);
			break;
		case 'm':
			r = take_number("--max", optarg, 1, 64, &number);
			a->shot.max = (size_t)number;
			break;
		case 'g':
			a->shot.pid_files = optarg;
			break;
		case 'r':
			r = take_time("--proof", optarg, &a->shot.proof_ms);
			break;
		case 'S':
			a->seed = optarg;
			break;
		case 'n':
			a->engine.dry_run = true;
			break;
		case 'P':
			a->engine.allow_pathological = true;
			break;
		case 'k':
			a->engine.keep = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return -1;
		default:
			return cli_usage("inject", "wrong arguments");
		}
	}
	return r;
}

int verb_inject(int argc, char **argv)
{
	struct arguments a = {.engine = {.root = cli_state_root()},
	    .shot = {.pid_files = ".sdd/runtime/agents/*/pid", .duration_ms = 30000, .out = stdout}};
	enum verdict verdict;
	struct error err = {0};
	int r = parse(&a, argc, argv), i, sig;

	if (r)
		return r < 0 ? 0 : r;
	if (optind == argc)
		return cli_usage("inject", "which fault? `tritone plugin list` names them");
	a.shot.plugin = argv[optind++];
	for (i = optind; i < argc; i++)
		if (!strchr(argv[i], '='))
			return cli_usage("inject", "'%s' is not of the form PARAMETER=VALUE", argv[i]);
	a.shot.params = (const char *const *)argv + optind;
	a.shot.param_count = (size_t)(argc - optind);
	a.shot.pids = a.pids;
	a.engine.seed = cli_seed(a.seed);
	setvbuf(stdout, NULL, _IOLBF, 0); /* what happens is said when it happens, through a pipe too */
	if (interrupt_begin(&a.engine.interrupt, &err)) {
		fprintf(stderr, "tritone inject: %s\n", err.text);
		return 2;
	}
	verdict = engine_shoot(&a.engine, &a.shot, &err);
	if (verdict != VERDICT_HELD)
		fprintf(stderr, "tritone inject: %s: %s\n", verdict_name(verdict), err.text);
	sig = interrupt_signal(a.engine.interrupt);
	interrupt_end(a.engine.interrupt);
	if (sig && verdict != VERDICT_UNDO_INCOMPLETE)
		return 128 + sig;
	return verdict_exit_status(verdict);
}
