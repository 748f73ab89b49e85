/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the harness costs the system that it watches while nothing is broken: the same tasks, the same command of the orchestrator and
 * the same gateway's answers, once started by hand beside `tritone gateway`, once by `tritone up` (keeper, observers, history), once by
 * `tritone up --syscall-filter` (no rule in force). They take turns.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bare.h"
#include "child.h"
#include "median.h"

#define ROUNDS_MAX 15
#define LIMIT      0.05
#define START_MS   20000
#define STOP_MS    20000
#define TASKS_S    120.0

enum { BARE, HARNESS, FILTER, CASES };

static const char *const titles[CASES] = {
    [BARE] = "by hand, no harness", [HARNESS] = "under the harness", [FILTER] = "and the system-call filter"};

struct measured {
	double rate;   /* tasks a second, from the first that is handed in to the last one's end */
	double cpu_ms; /* processor time of a task, in that while, of everything but the client */
};

struct bench {
	struct spec_manifest *manifest;
	char program[512], dir[128], log[160];
	int rounds, tasks;
	struct measured measured[CASES][ROUNDS_MAX];
};

/* `pids` are the processes that the work is done in, and below; 0: none. */
static int drive(struct bench *b, const char *submit_url, const char *outcome_url, const pid_t *pids,
    struct measured *ret, struct error *err)
{
	static const char *const roles[] = {"plan", "write", "review"};
	double began, cpu = child_cpu_s(pids[0]) + (pids[1] ? child_cpu_s(pids[1]) : 0);
	struct http *http;
	char task[32];
	int i, r;

	if (http_create(&http, err))
		return -1;
	began = now_s();
	for (i = 0, r = 0; r == 0 && i < b->tasks; i++) {
		snprintf(task, sizeof task, "t%03d-%s", i, roles[i % 3]);
		r = client_submit(http, submit_url, task, roles[i % 3], err);
	}
	if (r == 0)
		r = client_await(http, outcome_url, (size_t)b->tasks, TASKS_S, err);
	ret->rate = b->tasks / (now_s() - began);
	ret->cpu_ms = 1e3 * (child_cpu_s(pids[0]) + (pids[1] ? child_cpu_s(pids[1]) : 0) - cpu) / b->tasks;
	http_destroy(http);
	return r;
}

/* ---- by hand ---- */

static void join(char *ret, size_t size, const struct spec_strings *names)
{
	size_t i, used = 0;

	ret[0] = '\0';
	for (i = 0; i < names->count && used < size; i++)
		used += (size_t)snprintf(ret + used, size - used, "%s%s", i ? "," : "", names->items[i]);
}

static int end(pid_t pid, struct error *err)
{
	kill(pid, SIGTERM);
	return child_wait(pid, STOP_MS, NULL, err);
}

static int by_hand(struct bench *b, struct measured *ret, struct error *err)
{
	const struct spec_manifest *m = b->manifest;
	char providers[256], sinks[256], latency[32], url[160];
	const char *argv[] = {b->program, "gateway", "--quiet", "--seed", "1", "--latency", latency, "--providers",
	    providers, "--sinks", sinks, "--task-header", m->gateway.task_header, "--attempt-header",
	    m->gateway.attempt_header, NULL};
	struct bare *bare = NULL;
	struct error second;
	int output, r;
	pid_t pid;

	join(providers, sizeof providers, &m->gateway.providers);
	join(sinks, sizeof sinks, &m->gateway.sinks);
	snprintf(latency, sizeof latency, "%lldms", (long long)m->gateway.latency_ms);
	if (child_start(&(struct child){.argv = argv, .log = b->log}, &pid, &output, err))
		return -1;
	r = child_line(output, url, sizeof url, START_MS, err);
	if (r == 0)
		r = bare_start(&bare, m, url, err);
	if (r == 0)
		r = drive(b, bare_submit_url(bare), bare_outcome_url(bare), (pid_t[]){pid, bare_pid(bare)}, ret, err);
	if (r == 0)
		r = bare_stop(bare, err);
	bare_free(bare);
	if (end(pid, r == 0 ? err : &second))
		r = -1;
	close(output);
	return r;
}

/* ---- under the harness ---- */

