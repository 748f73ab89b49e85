/* SPDX-License-Identifier: Apache-2.0 */
/* tritone crashtest: a writer is recorded once, and every state that a disk could hold after a loss of power is
 * recovered and judged. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/options.h"
#include "cli/verb.h"
#include "crash/explore.h"
#include "crash/minimal.h"
#include "crash/notifier/notifier.h"
#include "crash/record/record.h"
#include "crash/self.h"

#define VOLATILES_MAX      32
#define STATES_MAX_LIBRARY 1000000u
#define STATES_MAX_COMMAND 20000u
#define RECOVERY_MAX       200u
#define LINES_MAX          20

struct crashtest {
	struct explore_options explore;
	const char *volatiles[VOLATILES_MAX + 3];
	size_t volatiles_count;
	struct crash_commands commands;
	const char *keep, *replay, *recorder, *log;
	bool json, self;
	char *const *argv; /* the command, or NULL */
	const char *dir;
};

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
	    "recovers it, and says what became of what was acknowledged. Without --check, DIR is a log of wal/.\n\n"
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
	    "  --keep DIR         where the smallest state that deviates goes (default: .tritone/crash/NUMBER)\n"
	    "  --only N           judge state N alone: the command that a deviation names\n"
	    "  --json             one object on standard output\n"
	    "  --self             explore wal/ and the canaries: is the explorer worth its salt?\n\n"
	    "Exit status: 0 all states recovered, 1 not, 2 usage or CMD failed, 4 nothing to explore, 7 cannot be "
	    "recorded\n"
	    "here (says why), 130 and 143 after a signal.\n",
	    stdout);
}

static int fail(const struct error *err)
{
	if (err->code == EINTR && crashtest_signal)
		return 128 + crashtest_signal;
	fprintf(stderr, "tritone crashtest: %s\n", err->text);
	return err->code == ENOTSUP ? 7 : 2;
}

/* 1,234,567 */
static const char *grouped(uint64_t number, char to[32])
{
	char digits[24];
	size_t size = (size_t)snprintf(digits, sizeof digits, "%" PRIu64, number), i, k = 0;

	for (i = 0; i < size; i++) {
		if (i && (size - i) % 3 == 0)
			to[k++] = ',';
		to[k++] = digits[i];
	}
	to[k] = '\0';
	return to;
}

/* --- what is printed --- */

struct counted {
	size_t writes, syncs, directories;
};

static struct counted count_trace(const struct trace *trace)
{
	struct counted counted = {.directories = 1};
	size_t i;

	for (i = trace->begin; i < trace->count; i++) {
		const struct trace_op *op = &trace->ops[i];

		counted.writes += op->kind == TRACE_WRITE;
		counted.syncs += (op->kind >= TRACE_FSYNC && op->kind <= TRACE_SYNC_ALL) || (op->flags & TRACE_DURABLE);
	}
	for (i = 0; i < trace->count; i++)
		counted.directories += trace->ops[i].kind == TRACE_MKDIR;
	return counted;
}

static void print_trace(const struct trace *trace)
{
	const struct counted counted = count_trace(trace);

	printf("recorded %zu write%s, %zu sync%s, %zu acknowledgement%s in %zu director%s\n", counted.writes,
	    counted.writes == 1 ? "" : "s", counted.syncs, counted.syncs == 1 ? "" : "s", trace->acks_count,
	    trace->acks_count == 1 ? "" : "s", counted.directories, counted.directories == 1 ? "y" : "ies");
}

static uint64_t rate_of(const struct explore_result *result)
{
	return result->seconds > 0 ? (uint64_t)((double)explore_total(result) / result->seconds) : 0;
}

static const struct explore_finding *worst_of(const struct explore_result *result)
{
	static const enum crash_outcome order[] = {CRASH_CORRUPT, CRASH_LOST, CRASH_FAILED, CRASH_REFUSED};
	unsigned i;

	for (i = 0; i < sizeof order / sizeof *order; i++)
		if (explore_deviates(&result->first[order[i]]))
			return &result->first[order[i]];
	return NULL;
}

