/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model: what a disk may hold when the power fails, for each point of a trace.
 *
 *   prefix   all operations up to the point, and nothing after it: what a kill of the process leaves behind
 *   subset   of the writes that no sync of their file has covered yet, any may be there and any may be missing (a write
 *            counts page by page); of the operations on the name space and on sizes, the first so many
 *   sector   the last write is torn between sectors of 512 bytes, in any way; the other uncovered writes are all there,
 *            or none
 *   byte     it is torn between any two bytes. Stronger than what disks promise
 *
 * What is promised, and what is not (ext4 with data=ordered, and less):
 *  - Operations on the name space (create, link, unlink, rename, mkdir ...) and changes of size by truncate reach the
 *    disk in their order, as through a journal, each whole. They are durable once the directory of the entry has been
 *    fsynced; with it, all before. The sync of a file does not make its name durable (ext4 does: we promise less). It
 *    does make its size durable.
 *  - Data are durable after fsync, fdatasync, msync of the file or sync, or at once with O_DSYNC and O_SYNC. Until then
 *    they come in any order, also against names: a renamed file may be empty.
 *  - What was never written is zeros, never old content of other files; a file is as long as what is there of it.
 *  - Pages and sectors do not rot: a disk that lies, or loses what it had, is not modelled.
 *  - Modes, owners, times and extended attributes are not followed.
 */
#ifndef TRITONE_CRASH_MODEL_H
#define TRITONE_CRASH_MODEL_H

#include "crash/content.h"
#include "crash/space.h"
#include "crash/trace.h"
#include "wal/error.h"

enum model_kind { MODEL_PREFIX, MODEL_SUBSET, MODEL_SECTOR, MODEL_BYTE };
#define MODEL_KINDS   4
#define MODEL_DEFAULT ((1u << MODEL_PREFIX) | (1u << MODEL_SUBSET) | (1u << MODEL_SECTOR))

const char *model_name(enum model_kind kind);
/* "prefix,subset": a set of bits, 1 << kind. */
int model_parse(const char *text, unsigned *ret_kinds, struct error *err);

/* Valid during the visit. */
struct model_state {
	enum model_kind kind;
	size_t at;            /* operations before it were begun */
	size_t acked, marked; /* lines before it */
	struct digest digest; /* of the names and contents */
	uint64_t ordinal;     /* counts all visits, also of what was seen before */
	const struct model *model;
};

struct model_options {
	unsigned kinds;
	const char *const *volatiles; /* name patterns, ends with NULL, or NULL: these files are absent */
	uint64_t seed;
	uint64_t states_max; /* 0: no limit. Beyond it, points with many states are sampled */
	size_t from; /* no states of points before this operation: they were another trace's, see trace_begins_as */
};

struct model;

int model_create(
    struct model **ret_model, const struct trace *trace, const struct model_options *options, struct error *err);
void model_destroy(struct model *model);

const struct trace *model_trace(const struct model *model);

/* Visits all states, the same ones in the same order each time. What the visitor returns, if not 0, ends it. */
typedef int (*model_visit_fn)(void *arg, const struct model_state *state);
int model_walk(struct model *model, model_visit_fn visit, void *arg, struct error *err);

/* How many visits a walk makes for each kind, and whether all of its states are among them. */
struct model_count {
	uint64_t visits[MODEL_KINDS];
	bool exhaustive;
};
void model_count(const struct model *model, struct model_count *ret_count);

/* What the state holds: entries of the name space, each file's content. */
struct model_file {
	const struct space_entry *entry;
	const struct variant *variant; /* of a regular file */
};
size_t model_files(const struct model_state *state);
struct model_file model_file(const struct model_state *state, size_t index);

/* Which operations of the trace reached the disk in this state, for the reader. */
enum model_fate { MODEL_DURABLE, MODEL_PRESENT, MODEL_MISSING, MODEL_TORN, MODEL_LATER, MODEL_NEUTRAL };
/* Of the operation's piece of that number (a write has as many pieces as it touches pages). */
enum model_fate model_fate(const struct model_state *state, size_t op, size_t piece, char *note, size_t note_size);
size_t model_pieces(const struct model *model, size_t op);

#endif
