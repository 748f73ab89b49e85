/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway over real HTTP: replies, refusals, sinks, targets, and that the history of many requests at once is complete. */
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway_room.h"

/* The tool call in an answer: its name, and one of its arguments. */
static void tool_of(const char *answer, char name[64], const char *argument, char *value, size_t size)
{
	json_t *object = json_loads(answer, 0, NULL), *call, *arguments;
	const char *text;

	assert_non_null(object);
	call = json_object_get(json_array_get(json_object_get(object, "choices"), 0), "message");
	call = json_object_get(json_array_get(json_object_get(call, "tool_calls"), 0), "function");
	assert_non_null(call);
	snprintf(name, 64, "%s", json_string_value(json_object_get(call, "name")));
	arguments = json_loads(json_string_value(json_object_get(call, "arguments")), 0, NULL);
	text = json_string_value(json_object_get(arguments, argument));
	assert_non_null(text);
	snprintf(value, size, "%s", text);
	json_decref(arguments);
	json_decref(object);
}

/* ---- replies ---- */

static void test_plan(void **state)
{
	struct world *world = *state;
	char name[64], value[4096], again[4096];
	struct call *call;
	json_t *object, *usage;

	call = request(world, OPUS, "X-Task-Id: t-1\nX-Step: 1\nX-Role: plan", CHAT);
	assert_int_equal(call->status, 200);
	tool_of(call->answer, name, "path", value, sizeof value);
	assert_string_equal(name, "read_file");
	assert_string_equal(value, "README.md");
	object = json_loads(call->answer, 0, NULL);
	usage = json_object_get(object, "usage");
	assert_int_equal(json_integer_value(json_object_get(usage, "prompt_tokens")), (sizeof CHAT - 1 + 3) / 4);
	assert_int_equal(json_integer_value(json_object_get(usage, "total_tokens")),
	    json_integer_value(json_object_get(usage, "prompt_tokens")) +
		json_integer_value(json_object_get(usage, "completion_tokens")));
	assert_string_equal(json_string_value(json_object_get(object, "model")), "opus");
	json_decref(object);
	free(call);

	call = request(world, OPUS, "X-Task-Id: t-1\nX-Step: 1\nX-After: t-0,t-9", CHAT);
	tool_of(call->answer, name, "path", value, sizeof value);
	assert_string_equal(value, "work/t-0.md");
	free(call);

	call = request(world, OPUS, "X-Task-Id: ../t-1\nX-Step: 2\nX-Role: write", CHAT);
	tool_of(call->answer, name, "path", value, sizeof value);
	assert_string_equal(name, "write_file");
	assert_string_equal(value, "work/_._t-1.md");
	tool_of(call->answer, name, "content", value, sizeof value);
	assert_non_null(strstr(value, "role: write"));
	free(call);
	/* the same task writes the same, whoever is asked and however often */
	call = request(world, CODEX, "X-Task-Id: ../t-1\nX-Step: 2\nX-Role: write\nX-Attempt: 2", CHAT2);
	tool_of(call->answer, name, "content", again, sizeof again);
	assert_string_equal(value, again);
	free(call);
	call = request(world, CODEX, "X-Task-Id: t-2\nX-Step: 2\nX-Role: write", CHAT2);
	tool_of(call->answer, name, "content", again, sizeof again);
	assert_string_not_equal(strstr(value, "after: -"), strstr(again, "after: -")); /* not only the title */
	free(call);

	call = request(world, OPUS, "X-Task-Id: t-1\nX-Step: 3", CHAT);
	tool_of(call->answer, name, "path", value, sizeof value);
	assert_string_equal(name, "run_check");
	free(call);
	call = request(world, OPUS, "X-Task-Id: t-1\nX-Step: 4", CHAT);
	assert_non_null(strstr(call->answer, "\"content\":\"done\""));
	assert_non_null(strstr(call->answer, "\"finish_reason\":\"stop\""));
	free(call);
}

