/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to real providers; see upstream.h. Callbacks of curl take the lock, so it is never held around curl's calls. */
#include "gateway/proxy/upstream.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "gateway/park.h"

#define WINDOW      (256u << 10) /* bytes that are fetched before somebody reads */
#define POLL_MAX_MS 60000

struct upstream {
	pthread_mutex_t *lock; /* the gateway's; not ours */
	pthread_t thread;
	struct upstream_events events;
	CURLM *multi;
	char *trusted;                  /* file of certificates; NULL: the system's */
	struct exchange *first, **last; /* that are to be asked */
	struct exchange *active;        /* the thread's own */
	bool stop;
};

/* ---- an exchange ---- */

void exchange_unref(struct exchange *exchange)
{
	if (!exchange || --exchange->owners)
		return;
	free(exchange->url);
	free(exchange->body);
	free(exchange->note);
	free(exchange->bytes);
	curl_slist_free_all(exchange->send);
	header_list_free(&exchange->headers);
	usage_finish(&exchange->usage);
	free(exchange);
}

static void changed(struct exchange *exchange)
{
	struct upstream *upstream = exchange->upstream;

	if (!exchange->waited_for || exchange->left)
		return;
	exchange->waited_for = false;
	upstream->events.changed(upstream->events.arg, exchange);
}

void exchange_finish(struct exchange *exchange)
{
	exchange->done = true;
	changed(exchange);
}

void exchange_leave(struct exchange *exchange)
{
	exchange->left = true;
	if (!exchange->done)
		curl_multi_wakeup(exchange->upstream->multi);
	exchange_unref(exchange);
}

static size_t unread(const struct exchange *exchange)
{
	return exchange->size - exchange->read;
}

size_t exchange_read(struct exchange *exchange, char *buf, size_t size)
{
	size_t there = unread(exchange);

	/* With a length, the last byte is what tells the reader that it is the end. */
	if (there && !exchange->done && exchange->length >= 0 &&
	    exchange->base + exchange->size == (size_t)exchange->length)
		there--;
	if (size > there)
		size = there;
	if (!size)
		return 0;
	memcpy(buf, exchange->bytes + exchange->read, size);
	exchange->read += size;
	if (!exchange->keep && (!unread(exchange) || exchange->read > WINDOW)) {
		memmove(exchange->bytes, exchange->bytes + exchange->read, unread(exchange));
		exchange->base += exchange->read;
		exchange->size -= exchange->read;
		exchange->read = 0;
	}
	if (exchange->paused && !exchange->resume && unread(exchange) < WINDOW / 2) {
		exchange->resume = true;
		curl_multi_wakeup(exchange->upstream->multi);
	}
	return size;
}

/* ---- what curl calls ---- */

static bool is_stream(const struct exchange *exchange)
{
	static const char stream[] = "text/event-stream";
	const char *type = header_list_get(&exchange->headers, "Content-Type");

	return type && !strncasecmp(type, stream, sizeof stream - 1);
}

/* What it says of its own length; -1: nothing, as with chunks, whatever it says beside them. False: two things, or no number. */
static bool read_length(const struct header_list *headers, int64_t *ret_length)
{
	const char *name, *value;
	int64_t length = -1;
	size_t at = 0;

	while ((name = header_list_next(headers, &at, &value))) {
		long long said;
		char *end;

		if (strcasecmp(name, "Content-Length") != 0)
			continue;
		errno = 0;
		said = strtoll(value, &end, 10);
		if (errno || end == value || *end || said < 0 || (length >= 0 && said != length))
			return false;
		length = said;
	}
	*ret_length = header_list_get(headers, "Transfer-Encoding") ? -1 : length;
	return true;
}

/* The head is whole. False: it is none that can be handed on. */
static bool begin_answer(struct exchange *exchange)
{
	long status = 0;

	curl_easy_getinfo(exchange->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status < 200) { /* the real one follows */
		header_list_free(&exchange->headers);
		return true;
	}
	if (status > 599) {
		snprintf(exchange->lost, sizeof exchange->lost, "it answered %ld, which is no status of HTTP", status);
		return false;
	}
	if (!read_length(&exchange->headers, &exchange->length)) {
		snprintf(exchange->lost, sizeof exchange->lost, "its Content-Length is no number, or two of them");
		return false;
	}
	exchange->status = (int)status;
	exchange->stream = is_stream(exchange);
	/* The tokens are told of somewhere in it. */
	if (!exchange->stream)
		exchange->keep = true;
	exchange->head = true;
	changed(exchange);
	return true;
}

