/* SPDX-License-Identifier: Apache-2.0 */
/* The judge of a log of wal/. It knows each record that was ever written, from what the prefixes leave behind. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "crash/judge.h"
#include "crash/workload.h"
#include "wal/wal.h"

#define LSN_MAX         (1u << 24)
#define CHECKPOINTS_MAX 256u

struct known_checkpoint {
	uint64_t lsn, hash;
};

struct wal_judge {
	const char *where; /* the log below the directory */
	uint64_t *acked; /* by the number of lines: the largest LSN among them, for threads print theirs in any order */
	uint64_t *known; /* by LSN: a hash of kind and payload; 0: never written */
	size_t capacity;
	uint64_t first_max;         /* the largest first LSN that a prefix has: what may have been trimmed */
	bool folded;                /* a checkpoint's payload is the fold of all before it */
	struct wal_options options; /* as its writer had them */
	struct known_checkpoint checkpoints[CHECKPOINTS_MAX];
	size_t checkpoints_count;
};

/* What one look at the log has found. */
struct reading {
	struct wal_judge *judge;
	bool learning;
	uint64_t first, last;
	uint64_t checkpoint; /* the LSN of what was visited first; 0: none */
	uint64_t wrong;      /* an LSN that does not hold what was written there */
	uint64_t digest;
	bool full;
};

uint64_t judge_wal_hash(const struct wal_record *record)
{
	return XXH3_64bits_withSeed(record->payload, record->size, record->kind) | 1;
}

uint64_t judge_wal_fold(uint64_t before, uint64_t hash)
{
	return (before ^ hash) * 0x9e3779b97f4a7c15u + 1;
}

static void finish(void *context)
{
	struct wal_judge *judge = context;

	free(judge->acked);
	free(judge->known);
	free(judge);
}

/* The number that the line ends with. 0: none. */
static uint64_t lsn_of(const struct trace_line *line)
{
	const char *at = line->text + line->size;

	while (at > line->text && at[-1] >= '0' && at[-1] <= '9')
		at--;
	return strtoull(at, NULL, 10);
}

static int prepare(const void *config, const struct trace *trace, void **ret_context, struct error *err)
{
	struct wal_judge *judge = calloc(1, sizeof *judge);
	size_t i;

	if (judge)
		judge->acked = calloc(trace->acks_count + 1, sizeof *judge->acked);
	if (!judge || !judge->acked) {
		free(judge);
		return error_set(err, ENOMEM, "no memory for a judge");
	}
	for (i = 0; i < trace->acks_count; i++) {
		const uint64_t lsn = lsn_of(&trace->acks[i]);

		judge->acked[i + 1] = lsn > judge->acked[i] ? lsn : judge->acked[i];
	}
	judge->where = config ? config : "";
	*ret_context = judge;
	return 0;
}

static void log_path(const struct wal_judge *judge, const struct crash_case *state, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s%s%s", state->dir, *judge->where ? "/" : "", judge->where);
}

/* Is it one that was ever taken, and does it stand for what came before? */
static void look_at_checkpoint(struct reading *reading, const struct wal_record *record)
{
	struct wal_judge *judge = reading->judge;
	const uint64_t hash = judge_wal_hash(record);
	uint64_t fold = 0, said, lsn;
	size_t i;

	reading->checkpoint = record->lsn;
	reading->digest = judge_wal_fold(reading->digest, hash);
	if (judge->folded) {
		for (lsn = 1; lsn <= record->lsn && lsn < judge->capacity; lsn++)
			fold = judge_wal_fold(fold, judge->known[lsn]);
		memcpy(&said, record->payload, record->size == sizeof said ? sizeof said : 0);
		if (record->size != sizeof said || said != fold)
			reading->wrong = record->lsn;
	}
	for (i = 0; i < judge->checkpoints_count; i++)
		if (judge->checkpoints[i].lsn == record->lsn && judge->checkpoints[i].hash == hash)
			return;
	if (!reading->learning)
		reading->wrong = record->lsn;
	else if (judge->checkpoints_count < CHECKPOINTS_MAX)
		judge->checkpoints[judge->checkpoints_count++] = (struct known_checkpoint){record->lsn, hash};
	else
		reading->full = true;
}

static int look(void *arg, const struct wal_record *record)
{
	struct reading *reading = arg;
	struct wal_judge *judge = reading->judge;
	const uint64_t hash = judge_wal_hash(record);

	if (record->checkpoint) {
		look_at_checkpoint(reading, record);
		return reading->full;
	}
	if (!reading->first)
		reading->first = record->lsn;
	reading->last = record->lsn;
	reading->digest = judge_wal_fold(reading->digest, hash);
	if (record->lsn < judge->capacity && judge->known[record->lsn] == hash)
		return 0;
	if (!reading->learning || (record->lsn < judge->capacity && judge->known[record->lsn])) {
		if (!reading->wrong)
			reading->wrong = record->lsn;
		return 0;
	}
	if (record->lsn >= judge->capacity) {
		const size_t wanted = 2 * (size_t)record->lsn + 64;
		uint64_t *known = record->lsn > LSN_MAX ? NULL : reallocarray(judge->known, wanted, sizeof *known);

		if (!known)
			return 1;
		memset(known + judge->capacity, 0, (wanted - judge->capacity) * sizeof *known);
		judge->known = known;
		judge->capacity = wanted;
	}
	judge->known[record->lsn] = hash;
	return 0;
}

