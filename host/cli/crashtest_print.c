/* SPDX-License-Identifier: Apache-2.0 */
/* For people, or as JSON. */
#include "cli/crashtest_print.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "cli/options.h"
#include "crash/minimal.h"

#define LINES_MAX 20
#define KEPT_MAX  1000u /* states of one number */

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

struct crashtest_counted crashtest_count(const struct trace *trace)
{
	struct crashtest_counted counted = {.directories = 1};
	size_t i;

	for (i = trace->begin; i < trace->count; i++) {
		const struct trace_op *op = &trace->ops[i];

		counted.writes += op->kind == TRACE_WRITE;
		counted.syncs += (op->kind >= TRACE_FSYNC && op->kind <= TRACE_SYNC_ALL) || (op->flags & TRACE_DURABLE);
	}
	for (i = 0; i < trace->count; i++)
		counted.directories += trace->ops[i].kind == TRACE_MKDIR;
	for (i = 0; i < trace->begin; i++)
		counted.before += trace->ops[i].kind == TRACE_CREATE || trace->ops[i].kind == TRACE_SYMLINK;
	return counted;
}

void crashtest_print_trace(const struct trace *trace)
{
	const struct crashtest_counted counted = crashtest_count(trace);

	printf("recorded %zu write%s, %zu sync%s, %zu acknowledgement%s in %zu director%s\n", counted.writes,
	    counted.writes == 1 ? "" : "s", counted.syncs, counted.syncs == 1 ? "" : "s", trace->acks_count,
	    trace->acks_count == 1 ? "" : "s", counted.directories, counted.directories == 1 ? "y" : "ies");
	if (counted.before)
		printf("%zu file%s there before, and count%s as durable\n", counted.before,
		    counted.before == 1 ? " was" : "s were", counted.before == 1 ? "s" : "");
}

static uint64_t rate_of(const struct explore_result *result)
{
	return result->seconds > 0 ? (uint64_t)((double)explore_total(result) / result->seconds) : 0;
}

const struct explore_finding *crashtest_worst(const struct explore_result *result)
{
	static const enum crash_outcome order[] = {CRASH_CORRUPT, CRASH_LOST, CRASH_FAILED, CRASH_REFUSED};
	unsigned i;

	for (i = 0; i < sizeof order / sizeof *order; i++)
		if (explore_deviates(&result->first[order[i]]))
			return &result->first[order[i]];
	return NULL;
}

/* Whose recovery was crashed in its turn, and whose was not. */
static void print_crashed(const struct explore_result *result)
{
	char a[32], b[32];

	printf("the recovery of %s was crashed too", result->crashed_all ? "each of them" : "some of them");
	if (!result->crashed_all)
		printf(" (every prefix and a share of the others, by the seed: %s)", grouped(result->crashed, a));
	printf(", in every way: %s further states\n", grouped(result->recoveries, b));
}

void crashtest_print_result(const struct crashtest *test, const struct explore_result *result)
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
	    grouped(result->outcomes[CRASH_CORRUPT], c), grouped(result->outcomes[CRASH_FAILED], d));
	if (result->outcomes[CRASH_REFUSED] > named)
		printf("   %s refused", grouped(result->outcomes[CRASH_REFUSED] - named, b));
	if (named)
		printf("   %s byte-torn, refused by name", grouped(named, b));
	printf("           %s states/s\n", grouped(rate_of(result), e));
	if (result->crashed)
		print_crashed(result);
	if (result->again)
		printf("each was recovered a second time, from the %s different states that the first time left\n",
		    grouped(result->again, a));
}

