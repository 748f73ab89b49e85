/* SPDX-License-Identifier: Apache-2.0 */
/* `tritone system`: a manifest for a system of one's own, and whether it is right. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/options.h"
#include "cli/verb.h"
#include "engine/engine.h"

static const char usage[] =
    "usage: tritone system check [OPTION ...] SYSTEM\n"
    "       tritone system new NAME [FILE]\n"
    "`check` really starts a system by its manifest (a file, or a name in a systems/ folder) in a directory of its "
    "own, "
    "hands tasks\n"
    "in, sees them end, kills and restarts it, stops it, and says of each step whether it went well. `new` writes a "
    "manifest with a\n"
    "comment at each key, to be filled in: NAME.yaml, or FILE.\n\n"
    "      --limit DURATION   how long each step may take, 30s by default\n"
    "      --seed N           the gateway's seed\n"
    "      --keep             keep the run directory even if all is well\n"
    "  -h, --help\n\n"
    "Exit status: 0 all is well, 1 a step failed, 2 bad file or usage, 3 it did not become ready, 5 something could "
    "not be stopped,\n"
    "6 interrupted or halted, 7 a capability is missing here.\n";

#define COLUMNS 112u

struct page {
	size_t column; /* what of the line is used */
	bool words;    /* a line of the system's has been shown */
};

static void took(char *ret, size_t size, uint64_t us)
{
	if (us < 1000)
		snprintf(ret, size, "<1 ms");
	else if (us < 1000000)
		snprintf(ret, size, "%" PRIu64 " ms", us / 1000);
	else
		snprintf(ret, size, "%.1f s", (double)us / 1e6);
}

static void end_line(struct page *page)
{
	if (page->column)
		putchar('\n');
	page->column = 0;
}

/* As many on a line as fit; what failed has one of its own. */
static void step(void *arg, const struct engine_step *step)
{
	struct page *page = arg;
	char text[800], time[32];
	size_t size;

	took(time, sizeof time, step->took_us);
	if (step->state == STEP_LEFT_OUT)
		snprintf(text, sizeof text, "%s - (%s)", step->name, step->detail);
	else if (step->state == STEP_OK)
		snprintf(text, sizeof text, "%s ok %s%s%s", step->name, time, *step->detail ? ", " : "", step->detail);
	else
		snprintf(text, sizeof text, "%s FAILED after %s: %s", step->name, time, step->detail);
	size = strlen(text);
	if (step->state == STEP_FAILED || page->column + 3 + size > COLUMNS)
		end_line(page);
	printf("%s%s", page->column ? "   " : "", text);
	page->column += (page->column ? 3 : 0) + size;
	if (step->state == STEP_FAILED)
		end_line(page);
	fflush(stdout);
}

static void words(void *arg, const char *process, const char *line)
{
	struct page *page = arg;

	end_line(page);
	if (!page->words)
		puts("the last lines of its output:");
	page->words = true;
	printf("  %s: %s\n", process, line);
}

static int check(int argc, char **argv)
{
	static const struct option options[] = {
	    {"limit", required_argument, NULL, 'l'},
	    {"seed", required_argument, NULL, 'S'},
	    {"keep", no_argument, NULL, 'k'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	struct engine_options engine = {.root = cli_state_root()};
	struct page page = {0};
	struct engine_checkup checkup = {.limit_ms = 30000, .step = step, .words = words, .arg = &page};
	const char *seed = NULL;
	enum verdict verdict;
	struct error err;
	char dir[4096];
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'l':
			if (spec_duration(optarg, &checkup.limit_ms, &err) != 0 || checkup.limit_ms < 1)
				return cli_usage("system", "--limit wants a duration such as 30s, found '%s'", optarg);
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
			return cli_usage("system", "wrong arguments");
		}
	}
	if (argc - optind != 1)
		return cli_usage("system", "check wants exactly one system");
	checkup.system = argv[optind];
	engine.seed = cli_seed(seed);
	if (interrupt_begin(&engine.interrupt, &err)) {
		fprintf(stderr, "tritone system: %s\n", err.text);
		return 2;
	}
	verdict = engine_check_up(&engine, &checkup, dir, sizeof dir, &err);
	end_line(&page);
	if (dir[0])
		printf("run      %s\n", dir);
	fflush(stdout);
	if (verdict != VERDICT_HELD)
		fprintf(stderr, "tritone system check: %s: %s\n", checkup.system, err.text);
	interrupt_end(engine.interrupt);
	return verdict_exit_status(verdict);
}

static bool is_help(const char *word)
{
	return !strcmp(word, "-h") || !strcmp(word, "--help");
}

int verb_system(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "check"))
		return check(argc - 1, argv + 1);
	if ((argc > 1 && is_help(argv[1])) || (argc > 2 && !strcmp(argv[1], "new") && is_help(argv[2]))) {
		fputs(usage, stdout);
		return 0;
	}
	if (argc > 1 && !strcmp(argv[1], "new"))
		return system_new(argc - 1, argv + 1);
	return cli_usage("system", "expected check or new");
}
