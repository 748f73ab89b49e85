/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of checkpoints share: payloads that follow from their LSN, and a log that is opened again. */
#ifndef TRITONE_TESTS_WAL_CHECKPOINT_FIXTURE_H
#define TRITONE_TESTS_WAL_CHECKPOINT_FIXTURE_H

#include "wal_fixture.h"

static inline uint8_t *checkpoint_make(uint64_t lsn, size_t size)
{
	uint8_t *bytes = malloc(size + 1);
	size_t i;

	assert_non_null(bytes);
	for (i = 0; i < size; i++)
		bytes[i] = (uint8_t)(lsn * 131 + i * 7 + i / 4080);
	return bytes;
}

static inline int take_checkpoint(struct wal *wal, uint64_t lsn, size_t size, struct error *err)
{
	uint8_t *bytes = checkpoint_make(lsn, size);
	int rc = wal_checkpoint(wal, lsn, bytes, size, err);

	free(bytes);
	return rc;
}

/* Appends up to and including `last`, and syncs. */
static inline void append_upto(struct fixture *f, uint64_t last)
{
	uint64_t durable = wal_durable(f->wal);

	assert_int_equal(append_some(f->wal, durable + 1, last - durable, &f->err), 0);
	assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0);
}

static inline void reopen(struct fixture *f, const struct wal_options *options)
{
	wal_close(f->wal);
	f->wal = NULL;
	if (wal_open(&f->wal, f->log, options, &f->err) < 0)
		fail_msg("open: %s", f->err.text);
}

static inline int ignore(void *arg, const struct wal_record *record)
{
	(void)record;
	++*(uint64_t *)arg;
	return 0;
}

#endif
