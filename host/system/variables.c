/* SPDX-License-Identifier: Apache-2.0 */
/* The ${variables} of a manifest, and what is expanded with them. */
#include "system/variables.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "system/system.h"

#define PORT_FIRST 10240u
#define PORT_TRIES 200

struct port {
	struct port *next;
	uint16_t number;
	char text[8];
	char name[];
};

struct variables {
	char *run_dir, *state_dir, *gateway, *bin, *manifest_dir, *install_dir;
	char seed[24];
	pthread_mutex_t lock; /* of ports */
	struct port *ports;
};

static char *program_directory(void)
{
	char path[PATH_MAX], *slash;
	ssize_t size = readlink("/proc/self/exe", path, sizeof path - 1);

	if (size <= 0)
		return NULL;
	path[size] = '\0';
	slash = strrchr(path, '/');
	if (slash)
		*slash = '\0';
	return strdup(path);
}

int variables_create(struct variables **ret_variables, const struct variables_options *options, struct error *err)
{
	struct variables *variables = calloc(1, sizeof *variables);

	if (!variables)
		return error_set(err, ENOMEM, "no memory for the variables");
	pthread_mutex_init(&variables->lock, NULL);
	variables->run_dir = strdup(options->run_dir);
	variables->state_dir = strdup(options->state_dir);
	variables->gateway = options->gateway ? strdup(options->gateway) : NULL;
	variables->bin = program_directory();
	snprintf(variables->seed, sizeof variables->seed, "%" PRIu64, options->seed);
	variables->manifest_dir = options->manifest_dir ? strdup(options->manifest_dir) : NULL;
	if (!variables->run_dir || !variables->state_dir || !variables->bin ||
	    (options->manifest_dir && !variables->manifest_dir) || (options->gateway && !variables->gateway)) {
		variables_destroy(variables);
		return error_set(err, ENOMEM, "no memory for the variables");
	}
	*ret_variables = variables;
	return 0;
}

void variables_destroy(struct variables *variables)
{
	if (!variables)
		return;
	while (variables->ports) {
		struct port *next = variables->ports->next;

		free(variables->ports);
		variables->ports = next;
	}
	pthread_mutex_destroy(&variables->lock);
	free(variables->run_dir);
	free(variables->state_dir);
	free(variables->gateway);
	free(variables->bin);
	free(variables->manifest_dir);
	free(variables->install_dir);
	free(variables);
}

/* The port that the kernel gave, or 0 when `port` is taken. */
static uint16_t try_port(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	socklen_t size = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint16_t got = 0;

	if (fd < 0)
		return 0;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1) == 0 &&
	    getsockname(fd, (struct sockaddr *)&address, &size) == 0)
		got = ntohs(address.sin_port);
	close(fd);
	return got;
}

static uint32_t ephemeral_first(void)
{
	FILE *file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
	uint32_t first = 32768;

	if (file) {
		if (fscanf(file, "%" SCNu32, &first) != 1)
			first = 32768;
		fclose(file);
	}
	return first > 65535 ? 65535 : first;
}

static bool taken(const struct variables *variables, uint16_t number)
{
	for (const struct port *port = variables->ports; port; port = port->next)
		if (port->number == number)
			return true;
	return false;
}

static uint16_t free_port(const struct variables *variables)
{
	uint32_t end = ephemeral_first(), draw;

	for (int tried = 0; tried < PORT_TRIES; tried++) {
		uint16_t port = 0;

		/* Not from the seed: which port is free is no part of the story. */
		if (end > PORT_FIRST + 1000 && tried < PORT_TRIES / 2 &&
		    getrandom(&draw, sizeof draw, 0) == (ssize_t)sizeof draw)
			port = (uint16_t)(PORT_FIRST + draw % (end - PORT_FIRST));
		port = try_port(port);
		if (port && !taken(variables, port) && try_port(port) == port)
			return port;
	}
	return 0;
}

static const char *lookup_port(struct variables *variables, const char *name)
{
	struct port *port;

	for (port = variables->ports; port; port = port->next)
		if (!strcmp(port->name, name))
			return port->text;
	port = calloc(1, sizeof *port + strlen(name) + 1);
	if (!port)
		return NULL;
	port->number = free_port(variables);
	if (!port->number) {
		free(port);
		return NULL;
	}
	snprintf(port->text, sizeof port->text, "%u", port->number);
	memcpy(port->name, name, strlen(name) + 1);
	port->next = variables->ports;
	variables->ports = port;
	return port->text;
}

bool system_variable(const char *name)
{
	static const char *const names[] = {"run", "state", "bin", "manifest", "install", "gateway", "seed", NULL};
	size_t i;

	for (i = 0; names[i]; i++)
		if (!strcmp(names[i], name))
			return true;
	return !strncmp(name, "port.", 5) && name[5];
}

