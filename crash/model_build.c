/* SPDX-License-Identifier: Apache-2.0 */
/* One state: which units are there, the contents that makes, their digest; and the same in words. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crash/model_internal.h"

static bool is_chosen(const struct model *model, size_t unit)
{
	size_t low = 0, high = model->free_count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (model->free[middle] < unit)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == model->free_count || model->free[low] != unit)
		return true; /* not to be chosen: too old, or it can be seen in no state */
	if (model->free_count > FREE_MAX) {
		if (low < model->free_count - FREE_MAX)
			return true;
		low -= model->free_count - FREE_MAX;
	}
	return model->mask[low / 64] >> (low % 64) & 1;
}

static bool unit_is_there(const struct model *model, size_t index)
{
	const struct unit *unit = &model->units[index];

	if (unit_is_durable(model, unit))
		return true;
	if (unit->is_size)
		return unit->meta < model->cut;
	if (unit->needs != NEVER && !unit_is_there(model, unit->needs))
		return false;
	return is_chosen(model, index);
}

static void apply_unit(struct variant *variant, const struct unit *unit)
{
	if (!unit->is_size)
		variant_write(variant, unit->offset, unit->data, unit->size);
	else if (!unit->grows_only || unit->size > variant->over.size)
		variant_resize(variant, unit->size);
}

/* The pieces of it that the tear leaves. */
static void apply_torn(const struct model *model, struct variant *variant, const struct unit *unit)
{
	const struct model_tear *tear = &model->tear;
	const uint64_t first = unit->offset / SECTOR_BYTES, end = unit->offset + unit->size;
	uint64_t at = unit->offset;

	if (model->state.kind == MODEL_BYTE) {
		at = tear->at_end ? end - tear->bytes : at;
		variant_write(variant, at, unit->data + (at - unit->offset), tear->bytes);
		return;
	}
	while (at < end) {
		const uint64_t next = (at / SECTOR_BYTES + 1) * SECTOR_BYTES, stop = next < end ? next : end;

		if (tear->mask >> (at / SECTOR_BYTES - first) & 1)
			variant_write(variant, at, unit->data + (at - unit->offset), stop - at);
		at = stop;
	}
}

static int build_file(struct model *model, struct file_state *file)
{
	size_t i;

	variant_begin(&file->variant, &file->base, &model->passing);
	for (i = 0; i < file->tail_count; i++) {
		const size_t unit = file->tail[i];

		if (unit == model->torn)
			apply_torn(model, &file->variant, &model->units[unit]);
		else if (unit_is_there(model, unit))
			apply_unit(&file->variant, &model->units[unit]);
	}
	return variant_end(&file->variant);
}

static struct digest entry_digest(const struct model *model, const struct space_entry *entry)
{
	const struct file_state *file = &model->files[entry->file];
	const struct content *content = file->tail_count ? &file->variant.over : &file->base;
	const uint64_t words[] = {entry->path_digest.low, entry->path_digest.high,
	    entry->kind == TRACE_CREATE ? content->digest.low : 0,
	    entry->kind == TRACE_CREATE ? content->digest.high : 0, entry->kind == TRACE_CREATE ? content->size : 0};

	return digest_of(words, sizeof words, 1);
}

static struct snapshot *take_snapshot(struct model *model, size_t cut)
{
	struct snapshot *snapshot = &model->snapshots[cut - model->low];
	const struct space *space = &snapshot->space;
	size_t *active, i;

	if (snapshot->step == model->step)
		return snapshot;
	active = reallocarray(snapshot->active, space->count + 1, sizeof *active);
	if (!active)
		return NULL;
	snapshot->active = active;
	snapshot->active_count = 0;
	snapshot->still = (struct digest){0};
	for (i = 0; i < space->count; i++) {
		if (model->files[space->entries[i].file].tail_count)
			active[snapshot->active_count++] = i;
		else
			digest_add(&snapshot->still, entry_digest(model, &space->entries[i]));
	}
	snapshot->step = model->step;
	return snapshot;
}

int model_build(struct model *model)
{
	const struct snapshot *snapshot = take_snapshot(model, model->cut);
	struct digest digest;
	size_t i;

	if (!snapshot)
		return -1;
	slab_reset(&model->passing);
	digest = snapshot->still;
	for (i = 0; i < snapshot->active_count; i++) {
		const struct space_entry *entry = &snapshot->space.entries[snapshot->active[i]];

		/* a second name of the same file builds it again: rare, and right */
		if (build_file(model, &model->files[entry->file]) < 0)
			return -1;
		digest_add(&digest, entry_digest(model, entry));
	}
	model->state.digest = digest;
	return 0;
}

int model_fold(struct model *model, uint64_t number)
{
	struct file_state *file = &model->files[number];
	size_t i;

	for (i = 0; i < file->tail_count && unit_is_durable(model, &model->units[file->tail[i]]); i++)
		;
	if (i == 0)
		return 0;
	variant_begin(&file->variant, &file->base, &model->lasting);
	for (i = 0; i < file->tail_count && unit_is_durable(model, &model->units[file->tail[i]]); i++)
		apply_unit(&file->variant, &model->units[file->tail[i]]);
	if (variant_end(&file->variant) < 0 || content_take(&file->base, &file->variant) < 0)
		return -1;
	file->tail_count -= i;
	memmove(file->tail, file->tail + i, file->tail_count * sizeof *file->tail);
	variant_begin(&file->variant, &file->base, &model->lasting);
	return variant_end(&file->variant);
}

/* --- what the state holds --- */

static const struct snapshot *snapshot_of(const struct model_state *state)
{
	return &state->model->snapshots[state->model->cut - state->model->low];
}

size_t model_files(const struct model_state *state)
{
	return snapshot_of(state)->space.count;
}

struct model_file model_file(const struct model_state *state, size_t index)
{
	const struct space_entry *entry = &snapshot_of(state)->space.entries[index];

	return (struct model_file){entry, &state->model->files[entry->file].variant};
}

/* --- in words --- */

size_t model_pieces(const struct model *model, size_t op)
{
	const size_t units = model->op_units[op + 1] - model->op_units[op];

	return units ? units : 1;
}

static enum model_fate unit_fate(const struct model *model, size_t unit, char *note, size_t note_size)
{
	if (unit == model->torn) {
		if (model->state.kind == MODEL_BYTE)
			snprintf(note, note_size, "the %s %llu of %llu bytes", model->tear.at_end ? "last" : "first",
			    (unsigned long long)model->tear.bytes, (unsigned long long)model->units[unit].size);
		else
			snprintf(note, note_size, "sectors 0x%llx of its page", (unsigned long long)model->tear.mask);
		return MODEL_TORN;
	}
	if (unit_is_durable(model, &model->units[unit]))
		return MODEL_DURABLE;
	return unit_is_there(model, unit) ? MODEL_PRESENT : MODEL_MISSING;
}

enum model_fate model_fate(const struct model_state *state, size_t op, size_t piece, char *note, size_t note_size)
{
	const struct model *model = state->model;
	const size_t first = model->op_units[op], units = model->op_units[op + 1] - first;

	if (note_size)
		note[0] = '\0';
	if (op >= state->at)
		return MODEL_LATER;
	if (units)
		return unit_fate(model, first + piece, note, note_size);
	if (model->op_metas[op] == NEVER)
		return MODEL_NEUTRAL;
	return model->op_metas[op] < model->low   ? MODEL_DURABLE
	       : model->op_metas[op] < model->cut ? MODEL_PRESENT
						  : MODEL_MISSING;
}
