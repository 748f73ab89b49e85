/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An upstream that the test plays by hand, byte by byte, over a real socket; and a gateway before it, or before another
 * gateway. Failures are cmocka's assertions.
 */
#ifndef TRITONE_TESTS_GATEWAY_STATION_H
#define TRITONE_TESTS_GATEWAY_STATION_H

#include <pthread.h>
#include <stdbool.h>

#include "gateway_room.h"

struct station {
	int listener, fd; /* the one connection that it talks on; -1: none */
	char url[64], secure[64];
	char request[BODY_SIZE]; /* head and body */
};

void station_open(struct station *station);
void station_close(struct station *station);
/* Waits for a whole request, on the connection there is or on a new one. */
void station_hear(struct station *station);
void station_say(struct station *station, const char *text);
void station_chunk(struct station *station, const char *text); /* of a chunked body; "": the last */
/* A whole answer; `headers` each with its line feeds. */
void station_answer(struct station *station, int status, const char *headers, const char *body);
void station_hang_up(struct station *station);
/* The other side has closed the connection; waits for that. */
bool station_is_left(struct station *station);

/* A gateway `front` with the provider claude asked at the station, codex at nothing that listens. */
struct stage {
	struct world front;
	struct station station;
	struct world other; /* another gateway; none unless a test makes one */
	char dir[64], file[100];
	struct call *calls[64]; /* that run in threads */
	pthread_t threads[64];
	size_t count;
};

int stage_setup(void **state);
int stage_teardown(void **state);
/* Makes the front anew, with its history; `options` has its providers and upstreams. */
void stage_front(struct stage *stage, const struct gateway_options *options);
/* Options whose claude is asked at `url`, and codex at a port where nobody listens. */
struct gateway_options stage_options(const char *url);
/* The other gateway, asked for claude by the front. */
void stage_other(struct stage *stage, int64_t latency_ms);

/* A request in a thread of its own, and its end; free the result. */
size_t stage_begin(struct stage *stage, const char *path, const char *headers, const char *body);
struct call *stage_end(struct stage *stage, size_t i);

/* The file's text, malloc'ed. */
char *stage_text(const struct stage *stage);

#endif
