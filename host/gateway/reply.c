/* SPDX-License-Identifier: Apache-2.0 */
/* The providers' replies; see gateway_reply.h. */
#include "gateway/gateway_reply.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define PATH_SIZE    320
#define CONTENT_SIZE 4096
#define CREATED      1700000000 /* a fixed time: replies are the same whenever they are asked for */

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Takes `object`. */
static struct reply encode(int status, json_t *object, int64_t tokens)
{
	struct reply reply = {.status = status, .tokens = tokens};

	if (object)
		reply.body = json_dumps(object, JSON_COMPACT);
	if (reply.body)
		reply.size = strlen(reply.body);
	json_decref(object);
	return reply;
}

void reply_seconds(int64_t ms, char text[REPLY_SECONDS_SIZE])
{
	size_t n = (size_t)snprintf(text, REPLY_SECONDS_SIZE, "%" PRId64 ".%03d", ms / 1000, (int)(ms % 1000));

	while (n && text[n - 1] == '0')
		text[--n] = '\0';
	if (n && text[n - 1] == '.')
		text[--n] = '\0';
}

/* ---- the built-in plan ---- */

/* A task's file. Ids come from the system under test: what could leave work/ becomes '_'. */
static void task_path(const char *task, size_t task_size, char path[PATH_SIZE])
{
	size_t i, n;

	n = (size_t)snprintf(path, PATH_SIZE, "work/");
	for (i = 0; i < task_size && n < PATH_SIZE - 4; i++, n++) {
		bool plain = (task[i] >= 'a' && task[i] <= 'z') || (task[i] >= 'A' && task[i] <= 'Z') ||
			     (task[i] >= '0' && task[i] <= '9') || task[i] == '-' || task[i] == '_' ||
			     (task[i] == '.' && i);

		path[n] = plain ? task[i] : '_';
	}
	memcpy(path + n, ".md", sizeof ".md");
}

static void write_content(uint64_t seed, const struct reply_request *request, char content[CONTENT_SIZE])
{
	static const char *const words[] = {"agent", "ledger", "branch", "merge", "review", "module", "contract",
	    "queue", "retry", "lease", "token", "commit", "cascade", "budget", "window", "record"};
	uint64_t state = XXH3_64bits_withSeed(request->task, strlen(request->task), seed);
	size_t lines, words_left, n;

	n = (size_t)snprintf(content, CONTENT_SIZE, "# %.200s\n\nrole: %.200s\nafter: %.1000s\n\n", request->task,
	    *request->role ? request->role : "-", *request->after ? request->after : "-");
	for (lines = 3 + next_random(&state) % 6; lines; lines--)
		for (words_left = 6 + next_random(&state) % 5; words_left && n < CONTENT_SIZE - 16; words_left--)
			n += (size_t)snprintf(content + n, CONTENT_SIZE - n, "%s%s", words[next_random(&state) % 16],
			    words_left > 1 ? " " : "\n");
}

static bool offers(const json_t *body, const char *tool)
{
	const json_t *tools = json_object_get(body, "tools"), *item;
	size_t i;

	json_array_foreach(tools, i, item)
	{
		const char *name = json_string_value(json_object_get(json_object_get(item, "function"), "name"));

		if (name && !strcmp(name, tool))
			return true;
	}
	return false;
}

int64_t reply_step(const struct reply_request *request)
{
	const json_t *messages = json_object_get(request->body, "messages"), *message;
	int64_t step = 1;
	size_t i;

	if (request->step > 0)
		return request->step;
	json_array_foreach(messages, i, message)
	{
		const char *role = json_string_value(json_object_get(message, "role"));

		if (role && !strcmp(role, "assistant"))
			step++;
	}
	return step;
}

/* The tool call of a step, or NULL when there is none. */
static json_t *plan_arguments(uint64_t seed, const struct reply_request *request, int64_t step, const char **ret_tool)
{
	static const char *const tools[] = {"read_file", "write_file", "run_check"};
	char path[PATH_SIZE], content[CONTENT_SIZE];
	json_t *arguments;

	if (step > 3 || (request->step <= 0 && !offers(request->body, tools[step - 1])))
		return NULL;
	*ret_tool = tools[step - 1];
	if (step == 1 && *request->after)
		task_path(request->after, strcspn(request->after, ", "), path);
	else if (step == 1)
		memcpy(path, "README.md", sizeof "README.md");
	else
		task_path(request->task, strlen(request->task), path);
	if (step != 2)
		return json_pack("{s:s}", "path", path);
	write_content(seed, request, content);
	arguments = json_pack("{s:s, s:s}", "path", path, "content", content);
	/* Not UTF-8: jansson refuses it, and so would a provider's JSON. */
	return arguments ? arguments : json_pack("{s:s, s:s}", "path", path, "content", "# (id is not UTF-8)\n");
}

static json_t *plan_message(
    uint64_t seed, const struct reply_request *request, int64_t step, const char *id, const char **ret_finish)
{
	const char *tool = NULL;
	json_t *arguments = plan_arguments(seed, request, step, &tool);
	char *text = arguments ? json_dumps(arguments, JSON_COMPACT) : NULL;
	json_t *message;

	if (tool) {
		*ret_finish = "tool_calls";
		message = json_pack("{s:s, s:n, s:[{s:s+, s:s, s:{s:s, s:s}}]}", "role", "assistant", "content",
		    "tool_calls", "id", "call_", id, "type", "function", "function", "name", tool, "arguments",
		    text ? text : "{}");
	} else {
		*ret_finish = "stop";
		message = json_pack("{s:s, s:s}", "role", "assistant", "content", "done");
	}
	free(text);
	json_decref(arguments);
	return message;
}

