/* SPDX-License-Identifier: Apache-2.0 */
/* A gateway and a client of it; see gateway_room.h. */
#include "gateway_room.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct gateway_options usual_options(struct history *history)
{
	return (struct gateway_options){.history = history,
	    .seed = 7,
	    .providers = {"claude", "codex"},
	    .sinks = {"notify"},
	    .task_header = "X-Task-Id",
	    .attempt_header = "X-Attempt",
	    .sink_task = "task",
	    .sink_key = "key"};
}

int setup(void **state)
{
	struct world *world = calloc(1, sizeof *world);
	struct gateway_options options;
	struct error err = {0};

	if (!world || history_create(&world->history, NULL, &err) < 0)
		return -1;
	options = usual_options(world->history);
	if (gateway_create(&world->gateway, &options, &err) < 0) {
		print_error("%s\n", err.text);
		return -1;
	}
	*state = world;
	return 0;
}

int teardown(void **state)
{
	struct world *world = *state;

	gateway_destroy(world->gateway);
	history_destroy(world->history);
	free(world);
	return 0;
}

size_t call_body(char *bytes, size_t one, size_t count, void *arg)
{
	struct call *call = arg;

	(void)one;
	if (count > sizeof call->answer - 1 - call->size)
		return 0;
	memcpy(call->answer + call->size, bytes, count);
	call->size += count;
	call->answer[call->size] = '\0';
	return count;
}

static size_t on_header(char *bytes, size_t one, size_t count, void *arg)
{
	struct call *call = arg;
	const size_t room = sizeof call->answer_headers - 1 - call->header_size, taken = count < room ? count : room;
	static const char name[] = "retry-after: ";

	(void)one;
	memcpy(call->answer_headers + call->header_size, bytes, taken);
	call->header_size += taken;
	if (count > sizeof name && !strncasecmp(bytes, name, sizeof name - 1))
		snprintf(call->retry_after, sizeof call->retry_after, "%.*s", (int)(count - sizeof name - 1),
		    bytes + sizeof name - 1);
	return count;
}

struct call *call_new(struct world *world, const char *path, const char *headers, const char *body)
{
	struct call *call = calloc(1, sizeof *call);

	assert_non_null(call);
	snprintf(call->url, sizeof call->url, "%s%s", gateway_url(world->gateway), path);
	snprintf(call->headers, sizeof call->headers, "%s", headers);
	snprintf(call->body, sizeof call->body, "%s", body);
	return call;
}

void *call_run(void *arg)
{
	struct call *call = arg;
	struct curl_slist *list = NULL;
	CURL *curl = curl_easy_init();
	char headers[sizeof call->headers], *line, *rest = headers;

	memcpy(headers, call->headers, sizeof headers);
	while ((line = strsep(&rest, "\n")))
		if (*line)
			list = curl_slist_append(list, line);
	curl_easy_setopt(curl, CURLOPT_URL, call->url);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	if (*call->body)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call->body);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, call_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, call);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, call);
	call->code = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &call->status);
	curl_slist_free_all(list);
	curl_easy_cleanup(curl);
	return NULL;
}

struct call *request(struct world *world, const char *path, const char *headers, const char *body)
{
	struct call *call = call_new(world, path, headers, body);

	call_run(call);
	return call;
}

long status_of(struct world *world, const char *path, const char *body)
{
	struct call *call = request(world, path, "X-Task-Id: t-1\nX-Attempt: 1\nX-Step: 1", body);
	long status = call->code == CURLE_OK ? call->status : -(long)call->code;

	free(call);
	return status;
}

const char *header_of(const struct call *call, const char *name)
{
	static _Thread_local char value[256];
	char line[80];
	const char *at;

	snprintf(line, sizeof line, "\r\n%s: ", name);
	at = strcasestr(call->answer_headers, line);
	if (!at)
		return "";
	at += strlen(line);
	snprintf(value, sizeof value, "%.*s", (int)strcspn(at, "\r"), at);
	return value;
}

struct wanted {
	enum op_kind kind;
	enum op_type type;
	uint64_t left; /* how many of them */
	struct op op;
};

static bool is_wanted(void *arg, const struct op *op)
{
	struct wanted *wanted = arg;

	if (op->kind != wanted->kind || op->type != wanted->type || --wanted->left)
		return false;
	wanted->op = *op; /* its strings stay where they are */
	return true;
}

/* Waits for the n-th such operation from `first` on. Its own limit is only there to fail instead of hanging. */
struct op wait_op(struct world *world, enum op_kind kind, enum op_type type, uint64_t n)
{
	struct wanted wanted = {.kind = kind, .type = type, .left = n};
	uint64_t index = 0;

	assert_int_equal(history_wait(world->history, 0, is_wanted, &wanted, 60000, &index), 1);
	return wanted.op;
}

struct tritone_gateway_rule rule_of(uint32_t action, const char *target)
{
	return (struct tritone_gateway_rule){.struct_size = sizeof(struct tritone_gateway_rule),
	    .action = action,
	    .key = "k",
	    .target = target,
	    .status = action == TRITONE_GATEWAY_ANSWER ? 429 : 0,
	    .retry_after_ms = -1};
}

void set(struct world *world, const struct tritone_gateway_rule *rule)
{
	struct error err = {0};

	if (gateway_rule_set(world->gateway, rule, &err) < 0)
		fail_msg("%s", err.text);
}

uint64_t hits_of(struct world *world, const char *key)
{
	uint64_t hits = 0;
	struct error err = {0};

	assert_int_equal(gateway_rule_hits(world->gateway, key, &hits, NULL, &err), 0);
	return hits;
}

void has(const char *text, const char *part)
{
	if (!strcasestr(text, part))
		fail_msg("no %s in: %s", part, text);
}

void has_not(const char *text, const char *part)
{
	if (strcasestr(text, part))
		fail_msg("%s in: %s", part, text);
}

size_t count_of(const char *text, const char *part)
{
	size_t n = 0;

	for (; (text = strstr(text, part)); text++)
		n++;
	return n;
}

void read_to(struct reader *reader, const char *part)
{
	while (!strstr(reader->text, part)) {
		ssize_t n = read(reader->fd, reader->text + reader->size, sizeof reader->text - 1 - reader->size);

		assert_true(n > 0);
		reader->size += (size_t)n;
	}
}

void room_begin(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

int room_end(int failed)
{
	curl_global_cleanup();
	return failed;
}
