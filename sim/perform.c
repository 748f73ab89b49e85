/* SPDX-License-Identifier: Apache-2.0 */
/* Effects, performed in order as io/perform.c does; the process may die between any two. */
#include "sim/world.h"

static void arm(struct world *w, uint64_t deadline_us)
{
	uint64_t now = world_core_now(w);

	if (deadline_us == CORE_NEVER)
		w->timer_us = CORE_NEVER;
	else /* a timer of whole milliseconds */
		w->timer_us = w->now_us + (deadline_us > now ? (deadline_us - now + 999) / 1000 * 1000 : 0);
}

static void perform_one(struct world *w, const struct core_effect *e)
{
	switch (e->kind) {
	case CORE_APPEND:
		break; /* seen to by the caller */
	case CORE_REPLY:
		client_reply(w, e);
		break;
	case CORE_SPAWN:
		agents_spawn(w, e);
		break;
	case CORE_WORK:
		agents_work(w, e);
		break;
	case CORE_ROUTE:
		agents_route(w, e);
		break;
	case CORE_STOP:
		agents_stop(w, e);
		break;
	case CORE_SIGNAL:
		agents_signal(w, e);
		break;
	case CORE_END:
		agents_end(w, e);
		break;
	case CORE_LAND:
		git_land(w, e);
		break;
	case CORE_LOOKUP:
		git_lookup(w, e);
		break;
	case CORE_NOTIFY:
		sink_notify(w, e);
		break;
	case CORE_WRITE_SLO:
		disk_put_claims(w);
		break;
	case CORE_WRITE_INCIDENTS:
	case CORE_WRITE_STATUS:
		break; /* nobody outside looks at what they say */
	case CORE_TIMER:
		arm(w, e->deadline_us);
		break;
	case CORE_EXIT:
		process_exit(w, e->status);
		break;
	}
}

void perform_all(struct world *w)
{
	uint32_t life = w->life;
	bool broken = false;

	for (size_t i = 0; i < w->effects->count; i++) {
		const struct core_effect *e = &w->effects->items[i];

		w->coverage->effects[e->kind]++;
		if (e->kind == CORE_APPEND && !broken)
			broken = disk_append(w, e) != 0;
		else if (contract_effect(w, e))
			perform_one(w, e);
		if (!w->alive || w->life != life)
			return;
		if (process_pass(w, SIM_POINT_ANY_EFFECT))
			return;
		if (w->recovering && w->performed++ == 0 && process_pass(w, SIM_POINT_MIDDLE))
			return;
		if (w->recovering && process_pass(w, SIM_POINT_RECOVERY))
			return;
	}
	if (broken)
		process_lose_log(w);
	else
		disk_flush(w);
}
