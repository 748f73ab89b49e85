/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The explorer of crash states at wal/: states a second against the naive way (copy the directory, open, read) on one
 * core in the same run; and all work of up to three transactions, every state. Ratios are what counts.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crash/explore.h"
#include "crash/record/record.h"
#include "crash/seen.h"
#include "crash/state.h"
#include "crash/workload.h"
#include "median.h"
#include "wal/wal.h"

#define ROUNDS_MAX 9
#define WORKERS    2
#define SEEN_MAX   (1u << 23) /* states of all work together */

struct scale {
	size_t rounds;
	unsigned naive; /* states that the naive way makes */
	const char *shapes;
	unsigned transactions;
	unsigned part, parts; /* of the workloads: one share of a run that is divided */
};

static char work[64];

static void die(const char *what, const struct error *err)
{
	fprintf(stderr, "bench_crash: %s: %s\n", what, err ? err->text : strerror(errno));
	if (*work)
		explore_work_remove(work);
	exit(1);
}

/* Of us and of all that have ended: who judges does so in processes of its own. */
static double cpu_s(void)
{
	struct rusage self, children;

	if (getrusage(RUSAGE_SELF, &self) < 0 || getrusage(RUSAGE_CHILDREN, &children) < 0)
		die("processor time", NULL);
	return (double)(self.ru_utime.tv_sec + self.ru_stime.tv_sec + children.ru_utime.tv_sec +
			children.ru_stime.tv_sec) +
	       (double)(self.ru_utime.tv_usec + self.ru_stime.tv_usec + children.ru_utime.tv_usec +
			children.ru_stime.tv_usec) /
		   1e6;
}

static void must_hold(const char *shapes, const struct explore_result *result)
{
	unsigned i;

	for (i = 0; i < CRASH_OUTCOMES; i++)
		if (explore_deviates(&result->first[i])) {
			fprintf(stderr, "bench_crash: work '%s': %s: %s\n", shapes, crash_outcome_name(i),
			    result->first[i].reason);
			explore_work_remove(work);
			exit(1);
		}
}

/* --- the naive way --- */

static void copy_file(const char *from_dir, const char *to_dir, const char *name)
{
	char path[160], chunk[65536];
	off_t data = 0, hole = 0;
	struct stat status;
	int from, to;

	snprintf(path, sizeof path, "%s/%s", from_dir, name);
	from = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof path, "%s/%s", to_dir, name);
	to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (from < 0 || to < 0 || fstat(from, &status) < 0 || ftruncate(to, status.st_size) < 0)
		die(path, NULL);
	while ((data = lseek(from, hole, SEEK_DATA)) >= 0) { /* holes are left out: it is not meant to be slow */
		hole = lseek(from, data, SEEK_HOLE);
		while (data < hole) {
			const size_t wanted = hole - data < (off_t)sizeof chunk ? (size_t)(hole - data) : sizeof chunk;

			if (pread(from, chunk, wanted, data) != (ssize_t)wanted ||
			    pwrite(to, chunk, wanted, data) != (ssize_t)wanted)
				die(path, NULL);
			data += (off_t)wanted;
		}
	}
	close(from);
	close(to);
}

static int count(void *arg, const struct wal_record *record)
{
	*(uint64_t *)arg += record->lsn;
	return 0;
}

static double naive_rate(const char *from, unsigned states)
{
	char to[96];
	const double begin = now_s();
	struct error err;
	uint64_t sum = 0;
	unsigned i;

	snprintf(to, sizeof to, "%s/naive", work);
	for (i = 0; i < states; i++) {
		struct wal *wal = NULL;

		if (mkdir(to, 0700) < 0)
			die(to, NULL);
		copy_file(from, to, "data.mdb");
		copy_file(from, to, "format");
		copy_file(from, to, "writer.lock");
		if (wal_open(&wal, to, NULL, &err) < 0 || wal_replay(wal, 0, count, &sum, &err) < 0)
			die("the naive way", &err);
		wal_close(wal);
		state_remove_tree(to, NULL);
	}
	return states / (now_s() - begin);
}

