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
#include "wal/wal.h"

#define LSN_MAX (1u << 24)

struct wal_judge {
	const char *where; /* the log below the directory */
	uint64_t *known;   /* by LSN: a hash of kind and payload; 0: never written */
	size_t capacity;
	uint64_t first_max; /* the largest first LSN that a prefix has: what may have been trimmed */
};

/* What one look at the log has found. */
struct reading {
	struct wal_judge *judge;
	bool learning;
	uint64_t first, last;
	uint64_t wrong; /* an LSN that does not hold what was written there */
	uint64_t digest;
	struct error *err;
};

const char *crash_outcome_name(enum crash_outcome outcome)
{
	static const char *const outcome_names[CRASH_OUTCOMES] = {
	    "recovered", "refused", "lost acknowledged data", "corrupt", "recovery failed"};

	return outcome_names[outcome];
}

static int prepare(const void *config, const struct trace *trace, void **ret_context, struct error *err)
{
	struct wal_judge *judge = calloc(1, sizeof *judge);

	(void)trace;
	if (!judge)
		return error_set(err, ENOMEM, "no memory for a judge");
	judge->where = config ? config : "";
	*ret_context = judge;
	return 0;
}

static void finish(void *context)
{
	struct wal_judge *judge = context;

	free(judge->known);
	free(judge);
}

static void log_path(const struct wal_judge *judge, const struct crash_case *state, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s%s%s", state->dir, *judge->where ? "/" : "", judge->where);
}

static uint64_t hash_record(const struct wal_record *record)
{
	return XXH3_64bits_withSeed(record->payload, record->size, record->kind) | 1;
}

static int look(void *arg, const struct wal_record *record)
{
	struct reading *reading = arg;
	struct wal_judge *judge = reading->judge;
	const uint64_t hash = hash_record(record);

	if (!reading->first)
		reading->first = record->lsn;
	reading->last = record->lsn;
	reading->digest = reading->digest * 31 + hash;
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
	rc = wal_replay(wal, 0, look, &reading, &why);
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

/* The number that the line ends with. 0: none. */
static uint64_t lsn_of(const struct trace_line *line)
{
	const char *at = line->text + line->size;

	while (at > line->text && at[-1] >= '0' && at[-1] <= '9')
		at--;
	return strtoull(at, NULL, 10);
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
	if (wal_open(&wal, path, NULL, &why) < 0) {
		verdict(ret_verdict, why.code == EILSEQ ? CRASH_REFUSED : CRASH_FAILED, "%s", why.text);
		return 1;
	}
	rc = wal_replay(wal, 0, look, reading, &why);
	reading->last = wal_durable(wal); /* also of a log whose records have all been trimmed */
	wal_close(wal);
	if (rc < 0)
		verdict(ret_verdict, CRASH_REFUSED, "opened, then: %s", why.text);
	return rc != 0;
}

static int recover(void *context, const struct crash_case *state, struct error *err)
{
	struct wal *wal = NULL;
	char path[PATH_MAX];

	log_path(context, state, path);
	if (wal_open(&wal, path, NULL, err) < 0)
		return err->code == EILSEQ ? 0 : -1;
	wal_close(wal);
	return 0;
}

static int judge_state(
    void *context, const struct crash_case *state, struct crash_verdict *ret_verdict, struct error *err)
{
	const uint64_t acked = state->acked ? lsn_of(&state->trace->acks[state->acked - 1]) : 0;
	struct wal_judge *judge = context;
	struct reading first, second;
	char path[PATH_MAX];

	(void)err;
	log_path(judge, state, path);
	if (recover_and_read(judge, path, &first, ret_verdict))
		return 0;
	if (first.wrong)
		return verdict(ret_verdict, CRASH_CORRUPT, "the record of LSN %llu is none that was ever written there",
		    (unsigned long long)first.wrong);
	if (first.last < acked)
		return verdict(ret_verdict, CRASH_LOST, "LSN %llu was acknowledged, the log ends at %llu",
		    (unsigned long long)acked, (unsigned long long)first.last);
	if (first.first > 1 && first.first > judge->first_max)
		return verdict(ret_verdict, CRASH_LOST,
		    "the log begins at LSN %llu, no further than %llu was ever trimmed",
		    (unsigned long long)first.first, (unsigned long long)judge->first_max);
	if (recover_and_read(judge, path, &second, ret_verdict)) {
		ret_verdict->outcome = CRASH_FAILED;
		return 0;
	}
	if (second.first != first.first || second.last != first.last || second.digest != first.digest)
		return verdict(ret_verdict, CRASH_FAILED,
		    "recovered a second time, it is LSN %llu to %llu, not %llu to %llu",
		    (unsigned long long)second.first, (unsigned long long)second.last, (unsigned long long)first.first,
		    (unsigned long long)first.last);
	*ret_verdict = (struct crash_verdict){0};
	return 0;
}

const struct crash_judge crash_judge_wal = {"wal", "", prepare, finish, learn, recover, judge_state};
