/* SPDX-License-Identifier: Apache-2.0 */
/* `tritone up`: starts a system and keeps it running, so that faults can be fired at it by hand. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/options.h"
#include "cli/verb.h"
#include "engine/engine.h"

static const char usage[] =
    "usage: tritone up [OPTION ...] SYSTEM\n"
    "Starts a system by its manifest (a file, or a name in a systems/ folder) with a gateway, and keeps it running "
    "until SIGINT or\n"
    "`tritone halt`. `tritone inject NAME --state RUN` then fires one fault at it.\n\n"
    "      --syscall-filter   start it under the system-call filter (disk-full needs it)\n"
    "      --load RATE        hand in so many tasks a second all the while, in chains of plan, write and review\n"
    "      --seed N           the gateway's seed\n"
    "      --keep             keep the run directory afterwards\n"
    "  -h, --help\n\n"
    "Exit status: 0 ended by a signal, 1 the system has died and is not started again, 2 bad file, 3 it did not become "
    "ready,\n"
    "6 ended by `tritone halt`, 7 a capability is missing here.\n";

static void ready(void *arg, const struct engine_place *place)
{
	(void)arg;
	printf("run      %s\nstate    %s\n", place->run_dir, place->state_dir);
	printf("gateway  %s\ncontrol  %s\n", place->gateway_url, place->socket);
	if (place->submit)
		printf("submit   %s\n", place->submit);
	if (place->outcome)
		printf("outcome  %s\n", place->outcome);
	printf("ready; end it with ^C or `tritone halt %s`\n", strrchr(place->run_dir, '/') + 1);
	fflush(stdout);
}

static void lost(void *arg, const char *process, const char *how)
{
	(void)arg;
	fprintf(stderr, "tritone up: process %s is gone for good: %s\n", process, how);
}

static void words(void *arg, const char *process, const char *line)
{
	(void)arg;
	fprintf(stderr, "  %s: %s\n", process, line);
}

int verb_up(int argc, char **argv)
{
	static const struct option options[] = {
	    {"syscall-filter", no_argument, NULL, 'f'},
	    {"load", required_argument, NULL, 'l'},
	    {"seed", required_argument, NULL, 'S'},
	    {"keep", no_argument, NULL, 'k'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	struct engine_options engine = {.root = cli_state_root()};
	struct engine_up up = {.ready = ready, .lost = lost, .words = words};
	const char *seed = NULL;
	enum verdict verdict;
	struct error err;
	char *end;
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'f':
			up.syscall_filter = true;
			break;
		case 'l':
			up.load = strtod(optarg, &end);
			if (*end || end == optarg || !(up.load > 0 && up.load <= 1000))
				return cli_usage("up", "--load wants tasks a second, up to 1000, found '%s'", optarg);
			break;
		case 'S':
			seed = optarg;
			break;
		case 'k':
			engine.keep = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			return cli_usage("up", "wrong arguments");
		}
	}
	if (argc - optind != 1)
		return cli_usage("up", "exactly one system is wanted");
	up.system = argv[optind];
	engine.seed = cli_seed(seed);
	if (interrupt_begin(&engine.interrupt, &err)) {
		fprintf(stderr, "tritone up: %s\n", err.text);
		return 2;
	}
	verdict = engine_up(&engine, &up, &err);
	if (verdict != VERDICT_HELD)
		fprintf(stderr, "tritone up: %s\n", err.text);
	interrupt_end(engine.interrupt);
	return verdict_exit_status(verdict);
}
