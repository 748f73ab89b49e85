/* SPDX-License-Identifier: Apache-2.0 */
/* Answers that are wrong in ways of their own: slow, broken off, well-formed and false, refused for a key. Each is looked at as it
 * came over the socket. */
#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway_room.h"

#define STREAM                                                                                                         \
	"{\"model\":\"opus\",\"messages\":[{\"role\":\"user\",\"content\":\"go\"}],\"stream\":true,"                   \
	"\"stream_options\":{\"include_usage\":true}}"
#define MESSAGES "/claude/v1/messages"
#define MESSAGE                                                                                                        \
	"{\"model\":\"opus\",\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":\"go\"}],"                  \
	"\"tools\":[{\"name\":\"read_file\"}]}"
#define WRITES "X-Task-Id: t-1\nX-Step: 2" /* a long tool call */

static struct tritone_gateway_rule text_rule(uint32_t action, const char *text)
{
	struct tritone_gateway_rule rule = rule_of(action, "claude");

	rule.text = text;
	return rule;
}

static struct call *under(struct world *world, const struct tritone_gateway_rule *rule, const char *path,
    const char *headers, const char *body)
{
	set(world, rule);
	return request(world, path, headers, body);
}

/* ---- wrong words ---- */

static void test_wrong_content(void **state)
{
	struct tritone_gateway_rule rule = text_rule(TRITONE_GATEWAY_WRONG_CONTENT, NULL);
	struct call *call = under(*state, &rule, OPUS, WRITES, CHAT);

	has(call->answer, "\"content\":\"I'm sorry, but I can't help with that.\"");
	has(call->answer, "\"finish_reason\":\"stop\"");
	has_not(call->answer, "tool_calls");
	free(call);
	rule.text = "42";
	call = under(*state, &rule, MESSAGES, "", MESSAGE);
	has(call->answer, "\"content\":[{\"type\":\"text\",\"text\":\"42\"}]");
	free(call);
	assert_int_equal(hits_of(*state, "k"), 1); /* it was set anew */
	assert_string_equal(wait_op(*state, OP_CALL, OP_OK, 2).detail, "rule k");
}

static void test_wrong_usage(void **state)
{
	struct tritone_gateway_rule rule = text_rule(TRITONE_GATEWAY_WRONG_USAGE, NULL);
	struct call *call = under(*state, &rule, OPUS, "", CHAT);

	has(call->answer, "\"prompt_tokens\":0,\"completion_tokens\":1000000000,\"total_tokens\":1");
	free(call);
	call = under(*state, &rule, OPUS, "", STREAM);
	has(call->answer, "\"prompt_tokens\":0,\"completion_tokens\":1000000000,\"total_tokens\":1");
	free(call);
	call = under(*state, &rule, "/claude/v1/embeddings", "", "{\"model\":\"e\",\"input\":\"a\",\"dimensions\":1}");
	has(call->answer, "\"prompt_tokens\":0,\"total_tokens\":1");
	free(call);
	assert_in_range(wait_op(*state, OP_CALL, OP_OK, 1).value, 1, 100); /* what was really taken */
}

static void test_wrong_tool(void **state)
{
	struct tritone_gateway_rule rule = text_rule(TRITONE_GATEWAY_WRONG_TOOL, NULL);
	struct call *call = under(*state, &rule, OPUS, WRITES, CHAT);

	has(call->answer, "\"name\":\"no_such_tool\"");
	has_not(call->answer, "\"name\":\"write_file\"");
	free(call);
	rule.text = "rm_rf";
	call = under(*state, &rule, OPUS, "X-Step: 4", CHAT); /* it would have called none */
	has(call->answer, "\"name\":\"rm_rf\"");
	has(call->answer, "\"finish_reason\":\"tool_calls\"");
	free(call);
	assert_int_equal(status_of(*state, "/claude/v1/embeddings", "{\"model\":\"e\",\"input\":\"a\"}"), 200);
	assert_int_equal(hits_of(*state, "k"), 1); /* embeddings call no tools: not a request of this kind */
}

