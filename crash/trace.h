/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace: what a command and everything that it started did to the files below one directory, in one total order, with
 * the data; and the lines that it printed meanwhile, which are its acknowledgements. Written by a recorder (the
 * preloaded library of crash/record, a system-call notifier, a program that records itself), read by the explorer.
 *
 * A recorder reports each operation after it was performed, while nothing else can come between (it holds a lock round
 * the real call), with the number of bytes that were really written. What failed is not reported.
 *
 * Identity. A recorder names a file or directory by its inode number. trace_add turns these into numbers that are
 * never used twice (TRACE_ROOT is the directory itself): a TRACE_CREATE, TRACE_MKDIR or TRACE_SYMLINK always makes a
 * new one, also when the inode number was seen before. The first operations describe what was there before the
 * command started, as if it had just been created, and end with TRACE_BEGIN: all of that is durable.
 */
#ifndef TRITONE_CRASH_TRACE_H
#define TRITONE_CRASH_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "wal/error.h"

#define TRACE_MAGIC    0x31454341525454ull /* "TTRACE1", at the beginning of a file */
#define TRACE_ROOT     1u                  /* the directory itself, as trace_add numbers it */
#define TRACE_NAME_MAX 255u

/* A write to this descriptor, which nobody has, is a mark: include/tritone/faultpoint.h. */
#define TRACE_MARK_FD (-0x7472)
#define TRACE_ACK_FD  (-0x7473) /* the same, and it is an acknowledgement */

enum trace_kind {
	TRACE_BEGIN = 1, /* what came before was there when the command started */

	/* The name space. `dir` and `name`: where. */
	TRACE_CREATE = 0x10, /* `file`: a new, empty regular file */
	TRACE_MKDIR,         /* `file`: a new directory */
	TRACE_SYMLINK,       /* `file`; `data`: what it points to */
	TRACE_LINK,          /* `file` has got one more name */
	TRACE_UNLINK,        /* `file` has lost this name */
	TRACE_RMDIR,
	TRACE_RENAME, /* `file` from dir/name to dir2/name2; `other`: what that name meant before, 0 if nothing */

	/* One file. */
	TRACE_WRITE = 0x20, /* `size` bytes of `data` at `offset` (resolved: never "at the end") */
	TRACE_TRUNCATE,     /* is now `size` bytes long, longer or shorter than before */
	TRACE_ALLOCATE,     /* fallocate: `mode` as there, `offset`, `size` */

	/* Durability. */
	TRACE_FSYNC = 0x30, /* `file` may be a directory */
	TRACE_FDATASYNC,
	TRACE_MSYNC,
	TRACE_SYNC_ALL, /* sync, syncfs */

	/* What was said. */
	TRACE_OUTPUT = 0x40, /* `data`: bytes on standard output, any number; given to trace_add only, which makes: */
	TRACE_ACK,           /* `data`: one whole line, without its end */
	TRACE_MARK,          /* `data`: a name; a fault point was passed */

	/* `file` is mapped shared and writable: its content cannot be followed. Only for what a pattern lets be volatile:
	 * after a loss of power it is not there. */
	TRACE_VOLATILE = 0x50,
};

#define TRACE_DURABLE  0x01u /* of a write: O_DSYNC, O_SYNC, RWF_DSYNC: on the disk when the call returned */
#define TRACE_EXCHANGE 0x02u /* of a rename: the two names changed places */

/* In the fields that its kind names, else 0 and NULL. */
struct trace_op {
	uint32_t kind;  /* enum trace_kind */
	uint32_t flags; /* TRACE_DURABLE, ... */
	uint32_t pid;   /* who did it; for the reader only */
	uint32_t mode;
	uint64_t file, other;
	uint64_t dir, dir2;
	const char *name, *name2; /* one component each */
	uint64_t offset, size;
	const uint8_t *data;
	size_t data_size; /* of a write: == size */
};

/* A line that was acknowledged, or a mark: the crash points after `op` have it behind them. */
struct trace_line {
	size_t op;
	const char *text; /* ends with a NUL; may contain others */
	size_t size;
};

struct trace {
	char *root; /* the directory, as recorded; only for messages */
	struct trace_op *ops;
	size_t count;
	struct trace_line *acks, *marks;
	size_t acks_count, marks_count;
	size_t begin;   /* the index after TRACE_BEGIN; 0 if there was none */
	uint64_t files; /* numbers 1 ... files have been given out */
	struct trace_memory *memory;
};

