/* SPDX-License-Identifier: Apache-2.0 */
#include "wal_kills.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "nth_call.h"
#include "wal/wal.h"

#define RECORDS_MAX 1500u /* of one log; then the next is made */
#define PAYLOAD_MAX 9000u
#define COMMITS_MAX 40u
#define SUMMARY_MAX (20 * PAYLOAD_MAX)

/* What the writer says where death cannot take it back. */
struct stage {
	_Atomic uint32_t where;
	_Atomic uint64_t attempted;                                /* the last LSN that was given to wal_append */
	_Atomic uint64_t epoch;                                    /* of the writer, once it has the log */
	_Atomic uint64_t checkpoint, checkpoint_tried, trim_tried; /* LSNs */
	_Atomic uint64_t opened_ns;                                /* how long opening took */
	_Atomic uint64_t commits;
	struct error err;
	struct nth_call call;
};

/* One lane: a log, and what is known of it. */
struct lane {
	struct kills *out;
	struct stage *stage;
	char log[256];
	uint64_t random;
	uint64_t acknowledged, known;        /* last LSN acknowledged; last one that was seen */
	uint64_t epochs[RECORDS_MAX + 4096]; /* of each record that was seen */
	uint64_t checkpoint, first;          /* LSNs, as seen */
	uint64_t epoch;                      /* the last that a writer was given */
	uint64_t open_ns;                    /* a running mean, which says where the instants should lie */
	uint64_t map_size;
};

static uint64_t draw(uint64_t *state) /* splitmix64 */
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Size and bytes follow from LSN and epoch: a record of a dead writer cannot pass for another's. */
static size_t payload_make(uint64_t lsn, uint64_t epoch, uint8_t *bytes)
{
	uint64_t state = lsn << 32 ^ epoch;
	size_t size = (size_t)(draw(&state) % 300), i;

	if (lsn % 40 == 0)
		size = PAYLOAD_MAX - size; /* on pages of its own */
	for (i = 0; i < size; i++)
		bytes[i] = (uint8_t)(state >> i % 57) ^ (uint8_t)i;
	return size;
}

/* The same for a checkpoint, which can be longer. */
static size_t summary_make(uint64_t lsn, uint64_t epoch, uint8_t *bytes)
{
	const size_t size = payload_make(lsn, epoch, bytes), times = lsn % (SUMMARY_MAX / PAYLOAD_MAX);
	size_t i;

	for (i = 1; i < times; i++)
		memcpy(bytes + i * size, bytes, size);
	return size * (times ? times : 1);
}

/* --- the writer --- */

static void at(struct stage *stage, enum kills_where where)
{
	atomic_store(&stage->where, (uint32_t)where);
}

static struct wal *writer_open(struct lane *lane)
{
	const struct wal_options options = {.map_size = lane->map_size};
	struct stage *stage = lane->stage;
	const uint64_t begin = now_ns();
	struct wal *wal;

	at(stage, KILLS_OPENING);
	atomic_fetch_add(&stage->commits, 1);
	if (wal_open(&wal, lane->log, &options, &stage->err) < 0)
		_exit(3);
	atomic_store(&stage->epoch, wal_epoch(wal));
	atomic_store(&stage->opened_ns, now_ns() - begin);
	at(stage, KILLS_STAGING);
	return wal;
}

static uint64_t write_some(struct lane *lane, struct wal *wal, uint64_t count)
{
	uint8_t bytes[PAYLOAD_MAX];
	uint64_t durable = 0, lsn, i;

	for (i = 0; i < count; i++) {
		const uint64_t next = atomic_load(&lane->stage->attempted) + 1;
		const size_t size = payload_make(next, wal_epoch(wal), bytes);

		atomic_store(&lane->stage->attempted, next);
		if (wal_append(wal, (uint32_t)(next % 7), bytes, size, &lsn, &lane->stage->err) < 0)
			_exit(4);
		if (lsn != next)
			_exit(5);
	}
	at(lane->stage, KILLS_COMMITTING);
	atomic_fetch_add(&lane->stage->commits, 1);
	if (wal_sync(wal, 0, &durable, &lane->stage->err) < 0)
		_exit(6);
	return durable;
}

