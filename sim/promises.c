/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the policy promises, seen in the records: nothing is given up before its policy is exhausted nor without its cause, attempts are
 * numbered without a gap, no pause, window or reset is shorter or longer than it may be, and what is taken away while an SLO is red is
 * given back step by step. What is not so counts as a violation of the contract.
 */
#include "sim/world.h"

#include "fixtures/conductor/core/record.h"
#include "fixtures/conductor/policy/cascade.h"

#define US_PER_MS UINT64_C(1000)
#define LATE_US   (5 * US_PER_MS) /* timers are of whole milliseconds */

static bool felt(const struct world *w, enum sim_plugin plugin, uint32_t kind)
{
	for (uint32_t i = 0; i < w->plan->fault_count; i++)
		if (w->faults[i].felt && w->plan->faults[i].plugin == plugin &&
		    (kind == SIM_ANY || w->plan->faults[i].kind == kind))
			return true;
	return false;
}

/* By an agent of this task: what one agent suffers is no cause for another's end. */
static bool felt_by(const struct world *w, uint32_t task, enum sim_plugin plugin, uint32_t kind)
{
	for (uint32_t i = 0; i < w->plan->fault_count; i++)
		if (w->faults[i].felt && w->plan->faults[i].plugin == plugin && w->faults[i].agent != NOBODY &&
		    w->agents[w->faults[i].agent].task == task && (kind == SIM_ANY || w->plan->faults[i].kind == kind))
			return true;
	return false;
}

/* Nobody is heard in time without one of these. */
static bool silenced(const struct world *w, uint32_t task)
{
	return felt_by(w, task, SIM_AGENT_PAUSE, SIM_ANY) || felt_by(w, task, SIM_AGENT_BABBLE, SIM_ANY) ||
	       felt(w, SIM_ORCHESTRATOR_PAUSE, SIM_ANY);
}

/* ---- attempts ---- */

/* Has anything happened that such an end may come of? */
static bool has_cause(const struct world *w, const struct record *r)
{
	uint32_t task = world_task(r->task);

	switch (r->fault_class) {
	case CORE_CLASS_NETWORK:
		return felt(w, SIM_PROVIDER_ERROR, SIM_ANY);
	case CORE_CLASS_VALIDATION:
		return felt(w, SIM_PROVIDER_ERROR, ERROR_MALFORMED) || felt(w, SIM_PROVIDER_ERROR, ERROR_STATUS);
	case CORE_CLASS_WORKTREE:
		return felt_by(w, task, SIM_FILE_REMOVE, SIM_ANY);
	case CORE_CLASS_BUDGET:
		return w->plan->policy.task_tokens_max > 0;
	case CORE_CLASS_LOOP:
		return felt_by(w, task, SIM_AGENT_BABBLE, BABBLE_LOOP);
	case CORE_CLASS_CONFLICT:
		return felt(w, SIM_GIT_TROUBLE, GIT_CONFLICT);
	case CORE_CLASS_SPAWN:
		return felt(w, SIM_GIT_TROUBLE, GIT_UNREADABLE);
	case CORE_CLASS_INTERRUPTED:
		return w->deaths > 0 || felt(w, SIM_DISK_FULL, SIM_ANY);
	case CORE_CLASS_DIED:
		return felt_by(w, task, SIM_AGENT_KILL, SIM_ANY);
	case CORE_CLASS_LEASE:
		return silenced(w, task);
	case CORE_CLASS_TIMEOUT:
		return silenced(w, task) || felt(w, SIM_PROVIDER_ERROR, SIM_ANY) || felt(w, SIM_DISK_FULL, SIM_ANY);
	case CORE_CLASS_DEPENDENCY:
		return true;
	case CORE_CLASS_NONE:
	case CORE_CLASS_THROTTLED:
	case CORE_CLASS_END:
		break;
	}
	return false;
}

/* Before the how manieth retry such an end is waited for; 0: none is. */
static uint32_t pause_number(enum core_class reason, uint32_t before)
{
	if (reason == CORE_CLASS_DIED || reason == CORE_CLASS_TIMEOUT || reason == CORE_CLASS_INTERRUPTED)
		return before;
	if (reason == CORE_CLASS_NETWORK || reason == CORE_CLASS_SPAWN || reason == CORE_CLASS_CONFLICT)
		return before + 1;
	return 0;
}

