/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway in the words of each provider's API: bodies, streams, errors, headers. What real clients make of them is in clients/. */
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway_room.h"

#define MESSAGES  "/claude/v1/messages"
#define RESPONSES "/codex/v1/responses"
#define USER      "{\"role\":\"user\",\"content\":\"go\"}"
#define STEP_2    "X-Task-Id: t-1\nX-Step: 2"

/* ---- looking into JSON ---- */

/* "choices.0.delta.content" */
static json_t *at(json_t *value, const char *path)
{
	char part[64];

	while (*path && value) {
		size_t size = strcspn(path, ".");

		snprintf(part, sizeof part, "%.*s", (int)size, path);
		value = json_is_array(value) ? json_array_get(value, (size_t)atoi(part)) : json_object_get(value, part);
		path += size + (path[size] == '.');
	}
	return value;
}

static const char *text_at(json_t *value, const char *path)
{
	const char *text = json_string_value(at(value, path));

	return text ? text : "";
}

static json_t *json_from(struct world *world, const char *path, const char *headers, const char *body, long status)
{
	struct call *call = request(world, path, headers, body);
	json_t *object = json_loads(call->answer, 0, NULL);

	if (call->status != status)
		fail_msg("status %ld: %s", call->status, call->answer);
	assert_non_null(object);
	assert_string_equal(header_of(call, "content-type"), "application/json");
	free(call);
	return object;
}

/* ---- streams ---- */

#define EVENTS_MAX 400

struct stream {
	struct call *call;
	const char *names[EVENTS_MAX]; /* "" where an event has none */
	json_t *data[EVENTS_MAX];
	size_t count;
	bool done; /* "[DONE]" came last */
};

/* What the HTML standard says of it: lines, and an empty one after each event. */
static struct stream stream_from(struct world *world, const char *path, const char *headers, const char *body)
{
	struct stream stream = {.call = request(world, path, headers, body)};
	char *rest = stream.call->answer, *line;
	const char *name = "";

	assert_int_equal(stream.call->code, CURLE_OK);
	assert_int_equal(stream.call->status, 200);
	assert_string_equal(header_of(stream.call, "content-type"), "text/event-stream; charset=utf-8");
	assert_string_equal(header_of(stream.call, "content-length"), "");
	while ((line = strsep(&rest, "\n"))) {
		if (!strncmp(line, "event: ", 7)) {
			name = line + 7;
		} else if (!strcmp(line, "data: [DONE]")) {
			stream.done = true;
		} else if (!strncmp(line, "data: ", 6)) {
			assert_false(stream.done);
			assert_true(stream.count < EVENTS_MAX);
			stream.names[stream.count] = name;
			stream.data[stream.count] = json_loads(line + 6, 0, NULL);
			assert_non_null(stream.data[stream.count++]);
			name = "";
		} else {
			assert_string_equal(line, "");
		}
	}
	return stream;
}

static void stream_free(struct stream *stream)
{
	size_t i;

	for (i = 0; i < stream->count; i++)
		json_decref(stream->data[i]);
	free(stream->call);
}

/* Puts together what the events have at a path. */
static void gather(const struct stream *stream, const char *path, char *into, size_t size)
{
	size_t i;

	*into = '\0';
	for (i = 0; i < stream->count; i++)
		strncat(into, text_at(stream->data[i], path), size - strlen(into) - 1);
}

/* ---- chat completions ---- */

