/* SPDX-License-Identifier: Apache-2.0 */
/* Handing an answer to the HTTP server: whole, or broken off half way; at once, or piece by piece; with its length, or
 * as a stream of events. */
#include <stdlib.h>
#include <string.h>

#include "gateway/proxy/proxy.h"

#define PIECES 8 /* of a body that is no stream */

struct sender {
	struct request *request; /* the response is never read once that is gone */
	struct reply reply;
	size_t size;       /* so much of the body is sent */
	bool whole;        /* the body ends there; otherwise it breaks off */
	int64_t pace_us;   /* 0: all at once */
	size_t waited_for; /* the wait before this place is over or has begun; only with a pace */
};

enum MHD_Result send_reset(struct request *request, const char *why)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

	request->lost = why;
	if (info)
		park_reset(info->connect_fd);
	return MHD_NO;
}

/* Where the piece ends that `position` lies in. */
static size_t piece_end(const struct sender *sender, size_t position)
{
	const struct reply *reply = &sender->reply;
	size_t i, piece;

	for (i = 0; i < reply->end_count; i++)
		if (reply->ends[i] > position)
			return reply->ends[i] < sender->size ? reply->ends[i] : sender->size;
	piece = sender->size / PIECES + 1;
	position += piece - position % piece;
	return position < sender->size ? position : sender->size;
}

/* Between two pieces. Returns true when it waits, or when there is nobody left to wait for (*ret_gone). */
static bool pace(struct sender *sender, size_t position, bool *ret_gone)
{
	struct request *request = sender->request;
	struct gateway *gateway = request->gateway;
	struct park_slot *slot = &request->slot;
	const int64_t now = park_now_us(), due = now + sender->pace_us, until = request->verdict.until_us;
	bool parked = false;

	pthread_mutex_lock(&gateway->lock);
	if (sender->waited_for == position) {
		*ret_gone = slot->why == PARK_GONE || slot->why == PARK_CLOSED;
		if (slot->why == PARK_CLOSED)
			request->lost = "the gateway was stopped";
		if (slot->why == PARK_ENDED) /* the rule: the rest comes at once */
			sender->pace_us = 0;
	} else if (!gateway_rules_live(gateway->rules, request->verdict.tag, now)) {
		sender->pace_us = 0; /* it ended between two waits, when there was nothing to wake */
	} else {
		sender->waited_for = position;
		parked = park_put(gateway->park, slot, request->connection, until >= 0 && until < due ? until : due,
		    request->verdict.tag);
		*ret_gone = !parked;
		if (park_closed(gateway->park))
			(void)send_reset(request, "the gateway was stopped");
	}
	pthread_mutex_unlock(&gateway->lock);
	return parked || *ret_gone;
}

static ssize_t sender_read(void *arg, uint64_t position, char *buf, size_t size)
{
	struct sender *sender = arg;
	size_t from = (size_t)position, left;
	bool gone = false;

	if (from >= sender->size)
		return sender->whole ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
	/* a piece begins where the one before it ends */
	if (sender->pace_us && from && piece_end(sender, from - 1) == from && pace(sender, from, &gone))
		return gone ? MHD_CONTENT_READER_END_WITH_ERROR : 0;
	left = (sender->pace_us ? piece_end(sender, from) : sender->size) - from;
	if (left > size)
		left = size;
	memcpy(buf, sender->reply.body + from, left);
	sender->request->sent_us = park_now_us();
	return (ssize_t)left;
}

static void sender_free(void *arg)
{
	struct sender *sender = arg;

	reply_free(&sender->reply);
	free(sender);
}

/* A stream has no length, and an answer that breaks off announces the whole one. Takes `reply`. */
static struct MHD_Response *from_sender(struct request *request, struct reply *reply, const struct manner *manner)
{
	struct sender *sender = calloc(1, sizeof *sender);
	struct MHD_Response *response;

	if (!sender)
		return NULL;
	sender->request = request;
	sender->reply = *reply;
	sender->whole = !manner->half;
	sender->pace_us = manner->pace_ms * 1000;
	sender->size = !manner->half ? reply->size : reply->ends ? reply->ends[reply->end_count / 2] : reply->size / 2;
	response = MHD_create_response_from_callback(
	    reply->ends ? MHD_SIZE_UNKNOWN : reply->size, 4096, sender_read, sender, sender_free);
	if (response)
		*reply = (struct reply){0};
	else
		free(sender);
	return response;
}

static struct MHD_Response *response_of(struct request *request, struct reply *reply, const struct manner *manner)
{
	struct MHD_Response *response;

	if (!reply->body)
		return NULL;
	if (reply->ends || manner->half || manner->pace_ms)
		return from_sender(request, reply, manner);
	response = MHD_create_response_from_buffer(reply->size, reply->body, MHD_RESPMEM_MUST_FREE);
	if (response)
		reply->body = NULL;
	return response;
}

static void add_headers(
    struct MHD_Response *response, const struct request *request, const struct manner *manner, bool events)
{
	if (manner->headers) {
		relay_headers(response, manner->headers);
		return;
	}
	if (events)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
	MHD_add_response_header(
	    response, MHD_HTTP_HEADER_CONTENT_TYPE, events ? "text/event-stream; charset=utf-8" : "application/json");
	if (!manner->bare)
		headers_add(response, request);
}

enum MHD_Result send_reply(struct request *request, struct reply reply, const struct manner *manner)
{
	const bool events = reply.ends != NULL;
	struct MHD_Response *response;
	enum MHD_Result r;

	request->status = reply.status;
	request->tokens = manner->half ? 0 : reply.tokens;
	request->retry_after_ms = manner->retry_after_ms;
	response = response_of(request, &reply, manner);
	if (!response) {
		reply_free(&reply);
		request->status = 0;
		request->lost = "out of memory";
		return MHD_NO;
	}
	add_headers(response, request, manner, events);
	reply_free(&reply);
	request->stage = STAGE_ANSWER;
	request->sent_us = park_now_us();
	if (manner->half)
		request->lost = "truncated";
	r = MHD_queue_response(request->connection, (unsigned)request->status, response);
	MHD_destroy_response(response);
	return r;
}
