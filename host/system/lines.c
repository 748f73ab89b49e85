/* SPDX-License-Identifier: Apache-2.0 */
/* A file as a ledger, read on from where it was left. */
#include "system/lines.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define PIECE_SIZE 65536u

struct lines {
	struct history *history;
	char *file;
	pcre2_code *code;
	pcre2_match_data *match;
	off_t from;         /* the first byte that was not read */
	ino_t inode;        /* of the file that was read */
	XXH3_state_t *read; /* over all bytes up to `from` */
	char *line;         /* the beginning of one that is not whole yet, LINES_LINE_MAX */
	size_t used;
	uint64_t number; /* of whole lines */
	uint64_t commits, others;
	bool beginning;       /* what is read now was there before */
	struct error trouble; /* code 0: none; it stays */
};

static int compile(struct lines *lines, const char *pattern, struct error *err)
{
	PCRE2_UCHAR why[128];
	PCRE2_SIZE at;
	int code;

	lines->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, 0, &code, &at, NULL);
	if (lines->code)
		lines->match = pcre2_match_data_create_from_pattern(lines->code, NULL);
	if (lines->match)
		return 0;
	if (lines->code)
		return error_set(err, ENOMEM, "no memory for the ledger");
	pcre2_get_error_message(code, why, sizeof why);
	return error_set(err, EINVAL, "the ledger's pattern is wrong at %zu: %s", (size_t)at, (const char *)why);
}

int lines_create(struct lines **ret_lines, const struct lines_options *options, struct error *err)
{
	struct lines *lines = calloc(1, sizeof *lines);

	if (!lines)
		return error_set(err, ENOMEM, "no memory for the ledger");
	lines->history = options->history;
	lines->file = strdup(options->file);
	lines->line = malloc(LINES_LINE_MAX);
	lines->read = XXH3_createState();
	if (!lines->file || !lines->line || !lines->read || XXH3_64bits_reset(lines->read) != XXH_OK) {
		error_set(err, ENOMEM, "no memory for the ledger");
		goto fail;
	}
	if (compile(lines, options->pattern, err) != 0)
		goto fail;
	lines->beginning = true;
	if (lines_look(lines, err) != 0)
		goto fail;
	lines->beginning = false;
	*ret_lines = lines;
	return 0;
fail:
	lines_destroy(lines);
	return -1;
}

void lines_destroy(struct lines *lines)
{
	if (!lines)
		return;
	if (lines->match)
		pcre2_match_data_free(lines->match);
	if (lines->code)
		pcre2_code_free(lines->code);
	XXH3_freeState(lines->read);
	free(lines->line);
	free(lines->file);
	free(lines);
}

/* A group's text, "" when there is no such group or it took no part. */
static void group(const struct lines *lines, const char *name, char *ret, size_t size)
{
	PCRE2_SIZE length = size;

	if (pcre2_substring_copy_byname(lines->match, (PCRE2_SPTR)name, (PCRE2_UCHAR *)ret, &length) != 0)
		ret[0] = '\0';
}

static int64_t number_of(const char *text)
{
	char *end;
	long long value = strtoll(text, &end, 10);

	return *end || end == text ? 0 : value;
}

static void take(struct lines *lines)
{
	char task[256], attempt[24], epoch[24], id[128], key[32];

	lines->number++;
	if (pcre2_match(lines->code, (PCRE2_SPTR)lines->line, lines->used, 0, 0, lines->match, NULL) < 0) {
		lines->others++;
		return;
	}
	if (lines->beginning)
		return;
	group(lines, "task", task, sizeof task);
	group(lines, "attempt", attempt, sizeof attempt);
	group(lines, "epoch", epoch, sizeof epoch);
	group(lines, "id", id, sizeof id);
	snprintf(key, sizeof key, "line %" PRIu64, lines->number);
	if (lines->history)
		history_append(lines->history, &(struct op){.kind = OP_COMMIT,
						   .type = OP_OK,
						   .pair = OP_NONE,
						   .task = task,
						   .key = key,
						   .detail = id,
						   .attempt = number_of(attempt),
						   .epoch = number_of(epoch),
						   .value = (int64_t)lines->commits});
	lines->commits++;
}

static int spoiled(struct lines *lines, int code, const char *what, struct error *err)
{
	error_set(&lines->trouble, code, "the ledger %s: %s", lines->file, what);
	return error_set(err, code, "%s", lines->trouble.text);
}

