/* SPDX-License-Identifier: Apache-2.0 */
/* What a notified pwrite costs: the same program unfiltered, under the filter with no rule, with a
 * rule for another place, with one that refuses, and under strace's fault injection as the peer. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "keeper/keeper.h"
#include "keeper/filter.h"

#define CALLS  20000
#define ROUNDS 5
#define LIMIT  10.0 /* microseconds: what the design allows a notified call */

/* ---- the program that is measured ---- */

static int by_value(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Prints the median and the 99th percentile of CALLS calls in nanoseconds, into a file that was
 * opened before: under a rule, and under strace, standard output is not for free. */
static int measured(const char *path)
{
	static uint32_t times[CALLS];
	char data[512] = {0};
	int fd = open(path, O_RDWR | O_CLOEXEC), i;

	if (fd < 0)
		return 1;
	for (i = 0; i < CALLS; i++) {
		int64_t began = now_ns();
		ssize_t n = pwrite(fd, data, sizeof data, 0);
		int64_t took = now_ns() - began;

		(void)n; /* refused in one of the cases */
		times[i] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
	}
	qsort(times, CALLS, sizeof *times, by_value);
	printf("%u %u\n", times[CALLS / 2], times[CALLS / 100 * 99]);
	return 0;
}

/* ---- the cases ---- */

struct bench {
	char dir[64], file[96], result[96], program[PATH_MAX];
	struct keeper *keeper;
	int rounds;
};

enum { FREE, NO_RULE, OTHER_RULE, REFUSED, STRACE_SEES, STRACE_REFUSES, CASES };

static const struct {
	const char *title;
	bool filter;
	const char *rule_path; /* below the directory; NULL: no rule */
	const char *inject;    /* strace's; NULL: no strace */
} cases[CASES] = {
    [FREE] = {"no filter", false, NULL, NULL},
    [NO_RULE] = {"filter, no rule", true, NULL, NULL},
    [OTHER_RULE] = {"filter, a rule for another file", true, "other", NULL},
    [REFUSED] = {"filter, refused by a rule", true, "file", NULL},
    [STRACE_SEES] = {"strace, injection not due", false, NULL, "inject=pwrite64:error=ENOSPC:when=50000"},
    [STRACE_REFUSES] = {"strace, injected error", false, NULL, "inject=pwrite64:error=ENOSPC"},
};

static int run_child(struct bench *bench, int which, struct error *err)
{
	const char *direct[] = {bench->program, "measured", bench->file, NULL};
	const char *traced[] = {"strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=pwrite64", "-e",
	    cases[which].inject, bench->program, "measured", bench->file, NULL};
	struct keeper_process process = {.name = "measured",
	    .argv = cases[which].inject ? traced : direct,
	    .output = bench->result,
	    .filter = cases[which].filter};
	struct keeper_event event;
	pid_t pid;

	if (truncate(bench->result, 0) < 0)
		return error_set(err, EIO, "%s cannot be emptied", bench->result);
	if (keeper_spawn(bench->keeper, &process, &pid, err) < 0)
		return -1;
	do
		if (keeper_next_event(bench->keeper, -1, &event, err) < 0)
			return -1;
	while (event.pid != pid);
	if (event.status != 0)
		return error_set(err, EIO, "the measured program ended with status 0x%x", (unsigned)event.status);
	return 0;
}

static int run_case(struct bench *bench, int which, double *ret_median, double *ret_high, struct error *err)
{
	char path[PATH_MAX];
	struct tritone_errno_rule rule = {.struct_size = sizeof rule,
	    .mode = TRITONE_ERRNO_REFUSE,
	    .key = "bench",
	    .path = path,
	    .calls = TRITONE_CALL_WRITE,
	    .error = ENOSPC};
	unsigned median, high;
	FILE *in;
	int n;

	if (cases[which].rule_path) {
		snprintf(path, sizeof path, "%s/%s", bench->dir, cases[which].rule_path);
		if (keeper_rule_set(bench->keeper, &rule, err) < 0)
			return -1;
	}
	n = run_child(bench, which, err);
	if (keeper_rule_clear(bench->keeper, "bench", NULL) < 0 || n < 0)
		return -1;
	in = fopen(bench->result, "re");
	n = in ? fscanf(in, "%u %u", &median, &high) : 0;
	if (in)
		fclose(in);
	if (n != 2)
		return error_set(err, EIO, "the measured program said nothing");
	*ret_median = median / 1000.0;
	*ret_high = high / 1000.0;
	return 0;
}

static int by_double(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The cases take turns, so that a busy moment of the machine hits all of them. */
static int run_all(struct bench *bench, int count, struct error *err)
{
	double medians[CASES][ROUNDS], highs[CASES][ROUNDS];
	int round, i;

	for (round = 0; round < bench->rounds; round++)
		for (i = 0; i < count; i++)
			if (run_case(bench, i, &medians[i][round], &highs[i][round], err) < 0)
				return -1;
	printf("pwrite of 512 bytes, %d calls, median of %d rounds\n", CALLS, bench->rounds);
	printf("%-34s %9s %9s %9s\n", "", "us", "p99 us", "ratio");
	for (i = 0; i < count; i++) {
		qsort(medians[i], (size_t)bench->rounds, sizeof(double), by_double);
		qsort(highs[i], (size_t)bench->rounds, sizeof(double), by_double);
		printf("%-34s %9.2f %9.2f %9.1f\n", cases[i].title, medians[i][bench->rounds / 2],
		    highs[i][bench->rounds / 2], medians[i][bench->rounds / 2] / medians[FREE][bench->rounds / 2]);
	}
	printf("a notified call, no rule: %.2f us of the %.0f allowed", medians[NO_RULE][bench->rounds / 2], LIMIT);
	if (count > STRACE_SEES)
		printf("; strace takes %.1f times as long",
		    medians[STRACE_SEES][bench->rounds / 2] / medians[NO_RULE][bench->rounds / 2]);
	printf("\n");
	return 0;
}

static bool have_strace(void)
{
	return system("strace -V >/dev/null 2>&1") == 0;
}

static int prepare(struct bench *bench, struct error *err)
{
	struct keeper_options options = {.log_dir = bench->dir};
	ssize_t n = readlink("/proc/self/exe", bench->program, sizeof bench->program - 1);
	const char *files[] = {bench->file, bench->result};
	int i, fd;

	if (n < 0 || !mkdtemp(bench->dir))
		return error_set(err, errno, "%s: %s", bench->dir, strerror(errno));
	snprintf(bench->file, sizeof bench->file, "%s/file", bench->dir);
	snprintf(bench->result, sizeof bench->result, "%s/result", bench->dir);
	for (i = 0; i < 2; i++) {
		fd = open(files[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0)
			return error_set(err, errno, "%s: %s", files[i], strerror(errno));
		close(fd);
	}
	return keeper_start(&bench->keeper, &options, err);
}

int main(int argc, char **argv)
{
	struct bench bench = {.dir = "/tmp/tritone-bench-XXXXXX", .rounds = ROUNDS};
	struct error err = {0};
	char command[128];
	int r;

	if (argc > 1 && !strcmp(argv[1], "__keeper"))
		return keeper_main(argc - 1, argv + 1);
	if (argc > 2 && !strcmp(argv[1], "measured"))
		return measured(argv[2]);
	if (argc == 2 && !strcmp(argv[1], "--quick")) {
		bench.rounds = 1;
	} else if (argc > 1) {
		fputs("usage: bench_filter [--quick]\n", stderr);
		return 2;
	}
	if (filter_available(&err) < 0) {
		printf("not measured: %s\n", err.text);
		return 0;
	}
	r = prepare(&bench, &err);
	if (r == 0)
		r = run_all(&bench, have_strace() ? CASES : STRACE_SEES, &err);
	keeper_destroy(bench.keeper);
	snprintf(command, sizeof command, "rm -rf %s", bench.dir);
	if (r < 0)
		fprintf(stderr, "bench_filter: %s\n", err.text);
	return system(command) == 0 && r == 0 ? 0 : 1;
}
