/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway over real HTTP: replies, fault rules, barriers, sinks, and what the history says of them. */
#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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

/* ---- what goes wrong on purpose ---- */

static void test_answer(void **state)
{
	struct world *world = *state;
	struct tritone_gateway_rule rule = rule_of(TRITONE_GATEWAY_ANSWER, "claude");
	struct call *call;
	struct op op;

	rule.retry_after_ms = 250;
	set(world, &rule);
	call = request(world, OPUS, "X-Task-Id: t-1\nX-Attempt: 3", CHAT);
	assert_int_equal(call->status, 429);
	assert_string_equal(call->retry_after, "0.25");
	assert_non_null(strstr(call->answer, "\"code\":\"rate_limit_exceeded\""));
	free(call);
	op = wait_op(world, OP_CALL, OP_FAIL, 1);
	assert_int_equal(op.status, 429);
	assert_true(op.number > 0.2499 && op.number < 0.2501);
	assert_true(op.value >= 0 && (uint64_t)op.value <= op.time_us - wait_op(world, OP_CALL, OP_INVOKE, 1).time_us);
	assert_string_equal(op.task, "t-1");
	assert_string_equal(op.actor, "claude");
	assert_string_equal(op.key, "opus");
	assert_string_equal(op.detail, "rule k");
	assert_int_equal(op.attempt, 3);
	assert_int_equal(hits_of(world, "k"), 1);
	assert_int_equal(status_of(world, CODEX, CHAT2), 200); /* another provider */

	rule.retry_after_ms = 2000;
	set(world, &rule);
	assert_int_equal(hits_of(world, "k"), 0); /* replaced: counted anew */
	call = request(world, OPUS, "", CHAT);
	assert_string_equal(call->retry_after, "2");
	free(call);

	rule.status = 503;
	rule.retry_after_ms = -1;
	set(world, &rule);
	call = request(world, OPUS, "", CHAT);
	assert_int_equal(call->status, 503);
	assert_string_equal(call->retry_after, "");
	assert_non_null(strstr(call->answer, "\"type\":\"server_error\""));
	free(call);
	op = wait_op(world, OP_CALL, OP_FAIL, 3);
	assert_int_equal(op.status, 503);
	assert_true(op.number < 0);

	gateway_rule_clear(world->gateway, "k");
	gateway_rule_clear(world->gateway, "k");
	assert_int_equal(status_of(world, OPUS, CHAT), 200);
	assert_int_equal(gateway_rule_hits(world->gateway, "k", NULL, NULL, NULL), -1);
}

static void test_star_is_for_providers(void **state)
{
	struct world *world = *state;
	struct tritone_gateway_rule rule = rule_of(TRITONE_GATEWAY_ANSWER, "*");

	set(world, &rule);
	assert_int_equal(status_of(world, OPUS, CHAT), 429);
	assert_int_equal(status_of(world, CODEX, CHAT2), 429);
	assert_int_equal(status_of(world, "/sink/notify", "{}"), 200);
	rule.target = "notify";
	rule.status = 500;
	set(world, &rule);
	assert_int_equal(status_of(world, OPUS, CHAT), 200);
	assert_int_equal(status_of(world, "/sink/notify", "{}"), 500);
}

static void test_broken_answers(void **state)
{
	struct world *world = *state;
	struct tritone_gateway_rule rule = rule_of(TRITONE_GATEWAY_RESET, "claude");
	struct call *call;
	struct op op;

	set(world, &rule);
	assert_int_equal(status_of(world, OPUS, CHAT), -(long)CURLE_RECV_ERROR); /* reset, not an end of file */
	op = wait_op(world, OP_CALL, OP_INFO, 1);
	assert_string_equal(op.detail, "reset, rule k");
	assert_int_equal(op.status, 0);

	rule.action = TRITONE_GATEWAY_MALFORMED;
	set(world, &rule);
	call = request(world, OPUS, "", CHAT);
	assert_int_equal(call->status, 200);
	assert_null(json_loads(call->answer, 0, NULL));
	free(call);
	op = wait_op(world, OP_CALL, OP_OK, 1);
	assert_int_equal(op.status, 200);
	assert_int_equal(op.value, 0); /* no tokens were told of */

	rule.action = TRITONE_GATEWAY_TRUNCATED;
	set(world, &rule);
	call = request(world, OPUS, "", CHAT);
	assert_int_equal(call->code, CURLE_PARTIAL_FILE);
	assert_int_equal(call->status, 200);
	assert_true(call->size > 0);
	assert_null(json_loads(call->answer, 0, NULL));
	free(call);
	op = wait_op(world, OP_CALL, OP_INFO, 2);
	assert_int_equal(op.status, 200);
	assert_string_equal(op.detail, "truncated, rule k");
}

