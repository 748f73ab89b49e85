/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a request once its body is here: held, hung, late, refused, or answered. Runs in the server's thread
 * only, and again for the same request after each wait. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/internal.h"
#include "gateway/script.h"

/* ---- sending ---- */

struct half {
	size_t size;
	char bytes[];
};

static ssize_t half_read(void *arg, uint64_t position, char *buf, size_t size)
{
	const struct half *half = arg;
	size_t left;

	if (position >= half->size)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	left = half->size - (size_t)position;
	if (left > size)
		left = size;
	memcpy(buf, half->bytes + position, left);
	return (ssize_t)left;
}

/* Announces the whole body and ends half way. */
static struct MHD_Response *truncated(const struct reply *reply)
{
	size_t size = reply->size / 2;
	struct half *half = malloc(sizeof *half + size);
	struct MHD_Response *response;

	if (!half)
		return NULL;
	half->size = size;
	memcpy(half->bytes, reply->body, size);
	response = MHD_create_response_from_callback(reply->size, 4096, half_read, half, free);
	if (!response)
		free(half);
	return response;
}

/* Takes reply.body. */
static enum MHD_Result send_reply(struct request *request, struct reply reply, int64_t retry_after_ms, bool half)
{
	struct MHD_Response *response;
	char text[REPLY_SECONDS_SIZE];
	enum MHD_Result r;

	if (!reply.body) {
		request->lost = "out of memory";
		return MHD_NO;
	}
	if (half) {
		response = truncated(&reply);
		free(reply.body);
	} else {
		response = MHD_create_response_from_buffer(reply.size, reply.body, MHD_RESPMEM_MUST_FREE);
		if (!response)
			free(reply.body);
	}
	if (!response) {
		request->lost = "out of memory";
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
	if (retry_after_ms >= 0) {
		reply_seconds(retry_after_ms, text);
		MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, text);
	}
	if (reply.status == 405)
		MHD_add_response_header(
		    response, MHD_HTTP_HEADER_ALLOW, request->route == ROUTE_MODELS ? "GET" : "POST");
	request->stage = STAGE_ANSWER;
	request->status = reply.status;
	request->tokens = half ? 0 : reply.tokens;
	request->retry_after_ms = retry_after_ms;
	request->sent_us = park_now_us();
	if (half)
		request->lost = "truncated";
	r = MHD_queue_response(request->connection, (unsigned)reply.status, response);
	MHD_destroy_response(response);
	return r;
}

static enum MHD_Result reset(struct request *request, const char *why)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

	request->lost = why;
	if (info)
		park_reset(info->connect_fd);
	return MHD_NO;
}

/* ---- what to say ---- */

static struct reply usual(struct request *request)
{
	struct reply_request asked = {.provider = request->target,
	    .model = request->key,
	    .task = request->task,
	    .role = request->role,
	    .after = request->after,
	    .step = request->step,
	    .body = request->json,
	    .body_size = request->total};

	if (request->route == ROUTE_SINK)
		return request->bad ? reply_refuse(request->bad, NULL, "%s", request->bad_text) : reply_sink_ok();
	if (request->bad)
		return reply_refuse(request->bad, NULL, "%s", request->bad_text);
	if (request->gateway->script)
		return script_reply(request->gateway->script, request->gateway->seed, &asked);
	return reply_chat(request->gateway->seed, &asked);
}

static enum MHD_Result act(struct request *request)
{
	const struct verdict *verdict = &request->verdict;

	switch (verdict->action) {
	case TRITONE_GATEWAY_ANSWER:
		return send_reply(request, reply_error(verdict->status, verdict->retry_after_ms, request->key),
		    verdict->retry_after_ms, false);
	case TRITONE_GATEWAY_RESET:
		return reset(request, "reset");
	case TRITONE_GATEWAY_HANG:
		return reset(request, "never answered");
	case TRITONE_GATEWAY_MALFORMED:
		return send_reply(request, reply_malformed(), -1, false);
	case TRITONE_GATEWAY_TRUNCATED:
		return send_reply(request, usual(request), -1, true);
	default:
		return send_reply(request, usual(request), -1, false);
	}
}

