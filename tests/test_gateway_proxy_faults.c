/* SPDX-License-Identifier: Apache-2.0 */
/* Faults on top of an upstream: each is felt as it is on a played answer, and what it is made of is the upstream's own. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway_station.h"

#define STREAM                                                                                                         \
	"{\"model\":\"opus\",\"messages\":[{\"role\":\"user\",\"content\":\"go\"}],\"stream\":true,"                   \
	"\"stream_options\":{\"include_usage\":true}}"
#define MESSAGES "/claude/v1/messages"
#define MESSAGE(etc)                                                                                                   \
	"{\"model\":\"opus\",\"max_tokens\":9" etc ",\"messages\":[{\"role\":\"user\",\"content\":\"go\"}]}"
#define RESPONSE  "{\"model\":\"opus\",\"input\":\"go\",\"stream\":true}"
#define EMBEDDING "{\"model\":\"opus\",\"input\":\"go\",\"dimensions\":3}"
#define WRITES    "X-Task-Id: t-1\nX-Step: 2" /* a long tool call */

static struct call *under(struct stage *stage, uint32_t action, const char *path, const char *headers, const char *body)
{
	struct tritone_gateway_rule rule = rule_of(action, "claude");
	struct call *call;

	set(&stage->front, &rule);
	call = request(&stage->front, path, headers, body);
	assert_int_equal(hits_of(&stage->front, "k"), 1);
	gateway_rule_clear(stage->front.gateway, "k");
	return call;
}

static struct call *usual(struct stage *stage, const char *path, const char *headers, const char *body)
{
	return request(&stage->front, path, headers, body);
}

static bool is_anything(void *arg, const struct op *op)
{
	(void)arg;
	(void)op;
	return true;
}

/* What is refused, reset or never answered costs nothing: nobody is asked. */
static void test_nobody_is_asked(void **state)
{
	struct stage *stage = *state;
	struct tritone_gateway_rule hang = rule_of(TRITONE_GATEWAY_HANG, "claude"), key;
	struct call *call;
	struct op op;

	stage_other(stage, 0);
	call = under(stage, TRITONE_GATEWAY_ANSWER, OPUS, "", CHAT);
	assert_int_equal(call->status, 429);
	has(call->answer, "rate_limit_exceeded");
	free(call);
	assert_string_equal(wait_op(&stage->front, OP_CALL, OP_FAIL, 1).detail, "rule k");
	call = under(stage, TRITONE_GATEWAY_RESET, OPUS, "", CHAT);
	assert_int_not_equal(call->code, CURLE_OK);
	free(call);
	assert_string_equal(wait_op(&stage->front, OP_CALL, OP_INFO, 1).detail, "reset, rule k");
	call = under(stage, TRITONE_GATEWAY_TOO_LONG, OPUS, "", CHAT);
	has(call->answer, "context_length_exceeded");
	free(call);
	call = under(stage, TRITONE_GATEWAY_MALFORMED, OPUS, "", CHAT);
	has(call->answer, "<!DOCTYPE html>");
	free(call);
	hang.lifetime_ms = 2000; /* so that the request comes before its end, on a busy machine too */
	set(&stage->front, &hang);
	free(request(&stage->front, OPUS, "", CHAT));
	assert_string_equal(wait_op(&stage->front, OP_CALL, OP_INFO, 2).detail, "never answered, rule k");
	key = rule_of(TRITONE_GATEWAY_KEY, "claude");
	key.text = "right";
	set(&stage->front, &key);
	call = request(&stage->front, OPUS, "Authorization: Bearer wrong", CHAT);
	assert_int_equal(call->status, 401);
	free(call);
	assert_false(history_scan(stage->other.history, 0, is_anything, NULL));

	call = request(&stage->front, OPUS, "Authorization: Bearer right", CHAT);
	assert_int_equal(call->status, 200);
	free(call);
	op = wait_op(&stage->other, OP_CALL, OP_OK, 1);
	assert_int_equal(op.pair, 0);
}

