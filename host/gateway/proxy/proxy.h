/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Providers that are not played by the gateway: their requests go to a real upstream, or are answered from a recording of
 * one. Who is asked, with what, and what comes back; which fault acts on that is answer.c's.
 */
#ifndef TRITONE_GATEWAY_PROXY_H
#define TRITONE_GATEWAY_PROXY_H

#include "gateway/internal.h"

/* Where a provider's requests go. */
struct origin {
	const char *provider; /* the gateway's; NULL behind the last */
	char *url;            /* without a slash at its end; NULL: only a recording answers */
	char *key;            /* instead of the client's; NULL: none */
	int64_t silence_ms;
};

/* Reads the options: upstreams, record, replay. */
int proxy_create(struct gateway *gateway, const struct gateway_options *options, struct error *err);
/* After the HTTP server has stopped. */
void proxy_destroy(struct gateway *gateway);

/* That of a provider; NULL: the gateway plays it itself. */
const struct origin *proxy_origin(const struct gateway *gateway, const char *provider);
/* Asks for the answer; `whole`: it is changed before it goes back. */
enum MHD_Result proxy_ask(struct request *request, bool whole);
/* Comes back when something of it is there. */
enum MHD_Result proxy_answer(struct request *request);
/* The request ends. */
void proxy_leave(struct request *request);

/* ask.c: what is asked. `rest`: the path below the provider, decoded. Returns the status with which it is refused; 0: none. */
int ask_route(struct request *request, const char *rest, const char *method);
/* The request as it goes to its upstream, which owns its body from then on. NULL: no memory. */
struct exchange *ask_exchange(struct request *request);

/* relay.c: hands on what the upstream sends, as it comes. */
enum MHD_Result relay(struct request *request);
/* Those of the upstream's headers that are for the client, too. */
void relay_headers(struct MHD_Response *response, const struct header_list *headers);

#endif
