/* SPDX-License-Identifier: Apache-2.0 */
/* What a request says: the task it is for, its model or key, and whether it is well-formed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "gateway/internal.h"

void request_bad(struct request *request, int status, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	request->bad = status;
	vsnprintf(request->bad_text, sizeof request->bad_text, format, args);
	va_end(args);
}

static const char *header(const struct request *request, const char *name)
{
	const char *value = name ? MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name) : NULL;

	return value ? value : "";
}

/* A header's number; 0 when it is not there or not one. */
static int64_t header_number(const struct request *request, const char *name)
{
	const char *text = header(request, name);
	char *end;
	long long n = strtoll(text, &end, 10);

	return *text && !*end && n > 0 ? n : 0;
}

/* False, and the request is bad, when the body is not a JSON object. */
static bool parse(struct request *request)
{
	json_error_t why;

	if (request->bad)
		return false;
	request->json = json_loadb(request->body ? request->body : "", request->size, 0, &why);
	if (!request->json)
		request_bad(request, 400,
		    "We could not parse the JSON body of your request: line %d, column %d: %.100s", why.line,
		    why.column, why.text);
	else if (!json_is_object(request->json))
		request_bad(request, 400, "The body of your request is not a JSON object.");
	return !request->bad;
}

void request_read_call(struct request *request)
{
	const struct gateway *gateway = request->gateway;
	struct asked *asked = &request->asked;
	struct error err = {0};

	request->task = header(request, gateway->task_header);
	request->attempt = header_number(request, gateway->attempt_header);
	asked->provider = request->target;
	asked->task = request->task;
	asked->role = header(request, "X-Role");
	asked->after = header(request, "X-After");
	asked->step = header_number(request, "X-Step");
	asked->bytes = request->body;
	asked->size = request->size;
	asked->model = "";
	if (parse(request)) {
		asked->body = request->json;
		if (asked->wire->read(asked, &err) < 0)
			request_bad(request, 400, "%s", err.text);
	}
	request->key = asked->model;
}

enum family request_family(const struct request *request)
{
	if (request->asked.wire)
		return request->asked.wire->family;
	/* Both have their models at the same place; Anthropic requires this header of everybody. */
	return *header(request, "anthropic-version") ? FAMILY_ANTHROPIC : FAMILY_OPENAI;
}

void request_id(const struct request *request, char id[REQUEST_ID_SIZE])
{
	uint64_t number = request->id;

	snprintf(id, REQUEST_ID_SIZE, "req_%016" PRIx64,
	    (uint64_t)XXH3_64bits_withSeed(&number, sizeof number, request->gateway->seed));
}

/* A member's text; numbers count too. */
static const char *member(struct request *request, const char *name, char number[32])
{
	const json_t *value = name ? json_object_get(request->json, name) : NULL;

	if (json_is_string(value))
		return json_string_value(value);
	if (!json_is_integer(value))
		return "";
	snprintf(number, 32, "%lld", (long long)json_integer_value(value));
	return number;
}

void request_read_sink(struct request *request)
{
	const struct gateway *gateway = request->gateway;
	const json_t *attempt;

	request->task = request->key = "";
	if (!parse(request))
		return;
	request->task = member(request, gateway->sink_task, request->numbers[0]);
	request->key = member(request, gateway->sink_key, request->numbers[1]);
	attempt = json_object_get(request->json, "attempt");
	request->attempt = json_is_integer(attempt) ? (int64_t)json_integer_value(attempt) : 0;
}