static void test_wrong_arguments(void **state)
{
	struct tritone_gateway_rule rule = text_rule(TRITONE_GATEWAY_WRONG_ARGUMENTS, NULL);
	struct call *call = under(*state, &rule, OPUS, WRITES, CHAT);
	json_t *object = json_loads(call->answer, 0, NULL), *function;

	assert_non_null(object); /* the envelope is whole */
	function = json_object_get(json_array_get(json_object_get(object, "choices"), 0), "message");
	function = json_object_get(json_array_get(json_object_get(function, "tool_calls"), 0), "function");
	assert_string_equal(json_string_value(json_object_get(function, "name")), "write_file");
	assert_int_equal(*json_string_value(json_object_get(function, "arguments")), '{');
	assert_null(json_loads(json_string_value(json_object_get(function, "arguments")), 0, NULL));
	json_decref(object);
	free(call);
	call = under(*state, &rule, MESSAGES, "", MESSAGE); /* whose input is always an object */
	has(call->answer, "\"input\":{\"INVALID_JSON\":");
	free(call);
}

static void test_too_long(void **state)
{
	struct tritone_gateway_rule rule = text_rule(TRITONE_GATEWAY_TOO_LONG, NULL);
	struct call *call = under(*state, &rule, OPUS, "", CHAT);

	assert_int_equal(call->status, 400);
	has(call->answer, "\"code\":\"context_length_exceeded\"");
	free(call);
	call = under(*state, &rule, MESSAGES, "", MESSAGE);
	assert_int_equal(call->status, 400);
	has(call->answer, "\"type\":\"invalid_request_error\",\"message\":\"prompt is too long: ");
	free(call);
	assert_int_equal(wait_op(*state, OP_CALL, OP_FAIL, 2).status, 400);
}

/* ---- keys and headers ---- */

static void test_key(void **state)
{
	struct tritone_gateway_rule rule = text_rule(TRITONE_GATEWAY_KEY, "new");
	struct call *call;
	size_t i;
	static const struct {
		const char *path, *header, *body;
		long status;
	} calls[] = {{OPUS, "Authorization: Bearer old", CHAT, 401}, {OPUS, "Authorization: Bearer new", CHAT, 200},
	    {OPUS, "authorization: bearer new", CHAT, 200}, {OPUS, "", CHAT, 401},
	    {MESSAGES, "x-api-key: old", MESSAGE, 401}, {MESSAGES, "x-api-key: new", MESSAGE, 200},
	    {MESSAGES, "x-api-key: newer", MESSAGE, 401}, {CODEX, "Authorization: Bearer old", CHAT2, 200}};

	set(*state, &rule);
	for (i = 0; i < sizeof calls / sizeof calls[0]; i++) {
		call = request(*state, calls[i].path, calls[i].header, calls[i].body);
		assert_int_equal(call->status, calls[i].status);
		free(call);
	}
	assert_int_equal(hits_of(*state, "k"), 4); /* whoever has the new key has not met it */
}

static void test_retry_after_says(void **state)
{
	static const char *const words[] = {"soon", "-5", "1000000000", "Wed, 21 Oct 2015 07:28:00 GMT"};
	struct tritone_gateway_rule rule = text_rule(TRITONE_GATEWAY_ANSWER, NULL);
	size_t i;

	for (i = 0; i < sizeof words / sizeof words[0]; i++) {
		struct call *call;

		rule.text = words[i];
		call = under(*state, &rule, OPUS, "", CHAT);
		assert_int_equal(call->status, 429);
		assert_string_equal(header_of(call, "retry-after"), words[i]);
		assert_string_equal(header_of(call, "retry-after-ms"), "");
		assert_string_equal(header_of(call, "x-ratelimit-reset-requests"), "");
		free(call);
	}
}

