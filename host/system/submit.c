/* SPDX-License-Identifier: Apache-2.0 */
/* Hands tasks in, and records what became of the handing in: accepted, refused, or unknown. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "system/private.h"
#include "wire/fd.h"

#define FIELDS     5
#define REASON_MAX 159

/* The variables of one submission; in its body they are escaped for a JSON string. */
struct form {
	struct system *system;
	const char *names[FIELDS];
	const char *values[FIELDS];
};

static const char *form_lookup(void *arg, const char *name)
{
	struct form *form = arg;

	for (size_t i = 0; i < FIELDS; i++)
		if (!strcmp(form->names[i], name))
			return form->values[i];
	return system_lookup(form->system, name);
}

/* As it stands between the quotes of a JSON string. NULL: no memory, or not UTF-8. */
static char *escape(const char *text)
{
	json_t *value = json_string(text ? text : "");
	char *quoted = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;

	json_decref(value);
	if (!quoted)
		return NULL;
	quoted[strlen(quoted) - 1] = '\0';
	memmove(quoted, quoted + 1, strlen(quoted));
	return quoted;
}

struct parts {
	char *url, *body, **headers, **command, *file, *accepted;
};

static void parts_finish(struct parts *parts)
{
	free(parts->url);
	free(parts->body);
	free(parts->file);
	free(parts->accepted);
	strings_free(parts->headers);
	strings_free(parts->command);
}

static int expand_headers(char ***ret, const struct spec_pairs *pairs, struct form *form, struct error *err)
{
	char **headers = calloc(pairs->count + 1, sizeof *headers);

	if (!headers)
		return error_set(err, ENOMEM, "no memory for headers");
	for (size_t i = 0; i < pairs->count; i++) {
		char *value;
		int size;

		if (spec_expand(&value, pairs->items[i].value, form_lookup, form, err) != 0) {
			strings_free(headers);
			return -1;
		}
		size = asprintf(&headers[i], "%s: %s", pairs->items[i].name, value);
		free(value);
		if (size < 0) {
			headers[i] = NULL;
			strings_free(headers);
			return error_set(err, ENOMEM, "no memory for headers");
		}
	}
	*ret = headers;
	return 0;
}

static int expand_text(char **ret, const char *text, struct form *form, struct error *err)
{
	return text ? spec_expand(ret, text, form_lookup, form, err) : 0;
}

static int fill(struct system *system, const struct system_task *task, struct parts *parts, struct error *err)
{
	const char *raw[FIELDS] = {task->task, task->key, task->role, task->prompt, task->after};
	struct form plain = {.system = system, .names = {"task", "key", "role", "prompt", "after"}};
	struct form escaped = plain;
	const struct spec_manifest *m = system->manifest;
	char *copies[FIELDS] = {NULL};
	int result = -1;

	for (size_t i = 0; i < FIELDS; i++) {
		bool is_json = i == FIELDS - 1; /* `after` is an array already */

		plain.values[i] = raw[i] ? raw[i] : is_json ? "[]" : "";
		copies[i] = is_json ? strdup(plain.values[i]) : escape(raw[i]);
		escaped.values[i] = copies[i];
		if (!copies[i]) {
			error_set(err, EINVAL, "task %s: cannot be written as JSON", task->task);
			goto out;
		}
	}
	if (expand_text(&parts->url, m->submit.url, &plain, err) != 0 ||
	    expand_text(&parts->body, m->submit.body, &escaped, err) != 0 ||
	    expand_text(&parts->file, m->submit.file, &plain, err) != 0 ||
	    expand_text(&parts->accepted, m->submit.accepted_file, &plain, err) != 0 ||
	    expand_headers(&parts->headers, &m->submit.headers, &plain, err) != 0 ||
	    variables_expand_all(&parts->command, &m->submit.command, NULL, form_lookup, &plain, err) != 0)
		goto out;
	result = 0;
out:
	for (size_t i = 0; i < FIELDS; i++)
		free(copies[i]);
	return result;
}

/* The reason of a refusal, as far as it fits on one line. */
static void first_line(const char *body, char *ret, size_t size)
{
	size_t length = strcspn(body, "\r\n");

	snprintf(ret, size, "%.*s", length < REASON_MAX ? (int)length : REASON_MAX, body);
}

/* ---- the three ways ---- */

/* Each fills op's type, and its detail where it is not accepted. */
static void by_http(struct system *system, const struct parts *parts, struct op *op, char *text, size_t size)
{
	const struct spec_manifest *m = system->manifest;
	struct http_reply reply = {0, NULL, 0};
	struct error error;

	if (http_do(system->http,
		&(struct http_request){.method = m->submit.method ? m->submit.method : "POST",
		    .url = parts->url,
		    .body = parts->body,
		    .headers = (const char *const *)parts->headers,
		    .timeout_ms = m->submit.timeout_ms},
		&reply, &error) != 0) {
		snprintf(text, size, "%s", error.text);
		return;
	}
	op->status = reply.status;
	first_line(reply.body, text, size);
	if (reply.status >= 200 && reply.status < 300)
		op->type = OP_OK;
	else if (reply.status >= 400 && reply.status < 600)
		op->type = OP_FAIL;
	free(reply.body);
}

