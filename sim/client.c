/* SPDX-License-Identifier: Apache-2.0 */
/* Who hands the tasks in: a patient client that tries again with the same key until it has an answer, and now
 * and then when it has one already. */
#include "sim/world.h"

#define RETRY_US (50 * SIM_MS)

enum { PLACE_AGAIN = 700 };

static void later(struct world *w, uint64_t after_us, uint32_t task)
{
	world_later(w, after_us, HAPPENS_SUBMIT)->task = task;
}

void client_begin(struct world *w, uint32_t first, uint32_t count)
{
	for (uint32_t i = first; i < first + count; i++)
		if (!w->plan->tasks[i].left_out)
			later(w, i < w->plan->task_count ? w->plan->tasks[i].submit_us : (i - first) * 5 * SIM_MS, i);
	w->handed_in = first + count;
}

bool client_done(const struct world *w)
{
	for (uint32_t i = 0; i < w->handed_in; i++)
		if (!w->plan->tasks[i].left_out && (!w->client[i].accepted || w->client[i].in_flight))
			return false;
	return true;
}

static void answered(struct world *w, uint32_t task, enum op_type type, int32_t status)
{
	struct client_task *c = &w->client[task];

	c->in_flight = false;
	ops_complete(w, c->invoke, (struct op){.kind = OP_SUBMIT, .type = type, .status = status});
	if (type == OP_OK && !c->accepted) {
		c->accepted = true;
		if (!w->plan->as_real && world_draw(w, 100, PLACE_AGAIN, task, 0))
			later(w, RETRY_US, task);
		inject_happens(w, SIM_ON_ACCEPT, SIM_ANY, NOBODY);
	} else if (type != OP_OK && !c->accepted) {
		later(w, RETRY_US, task);
	}
}

static bool before_it_accepted(const struct world *w, const struct sim_task *task)
{
	for (unsigned i = 0; i < task->after_count; i++)
		if (!w->plan->tasks[task->after[i]].left_out && !w->client[task->after[i]].accepted)
			return false;
	return true;
}

/* What it comes after, as it is handed in. */
static const char *write_after(struct world *w, uint32_t task, const struct core_submission *s)
{
	char *at = w->after[task];

	for (size_t i = 0; i < s->after_count; i++) {
		*at++ = i ? ',' : '[';
		*at++ = '"';
		for (const char *name = s->after[i]; *name; name++)
			*at++ = *name;
		*at++ = '"';
	}
	if (s->after_count > 0)
		*at++ = ']';
	*at = '\0';
	return w->after[task];
}

const char *client_prompt(uint32_t task)
{
	static const char *const prompts[] = {"do it", "", "do it well", "do what t0 did, once more"};

	return prompts[task % 4];
}

void client_submission(const struct world *w, uint32_t index, struct core_submission *s)
{
	const struct sim_task *task = &w->plan->tasks[index];

	*s = (struct core_submission){
	    .id = w->names[index], .role = policy_role_name(task->role), .prompt = client_prompt(index)};
	for (unsigned i = 0; i < task->after_count; i++)
		if (!w->plan->tasks[task->after[i]].left_out)
			s->after[s->after_count++] = w->names[task->after[i]];
}

void client_submit(struct world *w, const struct happening *h)
{
	const struct sim_task *task = &w->plan->tasks[h->task];
	struct client_task *c = &w->client[h->task];
	struct core_submission s;

	if (c->in_flight)
		return;
	if (!before_it_accepted(w, task)) {
		later(w, RETRY_US, h->task);
		return;
	}
	client_submission(w, h->task, &s);
	c->invoke = ops_add(w, (struct op){.kind = OP_SUBMIT,
				   .type = OP_INVOKE,
				   .task = w->names[h->task],
				   .key = w->names[h->task],
				   .actor = s.role,
				   .detail = write_after(w, h->task, &s)});
	c->in_flight = true;
	c->tries++;
	if (!w->alive)
		answered(w, h->task, OP_INFO, 0); /* nobody listens */
	else if (!w->live)
		answered(w, h->task, OP_FAIL, 503);
	else
		process_feed(
		    w, (struct core_event){.kind = CORE_SUBMIT, .token = UINT64_C(1) + h->task, .submission = &s});
}

void client_reply(struct world *w, const struct core_effect *e)
{
	uint32_t task = (uint32_t)e->token - 1;

	if (odd_reply(w, e))
		return;
	if (task >= SIM_TASKS_MAX || !w->client[task].in_flight) {
		world_broken(w, "a submission was answered twice, with %d", e->status);
		return;
	}
	if (e->status == 409 || e->status == 400)
		world_broken(w, "task %s was answered %d: %s", w->names[task], e->status, e->text);
	answered(w, task, e->status / 100 == 2 ? OP_OK : OP_FAIL, e->status);
}

void client_disconnected(struct world *w)
{
	w->odd_expected = 0;
	for (uint32_t i = 0; i < w->handed_in; i++)
		if (w->client[i].in_flight)
			answered(w, i, OP_INFO, 0);
}
