/* SPDX-License-Identifier: Apache-2.0 */
/* What a manifest says of real providers, and of recordings of them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spec/tables.h"

#define IN(member_) .offset = offsetof(struct spec_upstream, member_)

static const struct node_field upstream_fields[] = {
    {.key = "provider", .type = NODE_TEXT, .required = true, IN(provider), .help = "One of _providers_."},
    {.key = "url",
	.type = NODE_TEXT,
	.required = true,
	IN(url),
	.help =
	    "http or https, such as https://api.example.com: what is asked for below *${gateway}*/PROVIDER is asked "
	    "for below it."},
    {.key = "key-from",
	.type = NODE_TEXT,
	IN(key_from),
	.help = "The environment variable of _tritone_ with an API key that is sent instead of the system's own."},
    {.key = "timeout",
	.type = NODE_DURATION,
	IN(timeout_ms),
	.min = 1,
	.max = 86400000,
	.fallback = "2m",
	.help = "It is given up when nothing has come from it for so long."},
    {.key = NULL},
};
const struct node_table spec_upstream_table = {.fields = upstream_fields, .size = sizeof(struct spec_upstream)};

static int refuse(const char *url, const char *why, struct error *err)
{
	const char *at = strchr(url, '@');

	/* What may be a password is not said again. */
	return error_set(err, EINVAL, "expected a base URL such as https://api.example.com, found '%.80s': %s",
	    at ? "(with an @)" : url, why);
}

static bool is_port(const char *text, size_t size)
{
	return size > 0 && size <= 5 && strspn(text, "0123456789") >= size && atoi(text) >= 1 && atoi(text) <= 65535;
}

int spec_check_upstream(const char *url, struct error *err)
{
	static const char http[] = "http://", https[] = "https://";
	const char *host, *colon, *c;
	size_t size;

	if (!url || !*url)
		return error_set(err, EINVAL, "expected a base URL such as https://api.example.com, found nothing");
	for (c = url; *c; c++)
		if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7f)
			return refuse("", "it has a space or a character that is not ASCII", err);
	host = !strncmp(url, http, sizeof http - 1)     ? url + sizeof http - 1
	       : !strncmp(url, https, sizeof https - 1) ? url + sizeof https - 1
							: NULL;
	if (!host)
		return refuse(url, "it begins neither with http:// nor with https://", err);
	if (strpbrk(host, "?#"))
		return refuse(url, "it has a query or a fragment", err);
	size = strcspn(host, "/");
	if (memchr(host, '@', size))
		return refuse(url, "it has a user or a password: name the variable with the API key in key-from", err);
	/* behind the brackets of an address of IPv6 */
	c = *host == '[' ? memchr(host, ']', size) : host;
	if (!c)
		return refuse(url, "its host has no closing bracket", err);
	colon = memchr(c, ':', size - (size_t)(c - host));
	if (!size || colon == host)
		return refuse(url, "it has no host", err);
	if (colon && !is_port(colon + 1, size - (size_t)(colon + 1 - host)))
		return refuse(url, "its port is none of 1 to 65535", err);
	return 0;
}

static bool is_variable(const char *name)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";

	return *name && !(*name >= '0' && *name <= '9') && name[strspn(name, letters)] == '\0';
}

static int check_upstream(struct node_file *file, yaml_node_t *node, const struct spec_manifest *manifest,
    const struct spec_upstream *upstream)
{
	const struct spec_strings *providers = &manifest->gateway.providers;
	const struct spec_upstream *other;
	struct error why;
	size_t i;

	for (i = 0; i < providers->count && strcmp(providers->items[i], upstream->provider) != 0; i++)
		;
	if (i == providers->count)
		return node_unknown(file, node_get(file, node, "provider"), "provider", upstream->provider,
		    providers->count ? (const char *const *)providers->items : (const char *const[]){NULL});
	for (other = manifest->gateway.upstreams; other != upstream; other++)
		if (!strcmp(other->provider, upstream->provider))
			return node_fail(
			    file, node_get(file, node, "provider"), "a second upstream of '%.40s'", upstream->provider);
	if (spec_check_upstream(upstream->url, &why) != 0)
		return node_fail(file, node_get(file, node, "url"), "%s", why.text);
	/* Whoever has put the key itself here does not want to read it again. */
	if (upstream->key_from && !is_variable(upstream->key_from))
		return node_fail(file, node_get(file, node, "key-from"),
		    "expected the name of an environment variable; a key itself does not belong here");
	return 0;
}

/* A file of the manifest's gateway, as seen from the working directory. */
static int find_file(struct node_file *file, yaml_node_t *node, char **path)
{
	if (strchr(*path, '$'))
		return node_fail(file, node, "no variables are known here: a path beside this file is expected");
	*path = spec_beside(file->arena, file->path, *path);
	return *path ? 0 : node_no_memory(file);
}

int spec_upstreams_finish(struct node_file *file, yaml_node_t *gateway, struct spec_manifest *manifest)
{
	yaml_node_t *list = node_get(file, gateway, "upstreams"), *record = node_get(file, gateway, "record");
	yaml_node_t *replay = node_get(file, gateway, "replay");
	size_t i;

	for (i = 0; i < manifest->gateway.upstream_count; i++)
		if (check_upstream(file, node_at(file, list, i), manifest, &manifest->gateway.upstreams[i]) != 0)
			return -1;
	if (record && replay)
		return node_fail(file, replay,
		    "'record' and 'replay' contradict each other: the one asks upstreams, "
		    "the other spares them");
	if (record && !i)
		return node_fail(file, record, "'record' needs 'upstreams' whose answers are recorded");
	if (record)
		return find_file(file, record, &manifest->gateway.record);
	if (!replay)
		return 0;
	if (find_file(file, replay, &manifest->gateway.replay) != 0)
		return -1;
	if (access(manifest->gateway.replay, R_OK) != 0)
		return node_fail(file, replay, "the recording %.150s: %s", manifest->gateway.replay, strerror(errno));
	return 0;
}
