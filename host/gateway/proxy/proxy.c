/* SPDX-License-Identifier: Apache-2.0 */
/* Providers with an upstream, or a recording of one; see proxy.h. */
#include "gateway/proxy/proxy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "gateway/proxy/recording.h"
#include "gateway/proxy/upstream.h"
#include "spec/spec.h"

#define SILENCE_MS 120000 /* where the manifest says nothing */

struct proxy {
	struct origin origins[GATEWAY_NAMES_MAX + 1];
	struct upstream *upstream; /* NULL: a recording answers */
	struct recorder *recorder; /* NULL: nothing is recorded */
	struct replay *replay;     /* the server's thread only */
	uint64_t missing;          /* requests that the recording has not */
	struct error first;        /* of them */
	uint64_t unrecorded;       /* answers that were too long */
};

/* ---- set-up ---- */

static int add_origin(struct gateway *gateway, const struct gateway_upstream *from, bool replays, struct error *err)
{
	struct origin *origin = gateway->proxy->origins;
	const char *key = from->key_variable ? getenv(from->key_variable) : NULL;
	size_t i, size;

	for (i = 0; gateway->providers[i] && strcmp(gateway->providers[i], from->provider) != 0; i++)
		;
	if (!gateway->providers[i])
		return error_set(
		    err, EINVAL, "an upstream is given for '%.63s', and there is no such provider", from->provider);
	for (; origin->provider; origin++)
		if (!strcmp(origin->provider, from->provider))
			return error_set(err, EINVAL, "provider '%s' is given two upstreams", from->provider);
	if (spec_check_upstream(from->url, err) < 0)
		return -1;
	if (from->silence_ms < 0 || from->silence_ms > INT64_C(24) * 3600 * 1000)
		return error_set(err, EINVAL, "the time-out of '%s' is %lld ms, expected 0 (as usual) to a day",
		    from->provider, (long long)from->silence_ms);
	if (from->key_variable && !replays && (!key || !*key))
		return error_set(err, EINVAL, "the environment variable %.80s, with the API key for '%s', is not set",
		    from->key_variable, from->provider);
	if (key && strpbrk(key, "\r\n"))
		return error_set(
		    err, EINVAL, "the environment variable %.80s has more than one line", from->key_variable);
	origin->provider = gateway->providers[i];
	origin->silence_ms = from->silence_ms ? from->silence_ms : SILENCE_MS;
	origin->url = strdup(from->url);
	origin->key = key ? strdup(key) : NULL;
	if (!origin->url || (key && !origin->key))
		return error_set(err, ENOMEM, "no memory for the gateway");
	size = strlen(origin->url);
	while (size && origin->url[size - 1] == '/')
		origin->url[--size] = '\0';
	return 0;
}

static void on_change(void *arg, struct exchange *exchange)
{
	struct gateway *gateway = arg;

	park_end(gateway->park, exchange->tag);
}

static bool on_end(void *arg, struct exchange *exchange)
{
	struct proxy *proxy = ((struct gateway *)arg)->proxy;

	proxy->unrecorded += proxy->recorder && !exchange->kept;
	if (!proxy->recorder || !exchange->kept)
		return false;
	recorder_take(proxy->recorder, exchange);
	return true;
}

static int read_upstreams(struct gateway *gateway, const struct gateway_options *options, struct error *err)
{
	size_t i;

	for (i = 0; options->upstreams[i].provider; i++)
		if (add_origin(gateway, &options->upstreams[i], options->replay != NULL, err) < 0)
			return -1;
	if (i || !options->replay)
		return 0;
	for (; gateway->providers[i]; i++) /* none is named: all of them */
		gateway->proxy->origins[i].provider = gateway->providers[i];
	return 0;
}