static void print_result(const struct crashtest *test, const struct explore_result *result)
{
	const uint64_t named = result->outcomes_byte[CRASH_REFUSED];
	char a[32], b[32], c[32], d[32], e[32];

	printf("%s crash states  (prefix %s, subset %s, sector-torn %s", grouped(explore_total(result), a),
	    grouped(result->judged[MODEL_PREFIX], b), grouped(result->judged[MODEL_SUBSET], c),
	    grouped(result->judged[MODEL_SECTOR], d));
	if (result->recoveries)
		printf(", of recoveries %s", grouped(result->recoveries, a));
	if (test->explore.kinds & (1u << MODEL_BYTE))
		printf("; byte-torn, stronger than real disks promise, %s", grouped(result->judged[MODEL_BYTE], e));
	else
		printf("; byte-torn: --model byte");
	if (result->exhaustive)
		printf(")\n");
	else
		printf("; sampled with --seed 0x%" PRIx64 ")\n", test->explore.seed);
	printf("%s recovered     %s lost acknowledged data   %s corrupt   %s recovery failures",
	    grouped(result->outcomes[CRASH_RECOVERED], a), grouped(result->outcomes[CRASH_LOST], b),
	    grouped(result->outcomes[CRASH_CORRUPT], c),
	    grouped(result->outcomes[CRASH_FAILED] + result->outcomes[CRASH_REFUSED] - named, d));
	if (named)
		printf("   %s byte-torn, refused by name", grouped(named, b));
	printf("           %s states/s\n", grouped(rate_of(result), e));
	if (result->again)
		printf("each was recovered a second time, from the %s different contents that the first time left\n",
		    grouped(result->again, a));
}

static json_t *json_of(const struct trace *trace, const struct explore_result *result, uint64_t seed)
{
	const struct counted counted = count_trace(trace);
	const struct explore_finding *worst = worst_of(result);
	json_t *root = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:I,s:f,s:I}", "writes", (json_int_t)counted.writes,
	    "syncs", (json_int_t)counted.syncs, "acknowledgements", (json_int_t)trace->acks_count, "states",
	    (json_int_t)explore_total(result), "contents", (json_int_t)result->contents, "recoveries",
	    (json_int_t)result->recoveries, "recovered_again", (json_int_t)result->again, "exhaustive",
	    result->exhaustive, "seed", (json_int_t)seed, "seconds", result->seconds, "states_per_second",
	    (json_int_t)rate_of(result));
	json_t *models = json_object(), *outcomes = json_object();
	unsigned i;

	for (i = 0; i < MODEL_KINDS; i++)
		json_object_set_new(models, model_name(i), json_integer((json_int_t)result->judged[i]));
	for (i = 0; i < CRASH_OUTCOMES; i++)
		json_object_set_new(outcomes, crash_outcome_name(i), json_integer((json_int_t)result->outcomes[i]));
	json_object_set_new(root, "models", models);
	json_object_set_new(root, "outcomes", outcomes);
	json_object_set_new(root, "deviation",
	    worst ? json_pack("{s:s,s:s,s:I,s:s,s:I}", "outcome", crash_outcome_name(worst->outcome), "reason",
			worst->reason, "state", (json_int_t)worst->ordinal, "model", model_name(worst->kind),
			"operation", (json_int_t)worst->at)
		  : json_null());
	return root;
}

static void quote(FILE *out, const char *text)
{
	fputc('\'', out);
	for (; *text; text++)
		fputs(*text == '\'' ? "'\\''" : (const char[]){*text, '\0'}, out);
	fputc('\'', out);
}

