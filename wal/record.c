/* SPDX-License-Identifier: Apache-2.0 */
/* One record, and the state in `meta`, as bytes and back. No I/O. */
#define XXH_INLINE_ALL /* short inputs: the call would cost as much as the hash */
#include <endian.h>
#include <msgpack.h>
#include <string.h>
#include <xxhash.h>

#include "wal/internal.h"

#define SCRATCH_SIZE 1024u /* records up to it are hashed in one go: three times as fast as streaming */

static const char state_magic[8] = {'T', 'R', 'I', 'T', 'W', 'A', 'L', '\n'};

struct cursor {
	uint8_t *at;
};

static int put_bytes(void *data, const char *bytes, size_t size)
{
	struct cursor *cursor = data;

	memcpy(cursor->at, bytes, size);
	cursor->at += size;
	return 0;
}

size_t record_encode(uint8_t *to, uint64_t lsn, uint64_t epoch, uint32_t kind, const void *payload, size_t size)
{
	struct cursor cursor = {to};
	msgpack_packer packer;

	msgpack_packer_init(&packer, &cursor, put_bytes);
	msgpack_pack_array(&packer, 5);
	msgpack_pack_uint32(&packer, WAL_FORMAT);
	msgpack_pack_uint64(&packer, lsn);
	msgpack_pack_uint64(&packer, epoch);
	msgpack_pack_uint32(&packer, kind);
	msgpack_pack_bin(&packer, size);
	if (size)
		msgpack_pack_bin_body(&packer, payload, size);
	return (size_t)(cursor.at - to);
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

void state_encode(uint8_t to[WAL_STATE_SIZE], const struct wal_state *state)
{
	const struct wal_hash none = {{0}};
	struct wal_hash sum;
	uint8_t *at = to;

	memcpy(at, state_magic, sizeof state_magic);
	at = put_u64(at + sizeof state_magic, WAL_FORMAT);
	at = put_u64(at, state->epoch);
	at = put_u64(at, state->head_lsn);
	memcpy(at, state->head.bytes, WAL_HASH_SIZE);
	at = put_u64(at + WAL_HASH_SIZE, state->base_lsn);
	memcpy(at, state->base.bytes, WAL_HASH_SIZE);
	at = put_u64(at + WAL_HASH_SIZE, state->checkpoint_lsn);
	sum = record_hash(&none, to, (size_t)(at - to));
	memcpy(at, sum.bytes, WAL_HASH_SIZE);
}

const char *state_decode(const uint8_t *bytes, size_t size, struct wal_state *ret_state)
{
	const struct wal_hash none = {{0}};
	struct wal_state state;
	struct wal_hash sum;
	const uint8_t *at = bytes;
	uint64_t format;

	if (size < sizeof state_magic + sizeof format || memcmp(bytes, state_magic, sizeof state_magic) != 0)
		return "its meta is not that of a log";
	at = get_u64(at + sizeof state_magic, &format);
	if (format != WAL_FORMAT)
		return "its meta is of a format that this version does not know";
	if (size != WAL_STATE_SIZE)
		return "its meta has the wrong size";
	sum = record_hash(&none, bytes, size - WAL_HASH_SIZE);
	if (memcmp(sum.bytes, bytes + size - WAL_HASH_SIZE, WAL_HASH_SIZE) != 0)
		return "its meta does not match its checksum";
	at = get_u64(at, &state.epoch);
	at = get_u64(at, &state.head_lsn);
	memcpy(state.head.bytes, at, WAL_HASH_SIZE);
	at = get_u64(at + WAL_HASH_SIZE, &state.base_lsn);
	memcpy(state.base.bytes, at, WAL_HASH_SIZE);
	get_u64(at + WAL_HASH_SIZE, &state.checkpoint_lsn);
	if (state.base_lsn > state.head_lsn)
		return "its meta says that more was trimmed than was written";
	*ret_state = state;
	return NULL;
}
