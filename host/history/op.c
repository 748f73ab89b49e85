/* SPDX-License-Identifier: Apache-2.0 */
/* Operations as words: names of types and kinds, and the one line that people read. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "history/history.h"

/* What the numbers of each kind are called; NULL: not shown. */
static const struct kind_words {
	const char *name, *status, *value, *number;
	bool zero_value; /* a value of 0 says something, too */
} kind_words[] = {
    [OP_SUBMIT] = {"submit", "status", NULL, NULL, false},
    [OP_OUTCOME] = {"outcome", NULL, NULL, NULL, false},
    [OP_COMMIT] = {"commit", NULL, "place", NULL, true},
    [OP_DELETION] = {"deletion", NULL, NULL, NULL, false},
    [OP_CALL] = {"call", "status", "tokens", "retry-after", false},
    [OP_NOTIFY] = {"notify", "status", NULL, NULL, false},
    [OP_AGENT] = {"agent", NULL, "pid", NULL, false},
    [OP_SYSTEM] = {"system", "status", "pid", NULL, false},
    [OP_FAULT] = {"fault", NULL, NULL, NULL, false},
    [OP_EVIDENCE] = {"evidence", NULL, NULL, NULL, false},
    [OP_REVERT] = {"revert", NULL, NULL, NULL, false},
    [OP_CLAIM] = {"claim", NULL, "met", "current", true},
    [OP_STATEFILE] = {"statefile", NULL, NULL, NULL, false},
    [OP_WAL] = {"wal", NULL, "records", NULL, false},
    [OP_PROBE] = {"probe", NULL, NULL, "current", false},
    [OP_STAGE] = {"stage", NULL, NULL, NULL, false},
    [OP_OUTPUT] = {"output", NULL, NULL, NULL, false},
    [OP_FILE] = {"file", NULL, NULL, NULL, false},
};

#define KIND_COUNT (sizeof kind_words / sizeof *kind_words)

const char *op_type_name(enum op_type type)
{
	switch (type) {
	case OP_INVOKE:
		return "invoke";
	case OP_OK:
		return "ok";
	case OP_FAIL:
		return "fail";
	case OP_INFO:
		return "info";
	}
	return "?";
}

const char *op_kind_name(enum op_kind kind)
{
	return (size_t)kind < KIND_COUNT && kind_words[kind].name ? kind_words[kind].name : "?";
}

struct line {
	char *buf;
	size_t size, used;
};

static void line_add(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void line_add(struct line *line, const char *format, ...)
{
	va_list args;
	int n;

	if (line->used + 1 >= line->size)
		return;
	va_start(args, format);
	n = vsnprintf(line->buf + line->used, line->size - line->used, format, args);
	va_end(args);
	if (n > 0)
		line->used += (size_t)n;
	if (line->used >= line->size)
		line->used = line->size - 1;
}

static void line_word(struct line *line, const char *word)
{
	if (word && *word)
		line_add(line, " %s", word);
}

/* What a system wrote about itself may hold anything: it stays one line, and no escape sequence reaches a terminal. */
static void line_clean(const struct line *line)
{
	size_t i;

	for (i = 0; i < line->used; i++)
		if ((unsigned char)line->buf[i] < ' ' || line->buf[i] == 0x7f)
			line->buf[i] = ' ';
}

void op_format(const struct op *op, char *buf, size_t size)
{
	static const struct kind_words unknown = {"?", "status", "value", "number", false};
	const struct kind_words *words =
	    (size_t)op->kind < KIND_COUNT && kind_words[op->kind].name ? &kind_words[op->kind] : &unknown;
	struct line line = {buf, size, 0};
	bool done = op->type == OP_OK; /* only what happened has a place, tokens, a value */

	if (!size)
		return;
	buf[0] = '\0';
	line_add(&line, "%llu.%03u s  %s %s ", (unsigned long long)(op->time_us / 1000000),
	    (unsigned)(op->time_us / 1000 % 1000), words->name, op_type_name(op->type));
	line_word(&line, op->task);
	line_word(&line, op->actor);
	if (op->attempt)
		line_add(&line, " attempt %lld", (long long)op->attempt);
	if (op->epoch)
		line_add(&line, " epoch %lld", (long long)op->epoch);
	line_word(&line, op->key);
	if (words->status && op->status)
		line_add(&line, " %s %lld", words->status, (long long)op->status);
	/* Of a call that failed the value is a lag, and so is the number of one that went well: they are for the checkers. */
	if (words->value && (op->value || (words->zero_value && done)) && (op->kind != OP_CALL || done))
		line_add(&line, " %s %lld", words->value, (long long)op->value);
	if (words->number && (fpclassify(op->number) != FP_ZERO || op->kind == OP_CLAIM) &&
	    !(op->kind == OP_CALL && (op->number < 0 || done)))
		line_add(&line, " %s %g", words->number, op->number);
	if (op->detail && *op->detail)
		line_add(&line, " (%s)", op->detail);
	line_clean(&line);
}