static bool exhausted(const struct world *w, const struct promised *t, enum core_class reason)
{
	const struct policy *p = &w->plan->policy;
	uint32_t own = t->attempts - t->fails[CORE_CLASS_INTERRUPTED];

	switch (reason) {
	case CORE_CLASS_WORKTREE:
		return t->fails[reason] >= p->worktree_retries || own >= p->attempts_max;
	case CORE_CLASS_INTERRUPTED:
		return t->fails[reason] >= p->interruptions_max;
	case CORE_CLASS_NETWORK:
	case CORE_CLASS_DIED:
	case CORE_CLASS_LEASE:
	case CORE_CLASS_TIMEOUT:
	case CORE_CLASS_CONFLICT:
	case CORE_CLASS_SPAWN:
		return own >= p->attempts_max;
	case CORE_CLASS_NONE:
	case CORE_CLASS_THROTTLED:
	case CORE_CLASS_VALIDATION:
	case CORE_CLASS_BUDGET:
	case CORE_CLASS_LOOP:
	case CORE_CLASS_DEPENDENCY:
	case CORE_CLASS_END:
		break;
	}
	return true;
}

/* Its own retries come first: of a call that is not answered, and of answers that make no sense. */
static void retried(struct world *w, const struct promised *t, const struct record *r)
{
	const struct policy *p = &w->plan->policy;

	if ((r->fault_class == CORE_CLASS_NETWORK && t->network <= p->network_retries) ||
	    (r->fault_class == CORE_CLASS_VALIDATION && t->validation <= p->validation_retries))
		world_broken(w,
		    "attempt %u of task %s ends with class %s after %u calls without an answer, %u with a bad one",
		    t->attempts, r->task, core_class_name(r->fault_class), t->network, t->validation);
}

static void failed(struct world *w, const struct promised *t, const struct record *r)
{
	const struct policy *p = &w->plan->policy;
	uint32_t n = pause_number(r->fault_class, t->fails[r->fault_class]);
	uint64_t most = n ? p->backoff_base_ms : 0, pause = r->until_us ? r->until_us - r->time_us : 0;

	while (n-- > 1 && most < p->backoff_max_ms)
		most *= 2;
	most = (most < p->backoff_max_ms ? most : p->backoff_max_ms) * US_PER_MS;
	if (pause < most / 2 || pause > most)
		world_broken(w, "task %s waits for %llu us after its %u. end of class %s, not for %llu to %llu",
		    r->task, (unsigned long long)pause, t->fails[r->fault_class] + 1, core_class_name(r->fault_class),
		    (unsigned long long)most / 2, (unsigned long long)most);
	retried(w, t, r);
	if (exhausted(w, t, r->fault_class))
		world_broken(w,
		    "task %s is to be tried again after %u attempts and %u ends of class %s, against its policy",
		    r->task, t->attempts, t->fails[r->fault_class] + 1, core_class_name(r->fault_class));
	if (!has_cause(w, r))
		world_broken(w, "task %s: nothing was the cause of class %s", r->task, core_class_name(r->fault_class));
}

static void given_up(struct world *w, const struct promised *t, const struct record *r)
{
	retried(w, t, r);
	if (!exhausted(w, t, r->fault_class))
		world_broken(w, "task %s is given up with class %s after %u attempts, sooner than the policy says",
		    r->task, core_class_name(r->fault_class), t->attempts);
	if (!has_cause(w, r))
		world_broken(w, "task %s: nothing was the cause of class %s", r->task, core_class_name(r->fault_class));
}

/* A step counts once, and only of the current attempt. */
static void stepped(struct world *w, const struct promised *t, const struct record *r)
{
	if (r->attempt != t->attempts || r->step <= t->step)
		world_broken(w, "step %u of attempt %u of task %s is recorded after step %u of attempt %u", r->step,
		    r->attempt, r->task, t->step, t->attempts);
}

static void claimed(struct world *w, const struct promised *t, const struct record *r)
{
	if (r->attempt != t->attempts + 1 || r->epoch != w->epoch)
		world_broken(w, "attempt %u of task %s, epoch %llu, follows on attempt %u, epoch %llu", r->attempt,
		    r->task, (unsigned long long)r->epoch, t->attempts, (unsigned long long)w->epoch);
	if (r->until_us != r->time_us + w->plan->policy.lease_ms * US_PER_MS)
		world_broken(w, "another lease than the policy's");
	if (r->time_us < t->not_before_us)
		world_broken(w, "task %s is begun again before its pause is over", r->task);
}

