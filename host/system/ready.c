/* SPDX-License-Identifier: Apache-2.0 */
/* The conditions of readiness, asked one after the other; one that has held once is not asked again for this start. */
#include "system/ready.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "system/commands.h"
#include "system/tail.h"
#include "system/variables.h"
#include "system/watch.h"

#define HTTP_TRY_MS    2000 /* how long one answer may take */
#define COMMAND_TRY_MS 10000
#define PORT_TRY_MS    50
#define OUTPUT_PIECE   65536u
#define ASK_EVERY_MS   5

enum condition { BY_FILE, BY_PORT, BY_OUTPUT, BY_HTTP, BY_COMMAND, CONDITIONS };

struct ready {
	struct ready_options options;
	char *http, *file, *port, *output, *log, **command;
	bool held[CONDITIONS];
	off_t from; /* in the log */
};

static int expand(char **ret, const char *text, const struct ready_options *options, struct error *err)
{
	return text ? spec_expand(ret, text, options->lookup, options->lookup_arg, err) : 0;
}

int ready_create(struct ready **ret_ready, const struct ready_options *options, struct error *err)
{
	const struct spec_process *spec = options->process;
	struct ready *ready = calloc(1, sizeof *ready);

	if (!ready)
		return error_set(err, ENOMEM, "no memory for when it is ready");
	ready->options = *options;
	ready->log = strdup(options->log);
	if (!ready->log) {
		error_set(err, ENOMEM, "no memory for when it is ready");
		goto failed;
	}
	if (expand(&ready->http, spec->ready.http, options, err) != 0 ||
	    expand(&ready->file, spec->ready.file, options, err) != 0 ||
	    expand(&ready->port, spec->ready.port, options, err) != 0 ||
	    expand(&ready->output, spec->ready.output, options, err) != 0)
		goto failed;
	if (spec->ready.command.count && variables_expand_all(&ready->command, &spec->ready.command, NULL,
					     options->lookup, options->lookup_arg, err) != 0)
		goto failed;
	if (ready->port && (strtol(ready->port, NULL, 10) < 1 || strtol(ready->port, NULL, 10) > 65535)) {
		error_set(err, EINVAL, "'%s' is no TCP port", ready->port);
		goto failed;
	}
	*ret_ready = ready;
	return 0;
failed:
	ready_destroy(ready);
	return -1;
}

void ready_destroy(struct ready *ready)
{
	if (!ready)
		return;
	free(ready->http);
	free(ready->file);
	free(ready->port);
	free(ready->output);
	free(ready->log);
	strings_free(ready->command);
	free(ready);
}

void ready_begin(struct ready *ready)
{
	struct stat st;

	memset(ready->held, 0, sizeof ready->held);
	ready->from = stat(ready->log, &st) == 0 ? st.st_size : 0;
}

enum ready_port ready_port(uint16_t port)
{
	struct sockaddr_in address = {
	    .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc;
	struct pollfd wait = {.fd = fd, .events = POLLOUT};
	int code = 0;
	socklen_t size = sizeof code;

	if (fd < 0)
		return READY_PORT_FREE;
	rc = connect(fd, (const struct sockaddr *)&address, sizeof address);
	/* On this machine it is at once, unless those who wait there already are as many as may wait. */
	if (rc != 0 && (errno == EINPROGRESS || errno == EINTR)) {
		rc = poll(&wait, 1, PORT_TRY_MS) > 0 ? getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size) : 1;
		rc = code ? -1 : rc;
	}
	close(fd);
	return rc == 0 ? READY_PORT_OPEN : rc > 0 ? READY_PORT_BUSY : READY_PORT_FREE;
}

/* Is the text in what was written since the start? What cannot be the beginning of it is not read again. */
static bool said(struct ready *ready)
{
	size_t length = strlen(ready->output), used = 0;
	int fd = open(ready->log, O_RDONLY | O_CLOEXEC);
	char *piece = malloc(OUTPUT_PIECE + length);
	bool found = false;

	while (fd >= 0 && piece && !found) {
		ssize_t got = pread(fd, piece + used, OUTPUT_PIECE, ready->from);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		used += (size_t)got;
		ready->from += got;
		found = memmem(piece, used, ready->output, length) != NULL;
		if (used >= length && length > 0) {
			memmove(piece, piece + used - (length - 1), length - 1);
			used = length - 1;
		}
	}
	ready->from -= (off_t)used; /* the end may be the first half of it */
	free(piece);
	if (fd >= 0)
		close(fd);
	return found;
}

static bool answers(const struct ready *ready, int64_t left_ms)
{
	struct http_reply reply;
	bool well;

	if (http_do(ready->options.http,
		&(struct http_request){.url = ready->http, .timeout_ms = left_ms < HTTP_TRY_MS ? left_ms : HTTP_TRY_MS},
		&reply, NULL) != 0)
		return false;
	well = reply.status >= 200 && reply.status < 300;
	free(reply.body);
	return well;
}

