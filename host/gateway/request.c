/* SPDX-License-Identifier: Apache-2.0 */
/* What a request says: the task it is for, its model or key, and whether it is well-formed. */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

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

void request_read_chat(struct request *request)
{
	const struct gateway *gateway = request->gateway;

	request->task = header(request, gateway->task_header);
	request->attempt = header_number(request, gateway->attempt_header);
	request->role = header(request, "X-Role");
	request->after = header(request, "X-After");
	request->step = header_number(request, "X-Step");
	request->key = "";
	if (!parse(request))
		return;
	if (!json_is_string(json_object_get(request->json, "model"))) {
		request_bad(request, 400, "you must provide a model parameter");
		return;
	}
	request->key = json_string_value(json_object_get(request->json, "model"));
	if (!json_array_size(json_object_get(request->json, "messages")))
		request_bad(request, 400, "'messages' is a required property: a list of at least one message");
	else if (json_is_true(json_object_get(request->json, "stream")))
		request_bad(request, 400, "'stream' is not supported by this gateway");
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

	request->task = request->key = request->role = request->after = "";
	if (!parse(request))
		return;
	request->task = member(request, gateway->sink_task, request->numbers[0]);
	request->key = member(request, gateway->sink_key, request->numbers[1]);
	attempt = json_object_get(request->json, "attempt");
	request->attempt = json_is_integer(attempt) ? (int64_t)json_integer_value(attempt) : 0;
}
