/* SPDX-License-Identifier: Apache-2.0 */
/* Entries of directories, in a list: there are few. */
#include "crash/space.h"

#include <stdlib.h>
#include <string.h>

int space_copy(struct space *to, const struct space *from)
{
	struct space_entry *entries = calloc(from->count + 8, sizeof *entries);

	if (!entries)
		return -1;
	if (from->count)
		memcpy(entries, from->entries, from->count * sizeof *entries);
	*to = (struct space){.entries = entries, .count = from->count, .capacity = from->count + 8};
	return 0;
}

void space_finish(struct space *space)
{
	free(space->entries);
	*space = (struct space){0};
}

static struct space_entry *find(struct space *space, uint64_t dir, const char *name)
{
	size_t i;

	for (i = 0; i < space->count; i++)
		if (space->entries[i].dir == dir && !strcmp(space->entries[i].name, name))
			return &space->entries[i];
	return NULL;
}

static const struct space_entry *find_file(const struct space *space, uint64_t file)
{
	size_t i;

	for (i = 0; i < space->count; i++)
		if (space->entries[i].file == file)
			return &space->entries[i];
	return NULL;
}

static void drop(struct space *space, struct space_entry *entry)
{
	const size_t after = space->count - (size_t)(entry - space->entries) - 1;

	memmove(entry, entry + 1, after * sizeof *entry);
	space->count--;
}

/* Where an entry is, from the entry of its directory. */
static int name_path(struct space *space, struct space_entry *entry, struct slab *slab)
{
	const struct space_entry *parent = entry->dir == TRACE_ROOT ? NULL : find_file(space, entry->dir);
	const size_t head = parent && parent->path ? strlen(parent->path) + 1 : 0, tail = strlen(entry->name);
	char *path = slab_take(slab, head + tail + 1);

	if (!path)
		return -1;
	if (head) {
		memcpy(path, parent->path, head - 1);
		path[head - 1] = '/';
	}
	memcpy(path + head, entry->name, tail + 1);
	entry->path = path;
	entry->path_digest = digest_of(path, head + tail, entry->kind);
	return 0;
}

static int add(struct space *space, struct space_entry entry, struct slab *slab)
{
	struct space_entry *entries = space->entries, *old = find(space, entry.dir, entry.name);

	if (old)
		drop(space, old);
	if (space->count == space->capacity) {
		entries = reallocarray(entries, 2 * space->capacity + 8, sizeof *entries);
		if (!entries)
			return -1;
		space->entries = entries;
		space->capacity = 2 * space->capacity + 8;
	}
	entries[space->count] = entry;
	return name_path(space, &entries[space->count++], slab);
}

/* All that is below a directory that was moved is named anew, and comes after it again. */
static int move_subtree(struct space *space, uint64_t dir, struct slab *slab)
{
	size_t i, count = space->count;

	for (i = 0; i < count; i++) {
		struct space_entry entry = space->entries[i];

		if (entry.dir != dir)
			continue;
		drop(space, &space->entries[i--]);
		count--;
		if (add(space, entry, slab) < 0 ||
		    (entry.kind == TRACE_MKDIR && move_subtree(space, entry.file, slab) < 0))
			return -1;
	}
	return 0;
}

static int rename_entry(struct space *space, const struct trace_op *op, struct slab *slab)
{
	struct space_entry *from = find(space, op->dir, op->name), *to = find(space, op->dir2, op->name2);
	struct space_entry moved, other = {0};
	const bool exchange = (op->flags & TRACE_EXCHANGE) && to;

	if (!from)
		return 0;
	moved = *from;
	if (exchange)
		other = *to;
	drop(space, from);
	moved.dir = op->dir2;
	moved.name = op->name2;
	if (add(space, moved, slab) < 0 || (moved.kind == TRACE_MKDIR && move_subtree(space, moved.file, slab) < 0))
		return -1;
	if (!exchange)
		return 0;
	other.dir = op->dir;
	other.name = op->name;
	if (add(space, other, slab) < 0)
		return -1;
	return other.kind == TRACE_MKDIR ? move_subtree(space, other.file, slab) : 0;
}

int space_apply(struct space *space, const struct trace_op *op, struct slab *slab)
{
	struct space_entry entry = {.file = op->file, .dir = op->dir, .name = op->name, .kind = op->kind};
	const struct space_entry *known;
	struct space_entry *there;

	switch (op->kind) {
	case TRACE_SYMLINK:
		entry.target = op->data;
		entry.target_size = op->data_size;
		return add(space, entry, slab);
	case TRACE_CREATE:
	case TRACE_MKDIR:
		return add(space, entry, slab);
	case TRACE_LINK:
		known = find_file(space, op->file);
		entry.kind = known ? known->kind : TRACE_CREATE;
		return add(space, entry, slab);
	case TRACE_UNLINK:
	case TRACE_RMDIR:
		there = find(space, op->dir, op->name);
		if (there)
			drop(space, there);
		return 0;
	case TRACE_RENAME:
		return rename_entry(space, op, slab);
	default:
		return 0;
	}
}
