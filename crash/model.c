/* SPDX-License-Identifier: Apache-2.0 */
/* The walk along the trace, and the states at each of its points. */
#include "crash/model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crash/model_internal.h"

#define DURABLE_UNITS_MAX 8u /* sectors of a page */
#define MANY              (UINT64_MAX / 4)

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

/* --- the walk --- */

/* One place at which states are enumerated: what is fixed, how many are free. */
struct place {
	enum model_kind kind;
	size_t op;
	size_t cut_first, cuts; /* of the journal */
	size_t bits;            /* free bits of the mask, the lowest */
	size_t set;             /* one bit above that is set; NEVER: none */
	size_t unit;            /* torn */
	uint64_t tears;         /* of it */
	bool alone;             /* torn: without the other uncovered writes */
	uint64_t count;
};

typedef int (*place_fn)(struct model *model, const struct place *place, void *arg);

static uint64_t states_of(size_t cuts, size_t bits)
{
	return bits > 40 ? MANY : (uint64_t)cuts << bits;
}

static size_t mask_start(const struct model *model)
{
	return model->free_count > FREE_MAX ? model->free_count - FREE_MAX : 0;
}

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

static void finish_snapshot(struct snapshot *snapshot)
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
		finish_snapshot(&model->snapshots[i]);
	model->snapshots_count -= dropped;
	memmove(model->snapshots, model->snapshots + dropped, model->snapshots_count * sizeof *model->snapshots);
	model->low = low;
	return fold_all(model);
}

/* The operation has begun: its units are there to be chosen. */
static int begin_op(struct model *model, size_t index)
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

static int end_op(struct model *model, size_t index)
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