static void test_delay(void **state)
{
	struct world *world = *state;
	struct tritone_gateway_rule rule = rule_of(TRITONE_GATEWAY_DELAY, "claude");
	struct op invoke, ok;
	struct call *call;
	pthread_t thread;

	rule.delay_ms = 50;
	set(world, &rule);
	assert_int_equal(status_of(world, OPUS, CHAT), 200);
	invoke = wait_op(world, OP_CALL, OP_INVOKE, 1);
	ok = wait_op(world, OP_CALL, OP_OK, 1);
	assert_int_equal(ok.pair, invoke.index);
	assert_true(ok.time_us - invoke.time_us >= 50000);

	/* an hour, ended by the clearing */
	rule.delay_ms = 3600000;
	set(world, &rule);
	call = call_new(world, OPUS, "", CHAT);
	assert_int_equal(pthread_create(&thread, NULL, call_run, call), 0);
	wait_op(world, OP_CALL, OP_INVOKE, 2);
	gateway_rule_clear(world->gateway, "k");
	pthread_join(thread, NULL);
	assert_int_equal(call->status, 200);
	free(call);
}

static void test_delay_then_answer(void **state)
{
	struct world *world = *state;
	struct tritone_gateway_rule rule = rule_of(TRITONE_GATEWAY_DELAY, "*");
	struct op invoke, fail;

	rule.delay_ms = 30;
	set(world, &rule);
	rule = rule_of(TRITONE_GATEWAY_ANSWER, "claude");
	rule.key = "second";
	set(world, &rule);
	assert_int_equal(status_of(world, OPUS, CHAT), 429);
	invoke = wait_op(world, OP_CALL, OP_INVOKE, 1);
	fail = wait_op(world, OP_CALL, OP_FAIL, 1);
	assert_true(fail.time_us - invoke.time_us >= 30000);
	assert_int_equal(hits_of(world, "k"), 1);
	assert_int_equal(hits_of(world, "second"), 1);
}

static void test_hang(void **state)
{
	struct world *world = *state;
	struct tritone_gateway_rule rule = rule_of(TRITONE_GATEWAY_HANG, "claude");
	struct call *call = call_new(world, OPUS, "", CHAT);
	pthread_t thread;
	struct op op;

	set(world, &rule);
	assert_int_equal(pthread_create(&thread, NULL, call_run, call), 0);
	wait_op(world, OP_CALL, OP_INVOKE, 1);
	assert_int_equal(status_of(world, CODEX, CHAT2), 200); /* others go on */
	gateway_rule_clear(world->gateway, "k");
	pthread_join(thread, NULL);
	assert_int_equal(call->code, CURLE_RECV_ERROR);
	free(call);
	op = wait_op(world, OP_CALL, OP_INFO, 1);
	assert_int_equal(op.pair, 0);
	assert_string_equal(op.detail, "never answered, rule k");

	/* and by its lifetime */
	rule.lifetime_ms = 500; /* so that the request comes before its end, on a busy machine too */
	set(world, &rule);
	assert_int_equal(status_of(world, OPUS, CHAT), -(long)CURLE_RECV_ERROR);
	assert_int_equal(gateway_rule_hits(world->gateway, "k", NULL, NULL, NULL), -1);
	assert_int_equal(status_of(world, OPUS, CHAT), 200);
}

