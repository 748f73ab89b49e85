/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/ against its limits and its peers: many durable appenders against one, batches against bare LMDB and SQLite at
 * equal batches, replay against a bare cursor, verify. On the disk, then in memory, where no disk hides what the
 * processor does. Peer and subject take turns in the same run; medians; the ratios are what counts.
 */
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "median.h"
#include "wal/wal.h"
#include "wal_peers.h"

#define APPENDERS    64
#define PAYLOAD_SIZE 64u                  /* bytes, about what a conductor's record has */
#define RECORD_SIZE  (PAYLOAD_SIZE + 30u) /* of ours, with array head and hash: so much the bare LMDB stores */
#define REPLAY_BATCH 1000u
#define ROUNDS_MAX   15

struct scale {
	int rounds;
	double group_s;        /* how long appenders append */
	unsigned transactions; /* of a batch on the disk, which takes most of the time */
	unsigned records;      /* of all batches in memory */
	uint64_t replayed;     /* records */
};

struct place {
	char root[64];
	bool disk;
};

static const uint8_t payload[PAYLOAD_SIZE] = "a record of the usual size";

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
	(void)status;
	(void)type;
	(void)ftw;
	return remove(path);
}

static const char *fresh_dir(const struct place *place, char path[96], const char *name)
{
	snprintf(path, 96, "%s/%s", place->root, name);
	nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	return path;
}

static struct wal *open_log(const char *dir, bool read_only)
{
	const struct wal_options options = {.map_size = (size_t)1 << 30, .read_only = read_only};
	struct error err;
	struct wal *wal = NULL;

	if (wal_open(&wal, dir, &options, &err) < 0)
		peer_die("wal_open", err.text);
	return wal;
}

/* --- durable appends --- */

struct appender {
	struct wal *wal;
	double until;
	uint64_t count;
};

static void *append_and_sync(void *arg)
{
	struct appender *appender = arg;
	struct error err;
	uint64_t lsn;

	while (now_s() < appender->until) {
		if (wal_append(appender->wal, 1, payload, sizeof payload, &lsn, &err) < 0 ||
		    wal_sync(appender->wal, lsn, NULL, &err) < 0)
			peer_die("append", err.text);
		appender->count++;
	}
	return NULL;
}

/* What this process has used, and how often it slept. */
struct usage {
	double cpu_us, switches;
};

static struct usage usage_now(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (struct usage){.cpu_us = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
					(double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec),
	    .switches = (double)usage.ru_nvcsw};
}

static double durable_rate(const struct place *place, int threads_count, double seconds, struct usage *ret_each)
{
	struct appender appenders[APPENDERS] = {0};
	pthread_t threads[APPENDERS];
	struct usage before, after;
	char dir[96];
	struct wal *wal = open_log(fresh_dir(place, dir, "group"), false);
	double begin = now_s(), elapsed;
	uint64_t count = 0;
	int i;

	before = usage_now();
	for (i = 0; i < threads_count; i++) {
		appenders[i].wal = wal;
		appenders[i].until = begin + seconds;
		if (pthread_create(&threads[i], NULL, append_and_sync, &appenders[i]))
			peer_die("pthread_create", strerror(errno));
	}
	for (i = 0; i < threads_count; i++) {
		pthread_join(threads[i], NULL);
		count += appenders[i].count;
	}
	elapsed = now_s() - begin;
	after = usage_now();
	wal_close(wal);
	ret_each->cpu_us = (after.cpu_us - before.cpu_us) / (double)count;
	ret_each->switches = (after.switches - before.switches) / (double)count;
	return (double)count / elapsed;
}

