/* SPDX-License-Identifier: Apache-2.0 */
/* What several checkers need to know of each task, gathered in one pass over the history. Not a checker. */
#ifndef TRITONE_CHECK_FACTS_H
#define TRITONE_CHECK_FACTS_H

#include "history/history.h"

struct task_facts {
	const char *task;
	uint64_t submitted;    /* index of the first SUBMIT invoke, or OP_NONE, as for all indices here */
	uint64_t accepted;     /* first SUBMIT ok */
	uint64_t first_commit; /* first COMMIT */
	uint64_t other_commit; /* first with another id than that */
	uint64_t last_commit;
	uint64_t commits;              /* of which none has the id of the one before it */
	uint64_t notified;             /* first NOTIFY ok */
	uint64_t told, told_otherwise; /* first NOTIFY, and the first with another key than that */
	uint64_t done, given_up;       /* first OUTCOME ok / fail */
	uint64_t last_seen;            /* last operation about it */
	uint64_t first_call;           /* its invoke */
	uint64_t calls;
	int64_t tokens;
	int64_t attempt_max;     /* the highest seen, in calls or commits */
	uint64_t attempt_max_at; /* where it was first seen */
};

struct facts {
	struct task_facts *tasks; /* in the order of their first appearance */
	size_t count;
	uint64_t first_felt;  /* first FAULT ok */
	uint64_t last_revert; /* last REVERT ok */
	uint64_t end_us;      /* time of the last operation */
	uint64_t
	    settled; /* where the settling ended: what comes after it is of the system's stop. Else the last operation, or OP_NONE */
	void *index; /* hash table; internal */
	size_t room, index_size;
	bool shared; /* the memory is another's */
};

/* Aborts when there is no memory: a verdict over half of a history is worse than none. Takes those of the view when it has some. */
void facts_gather(struct facts *facts, const struct history_view *view);
void facts_finish(struct facts *facts);
/* facts_gather again, in the same memory, for another history. `facts` was gathered before, or is zero. */
void facts_again(struct facts *facts, const struct history_view *view);
/* Its argument, or the end of the program when that is NULL: for the other memory that a judgement takes. */
void *facts_need(void *memory);
/* NULL when the task never appears. */
struct task_facts *facts_task(const struct facts *facts, const char *task);

/* Time of the operation with this index, or `otherwise` for OP_NONE. */
uint64_t op_time(const struct history_view *view, uint64_t index, uint64_t otherwise);
/* Are they of one task, and of one attempt at it as far as that is known? */
bool op_same_caller(const struct op *a, const struct op *b);

#endif
