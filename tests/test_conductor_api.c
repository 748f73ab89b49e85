/* SPDX-License-Identifier: Apache-2.0 */
/* The conductor's HTTP face, against clients with real sockets on threads of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/api.h"

#define CLIENTS 16

struct room;

/* One request; what came back is complete when the thread has ended. */
struct client {
	pthread_t thread;
	struct room *room;
	const char *method, *path, *body;
	size_t size; /* of the body */
	uint16_t port;
	bool hangs_up; /* without waiting for the answer */
	int status;    /* 0: none */
	char answer[4096];
};

struct room {
	uv_loop_t loop;
	uv_async_t news; /* a client has ended */
	struct api *api;
	struct error err;
	pthread_mutex_t lock;
	unsigned ended; /* clients */

	/* what the conductor was asked */
	size_t submits, gets;
	uint64_t tokens[CLIENTS];
	char ids[CLIENTS][80], key[80], role[32], prompt[80], after[2][80];
	size_t after_count;
	enum api_page page;
	bool replies; /* at once */
};

/* ---- the conductor's side ---- */

static void on_submit(void *arg, uint64_t token, const struct core_submission *s)
{
	struct room *room = arg;
	size_t i = room->submits++ % CLIENTS;

	room->tokens[i] = token;
	snprintf(room->ids[i], sizeof room->ids[i], "%s", s->id);
	snprintf(room->key, sizeof room->key, "%s", s->key ? s->key : "(none)");
	snprintf(room->role, sizeof room->role, "%s", s->role);
	snprintf(room->prompt, sizeof room->prompt, "%s", s->prompt);
	room->after_count = s->after_count;
	for (i = 0; i < s->after_count && i < 2; i++)
		snprintf(room->after[i], sizeof room->after[i], "%s", s->after[i]);
	if (room->replies)
		api_reply(room->api, token, 202, 0, strdup("{\"task\":\"x\"}"));
}

static char *on_get(void *arg, enum api_page page, int *ret_status)
{
	struct room *room = arg;

	room->gets++;
	room->page = page;
	if (page == API_READY)
		*ret_status = 503;
	return page == API_STATUS ? NULL : strdup("{\"page\":1}");
}

/* ---- the client's side ---- */