static int reset(struct model *model)
{
	uint64_t file;
	size_t i;

	for (i = 0; i < model->snapshots_count; i++)
		finish_snapshot(&model->snapshots[i]);
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

/* --- the places at one operation --- */

static uint64_t tears_of(const struct model *model, enum model_kind kind, size_t index)
{
	const struct unit *unit = &model->units[index];
	const uint64_t sectors = (unit->offset + unit->size - 1) / SECTOR_BYTES - unit->offset / SECTOR_BYTES + 1;

	if (!unit->data || unit->size < 2)
		return 0;
	if (kind == MODEL_BYTE)
		return 2 * (unit->size - 1);
	return sectors > DURABLE_UNITS_MAX ? 0 : (1ull << sectors) - 2;
}

static int torn_places(struct model *model, size_t op, enum model_kind kind, place_fn visit, void *arg)
{
	const size_t first = model->op_units[op], end = model->op_units[op + 1];
	const int others = model->free_count > 1 ? 1 : 0;
	size_t unit;
	int rc = 0;

	for (unit = first; rc == 0 && unit < end; unit++) {
		struct place place = {.kind = kind, .op = op, .cut_first = model->metas, .cuts = 1, .unit = unit};
		int alone;

		place.tears = model->units[unit].is_size ? 0 : tears_of(model, kind, unit);
		place.count = place.tears;
		for (alone = 0; rc == 0 && place.count && alone <= others; alone++) {
			place.alone = alone;
			rc = visit(model, &place, arg);
		}
	}
	return rc;
}

static int subset_places(struct model *model, size_t op, place_fn visit, void *arg)
{
	const uint32_t kind = model->trace->ops[op].kind;
	const size_t start = mask_start(model), free = model->free_count - start;
	const size_t cuts = model->metas - model->low + 1;
	struct place place = {
	    .kind = MODEL_SUBSET, .op = op, .cut_first = model->low, .cuts = cuts, .set = NEVER, .unit = NEVER};
	size_t i;
	int rc = 0;

	if (kind == TRACE_ACK || kind == TRACE_BEGIN || model->op_metas[op] != NEVER) {
		/* more is promised now, or the newest operation of the journal is there: any of the writes */
		if (model->op_metas[op] != NEVER) {
			place.cut_first = model->metas;
			place.cuts = 1;
		}
		place.bits = free;
		place.count = states_of(place.cuts, place.bits);
		rc = visit(model, &place, arg);
	}
	for (i = 0; rc == 0 && i < free; i++) {
		if (model->units[model->free[start + i]].op != op)
			continue;
		/* this one is there, those after it are not begun, any of those before: each subset once */
		place.cut_first = model->low;
		place.cuts = cuts;
		place.set = i;
		place.bits = i;
		place.count = states_of(cuts, i);
		rc = visit(model, &place, arg);
	}
	return rc;
}

static bool changes_something(const struct model *model, size_t op)
{
	const uint32_t kind = model->trace->ops[op].kind;

	return model->op_units[op + 1] > model->op_units[op] || model->op_metas[op] != NEVER || kind == TRACE_ACK ||
	       kind == TRACE_BEGIN;
}

static int places_of(struct model *model, size_t op, place_fn visit, void *arg)
{
	const unsigned kinds = model->options.kinds;
	const struct place prefix = {.kind = MODEL_PREFIX,
	    .op = op,
	    .cut_first = model->metas,
	    .cuts = 1,
	    .set = NEVER,
	    .unit = NEVER,
	    .count = 1};
	int rc = 0;

	model->step++;
	if (!changes_something(model, op))
		return 0;
	if (kinds & (1u << MODEL_PREFIX))
		rc = visit(model, &prefix, arg);
	if (rc == 0 && (kinds & (1u << MODEL_SUBSET)))
		rc = subset_places(model, op, visit, arg);
	if (rc == 0 && (kinds & (1u << MODEL_SECTOR)))
		rc = torn_places(model, op, MODEL_SECTOR, visit, arg);
	if (rc == 0 && (kinds & (1u << MODEL_BYTE)))
		rc = torn_places(model, op, MODEL_BYTE, visit, arg);
	return rc;
}

static int walk_places(struct model *model, place_fn visit, void *arg)
{
	const size_t begin = model->trace->begin ? model->trace->begin - 1 : 0;
	size_t op;
	int rc;

	if (reset(model) < 0)
		return -1;
	for (op = 0; op < model->trace->count; op++) {
		if (begin_op(model, op) < 0)
			return -1;
		if (op == begin && model->trace->begin) /* what was there is durable before anything may be lost */
			rc = end_op(model, op) < 0 ? -1 : places_of(model, op, visit, arg);
		else
			rc = op < begin ? 0 : places_of(model, op, visit, arg);
		if (rc)
			return rc;
		if (end_op(model, op) < 0)
			return -1;
	}
	return 0;
}

/* --- counting --- */

struct counting {
	struct place_count {
		enum model_kind kind;
		uint64_t count;
	} * places;
	size_t count, capacity;
};

static int count_place(struct model *model, const struct place *place, void *arg)
{
	struct counting *counting = arg;
	struct place_count *places = counting->places;

	(void)model;
	if (counting->count == counting->capacity) {
		places = reallocarray(places, 2 * counting->capacity + 64, sizeof *places);
		if (!places)
			return -1;
		counting->places = places;
		counting->capacity = 2 * counting->capacity + 64;
	}
	places[counting->count++] = (struct place_count){place->kind, place->count};
	return 0;
}

static uint64_t total_under(const struct counting *counting, uint64_t cap, struct model_count *ret_count)
{
	struct model_count count = {.exhaustive = true};
	uint64_t total = 0;
	size_t i;

	for (i = 0; i < counting->count; i++) {
		const uint64_t visits = counting->places[i].count < cap ? counting->places[i].count : cap;

		if (visits < counting->places[i].count)
			count.exhaustive = false;
		count.visits[counting->places[i].kind] += visits;
		total += visits;
		if (total > MANY)
			break;
	}
	*ret_count = count;
	return total;
}

/* The largest number of states a place may have so that all places together stay under the limit. */
static int find_cap(struct model *model)
{
	struct counting counting = {0};
	struct model_count count;
	uint64_t low = 1, high = MANY;
	int rc = walk_places(model, count_place, &counting);

	while (rc == 0 && model->options.states_max && low < high) {
		const uint64_t middle = low + (high - low + 1) / 2;

		if (total_under(&counting, middle, &count) <= model->options.states_max)
			low = middle;
		else
			high = middle - 1;
	}
	model->cap = model->options.states_max ? low : 1u << 20;
	free(counting.places);
	return rc;
}

void model_count(const struct model *given, struct model_count *ret_count)
{
	struct model *model;
	struct counting counting = {0};

	memcpy(&model, &given, sizeof model); /* the walk is the model's own business, and leaves nothing behind */
	*ret_count = (struct model_count){0};
	if (walk_places(model, count_place, &counting) == 0)
		total_under(&counting, model->cap, ret_count);
	free(counting.places);
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

/* When there are too many: first those that mistakes are most often seen in, then any. */
static void sample(struct model *model, const struct place *place, uint64_t k)
{
	const size_t bits = place->bits;
	const uint64_t random = random_of(model->options.seed, place->op, place->set, k);
	size_t i;

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
		const size_t start = mask_start(model);
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
	int rc = walk_places(model, visit_place, &visiting);

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
	if (find_cap(model) < 0) {
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
		finish_snapshot(&model->snapshots[i]);
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
