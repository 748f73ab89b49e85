/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A recording of what real providers answered: a file of lines of JSON. The first is {"tritone-recording": 1}, each other
 * one a pair of a request and its answer, in the order in which the answers were whole:
 *
 *   {"provider": "claude", "method": "POST", "path": "/v1/messages", "key": HASH, "nth": 1, "request": ...,
 *    "status": 200, "headers": [[NAME, VALUE], ...], "answer": TEXT}
 *
 * The key is a hash of provider, method, path and body, the latter as JSON without spaces and with its members sorted when
 * it is JSON; `nth` counts the answers to requests with the same key. Of two lines with the same key and number the later
 * one counts: recording again into a file renews what it has. A body that is no UTF-8 is written as {"hex": ...}. Headers of
 * requests are not written at all, nor are an answer's cookies and what is for one connection alone.
 *
 * Caveats
 *  - A line is written at once and made durable before the answer's end is passed on. A last line without a line feed is
 *    one whose writer died: it is not read, and is cut off before more is written.
 *  - Several gateways may write to one file.
 */
#ifndef TRITONE_GATEWAY_RECORDING_H
#define TRITONE_GATEWAY_RECORDING_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/proxy/header_list.h"
#include "gateway/reply.h"
#include "wal/error.h"

#define RECORDING_FIRST    "{\"tritone-recording\": 1}\n"
#define RECORDING_KEY_SIZE 33

/* What is asked for; the path has no API key in its query. */
struct recording_request {
	const char *provider, *method, *path, *body;
	size_t size;
};

/* recording.c */
void recording_key(const struct recording_request *request, char key[RECORDING_KEY_SIZE]);
/* A line with its line feed, malloc'ed; NULL: no memory. */
char *recording_line(const struct recording_request *request, const char *key, uint64_t nth, int status,
    const struct header_list *headers, const char *answer, size_t size);
/* The answer of a line. `ends` is set for a stream of events. EINVAL: it is no such line. */
int recording_answer(
    const char *line, size_t size, struct reply *ret_reply, struct header_list *ret_headers, struct error *err);
/* Where the events of a stream end; false: there are none, or there is no memory. */
bool recording_ends(struct reply *reply);

/* record.c: writes what upstreams answer. `lock` is the one of upstream.h. */
struct recorder;
struct exchange;
int recorder_create(struct recorder **ret_recorder, const char *path, pthread_mutex_t *lock, struct error *err);
/* Writes down what has been taken. NULL is fine. */
void recorder_destroy(struct recorder *recorder);
/* With the lock held: writes the pair, then finishes the exchange. Its note is a struct recording_note. */
void recorder_take(struct recorder *recorder, struct exchange *exchange);
/* With the lock held: -1 with the first cause when something could not be recorded. */
int recorder_trouble(const struct recorder *recorder, struct error *err);

struct recording_note {
	const char *provider; /* outlives the recorder */
	size_t secrets;       /* where they begin in `text`: each ends with a NUL, the last one is empty */
	char text[];          /* the path, ending with a NUL */
};

/* replay.c: answers from a recording. One thread only. */
struct replay;
int replay_open(struct replay **ret_replay, const char *path, struct error *err);
void replay_close(struct replay *replay);
/*
 * The answer to the n-th such request since it was opened; beyond the last that there is, the last again. ENOENT: there is
 * none.
 */
int replay_find(struct replay *replay, const struct recording_request *request, struct reply *ret_reply,
    struct header_list *ret_headers, struct error *err);

#endif
