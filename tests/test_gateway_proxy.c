/* SPDX-License-Identifier: Apache-2.0 */
/* Providers with an upstream: what is passed on in both directions, what fails on its side, and faults on top of that. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway_station.h"

#define STREAM                                                                                                         \
	"{\"model\":\"opus\",\"messages\":[{\"role\":\"user\",\"content\":\"go\"}],\"stream\":true,"                   \
	"\"stream_options\":{\"include_usage\":true}}"
#define USAGE  "\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":6,\"total_tokens\":20}"
#define ANSWER "{\"choices\":[{\"message\":{\"content\":\"hello\"}}]," USAGE "}"
#define EVENTS "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
#define JSON   "Content-Type: application/json\r\n"

/* ---- both directions ---- */

static void test_passes_on(void **state)
{
	struct stage *stage = *state;
	struct station *station = &stage->station;
	struct call *call;
	struct op ok;

	stage_begin(stage, OPUS "?beta=a%20b&x",
	    "X-Task-Id: t-1\nAuthorization: Bearer k\nConnection: X-Mine\nX-Mine: 1\nTE: trailers\n"
	    "Accept-Encoding: gzip\nX-Other: 2\nContent-Type: application/json",
	    CHAT);
	station_hear(station);
	station_answer(
	    station, 200, JSON "X-Theirs: 3\r\nConnection: X-Hop\r\nX-Hop: 4\r\nKeep-Alive: timeout=5\r\n", ANSWER);
	call = stage_end(stage, 0);
	has(station->request, "POST /base/v1/chat/completions?beta=a%20b&x HTTP/1.1\r\n");
	has(station->request, "\r\nX-Task-Id: t-1\r\n");
	has(station->request, "\r\nAuthorization: Bearer k\r\n");
	has(station->request, "\r\nX-Other: 2\r\n");
	has(station->request, "\r\nHost: 127.0.0.1:");
	has_not(station->request, "X-Mine");
	has_not(station->request, "trailers");
	has_not(station->request, "gzip");
	has(station->request, "\r\nAccept-Encoding: identity\r\n"); /* what is compressed could not be looked into */
	assert_string_equal(strstr(station->request, "\r\n\r\n") + 4, CHAT);

	assert_int_equal(call->status, 200);
	assert_string_equal(call->answer, ANSWER);
	assert_string_equal(header_of(call, "X-Theirs"), "3");
	assert_string_equal(header_of(call, "Content-Type"), "application/json");
	assert_string_equal(header_of(call, "X-Hop"), "");
	assert_string_equal(header_of(call, "Keep-Alive"), "");
	assert_string_equal(header_of(call, "x-request-id"), ""); /* the gateway's own */
	ok = wait_op(&stage->front, OP_CALL, OP_OK, 1);
	assert_int_equal(ok.value, 20);
	assert_string_equal(ok.task, "t-1");
	assert_string_equal(ok.key, "opus");
	assert_string_equal(ok.detail, "");
	free(call);
}

/* Whatever is below the provider: the history has what is for a model, and nothing else. */
static void test_passes_all_on(void **state)
{
	struct stage *stage = *state;
	struct gateway_options options = stage_options(stage->station.url);
	struct call *call;

	options.latency_ms = 3600000; /* is for what is played */
	stage_front(stage, &options);
	stage_begin(stage, "/claude/v1/models/a%2Fb%20c", "", "");
	station_hear(&stage->station);
	has(stage->station.request, "GET /base/v1/models/a/b%20c HTTP/1.1\r\n");
	has_not(stage->station.request, "Content-Length");
	has_not(stage->station.request, "Content-Type");
	station_answer(&stage->station, 404, JSON, "{\"none\":1}");
	call = stage_end(stage, 0);
	assert_int_equal(call->status, 404);
	assert_string_equal(call->answer, "{\"none\":1}");
	assert_int_equal(history_count(stage->front.history), 0);
	free(call);
	stage_begin(stage, OPUS, "", CHAT);
	station_hear(&stage->station);
	station_answer(&stage->station, 200, JSON, ANSWER);
	free(stage_end(stage, 1));
	wait_op(&stage->front, OP_CALL, OP_OK, 1);
	call = request(&stage->front, "/unknown/v1/models", "", "");
	assert_int_equal(call->status, 404);
	free(call);
}

/* `head`: more lines of it, as they are. */
static int client_with(struct world *world, const char *path, const char *head, const char *body)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char text[1024];

	address.sin_port = htons((uint16_t)atoi(strrchr(gateway_url(world->gateway), ':') + 1));
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	snprintf(text, sizeof text, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n%s\r\n%s", path,
	    strlen(body), head, body);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	return fd;
}

static int client_of(struct world *world, const char *path, const char *body)
{
	return client_with(world, path, "", body);
}

