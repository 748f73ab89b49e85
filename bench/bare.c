/* SPDX-License-Identifier: Apache-2.0 */
/* The reference orchestrator without the harness, and a client; see bare.h. */
#include "bare.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "median.h"
#include "system/variables.h"

#define MANIFEST   "fixtures/systems/conductor.yaml"
#define READY_S    20.0
#define STOP_MS    10000
#define REQUEST_MS 10000

struct bare {
	const struct spec_manifest *manifest;
	struct variables *variables;
	struct http *http;
	char dir[128], state[160], log[160], bin[PATH_MAX];
	char *submit_url, *outcome_url;
	pid_t pid; /* 0: none */
};

/* As the harness's, but for ${bin}: benchmarks live one directory below the programs. */
static const char *lookup(void *arg, const char *name)
{
	struct bare *bare = arg;

	return strcmp(name, "bin") == 0 ? bare->bin : variables_lookup(bare->variables, name);
}

static int start(struct bare *bare, const struct spec_strings *command, const struct spec_pairs *environment,
    pid_t *ret_pid, struct error *err)
{
	char **argv = NULL, **env = NULL;
	int r = -1;

	if (variables_expand_all(&argv, command, NULL, lookup, bare, err) == 0 &&
	    variables_environment(&env, bare->manifest, environment, NULL, lookup, bare, err) == 0)
		r = child_start(&(struct child){.argv = (const char *const *)argv,
				    .environment = env,
				    .directory = bare->state,
				    .log = bare->log},
		    ret_pid, NULL, err);
	strings_free(argv);
	strings_free(env);
	return r;
}

static int prepare(struct bare *bare, struct error *err)
{
	const struct spec_pairs none = {0};
	size_t i;
	pid_t pid;

	for (i = 0; i < bare->manifest->prepare_count; i++)
		if (start(bare, &bare->manifest->prepare[i], &none, &pid, err) || child_wait(pid, STOP_MS, NULL, err))
			return -1;
	return 0;
}

static int await_ready(struct bare *bare, struct error *err)
{
	double until = now_s() + READY_S;
	char *url;
	int r = -1;

	if (spec_expand(&url, bare->manifest->processes[0].ready.http, lookup, bare, err))
		return -1;
	while (r != 0 && now_s() < until) {
		struct http_request request = {.url = url, .timeout_ms = REQUEST_MS};
		struct http_reply reply;

		if (http_do(bare->http, &request, &reply, err) == 0) {
			r = reply.status / 100 == 2 ? 0 : -1;
			free(reply.body);
		}
		if (r != 0)
			poll(NULL, 0, 5); /* nothing tells when a port is listened at */
	}
	free(url);
	return r == 0 ? 0 : error_set(err, ETIMEDOUT, "the orchestrator did not become ready; see %s", bare->log);
}

static int open_bare(struct bare *bare, const char *gateway, struct error *err)
{
	const struct spec_manifest *m = bare->manifest;

	if (child_directory(bare->dir, sizeof bare->dir, err) || child_program(bare->bin, sizeof bare->bin, "", err))
		return -1;
	snprintf(bare->state, sizeof bare->state, "%s/state", bare->dir);
	snprintf(bare->log, sizeof bare->log, "%s/log", bare->dir);
	if (mkdir(bare->state, 0700) < 0)
		return error_set(err, errno, "%s: %s", bare->state, strerror(errno));
	if (http_create(&bare->http, err) ||
	    variables_create(&bare->variables,
		&(struct variables_options){
		    .run_dir = bare->dir, .state_dir = bare->state, .gateway = gateway, .seed = 1},
		err) ||
	    spec_expand(&bare->submit_url, m->submit.url, lookup, bare, err) ||
	    spec_expand(&bare->outcome_url, m->outcome.url, lookup, bare, err) || prepare(bare, err) ||
	    start(bare, &m->processes[0].command, &m->processes[0].environment, &bare->pid, err))
		return -1;
	return await_ready(bare, err);
}

