/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients that make mistakes: names, keys, roles, prompts and dependencies that are refused, and tasks handed in once more with the same or
 * with another content. What they are answered is part of the contract; none of it may ever become a task.
 */
#include "sim/world.h"

#include <string.h>

#include "sim/rng.h"

#define ODD_TOKEN 1000u /* from here on: those of the tasks are below */

enum odd {
	ODD_NO_ID = 0,
	ODD_ID_MINUS,
	ODD_ID_DOT,
	ODD_ID_SLASH,
	ODD_ID_LONG,
	ODD_NO_ROLE,
	ODD_ROLE,
	ODD_KEY_LONG,
	ODD_PROMPT_LONG,
	ODD_AFTER_NOBODY,
	ODD_AFTER_ITSELF,
	ODD_AFTER_MANY,
	ODD_BROKEN, /* one past those that are never right */
	ODD_OTHER_PROMPT = ODD_BROKEN,
	ODD_OTHER_ROLE,
	ODD_OTHER_AFTER,
	ODD_OTHER_ID,
	ODD_SAME,
	ODDS,
};

enum { PLACE_ODD = 750 };

void odd_begin(struct world *w)
{
	for (uint32_t i = 0; i < ODDS; i++)
		if (world_draw(w, 60, PLACE_ODD, i, 0))
			world_later(w, rng_at(w->plan->seed, PLACE_ODD, i, 1) % (3 * SIM_SECOND), HAPPENS_ODD)->what =
			    i;
}

static void broken(enum odd odd, struct core_submission *s)
{
	static const char long_id[CORE_ID_MAX + 1] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
	static char long_key[CORE_KEY_MAX + 1], long_prompt[CORE_PROMPT_MAX + 2];

	memset(long_key, 'k', sizeof long_key - 1);
	*s = (struct core_submission){.id = "odd", .role = "plan", .prompt = "odd"};
	if (odd == ODD_NO_ID)
		s->id = "";
	else if (odd == ODD_ID_MINUS)
		s->id = "-odd";
	else if (odd == ODD_ID_DOT)
		s->id = ".odd";
	else if (odd == ODD_ID_SLASH)
		s->id = "odd/1";
	else if (odd == ODD_ID_LONG)
		s->id = long_id;
	else if (odd == ODD_NO_ROLE)
		s->role = NULL;
	else if (odd == ODD_ROLE)
		s->role = "boss";
	else if (odd == ODD_KEY_LONG)
		s->key = long_key;
	else if (odd == ODD_PROMPT_LONG)
		s->prompt = memset(long_prompt, 'p', sizeof long_prompt - 1);
	else if (odd == ODD_AFTER_NOBODY || odd == ODD_AFTER_ITSELF)
		s->after[s->after_count++] = odd == ODD_AFTER_NOBODY ? "nobody" : "odd";
	else
		s->after_count = CORE_AFTER_MAX + 1;
}

/* One that is there already. */
static void again(struct world *w, uint32_t task, enum odd odd, struct core_submission *s)
{
	client_submission(w, task, s);
	if (odd == ODD_OTHER_PROMPT)
		s->prompt = "something else";
	else if (odd == ODD_OTHER_ROLE)
		s->role = policy_role_name((w->plan->tasks[task].role + 1) % POLICY_ROLES);
	else if (odd == ODD_OTHER_AFTER && s->after_count > 0)
		s->after_count--;
	else if (odd == ODD_OTHER_AFTER)
		s->after[s->after_count++] = "t0";
	else if (odd == ODD_OTHER_ID)
		s->id = "odd";
	s->key = w->names[task];
	if (odd == ODD_SAME && !*s->prompt)
		s->prompt = NULL; /* none is an empty one */
}

void odd_submit(struct world *w, const struct happening *h)
{
	enum odd odd = (enum odd)h->what;
	struct core_submission s = {0};
	uint32_t life = w->life;
	uint32_t task = (uint32_t)(rng_at(w->plan->seed, PLACE_ODD, h->what, 2) % w->plan->task_count);

	if (!w->live)
		return;
	if (odd < ODD_BROKEN) {
		broken(odd, &s);
		w->odd_expected = 400;
	} else if (w->client[task].accepted && (odd != ODD_OTHER_AFTER || (task > 0 && w->client[0].accepted))) {
		again(w, task, odd, &s);
		w->odd_expected = odd == ODD_SAME ? 202 : 409;
	} else {
		return;
	}
	if (!core_writable(w->core))
		w->odd_expected = 503;
	process_feed(w, (struct core_event){.kind = CORE_SUBMIT, .token = ODD_TOKEN, .submission = &s});
	if (w->odd_expected && w->alive && w->life == life)
		world_broken(w, "a client's mistake (%u) was not answered with %d", h->what, w->odd_expected);
	w->odd_expected = 0;
}

bool odd_reply(struct world *w, const struct core_effect *e)
{
	if (e->token != ODD_TOKEN)
		return false;
	if (w->odd_expected && e->status != w->odd_expected)
		world_broken(w, "a client's mistake was answered %d, not %d: %s", e->status, w->odd_expected, e->text);
	else if (!w->odd_expected)
		world_broken(w, "a client's mistake was answered twice, with %d", e->status);
	w->odd_expected = 0;
	return true;
}