/* What the upstream might read as another header than the gateway has read, or as the end of the head. */
static void test_heads_that_mislead(void **state)
{
	struct stage *stage = *state;
	struct station *station = &stage->station;
	struct reader reader = {.fd = client_with(&stage->front, OPUS,
				    "Transfer-Encoding : chunked\r\nContent-Length\t: 3\r\n"
				    "X-Alone: a\rTransfer-Encoding: chunked\r\nX-Tab: b\tc\r\n",
				    CHAT)};

	station_hear(station);
	has_not(station->request, "chunked");
	has_not(station->request, "Content-Length\t");
	has(station->request, "\r\nX-Tab: b\tc\r\n");
	assert_string_equal(strstr(station->request, "\r\n\r\n") + 4, CHAT);
	station_answer(station, 200, JSON, ANSWER);
	read_to(&reader, "hello");
	close(reader.fd);
}

/* The key is for what is below the upstream's path: out of it nothing leads, and nobody is asked. */
static void test_paths_that_lead_away(void **state)
{
	static const char *const paths[] = {
	    "/claude/../../admin", "/claude/v1/%2e%2E/%2e./admin", "/claude/v1/.", "/claude/v1/..?x=y"};
	struct stage *stage = *state;
	size_t i;

	for (i = 0; i < sizeof paths / sizeof paths[0]; i++) {
		struct reader reader = {.fd = client_of(&stage->front, paths[i], CHAT)};

		read_to(&reader, "\r\n\r\n");
		has(reader.text, "HTTP/1.1 404 ");
		close(reader.fd);
	}
	stage_begin(stage, "/claude/v1/...", "", "");
	station_hear(&stage->station);
	has(stage->station.request, "GET /base/v1/... HTTP/1.1\r\n"); /* the first that it hears of */
	station_answer(&stage->station, 200, JSON, "{}");
	free(stage_end(stage, 0));
}

static void test_stream_as_it_comes(void **state)
{
	struct stage *stage = *state;
	struct reader reader = {.fd = client_of(&stage->front, OPUS, STREAM)};
	struct op ok;

	station_hear(&stage->station);
	station_say(&stage->station, EVENTS);
	station_chunk(&stage->station, "data: {\"a\"}\n\n");
	read_to(&reader, "data: {\"a\"}\n\n"); /* before there is any more of it */
	assert_null(strstr(reader.text, "usage"));
	/* cut in the middle of a number */
	station_chunk(&stage->station, "data: {\"usage\":{\"prompt_tokens\":1");
	station_chunk(&stage->station, "1,\"completion_tokens\":6}}\n");
	station_chunk(&stage->station, "\n");
	read_to(&reader, ":6}}\n");
	station_chunk(&stage->station, "");
	read_to(&reader, "\r\n0\r\n\r\n");
	close(reader.fd);
	ok = wait_op(&stage->front, OP_CALL, OP_OK, 1);
	assert_int_equal(ok.value, 17);
}

/* So much as fits into the sockets and the gateway's window, and the rest once the client reads. */
static void test_waits_for_its_reader(void **state)
{
	enum { CHUNK = 1 << 16, ALL = 1 << 11, SIZE = 7 + CHUNK + 2 };
	struct stage *stage = *state;
	int fd = client_of(&stage->front, OPUS, STREAM), out;
	static char chunk[SIZE], text[CHUNK];
	struct pollfd room = {.events = POLLOUT};
	size_t sent = 0;
	ssize_t n = 1;

	memset(chunk, 'x', sizeof chunk);
	memcpy(chunk, "10000\r\n", 7);
	memcpy(chunk + 7 + CHUNK, "\r\n", 2);
	station_hear(&stage->station);
	out = room.fd = stage->station.fd;
	station_say(&stage->station, EVENTS);
	assert_int_equal(fcntl(out, F_SETFL, O_NONBLOCK), 0);
	while (poll(&room, 1, 500) == 1 && sent < (size_t)ALL * CHUNK) {
		n = send(out, chunk + sent % SIZE, SIZE - sent % SIZE, MSG_NOSIGNAL);
		assert_true(n > 0 || errno == EAGAIN);
		sent += n > 0 ? (size_t)n : 0;
	}
	assert_true(sent < (size_t)ALL * CHUNK / 4);
	/* it is taken up again where it was left */
	while (poll(&room, 1, 0) == 0)
		assert_true(read(fd, text, sizeof text) > 0);
	close(fd);
	while (n > 0 || errno == EAGAIN) { /* and the upstream hears that nobody is there any more */
		assert_true(poll(&room, 1, 60000) == 1);
		n = send(out, chunk + sent % SIZE, SIZE - sent % SIZE, MSG_NOSIGNAL);
		sent += n > 0 ? (size_t)n : 0;
		assert_true(sent < (size_t)ALL * CHUNK);
	}
	assert_string_equal(wait_op(&stage->front, OP_CALL, OP_INFO, 1).detail, OP_CLIENT_GONE);
}

