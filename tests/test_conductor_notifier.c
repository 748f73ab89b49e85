/* SPDX-License-Identifier: Apache-2.0 */
/* The conductor's notifications, against a sink of real sockets on the same loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/notifier.h"

#define NOTES       64u
#define CONNECTIONS 128u

enum manner {
	ANSWERS,
	SAYS_NOTHING,
	HANGS_UP,  /* without an answer */
	BREAKS_OFF /* in the middle of its answer */
};

struct connection {
	uv_tcp_t tcp;
	struct room *room;
	char bytes[4096];
	size_t used;
	bool held; /* a request waits for its answer */
};

struct room {
	uv_loop_t loop;
	uv_tcp_t listener;
	char url[64];
	struct notifier *notifier;
	struct error err;

	enum manner manner;
	int status;
	const char *extra; /* header lines of the answer */
	struct connection *connections[CONNECTIONS];
	size_t connection_count, open;
	char body[4096], head[4096]; /* of the last request */
	size_t requests, held, held_most;
	char order[NOTES][CORE_ID_MAX]; /* the tasks of the requests */

	size_t done;
	int told[NOTES]; /* by op */
	char told_task[NOTES][CORE_ID_MAX];
	bool sending, again;
};

/* ---- the sink ---- */

static void on_closed(uv_handle_t *handle)
{
	struct connection *connection = handle->data;

	connection->room->open--;
	if (connection->held)
		connection->room->held--;
	connection->held = false;
}

static void hang_up(struct connection *connection)
{
	if (!uv_is_closing((uv_handle_t *)&connection->tcp))
		uv_close((uv_handle_t *)&connection->tcp, on_closed);
}

static void write_now(struct connection *connection, const char *text)
{
	uv_buf_t buf = {.base = (char *)(uintptr_t)text, .len = strlen(text)};

	assert_int_equal(uv_try_write((uv_stream_t *)&connection->tcp, &buf, 1), strlen(text));
}

static void answer(struct connection *connection)
{
	struct room *room = connection->room;
	char text[512];

	if (connection->held)
		room->held--;
	connection->held = false;
	connection->used = 0;
	snprintf(text, sizeof text, "HTTP/1.1 %d Whatever\r\nContent-Length: 2\r\n%s\r\n{}", room->status,
	    room->extra ? room->extra : "");
	if (room->manner == BREAKS_OFF)
		text[strlen(text) - 1] = '\0'; /* of the body */
	write_now(connection, text);
	if (room->manner == BREAKS_OFF)
		hang_up(connection);
}

static void take_request(struct connection *connection)
{
	struct room *room = connection->room;
	json_t *json;

	snprintf(room->head, sizeof room->head, "%s", connection->bytes);
	*strstr(room->head, "\r\n\r\n") = '\0';
	snprintf(room->body, sizeof room->body, "%s", strstr(connection->bytes, "\r\n\r\n") + 4);
	json = json_loads(room->body, 0, NULL);
	assert_non_null(json);
	snprintf(
	    room->order[room->requests % NOTES], CORE_ID_MAX, "%s", json_string_value(json_object_get(json, "task")));
	json_decref(json);
	room->requests++;
	connection->held = true;
	if (++room->held > room->held_most)
		room->held_most = room->held;
	if (room->manner == HANGS_UP)
		hang_up(connection);
	else if (room->manner != SAYS_NOTHING)
		answer(connection);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
	struct connection *connection = handle->data;

	(void)size;
	*buf = uv_buf_init(
	    connection->bytes + connection->used, (unsigned)(sizeof connection->bytes - 1 - connection->used));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct connection *connection = stream->data;
	const char *length, *body;

	(void)buf;
	if (n < 0) {
		hang_up(connection);
		return;
	}
	connection->used += (size_t)n;
	connection->bytes[connection->used] = '\0';
	body = strstr(connection->bytes, "\r\n\r\n");
	length = strstr(connection->bytes, "Content-Length: ");
	if (body && length && strlen(body + 4) >= strtoul(length + 16, NULL, 10))
		take_request(connection);
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct room *room = listener->data;
	struct connection *connection = calloc(1, sizeof *connection);

	assert_int_equal(status, 0);
	assert_non_null(connection);
	assert_true(room->connection_count < CONNECTIONS);
	room->connections[room->connection_count++] = connection;
	room->open++;
	connection->room = room;
	uv_tcp_init(&room->loop, &connection->tcp);
	connection->tcp.data = connection;
	assert_int_equal(uv_accept(listener, (uv_stream_t *)&connection->tcp), 0);
	uv_read_start((uv_stream_t *)&connection->tcp, on_alloc, on_read);
}

