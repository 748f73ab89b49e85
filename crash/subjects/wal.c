/* SPDX-License-Identifier: Apache-2.0 */
/* Our own log with the same work: each step a record, the end of a transaction another. It stands beside LMDB, on which
 * it is built, to show what the chain is worth. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "crash/subjects/rows.h"
#include "wal/wal.h"

enum { KIND_PUT = 1, KIND_REMOVE, KIND_END };

static int one_transaction(struct wal *wal, uint32_t transaction, struct error *err)
{
	struct rows_step steps[ROWS_STEPS_MAX];
	size_t count = rows_steps(transaction, steps), i;

	for (i = 0; i < count; i++)
		if (wal_append(
			wal, steps[i].remove ? KIND_REMOVE : KIND_PUT, steps[i].value, steps[i].size, NULL, err) < 0)
			return -1;
	if (wal_append(wal, KIND_END, &transaction, sizeof transaction, NULL, err) < 0)
		return -1;
	return wal_sync(wal, 0, NULL, err);
}

static int write_log(const char *dir, uint32_t count, subject_acked_fn acked, void *arg, struct error *err)
{
	struct wal *wal;
	uint32_t i;
	int r = 0;

	if (wal_open(&wal, dir, NULL, err) < 0)
		return -1;
	for (i = 1; r == 0 && i <= count; i++) {
		r = one_transaction(wal, i, err);
		if (r == 0 && acked(arg, i) < 0)
			r = error_set(err, EIO, "acknowledging transaction %u", i);
	}
	wal_close(wal);
	return r;
}

static int recover(const char *dir, struct error *err)
{
	struct wal *wal;

	if (wal_open(&wal, dir, NULL, err) < 0)
		return -1;
	wal_close(wal);
	return 0;
}

/* ---- check ---- */

struct reading {
	struct rows_step steps[ROWS_STEPS_MAX]; /* of the transaction that is being read */
	size_t count, next;
	uint32_t transaction; /* the last whole one */
	bool wrong;
};

static int on_record(void *arg, const struct wal_record *record)
{
	struct reading *reading = arg;
	uint32_t number = 0;

	if (reading->next == 0)
		reading->count = rows_steps(reading->transaction + 1, reading->steps);
	if (reading->next < reading->count) {
		const struct rows_step *step = &reading->steps[reading->next++];

		reading->wrong = record->kind != (step->remove ? KIND_REMOVE : KIND_PUT) ||
				 record->size != step->size ||
				 (step->size && memcmp(record->payload, step->value, step->size) != 0);
	} else {
		reading->wrong = record->kind != KIND_END || record->size != sizeof number;
		if (!reading->wrong)
			memcpy(&number, record->payload, sizeof number);
		reading->wrong = reading->wrong || number != reading->transaction + 1;
		reading->transaction++;
		reading->next = 0;
	}
	return reading->wrong;
}

static enum subject_verdict check(
    const char *dir, uint32_t acked, uint32_t attempted, char *message, size_t message_size)
{
	struct reading reading = {0};
	struct error err;
	struct wal *wal;
	int r;

	message[0] = '\0';
	if (wal_open(&wal, dir, NULL, &err) < 0) {
		snprintf(message, message_size, "%s", err.text);
		return SUBJECT_REFUSED;
	}
	r = wal_replay(wal, 1, on_record, &reading, &err);
	wal_close(wal);
	if (r < 0) {
		snprintf(message, message_size, "%s", err.text);
		return SUBJECT_REFUSED;
	}
	if (r > 0 || reading.next) {
		snprintf(message, message_size, "transaction %u is %s", reading.transaction + 1,
		    r > 0 ? "not what was written" : "not whole");
		return SUBJECT_CORRUPT;
	}
	return rows_judge(reading.transaction, acked, attempted, message, message_size);
}

const struct subject subject_wal = {
    .name = "wal", .summary = "wal/, as it is", .write = write_log, .recover = recover, .check = check};
