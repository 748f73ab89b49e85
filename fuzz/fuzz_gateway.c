/* SPDX-License-Identifier: Apache-2.0 */
/* What is sent to the gateway: the body of a call to a model, and of a call to a sink; and a script, which a person wrote. The
 * answer must be JSON, whatever was asked. */
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
	free(reply->body);
}

static void answer_to(const struct request *request, const struct script *script)
{
	const struct reply_request asked = {.provider = "claude",
	    .model = request->key,
	    .task = request->task,
	    .role = request->role,
	    .after = request->after,
	    .step = request->step,
	    .body = request->json,
	    .body_size = request->size};
	struct reply reply = script ? script_reply(script, 1, &asked) : reply_chat(1, &asked);

	must_be_json(&reply);
}

static void refuse(const struct request *request)
{
	struct reply reply = reply_refuse(request->bad, NULL, "%s", request->bad_text);

	MUST(request->bad >= 400 && request->bad < 500 && request->bad_text[0]);
	must_be_json(&reply);
}

static void try_request(const uint8_t *bytes, size_t size, bool chat)
{
	struct gateway gateway = {.sink_task = task_name, .sink_key = key_name};
	struct request request = {.gateway = &gateway, .target = "claude", .size = size, .total = size};
	struct script *script = NULL;
	struct error err;
	char path[32];
	int fd;

	request.body = malloc(size + 1);
	MUST(request.body);
	memcpy(request.body, bytes, size);
	if (chat)
		request_read_chat(&request);
	else
		request_read_sink(&request);
	if (request.bad) {
		refuse(&request);
	} else if (chat) {
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
	request_read_chat(&request);
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
	try_request(bytes, size, true);
	try_request(bytes, size, false);
	try_script(bytes, size);
	return 0;
}
