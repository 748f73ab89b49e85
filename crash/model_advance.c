/* SPDX-License-Identifier: Apache-2.0 */
/* The walk along the trace: what begins, what is durable once it has ended, what is free until then. */
#include <stdlib.h>
#include <string.h>

#include "crash/model_internal.h"

static int push(size_t **list, size_t *count, size_t *capacity, size_t what)
{
	size_t *more = *list;

	if (*count == *capacity) {
		more = reallocarray(more, *capacity ? 2 * *capacity : 32, sizeof *more);
		if (!more)
			return -1;
		*list = more;
		*capacity = *capacity ? 2 * *capacity : 32;
	}
	more[(*count)++] = what;
	return 0;
}

void model_finish_snapshot(struct snapshot *snapshot)
{
	space_finish(&snapshot->space);
	free(snapshot->active);
	*snapshot = (struct snapshot){0};
}

/* One more cut: the name space after the newest operation of the journal. */
static int push_snapshot(struct model *model, const struct trace_op *op)
{
	struct snapshot *snapshots = model->snapshots, *last;

	if (model->snapshots_count == model->snapshots_capacity) {
		const size_t wanted = model->snapshots_capacity ? 2 * model->snapshots_capacity : 16;

		snapshots = reallocarray(snapshots, wanted, sizeof *snapshots);
		if (!snapshots)
			return -1;
		model->snapshots = snapshots;
		model->snapshots_capacity = wanted;
	}
	last = &snapshots[model->snapshots_count];
	*last = (struct snapshot){0};
	if (model->snapshots_count ? space_copy(&last->space, &last[-1].space) < 0
				   : space_copy(&last->space, &(const struct space){0}) < 0)
		return -1;
	model->snapshots_count++;
	return op && is_of_names(op->kind) ? space_apply(&last->space, op, &model->lasting) : 0;
}

static int fold_file(struct model *model, uint64_t file)
{
	return model->files[file].tail_count ? model_fold(model, file) : 0;
}

static int fold_all(struct model *model)
{
	uint64_t file;

	for (file = 1; file <= model->trace->files; file++)
		if (fold_file(model, file) < 0)
			return -1;
	return 0;
}

static bool can_be_seen(const struct model *model, uint64_t file)
{
	size_t i, k;

	for (i = 0; i < model->snapshots_count; i++)
		for (k = 0; k < model->snapshots[i].space.count; k++)
			if (model->snapshots[i].space.entries[k].file == file)
				return true;
	return false;
}

/* What is durable now, or of files that are gone for good, is not free any more. */
static void trim_free(struct model *model, bool names_changed)
{
	size_t i, kept = 0;
	uint64_t seen = 0, gone = 0;

	for (i = 0; i < model->free_count; i++) {
		const struct unit *unit = &model->units[model->free[i]];

		if (unit_is_durable(model, unit))
			continue;
		if (names_changed && unit->file != seen) {
			if (unit->file == gone || !can_be_seen(model, unit->file)) {
				gone = unit->file;
				continue;
			}
			seen = unit->file;
		}
		model->free[kept++] = model->free[i];
	}
	model->free_count = kept;
}

static int make_names_durable(struct model *model, size_t low)
{
	const size_t dropped = low - model->low;
	size_t i;

	if (low <= model->low)
		return 0;
	for (i = 0; i < dropped; i++)
		model_finish_snapshot(&model->snapshots[i]);
	model->snapshots_count -= dropped;
	memmove(model->snapshots, model->snapshots + dropped, model->snapshots_count * sizeof *model->snapshots);
	model->low = low;
	return fold_all(model);
}

int model_begin_op(struct model *model, size_t index)
{
	const struct trace_op *op = &model->trace->ops[index];
	size_t i;

	for (i = model->op_units[index]; i < model->op_units[index + 1]; i++) {
		struct file_state *file = &model->files[model->units[i].file];

		if (push(&file->tail, &file->tail_count, &file->tail_capacity, i) < 0)
			return -1;
		if (!model->units[i].is_size && push(&model->free, &model->free_count, &model->free_capacity, i) < 0)
			return -1;
	}
	if (model->op_metas[index] == NEVER)
		return 0;
	model->metas++;
	if (is_of_names(op->kind)) {
		model->files[op->dir].last_in_dir = model->metas;
		if (op->kind == TRACE_RENAME)
			model->files[op->dir2].last_in_dir = model->metas;
	}
	if (index >= model->trace->begin)
		return push_snapshot(model, op);
	/* what was there: durable, and no state of its own */
	model->low = model->metas;
	return is_of_names(op->kind) ? space_apply(&model->snapshots[0].space, op, &model->lasting) : 0;
}

int model_end_op(struct model *model, size_t index)
{
	const struct trace_op *op = &model->trace->ops[index];
	int rc = 0;

	model->done = index + 1;
	switch (op->kind) {
	case TRACE_FSYNC:
	case TRACE_FDATASYNC:
		/* of a directory: its entries; of a file nothing was ever made in it */
		rc = make_names_durable(model, model->files[op->file].last_in_dir);
		if (rc == 0)
			rc = fold_file(model, op->file);
		break;
	case TRACE_MSYNC:
		rc = fold_file(model, op->file);
		break;
	case TRACE_SYNC_ALL:
	case TRACE_BEGIN:
		rc = make_names_durable(model, model->metas);
		if (rc == 0)
			rc = fold_all(model);
		break;
	case TRACE_WRITE:
		if (op->flags & TRACE_DURABLE)
			rc = fold_file(model, op->file);
		break;
	default:
		break;
	}
	trim_free(model, op->kind >= TRACE_FSYNC || is_of_names(op->kind));
	return rc;
}

int model_reset(struct model *model)
{
	uint64_t file;
	size_t i;

	for (i = 0; i < model->snapshots_count; i++)
		model_finish_snapshot(&model->snapshots[i]);
	model->snapshots_count = 0;
	model->low = model->metas = model->done = model->free_count = 0;
	model->ordinal = 0;
	model->torn = NEVER;
	slab_reset(&model->lasting);
	slab_reset(&model->passing);
	for (file = 0; file <= model->trace->files; file++) {
		struct file_state *state = &model->files[file];

		content_finish(&state->base);
		state->tail_count = 0;
		state->last_in_dir = 0;
		variant_begin(&state->variant, &state->base, &model->lasting);
	}
	return push_snapshot(model, NULL);
}