static void test_late(void **state)
{
	struct stage *stage = *state;
	struct tritone_gateway_rule rule = rule_of(TRITONE_GATEWAY_DELAY, "claude");
	struct op first, ok;

	stage_other(stage, 0);
	rule.delay_ms = 40;
	set(&stage->front, &rule);
	assert_int_equal(status_of(&stage->front, OPUS, CHAT), 200);
	first = wait_op(&stage->front, OP_CALL, OP_INVOKE, 1);
	ok = wait_op(&stage->front, OP_CALL, OP_OK, 1);
	assert_string_equal(ok.detail, "rule k");
	assert_true(ok.time_us - first.time_us >= 40000);
}

static void test_broken_off(void **state)
{
	struct stage *stage = *state;
	struct call *whole, *call;

	stage_other(stage, 0);
	whole = usual(stage, OPUS, WRITES, STREAM);
	call = under(stage, TRITONE_GATEWAY_TRUNCATED, OPUS, WRITES, STREAM);
	assert_int_not_equal(call->code, CURLE_OK);
	assert_true(call->size > 100 && call->size < whole->size);
	assert_memory_equal(call->answer, whole->answer, call->size);
	assert_memory_equal(call->answer + call->size - 2, "\n\n", 2); /* between two events */
	free(call);
	assert_string_equal(wait_op(&stage->front, OP_CALL, OP_INFO, 1).detail, "truncated, rule k");

	call = under(stage, TRITONE_GATEWAY_BROKEN_STREAM, OPUS, WRITES, STREAM);
	assert_int_equal(call->code, CURLE_OK);
	has(call->answer, "\n\ndata: {\"error\":{\"message\":");
	has_not(call->answer, "[DONE]");
	free(call);
	call = under(stage, TRITONE_GATEWAY_MALFORMED, OPUS, WRITES, STREAM);
	assert_string_equal(call->answer + call->size - strlen("data: {\"id\":\"\n\n"), "data: {\"id\":\"\n\n");
	free(call);
	call = under(stage, TRITONE_GATEWAY_TRUNCATED, OPUS, WRITES, CHAT);
	assert_int_equal(call->code, CURLE_PARTIAL_FILE);
	assert_int_equal(call->size, strtoul(header_of(call, "Content-Length"), NULL, 10) / 2);
	free(call);
	free(whole);
}

static void test_slow(void **state)
{
	struct stage *stage = *state;
	struct tritone_gateway_rule rule = rule_of(TRITONE_GATEWAY_SLOW, "claude");
	struct call *whole, *call;
	struct op invoke, ok;

	stage_other(stage, 0);
	whole = usual(stage, OPUS, "X-Step: 4", STREAM);
	rule.delay_ms = 10;
	set(&stage->front, &rule);
	call = usual(stage, OPUS, "X-Step: 4", STREAM);
	assert_int_equal(call->code, CURLE_OK);
	assert_string_equal(call->answer, whole->answer);
	invoke = wait_op(&stage->front, OP_CALL, OP_INVOKE, 2);
	ok = wait_op(&stage->front, OP_CALL, OP_OK, 2);
	assert_string_equal(ok.detail, "rule k");
	assert_true(ok.time_us - invoke.time_us >= (uint64_t)4 * 10000);
	assert_int_equal(ok.value, wait_op(&stage->front, OP_CALL, OP_OK, 1).value);
	free(call);
	free(whole);
}

/* Only the numbers are wrong, wherever they are told of; what it really took is what is counted. */
static void test_wrong_usage(void **state)
{
	static const struct {
		const char *path, *body, *wrong;
	} rows[] = {{OPUS, CHAT, "\"prompt_tokens\":0,\"completion_tokens\":1000000000,\"total_tokens\":1"},
	    {OPUS, STREAM, "\"prompt_tokens\":0,\"completion_tokens\":1000000000,\"total_tokens\":1"},
	    {MESSAGES, MESSAGE(""), "\"output_tokens\":1000000000"},
	    {MESSAGES, MESSAGE(",\"stream\":true"), "\"usage\":{\"output_tokens\":1000000000}"},
	    {"/claude/v1/responses", RESPONSE, "\"output_tokens\":1000000000"},
	    {"/claude/v1/embeddings", EMBEDDING, "\"usage\":{\"prompt_tokens\":0,\"total_tokens\":1}"}};
	struct stage *stage = *state;
	struct call *right, *wrong;
	const char *at, *other;
	size_t i;

	stage_other(stage, 0);
	for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		right = usual(stage, rows[i].path, WRITES, rows[i].body);
		wrong = under(stage, TRITONE_GATEWAY_WRONG_USAGE, rows[i].path, WRITES, rows[i].body);
		assert_int_equal(wrong->code, CURLE_OK);
		has(wrong->answer, rows[i].wrong);
		has_not(right->answer, rows[i].wrong);
		assert_int_equal(wait_op(&stage->front, OP_CALL, OP_OK, i * 2 + 1).value,
		    wait_op(&stage->front, OP_CALL, OP_OK, i * 2 + 2).value);
		for (at = right->answer, other = wrong->answer; *at && *at == *other; at++, other++)
			;
		assert_true(other < strstr(wrong->answer, rows[i].wrong) + strlen(rows[i].wrong));
		assert_non_null(strstr(right->answer, "_tokens\""));
		if (other <= strstr(wrong->answer, "\"usage\"")) /* all before is as it was */
			fail_msg("%.80s is %.80s", at, other);
		free(right);
		free(wrong);
	}
}

