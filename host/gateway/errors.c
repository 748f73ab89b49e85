/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The providers' errors. Facts from OpenAI's guide "Error codes" (the body {"error": {message, type, param, code}},
 * context_length_exceeded with 400, invalid_api_key with 401, rate_limit_exceeded with 429) and from Anthropic's page
 * "Errors" (the body {"type": "error", "error": {type, message}, "request_id"}, the type for each status, 529
 * overloaded_error; and an event "error" in a stream).
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gateway/reply.h"

/* `text` may quote what was sent, cut anywhere: bytes that are no UTF-8 are not answered with silence. */
static json_t *plain_text(const char *text)
{
	json_t *message = json_string(text);
	char plain[512];
	size_t i;

	if (message)
		return message;
	snprintf(plain, sizeof plain, "%s", text);
	for (i = 0; plain[i]; i++)
		if ((unsigned char)plain[i] >= 0x80)
			plain[i] = '?';
	return json_string(plain);
}

/* ---- OpenAI ---- */

static struct reply openai(int status, const char *text, const char *type, const char *code)
{
	return reply_json(status,
	    json_pack(
		"{s:{s:o, s:s, s:n, s:s?}}", "error", "message", plain_text(text), "type", type, "param", "code", code),
	    0);
}

static struct reply openai_throttled(int64_t retry_after_ms, const char *model)
{
	char text[512], seconds[SECONDS_SIZE];

	if (retry_after_ms >= 0) {
		seconds_text(retry_after_ms, seconds);
		snprintf(text, sizeof text, "Rate limit reached for %.200s. Please try again in %ss.",
		    *model ? model : "requests", seconds);
	} else {
		snprintf(text, sizeof text, "Rate limit reached for %.200s.", *model ? model : "requests");
	}
	return openai(429, text, "requests", "rate_limit_exceeded");
}

static struct reply openai_error(int status, int64_t retry_after_ms, const char *model)
{
	char text[512];

	switch (status) {
	case 401:
		return openai(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key");
	case 403:
		return openai(403, "You are not allowed to use this model.", "invalid_request_error", "forbidden");
	case 404:
		snprintf(
		    text, sizeof text, "The model `%.200s` does not exist or you do not have access to it.", model);
		return openai(404, text, "invalid_request_error", "model_not_found");
	case 429:
		return openai_throttled(retry_after_ms, model);
	case 503:
		return openai(
		    503, "The engine is currently overloaded, please try again later.", "server_error", "overloaded");
	default:
		break;
	}
	if (status >= 500)
		return openai(status, "The server had an error while processing your request.", "server_error", NULL);
	snprintf(text, sizeof text, "The request was refused with status %d.", status);
	return openai(status, text, "invalid_request_error", NULL);
}

/* ---- Anthropic ---- */

static const char *anthropic_type(int status)
{
	static const struct {
		int status;
		const char *type;
	} types[] = {{400, "invalid_request_error"}, {401, "authentication_error"}, {402, "billing_error"},
	    {403, "permission_error"}, {404, "not_found_error"}, {413, "request_too_large"}, {429, "rate_limit_error"},
	    {500, "api_error"}, {504, "timeout_error"}, {529, "overloaded_error"}};
	size_t i;

	for (i = 0; i < sizeof types / sizeof types[0]; i++)
		if (types[i].status == status)
			return types[i].type;
	return status >= 500 ? "api_error" : "invalid_request_error";
}

static struct reply anthropic(int status, const char *text, const char *id)
{
	return reply_json(status,
	    json_pack("{s:s, s:{s:s, s:o}, s:s}", "type", "error", "error", "type", anthropic_type(status), "message",
		plain_text(text), "request_id", id),
	    0);
}

static struct reply anthropic_error(int status, const char *model, const char *id)
{
	char text[512];

	switch (status) {
	case 401:
		return anthropic(401, "invalid x-api-key", id);
	case 404:
		snprintf(text, sizeof text, "model: %.200s", model);
		return anthropic(404, text, id);
	case 429:
		return anthropic(429, "This request would exceed your organization's rate limit.", id);
	case 529:
		return anthropic(529, "Overloaded", id);
	default:
		break;
	}
	if (status >= 500)
		return anthropic(status, "Internal server error", id);
	snprintf(text, sizeof text, "The request was refused with status %d.", status);
	return anthropic(status, text, id);
}

/* ---- both ---- */

struct reply error_reply(enum family family, int status, int64_t retry_after_ms, const char *model, const char *id)
{
	return family == FAMILY_ANTHROPIC ? anthropic_error(status, model, id)
					  : openai_error(status, retry_after_ms, model);
}

struct reply error_refuse(enum family family, int status, const char *code, const char *id, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	return family == FAMILY_ANTHROPIC ? anthropic(status, text, id)
					  : openai(status, text, "invalid_request_error", code);
}

struct reply error_upstream(enum family family, int status, const char *id, const char *provider, const char *why)
{
	char text[512];

	snprintf(text, sizeof text, "The upstream of %.64s gave no answer: %.300s", provider, why);
	return family == FAMILY_ANTHROPIC ? anthropic(status, text, id)
					  : openai(status, text, "server_error", "upstream_failed");
}

struct reply error_too_long(enum family family, int64_t tokens, const char *id)
{
	/* What was sent is over the limit, whatever the limit is. */
	const int64_t limit = tokens > 1 ? tokens / 2 : 1, sent = tokens > limit ? tokens : limit + 1;

	if (family == FAMILY_ANTHROPIC)
		return error_refuse(
		    family, 400, NULL, id, "prompt is too long: %" PRId64 " tokens > %" PRId64 " maximum", sent, limit);
	return error_refuse(family, 400, "context_length_exceeded", id,
	    "This model's maximum context length is %" PRId64 " tokens. However, your messages resulted in %" PRId64
	    " tokens. Please reduce the length of the messages.",
	    limit, sent);
}

json_t *error_event(const struct wire *wire, const char **ret_name)
{
	static const char text[] = "The server had an error while processing your request. Sorry about that!";

	*ret_name = wire == &wire_chat ? NULL : "error";
	if (wire->family == FAMILY_ANTHROPIC)
		return json_pack("{s:s, s:{s:s, s:s}}", "type", "error", "error", "type", "overloaded_error", "message",
		    "Overloaded");
	if (wire == &wire_responses)
		return json_pack("{s:s, s:s, s:s, s:n, s:i}", "type", "error", "code", "server_error", "message", text,
		    "param", "sequence_number", 9999);
	return json_pack("{s:{s:s, s:s, s:n, s:n}}", "error", "message", text, "type", "server_error", "param", "code");
}

struct reply error_malformed(void)
{
	static const char text[] = "<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head>\n"
				   "<body><h1>upstream sent an invalid response</h1></body></html>\n";
	struct reply reply = {.status = 200, .body = strdup(text), .size = sizeof text - 1};

	return reply;
}

struct reply sink_ok(void)
{
	return reply_json(200, json_pack("{s:b}", "ok", 1), 0);
}
