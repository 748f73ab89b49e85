/* SPDX-License-Identifier: Apache-2.0 */
/* One declaration for each invariant's file; the table is in check.c. */
#ifndef TRITONE_CHECK_INVARIANTS_H
#define TRITONE_CHECK_INVARIANTS_H

#include "check/check.h"

extern const struct check check_no_duplicate_commit, check_no_lost_task, check_no_zombie_commit, check_cascade_order,
    check_every_confirmed_notified, check_slo_returns, check_dashboard_honest, check_wal_intact, check_no_half_written,
    check_worktree_integrity, check_progress, check_bounded_effort;

#endif
