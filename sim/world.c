/* SPDX-License-Identifier: Apache-2.0 */
/* The world's memory, its clock, and the loop that takes what happens next. */
#include "sim/world.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/rng.h"

/* ---- small words ---- */

static char *put_number(char *at, uint64_t n)
{
	char digits[20];
	unsigned count = 0;

	do
		digits[count++] = (char)('0' + n % 10);
	while ((n /= 10) > 0);
	while (count > 0)
		*at++ = digits[--count];
	return at;
}

/* A tree is (task, attempt, step, whether a file is missing in it): "t3a1s2x". 0: none. */
const char *world_tree(uint64_t tree, char buf[WORLD_NAME_MAX * 2])
{
	char *at = buf;

	if (tree != 0) {
		*at++ = 't';
		at = put_number(at, tree >> 48);
		*at++ = 'a';
		at = put_number(at, tree >> 24 & 0xffffff);
		*at++ = 's';
		at = put_number(at, tree >> 8 & 0xffff);
		if (tree & 2)
			*at++ = 'x';
	}
	*at = '\0';
	return buf;
}

static uint64_t take_number(const char **at)
{
	uint64_t n = 0;

	for ((*at)++; **at >= '0' && **at <= '9'; (*at)++)
		n = n * 10 + (uint64_t)(**at - '0');
	return n;
}

uint64_t world_tree_parse(const char *text)
{
	uint64_t tree = 1;

	if (*text != 't')
		return 0;
	tree |= take_number(&text) << 48;
	tree |= take_number(&text) << 24;
	tree |= take_number(&text) << 8;
	return *text == 'x' ? tree | 2 : tree;
}

uint32_t world_task(const char *id)
{
	return id && id[0] == 't' ? (uint32_t)take_number(&id) : NOBODY;
}

uint64_t world_span(struct world *w, const struct sim_span *span, uint64_t place, uint64_t a, uint64_t b)
{
	return span->low + rng_at(w->plan->seed, place, a, b) % (span->high - span->low + 1);
}

bool world_draw(struct world *w, uint32_t permille, uint64_t place, uint64_t a, uint64_t b)
{
	return rng_at(w->plan->seed, place, a, b) % 1000 < permille;
}

uint64_t world_core_now(const struct world *w)
{
	return WORLD_WALL_US + (uint64_t)((int64_t)w->now_us + w->clock_us);
}

void world_broken(struct world *w, const char *format, ...)
{
	struct sim_verdict *v = &w->result->verdicts[SIM_CHECKS - 1];
	va_list args;

	v->violations++;
	if (v->violations > 1)
		return;
	va_start(args, format);
	vsnprintf(v->text, sizeof v->text, format, args);
	va_end(args);
}

/* ---- what is going to happen ---- */

struct happening *world_later(struct world *w, uint64_t after_us, enum happening_kind kind)
{
	struct happening *h;
	uint32_t slot;

	if (w->free_count == 1)
		w->cut = true; /* the last one is used again and again until the run ends */
	slot = w->free_count > 1 ? w->free_happenings[--w->free_count] : w->free_happenings[0];
	h = &w->happenings[slot];
	*h = (struct happening){.kind = kind, .life = w->life, .agent = NOBODY};
	if (!w->cut)
		heap_push(&w->heap, w->now_us + after_us, slot);
	return h;
}

static void core_happens(struct world *w, const struct happening *h)
{
	char tree[WORLD_NAME_MAX * 2];
	static const char *const providers[POLICY_PROVIDERS] = {"claude", "codex", "gemini", "qwen"};
	struct core_event event = {.kind = h->core,
	    .task = h->task < SIM_TASKS_MAX ? w->names[h->task] : "",
	    .attempt = h->attempt,
	    .step = h->step,
	    .epoch = h->epoch,
	    .op = h->op,
	    .status = h->status,
	    .provider = providers[h->provider % POLICY_PROVIDERS],
	    .retry_after_ms = h->number,
	    .tokens = h->tokens,
	    .action = h->action,
	    .fault_class = h->fault_class,
	    .digest = world_tree(h->tree, tree),
	    .base = "base",
	    .text = h->fault_class == CORE_CLASS_WORKTREE ? "shared/plan.md" : "said so"};

	process_feed(w, event);
}

static bool in_process(enum happening_kind kind)
{
	return kind <= HAPPENS_NOTIFIED;
}

