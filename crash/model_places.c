/* SPDX-License-Identifier: Apache-2.0 */
/* The places along the trace at which states are enumerated, and how many states each has. */
#include <stdlib.h>

#include "crash/model_internal.h"

#define SECTORS_MAX 8u /* of a page */
#define MANY        (UINT64_MAX / 4)

static uint64_t states_of(size_t cuts, size_t bits)
{
	return bits >= 62 || cuts > MANY >> bits ? MANY : (uint64_t)cuts << bits;
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
	return sectors > SECTORS_MAX ? 0 : (1ull << sectors) - 2;
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
	const size_t start = model_mask_start(model), free = model->free_count - start;
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
	if (op < model->options.from || !changes_something(model, op))
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

int model_walk_places(struct model *model, place_fn visit, void *arg)
{
	const size_t begin = model->trace->begin ? model->trace->begin - 1 : 0;
	size_t op;
	int rc;

	if (model_reset(model) < 0)
		return -1;
	for (op = 0; op < model->trace->count; op++) {
		if (model_begin_op(model, op) < 0)
			return -1;
		if (op == begin && model->trace->begin) /* what was there is durable before anything may be lost */
			rc = model_end_op(model, op) < 0 ? -1 : places_of(model, op, visit, arg);
		else
			rc = op < begin ? 0 : places_of(model, op, visit, arg);
		if (rc)
			return rc;
		if (model_end_op(model, op) < 0)
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
		total = visits > UINT64_MAX - total ? UINT64_MAX : total + visits;
	}
	*ret_count = count;
	return total;
}

int model_find_cap(struct model *model)
{
	struct counting counting = {0};
	struct model_count count;
	uint64_t low = 1, high = MANY - 1; /* so that where there are more than can be told, they are sampled */
	int rc = model_walk_places(model, count_place, &counting);

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
	if (model_walk_places(model, count_place, &counting) == 0)
		total_under(&counting, model->cap, ret_count);
	free(counting.places);
}
