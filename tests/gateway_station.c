/* SPDX-License-Identifier: Apache-2.0 */
/* An upstream played by hand; see gateway_station.h. */
#include "gateway_station.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_MS 60000 /* only there to fail instead of hanging */

void station_open(struct station *station)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof address;

	station->fd = -1;
	station->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(station->listener, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(listen(station->listener, 64), 0);
	assert_int_equal(getsockname(station->listener, (struct sockaddr *)&address, &size), 0);
	snprintf(station->url, sizeof station->url, "http://127.0.0.1:%u/base/", ntohs(address.sin_port));
	snprintf(station->secure, sizeof station->secure, "https://127.0.0.1:%u", ntohs(address.sin_port));
}

void station_hang_up(struct station *station)
{
	if (station->fd >= 0)
		close(station->fd);
	station->fd = -1;
}

void station_close(struct station *station)
{
	station_hang_up(station);
	close(station->listener);
}

static bool is_readable(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	return poll(&poll_fd, 1, PATIENCE_MS) == 1;
}

/* More of what comes; 0: the other side has closed. */
static size_t take(struct station *station, size_t used)
{
	ssize_t n;

	assert_true(is_readable(station->fd));
	n = read(station->fd, station->request + used, sizeof station->request - 1 - used);
	if (n <= 0)
		return 0;
	station->request[used + (size_t)n] = '\0';
	return (size_t)n;
}

static size_t wanted_of(const char *request)
{
	const char *end = strstr(request, "\r\n\r\n"), *length = strcasestr(request, "\r\ncontent-length:");

	if (!end)
		return SIZE_MAX;
	return (size_t)(end + 4 - request) + (length && length < end ? strtoul(length + 17, NULL, 10) : 0);
}

void station_hear(struct station *station)
{
	size_t used = 0, n;

	while (used < wanted_of(station->request) || !used) {
		if (station->fd < 0) {
			assert_true(is_readable(station->listener));
			station->fd = accept4(station->listener, NULL, NULL, SOCK_CLOEXEC);
			assert_true(station->fd >= 0);
			used = 0;
		}
		station->request[used] = '\0';
		n = take(station, used);
		if (!n) /* an old connection; a new one is coming */
			station_hang_up(station);
		used += n;
	}
}

void station_say(struct station *station, const char *text)
{
	assert_int_equal(send(station->fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

void station_chunk(struct station *station, const char *text)
{
	char chunk[1024];

	snprintf(chunk, sizeof chunk, "%zx\r\n%s\r\n", strlen(text), text);
	station_say(station, chunk);
}

void station_answer(struct station *station, int status, const char *headers, const char *body)
{
	char text[BODY_SIZE];

	snprintf(text, sizeof text, "HTTP/1.1 %d Said\r\n%sContent-Length: %zu\r\n\r\n%s", status, headers,
	    strlen(body), body);
	station_say(station, text);
}

bool station_is_left(struct station *station)
{
	char byte;

	return is_readable(station->fd) && read(station->fd, &byte, 1) <= 0;
}

/* ---- the stage ---- */

struct gateway_options stage_options(const char *url)
{
	struct gateway_options options = usual_options(NULL);

	options.upstreams[0] = (struct gateway_upstream){.provider = "claude", .url = url};
	options.upstreams[1] = (struct gateway_upstream){.provider = "codex", .url = "http://127.0.0.1:1"};
	return options;
}

static void make(struct world *world, struct gateway_options options)
{
	struct error err = {0};

	assert_int_equal(history_create(&world->history, NULL, &err), 0);
	options.history = world->history;
	if (gateway_create(&world->gateway, &options, &err) < 0)
		fail_msg("%s", err.text);
}

static void unmake(struct world *world)
{
	gateway_destroy(world->gateway);
	history_destroy(world->history);
	*world = (struct world){0};
}

void stage_front(struct stage *stage, const struct gateway_options *options)
{
	unmake(&stage->front);
	make(&stage->front, *options);
}

void stage_other(struct stage *stage, int64_t latency_ms)
{
	struct gateway_options options = usual_options(NULL);
	char url[96];

	options.latency_ms = latency_ms;
	make(&stage->other, options);
	snprintf(url, sizeof url, "%s/claude", gateway_url(stage->other.gateway));
	options = stage_options(url);
	stage_front(stage, &options);
}

int stage_setup(void **state)
{
	struct stage *stage = calloc(1, sizeof *stage);
	struct gateway_options options;

	if (!stage)
		return -1;
	strcpy(stage->dir, "/tmp/tritone-stage-XXXXXX");
	if (!mkdtemp(stage->dir))
		return -1;
	snprintf(stage->file, sizeof stage->file, "%s/answers.jsonl", stage->dir);
	station_open(&stage->station);
	options = stage_options(stage->station.url);
	stage_front(stage, &options);
	*state = stage;
	return 0;
}

int stage_teardown(void **state)
{
	struct stage *stage = *state;

	unmake(&stage->front);
	unmake(&stage->other);
	station_close(&stage->station);
	unlink(stage->file);
	rmdir(stage->dir);
	free(stage);
	return 0;
}

size_t stage_begin(struct stage *stage, const char *path, const char *headers, const char *body)
{
	const size_t i = stage->count++;

	assert_true(i < sizeof stage->calls / sizeof stage->calls[0]);
	stage->calls[i] = call_new(&stage->front, path, headers, body);
	assert_int_equal(pthread_create(&stage->threads[i], NULL, call_run, stage->calls[i]), 0);
	return i;
}

struct call *stage_end(struct stage *stage, size_t i)
{
	pthread_join(stage->threads[i], NULL);
	return stage->calls[i];
}

char *stage_text(const struct stage *stage)
{
	FILE *file = fopen(stage->file, "re");
	char *text = NULL;
	size_t room = 0;
	ssize_t size;

	assert_non_null(file);
	size = getdelim(&text, &room, EOF, file);
	fclose(file);
	assert_true(size >= 0);
	return text;
}