static void keep_up(struct lane *lane, struct wal *wal, uint64_t back, bool trim)
{
	static uint8_t bytes[SUMMARY_MAX];
	struct stage *stage = lane->stage;
	const uint64_t lsn = wal_durable(wal) - back;
	size_t size;

	if (back >= wal_durable(wal) || lsn < wal_checkpoint_lsn(wal) || lsn < wal_first(wal))
		return;
	at(stage, KILLS_UPKEEP);
	size = summary_make(lsn, wal_epoch(wal), bytes);
	atomic_store(&stage->checkpoint_tried, lsn);
	atomic_fetch_add(&stage->commits, 1);
	if (wal_checkpoint(wal, lsn, bytes, size, &stage->err) < 0)
		_exit(10);
	atomic_store(&stage->checkpoint, lsn);
	if (!trim)
		return;
	atomic_store(&stage->trim_tried, lsn);
	atomic_fetch_add(&stage->commits, 1);
	if (wal_trim(wal, 0, &stage->err) < 0)
		_exit(11);
}

static void writer(struct lane *lane, int acks, bool counted)
{
	uint64_t random = draw(&lane->random), commits = 1 + draw(&random) % COMMITS_MAX, durable, c;
	const uint64_t reopen_at = draw(&random) % 4 ? 0 : 1 + draw(&random) % commits;
	struct wal *wal;

	if (counted && nth_install(&lane->stage->call) < 0)
		_exit(7);
	wal = writer_open(lane);
	if (wal_durable(wal) < lane->acknowledged)
		_exit(8);
	atomic_store(&lane->stage->attempted, wal_durable(wal));
	for (c = 1; c <= commits; c++) {
		if (c == reopen_at) {
			at(lane->stage, KILLS_CLOSING);
			wal_close(wal);
			wal = writer_open(lane);
		}
		at(lane->stage, KILLS_STAGING);
		durable = write_some(lane, wal, 1 + draw(&random) % 12);
		at(lane->stage, KILLS_ACKNOWLEDGING);
		/* not one of the log's calls: neither counted nor hit */
		if (counted ? nth_raw(SYS_write, acks, (long)&durable, sizeof durable, 0, 0, 0) != sizeof durable
			    : write(acks, &durable, sizeof durable) != sizeof durable)
			_exit(9);
		if (draw(&random) % 6 == 0)
			keep_up(lane, wal, draw(&random) % 10, draw(&random) % 2);
	}
	at(lane->stage, KILLS_CLOSING);
	wal_close(wal);
	_exit(0);
}

/* --- the killer, which is also the judge --- */

