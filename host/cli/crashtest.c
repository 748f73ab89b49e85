/* SPDX-License-Identifier: Apache-2.0 */
/* tritone crashtest: a writer is recorded once, and every state that a disk could hold after a loss of power is
 * recovered and judged. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/crashtest_print.h"
#include "cli/options.h"
#include "cli/verb.h"
#include "crash/leftover.h"
#include "crash/notifier/notifier.h"
#include "crash/record/record.h"

#define LOG_FILE           "data.mdb" /* a log of wal/ is one, see wal.h */
#define STATES_MAX_LIBRARY 1000000u
#define STATES_MAX_COMMAND 20000u
#define RECOVERY_MAX       200u
#define OF_ITS_OWN         UINT64_MAX /* of a limit: what suits whatever is explored */

static volatile sig_atomic_t crashtest_signal; /* a handler has no other place */

static void on_signal(int number)
{
	crashtest_signal = number;
}

static void print_help(void)
{
	fputs(
	    "usage: tritone crashtest [OPTION ...] -- CMD [ARG ...] DIR\n"
	    "       tritone crashtest [OPTION ...] --replay TRACE\n"
	    "       tritone crashtest --self\n\n"
	    "Runs CMD once and records what it does to the files below DIR, its last argument, and the lines that it\n"
	    "prints, which are its acknowledgements. Then makes every state that the disk could hold if the power "
	    "failed,\n"
	    "recovers it, and says what became of what was acknowledged. Without --check, DIR is a log of wal/: any\n"
	    "other program needs --check, or nothing of it is judged.\n\n"
	    "  --recover CMD      recovers a state: gets its directory\n"
	    "  --check CMD        looks at it: gets the directory and a file with the lines that were acknowledged;\n"
	    "                     ends with 0 (all there), 1 (lost), 2 (corrupt), 3 (refused)\n"
	    "  --log PATH         the log of wal/ is at PATH below DIR\n"
	    "  --model LIST       of prefix, subset, sector (these three by default) and byte\n"
	    "  --volatile PATTERN files that are absent after a loss of power; lock.mdb and *-shm are known\n"
	    "  --recorder WHICH   preload, or notifier (sees static programs too); by default what CMD needs\n"
	    "  --seed N           for what is sampled (default: TRITONE_SEED, or random)\n"
	    "  --states-max N     sample beyond so many (default: 1,000,000; 20,000 with --check)\n"
	    "  --recovery-max N   crash the recovery of so many states too (default: 200; 0 with --check)\n"
	    "  --timeout SECONDS  for the recovery and the check of one state (default: 10)\n"
	    "  -j, --jobs N       processes that judge (default: 2)\n"
	    "  --keep DIR         where the smallest state that deviates goes; none may be there (default: a new one,\n"
	    "                     .tritone/crash/NUMBER)\n"
	    "  --only N           judge state N alone: the command that a deviation names\n"
	    "  --unacknowledged   CMD prints no acknowledgements, and is not meant to: nothing can be lost, 0 all the "
	    "same\n"
	    "  --json             one object on standard output\n"
	    "  --self             explore wal/ and the canaries: is the explorer worth its salt?\n\n"
	    "Exit status: 0 all states recovered, 1 not, 2 usage or CMD failed, 4 nothing to explore or nothing was\n"
	    "acknowledged, 7 cannot be recorded here (says why), 130 and 143 after a signal.\n",
	    stdout);
}

static int fail(const struct error *err)
{
	if (err->code == EINTR && crashtest_signal)
		return 128 + crashtest_signal;
	fprintf(stderr, "tritone crashtest: %s\n", err->text);
	return err->code == ENOTSUP ? 7 : 2;
}

/* --- what is done --- */

static void print_progress(void *arg, uint64_t judged, uint64_t deviations)
{
	const bool *shown = arg;

	if (*shown)
		fprintf(stderr, "\r%" PRIu64 " states, %" PRIu64 " deviations ", judged, deviations);
}

