/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file as a ledger: each line that matches the pattern is a commit, and becomes a COMMIT operation whose key is "line N" as soon as the
 * line is whole. What is in the file at the beginning is not reported, nor are lines that do not match. For one thread.
 */
#ifndef TRITONE_SYSTEM_LINES_H
#define TRITONE_SYSTEM_LINES_H

#include <stdint.h>

#include "history/history.h"
#include "system/watch.h"
#include "wal/error.h"

#define LINES_LINE_MAX 65536u /* bytes; nothing that is a line is longer */

struct lines;

struct lines_options {
	struct history *history; /* NULL: only counted */
	const char *file;        /* absolute; need not exist yet */
	const char *pattern;     /* PCRE2, with the groups task and, if there are such, attempt, epoch, id */
};

int lines_create(struct lines **ret_lines, const struct lines_options *options, struct error *err);
void lines_destroy(struct lines *lines); /* NULL is fine */
int lines_watch(struct lines *lines, struct watch *watch, struct error *err);
/*
 * Reads on. No file is no error. EILSEQ: it holds what is no text, or no lines; EPROTO: what had landed is not in it any more. Such an
 * error stays.
 */
int lines_look(struct lines *lines, struct error *err);
/* The same, and all that was read is read again: it may have been written over, or the file be gone. */
int lines_verify(struct lines *lines, struct error *err);
/* How many lines were commits, and how many were not. */
void lines_count(const struct lines *lines, uint64_t *ret_commits, uint64_t *ret_others);

#endif
