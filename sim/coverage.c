/* SPDX-License-Identifier: Apache-2.0 */
/* Counting what was exercised, and naming what was not; see coverage.h. */
#include "sim/coverage.h"

#include <string.h>

#include "check/check.h"

#define NAMED_MAX 60u /* so many are named without being asked */

static const char *const state_names[SEEN_STATES] = {
    "none", "open", "claimed", "spawned", "result", "intent", "committed", "notifying", "done", "failed"};
static const char *const mode_names[MODES] = {"up", "recovering", "offline", "down"};

void coverage_add(struct coverage *to, const struct coverage *from)
{
	/* Nothing but counters. */
	uint64_t *t = (uint64_t *)to;
	const uint64_t *f = (const uint64_t *)from;

	for (size_t i = 0; i < sizeof *to / sizeof *t; i++)
		t[i] += f[i];
}

bool coverage_any(const struct coverage *coverage)
{
	for (unsigned i = 0; i + 1 < SIM_CHECKS; i++)
		if (coverage->opportunities[i])
			return true;
	return false;
}

/* ---- what a task may do ---- */

#define S(state) (1u << SEEN_##state)
#define ALL                                                                                                            \
	(S(OPEN) | S(CLAIMED) | S(SPAWNED) | S(RESULT) | S(INTENT) | S(COMMITTED) | S(NOTIFYING) | S(DONE) | S(FAILED))

/* From which states each record may come; those of an attempt's end, by class. */
static uint32_t possible(uint32_t kind, uint32_t fault_class)
{
	static const uint32_t by_kind[CORE_RECORD_END] = {[CORE_RECORD_ACCEPT] = S(NONE),
	    [CORE_RECORD_CLAIM] = S(OPEN),
	    [CORE_RECORD_SPAWN] = S(CLAIMED),
	    [CORE_RECORD_STEP] = S(SPAWNED),
	    [CORE_RECORD_THROTTLE] = S(NONE),
	    [CORE_RECORD_BREAKER] = S(NONE),
	    [CORE_RECORD_RESULT] = S(SPAWNED),
	    [CORE_RECORD_COMMIT_INTENT] = S(RESULT),
	    [CORE_RECORD_COMMIT_DONE] = S(INTENT),
	    [CORE_RECORD_NOTIFY_INTENT] = S(COMMITTED),
	    [CORE_RECORD_NOTIFY_DONE] = S(NOTIFYING),
	    [CORE_RECORD_HANDOFF] = S(OPEN),
	    [CORE_RECORD_SLO] = S(NONE),
	    [CORE_RECORD_REMEDIATE] = S(NONE),
	    [CORE_RECORD_INCIDENT] = S(NONE),
	    [CORE_RECORD_REFUSED] = ALL,
	    [CORE_RECORD_RETIRE] = S(NONE)};
	static const uint32_t ended[CORE_CLASS_END] = {[CORE_CLASS_NETWORK] = S(SPAWNED),
	    [CORE_CLASS_VALIDATION] = 0, /* of an agent's own failure; none of the simulated ones says so */
	    [CORE_CLASS_WORKTREE] = S(SPAWNED),
	    [CORE_CLASS_DIED] = S(CLAIMED) | S(SPAWNED),
	    [CORE_CLASS_LEASE] = S(SPAWNED),
	    [CORE_CLASS_TIMEOUT] = S(CLAIMED) | S(SPAWNED),
	    [CORE_CLASS_INTERRUPTED] = S(CLAIMED) | S(SPAWNED),
	    [CORE_CLASS_CONFLICT] = S(INTENT),
	    [CORE_CLASS_SPAWN] = S(CLAIMED)};
	static const uint32_t given_up[CORE_CLASS_END] = {[CORE_CLASS_VALIDATION] = S(SPAWNED),
	    [CORE_CLASS_BUDGET] = S(SPAWNED),
	    [CORE_CLASS_LOOP] = S(SPAWNED),
	    [CORE_CLASS_DEPENDENCY] = S(OPEN)};

	if (kind == CORE_RECORD_FAIL)
		return ended[fault_class];
	if (kind == CORE_RECORD_GIVE_UP)
		return ended[fault_class] | given_up[fault_class];
	return fault_class == CORE_CLASS_NONE ? by_kind[kind] : 0;
}

struct tally {
	unsigned seen, all;
	bool print;
	FILE *out;
};