static void test_bad_texts(void **state)
{
	struct world *world = *state;
	struct tritone_gateway_rule rule = text_rule(TRITONE_GATEWAY_KEY, NULL);
	struct error err = {0};
	char text[300];

	assert_int_equal(gateway_rule_set(world->gateway, &rule, &err), -1);
	assert_string_equal(err.text, "gateway rule k: needs the key that is accepted");
	rule.text = "a\r\nSet-Cookie: x";
	assert_int_equal(gateway_rule_set(world->gateway, &rule, &err), -1);
	memset(text, 'x', sizeof text);
	text[256] = '\0';
	rule.text = text;
	assert_int_equal(gateway_rule_set(world->gateway, &rule, &err), -1);
	text[255] = '\0';
	assert_int_equal(gateway_rule_set(world->gateway, &rule, &err), 0);
	rule = rule_of(TRITONE_GATEWAY_TOO_LONG, "notify");
	assert_int_equal(gateway_rule_set(world->gateway, &rule, &err), -1);
	assert_non_null(strstr(err.text, "is for models, and notify is a sink"));
	/* a plugin of the ABI's first version: what lies behind its struct is not looked at */
	rule = text_rule(TRITONE_GATEWAY_ANSWER, (const char *)(uintptr_t)8);
	rule.status = 500;
	rule.struct_size = offsetof(struct tritone_gateway_rule, text);
	assert_int_equal(gateway_rule_set(world->gateway, &rule, &err), 0);
	assert_int_equal(status_of(world, OPUS, CHAT), 500);
}

/* ---- streams ---- */

static void test_truncated_stream(void **state)
{
	struct tritone_gateway_rule rule = rule_of(TRITONE_GATEWAY_TRUNCATED, "claude");
	struct call *whole = request(*state, OPUS, WRITES, STREAM), *call = under(*state, &rule, OPUS, WRITES, STREAM);

	assert_int_equal(call->status, 200);
	assert_int_not_equal(call->code, CURLE_OK); /* no last chunk: the client can tell */
	assert_true(call->size > 0 && call->size < whole->size);
	assert_memory_equal(call->answer, whole->answer, call->size);
	has_not(call->answer, "[DONE]");
	free(whole);
	free(call);
	assert_string_equal(wait_op(*state, OP_CALL, OP_INFO, 1).detail, "truncated, rule k");
}

