/* SPDX-License-Identifier: Apache-2.0 */
/* Histories written by hand, for the tests of the checkers. */
#ifndef TRITONE_TESTS_STORY_H
#define TRITONE_TESTS_STORY_H

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check/check.h"
#include "history/history.h"

#define STORY_MAX 512

struct story {
	struct op ops[STORY_MAX];
	size_t count;
};

static inline uint64_t story_add(struct story *story, uint64_t ms, struct op op)
{
	struct op *at = &story->ops[story->count];

	*at = op;
	at->index = story->count;
	at->time_us = ms * 1000;
	at->task = op.task ? op.task : "";
	at->actor = op.actor ? op.actor : "";
	at->key = op.key ? op.key : "";
	at->detail = op.detail ? op.detail : "";
	return story->count++;
}

/* SAY(story, 120, COMMIT, OK, .task = "a", .key = "c1"); times in milliseconds, never decreasing */
#define SAY(story, ms, what, how, ...)                                                                                 \
	story_add(story, ms, (struct op){.kind = OP_##what, .type = OP_##how, .pair = OP_NONE, __VA_ARGS__})

/* A task that goes well: accepted, one call, one commit, notified. */
static inline void story_task(struct story *story, uint64_t ms, const char *task, const char *commit)
{
	SAY(story, ms, SUBMIT, INVOKE, .task = task);
	SAY(story, ms, SUBMIT, OK, .task = task);
	SAY(story, ms + 1, CALL, INVOKE, .task = task, .actor = "claude", .attempt = 1);
	SAY(story, ms + 2, CALL, OK, .task = task, .actor = "claude", .attempt = 1, .status = 200, .value = 10);
	SAY(story, ms + 3, COMMIT, OK, .task = task, .key = commit, .attempt = 1, .epoch = 1);
	SAY(story, ms + 4, NOTIFY, INVOKE, .task = task);
	SAY(story, ms + 5, NOTIFY, OK, .task = task, .status = 200);
}

/* As the story is judged it ends where the readable memory does: who looks past the end of it dies. */
static inline struct check_result story_judge(
    const struct story *story, const char *name, const struct check_config *config)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE), size = story->count * sizeof(struct op);
	const size_t whole = (size / page + 1) * page;
	char *memory =
	    mmap(NULL, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	const struct check *check = check_find(name);
	struct history_view view = {.count = story->count};
	struct check_result result;

	memset(&result, 0xa5, sizeof result); /* a checker leaves nothing of what was there */
	if (!check || memory == MAP_FAILED || mprotect(memory + whole, page, PROT_NONE) != 0)
		abort();
	view.ops = memcpy(memory + whole - size, story->ops, size);
	check->run(&view, config, &result);
	munmap(memory, whole + page);
	return result;
}

#endif
