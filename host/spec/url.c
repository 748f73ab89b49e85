/* SPDX-License-Identifier: Apache-2.0 */
/* Base URLs of upstreams: what may be written, and why not. */
#include "spec/spec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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