static void test_chat_stream(void **state)
{
	static const char body[] = "{\"model\":\"opus\",\"messages\":[" USER "],\"stream\":true}";
	static const char usage[] =
	    "{\"model\":\"opus\",\"messages\":[" USER "],\"stream\":true,\"stream_options\":{\"include_usage\":true}}";
	json_t *whole = json_from(*state, OPUS, STEP_2, CHAT, 200);
	struct stream stream = stream_from(*state, OPUS, STEP_2, body);
	char arguments[8192];
	size_t i;

	assert_true(stream.done);
	assert_string_equal(text_at(stream.data[0], "choices.0.delta.role"), "assistant");
	assert_string_equal(text_at(stream.data[1], "choices.0.delta.tool_calls.0.function.name"), "write_file");
	assert_string_equal(text_at(stream.data[stream.count - 1], "choices.0.finish_reason"), "tool_calls");
	gather(&stream, "choices.0.delta.tool_calls.0.function.arguments", arguments, sizeof arguments);
	assert_string_equal(arguments, text_at(whole, "choices.0.message.tool_calls.0.function.arguments"));
	assert_true(stream.count > 10); /* in pieces */
	for (i = 0; i < stream.count; i++) {
		assert_string_equal(text_at(stream.data[i], "object"), "chat.completion.chunk");
		assert_string_equal(text_at(stream.data[i], "id"), text_at(stream.data[0], "id"));
		assert_null(at(stream.data[i], "usage"));
	}
	stream_free(&stream);

	stream = stream_from(*state, OPUS, "X-Step: 4", usage);
	assert_string_equal(text_at(stream.data[1], "choices.0.delta.content"), "done");
	assert_true(json_is_null(at(stream.data[0], "usage")));
	assert_int_equal(json_array_size(at(stream.data[stream.count - 1], "choices")), 0);
	assert_int_equal(
	    json_integer_value(at(stream.data[stream.count - 1], "usage.prompt_tokens")), (sizeof usage - 1 + 3) / 4);
	stream_free(&stream);
	json_decref(whole);
}

/* Frameworks tell messages apart by their ids, so different requests have different ones; and the same the same. */
static void test_ids(void **state)
{
	json_t *one = json_from(*state, OPUS, "", CHAT, 200), *same = json_from(*state, OPUS, "", CHAT, 200);
	json_t *other = json_from(*state, OPUS, "", "{\"model\":\"opus\",\"messages\":[{\"role\":\"user\"}]}", 200);

	assert_string_equal(text_at(one, "id"), text_at(same, "id"));
	assert_string_not_equal(text_at(one, "id"), text_at(other, "id"));
	json_decref(one);
	json_decref(same);
	json_decref(other);
}

/* ---- messages ---- */

static void test_messages(void **state)
{
	static const char tools[] =
	    "{\"model\":\"opus\",\"max_tokens\":9,\"messages\":[" USER
	    ",{\"role\":\"assistant\",\"content\":\"a\"}," USER "],\"tools\":[{\"name\":\"write_file\"}]}";
	static const char streamed[] =
	    "{\"model\":\"opus\",\"max_tokens\":9,\"stream\":true,\"messages\":[" USER
	    ",{\"role\":\"assistant\",\"content\":\"a\"}," USER "],\"tools\":[{\"name\":\"write_file\"}]}";
	static const char *const order[] = {"message_start", "content_block_start", "ping", "content_block_delta"};
	json_t *whole = json_from(*state, MESSAGES, "X-Task-Id: t-1", tools, 200), *input;
	struct stream stream = stream_from(*state, MESSAGES, "X-Task-Id: t-1", streamed);
	char arguments[8192], *text;
	size_t i;

	assert_string_equal(text_at(whole, "type"), "message");
	assert_string_equal(text_at(whole, "stop_reason"), "tool_use");
	assert_string_equal(text_at(whole, "content.0.name"), "write_file");
	assert_int_equal(json_integer_value(at(whole, "usage.input_tokens")), (sizeof tools - 1 + 3) / 4);
	assert_true(json_integer_value(at(whole, "usage.output_tokens")) > 0);

	assert_false(stream.done);
	for (i = 0; i < sizeof order / sizeof order[0]; i++)
		assert_string_equal(stream.names[i], order[i]);
	for (i = 0; i < stream.count; i++)
		assert_string_equal(stream.names[i], text_at(stream.data[i], "type"));
	assert_string_equal(stream.names[stream.count - 3], "content_block_stop");
	assert_string_equal(stream.names[stream.count - 2], "message_delta");
	assert_string_equal(text_at(stream.data[stream.count - 2], "delta.stop_reason"), "tool_use");
	assert_string_equal(stream.names[stream.count - 1], "message_stop");
	gather(&stream, "delta.partial_json", arguments, sizeof arguments);
	input = at(whole, "content.0.input");
	text = json_dumps(input, JSON_COMPACT);
	assert_string_equal(arguments, text);
	free(text);
	stream_free(&stream);
	json_decref(whole);

	whole = json_from(
	    *state, "/claude/v1/messages/count_tokens", "", "{\"model\":\"opus\",\"messages\":[" USER "]}", 200);
	assert_true(json_integer_value(at(whole, "input_tokens")) > 5);
	json_decref(whole);
}

