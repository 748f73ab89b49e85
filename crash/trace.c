/* SPDX-License-Identifier: Apache-2.0 */
/* The trace in memory: operations, the numbers of files, lines. What is on disk is in trace_file.c. */
#include "crash/trace.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_SIZE (1u << 20)

/* Names and data are copied into blocks that never move. */
struct block {
	struct block *next;
	size_t used, size;
	uint8_t bytes[];
};

struct known {
	uint64_t inode;
	const char *name; /* the first one, by file number */
};

struct trace_memory {
	struct block *blocks;
	size_t ops_capacity, acks_capacity, marks_capacity;
	/* by file number: the inode that a recorder calls it by, newest last; looked up from the end */
	struct known *files;
	size_t files_capacity;
	uint8_t *partial; /* of a line that is not yet whole */
	size_t partial_size, partial_capacity;
};

static void *keep(struct trace *trace, const void *bytes, size_t size, bool text)
{
	struct block *block = trace->memory->blocks;
	const size_t needed = size + 1;
	uint8_t *at;

	if (!block || block->size - block->used < needed) {
		const size_t room = needed > BLOCK_SIZE ? needed : BLOCK_SIZE;

		block = malloc(sizeof *block + room);
		if (!block)
			return NULL;
		*block = (struct block){.next = trace->memory->blocks, .size = room};
		trace->memory->blocks = block;
	}
	at = block->bytes + block->used;
	if (size)
		memcpy(at, bytes, size);
	at[size] = '\0';
	block->used += text ? needed : size;
	if (!text && block->used % 8 && block->size - block->used >= 8)
		block->used += 8 - block->used % 8;
	return at;
}

/* Room for one more. NULL: no memory, `array` is as it was. */
static void *grow(void *array, size_t count, size_t *capacity, size_t size)
{
	size_t wanted = *capacity ? 2 * *capacity : 64;
	void *more;

	if (count < *capacity)
		return array;
	more = reallocarray(array, wanted, size);
	if (more)
		*capacity = wanted;
	return more;
}

int trace_create(struct trace **ret_trace, const char *root, struct error *err)
{
	struct trace *trace = calloc(1, sizeof *trace);

	if (trace) {
		trace->memory = calloc(1, sizeof *trace->memory);
		trace->root = strdup(root);
	}
	if (!trace || !trace->memory || !trace->root) {
		trace_destroy(trace);
		return error_set(err, ENOMEM, "%s: no memory for a trace", root);
	}
	*ret_trace = trace;
	return 0;
}

void trace_destroy(struct trace *trace)
{
	struct block *block, *next;

	if (!trace)
		return;
	if (trace->memory) {
		for (block = trace->memory->blocks; block; block = next) {
			next = block->next;
			free(block);
		}
		free(trace->memory->files);
		free(trace->memory->partial);
		free(trace->memory);
	}
	free(trace->root);
	free(trace->ops);
	free(trace->acks);
	free(trace->marks);
	free(trace);
}

static int no_memory(const struct trace *trace, struct error *err)
{
	return error_set(err, ENOMEM, "%s: no memory for its trace of %zu operations", trace->root, trace->count);
}

/* A number for something new. 0: no memory. */
static uint64_t number_new(struct trace *trace, uint64_t inode, const char *name)
{
	struct trace_memory *memory = trace->memory;
	struct known *files = grow(memory->files, trace->files, &memory->files_capacity, sizeof *files);

	if (!files)
		return 0;
	memory->files = files;
	files[trace->files] = (struct known){inode, name};
	return ++trace->files;
}

/* 0: never seen. */
static uint64_t number_of(const struct trace *trace, uint64_t inode)
{
	uint64_t number;

	for (number = trace->files; number; number--)
		if (trace->memory->files[number - 1].inode == inode)
			return number;
	return 0;
}

bool trace_matches(const char *const *patterns, const char *name)
{
	for (; patterns && *patterns; patterns++)
		if (fnmatch(*patterns, name, 0) == 0)
			return true;
	return false;
}

bool trace_knows(const struct trace *trace, uint64_t inode)
{
	return number_of(trace, inode) != 0;
}

int trace_set_root(struct trace *trace, uint64_t inode, struct error *err)
{
	if (trace->files)
		return error_set(err, EINVAL, "%s: its trace has a root already", trace->root);
	return number_new(trace, inode, ".") == TRACE_ROOT ? 0 : no_memory(trace, err);
}

static bool makes_one(uint32_t kind)
{
	return kind == TRACE_CREATE || kind == TRACE_MKDIR || kind == TRACE_SYMLINK;
}

static bool is_of_a_file(uint32_t kind)
{
	return (kind >= TRACE_CREATE && kind < TRACE_SYNC_ALL) || kind == TRACE_VOLATILE;
}

static bool has_a_place(uint32_t kind)
{
	return kind >= TRACE_CREATE && kind <= TRACE_RENAME;
}

/* Inode numbers become numbers of ours. */
static int resolve(struct trace *trace, struct trace_op *op, struct error *err)
{
	const uint64_t inode = op->file;

	if (has_a_place(op->kind)) {
		op->dir = number_of(trace, op->dir);
		if (op->kind == TRACE_RENAME) {
			op->dir2 = number_of(trace, op->dir2);
			op->other = op->other ? number_of(trace, op->other) : 0;
		}
		if (!op->dir || (op->kind == TRACE_RENAME && !op->dir2))
			return error_set(err, EILSEQ, "%s: operation %zu of its trace is in a directory never seen",
			    trace->root, trace->count);
	}
	if (makes_one(op->kind)) {
		op->file = number_new(trace, inode, op->name);
		return op->file ? 0 : no_memory(trace, err);
	}
	if (!is_of_a_file(op->kind))
		return 0;
	op->file = number_of(trace, inode);
	if (!op->file)
		return error_set(err, EILSEQ, "%s: operation %zu of its trace (0x%x) is on file %llu, never seen",
		    trace->root, trace->count, op->kind, (unsigned long long)inode);
	return 0;
}