static int explore_trace(struct crashtest *test, const struct trace *trace)
{
	bool shown = isatty(STDERR_FILENO);
	struct crash_judge judge = crash_judge_wal;
	const struct explore_finding *worst;
	struct explore_result result;
	struct error err = {0};
	char keep[512] = "";
	int rc = 0;

	if (test->commands.check)
		judge = crash_judge_commands(&test->commands);
	else if (test->log)
		judge.config = test->log;
	test->explore.progress = print_progress;
	test->explore.progress_arg = &shown;
	if (explore(trace, &judge, &test->explore, &result, &err) < 0)
		return fail(&err);
	if (shown)
		fputs("\r\033[K", stderr);
	worst = crashtest_worst(&result);
	if (!test->json)
		crashtest_print_result(test, &result);
	if (worst)
		rc = crashtest_print_deviation(test, trace, worst, keep, sizeof keep, &err);
	if (test->json) {
		json_t *root = crashtest_json(trace, &result, test->explore.seed, keep);

		json_dumpf(root, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(root);
	}
	if (worst)
		return rc < 0 ? fail(&err) : 1;
	if (!explore_total(&result) && test->explore.only) {
		fprintf(stderr, "tritone crashtest: this trace has no state %" PRIu64 ", with these options\n",
		    test->explore.ordinal);
		return 4;
	}
	if (!explore_total(&result)) {
		fprintf(stderr, "tritone crashtest: there was nothing to explore\n");
		return 4;
	}
	if (!trace->acks_count && !test->unacknowledged) {
		fprintf(stderr, "tritone crashtest: the command printed no line and so acknowledged nothing: no loss "
				"could be seen, "
				"whatever was lost. If that is meant: --unacknowledged\n");
		return 4;
	}
	return 0;
}

static int record(const struct crashtest *test, struct trace **ret_trace, struct error *err)
{
	const struct record_options by_preload = {
	    .dir = test->dir, .volatiles = test->volatiles, .interrupted = test->explore.interrupted};
	const struct notifier_options by_notifier = {.dir = test->dir,
	    .argv = test->argv,
	    .volatiles = test->volatiles,
	    .echo = -1,
	    .interrupted = test->explore.interrupted};
	bool notifier = test->recorder && !strcmp(test->recorder, "notifier");
	int status, rc;

	if (!test->argv)
		return error_set(err, EINVAL, "no command");
	if (!test->recorder && record_is_static(test->argv[0], &notifier, err) < 0)
		return -1;
	if (notifier && setenv("TRITONE_RECORD", "notifier", 1) < 0) /* fault points: be seen */
		return error_set(err, errno, "no memory for the environment");
	leftover_adopt();
	rc = notifier ? notifier_record(ret_trace, &by_notifier, &status, err)
		      : record_command(&by_preload, test->argv, ret_trace, &status, err);
	leftover_end(); /* nobody would see what it still writes */
	if (rc < 0)
		return -1;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	trace_destroy(*ret_trace);
	return error_set(err, ECHILD, "%s ended with %s %d: it is to do its work before it is crashed", test->argv[0],
	    WIFEXITED(status) ? "status" : "signal", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

/* Was a log of wal/ there at any time? Only of one can be judged without a check what became of it. */
static bool has_log(const struct trace *trace)
{
	size_t i;

	for (i = 0; i < trace->count; i++)
		if ((trace->ops[i].name && !strcmp(trace->ops[i].name, LOG_FILE)) ||
		    (trace->ops[i].name2 && !strcmp(trace->ops[i].name2, LOG_FILE)))
			return true;
	return false;
}

static int run(struct crashtest *test)
{
	struct trace *trace = NULL;
	struct error err = {0};
	struct crashtest_counted counted;
	int rc;

	rc = test->replay ? trace_load(&trace, test->replay, &err) : record(test, &trace, &err);
	if (rc < 0 || !trace)
		return fail(&err);
	counted = crashtest_count(trace);
	if (!test->json)
		crashtest_print_trace(trace);
	if (!counted.writes) {
		fprintf(stderr, "tritone crashtest: nothing was written below %s: nothing to explore\n", trace->root);
		rc = 4;
	} else if (!test->commands.check && !has_log(trace)) {
		fprintf(stderr,
		    "tritone crashtest: no log of wal/ was written below %s, and nothing else is judged without "
		    "--check: "
		    "nothing to explore\n",
		    trace->root);
		rc = 4;
	} else {
		rc = explore_trace(test, trace);
	}
	trace_destroy(trace);
	return rc;
}

/* --- --self --- */

static int run_self(struct crashtest *test)
{
	struct error err = {0};
	bool ok;

	printf("seed 0x%" PRIx64 "\n", test->explore.seed);
	if (self_run(&test->explore, crashtest_print_row, test, &ok, &err) < 0)
		return fail(&err);
	return ok ? 0 : 1;
}

/* --- the verb --- */

enum {
	OPTION_RECOVER = 256,
	OPTION_CHECK,
	OPTION_LOG,
	OPTION_MODEL,
	OPTION_VOLATILE,
	OPTION_RECORDER,
	OPTION_SEED,
	OPTION_STATES,
	OPTION_RECOVERIES,
	OPTION_TIMEOUT,
	OPTION_KEEP,
	OPTION_REPLAY,
	OPTION_ONLY,
	OPTION_JSON,
	OPTION_UNACKNOWLEDGED,
	OPTION_SELF
};

/* 0, or the exit status of a usage error. */
static int take_number(struct crashtest *test, int option, const char *text)
{
	struct explore_options *explore = &test->explore;
	uint64_t value;

	if (cli_number(text, option == 'j' || option == OPTION_TIMEOUT ? 1 : 0,
		option == 'j'              ? EXPLORE_JOBS_MAX
		: option == OPTION_TIMEOUT ? 86400
					   : INT64_MAX,
		&value) != 0)
		return cli_usage("crashtest", "'%s' is no number that can be taken here", text);
	if (option == 'j')
		explore->jobs = (unsigned)value;
	else if (option == OPTION_STATES)
		explore->states_max = value;
	else if (option == OPTION_RECOVERIES)
		explore->recovery_max = value;
	else if (option == OPTION_TIMEOUT)
		explore->timeout_ms = (unsigned)value * 1000;
	else
		explore->ordinal = value;
	explore->only = explore->only || option == OPTION_ONLY;
	return 0;
}

static int take_option(struct crashtest *test, int option, const char **seed)
{
	struct error err;

	switch (option) {
	case OPTION_RECOVER:
		test->commands.recover = optarg;
		return 0;
	case OPTION_CHECK:
		test->commands.check = optarg;
		return 0;
	case OPTION_LOG:
		test->log = optarg;
		return 0;
	case OPTION_MODEL:
		return model_parse(optarg, &test->explore.kinds, &err) < 0
			   ? cli_usage("crashtest", "--model: %s", err.text)
			   : 0;
	case OPTION_VOLATILE:
		if (test->volatiles_count == CRASHTEST_VOLATILES_MAX)
			return cli_usage("crashtest", "--volatile: more than %u patterns", CRASHTEST_VOLATILES_MAX - 2);
		test->volatiles[test->volatiles_count++] = optarg;
		return 0;
	case OPTION_RECORDER:
		test->recorder = optarg;
		if (strcmp(optarg, "preload") != 0 && strcmp(optarg, "notifier") != 0)
			return cli_usage("crashtest", "--recorder: no '%s': expected preload or notifier", optarg);
		return 0;
	case OPTION_SEED:
		*seed = optarg;
		return 0;
	case OPTION_KEEP:
		test->keep = optarg;
		return 0;
	case OPTION_REPLAY:
		test->replay = optarg;
		return 0;
	case OPTION_JSON:
		test->json = true;
		return 0;
	case OPTION_UNACKNOWLEDGED:
		test->unacknowledged = true;
		return 0;
	case OPTION_SELF:
		test->self = true;
		return 0;
	default:
		return take_number(test, option, optarg);
	}
}

static int check_usage(struct crashtest *test, int argc, char **argv)
{
	const int words = argc - optind;

	if (test->commands.recover && !test->commands.check)
		return cli_usage("crashtest", "--recover goes with --check: who says what was recovered?");
	if (test->commands.check && test->log)
		return cli_usage("crashtest", "--log goes without --check");
	if ((test->self || test->replay) && words)
		return cli_usage("crashtest", "--self and --replay take no command");
	if (test->self && (test->commands.check || test->log || test->keep || test->recorder || test->json ||
			      test->unacknowledged || test->explore.kinds != MODEL_DEFAULT))
		return cli_usage(
		    "crashtest", "--self takes --seed, --states-max, --recovery-max, --timeout and --jobs only");
	if (test->explore.only && !test->replay)
		return cli_usage("crashtest", "--only goes with --replay: a new recording has other states");
	if (!test->self && !test->replay && words < 2)
		return cli_usage("crashtest", "expected a command and, as its last argument, a directory");
	if (test->keep && !test->explore.only) {
		char path[PATH_MAX];

		snprintf(path, sizeof path, "%s/state", test->keep);
		if (access(path, F_OK) == 0)
			return cli_usage("crashtest",
			    "--keep: in %s a state is kept already: remove it, or name another directory", test->keep);
	}
	if (words) {
		struct stat status;

		test->argv = argv + optind;
		test->dir = argv[argc - 1];
		if (stat(test->dir, &status) < 0 ? mkdir(test->dir, 0777) < 0 : !S_ISDIR(status.st_mode))
			return cli_usage(
			    "crashtest", "%s: the last argument of the command is to be a directory", test->dir);
	}
	return 0;
}

int verb_crashtest(int argc, char **argv)
{
	static const struct option options[] = {{"recover", required_argument, NULL, OPTION_RECOVER},
	    {"check", required_argument, NULL, OPTION_CHECK}, {"log", required_argument, NULL, OPTION_LOG},
	    {"model", required_argument, NULL, OPTION_MODEL}, {"volatile", required_argument, NULL, OPTION_VOLATILE},
	    {"recorder", required_argument, NULL, OPTION_RECORDER}, {"seed", required_argument, NULL, OPTION_SEED},
	    {"states-max", required_argument, NULL, OPTION_STATES},
	    {"recovery-max", required_argument, NULL, OPTION_RECOVERIES},
	    {"timeout", required_argument, NULL, OPTION_TIMEOUT}, {"jobs", required_argument, NULL, 'j'},
	    {"keep", required_argument, NULL, OPTION_KEEP}, {"replay", required_argument, NULL, OPTION_REPLAY},
	    {"only", required_argument, NULL, OPTION_ONLY}, {"json", no_argument, NULL, OPTION_JSON},
	    {"unacknowledged", no_argument, NULL, OPTION_UNACKNOWLEDGED}, {"self", no_argument, NULL, OPTION_SELF},
	    {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	const struct sigaction action = {.sa_handler = on_signal};
	struct crashtest test = {
	    .explore = {.kinds = MODEL_DEFAULT, .states_max = OF_ITS_OWN, .recovery_max = OF_ITS_OWN}};
	const char *seed = NULL;
	struct error err;
	char work[64];
	int option, rc;

	for (; record_volatiles[test.volatiles_count]; test.volatiles_count++)
		test.volatiles[test.volatiles_count] = record_volatiles[test.volatiles_count];
	while ((option = getopt_long(argc, argv, "+hj:", options, NULL)) != -1) {
		if (option == 'h') {
			print_help();
			return 0;
		}
		rc =
		    option == '?' ? cli_usage("crashtest", "see the options above") : take_option(&test, option, &seed);
		if (rc)
			return rc;
	}
	rc = check_usage(&test, argc, argv);
	if (rc)
		return rc;
	test.explore.seed = cli_seed(seed);
	test.explore.volatiles = test.volatiles;
	test.explore.interrupted = &crashtest_signal;
	if (test.explore.states_max == OF_ITS_OWN)
		test.explore.states_max =
		    test.self ? 0 : (test.commands.check ? STATES_MAX_COMMAND : STATES_MAX_LIBRARY);
	if (test.explore.recovery_max == OF_ITS_OWN && !test.self)
		test.explore.recovery_max = test.commands.check ? 0 : RECOVERY_MAX;
	if (explore_work_create(work, &err) < 0)
		return fail(&err);
	test.explore.work = work;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	rc = test.self ? run_self(&test) : run(&test);
	explore_work_remove(work);
	return crashtest_signal ? 128 + crashtest_signal : rc;
}
