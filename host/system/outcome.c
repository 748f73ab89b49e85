/* SPDX-License-Identifier: Apache-2.0 */
/* Asks the system what became of its tasks, and records what it says. */
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system/private.h"
#include "system/textfile.h"

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

static int record(struct system *system, const char *where, const char *text, size_t size, struct error *err)
{
	const struct spec_manifest *manifest = system->manifest;
	json_error_t wrong;
	json_t *root = json_loadb(text, size, 0, &wrong), *list, *item;
	size_t i;

	if (!root)
		return error_set(err, EPROTO, "%s: what it says is not JSON: %.100s", where, wrong.text);
	list = manifest->outcome.list && *manifest->outcome.list ? json_object_get(root, manifest->outcome.list) : root;
	if (!json_is_array(list)) {
		json_decref(root);
		return error_set(err, EPROTO, "%s: there is no list '%s' in it", where,
		    manifest->outcome.list ? manifest->outcome.list : "");
	}
	json_array_foreach (list, i, item) {
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

/* ---- a list of all ---- */

static int ask_url(struct system *system, struct error *err)
{
	struct http_reply reply;
	char *url;
	int result;

	if (spec_expand(&url, system->manifest->outcome.url, system_lookup, system, err) != 0)
		return -1;
	result =
	    http_do(system->http, &(struct http_request){.url = url, .timeout_ms = OUTCOME_TIMEOUT_MS}, &reply, err);
	if (result == 0) {
		if (reply.status >= 200 && reply.status < 300)
			result = record(system, url, reply.body, reply.size, err);
		else
			result = error_set(err, EPROTO, "%s: answered %ld, not 2xx", url, reply.status);
		free(reply.body);
	}
	free(url);
	return result;
}

static int ask_file(struct system *system, struct error *err)
{
	char *file, *text = NULL;
	size_t size = 0;
	int result;

	if (spec_expand(&file, system->manifest->outcome.file, system_lookup, system, err) != 0)
		return -1;
	result = textfile_read(&text, &size, file, err);
	if (result == 0) {
		result = record(system, file, text, size, err);
		free(text);
	}
	free(file);
	return result;
}

int system_command(struct system *system, const char *name, const struct spec_strings *words, spec_lookup_fn lookup,
    void *arg, const char *output, int *ret_status, struct error *err)
{
	const struct spec_manifest *m = system->manifest;
	char **argv = NULL, **environment = NULL;
	int result = -1;

	if (variables_expand_all(&argv, words, NULL, lookup, arg, err) == 0 &&
	    variables_environment(
		&environment, m, &m->processes[m->main_process].environment, NULL, system_lookup, system, err) == 0)
		result = exits_run(system->exits, system->keeper,
		    &(struct command){.name = name,
			.argv = argv,
			.environment = environment,
			.directory = system->state_dir,
			.output = output,
			.timeout_ms = OUTCOME_TIMEOUT_MS,
			.interrupt_fd = system->interrupt_fd},
		    ret_status, err);
	strings_free(argv);
	strings_free(environment);
	return result;
}

int system_command_says(struct system *system, const char *name, const struct spec_strings *words, char **ret_text,
    size_t *ret_size, struct error *err)
{
	char path[PATH_MAX], how[96];
	int status = 0, result;

	if (snprintf(path, sizeof path, "%s/%s.out", system->log_dir, name) >= (int)sizeof path)
		return error_set(err, ENAMETOOLONG, "%s: too long", system->log_dir);
	unlink(path); /* it would be appended to */
	result = system_command(system, name, words, system_lookup, system, path, &status, err);
	if (result == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
		command_status(status, how, sizeof how);
		result = error_set(err, EPROTO, "%s: %s %s", name, words->items[0], how);
	}
	return result == 0 ? textfile_read(ret_text, ret_size, path, err) : -1;
}

static int ask_command(struct system *system, struct error *err)
{
	char *text = NULL;
	size_t size = 0;
	int result;

	if (system_command_says(system, "outcome", &system->manifest->outcome.command, &text, &size, err) != 0)
		return -1;
	result = record(system, system->manifest->outcome.command.items[0], text, size, err);
	free(text);
	return result;
}

/* ---- one after the other ---- */

struct about {
	struct system *system;
	const char *task;
};

static const char *about_lookup(void *arg, const char *name)
{
	const struct about *about = arg;

	return !strcmp(name, "task") ? about->task : system_lookup(about->system, name);
}

static bool is_there(struct about *about, const char *file)
{
	char *path;
	bool there;

	if (!file || spec_expand(&path, file, about_lookup, about, NULL) != 0)
		return false;
	there = access(path, F_OK) == 0;
	free(path);
	return there;
}

static int ask_about(struct about *about, enum op_type *ret_type, struct error *err)
{
	const struct spec_manifest *m = about->system->manifest;
	int status = 0;

	*ret_type = OP_INFO;
	if (m->outcome.done_file) {
		if (is_there(about, m->outcome.failed_file))
			*ret_type = OP_FAIL;
		else if (is_there(about, m->outcome.done_file))
			*ret_type = OP_OK;
		return 0;
	}
	if (system_command(about->system, "outcome", &m->outcome.each, about_lookup, about, NULL, &status, err) != 0)
		return -1;
	if (WIFEXITED(status) && WEXITSTATUS(status) <= 1)
		*ret_type = WEXITSTATUS(status) == 0 ? OP_OK : OP_FAIL;
	return 0;
}

static int ask_each(struct system *system, struct error *err)
{
	static const char *const words[] = {[OP_OK] = "done", [OP_FAIL] = "failed", [OP_INFO] = "open"};
	size_t i, count;

	pthread_mutex_lock(&system->lock);
	count = system->task_count;
	pthread_mutex_unlock(&system->lock);
	for (i = 0; i < count; i++) {
		struct about about = {.system = system};
		enum op_type type;

		pthread_mutex_lock(&system->lock); /* the list may be moved, its texts are not */
		about.task = system->tasks[i];
		pthread_mutex_unlock(&system->lock);
		if (ask_about(&about, &type, err) != 0)
			return -1;
		history_append(system->history, &(struct op){.kind = OP_OUTCOME,
						    .type = type,
						    .pair = OP_NONE,
						    .task = about.task,
						    .key = words[type],
						    .detail = words[type]});
	}
	return 0;
}

int system_outcomes(struct system *system, struct error *err)
{
	const struct spec_manifest *m = system->manifest;

	if (m->outcome.url)
		return ask_url(system, err);
	if (m->outcome.file)
		return ask_file(system, err);
	if (m->outcome.command.count)
		return ask_command(system, err);
	return m->outcome.each.count || m->outcome.done_file ? ask_each(system, err) : 0;
}
