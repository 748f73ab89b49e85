/* SPDX-License-Identifier: Apache-2.0 */
/* The SLOs as they really were; see observed.h. */
#include "check/observed.h"

double observed_delivery(const struct history_view *view, const struct facts *facts, const struct check_config *config,
    uint64_t at_us, uint64_t patience_us)
{
	uint64_t commits = 0, undelivered = 0, window = config->slo_tasks ? config->slo_tasks : UINT64_MAX;
	size_t i;

	/* Newest first, so that the window is the last so many. */
	for (i = view->count; i-- > 0 && commits < window;) {
		const struct op *op = &view->ops[i];
		const struct task_facts *t;

		if (op->kind != OP_COMMIT || op->time_us > at_us || !op->task[0])
			continue;
		t = facts_task(facts, op->task);
		if (t->first_commit != i)
			continue;
		commits++;
		if (op->time_us + patience_us <= at_us && op_time(view, t->notified, UINT64_MAX) > at_us)
			undelivered++;
	}
	return commits ? (double)(commits - undelivered) / (double)commits : 1.0;
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
