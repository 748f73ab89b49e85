/* SPDX-License-Identifier: Apache-2.0 */
/* Upstreams on the command line; see upstreams.h. */
#include "cli/upstreams.h"

#include <stdlib.h>
#include <string.h>

#include "cli/options.h"
#include "spec/spec.h"

/* NAME=VALUE, cut in two. */
static int add(char **list, size_t *count, const char *option, const char *what, const char *text)
{
	const char *equals = strchr(text, '=');

	if (!equals || equals == text || !equals[1])
		return cli_usage("gateway", "--%s: expected PROVIDER=%s, found '%.80s'", option, what,
		    strchr(text, '@') ? "(with an @)" : text);
	if (*count >= GATEWAY_NAMES_MAX)
		return cli_usage("gateway", "--%s: more than %d of them", option, GATEWAY_NAMES_MAX);
	list[*count] = strdup(text);
	if (!list[*count])
		return cli_usage("gateway", "no memory");
	list[(*count)++][equals - text] = '\0';
	return 0;
}

int upstreams_url(struct upstreams *upstreams, const char *text)
{
	return add(upstreams->urls, &upstreams->url_count, "upstream", "URL", text);
}

int upstreams_key(struct upstreams *upstreams, const char *text)
{
	return add(upstreams->keys, &upstreams->key_count, "key-from", "VARIABLE", text);
}

int upstreams_timeout(struct upstreams *upstreams, const char *text)
{
	struct error err = {0};

	if (spec_duration(text, &upstreams->silence_ms, &err) < 0)
		return cli_usage("gateway", "--upstream-timeout: %s", err.text);
	return upstreams->silence_ms > 0 ? 0 : cli_usage("gateway", "--upstream-timeout: expected more than none");
}

static const char *behind(const char *name)
{
	return name + strlen(name) + 1;
}

int upstreams_set(const struct upstreams *upstreams, struct gateway_options *options)
{
	size_t i, j;

	for (i = 0; i < upstreams->url_count; i++)
		options->upstreams[i] = (struct gateway_upstream){.provider = upstreams->urls[i],
		    .url = behind(upstreams->urls[i]),
		    .silence_ms = upstreams->silence_ms};
	for (i = 0; i < upstreams->key_count; i++) {
		for (j = 0; j < upstreams->url_count; j++)
			if (!strcmp(upstreams->keys[i], upstreams->urls[j]))
				break;
		if (j == upstreams->url_count)
			return cli_usage(
			    "gateway", "--key-from: no --upstream is given for '%.63s'", upstreams->keys[i]);
		options->upstreams[j].key_variable = behind(upstreams->keys[i]);
	}
	return 0;
}

void upstreams_free(struct upstreams *upstreams)
{
	size_t i;

	for (i = 0; i < upstreams->url_count; i++)
		free(upstreams->urls[i]);
	for (i = 0; i < upstreams->key_count; i++)
		free(upstreams->keys[i]);
}