static void happen(struct world *w, const struct happening *h)
{
	switch (h->kind) {
	case HAPPENS_CORE:
		core_happens(w, h);
		break;
	case HAPPENS_SYNCED:
		disk_synced(w, h);
		break;
	case HAPPENS_OPEN_LOG:
		process_open_log(w);
		break;
	case HAPPENS_TAKEN_OVER:
		process_taken_over(w);
		break;
	case HAPPENS_GIT:
		git_done(w, h);
		break;
	case HAPPENS_PREPARED:
		agents_prepared(w, h);
		break;
	case HAPPENS_FILE:
		disk_file_written(w);
		break;
	case HAPPENS_NOTIFIED:
		process_feed(
		    w, (struct core_event){
			   .kind = CORE_NOTIFIED, .task = w->names[h->task], .op = h->op, .status = h->status});
		break;
	case HAPPENS_START:
		process_start(w);
		break;
	case HAPPENS_ACT:
		agents_act(w, h);
		break;
	case HAPPENS_BEAT:
		agents_beat(w, h);
		break;
	case HAPPENS_ANSWER:
		providers_answer(w, h);
		break;
	case HAPPENS_SINK:
		sink_arrived(w, h);
		break;
	case HAPPENS_SUBMIT:
		client_submit(w, h);
		break;
	case HAPPENS_ODD:
		odd_submit(w, h);
		break;
	case HAPPENS_FAULT:
		inject_due(w, h->what);
		break;
	case HAPPENS_FAULT_ENDS:
		inject_end(w, h->what);
		break;
	case HAPPENS_LOOK:
		break; /* seen to by the loop */
	}
}

void world_sooner(struct world *w, uint64_t than_us)
{
	struct heap *heap = &w->heap;

	for (uint32_t i = 0; i < heap->count; i++)
		if (heap->entries[i].at_us == than_us && in_process(w->happenings[heap->entries[i].slot].kind))
			heap->entries[i].at_us = w->now_us;
	heap_order(heap);
}

static bool tick_is_next(const struct world *w)
{
	uint64_t at = w->timer_us;

	if (at == CORE_NEVER || !w->alive)
		return false;
	if (at < w->stopped_until_us)
		at = w->stopped_until_us;
	return w->heap.count == 0 || at <= w->heap.entries[0].at_us;
}

static void tick(struct world *w)
{
	uint64_t at = w->timer_us > w->stopped_until_us ? w->timer_us : w->stopped_until_us;

	w->now_us = at > w->now_us ? at : w->now_us;
	w->timer_us = CORE_NEVER;
	process_feed(w, event_of(CORE_TICK));
}

static bool next(struct world *w)
{
	struct heap_entry entry;
	struct happening h;

	w->events++;
	if (tick_is_next(w)) {
		tick(w);
		return false;
	}
	if (w->heap.count == 0)
		return true;
	entry = heap_pop(&w->heap);
	h = w->happenings[entry.slot];
	if (in_process(h.kind) && h.life == w->life && entry.at_us < w->stopped_until_us) {
		heap_push(&w->heap, w->stopped_until_us, entry.slot); /* it waits until the process goes on */
		w->events--;
		return false;
	}
	w->free_happenings[w->free_count++] = entry.slot;
	w->now_us = entry.at_us > w->now_us ? entry.at_us : w->now_us;
	if (in_process(h.kind) && (h.life != w->life || !w->alive))
		return false;
	if (h.kind == HAPPENS_LOOK)
		return settle_look(w);
	happen(w, &h);
	return false;
}

/* ---- a seed ---- */

static void begin(struct world *w, const struct sim_plan *plan, struct bugs bugs, struct sim_result *result,
    struct coverage *coverage)
{
	struct error err;

	w->plan = plan;
	w->result = result;
	w->coverage = coverage;
	memset(&w->now_us, 0, sizeof *w - offsetof(struct world, now_us));
	memset(result, 0, sizeof *result);
	result->seed = plan->seed;
	heap_clear(&w->heap);
	w->free_count = WORLD_HAPPENINGS;
	for (uint32_t i = 0; i < WORLD_HAPPENINGS; i++)
		w->free_happenings[i] = WORLD_HAPPENINGS - 1 - i;
	for (uint32_t i = 0; i < SIM_TASKS_MAX; i++) {
		w->names[i][0] = 't';
		*put_number(w->names[i] + 1, i) = '\0';
	}
	w->options.policy = plan->policy;
	w->options.bugs = plan->bugged ? plan->bugs : bugs;
	w->options.seed = plan->seed;
	w->options.agents_max = plan->slots_max;
	w->timer_us = CORE_NEVER;
	w->exit_status = -1;
	w->first_death_lsn = UINT64_MAX;
	promises_begin(w);
	if (core_renew(w->core, &w->options, &err) != 0)
		world_broken(w, "%s", err.text);
}

static void finish(struct world *w)
{
	struct sim_result *r = w->result;

	r->events = w->events;
	r->ops = w->op_count;
	r->trace = w->trace;
	r->simulated_us = w->now_us;
	r->commits = w->commit_count;
	r->crashes = w->deaths;
	r->cut = w->cut;
	for (uint32_t i = 0; i < w->plan->fault_count; i++)
		r->faults_felt += w->faults[i].felt;
}

