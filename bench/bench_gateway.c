/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gateway's requests a second over 200 keep-alive connections, against the simplest server that
 * libmicrohttpd can be (a fixed answer of the same size, the same clients), turn about in one run;
 * and the memory of `tritone gateway`, which writes a line for each request, after 10^5 and after 10^6 requests.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "child.h"
#include "gateway/gateway.h"
#include "median.h"

enum { THREADS = 2, CONNECTIONS = 100 /* a thread */, ROUNDS = 5 };
#define REQUESTS  8000    /* a thread and round */
#define FEW       100000  /* requests, all in all */
#define MANY      1000000 /* the same */
#define SILENT_MS 10000   /* without one answer */
#define WHY_SIZE  256
#define PLAIN     700 /* bytes of the peer's answer: about a tool call's */

#define BODY "{\"model\":\"opus\",\"messages\":[{\"role\":\"user\",\"content\":\"write it\"}],\"tools\":[]}"

struct client {
	pthread_t thread;
	uint16_t port;
	int requests;
	char request[512];
	size_t request_size;
	char failed[WHY_SIZE]; /* what went wrong first; "" nothing */
};

static int dial(uint16_t port)
{
	struct sockaddr_in a = {
	    .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Only what came first: the rest follows from it. */
static void __attribute__((format(printf, 2, 3))) fail(struct client *client, const char *format, ...)
{
	va_list args;

	if (*client->failed)
		return;
	va_start(args, format);
	vsnprintf(client->failed, sizeof client->failed, format, args);
	va_end(args);
}

static int send_request(int fd, struct client *client, int number)
{
	ssize_t n = send(fd, client->request, client->request_size, MSG_NOSIGNAL);

	if (n == (ssize_t)client->request_size)
		return 0;
	fail(client, "request %d: %zd of %zu bytes sent: %s", number, n, client->request_size,
	    n < 0 ? strerror(errno) : "no error");
	return -1;
}

/* Reads one whole response of status 200, to the request of that number. */
static int read_response(int fd, struct client *client, int number)
{
	char buf[8192], *end, *length;
	size_t used = 0, whole = 0;

	while (!whole || used < whole) {
		ssize_t n = recv(fd, buf + used, sizeof buf - 1 - used, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			fail(client, "request %d: %zu of %zu bytes came, then %s", number, used, whole,
			    n < 0                    ? strerror(errno)
			    : used == sizeof buf - 1 ? "more than there is room for"
						     : "the end of the connection");
			return -1;
		}
		used += (size_t)n;
		buf[used] = '\0';
		end = strstr(buf, "\r\n\r\n");
		length = strcasestr(buf, "Content-Length: ");
		if (end && length && !whole)
			whole = (size_t)(end + 4 - buf) + strtoul(length + 16, NULL, 10);
		if (whole >= sizeof buf) {
			fail(client, "request %d: an answer of %zu bytes", number, whole);
			return -1;
		}
	}
	if (!strncmp(buf, "HTTP/1.1 200", 12))
		return 0;
	fail(client, "request %d: '%.*s'", number, (int)strcspn(buf, "\r\n"), buf);
	return -1;
}

/* Were the answers late, or will they never come? */
static void tell_silent(struct client *client, struct pollfd *polled, int number, int answered)
{
	const int late = poll(polled, CONNECTIONS, SILENT_MS);

	fail(client, "request %d and others: no answer for %d ms, %d of %d had theirs; %s", number, SILENT_MS, answered,
	    client->requests, late > 0 ? "some came in as long again" : "none came in as long again");
}

static void *drive(void *arg)
{
	struct client *client = arg;
	struct pollfd polled[CONNECTIONS];
	int asked[CONNECTIONS] = {0}; /* the number of the request that is under way; 0: none */
	int sent = 0, answered = 0, i;

	for (i = 0; i < CONNECTIONS; i++) {
		polled[i] = (struct pollfd){.fd = dial(client->port), .events = POLLIN};
		asked[i] = ++sent;
		if (polled[i].fd < 0)
			fail(client, "connection %d: %s", i, strerror(errno));
		else
			(void)send_request(polled[i].fd, client, asked[i]);
	}
	while (!*client->failed && answered < client->requests) {
		int ready = poll(polled, CONNECTIONS, SILENT_MS);

		if (ready < 0)
			fail(client, "poll: %s", strerror(errno));
		for (i = 0; i < CONNECTIONS && !*client->failed; i++) {
			if (ready == 0 && asked[i])
				tell_silent(client, polled, asked[i], answered);
			if (!polled[i].revents || *client->failed)
				continue;
			if (!asked[i])
				fail(client, "connection %d: ended, or said something, unasked", i);
			else if (read_response(polled[i].fd, client, asked[i]) == 0)
				answered++;
			asked[i] = sent < client->requests ? ++sent : 0;
			if (asked[i] && !*client->failed)
				(void)send_request(polled[i].fd, client, asked[i]);
		}
	}
	for (i = 0; i < CONNECTIONS; i++)
		if (polled[i].fd >= 0)
			close(polled[i].fd);
	return NULL;
}

/* Requests a second, or -1 and why. */
static double measure(uint16_t port, int requests, char ret_why[WHY_SIZE])
{
	struct client clients[THREADS];
	int i, started = 0, code = 0;
	double begin = now_s();

	*ret_why = '\0';
	for (i = 0; i < THREADS; i++) {
		clients[i] = (struct client){.port = port, .requests = requests / THREADS};
		clients[i].request_size = (size_t)snprintf(clients[i].request, sizeof clients[i].request,
		    "POST /claude/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
		    "X-Task-Id: task-%d\r\nX-Attempt: 1\r\nX-Role: write\r\nX-Step: 2\r\nContent-Length: %zu\r\n\r\n%s",
		    i, sizeof BODY - 1, BODY);
		code = pthread_create(&clients[i].thread, NULL, drive, &clients[i]);
		if (code)
			break;
		started++;
	}
	for (i = 0; i < started; i++) {
		pthread_join(clients[i].thread, NULL);
		if (*clients[i].failed)
			memcpy(ret_why, clients[i].failed, WHY_SIZE);
	}
	if (started < THREADS)
		snprintf(ret_why, WHY_SIZE, "no thread for a client: %s", strerror(code));
	return *ret_why ? -1 : (double)requests / (now_s() - begin);
}

static enum MHD_Result hello(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
    const char *version, const char *upload, size_t *upload_size, void **context)
{
	static int seen;

	(void)url, (void)method, (void)version, (void)upload;
	if (!*context || *upload_size) {
		*context = &seen;
		*upload_size = 0;
		return MHD_YES;
	}
	return MHD_queue_response(connection, 200, arg);
}

/* ---- memory ---- */

/* Resident kilobytes of a process; 0: it is gone. */
static long resident(pid_t pid)
{
	char path[64], line[128];
	long kb = 0;
	FILE *in;

	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	in = fopen(path, "re");
	while (in && !kb && fgets(line, sizeof line, in))
		(void)sscanf(line, "VmRSS: %ld", &kb);
	if (in)
		fclose(in);
	return kb;
}

static int memory(int many)
{
	char path[4096], line[128] = "", why[WHY_SIZE] = "it says no port";
	const char *const argv[] = {path, "gateway", "--providers", "claude", "--log", "/dev/null", NULL};
	const struct child child = {.argv = argv, .log = "/dev/null"};
	struct error err = {0};
	double rate = -1;
	long few_kb = 0, many_kb = 0, least_kb = 0, most_kb = 0;
	double begin;
	int sent;
	uint16_t port = 0;
	pid_t pid = 0;
	int out = -1;

	if (child_program(path, sizeof path, "tritone", &err) == 0 && child_start(&child, &pid, &out, &err) == 0 &&
	    child_line(out, line, sizeof line, 30000, &err) == 0 && strrchr(line, ':'))
		port = (uint16_t)atoi(strrchr(line, ':') + 1);
	if (port && measure(port, FEW, why) > 0) {
		few_kb = least_kb = most_kb = resident(pid);
		begin = now_s();
		for (sent = FEW; sent < many; sent += FEW) {
			if (measure(port, FEW, why) < 0)
				break;
			many_kb = resident(pid);
			least_kb = many_kb < least_kb ? many_kb : least_kb;
			most_kb = many_kb > most_kb ? many_kb : most_kb;
		}
		rate = sent < many ? -1 : (double)(many - FEW) / (now_s() - begin);
	}
	if (pid > 0) {
		kill(pid, SIGTERM);
		(void)child_wait(pid, 30000, NULL, &err);
	}
	if (out >= 0)
		close(out);
	if (rate < 0 || !few_kb || !many_kb) {
		fprintf(
		    stderr, "bench_gateway: `tritone gateway`: %s%s%s\n", why, *why && *err.text ? "; " : "", err.text);
		return 1;
	}
	printf("gateway: %.1f MiB resident after %d requests, %.1f after %d: ratio %.2f; %.1f to %.1f at every %d "
	       "(%.0f requests/s, each with its two lines)\n",
	    (double)few_kb / 1024, FEW, (double)many_kb / 1024, many, (double)many_kb / (double)few_kb,
	    (double)least_kb / 1024, (double)most_kb / 1024, FEW, rate);
	return 0;
}

int main(int argc, char **argv)
{
	const int rounds = argc == 2 && strcmp(argv[1], "--quick") == 0 ? 1 : ROUNDS;
	struct gateway_options options = {.seed = 1, .providers = {"claude"}, .task_header = "X-Task-Id"};
	static char plain[PLAIN];
	char why[WHY_SIZE];
	double rates[2][ROUNDS], rate, plain_rate;
	struct MHD_Response *response;
	struct MHD_Daemon *peer;
	struct gateway *gateway;
	struct error err = {0};
	uint16_t ports[2];
	int i, r = 1;

	if (argc > 1 && rounds == ROUNDS) {
		fputs("usage: bench_gateway [--quick]\n", stderr);
		return 2;
	}
	memset(plain, 'x', sizeof plain);
	response = MHD_create_response_from_buffer(sizeof plain, plain, MHD_RESPMEM_PERSISTENT);
	peer = MHD_start_daemon(MHD_USE_POLL_INTERNAL_THREAD, 0, NULL, NULL, hello, response, MHD_OPTION_END);
	if (!peer || history_create(&options.history, NULL, &err) < 0 || gateway_create(&gateway, &options, &err) < 0) {
		fprintf(stderr, "bench_gateway: %s\n", peer ? err.text : "the peer cannot start");
		return 1;
	}
	ports[0] = MHD_get_daemon_info(peer, MHD_DAEMON_INFO_BIND_PORT)->port;
	ports[1] = (uint16_t)atoi(strrchr(gateway_url(gateway), ':') + 1);
	for (i = 0; i < rounds * 2; i++) {
		rates[i % 2][i / 2] = measure(ports[i % 2], THREADS * REQUESTS, why);
		if (rates[i % 2][i / 2] < 0) {
			fprintf(stderr, "bench_gateway: %s, round %d: %s\n", i % 2 ? "the gateway" : "the peer", i / 2,
			    why);
			goto end;
		}
	}
	plain_rate = median(rates[0], (size_t)rounds);
	rate = median(rates[1], (size_t)rounds);
	printf(
	    "gateway: %.0f requests/s with the history kept, %.0f with a fixed answer from libmicrohttpd: ratio %.2f "
	    "(%d connections, median of %d)\n",
	    rate, plain_rate, rate / plain_rate, THREADS * CONNECTIONS, rounds);
	r = memory(rounds == 1 ? 3 * FEW : MANY);
end:
	gateway_destroy(gateway);
	history_destroy(options.history);
	MHD_stop_daemon(peer);
	MHD_destroy_response(response);
	return r;
}
