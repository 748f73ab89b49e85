/* SPDX-License-Identifier: Apache-2.0 */
/* One record, the state and what a checkpoint says of itself, as bytes and back. No I/O. */
#define XXH_INLINE_ALL /* short inputs: the call would cost as much as the hash */
#include <endian.h>
#include <string.h>
#include <xxhash.h>

#include "wal/internal.h"

#define SCRATCH_SIZE 1024u /* records up to it are hashed in one go: three times as fast as streaming */

#define STATE_SIZE_1 96u

static const char state_magic[8] = {'T', 'R', 'I', 'T', 'W', 'A', 'L', '\n'};
static const char checkpoint_magic[8] = {'T', 'R', 'I', 'T', 'C', 'K', 'P', '\n'};

/* One msgpack unsigned integer in its shortest form. By hand, as the reading: a packer calls back for each of these, which
 * takes as long as all the rest of an append. */
static uint8_t *put_uint(uint8_t *at, uint64_t value)
{
	const unsigned power = value <= UINT8_MAX ? 0 : value <= UINT16_MAX ? 1 : value <= UINT32_MAX ? 2 : 3;
	const uint64_t big = htobe64(value << (64 - (8u << power)));

	if (value < 0x80) {
		*at = (uint8_t)value;
		return at + 1;
	}
	*at++ = (uint8_t)(0xcc + power);
	memcpy(at, &big, sizeof big); /* there is room for 8, see WAL_HEAD_SIZE_MAX */
	return at + ((size_t)1 << power);
}

static uint8_t *put_bin_size(uint8_t *at, size_t size)
{
	const unsigned power = size <= UINT8_MAX ? 0 : size <= UINT16_MAX ? 1 : 2;
	const uint32_t big = htobe32((uint32_t)size << (32 - (8u << power)));

	*at++ = (uint8_t)(0xc4 + power);
	memcpy(at, &big, sizeof big);
	return at + ((size_t)1 << power);
}

size_t record_encode(uint8_t *to, uint64_t lsn, uint64_t epoch, uint32_t kind, const void *payload, size_t size)
{
	uint8_t *at = to;

	*at++ = 0x95; /* an array of 5 */
	at = put_uint(at, WAL_FORMAT);
	at = put_uint(at, lsn);
	at = put_uint(at, epoch);
	at = put_uint(at, kind);
	at = put_bin_size(at, size);
	if (size)
		memcpy(at, payload, size);
	return (size_t)(at - to) + size;
}

/* Takes one msgpack unsigned integer; false if there is none. By hand, since msgpack_unpack allocates for each record
 * and halves the speed of replay. */
static bool take_uint(const uint8_t **at, const uint8_t *end, uint64_t *ret_value)
{
	size_t width, i;
	uint64_t value = 0;

	if (*at == end)
		return false;
	if (**at < 0x80) {
		*ret_value = *(*at)++;
		return true;
	}
	if (**at < 0xcc || **at > 0xcf)
		return false;
	width = (size_t)1 << (**at - 0xcc);
	if ((size_t)(end - *at) < 1 + width)
		return false;
	for (i = 1; i <= width; i++)
		value = value << 8 | (*at)[i];
	*at += 1 + width;
	*ret_value = value;
	return true;
}

static bool take_bin_size(const uint8_t **at, const uint8_t *end, size_t *ret_size)
{
	size_t width, i, size = 0;

	if (*at == end || **at < 0xc4 || **at > 0xc6)
		return false;
	width = (size_t)1 << (**at - 0xc4);
	if ((size_t)(end - *at) < 1 + width)
		return false;
	for (i = 1; i <= width; i++)
		size = size << 8 | (*at)[i];
	*at += 1 + width;
	*ret_size = size;
	return true;
}

const char *record_decode(const uint8_t *bytes, size_t size, struct wal_record *ret_record)
{
	const uint8_t *at = bytes, *end = bytes + size;
	struct wal_record record;
	uint64_t format, kind;

	if (at == end || *at++ != 0x95)
		return "not a msgpack array of 5";
	if (!take_uint(&at, end, &format))
		return "no format number";
	if (format != WAL_FORMAT)
		return "of a format that this version does not know";
	if (!take_uint(&at, end, &record.lsn) || !take_uint(&at, end, &record.epoch) || !take_uint(&at, end, &kind) ||
	    kind > UINT32_MAX)
		return "LSN, epoch or kind is not a number";
	if (!take_bin_size(&at, end, &record.size) || record.size != (size_t)(end - at))
		return "the payload does not fill the record";
	record.kind = (uint32_t)kind;
	record.payload = at;
	record.checkpoint = false;
	*ret_record = record;
	return NULL;
}

static struct wal_hash canonical(XXH128_hash_t hash)
{
	XXH128_canonical_t bytes;
	struct wal_hash ret;

	XXH128_canonicalFromHash(&bytes, hash);
	memcpy(ret.bytes, bytes.digest, sizeof ret.bytes);
	return ret;
}

struct wal_hash record_hash_in_place(uint8_t *room, const struct wal_hash *previous, size_t size)
{
	memcpy(room, previous->bytes, WAL_HASH_SIZE);
	return canonical(XXH3_128bits(room, WAL_HASH_SIZE + size));
}

struct wal_hash record_hash(const struct wal_hash *previous, const uint8_t *bytes, size_t size)
{
	uint8_t scratch[WAL_HASH_SIZE + SCRATCH_SIZE];
	XXH3_state_t state;

	if (size <= SCRATCH_SIZE) {
		memcpy(scratch + WAL_HASH_SIZE, bytes, size);
		return record_hash_in_place(scratch, previous, size);
	}
	XXH3_128bits_reset(&state);
	XXH3_128bits_update(&state, previous->bytes, WAL_HASH_SIZE);
	XXH3_128bits_update(&state, bytes, size);
	return canonical(XXH3_128bits_digest(&state));
}