static void test_messages_refused(void **state)
{
	static const struct {
		const char *body, *message;
	} bad[] = {{"{}", "model: Field required"}, {"{\"model\":\"opus\"}", "messages: Field required"},
	    {"{\"model\":\"opus\",\"messages\":[]}", "messages: at least one message is required"},
	    {"{\"model\":\"opus\",\"messages\":[" USER "]}", "max_tokens: Field required"},
	    {"{\"model\":\"opus\",\"max_tokens\":0,\"messages\":[" USER "]}",
		"max_tokens: Input should be greater than or equal to 1"},
	    {"{\"model\":\"opus\",\"max_tokens\":1,\"messages\":[{\"role\":\"system\"}]}",
		"messages.0.role: Input should be 'user' or 'assistant'"}};
	size_t i;

	for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		json_t *object = json_from(*state, MESSAGES, "", bad[i].body, 400);

		assert_string_equal(text_at(object, "type"), "error");
		assert_string_equal(text_at(object, "error.type"), "invalid_request_error");
		assert_string_equal(text_at(object, "error.message"), bad[i].message);
		json_decref(object);
	}
}

/* ---- responses ---- */

static void test_responses(void **state)
{
	static const char *const tools = ",\"tools\":[{\"type\":\"function\",\"name\":\"read_file\"},"
					 "{\"type\":\"function\",\"name\":\"write_file\"}]}";
	char body[1024], text[8192];
	json_t *first, *second;
	struct stream stream;
	size_t i;

	snprintf(body, sizeof body, "{\"model\":\"codex\",\"input\":\"go\"%s", tools);
	first = json_from(*state, RESPONSES, "X-Task-Id: t-1", body, 200);
	assert_string_equal(text_at(first, "object"), "response");
	assert_string_equal(text_at(first, "status"), "completed");
	assert_string_equal(text_at(first, "output.0.type"), "function_call");
	assert_string_equal(text_at(first, "output.0.name"), "read_file");

	/* a stored conversation goes on where it was */
	snprintf(body, sizeof body,
	    "{\"model\":\"codex\",\"previous_response_id\":\"%s\",\"input\":[{\"type\":\"function_call_output\","
	    "\"call_id\":\"c\",\"output\":\"x\"}]%s",
	    text_at(first, "id"), tools);
	second = json_from(*state, RESPONSES, "X-Task-Id: t-1", body, 200);
	assert_string_equal(text_at(second, "output.0.name"), "write_file");
	json_decref(first);
	json_decref(second);

	/* and so does one that is sent whole: two calls in a row are one turn */
	snprintf(body, sizeof body,
	    "{\"model\":\"codex\",\"stream\":true,\"input\":[" USER
	    ",{\"type\":\"function_call\",\"name\":\"a\"},{\"type\":\"function_call\",\"name\":\"b\"},"
	    "{\"type\":\"function_call_output\",\"output\":\"x\"}]%s",
	    tools);
	stream = stream_from(*state, RESPONSES, "X-Task-Id: t-1", body);
	assert_string_equal(stream.names[0], "response.created");
	assert_string_equal(text_at(stream.data[0], "response.status"), "in_progress");
	assert_string_equal(stream.names[stream.count - 1], "response.completed");
	assert_string_equal(text_at(stream.data[stream.count - 1], "response.output.0.name"), "write_file");
	for (i = 0; i < stream.count; i++) {
		assert_string_equal(stream.names[i], text_at(stream.data[i], "type"));
		assert_int_equal(json_integer_value(at(stream.data[i], "sequence_number")), i);
	}
	gather(&stream, "delta", text, sizeof text);
	assert_string_equal(text, text_at(stream.data[stream.count - 1], "response.output.0.arguments"));
	stream_free(&stream);

	stream = stream_from(*state, RESPONSES, "", "{\"model\":\"codex\",\"stream\":true,\"input\":\"go\"}");
	gather(&stream, "delta", text, sizeof text);
	assert_string_equal(text, "done");
	assert_string_equal(text_at(stream.data[stream.count - 1], "response.output.0.content.0.text"), "done");
	stream_free(&stream);
	assert_int_equal(status_of(*state, RESPONSES, "{\"model\":\"codex\"}"), 400);
	assert_int_equal(status_of(*state, RESPONSES, "{\"input\":\"go\"}"), 400);
}

