/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP requests with libcurl's easy interface; handles are kept with their connections. */
#include "system/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_MAX  8
#define REPLY_MAX (64u << 20) /* bytes */

struct http {
	pthread_mutex_t lock;
	CURL *idle[IDLE_MAX];
	size_t idle_count;
};

struct collected {
	char *bytes;
	size_t size, room;
};

int http_create(struct http **ret_http, struct error *err)
{
	struct http *http = calloc(1, sizeof *http);

	if (!http)
		return error_set(err, ENOMEM, "no memory for HTTP");
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(http);
		return error_set(err, EIO, "libcurl does not start");
	}
	pthread_mutex_init(&http->lock, NULL);
	*ret_http = http;
	return 0;
}

void http_destroy(struct http *http)
{
	if (!http)
		return;
	for (size_t i = 0; i < http->idle_count; i++)
		curl_easy_cleanup(http->idle[i]);
	pthread_mutex_destroy(&http->lock);
	free(http);
	curl_global_cleanup();
}

static CURL *take(struct http *http)
{
	CURL *curl = NULL;

	pthread_mutex_lock(&http->lock);
	if (http->idle_count)
		curl = http->idle[--http->idle_count];
	pthread_mutex_unlock(&http->lock);
	return curl ? curl : curl_easy_init();
}

static void give_back(struct http *http, CURL *curl)
{
	curl_easy_reset(curl); /* keeps the connections */
	pthread_mutex_lock(&http->lock);
	if (http->idle_count < IDLE_MAX) {
		http->idle[http->idle_count++] = curl;
		curl = NULL;
	}
	pthread_mutex_unlock(&http->lock);
	if (curl)
		curl_easy_cleanup(curl);
}

static size_t collect(char *bytes, size_t one, size_t size, void *arg)
{
	struct collected *all = arg;

	(void)one;
	if (all->size + size > REPLY_MAX)
		return 0;
	if (all->size + size + 1 > all->room) {
		size_t room = (all->size + size + 1) * 2;
		char *more = realloc(all->bytes, room);

		if (!more)
			return 0;
		all->bytes = more;
		all->room = room;
	}
	memcpy(all->bytes + all->size, bytes, size);
	all->size += size;
	all->bytes[all->size] = '\0';
	return size;
}

static int code_of(CURLcode code)
{
	if (code == CURLE_COULDNT_CONNECT)
		return ECONNREFUSED;
	if (code == CURLE_OPERATION_TIMEDOUT)
		return ETIMEDOUT;
	if (code == CURLE_GOT_NOTHING || code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR ||
	    code == CURLE_PARTIAL_FILE)
		return ECONNRESET;
	return EIO;
}

int http_do(struct http *http, const struct http_request *request, struct http_reply *ret_reply, struct error *err)
{
	struct curl_slist *headers = curl_slist_append(NULL, "Expect:"); /* no pause before a body */
	struct collected all = {calloc(1, 1), 0, 1};
	CURL *curl = take(http);
	CURLcode code;
	int result = -1;

	for (size_t i = 0; headers && request->headers && request->headers[i]; i++) {
		struct curl_slist *more = curl_slist_append(headers, request->headers[i]);

		if (!more) {
			curl_slist_free_all(headers);
			headers = NULL;
			break;
		}
		headers = more;
	}
	if (!curl || !headers || !all.bytes) {
		error_set(err, ENOMEM, "%s: no memory for a request", request->url);
		goto out;
	}
	curl_easy_setopt(curl, CURLOPT_URL, request->url);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)(request->timeout_ms > 0 ? request->timeout_ms : 5000));
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &all);
	if (request->body) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(request->body));
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body);
	}
	if (request->method)
		curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
	code = curl_easy_perform(curl);
	if (code != CURLE_OK) {
		error_set(err, code_of(code), "%s: %s", request->url, curl_easy_strerror(code));
		goto out;
	}
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &ret_reply->status);
	ret_reply->body = all.bytes;
	ret_reply->size = all.size;
	all.bytes = NULL;
	result = 0;
out:
	free(all.bytes);
	curl_slist_free_all(headers);
	if (curl)
		give_back(http, curl);
	return result;
}