/* The client gives up while it waits: seen at once, not when the rule ends. */
static void test_client_hangs_up(void **state)
{
	struct world *world = *state;
	struct tritone_gateway_rule rule = rule_of(TRITONE_GATEWAY_HANG, "claude");
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	char text[512];
	struct op op;
	int fd;

	set(world, &rule);
	address.sin_port = htons((uint16_t)atoi(strrchr(gateway_url(world->gateway), ':') + 1));
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	snprintf(text, sizeof text, "POST %s HTTP/1.1\r\nHost: x\r\nX-Task-Id: t-9\r\nContent-Length: %zu\r\n\r\n%s",
	    OPUS, sizeof CHAT - 1, CHAT);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	wait_op(world, OP_CALL, OP_INVOKE, 1);
	close(fd);
	op = wait_op(world, OP_CALL, OP_INFO, 1);
	assert_string_equal(op.detail, "the client went away, rule k");
	assert_string_equal(op.task, "t-9");
	assert_int_equal(hits_of(world, "k"), 1);
}

static void test_first_and_count(void **state)
{
	struct world *world = *state;
	struct tritone_gateway_rule rule = rule_of(TRITONE_GATEWAY_ANSWER, "claude");
	static const long expected[] = {200, 200, 429, 429, 429, 200, 200};
	uint64_t hits = 0, seen = 0;
	size_t i;

	rule.first = 2;
	rule.count = 3;
	set(world, &rule);
	for (i = 0; i < sizeof expected / sizeof expected[0]; i++)
		assert_int_equal(status_of(world, OPUS, CHAT), expected[i]);
	assert_int_equal(gateway_rule_hits(world->gateway, "k", &hits, &seen, NULL), 0);
	assert_int_equal(hits, 3);
	assert_int_equal(seen, 7);
}

#define DRAWS 64

static void draw(uint64_t seed, char picture[DRAWS + 1])
{
	struct gateway_options options = usual_options(NULL);
	struct tritone_gateway_rule rule = rule_of(TRITONE_GATEWAY_ANSWER, "claude");
	struct world world = {0};
	size_t i;

	options.seed = seed;
	assert_int_equal(gateway_create(&world.gateway, &options, NULL), 0);
	rule.probability = 0.5;
	set(&world, &rule);
	for (i = 0; i < DRAWS; i++)
		picture[i] = status_of(&world, OPUS, CHAT) == 429 ? 'x' : '.';
	picture[DRAWS] = '\0';
	gateway_destroy(world.gateway);
}

static void test_probability(void **state)
{
	char one[DRAWS + 1], same[DRAWS + 1], other[DRAWS + 1];
	size_t i, hits = 0;

	(void)state;
	draw(1, one);
	draw(1, same);
	draw(2, other);
	assert_string_equal(one, same);
	assert_string_not_equal(one, other);
	for (i = 0; i < DRAWS; i++)
		hits += one[i] == 'x';
	assert_in_range(hits, DRAWS / 4, DRAWS * 3 / 4); /* these seeds are fixed, so this is no matter of chance */
}

static void test_bad_rules(void **state)
{
	struct world *world = *state;
	struct tritone_gateway_rule rule = rule_of(TRITONE_GATEWAY_ANSWER, "nobody");
	struct error err = {0};

	assert_int_equal(gateway_rule_set(world->gateway, &rule, &err), -1);
	assert_string_equal(err.text, "the gateway has no provider or sink 'nobody'; it has: claude codex notify");
	rule.target = "claude";
	rule.status = 200;
	assert_int_equal(gateway_rule_set(world->gateway, &rule, &err), -1);
	assert_int_equal(err.code, EINVAL);
	rule.status = 429;
	rule.action = 0x11;
	assert_int_equal(gateway_rule_set(world->gateway, &rule, &err), -1);
	rule.action = TRITONE_GATEWAY_ANSWER;
	rule.struct_size = 8;
	assert_int_equal(gateway_rule_set(world->gateway, &rule, &err), -1);
	rule.struct_size = sizeof rule;
	rule.probability = 1.5;
	assert_int_equal(gateway_rule_set(world->gateway, &rule, &err), -1);
	rule.probability = 0;
	rule.key = "";
	assert_int_equal(gateway_rule_set(world->gateway, &rule, &err), -1);
	assert_int_equal(status_of(world, OPUS, CHAT), 200);
}

