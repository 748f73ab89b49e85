/* SPDX-License-Identifier: Apache-2.0 */
/* What the SLOs really were, computed from what was observed outside. Shared by slo-returns and dashboard-honest; not a checker. */
#ifndef TRITONE_CHECK_OBSERVED_H
#define TRITONE_CHECK_OBSERVED_H

#include "check/check.h"
#include "check/facts.h"

/*
 * The notification delivery at time `at_us`, over the last config->slo_tasks commits made by then: delivered / committed, where a
 * commit counts as undelivered once it is older than `patience_us` and no 2xx had been sent by `at_us`. 1 when nothing was committed.
 */
double observed_delivery(const struct history_view *view, const struct facts *facts, const struct check_config *config,
    uint64_t at_us, uint64_t patience_us);

/*
 * The share of tasks that did not fail, of the last config->slo_tasks that reached an end: a commit, or the system's word that it gave up
 * (which is known from when it was asked). 1 when none did.
 */
double observed_success(const struct history_view *view, const struct facts *facts, const struct check_config *config,
    uint64_t *ret_ended, uint64_t *ret_failed);

#endif
