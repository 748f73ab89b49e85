/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenAI's embeddings: POST /v1/embeddings. Facts from OpenAI's API reference, page "Create embeddings":
 *  - the input is a text, a list of texts, a list of tokens, or a list of lists of tokens; at most 2,048 of them;
 *  - encoding_format is float (the default) or base64: little-endian floats of 32 bits, as the official clients ask;
 *  - the vectors have length 1; `dimensions` says how many numbers they have, 1,536 by default (3,072 for the large
 *    model).
 * The vector of a text follows from the seed, the model's name and the text alone; it means nothing.
 */
#include <endian.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "gateway/reply.h"

#define INPUTS_MAX     2048
#define DIMENSIONS_MAX 3072

/* A list of integers is one input of tokens, any other list is one of inputs. */
static bool several(const json_t *input)
{
	return json_is_array(input) && !json_is_integer(json_array_get(input, 0));
}

static bool is_input(const json_t *input)
{
	return json_is_string(input) ? json_string_length(input) > 0
				     : json_array_size(input) > 0 && json_is_integer(json_array_get(input, 0));
}

static size_t dimensions_of(const struct asked *asked)
{
	const json_t *dimensions = json_object_get(asked->body, "dimensions");

	if (dimensions)
		return (size_t)json_integer_value(dimensions);
	return strstr(asked->model, "large") ? 3072 : 1536;
}

static int read_embeddings(struct asked *asked, struct error *err)
{
	const json_t *input = json_object_get(asked->body, "input"), *one;
	const json_t *dimensions = json_object_get(asked->body, "dimensions");
	const char *format = json_string_value(json_object_get(asked->body, "encoding_format"));
	size_t i;

	if (asked_read(asked, "you must provide a model parameter", err) < 0)
		return -1;
	if (several(input) ? json_array_size(input) > INPUTS_MAX || !json_array_size(input) : !is_input(input))
		return error_set(err, EINVAL, "'$.input' is invalid. Please check the API reference.");
	if (several(input))
		json_array_foreach (input, i, one)
			if (!is_input(one))
				return error_set(err, EINVAL, "'$.input' is invalid. Please check the API reference.");
	if (dimensions && (!json_is_integer(dimensions) || json_integer_value(dimensions) < 1 ||
			      json_integer_value(dimensions) > DIMENSIONS_MAX))
		return error_set(err, EINVAL, "'$.dimensions' is invalid: expected 1 to %d.", DIMENSIONS_MAX);
	if (format && strcmp(format, "float") != 0 && strcmp(format, "base64") != 0)
		return error_set(err, EINVAL, "'$.encoding_format' is invalid: expected 'float' or 'base64'.");
	return 0;
}

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static void vector(uint64_t seed, const char *model, const json_t *input, float *numbers, size_t count)
{
	char *text = json_dumps(input, JSON_COMPACT | JSON_ENCODE_ANY);
	uint64_t state = XXH3_64bits_withSeed(model, strlen(model), seed);
	double length = 0;
	size_t i;

	state = XXH3_64bits_withSeed(text ? text : "", text ? strlen(text) : 0, state);
	free(text);
	for (i = 0; i < count; i++) {
		numbers[i] = (float)((double)(int64_t)next_random(&state) / 0x1p63);
		length += (double)numbers[i] * (double)numbers[i];
	}
	for (i = 0; i < count && length > 0; i++)
		numbers[i] = (float)((double)numbers[i] / sqrt(length));
}

static json_t *as_floats(const float *numbers, size_t count)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < count; i++)
		json_array_append_new(list, json_real((double)numbers[i]));
	return list;
}

static json_t *as_base64(const float *numbers, size_t count)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	unsigned char bytes[DIMENSIONS_MAX * 4 + 2] = {0};
	char text[(DIMENSIONS_MAX * 4 + 2) / 3 * 4 + 1];
	size_t size = count * 4, i, n = 0;

	for (i = 0; i < count; i++) {
		uint32_t bits;

		memcpy(&bits, &numbers[i], sizeof bits);
		bits = htole32(bits);
		memcpy(bytes + i * 4, &bits, sizeof bits);
	}
	for (i = 0; i < size; i += 3) {
		uint32_t three = (uint32_t)bytes[i] << 16 | (uint32_t)bytes[i + 1] << 8 | bytes[i + 2];

		text[n++] = digits[three >> 18];
		text[n++] = digits[three >> 12 & 63];
		text[n++] = i + 1 < size ? digits[three >> 6 & 63] : '=';
		text[n++] = i + 2 < size ? digits[three & 63] : '=';
	}
	return json_stringn(text, n);
}

static void add(json_t *data, uint64_t seed, const struct asked *asked, const json_t *input)
{
	const char *format = json_string_value(json_object_get(asked->body, "encoding_format"));
	const size_t count = dimensions_of(asked);
	float numbers[DIMENSIONS_MAX];

	vector(seed, asked->model, input, numbers, count);
	json_array_append_new(
	    data, json_pack("{s:s, s:i, s:o}", "object", "embedding", "index", (int)json_array_size(data), "embedding",
		      format && !strcmp(format, "base64") ? as_base64(numbers, count) : as_floats(numbers, count)));
}

static struct reply encode(uint64_t seed, const struct asked *asked, const struct completion *completion)
{
	const json_t *input = json_object_get(asked->body, "input"), *one;
	json_t *data = json_array();
	size_t i;

	if (several(input))
		json_array_foreach (input, i, one)
			add(data, seed, asked, one);
	else
		add(data, seed, asked, input);
	return reply_json(200,
	    json_pack("{s:s, s:o, s:s, s:{s:I, s:I}}", "object", "list", "data", data, "model", asked->model, "usage",
		"prompt_tokens", (json_int_t)completion->input, "total_tokens", (json_int_t)completion->total),
	    completion->tokens);
}

const struct wire wire_embeddings = {
    .path = "/v1/embeddings", .family = FAMILY_OPENAI, .read = read_embeddings, .encode = encode};
