/* SPDX-License-Identifier: Apache-2.0 */
/* The lines of a recording; see recording.h. */
#include "gateway/proxy/recording.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <xxhash.h>

#define DEPTH_FLAGS (JSON_ALLOW_NUL | JSON_DECODE_ANY)

/* ---- the key ---- */

static void add(XXH3_state_t *state, const char *bytes, size_t size)
{
	XXH3_128bits_update(state, bytes, size);
	XXH3_128bits_update(state, "\n", 1);
}

void recording_key(const struct recording_request *request, char key[RECORDING_KEY_SIZE])
{
	json_t *json = request->size ? json_loadb(request->body, request->size, DEPTH_FLAGS, NULL) : NULL;
	char *text = json ? json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY) : NULL;
	XXH3_state_t *state = XXH3_createState();
	XXH128_hash_t hash = {0};

	if (state) {
		XXH3_128bits_reset(state);
		add(state, request->provider, strlen(request->provider));
		add(state, request->method, strlen(request->method));
		add(state, request->path, strlen(request->path));
		if (text)
			add(state, text, strlen(text));
		else if (request->size)
			add(state, request->body, request->size);
		hash = XXH3_128bits_digest(state);
	}
	snprintf(key, RECORDING_KEY_SIZE, "%016" PRIx64 "%016" PRIx64, (uint64_t)hash.high64, (uint64_t)hash.low64);
	XXH3_freeState(state);
	free(text);
	json_decref(json);
}

/* ---- bytes that are no text ---- */

static json_t *hex_of(const char *bytes, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	char *text = malloc(size * 2 + 1);
	json_t *object;
	size_t i;

	if (!text)
		return NULL;
	for (i = 0; i < size; i++) {
		text[i * 2] = digits[(unsigned char)bytes[i] >> 4];
		text[i * 2 + 1] = digits[(unsigned char)bytes[i] & 15];
	}
	object = json_pack("{s:o}", "hex", json_stringn(text, size * 2));
	free(text);
	return object;
}

static int digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool from_hex(const json_t *text, char **ret, size_t *ret_size)
{
	const char *digits = json_string_value(text);
	const size_t size = json_string_length(text) / 2;
	char *bytes = digits ? malloc(size + 1) : NULL;
	size_t i;

	for (i = 0; bytes && i < size; i++) {
		int high = digit(digits[i * 2]), low = digit(digits[i * 2 + 1]);

		if (high < 0 || low < 0) {
			free(bytes);
			return false;
		}
		bytes[i] = (char)(high << 4 | low);
	}
	*ret = bytes;
	*ret_size = size;
	return bytes != NULL;
}

static json_t *text_of(const char *bytes, size_t size)
{
	json_t *text = json_stringn(size ? bytes : "", size);

	return text ? text : hex_of(bytes, size);
}

/* ---- lines ---- */

static json_t *list_of(const struct header_list *headers)
{
	const char *connection = header_list_get(headers, "Connection"), *name, *value;
	json_t *list = json_array();
	size_t at = 0;

	while ((name = header_list_next(headers, &at, &value)))
		if (!header_is_hop(name, connection) && strcasecmp(name, "Content-Length") != 0 &&
		    strcasecmp(name, "Set-Cookie") != 0)
			json_array_append_new(
			    list, json_pack("[oo]", text_of(name, strlen(name)), text_of(value, strlen(value))));
	return list;
}

char *recording_line(const struct recording_request *request, const char *key, uint64_t nth, int status,
    const struct header_list *headers, const char *answer, size_t size)
{
	json_t *body = request->size ? json_loadb(request->body, request->size, DEPTH_FLAGS, NULL) : json_null();
	json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:I, s:o, s:i, s:o, s:o}", "provider", request->provider,
	    "method", request->method, "path", request->path, "key", key, "nth", (json_int_t)nth, "request",
	    body ? body : text_of(request->body, request->size), "status", status, "headers", list_of(headers),
	    "answer", text_of(answer, size));
	char *text = object ? json_dumps(object, 0) : NULL, *line;
	const size_t length = text ? strlen(text) : 0;

	json_decref(object);
	line = text ? realloc(text, length + 2) : NULL;
	if (!line) {
		free(text);
		return NULL;
	}
	memcpy(line + length, "\n", 2);
	return line;
}

bool recording_ends(struct reply *reply)
{
	size_t room = 0, i;

	for (i = 1; i < reply->size; i++) {
		/* an empty line, whichever way lines end */
		bool ends =
		    reply->body[i] == '\n' &&
		    (reply->body[i - 1] == '\n' || (i > 2 && reply->body[i - 1] == '\r' && reply->body[i - 2] == '\n'));

		if (!ends && i + 1 < reply->size)
			continue;
		if (reply->end_count + 2 > room) { /* one more than there are, for who adds an event */
			size_t *grown = reallocarray(reply->ends, room = room ? room * 2 : 64, sizeof *grown);

			if (!grown)
				break;
			reply->ends = grown;
		}
		reply->ends[reply->end_count++] = i + 1;
	}
	if (i >= reply->size && reply->end_count)
		return true;
	free(reply->ends);
	reply->ends = NULL;
	reply->end_count = 0;
	return false;
}

static bool read_headers(const json_t *list, struct header_list *headers)
{
	const json_t *pair;
	size_t i;

	json_array_foreach (list, i, pair) {
		const json_t *name = json_array_get(pair, 0), *value = json_array_get(pair, 1);

		if (!json_is_string(name) || !json_is_string(value))
			continue; /* bytes that no client is known to want */
		if (!header_list_add(headers, json_string_value(name), json_string_length(name),
			json_string_value(value), json_string_length(value)))
			return false;
	}
	return json_is_array(list);
}

static bool read_answer(const json_t *answer, struct reply *reply)
{
	if (json_is_object(answer))
		return from_hex(json_object_get(answer, "hex"), &reply->body, &reply->size);
	if (!json_is_string(answer))
		return false;
	reply->size = json_string_length(answer);
	reply->body = malloc(reply->size + 1);
	if (reply->body)
		memcpy(reply->body, json_string_value(answer), reply->size + 1);
	return reply->body != NULL;
}

int recording_answer(
    const char *line, size_t size, struct reply *ret_reply, struct header_list *ret_headers, struct error *err)
{
	static const char stream[] = "text/event-stream";
	json_error_t why;
	json_t *object = json_loadb(line, size, JSON_ALLOW_NUL, &why);
	const json_t *status = json_object_get(object, "status");
	struct header_list headers = {0};
	struct reply reply = {.status = (int)json_integer_value(status)};
	const char *type;

	if (!object)
		return error_set(err, EINVAL, "no JSON: column %d: %.100s", why.column, why.text);
	if (!json_is_integer(status) || reply.status < 200 || reply.status > 599) {
		error_set(err, EINVAL, "'status' is none of 200 to 599");
		goto fail;
	}
	if (!read_headers(json_object_get(object, "headers"), &headers)) {
		error_set(err, EINVAL, "'headers' is no list of pairs of %u bytes at most", HEADER_LIST_MAX);
		goto fail;
	}
	if (!read_answer(json_object_get(object, "answer"), &reply)) {
		error_set(err, EINVAL, "'answer' is neither a text nor {\"hex\": ...}");
		goto fail;
	}
	type = header_list_get(&headers, "Content-Type");
	if (type && !strncasecmp(type, stream, sizeof stream - 1))
		(void)recording_ends(&reply);
	json_decref(object);
	*ret_reply = reply;
	*ret_headers = headers;
	return 0;
fail:
	json_decref(object);
	header_list_free(&headers);
	reply_free(&reply);
	return -1;
}