/* What the workload leaves behind at the end. */
static void make_log(const char *dir, const char *shapes)
{
	const int kept = dup(STDOUT_FILENO), quiet = open("/dev/null", O_WRONLY | O_CLOEXEC);

	fflush(stdout);
	if (mkdir(dir, 0700) < 0 || kept < 0 || quiet < 0 || dup2(quiet, STDOUT_FILENO) < 0 ||
	    workload_write(dir, shapes) < 0 || dup2(kept, STDOUT_FILENO) < 0)
		die(dir, NULL);
	close(kept);
	close(quiet);
}

static void bench_rate(const struct scale *scale)
{
	double ours[ROUNDS_MAX] = {0}, naive[ROUNDS_MAX] = {0}, ratio[ROUNDS_MAX] = {0};
	const struct explore_options options = {.work = work, .volatiles = record_volatiles, .kinds = MODEL_DEFAULT};
	struct explore_result result;
	struct trace *trace = NULL;
	struct error err = {0};
	char dir[96];
	size_t i;

	snprintf(dir, sizeof dir, "%s/log", work);
	make_log(dir, "sSmr");
	if (workload_record(work, "sSmlrsml", &trace, &err) < 0)
		die("recording", &err);
	for (i = 0; i < scale->rounds; i++) {
		naive[i] = naive_rate(dir, scale->naive);
		if (explore(trace, &crash_judge_workload, &options, &result, &err) < 0)
			die("exploring", &err);
		must_hold("sSmlrsml", &result);
		ours[i] = (double)explore_total(&result) / result.seconds;
		ratio[i] = ours[i] / naive[i];
	}
	trace_destroy(trace);
	printf("crash states of wal/, 2 jobs, each recovered twice: %6.0f/s   (%.2f x copy, open once, read on 1 core: "
	       "%.0f/s; wanted: 10000/s)\n",
	    median(ours, scale->rounds), median(ratio, scale->rounds), median(naive, scale->rounds));
}

/* --- all work of up to so many transactions --- */

/* What the workers have in common. */
struct all {
	size_t first, end; /* workloads: numbers of a system whose digits are the kinds */
	_Atomic size_t next, done;
	_Atomic uint64_t states, contents, again;
	_Atomic bool sampled;
};

static void shapes_of(const struct scale *scale, size_t number, char *shapes)
{
	const size_t letters = strlen(scale->shapes);
	size_t i;

	for (i = 0; i < scale->transactions; i++, number /= letters)
		shapes[scale->transactions - 1 - i] = scale->shapes[number % letters];
	shapes[scale->transactions] = '\0';
}

/* Its states, but for those of how it begins if `before` began so too. */
static void explore_one(
    struct all *all, const struct explore_options *base, const char *shapes, struct trace *trace, struct trace *before)
{
	struct explore_options options = *base;
	struct explore_result result;
	struct error err = {0};

	options.from = before ? trace_begins_as(trace, before) : 0;
	if (explore(trace, &crash_judge_workload, &options, &result, &err) < 0)
		die("exploring", &err);
	must_hold(shapes, &result);
	all->states += explore_total(&result);
	all->contents += result.contents;
	all->again += result.again;
	if (!result.exhaustive)
		all->sampled = true;
}

/* A process that takes one workload after the other: those that follow each other begin alike. */
static void work_off(struct all *all, const struct scale *scale, struct seen_common *common)
{
	const size_t letters = strlen(scale->shapes);
	const struct explore_options options = {
	    .work = work, .volatiles = record_volatiles, .jobs = 1, .common = common};
	struct trace *before = NULL, *trace;
	const double begin = now_s();
	char shapes[16];
	struct error err = {0};
	size_t number, done;

	while ((number = all->next++) < all->end) {
		shapes_of(scale, number, shapes);
		if (workload_record(work, shapes, &trace, &err) < 0)
			die("recording", &err);
		explore_one(all, &options, shapes, trace, before);
		trace_destroy(before);
		before = trace;
		done = ++all->done;
		if (isatty(STDERR_FILENO) || done % letters == 0)
			fprintf(stderr, "%s%zu of %zu workloads: %llu states in %.0f s%s",
			    isatty(STDERR_FILENO) ? "\r" : "", done, all->end - all->first,
			    (unsigned long long)all->contents, now_s() - begin, isatty(STDERR_FILENO) ? " " : "\n");
	}
	trace_destroy(before);
}