static size_t on_header(char *bytes, size_t one, size_t size, void *arg)
{
	struct exchange *exchange = arg;
	const char *colon = memchr(bytes, ':', size), *value;
	size_t left = size;

	(void)one;
	exchange->last_us = park_now_us();
	while (left && (bytes[left - 1] == '\r' || bytes[left - 1] == '\n' || bytes[left - 1] == ' '))
		left--;
	pthread_mutex_lock(exchange->upstream->lock);
	if (exchange->head) {
		; /* a trailer */
	} else if (!left) {
		size = begin_answer(exchange) ? size : 0;
	} else if (!strncmp(bytes, "HTTP/", 5)) {
		header_list_free(&exchange->headers);
	} else if (colon) {
		for (value = colon + 1; value < bytes + left && (*value == ' ' || *value == '\t'); value++)
			;
		if (value > bytes + left)
			value = bytes + left;
		if (!header_list_add(
			&exchange->headers, bytes, (size_t)(colon - bytes), value, (size_t)(bytes + left - value))) {
			snprintf(
			    exchange->lost, sizeof exchange->lost, "its headers are over %u bytes", HEADER_LIST_MAX);
			size = 0;
		}
	}
	pthread_mutex_unlock(exchange->upstream->lock);
	return size;
}

static bool append(struct exchange *exchange, const char *bytes, size_t size)
{
	size_t room = exchange->room ? exchange->room : 4096;
	char *grown;

	while (room - exchange->size < size)
		room *= 2;
	if (room != exchange->room) {
		grown = realloc(exchange->bytes, room);
		if (!grown) {
			snprintf(exchange->lost, sizeof exchange->lost, "no memory for its answer");
			return false;
		}
		exchange->bytes = grown;
		exchange->room = room;
	}
	memcpy(exchange->bytes + exchange->size, bytes, size);
	exchange->size += size;
	return true;
}

static size_t on_body(char *bytes, size_t one, size_t size, void *arg)
{
	struct exchange *exchange = arg;
	bool good;

	(void)one;
	exchange->last_us = park_now_us();
	pthread_mutex_lock(exchange->upstream->lock);
	if (!exchange->whole && unread(exchange) >= WINDOW) {
		exchange->paused = true;
		exchange->resume = false;
		pthread_mutex_unlock(exchange->upstream->lock);
		return CURL_WRITEFUNC_PAUSE;
	}
	if (exchange->keep && exchange->size + size > UPSTREAM_KEEP_MAX) {
		if (exchange->whole)
			snprintf(
			    exchange->lost, sizeof exchange->lost, "its answer is over %u bytes", UPSTREAM_KEEP_MAX);
		exchange->keep = false;
	}
	good = !exchange->left && !*exchange->lost && append(exchange, bytes, size);
	if (good && exchange->stream)
		usage_feed(&exchange->usage, bytes, size);
	changed(exchange);
	pthread_mutex_unlock(exchange->upstream->lock);
	return good ? size : 0;
}

/* ---- beginning and end ---- */

static bool is_local(const char *url)
{
	static const char *const names[] = {"localhost", "127.", "[::1]"};
	const char *host = strstr(url, "://");
	size_t i;

	for (i = 0; host && i < sizeof names / sizeof names[0]; i++)
		if (!strncasecmp(host + 3, names[i], strlen(names[i])))
			return true;
	return false;
}

static bool configure(struct exchange *exchange)
{
	CURL *easy = exchange->easy;
	const bool posts = exchange->body_size || !strcmp(exchange->method, "POST");
	int bad = 0;

	bad |= (int)curl_easy_setopt(easy, CURLOPT_URL, exchange->url);
	bad |= (int)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	bad |= (int)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	bad |= (int)curl_easy_setopt(easy, CURLOPT_PRIVATE, exchange);
	bad |= (int)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, exchange->why);
	bad |= (int)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, exchange->send);
	bad |= (int)curl_easy_setopt(easy, CURLOPT_HTTP_CONTENT_DECODING, 0L);
	bad |= (int)curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	bad |= (int)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	bad |= (int)curl_easy_setopt(easy, CURLOPT_HEADERDATA, exchange);
	bad |= (int)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	bad |= (int)curl_easy_setopt(easy, CURLOPT_WRITEDATA, exchange);
	if (posts) {
		bad |= (int)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)exchange->body_size);
		bad |= (int)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, exchange->body ? exchange->body : "");
	}
	if (!strcmp(exchange->method, "HEAD"))
		bad |= (int)curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
	else
		bad |= (int)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, exchange->method);
	if (exchange->upstream->trusted)
		bad |= (int)curl_easy_setopt(easy, CURLOPT_CAINFO, exchange->upstream->trusted);
	if (is_local(exchange->url))
		bad |= (int)curl_easy_setopt(easy, CURLOPT_PROXY, "");
	return !bad;
}