static bool succeeds(const struct ready *ready, int64_t left_ms)
{
	int status = 0;

	return exits_run(ready->options.exits, ready->options.keeper,
		   &(struct command){.name = "ready",
		       .argv = ready->command,
		       .environment = ready->options.environment,
		       .directory = ready->options.directory,
		       .timeout_ms = left_ms < COMMAND_TRY_MS ? left_ms : COMMAND_TRY_MS,
		       .interrupt_fd = ready->options.interrupt_fd},
		   &status, NULL) == 0 &&
	       WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool asked(const struct ready *ready, enum condition condition)
{
	const void *const there[CONDITIONS] = {ready->file, ready->port, ready->output, ready->http, ready->command};

	return there[condition] != NULL;
}

static bool holds(struct ready *ready, enum condition condition, int64_t left_ms)
{
	switch (condition) {
	case BY_FILE:
		return access(ready->file, F_OK) == 0;
	case BY_PORT:
		return ready_port((uint16_t)strtol(ready->port, NULL, 10)) == READY_PORT_OPEN;
	case BY_OUTPUT:
		return said(ready);
	case BY_HTTP:
		return answers(ready, left_ms);
	case BY_COMMAND:
		return succeeds(ready, left_ms);
	case CONDITIONS:
		break;
	}
	return true;
}

static bool all_hold(struct ready *ready, int64_t left_ms)
{
	for (unsigned i = 0; i < CONDITIONS; i++) {
		if (!asked(ready, (enum condition)i) || ready->held[i])
			continue;
		ready->held[i] = holds(ready, (enum condition)i, left_ms);
		if (!ready->held[i])
			return false;
	}
	return true;
}

/* The first that does not hold, for people: "there is no file /x/y". */
static void lacks(const struct ready *ready, char *ret, size_t size)
{
	static const char *const words[CONDITIONS] = {[BY_FILE] = "there is no file ",
	    [BY_PORT] = "nobody takes connections at port ",
	    [BY_OUTPUT] = "its output lacks ",
	    [BY_HTTP] = "no 2xx from ",
	    [BY_COMMAND] = "no exit status 0 of "};
	const char *const what[CONDITIONS] = {
	    ready->file, ready->port, ready->output, ready->http, ready->command ? ready->command[0] : NULL};

	ret[0] = '\0';
	for (unsigned i = 0; i < CONDITIONS; i++) {
		if (!what[i] || ready->held[i])
			continue;
		snprintf(ret, size, "%s%s", words[i], what[i]);
		return;
	}
}

static int late(const struct ready *ready, int64_t limit_ms, struct error *err)
{
	char what[160], words[192];

	lacks(ready, what, sizeof what);
	tail_said(ready->log, words, sizeof words);
	return error_set(err, ETIMEDOUT, "process %s: not ready within %" PRId64 " ms: %s%s",
	    ready->options.process->name, limit_ms, what, words);
}

int ready_await(struct ready *ready, int wake, bool (*alive)(void *arg), void *arg, struct error *err)
{
	const struct ready_options *options = &ready->options;
	int64_t limit = options->process->ready.timeout_ms > 0 ? options->process->ready.timeout_ms : 10000;
	int64_t deadline = clock_ms() + limit;
	/* A file tells by appearing. Nothing tells when a port is listened at: it has to be asked. */
	bool only_file = ready->file && !ready->port && !ready->output && !ready->http && !ready->command;
	struct watch *watch = NULL;
	int result = -1;

	if (only_file && (watch_create(&watch, err) != 0 || watch_beside(watch, ready->file, NULL, NULL, err) != 0))
		goto out;
	for (;;) {
		struct pollfd fds[3] = {{.fd = wake, .events = POLLIN},
		    {.fd = options->interrupt_fd > 0 ? options->interrupt_fd : -1, .events = POLLIN},
		    {.fd = watch ? watch_fd(watch) : -1, .events = POLLIN}};
		int64_t left = deadline - clock_ms();

		if (!alive(arg)) {
			result = 0;
			break;
		}
		if (command_interrupted(options->interrupt_fd, 0)) {
			error_set(
			    err, ECANCELED, "process %s: interrupted before it was ready", options->process->name);
			break;
		}
		if (left <= 0) {
			late(ready, limit, err);
			break;
		}
		if (watch)
			watch_dispatch(watch, NULL);
		if (all_hold(ready, left)) {
			result = 1;
			break;
		}
		poll(fds, 3, !only_file ? ASK_EVERY_MS : left > 1000 ? 1000 : (int)left);
	}
out:
	watch_destroy(watch);
	return result;
}
