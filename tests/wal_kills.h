/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A writer that appends and acknowledges over a pipe is killed, its log is looked at, the next one goes on; thousands of
 * times. What must hold after each death: every acknowledged record is there, none that was not attempted is, each says
 * what its writer wrote, the chain verifies, what was once seen never changes but by a trim, a
 * checkpoint is the old one or the new one, whole, and the epoch has grown.
 */
#ifndef TRITONE_TESTS_WAL_KILLS_H
#define TRITONE_TESTS_WAL_KILLS_H

#include <stdint.h>
#include <stdio.h>

/* How a writer dies. */
enum kills_how {
	KILLS_INSTANT,   /* at a random time since its start */
	KILLS_ACK,       /* at once after its n-th acknowledgement was read */
	KILLS_CALL,      /* before its n-th file call */
	KILLS_CALL_TORN, /* inside of its n-th write of several pages */
	KILLS_HOWS,
};

/* Where it was then. */
enum kills_where {
	KILLS_UNBORN, /* not even in wal_open */
	KILLS_OPENING,
	KILLS_STAGING, /* between commits */
	KILLS_COMMITTING,
	KILLS_ACKNOWLEDGING,
	KILLS_UPKEEP, /* in a checkpoint or a trim */
	KILLS_CLOSING,
	KILLS_WHERES,
};

struct kills {
	/* in */
	const char *dir; /* exists; one log after the other is made in it */
	uint64_t seed, cycles;
	/* out */
	uint64_t done;
	uint64_t deaths[KILLS_HOWS][KILLS_WHERES];
	uint64_t ended;                                     /* writers that had done all before their time came */
	uint64_t logs, records, acknowledged, torn_by_size; /* ...of which the file was left shorter than its map */
	uint64_t checkpoints, trims;                        /* that were done and looked at after a death */
	uint64_t commits;                                   /* that writers began: openings, syncs, upkeep */
	uint64_t unacknowledged_kept;                       /* cycles after which more was there than acknowledged */
	uint64_t in_write, in_sync;                         /* at the n-th call: deaths at a write, at a sync */
	char failure[512];                                  /* "" when all held; the log is then left where it is */
};

/* Runs all cycles. 0, or -1 with `failure` saying seed, cycle and what did not hold. */
int kills_run(struct kills *kills);

/* `lanes` of them at once, each a process, in dirs[i % dirs_count]; the sums go to *total. */
int kills_lanes(struct kills *total, int lanes, const char *const *dirs, int dirs_count);

void kills_print(const struct kills *kills, FILE *to);

#endif