/* ---- notifications ---- */

/* One that failed is sent again, neither at once nor later than the policy says: unless the process could not. */
void promises_notified(struct world *w, const struct core_event *event)
{
	uint32_t task = world_task(event->task);

	/* An answer to one that was sent before the log was lost says nothing any more. */
	if (task < SIM_TASKS_MAX && event->status / 100 != 2 && event->op == w->promised[task].notified_op)
		w->promised[task].unsent = (struct promised_unsent){
		    .at_us = w->now_us, .op = event->op, .epoch = w->epoch, .stops = w->stops, .there = true};
}

void promises_notify(struct world *w, const struct core_effect *e)
{
	const struct policy *p = &w->plan->policy;
	uint32_t task = world_task(e->task);
	struct promised_unsent unsent = w->promised[task].unsent;
	uint64_t waited_us = w->now_us - unsent.at_us;

	w->promised[task].unsent.there = false;
	w->promised[task].notified_op = e->op;
	if (!unsent.there || unsent.epoch != w->epoch || unsent.stops != w->stops || unsent.op >= e->op)
		return;
	if (waited_us < p->notify_backoff_ms * US_PER_MS / 2 ||
	    waited_us > p->notify_backoff_max_ms * US_PER_MS + LATE_US)
		world_broken(
		    w, "task %s is notified again %.1f ms after that failed", e->task, (double)waited_us / 1e3);
}

/* ---- providers ---- */

static void throttled(struct world *w, const struct record *r)
{
	const struct promised_provider *p = &w->promised_providers[r->provider % POLICY_PROVIDERS];
	uint64_t longest = r->time_us + w->plan->policy.throttle_max_ms * US_PER_MS;

	if (r->until_us > longest && r->until_us > p->throttled_until_us)
		world_broken(w, "a window of %llu us", (unsigned long long)(r->until_us - r->time_us));
}

static void broken(struct world *w, const struct record *r)
{
	const struct promised_provider *p = &w->promised_providers[r->provider % POLICY_PROVIDERS];

	if (r->level && r->until_us > r->time_us + w->plan->policy.breaker_reset_ms * US_PER_MS)
		world_broken(w, "a breaker is open for %llu us", (unsigned long long)(r->until_us - r->time_us));
	if (!r->level && !p->open)
		world_broken(w, "the breaker of %s is closed, and was not open",
		    cascade_providers[r->provider % POLICY_PROVIDERS]);
	if (r->level && !p->open && p->failures < w->plan->policy.breaker_threshold && !w->recovering)
		world_broken(w, "the breaker of %s opens after %u failures",
		    cascade_providers[r->provider % POLICY_PROVIDERS], p->failures);
}

/* The window that a 429 asks for, to the microsecond. */
static void window(struct world *w, const struct core_event *event, const struct record *r)
{
	const struct policy *policy = &w->plan->policy;
	const struct promised_provider *p = &w->promised_providers[r->provider % POLICY_PROVIDERS];
	bool inside = r->time_us < p->throttled_until_us && p->throttle_level > 0;
	uint32_t level = p->throttle_level - inside, n = level;
	uint64_t ms = policy->throttle_base_ms, until;

	if (event->retry_after_ms >= 0)
		ms = (uint64_t)event->retry_after_ms;
	else
		while (n-- > 0 && ms < policy->throttle_max_ms)
			ms *= 2;
	until = r->time_us + (ms < policy->throttle_max_ms ? ms : policy->throttle_max_ms) * US_PER_MS;
	if (until < p->throttled_until_us)
		until = p->throttled_until_us;
	if (r->until_us != until || r->level != level + 1)
		world_broken(w, "a 429 (Retry-After %lld ms) closes %s until %llu, level %u; expected %llu, level %u",
		    (long long)event->retry_after_ms, event->provider, (unsigned long long)r->until_us, r->level,
		    (unsigned long long)until, level + 1);
}

static bool decode(struct record *r, uint32_t kind, const uint8_t *payload, size_t size)
{
	return core_record_decode(r, kind, payload, size, NULL) == 0;
}

