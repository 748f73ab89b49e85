/* SPDX-License-Identifier: Apache-2.0 */
/* tritone crashtest: a writer is recorded once, and every state that a disk could hold after a loss of power is
 * recovered and judged. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/options.h"
#include "cli/verb.h"
#include "crash/explore.h"
#include "crash/record/record.h"

#define VOLATILES_MAX      32
#define STATES_MAX_LIBRARY 1000000u
#define STATES_MAX_COMMAND 20000u

struct crashtest {
	unsigned kinds;
	const char *volatiles[VOLATILES_MAX + 3];
	size_t volatiles_count;
	const char *recover, *check, *keep;
	uint64_t seed, states_max;
	unsigned jobs;
	bool json, self;
	char *const *argv;
	const char *dir;
};

static void print_help(void)
{
	fputs("usage: tritone crashtest [OPTION ...] -- CMD [ARG ...] DIR\n\n"
	      "Runs CMD once and records what it does to the files below DIR, which is its last argument too, and the "
	      "lines\n"
	      "that it prints, which are its acknowledgements. Then makes every state that the disk could hold if the "
	      "power\n"
	      "failed, recovers it, and says what became of what was acknowledged.\n\n"
	      "  --model LIST       of prefix, subset, sector (these three by default) and byte\n"
	      "  --volatile PATTERN files that are not there after a loss of power; lock.mdb and *-shm are known\n"
	      "  --seed N           for what is sampled (default: TRITONE_SEED, or random)\n"
	      "  --states-max N     sample beyond so many\n"
	      "  -j N               jobs (default 2)\n\n"
	      "Exit status: 0 all states recovered, 1 not, 2 usage, 4 nothing to explore, 7 cannot be recorded here.\n",
	    stdout);
}

static int fail(const struct error *err)
{
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

static void print_trace(const struct trace *trace)
{
	size_t i, writes = 0, syncs = 0, directories = 1;

	for (i = trace->begin; i < trace->count; i++) {
		const struct trace_op *op = &trace->ops[i];

		writes += op->kind == TRACE_WRITE;
		syncs += (op->kind >= TRACE_FSYNC && op->kind <= TRACE_SYNC_ALL) || (op->flags & TRACE_DURABLE);
	}
	for (i = 0; i < trace->count; i++)
		directories += trace->ops[i].kind == TRACE_MKDIR;
	printf("recorded %zu write%s, %zu sync%s, %zu acknowledgement%s in %zu director%s\n", writes,
	    writes == 1 ? "" : "s", syncs, syncs == 1 ? "" : "s", trace->acks_count, trace->acks_count == 1 ? "" : "s",
	    directories, directories == 1 ? "y" : "ies");
}

static void print_result(const struct crashtest *test, const struct explore_result *result)
{
	uint64_t total = result->recoveries;
	char a[32], b[32], c[32], d[32], e[32];
	unsigned i;

	for (i = 0; i < MODEL_KINDS; i++)
		total += result->judged[i];
	printf("%s crash states  (prefix %s, subset %s, sector-torn %s; ", grouped(total, a),
	    grouped(result->judged[MODEL_PREFIX], b), grouped(result->judged[MODEL_SUBSET], c),
	    grouped(result->judged[MODEL_SECTOR], d));
	if (test->kinds & (1u << MODEL_BYTE))
		printf("byte-torn %s", grouped(result->judged[MODEL_BYTE], e));
	else
		printf("byte-torn: --model byte");
	printf("%s)\n", result->exhaustive ? "" : "; sampled");
	printf("%s recovered     %s lost acknowledged data   %s corrupt   %s recovery failures           %s states/s\n",
	    grouped(result->outcomes[CRASH_RECOVERED], a), grouped(result->outcomes[CRASH_LOST], b),
	    grouped(result->outcomes[CRASH_CORRUPT], c),
	    grouped(result->outcomes[CRASH_FAILED] + result->outcomes[CRASH_REFUSED], d),
	    grouped((uint64_t)((double)total / (result->seconds > 0 ? result->seconds : 1)), e));
	for (i = 0; i < CRASH_OUTCOMES; i++)
		if (explore_deviates(&result->first[i]))
			printf("%s: %s\n", crash_outcome_name(i), result->first[i].reason);
}

static int deviates(const struct explore_result *result)
{
	unsigned i;

	for (i = 0; i < CRASH_OUTCOMES; i++)
		if (explore_deviates(&result->first[i]))
			return 1;
	return 0;
}

static int explore_trace(const struct crashtest *test, const struct trace *trace, const char *work)
{
	const struct explore_options options = {.kinds = test->kinds,
	    .seed = test->seed,
	    .states_max = test->states_max ? test->states_max : STATES_MAX_LIBRARY,
	    .jobs = test->jobs,
	    .volatiles = test->volatiles,
	    .work = work};
	struct explore_result result;
	struct error err = {0};

	if (explore(trace, &crash_judge_wal, &options, &result, &err) < 0)
		return fail(&err);
	print_result(test, &result);
	return deviates(&result);
}

static int run(const struct crashtest *test)
{
	const struct record_options options = {.dir = test->dir, .volatiles = test->volatiles};
	struct trace *trace = NULL;
	struct error err = {0};
	char work[64];
	int status, rc;

	if (record_command(&options, test->argv, &trace, &status, &err) < 0)
		return fail(&err);
	print_trace(trace);
	if (explore_work_create(work, &err) < 0) {
		trace_destroy(trace);
		return fail(&err);
	}
	rc = explore_trace(test, trace, work);
	explore_work_remove(work);
	trace_destroy(trace);
	return rc;
}

int verb_crashtest(int argc, char **argv)
{
	static const struct option options[] = {{"model", required_argument, NULL, 'm'},
	    {"volatile", required_argument, NULL, 'v'}, {"seed", required_argument, NULL, 's'},
	    {"states-max", required_argument, NULL, 'n'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	struct crashtest test = {.kinds = MODEL_DEFAULT};
	const char *seed = NULL;
	struct error err;
	int option;
	size_t i;

	for (i = 0; record_volatiles[i]; i++)
		test.volatiles[test.volatiles_count++] = record_volatiles[i];
	while ((option = getopt_long(argc, argv, "+hj:", options, NULL)) != -1) {
		switch (option) {
		case 'm':
			if (model_parse(optarg, &test.kinds, &err) < 0)
				return cli_usage("crashtest", "--model: %s", err.text);
			break;
		case 'v':
			if (test.volatiles_count == VOLATILES_MAX)
				return cli_usage("crashtest", "--volatile: too many patterns");
			test.volatiles[test.volatiles_count++] = optarg;
			break;
		case 's':
			seed = optarg;
			break;
		case 'n':
			test.states_max = strtoull(optarg, NULL, 10);
			break;
		case 'j':
			test.jobs = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'h':
			print_help();
			return 0;
		default:
			return cli_usage("crashtest", "see the options above");
		}
	}
	if (argc - optind < 2)
		return cli_usage("crashtest", "expected a command and, as its last argument, a directory");
	test.seed = cli_seed(seed);
	test.argv = argv + optind;
	test.dir = argv[argc - 1];
	return run(&test);
}
