/* SPDX-License-Identifier: Apache-2.0 */
/* What `tritone gateway` says of each request and each answer: a line of JSON, until a signal ends it. */
#include "cli/gateway_log.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define KEEP      20000 /* operations that are remembered behind the last line */
#define READER_MS 1000  /* for a reader that does not read, at the end */

/* ---- the lines ---- */

static json_t *op_object(const struct op *op)
{
	json_t *line = json_pack("{s:f, s:s, s:s, s:I}", "time_s", (double)op->time_us / 1e6, "op",
	    op_kind_name(op->kind), "type", op_type_name(op->type), "index", (json_int_t)op->index);
	const char *actor = op->kind == OP_CALL ? "provider" : "sink", *key = op->kind == OP_CALL ? "model" : "key";

	if (op->pair != OP_NONE)
		json_object_set_new(line, "pair", json_integer((json_int_t)op->pair));
	json_object_set_new(line, actor, json_string(op->actor));
	if (*op->key)
		json_object_set_new(line, key, json_string(op->key));
	if (*op->task)
		json_object_set_new(line, "task", json_string(op->task));
	if (op->attempt)
		json_object_set_new(line, "attempt", json_integer(op->attempt));
	if (op->status)
		json_object_set_new(line, "status", json_integer(op->status));
	if (op->type == OP_OK && op->value)
		json_object_set_new(line, "tokens", json_integer(op->value));
	if (op->type == OP_FAIL && op->number >= 0)
		json_object_set_new(line, "retry_after_s", json_real(op->number));
	if (*op->detail)
		json_object_set_new(line, "detail", json_string(op->detail));
	return line;
}

bool gateway_lines_add(void *arg, const struct op *op)
{
	struct gateway_lines *lines = arg;
	size_t room = sizeof lines->bytes - lines->used, size;
	json_t *line = op_object(op);

	size = json_dumpb(line, lines->bytes + lines->used, room, JSON_COMPACT | JSON_REAL_PRECISION(12));
	json_decref(line);
	if (size >= room && lines->used) /* its line feed needs a place, too */
		return true;
	if (size < room) {
		lines->used += size;
		lines->bytes[lines->used++] = '\n';
	}
	lines->next = op->index + 1;
	return false;
}

static bool any(void *arg, const struct op *op)
{
	(void)arg;
	(void)op;
	return true;
}

/* Where lines go, and how long they are waited for. */
struct log {
	struct history *history;
	int fd, ended; /* ended: an event, once a signal has come */
};

/* As much as its reader takes; once the signal has come, a reader that takes nothing any more is waited for no longer. */
static int write_out(const struct log *log, const char *bytes, size_t size)
{
	while (size) {
		struct pollfd fds[2] = {{.fd = log->fd, .events = POLLOUT}, {.fd = log->ended, .events = POLLIN}};
		ssize_t n = 0;

		if (poll(fds, 2, -1) > 0 && !fds[0].revents && poll(fds, 1, READER_MS) == 0) {
			errno = ETIMEDOUT;
			return -1;
		}
		if (fds[0].revents) /* a pipe that has room has room for so much */
			n = write(log->fd, bytes, size < PIPE_BUF ? size : PIPE_BUF);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -1;
		bytes += n > 0 ? n : 0;
		size -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/*
 * Writes lines until the history is interrupted, and then what is left. The log's end (its reader has gone, its disk is full) is no reason to
 * stop answering, nor to remember all that was not written.
 */
static int write_lines(const struct log *log)
{
	struct gateway_lines *lines = calloc(1, sizeof *lines);
	bool more = true, lost = false;
	uint64_t index;

	if (!lines)
		return -1;
	while (more) {
		more = history_wait(log->history, lines->next, any, NULL, -1, &index) == 1;
		do {
			lines->used = 0;
			history_scan(log->history, lines->next, gateway_lines_add, lines);
			if (!lost && write_out(log, lines->bytes, lines->used) < 0) {
				lost = true;
				fprintf(stderr,
				    "tritone gateway: the log cannot be written any more: %s; going on without\n",
				    strerror(errno));
			}
			/* what is still waited for is among the last ones, or has waited for long */
			if (lines->next > KEEP)
				history_forget(log->history, lines->next - KEEP);
		} while (lines->used);
	}
	free(lines);
	return 0;
}

/* ---- the run ---- */

static void *await_signal(void *arg)
{
	const struct log *log = arg;
	sigset_t ends;
	int number;

	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	while (sigwait(&ends, &number) == EINTR)
		;
	if (log) {
		history_interrupt(log->history);
		while (eventfd_write(log->ended, 1) < 0 && errno == EINTR)
			;
	}
	return NULL;
}

int gateway_log(struct history *history, int fd)
{
	struct log log = {.history = history, .fd = fd};
	pthread_t thread;

	if (!history) {
		await_signal(NULL);
		return 0;
	}
	log.ended = eventfd(0, EFD_CLOEXEC);
	if (log.ended < 0)
		return -1;
	if (pthread_create(&thread, NULL, await_signal, &log)) {
		close(log.ended);
		return -1;
	}
	if (write_lines(&log) < 0)
		fprintf(stderr, "tritone gateway: no memory for the log; going on without\n");
	pthread_join(thread, NULL);
	close(log.ended);
	return 0;
}
