/* SPDX-License-Identifier: Apache-2.0 */
/* What a model does when no script says otherwise; see reply.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "gateway/reply.h"

#define PATH_SIZE    320
#define CONTENT_SIZE 4096

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* A task's file. Ids come from the system under test: what could leave work/ becomes '_'. */
static void task_path(const char *task, size_t task_size, char path[PATH_SIZE])
{
	size_t i, n;

	n = (size_t)snprintf(path, PATH_SIZE, "work/");
	for (i = 0; i < task_size && n < PATH_SIZE - 4; i++, n++) {
		bool plain = (task[i] >= 'a' && task[i] <= 'z') || (task[i] >= 'A' && task[i] <= 'Z') ||
			     (task[i] >= '0' && task[i] <= '9') || task[i] == '-' || task[i] == '_' ||
			     (task[i] == '.' && i);

		path[n] = plain ? task[i] : '_';
	}
	memcpy(path + n, ".md", sizeof ".md");
}

static void write_content(uint64_t seed, const struct asked *asked, char content[CONTENT_SIZE])
{
	static const char *const words[] = {"agent", "ledger", "branch", "merge", "review", "module", "contract",
	    "queue", "retry", "lease", "token", "commit", "cascade", "budget", "window", "record"};
	uint64_t state = XXH3_64bits_withSeed(asked->task, strlen(asked->task), seed);
	size_t lines, words_left, n;

	n = (size_t)snprintf(content, CONTENT_SIZE, "# %.200s\n\nrole: %.200s\nafter: %.1000s\n\n", asked->task,
	    *asked->role ? asked->role : "-", *asked->after ? asked->after : "-");
	for (lines = 3 + next_random(&state) % 6; lines; lines--)
		for (words_left = 6 + next_random(&state) % 5; words_left && n < CONTENT_SIZE - 16; words_left--)
			n += (size_t)snprintf(content + n, CONTENT_SIZE - n, "%s%s", words[next_random(&state) % 16],
			    words_left > 1 ? " " : "\n");
}

/* The arguments of a step's tool call. */
static json_t *arguments_of(uint64_t seed, const struct asked *asked, int64_t step)
{
	char path[PATH_SIZE], content[CONTENT_SIZE];
	json_t *arguments;

	if (step == 1 && *asked->after)
		task_path(asked->after, strcspn(asked->after, ", "), path);
	else if (step == 1)
		memcpy(path, "README.md", sizeof "README.md");
	else
		task_path(asked->task, strlen(asked->task), path);
	if (step != 2)
		return json_pack("{s:s}", "path", path);
	write_content(seed, asked, content);
	arguments = json_pack("{s:s, s:s}", "path", path, "content", content);
	/* Not UTF-8: jansson refuses it, and so would a provider's JSON. */
	return arguments ? arguments : json_pack("{s:s, s:s}", "path", path, "content", "# (id is not UTF-8)\n");
}

void plan_complete(uint64_t seed, const struct asked *asked, struct completion *ret_completion)
{
	static const char *const tools[] = {"read_file", "write_file", "run_check"};
	const int64_t step = asked_step(asked);
	json_t *arguments;
	char *text;

	*ret_completion = (struct completion){0};
	if (step > 3 || (asked->step <= 0 && !asked_offers(asked, tools[step - 1]))) {
		ret_completion->text = strdup("done");
	} else {
		arguments = arguments_of(seed, asked, step);
		text = arguments ? json_dumps(arguments, JSON_COMPACT) : NULL;
		completion_call(ret_completion, tools[step - 1], text ? text : "{}");
		free(text);
		json_decref(arguments);
	}
	completion_count(ret_completion, asked);
}