static void test_wrong_words(void **state)
{
	static const struct {
		const char *path, *body;
	} rows[] = {{OPUS, CHAT}, {OPUS, STREAM}, {MESSAGES, MESSAGE("")}, {MESSAGES, MESSAGE(",\"stream\":true")},
	    {"/claude/v1/responses", RESPONSE}};
	struct stage *stage = *state;
	struct call *call;
	size_t i;

	stage_other(stage, 0);
	for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		free(usual(stage, rows[i].path, WRITES, rows[i].body));
		call = under(stage, TRITONE_GATEWAY_WRONG_CONTENT, rows[i].path, WRITES, rows[i].body);
		has(call->answer, "I'm sorry");
		has_not(call->answer, "write_file");
		free(call);
		/* what it really took is what is counted */
		assert_int_equal(wait_op(&stage->front, OP_CALL, OP_OK, i * 4 + 1).value,
		    wait_op(&stage->front, OP_CALL, OP_OK, i * 4 + 2).value);
		call = under(stage, TRITONE_GATEWAY_WRONG_TOOL, rows[i].path, WRITES, rows[i].body);
		has(call->answer, "no_such_tool");
		has(call->answer, "work/t-1.md"); /* with the arguments that the model gave */
		has_not(call->answer, "write_file");
		free(call);
		call = under(stage, TRITONE_GATEWAY_WRONG_ARGUMENTS, rows[i].path, WRITES, rows[i].body);
		has(call->answer, "write_file");
		assert_int_equal(call->status, 200);
		free(call);
	}
	call = under(stage, TRITONE_GATEWAY_WRONG_ARGUMENTS, OPUS, WRITES, CHAT);
	{
		json_t *answer = json_loads(call->answer, 0, NULL);
		const char *name = NULL, *arguments = NULL;

		assert_int_equal(json_unpack(answer, "{s:[{s:{s:[{s:{s:s, s:s}}]}}]}", "choices", "message",
				     "tool_calls", "function", "name", &name, "arguments", &arguments),
		    0);
		assert_string_equal(name, "write_file");
		assert_memory_equal(arguments, "{\"path\":\"work/t-1.md\"", 21);
		assert_null(json_loads(arguments, 0, NULL));
		json_decref(answer);
	}
	free(call);
}

/* A stream as other providers write it: lines that end otherwise, comments, text and two calls in pieces. */
static struct call *foreign(struct stage *stage, uint32_t action, const char *text)
{
	static const char *const events[] = {": comment\r\n\r\n",
	    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"so\"}}]}\r\n\r\n",
	    "data: "
	    "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"a\",\"arguments\":\"\"}},"
	    "{\"index\":1,\"function\":{\"name\":\"b\",\"arguments\":\"{\\\"x\"}}]}}]}\r\n\r\n",
	    "data: "
	    "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":1,\"function\":{\"arguments\":\"\\\":1}\"}}]}}]}"
	    "\r\n\r\n",
	    "event: x\r\ndata:{\"usage\":{\"input_tokens\":4}}\r\n\r\n", "data: [DONE]\r\n\r\n"};
	struct tritone_gateway_rule rule = rule_of(action, "claude");
	size_t i, which;