/* ---- the room ---- */

static void send_one(struct room *room, uint64_t op)
{
	char task[CORE_ID_MAX];
	struct core_effect effect = {
	    .kind = CORE_NOTIFY, .task = task, .op = op, .attempt = 2, .epoch = 7, .digest = "c0ffee"};

	snprintf(task, sizeof task, "t%llu", (unsigned long long)op);
	snprintf(effect.text, sizeof effect.text, "%s:\"c0ffee\"", task);
	room->sending = true;
	notifier_send(room->notifier, &effect);
	room->sending = false;
}

static void on_done(void *arg, const char *task, uint64_t op, int status)
{
	struct room *room = arg;

	assert_false(room->sending);
	assert_true(op < NOTES);
	room->told[op] = status;
	snprintf(room->told_task[op], CORE_ID_MAX, "%s", task);
	room->done++;
	if (room->again && status != 200) { /* as the core does, without a pause */
		room->status = 200;
		send_one(room, op + 1);
	}
}

static void make_notifier(struct room *room, int64_t timeout_ms)
{
	notifier_destroy(room->notifier);
	assert_int_equal(
	    notifier_create(&room->notifier, &room->loop, room->url, timeout_ms, on_done, room, &room->err), 0);
}

static int setup(void **state)
{
	struct room *room = calloc(1, sizeof *room);
	struct sockaddr_in address = {.sin_family = AF_INET};
	int size = sizeof address;

	if (!room || uv_loop_init(&room->loop) != 0)
		return -1;
	signal(SIGPIPE, SIG_IGN);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	uv_tcp_init(&room->loop, &room->listener);
	room->listener.data = room;
	if (uv_tcp_bind(&room->listener, (struct sockaddr *)&address, 0) != 0 ||
	    uv_listen((uv_stream_t *)&room->listener, 128, on_connection) != 0 ||
	    uv_tcp_getsockname(&room->listener, (struct sockaddr *)&address, &size) != 0)
		return -1;
	snprintf(room->url, sizeof room->url, "http://127.0.0.1:%u/sink", ntohs(address.sin_port));
	room->status = 200;
	make_notifier(room, 60000);
	*state = room;
	return 0;
}

static int teardown(void **state)
{
	struct room *room = *state;
	size_t i;
	int r;

	notifier_destroy(room->notifier);
	if (!uv_is_closing((uv_handle_t *)&room->listener))
		uv_close((uv_handle_t *)&room->listener, NULL);
	for (i = 0; i < room->connection_count; i++)
		hang_up(room->connections[i]);
	uv_run(&room->loop, UV_RUN_DEFAULT);
	r = uv_loop_close(&room->loop); /* EBUSY: something was left behind */
	for (i = 0; i < room->connection_count; i++)
		free(room->connections[i]);
	free(room);
	return r;
}

static void run_until_done(struct room *room, size_t count)
{
	while (room->done < count)
		uv_run(&room->loop, UV_RUN_ONCE);
	assert_int_equal(room->done, count);
}

static void run_until_requests(struct room *room, size_t count)
{
	while (room->requests < count)
		uv_run(&room->loop, UV_RUN_ONCE);
}

/* ---- the tests ---- */

static void test_what_is_sent(void **state)
{
	struct room *room = *state;
	const char *key, *commit;
	int attempt, epoch;
	json_t *json;

	send_one(room, 3);
	run_until_done(room, 1);
	assert_int_equal(room->told[3], 200);
	assert_string_equal(room->told_task[3], "t3");
	assert_true(strncmp(room->head, "POST /sink HTTP/1.1\r\n", 21) == 0);
	assert_non_null(strstr(room->head, "Content-Type: application/json"));
	assert_null(strstr(room->head, "Expect:")); /* it would cost a second each */
	json = json_loads(room->body, 0, NULL);
	assert_int_equal(json_unpack(json, "{s:s, s:s, s:i, s:i}", "key", &key, "commit", &commit, "attempt", &attempt,
			     "epoch", &epoch),
	    0);
	assert_string_equal(key, "t3:\"c0ffee\"");
	assert_string_equal(commit, "c0ffee");
	assert_int_equal(attempt, 2);
	assert_int_equal(epoch, 7);
	json_decref(json);
}