static void bench_group(const struct place *place, const struct scale *scale)
{
	double one[ROUNDS_MAX] = {0}, many[ROUNDS_MAX] = {0}, ratio[ROUNDS_MAX] = {0};
	double cpu[ROUNDS_MAX] = {0}, switches[ROUNDS_MAX] = {0};
	const size_t rounds = (size_t)scale->rounds;
	size_t i;

	for (i = 0; i < rounds; i++) {
		struct usage each;

		one[i] = durable_rate(place, 1, scale->group_s, &each);
		many[i] = durable_rate(place, APPENDERS, scale->group_s, &each);
		ratio[i] = many[i] / one[i];
		cpu[i] = each.cpu_us;
		switches[i] = each.switches;
	}
	printf("  durable appends, %d appenders against 1: %6.1f x  (%.0f/s against %.0f/s; wanted on a disk: 30)   "
	       "each %.1f us of "
	       "processor, %.2f sleeps\n",
	    APPENDERS, median(ratio, rounds), median(many, rounds), median(one, rounds), median(cpu, rounds),
	    median(switches, rounds));
}

/* Why blocks are written ahead. */
static void bench_flush(const struct place *place, const struct scale *scale)
{
	const size_t rounds = (size_t)scale->rounds * 40;
	char path[96];

	fresh_dir(place, path, "flush");
	printf(
	    "  a flush of 8 KiB: %.0f us, where the file has blocks; %.0f us, where fallocate has reserved them; %.0f "
	    "us in a hole\n",
	    peer_flush_us(path, FLUSH_OVERWRITES, rounds), peer_flush_us(path, FLUSH_RESERVED, rounds),
	    peer_flush_us(path, FLUSH_HOLE, rounds));
}

/* --- batches --- */

static struct cost wal_batches(const char *dir, unsigned batches, unsigned batch)
{
	struct wal *wal = open_log(dir, false);
	struct cost cost = cost_now();
	struct error err;
	unsigned b, i;

	for (b = 0; b < batches; b++) {
		for (i = 0; i < batch; i++)
			if (wal_append(wal, 1, payload, sizeof payload, NULL, &err) < 0)
				peer_die("append", err.text);
		if (wal_sync(wal, 0, NULL, &err) < 0)
			peer_die("sync", err.text);
	}
	cost = cost_since(cost);
	wal_close(wal);
	return cost;
}

/* One subject through all rounds. */
struct rounds {
	double rate[ROUNDS_MAX], ratio[ROUNDS_MAX], cpu_ratio[ROUNDS_MAX];
};

/* Of ours to that of a peer, in the same round. */
static void compare(struct rounds *peer, size_t i, double records, struct cost ours, struct cost theirs)
{
	peer->rate[i] = records / theirs.seconds;
	peer->ratio[i] = theirs.seconds / ours.seconds;
	peer->cpu_ratio[i] = theirs.cpu_seconds / ours.cpu_seconds;
}

static void print_peer(const char *name, struct rounds *peer, size_t rounds, const char *wanted)
{
	printf("   %s %8.0f/s: %5.2f x, %5.2f by processor time (wanted %s)", name, median(peer->rate, rounds),
	    median(peer->ratio, rounds), median(peer->cpu_ratio, rounds), wanted);
}

static void bench_batches(const struct place *place, const struct scale *scale, unsigned batch)
{
	const unsigned batches = place->disk  ? scale->transactions
				 : batch == 1 ? scale->records / 10
					      : scale->records / batch;
	const double records = (double)batches * batch;
	const size_t rounds = (size_t)scale->rounds;
	struct rounds lmdb = {0}, sqlite = {0};
	double rate[ROUNDS_MAX] = {0}, us[ROUNDS_MAX] = {0};
	uint8_t record[RECORD_SIZE] = {0};
	char dir[96];
	size_t i;

	memcpy(record, payload, sizeof payload);
	for (i = 0; i < rounds; i++) {
		struct cost bare = peer_lmdb(fresh_dir(place, dir, "lmdb"), batches, batch, record, sizeof record);
		struct cost ours = wal_batches(fresh_dir(place, dir, "wal"), batches, batch);

		rate[i] = records / ours.seconds;
		us[i] = ours.cpu_seconds / records * 1e6;
		compare(&lmdb, i, records, ours, bare);
		compare(&sqlite, i, records, ours,
		    peer_sqlite(fresh_dir(place, dir, "sqlite"), batches, batch, payload, sizeof payload));
	}
	printf(
	    "  batches of %4u: %8.0f/s, %6.2f us of processor each", batch, median(rate, rounds), median(us, rounds));
	print_peer("bare LMDB", &lmdb, rounds, "0.90");
	print_peer("SQLite", &sqlite, rounds, "2");
	putchar('\n');
}