/* What went wrong, as short as it can be said. What comes from curl may quote the other side's bytes. */
static void say_why(struct exchange *exchange, CURLcode code)
{
	const uint64_t came = exchange->base + exchange->size;
	const char *why = *exchange->why ? exchange->why : curl_easy_strerror(code);
	long os = 0;
	char *c;

	if (*exchange->lost)
		return;
	curl_easy_getinfo(exchange->easy, CURLINFO_OS_ERRNO, &os);
	if (exchange->head)
		snprintf(exchange->lost, sizeof exchange->lost, "broke off after %" PRIu64 " bytes: %.100s", came, why);
	else if (code == CURLE_COULDNT_CONNECT && os == ECONNREFUSED)
		snprintf(exchange->lost, sizeof exchange->lost, "connection refused");
	else if (code == CURLE_SSL_CONNECT_ERROR || code == CURLE_PEER_FAILED_VERIFICATION ||
		 code == CURLE_SSL_ISSUER_ERROR || code == CURLE_SSL_CERTPROBLEM || code == CURLE_SSL_CACERT_BADFILE ||
		 code == CURLE_SSL_CIPHER || code == CURLE_SSL_ENGINE_INITFAILED)
		snprintf(exchange->lost, sizeof exchange->lost, "TLS: %.140s", why);
	else
		snprintf(exchange->lost, sizeof exchange->lost, "%.150s", why);
	for (c = exchange->lost; *c; c++)
		if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7f)
			*c = '?';
}

/* The thread's part is over; with the lock held. The handle lives as long as it is asked for why. */
static void end(struct upstream *upstream, struct exchange *exchange, CURLcode code)
{
	exchange->paused = false;
	if (code != CURLE_OK) {
		say_why(exchange, code);
	} else if (!exchange->head) {
		snprintf(exchange->lost, sizeof exchange->lost, "it sent no answer");
	} else {
		exchange->kept = exchange->keep && !exchange->base;
		if (!exchange->stream && exchange->kept)
			usage_body(&exchange->usage, exchange->bytes, exchange->size);
		exchange->tokens = usage_tokens(&exchange->usage);
	}
	usage_finish(&exchange->usage);
	if (*exchange->lost || exchange->left || !upstream->events.ended(upstream->events.arg, exchange))
		exchange_finish(exchange);
}

/* Out of `active`, wherever it is there. */
static void drop(struct upstream *upstream, struct exchange *exchange, CURLcode code)
{
	struct exchange **at = &upstream->active;

	while (*at != exchange)
		at = &(*at)->next;
	*at = exchange->next;
	pthread_mutex_lock(upstream->lock);
	end(upstream, exchange, code);
	pthread_mutex_unlock(upstream->lock);
	if (exchange->easy) {
		curl_multi_remove_handle(upstream->multi, exchange->easy);
		curl_easy_cleanup(exchange->easy);
	}
	pthread_mutex_lock(upstream->lock);
	exchange->easy = NULL;
	exchange_unref(exchange);
	pthread_mutex_unlock(upstream->lock);
}

static void ask(struct upstream *upstream, struct exchange *exchange)
{
	exchange->next = upstream->active;
	upstream->active = exchange;
	exchange->last_us = park_now_us();
	exchange->easy = curl_easy_init();
	if (!exchange->easy || !configure(exchange) ||
	    curl_multi_add_handle(upstream->multi, exchange->easy) != CURLM_OK)
		drop(upstream, exchange, CURLE_OUT_OF_MEMORY);
}

/* ---- the thread ---- */

