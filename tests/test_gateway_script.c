/* SPDX-License-Identifier: Apache-2.0 */
/* Scripts: which rule answers, what is filled in, and where a mistake in the file is. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway_room.h"

static int make(struct world *world, const char *text, const char *task_pattern, struct error *err)
{
	struct gateway_options options = usual_options(NULL);
	char path[] = "/tmp/tritone-script-XXXXXX";
	int fd = mkstemp(path), r;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	*world = (struct world){0};
	assert_int_equal(history_create(&world->history, NULL, NULL), 0);
	options.history = world->history;
	options.script = path;
	options.task_pattern = task_pattern;
	r = gateway_create(&world->gateway, &options, err);
	unlink(path);
	return r;
}

static void end(struct world *world)
{
	gateway_destroy(world->gateway);
	history_destroy(world->history);
}

static struct world made(const char *text)
{
	struct world world;
	struct error err = {0};

	if (make(&world, text, NULL, &err) < 0)
		fail_msg("%s", err.text);
	return world;
}

/* What a model says to a conversation: its content, or else its first call's arguments; or the error's message. */
static void ask(struct world *world, const char *headers, const char *messages, char *says, size_t size)
{
	char body[4096];
	struct call *call;
	json_t *object, *message, *function;
	const char *text;

	snprintf(body, sizeof body, "{\"model\":\"opus\",\"messages\":[%s]}", messages);
	call = request(world, OPUS, headers, body);
	object = json_loads(call->answer, 0, NULL);
	assert_non_null(object);
	message = json_object_get(json_array_get(json_object_get(object, "choices"), 0), "message");
	function = json_object_get(json_array_get(json_object_get(message, "tool_calls"), 0), "function");
	text = json_string_value(json_object_get(message, "content"));
	if (!text)
		text = json_string_value(json_object_get(function, "arguments"));
	if (!text)
		text = json_string_value(json_object_get(json_object_get(object, "error"), "message"));
	snprintf(says, size, "%s", text ? text : "?");
	json_decref(object);
	free(call);
}

#define SAYS(world_, headers_, messages_, expected_)                                                                   \
	do {                                                                                                           \
		char says_[4096];                                                                                      \
		ask(world_, headers_, messages_, says_, sizeof says_);                                                 \
		assert_string_equal(says_, expected_);                                                                 \
	} while (0)

static void test_match(void **state)
{
	struct world world =
	    made("- match: {provider: codex}\n"
		 "  reply: {content: not for claude}\n"
		 "- match: {path: /v1/messages}\n"
		 "  reply: {content: not in this protocol}\n"
		 "- match: {user: '^sum (\\d+) (?<second>\\d+)$'}\n"
		 "  reply:\n"
		 "    tool_calls:\n"
		 "    - name: add\n"
		 "      arguments: {a: '${1}', b: ['${second}', 7, true, '7', null], c: {d: '$${1}'}}\n"
		 "- match: {system: you are (\\w+), step: 2}\n"
		 "  reply: {content: 'second of ${1}'}\n"
		 "- match: {last: ^result, contains: 'a.b'}\n"
		 "  reply: {content: '${0} as ${model} of ${provider}, task ${task}'}\n"
		 "- match: {task: t-bad}\n"
		 "  reply: {status: 400, error: 'no ${task} here'}\n"
		 "- reply: {content: otherwise}\n");

	(void)state;
	SAYS(&world, "", "{\"role\":\"user\",\"content\":\"sum 4 5\"}",
	    "{\"a\":\"4\",\"b\":[\"5\",7,true,\"7\",null],\"c\":{\"d\":\"${1}\"}}");
	SAYS(&world, "",
	    "{\"role\":\"system\",\"content\":\"you are Bob\"},{\"role\":\"user\",\"content\":\"x\"},"
	    "{\"role\":\"assistant\",\"content\":\"y\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":"
	    "\"z\"}]}",
	    "second of Bob");
	SAYS(&world, "X-Task-Id: t-7",
	    "{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"tool\",\"content\":\"result a.b\"}",
	    "result as opus of claude, task t-7");
	SAYS(&world, "X-Task-Id: t-7",
	    "{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"tool\",\"content\":\"result acb\"}", "otherwise");
	SAYS(&world, "X-Task-Id: t-bad", "{\"role\":\"user\",\"content\":\"x\"}", "no t-bad here");
	end(&world);
}

static void test_usage_and_finish(void **state)
{
	struct world world = made("- reply: {content: a, finish_reason: length, usage: {input: 5, output: 6}}\n");
	struct call *call = request(&world, OPUS, "", CHAT);

	(void)state;
	assert_non_null(strstr(call->answer, "\"finish_reason\":\"length\""));
	assert_non_null(strstr(call->answer, "\"prompt_tokens\":5,\"completion_tokens\":6,\"total_tokens\":11"));
	free(call);
	assert_int_equal(wait_op(&world, OP_CALL, OP_OK, 1).value, 11);
	call = request(&world, "/claude/v1/messages", "",
	    "{\"model\":\"opus\",\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}");
	assert_non_null(strstr(call->answer, "\"stop_reason\":\"max_tokens\""));
	free(call);
	end(&world);
}

