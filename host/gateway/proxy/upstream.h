/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to real providers: one thread, however many are under way. Knows no HTTP server, no rules, no recordings.
 *
 * All functions but create and destroy are called with the mutex held that upstream_create was given, and so are the
 * events. What nobody reads is not fetched either: a stream waits at its source while more than a window of it is unread.
 *
 * Caveats
 *  - An exchange belongs to whoever asked, to this thread, and to whoever `ended` gave it to; the last one frees it.
 *  - Certificates are checked, against those of the system or of the file that SSL_CERT_FILE names.
 *  - HTTP proxies are those of the environment (https_proxy ...), but never for an upstream on this machine.
 */
#ifndef TRITONE_GATEWAY_UPSTREAM_H
#define TRITONE_GATEWAY_UPSTREAM_H

#include <curl/curl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/proxy/header_list.h"
#include "gateway/proxy/usage.h"
#include "wal/error.h"

#define UPSTREAM_KEEP_MAX    (8u << 20) /* bytes of an answer that are kept */
#define UPSTREAM_METHOD_SIZE 16

struct upstream;

/* One request and its answer. */
struct exchange {
	/* filled in by whoever asks, constant from upstream_ask on; owned */
	char *url, *body;
	char method[UPSTREAM_METHOD_SIZE];
	struct curl_slist *send; /* headers */
	size_t body_size;
	int64_t silence_ms; /* so long without a byte, and it is given up */
	bool whole;         /* nobody reads it before it is done */
	bool keep;          /* all of it is wanted in the end */
	uint64_t tag;       /* whoever asks knows it by that */
	void *note;         /* of whoever asks; freed with it, by free() */

	/* with the lock held */
	unsigned owners;
	bool waited_for; /* by whoever asks; cleared before `changed` is called */
	bool head;       /* status and headers are here */
	bool done;       /* and all the rest, or `lost` says what became of it */
	bool late;       /* it was lost by its silence */
	char lost[160];
	int status;
	int64_t length; /* of the body, as announced; -1: unknown */
	struct header_list headers;
	char *bytes; /* of the answer, from `base` on */
	size_t size, room, base, read;
	bool kept; /* all of it is there; only if it is done and not lost */
	int64_t tokens;
	bool left, paused, resume;

	/* upstream.c's thread alone */
	struct exchange *next;
	CURL *easy;
	struct upstream *upstream;
	struct usage usage;
	bool stream;
	int64_t last_us; /* when something was heard of it */
	char why[CURL_ERROR_SIZE];
};

struct upstream_events {
	/* Something has come that was waited for. */
	void (*changed)(void *arg, struct exchange *exchange);
	/* The answer is whole. True: it is kept (an owner more), and exchange_finish will be called for it. */
	bool (*ended)(void *arg, struct exchange *exchange);
	void *arg;
};

int upstream_create(
    struct upstream **ret_upstream, pthread_mutex_t *lock, const struct upstream_events *events, struct error *err);
/* Gives up what is under way. NULL is fine. */
void upstream_destroy(struct upstream *upstream);

/* Takes the exchange, one of whose owners is the caller. */
void upstream_ask(struct upstream *upstream, struct exchange *exchange);
/* The next bytes of its answer; 0: none now, or it is done. One that is kept back until it is finished keeps the last byte of an
 * announced length. */
size_t exchange_read(struct exchange *exchange, char *buf, size_t size);
/* It is done, and nothing that was waited for is missing any more. */
void exchange_finish(struct exchange *exchange);
void exchange_leave(struct exchange *exchange); /* the asker's part: it is no longer interested */
void exchange_unref(struct exchange *exchange); /* any other owner's; also for one that was never asked */

#endif
