/* SPDX-License-Identifier: Apache-2.0 */
/* Handing an answer to the HTTP server: whole, or broken off half way; with its length, or as a stream of events. */
#include <stdlib.h>
#include <string.h>

#include "gateway/internal.h"

struct sender {
	struct reply reply;
	size_t size; /* so much of the body is sent */
	bool whole;  /* the body ends there; otherwise it breaks off */
};

static ssize_t sender_read(void *arg, uint64_t position, char *buf, size_t size)
{
	const struct sender *sender = arg;
	size_t left;

	if (position >= sender->size)
		return sender->whole ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
	left = sender->size - (size_t)position;
	if (left > size)
		left = size;
	memcpy(buf, sender->reply.body + position, left);
	return (ssize_t)left;
}

static void sender_free(void *arg)
{
	struct sender *sender = arg;

	reply_free(&sender->reply);
	free(sender);
}

/* A stream has no length, and an answer that breaks off announces the whole one. Takes `reply`. */
static struct MHD_Response *from_sender(struct reply *reply, const struct manner *manner)
{
	struct sender *sender = calloc(1, sizeof *sender);
	struct MHD_Response *response;

	if (!sender)
		return NULL;
	sender->reply = *reply;
	sender->whole = !manner->half;
	sender->size = !manner->half ? reply->size : reply->ends ? reply->ends[reply->end_count / 2] : reply->size / 2;
	response = MHD_create_response_from_callback(
	    reply->ends ? MHD_SIZE_UNKNOWN : reply->size, 4096, sender_read, sender, sender_free);
	if (response)
		*reply = (struct reply){0};
	else
		free(sender);
	return response;
}

static struct MHD_Response *response_of(struct reply *reply, const struct manner *manner)
{
	struct MHD_Response *response;

	if (!reply->body)
		return NULL;
	if (reply->ends || manner->half)
		return from_sender(reply, manner);
	response = MHD_create_response_from_buffer(reply->size, reply->body, MHD_RESPMEM_MUST_FREE);
	if (response)
		reply->body = NULL;
	return response;
}

enum MHD_Result send_reply(struct request *request, struct reply reply, const struct manner *manner)
{
	const bool events = reply.ends != NULL;
	struct MHD_Response *response;
	enum MHD_Result r;

	request->status = reply.status;
	request->tokens = manner->half ? 0 : reply.tokens;
	request->retry_after_ms = manner->retry_after_ms;
	response = response_of(&reply, manner);
	if (!response) {
		reply_free(&reply);
		request->status = 0;
		request->lost = "out of memory";
		return MHD_NO;
	}
	if (events)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
	MHD_add_response_header(
	    response, MHD_HTTP_HEADER_CONTENT_TYPE, events ? "text/event-stream; charset=utf-8" : "application/json");
	headers_add(response, request);
	reply_free(&reply);
	request->stage = STAGE_ANSWER;
	request->sent_us = park_now_us();
	if (manner->half)
		request->lost = "truncated";
	r = MHD_queue_response(request->connection, (unsigned)request->status, response);
	MHD_destroy_response(response);
	return r;
}