	rule.text = text;
	set(&stage->front, &rule);
	which = stage_begin(stage, OPUS, "", STREAM);
	station_hear(&stage->station);
	station_say(&stage->station,
	    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (i = 0; i < sizeof events / sizeof events[0]; i++)
		station_chunk(&stage->station, events[i]);
	station_chunk(&stage->station, "");
	return stage_end(stage, which);
}

static void test_foreign_stream(void **state)
{
	struct call *call = foreign(*state, TRITONE_GATEWAY_WRONG_TOOL, "wrong");

	has(call->answer, "\"content\":\"so\"");
	has(call->answer, "\"name\":\"wrong\"");
	has(call->answer, "\"arguments\":\"{\\\"x\\\":1}\"");
	has_not(call->answer, "\"name\":\"b\"");
	free(call);
	call = foreign(*state, TRITONE_GATEWAY_WRONG_USAGE, NULL);
	has(call->answer, "]}\r\n\r\nevent: x\r\ndata:{\"usage\":{\"input_tokens\":0}}\r\n\r\ndata: [DONE]\r\n\r\n");
	free(call);
	call = foreign(*state, TRITONE_GATEWAY_TRUNCATED, NULL);
	assert_memory_equal(call->answer + call->size - 5, "}\r\n\r\n", 5); /* between two events */
	free(call);
}

/* An upstream that refuses by itself gives such a fault nothing to act on. */
static void test_nothing_to_act_on(void **state)
{
	static const uint32_t actions[] = {TRITONE_GATEWAY_WRONG_CONTENT, TRITONE_GATEWAY_WRONG_USAGE,
	    TRITONE_GATEWAY_WRONG_TOOL, TRITONE_GATEWAY_BROKEN_STREAM};
	struct stage *stage = *state;
	struct call *call;
	size_t i;

	for (i = 0; i < sizeof actions / sizeof actions[0]; i++) {
		struct tritone_gateway_rule rule = rule_of(actions[i], "claude");

		set(&stage->front, &rule);
		stage_begin(stage, OPUS, "", STREAM);
		station_hear(&stage->station);
		station_answer(&stage->station, 503, "Content-Type: application/json\r\n", "{\"usage\":{}}");
		call = stage_end(stage, i);
		assert_int_equal(call->status, 503);
		assert_string_equal(call->answer, "{\"usage\":{}}");
		free(call);
		assert_int_equal(hits_of(&stage->front, "k"), 0);
		assert_string_equal(wait_op(&stage->front, OP_CALL, OP_FAIL, i + 1).detail, "upstream: answered 503");
	}
}

/* On a recording, too; and held by a barrier until it is asked. */
static void test_on_a_recording(void **state)
{
	struct stage *stage = *state;
	struct gateway_options options = stage_options(stage->station.url);
	struct call *call;
	uint64_t id;

	options.record = stage->file;
	stage_front(stage, &options);
	stage_begin(stage, OPUS, "", CHAT);
	station_hear(&stage->station);
	station_answer(&stage->station, 200, "Content-Type: application/json\r\n",
	    "{\"choices\":[{\"message\":{\"content\":\"yes\"}}],\"usage\":{\"prompt_tokens\":5}}");
	free(stage_end(stage, 0));
	options = usual_options(NULL);
	options.replay = stage->file;
	options.latency_ms = 1;
	stage_front(stage, &options);
	call = under(stage, TRITONE_GATEWAY_WRONG_USAGE, OPUS, "", CHAT);
	assert_string_equal(
	    call->answer, "{\"choices\":[{\"message\":{\"content\":\"yes\"}}],\"usage\":{\"prompt_tokens\":0}}");
	free(call);
	call = under(stage, TRITONE_GATEWAY_TRUNCATED, OPUS, "", CHAT);
	assert_int_equal(call->code, CURLE_PARTIAL_FILE);
	free(call);
	assert_int_equal(gateway_hold(stage->front.gateway, "claude", 1, &id, NULL), 0);
	stage_begin(stage, OPUS, "", CHAT);
	assert_memory_equal(wait_op(&stage->front, OP_CALL, OP_INVOKE, 3).detail, "held ", 5);
	gateway_release(stage->front.gateway, id);
	call = stage_end(stage, 1);
	has(call->answer, "\"yes\"");
	free(call);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_nobody_is_asked, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_late, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_broken_off, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_slow, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_wrong_usage, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_wrong_words, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_foreign_stream, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_nothing_to_act_on, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_on_a_recording, stage_setup, stage_teardown),
	};

	return room_run(tests);
}