const char *variables_lookup(void *arg, const char *name)
{
	struct variables *variables = arg;
	const char *value;

	if (!strcmp(name, "run"))
		return variables->run_dir;
	if (!strcmp(name, "state"))
		return variables->state_dir;
	if (!strcmp(name, "bin"))
		return variables->bin;
	if (!strcmp(name, "manifest"))
		return variables->manifest_dir;
	if (!strcmp(name, "install"))
		return variables->install_dir;
	if (!strcmp(name, "gateway"))
		return variables->gateway;
	if (!strcmp(name, "seed"))
		return variables->seed;
	if (strncmp(name, "port.", 5) != 0 || !name[5])
		return NULL;
	pthread_mutex_lock(&variables->lock);
	value = lookup_port(variables, name + 5);
	pthread_mutex_unlock(&variables->lock);
	return value;
}

int variables_install(struct variables *variables, const char *dir, struct error *err)
{
	char *copy = strdup(dir);

	if (!copy)
		return error_set(err, ENOMEM, "no memory for the variables");
	free(variables->install_dir);
	variables->install_dir = copy;
	return 0;
}

void strings_free(char **items)
{
	for (size_t i = 0; items && items[i]; i++)
		free(items[i]);
	free(items);
}

int variables_expand_all(char ***ret, const struct spec_strings *items, const struct spec_strings *more,
    spec_lookup_fn lookup, void *arg, struct error *err)
{
	size_t extra = more ? more->count : 0;
	char **all = calloc(items->count + extra + 1, sizeof *all);

	if (!all)
		return error_set(err, ENOMEM, "no memory for a command");
	for (size_t i = 0; i < items->count + extra; i++) {
		int failed;

		if (i < items->count) {
			failed = spec_expand(&all[i], items->items[i], lookup, arg, err);
		} else {
			all[i] = strdup(more->items[i - items->count]);
			failed = all[i] ? 0 : error_set(err, ENOMEM, "no memory for a command");
		}
		if (failed) {
			strings_free(all);
			return -1;
		}
	}
	*ret = all;
	return 0;
}

/* Proxies would lead away from loopback; our own variables and keys are none of the system's business. */
static bool inherited(const struct spec_manifest *manifest, const char *entry)
{
	static const char *const refused[] = {
	    "http_proxy=", "https_proxy=", "ftp_proxy=", "all_proxy=", "no_proxy=", "tritone_", NULL};

	for (size_t i = 0; refused[i]; i++)
		if (!strncasecmp(entry, refused[i], strlen(refused[i])))
			return false;
	for (size_t i = 0; i < manifest->gateway.upstream_count; i++) {
		const char *key = manifest->gateway.upstreams[i].key_from;

		if (key && !strncmp(entry, key, strlen(key)) && entry[strlen(key)] == '=')
			return false;
	}
	return true;
}

static int put(char **all, size_t *count, const char *name, const char *value)
{
	size_t size = strlen(name);
	char *entry;

	if (asprintf(&entry, "%s=%s", name, value) < 0)
		return -1;
	for (size_t i = 0; i < *count; i++) {
		if (strncmp(all[i], name, size) != 0 || all[i][size] != '=')
			continue;
		free(all[i]);
		all[i] = entry;
		return 0;
	}
	all[(*count)++] = entry;
	return 0;
}

int variables_environment(char ***ret, const struct spec_manifest *manifest, const struct spec_pairs *pairs,
    const char *table, spec_lookup_fn lookup, void *arg, struct error *err)
{
	size_t ours = 0, count = 0;
	char **all;

	while (environ[ours])
		ours++;
	all = calloc(ours + pairs->count + 2, sizeof *all);
	if (!all)
		return error_set(err, ENOMEM, "no memory for an environment");
	for (size_t i = 0; i < ours; i++) {
		if (!inherited(manifest, environ[i]))
			continue;
		all[count] = strdup(environ[i]);
		if (!all[count++])
			goto no_memory;
	}
	for (size_t i = 0; i < pairs->count; i++) {
		char *value;
		int failed;

		if (spec_expand(&value, pairs->items[i].value, lookup, arg, err) != 0) {
			error_context(err, "environment %s", pairs->items[i].name);
			strings_free(all);
			return -1;
		}
		failed = put(all, &count, pairs->items[i].name, value);
		free(value);
		if (failed)
			goto no_memory;
	}
	if (table && put(all, &count, "TRITONE_FAULTPOINTS", table) != 0)
		goto no_memory;
	*ret = all;
	return 0;
no_memory:
	strings_free(all);
	return error_set(err, ENOMEM, "no memory for an environment");
}