/* Every record that is there, then what recovery sees: the checkpoint and the records after it. */
static int read_log(struct wal *wal, struct reading *reading, struct error *err)
{
	const uint64_t first = wal_first(wal);
	int rc = wal_replay(wal, first, look, reading, err);

	if (rc == 0 && wal_checkpoint_lsn(wal))
		rc = wal_replay(wal, 0, look, reading, err);
	reading->first = first;
	reading->last = wal_durable(wal); /* also of a log whose records have all been trimmed */
	return rc;
}

static int learn(void *context, const struct crash_case *state, struct error *err)
{
	const struct wal_options options = {.read_only = true};
	struct wal_judge *judge = context;
	struct reading reading = {.judge = judge, .learning = true};
	struct wal *wal = NULL;
	char path[PATH_MAX];
	struct error why;
	int rc;

	log_path(judge, state, path);
	if (wal_open(&wal, path, &options, &why) < 0)
		return 0; /* not there yet, or in the making */
	rc = read_log(wal, &reading, &why);
	wal_close(wal);
	if (rc > 0)
		return error_set(err, ENOMEM, "no memory for what was written");
	if (rc == 0 && reading.wrong)
		return error_set(err, EINVAL, "the record of LSN %llu was written twice, with different contents",
		    (unsigned long long)reading.wrong);
	if (reading.first > judge->first_max)
		judge->first_max = reading.first;
	return 0;
}

static int verdict(struct crash_verdict *ret_verdict, enum crash_outcome outcome, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int verdict(struct crash_verdict *ret_verdict, enum crash_outcome outcome, const char *format, ...)
{
	va_list args;

	ret_verdict->outcome = outcome;
	va_start(args, format);
	vsnprintf(ret_verdict->reason, sizeof ret_verdict->reason, format, args);
	va_end(args);
	return 0;
}

/* Opens as a writer does, which is the recovery, reads all. 1: *ret_verdict says what is wrong. */
static int recover_and_read(
    struct wal_judge *judge, const char *path, struct reading *reading, struct crash_verdict *ret_verdict)
{
	struct wal *wal = NULL;
	struct error why;
	int rc;

	*reading = (struct reading){.judge = judge};
	if (wal_open(&wal, path, &judge->options, &why) < 0) {
		verdict(ret_verdict, why.code == EILSEQ ? CRASH_REFUSED : CRASH_FAILED, "%s", why.text);
		return 1;
	}
	rc = read_log(wal, reading, &why);
	wal_close(wal);
	if (rc < 0)
		verdict(ret_verdict, CRASH_REFUSED, "opened, then: %s", why.text);
	return rc != 0;
}

static int recover(void *context, const struct crash_case *state, struct error *err)
{
	const struct wal_judge *judge = context;
	struct wal *wal = NULL;
	char path[PATH_MAX];

	log_path(judge, state, path);
	if (wal_open(&wal, path, &judge->options, err) < 0)
		return err->code == EILSEQ ? 0 : -1;
	wal_close(wal);
	return 0;
}

static int judge_state(
    void *context, const struct crash_case *state, struct crash_verdict *ret_verdict, struct error *err)
{
	struct wal_judge *judge = context;
	const uint64_t acked = judge->acked[state->acked];
	struct reading first, second;
	char path[PATH_MAX];

	(void)err;
	log_path(judge, state, path);
	if (recover_and_read(judge, path, &first, ret_verdict))
		return 0;
	if (first.wrong)
		return verdict(ret_verdict, CRASH_CORRUPT,
		    "the record or checkpoint of LSN %llu is none that was ever written there",
		    (unsigned long long)first.wrong);
	if (first.last < acked)
		return verdict(ret_verdict, CRASH_LOST, "LSN %llu was acknowledged, the log ends at %llu",
		    (unsigned long long)acked, (unsigned long long)first.last);
	if (first.first > 1 && first.first > judge->first_max)
		return verdict(ret_verdict, CRASH_LOST,
		    "the log begins at LSN %llu, no further than %llu was ever trimmed",
		    (unsigned long long)first.first, (unsigned long long)judge->first_max);
	*ret_verdict = (struct crash_verdict){0};
	if (!crash_case_again(state))
		return 0;
	if (recover_and_read(judge, path, &second, ret_verdict)) {
		ret_verdict->outcome = CRASH_FAILED;
		return 0;
	}
	if (second.first != first.first || second.last != first.last || second.digest != first.digest)
		return verdict(ret_verdict, CRASH_FAILED,
		    "recovered a second time, it is LSN %llu to %llu, not %llu to %llu",
		    (unsigned long long)second.first, (unsigned long long)second.last, (unsigned long long)first.first,
		    (unsigned long long)first.last);
	return 0;
}

static int prepare_folded(const void *config, const struct trace *trace, void **ret_context, struct error *err)
{
	struct wal_judge *judge;

	if (prepare(config, trace, ret_context, err) < 0)
		return -1;
	judge = *ret_context;
	judge->folded = true;
	judge->options.map_size = WORKLOAD_MAP_BYTES;
	return 0;
}

const struct crash_judge crash_judge_workload = {.name = "wal",
    .always_writes = true, /* the epoch */
    .compares = true,
    .config = "",
    .prepare = prepare_folded,
    .finish = finish,
    .learn = learn,
    .recover = recover,
    .judge = judge_state};
const struct crash_judge crash_judge_wal = {.name = "wal",
    .always_writes = true,
    .compares = true,
    .config = "",
    .prepare = prepare,
    .finish = finish,
    .learn = learn,
    .recover = recover,
    .judge = judge_state};
