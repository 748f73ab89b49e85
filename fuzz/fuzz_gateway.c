/* SPDX-License-Identifier: Apache-2.0 */
/* What is sent to the gateway: the body of a call to a model in each protocol, and of a call to a sink; and a script, which a
 * person wrote. The answer must be JSON, or a stream of events of JSON, whatever was asked. */
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "gateway/internal.h"
#include "gateway/script.h"

static char task_name[] = "task", key_name[] = "key";

static void must_be_json(struct reply *reply)
{
	json_t *json;

	MUST(reply->body && reply->status >= 200 && reply->status < 600);
	json = json_loadb(reply->body, reply->size, 0, NULL);
	MUST(json_is_object(json));
	json_decref(json);
	reply_free(reply);
}

/* Each event ends where the reply says, and its data is JSON or OpenAI's "[DONE]". */
static void must_be_events(struct reply *reply)
{
	size_t from = 0, i;

	MUST(reply->status == 200 && reply->end_count && reply->ends[reply->end_count - 1] == reply->size);
	for (i = 0; i < reply->end_count; from = reply->ends[i++]) {
		const char *data = memmem(reply->body + from, reply->ends[i] - from, "data: ", 6);
		const char *end = reply->body + reply->ends[i] - 2;
		json_t *json;

		MUST(reply->ends[i] > from + 8 && !memcmp(end, "\n\n", 2) && data);
		data += 6;
		json = json_loadb(data, (size_t)(end - data), 0, NULL);
		MUST(json_is_object(json) || ((size_t)(end - data) == 6 && !memcmp(data, "[DONE]", 6)));
		json_decref(json);
	}
	reply_free(reply);
}

static void answer_to(const struct request *request, struct script *script)
{
	const struct asked *asked = &request->asked;
	struct completion completion = {0};
	struct reply reply = {0};

	if (script && asked->wire->talks)
		reply = script_reply(script, 1, asked, "req_1", true, &completion);
	else if (asked->wire->talks)
		plan_complete(1, asked, &completion);
	else
		completion_count(&completion, asked);
	if (!reply.body)
		reply = asked->wire->encode(1, asked, &completion);
	completion_free(&completion);
	if (reply.ends)
		must_be_events(&reply);
	else
		must_be_json(&reply);
}

static void refuse(const struct request *request)
{
	struct reply reply =
	    error_refuse(request_family(request), request->bad, NULL, "req_1", "%s", request->bad_text);

	MUST(request->bad >= 400 && request->bad < 500 && request->bad_text[0]);
	must_be_json(&reply);
}

static void try_request(const uint8_t *bytes, size_t size, const char *path_of_wire)
{
	const struct wire *wire = path_of_wire ? wire_of(path_of_wire) : NULL;
	struct gateway gateway = {.sink_task = task_name, .sink_key = key_name};
	struct request request = {.gateway = &gateway, .target = "claude", .size = size, .total = size};
	struct script *script = NULL;
	struct error err;
	char path[32];
	int fd;

	request.body = malloc(size + 1);
	MUST(request.body);
	memcpy(request.body, bytes, size);
	request.asked.wire = wire;
	if (wire)
		request_read_call(&request);
	else
		request_read_sink(&request);
	if (request.bad) {
		refuse(&request);
	} else if (wire) {
		answer_to(&request, NULL);
		/* the same bytes as a script that answers it */
		fd = fuzz_file(bytes, size, path);
		if (script_load(&script, path, &err) == 0)
			answer_to(&request, script);
		else
			MUST(err.code > 0 && err.text[0]);
		script_free(script);
		close(fd);
	} else {
		MUST(request.task && request.key);
	}
	json_decref(request.json);
	free(request.body);
}

static void try_script(const uint8_t *bytes, size_t size)
{
	static const char body[] = "{\"model\":\"opus\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}";
	struct gateway gateway = {0};
	struct request request = {.gateway = &gateway, .target = "claude", .size = sizeof body - 1};
	struct script *script = NULL;
	struct error err;
	char path[32];
	int fd = fuzz_file(bytes, size, path);

	request.body = strdup(body);
	MUST(request.body);
	request.asked.wire = &wire_chat;
	request_read_call(&request);
	MUST(!request.bad);
	if (script_load(&script, path, &err) == 0)
		answer_to(&request, script);
	else
		MUST(err.code > 0 && err.text[0]);
	script_free(script);
	close(fd);
	json_decref(request.json);
	free(request.body);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const char *const paths[] = {"/v1/chat/completions", "/v1/responses", "/v1/messages",
	    "/v1/messages/count_tokens", "/v1/embeddings", NULL};
	size_t i;

	for (i = 0; i < sizeof paths / sizeof paths[0]; i++)
		try_request(bytes, size, paths[i]);
	try_script(bytes, size);
	return 0;
}
