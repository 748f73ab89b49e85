/* SPDX-License-Identifier: Apache-2.0 */
/* A core with little room, and a task brought to its end and beyond. Included after cmocka. */
#ifndef TRITONE_TESTS_CORE_SMALL_H
#define TRITONE_TESTS_CORE_SMALL_H

#include <stdio.h>

#include "core_world.h"

#define SECOND    (1000 * WORLD_MS)
#define TASKS_MAX 24u
#define RETAIN    8u /* then two go at a time */
#define RETAIN_MS 300u
#define NAMES     20u

static inline struct core_options small(void)
{
	struct core_options options;

	world_options(&options);
	options.policy.retain_tasks = RETAIN;
	options.policy.retain_ms = RETAIN_MS;
	options.tasks_max = TASKS_MAX;
	options.retired_max = NAMES;
	options.prompt_bytes = 1 << 20;
	return options;
}

/* One task to its end and beyond the time that it is kept for; true when it was taken. */
static inline bool do_one(struct world *w, unsigned number)
{
	char id[16];

	snprintf(id, sizeof id, "t%u", number);
	world_submit(w, number, id, "write", "");
	world_run(w, 20 * SECOND);
	world_pass(w, (RETAIN_MS + 110) * WORLD_MS);
	world_step(w, (struct core_event){.kind = CORE_TICK});
	world_run(w, SECOND);
	return w->replies[w->reply_count - 1].status == 202;
}

#endif