static int take_bytes(struct lines *lines, const char *bytes, size_t size, struct error *err)
{
	char what[96];

	for (size_t i = 0; i < size; i++) {
		if (bytes[i] == '\n') {
			take(lines);
			lines->used = 0;
			continue;
		}
		if (bytes[i] == '\0' || lines->used == LINES_LINE_MAX) {
			snprintf(what, sizeof what, "line %" PRIu64 " is %s", lines->number + 1,
			    bytes[i] ? "too long to be one" : "no text: it has a byte 0");
			return spoiled(lines, EILSEQ, what, err);
		}
		lines->line[lines->used++] = bytes[i];
	}
	return 0;
}

/* The file is another one, or shorter: does it begin with all that was read? */
static bool same_beginning(const struct lines *lines, int fd, char *piece)
{
	XXH3_state_t *again = XXH3_createState();
	off_t at = 0;
	bool same = false;

	if (again && XXH3_64bits_reset(again) == XXH_OK) {
		while (at < lines->from) {
			size_t want = lines->from - at < (off_t)PIECE_SIZE ? (size_t)(lines->from - at) : PIECE_SIZE;
			ssize_t got = pread(fd, piece, want, at);

			if (got < 0 && errno == EINTR)
				continue;
			if (got <= 0)
				break;
			XXH3_64bits_update(again, piece, (size_t)got);
			at += got;
		}
		same = at == lines->from && XXH3_64bits_digest(again) == XXH3_64bits_digest(lines->read);
	}
	XXH3_freeState(again);
	return same;
}

static int read_on(struct lines *lines, int fd, const struct stat *st, char *piece, struct error *err)
{
	if (!S_ISREG(st->st_mode))
		return spoiled(lines, EILSEQ, "it is no regular file", err);
	if ((lines->from && st->st_ino != lines->inode) || st->st_size < lines->from)
		if (!same_beginning(lines, fd, piece))
			return spoiled(lines, EPROTO, "what had landed is not in it any more", err);
	lines->inode = st->st_ino;
	for (;;) {
		ssize_t got = pread(fd, piece, PIECE_SIZE, lines->from);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return error_set(err, errno, "the ledger %s: %s", lines->file, strerror(errno));
		if (got == 0)
			return 0;
		XXH3_64bits_update(lines->read, piece, (size_t)got);
		lines->from += got;
		if (take_bytes(lines, piece, (size_t)got, err) != 0)
			return -1;
	}
}

int lines_look(struct lines *lines, struct error *err)
{
	int fd, result;
	struct stat st;
	char *piece;

	if (lines->trouble.code)
		return error_set(err, lines->trouble.code, "%s", lines->trouble.text);
	fd = open(lines->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0; /* between a removal and its replacement, or not there yet */
	if (fd < 0)
		return error_set(err, errno, "the ledger %s: %s", lines->file, strerror(errno));
	piece = malloc(PIECE_SIZE);
	if (!piece)
		result = error_set(err, ENOMEM, "no memory for the ledger");
	else if (fstat(fd, &st) != 0)
		result = error_set(err, errno, "the ledger %s: %s", lines->file, strerror(errno));
	else
		result = read_on(lines, fd, &st, piece, err);
	free(piece);
	close(fd);
	return result;
}

int lines_verify(struct lines *lines, struct error *err)
{
	char *piece;
	bool same;
	int fd;

	if (lines_look(lines, err) != 0)
		return -1;
	if (!lines->from)
		return 0;
	fd = open(lines->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return error_set(err, errno, "the ledger %s: what had landed is not in it any more: %s", lines->file,
		    strerror(errno));
	piece = malloc(PIECE_SIZE);
	same = piece && same_beginning(lines, fd, piece);
	close(fd);
	if (!piece)
		return error_set(err, ENOMEM, "no memory for the ledger");
	free(piece);
	return same ? 0 : spoiled(lines, EPROTO, "what had landed is not in it any more", err);
}

/* A failed look is tried again at the next event and at the end, where it is reported. */
static void on_event(void *arg, const char *path, uint32_t mask)
{
	struct lines *lines = arg;

	(void)mask;
	if (!strcmp(path, lines->file))
		lines_look(lines, NULL);
}

int lines_watch(struct lines *lines, struct watch *watch, struct error *err)
{
	return watch_beside(watch, lines->file, on_event, lines, err);
}

void lines_count(const struct lines *lines, uint64_t *ret_commits, uint64_t *ret_others)
{
	*ret_commits = lines->commits;
	*ret_others = lines->others;
}