static uint8_t *put_u64(uint8_t *at, uint64_t value)
{
	value = htole64(value);
	memcpy(at, &value, sizeof value);
	return at + sizeof value;
}

static const uint8_t *get_u64(const uint8_t *at, uint64_t *ret_value)
{
	memcpy(ret_value, at, sizeof *ret_value);
	*ret_value = le64toh(*ret_value);
	return at + sizeof *ret_value;
}

static uint8_t *put_hash(uint8_t *at, const struct wal_hash *hash)
{
	memcpy(at, hash->bytes, WAL_HASH_SIZE);
	return at + WAL_HASH_SIZE;
}

static const uint8_t *get_hash(const uint8_t *at, struct wal_hash *ret_hash)
{
	memcpy(ret_hash->bytes, at, WAL_HASH_SIZE);
	return at + WAL_HASH_SIZE;
}

/* The state, and what a checkpoint says of itself, end with a sum over all before it. */
static void put_sum(const uint8_t *from, uint8_t *at)
{
	const struct wal_hash none = {{0}};
	struct wal_hash sum = record_hash(&none, from, (size_t)(at - from));

	put_hash(at, &sum);
}

static bool sum_right(const uint8_t *bytes, size_t size)
{
	const struct wal_hash none = {{0}};
	struct wal_hash sum = record_hash(&none, bytes, size - WAL_HASH_SIZE);

	return memcmp(sum.bytes, bytes + size - WAL_HASH_SIZE, WAL_HASH_SIZE) == 0;
}

void state_encode(uint8_t to[WAL_STATE_SIZE], const struct wal_state *state)
{
	uint8_t *at = to;

	memcpy(at, state_magic, sizeof state_magic);
	at = put_u64(at + sizeof state_magic, WAL_STATE_FORMAT);
	at = put_u64(at, state->epoch);
	at = put_u64(at, state->head_lsn);
	at = put_hash(at, &state->head);
	at = put_u64(at, state->base_lsn);
	at = put_hash(at, &state->base);
	at = put_u64(at, state->checkpoint_lsn);
	at = put_u64(at, state->txn);
	put_sum(to, at);
}

const char *state_decode(const uint8_t *bytes, size_t size, struct wal_state *ret_state, uint64_t *ret_format)
{
	struct wal_state state = {0};
	const uint8_t *at = bytes;
	uint64_t format;

	if (size < sizeof state_magic + sizeof format || memcmp(bytes, state_magic, sizeof state_magic) != 0)
		return "its meta is not that of a log";
	at = get_u64(at + sizeof state_magic, &format);
	if (format < 1 || format > WAL_STATE_FORMAT)
		return "its meta is of a format that this version does not know";
	if (size != (format == 1 ? STATE_SIZE_1 : WAL_STATE_SIZE))
		return "its meta has the wrong size";
	if (!sum_right(bytes, size))
		return "its meta does not match its checksum";
	at = get_u64(at, &state.epoch);
	at = get_u64(at, &state.head_lsn);
	at = get_hash(at, &state.head);
	at = get_u64(at, &state.base_lsn);
	at = get_hash(at, &state.base);
	at = get_u64(at, &state.checkpoint_lsn);
	if (format > 1)
		get_u64(at, &state.txn);
	if (state.base_lsn > state.checkpoint_lsn)
		return "its meta says that more was trimmed than the checkpoint stands for";
	if (state.checkpoint_lsn > state.head_lsn)
		return "its meta says that the checkpoint stands for more than was written";
	*ret_state = state;
	*ret_format = format;
	return NULL;
}

void checkpoint_encode(uint8_t to[WAL_CHECKPOINT_SIZE], const struct wal_checkpoint *checkpoint)
{
	uint8_t *at = to;

	memcpy(at, checkpoint_magic, sizeof checkpoint_magic);
	at = put_u64(at + sizeof checkpoint_magic, WAL_FORMAT);
	at = put_u64(at, checkpoint->lsn);
	at = put_u64(at, checkpoint->epoch);
	at = put_u64(at, checkpoint->slot);
	at = put_u64(at, checkpoint->size);
	at = put_hash(at, &checkpoint->chain);
	at = put_hash(at, &checkpoint->content);
	put_sum(to, at);
}

const char *checkpoint_decode(const uint8_t *bytes, size_t size, struct wal_checkpoint *ret_checkpoint)
{
	struct wal_checkpoint checkpoint;
	const uint8_t *at = bytes;
	uint64_t format;

	if (size < sizeof checkpoint_magic + sizeof format ||
	    memcmp(bytes, checkpoint_magic, sizeof checkpoint_magic) != 0)
		return "its header is not that of a checkpoint";
	at = get_u64(at + sizeof checkpoint_magic, &format);
	if (format != WAL_FORMAT)
		return "it is of a format that this version does not know";
	if (size != WAL_CHECKPOINT_SIZE)
		return "its header has the wrong size";
	if (!sum_right(bytes, size))
		return "its header does not match its checksum";
	at = get_u64(at, &checkpoint.lsn);
	at = get_u64(at, &checkpoint.epoch);
	at = get_u64(at, &checkpoint.slot);
	at = get_u64(at, &checkpoint.size);
	at = get_hash(at, &checkpoint.chain);
	get_hash(at, &checkpoint.content);
	if (checkpoint.slot > 1 || checkpoint.size > WAL_CHECKPOINT_MAX)
		return "its header names a place or a size that no checkpoint has";
	*ret_checkpoint = checkpoint;
	return NULL;
}
