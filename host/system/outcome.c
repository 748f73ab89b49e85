/* SPDX-License-Identifier: Apache-2.0 */
/* Asks the system what became of its tasks, and records what it says. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "system/private.h"

#define OUTCOME_TIMEOUT_MS 5000

static bool among(const struct spec_strings *words, const char *word)
{
	for (size_t i = 0; i < words->count; i++)
		if (!strcmp(words->items[i], word))
			return true;
	return false;
}

static const char *member(const json_t *item, const char *name)
{
	const char *text = name ? json_string_value(json_object_get(item, name)) : NULL;

	return text ? text : "";
}

static int record(struct system *system, const char *url, const struct http_reply *reply, struct error *err)
{
	const struct spec_manifest *manifest = system->manifest;
	json_error_t wrong;
	json_t *root = json_loadb(reply->body, reply->size, 0, &wrong), *list, *item;
	size_t i;

	if (!root)
		return error_set(err, EPROTO, "%s: the answer is not JSON: %.100s", url, wrong.text);
	list = manifest->outcome.list && *manifest->outcome.list ? json_object_get(root, manifest->outcome.list) : root;
	if (!json_is_array(list)) {
		json_decref(root);
		return error_set(err, EPROTO, "%s: no list '%s' in the answer", url,
		    manifest->outcome.list ? manifest->outcome.list : "");
	}
	json_array_foreach(list, i, item)
	{
		const char *state = member(item, manifest->outcome.state),
			   *reason = member(item, manifest->outcome.reason);
		enum op_type type = among(&manifest->outcome.done, state)     ? OP_OK
				    : among(&manifest->outcome.failed, state) ? OP_FAIL
									      : OP_INFO;

		history_append(system->history, &(struct op){.kind = OP_OUTCOME,
						    .type = type,
						    .pair = OP_NONE,
						    .task = member(item, manifest->outcome.id),
						    .key = state,
						    .detail = *reason ? reason : state});
	}
	json_decref(root);
	return 0;
}

int system_outcomes(struct system *system, struct error *err)
{
	struct http_reply reply;
	char *url;
	int result;

	if (!system->manifest->outcome.url)
		return 0;
	if (spec_expand(&url, system->manifest->outcome.url, system_lookup, system, err) != 0)
		return -1;
	result =
	    http_do(system->http, &(struct http_request){.url = url, .timeout_ms = OUTCOME_TIMEOUT_MS}, &reply, err);
	if (result == 0) {
		if (reply.status >= 200 && reply.status < 300)
			result = record(system, url, &reply, err);
		else
			result = error_set(err, EPROTO, "%s: answered %ld, not 2xx", url, reply.status);
		free(reply.body);
	}
	free(url);
	return result;
}
