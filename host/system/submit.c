/* SPDX-License-Identifier: Apache-2.0 */
/* Hands tasks in, and records what became of the handing in: accepted, refused, or unknown. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "system/private.h"

#define FIELDS 5

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
	char *url, *body, **headers;
};

static void parts_finish(struct parts *parts)
{
	free(parts->url);
	free(parts->body);
	strings_free(parts->headers);
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

static int fill(struct system *system, const struct system_task *task, struct parts *parts, struct error *err)
{
	const char *raw[FIELDS] = {task->task, task->key, task->role, task->prompt, task->after};
	struct form plain = {.system = system, .names = {"task", "key", "role", "prompt", "after"}};
	struct form escaped = plain;
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
	if (spec_expand(&parts->url, system->manifest->submit.url, form_lookup, &plain, err) != 0 ||
	    expand_headers(&parts->headers, &system->manifest->submit.headers, &plain, err) != 0)
		goto out;
	if (system->manifest->submit.body &&
	    spec_expand(&parts->body, system->manifest->submit.body, form_lookup, &escaped, err) != 0)
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
	snprintf(ret, size, "%.*s", (int)strcspn(body, "\r\n"), body);
}

int system_submit(struct system *system, const struct system_task *task)
{
	struct parts parts = {NULL, NULL, NULL};
	struct http_reply reply = {0, NULL, 0};
	struct error error = {0};
	struct op op = {.kind = OP_SUBMIT, .type = OP_INFO, .pair = OP_NONE};
	char line[160];
	uint64_t invoke;
	bool sent;

	invoke = history_append(system->history, &(struct op){.kind = OP_SUBMIT,
						     .type = OP_INVOKE,
						     .pair = OP_NONE,
						     .task = task->task,
						     .key = task->key,
						     .actor = task->role});
	sent = fill(system, task, &parts, &error) == 0;
	if (!sent) {
		op.type = OP_FAIL; /* nothing has left us */
		op.detail = error.text;
	} else if (http_do(system->http,
		       &(struct http_request){
			   .method = system->manifest->submit.method ? system->manifest->submit.method : "POST",
			   .url = parts.url,
			   .body = parts.body,
			   .headers = (const char *const *)parts.headers,
			   .timeout_ms = system->manifest->submit.timeout_ms},
		       &reply, &error) != 0) {
		op.detail = error.text;
	} else {
		op.status = reply.status;
		first_line(reply.body, line, sizeof line);
		if (reply.status >= 200 && reply.status < 300)
			op.type = OP_OK;
		else if (reply.status >= 400 && reply.status < 600)
			op.type = OP_FAIL;
		op.detail = op.type == OP_OK ? NULL : line;
	}
	op.pair = invoke;
	history_complete(system->history, invoke, &op);
	free(reply.body);
	parts_finish(&parts);
	return op.type == OP_OK ? 0 : op.type == OP_FAIL ? 1 : 2;
}