int proxy_create(struct gateway *gateway, const struct gateway_options *options, struct error *err)
{
	const struct upstream_events events = {.changed = on_change, .ended = on_end, .arg = gateway};
	struct proxy *proxy;

	if (options->record && options->replay)
		return error_set(err, EINVAL,
		    "'record' and 'replay' contradict each other: the one asks upstreams, the "
		    "other spares them");
	if (options->record && !options->upstreams[0].provider)
		return error_set(err, EINVAL, "'record' needs an upstream whose answers are recorded");
	if (!options->upstreams[0].provider && !options->replay)
		return 0;
	proxy = gateway->proxy = calloc(1, sizeof *proxy);
	if (!proxy)
		return error_set(err, ENOMEM, "no memory for the gateway");
	if (read_upstreams(gateway, options, err) < 0)
		return -1;
	if (options->replay)
		return replay_open(&proxy->replay, options->replay, err);
	if (options->record && recorder_create(&proxy->recorder, options->record, &gateway->lock, err) < 0)
		return -1;
	return upstream_create(&proxy->upstream, &gateway->lock, &events, err);
}

void proxy_destroy(struct gateway *gateway)
{
	struct proxy *proxy = gateway->proxy;
	struct origin *origin;

	if (!proxy)
		return;
	upstream_destroy(proxy->upstream);
	recorder_destroy(proxy->recorder);
	replay_close(proxy->replay);
	for (origin = proxy->origins; origin->provider; origin++) {
		free(origin->url);
		if (origin->key)
			explicit_bzero(origin->key, strlen(origin->key));
		free(origin->key);
	}
	free(proxy);
	gateway->proxy = NULL;
}

int gateway_amiss(struct gateway *gateway, struct error *err)
{
	struct proxy *proxy = gateway->proxy;
	int r = 0;

	pthread_mutex_lock(&gateway->lock);
	if (proxy && proxy->missing)
		r = error_set(err, ENOENT, "the recording has no answer to %llu request%s; the first: %.150s",
		    (unsigned long long)proxy->missing, proxy->missing > 1 ? "s" : "", proxy->first.text);
	else if (proxy && proxy->unrecorded)
		r = error_set(err, EFBIG, "%llu of the upstreams' answers could not be recorded: over %u bytes",
		    (unsigned long long)proxy->unrecorded, UPSTREAM_KEEP_MAX);
	else if (proxy && proxy->recorder)
		r = recorder_trouble(proxy->recorder, err);
	pthread_mutex_unlock(&gateway->lock);
	return r;
}

/* ---- where to ---- */

const struct origin *proxy_origin(const struct gateway *gateway, const char *provider)
{
	const struct origin *origin = gateway->proxy ? gateway->proxy->origins : NULL;

	for (; origin && origin->provider; origin++)
		if (origin->provider == provider)
			return origin;
	return NULL;
}

bool proxy_replays(const struct request *request)
{
	return request->origin && request->gateway->proxy->replay;
}

/* ---- what comes back ---- */

/* The upstream itself could not be asked, or not be understood: nobody's fault but its own. */
static enum MHD_Result refuse(struct request *request, bool late, const char *why)
{
	static const struct manner manner = {.retry_after_ms = -1, .bare = true};
	char id[REQUEST_ID_SIZE];

	answer_spare(request);
	request_id(request, id);
	snprintf(request->lost_text, sizeof request->lost_text, "upstream: %s", why);
	request->lost = request->lost_text;
	return send_reply(
	    request, error_upstream(request_family(request), late ? 504 : 502, id, request->target, why), &manner);
}

static enum MHD_Result missing(struct request *request, const struct error *why)
{
	static const struct manner manner = {.retry_after_ms = -1, .bare = true};
	struct proxy *proxy = request->gateway->proxy;
	char id[REQUEST_ID_SIZE];

	answer_spare(request);
	pthread_mutex_lock(&request->gateway->lock);
	if (!proxy->missing++)
		proxy->first = *why;
	pthread_mutex_unlock(&request->gateway->lock);
	request_id(request, id);
	request->lost = "not in the recording";
	return send_reply(request,
	    error_refuse(request_family(request), 404, "not_in_recording", id,
		"The recording has no answer to this request: %s", why->text),
	    &manner);
}

static int64_t retry_after_ms(const struct header_list *headers)
{
	const char *ms = header_list_get(headers, "retry-after-ms"), *after = header_list_get(headers, "Retry-After");
	double seconds;
	time_t at;
	char *end;

	if (!ms && !after)
		return -1;
	seconds = strtod(ms ? ms : after, &end);
	if (ms && end != ms)
		seconds /= 1000;
	if (end == (ms ? ms : after)) {
		at = after ? curl_getdate(after, NULL) : -1;
		if (at < 0)
			return -1;
		seconds = difftime(at, time(NULL));
	}
	return seconds >= 0 && seconds < 1e9 ? (int64_t)(seconds * 1000) : 0;
}

