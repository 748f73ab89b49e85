/* SPDX-License-Identifier: Apache-2.0 */
/* Length-prefixed msgpack frames; see frame.h. */
#include "wire/frame.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "wire/value.h"

#define HEAD 4u

/* ---- writing ---- */

static int send_all(int fd, const uint8_t *bytes, size_t size, struct error *err)
{
	while (size) {
		ssize_t n = send(fd, bytes, size, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(err, errno, "sending a frame: %s", strerror(errno));
		bytes += n;
		size -= (size_t)n;
	}
	return 0;
}

int frame_send(int fd, const msgpack_sbuffer *buf, struct error *err)
{
	uint8_t *whole;
	uint32_t length = 0;
	int r;

	if (buf->size > FRAME_SIZE_MAX)
		return error_set(
		    err, EMSGSIZE, "a frame of %zu bytes is over the limit of %u", buf->size, FRAME_SIZE_MAX);
	whole = malloc(HEAD + buf->size);
	if (!whole)
		return error_set(err, ENOMEM, "no memory for a frame");
	length = htonl((uint32_t)buf->size);
	memcpy(whole, &length, HEAD);
	memcpy(whole + HEAD, buf->data, buf->size);
	r = send_all(fd, whole, HEAD + buf->size, err);
	free(whole);
	return r;
}

/* ---- a frame's value ---- */

void frame_init(struct frame *frame)
{
	memset(frame, 0, sizeof *frame);
	msgpack_unpacked_init(&frame->unpacked);
}

void frame_finish(struct frame *frame)
{
	msgpack_unpacked_destroy(&frame->unpacked);
	free(frame->bytes);
	frame_init(frame);
}

/* Takes ownership of `bytes`. */
static int frame_parse(struct frame *frame, uint8_t *bytes, size_t size, struct error *err)
{
	frame_finish(frame);
	frame->bytes = bytes;
	if (value_unpack(&frame->unpacked, bytes, size, err) < 0)
		return error_context(err, "a frame");
	frame->value = frame->unpacked.data;
	return 0;
}

/* ---- reading, blocking ---- */

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Returns the number of bytes read: less than `size` only at end of file. -1 on errors. */
static ssize_t recv_all(int fd, uint8_t *bytes, size_t size, int64_t deadline, struct error *err)
{
	size_t got = 0;

	while (got < size) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int64_t left = deadline < 0 ? -1 : deadline - now_ms();
		ssize_t n;
		int r;

		if (deadline >= 0 && left < 0)
			left = 0;
		r = poll(&p, 1, (int)left);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return error_set(err, errno, "waiting for a frame: %s", strerror(errno));
		if (r == 0)
			return error_set(err, ETIMEDOUT, "no frame in time");
		n = recv(fd, bytes + got, size - got, 0);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return error_set(err, errno, "receiving a frame: %s", strerror(errno));
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

int frame_recv(int fd, int timeout_ms, struct frame *frame, struct error *err)
{
	int64_t deadline = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
	uint32_t length = 0;
	uint8_t *bytes;
	ssize_t n;

	n = recv_all(fd, (uint8_t *)&length, HEAD, deadline, err);
	if (n < 0)
		return -1;
	if (n == 0)
		return 0;
	if (n < (ssize_t)HEAD)
		return error_set(err, ECONNRESET, "end of file inside a frame");
	length = ntohl(length);
	if (length > FRAME_SIZE_MAX)
		return error_set(err, EMSGSIZE, "a frame of %u bytes is over the limit of %u", length, FRAME_SIZE_MAX);
	bytes = malloc(length ? length : 1);
	if (!bytes)
		return error_set(err, ENOMEM, "no memory for a frame of %u bytes", length);
	n = recv_all(fd, bytes, length, deadline, err);
	if (n >= 0 && n < (ssize_t)length)
		n = error_set(err, ECONNRESET, "end of file inside a frame");
	if (n < 0) {
		free(bytes);
		return -1;
	}
	return frame_parse(frame, bytes, length, err) == 0 ? 1 : -1;
}

/* ---- reading, fed by an event loop ---- */

struct frame_reader {
	uint8_t *bytes;
	size_t used, room;
};

int frame_reader_create(struct frame_reader **ret_reader, struct error *err)
{
	struct frame_reader *reader = calloc(1, sizeof *reader);

	if (!reader)
		return error_set(err, ENOMEM, "no memory for a frame reader");
	*ret_reader = reader;
	return 0;
}

void frame_reader_destroy(struct frame_reader *reader)
{
	if (!reader)
		return;
	free(reader->bytes);
	free(reader);
}

int frame_reader_feed(struct frame_reader *reader, const void *bytes, size_t size, struct error *err)
{
	if (!size)
		return 0;
	if (reader->room - reader->used < size) {
		size_t room = reader->room ? reader->room : 4096;
		uint8_t *grown;

		while (room - reader->used < size)
			room *= 2;
		grown = realloc(reader->bytes, room);
		if (!grown)
			return error_set(err, ENOMEM, "no memory for %zu bytes of frames", room);
		reader->bytes = grown;
		reader->room = room;
	}
	memcpy(reader->bytes + reader->used, bytes, size);
	reader->used += size;
	return 0;
}

int frame_reader_next(struct frame_reader *reader, struct frame *frame, struct error *err)
{
	uint32_t length = 0;
	uint8_t *bytes;

	if (reader->used < HEAD)
		return 0;
	memcpy(&length, reader->bytes, HEAD);
	length = ntohl(length);
	if (length > FRAME_SIZE_MAX)
		return error_set(err, EMSGSIZE, "a frame of %u bytes is over the limit of %u", length, FRAME_SIZE_MAX);
	if (reader->used < HEAD + length)
		return 0;
	bytes = malloc(length ? length : 1);
	if (!bytes)
		return error_set(err, ENOMEM, "no memory for a frame of %u bytes", length);
	memcpy(bytes, reader->bytes + HEAD, length);
	reader->used -= HEAD + length;
	memmove(reader->bytes, reader->bytes + HEAD + length, reader->used);
	return frame_parse(frame, bytes, length, err) == 0 ? 1 : -1;
}

/* ---- looking into maps ---- */

const msgpack_object *frame_get(const msgpack_object *map, const char *key)
{
	size_t size = strlen(key);
	uint32_t i;

	if (map->type != MSGPACK_OBJECT_MAP)
		return NULL;
	for (i = 0; i < map->via.map.size; i++) {
		const msgpack_object_kv *kv = &map->via.map.ptr[i];

		if (kv->key.type == MSGPACK_OBJECT_STR && kv->key.via.str.size == size &&
		    !memcmp(kv->key.via.str.ptr, key, size))
			return &kv->val;
	}
	return NULL;
}

bool frame_get_str(const msgpack_object *map, const char *key, char *ret, size_t size)
{
	const msgpack_object *o = frame_get(map, key);

	if (!o || o->type != MSGPACK_OBJECT_STR || o->via.str.size >= size)
		return false;
	memcpy(ret, o->via.str.ptr, o->via.str.size);
	ret[o->via.str.size] = '\0';
	return true;
}

bool frame_get_uint(const msgpack_object *map, const char *key, uint64_t *ret)
{
	const msgpack_object *o = frame_get(map, key);

	if (!o || o->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
		return false;
	*ret = o->via.u64;
	return true;
}

bool frame_get_int(const msgpack_object *map, const char *key, int64_t *ret)
{
	const msgpack_object *o = frame_get(map, key);

	if (!o)
		return false;
	if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER && o->via.u64 <= INT64_MAX)
		*ret = (int64_t)o->via.u64;
	else if (o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
		*ret = o->via.i64;
	else
		return false;
	return true;
}

bool frame_get_double(const msgpack_object *map, const char *key, double *ret)
{
	const msgpack_object *o = frame_get(map, key);
	int64_t integer;

	if (!o)
		return false;
	if (o->type == MSGPACK_OBJECT_FLOAT64 || o->type == MSGPACK_OBJECT_FLOAT32)
		*ret = o->via.f64;
	else if (frame_get_int(map, key, &integer))
		*ret = (double)integer;
	else
		return false;
	return true;
}

bool frame_get_bool(const msgpack_object *map, const char *key, bool *ret)
{
	const msgpack_object *o = frame_get(map, key);

	if (!o || o->type != MSGPACK_OBJECT_BOOLEAN)
		return false;
	*ret = o->via.boolean;
	return true;
}

bool frame_get_bin(const msgpack_object *map, const char *key, const uint8_t **ret, size_t *ret_size)
{
	const msgpack_object *o = frame_get(map, key);

	if (!o || o->type != MSGPACK_OBJECT_BIN)
		return false;
	*ret = (const uint8_t *)o->via.bin.ptr;
	*ret_size = o->via.bin.size;
	return true;
}

/* ---- packing ---- */

static void put_string(msgpack_packer *pk, const char *text)
{
	size_t size = strlen(text);

	msgpack_pack_str(pk, size);
	msgpack_pack_str_body(pk, text, size);
}

void frame_put_str(msgpack_packer *pk, const char *key, const char *value)
{
	put_string(pk, key);
	if (value)
		put_string(pk, value);
	else
		msgpack_pack_nil(pk);
}

void frame_put_uint(msgpack_packer *pk, const char *key, uint64_t value)
{
	put_string(pk, key);
	msgpack_pack_uint64(pk, value);
}

void frame_put_int(msgpack_packer *pk, const char *key, int64_t value)
{
	put_string(pk, key);
	msgpack_pack_int64(pk, value);
}

void frame_put_double(msgpack_packer *pk, const char *key, double value)
{
	put_string(pk, key);
	msgpack_pack_double(pk, value);
}

void frame_put_bool(msgpack_packer *pk, const char *key, bool value)
{
	put_string(pk, key);
	if (value)
		msgpack_pack_true(pk);
	else
		msgpack_pack_false(pk);
}

void frame_put_bin(msgpack_packer *pk, const char *key, const void *bytes, size_t size)
{
	put_string(pk, key);
	msgpack_pack_bin(pk, size);
	msgpack_pack_bin_body(pk, bytes, size);
}
