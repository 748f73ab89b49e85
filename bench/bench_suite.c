/* SPDX-License-Identifier: Apache-2.0 */
/* How long the whole recovery suite takes, against its limit, and who used the processors meanwhile. */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "median.h"

#define SUITE      "fixtures/suites/recovery.yaml"
#define LIMIT_S    60.0
#define TIMEOUT_MS 600000
#define ROUNDS     3

/* Seconds of processor time that the whole machine has used, and was kept waiting for by its host. */
static double machine_busy_s(void)
{
	unsigned long long user, nice, system, idle, iowait, irq, softirq, steal;
	FILE *in = fopen("/proc/stat", "re");
	int n;

	if (!in)
		return 0;
	n = fscanf(in, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &iowait, &irq,
	    &softirq, &steal);
	fclose(in);
	return n == 8 ? (double)(user + nice + system + irq + softirq + steal) / (double)sysconf(_SC_CLK_TCK) : 0;
}

struct figures {
	double wall[ROUNDS], cpu[ROUNDS], others[ROUNDS];
};

static int run(struct figures *f, int round, struct error *err)
{
	char program[512], dir[128], state[160], seed[24];
	const char *argv[] = {program, "test", "--quiet", "--reruns", "0", "--seed", seed, SUITE, NULL};
	double began, busy, processors = (double)sysconf(_SC_NPROCESSORS_ONLN);
	pid_t pid;
	int r;

	if (child_program(program, sizeof program, "tritone", err) || child_directory(dir, sizeof dir, err))
		return -1;
	snprintf(seed, sizeof seed, "%d", round + 1);
	snprintf(state, sizeof state, "%s/state", dir);
	if (setenv("TRITONE_STATE", state, 1) < 0)
		return error_set(err, 12, "no memory");
	f->cpu[round] = 0;
	began = now_s();
	busy = machine_busy_s();
	r = child_start(&(struct child){.argv = argv, .log = "/dev/stderr"}, &pid, NULL, err);
	if (r == 0)
		r = child_wait(pid, TIMEOUT_MS, &f->cpu[round], err);
	f->wall[round] = now_s() - began;
	f->others[round] = (machine_busy_s() - busy - f->cpu[round]) / f->wall[round] / processors;
	if (r == 0)
		child_remove_directory(dir);
	else
		fprintf(stderr, "bench_suite: what went wrong is kept in %s\n", state);
	return r;
}

int main(int argc, char **argv)
{
	int rounds = argc == 2 && strcmp(argv[1], "--quick") == 0 ? 1 : ROUNDS, i;
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	struct figures f;
	struct error err;
	double wall, cpu;

	if (argc > 1 && rounds != 1) {
		fputs("usage: bench_suite [--quick]\n", stderr);
		return 2;
	}
	if (access(SUITE, R_OK) < 0) {
		fprintf(stderr, "bench_suite: no %s here: run this from the top of the source tree\n", SUITE);
		return 2;
	}
	for (i = 0; i < rounds; i++)
		if (run(&f, i, &err)) {
			fprintf(stderr, "bench_suite: %s\n", err.text);
			return 1;
		}
	wall = median(f.wall, (size_t)rounds);
	cpu = median(f.cpu, (size_t)rounds);
	printf("the recovery suite: %.1f s, limit %.0f s: ratio %.2f (%ld processors, median of %d)\n", wall, LIMIT_S,
	    wall / LIMIT_S, processors, rounds);
	printf("it used %.1f s of processor time: %.0f %% of the machine; others used %.0f %% of it meanwhile\n", cpu,
	    100 * cpu / wall / (double)processors, 100 * median(f.others, (size_t)rounds));
	return 0;
}
