/* SPDX-License-Identifier: Apache-2.0 */
/* Inside `tritone system check`: what it has seen so far, and waiting for more. checkup.c has the steps. */
#ifndef TRITONE_ENGINE_CHECKUP_H
#define TRITONE_ENGINE_CHECKUP_H

#include "engine/run.h"

/* What a task comes to. */
enum checkup_end { END_COMMITTED, END_NOTIFIED, END_DONE };

struct checkup {
	const struct engine_checkup *what;
	struct run *run;
	struct spec_strings roles;
	size_t first, last;  /* the tasks that are waited for: first..last-1 */
	size_t handed_in;    /* so far */
	size_t answered;     /* times that one of these was handed in, and taken, refused or not */
	uint64_t next;       /* operation that has not been seen yet */
	uint64_t step_us;    /* when this step began */
	uint64_t asked_us;   /* when it was last asked for outcomes */
	uint64_t started_us; /* when the last process was started */
	bool reached[GATEWAY_NAMES_MAX];
	size_t reached_count, calls_of_no_task, commits_of_no_task;
	size_t agents, claims, restarts;
	size_t asked;          /* upstreams have answered so often */
	char refusal[300];     /* the last thing that an upstream or a recording could not answer, "" if none */
	enum checkup_end end;  /* which one is waited for */
	size_t reached_before; /* of the providers, when the last tasks were handed in */
	bool stuck;            /* a process is gone for good */
	char trouble[400];     /* the last thing that went wrong, "" if none */
	char outcome_trouble[400];
	struct error why; /* of the step that failed */
};

/* Takes in what has happened up to now. */
void checkup_catch_up(struct checkup *c);
/* Until `done`; -1 with `trouble` when it cannot come any more, or not in time. */
typedef bool (*checkup_until_fn)(const struct checkup *c);
int checkup_await(struct checkup *c, checkup_until_fn done);
/* So many more tasks, which are those that are waited for from here on. -1 with `why`. */
int checkup_hand_in(struct checkup *c, size_t count);
/* Of the tasks that are waited for, how many have come to `end`; *ret_missing: the first that has not. */
size_t checkup_count(const struct checkup *c, enum checkup_end end, size_t *ret_missing);

#endif