/* ---- what fails on its side ---- */

static void test_refused(void **state)
{
	struct stage *stage = *state;
	struct tritone_gateway_rule rule = rule_of(TRITONE_GATEWAY_TRUNCATED, "*");
	struct call *call;
	struct op fail;

	set(&stage->front, &rule);
	call = request(&stage->front, CODEX, "", CHAT2);
	assert_int_equal(call->status, 502);
	has(call->answer, "\"The upstream of codex gave no answer: connection refused\"");
	has(call->answer, "\"upstream_failed\"");
	free(call);
	fail = wait_op(&stage->front, OP_CALL, OP_FAIL, 1);
	assert_int_equal(fail.status, 502);
	assert_string_equal(fail.detail, "upstream: connection refused"); /* no rule has done that */
	assert_int_equal(hits_of(&stage->front, "k"), 0);
	call = request(&stage->front, "/codex/v1/messages", "", "{}");
	has(call->answer, "{\"type\":\"error\",\"error\":{\"type\":\"api_error\"");
	free(call);
}

static void test_silent(void **state)
{
	struct stage *stage = *state;
	struct gateway_options options = stage_options(stage->station.url);
	struct call *call;
	struct op op;

	options.upstreams[0].silence_ms = 60;
	stage_front(stage, &options);
	call = request(&stage->front, OPUS, "", CHAT); /* the connection is made, and nobody takes it */
	assert_int_equal(call->status, 504);
	free(call);
	op = wait_op(&stage->front, OP_CALL, OP_FAIL, 1);
	assert_string_equal(op.detail, "upstream: timeout: nothing came for 60 ms");

	options.upstreams[0].silence_ms = 1000; /* time enough for the first bytes */
	stage_front(stage, &options);
	station_hear(&stage->station); /* the one that was given up */
	stage_begin(stage, OPUS, "", STREAM);
	station_hang_up(&stage->station);
	station_hear(&stage->station);
	station_say(&stage->station, EVENTS);
	station_chunk(&stage->station, "data: 1\n\n");
	call = stage_end(stage, 0);
	assert_int_not_equal(call->code, CURLE_OK);
	assert_string_equal(call->answer, "data: 1\n\n");
	free(call);
	op = wait_op(&stage->front, OP_CALL, OP_INFO, 1);
	assert_string_equal(op.detail, "upstream: timeout: nothing came for 1000 ms");
}

static void test_no_tls(void **state)
{
	struct stage *stage = *state;
	struct gateway_options options = stage_options(stage->station.secure);
	struct call *call;
	struct op fail;

	stage_front(stage, &options);
	stage_begin(stage, OPUS, "", CHAT);
	stage->station.fd = accept4(stage->station.listener, NULL, NULL, SOCK_CLOEXEC);
	station_say(&stage->station, "HTTP/1.1 400 Bad Request\r\n\r\n");
	call = stage_end(stage, 0);
	assert_int_equal(call->status, 502);
	free(call);
	fail = wait_op(&stage->front, OP_CALL, OP_FAIL, 1);
	assert_memory_equal(fail.detail, "upstream: TLS: ", 15);
}

static void test_dies_half_way(void **state)
{
	struct stage *stage = *state;
	struct call *call;
	struct op info;

	stage_begin(stage, OPUS, "", STREAM);
	station_hear(&stage->station);
	station_say(&stage->station, EVENTS);
	station_chunk(&stage->station, "data: 1\n\n");
	station_hang_up(&stage->station);
	call = stage_end(stage, 0);
	assert_int_equal(call->status, 200);
	assert_int_not_equal(call->code, CURLE_OK); /* no last chunk: the client can tell */
	assert_string_equal(call->answer, "data: 1\n\n");
	free(call);
	info = wait_op(&stage->front, OP_CALL, OP_INFO, 1);
	assert_memory_equal(info.detail, "upstream: broke off after 9 bytes: ", 35);

	stage_begin(stage, OPUS, "", CHAT);
	station_hear(&stage->station);
	station_say(&stage->station, "HTTP/1.1 200 OK\r\n" JSON "Content-Length: 100\r\n\r\n{\"choices\"");
	station_hang_up(&stage->station);
	call = stage_end(stage, 1);
	assert_int_equal(call->code, CURLE_PARTIAL_FILE);
	assert_string_equal(call->answer, "{\"choices\"");
	free(call);
	info = wait_op(&stage->front, OP_CALL, OP_INFO, 2);
	assert_memory_equal(info.detail, "upstream: broke off after 10 bytes: ", 36);
}