static int push(struct trace *trace, const struct trace_op *given, struct error *err)
{
	struct trace_op op = *given;
	struct trace_op *ops = grow(trace->ops, trace->count, &trace->memory->ops_capacity, sizeof *ops);

	if (!ops)
		return no_memory(trace, err);
	trace->ops = ops;
	if (op.name && !(op.name = keep(trace, op.name, strlen(op.name), true)))
		return no_memory(trace, err);
	if (op.name2 && !(op.name2 = keep(trace, op.name2, strlen(op.name2), true)))
		return no_memory(trace, err);
	if (op.data && !(op.data = keep(trace, op.data, op.data_size, op.kind >= TRACE_OUTPUT)))
		return no_memory(trace, err);
	if (resolve(trace, &op, err) < 0)
		return -1;
	ops[trace->count++] = op;
	if (op.kind == TRACE_BEGIN)
		trace->begin = trace->count;
	return 0;
}

static int push_line(struct trace *trace, const struct trace_op *op, struct error *err)
{
	const bool is_ack = op->kind == TRACE_ACK;
	struct trace_line **lines = is_ack ? &trace->acks : &trace->marks, *more;
	size_t *count = is_ack ? &trace->acks_count : &trace->marks_count;
	size_t *capacity = is_ack ? &trace->memory->acks_capacity : &trace->memory->marks_capacity;

	more = grow(*lines, *count, capacity, sizeof *more);
	if (!more)
		return no_memory(trace, err);
	*lines = more;
	if (push(trace, op, err) < 0)
		return -1;
	more[(*count)++] =
	    (struct trace_line){trace->count - 1, (const char *)trace->ops[trace->count - 1].data, op->data_size};
	return 0;
}

/* The bytes of standard output are one stream, whoever writes them. */
static int push_output(struct trace *trace, const struct trace_op *op, struct error *err)
{
	struct trace_memory *memory = trace->memory;
	size_t begin = 0, end;
	uint8_t *bytes;

	if (memory->partial_capacity - memory->partial_size < op->data_size) {
		const size_t wanted = 2 * (memory->partial_size + op->data_size);

		bytes = realloc(memory->partial, wanted);
		if (!bytes)
			return no_memory(trace, err);
		memory->partial = bytes;
		memory->partial_capacity = wanted;
	}
	bytes = memory->partial;
	if (op->data_size)
		memcpy(bytes + memory->partial_size, op->data, op->data_size);
	memory->partial_size += op->data_size;
	for (end = 0; end < memory->partial_size; end++) {
		struct trace_op line = {
		    .kind = TRACE_ACK, .pid = op->pid, .data = bytes + begin, .data_size = end - begin};

		if (bytes[end] != '\n')
			continue;
		if (push_line(trace, &line, err) < 0)
			return -1;
		begin = end + 1;
	}
	if (begin) {
		memory->partial_size -= begin;
		memmove(bytes, bytes + begin, memory->partial_size);
	}
	return 0;
}

int trace_add(struct trace *trace, const struct trace_op *op, struct error *err)
{
	if (op->kind == TRACE_WRITE && op->data_size != op->size)
		return error_set(err, EINVAL, "%s: operation %zu of its trace: a write of %llu bytes with %zu of data",
		    trace->root, trace->count, (unsigned long long)op->size, op->data_size);
	if (has_a_place(op->kind) && (!op->name || (op->kind == TRACE_RENAME && !op->name2)))
		return error_set(err, EINVAL, "%s: operation %zu of its trace has no name", trace->root, trace->count);
	if (op->kind == TRACE_OUTPUT)
		return push_output(trace, op, err);
	if (op->kind == TRACE_ACK || op->kind == TRACE_MARK)
		return push_line(trace, op, err);
	return push(trace, op, err);
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static bool same_op(const struct trace_op *a, const struct trace_op *b)
{
	return a->kind == b->kind && a->flags == b->flags && a->mode == b->mode && a->file == b->file &&
	       a->other == b->other && a->dir == b->dir && a->dir2 == b->dir2 && a->offset == b->offset &&
	       a->size == b->size && a->data_size == b->data_size && same_text(a->name, b->name) &&
	       same_text(a->name2, b->name2) && (!a->data_size || !memcmp(a->data, b->data, a->data_size));
}

size_t trace_begins_as(const struct trace *trace, const struct trace *other)
{
	size_t i = 0;

	while (i < trace->count && i < other->count && same_op(&trace->ops[i], &other->ops[i]))
		i++;
	return i;
}

/* The lines are in the order of their operations. */
static size_t lines_before(const struct trace_line *lines, size_t count, size_t op)
{
	size_t low = 0, high = count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (lines[middle].op < op)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

size_t trace_acks_before(const struct trace *trace, size_t op)
{
	return lines_before(trace->acks, trace->acks_count, op);
}

size_t trace_marks_before(const struct trace *trace, size_t op)
{
	return lines_before(trace->marks, trace->marks_count, op);
}

const char *trace_name(const struct trace *trace, uint64_t file)
{
	return file && file <= trace->files ? trace->memory->files[file - 1].name : "?";
}