static pid_t start_worker(struct all *all, const struct scale *scale, struct seen_common *common)
{
	struct error err = {0};
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		die("a worker", NULL);
	if (pid)
		return pid;
	*work = '\0'; /* it has one of its own */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || explore_work_create(work, &err) < 0)
		die("work", &err);
	work_off(all, scale, common);
	explore_work_remove(work);
	exit(0);
}

static void run_workers(struct all *all, const struct scale *scale)
{
	struct seen_common *common = seen_common_create(SEEN_MAX);
	pid_t pids[WORKERS];
	bool failed = false;
	size_t i;
	int status;

	if (!common)
		die("seen", NULL);
	for (i = 0; i < WORKERS; i++)
		pids[i] = start_worker(all, scale, common);
	for (i = 0; i < WORKERS; i++) {
		while (waitpid(pids[i], &status, 0) < 0)
			if (errno != EINTR)
				die("a worker", NULL);
		failed = failed || !WIFEXITED(status) || WEXITSTATUS(status);
	}
	seen_common_destroy(common);
	if (failed) { /* it has said why */
		explore_work_remove(work);
		exit(1);
	}
}

/* Those of full length: each shorter one is how some of them begin. */
static void bench_all(const struct scale *scale)
{
	const size_t letters = strlen(scale->shapes);
	struct all *all = mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const double begin = now_s(), cpu_begin = cpu_s();
	size_t total = 1, i;
	double elapsed, cpu;

	if (all == MAP_FAILED)
		die("memory", NULL);
	for (i = 0; i < scale->transactions; i++)
		total *= letters;
	all->first = total * (scale->part - 1) / scale->parts;
	all->end = total * scale->part / scale->parts;
	all->next = all->first;
	run_workers(all, scale);
	elapsed = now_s() - begin;
	cpu = cpu_s() - cpu_begin;
	if (scale->parts > 1)
		printf("part %u of %u of ", scale->part, scale->parts);
	printf(
	    "all work of up to %u transactions of %zu kinds: %llu different states%s in %.0f s, %.0f/s, none silently "
	    "wrong   (wanted: 1,000,000 in 120 s)\n",
	    scale->transactions, letters, (unsigned long long)all->contents,
	    all->sampled ? " (sampled)" : ", every one", elapsed, (double)all->states / elapsed);
	printf("  %llu judged (a state counts again where more was acknowledged), recovered again from %llu different "
	       "contents; %.0f s of processor time, %.0f us a state\n",
	    (unsigned long long)all->states, (unsigned long long)all->again, cpu, cpu * 1e6 / (double)all->states);
	munmap(all, sizeof *all);
}

int main(int argc, char **argv)
{
	struct scale scale = {
	    .rounds = 5, .naive = 3000, .shapes = WORKLOAD_SHAPES, .transactions = 3, .part = 1, .parts = 1};
	struct error err;
	char more;

	if (argc == 2 && !strcmp(argv[1], "--quick")) {
		scale = (struct scale){
		    .rounds = 3, .naive = 500, .shapes = "smlt", .transactions = 2, .part = 1, .parts = 1};
	} else if (argc == 3 && !strcmp(argv[1], "--part") &&
		   sscanf(argv[2], "%u/%u%c", &scale.part, &scale.parts, &more) == 2 && scale.part &&
		   scale.part <= scale.parts) {
		scale.rounds = 0; /* the whole run has those */
	} else if (argc > 1) {
		fputs("usage: bench_crash [--quick | --part K/N]\n", stderr);
		return 2;
	}
	if (explore_work_create(work, &err) < 0)
		die("work", &err);
	if (scale.rounds)
		bench_rate(&scale);
	bench_all(&scale);
	explore_work_remove(work);
	return 0;
}