int bare_start(struct bare **ret_bare, const struct spec_manifest *manifest, const char *gateway, struct error *err)
{
	struct bare *bare = calloc(1, sizeof *bare);

	if (!bare)
		return error_set(err, ENOMEM, "no memory");
	bare->manifest = manifest;
	if (open_bare(bare, gateway, err)) {
		bare_free(bare);
		return -1;
	}
	*ret_bare = bare;
	return 0;
}

const char *bare_state(const struct bare *bare)
{
	return bare->state;
}

pid_t bare_pid(const struct bare *bare)
{
	return bare->pid;
}

const char *bare_submit_url(const struct bare *bare)
{
	return bare->submit_url;
}

const char *bare_outcome_url(const struct bare *bare)
{
	return bare->outcome_url;
}

int bare_stop(struct bare *bare, struct error *err)
{
	pid_t pid = bare->pid;

	bare->pid = 0;
	kill(pid, SIGTERM);
	return child_wait(pid, STOP_MS, NULL, err);
}

void bare_free(struct bare *bare)
{
	struct error ignored;

	if (!bare)
		return;
	if (bare->pid)
		(void)bare_stop(bare, &ignored);
	variables_destroy(bare->variables);
	http_destroy(bare->http);
	free(bare->submit_url);
	free(bare->outcome_url);
	child_remove_directory(bare->dir);
	free(bare);
}

int bare_manifest(struct spec_manifest **ret_manifest, struct error *err)
{
	if (access(MANIFEST, R_OK) < 0)
		return error_set(
		    err, errno, "%s: %s; run this from the top of the source tree", MANIFEST, strerror(errno));
	return spec_manifest_load(ret_manifest, MANIFEST, err);
}

/* ---- the client ---- */

int client_submit(struct http *http, const char *url, const char *task, const char *role, struct error *err)
{
	static const char *const headers[] = {"Content-Type: application/json", NULL};
	struct http_request request = {.method = "POST", .url = url, .headers = headers, .timeout_ms = REQUEST_MS};
	struct http_reply reply;
	char body[512];

	snprintf(body, sizeof body,
	    "{\"id\": \"%s\", \"key\": \"key-%s\", \"role\": \"%s\", \"after\": [], "
	    "\"prompt\": \"Do the %s and leave the result in work/%s.md\"}",
	    task, task, role, role, task);
	request.body = body;
	if (http_do(http, &request, &reply, err))
		return -1;
	free(reply.body);
	return reply.status / 100 == 2 ? 0 : error_set(err, EPROTO, "%s: status %ld", url, reply.status);
}

int client_ended(struct http *http, const char *url, size_t *ret_ended, size_t *ret_failed, struct error *err)
{
	struct http_request request = {.url = url, .timeout_ms = REQUEST_MS};
	struct http_reply reply;
	size_t i, done = 0, failed = 0;
	json_t *root, *task;

	if (http_do(http, &request, &reply, err))
		return -1;
	root = json_loadb(reply.body, reply.size, 0, NULL);
	free(reply.body);
	if (!root)
		return error_set(err, EPROTO, "%s: no JSON", url);
	json_array_foreach (json_object_get(root, "tasks"), i, task) {
		const char *state = json_string_value(json_object_get(task, "state"));

		done += state && strcmp(state, "done") == 0;
		failed += state && strcmp(state, "failed") == 0;
	}
	json_decref(root);
	*ret_ended = done + failed;
	*ret_failed = failed;
	return 0;
}

int client_await(struct http *http, const char *url, size_t count, double timeout_s, struct error *err)
{
	double until = now_s() + timeout_s;
	size_t ended = 0, failed = 0;

	while (now_s() < until) {
		if (client_ended(http, url, &ended, &failed, err))
			return -1;
		if (failed)
			return error_set(err, EPROTO, "%zu tasks were given up", failed);
		if (ended >= count)
			return 0;
		poll(NULL, 0, 10); /* the interface has no other way; the same for all that are compared */
	}
	return error_set(err, ETIMEDOUT, "%zu of %zu tasks were done within %.0f s", ended, count, timeout_s);
}
