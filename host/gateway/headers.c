/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The headers that the providers send beside their answers. Facts from OpenAI's guide "Rate limits" (the
 * x-ratelimit-* family, whose resets are durations such as 1s or 6m0s), its API reference's "Debugging requests"
 * (x-request-id, openai-version, openai-processing-ms), and from Anthropic's page "Rate limits" (anthropic-ratelimit-*,
 * whose resets are times of RFC 3339; request-id from "Errors"). Both officially documented clients read retry-after,
 * and before it retry-after-ms (their source, the function retryRequest).
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "gateway/internal.h"

#define REQUESTS_LIMIT 10000
#define TOKENS_LIMIT   2000000

__attribute__((format(printf, 3, 4))) static void add(
    struct MHD_Response *response, const char *name, const char *format, ...)
{
	char value[96];
	va_list args;

	va_start(args, format);
	vsnprintf(value, sizeof value, format, args);
	va_end(args);
	MHD_add_response_header(response, name, value);
}

/* A Retry-After of the rule's own words, such as one that makes no sense: nothing else contradicts it. */
static bool says_otherwise(const struct request *request)
{
	return request->verdict.action == TRITONE_GATEWAY_ANSWER && *request->verdict.text;
}

/* When the limits are full again. Unknown to the client (false) when the provider throttles without a word on it. */
static bool reset_ms(const struct request *request, int64_t *ret_ms)
{
	*ret_ms = request->status == 429 ? request->retry_after_ms : 6;
	return *ret_ms >= 0 && !says_otherwise(request);
}

static void openai(struct MHD_Response *response, const struct request *request, bool throttled)
{
	char seconds[SECONDS_SIZE];
	int64_t ms;

	add(response, "openai-version", "2020-10-01");
	add(response, "openai-processing-ms", "%" PRId64, request->gateway->latency_ms);
	add(response, "x-ratelimit-limit-requests", "%d", REQUESTS_LIMIT);
	add(response, "x-ratelimit-limit-tokens", "%d", TOKENS_LIMIT);
	add(response, "x-ratelimit-remaining-requests", "%d", throttled ? 0 : REQUESTS_LIMIT - 1);
	add(response, "x-ratelimit-remaining-tokens", "%" PRId64, TOKENS_LIMIT - request->tokens % TOKENS_LIMIT);
	if (!reset_ms(request, &ms))
		return;
	seconds_text(ms, seconds);
	add(response, "x-ratelimit-reset-requests", "%ss", seconds);
	add(response, "x-ratelimit-reset-tokens", "%ss", seconds);
}

static void anthropic(struct MHD_Response *response, const struct request *request, bool throttled)
{
	static const char *const kinds[] = {"requests", "tokens", "input-tokens", "output-tokens"};
	char name[64], when[32];
	struct tm tm;
	int64_t ms;
	time_t at;
	size_t i;

	for (i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		int limit = i ? TOKENS_LIMIT : REQUESTS_LIMIT;

		snprintf(name, sizeof name, "anthropic-ratelimit-%s-limit", kinds[i]);
		add(response, name, "%d", limit);
		snprintf(name, sizeof name, "anthropic-ratelimit-%s-remaining", kinds[i]);
		add(response, name, "%d", i || !throttled ? limit - 1 : 0);
		if (!reset_ms(request, &ms))
			continue;
		at = time(NULL) + (time_t)((ms + 999) / 1000);
		if (!gmtime_r(&at, &tm) || !strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm))
			continue;
		snprintf(name, sizeof name, "anthropic-ratelimit-%s-reset", kinds[i]);
		add(response, name, "%s", when);
	}
}

void headers_add(struct MHD_Response *response, const struct request *request)
{
	bool throttled = request->status == 429;
	char id[REQUEST_ID_SIZE], seconds[SECONDS_SIZE];

	if (says_otherwise(request)) {
		MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, request->verdict.text);
	} else if (request->retry_after_ms >= 0) {
		seconds_text(request->retry_after_ms, seconds);
		MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, seconds);
	}
	if (request->status == 405)
		MHD_add_response_header(
		    response, MHD_HTTP_HEADER_ALLOW, request->route == ROUTE_MODELS ? "GET" : "POST");
	if (request->route == ROUTE_SINK || request->route == ROUTE_NONE)
		return;
	if (request->retry_after_ms >= 0 && !says_otherwise(request))
		add(response, "retry-after-ms", "%" PRId64, request->retry_after_ms);
	request_id(request, id);
	if (request_family(request) == FAMILY_ANTHROPIC) {
		MHD_add_response_header(response, "request-id", id);
		anthropic(response, request, throttled);
	} else {
		MHD_add_response_header(response, "x-request-id", id);
		openai(response, request, throttled);
	}
}
