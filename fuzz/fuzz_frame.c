/* SPDX-License-Identifier: Apache-2.0 */
/* wire/: a stream of frames from whoever is at the other end, cut into pieces in two ways that must not matter; and the looks
 * into each value. The first byte is the length of the pieces. */
#include "fuzz/fuzz.h"
#include "wire/frame.h"

static void look_into(const msgpack_object *value)
{
	const uint8_t *bytes;
	char text[16];
	uint64_t number;
	int64_t integer;
	double real;
	size_t size;
	bool flag;

	frame_get(value, "t");
	if (frame_get_str(value, "s", text, sizeof text))
		MUST(strlen(text) < sizeof text);
	frame_get_uint(value, "u", &number);
	frame_get_int(value, "i", &integer);
	frame_get_double(value, "d", &real);
	frame_get_bool(value, "b", &flag);
	if (frame_get_bin(value, "x", &bytes, &size) && size)
		MUST(bytes[0] <= 0xff && bytes[size - 1] <= 0xff); /* both are there to be read */
}

/* How many frames, and whether the stream went bad. */
static unsigned read_all(const uint8_t *bytes, size_t size, size_t piece, bool *ret_bad)
{
	struct frame_reader *reader;
	struct frame frame;
	unsigned frames = 0;
	size_t at = 0;
	int rc = 0;

	MUST(frame_reader_create(&reader, NULL) == 0);
	frame_init(&frame);
	while (at < size && rc >= 0) {
		size_t length = size - at < piece ? size - at : piece;

		if (frame_reader_feed(reader, bytes + at, length, NULL) < 0) {
			rc = -1;
			break;
		}
		at += length;
		while ((rc = frame_reader_next(reader, &frame, NULL)) == 1) {
			look_into(&frame.value);
			frames++;
		}
	}
	frame_finish(&frame);
	frame_reader_destroy(reader);
	*ret_bad = rc < 0;
	return frames;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	bool bad_whole, bad_pieces;
	unsigned whole, pieces;

	if (!size)
		return 0;
	whole = read_all(bytes + 1, size - 1, size, &bad_whole);
	pieces = read_all(bytes + 1, size - 1, (size_t)bytes[0] % 7 + 1, &bad_pieces);
	MUST(whole == pieces && bad_whole == bad_pieces);
	return 0;
}