/* How long an answer is, where its head says two things; and what is no answer. */
static void test_answers_that_mislead(void **state)
{
	static const struct {
		const char *text, *why; /* NULL: it is handed on */
	} rows[] = {{"HTTP/1.1 200 OK\r\n" JSON
		     "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n0\r\n\r\n",
			NULL},
	    {"HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\nHTTP/1.1 200 OK\r\n" JSON
	     "Content-Length: 7\r\n\r\n{\"a\":1}",
		NULL},
	    {"HTTP/1.1 200 OK\r\n" JSON "Content-Length: 2\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
		"its Content-Length is no number, or two of them"},
	    {"HTTP/1.1 200 OK\r\n" JSON "Content-Length: 99999999999999999999\r\n\r\n{\"a\":1}",
		"its Content-Length is no number, or two of them"},
	    {"HTTP/1.1 999 Odd\r\n" JSON "Content-Length: 7\r\n\r\n{\"a\":1}",
		"it answered 999, which is no status of HTTP"}};
	struct stage *stage = *state;
	size_t i;

	for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct call *call;

		stage_begin(stage, OPUS, "", CHAT);
		station_hear(&stage->station);
		station_say(&stage->station, rows[i].text);
		call = stage_end(stage, i);
		assert_int_equal(call->code, CURLE_OK);
		assert_int_equal(call->status, rows[i].why ? 502 : 200);
		if (rows[i].why)
			has(call->answer, rows[i].why);
		else
			assert_string_equal(call->answer, "{\"a\":1}");
		free(call);
	}
}

static void test_its_own_errors(void **state)
{
	static const struct {
		int status;
		const char *header, *detail;
		double after;
	} rows[] = {{503, "", "upstream: answered 503", -1}, {429, "Retry-After: 2\r\n", "upstream: answered 429", 2},
	    {529, "retry-after-ms: 250\r\nRetry-After: 1\r\n", "upstream: answered 529", 0.25}};
	struct stage *stage = *state;
	struct call *call;
	struct op fail;
	size_t i;

	for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		stage_begin(stage, OPUS, "", CHAT);
		station_hear(&stage->station);
		station_answer(&stage->station, rows[i].status, rows[i].header, "{\"error\":1}");
		call = stage_end(stage, i);
		assert_int_equal(call->status, rows[i].status);
		assert_string_equal(call->answer, "{\"error\":1}");
		free(call);
		fail = wait_op(&stage->front, OP_CALL, OP_FAIL, i + 1);
		assert_string_equal(fail.detail, rows[i].detail);
		assert_true(fail.number == rows[i].after);
	}
}

static void test_client_leaves(void **state)
{
	struct stage *stage = *state;
	int fd = client_of(&stage->front, OPUS, CHAT);

	station_hear(&stage->station);
	close(fd);
	assert_string_equal(wait_op(&stage->front, OP_CALL, OP_INFO, 1).detail, OP_CLIENT_GONE);
	assert_true(station_is_left(&stage->station));
}

static void test_stopped(void **state)
{
	struct stage *stage = *state;
	int waits = client_of(&stage->front, OPUS, CHAT), reads;
	struct reader reader = {0};
	char byte;

	station_hear(&stage->station);
	station_hang_up(&stage->station);
	reads = reader.fd = client_of(&stage->front, OPUS, STREAM);
	station_hear(&stage->station);
	station_say(&stage->station, EVENTS);
	station_chunk(&stage->station, "data: 1\n\n");
	read_to(&reader, "data: 1\n\n");
	gateway_destroy(stage->front.gateway);
	stage->front.gateway = NULL;
	assert_int_equal(read(reads, &byte, 1), -1);
	assert_int_equal(errno, ECONNRESET);
	close(reads);
	close(waits);
	assert_true(station_is_left(&stage->station));
}

static void test_many_at_once(void **state)
{
	struct stage *stage = *state;
	size_t i, n = 50;
	char headers[64];

	stage_other(stage, 50);
	for (i = 0; i < n; i++) {
		snprintf(headers, sizeof headers, "X-Task-Id: t-%zu\nX-Step: 4", i);
		stage_begin(stage, OPUS, headers, i % 2 ? CHAT : STREAM);
	}
	for (i = 0; i < n; i++) {
		struct call *call = stage_end(stage, i);

		assert_int_equal(call->code, CURLE_OK);
		assert_int_equal(call->status, 200);
		has(call->answer, "done");
		free(call);
	}
	wait_op(&stage->front, OP_CALL, OP_OK, n);
	wait_op(&stage->other, OP_CALL, OP_OK, n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_passes_on, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_passes_all_on, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_heads_that_mislead, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_paths_that_lead_away, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_answers_that_mislead, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_stream_as_it_comes, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_waits_for_its_reader, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_refused, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_silent, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_no_tls, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_dies_half_way, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_its_own_errors, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_client_leaves, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_stopped, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_many_at_once, stage_setup, stage_teardown),
	};

	return room_run(tests);
}
