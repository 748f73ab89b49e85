/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ten thousand kills: how many kill-restart-verify cycles of a writer of wal/ a second, and that nothing was lost in any.
 * The peer in memory is a process that does nothing, forked, killed and reaped in the same lanes. On a disk it is what
 * the disk takes for the flushes alone: as many commits as the writers began, in as many lanes, of one page and its
 * meta page each, with nothing around them. There a lane waits for its disk most of the time, so there are more of them.
 */
#include <fcntl.h>
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

#define WANTED       300.0
#define LANES_MEMORY 2
#define LANES_DISK   32
#define PAGE         4096

/* Runs `lane` in so many processes; the seconds until the last has ended. */
static double in_lanes(int lanes, void (*lane)(const char *dir, uint64_t times), const char *dir, uint64_t times)
{
	const double begin = now_s();
	int i;

	for (i = 0; i < lanes; i++)
		if (fork() == 0) {
			lane(dir, times / (uint64_t)lanes);
			_exit(0);
		}
	while (wait(NULL) > 0)
		;
	return now_s() - begin;
}

static void kill_nothing(const char *dir, uint64_t times)
{
	uint64_t i;

	(void)dir;
	for (i = 0; i < times; i++) {
		pid_t pid = fork();

		if (pid == 0)
			for (;;)
				pause();
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}

/* A commit of LMDB as the disk sees the least of one: data and flush, meta page and flush. */
static void flush_only(const char *dir, uint64_t times)
{
	static const char page[PAGE] = "page";
	char path[512];
	int data, meta = -1;
	uint64_t i;

	snprintf(path, sizeof path, "%s/flushes-XXXXXX", dir);
	data = mkstemp(path);
	if (data >= 0)
		meta = open(path, O_WRONLY | O_DSYNC | O_CLOEXEC);
	unlink(path);
	for (i = 0; meta >= 0 && i < times; i++)
		if (pwrite(data, page, PAGE, (off_t)(2 + i % 8) * PAGE) != PAGE || fdatasync(data) < 0 ||
		    pwrite(meta, page, 120, (off_t)(i % 2) * PAGE) != 120)
			break;
	if (meta < 0 || i < times)
		fprintf(stderr, "bench_kills: %s: cannot be written\n", dir);
}

static int run(const char *name, const char *dir, bool disk, uint64_t cycles, uint64_t seed)
{
	const int lanes = disk ? LANES_DISK : LANES_MEMORY;
	struct kills kills = {.seed = seed, .cycles = cycles};
	double begin = now_s(), rate, bare;
	const int rc = kills_lanes(&kills, lanes, &dir, 1);

	rate = (double)kills.done / (now_s() - begin);
	bare = (double)kills.done / (disk ? in_lanes(lanes, flush_only, dir, kills.commits)
					  : in_lanes(lanes, kill_nothing, dir, kills.done));
	printf("kill, restart, verify (%s):  %5.0f/s   (%llu cycles of %.1f commits, seed %llu, %d lanes; wanted: "
	       "%.0f/s)   "
	       "%s alone %.0f/s: %.3f\n",
	    name, rate, (unsigned long long)kills.done, (double)kills.commits / (double)kills.done,
	    (unsigned long long)seed, lanes, WANTED, disk ? "their flushes" : "fork, kill, reap", bare, rate / bare);
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
		rc |= run("memory", "/dev/shm", false, cycles, seed);
	rc |= run("disk", disk ? disk : "/tmp", true, cycles, seed + LANES_MEMORY);
	return rc ? 1 : 0;
}