/* What the history says of an answer that is the upstream's own refusal. */
void proxy_tell(struct request *request, int status, const struct header_list *headers)
{
	request->retry_after_ms = retry_after_ms(headers);
	if (status < 400)
		return;
	snprintf(request->lost_text, sizeof request->lost_text, "upstream: answered %d", status);
	request->lost = request->lost_text;
}

/* The tokens that a recorded answer tells of. */
static int64_t tokens_of(const struct reply *reply)
{
	struct usage usage = {0};

	if (reply->ends)
		usage_feed(&usage, reply->body, reply->size);
	else
		usage_body(&usage, reply->body, reply->size);
	usage_finish(&usage);
	return usage_tokens(&usage);
}

static enum MHD_Result replay(struct request *request)
{
	struct recording_request wanted = {.provider = request->target,
	    .method = request->method,
	    .path = request->shown,
	    .body = request->body,
	    .size = request->size};
	struct header_list headers = {0};
	struct reply reply = {0};
	struct error why;
	enum MHD_Result r;

	if (replay_find(request->gateway->proxy->replay, &wanted, &reply, &headers, &why) < 0)
		return missing(request, &why);
	reply.tokens = tokens_of(&reply);
	r = answer_with(request, reply, &headers);
	header_list_free(&headers);
	return r;
}

enum MHD_Result proxy_ask(struct request *request, bool whole)
{
	struct gateway *gateway = request->gateway;
	struct exchange *exchange;
	bool parked;

	if (gateway->proxy->replay)
		return replay(request);
	exchange = ask_exchange(request);
	if (!exchange)
		return refuse(request, false, "no memory to ask it");
	exchange->whole = whole;
	exchange->keep = whole || gateway->proxy->recorder;
	request->exchange = exchange;
	request->stage = STAGE_ASKED;
	pthread_mutex_lock(&gateway->lock);
	exchange->tag = ++gateway->tags;
	exchange->waited_for = true;
	upstream_ask(gateway->proxy->upstream, exchange);
	parked = park_put(gateway->park, &request->slot, request->connection, -1, exchange->tag);
	pthread_mutex_unlock(&gateway->lock);
	return parked ? MHD_YES : send_reset(request, "the gateway was stopped");
}

/* All that came, out of the exchange. */
static struct reply whole_reply(const struct exchange *exchange)
{
	struct reply reply = {.status = exchange->status, .size = exchange->size, .tokens = exchange->tokens};

	reply.body = malloc(exchange->size + 1);
	if (reply.body && exchange->size)
		memcpy(reply.body, exchange->bytes, exchange->size);
	if (reply.body && exchange->stream)
		(void)recording_ends(&reply);
	return reply;
}

enum MHD_Result proxy_answer(struct request *request)
{
	struct gateway *gateway = request->gateway;
	struct exchange *exchange = request->exchange;
	bool parked = false, ready, lost;

	pthread_mutex_lock(&gateway->lock);
	lost = exchange->done && *exchange->lost && (!exchange->head || exchange->whole);
	ready = exchange->done || (exchange->head && !exchange->whole);
	if (!ready) {
		exchange->waited_for = true;
		parked = park_put(gateway->park, &request->slot, request->connection, -1, exchange->tag);
	}
	pthread_mutex_unlock(&gateway->lock);
	if (!ready)
		return parked ? MHD_YES : send_reset(request, "the gateway was stopped");
	if (lost)
		return refuse(request, exchange->late, exchange->lost);
	return exchange->whole ? answer_with(request, whole_reply(exchange), &exchange->headers) : relay(request);
}

void proxy_leave(struct request *request)
{
	struct gateway *gateway = request->gateway;

	if (request->exchange) {
		pthread_mutex_lock(&gateway->lock);
		exchange_leave(request->exchange);
		pthread_mutex_unlock(&gateway->lock);
		request->exchange = NULL;
	}
	free(request->path);
	free(request->shown);
}