/* ---- embeddings ---- */

#define EMBEDDINGS "/codex/v1/embeddings"

static void test_embeddings(void **state)
{
	json_t *floats = json_from(
	    *state, EMBEDDINGS, "", "{\"model\":\"e\",\"input\":[\"one\",\"two\",\"one\"],\"dimensions\":3}", 200);
	json_t *coded = json_from(*state, EMBEDDINGS, "",
	    "{\"model\":\"e\",\"input\":\"one\",\"dimensions\":3,\"encoding_format\":\"base64\"}", 200);
	json_t *usual = json_from(*state, EMBEDDINGS, "", "{\"model\":\"e\",\"input\":[5,6]}", 200);
	double length = 0, x;
	size_t i;

	assert_int_equal(json_array_size(at(floats, "data")), 3);
	assert_true(json_equal(at(floats, "data.0.embedding"), at(floats, "data.2.embedding")));
	assert_false(json_equal(at(floats, "data.0.embedding"), at(floats, "data.1.embedding")));
	for (i = 0; i < 3; i++) {
		x = json_real_value(json_array_get(at(floats, "data.1.embedding"), i));
		length += x * x;
	}
	assert_true(fabs(length - 1) < 1e-5);
	assert_int_equal(strlen(text_at(coded, "data.0.embedding")), 16); /* 12 bytes */
	assert_int_equal(json_array_size(at(usual, "data.0.embedding")), 1536);
	assert_true(json_integer_value(at(usual, "usage.prompt_tokens")) > 0);
	json_decref(floats);
	json_decref(coded);
	json_decref(usual);
	assert_int_equal(status_of(*state, EMBEDDINGS, "{\"model\":\"e\",\"input\":[]}"), 400);
	assert_int_equal(status_of(*state, EMBEDDINGS, "{\"model\":\"e\",\"input\":\"\"}"), 400);
	assert_int_equal(status_of(*state, EMBEDDINGS, "{\"model\":\"e\",\"input\":[\"a\",1]}"), 400);
	assert_int_equal(status_of(*state, EMBEDDINGS, "{\"model\":\"e\",\"input\":\"a\",\"dimensions\":9999}"), 400);
	assert_int_equal(
	    status_of(*state, EMBEDDINGS, "{\"model\":\"e\",\"input\":\"a\",\"encoding_format\":\"hex\"}"), 400);
}

/* ---- models, errors, headers ---- */

static void test_models(void **state)
{
	json_t *list = json_from(*state, "/claude/v1/models", "", "", 200);

	assert_string_equal(text_at(list, "object"), "list");
	assert_string_equal(text_at(list, "data.1.id"), "sonnet");
	json_decref(list);
	list = json_from(*state, "/claude/v1/models", "anthropic-version: 2023-06-01", "", 200);
	assert_string_equal(text_at(list, "data.0.type"), "model");
	assert_string_equal(text_at(list, "last_id"), "sonnet");
	json_decref(list);
	list = json_from(*state, "/codex/v1/models/gpt-5", "", "", 200);
	assert_string_equal(text_at(list, "id"), "gpt-5");
	json_decref(list);
}

