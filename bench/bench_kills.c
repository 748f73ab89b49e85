/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ten thousand kills: how many kill-restart-verify cycles of a writer of wal/ a second, and that nothing was lost in any.
 * The peer is a process that does nothing, forked, killed and reaped in the same lanes.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/median.h"
#include "tests/wal_kills.h"

#define WANTED 300.0
#define LANES  2

static double peer(uint64_t cycles)
{
	const double begin = now_s();
	int lane;
	uint64_t i;

	for (lane = 0; lane < LANES; lane++)
		if (fork() == 0) {
			for (i = 0; i < cycles / LANES; i++) {
				pid_t pid = fork();

				if (pid == 0)
					for (;;)
						pause();
				kill(pid, SIGKILL);
				waitpid(pid, NULL, 0);
			}
			_exit(0);
		}
	while (wait(NULL) > 0)
		;
	return (double)cycles / (now_s() - begin);
}

static int run(const char *name, const char *dir, uint64_t cycles, uint64_t seed)
{
	struct kills kills = {.seed = seed, .cycles = cycles};
	const double bare = peer(cycles), begin = now_s();
	const int rc = kills_lanes(&kills, LANES, &dir, 1);
	const double rate = (double)kills.done / (now_s() - begin);

	printf(
	    "kill, restart, verify (%s):  %5.0f/s   (%llu cycles, seed %llu, %d lanes; %.3f of fork, kill, reap alone; "
	    "wanted: %.0f/s)\n",
	    name, rate, (unsigned long long)kills.done, (unsigned long long)seed, LANES, rate / bare, WANTED);
	kills_print(&kills, stdout);
	if (rc < 0)
		printf("DEVIATED: %s\n", kills.failure);
	fflush(stdout);
	return rc;
}

int main(int argc, char **argv)
{
	const char *const seed_text = getenv("TRITONE_SEED"), *disk = getenv("TMPDIR");
	const uint64_t seed = seed_text ? strtoull(seed_text, NULL, 0) : (uint64_t)time(NULL);
	const bool quick = argc > 1 && strcmp(argv[1], "--quick") == 0;
	const uint64_t cycles = quick ? 1000 : 10000;
	int rc = 0;

	if (access("/dev/shm", W_OK) == 0)
		rc |= run("memory", "/dev/shm", cycles, seed);
	rc |= run("disk", disk ? disk : "/tmp", cycles, seed + LANES);
	return rc ? 1 : 0;
}
