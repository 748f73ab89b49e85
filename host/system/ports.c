/* SPDX-License-Identifier: Apache-2.0 */
/* Fixed ports: looked at before anything is started, so that no stranger's service is taken for the system. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "system/private.h"
#include "system/ready.h"

/* The port of a URL of this machine, or of a number alone; 0: none. */
static long port_of(const char *text)
{
	static const char *const hosts[] = {"127.0.0.1:", "localhost:", "[::1]:", "0.0.0.0:", NULL};
	const char *at = strstr(text, "://");
	char *end;
	long port;

	if (!at) {
		port = strtol(text, &end, 10);
		return *end || end == text ? 0 : port;
	}
	for (size_t i = 0; hosts[i]; i++)
		if (!strncmp(at + 3, hosts[i], strlen(hosts[i])))
			return strtol(at + 3 + strlen(hosts[i]), NULL, 10);
	return 0;
}

static int check(struct system *system, const char *text, const char *what, struct error *err)
{
	char *expanded;
	bool named = !strcmp(what, "ports");
	long port;

	/* One that is drawn was free when it was; the gateway's is ours. */
	if (!text || strstr(text, "${port.") || strstr(text, "${gateway}"))
		return 0;
	if (spec_expand(&expanded, text, system_lookup, system, err) != 0)
		return -1;
	port = port_of(expanded);
	if (named && (port < 1 || port > 65535)) {
		error_set(err, EINVAL, "ports: '%.40s' is no TCP port", expanded);
		free(expanded);
		return -1;
	}
	free(expanded);
	if (port < 1 || port > 65535 || ready_port((uint16_t)port) == READY_PORT_FREE)
		return 0;
	return error_set(err, EADDRINUSE,
	    "port %ld (%s) is taken already, by something that is not this system; end that, or use ${port.NAME}", port,
	    what);
}

int system_check_ports(struct system *system, struct error *err)
{
	const struct spec_manifest *m = system->manifest;

	for (size_t i = 0; i < m->ports.count; i++)
		if (check(system, m->ports.items[i], "ports", err) != 0)
			return -1;
	for (size_t i = 0; i < m->process_count; i++)
		if (check(system, m->processes[i].ready.http, "ready.http", err) != 0 ||
		    check(system, m->processes[i].ready.port, "ready.port", err) != 0)
			return -1;
	if (check(system, m->submit.url, "submit.url", err) != 0 ||
	    check(system, m->outcome.url, "outcome.url", err) != 0)
		return -1;
	return 0;
}