static void test_statuses_are_told_as_they_are(void **state)
{
	static const int statuses[] = {201, 302, 404, 429, 500, 503};
	struct room *room = *state;
	uint64_t i;

	room->extra = "Location: /elsewhere\r\n";
	for (i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
		room->status = statuses[i];
		send_one(room, i);
		run_until_done(room, i + 1);
		assert_int_equal(room->told[i], statuses[i]);
		assert_int_equal(room->requests, i + 1); /* a redirection is not followed: that is no delivery */
	}
}

static void test_no_answer_is_none(void **state)
{
	struct room *room = *state;

	room->manner = HANGS_UP;
	room->told[0] = room->told[1] = room->told[2] = -1;
	send_one(room, 0);
	run_until_done(room, 1);
	assert_int_equal(room->told[0], 0);
	room->manner = BREAKS_OFF;
	send_one(room, 1);
	run_until_done(room, 2);
	assert_int_equal(room->told[1], 0);
	uv_close((uv_handle_t *)&room->listener, NULL);
	uv_run(&room->loop, UV_RUN_NOWAIT);
	send_one(room, 2); /* nobody listens */
	run_until_done(room, 3);
	assert_int_equal(room->told[2], 0);
}

static void test_silence_ends(void **state)
{
	struct room *room = *state;

	make_notifier(room, 30);
	room->manner = SAYS_NOTHING;
	room->told[0] = -1;
	send_one(room, 0);
	run_until_done(room, 1);
	assert_int_equal(room->told[0], 0);
}

/* So many at a time and no more, the others in their order. */
static void test_bounded(void **state)
{
	struct room *room = *state;
	size_t i;

	room->manner = SAYS_NOTHING;
	for (i = 0; i < NOTES; i++)
		send_one(room, i);
	run_until_requests(room, NOTIFIER_CALLS);
	for (i = 0; i < 20; i++)
		uv_run(&room->loop, UV_RUN_NOWAIT);
	assert_int_equal(room->requests, NOTIFIER_CALLS);
	room->manner = ANSWERS;
	for (i = 0; i < room->connection_count; i++)
		if (room->connections[i]->held)
			answer(room->connections[i]);
	run_until_done(room, NOTES);
	assert_int_equal(room->held_most, NOTIFIER_CALLS);
	assert_int_equal(room->requests, NOTES);
	for (i = 0; i < NOTES; i++)
		assert_int_equal(room->told[i], 200);
	for (i = 0; i + NOTIFIER_CALLS < NOTES; i++) /* none overtakes by more than are under way */
		assert_true(strtoul(room->order[i] + 1, NULL, 10) < i + NOTIFIER_CALLS);
}

/* The first ones meet a sink that says nothing: that costs those behind them none of their own time. */
static void test_waiting_costs_no_time(void **state)
{
	struct room *room = *state;
	size_t i;

	make_notifier(room, 1000);
	room->manner = SAYS_NOTHING;
	for (i = 0; i < NOTES; i++)
		send_one(room, i);
	run_until_requests(room, NOTIFIER_CALLS);
	room->manner = ANSWERS;
	run_until_done(room, NOTES);
	for (i = 0; i < NOTES; i++)
		assert_int_equal(room->told[i], i < NOTIFIER_CALLS ? 0 : 200);
}

static void test_again_from_inside(void **state)
{
	struct room *room = *state;

	room->status = 503;
	room->again = true;
	send_one(room, 0);
	run_until_done(room, 2);
	assert_int_equal(room->told[0], 503);
	assert_int_equal(room->told[1], 200);
}

static void test_broken_off(void **state)
{
	struct room *room = *state;
	size_t i;

	room->manner = SAYS_NOTHING;
	for (i = 0; i < 2 * NOTIFIER_CALLS; i++)
		send_one(room, i);
	run_until_requests(room, 3);
	notifier_destroy(room->notifier);
	room->notifier = NULL;
	while (room->open > 0) /* the sink sees that they are gone */
		uv_run(&room->loop, UV_RUN_ONCE);
	assert_int_equal(room->done, 0);
	notifier_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_what_is_sent, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_statuses_are_told_as_they_are, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_no_answer_is_none, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_silence_ends, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bounded, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_waiting_costs_no_time, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_again_from_inside, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_broken_off, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
