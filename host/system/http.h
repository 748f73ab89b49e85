/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP requests to the system under test, over kept-alive connections, one at a time for each caller. Thread-safe. */
#ifndef TRITONE_SYSTEM_HTTP_H
#define TRITONE_SYSTEM_HTTP_H

#include <stddef.h>
#include <stdint.h>

#include "wal/error.h"

struct http;

int http_create(struct http **ret_http, struct error *err);
void http_destroy(struct http *http); /* NULL is fine; nobody may be in http_do */

struct http_request {
	const char *method; /* NULL: GET */
	const char *url;
	const char *body;           /* NULL: none */
	const char *const *headers; /* "Name: value", NULL-terminated; may be NULL */
	int64_t timeout_ms;
};
struct http_reply {
	long status;
	char *body; /* NUL-terminated; the caller frees it */
	size_t size;
};

/* 0: an answer came, whatever its status. -1: ECONNREFUSED, ETIMEDOUT, ECONNRESET (after the connection was made), EIO. */
int http_do(struct http *http, const struct http_request *request, struct http_reply *ret_reply, struct error *err);

#endif
