/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Length-prefixed msgpack over a stream socket: 4 bytes big-endian length, then one msgpack value.
 * Used between the host and its helper processes, and between the reference orchestrator and its
 * agents. Knows nothing of what the frames mean.
 */
#ifndef TRITONE_WIRE_FRAME_H
#define TRITONE_WIRE_FRAME_H

#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wal/error.h"

#define FRAME_SIZE_MAX (1u << 20) /* bytes of one value; a longer one is EMSGSIZE on both sides */

/* --- writing: fill `buf` with one msgpack value (msgpack_packer_init(&pk, buf,
 * msgpack_sbuffer_write)), then send it --- */

/* Writes the whole frame (blocking fd; EINTR retried, MSG_NOSIGNAL). EPIPE when the peer has gone.
 */
int frame_send(int fd, const msgpack_sbuffer *buf, struct error *err);

/* --- reading, blocking, with a deadline --- */

struct frame {
	msgpack_unpacked unpacked; /* owns the value */
	msgpack_object value;
	uint8_t *bytes; /* what value's strings point into */
};

void frame_init(struct frame *frame);
void frame_finish(struct frame *frame); /* init'd frames only; may be reused after */

/*
 * Reads one frame. timeout_ms < 0: no limit. Returns 1 with *frame filled, 0 at end of file before
 * the first byte; -1: ETIMEDOUT, EMSGSIZE, EILSEQ (not msgpack, or trailing bytes), ECONNRESET (end
 * of file inside a frame).
 */
int frame_recv(int fd, int timeout_ms, struct frame *frame, struct error *err);

/* --- reading, for event loops: feed bytes, take frames --- */

struct frame_reader;
int frame_reader_create(struct frame_reader **ret_reader, struct error *err);
void frame_reader_destroy(struct frame_reader *reader);
int frame_reader_feed(struct frame_reader *reader, const void *bytes, size_t size, struct error *err);
/* 1 and *frame filled, 0 when more bytes are needed, -1 on a bad stream (after which the connection
 * is to be closed). */
int frame_reader_next(struct frame_reader *reader, struct frame *frame, struct error *err);

/* --- looking into a value: maps with string keys. Each returns false (and leaves *ret alone) when
 * absent or of another type --- */

const msgpack_object *frame_get(const msgpack_object *map, const char *key); /* NULL when absent */
bool frame_get_str(
    const msgpack_object *map, const char *key, char *ret, size_t size); /* false too when it does not fit */
bool frame_get_uint(const msgpack_object *map, const char *key, uint64_t *ret);
bool frame_get_int(const msgpack_object *map, const char *key, int64_t *ret);
bool frame_get_double(const msgpack_object *map, const char *key, double *ret); /* integers too */
bool frame_get_bool(const msgpack_object *map, const char *key, bool *ret);
bool frame_get_bin(const msgpack_object *map, const char *key, const uint8_t **ret, size_t *ret_size);

/* --- packing: keys and values in one call --- */

void frame_put_str(msgpack_packer *pk, const char *key, const char *value); /* NULL value: nil */
void frame_put_uint(msgpack_packer *pk, const char *key, uint64_t value);
void frame_put_int(msgpack_packer *pk, const char *key, int64_t value);
void frame_put_double(msgpack_packer *pk, const char *key, double value);
void frame_put_bool(msgpack_packer *pk, const char *key, bool value);
void frame_put_bin(msgpack_packer *pk, const char *key, const void *bytes, size_t size);

#endif
