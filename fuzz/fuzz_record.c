/* SPDX-License-Identifier: Apache-2.0 */
/* The three decoders of wal/: a record, the state, a checkpoint's header. What one takes, it must give back. */
#include "fuzz/fuzz.h"
#include "wal/internal.h"

static void try_record(const uint8_t *bytes, size_t size)
{
	struct wal_record record = {0}, again = {0};
	uint8_t *encoded;
	size_t length;

	if (record_decode(bytes, size, &record))
		return;
	MUST(record.payload >= bytes && record.payload + record.size == bytes + size);
	encoded = malloc(record.size + WAL_HEAD_SIZE_MAX);
	MUST(encoded);
	length = record_encode(encoded, record.lsn, record.epoch, record.kind, record.payload, record.size);
	MUST(length <= record.size + WAL_HEAD_SIZE_MAX);
	MUST(record_decode(encoded, length, &again) == NULL);
	MUST(again.lsn == record.lsn && again.epoch == record.epoch && again.kind == record.kind);
	MUST(again.size == record.size && memcmp(again.payload, record.payload, record.size) == 0);
	free(encoded);
}

/* With its checksum made right, or hardly any input would come further than that. */
static void try_state(const uint8_t *bytes, size_t size)
{
	const struct wal_hash none = {{0}};
	uint8_t copy[WAL_STATE_SIZE], encoded[WAL_STATE_SIZE];
	struct wal_state state = {0};
	struct wal_hash sum;
	uint64_t format;

	state_decode(bytes, size, &state, &format);
	if (size < sizeof copy)
		return;
	memcpy(copy, bytes, sizeof copy);
	sum = record_hash(&none, copy, sizeof copy - WAL_HASH_SIZE);
	memcpy(copy + sizeof copy - WAL_HASH_SIZE, sum.bytes, WAL_HASH_SIZE);
	if (state_decode(copy, sizeof copy, &state, &format))
		return;
	MUST(state.base_lsn <= state.head_lsn);
	state_encode(encoded, &state);
	MUST(format < WAL_STATE_FORMAT || memcmp(encoded, copy, sizeof copy) == 0);
}

static void try_checkpoint(const uint8_t *bytes, size_t size)
{
	uint8_t encoded[WAL_CHECKPOINT_SIZE];
	struct wal_checkpoint checkpoint = {0};

	if (checkpoint_decode(bytes, size, &checkpoint))
		return;
	MUST(checkpoint.size <= WAL_CHECKPOINT_MAX && checkpoint.slot <= 1);
	checkpoint_encode(encoded, &checkpoint);
	MUST(size == sizeof encoded && memcmp(encoded, bytes, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	try_record(bytes, size);
	try_state(bytes, size);
	try_checkpoint(bytes, size);
	return 0;
}