/* ---- its way ---- */

static void record(struct request *request, const char *detail)
{
	struct op op = {.pair = OP_NONE,
	    .type = OP_INVOKE,
	    .kind = request->route == ROUTE_CHAT ? OP_CALL : OP_NOTIFY,
	    .task = request->task,
	    .actor = request->target,
	    .key = request->key,
	    .attempt = request->attempt,
	    .detail = detail};

	if (!request->gateway->history)
		return;
	request->invoke = history_append(request->gateway->history, &op);
	request->recorded = true;
}

/* True: it waits, and this request comes again. */
static bool hold(struct request *request)
{
	struct gateway *gateway = request->gateway;
	bool parked = false;
	uint64_t tag;

	pthread_mutex_lock(&gateway->lock);
	tag = holds_of(gateway->holds, request->id);
	if (tag)
		parked = park_put(gateway->park, &request->slot, request->connection, -1, tag);
	if (parked)
		request->stage = STAGE_HELD;
	pthread_mutex_unlock(&gateway->lock);
	return parked;
}

/* Asks the rules, now and not on arrival: a fault that was injected while the request was held is for it, too. */
static enum MHD_Result judge(struct request *request)
{
	struct gateway *gateway = request->gateway;
	struct verdict *verdict = &request->verdict;
	int64_t now = park_now_us(), wait_ms;
	bool parked = false, closed;

	pthread_mutex_lock(&gateway->lock);
	closed = park_closed(gateway->park);
	gateway_rules_judge(gateway->rules, request->target, request->route == ROUTE_CHAT, now, verdict);
	wait_ms = verdict->delay_ms;
	if (request->route == ROUTE_CHAT && !request->bad && verdict->action != TRITONE_GATEWAY_ANSWER &&
	    verdict->action != TRITONE_GATEWAY_RESET)
		wait_ms += gateway->latency_ms;
	if (verdict->action == TRITONE_GATEWAY_HANG) {
		request->stage = STAGE_HUNG;
		parked = park_put(gateway->park, &request->slot, request->connection, verdict->until_us, verdict->tag);
	} else if (wait_ms > 0) {
		request->stage = STAGE_LATE;
		parked = park_put(
		    gateway->park, &request->slot, request->connection, now + wait_ms * 1000, verdict->delay_tag);
	}
	pthread_mutex_unlock(&gateway->lock);
	if (closed) /* what was about to wait must not be answered instead */
		return reset(request, "the gateway was stopped");
	return parked ? MHD_YES : act(request);
}

static enum MHD_Result arrive(struct request *request)
{
	struct gateway *gateway = request->gateway;
	char held[128];

	if (request->route == ROUTE_CHAT)
		request_read_chat(request);
	else
		request_read_sink(request);
	pthread_mutex_lock(&gateway->lock);
	holds_arrive(gateway->holds, request->target, request->route == ROUTE_CHAT, request->id, held, sizeof held);
	pthread_mutex_unlock(&gateway->lock);
	record(request, held);
	if (*held && hold(request))
		return MHD_YES;
	return judge(request);
}

enum MHD_Result answer(struct request *request)
{
	enum park_why why;

	if (request->stage == STAGE_ARRIVED)
		return arrive(request);
	pthread_mutex_lock(&request->gateway->lock);
	why = request->slot.why;
	pthread_mutex_unlock(&request->gateway->lock);
	if (why == PARK_GONE)
		return MHD_NO;
	if (why == PARK_CLOSED) {
		request->lost = "the gateway was stopped";
		return MHD_NO;
	}
	if (request->stage == STAGE_HELD)
		return hold(request) ? MHD_YES : judge(request);
	return act(request);
}