json_t *crashtest_json(const struct trace *trace, const struct explore_result *result, uint64_t seed, const char *keep)
{
	const struct crashtest_counted counted = crashtest_count(trace);
	const struct explore_finding *worst = crashtest_worst(result);
	json_t *root = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:I,s:I,s:b,s:I,s:f,s:I}", "writes",
	    (json_int_t)counted.writes, "syncs", (json_int_t)counted.syncs, "files_before", (json_int_t)counted.before,
	    "acknowledgements", (json_int_t)trace->acks_count, "states", (json_int_t)explore_total(result), "contents",
	    (json_int_t)result->contents, "recoveries_crashed", (json_int_t)result->crashed, "recoveries_crashed_all",
	    result->crashed_all, "recoveries", (json_int_t)result->recoveries, "recovered_again",
	    (json_int_t)result->again, "exhaustive", result->exhaustive, "seed", (json_int_t)seed, "seconds",
	    result->seconds, "states_per_second", (json_int_t)rate_of(result));
	json_t *models = json_object(), *outcomes = json_object();
	unsigned i;

	for (i = 0; i < MODEL_KINDS; i++)
		json_object_set_new(models, model_name(i), json_integer((json_int_t)result->judged[i]));
	for (i = 0; i < CRASH_OUTCOMES; i++)
		json_object_set_new(outcomes, crash_outcome_name(i), json_integer((json_int_t)result->outcomes[i]));
	json_object_set_new(root, "models", models);
	json_object_set_new(root, "outcomes", outcomes);
	json_object_set_new(root, "deviation",
	    worst ? json_pack("{s:s,s:s,s:I,s:s,s:I,s:s*}", "outcome", crash_outcome_name(worst->outcome), "reason",
			worst->reason, "state", (json_int_t)worst->ordinal, "model", model_name(worst->kind),
			"operation", (json_int_t)worst->at, "kept", *keep ? keep : NULL)
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
	fprintf(out, " --recovery-max %d%s", finding->in_recovery, test->unacknowledged ? " --unacknowledged" : "");
	if (test->explore.timeout_ms)
		fprintf(out, " --timeout %u", test->explore.timeout_ms / 1000);
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

/* What an earlier run has kept stays: beside it, by another name. */
static int keep_state(const char *wanted, const struct trace *trace, const struct explore_options *options,
    const struct explore_finding *finding, char *keep, size_t size, struct error *err)
{
	unsigned more;
	int rc = -1;

	if (wanted) {
		snprintf(keep, size, "%s", wanted);
		return minimal_write(trace, options, finding, keep, err);
	}
	for (more = 1; more <= KEPT_MAX; more++) {
		snprintf(keep, size, more > 1 ? "%s/crash/%" PRIu64 "-%u" : "%s/crash/%" PRIu64, cli_state_root(),
		    finding->ordinal, more);
		rc = minimal_write(trace, options, finding, keep, err);
		if (rc == 0 || err->code != EEXIST)
			break;
	}
	return rc;
}

int crashtest_print_deviation(const struct crashtest *test, const struct trace *trace,
    const struct explore_finding *finding, char *keep, size_t size, struct error *err)
{
	FILE *out = test->json ? stderr : stdout;

	keep[0] = '\0';
	fprintf(out, "\n%s%s: %s\n", crash_outcome_name(finding->outcome),
	    finding->in_recovery ? ", after a crash of the recovery of" : ", the smallest state that shows it",
	    finding->reason);
	if (minimal_print(trace, &test->explore, finding, out, LINES_MAX, err) < 0)
		return -1;
	if (test->explore.only)
		return 0;
	if (keep_state(test->keep, trace, &test->explore, finding, keep, size, err) < 0) {
		keep[0] = '\0'; /* nothing is there */
		return -1;
	}
	fprintf(
	    out, "        kept: %s/state, what was acknowledged and each operation's fate beside it; again:\n", keep);
	print_again(test, finding, keep, out);
	return 0;
}

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

/* The state that ought not to be, and how to come to it again. */
static void print_against(const struct crashtest *test, const struct self_row *row)
{
	char keep[512];
	struct error err;

	if (minimal_print(row->trace, row->options, row->against, stdout, LINES_MAX, &err) < 0 ||
	    keep_state(NULL, row->trace, row->options, row->against, keep, sizeof keep, &err) < 0) {
		printf("        cannot be kept: %s\n", err.text);
		return;
	}
	printf("        kept: %s/state, each operation's fate and the trace beside it; again:\n"
	       "tritone crashtest --self --seed 0x%" PRIx64,
	    keep, test->explore.seed);
	if (test->explore.states_max)
		printf(" --states-max %" PRIu64, test->explore.states_max);
	if (test->explore.recovery_max != UINT64_MAX)
		printf(" --recovery-max %" PRIu64, test->explore.recovery_max);
	putchar('\n');
}

void crashtest_print_row(void *arg, const struct self_row *row)
{
	const struct explore_finding *first;
	char a[32], b[32], outcomes[160];
	unsigned i;

	list_outcomes(row, outcomes, sizeof outcomes);
	printf("%-22s %-16s %9s states %8s/s%s  %s%s%s\n", row->name, row->expected,
	    grouped(explore_total(&row->result), a), grouped(rate_of(&row->result), b),
	    row->result.exhaustive ? "          " : " (sampled)", row->as_expected ? "" : "NOT AS EXPECTED  ",
	    *outcomes ? "found: " : "held", outcomes);
	if (row->result.crashed)
		printf("%22s recoveries crashed: %s%s states, %s further states\n", "",
		    row->result.crashed_all ? "of all " : "of ", grouped(row->result.crashed, a),
		    grouped(row->result.recoveries, b));
	for (i = CRASH_REFUSED; i < CRASH_OUTCOMES; i++) {
		first = &row->result.first[i];
		if (first->found && (row->must & SELF_BIT(i)))
			printf("%22s %s\n", "", first->reason);
	}
	if (!row->as_expected)
		printf("%22s %s\n", "", row->reason);
	if (row->against)
		print_against(arg, row);
	fflush(stdout);
}
