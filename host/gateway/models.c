/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of models, and one of them: GET /v1/models, GET /v1/models/NAME. Facts from OpenAI's API reference, page
 * "List models", and from Anthropic's page "List Models": the same path, in a form of each.
 */
#include <string.h>

#include "gateway/reply.h"

static const struct {
	const char *provider, *model;
} known[] = {{"claude", "opus"}, {"claude", "sonnet"}, {"codex", "codex"}, {"gemini", "gemini"}, {"qwen", "qwen"}};

static json_t *model_of(enum family family, const char *provider, const char *name)
{
	if (family == FAMILY_ANTHROPIC)
		return json_pack("{s:s, s:s, s:s, s:s}", "type", "model", "id", name, "display_name", name,
		    "created_at", "2023-11-14T22:13:20Z");
	return json_pack(
	    "{s:s, s:s, s:i, s:s}", "id", name, "object", "model", "created", CREATED, "owned_by", provider);
}

/* Any name is a model, since any name is answered when it is asked; a name that is no text is none. */
static struct reply one(enum family family, const char *provider, const char *name)
{
	json_t *model = model_of(family, provider, name);

	return model ? reply_json(200, model, 0) : error_reply(family, 404, -1, "", "req_0");
}

struct reply models_reply(enum family family, const char *provider, const char *name)
{
	json_t *data, *first, *last;
	size_t i, count = 0;

	if (name)
		return one(family, provider, name);
	data = json_array();
	for (i = 0; i < sizeof known / sizeof known[0]; i++)
		if (!strcmp(known[i].provider, provider))
			json_array_append_new(data, model_of(family, provider, known[i].model));
	if (!json_array_size(data)) /* any other provider has the one model of its own name */
		json_array_append_new(data, model_of(family, provider, provider));
	if (family != FAMILY_ANTHROPIC)
		return reply_json(200, json_pack("{s:s, s:o}", "object", "list", "data", data), 0);
	count = json_array_size(data);
	first = json_object_get(json_array_get(data, 0), "id");
	last = json_object_get(json_array_get(data, count - 1), "id");
	return reply_json(
	    200, json_pack("{s:o, s:b, s:O, s:O}", "data", data, "has_more", 0, "first_id", first, "last_id", last), 0);
}