/* 429 is no bad answer: it says when to ask again. */
static bool is_bad(const struct core_event *event)
{
	return event->status == 200 ? event->fault_class != CORE_CLASS_NONE
				    : event->status >= 400 && event->status < 500 && event->status != 429;
}

static void count_answers(struct world *w, const struct core_event *event, bool counts)
{
	uint32_t task = world_task(event->task);
	struct promised *t = task < SIM_TASKS_MAX ? &w->promised[task] : NULL;

	if (!t || event->attempt != t->attempts)
		return;
	t->network += event->status == 0 || event->status >= 500;
	t->validation += is_bad(event);
	if (counts && event->status == 200 && event->fault_class == CORE_CLASS_NONE)
		t->network = t->validation = 0;
}

void promises_gone(struct world *w, const struct core_event *event)
{
	uint32_t task = world_task(event->task);

	if (task < SIM_TASKS_MAX && event->attempt > w->promised[task].gone)
		w->promised[task].gone = event->attempt;
}

/* Its agent is one that the core knows: it is of this epoch, has not gone, and does not speak from beyond its end. */
static bool is_known(const struct world *w, const struct core_event *event)
{
	uint32_t task = world_task(event->task);

	return event->epoch == w->epoch && (task >= SIM_TASKS_MAX || event->attempt > w->promised[task].gone) &&
	       !felt_by(w, task, SIM_AGENT_BABBLE, SIM_ANY);
}

void promises_called(struct world *w, const struct core_event *event, bool heard)
{
	int provider = cascade_provider_parse(event->provider);
	struct promised_provider *p = &w->promised_providers[provider < 0 ? 0 : provider];
	bool counts = heard && is_known(w, event);
	unsigned windows = 0;
	struct record r;

	for (size_t i = 0; i < w->effects->count; i++) {
		const struct core_effect *e = &w->effects->items[i];

		if (e->kind != CORE_APPEND || e->record != CORE_RECORD_THROTTLE ||
		    !decode(&r, e->record, e->payload, e->size))
			continue;
		windows++;
		if (event->status == 429)
			window(w, event, &r);
	}
	if (event->status == 429 && counts && windows != 1)
		world_broken(w, "a 429 of %s began %u windows", event->provider, windows);
	if (event->status == 200 && counts && p->throttle_level > 0 && event->now_us >= p->throttled_until_us &&
	    windows != 1)
		world_broken(w, "a success of %s did not end its row of windows", event->provider);
	count_answers(w, event, counts);
	if (event->status == 0 || event->status >= 500)
		p->failures++;
	else if (counts)
		p->failures = 0;
}

/* ---- remediation ---- */

static void remediated(struct world *w, const struct record *r)
{
	const struct policy *p = &w->plan->policy;
	uint64_t divisor = w->giving_back ? 16 : 4, tasks = p->slo_window / divisor;
	uint64_t fewer = w->agents_limit > 1 ? w->agents_limit / 2 : 1;

	if (r->agents <= w->agents_limit && r->agents != fewer)
		world_broken(w, "of %llu agents %u are left", (unsigned long long)w->agents_limit, r->agents);
	if (r->agents <= w->agents_limit)
		return;
	if (r->agents != w->agents_limit + 1 || r->agents > p->agents ||
	    (w->clean_tasks < (tasks ? tasks : 1) &&
		r->time_us - w->clean_since_us < p->slo_window_ms * US_PER_MS / divisor))
		world_broken(w, "an agent is given back too early: %u after %llu", r->agents,
		    (unsigned long long)w->agents_limit);
}

/* Detected, remediating, resolved; one at a time for each SLO. */
static void incident(struct world *w, const struct record *r)
{
	uint64_t *open = &w->incidents[r->slo % CORE_SLOS];

	if (r->level == 1 ? *open != 0 || r->incident != w->incident_last + 1 : *open != r->incident)
		world_broken(w, "incident %llu comes to state %u while %llu is open for its SLO",
		    (unsigned long long)r->incident, r->level, (unsigned long long)*open);
}

/* ---- each record ---- */