static int deviate(struct lane *lane, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int deviate(struct lane *lane, const char *format, ...)
{
	struct kills *out = lane->out;
	va_list args;
	int n = snprintf(out->failure, sizeof out->failure,
	    "seed %llu, cycle %llu, %s: ", (unsigned long long)out->seed, (unsigned long long)out->done, lane->log);

	va_start(args, format);
	if (n > 0 && (size_t)n < sizeof out->failure)
		vsnprintf(out->failure + n, sizeof out->failure - (size_t)n, format, args);
	va_end(args);
	return -1;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
	(void)status;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void next_log(struct lane *lane)
{
	struct kills *out = lane->out;

	if (out->logs)
		nftw(lane->log, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	snprintf(lane->log, sizeof lane->log, "%s/log-%llu", out->dir, (unsigned long long)out->logs++);
	lane->acknowledged = lane->known = lane->epoch = lane->checkpoint = 0;
	lane->first = 1;
	lane->map_size = (uint64_t)64 << 10 << draw(&lane->random) % 5;
}

struct look {
	struct lane *lane;
	uint64_t first, last;
	bool wrong;
};

static int look_at(void *arg, const struct wal_record *record)
{
	struct look *look = arg;
	struct lane *lane = look->lane;
	uint8_t bytes[PAYLOAD_MAX];
	const size_t size = payload_make(record->lsn, record->epoch, bytes);

	if (!look->first)
		look->first = record->lsn;
	look->last = record->lsn;
	look->wrong = record->size != size || record->kind != record->lsn % 7 ||
		      (size && memcmp(record->payload, bytes, size) != 0) || record->epoch > lane->epoch ||
		      (record->lsn <= lane->known && lane->epochs[record->lsn] != record->epoch);
	if (record->lsn < sizeof lane->epochs / sizeof lane->epochs[0])
		lane->epochs[record->lsn] = record->epoch;
	return look->wrong ? 1 : 0;
}

static int look_at_checkpoint(void *arg, const struct wal_record *record)
{
	static uint8_t bytes[SUMMARY_MAX];
	struct look *look = arg;
	const size_t size = summary_make(record->lsn, record->epoch, bytes);

	look->last = record->lsn;
	look->wrong = !record->checkpoint || record->size != size || memcmp(record->payload, bytes, size) != 0;
	return 1; /* the records are looked at from the first that is there */
}

static int judge_checkpoint(struct lane *lane, struct wal *wal)
{
	const uint64_t done = atomic_load(&lane->stage->checkpoint),
		       tried = atomic_load(&lane->stage->checkpoint_tried), lsn = wal_checkpoint_lsn(wal),
		       first = wal_first(wal);
	struct look look = {.lane = lane};
	struct error err = {0};

	if (lsn < lane->checkpoint || lsn < done || (lsn != lane->checkpoint && lsn != done && lsn != tried))
		return deviate(lane, "the checkpoint is that of LSN %llu, before it was %llu, %llu was tried",
		    (unsigned long long)lsn, (unsigned long long)lane->checkpoint, (unsigned long long)tried);
	if (lsn && (wal_replay(wal, 0, look_at_checkpoint, &look, &err) < 0 || look.wrong || look.last != lsn))
		return deviate(
		    lane, "the checkpoint of LSN %llu is not what was written: %s", (unsigned long long)lsn, err.text);
	if (first < lane->first || first > lsn + 1 ||
	    (first != lane->first && first > atomic_load(&lane->stage->trim_tried) + 1))
		return deviate(lane, "the first LSN is %llu, before it was %llu", (unsigned long long)first,
		    (unsigned long long)lane->first);
	lane->out->checkpoints += lsn != lane->checkpoint;
	lane->out->trims += first != lane->first;
	lane->checkpoint = lsn;
	lane->first = first;
	return 0;
}

static int judge(struct lane *lane)
{
	const struct wal_options options = {.read_only = true};
	const uint64_t attempted = atomic_load(&lane->stage->attempted);
	struct look look = {.lane = lane};
	struct error err = {0};
	struct wal *wal;
	int rc;

	if (wal_open(&wal, lane->log, &options, &err) < 0) {
		/* killed before there was a log at all */
		if (err.code == ENOENT && lane->acknowledged == 0)
			return 0;
		return deviate(lane, "cannot be opened: %s", err.text);
	}
	if (judge_checkpoint(lane, wal) < 0) {
		wal_close(wal);
		return -1;
	}
	look.last = lane->first - 1; /* all may have been trimmed */
	rc = wal_replay(wal, lane->first, look_at, &look, &err);
	if (rc == 0 && look.first && look.first != lane->first)
		rc = deviate(lane, "begins at LSN %llu, not %llu", (unsigned long long)look.first,
		    (unsigned long long)lane->first);
	else if (rc == 0 && wal_epoch(wal) < lane->epoch)
		rc = deviate(lane, "epoch %llu came back, %llu was given out", (unsigned long long)wal_epoch(wal),
		    (unsigned long long)lane->epoch);
	else if (rc < 0)
		rc = deviate(lane, "does not verify: %s", err.text);
	else if (rc)
		rc = deviate(lane, "LSN %llu is not what was written", (unsigned long long)look.last);
	else if (look.last < lane->acknowledged || look.last < lane->known)
		rc = deviate(lane, "ends at LSN %llu, %llu was acknowledged, %llu was there",
		    (unsigned long long)look.last, (unsigned long long)lane->acknowledged,
		    (unsigned long long)lane->known);
	else if (look.last > attempted && look.last > lane->known)
		rc = deviate(lane, "ends at LSN %llu, only %llu were attempted", (unsigned long long)look.last,
		    (unsigned long long)attempted);
	wal_close(wal);
	lane->out->records += look.last;
	lane->out->unacknowledged_kept += look.last > lane->acknowledged;
	lane->known = look.last;
	return rc;
}

/* Until the pipe is empty and has no writer; or, when only `limit` are wanted, until then. */
static void take_acks(struct lane *lane, int acks, uint64_t limit)
{
	uint64_t lsn, n;

	for (n = 0; n < limit && read(acks, &lsn, sizeof lsn) == sizeof lsn; n++)
		if (lsn > lane->acknowledged) {
			lane->out->acknowledged += lsn - lane->acknowledged;
			lane->acknowledged = lsn;
		}
}

/* The instants lie as thick in the opening as in what comes after it. */
static void wait_for_the_instant(struct lane *lane, uint64_t begin)
{
	const uint64_t end = begin + draw(&lane->random) % (2 * lane->open_ns + 100000);
	const struct timespec until = {.tv_sec = (time_t)(end / 1000000000u), .tv_nsec = (long)(end % 1000000000u)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

static void arm(struct lane *lane, enum kills_how how)
{
	struct stage *stage = lane->stage;
	/* an opening has some 40 calls, a commit 3 or 4, of which one writes several pages */
	const uint64_t among = draw(&lane->random) % 2 ? 60 : 200,
		       n = 1 + draw(&lane->random) % (how == KILLS_CALL_TORN ? among / 10 : among);

	memset(stage, 0, sizeof *stage);
	stage->attempted = lane->known;
	stage->call.mode = how == KILLS_CALL ? NTH_KILL : NTH_KILL_TORN;
	stage->call.n = n;
	stage->call.until = UINT64_MAX;
}

static int account(struct lane *lane, enum kills_how how, int status)
{
	struct stage *stage = lane->stage;
	struct kills *out = lane->out;
	const long number = atomic_load(&stage->call.number);
	const uint64_t epoch = atomic_load(&stage->epoch);

	out->commits += atomic_load(&stage->commits);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		out->ended++;
	else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		out->deaths[how][atomic_load(&stage->where)]++;
	else if (WIFEXITED(status))
		return deviate(lane, "the writer gave up with status %d: %s", WEXITSTATUS(status), stage->err.text);
	else
		return deviate(lane, "the writer died of signal %d", WTERMSIG(status));
	if (atomic_load(&stage->call.hits)) {
		out->in_write += number == SYS_pwrite64 || number == SYS_writev || number == SYS_pwritev;
		out->in_sync += number == SYS_fdatasync || number == SYS_fsync || number == SYS_msync;
	}
	if (epoch) {
		const uint64_t took = atomic_load(&stage->opened_ns);

		if (epoch <= lane->epoch)
			return deviate(lane, "a writer was given epoch %llu, an earlier one had %llu",
			    (unsigned long long)epoch, (unsigned long long)lane->epoch);
		lane->open_ns = lane->open_ns ? (7 * lane->open_ns + took) / 8 : took;
	}
	lane->epoch = epoch > lane->epoch ? epoch : lane->epoch;
	return 0;
}

static int cycle(struct lane *lane)
{
	const enum kills_how how = (enum kills_how)(draw(&lane->random) % KILLS_HOWS);
	uint64_t begin;
	int ends[2], status = 0, rc;
	pid_t pid, got;

	arm(lane, how);
	draw(&lane->random); /* each writer another one, in the child as in the parent */
	if (pipe2(ends, O_CLOEXEC) < 0)
		return deviate(lane, "no pipe: %s", strerror(errno));
	begin = now_ns();
	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		writer(lane, ends[1], how == KILLS_CALL || how == KILLS_CALL_TORN);
	}
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return deviate(lane, "no process: %s", strerror(errno));
	}
	if (how == KILLS_INSTANT)
		wait_for_the_instant(lane, begin);
	else if (how == KILLS_ACK)
		take_acks(lane, ends[0], 1 + draw(&lane->random) % 10);
	if (how == KILLS_INSTANT || how == KILLS_ACK)
		kill(pid, SIGKILL);
	take_acks(lane, ends[0], UINT64_MAX);
	close(ends[0]);
	do
		got = waitpid(pid, &status, 0);
	while (got < 0 && errno == EINTR);
	rc = account(lane, how, status);
	return rc < 0 ? rc : judge(lane);
}

int kills_run(struct kills *kills)
{
	struct lane *lane = calloc(1, sizeof *lane);
	void *shared = mmap(NULL, sizeof(struct stage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int rc = 0;

	if (!lane || shared == MAP_FAILED) {
		snprintf(kills->failure, sizeof kills->failure, "no memory");
		free(lane);
		return -1;
	}
	lane->out = kills;
	lane->stage = shared;
	lane->random = kills->seed;
	while (rc == 0 && kills->done < kills->cycles) {
		if (!kills->logs || lane->known > RECORDS_MAX || draw(&lane->random) % 50 == 0)
			next_log(lane);
		rc = cycle(lane);
		kills->done++;
	}
	if (rc == 0)
		nftw(lane->log, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	munmap(shared, sizeof(struct stage));
	free(lane);
	return rc;
}

static void add(struct kills *total, const struct kills *lane)
{
	int how, where;

	total->done += lane->done;
	total->ended += lane->ended;
	total->logs += lane->logs;
	total->records += lane->records;
	total->acknowledged += lane->acknowledged;
	total->unacknowledged_kept += lane->unacknowledged_kept;
	total->checkpoints += lane->checkpoints;
	total->commits += lane->commits;
	total->trims += lane->trims;
	total->in_write += lane->in_write;
	total->in_sync += lane->in_sync;
	for (how = 0; how < KILLS_HOWS; how++)
		for (where = 0; where < KILLS_WHERES; where++)
			total->deaths[how][where] += lane->deaths[how][where];
	if (lane->failure[0])
		memcpy(total->failure, lane->failure, sizeof total->failure);
}

int kills_lanes(struct kills *total, int lanes, const char *const *dirs, int dirs_count)
{
	const size_t size = (size_t)lanes * sizeof(struct kills);
	struct kills *all = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char dir[512];
	int i, status;

	if (all == MAP_FAILED) {
		snprintf(total->failure, sizeof total->failure, "no memory");
		return -1;
	}
	for (i = 0; i < lanes; i++) {
		all[i].seed = total->seed + (uint64_t)i;
		all[i].cycles = total->cycles / (uint64_t)lanes + ((uint64_t)i < total->cycles % (uint64_t)lanes);
		snprintf(all[i].failure, sizeof all[i].failure, "lane %d was never heard of again", i);
		if (fork() == 0) {
			snprintf(dir, sizeof dir, "%s/kills-XXXXXX", dirs[i % dirs_count]);
			all[i].failure[0] = '\0';
			all[i].dir = mkdtemp(dir);
			if (!all[i].dir)
				snprintf(all[i].failure, sizeof all[i].failure, "%.200s: %s", dir, strerror(errno));
			else if (kills_run(&all[i]) == 0)
				rmdir(dir);
			_exit(0);
		}
	}
	while (wait(&status) > 0 || errno == EINTR)
		;
	for (i = 0; i < lanes; i++)
		add(total, &all[i]);
	munmap(all, size);
	return total->failure[0] ? -1 : 0;
}

void kills_print(const struct kills *kills, FILE *to)
{
	static const char *const hows[] = {"at a random instant", "after the n-th acknowledgement",
	    "at the n-th file call", "inside of the n-th long write"};
	int how, where;

	fprintf(to, "%-32s %8s %8s %8s %10s %8s %8s %8s\n", "killed", "unborn", "opening", "staging", "committing",
	    "telling", "upkeep", "closing");
	for (how = 0; how < KILLS_HOWS; how++) {
		fprintf(to, "%-32s", hows[how]);
		for (where = 0; where < KILLS_WHERES; where++)
			fprintf(to, " %*llu", where == KILLS_COMMITTING ? 10 : 8,
			    (unsigned long long)kills->deaths[how][where]);
		fputc('\n', to);
	}
	fprintf(to,
	    "%llu cycles, %llu ended by themselves; %llu logs, %llu records acknowledged, %llu new checkpoints and "
	    "%llu trims found; %llu deaths at a write, %llu "
	    "at "
	    "a sync; after %llu more was there than acknowledged\n",
	    (unsigned long long)kills->done, (unsigned long long)kills->ended, (unsigned long long)kills->logs,
	    (unsigned long long)kills->acknowledged, (unsigned long long)kills->checkpoints,
	    (unsigned long long)kills->trims, (unsigned long long)kills->in_write, (unsigned long long)kills->in_sync,
	    (unsigned long long)kills->unacknowledged_kept);
}