/* A client that knows nothing of steps: the conversation tells, and only tools that it offers are called. */
static void test_plan_without_headers(void **state)
{
	struct world *world = *state;
	char name[64], value[256];
	struct call *call;

	call = request(world, OPUS, "",
	    "{\"model\":\"opus\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\"},"
	    "{\"role\":\"tool\"},{\"role\":\"assistant\"},{\"role\":\"tool\"}],"
	    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"run_check\"}}]}");
	tool_of(call->answer, name, "path", value, sizeof value);
	assert_string_equal(name, "run_check");
	free(call);
	call = request(world, OPUS, "", CHAT);
	assert_non_null(strstr(call->answer, "\"content\":\"done\""));
	free(call);
}

static void test_refusals(void **state)
{
	struct world *world = *state;
	struct call *call;
	char *large = malloc(9u << 20);

	assert_int_equal(status_of(world, "/nobody/v1/chat/completions", CHAT), 404);
	assert_int_equal(status_of(world, "/claude/v1/elsewhere", CHAT), 404);
	assert_int_equal(status_of(world, "/sink/none", CHAT), 404);
	assert_int_equal(status_of(world, OPUS, ""), 405);
	assert_int_equal(status_of(world, "/sink/notify", ""), 405);
	assert_int_equal(status_of(world, "/claude/v1/models", ""), 200);
	assert_int_equal(history_count(world->history), 0); /* none of these is a call */
	assert_int_equal(status_of(world, OPUS, "{nonsense"), 400);
	assert_int_equal(status_of(world, OPUS, "[]"), 400);
	assert_int_equal(status_of(world, OPUS, "{\"model\":\"opus\"}"), 400);
	assert_int_equal(wait_op(world, OP_CALL, OP_FAIL, 3).status, 400);
	call = request(world, OPUS, "", "{\"messages\":[{}]}");
	assert_int_equal(call->status, 400);
	assert_non_null(strstr(call->answer, "{\"error\":{\"message\":\"you must provide a model"));
	free(call);

	assert_non_null(large);
	memset(large, 'x', (9u << 20) - 1);
	large[(9u << 20) - 1] = '\0';
	call = call_new(world, OPUS, "Expect:", "");
	{
		CURL *curl = curl_easy_init();

		curl_easy_setopt(curl, CURLOPT_URL, call->url);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, large);
		curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, call_body);
		curl_easy_setopt(curl, CURLOPT_WRITEDATA, call);
		assert_int_equal(curl_easy_perform(curl), CURLE_OK);
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &call->status);
		curl_easy_cleanup(curl);
	}
	assert_int_equal(call->status, 413);
	free(call);
	free(large);
}

/* ---- sinks, latency ---- */

static void test_sink(void **state)
{
	struct world *world = *state;
	struct op op;

	assert_int_equal(status_of(world, "/sink/notify", "{\"key\":\"t-1:abc\",\"task\":\"t-1\",\"attempt\":2}"), 200);
	op = wait_op(world, OP_NOTIFY, OP_OK, 1);
	assert_int_equal(op.pair, 0);
	assert_string_equal(op.key, "t-1:abc");
	assert_string_equal(op.task, "t-1");
	assert_string_equal(op.actor, "notify");
	assert_int_equal(op.attempt, 2);
	assert_int_equal(op.status, 200);
	assert_int_equal(status_of(world, "/sink/notify", "not json"), 400);
	assert_int_equal(wait_op(world, OP_NOTIFY, OP_FAIL, 1).status, 400);
}

static void test_latency(void **state)
{
	struct gateway_options options;
	struct world world = {0};

	(void)state;
	assert_int_equal(history_create(&world.history, NULL, NULL), 0);
	options = usual_options(world.history);
	options.latency_ms = 20;
	assert_int_equal(gateway_create(&world.gateway, &options, NULL), 0);
	assert_int_equal(status_of(&world, OPUS, CHAT), 200);
	assert_true(
	    wait_op(&world, OP_CALL, OP_OK, 1).time_us - wait_op(&world, OP_CALL, OP_INVOKE, 1).time_us >= 20000);
	gateway_destroy(world.gateway);
	history_destroy(world.history);
}

