/* SPDX-License-Identifier: Apache-2.0 */
/* The states of each place along the trace: which of the many, and their visits. */
#include "crash/model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crash/model_internal.h"

static const char *const names[MODEL_KINDS] = {"prefix", "subset", "sector", "byte"};

const char *model_name(enum model_kind kind)
{
	return names[kind];
}

int model_parse(const char *text, unsigned *ret_kinds, struct error *err)
{
	unsigned kinds = 0, i;

	while (*text) {
		const size_t size = strcspn(text, ",");

		for (i = 0; i < MODEL_KINDS; i++)
			if (strlen(names[i]) == size && !strncmp(text, names[i], size))
				break;
		if (i == MODEL_KINDS)
			return error_set(
			    err, EINVAL, "no model '%.*s': expected prefix, subset, sector or byte", (int)size, text);
		kinds |= 1u << i;
		text += size + (text[size] == ',');
	}
	if (!kinds)
		return error_set(err, EINVAL, "no model: expected prefix, subset, sector or byte");
	*ret_kinds = kinds;
	return 0;
}

/* --- the states of a place --- */

struct visiting {
	model_visit_fn visit;
	void *arg;
};

static uint64_t random_of(uint64_t seed, uint64_t a, uint64_t b, uint64_t c)
{
	const uint64_t words[] = {a, b, c};

	return digest_of(words, sizeof words, seed).low;
}

static void set_bits(struct model *model, size_t bits, bool value)
{
	size_t i;

	for (i = 0; i < MASK_SIZE; i++)
		model->mask[i] = !value || bits <= 64 * i ? 0
				 : bits >= 64 * (i + 1)   ? UINT64_MAX
							  : (1ull << (bits % 64)) - 1;
}

static void set_bit(struct model *model, size_t bit, bool value)
{
	const uint64_t one = 1ull << (bit % 64);

	if (value)
		model->mask[bit / 64] |= one;
	else
		model->mask[bit / 64] &= ~one;
}

/* When there are too many: first those that mistakes are most often seen in, then any. Where there is room for one only, it is
 * not the one in which all is there: a prefix is that. */
static void sample(struct model *model, const struct place *place, uint64_t k)
{
	const size_t bits = place->bits;
	const uint64_t random = random_of(model->options.seed, place->op, place->set, k);
	size_t i;

	k = k < 4 ? (k + 1) % 4 : k;
	model->cut = place->cut_first + (k < 2 ? place->cuts - 1 : k < 4 ? 0 : (random >> 32) % place->cuts);
	if (k < 4) { /* all, none */
		set_bits(model, bits, k % 2 == 0);
	} else if (k < 4 + model->cap / 4 && k - 4 < bits) { /* one is missing */
		set_bits(model, bits, true);
		set_bit(model, bits - 1 - (k - 4), false);
	} else if (k < 4 + model->cap / 2 && k - 4 < 2 * bits && bits) { /* one only */
		set_bits(model, bits, false);
		set_bit(model, random % bits, true);
	} else {
		set_bits(model, 0, false);
		for (i = 0; i < bits; i++)
			set_bit(model, i, random_of(random, i / 64, 0, 0) >> (i % 64) & 1);
	}
}

static void choose(struct model *model, const struct place *place, uint64_t k)
{
	const bool sampled = place->count > model->cap;

	model->torn = place->unit;
	if (place->kind == MODEL_PREFIX) {
		model->cut = place->cut_first;
		set_bits(model, FREE_MAX, true);
		return;
	}
	if (place->kind == MODEL_SUBSET) {
		if (sampled) {
			sample(model, place, k);
		} else {
			set_bits(model, 0, false);
			model->mask[0] = k & ((1ull << place->bits) - 1);
			model->cut = place->cut_first + (size_t)(k >> place->bits);
		}
		if (place->set != NEVER)
			set_bit(model, place->set, true);
		return;
	}
	if (sampled)
		k = random_of(model->options.seed, place->op, place->unit, k) % place->count;
	model->cut = place->cut_first;
	set_bits(model, place->alone ? 0 : FREE_MAX, true);
	model->tear = (struct model_tear){.mask = k + 1, .bytes = k / 2 + 1, .at_end = k % 2};
	if (!place->alone) { /* of its own write, what comes after the tear is not there */
		const size_t start = model_mask_start(model);
		size_t i;

		for (i = start; i < model->free_count; i++)
			if (model->free[i] > place->unit)
				set_bit(model, i - start, false);
	}
}