/* ---- barriers ---- */

static void test_hold(void **state)
{
	struct world *world = *state;
	struct tritone_gateway_rule rule = rule_of(TRITONE_GATEWAY_ANSWER, "claude");
	struct call *call = call_new(world, OPUS, "", CHAT);
	uint64_t id = 0, both = 0;
	char held[64];
	pthread_t thread;
	struct op op;

	assert_int_equal(gateway_hold(world->gateway, "claude", 2, &id, NULL), 0);
	assert_int_equal(gateway_hold(world->gateway, "*", 2, &both, NULL), 0);
	assert_int_equal(status_of(world, OPUS, CHAT), 200);
	assert_int_equal(pthread_create(&thread, NULL, call_run, call), 0);
	op = wait_op(world, OP_CALL, OP_INVOKE, 2);
	snprintf(held, sizeof held, "held %d %d", (int)id, (int)both);
	assert_string_equal(op.detail, held);
	assert_int_equal(status_of(world, OPUS, CHAT), 200); /* others go on */
	assert_int_equal(status_of(world, CODEX, CHAT2), 200);
	gateway_release(world->gateway, id); /* the other one still holds it */
	assert_int_equal(status_of(world, OPUS, CHAT), 200);
	assert_int_equal(wait_op(world, OP_CALL, OP_OK, 4).pair, 7); /* all answered but the held one */
	rule.status = 500;
	set(world, &rule); /* what is injected while it is held is for it, too */
	gateway_release(world->gateway, both);
	pthread_join(thread, NULL);
	assert_int_equal(call->status, 500);
	assert_int_equal(wait_op(world, OP_CALL, OP_FAIL, 1).pair, op.index);
	gateway_release(world->gateway, both);
	gateway_release(world->gateway, 4711);
	free(call);
}

/* A gateway that is destroyed while requests wait: they end, and so does it. */
static void test_destroy_while_waiting(void **state)
{
	struct gateway_options options;
	struct tritone_gateway_rule rule = rule_of(TRITONE_GATEWAY_HANG, "claude");
	struct world world = {0};
	struct call *hung, *held;
	pthread_t threads[2];
	uint64_t id;

	(void)state;
	assert_int_equal(history_create(&world.history, NULL, NULL), 0);
	options = usual_options(world.history);
	assert_int_equal(gateway_create(&world.gateway, &options, NULL), 0);
	set(&world, &rule);
	assert_int_equal(gateway_hold(world.gateway, "codex", 1, &id, NULL), 0);
	hung = call_new(&world, OPUS, "", CHAT);
	held = call_new(&world, CODEX, "", CHAT2);
	assert_int_equal(pthread_create(&threads[0], NULL, call_run, hung), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, call_run, held), 0);
	wait_op(&world, OP_CALL, OP_INVOKE, 2);
	gateway_destroy(world.gateway);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	assert_int_equal(hung->code, CURLE_RECV_ERROR);
	assert_int_equal(held->code, CURLE_RECV_ERROR);
	assert_non_null(strstr(wait_op(&world, OP_CALL, OP_INFO, 1).detail, "the gateway was stopped"));
	assert_non_null(strstr(wait_op(&world, OP_CALL, OP_INFO, 2).detail, "the gateway was stopped"));
	free(hung);
	free(held);
	history_destroy(world.history);
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
	    cmocka_unit_test_setup_teardown(test_answer, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_star_is_for_providers, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_broken_answers, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_delay, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_delay_then_answer, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_hang, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_client_hangs_up, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_first_and_count, setup, teardown),
	    cmocka_unit_test(test_probability),
	    cmocka_unit_test_setup_teardown(test_bad_rules, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_hold, setup, teardown),
	    cmocka_unit_test(test_destroy_while_waiting),
	    cmocka_unit_test_setup_teardown(test_sink, setup, teardown),
	    cmocka_unit_test(test_latency),
	    cmocka_unit_test_setup_teardown(test_bad_options, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_targets, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_complete_history, setup, teardown),
	};

	return room_run(tests);
}