/* The address that follows `word` in what `tritone up` says. */
static void take(const char *line, const char *word, char *ret, size_t size)
{
	const char *address = strstr(line, "http://");

	if (strncmp(line, word, strlen(word)) == 0 && address)
		snprintf(ret, size, "%s", address);
}

static int harnessed(struct bench *b, bool filter, struct measured *ret, struct error *err)
{
	const char *argv[] = {
	    b->program, "up", "--seed", "1", b->manifest->file, filter ? "--syscall-filter" : NULL, NULL};
	char line[512] = "", submit[256] = "", outcome[256] = "";
	struct error second;
	int output, r = 0;
	pid_t pid;

	if (child_start(&(struct child){.argv = argv, .log = b->log}, &pid, &output, err))
		return -1;
	while (r == 0 && strncmp(line, "ready", 5) != 0) {
		r = child_line(output, line, sizeof line, START_MS, err);
		take(line, "submit", submit, sizeof submit);
		take(line, "outcome", outcome, sizeof outcome);
	}
	if (r == 0)
		r = drive(b, submit, outcome, (pid_t[]){pid, 0}, ret, err);
	if (end(pid, r == 0 ? err : &second))
		r = -1;
	close(output);
	return r;
}

static int run_case(struct bench *b, int which, int round, struct error *err)
{
	struct measured *m = &b->measured[which][round];

	return which == BARE ? by_hand(b, m, err) : harnessed(b, which == FILTER, m, err);
}

static void print(struct bench *b)
{
	double rate[ROUNDS_MAX], ratio[ROUNDS_MAX], cpu[ROUNDS_MAX], cpu_ratio[ROUNDS_MAX];
	size_t n = (size_t)b->rounds;
	int which, i;

	printf("%d tasks a run, the three in turn, median of %d rounds; ratios are of the runs of one round\n",
	    b->tasks, b->rounds);
	for (which = 0; which < CASES; which++) {
		for (i = 0; i < b->rounds; i++) {
			const struct measured *m = &b->measured[which][i], *bare = &b->measured[BARE][i];

			rate[i] = m->rate;
			ratio[i] = m->rate / bare->rate;
			cpu[i] = m->cpu_ms;
			cpu_ratio[i] = m->cpu_ms / bare->cpu_ms;
		}
		printf(
		    "%-28s %6.2f tasks/s: ratio %.3f (%.3f to %.3f)   %5.1f ms of processor time a task: ratio %.3f\n",
		    titles[which], median(rate, n), median(ratio, n), quantile(ratio, n, 0.25),
		    quantile(ratio, n, 0.75), median(cpu, n), median(cpu_ratio, n));
		if (which == HARNESS)
			printf("  the harness costs %.1f %% of the throughput; limit %.0f %%\n",
			    100 * (1 - median(ratio, n)), 100 * LIMIT);
	}
}

int main(int argc, char **argv)
{
	struct bench bench = {.rounds = 15, .tasks = 60};
	struct error err;
	char state[192];
	int i, r;

	if (argc == 2 && strcmp(argv[1], "--quick") == 0) {
		bench.rounds = 3;
		bench.tasks = 60;
	} else if (argc > 1) {
		fputs("usage: bench_overhead [--quick]\n", stderr);
		return 2;
	}
	r = child_program(bench.program, sizeof bench.program, "tritone", &err);
	if (r == 0)
		r = bare_manifest(&bench.manifest, &err);
	if (r == 0)
		r = child_directory(bench.dir, sizeof bench.dir, &err);
	snprintf(state, sizeof state, "%s/state", bench.dir);
	snprintf(bench.log, sizeof bench.log, "%s/log", bench.dir);
	if (r == 0 && setenv("TRITONE_STATE", state, 1) < 0)
		r = error_set(&err, ENOMEM, "no memory");
	/* Each round begins with another, so that none is always the first after a pause. */
	for (i = 0; r == 0 && i < bench.rounds * CASES; i++)
		r = run_case(&bench, (i + i / CASES) % CASES, i / CASES, &err);
	if (r == 0)
		print(&bench);
	else
		fprintf(stderr, "bench_overhead: %s\n", err.text);
	spec_manifest_free(bench.manifest);
	child_remove_directory(bench.dir);
	return r == 0 ? 0 : 1;
}