/* One error as both kinds of client see it. */
static void test_errors(void **state)
{
	static const struct {
		int status;
		const char *openai_code, *anthropic_type;
	} errors[] = {{401, "invalid_api_key", "authentication_error"}, {403, "forbidden", "permission_error"},
	    {404, "model_not_found", "not_found_error"}, {429, "rate_limit_exceeded", "rate_limit_error"},
	    {500, "", "api_error"}, {503, "overloaded", "api_error"}, {529, "", "overloaded_error"}};
	struct tritone_gateway_rule rule = rule_of(TRITONE_GATEWAY_ANSWER, "claude");
	size_t i;

	for (i = 0; i < sizeof errors / sizeof errors[0]; i++) {
		json_t *openai, *anthropic;

		rule.status = errors[i].status;
		set(*state, &rule);
		openai = json_from(*state, OPUS, "", CHAT, errors[i].status);
		anthropic = json_from(*state, MESSAGES, "",
		    "{\"model\":\"opus\",\"max_tokens\":1,\"messages\":[" USER "]}", errors[i].status);
		assert_true(*text_at(openai, "error.message"));
		assert_string_equal(text_at(openai, "error.code"), errors[i].openai_code);
		assert_string_equal(text_at(anthropic, "type"), "error");
		assert_string_equal(text_at(anthropic, "error.type"), errors[i].anthropic_type);
		json_decref(openai);
		json_decref(anthropic);
	}
}

static void test_headers(void **state)
{
	static const char body[] = "{\"model\":\"opus\",\"max_tokens\":1,\"messages\":[" USER "]}";
	struct tritone_gateway_rule rule = rule_of(TRITONE_GATEWAY_ANSWER, "claude");
	struct call *call = request(*state, OPUS, "", CHAT);
	json_t *object;

	assert_string_equal(header_of(call, "x-ratelimit-remaining-requests"), "9999");
	assert_string_equal(header_of(call, "retry-after"), "");
	assert_int_equal(strlen(header_of(call, "x-request-id")), 4 + 16);
	free(call);

	rule.retry_after_ms = 1500;
	set(*state, &rule);
	call = request(*state, OPUS, "", CHAT);
	assert_string_equal(header_of(call, "retry-after"), "1.5");
	assert_string_equal(header_of(call, "retry-after-ms"), "1500");
	assert_string_equal(header_of(call, "x-ratelimit-remaining-requests"), "0");
	assert_string_equal(header_of(call, "x-ratelimit-reset-requests"), "1.5s");
	assert_string_equal(header_of(call, "anthropic-ratelimit-requests-remaining"), "");
	free(call);
	call = request(*state, MESSAGES, "", body);
	assert_string_equal(header_of(call, "retry-after"), "1.5");
	assert_string_equal(header_of(call, "anthropic-ratelimit-requests-remaining"), "0");
	assert_int_equal(strlen(header_of(call, "anthropic-ratelimit-requests-reset")), 20); /* RFC 3339 */
	object = json_loads(call->answer, 0, NULL);
	assert_string_equal(header_of(call, "request-id"), text_at(object, "request_id"));
	json_decref(object);
	free(call);

	/* a provider that does not say when: nor do the other headers give it away */
	rule.retry_after_ms = -1;
	set(*state, &rule);
	call = request(*state, OPUS, "", CHAT);
	assert_string_equal(header_of(call, "retry-after"), "");
	assert_string_equal(header_of(call, "retry-after-ms"), "");
	assert_string_equal(header_of(call, "x-ratelimit-reset-requests"), "");
	free(call);
	call = request(*state, MESSAGES, "", body);
	assert_string_equal(header_of(call, "anthropic-ratelimit-requests-reset"), "");
	free(call);
}

/* All of them are calls of a model, with their task. */
static void test_history(void **state)
{
	static const struct {
		const char *path, *body;
	} calls[] = {{OPUS, CHAT}, {MESSAGES, "{\"model\":\"opus\",\"max_tokens\":1,\"messages\":[" USER "]}"},
	    {"/claude/v1/responses", "{\"model\":\"opus\",\"input\":\"go\"}"},
	    {"/claude/v1/embeddings", "{\"model\":\"opus\",\"input\":\"go\"}"}};
	struct world *world = *state;
	size_t i;

	for (i = 0; i < sizeof calls / sizeof calls[0]; i++) {
		struct op op;

		assert_int_equal(status_of(world, calls[i].path, calls[i].body), 200);
		op = wait_op(world, OP_CALL, OP_OK, i + 1);
		assert_string_equal(op.task, "t-1");
		assert_string_equal(op.key, "opus");
		assert_true(op.value > 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_chat_stream, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_ids, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_messages, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_messages_refused, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_responses, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_embeddings, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_models, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_headers, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_history, setup, teardown),
	};

	return room_run(tests);
}
