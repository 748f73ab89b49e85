/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A gateway with a history, and a client of it over real HTTP. Failures are cmocka's assertions.
 */
#ifndef TRITONE_TESTS_GATEWAY_ROOM_H
#define TRITONE_TESTS_GATEWAY_ROOM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <curl/curl.h>

#include "gateway/gateway.h"

#define BODY_SIZE (64u << 10)

struct world {
	struct history *history;
	struct gateway *gateway;
};

struct gateway_options usual_options(struct history *history);
int setup(void **state);
int teardown(void **state);

struct call {
	char url[256], headers[512], body[BODY_SIZE]; /* headers: one a line; empty body: GET */
	CURLcode code;
	long status;
	char answer[BODY_SIZE], retry_after[64], answer_headers[4096];
	size_t size, header_size;
};

#define CHAT  "{\"model\":\"opus\",\"messages\":[{\"role\":\"user\",\"content\":\"go\"}],\"tools\":[]}"
#define CHAT2 "{\"model\":\"codex\",\"messages\":[{\"role\":\"user\",\"content\":\"go\"}],\"tools\":[]}"
#define OPUS  "/claude/v1/chat/completions"
#define CODEX "/codex/v1/chat/completions"

struct call *call_new(struct world *world, const char *path, const char *headers, const char *body);
void *call_run(void *call);
size_t call_body(char *bytes, size_t one, size_t count, void *call); /* curl's write function */
/* A whole request; free the result. */
struct call *request(struct world *world, const char *path, const char *headers, const char *body);
/* The status, or minus curl's code. */
long status_of(struct world *world, const char *path, const char *body);
/* The value of a header of the answer; "" when it has none. Valid until the next call of this. */
const char *header_of(const struct call *call, const char *name);

/* Waits for the n-th such operation. */
struct op wait_op(struct world *world, enum op_kind kind, enum op_type type, uint64_t n);

struct tritone_gateway_rule rule_of(uint32_t action, const char *target);
void set(struct world *world, const struct tritone_gateway_rule *rule);
/* A part of a text, or of a head, in whatever case. */
void has(const char *text, const char *part);
void has_not(const char *text, const char *part);
size_t count_of(const char *text, const char *part);

/* A connection that is read by hand. */
struct reader {
	int fd;
	char text[4096];
	size_t size;
};
void read_to(struct reader *reader, const char *part);

/* Runs an array of tests, as the value of main. */
#define room_run(tests_) (room_begin(), room_end(cmocka_run_group_tests(tests_, NULL, NULL)))
void room_begin(void);
int room_end(int failed);

uint64_t hits_of(struct world *world, const char *key);

#endif
