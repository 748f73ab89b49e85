/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the model share: units of durability, and where the walk along the trace stands. */
#ifndef TRITONE_CRASH_MODEL_INTERNAL_H
#define TRITONE_CRASH_MODEL_INTERNAL_H

#include "crash/model.h"

#define NEVER        SIZE_MAX
#define SECTOR_BYTES 512u
#define FREE_MAX     4096u /* uncovered writes that are chosen from; those before them are there */
#define MASK_SIZE    (FREE_MAX / 64u)

/* What is there as a whole or not at all: a page's worth of a write, or one change of size. */
struct unit {
	size_t op;
	uint64_t file;
	uint64_t offset, size; /* of a change of size: `size` is the new one */
	const uint8_t *data;   /* NULL: zeros */
	size_t durable_at;     /* the operation that makes it durable */
	size_t needs;          /* a change of size without which it cannot be there */
	size_t meta;           /* a change of size: its place in the journal */
	bool is_size, grows_only;
};

struct file_state {
	struct content base; /* all that is durable, up to the first unit that is not */
	size_t *tail;        /* units from there on, in their order */
	size_t tail_count, tail_capacity;
	size_t last_in_dir; /* of a directory: metas up to its last operation */
	struct variant variant;
	bool is_volatile;
};

/* A tear of the last write, within one of its units. */
struct model_tear {
	uint64_t mask;  /* sector: bit i: sector i of the unit is new */
	uint64_t bytes; /* byte: so many are new, at the beginning or at the end */
	bool at_end;
};

/* The name space for one cut of the journal. */
struct snapshot {
	struct space space;
	struct digest still; /* of the entries whose content is the same in all states of this step */
	size_t *active;      /* entries that it is not */
	size_t active_count;
	uint64_t step; /* for which these three hold */
};

struct model {
	const struct trace *trace;
	struct model_options options;
	struct unit *units;
	size_t units_count;
	size_t *op_units; /* by operation: its first unit; one more at the end */
	size_t *op_metas; /* by operation: its place in the journal; NEVER */
	size_t metas_count;
	struct file_state *files; /* by number */
	uint64_t cap;             /* states of one step and kind, at most */
	bool exhaustive;

	/* the walk */
	struct slab lasting, passing;
	size_t done;                /* operations that have returned */
	size_t low, metas;          /* the journal: durable up to, begun up to */
	struct snapshot *snapshots; /* for cuts low ... metas */
	size_t snapshots_count, snapshots_capacity;
	size_t *free; /* units that are not durable and may be seen */
	size_t free_count, free_capacity;
	uint64_t step, ordinal;

	/* the state */
	uint64_t mask[MASK_SIZE]; /* of `free` */
	size_t cut;
	size_t torn; /* a unit, NEVER if none */
	struct model_tear tear;
	struct model_state state;
	bool failed;
};

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

/* model_places.c */
/* Visits all places. What the visitor returns, if not 0, ends it; -1: no memory. */
int model_walk_places(struct model *model, place_fn visit, void *arg);
/* The largest number of states a place may have so that all places together stay under the limit: model->cap. 0 or -1. */
int model_find_cap(struct model *model);

/* model_advance.c */
int model_reset(struct model *model); /* to before the trace */
/* The operation has begun: its units are there to be chosen. */
int model_begin_op(struct model *model, size_t index);
/* It has returned: what it makes durable is no longer free. */
int model_end_op(struct model *model, size_t index);
void model_finish_snapshot(struct snapshot *snapshot);

/* model_build.c */
/* Builds the state that mask, cut and tear say. -1: no memory. */
int model_build(struct model *model);
/* What is durable and has nothing uncovered before it becomes the base of its file. */
int model_fold(struct model *model, uint64_t file);

/* model_units.c */
int model_find_units(struct model *model, struct error *err);

/* The first of `free` that the mask has a bit for. */
static inline size_t model_mask_start(const struct model *model)
{
	return model->free_count > FREE_MAX ? model->free_count - FREE_MAX : 0;
}

static inline bool unit_is_durable(const struct model *model, const struct unit *unit)
{
	return unit->durable_at < model->done || (unit->is_size && unit->meta < model->low);
}

static inline bool is_of_names(uint32_t kind)
{
	return kind >= TRACE_CREATE && kind <= TRACE_RENAME;
}

#endif