int trace_create(struct trace **ret_trace, const char *root, struct error *err);
void trace_destroy(struct trace *trace); /* NULL is fine */

/* `inode` is what the recorder calls the directory itself. Once, before anything is added. */
int trace_set_root(struct trace *trace, uint64_t inode, struct error *err);

/*
 * Appends a copy of `op`, its inode numbers replaced by numbers of ours. EILSEQ: it speaks of a file that was never
 * seen; the text says which operation. TRACE_OUTPUT becomes one TRACE_ACK for each line that is now complete.
 */
int trace_add(struct trace *trace, const struct trace_op *op, struct error *err);

/* Adds all that is in `dir` now, and TRACE_BEGIN: a recorder's first act. Calls trace_set_root. */
int trace_add_tree(struct trace *trace, const char *dir, struct error *err);

/* Does a recorder's inode number mean something already? */
bool trace_knows(const struct trace *trace, uint64_t inode);

/* How many operations `trace` begins with that are those of `other`, whoever did them: what a disk may hold at any of
 * them is the same in both. */
size_t trace_begins_as(const struct trace *trace, const struct trace *other);

/* Does one of the patterns, as in fnmatch(3), match the file's name? They end with NULL; NULL: none do. */
bool trace_matches(const char *const *patterns, const char *name);

/* How many acknowledgements (marks) come before operation `op`. */
size_t trace_acks_before(const struct trace *trace, size_t op);
size_t trace_marks_before(const struct trace *trace, size_t op);

/* One line in words: "write 4096 bytes at 8192 of data.mdb". `to` gets at most `size` bytes. */
void trace_describe(const struct trace *trace, size_t op, char *to, size_t size);
/* The name that `file` was first given, for messages; "." for the directory itself. */
const char *trace_name(const struct trace *trace, uint64_t file);

/*
 * The file: struct trace_file_head, then for each operation a struct trace_record with name, name2 and data behind it,
 * without anything between; the whole padded to 8 bytes. Numbers are the machine's own: a trace is not for travelling.
 */
struct trace_file_head {
	uint64_t magic;
	uint64_t end;        /* bytes that count; what is behind is a record that was never finished */
	uint64_t root_inode; /* what `file` and `dir` call the directory itself */
	uint64_t reserved;
	char root[4064];
};

struct trace_record {
	uint32_t size; /* of the whole record, a multiple of 8 */
	uint32_t kind, flags, pid;
	uint32_t mode;
	uint16_t name_size, name2_size;
	uint64_t file, other, dir, dir2;
	uint64_t offset, length; /* struct trace_op's `size` */
	uint64_t data_size;
};

/* How an operation is written. The whole, padded: more than 32 bits can tell is for the caller to see. */
static inline size_t trace_record_size(const struct trace_op *op)
{
	const size_t names = (op->name ? strlen(op->name) : 0) + (op->name2 ? strlen(op->name2) : 0);

	return (sizeof(struct trace_record) + names + op->data_size + 7) & ~(size_t)7;
}

static inline struct trace_record trace_record_of(const struct trace_op *op)
{
	return (struct trace_record){.size = (uint32_t)trace_record_size(op),
	    .kind = op->kind,
	    .flags = op->flags,
	    .pid = op->pid,
	    .mode = op->mode,
	    .name_size = (uint16_t)(op->name ? strlen(op->name) : 0),
	    .name2_size = (uint16_t)(op->name2 ? strlen(op->name2) : 0),
	    .file = op->file,
	    .other = op->other,
	    .dir = op->dir,
	    .dir2 = op->dir2,
	    .offset = op->offset,
	    .length = op->size,
	    .data_size = op->data_size};
}

/* Adds the operations of `size` bytes of records, which are 8-aligned. */
int trace_add_records(struct trace *trace, const uint8_t *bytes, size_t size, struct error *err);
int trace_save(const struct trace *trace, const char *path, struct error *err);
/* The first `count` lines that were acknowledged, as they were printed, become the file `path`. */
int trace_save_acks(const struct trace *trace, size_t count, const char *path, struct error *err);
int trace_load(struct trace **ret_trace, const char *path, struct error *err);

#endif