/* --- replay and verify --- */

static int sum(void *arg, const struct wal_record *record)
{
	*(uint64_t *)arg += record->lsn + record->payload[0];
	return 0;
}

static double wal_scan(const char *dir, uint64_t *ret_sum)
{
	struct wal *wal = open_log(dir, true);
	struct error err;
	double begin = now_s();

	if (wal_replay(wal, 0, sum, ret_sum, &err) < 0)
		peer_die("replay", err.text);
	begin = now_s() - begin;
	wal_close(wal);
	return begin;
}

static double wal_check(const char *dir)
{
	struct wal_report report;
	struct error err;
	double begin = now_s();

	if (wal_verify(dir, &report, &err) < 0)
		peer_die("verify", err.text);
	return now_s() - begin;
}

static void bench_replay(const struct place *place, const struct scale *scale)
{
	double raw[ROUNDS_MAX] = {0}, ours[ROUNDS_MAX] = {0}, ratio[ROUNDS_MAX] = {0}, verified[ROUNDS_MAX] = {0};
	const double records = (double)scale->replayed / 1e6;
	const size_t rounds = (size_t)scale->rounds;
	uint64_t sums = 0;
	char dir[96];
	size_t i;

	wal_batches(fresh_dir(place, dir, "replay"), (unsigned)(scale->replayed / REPLAY_BATCH), REPLAY_BATCH);
	for (i = 0; i < rounds; i++) {
		raw[i] = records / peer_scan(dir, &sums);
		ours[i] = records / wal_scan(dir, &sums);
		verified[i] = records / wal_check(dir);
		ratio[i] = ours[i] / raw[i];
	}
	printf("  replay of %.1f million records, chain checked: %5.2f million/s (wanted 5)   a bare cursor, nothing "
	       "checked: %.2f x "
	       "(wanted 0.30)   [%llx]\n",
	    records, median(ours, rounds), median(ratio, rounds), (unsigned long long)sums);
	printf("  verify, pages and chain: %5.2f million/s (wanted 3)\n", median(verified, rounds));
}

static void bench_place(const char *directory, bool disk, const struct scale *scale)
{
	struct place place = {.disk = disk};

	if ((size_t)snprintf(place.root, sizeof place.root, "%s/bench_wal_XXXXXX", directory) >= sizeof place.root)
		peer_die(directory, "too long");
	if (!mkdtemp(place.root))
		peer_die(place.root, strerror(errno));
	puts(disk ? "on the disk:" : "in memory:");
	if (disk)
		bench_flush(&place, scale);
	bench_group(&place, scale);
	bench_batches(&place, scale, 1);
	bench_batches(&place, scale, 64);
	bench_batches(&place, scale, 1000);
	bench_batches(&place, scale, 10000);
	if (!disk)
		bench_replay(&place, scale);
	nftw(place.root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

int main(int argc, char **argv)
{
	struct scale scale = {.rounds = 9, .group_s = 0.5, .transactions = 60, .records = 200000, .replayed = 1000000};
	const char *directory = getenv("TMPDIR");

	if (argc == 2 && !strcmp(argv[1], "--quick")) {
		scale = (struct scale){
		    .rounds = 3, .group_s = 0.2, .transactions = 20, .records = 50000, .replayed = 200000};
	} else if (argc > 1) {
		fputs("usage: bench_wal [--quick]\n", stderr);
		return 2;
	}
	bench_place(directory ? directory : "/tmp", true, &scale);
	if (access("/dev/shm", W_OK) == 0)
		bench_place("/dev/shm", false, &scale);
	return 0;
}