static void test_broken_stream(void **state)
{
	struct tritone_gateway_rule rule = rule_of(TRITONE_GATEWAY_BROKEN_STREAM, "claude");
	struct call *call = under(*state, &rule, OPUS, WRITES, STREAM);

	assert_int_equal(call->code, CURLE_OK);
	has(call->answer, "\n\ndata: {\"error\":{\"message\":");
	has_not(call->answer, "[DONE]");
	free(call);
	call = under(*state, &rule, MESSAGES, "",
	    "{\"model\":\"opus\",\"max_tokens\":9,\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"go\"}]"
	    "}");
	has(call->answer, "\n\nevent: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"");
	has_not(call->answer, "message_stop");
	free(call);
	assert_string_equal(wait_op(*state, OP_CALL, OP_OK, 1).detail, "error in the stream, rule k");
	assert_int_equal(status_of(*state, OPUS, CHAT), 200);
	assert_int_equal(hits_of(*state, "k"), 1); /* what is no stream cannot be broken off */

	rule.action = TRITONE_GATEWAY_MALFORMED;
	call = under(*state, &rule, OPUS, WRITES, STREAM);
	assert_int_equal(call->code, CURLE_OK);
	assert_string_equal(call->answer + call->size - strlen("data: {\"id\":\"\n\n"), "data: {\"id\":\"\n\n");
	assert_true(count_of(call->answer, "data: ") > 3);
	free(call);
}

/* The pieces come one after the other, and all of them. */
static void test_slow(void **state)
{
	struct tritone_gateway_rule rule = rule_of(TRITONE_GATEWAY_SLOW, "claude");
	struct call *usual = request(*state, OPUS, "X-Step: 4", STREAM), *call;
	size_t events = count_of(usual->answer, "\n\n");
	struct op invoke, ok;

	assert_true(events >= 4);
	rule.delay_ms = 10;
	call = under(*state, &rule, OPUS, "X-Step: 4", STREAM);
	assert_int_equal(call->code, CURLE_OK);
	assert_string_equal(call->answer, usual->answer);
	invoke = wait_op(*state, OP_CALL, OP_INVOKE, 2);
	ok = wait_op(*state, OP_CALL, OP_OK, 2);
	assert_true(ok.time_us - invoke.time_us >= (events - 1) * 10000);
	free(call);
	free(usual);

	usual = request(*state, CODEX, WRITES, CHAT);
	rule.target = "codex";
	call = under(*state, &rule, CODEX, WRITES, CHAT);
	assert_int_equal(call->code, CURLE_OK);
	assert_string_equal(call->answer, usual->answer);
	assert_int_not_equal(atoi(header_of(call, "content-length")), 0);
	invoke = wait_op(*state, OP_CALL, OP_INVOKE, 4);
	ok = wait_op(*state, OP_CALL, OP_OK, 4);
	assert_true(ok.time_us - invoke.time_us >= (uint64_t)7 * 10000);
	free(call);
	free(usual);
}

/* Sends the streaming request by hand and reads until `part` has come. */
static struct reader reading(struct world *world, const char *part)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct reader reader = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	char text[1024];

	address.sin_port = htons((uint16_t)atoi(strrchr(gateway_url(world->gateway), ':') + 1));
	assert_int_equal(connect(reader.fd, (struct sockaddr *)&address, sizeof address), 0);
	snprintf(text, sizeof text, "POST %s HTTP/1.1\r\nHost: x\r\nX-Step: 4\r\nContent-Length: %zu\r\n\r\n%s", OPUS,
	    sizeof STREAM - 1, STREAM);
	assert_int_equal(write(reader.fd, text, strlen(text)), strlen(text));
	read_to(&reader, part);
	return reader;
}

/* An hour between two pieces: the client leaves, the rule is cleared, its lifetime ends, the gateway is stopped. */
static void test_slow_ends(void **state)
{
	struct world *world = *state;
	struct tritone_gateway_rule rule = rule_of(TRITONE_GATEWAY_SLOW, "claude");
	struct reader reader;

	rule.delay_ms = 3600000;
	set(world, &rule);
	reader = reading(world, "assistant");
	assert_null(strstr(reader.text, "done"));
	close(reader.fd);
	assert_string_equal(wait_op(world, OP_CALL, OP_INFO, 1).detail, OP_CLIENT_GONE ", rule k");

	reader = reading(world, "assistant");
	gateway_rule_clear(world->gateway, "k");
	read_to(&reader, "[DONE]");
	close(reader.fd);

	rule.lifetime_ms = 50; /* ends by itself just as well */
	set(world, &rule);
	reader = reading(world, "assistant");
	read_to(&reader, "[DONE]");
	close(reader.fd);

	rule.lifetime_ms = 0;
	set(world, &rule);
	reader = reading(world, "assistant");
	assert_int_equal(status_of(world, CODEX, CHAT), 200); /* the one thread has gone round: the other one waits */
	gateway_destroy(world->gateway);
	world->gateway = NULL;
	assert_int_equal(read(reader.fd, reader.text, sizeof reader.text), -1);
	assert_int_equal(errno, ECONNRESET);
	close(reader.fd);
	assert_string_equal(wait_op(world, OP_CALL, OP_INFO, 2).detail, "the gateway was stopped, rule k");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_wrong_content, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_wrong_usage, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_wrong_tool, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_wrong_arguments, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_too_long, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_key, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_retry_after_says, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bad_texts, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_truncated_stream, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_broken_stream, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_slow, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_slow_ends, setup, teardown),
	};

	return room_run(tests);
}
