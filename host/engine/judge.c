/* SPDX-License-Identifier: Apache-2.0 */
/* The last stage: the history goes through the invariants, and what came out is held against what was expected. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check/facts.h"
#include "engine/run.h"

static bool in(const struct spec_strings *names, const char *name)
{
	size_t i;

	for (i = 0; names && i < names->count; i++)
		if (!strcmp(names->items[i], name))
			return true;
	return false;
}

static bool listed(const struct run *run, const char *name)
{
	size_t i;

	for (i = 0; i < run->x->invariant_count; i++)
		if (!strcmp(run->x->invariants[i].name, name))
			return true;
	return false;
}

static void count_task(struct result *result, const struct task_facts *t)
{
	result->duplicates += t->other_commit != OP_NONE;
	if (t->accepted == OP_NONE)
		return;
	result->completed += t->done != OP_NONE;
	result->given_up += t->given_up != OP_NONE;
	result->lost += t->first_commit == OP_NONE && t->given_up == OP_NONE;
	result->open += t->done == OP_NONE && t->given_up == OP_NONE;
}

static void count(struct result *result, const struct history_view *view)
{
	struct facts facts;
	bool begun = false;
	size_t i;

	for (i = 0; i < view->count; i++) {
		const struct op *op = &view->ops[i];

		begun = begun || op->kind == OP_SUBMIT;
		result->tasks += op->kind == OP_SUBMIT && op->type == OP_OK;
		/* What lands before anything was handed in, a repository's root for one, is no work. */
		result->commits += begun && op->kind == OP_COMMIT;
		result->notifications += op->kind == OP_NOTIFY && op->type == OP_OK;
		result->calls += op->kind == OP_CALL && op->type == OP_INVOKE;
	}
	if (!result->check_count)
		return;
	facts_gather(&facts, view);
	for (i = 0; i < facts.count; i++)
		count_task(result, &facts.tasks[i]);
	facts_finish(&facts);
}

static void add_evidence(struct result *result, const struct check_result *checked, const struct history_view *view)
{
	size_t room = sizeof result->evidence_lines / sizeof result->evidence_lines[0], used = 0, f, e;

	while (used < room && result->evidence_lines[used])
		used++;
	for (f = 0; f < checked->finding_count; f++)
		for (e = 0; e < checked->findings[f].evidence_count && used < room; e++) {
			char line[512];

			op_format(&view->ops[checked->findings[f].evidence[e]], line, sizeof line);
			result->evidence_lines[used] = strdup(line);
			used += result->evidence_lines[used] != NULL;
		}
}

static void judge_faults(struct run *run)
{
	struct result *result = run->result;
	size_t i;

	if (!run->fault_count || result->verdict != VERDICT_HELD)
		return;
	for (i = 0; i < run->fault_count; i++) {
		const struct run_fault *f = &run->faults[i];

		if (f->result->felt)
			continue;
		/* A repetition that never came, or had nothing to break any more, is none. */
		if (f->spec->again && !f->result->injected)
			continue;
		if (f->unexercised)
			run_fail(run, VERDICT_VACUOUS, "%s was in force but never felt: %s", f->spec->name,
			    f->result->proof);
		else if (f->invoke == OP_NONE)
			run_fail(run, VERDICT_NOT_INJECTED, "%s: %s", f->spec->name,
			    f->result->proof[0] ? f->result->proof : "the moment to inject it never came");
		else
			run_fail(run, VERDICT_NOT_INJECTED, "%s: %s", f->spec->name, f->result->proof);
		return;
	}
}

/* The reason of the line: the first finding of that invariant, if it deviated. */
static void say_why(struct result *result, const char *invariant)
{
	size_t i;

	for (i = 0; i < result->check_count; i++) {
		const struct result_check *k = &result->checks[i];

		if (k->result.verdict == CHECK_DEVIATED && !strcmp(invariant, k->check->name))
			snprintf(result->reason, sizeof result->reason, "%s: %.250s", k->check->name,
			    k->result.findings[0].text);
	}
}

static void judge_expectation(struct run *run)
{
	const struct engine_case *c = run->c;
	const struct spec_strings *deviated = c->has_expect ? c->deviated : &run->x->expect_deviated;
	const struct spec_strings *may = c->has_expect ? c->may : &run->x->expect_may;
	const struct spec_strings *vacuous = c->has_expect ? c->vacuous : &run->x->expect_vacuous;
	struct result *result = run->result;
	const char *missing = NULL, *surprise = NULL, *empty = NULL, *permitted = NULL;
	bool tested = false;
	size_t i;

	for (i = 0; i < result->check_count; i++) {
		struct result_check *k = &result->checks[i];
		const char *name = k->check->name;

		k->named = in(deviated, name);
		tested = tested || k->result.verdict != CHECK_VACUOUS;
		switch (k->result.verdict) {
		case CHECK_DEVIATED:
			k->permitted = k->result.permitted == k->result.violations;
			k->expected = in(deviated, name) || in(may, name) || (k->permitted && !run->options->strict);
			if (k->permitted && !permitted)
				permitted = name;
			if (!k->expected && !surprise)
				surprise = name;
			result->verdict = VERDICT_DEVIATED;
			break;
		case CHECK_HELD:
			k->expected = !in(deviated, name);
			if (!k->expected && !missing)
				missing = name;
			break;
		case CHECK_VACUOUS:
			k->expected = !in(deviated, name) && (!listed(run, name) || in(vacuous, name));
			if (!k->expected && !empty)
				empty = name;
			break;
		}
	}
	if (!tested && !empty)
		empty = "every invariant";
	if (result->verdict == VERDICT_HELD && empty)
		result->verdict = VERDICT_VACUOUS;
	result->ok = !surprise && !missing && !empty;
	if (missing)
		snprintf(result->reason, sizeof result->reason, "%s was expected to deviate, but held", missing);
	else if (empty)
		snprintf(result->reason, sizeof result->reason, "%s had no opportunity", empty);
	if (surprise || (deviated && deviated->count))
		say_why(result, surprise ? surprise : deviated->items[0]);
	else if (permitted)
		say_why(result, permitted);
	contract_say(run);
}

void stage_judge(struct run *run)
{
	struct history_view view = history_view(run->history);
	struct result *result = run->result;
	const struct check *const *check;
	struct facts facts;

	facts_gather(&facts, &view);
	view.facts = &facts;
	judge_faults(run);
	if (result->verdict == VERDICT_HELD) {
		for (check = check_table; *check; check++) {
			struct result_check *k = &result->checks[result->check_count++];

			k->check = *check;
			(*check)->run(&view, &run->config, &k->result);
			if (k->result.verdict == CHECK_DEVIATED)
				add_evidence(result, &k->result, &view);
		}
		judge_expectation(run);
	}
	result->recovered_us = recovery_us(&view);
	count(result, &view);
	facts_finish(&facts);
}