static void by_command(struct system *system, const struct parts *parts, struct op *op, char *text, size_t size)
{
	const struct spec_manifest *m = system->manifest;
	char **environment = NULL;
	struct error error;
	int status = 0;

	if (variables_environment(&environment, m, &m->processes[m->main_process].environment, NULL, system_lookup,
		system, &error) != 0) {
		op->type = OP_FAIL;
		snprintf(text, size, "%s", error.text);
	} else if (exits_run(system->exits, system->keeper,
		       &(struct command){.name = "submit",
			   .argv = parts->command,
			   .environment = environment,
			   .directory = system->state_dir,
			   .timeout_ms = m->submit.timeout_ms,
			   .interrupt_fd = system->interrupt_fd},
		       &status, &error) != 0) {
		snprintf(text, size, "%s", error.text);
	} else {
		command_status(status, text, size);
		if (WIFEXITED(status))
			op->type = WEXITSTATUS(status) == 0 ? OP_OK : OP_FAIL;
		op->status = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
	}
	strings_free(environment);
}

/* Written beside it under a name with a dot in front, and renamed: nobody sees half of it. */
static void by_file(const struct parts *parts, struct op *op, char *text, size_t size)
{
	char half[PATH_MAX];
	const char *slash = strrchr(parts->file, '/');
	int fd = -1, written = -1;

	if (!slash || snprintf(half, sizeof half, "%.*s/.%s.part", (int)(slash - parts->file), parts->file,
			  slash + 1) >= (int)sizeof half) {
		errno = slash ? ENAMETOOLONG : EINVAL;
	} else if ((fd = open(half, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) >= 0) {
		written = fd_write_all(fd, parts->body, strlen(parts->body));
		if (close(fd) != 0)
			written = -1;
		if (written == 0)
			written = rename(half, parts->file);
	}
	if (written == 0) {
		op->type = OP_OK;
		return;
	}
	op->type = OP_FAIL; /* it is not there under its name */
	snprintf(text, size, "%.100s: %s", parts->file, strerror(errno));
	if (fd >= 0)
		unlink(half);
}

static bool shows(const struct system *system, const struct parts *parts)
{
	if (parts->accepted && access(parts->accepted, F_OK) != 0)
		return false;
	return !system->manifest->submit.taken || access(parts->file, F_OK) != 0;
}

/* Until it shows that the task was accepted: woken by the directory, looked at anew. 0, or -1 when it does not in time. */
static int await_accepted(struct system *system, const struct parts *parts, char *text, size_t size)
{
	struct watch *watch = NULL;
	struct error error;
	struct timespec now, end;
	int64_t left_ms = system->manifest->submit.timeout_ms;
	int result = -1;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += left_ms / 1000 + 1;
	if (watch_create(&watch, &error) != 0 ||
	    watch_beside(watch, parts->accepted ? parts->accepted : parts->file, NULL, NULL, &error) != 0) {
		snprintf(text, size, "%s", error.text);
		goto out;
	}
	while (!shows(system, parts)) {
		struct pollfd fds[2] = {{.fd = watch_fd(watch), .events = POLLIN},
		    {.fd = system->interrupt_fd > 0 ? system->interrupt_fd : -1, .events = POLLIN}};

		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec >= end.tv_sec || poll(&fds[1], 1, 0) > 0) {
			snprintf(text, size, "it did not show that it was accepted within %" PRId64 " ms", left_ms);
			goto out;
		}
		poll(fds, 2, 200);
		watch_dispatch(watch, NULL);
	}
	result = 0;
out:
	watch_destroy(watch);
	return result;
}

static void hand_in(struct system *system, const struct parts *parts, struct op *op, char *text, size_t size)
{
	const struct spec_manifest *m = system->manifest;

	if (m->submit.url)
		by_http(system, parts, op, text, size);
	else if (m->submit.command.count)
		by_command(system, parts, op, text, size);
	else
		by_file(parts, op, text, size);
	if (op->type == OP_OK && (m->submit.accepted_file || m->submit.taken) &&
	    await_accepted(system, parts, text, size) != 0)
		op->type = OP_INFO;
}

/* So that it can be asked what became of each. */
static void remember(struct system *system, const char *task)
{
	char **more;
	size_t i;

	pthread_mutex_lock(&system->lock);
	for (i = 0; i < system->task_count && strcmp(system->tasks[i], task) != 0; i++)
		;
	if (i == system->task_count && (more = realloc(system->tasks, (i + 1) * sizeof *more)) != NULL) {
		system->tasks = more;
		if ((system->tasks[i] = strdup(task)) != NULL)
			system->task_count++;
	}
	pthread_mutex_unlock(&system->lock);
}

int system_submit(struct system *system, const struct system_task *task)
{
	struct parts parts = {0};
	struct error error = {0};
	struct op op = {.kind = OP_SUBMIT, .type = OP_INFO, .pair = OP_NONE};
	char text[sizeof error.text] = "";
	/* What it comes after, when the system is told of it. */
	const char *body = system->manifest->submit.body;
	const char *graph = body && strstr(body, "${after}") ? task->after : NULL;
	uint64_t invoke;

	remember(system, task->task);
	invoke = history_append(system->history, &(struct op){.kind = OP_SUBMIT,
						     .type = OP_INVOKE,
						     .pair = OP_NONE,
						     .task = task->task,
						     .key = task->key,
						     .actor = task->role,
						     .detail = graph});
	if (fill(system, task, &parts, &error) == 0) {
		hand_in(system, &parts, &op, text, sizeof text);
	} else {
		op.type = OP_FAIL; /* nothing has left us */
		snprintf(text, sizeof text, "%s", error.text);
	}
	op.detail = op.type == OP_OK ? NULL : text;
	op.pair = invoke;
	history_complete(system->history, invoke, &op);
	parts_finish(&parts);
	return op.type == OP_OK ? 0 : op.type == OP_FAIL ? 1 : 2;
}