static void check(struct world *w, const struct promised *t, const struct record *r)
{
	if (r->kind == CORE_RECORD_CLAIM && t)
		claimed(w, t, r);
	else if (r->kind == CORE_RECORD_STEP && t)
		stepped(w, t, r);
	else if (r->kind == CORE_RECORD_FAIL && t)
		failed(w, t, r);
	else if (r->kind == CORE_RECORD_GIVE_UP && t)
		given_up(w, t, r);
	else if (r->kind == CORE_RECORD_THROTTLE)
		throttled(w, r);
	else if (r->kind == CORE_RECORD_BREAKER)
		broken(w, r);
	else if (r->kind == CORE_RECORD_REMEDIATE)
		remediated(w, r);
	else if (r->kind == CORE_RECORD_INCIDENT)
		incident(w, r);
}

static void clean_again(struct world *w, const struct record *r)
{
	w->clean_tasks = 0;
	w->clean_since_us = r->time_us;
}

static void apply(struct world *w, struct promised *t, const struct record *r)
{
	struct promised_provider *p = &w->promised_providers[r->provider % POLICY_PROVIDERS];

	if (r->kind == CORE_RECORD_CLAIM && t) {
		t->attempts = r->attempt;
		t->network = t->validation = 0;
	} else if (r->kind == CORE_RECORD_STEP && t) {
		t->step = r->step;
	} else if (r->kind == CORE_RECORD_FAIL && t) {
		t->fails[r->fault_class]++;
		t->not_before_us = r->until_us;
		if (r->fresh)
			t->step = 0;
	} else if (r->kind == CORE_RECORD_COMMIT_DONE) {
		w->clean_tasks++;
	} else if (r->kind == CORE_RECORD_GIVE_UP) {
		clean_again(w, r);
		w->giving_back = false;
	} else if (r->kind == CORE_RECORD_THROTTLE) {
		p->throttled_until_us = r->until_us;
		p->throttle_level = r->level;
	} else if (r->kind == CORE_RECORD_BREAKER) {
		p->open = r->level != 0;
	} else if (r->kind == CORE_RECORD_REMEDIATE) {
		clean_again(w, r);
		w->giving_back = r->agents > w->agents_limit;
		w->agents_limit = r->agents;
	} else if (r->kind == CORE_RECORD_INCIDENT) {
		w->incidents[r->slo % CORE_SLOS] = r->level == 3 ? 0 : r->incident;
		if (r->level == 1)
			w->incident_last = r->incident;
	}
}

static bool matters(uint32_t kind)
{
	return kind == CORE_RECORD_CLAIM || kind == CORE_RECORD_STEP || kind == CORE_RECORD_FAIL ||
	       kind == CORE_RECORD_GIVE_UP || kind == CORE_RECORD_THROTTLE || kind == CORE_RECORD_BREAKER ||
	       kind == CORE_RECORD_REMEDIATE || kind == CORE_RECORD_INCIDENT || kind == CORE_RECORD_COMMIT_DONE;
}

static void take(struct world *w, uint32_t kind, const uint8_t *payload, size_t size, bool fresh)
{
	struct promised *t;
	struct record r;
	uint32_t task;

	if (!matters(kind))
		return;
	if (!decode(&r, kind, payload, size)) {
		world_broken(w, "a record of kind %s that cannot be read", core_record_name(kind));
		return;
	}
	task = world_task(r.task);
	t = task < SIM_TASKS_MAX ? &w->promised[task] : NULL;
	if (fresh)
		check(w, t, &r);
	apply(w, t, &r);
}

void promises_record(struct world *w, uint32_t kind, const uint8_t *payload, size_t size)
{
	take(w, kind, payload, size, true);
}

void promises_begin(struct world *w)
{
	w->agents_limit = w->plan->policy.agents;
}

void promises_forget(struct world *w)
{
	for (uint32_t i = 0; i < SIM_TASKS_MAX; i++)
		w->promised[i] = (struct promised){0};
	for (uint32_t i = 0; i < POLICY_PROVIDERS; i++)
		w->promised_providers[i] = (struct promised_provider){.failures = w->promised_providers[i].failures};
	for (uint32_t i = 0; i < CORE_SLOS; i++)
		w->incidents[i] = 0;
	w->incident_last = w->clean_tasks = w->clean_since_us = 0;
	w->giving_back = false;
	promises_begin(w);
	for (uint64_t lsn = 1; lsn <= w->durable; lsn++) {
		const struct log_entry *entry = &w->log[lsn - 1];

		take(w, entry->kind, w->log_bytes + entry->offset, entry->size, false);
	}
}