/* Counted by task; what a fault has taken from the client is asked for again, and is the same. */
static void test_nth(void **state)
{
	static const char user[] = "{\"role\":\"user\",\"content\":\"x\"}";
	struct world world = made("- match: {nth: 1}\n  reply: {content: first}\n"
				  "- match: {nth: 2}\n  reply: {content: 'number ${nth}'}\n"
				  "- reply: {content: more}\n");
	struct tritone_gateway_rule rule = rule_of(TRITONE_GATEWAY_ANSWER, "claude");

	(void)state;
	SAYS(&world, "X-Task-Id: a", user, "first");
	set(&world, &rule);
	assert_int_equal(status_of(&world, OPUS, CHAT), 429);
	rule.action = TRITONE_GATEWAY_TRUNCATED;
	set(&world, &rule);
	free(request(&world, OPUS, "X-Task-Id: a", CHAT));
	gateway_rule_clear(world.gateway, "k");
	SAYS(&world, "X-Task-Id: a", user, "number 2");
	SAYS(&world, "X-Task-Id: b", user, "first");
	SAYS(&world, "X-Task-Id: a", user, "more");
	end(&world);
}

/* More tasks than its first room. */
static void test_many_tasks(void **state)
{
	struct world world = made("- match: {nth: 2}\n  reply: {content: second}\n- reply: {content: other}\n");
	char header[64], says[64];
	size_t round, i;

	(void)state;
	for (round = 1; round <= 2; round++) {
		for (i = 0; i < 300; i++) {
			snprintf(header, sizeof header, "X-Task-Id: t-%zu", i);
			ask(&world, header, "{\"role\":\"user\",\"content\":\"x\"}", says, sizeof says);
			assert_string_equal(says, round == 2 ? "second" : "other");
		}
	}
	end(&world);
}

static void test_task_pattern(void **state)
{
	struct world world;
	struct error err = {0};

	(void)state;
	assert_int_equal(make(&world, "- reply: {content: 'task ${task}'}\n", "Task (\\w+-\\d+)", &err), 0);
	SAYS(&world, "", "{\"role\":\"user\",\"content\":\"Task t-12: write it\"}", "task t-12");
	SAYS(&world, "",
	    "{\"role\":\"system\",\"content\":\"this is Task s-1\"},{\"role\":\"user\",\"content\":\"go\"}",
	    "task s-1");
	SAYS(&world, "X-Task-Id: h", "{\"role\":\"user\",\"content\":\"Task t-12\"}", "task h");
	assert_string_equal(wait_op(&world, OP_CALL, OP_OK, 1).task, "t-12");
	end(&world);
	assert_int_equal(make(&world, "[]", "(", &err), -1);
	assert_non_null(strstr(err.text, "no regular expression"));
	history_destroy(world.history);
	assert_int_equal(make(&world, "[]", "x", &err), -1);
	assert_non_null(strstr(err.text, "has no group"));
	history_destroy(world.history);
}

static void test_mistakes(void **state)
{
	static const struct {
		const char *text, *error;
	} bad[] = {{"reply: {}\n", ":1:1: expected a list of rules"}, {"- match: {}\n", ":1:3: "},
	    {"- reply:\n    contents: hi\n", ":2:5: unknown key 'contents'; did you mean 'content'?"},
	    {"- match:\n    user: 'a('\n  reply: {content: x}\n", ":2:11: 'user' is no pattern: "},
	    {"- match: {user: a}\n  reply:\n    content: '${1}'\n", ":3:14: there is no variable '1'"},
	    {"- match: {user: a(?<x>b)}\n  reply: {tool_calls: [{name: f, arguments: {a: [1, '${y}']}}]}\n",
		":2:53: there is no variable 'y'"},
	    {"- reply: {status: 200}\n", ":1:19: "}, {"- reply: {finish_reason: bored}\n", ":1:26: "},
	    {"- reply: {status: 500, content: x}\n", ":1:19: a reply with 'status' is an error"},
	    {"- reply: {error: x}\n", ":1:18: 'error' is for a reply with 'status'"},
	    {"- reply: {tool_calls: [{arguments: {}}]}\n", ":1:24: "},
	    {"- reply: {tool_calls: [{name: f, arguments: [1]}]}\n", ":1:45: expected a map"},
	    {"- match: {step: 0}\n  reply: {content: x}\n", ":1:17: "}, {"- [\n", ":2:1: not valid YAML"}};
	struct world world;
	struct error err = {0};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(make(&world, bad[i].text, NULL, &err), -1);
		history_destroy(world.history);
		if (!strstr(err.text, bad[i].error))
			fail_msg("%s: expected %s, found %s", bad[i].text, bad[i].error, err.text);
		assert_int_equal(err.code, EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_match),
	    cmocka_unit_test(test_usage_and_finish),
	    cmocka_unit_test(test_nth),
	    cmocka_unit_test(test_many_tasks),
	    cmocka_unit_test(test_task_pattern),
	    cmocka_unit_test(test_mistakes),
	};

	return room_run(tests);
}