static void run(struct world *w)
{
	inject_begin(w);
	process_start(w);
	client_begin(w, 0, w->plan->task_count);
	if (!w->plan->as_real)
		odd_begin(w);
	world_later(w, 200 * SIM_MS, HAPPENS_LOOK);
	while (!w->cut && !next(w))
		if (w->events > WORLD_EVENTS_MAX)
			w->cut = true;
	if (w->cut) /* what was not looked at is no green */
		world_broken(
		    w, "cut off after %llu events, at a bound of the simulation", (unsigned long long)w->events);
	if (!w->healed_us)
		inject_end_all(w);
	ops_outcomes(w, true);
	audit_run(w);
	judge_run(w);
	finish(w);
}

/* ---- memory ---- */

struct sim {
	struct world world;
	struct core_options options;
};

static void *take(struct world *w, size_t count, size_t size)
{
	w->memory += count * size;
	return calloc(count, size);
}

static size_t core_bytes(const struct core_options *o)
{
	/* What core_create takes for so many tasks and agents, near enough for the print. */
	return (size_t)o->tasks_max * 2048u + o->prompt_bytes + (size_t)o->agents_max * 256u + (2u << 20);
}

int sim_create(struct sim **ret_sim, const char *bug, struct error *err)
{
	struct sim *sim = calloc(1, sizeof *sim);
	struct world *w = &sim->world;

	if (!sim)
		return error_set(err, ENOMEM, "no memory for a simulation");
	policy_init(&sim->options.policy);
	sim->options.policy.slo_window = 64;
	sim->options.tasks_max = SIM_TASKS_MAX + 32;
	sim->options.retired_max = SIM_TASKS_MAX;
	sim->options.agents_max = 32;
	sim->options.prompt_bytes = 1 << 16;
	if (bug && *bug && bugs_add(&sim->options.bugs, bug, err) != 0) {
		free(sim);
		return -1;
	}
	w->options = sim->options;
	w->memory = sizeof *sim + 2 * core_bytes(&sim->options);
	w->happenings = take(w, WORLD_HAPPENINGS, sizeof *w->happenings);
	w->free_happenings = take(w, WORLD_HAPPENINGS, sizeof *w->free_happenings);
	w->agents = take(w, WORLD_AGENTS, sizeof *w->agents);
	w->ops = take(w, WORLD_OPS, sizeof *w->ops);
	w->log = take(w, WORLD_RECORDS, sizeof *w->log);
	w->log_bytes = take(w, WORLD_LOG_BYTES, 1);
	w->commits = take(w, WORLD_COMMITS, sizeof *w->commits);
	w->snapshots[0] = take(w, WORLD_SNAPSHOT, 1);
	w->snapshots[1] = take(w, WORLD_SNAPSHOT, 1);
	w->memory += WORLD_HAPPENINGS * sizeof(struct heap_entry);
	if (!heap_create(&w->heap, WORLD_HAPPENINGS) || !w->happenings || !w->free_happenings || !w->agents ||
	    !w->ops || !w->log || !w->log_bytes || !w->commits || !w->snapshots[0] || !w->snapshots[1]) {
		sim_destroy(sim);
		return error_set(err, ENOMEM, "no memory for a simulation");
	}
	if (core_create(&w->core, &sim->options, err) != 0 || core_create(&w->auditor, &sim->options, err) != 0 ||
	    core_effects_create(&w->effects, w->core, err) != 0 ||
	    core_effects_create(&w->auditor_effects, w->auditor, err) != 0) {
		sim_destroy(sim);
		return -1;
	}
	*ret_sim = sim;
	return 0;
}

void sim_destroy(struct sim *sim)
{
	struct world *w;

	if (!sim)
		return;
	w = &sim->world;
	core_effects_destroy(w->effects);
	core_effects_destroy(w->auditor_effects);
	core_destroy(w->core);
	core_destroy(w->auditor);
	heap_destroy(&w->heap);
	facts_finish(&w->facts);
	free(w->happenings);
	free(w->free_happenings);
	free(w->agents);
	free(w->ops);
	free(w->log);
	free(w->log_bytes);
	free(w->commits);
	free(w->snapshots[0]);
	free(w->snapshots[1]);
	free(sim);
}

size_t sim_memory(const struct sim *sim)
{
	return sim->world.memory;
}

void sim_run(struct sim *sim, const struct sim_plan *plan, struct sim_result *result, struct coverage *coverage)
{
	begin(&sim->world, plan, sim->options.bugs, result, coverage);
	run(&sim->world);
}

bool sim_felt(const struct sim *sim, uint32_t fault)
{
	return sim->world.faults[fault].felt;
}

void sim_operation(const struct sim *sim, uint64_t index, char *buf, size_t size)
{
	*buf = '\0';
	if (index < sim->world.op_count)
		op_format(&sim->world.ops[index], buf, size);
}

void sim_story(const struct sim *sim, FILE *out)
{
	char line[512];

	for (uint64_t i = 0; i < sim->world.op_count; i++) {
		op_format(&sim->world.ops[i], line, sizeof line);
		fprintf(out, "  %s\n", line);
	}
}

void sim_history(const struct sim *sim, struct history_view *ret_view)
{
	*ret_view = (struct history_view){.ops = sim->world.ops, .count = sim->world.op_count};
}