static int connect_to(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static bool send_all(int fd, const char *bytes, size_t size)
{
	while (size) {
		ssize_t n = send(fd, bytes, size, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		bytes += n;
		size -= (size_t)n;
	}
	return true;
}

static void converse(struct client *client)
{
	char head[256];
	size_t used = 0;
	ssize_t n;
	int fd = connect_to(client->port);

	if (fd < 0)
		return;
	snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
	    client->method, client->path, client->size);
	if (send_all(fd, head, strlen(head)) && send_all(fd, client->body, client->size) && !client->hangs_up) {
		while (used + 1 < sizeof client->answer &&
		       (n = recv(fd, client->answer + used, sizeof client->answer - 1 - used, 0)) > 0)
			used += (size_t)n;
		if (strncmp(client->answer, "HTTP/1.1 ", 9) == 0)
			client->status = atoi(client->answer + 9);
	}
	close(fd);
}

static void *client_main(void *arg)
{
	struct client *client = arg;
	struct room *room = client->room;

	converse(client);
	pthread_mutex_lock(&room->lock);
	room->ended++;
	uv_async_send(&room->news);
	pthread_mutex_unlock(&room->lock);
	return NULL;
}

static void begin(struct room *room, struct client *client, const char *method, const char *path, const char *body)
{
	*client =
	    (struct client){.room = room, .method = method, .path = path, .body = body, .port = api_port(room->api)};
	client->size = strlen(body);
	assert_int_equal(pthread_create(&client->thread, NULL, client_main, client), 0);
}

static unsigned ended(struct room *room)
{
	unsigned count;

	pthread_mutex_lock(&room->lock);
	count = room->ended;
	pthread_mutex_unlock(&room->lock);
	return count;
}

static void run_until_ended(struct room *room, unsigned count)
{
	while (ended(room) < count)
		uv_run(&room->loop, UV_RUN_ONCE);
}

/* One request and its answer. */
static void ask(struct room *room, struct client *client, const char *method, const char *path, const char *body)
{
	unsigned before = ended(room);

	begin(room, client, method, path, body);
	run_until_ended(room, before + 1);
	pthread_join(client->thread, NULL);
}

/* ---- the room ---- */

static void on_news(uv_async_t *news)
{
	(void)news; /* the loop has turned: that is all */
}

static void make_api(struct room *room)
{
	struct api_options options = {.listen = "127.0.0.1:0", .submit = on_submit, .get = on_get, .arg = room};

	assert_int_equal(api_create(&room->api, &room->loop, &options, &room->err), 0);
}

static int setup(void **state)
{
	struct room *room = calloc(1, sizeof *room);

	if (!room || uv_loop_init(&room->loop) != 0)
		return -1;
	signal(SIGPIPE, SIG_IGN);
	pthread_mutex_init(&room->lock, NULL);
	uv_async_init(&room->loop, &room->news, on_news);
	make_api(room);
	*state = room;
	return 0;
}

static int teardown(void **state)
{
	struct room *room = *state;
	int r;

	api_destroy(room->api);
	uv_close((uv_handle_t *)&room->news, NULL);
	uv_run(&room->loop, UV_RUN_DEFAULT);
	r = uv_loop_close(&room->loop); /* EBUSY: something was left behind */
	pthread_mutex_destroy(&room->lock);
	free(room);
	return r;
}

/* ---- the tests ---- */

static void test_a_submission_is_handed_over(void **state)
{
	struct room *room = *state;
	struct client client;

	room->replies = true;
	ask(room, &client, "POST", "/tasks",
	    "{\"id\":\"b\",\"key\":\"k\",\"role\":\"write\",\"after\":[\"a\",\"c\"],\"prompt\":\"do "
	    "\\\"it\\\"\",\"more\":1}");
	assert_int_equal(client.status, 202);
	assert_non_null(strstr(client.answer, "\r\n\r\n{\"task\":\"x\"}"));
	assert_null(strstr(client.answer, "Retry-After"));
	assert_string_equal(room->ids[0], "b");
	assert_string_equal(room->key, "k");
	assert_string_equal(room->role, "write");
	assert_string_equal(room->prompt, "do \"it\"");
	assert_int_equal(room->after_count, 2);
	assert_string_equal(room->after[0], "a");
	assert_string_equal(room->after[1], "c");
	ask(room, &client, "POST", "/tasks", "{\"id\":\"b\",\"role\":\"plan\",\"after\":null}");
	assert_int_equal(client.status, 202);
	assert_string_equal(room->key, "(none)");
	assert_string_equal(room->prompt, "");
	assert_int_equal(room->after_count, 0);
}

static void test_bad_submissions_go_no_further(void **state)
{
	static const char *const bad[] = {"", "{", "[]", "\"x\"", "{\"id\":\"a\"}", "{\"role\":\"plan\"}",
	    "{\"id\":1,\"role\":\"plan\"}", "{\"id\":\"a\",\"role\":\"plan\",\"after\":\"b\"}",
	    "{\"id\":\"a\",\"role\":\"plan\",\"after\":[1]}", "{\"id\":\"a\",\"id\":\"b\",\"role\":\"plan\"}",
	    "{\"id\":\"a\",\"role\":\"plan\",\"prompt\":{}}", "{\"id\":\"a\\u0000b\",\"role\":\"plan\"}"};
	struct room *room = *state;
	struct client client;
	size_t i;

	for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		ask(room, &client, "POST", "/tasks", bad[i]);
		if (client.status != 400 || !strstr(client.answer, "\"reason\""))
			fail_msg("%s: %s", bad[i], client.answer);
	}
	assert_int_equal(room->submits, 0);
}

static void test_a_large_body_is_refused(void **state)
{
	struct room *room = *state;
	struct client client;
	char *body = malloc(API_BODY_MAX + 2);

	assert_non_null(body);
	memset(body, ' ', API_BODY_MAX + 1);
	body[API_BODY_MAX + 1] = '\0';
	ask(room, &client, "POST", "/tasks", body);
	assert_int_equal(client.status, 413);
	free(body);
	assert_int_equal(room->submits, 0);
}

static void test_pages(void **state)
{
	struct room *room = *state;
	struct client client;

	ask(room, &client, "GET", "/tasks", "");
	assert_int_equal(client.status, 200);
	assert_int_equal(room->page, API_TASKS);
	assert_non_null(strstr(client.answer, "{\"page\":1}"));
	assert_non_null(strstr(client.answer, "application/json"));
	ask(room, &client, "GET", "/ready", "");
	assert_int_equal(client.status, 503);
	assert_int_equal(room->page, API_READY);
	ask(room, &client, "GET", "/status", ""); /* there was no memory for it */
	assert_int_equal(client.status, 500);
	assert_int_equal(room->gets, 3);
	ask(room, &client, "GET", "/", "");
	assert_int_equal(client.status, 404);
	ask(room, &client, "DELETE", "/tasks", "");
	assert_int_equal(client.status, 405);
	ask(room, &client, "POST", "/ready", "{}");
	assert_int_equal(client.status, 405);
	assert_int_equal(room->gets, 3);
}

