/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of output, and files that are written, for the faults that wait for them. */
#include "system/triggers.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "system/pathglob.h"

#define TRIGGERS_MAX 16u
#define LOGS_MAX     32u
#define LINE_MAX_    4096u /* what is behind it of a line is not looked at */

struct trigger {
	char id[64];
	char *process, *glob; /* glob: absolute; NULL: it is about output */
	pcre2_code *code;     /* NULL: any line */
};

struct log {
	char path[PATH_MAX];
	off_t from;
	char line[LINE_MAX_];
	size_t used;
};

struct triggers {
	struct history *history;
	char *state_dir, *log_dir;
	struct trigger items[TRIGGERS_MAX];
	size_t count;
	struct log *logs[LOGS_MAX];
	size_t log_count;
	pcre2_match_data *match;
};

int triggers_create(struct triggers **ret_triggers, struct history *history, const char *state_dir, const char *log_dir,
    struct error *err)
{
	struct triggers *triggers = calloc(1, sizeof *triggers);

	if (triggers) {
		triggers->history = history;
		triggers->state_dir = strdup(state_dir);
		triggers->log_dir = strdup(log_dir);
		triggers->match = pcre2_match_data_create(1, NULL);
	}
	if (!triggers || !triggers->state_dir || !triggers->log_dir || !triggers->match) {
		triggers_destroy(triggers);
		return error_set(err, ENOMEM, "no memory for what faults wait for");
	}
	*ret_triggers = triggers;
	return 0;
}

void triggers_destroy(struct triggers *triggers)
{
	if (!triggers)
		return;
	for (size_t i = 0; i < triggers->count; i++) {
		free(triggers->items[i].process);
		free(triggers->items[i].glob);
		if (triggers->items[i].code)
			pcre2_code_free(triggers->items[i].code);
	}
	for (size_t i = 0; i < triggers->log_count; i++)
		free(triggers->logs[i]);
	if (triggers->match)
		pcre2_match_data_free(triggers->match);
	free(triggers->state_dir);
	free(triggers->log_dir);
	free(triggers);
}

/* The place of a new one; NULL with 0 in *ret_result when it is there already. */
static struct trigger *add(struct triggers *triggers, const char *id, int *ret_result, struct error *err)
{
	struct trigger *trigger = &triggers->items[triggers->count];

	*ret_result = 0;
	for (size_t i = 0; i < triggers->count; i++)
		if (!strcmp(triggers->items[i].id, id))
			return NULL;
	if (triggers->count == TRIGGERS_MAX) {
		*ret_result = error_set(err, ENOSPC, "more than %u faults wait for output and files", TRIGGERS_MAX);
		return NULL;
	}
	snprintf(trigger->id, sizeof trigger->id, "%s", id);
	triggers->count++;
	return trigger;
}

int triggers_output(
    struct triggers *triggers, const char *id, const char *process, const char *pattern, struct error *err)
{
	int result, code;
	PCRE2_SIZE at;
	struct trigger *trigger = add(triggers, id, &result, err);

	if (!trigger)
		return result;
	trigger->process = process ? strdup(process) : NULL;
	if (process && !trigger->process)
		return error_set(err, ENOMEM, "no memory for what faults wait for");
	if (!pattern)
		return 0;
	trigger->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, 0, &code, &at, NULL);
	return trigger->code ? 0 : error_set(err, EINVAL, "'%.80s' is no pattern", pattern);
}

int triggers_file(struct triggers *triggers, const char *id, const char *glob, struct error *err)
{
	int result;
	struct trigger *trigger = add(triggers, id, &result, err);

	if (!trigger)
		return result;
	if (asprintf(&trigger->glob, "%s/%s", triggers->state_dir, glob) >= 0)
		return 0;
	trigger->glob = NULL;
	return error_set(err, ENOMEM, "no memory for what faults wait for");
}

static void tell(
    struct triggers *triggers, const struct trigger *trigger, enum op_kind kind, const char *actor, const char *detail)
{
	history_append(triggers->history,
	    &(struct op){
		.kind = kind, .type = OP_OK, .pair = OP_NONE, .actor = actor, .key = trigger->id, .detail = detail});
}

