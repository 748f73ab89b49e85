/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One run of the conductor while a file call below its state directory fails, its own or an agent's: three tasks, one
 * after the other. After the fault every task that was handed in has one commit and its notification, and the log is
 * whole. Everything is of this process and its children: several may run beside each other. Failures that are not the
 * conductor's are cmocka's assertions.
 */
#ifndef TRITONE_TESTS_CONDUCTOR_TRIAL_H
#define TRITONE_TESTS_CONDUCTOR_TRIAL_H

#include <stdbool.h>

#include "keeper/keeper.h"

#define TRIAL_RULE "sweep"

struct trial;

struct trial_result {
	char why[400];                  /* it deviated; "": it held */
	char fault[300];                /* in words */
	struct keeper_rule_stats stats; /* of the rule, when it was over: hits 0 is a fault that was not felt */
	bool refused;                   /* not all tasks were accepted at once */
	bool gave_up;                   /* it ended and said why */
};

/* 0 or -1. In memory, where there is a file system for that; kept with CONDUCTOR_SWEEP_KEEP. */
int trial_create(struct trial **ret_trial);
void trial_destroy(struct trial *trial);
/* True when it held. The rule's key and path are set here. */
bool trial_run(struct trial *trial, struct tritone_errno_rule rule, struct trial_result *ret_result);
const char *trial_output(const struct trial *trial); /* of the conductor, in the last run */

#endif
