/* SPDX-License-Identifier: Apache-2.0 */
/* Answers from a recording; see recording.h. What is kept in memory is where each line is, not what it says. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/proxy/recording.h"
#include "gateway/tally.h"

#define LINES_MAX 1000000

struct entry {
	char key[RECORDING_KEY_SIZE];
	uint64_t nth;
	off_t at;
	size_t size, line;
};

struct replay {
	FILE *file;
	char *path;
	struct entry *entries; /* sorted by key, number, line */
	size_t count, room;
	struct tally *asked;
};

static int by_key(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	int r = strcmp(x->key, y->key);

	if (r)
		return r;
	if (x->nth != y->nth)
		return x->nth < y->nth ? -1 : 1;
	return x->line < y->line ? -1 : x->line > y->line;
}

static int add(struct replay *replay, const char *line, size_t size, off_t at, size_t number, struct error *err)
{
	json_t *object = json_loadb(line, size, JSON_ALLOW_NUL, NULL);
	const char *key = json_string_value(json_object_get(object, "key"));
	const json_int_t nth = json_integer_value(json_object_get(object, "nth"));
	struct header_list headers = {0};
	struct reply reply = {0};
	struct entry *grown;
	struct error why;

	if (!key || strlen(key) != RECORDING_KEY_SIZE - 1 || nth < 1) {
		json_decref(object);
		return error_set(
		    err, EINVAL, "%s:%zu: no pair of a recording: 'key' or 'nth' is missing", replay->path, number);
	}
	if (replay->count == replay->room) {
		replay->room = replay->room ? replay->room * 2 : 64;
		grown = reallocarray(replay->entries, replay->room, sizeof *grown);
		if (!grown || replay->count >= LINES_MAX) {
			json_decref(object);
			replay->entries = grown ? grown : replay->entries;
			return error_set(err, ENOMEM, "%s:%zu: too many lines", replay->path, number);
		}
		replay->entries = grown;
	}
	replay->entries[replay->count] = (struct entry){.nth = (uint64_t)nth, .at = at, .size = size, .line = number};
	memcpy(replay->entries[replay->count++].key, key, RECORDING_KEY_SIZE);
	json_decref(object);
	/* A line that cannot be answered with is found now, not in the middle of a run. */
	if (recording_answer(line, size, &reply, &headers, &why) < 0)
		return error_set(err, EINVAL, "%s:%zu: no pair of a recording: %.150s", replay->path, number, why.text);
	reply_free(&reply);
	header_list_free(&headers);
	return 0;
}

static int load(struct replay *replay, struct error *err)
{
	char *line = NULL;
	size_t room = 0, number = 0;
	off_t at = 0;
	ssize_t size;
	int r = 0;

	errno = 0;
	while (r == 0 && (size = getline(&line, &room, replay->file)) > 0 && line[size - 1] == '\n') {
		if (++number == 1 && strcmp(line, RECORDING_FIRST) != 0)
			break;
		if (number > 1)
			r = add(replay, line, (size_t)size, at, number, err);
		at += size;
	}
	if (r == 0 && ferror(replay->file))
		r = error_set(err, errno ? errno : EIO, "%s: %s", replay->path, strerror(errno ? errno : EIO));
	else if (r == 0 && !at)
		r = error_set(err, EINVAL, "%s:1:1: no recording: its first line is not %.*s", replay->path,
		    (int)sizeof RECORDING_FIRST - 2, RECORDING_FIRST);
	free(line);
	return r;
}

int replay_open(struct replay **ret_replay, const char *path, struct error *err)
{
	struct replay *replay = calloc(1, sizeof *replay);

	if (!replay)
		return error_set(err, ENOMEM, "%s: no memory for it", path);
	replay->path = strdup(path);
	replay->asked = tally_create();
	replay->file = fopen(path, "re");
	if (!replay->file || !replay->path || !replay->asked) {
		if (!replay->file)
			error_set(err, errno, "the recording %.150s: %s", path, strerror(errno));
		else
			error_set(err, ENOMEM, "%s: no memory for it", path);
		replay_close(replay);
		return -1;
	}
	if (load(replay, err) < 0) {
		replay_close(replay);
		return -1;
	}
	if (replay->count)
		qsort(replay->entries, replay->count, sizeof *replay->entries, by_key);
	*ret_replay = replay;
	return 0;
}

void replay_close(struct replay *replay)
{
	if (!replay)
		return;
	if (replay->file)
		fclose(replay->file);
	tally_destroy(replay->asked);
	free(replay->entries);
	free(replay->path);
	free(replay);
}

/* The last line of the greatest number that is not above `nth`; NULL: there is none with the key. */
static const struct entry *find(const struct replay *replay, const char *key, uint64_t nth)
{
	size_t low = 0, high = replay->count;
	const struct entry *entry;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int r = strcmp(replay->entries[middle].key, key);

		if (r < 0 || (r == 0 && replay->entries[middle].nth <= nth))
			low = middle + 1;
		else
			high = middle;
	}
	entry = low ? &replay->entries[low - 1] : NULL;
	return entry && !strcmp(entry->key, key) ? entry : NULL;
}

int replay_find(struct replay *replay, const struct recording_request *request, struct reply *ret_reply,
    struct header_list *ret_headers, struct error *err)
{
	const struct entry *entry;
	char key[RECORDING_KEY_SIZE], *line;
	int r;

	recording_key(request, key);
	entry = find(replay, key, tally_of(replay->asked, key) + 1);
	tally_add(replay->asked, key);
	if (!entry)
		return error_set(err, ENOENT, "%.20s %.120s to %s with a body of the key %s", request->method,
		    request->path, request->provider, key);
	line = malloc(entry->size);
	if (!line)
		return error_set(err, ENOMEM, "no memory for an answer of %s", replay->path);
	if (pread(fileno(replay->file), line, entry->size, entry->at) != (ssize_t)entry->size)
		r = error_set(err, EIO, "%.150s has changed while it was answered from", replay->path);
	else
		r = recording_answer(line, entry->size, ret_reply, ret_headers, err);
	free(line);
	return r;
}
