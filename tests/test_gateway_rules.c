/* SPDX-License-Identifier: Apache-2.0 */
/* Fault rules and barriers over real HTTP: whom a rule is for, what they get, when it ends; and requests that are held. */
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

/* ---- rules ---- */

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
	rule.lifetime_ms = 2000; /* so that the request comes before its end, on a busy machine too */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
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
	};

	return room_run(tests);
}
