/* SPDX-License-Identifier: Apache-2.0 */
/* Handing on what an upstream sends, as it comes: see proxy.h. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "gateway/proxy/proxy.h"
#include "gateway/proxy/upstream.h"

void relay_headers(struct MHD_Response *response, const struct header_list *headers)
{
	const char *connection = header_list_get(headers, "Connection"), *name, *value;
	size_t at = 0;

	while ((name = header_list_next(headers, &at, &value)))
		/* the length is the server's own */
		if (strcasecmp(name, "Content-Length") != 0 && !header_is_hop(name, connection))
			MHD_add_response_header(response, name, value);
}

/* It is over: what became of it. */
static ssize_t end(struct request *request, const struct exchange *exchange)
{
	request->tokens = exchange->tokens;
	if (!*exchange->lost)
		return MHD_CONTENT_READER_END_OF_STREAM;
	snprintf(request->lost_text, sizeof request->lost_text, "upstream: %s", exchange->lost);
	request->lost = request->lost_text;
	return MHD_CONTENT_READER_END_WITH_ERROR;
}

static ssize_t relay_read(void *arg, uint64_t position, char *buf, size_t size)
{
	struct request *request = arg;
	struct gateway *gateway = request->gateway;
	struct exchange *exchange = request->exchange;
	struct park_slot *slot = &request->slot;
	ssize_t r = 0;
	size_t n;

	(void)position;
	pthread_mutex_lock(&gateway->lock);
	n = exchange_read(exchange, buf, size);
	if (exchange->done)
		request->tokens = exchange->tokens;
	if (slot->why == PARK_GONE || slot->why == PARK_CLOSED) {
		if (slot->why == PARK_CLOSED)
			request->lost = "the gateway was stopped";
		r = MHD_CONTENT_READER_END_WITH_ERROR;
	} else if (n) {
		request->sent_us = park_now_us();
		r = (ssize_t)n;
	} else if (exchange->done) {
		r = end(request, exchange);
	} else {
		exchange->waited_for = true;
		if (!park_put(gateway->park, slot, request->connection, -1, exchange->tag)) {
			(void)send_reset(request, "the gateway was stopped");
			r = MHD_CONTENT_READER_END_WITH_ERROR;
		}
	}
	pthread_mutex_unlock(&gateway->lock);
	return r;
}

enum MHD_Result relay(struct request *request)
{
	const struct exchange *exchange = request->exchange;
	const uint64_t length = exchange->length >= 0 ? (uint64_t)exchange->length : MHD_SIZE_UNKNOWN;
	struct MHD_Response *response = MHD_create_response_from_callback(length, 16384, relay_read, request, NULL);
	enum MHD_Result r;

	if (!response)
		return send_reset(request, "out of memory");
	request->status = exchange->status;
	proxy_tell(request, exchange->status, &exchange->headers);
	relay_headers(response, &exchange->headers);
	request->stage = STAGE_ANSWER;
	request->sent_us = park_now_us();
	r = MHD_queue_response(request->connection, (unsigned)request->status, response);
	MHD_destroy_response(response);
	return r;
}
