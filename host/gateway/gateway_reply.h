/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the gateway's providers say: bodies in the form of OpenAI's API, the same for the same seed
 * and request. Knows no sockets.
 *
 * The built-in plan, for each task:
 *   step 1  tool call read_file {"path": P}: work/DEP.md for the first id in X-After, else README.md
 *   step 2  tool call write_file {"path": "work/TASK.md", "content": ...}
 *   step 3  tool call run_check {"path": "work/TASK.md"}
 *   step 4  content "done", finish_reason stop
 * The step is what X-Step says; without the header it is one more than the assistant's messages in
 * the request, and a tool that the request does not offer is skipped over to step 4. What is written
 * depends on the seed, the task, X-Role and X-After, not on provider, model or attempt: a task that
 * fails over or is tried again writes the same file.
 */
#ifndef TRITONE_GATEWAY_REPLY_H
#define TRITONE_GATEWAY_REPLY_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct reply {
	int status;
	char *body; /* free(); NULL: out of memory */
	size_t size;
	int64_t tokens; /* as in its usage; 0: none */
};

struct reply_request {
	const char *provider, *model, *task, *role, *after; /* never NULL */
	int64_t step;                                       /* 0: the header was not there */
	const json_t *body;
	size_t body_size; /* bytes, for usage: four make a token */
};

struct reply reply_chat(uint64_t seed, const struct reply_request *request);
/* The parts of it, for scripted replies. reply_completion takes `message`. */
struct reply reply_completion(uint64_t seed, const struct reply_request *request, json_t *message, const char *finish);
int64_t reply_step(const struct reply_request *request);
#define REPLY_ID_SIZE 20
void reply_id(uint64_t seed, const struct reply_request *request, char id[REPLY_ID_SIZE]);

struct reply reply_models(const char *provider);
/* The provider's error body for a status of 400..599. retry_after_ms -1: none. */
struct reply reply_error(int status, int64_t retry_after_ms, const char *model);
/* The same with a text and code of one's own (code may be NULL), for what is wrong with the request itself. */
struct reply reply_refuse(int status, const char *code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Not JSON. */
struct reply reply_malformed(void);
struct reply reply_sink_ok(void);

/* "2", "0.25": seconds, with decimals only where needed. */
#define REPLY_SECONDS_SIZE 32
void reply_seconds(int64_t ms, char text[REPLY_SECONDS_SIZE]);

#endif