static void test_bad_options(void **state)
{
	struct world *world = *state;
	struct gateway_options options = usual_options(NULL);
	struct gateway *second = NULL;
	struct error err = {0};

	options.port = (uint16_t)atoi(strrchr(gateway_url(world->gateway), ':') + 1);
	assert_int_equal(gateway_create(&second, &options, &err), -1);
	assert_int_equal(err.code, EADDRINUSE);
	options.port = 0;
	options.providers[1] = "claude";
	assert_int_equal(gateway_create(&second, &options, &err), -1);
	assert_string_equal(err.text, "provider 'claude' is named twice");
	options.providers[1] = "a/b";
	assert_int_equal(gateway_create(&second, &options, &err), -1);
	assert_null(second);
}

static int count_target(void *arg, const struct tritone_target *target)
{
	char *names = arg;

	strcat(strcat(names, target->id), " ");
	return 0;
}

static void test_targets(void **state)
{
	struct world *world = *state;
	char names[64] = "";

	assert_int_equal(gateway_targets(world->gateway, TRITONE_TARGET_PROVIDER, count_target, names), 0);
	assert_int_equal(gateway_targets(world->gateway, TRITONE_TARGET_SINK, count_target, names), 0);
	assert_int_equal(gateway_targets(world->gateway, TRITONE_TARGET_AGENT, count_target, names), 0);
	assert_string_equal(names, "claude codex notify ");
}

static bool is_end(void *arg, const struct op *op)
{
	size_t *left = arg;

	return op->type != OP_INVOKE && --*left == 0;
}

/* Many at once: each invoke has exactly one completion, and each task its own. */
static void test_complete_history(void **state)
{
	enum { CALLS = 24 };
	struct world *world = *state;
	struct tritone_gateway_rule rule = rule_of(TRITONE_GATEWAY_ANSWER, "*");
	struct call *calls[CALLS];
	pthread_t threads[CALLS];
	struct history_view view;
	size_t i, ends = 0, left;
	uint64_t index;
	char headers[64];

	rule.probability = 0.5;
	set(world, &rule);
	for (i = 0; i < CALLS; i++) {
		snprintf(headers, sizeof headers, "X-Task-Id: t-%zu", i);
		calls[i] = call_new(world, OPUS, headers, CHAT);
		assert_int_equal(pthread_create(&threads[i], NULL, call_run, calls[i]), 0);
	}
	for (i = 0; i < CALLS; i++)
		pthread_join(threads[i], NULL);
	/* a client may have its answer a moment before that is recorded */
	left = CALLS;
	assert_int_equal(history_wait(world->history, 0, is_end, &left, 60000, &index), 1);
	view = history_view(world->history);
	assert_int_equal(view.count, 2 * CALLS);
	for (i = 0; i < view.count; i++) {
		const struct op *op = &view.ops[i], *invoke;
		struct call *call;

		if (op->type == OP_INVOKE)
			continue;
		ends++;
		assert_true(op->pair < op->index);
		invoke = &view.ops[op->pair];
		assert_int_equal(invoke->type, OP_INVOKE);
		assert_string_equal(invoke->task, op->task);
		call = calls[atoi(op->task + 2)];
		assert_int_equal(call->status, op->status); /* as the client saw it */
		assert_int_equal(op->type, call->status == 200 ? OP_OK : OP_FAIL);
		call->status = -1; /* so that a second end of it would not match */
	}
	assert_int_equal(ends, CALLS);
	for (i = 0; i < CALLS; i++)
		free(calls[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_plan, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_plan_without_headers, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_sink, setup, teardown),
	    cmocka_unit_test(test_latency),
	    cmocka_unit_test_setup_teardown(test_bad_options, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_targets, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_complete_history, setup, teardown),
	};

	return room_run(tests);
}