static bool has_a_name(const struct space *space, uint64_t file)
{
	size_t i;

	for (i = 0; i < space->count && space->entries[i].file != file; i++)
		;
	return i < space->count;
}

/* Of a torn write: the sectors that hold, with it and without it, the same. A bit for each. */
static int find_unchanged(struct model *model, const struct place *place, uint64_t *ret_sectors)
{
	static const uint8_t zeros[SECTOR_BYTES];
	const struct unit *unit = &model->units[place->unit];
	const struct variant *variant = &model->files[unit->file].variant;
	const uint64_t first = unit->offset / SECTOR_BYTES, end = unit->offset + unit->size;
	uint64_t at, next, sectors = 0;
	const uint8_t *page;

	*ret_sectors = UINT64_MAX;
	choose(model, place, 0);
	model->tear.mask = 0;
	if (model_build(model) < 0)
		return -1;
	if (!has_a_name(&model->snapshots[model->cut - model->low].space, unit->file))
		return 0; /* none of it is seen */
	page = variant_page(variant, unit->offset / PAGE_BYTES);
	for (at = unit->offset; at < end; at = next) {
		const uint64_t stop = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
		const uint8_t *before = page ? page + at % PAGE_BYTES : zeros;

		next = stop < end ? stop : end;
		if (next <= variant->over.size && !memcmp(before, unit->data + (at - unit->offset), next - at))
			sectors |= 1ull << (at / SECTOR_BYTES - first);
	}
	*ret_sectors = sectors;
	return 0;
}

/* Tears that differ in such sectors only are one state: the one without them is it, or the one with the first if there are
 * no others. */
static bool is_repeated(const struct model_tear *tear, uint64_t unchanged)
{
	return (tear->mask & unchanged) && tear->mask != (unchanged & -unchanged);
}

static int visit_place(struct model *model, const struct place *place, void *arg)
{
	const struct visiting *visiting = arg;
	const uint64_t count = place->count < model->cap ? place->count : model->cap;
	uint64_t k, unchanged = 0;
	int rc;

	model->state = (struct model_state){.kind = place->kind,
	    .at = place->op + 1,
	    .acked = trace_acks_before(model->trace, place->op + 1),
	    .marked = trace_marks_before(model->trace, place->op + 1),
	    .model = model};
	if (place->kind == MODEL_SECTOR && count == place->count && find_unchanged(model, place, &unchanged) < 0)
		return -1;
	for (k = 0; k < count; k++) {
		choose(model, place, k);
		model->state.ordinal = model->ordinal++;
		if (place->kind == MODEL_SECTOR && is_repeated(&model->tear, unchanged))
			continue;
		if (model_build(model) < 0)
			return -1;
		rc = visiting->visit(visiting->arg, &model->state);
		if (rc)
			return rc;
	}
	return 0;
}

const struct trace *model_trace(const struct model *model)
{
	return model->trace;
}

int model_walk(struct model *model, model_visit_fn visit, void *arg, struct error *err)
{
	struct visiting visiting = {visit, arg};
	int rc = model_walk_places(model, visit_place, &visiting);

	return rc == -1 && err && !err->code ? error_set(err, ENOMEM, "no memory for crash states") : rc;
}

int model_create(
    struct model **ret_model, const struct trace *trace, const struct model_options *options, struct error *err)
{
	struct model *model = calloc(1, sizeof *model);

	if (!model)
		return error_set(err, ENOMEM, "no memory for crash states");
	model->trace = trace;
	model->options = *options;
	if (model_find_units(model, err) < 0) {
		model_destroy(model);
		return -1;
	}
	if (model_find_cap(model) < 0) {
		model_destroy(model);
		return error_set(err, ENOMEM, "no memory for crash states");
	}
	*ret_model = model;
	return 0;
}

void model_destroy(struct model *model)
{
	uint64_t file;
	size_t i;

	if (!model)
		return;
	for (i = 0; i < model->snapshots_count; i++)
		model_finish_snapshot(&model->snapshots[i]);
	free(model->snapshots);
	for (file = 0; model->files && file <= model->trace->files; file++) {
		content_finish(&model->files[file].base);
		variant_finish(&model->files[file].variant);
		free(model->files[file].tail);
	}
	free(model->files);
	free(model->units);
	free(model->op_units);
	free(model->op_metas);
	free(model->free);
	slab_finish(&model->lasting);
	slab_finish(&model->passing);
	free(model);
}
