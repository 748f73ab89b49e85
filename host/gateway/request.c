/* SPDX-License-Identifier: Apache-2.0 */
/* What a request says: the task it is for, its model or key, and whether it is well-formed. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <inttypes.h>
#include <pcre2.h>
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

static const char *api_key(const struct request *request)
{
	static const char bearer[] = "Bearer ";
	const char *value = header(request, "Authorization");

	if (!strncasecmp(value, bearer, sizeof bearer - 1))
		return value + sizeof bearer - 1;
	return header(request, "x-api-key");
}

/* ---- the task, where no header names it ---- */

#define STEPS_MAX 200000 /* of the matcher in one text */

struct finder {
	pcre2_code *code;
	pcre2_match_data *groups; /* the server's thread only */
	pcre2_match_context *limits;
};

int finder_create(struct finder **ret_finder, const char *pattern, struct error *err)
{
	struct finder *finder = calloc(1, sizeof *finder);
	PCRE2_UCHAR why[120];
	uint32_t groups = 0;
	PCRE2_SIZE at = 0;
	int code = 0;

	if (!finder)
		return error_set(err, ENOMEM, "no memory for the task pattern");
	finder->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &code, &at, NULL);
	if (!finder->code) {
		pcre2_get_error_message(code, why, sizeof why);
		finder_free(finder);
		return error_set(err, EINVAL, "the task pattern is no regular expression: %s, at its character %zu",
		    (char *)why, at + 1);
	}
	pcre2_pattern_info(finder->code, PCRE2_INFO_CAPTURECOUNT, &groups);
	finder->groups = pcre2_match_data_create_from_pattern(finder->code, NULL);
	finder->limits = pcre2_match_context_create(NULL);
	if (!groups || !finder->groups || !finder->limits) {
		finder_free(finder);
		return groups ? error_set(err, ENOMEM, "no memory for the task pattern")
			      : error_set(err, EINVAL,
				    "the task pattern has no group: put the task's part of it in parentheses");
	}
	pcre2_set_match_limit(finder->limits, STEPS_MAX);
	*ret_finder = finder;
	return 0;
}

void finder_free(struct finder *finder)
{
	if (!finder)
		return;
	pcre2_code_free(finder->code);
	pcre2_match_data_free(finder->groups);
	pcre2_match_context_free(finder->limits);
	free(finder);
}

static bool find_in(const struct finder *finder, const char *text, char *task, size_t size)
{
	PCRE2_SIZE room = size;

	return text &&
	       pcre2_match(finder->code, (PCRE2_SPTR)text, strlen(text), 0, PCRE2_NO_UTF_CHECK, finder->groups,
		   finder->limits) > 0 &&
	       pcre2_substring_copy_bynumber(finder->groups, 1, (PCRE2_UCHAR *)task, &room) == 0;
}

static void find_task(struct request *request)
{
	const struct finder *finder = request->gateway->task_finder;
	struct texts texts = {0};

	if (!finder || *request->task || !request->asked.wire->texts)
		return;
	request->asked.wire->texts(&request->asked, &texts);
	if (find_in(finder, texts.user, request->found_task, sizeof request->found_task) ||
	    find_in(finder, texts.system, request->found_task, sizeof request->found_task))
		request->task = request->asked.task = request->found_task;
	texts_free(&texts);
}

void request_read_call(struct request *request)
{
	const struct gateway *gateway = request->gateway;
	struct asked *asked = &request->asked;
	struct error err = {0};

	request->task = header(request, gateway->task_header);
	request->attempt = header_number(request, gateway->attempt_header);
	request->api_key = api_key(request);
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
		else
			find_task(request);
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

	request->task = request->key = request->api_key = "";
	if (!parse(request))
		return;
	request->task = member(request, gateway->sink_task, request->numbers[0]);
	request->key = member(request, gateway->sink_key, request->numbers[1]);
	attempt = json_object_get(request->json, "attempt");
	request->attempt = json_is_integer(attempt) ? (int64_t)json_integer_value(attempt) : 0;
}