/* ---- files ---- */

static void on_file(void *arg, const char *path, uint32_t mask)
{
	struct triggers *triggers = arg;

	if (!(mask & (IN_MODIFY | IN_MOVED_TO)))
		return;
	for (size_t i = 0; i < triggers->count; i++)
		if (triggers->items[i].glob && pathglob_match(triggers->items[i].glob, path))
			tell(triggers, &triggers->items[i], OP_FILE, path + strlen(triggers->state_dir) + 1,
			    mask & IN_MODIFY ? "written" : "renamed to this");
}

static bool descend(void *arg, const char *dir)
{
	const struct triggers *triggers = arg;

	for (size_t i = 0; i < triggers->count; i++)
		if (triggers->items[i].glob && pathglob_may_hold(triggers->items[i].glob, dir))
			return true;
	return false;
}

/* ---- output ---- */

static void take_line(struct triggers *triggers, const char *process, const char *line, size_t size)
{
	char said[161];

	for (size_t i = 0; i < triggers->count; i++) {
		struct trigger *t = &triggers->items[i];

		if (t->glob || (t->process && strcmp(t->process, process) != 0))
			continue;
		if (t->code && pcre2_match(t->code, (PCRE2_SPTR)line, size, 0, 0, triggers->match, NULL) < 0)
			continue;
		snprintf(said, sizeof said, "%.*s", (int)(size < 160 ? size : 160), line);
		tell(triggers, t, OP_OUTPUT, process, said);
	}
}

static struct log *log_of(struct triggers *triggers, const char *path)
{
	struct log *log;

	for (size_t i = 0; i < triggers->log_count; i++)
		if (!strcmp(triggers->logs[i]->path, path))
			return triggers->logs[i];
	if (triggers->log_count == LOGS_MAX || !(log = calloc(1, sizeof *log)))
		return NULL;
	snprintf(log->path, sizeof log->path, "%s", path);
	triggers->logs[triggers->log_count++] = log;
	return log;
}

static void read_log(struct triggers *triggers, struct log *log, const char *process)
{
	int fd = open(log->path, O_RDONLY | O_CLOEXEC);
	char piece[8192];
	ssize_t got = 1;

	while (fd >= 0 && got > 0) {
		got = pread(fd, piece, sizeof piece, log->from);
		if (got < 0 && errno == EINTR)
			got = 1;
		else if (got > 0)
			log->from += got;
		for (ssize_t i = 0; got > 0 && i < got; i++) {
			if (piece[i] == '\n') {
				take_line(triggers, process, log->line, log->used);
				log->used = 0;
			} else if (log->used < sizeof log->line) {
				log->line[log->used++] = piece[i];
			}
		}
	}
	if (fd >= 0)
		close(fd);
}

static void on_log(void *arg, const char *path, uint32_t mask)
{
	struct triggers *triggers = arg;
	const char *name = strrchr(path, '/') + 1;
	size_t size = strlen(name);
	char process[64];
	struct log *log;

	if ((mask && !(mask & IN_MODIFY)) || size < 5 || size - 4 >= sizeof process ||
	    strcmp(name + size - 4, ".log") != 0 || !strcmp(name, "keeper.log"))
		return;
	snprintf(process, sizeof process, "%.*s", (int)(size - 4), name);
	log = log_of(triggers, path);
	if (log)
		read_log(triggers, log, process);
}

int triggers_watch(struct triggers *triggers, struct watch *watch, struct error *err)
{
	bool files = false, output = false;

	for (size_t i = 0; i < triggers->count; i++) {
		files = files || triggers->items[i].glob;
		output = output || !triggers->items[i].glob;
	}
	if (files && watch_add(watch, triggers->state_dir, descend, on_file, triggers, err) != 0)
		return -1;
	return output ? watch_add(watch, triggers->log_dir, NULL, on_log, triggers, err) : 0;
}