static void transitions(const struct coverage *c, struct tally *t)
{
	for (uint32_t kind = 1; kind < CORE_RECORD_END; kind++)
		for (uint32_t class = 0; class < CORE_CLASS_END; class ++)
			for (uint32_t state = 0; state < SEEN_STATES; state++) {
				bool seen = c->transitions[state][kind][class] > 0;
				bool may = possible(kind, class) >> state & 1;

				t->seen += seen && may;
				t->all += may;
				if (!t->print || seen == may)
					continue;
				fprintf(t->out, "  %s %s in state %s%s%s\n",
				    may ? "never" : "not foreseen:", core_record_name(kind), state_names[state],
				    class ? ", class " : "", core_class_name((enum core_class) class));
			}
}

static void points(const struct coverage *c, struct tally *t)
{
	char name[48];

	for (uint32_t i = 0; i < SIM_POINTS; i++) {
		t->seen += c->points[i] > 0;
		t->all++;
		if (t->print && c->points[i] == 0)
			fprintf(t->out, "  never died at %s\n", sim_point_name(i, name, sizeof name));
	}
}

static void pairs(const struct coverage *c, struct tally *t)
{
	static const uint32_t task_states = S(SPAWNED) | S(RESULT) | S(INTENT) | S(COMMITTED) | S(NOTIFYING) | S(DONE);

	for (uint32_t p = 0; p < SIM_PLUGINS; p++) {
		bool of_task =
		    p == SIM_AGENT_KILL || p == SIM_AGENT_PAUSE || p == SIM_FILE_REMOVE || p == SIM_AGENT_BABBLE;
		/* No seed swallows what a sink said: that would be a mistake, and found. */
		uint32_t first = p == SIM_SWALLOWED_EXCEPTION ? EXCEPTION_SEEN : 0;

		for (uint32_t k = first; k < 8 && (k == first || sim_kind_name((enum sim_plugin)p, k)[0]); k++)
			for (uint32_t s = 0; s < SEEN_STATES; s++) {
				if (!((of_task ? task_states : S(NONE)) >> s & 1))
					continue;
				t->seen += c->faults[p][k][s] > 0;
				t->all++;
				if (t->print && c->faults[p][k][s] == 0)
					fprintf(t->out, "  never felt: %s %s%s%s\n",
					    sim_plugin_name((enum sim_plugin)p), sim_kind_name((enum sim_plugin)p, k),
					    of_task ? " of a task in state " : "", of_task ? state_names[s] : "");
			}
	}
}

static void modes(const struct coverage *c, struct tally *t)
{
	for (uint32_t p = 0; p < SIM_PLUGINS; p++)
		for (uint32_t m = 0; m < MODES; m++) {
			/* What is down does not die, and neither it nor its agents write, or call anybody. */
			bool none = p == SIM_ORCHESTRATOR_KILL || p == SIM_POWER_LOSS || p == SIM_ORCHESTRATOR_PAUSE ||
				    p == SIM_DISK_FULL || p == SIM_GIT_TROUBLE || p == SIM_RATE_LIMIT ||
				    p == SIM_PROVIDER_ERROR || p == SIM_PROVIDER_LIE;

			if (none && m == MODE_DOWN)
				continue;
			t->seen += c->modes[p][m] > 0;
			t->all++;
			if (t->print && c->modes[p][m] == 0)
				fprintf(t->out, "  never felt: %s while the orchestrator was %s\n",
				    sim_plugin_name((enum sim_plugin)p), mode_names[m]);
		}
}

void coverage_print(const struct coverage *coverage, bool never, FILE *out)
{
	struct tally t = {.out = out}, p = t, f = t, m = t;
	unsigned invariants = 0, left;

	for (unsigned i = 0; i + 1 < SIM_CHECKS; i++)
		invariants += coverage->opportunities[i] > 0;
	transitions(coverage, &t);
	points(coverage, &p);
	pairs(coverage, &f);
	modes(coverage, &m);
	fprintf(out,
	    "exercised: %u/%u invariants, %u/%u fault points, %u/%u transitions (%u never), %u/%u fault x state, "
	    "%u/%u fault x orchestrator\n",
	    invariants, SIM_CHECKS - 1, p.seen, p.all, t.seen, t.all, t.all - t.seen, f.seen, f.all, m.seen, m.all);
	left = SIM_CHECKS - 1 - invariants + (t.all - t.seen) + (p.all - p.seen) + (f.all - f.seen) + (m.all - m.seen);
	if (!never && left > NAMED_MAX) {
		fprintf(out, "never exercised: %u of them; --verbose names them\n", left);
		return;
	}
	for (unsigned i = 0; i + 1 < SIM_CHECKS; i++)
		if (!coverage->opportunities[i])
			fprintf(out, "  never: an opportunity for %s\n", check_table[i]->name);
	t.print = p.print = f.print = m.print = true;
	transitions(coverage, &t);
	points(coverage, &p);
	pairs(coverage, &f);
	modes(coverage, &m);
}
