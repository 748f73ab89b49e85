/* SPDX-License-Identifier: Apache-2.0 */
/* The SLOs as they really were; see observed.h. */
#include "check/observed.h"

#include <stdlib.h>

/* A task's first commit, in the order of the ledger. */
struct commit {
	uint64_t time_us, notified_us;
	bool late;  /* counted as undelivered now */
	bool again; /* sent again, and not answered since */
};

struct delivery {
	const struct history_view *view;
	const struct facts *facts;
	uint64_t patience_us, window;
	bool as_sender;
	struct commit *commits;
	size_t *place; /* of each task's commit among them, by the task's place in the facts */
	/* All four only move on: commits[from..made) is the window, those before `ripe` are older than the patience. */
	size_t next_op, from, ripe, made;
	size_t count; /* of all commits */
	uint64_t late;
};

struct delivery *delivery_create(const struct history_view *view, const struct facts *facts,
    const struct check_config *config, uint64_t patience_us, bool as_sender)
{
	struct delivery *d = facts_need(calloc(1, sizeof *d));
	size_t i;

	d->view = view;
	d->facts = facts;
	d->patience_us = patience_us;
	d->as_sender = as_sender;
	d->window = config->slo_tasks ? config->slo_tasks : UINT64_MAX;
	d->commits = facts_need(calloc(facts->count + 1, sizeof *d->commits));
	d->place = facts_need(calloc(facts->count + 1, sizeof *d->place));
	for (i = 0; i < view->count; i++) {
		const struct op *op = &view->ops[i];
		const struct task_facts *t;

		if (op->kind != OP_COMMIT || !op->task[0])
			continue;
		t = facts_task(facts, op->task);
		if (t->first_commit != i)
			continue;
		d->place[t - facts->tasks] = d->count;
		d->commits[d->count++] =
		    (struct commit){.time_us = op->time_us, .notified_us = op_time(view, t->notified, UINT64_MAX)};
	}
	return d;
}

void delivery_free(struct delivery *d)
{
	if (!d)
		return;
	free(d->commits);
	free(d->place);
	free(d);
}

static void settle(struct delivery *d, struct commit *commit)
{
	d->late -= commit->late;
	commit->late = commit->again = false;
}

static void doubt(struct delivery *d, struct commit *commit)
{
	size_t place = (size_t)(commit - d->commits);

	commit->again = true;
	if (place < d->from || place >= d->ripe || commit->late)
		return;
	commit->late = true;
	d->late++;
}

/* The notifications up to `at_us` settle what was late. */
static void take_notifications(struct delivery *d, uint64_t at_us)
{
	for (; d->next_op < d->view->count && d->view->ops[d->next_op].time_us <= at_us; d->next_op++) {
		const struct op *op = &d->view->ops[d->next_op];
		const struct task_facts *t;
		struct commit *commit;

		if (op->kind != OP_NOTIFY || !op->task[0])
			continue;
		t = facts_task(d->facts, op->task); /* which knows the first that was answered */
		if (t->notified > d->next_op || t->first_commit == OP_NONE)
			continue;
		commit = &d->commits[d->place[t - d->facts->tasks]];
		if (op->type == OP_OK)
			settle(d, commit);
		else if (op->type == OP_INVOKE && d->as_sender)
			doubt(d, commit);
	}
}

double delivery_at(struct delivery *d, uint64_t at_us)
{
	take_notifications(d, at_us);
	while (d->made < d->count && d->commits[d->made].time_us <= at_us)
		d->made++;
	for (; d->ripe < d->made && d->commits[d->ripe].time_us + d->patience_us <= at_us; d->ripe++) {
		struct commit *commit = &d->commits[d->ripe];

		if (d->ripe >= d->from && (commit->notified_us > at_us || commit->again)) {
			commit->late = true;
			d->late++;
		}
	}
	while (d->made - d->from > d->window)
		settle(d, &d->commits[d->from++]);
	return d->made > d->from ? (double)(d->made - d->from - d->late) / (double)(d->made - d->from) : 1.0;
}

uint64_t delivery_commits(const struct delivery *d)
{
	return d->made - d->from;
}

double observed_success(const struct history_view *view, const struct facts *facts, const struct check_config *config,
    uint64_t *ret_ended, uint64_t *ret_failed)
{
	uint64_t ended = 0, failed = 0, window = config->slo_tasks ? config->slo_tasks : UINT64_MAX;
	size_t i;

	for (i = view->count; i-- > 0 && ended < window;) {
		const struct op *op = &view->ops[i];
		const struct task_facts *t;

		if ((op->kind != OP_COMMIT && op->kind != OP_OUTCOME) || !op->task[0])
			continue;
		t = facts_task(facts, op->task);
		if (t->accepted == OP_NONE)
			continue;
		if (t->first_commit == i) {
			ended++;
		} else if (t->given_up == i && t->first_commit == OP_NONE) {
			ended++;
			failed++;
		}
	}
	*ret_ended = ended;
	*ret_failed = failed;
	return ended ? (double)(ended - failed) / (double)ended : 1.0;
}