static const char *const bodies[CLIENTS] = {"{\"id\":\"0\",\"role\":\"plan\"}", "{\"id\":\"1\",\"role\":\"plan\"}",
    "{\"id\":\"2\",\"role\":\"plan\"}", "{\"id\":\"3\",\"role\":\"plan\"}"};

/* Each gets its own answer, whatever the order; an answer that nobody waits for goes nowhere. */
static void test_answers_find_their_requests(void **state)
{
	struct room *room = *state;
	struct client clients[3];
	char text[32];
	size_t i;

	for (i = 0; i < 3; i++)
		begin(room, &clients[i], "POST", "/tasks", bodies[i]);
	while (room->submits < 3)
		uv_run(&room->loop, UV_RUN_ONCE);
	assert_int_equal(ended(room), 0);
	api_reply(room->api, 0, 202, 0, strdup("{}"));
	api_reply(room->api, room->tokens[0] + CLIENTS, 202, 0, strdup("{}"));
	api_reply(room->api, room->tokens[0] + (UINT64_C(9) << 32), 202, 0, strdup("{}"));
	for (i = 3; i-- > 0;) {
		snprintf(text, sizeof text, "{\"for\":\"%.8s\"}", room->ids[i]);
		api_reply(room->api, room->tokens[i], 503, 1500, strdup(text));
		api_reply(room->api, room->tokens[i], 202, 0, strdup("{}")); /* a second time */
	}
	run_until_ended(room, 3);
	for (i = 0; i < 3; i++) {
		pthread_join(clients[i].thread, NULL);
		snprintf(text, sizeof text, "{\"for\":\"%zu\"}", i);
		assert_int_equal(clients[i].status, 503);
		assert_non_null(strstr(clients[i].answer, text));
		assert_non_null(strstr(clients[i].answer, "Retry-After: 2\r\n")); /* whole seconds, rounded up */
	}
}

static void test_a_client_hangs_up(void **state)
{
	struct room *room = *state;
	struct client client = {.room = room,
	    .method = "POST",
	    .path = "/tasks",
	    .body = bodies[0],
	    .size = strlen(bodies[0]),
	    .port = api_port(room->api),
	    .hangs_up = true};

	assert_int_equal(pthread_create(&client.thread, NULL, client_main, &client), 0);
	while (room->submits < 1 || ended(room) < 1)
		uv_run(&room->loop, UV_RUN_ONCE);
	pthread_join(client.thread, NULL);
	api_reply(room->api, room->tokens[0], 202, 0, strdup("{}"));
	room->replies = true;
	ask(room, &client, "POST", "/tasks", bodies[1]);
	assert_int_equal(client.status, 202);
}

/* Whoever waits is told, and whoever comes at that moment is not left hanging. */
static void test_the_end_leaves_nobody_waiting(void **state)
{
	struct room *room = *state;
	struct client clients[CLIENTS];
	unsigned round, total = 0;
	size_t i;

	for (round = 0; round < 20; round++) {
		for (i = 0; i < CLIENTS; i++)
			begin(room, &clients[i], i % 4 ? "POST" : "GET", "/tasks", i % 4 ? bodies[i % 4] : "");
		while (room->submits < round % 6)
			uv_run(&room->loop, UV_RUN_ONCE);
		api_destroy(room->api); /* some have been handed over, some are on their way, some not connected */
		room->api = NULL;
		total += CLIENTS;
		run_until_ended(room, total);
		for (i = 0; i < CLIENTS; i++) {
			pthread_join(clients[i].thread, NULL);
			assert_true(clients[i].status == 503 || clients[i].status == 200 || clients[i].status == 0);
		}
		assert_int_equal(connect_to(clients[0].port), -1);
		room->submits = 0;
		make_api(room);
	}
	api_destroy(NULL);
}

static void test_what_to_listen_on(void **state)
{
	static const char *const bad[] = {"", "127.0.0.1", "localhost:1", "127.0.0.1:x", "127.0.0.1:70000", "::1:80"};
	struct room *room = *state;
	struct api_options options = {.submit = on_submit, .get = on_get, .arg = room};
	struct api *api = NULL;
	char taken[32];
	size_t i;

	for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		options.listen = bad[i];
		assert_int_equal(api_create(&api, &room->loop, &options, &room->err), -1);
		assert_int_equal(room->err.code, EINVAL);
	}
	snprintf(taken, sizeof taken, "127.0.0.1:%u", api_port(room->api));
	options.listen = taken;
	assert_int_equal(api_create(&api, &room->loop, &options, &room->err), -1);
	assert_int_equal(room->err.code, EADDRINUSE);
	assert_null(api);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_a_submission_is_handed_over, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bad_submissions_go_no_further, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_large_body_is_refused, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_pages, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_answers_find_their_requests, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_client_hangs_up, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_the_end_leaves_nobody_waiting, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_what_to_listen_on, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