/* What became of those under way beside curl: left by who asked, read on, silent for too long. Returns when to look again. */
static int look_after(struct upstream *upstream)
{
	int64_t now = park_now_us(), next_us = now + (int64_t)POLL_MAX_MS * 1000;
	struct exchange *exchange, *next;

	for (exchange = upstream->active; exchange; exchange = next) {
		int64_t due_us = exchange->last_us + exchange->silence_ms * 1000;
		bool left, paused, resume, late = false;

		next = exchange->next;
		pthread_mutex_lock(upstream->lock);
		left = exchange->left;
		paused = exchange->paused;
		resume = paused && exchange->resume;
		if (resume)
			exchange->paused = exchange->resume = false;
		if (!left && !paused && due_us <= now) {
			late = exchange->late = true;
			snprintf(exchange->lost, sizeof exchange->lost, "timeout: nothing came for %" PRId64 " ms",
			    exchange->silence_ms);
		}
		pthread_mutex_unlock(upstream->lock);
		if (left || late) {
			drop(upstream, exchange, CURLE_OPERATION_TIMEDOUT);
		} else if (resume) {
			exchange->last_us = now;
			curl_easy_pause(exchange->easy, CURLPAUSE_CONT);
		} else if (!paused && due_us < next_us) {
			next_us = due_us;
		}
	}
	return (int)((next_us - now) / 1000) + 1;
}

static void take_ended(struct upstream *upstream)
{
	struct exchange *exchange = NULL;
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(upstream->multi, &left))) {
		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&exchange);
		drop(upstream, exchange, message->data.result);
	}
}

static void *run(void *arg)
{
	struct upstream *upstream = arg;
	struct exchange *fresh, *next;
	bool stop = false;
	int running;

	while (!stop) {
		pthread_mutex_lock(upstream->lock);
		fresh = upstream->first;
		upstream->first = NULL;
		upstream->last = &upstream->first;
		stop = upstream->stop;
		pthread_mutex_unlock(upstream->lock);
		for (; fresh; fresh = next) {
			next = fresh->next;
			ask(upstream, fresh);
		}
		curl_multi_perform(upstream->multi, &running);
		take_ended(upstream);
		if (!stop)
			curl_multi_poll(upstream->multi, NULL, 0, look_after(upstream), NULL);
	}
	while (upstream->active)
		drop(upstream, upstream->active, CURLE_ABORTED_BY_CALLBACK);
	return NULL;
}

void upstream_ask(struct upstream *upstream, struct exchange *exchange)
{
	exchange->upstream = upstream;
	exchange->owners++;
	exchange->length = -1;
	exchange->next = NULL;
	*upstream->last = exchange;
	upstream->last = &exchange->next;
	curl_multi_wakeup(upstream->multi);
}

int upstream_create(
    struct upstream **ret_upstream, pthread_mutex_t *lock, const struct upstream_events *events, struct error *err)
{
	struct upstream *upstream = calloc(1, sizeof *upstream);
	const char *trusted = getenv("SSL_CERT_FILE");
	int r;

	if (!upstream)
		return error_set(err, ENOMEM, "no memory for the gateway's upstreams");
	upstream->lock = lock;
	upstream->events = *events;
	upstream->last = &upstream->first;
	/* Counted by curl, and locked by it: whoever comes first does it. */
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(upstream);
		return error_set(err, EIO, "curl cannot be used here");
	}
	upstream->multi = curl_multi_init();
	upstream->trusted = trusted && *trusted ? strdup(trusted) : NULL;
	r = upstream->multi ? pthread_create(&upstream->thread, NULL, run, upstream) : ENOMEM;
	if (r) {
		if (upstream->multi)
			curl_multi_cleanup(upstream->multi);
		curl_global_cleanup();
		free(upstream->trusted);
		free(upstream);
		return error_set(err, r, "starting the gateway's thread for upstreams: %s", strerror(r));
	}
	*ret_upstream = upstream;
	return 0;
}

void upstream_destroy(struct upstream *upstream)
{
	if (!upstream)
		return;
	pthread_mutex_lock(upstream->lock);
	upstream->stop = true;
	pthread_mutex_unlock(upstream->lock);
	curl_multi_wakeup(upstream->multi);
	pthread_join(upstream->thread, NULL);
	curl_multi_cleanup(upstream->multi);
	curl_global_cleanup();
	free(upstream->trusted);
	free(upstream);
}
