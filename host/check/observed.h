/* SPDX-License-Identifier: Apache-2.0 */
/* What the SLOs really were, computed from what was observed outside. Shared by slo-returns and dashboard-honest; not a checker. */
#ifndef TRITONE_CHECK_OBSERVED_H
#define TRITONE_CHECK_OBSERVED_H

#include "check/check.h"
#include "check/facts.h"

/*
 * The notification delivery over the last config->slo_tasks commits (0: all of them), followed through time: delivered / committed, where
 * a commit counts as undelivered once it is older than the patience and its task had no 2xx yet. Each operation is looked at once.
 * `as_sender`: as its sender can know it: what is sent again counts as undelivered until that is answered with a 2xx. A sender that has
 * died, or lost its log, before it could keep the first answer does not know of it, and says so honestly.
 */
struct delivery;

/* Aborts when there is no memory, as facts_gather does. View and facts must outlive it. */
struct delivery *delivery_create(const struct history_view *view, const struct facts *facts,
    const struct check_config *config, uint64_t patience_us, bool as_sender);
void delivery_free(struct delivery *delivery); /* NULL is fine */
/* As it was at `at_us`, which may never decrease from call to call. 1 when nothing was committed by then. */
double delivery_at(struct delivery *delivery, uint64_t at_us);
/* How many commits the last answer was about. */
uint64_t delivery_commits(const struct delivery *delivery);

/*
 * The share of tasks that did not fail, of the last config->slo_tasks that reached an end: a commit, or the system's word that it gave up
 * (which is known from when it was asked). 1 when none did.
 */
double observed_success(const struct history_view *view, const struct facts *facts, const struct check_config *config,
    uint64_t *ret_ended, uint64_t *ret_failed);

#endif