void reply_id(uint64_t seed, const struct reply_request *request, char id[REPLY_ID_SIZE])
{
	char text[640];

	snprintf(text, sizeof text, "%.200s/%.200s/%.200s/%" PRId64, request->provider, request->model, request->task,
	    reply_step(request));
	snprintf(id, REPLY_ID_SIZE, "%016" PRIx64, (uint64_t)XXH3_64bits_withSeed(text, strlen(text), seed));
}

struct reply reply_completion(uint64_t seed, const struct reply_request *request, json_t *message, const char *finish)
{
	int64_t prompt = (int64_t)(request->body_size + 3) / 4, completion;
	char id[REPLY_ID_SIZE], fingerprint[24];
	json_t *object;

	reply_id(seed, request, id);
	snprintf(fingerprint, sizeof fingerprint, "fp_%010" PRIx64, seed & UINT64_C(0xffffffffff));
	completion = (int64_t)(json_dumpb(message, NULL, 0, JSON_COMPACT) + 3) / 4;
	object = json_pack("{s:s+, s:s, s:I, s:s, s:[{s:i, s:o, s:n, s:s}], s:{s:I, s:I, s:I}, s:s}", "id", "chatcmpl-",
	    id, "object", "chat.completion", "created", (json_int_t)(CREATED + reply_step(request)), "model",
	    request->model, "choices", "index", 0, "message", message, "logprobs", "finish_reason", finish, "usage",
	    "prompt_tokens", (json_int_t)prompt, "completion_tokens", (json_int_t)completion, "total_tokens",
	    (json_int_t)(prompt + completion), "system_fingerprint", fingerprint);
	return encode(200, object, prompt + completion);
}

struct reply reply_chat(uint64_t seed, const struct reply_request *request)
{
	const char *finish = "stop";
	char id[REPLY_ID_SIZE];
	json_t *message;

	reply_id(seed, request, id);
	message = plan_message(seed, request, reply_step(request), id, &finish);
	return reply_completion(seed, request, message, finish);
}

/* ---- the rest ---- */

struct reply reply_models(const char *provider)
{
	static const struct {
		const char *provider, *model;
	} known[] = {
	    {"claude", "opus"}, {"claude", "sonnet"}, {"codex", "codex"}, {"gemini", "gemini"}, {"qwen", "qwen"}};
	json_t *data = json_array();
	size_t i;

	for (i = 0; i < sizeof known / sizeof known[0]; i++)
		if (!strcmp(known[i].provider, provider))
			json_array_append_new(data, json_pack("{s:s, s:s, s:i, s:s}", "id", known[i].model, "object",
							"model", "created", CREATED, "owned_by", provider));
	if (!json_array_size(data)) /* any other provider has the one model of its own name */
		json_array_append_new(data, json_pack("{s:s, s:s, s:i, s:s}", "id", provider, "object", "model",
						"created", CREATED, "owned_by", provider));
	return encode(200, json_pack("{s:s, s:o}", "object", "list", "data", data), 0);
}

/* `text` may quote what was sent, cut anywhere: bytes that are no UTF-8 are not answered with silence. */
static struct reply error_body(int status, const char *text, const char *type, const char *code)
{
	json_t *message = json_string(text);
	char plain[512];
	size_t i;

	if (!message) {
		snprintf(plain, sizeof plain, "%s", text);
		for (i = 0; plain[i]; i++)
			if ((unsigned char)plain[i] >= 0x80)
				plain[i] = '?';
		message = json_string(plain);
	}
	return encode(status,
	    json_pack("{s:{s:o, s:s, s:n, s:s?}}", "error", "message", message, "type", type, "param", "code", code),
	    0);
}

struct reply reply_refuse(int status, const char *code, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	return error_body(status, text, "invalid_request_error", code);
}

struct reply reply_error(int status, int64_t retry_after_ms, const char *model)
{
	char text[512], seconds[REPLY_SECONDS_SIZE];

	switch (status) {
	case 401:
		return error_body(status, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key");
	case 403:
		return error_body(
		    status, "You are not allowed to use this model.", "invalid_request_error", "forbidden");
	case 404:
		snprintf(
		    text, sizeof text, "The model `%.200s` does not exist or you do not have access to it.", model);
		return error_body(status, text, "invalid_request_error", "model_not_found");
	case 429:
		if (retry_after_ms >= 0) {
			reply_seconds(retry_after_ms, seconds);
			snprintf(text, sizeof text, "Rate limit reached for %.200s. Please try again in %ss.",
			    *model ? model : "requests", seconds);
		} else {
			snprintf(text, sizeof text, "Rate limit reached for %.200s.", *model ? model : "requests");
		}
		return error_body(status, text, "requests", "rate_limit_exceeded");
	case 503:
		return error_body(status, "The engine is currently overloaded, please try again later.", "server_error",
		    "overloaded");
	default:
		break;
	}
	if (status >= 500)
		return error_body(
		    status, "The server had an error while processing your request.", "server_error", NULL);
	snprintf(text, sizeof text, "The request was refused with status %d.", status);
	return error_body(status, text, "invalid_request_error", NULL);
}

struct reply reply_malformed(void)
{
	/* What a proxy in between typically answers with. */
	static const char text[] = "<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head>\n"
				   "<body><h1>upstream sent an invalid response</h1></body></html>\n";
	struct reply reply = {.status = 200, .body = strdup(text), .size = sizeof text - 1};

	return reply;
}

struct reply reply_sink_ok(void)
{
	return encode(200, json_pack("{s:b}", "ok", 1), 0);
}
