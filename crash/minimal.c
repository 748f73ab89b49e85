/* SPDX-License-Identifier: Apache-2.0 */
/* Walks to the state again and writes it out. */
#include "crash/minimal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "crash/state.h"

typedef int (*found_fn)(void *arg, const struct model_state *state, struct error *err);

struct search {
	uint64_t ordinal;
	found_fn found;
	void *arg;
	struct error *err;
};

static int look(void *arg, const struct model_state *state)
{
	struct search *search = arg;

	if (state->ordinal != search->ordinal)
		return 0;
	return search->found(search->arg, state, search->err) < 0 ? -1 : 1;
}

static int walk_to(const struct trace *trace, const struct explore_options *options, uint64_t ordinal, found_fn found,
    void *arg, struct error *err)
{
	const struct model_options of_model = explore_model_options(options);
	struct search search = {ordinal, found, arg, err};
	struct model *model;
	int rc;

	if (model_create(&model, trace, &of_model, err) < 0)
		return -1;
	rc = model_walk(model, look, &search, err);
	model_destroy(model);
	if (rc == 0)
		return error_set(err, ENOENT, "there is no state %llu", (unsigned long long)ordinal);
	return rc < 0 ? -1 : 0;
}

/* --- operations --- */

struct printing {
	FILE *out;
	unsigned lines_max;
	bool all;
};

static void print_piece(FILE *out, const struct model_state *state, size_t op, size_t piece)
{
	static const char *const words[] = {"durable", "on disk", "MISSING", "TORN   ", "later  ", "       "};
	char text[PATH_MAX + 128], note[80];
	const enum model_fate fate = model_fate(state, op, piece, note, sizeof note);
	const size_t pieces = model_pieces(state->model, op);

	trace_describe(model_trace(state->model), op, text, sizeof text);
	fprintf(out, "  %4zu  %s  %s", op, words[fate], text);
	if (pieces > 1)
		fprintf(out, " (page %zu of %zu)", piece + 1, pieces);
	if (*note)
		fprintf(out, ": %s", note);
	fputc('\n', out);
}

static bool is_open(const struct model_state *state, size_t op)
{
	size_t piece;

	for (piece = 0; piece < model_pieces(state->model, op); piece++) {
		const enum model_fate fate = model_fate(state, op, piece, NULL, 0);

		if (fate == MODEL_PRESENT || fate == MODEL_MISSING || fate == MODEL_TORN)
			return true;
	}
	return false;
}

static int print_state(void *arg, const struct model_state *state, struct error *err)
{
	const struct printing *printing = arg;
	const struct trace *trace = model_trace(state->model);
	FILE *out = printing->out;
	unsigned lines = 0;
	size_t op, piece, first = state->at;

	for (op = trace->begin; op < state->at; op++)
		if (is_open(state, op) && first == state->at)
			first = op;
	if (printing->all)
		first = trace->begin;
	else if (first > trace->begin)
		fprintf(out, "        operations %zu to %zu are durable\n", trace->begin, first - 1);
	for (op = first; op < state->at; op++)
		for (piece = 0; piece < model_pieces(state->model, op); piece++) {
			const enum model_fate fate = model_fate(state, op, piece, NULL, 0);

			if (!printing->all && fate == MODEL_DURABLE)
				continue;
			if (lines++ < printing->lines_max || printing->all)
				print_piece(out, state, op, piece);
		}
	if (!printing->all && lines > printing->lines_max)
		fprintf(out, "        ... and %u more\n", lines - printing->lines_max);
	fprintf(out, "        the power fails; %zu of %zu lines were acknowledged\n", state->acked, trace->acks_count);
	return ferror(out) ? error_set(err, EIO, "cannot be printed") : 0;
}

int minimal_print(const struct trace *trace, const struct explore_options *options,
    const struct explore_finding *finding, FILE *out, unsigned lines_max, struct error *err)
{
	struct printing printing = {.out = out, .lines_max = lines_max};

	return walk_to(trace, options, finding->ordinal, print_state, &printing, err);
}

/* --- the directory --- */

static int make_parents(const char *dir, struct error *err)
{
	char path[PATH_MAX];
	char *at;

	snprintf(path, sizeof path, "%s", dir);
	for (at = path + 1; *at; at++) {
		if (*at != '/')
			continue;
		*at = '\0';
		if (mkdir(path, 0777) < 0 && errno != EEXIST)
			return error_set(err, errno, "%s: %s", path, strerror(errno));
		*at = '/';
	}
	if (mkdir(path, 0777) < 0)
		return error_set(err, errno, "%s: %s", path,
		    errno == EEXIST ? "a state is kept there already: remove it, or name another directory"
				    : strerror(errno));
	return 0;
}

static int write_state(void *arg, const struct model_state *state, struct error *err)
{
	const char *dir = arg;
	const struct trace *trace = model_trace(state->model);
	struct printing printing = {.all = true};
	struct state_dir *made;
	char path[PATH_MAX];
	int rc;

	snprintf(path, sizeof path, "%s/state", dir);
	if (make_parents(path, err) < 0 || state_open(&made, path, err) < 0)
		return -1;
	rc = state_make(made, state, err);
	state_close(made);
	if (rc < 0)
		return -1;
	snprintf(path, sizeof path, "%s/operations", dir);
	printing.out = fopen(path, "we");
	if (!printing.out)
		return error_set(err, errno, "%s: %s", path, strerror(errno));
	rc = print_state(&printing, state, err);
	if (fclose(printing.out) || rc < 0)
		return error_set(err, EIO, "%s: cannot be written", path);
	snprintf(path, sizeof path, "%s/acknowledged", dir);
	if (trace_save_acks(trace, state->acked, path, err) < 0)
		return -1;
	snprintf(path, sizeof path, "%s/trace", dir);
	return trace_save(trace, path, err);
}

int minimal_write(const struct trace *trace, const struct explore_options *options,
    const struct explore_finding *finding, const char *dir, struct error *err)
{
	char copy[PATH_MAX - sizeof "/acknowledged"];

	if (snprintf(copy, sizeof copy, "%s", dir) >= (int)sizeof copy)
		return error_set(err, ENAMETOOLONG, "%.100s...: too long", dir);
	return walk_to(trace, options, finding->ordinal, write_state, copy, err);
}