/* The command that comes to the same state again. */
static void print_again(
    const struct crashtest *test, const struct explore_finding *finding, const char *keep, FILE *out)
{
	unsigned i, comma = 0;
	size_t k;

	fprintf(out, "tritone crashtest --replay ");
	quote(out, keep);
	fprintf(out, "/trace --only %" PRIu64 " --seed 0x%" PRIx64 " --states-max %" PRIu64 " --model ",
	    finding->ordinal, test->explore.seed, test->explore.states_max);
	for (i = 0; i < MODEL_KINDS; i++)
		if (test->explore.kinds & (1u << i))
			fprintf(out, "%s%s", comma++ ? "," : "", model_name(i));
	fprintf(out, " --recovery-max %d", finding->in_recovery);
	for (k = 2; k < test->volatiles_count; k++) {
		fprintf(out, " --volatile ");
		quote(out, test->volatiles[k]);
	}
	if (test->log) {
		fprintf(out, " --log ");
		quote(out, test->log);
	}
	if (test->commands.recover) {
		fprintf(out, " --recover ");
		quote(out, test->commands.recover);
	}
	if (test->commands.check) {
		fprintf(out, " --check ");
		quote(out, test->commands.check);
	}
	fputc('\n', out);
}

static int print_deviation(
    const struct crashtest *test, const struct trace *trace, const struct explore_finding *finding)
{
	FILE *out = test->json ? stderr : stdout;
	struct error err = {0};
	char keep[512];

	if (test->keep)
		snprintf(keep, sizeof keep, "%s", test->keep);
	else
		snprintf(keep, sizeof keep, "%s/crash/%" PRIu64, cli_state_root(), finding->ordinal);
	fprintf(out, "\n%s%s: %s\n", crash_outcome_name(finding->outcome),
	    finding->in_recovery ? ", after a crash of the recovery of" : ", the smallest state that shows it",
	    finding->reason);
	if (minimal_print(trace, &test->explore, finding, out, LINES_MAX, &err) < 0)
		return fail(&err);
	if (!test->explore.only && minimal_write(trace, &test->explore, finding, keep, &err) < 0)
		return fail(&err);
	if (!test->explore.only) {
		fprintf(out,
		    "        kept: %s/state, what was acknowledged and each operation's fate beside it; again:\n",
		    keep);
		print_again(test, finding, keep, out);
	}
	return 1;
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
	if (test->json) {
		json_t *root = json_of(trace, &result, test->explore.seed);

		json_dumpf(root, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(root);
	} else {
		print_result(test, &result);
	}
	worst = worst_of(&result);
	if (worst)
		return print_deviation(test, trace, worst);
	if (!explore_total(&result)) {
		fprintf(stderr, "tritone crashtest: there was nothing to explore\n");
		return 4;
	}
	return 0;
}

static int record(const struct crashtest *test, struct trace **ret_trace, struct error *err)
{
	const struct record_options by_preload = {.dir = test->dir, .volatiles = test->volatiles};
	const struct notifier_options by_notifier = {
	    .dir = test->dir, .argv = test->argv, .volatiles = test->volatiles, .echo = -1};
	bool notifier = test->recorder && !strcmp(test->recorder, "notifier");
	int status, rc;

	if (!test->argv)
		return error_set(err, EINVAL, "no command");
	if (!test->recorder && record_is_static(test->argv[0], &notifier, err) < 0)
		return -1;
	if (notifier && setenv("TRITONE_RECORD", "notifier", 1) < 0) /* fault points: be seen */
		return error_set(err, errno, "no memory for the environment");
	rc = notifier ? notifier_record(ret_trace, &by_notifier, &status, err)
		      : record_command(&by_preload, test->argv, ret_trace, &status, err);
	if (rc < 0)
		return -1;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	trace_destroy(*ret_trace);
	return error_set(err, ECHILD, "%s ended with %s %d: it is to do its work before it is crashed", test->argv[0],
	    WIFEXITED(status) ? "status" : "signal", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

static int run(struct crashtest *test)
{
	struct trace *trace = NULL;
	struct error err = {0};
	struct counted counted;
	int rc;

	rc = test->replay ? trace_load(&trace, test->replay, &err) : record(test, &trace, &err);
	if (rc < 0 || !trace)
		return fail(&err);
	counted = count_trace(trace);
	if (!test->json)
		print_trace(trace);
	if (!counted.writes) {
		fprintf(stderr, "tritone crashtest: nothing was written below %s: nothing to explore\n", trace->root);
		rc = 4;
	} else {
		rc = explore_trace(test, trace);
	}
	trace_destroy(trace);
	return rc;
}

/* --- --self --- */

/* What was found, by outcome: "lost acknowledged data 521, corrupt 22". */
static void list_outcomes(const struct self_row *row, char *to, size_t size)
{
	size_t used = 0;
	unsigned i;

	to[0] = '\0';
	for (i = CRASH_REFUSED; i < CRASH_OUTCOMES; i++)
		if (row->result.outcomes[i] && used < size)
			used += (size_t)snprintf(to + used, size - used, "%s%s %" PRIu64, used ? ", " : "",
			    crash_outcome_name(i), row->result.outcomes[i]);
}

static void print_row(void *arg, const struct self_row *row)
{
	const struct explore_finding *first;
	char a[32], b[32], outcomes[160];
	unsigned i;

	(void)arg;
	list_outcomes(row, outcomes, sizeof outcomes);
	printf("%-22s %-16s %9s states %8s/s%s  %s%s%s\n", row->name, row->expected,
	    grouped(explore_total(&row->result), a), grouped(rate_of(&row->result), b),
	    row->result.exhaustive ? "          " : " (sampled)", row->as_expected ? "" : "NOT AS EXPECTED  ",
	    *outcomes ? "found: " : "held", outcomes);
	for (i = CRASH_REFUSED; i < CRASH_OUTCOMES; i++) {
		first = &row->result.first[i];
		if (first->found && (row->must & SELF_BIT(i)))
			printf("%22s %s\n", "", first->reason);
	}
	if (!row->as_expected)
		printf("%22s %s\n", "", row->reason);
	fflush(stdout);
}

static int run_self(struct crashtest *test)
{
	struct error err = {0};
	bool ok;

	printf("seed 0x%" PRIx64 "\n", test->explore.seed);
	if (self_run(&test->explore, print_row, NULL, &ok, &err) < 0)
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
	OPTION_SELF
};

static bool read_number(const char *text, uint64_t max, uint64_t *ret_number)
{
	char *end;

	errno = 0;
	*ret_number = strtoull(text, &end, 10);
	return !errno && *text >= '0' && *text <= '9' && !*end && *ret_number <= max;
}

/* 0, or the exit status of a usage error. */
static int take_number(struct crashtest *test, int option, const char *text)
{
	struct explore_options *explore = &test->explore;
	uint64_t value;

	if (!read_number(text,
		option == 'j'              ? EXPLORE_JOBS_MAX
		: option == OPTION_TIMEOUT ? 86400
					   : INT64_MAX,
		&value) ||
	    (option == 'j' && !value))
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
		if (test->volatiles_count == VOLATILES_MAX)
			return cli_usage("crashtest", "--volatile: more than %u patterns", VOLATILES_MAX - 2);
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
	if (test->explore.only && !test->replay)
		return cli_usage("crashtest", "--only goes with --replay: a new recording has other states");
	if (!test->self && !test->replay && words < 2)
		return cli_usage("crashtest", "expected a command and, as its last argument, a directory");
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
	    {"self", no_argument, NULL, OPTION_SELF}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	const struct sigaction action = {.sa_handler = on_signal};
	struct crashtest test = {
	    .explore = {.kinds = MODEL_DEFAULT, .states_max = UINT64_MAX, .recovery_max = UINT64_MAX}};
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
	if (test.explore.states_max == UINT64_MAX)
		test.explore.states_max =
		    test.self ? 0 : (test.commands.check ? STATES_MAX_COMMAND : STATES_MAX_LIBRARY);
	if (test.explore.recovery_max == UINT64_MAX)
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
