/* SPDX-License-Identifier: Apache-2.0 */
/* From operations to units: what is there as a whole or not, what makes it durable, what it cannot be without. */
#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>

#include "crash/model_internal.h"

struct finding {
	struct model *model;
	size_t capacity;
	uint64_t *sizes; /* of each file, as of the operation looked at */
	size_t *shrunk;  /* the unit that last made it shorter */
};

static void find_volatiles(struct model *model)
{
	size_t i;

	for (i = 0; i < model->trace->count; i++) {
		const struct trace_op *op = &model->trace->ops[i];

		if (op->kind == TRACE_VOLATILE ||
		    (op->kind == TRACE_CREATE && trace_matches(model->options.volatiles, op->name)))
			model->files[op->file].is_volatile = true;
	}
}

static struct unit *add_unit(struct finding *finding, size_t op, uint64_t file)
{
	struct model *model = finding->model;
	struct unit *units = model->units;

	if (model->units_count == finding->capacity) {
		const size_t wanted = finding->capacity ? 2 * finding->capacity : 256;

		units = reallocarray(units, wanted, sizeof *units);
		if (!units)
			return NULL;
		model->units = units;
		finding->capacity = wanted;
	}
	units[model->units_count] = (struct unit){.op = op, .file = file, .durable_at = NEVER, .needs = NEVER};
	return &units[model->units_count++];
}

/* A write is there page by page: that is how it leaves memory. */
static int add_data(struct finding *finding, size_t index, const struct trace_op *op, const uint8_t *data)
{
	const uint64_t end = op->offset + op->size;
	uint64_t at = op->offset;

	while (at < end) {
		const uint64_t room = data ? PAGE_BYTES - at % PAGE_BYTES : end - at;
		const uint64_t size = end - at < room ? end - at : room;
		struct unit *unit = add_unit(finding, index, op->file);
		const size_t shrunk = finding->shrunk[op->file];

		if (!unit)
			return -1;
		unit->offset = at;
		unit->size = size;
		unit->data = data ? data + (at - op->offset) : NULL;
		if (op->flags & TRACE_DURABLE)
			unit->durable_at = index;
		if (shrunk != NEVER && at + size > finding->model->units[shrunk].size)
			unit->needs = shrunk;
		at += size;
	}
	if (end > finding->sizes[op->file])
		finding->sizes[op->file] = end;
	return 0;
}

static int add_size(struct finding *finding, size_t index, const struct trace_op *op, uint64_t size, bool grows_only)
{
	struct model *model = finding->model;
	struct unit *unit = add_unit(finding, index, op->file);

	if (!unit)
		return -1;
	unit->is_size = true;
	unit->grows_only = grows_only;
	unit->size = size;
	unit->meta = model->metas_count;
	model->op_metas[index] = model->metas_count++;
	if (!grows_only && size < finding->sizes[op->file])
		finding->shrunk[op->file] = (size_t)(unit - model->units);
	if (!grows_only || size > finding->sizes[op->file])
		finding->sizes[op->file] = size;
	return 0;
}

static int add_op(struct finding *finding, size_t index, const struct trace_op *op)
{
	struct model *model = finding->model;

	model->op_units[index] = model->units_count;
	model->op_metas[index] = NEVER;
	if (op->file && model->files[op->file].is_volatile)
		return 0;
	if (is_of_names(op->kind)) {
		model->op_metas[index] = model->metas_count++;
		return 0;
	}
	switch (op->kind) {
	case TRACE_WRITE:
		return add_data(finding, index, op, op->data);
	case TRACE_TRUNCATE:
		return add_size(finding, index, op, op->size, false);
	case TRACE_ALLOCATE:
		if ((op->mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) &&
		    op->offset < finding->sizes[op->file]) {
			struct trace_op zeros = *op;

			if (zeros.offset + zeros.size > finding->sizes[op->file])
				zeros.size = finding->sizes[op->file] - zeros.offset;
			if (add_data(finding, index, &zeros, NULL) < 0)
				return -1;
		}
		if (op->mode & FALLOC_FL_KEEP_SIZE || op->offset + op->size <= finding->sizes[op->file])
			return 0;
		return add_size(finding, index, op, op->offset + op->size, true);
	default:
		return 0;
	}
}

/* Backwards: the next sync of each file. */
static int find_syncs(struct model *model)
{
	size_t *next = calloc(model->trace->files + 1, sizeof *next);
	size_t i, unit = model->units_count, all = NEVER;
	uint64_t file;

	if (!next)
		return -1;
	for (file = 0; file <= model->trace->files; file++)
		next[file] = NEVER;
	for (i = model->trace->count; i-- > 0;) {
		const struct trace_op *op = &model->trace->ops[i];

		if (op->kind == TRACE_SYNC_ALL || op->kind == TRACE_BEGIN)
			all = i;
		if (op->kind == TRACE_FSYNC || op->kind == TRACE_FDATASYNC || op->kind == TRACE_MSYNC)
			next[op->file] = i;
		while (unit > model->op_units[i]) {
			struct unit *at = &model->units[--unit];
			const size_t sync = next[at->file] < all ? next[at->file] : all;

			if (sync < at->durable_at)
				at->durable_at = sync;
		}
	}
	free(next);
	return 0;
}

int model_find_units(struct model *model, struct error *err)
{
	const struct trace *trace = model->trace;
	struct finding finding = {.model = model};
	uint64_t file;
	size_t i;
	int rc = -1;

	model->op_units = calloc(trace->count + 1, sizeof *model->op_units);
	model->op_metas = calloc(trace->count + 1, sizeof *model->op_metas);
	model->files = calloc(trace->files + 1, sizeof *model->files);
	finding.sizes = calloc(trace->files + 1, sizeof *finding.sizes);
	finding.shrunk = calloc(trace->files + 1, sizeof *finding.shrunk);
	if (!model->op_units || !model->op_metas || !model->files || !finding.sizes || !finding.shrunk)
		goto out;
	for (file = 0; file <= trace->files; file++)
		finding.shrunk[file] = NEVER;
	find_volatiles(model);
	for (i = 0; i < trace->count; i++)
		if (add_op(&finding, i, &trace->ops[i]) < 0)
			goto out;
	model->op_units[trace->count] = model->units_count;
	rc = find_syncs(model);
out:
	if (rc < 0)
		error_set(err, ENOMEM, "no memory for the states of %zu operations", trace->count);
	free(finding.sizes);
	free(finding.shrunk);
	return rc;
}
